"""Waking environments: by the tick, by an event, by a finished build. Nothing here makes anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

from qa_env.model import Built, Environment, Slug, State
from qa_env.store import Store

RETRY_MINUTES = 10  # between passes over what only a person can help
RECHECK_MINUTES = 60  # between passes over what is settled: repairs what was changed by hand


@dataclass(frozen=True)
class Watch:
    """What may look at records and put slugs on the queue."""

    store: Store
    wake: Callable[[Slug, str], None]

    def sweep(self, minute: int) -> list[Slug]:
        """Wake what waits every minute, what is stuck every ten, what is settled every hour.

        `minute` is the time in minutes; slugs are spread over their period.
        """
        woken = []
        for env in self.store.all():
            period = RECHECK_MINUTES if env.settled else RETRY_MINUTES if _is_stuck(env) else 1
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


def _is_stuck(env: Environment) -> bool:
    states = {c.state for c in env.conditions.values() if c.generation == env.generation}
    return bool(states & {State.BLOCKED, State.FAILED}) and State.WAITING not in states
