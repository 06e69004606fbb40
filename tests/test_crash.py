"""A sample of `make crash`: wherever a function dies, the life of an environment goes on as if it had not."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from qa_env.reports.slack import SlackMessage
from qa_env.resources.pipeline import Pipeline
from tests.chaos.crash import OF_WRITES, Explorer, Report, every, explore
from tests.chaos.gate import Call, Fault
from tests.chaos.life import LIFE, SLUG, differences, living

SAMPLE = 17
"""Each so many-th write of the life is tried; all of them take an hour."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What goes wrong on purpose is not logged."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def text(report: Report) -> str:
    return "\n".join(report.lines())


def test_dying_after_a_call_changes_nothing_in_the_end() -> None:
    report = explore(github=True, choose=every(SAMPLE, {Fault.CRASH_AFTER}))
    assert len(report.tried) > 500 // SAMPLE
    assert not report.failed, text(report)


def test_a_teardown_may_die_while_it_stops_a_build() -> None:
    """The build, which no end of its pipeline stops, is stopped all the same."""
    stops = ("codebuild:StopBuild", "codepipeline:StopPipelineExecution")
    report = explore(github=False, choose=lambda call, fault: call.name in stops)
    assert {(point.act, point.call) for point in report.tried} == {
        ("delete while building", call) for call in stops
    }
    assert len(report.tried) == len(stops) * len(OF_WRITES)
    assert not report.failed, text(report)


def test_a_build_left_running_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a teardown that looks at executions only, the reference of the harness says so at once."""
    monkeypatch.setattr(Pipeline, "_builds", lambda self, name: [])
    with pytest.raises(AssertionError, match="codebuild"):
        explore(github=False, choose=lambda call, fault: False)


def test_a_delivery_that_was_not_taken_or_not_known_to_be_is_made_again() -> None:
    """The receiver dies before or after its only call, or that fails: what comes twice does no harm."""

    def choose(call: Call, _fault: Fault) -> bool:
        return call.function == "webhook"

    report = explore(github=False, choose=choose, acts=LIFE[:1])
    assert [point.call for point in report.tried] == ["sqs:SendMessage"] * len(OF_WRITES)
    assert not report.failed, text(report)


def test_what_a_crash_makes_worse_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that does not look for its message says everything twice after a crash."""
    monkeypatch.setattr(SlackMessage, "_find", lambda self, env: None)

    def choose(call: Call, fault: Fault) -> bool:
        return call.name == "slack:POST chat.postMessage" and fault is Fault.CRASH_AFTER

    report = explore(github=True, choose=choose, acts=LIFE[:1])
    ((point, problems),) = report.failed.items()
    assert "slack:POST chat.postMessage: crash after" in str(point)
    assert any(problem.startswith("/slack") for problem in problems)
    assert "1 points tried" in text(report)


def test_a_child_that_dies_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Explorer, "_problems", lambda self, point, end: os._exit(1))
    report = explore(github=True, choose=every(39, {Fault.CRASH_AFTER}), acts=LIFE[:1])
    assert list(report.failed.values()) == [["no answer"]]


def test_worlds_are_compared_place_by_place() -> None:
    one = {"elbv2": {"a": [1, {"tags": 2}]}, "slack": []}
    two = {"elbv2": {"a": [1, {"tags": 3}]}, "slack": ["hello"]}
    assert differences(one, one) == []
    assert differences(one, two) == ["/elbv2/a[1]/tags: 3, not 2", '/slack: ["hello"], not []']


def test_a_life_without_faults_breaks_nothing() -> None:
    """Otherwise a crash would hide behind it."""
    with living(asks_github=False, bystander=False) as life:
        for act in LIFE[:3]:
            act.play(life)
        assert life.broken == 0
        assert life.dead == []
        assert life.env(SLUG).urls
