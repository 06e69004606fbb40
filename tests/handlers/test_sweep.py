"""The tick."""

from __future__ import annotations

import time

import pytest

from handlers import sweep
from qa_env.model import State
from qa_env.watch import Watch
from tests.fakes import MemoryStore
from tests.making import environment, said


def test_the_tick_wakes_what_is_not_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each minute what waits; in one minute of the hour also what is settled."""
    store, queue = MemoryStore(), []
    for slug, state in (("qa-foo", State.WAITING), ("qa-bar", State.READY)):
        env = environment(slug)
        store.desire(env, None)
        store.save(env.with_conditions({"service/app": said(state)}))
    watch = Watch(store, lambda slug, why: queue.append(slug))
    answers = []
    for minute in range(60):
        monkeypatch.setattr(time, "time", lambda minute=minute: 1_793_586_000.0 + 60 * minute)
        answers += sweep.handler({}, None, watch=watch)["woken"]
    assert queue == answers
    assert sorted(set(queue)) == ["qa-bar", "qa-foo"]
    assert (queue.count("qa-foo"), queue.count("qa-bar")) == (60, 1)


def test_a_tick_over_nothing() -> None:
    """An installation without environments."""
    assert sweep.handler({}, None, watch=Watch(MemoryStore(), lambda slug, why: None)) == {"woken": []}
