"""The tick."""

from __future__ import annotations

import time

import pytest

from handlers import sweep
from qa_env.model import State
from qa_env.watch import Watch
from tests.fakes import MemoryStore
from tests.making import environment, said


class Looks:
    """In place of CloudWatch."""

    def __init__(self, broken: bool = False) -> None:
        self.looks, self.broken = 0, broken

    def look(self, now: float) -> list[str]:
        self.looks += 1
        if self.broken:
            raise ConnectionError
        return []


def test_the_tick_wakes_what_is_not_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each minute what waits; in one minute of the hour also what is settled."""
    store, queue = MemoryStore(), []
    for slug, state in (("qa-foo", State.WAITING), ("qa-bar", State.READY)):
        env = environment(slug)
        store.desire(env, None)
        store.save(env.with_conditions({"service/app": said(state)}))
    watch, visits = Watch(store, lambda slug, why: queue.append(slug)), Looks()
    answers = []
    for minute in range(60):
        monkeypatch.setattr(time, "time", lambda minute=minute: 1_793_586_000.0 + 60 * minute)
        answers += sweep.handler({}, None, watch=watch, visits=visits)["woken"]
    assert queue == answers
    assert sorted(set(queue)) == ["qa-bar", "qa-foo"]
    assert (queue.count("qa-foo"), queue.count("qa-bar")) == (60, 1)
    assert visits.looks == 4


def test_a_tick_over_nothing() -> None:
    """An installation without environments."""
    nothing = Watch(MemoryStore(), lambda slug, why: None)
    assert sweep.handler({}, None, watch=nothing, visits=Looks()) == {"woken": []}


def test_unknown_visits_stop_no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """CloudWatch may be away; environments are woken all the same."""
    store, queue = MemoryStore(), []
    store.desire(environment(), None)
    watch, visits = Watch(store, lambda slug, why: queue.append(slug)), Looks(broken=True)
    monkeypatch.setattr(time, "time", lambda: 1_793_586_600.0)
    assert sweep.handler({}, None, watch=watch, visits=visits) == {"woken": ["qa-foo"]}
    assert (visits.looks, queue) == (1, ["qa-foo"])
