"""Passes of several environments that come between each other at every call, die and are too late.

The scan is three pages of a keyspace in memory. What a dead pass has asked for happens some time later, as
long as its function may run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any
from unittest.mock import patch

import pytest

from qa_env import rounds
from qa_env.controller import Controller, Plan
from qa_env.model import REDIS, REDIS_NAMESPACES, Claim, Desired, Slug
from qa_env.resources.keyspace import Keyspace
from tests.fakes import MemoryStore, NothingToClaim
from tests.making import B, blueprint, environment

SLUGS = tuple(Slug(f"qa-{name}") for name in ("foo", "bar", "baz", "qux"))
PAGES = 3
APART = 20
TIMEOUTS = 180  # seconds that a pass and its request may last together
STEPS = 120
CALMING = 400
PLACE = {"mode": "namespace", "secret": "secretsmanager:redis", "prefix": "qa", "database": 0}
TOLD = ("generations", "rounds", "save_rounds", "taken", "holder", "is_current", "save", "get")


class Killed(BaseException):
    """The sandbox died."""


class Between:
    """A store at each of whose calls something happens first."""

    def __init__(self, store: MemoryStore, happens: Callable[[], None]) -> None:
        self._store, self._happens = store, happens

    def __getattr__(self, name: str) -> Any:
        if name in TOLD:
            self._happens()
        return getattr(self._store, name)


@dataclass
class Town:
    """Four branches that come and go. `keys` has the pages on which a namespace has some."""

    random: Random
    calm: bool = False
    now: float = 1_793_600_000.0
    depth: int = 0
    store: MemoryStore = field(default_factory=MemoryStore)
    keys: dict[str, set[int]] = field(default_factory=dict)
    late: list[tuple[float, list[str]]] = field(default_factory=list)
    woken: list[Slug] = field(default_factory=list)
    scans: list[list[str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for slug in SLUGS:
            claim = Claim(REDIS_NAMESPACES, slug.replace("-", "_"))
            self.store.records[slug] = environment(slug, claims={REDIS: claim})
            self.store.claims[claim] = slug
            self.live(slug)
        self.controller = Controller(
            Between(self.store, self.happen),
            {"example/shop": blueprint(redis=PLACE)},
            self.plan,
            lambda slug, reason: self.woken.append(slug),
            threads=1,
            apart=APART,
            clock=lambda: self.now,
        )

    def plan(self, one: Any) -> Plan:
        table: Any = self.controller.store
        wake = lambda calls: self.woken.extend(slug for slug, _ in calls)  # noqa: E731 - it is one word
        keyspace = Keyspace(self.ask, table, one.redis, "qa-env", wake, lambda: self.now)
        return Plan(NothingToClaim(), [], [[keyspace]], lambda env: [])

    def live(self, slug: Slug) -> None:
        """The application writes its keys."""
        self.keys[slug.replace("-", "_")] = set(range(PAGES))

    def happen(self) -> None:
        """Between two calls of a pass: another pass, or the end of this one."""
        if self.calm:
            return
        if self.depth < 3 and self.random.random() < 0.05:
            self.run_pass(self.random.choice(SLUGS))
        if self.random.random() < 0.01:
            raise Killed

    def ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The datastores function."""
        names = list(request["namespaces"])
        if not self.calm and self.random.random() < 0.15:
            self.late.append((self.now + self.random.uniform(0, TIMEOUTS), names))
            raise Killed
        self.happen()
        start = int(request["cursor"])
        end = PAGES if self.calm else self.random.randint(start, PAGES)
        self.scans += [names] * (start == 0)
        removed = {name: self.remove(name, range(start, end)) for name in names}
        return {"removed": removed, "refused": {}} | (
            {"gone": "yes"} if end == PAGES else {"cursor": str(end)}
        )

    def remove(self, name: str, pages: range) -> int:
        slug = Slug(name.replace("_", "-"))
        env = self.store.records.get(slug)
        if env is None or env.desired is Desired.PRESENT:
            self.violations.append(
                f"keys of {slug} are removed, which is {env.desired if env else 'forgotten'}"
            )
        found = self.keys.get(name, set()) & set(pages)
        self.keys[name] = self.keys.get(name, set()) - found
        return len(found)

    def wait(self, seconds: float) -> None:
        """Time passes, and what dead passes have asked for happens."""
        self.now += seconds
        for one in [one for one in self.late if one[0] <= self.now]:
            self.late.remove(one)
            for name in one[1]:
                self.remove(name, range(PAGES))

    def run_pass(self, slug: Slug) -> None:
        """One pass, as the queue would have it: a dead one is not told of."""
        self.woken = [one for one in self.woken if one != slug]
        self.now += 0.01
        self.depth += 1
        before = self.store.records.get(slug)
        try:
            self.controller.reconcile(slug)
        except Killed:
            pass
        finally:
            self.depth -= 1
        after = self.store.records.get(slug)
        was_going = before is not None and before.desired is Desired.ABSENT
        if was_going and (after is None or after.desired is Desired.PRESENT):
            if after is None and self.keys[slug.replace("-", "_")]:
                self.violations.append(f"{slug} is forgotten, and it has keys")
            if after:
                self.live(slug)

    def delete(self, slug: Slug) -> None:
        """The branch goes; nothing writes any more."""
        env = self.store.records.get(slug)
        if env and env.desired is Desired.PRESENT:
            self.store.records[slug] = replace(
                env, desired=Desired.ABSENT, begun=True, generation=env.generation + 1
            )

    def push(self, slug: Slug) -> None:
        """A push during the teardown, which waits for its end."""
        env = self.store.records.get(slug)
        if env and env.desired is Desired.ABSENT and not env.next_commit:
            self.store.desire(replace(env, next_commit=B, generation=env.generation + 1), env)

    def step(self) -> None:
        slug = self.random.choice(SLUGS)
        act = self.random.choices((self.run_pass, self.delete, self.push), (6, 2, 1))[0]
        act(slug)
        self.wait(self.random.choice((0, 1, 5, APART, 60, 100)))

    def end(self) -> None:
        """Everything works, every branch is deleted, the queue and the tick do the rest."""
        self.calm = True
        for _ in range(CALMING):
            for slug in SLUGS:
                self.delete(slug)
            if not self.store.records:
                return
            for slug in list(dict.fromkeys([*self.woken, *self.store.records])):
                self.run_pass(slug)
            self.wait(APART)


def lived(seed: int) -> Town:
    town = Town(Random(seed))  # noqa: S311 - chance that can be repeated
    for _ in range(STEPS):
        town.step()
    town.end()
    return town


@pytest.mark.parametrize("first", range(0, 120, 30))
def test_no_life_loses_keys_and_every_teardown_ends(first: int) -> None:
    """Whatever comes between what, and whoever dies."""
    scans: list[list[str]] = []
    for seed in range(first, first + 30):
        town = lived(seed)

        assert town.violations == [], seed
        assert town.store.records == {}, seed
        assert not any(town.keys.values()), seed
        scans += town.scans
    assert max(map(len, scans)) > 2


def test_a_lease_that_is_too_short_is_noticed() -> None:
    """What holds the guarantee above is the lease: without it a late request meets a new life."""
    with patch.object(rounds, "LEASE", 1):
        assert any(lived(seed).violations for seed in range(50))


def test_a_result_from_before_is_noticed() -> None:
    """So is who believes a round that had begun before it joined."""

    def believes(self: rounds.Rounds, member: rounds.Member) -> rounds.Result | None:
        return self.results.get(member.name)

    with patch.object(rounds.Rounds, "result_of", believes):
        assert any(lived(seed).violations for seed in range(50))
