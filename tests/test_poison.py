"""What always fails ends as a dead letter or as `failed`, rings an alarm, and is in nobody else's way."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bench import load
from handlers import page, sweep
from handlers.reconcile import PASSES
from qa_env import store
from qa_env.model import Phase, Ref, State
from qa_env.page.lookup import Places
from tests import light
from tests.event_source import properties
from tests.making import A, B, event
from tests.strict_aws.call import Event

BAD = "qa/bad"
OTHERS = [branch for branch, _ in load.pushes(4)]
PAUSES = [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
"""Seconds; after as many as the template's maxReceiveCount the message is dead."""


@pytest.fixture
def qa() -> Iterator[light.Installation]:
    with light.installed() as made:
        yield made


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Also what modules log: handlers give `qa_env` a logger that ends there."""
    ours = logging.getLogger("qa_env")
    ours.addHandler(caplog.handler)
    yield caplog
    ours.removeHandler(caplog.handler)


def alarming(resource: str) -> str:
    """The words that a metric filter of the template counts."""
    (words,) = re.findall(r'^\{ \$\.message = "([^"]+)" \}$', properties(resource)["FilterPattern"])
    return str(words)


def runs_others(qa: light.Installation) -> bool:
    """Have the other branches come to rest at the commit that was pushed?"""
    return all(qa.env(branch).settled for branch in OTHERS)


def push_others(qa: light.Installation) -> None:
    qa.burst(load.pushes(len(OTHERS)))


class TestDeadLetters:
    def test_the_template_gives_a_message_as_many_tries_as_there_are_pauses(self) -> None:
        """Otherwise the following tests would speak of another queue."""
        assert properties("Queue")["RedrivePolicy"]["maxReceiveCount"] == len(PAUSES)
        assert properties("Queue")["VisibilityTimeout"] > max(PAUSES)

    @pytest.mark.parametrize(
        "body",
        [
            "qa/bad is gone",
            '["qa-bad"]',
            '{"branch": "qa/bad"}',
            '{"slug": "qa-bad", "change": {"ref": "present"}}',
            '{"slug": "qa-bad", "change": {"ref": "merged", "slug": "qa-bad"}}',
        ],
        ids=["no JSON", "no object", "no slug", "fields missing", "unknown word"],
    )
    def test_what_cannot_be_read_is_dead_after_its_tries(self, qa: light.Installation, body: str) -> None:
        """Ten, with growing pauses; nobody else waits, and what is behind it in its group follows."""
        message = qa.put(body, "qa-bad")
        qa.push(BAD, A)
        push_others(qa)
        qa.source.drain()
        assert runs_others(qa)
        assert list(qa.release.commits) != []
        assert "qa-bad" not in qa.release.commits
        assert [round(qa.skip()) for _ in PAUSES] == PAUSES
        assert qa.source.received[message] == len(PAUSES)
        assert qa.dead_letters() == [body]
        assert qa.env(BAD).phase is Phase.READY

    def test_fields_that_a_newer_build_sends_are_no_poison(self, qa: light.Installation) -> None:
        """They are ignored."""
        change = {
            "slug": "qa-bad",
            "repository": "example/shop",
            "branch": BAD,
            "ref": Ref.PRESENT,
            "commit": A,
        }
        qa.put(json.dumps({"slug": "qa-bad", "change": change | {"mood": "fine"}, "version": 2}), "qa-bad")
        qa.source.drain()
        assert qa.env(BAD).phase is Phase.READY

    def test_a_change_that_cannot_be_written_down_is_dead_after_its_tries(
        self, qa: light.Installation
    ) -> None:
        """The table refuses one wish: the next one of the same environment is written all the same."""
        refuse(qa, A)
        qa.push(BAD, A)
        qa.push(BAD, B)
        push_others(qa)
        qa.source.drain()
        assert runs_others(qa)
        assert qa.store.get(light.slug_of(BAD)) is None
        assert [round(qa.skip()) for _ in PAUSES] == PAUSES
        (body,) = qa.dead_letters()
        assert json.loads(body)["change"]["commit"] == A
        assert (qa.env(BAD).phase, qa.env(BAD).commit) == (Phase.READY, B)

    def test_an_alarm_rings_for_every_dead_letter(self) -> None:
        """One is enough."""
        alarm = properties("DeadLetterAlarm")
        assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
        assert alarm["Dimensions"][0]["Value"] == {"Fn::GetAtt": ["DeadLetterQueue", "QueueName"]}
        assert (alarm["Threshold"], alarm["EvaluationPeriods"]) == (0, 1)


def refuse(qa: light.Installation, commit: str) -> None:
    """The table takes no wish for this commit."""

    def strike(call: Event) -> None:
        updates = [item["Update"] for item in call.params.get("TransactItems", []) if "Update" in item]
        values = [update["ExpressionAttributeValues"] for update in updates]
        if call.moment == "before" and any(one.get(":commit") == commit for one in values):
            said = {"Error": {"Code": "InternalServerError", "Message": "no"}}
            raise ClientError(said, call.operation)

    qa.aws.on_call(strike)


class TestPasses:
    def test_a_pass_that_always_breaks_ends_as_failed_with_an_alarm(
        self, qa: light.Installation, logs: pytest.LogCaptureFixture
    ) -> None:
        """Three tries, then its message is done with; the others have not waited."""
        qa.release.broken = {light.slug_of(BAD)}
        qa.push(BAD, A)
        push_others(qa)
        qa.source.drain()
        assert runs_others(qa)
        assert alarming("FailingPasses") not in messages(logs)
        assert [round(qa.skip()) for _ in range(2)] == [2, 4]
        assert messages(logs).count(alarming("FailingPasses")) == 1
        condition = qa.env(BAD).conditions["release"]
        assert (qa.env(BAD).phase, condition.state, condition.unexpected) == (
            Phase.FAILED,
            State.FAILED,
            True,
        )
        assert "a bug" not in condition.message
        assert qa.dead_letters() == []

    def test_the_push_that_repairs_it_does_not_stand_behind_its_tries(self, qa: light.Installation) -> None:
        """It is written down within seconds, and built by the pass that does not break any more."""
        qa.release.broken = {light.slug_of(BAD)}
        qa.push(BAD, A)
        qa.source.drain()
        qa.push(BAD, B)
        begun = qa.clock()
        while qa.env(BAD).commit == A:
            qa.skip()
        assert qa.clock() - begun < 15
        qa.release.broken = set()
        assert qa.settle() <= 1
        assert qa.complaints() == []

    def test_a_pass_that_kills_its_function_holds_nobody_up(self, qa: light.Installation) -> None:
        """Not even the push that repairs it, for longer than a few timeouts; and an alarm rings."""
        qa.release.deadly = {light.slug_of(BAD)}
        qa.push(BAD, A)
        push_others(qa)
        qa.source.drain()
        assert runs_others(qa)
        for _ in range(60):
            qa.minute()
        qa.push(BAD, B)
        begun = qa.clock()
        while qa.env(BAD).commit == A:
            qa.minute()
        assert qa.clock() - begun < 10 * 60
        qa.release.deadly = set()
        qa.settle()
        assert qa.complaints() == []
        alarm = properties("ReconcileDiesAlarm")
        assert (alarm["MetricName"], alarm["Threshold"]) == ("Errors", PASSES - 1)

    def test_the_sweep_tries_it_every_minute_and_it_recovers_by_itself(self, qa: light.Installation) -> None:
        """Nobody has to redrive or push anything when the bug is gone."""
        qa.release.broken = {light.slug_of(BAD)}
        qa.push(BAD, A)
        qa.source.drain()
        for _ in range(30):  # also when it has been failing for long
            qa.minute()
        qa.release.broken = set()
        qa.minute()
        qa.settle()
        assert qa.complaints() == []


def messages(logs: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in logs.records]


CONDITION = {"state": "ready", "message": "", "outputs": {}, "generation": 1, "since": ""}
UNREADABLE: dict[str, dict[str, Any]] = {
    "no JSON": {"conditions": "{"},
    "another shape": {"conditions": "[]"},
    "outputs of another shape": {"conditions": json.dumps({"release": CONDITION | {"outputs": "none"}})},
    "no state": {"conditions": json.dumps({"release": {"outputs": {}}})},
    "claims of another shape": {"claims": '{"port/app": 10001}'},
    "unknown wish": {"desired": "maybe"},
    "no number": {"generation": "seven"},
    "no repository": {"repository": None},
}
ODD: dict[str, dict[str, Any]] = {
    "no time": {"conditions": json.dumps({"release": CONDITION | {"state": "blocked", "since": 7}})},
    "unknown state": {"conditions": json.dumps({"release": CONDITION | {"state": "dreaming"}})},
    "unknown repository": {"repository": "example/gone"},
    "unknown attribute": {"mood": "fine"},
    "stages that are none": {
        "conditions": json.dumps({"pipeline": CONDITION | {"outputs": {"stages": "7"}}})
    },
    "stages without names": {
        "conditions": json.dumps({"pipeline": CONDITION | {"outputs": {"stages": "[7]"}}})
    },
    "a URL that is none": {"conditions": json.dumps({"listener/app": CONDITION | {"outputs": {"url": 7}}})},
    "no date": {"at": "yesterday"},
}


class TestRecords:
    @pytest.mark.parametrize("change", [*UNREADABLE.values(), *ODD.values()], ids=[*UNREADABLE, *ODD])
    def test_a_poisoned_record_stops_no_other(self, qa: light.Installation, change: dict[str, Any]) -> None:
        """The sweep wakes the others, their passes go on, and the list shows them."""
        push_others(qa)
        qa.push(BAD, A)
        qa.settle()
        poison(qa, change)
        assert {light.slug_of(branch) for branch in OTHERS} <= swept_within_an_hour(qa)
        listed = shown(qa)
        assert [branch for branch in OTHERS if branch not in listed] == []
        qa.burst((branch, "d" * 40) for branch in OTHERS)
        qa.source.drain()
        assert runs_others(qa)

    @pytest.mark.parametrize("change", UNREADABLE.values(), ids=UNREADABLE)
    def test_a_record_that_cannot_be_read_is_named_in_words_for_an_alarm(
        self, qa: light.Installation, logs: pytest.LogCaptureFixture, change: dict[str, Any]
    ) -> None:
        """By every sweep, until somebody has repaired it."""
        qa.push(BAD, A)
        qa.settle()
        poison(qa, change)
        sweep.handler({}, None, watch=qa.watch, visits=NoVisits())
        said = [record for record in logs.records if record.getMessage() == store.UNREADABLE]
        assert [(record.levelname, record.environment) for record in said] == [("ERROR", "qa-bad")]

    def test_news_of_it_become_dead_letters_and_not_another_record(self, qa: light.Installation) -> None:
        """Nothing is overwritten that a person may still be able to read."""
        qa.push(BAD, A)
        qa.settle()
        poison(qa, {"conditions": "{"})
        before = item(qa)
        qa.push(BAD, B)
        qa.source.drain()
        for _ in PAUSES:
            qa.skip()
        assert len(qa.dead_letters()) == 1
        assert item(qa) == before


class NoVisits:
    """Nobody came."""

    def look(self, now: float) -> list[str]:
        return []


def item(qa: light.Installation) -> dict[str, Any]:
    return dict(qa.table.get_item(Key={"pk": "environment", "sk": "qa-bad"})["Item"])


def poison(qa: light.Installation, change: dict[str, Any]) -> None:
    """Put these attributes into the record, or take them out of it."""
    changed = {name: value for name, value in (item(qa) | change).items() if value is not None}
    qa.table.put_item(Item=changed)


def swept_within_an_hour(qa: light.Installation) -> set[str]:
    """Whom the sweep wakes; what is settled is woken once an hour."""
    first = int(qa.clock() // 60) + 120
    return {slug for minute in range(first, first + 60) for slug in qa.watch.sweep(minute)}


def shown(qa: light.Installation) -> str:
    """The list of all environments."""
    request = event("alb-page") | {"path": "/", "httpMethod": "GET", "queryStringParameters": {}}
    request["headers"] |= {"x-forwarded-port": "443", "accept-encoding": "identity"}
    balancer = qa.blueprint.load_balancers[0].arn
    answer = page.handler(
        request,
        None,
        store=qa.store,
        places=Places("qa-env", (balancer,)),
        blueprints={qa.blueprint.repository: qa.blueprint},
    )
    assert answer["statusCode"] == 200
    return str(answer["body"])
