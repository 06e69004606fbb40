"""Waking environments: by the tick, by an event, by a finished build. Nothing here makes anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from zlib import crc32

from qa_env.errors import Rejected, Stale
from qa_env.model import Built, Desired, Environment, Phase, Slug, State, Wish, is_report
from qa_env.store import Store

NOT_SETTLED = "not settled"
RETRY_MINUTES = 10  # between passes over what only a person can help
YOUNG_MINUTES = 30  # after a wish GitHub may still show, late, that it was another
YOUNG_RECHECK_MINUTES = 5  # between passes over what is settled and young
RECHECK_MINUTES = 60  # between passes over what is settled: repairs what was changed by hand


@dataclass(frozen=True)
class Watch:
    """What may look at records and put slugs on the queue; with `wake_all` many of them at once."""

    store: Store
    wake: Callable[[Slug, str], None]
    clock: Callable[[], float] = field(default=time.time)
    wake_all: Callable[[Sequence[tuple[Slug, str]]], None] | None = None

    def sweep(self, minute: int, environments: Iterable[Environment] | None = None) -> list[Slug]:
        """Wake what waits every minute, what is long stuck every ten, what is settled every hour.

        `minute` is the time in minutes since the epoch; slugs are spread over their period. `environments`
        are all there are, where they were read already.
        """
        due = []
        for env in self.store.all() if environments is None else environments:
            stuck = _is_stuck(env, minute * 60) and not env.unanswered
            young = minute * 60 - env.generation / 1000 < YOUNG_MINUTES * 60
            settled = YOUNG_RECHECK_MINUTES if young else RECHECK_MINUTES
            period = settled if env.settled else RETRY_MINUTES if stuck else 1
            if (minute + crc32(env.slug.encode())) % period == 0:
                due.append((env.slug, "a look at what is settled" if env.settled else NOT_SETTLED))
        self._wake_all(due)
        return [slug for slug, _ in due]

    def _wake_all(self, due: Sequence[tuple[Slug, str]]) -> None:
        if self.wake_all:
            self.wake_all(due)
            return
        for slug, why in due:
            self.wake(slug, why)

    def signal(self, slug: Slug, why: str) -> bool:
        """Wake an environment that an event is about, if there is such an environment."""
        known = self.store.get(slug) is not None
        if known:
            self.wake(slug, why)
        return known

    def announce(self, slug: Slug, built: Built) -> None:
        """The pipeline built a commit; Stale if that commit is no longer wanted."""
        self.store.record_built(slug, built)
        self.store.note(slug, "pipeline", f"built commit {built.commit}", kind="built")
        self.wake(slug, "built")

    def awaken(self, slug: Slug) -> None:
        """Somebody visits an environment that sleeps. Nothing happens if it has changed meanwhile."""
        env = self.store.get(slug)
        if env is None or not env.sleeps:
            return
        with suppress(Stale):
            self.store.ask(env, replace(env.asked, awake=int(self.clock() * 1000)))
            self.store.note(slug, "page", "somebody came", kind="awoken")
        self.wake(slug, "somebody visits it")

    def ask(self, slug: Slug, wish: Wish, by: str) -> None:
        """A person asks for something that Git cannot say; Rejected if there is nothing to ask it of.

        Only written down: the loop fulfils it.
        """
        env = self.store.get(slug)
        if env is None or env.desired is Desired.ABSENT:
            raise Rejected(404, f"there is no environment {slug}, or it is being deleted")
        if wish is Wish.DELETE and not env.commit:
            raise Rejected(409, f"{slug} has no commit yet: try again in a minute")
        now = int(self.clock() * 1000)
        match wish:
            case Wish.REDEPLOY:
                asked = replace(env.asked, redeploy=now, by=by)
            case Wish.RESET:
                asked = replace(env.asked, redeploy=now, reset=now, by=by)
            case Wish.DELETE:
                asked = replace(env.asked, dismissed=env.commit, dismissed_in=env.generation, by=by)
        try:
            self.store.ask(env, asked)
        except Stale as error:
            raise Rejected(409, f"{slug} has just changed: look again, then repeat it") from error
        self.store.note(slug, by, f"commit {env.commit}", kind=wish)
        self.wake(slug, f"somebody asked to {wish} it")


def _is_stuck(env: Environment, now: float) -> bool:
    """Has it waited for a person for so long that looking every minute would be a waste?

    A report that cannot speak makes nothing else slower: it counts where all the rest is at rest.
    """
    stuck = [
        name
        for name, condition in env.conditions.items()
        if condition.state in (State.BLOCKED, State.FAILED)
        and condition.generation == env.generation
        and (is_report(name) or not condition.unexpected)
        and condition.age(now) > RETRY_MINUTES * 60
    ]
    waits = any(condition.state is State.WAITING for condition in env.conditions.values())
    at_rest = env.phase in (Phase.READY, Phase.ASLEEP) and not waits
    return any(at_rest or not is_report(name) for name in stuck)
