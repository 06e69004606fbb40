"""Known-bad variants of the loop. Each breaks one rule of the design; a suite that misses one is too weak."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from qa_env import brake
from qa_env.claims import Claims
from qa_env.controller import Controller, Plan
from qa_env.model import Condition, Desired, Environment, Outputs, Resource, State, key
from tests.fakes import MemoryStore

Begin = Callable[[Environment], None]


@dataclass(frozen=True)
class Mutant:
    """The loop as it is; a mutant overrides one thing."""

    name: str = "the loop"
    caught_by: tuple[int | str, ...] = ()
    """Histories that are known to notice it: seeds of random ones, names of directed ones."""

    def controller(self, sound: Controller) -> Controller:
        return sound

    def begin(self, store: MemoryStore) -> Begin:
        return store.begin

    def forget(self, store: MemoryStore) -> Begin:
        return store.forget

    @contextmanager
    def patched(self) -> Iterator[None]:
        """As long as the installation lives."""
        yield


SOUND = Mutant()


class StopsAtNotReady(Controller):
    def _wave(self, env: Environment, wave: Sequence[Resource], act: Any, said: Any, errors: Any) -> Any:
        if any(c.state is State.WAITING for name, c in said.items() if name != "branch"):
            return env
        return super()._wave(env, wave, act, said, errors)


class ForgetsEarly(Controller):
    def _gone_twice(self, before: Environment, after: Environment) -> bool:
        return all(c.state in (State.GONE, State.READY) for c in after.conditions.values())


class AlwaysForgets(Controller):
    def _gone_twice(self, before: Environment, after: Environment) -> bool:
        return True


class TrustsTheRecord(Controller):
    def _try(
        self, resource: Resource, env: Environment, act: Callable[[Resource, Environment], Outputs | None]
    ) -> tuple[Condition, Exception | None]:
        known = env.conditions.get(key(resource.kind, resource.name))
        if known and known.state is State.READY and known.generation == env.generation:
            return known, None
        return super()._try(resource, env, act)


class DeletesWhatItRemembers(Controller):
    def _tear_down(self, env: Environment, plan: Plan) -> Any:
        kept = [[r for r in wave if env.remembered(r.kind, r.name)] for wave in plan.tear_down]
        return super()._tear_down(env, replace(plan, tear_down=kept))


@dataclass(frozen=True)
class OfController(Mutant):
    kind: type[Controller] = Controller

    def controller(self, sound: Controller) -> Controller:
        """The same controller of another class."""
        return self.kind(**{name: getattr(sound, name) for name in sound.__dataclass_fields__})


class ForgetsWithoutTheGeneration(Mutant):
    """A push between the look and the forgetting is forgotten as well."""

    def forget(self, store: MemoryStore) -> Begin:
        def forget(env: Environment) -> None:
            current = store.records.get(env.slug)
            if current:
                store.records[env.slug] = replace(current, generation=env.generation, desired=Desired.ABSENT)
                MemoryStore.forget(store, env)

        return forget


class AuditsWithoutTheBrake(Mutant):
    @contextmanager
    def patched(self) -> Iterator[None]:
        with patch.object(brake, "allowed", lambda share, total: total):
            yield


class BelievesAnyListing(Mutant):
    """A branch that is not shown is gone, however many are not shown."""

    @contextmanager
    def patched(self) -> Iterator[None]:
        with patch.object(brake, "on_branches", lambda *_: ""):
            yield


class DoubtsNoLook(Controller):
    def _look_anew(self, env: Environment) -> None:
        pass


class BelievesItsClaims(Mutant):
    """The record alone says what it holds; nobody looks whether the table agrees."""

    @contextmanager
    def patched(self) -> Iterator[None]:
        with patch.object(Claims, "_still_held", lambda _, env: (dict(env.claims), {})):
            yield


MUTANTS = (
    OfController("stops at the first NotReady", (0,), StopsAtNotReady),
    OfController("forgets whatever is left", (0, 2), AlwaysForgets),
    OfController("trusts the record's ready", (0, 2), TrustsTheRecord),
    OfController("deletes only what the record remembers", (4, 6), DeletesWhatItRemembers),
    BelievesAnyListing("believes any listing", (3, 5)),
    OfController(
        "believes a look that a worker hung through",
        ("a worker that hung makes a thing after the first look, and the second is told what was before",),
        DoubtsNoLook,
    ),
    BelievesItsClaims("believes its record about claims", (14, 45)),
    OfController(
        "forgets after the first look",
        ("a slow worker makes things for a branch that was looked for and not found",),
        ForgetsEarly,
    ),
    ForgetsWithoutTheGeneration(
        "forgets without the generation", ("a push arrives while the environment is being forgotten",)
    ),
    AuditsWithoutTheBrake("audits without the brake", ("the table is lost while four environments live",)),
)
