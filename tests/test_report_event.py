"""Events on the bus, as a team's rule gets them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from qa_env.errors import Blocked, NotReady
from qa_env.model import Environment, Phase, State
from qa_env.reports.event import Event
from tests import reporting
from tests.making import B, environment, said
from tests.reporting import ADMIN, HOSTILE, PAGE, URL, Loop, gone, settings, told
from tests.strict_aws import StrictAWS, strict_aws


@dataclass
class Bus:
    """A queue that a rule on our source feeds."""

    aws: StrictAWS

    def __post_init__(self) -> None:
        sqs, events = self.aws.client("sqs"), self.aws.client("events")
        self.url = sqs.create_queue(QueueName="consumer")["QueueUrl"]
        arn = f"arn:aws:sqs:{self.aws.region}:{self.aws.account}:consumer"
        events.put_rule(Name="ours", EventPattern=json.dumps({"source": ["qa-env"]}))
        events.put_targets(Rule="ours", Targets=[{"Id": "queue", "Arn": arn}])
        self.received: list[dict[str, Any]] = []

    @property
    def events(self) -> list[dict[str, Any]]:
        """Everything that came, oldest first."""
        sqs = self.aws.client("sqs")
        while more := sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            for message in more:
                self.received.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return self.received

    @property
    def types(self) -> list[str]:
        return [event["detail-type"] for event in self.events]

    @property
    def details(self) -> list[dict[str, Any]]:
        return [event["detail"] for event in self.events]


@pytest.fixture
def bus() -> Iterator[Bus]:
    with strict_aws() as aws:
        yield Bus(aws)


@pytest.fixture
def report(bus: Bus) -> Event:
    return Event(bus.aws.client("events"), settings(), "staging")


@pytest.mark.parametrize(
    ("env", "kind", "phase"),
    [
        (reporting.queued(), "building", "building"),
        (reporting.building(), "building", "building"),
        (reporting.deploying(), "building", "building"),
        (reporting.ready(), "ready", "ready"),
        (reporting.asleep(), "asleep", "asleep"),
        (reporting.failed(), "failed", "failed"),
        (reporting.blocked(), "failed", "blocked"),
    ],
)
def test_each_phase_has_a_type(bus: Bus, report: Event, env: Environment, kind: str, phase: str) -> None:
    told(report, env)
    (event,) = bus.events
    assert (event["source"], event["detail-type"]) == ("qa-env", f"environment.{kind}")
    assert (event["detail"]["phase"], event["detail"]["blocked"]) == (phase, env.phase is Phase.BLOCKED)


def test_what_an_event_says(bus: Bus, report: Event) -> None:
    """All of it: this is an interface."""
    told(report, reporting.ready())
    (detail,) = bus.details
    assert len(detail.pop("id")) == 32
    assert detail == {
        "version": 1,
        "installation": "staging",
        "slug": "qa-foo",
        "repository": "example/shop",
        "branch": "qa/foo",
        "commit": "a" * 40,
        "url": URL,
        "urls": {"app": URL, "admin": ADMIN},
        "phase": "ready",
        "blocked": False,
        "reason": "",
        "by": "hanako",
        "at": "2026-11-02T02:16:01+00:00",
        "page_url": f"{PAGE}/environments/qa-foo",
    }


def test_a_failure_has_its_reason(bus: Bus, report: Event) -> None:
    told(report, reporting.failed(f"exit code 1\n{HOSTILE}"))
    assert bus.details[0]["reason"] == f"exit code 1 {HOSTILE}"


def test_what_was_said_is_not_said_again(bus: Bus, report: Event) -> None:
    """All of a build is one event."""
    env = told(report, reporting.building())
    for later in (reporting.building(), reporting.deploying(), reporting.ready(), reporting.ready()):
        env = told(report, later, env)
    assert bus.types == ["environment.building", "environment.ready"]


def test_listeners_that_come_one_by_one_are_no_events(bus: Bus, report: Event) -> None:
    """All of a build is one event, though its addresses appear in the course of it."""
    env = told(report, reporting.queued())
    first = reporting.building().with_conditions({"listener/admin": said(State.WAITING)})
    for later in (first, reporting.building(), reporting.deploying()):
        env = told(report, later, env)
    assert bus.types == ["environment.building"]


def test_what_is_new_is_said(bus: Bus, report: Event) -> None:
    """Another commit, another address, another reason."""
    env = told(report, reporting.ready())
    env = told(report, reporting.ready(commit=B), env)
    env = told(
        report, env.with_conditions({"listener/app": said(State.READY, url="https://qa.example.com/")})
    )
    env = told(report, reporting.failed("1"), env)
    told(report, reporting.failed("2"), env)
    kinds = ["ready", "ready", "ready", "failed", "failed"]
    assert bus.types == [f"environment.{kind}" for kind in kinds]
    assert len({detail["id"] for detail in bus.details}) == 5


def test_what_is_said_twice_has_the_same_id(bus: Bus, report: Event) -> None:
    """A pass that died after telling: whoever gets it can tell."""
    told(report, reporting.ready())
    told(report, reporting.ready())
    gone(report, reporting.deleting())
    gone(report, reporting.deleting())
    ids = [detail["id"] for detail in bus.details]
    assert bus.types == ["environment.ready"] * 2 + ["environment.deleted"] * 2
    assert ids[0] == ids[1] != ids[2] == ids[3]


def test_ready_again_is_another_event(bus: Bus, report: Event) -> None:
    """After a redeploy of the same commit: whoever de-duplicates by id must not miss it."""
    env = told(report, reporting.ready())
    for later in (reporting.building(), reporting.ready(), reporting.building(), reporting.ready()):
        env = told(report, later, env)
    assert bus.types.count("environment.ready") == 3
    assert len({detail["id"] for detail in bus.details}) == len(bus.details) == 5


def test_deleted_is_said_when_it_is_true(bus: Bus, report: Event) -> None:
    """Not while it goes."""
    env = told(report, reporting.ready())
    after = told(report, reporting.deleting(), env)
    assert after.remembered("event") == env.remembered("event")
    assert bus.types == ["environment.ready"]
    gone(report, reporting.deleting(), env)
    assert bus.types == ["environment.ready", "environment.deleted"]
    assert bus.details[1]["phase"] == "deleted"
    assert list(report.owners()) == []


def test_a_hostile_branch_is_data(bus: Bus, report: Event) -> None:
    told(report, reporting.ready(branch=HOSTILE, by='"}'))
    assert (bus.details[0]["branch"], bus.details[0]["by"]) == (HOSTILE, '"}')


def test_a_reason_without_end_is_cut(bus: Bus, report: Event) -> None:
    """AWS takes less than a megabyte."""
    told(report, reporting.blocked("é" * 2_000_000))
    assert len(bus.details[0]["reason"]) == 1000


def test_without_a_commit_there_is_nothing_to_say(bus: Bus, report: Event) -> None:
    with pytest.raises(NotReady, match=r"^waiting for the commit$"):
        told(report, environment(commit=""))
    assert bus.events == []


@pytest.mark.parametrize(
    ("code", "error"),
    [("InternalFailure", NotReady), ("ThrottlingException", NotReady), ("AccessDeniedException", Blocked)],
)
def test_an_event_that_the_bus_did_not_take(
    bus: Bus, report: Event, code: str, error: type[Exception]
) -> None:
    """The call succeeds, the entry does not."""
    failed = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": code, "ErrorMessage": "no"}]}
    bus.aws.serve("events:PutEvents", lambda operation, params: failed)
    with pytest.raises(error, match=f"EventBridge did not take the event: {code}") as caught:
        told(report, reporting.ready())
    assert type(caught.value) is error


def test_a_missing_permission_holds_nothing_up(bus: Bus, report: Event) -> None:
    """Only a person can help, and the environment is ready all the same."""
    bus.aws.fail("PutEvents", times=1, error="AccessDeniedException")
    loop = Loop(report)
    env = loop.run()
    assert env is not None
    assert (env.phase, loop.condition.state) == (Phase.READY, State.BLOCKED)
    for _ in range(3):
        loop.run()
    assert bus.types == ["environment.ready"]
    loop.remove()
    while loop.run():
        pass
    assert bus.types == ["environment.ready", "environment.deleted"]
