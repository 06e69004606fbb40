"""Waking environments: by the tick, by an event, by a finished build. Nothing here makes anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

from qa_env.model import Built, Environment, Slug, State
from qa_env.store import Store

RETRY_MINUTES = 10  # between passes over what only a person can help
YOUNG_MINUTES = 30  # after a wish GitHub may still show, late, that it was another
YOUNG_RECHECK_MINUTES = 5  # between passes over what is settled and young
RECHECK_MINUTES = 60  # between passes over what is settled: repairs what was changed by hand


@dataclass(frozen=True)
class Watch:
    """What may look at records and put slugs on the queue."""

    store: Store
    wake: Callable[[Slug, str], None]

    def sweep(self, minute: int) -> list[Slug]:
        """Wake what waits every minute, what is long stuck every ten, what is settled every hour.

        `minute` is the time in minutes since the epoch; slugs are spread over their period.
        """
        woken = []
        for env in self.store.all():
            stuck = _is_stuck(env, minute * 60)
            young = minute * 60 - env.generation / 1000 < YOUNG_MINUTES * 60
            settled = YOUNG_RECHECK_MINUTES if young else RECHECK_MINUTES
            period = settled if env.settled else RETRY_MINUTES if stuck else 1
            if (minute + crc32(env.slug.encode())) % period == 0:
                self.wake(env.slug, "a look at what is settled" if env.settled else "not settled")
                woken.append(env.slug)
        return woken

    def signal(self, slug: Slug, why: str) -> bool:
        """Wake an environment that an event is about, if there is such an environment."""
        known = self.store.get(slug) is not None
        if known:
            self.wake(slug, why)
        return known

    def announce(self, slug: Slug, built: Built) -> None:
        """The pipeline built a commit; Stale if that commit is no longer wanted."""
        self.store.record_built(slug, built)
        self.store.note(slug, "pipeline", f"built commit {built.commit}")
        self.wake(slug, "built")


def _is_stuck(env: Environment, now: float) -> bool:
    """Has it waited for a person for so long that looking every minute would be a waste?"""
    return any(
        condition.state in (State.BLOCKED, State.FAILED)
        and condition.generation == env.generation
        and not condition.unexpected
        and condition.age(now) > RETRY_MINUTES * 60
        for condition in env.conditions.values()
    )
