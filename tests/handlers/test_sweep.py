"""The tick."""

from __future__ import annotations

import json
import time
from collections.abc import Collection

import pytest

from handlers import sweep
from qa_env.model import Environment, State
from qa_env.watch import Watch
from tests.event_source import properties
from tests.fakes import MemoryStore
from tests.making import blueprint, environment, said


class Looks:
    """In place of CloudWatch."""

    def __init__(self, broken: bool = False) -> None:
        self.looks, self.broken = 0, broken

    def look(self, environments: Collection[Environment], now: float) -> list[str]:
        self.looks += 1
        if self.broken:
            raise ConnectionError
        return []


@pytest.fixture(autouse=True)
def namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """As template.yaml says."""
    for name in ("POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_SERVICE_NAME"):
        monkeypatch.setenv(name, "qa-env")


def test_the_tick_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that CloudWatch makes metrics of, under the namespace and the dimensions of the alarms."""
    store = MemoryStore()
    env = environment()
    store.desire(env, None)
    store.save(env.with_conditions({"service/app": said(State.FAILED)}))
    sweep.handler({}, None, watch=Watch(store, lambda *_: None), visits=Looks(), blueprints=[blueprint()])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    counted = {(one["phase"], one["Environments"][0]) for one in lines if "Environments" in one}
    assert ("failed", 1) in counted
    assert ("ready", 0) in counted
    (free,) = [one["FreePorts"][0] for one in lines if "FreePorts" in one]
    assert free == len(blueprint().load_balancers[0].port_range)
    assert {one["_aws"]["CloudWatchMetrics"][0]["Namespace"] for one in lines} == {"qa-env"}
    for name in ("FailedAlarm", "OverdueAlarm", "PortsAlarm"):
        alarm = properties(name)
        dimensions = {one["Name"] for one in alarm["Dimensions"]}
        assert {alarm["MetricName"]} | dimensions in [
            {*metric["Dimensions"][0], metric["Metrics"][0]["Name"]}
            for metric in (one["_aws"]["CloudWatchMetrics"][0] for one in lines)
        ]


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
        answers += sweep.handler({}, None, watch=watch, visits=visits, blueprints=[])["woken"]
    assert queue == answers
    assert sorted(set(queue)) == ["qa-bar", "qa-foo"]
    assert (queue.count("qa-foo"), queue.count("qa-bar")) == (60, 1)
    assert visits.looks == 4


def test_a_tick_over_nothing() -> None:
    """An installation without environments."""
    nothing = Watch(MemoryStore(), lambda slug, why: None)
    assert sweep.handler({}, None, watch=nothing, visits=Looks(), blueprints=[]) == {"woken": []}


def test_unknown_visits_stop_no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """CloudWatch may be away; environments are woken all the same."""
    store, queue = MemoryStore(), []
    store.desire(environment(), None)
    watch, visits = Watch(store, lambda slug, why: queue.append(slug)), Looks(broken=True)
    monkeypatch.setattr(time, "time", lambda: 1_793_586_600.0)
    assert sweep.handler({}, None, watch=watch, visits=visits, blueprints=[]) == {"woken": ["qa-foo"]}
    assert (visits.looks, queue) == (1, ["qa-foo"])
