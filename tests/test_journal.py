"""What the local stack writes down of its calls, runs and events, and what the bench reads from it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.trace import Trace, covered, percentile
from local.iam import wire
from local.iam.guard import access_key
from local.journal import Journal, Line, observed

KEY = access_key("qa-env-reconcile")
SIGNED = (
    f"AWS4-HMAC-SHA256 Credential={KEY}/20261102/eu-west-1/ecs/aws4_request, SignedHeaders=host, Signature=0"
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.among(tmp_path)


def ask(journal: Journal, headers: Mapping[str, str]) -> list[dict[str, Any]]:
    """One request through the observed application, which reads it and answers; what was sent back."""
    sent: list[dict[str, Any]] = []

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        assert await receive() == {"type": "http.request", "body": b'{"cluster": "stg"}'}
        await send({"type": "http.response.start", "status": 200})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b'{"cluster": "stg"}'}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": encoded}
    asyncio.run(observed(application, journal)(scope, receive, send))
    return sent


class TestJournal:
    def test_a_signed_request_is_written_down_with_who_asked_what(self, journal: Journal) -> None:
        """And it is answered as if nobody had looked."""
        target = "AmazonEC2ContainerServiceV20141113.DescribeServices"
        answer = ask(journal, {"Authorization": SIGNED, "X-Amz-Target": target})
        assert answer == [{"type": "http.response.start", "status": 200}]
        (line,) = journal.read()
        assert (line["kind"], line["operation"], line["key"]) == ("call", "ecs:DescribeServices", KEY)
        assert line["took"] >= 0

    def test_a_request_that_nobody_signed_is_not(self, journal: Journal) -> None:
        """Of a visitor, or of GitHub."""
        assert ask(journal, {"Host": "qa.alb.localhost"}) != []
        assert journal.read() == []

    def test_lines_are_in_the_order_of_their_beginning(self, journal: Journal) -> None:
        """What takes long is written down after what began later."""
        for name, at in (("later", 2.0), ("earlier", 1.0)):
            journal.write("run", at, function=name)
        assert [line["function"] for line in journal.read()] == ["earlier", "later"]

    def test_of_an_event_only_what_it_is_about_is_kept(self, journal: Journal) -> None:
        """A task's details hold its environment."""
        journal.event("ECS Task State Change", {"lastStatus": "STOPPED", "containers": [{"name": "app"}]})
        (line,) = journal.read()
        assert (line["name"], line["about"]) == ("ECS Task State Change", {"lastStatus": "STOPPED"})

    @pytest.mark.parametrize(
        ("authorization", "service"),
        [(SIGNED, "ecs"), ("AWS4-HMAC-SHA256 Credential=AKIA/", ""), ("Bearer x", ""), ("", "")],
    )
    def test_the_service_is_the_one_that_is_signed_for(self, authorization: str, service: str) -> None:
        assert wire.service(authorization) == service


class TestCovered:
    @pytest.mark.parametrize(
        ("spans", "seconds"),
        [
            ([], 0),
            ([(1, 3)], 2),
            ([(4, 5), (1, 3)], 3),
            ([(1, 4), (2, 3)], 3),
            ([(1, 3), (2, 4)], 3),
            ([(-5, 1), (9, 20)], 2),
            ([(-5, -1), (11, 20)], 0),
            ([(-5, 20)], 10),
        ],
    )
    def test_what_is_side_by_side_counts_once_and_what_is_outside_not_at_all(
        self, spans: list[tuple[float, float]], seconds: float
    ) -> None:
        assert covered(spans, (0, 10)) == seconds


def test_a_percentile_is_one_of_the_values() -> None:
    """The smallest that so many percent do not exceed."""
    values = [float(number) for number in range(100, 0, -1)]
    assert [percentile(values, percent) for percent in (50, 99, 100)] == [50, 99, 100]
    assert percentile([7.0], 50) == 7


def line(kind: str, at: float, took: float = 0, **fields: Any) -> Line:
    return {"kind": kind, "at": at, "took": took, **fields}


def run(function: str, at: float, took: float = 0, **about: Any) -> Line:
    return line("run", at, took, function=f"qa-env-{function}", about=about)


def call(operation: str, at: float, took: float = 0, function: str = "reconcile") -> Line:
    return line("call", at, took, operation=operation, key=access_key(f"qa-env-{function}"))


class TestTrace:
    def test_calls_of_the_page_and_of_people_are_left_out(self) -> None:
        """GitHub's and Slack's stand-ins know no keys, and only qa-env asks them."""
        people = line("call", 2, operation="ecs:ListTasks", key="111122223333")
        github = line("call", 3, operation="github:GET", key="")
        seen = Trace([call("dynamodb:Query", 1, function="page"), people, github, call("ecs:ListTasks", 4)])
        assert [one["at"] for one in seen.calls()] == [3, 4]
        assert [one["at"] for one in seen.calls("ecs:ListTasks")] == [4]

    def test_an_event_is_delivered_by_the_first_run_that_was_given_it(self) -> None:
        """Not by one that was given another, nor by an earlier one."""
        kind, build = "CodePipeline Stage Execution State Change", {"pipeline": "qa-foo", "stage": "Build"}
        event = line("event", 2, name=kind, about=build)
        runs = [
            run("signals", at, **{"detail-type": kind, "detail": build | {"stage": stage}})
            for at, stage in ((1, "Build"), (3, "Source"), (4, "Build"), (5, "Build"))
        ]
        assert Trace([event, *runs]).delivered(event) == 4
        assert Trace([event, *runs[:2]]).delivered(event) is None

    def test_a_message_behind_a_pass_is_on_its_way_only_after_that_pass(self) -> None:
        """Waiting for our own pass is no delivery of the queue's."""
        passes = [run("reconcile", 2, took=3, sent=1), run("reconcile", 6, sent=3)]
        assert list(Trace(passes).deliveries()) == [(1, 2), (5, 6)]

    def test_the_datastores_function_answers_nothing_by_itself(self) -> None:
        """It is ours: what it takes is not the stack's."""
        seen = Trace([call("lambda:Invoke", 1, took=5), call("ecs:ListTasks", 2, took=1)])
        assert list(seen.answers()) == [(2, 3)]

    def test_mysql_and_redis_answer_from_when_the_secret_is_read(self) -> None:
        """Connecting and statements; a run that reads none is not theirs."""
        read = call("secretsmanager:GetSecretValue", 2, took=1, function="datastores")
        others = call("secretsmanager:GetSecretValue", 4)
        seen = Trace([run("datastores", 1, took=5), read, others, run("datastores", 8, took=1)])
        assert list(seen.statements()) == [(3, 6)]

    def test_a_service_starts_from_the_first_answer_to_the_last_completion(self) -> None:
        """Both roles begin and end in their own time."""
        done = {"name": "ECS Deployment State Change", "about": {"eventName": "SERVICE_DEPLOYMENT_COMPLETED"}}
        begun = [call("ecs:CreateService", 1, took=1), call("ecs:CreateService", 2, took=1)]
        assert list(Trace([*begun, line("event", 5, **done), line("event", 7, **done)]).waits()) == [(2, 7)]
        assert list(Trace(begun).waits()) == []

    def test_a_run_that_only_dropped_its_message_is_no_pass(self) -> None:
        """A pass reads the record."""
        runs = [run("reconcile", 1, took=1), run("reconcile", 3, took=1)]
        assert list(Trace([*runs, call("dynamodb:GetItem", 3.5)]).passes()) == runs[1:]


def test_the_journal_is_json_by_line(journal: Journal) -> None:
    """Programs of any kind can read it."""
    journal.event("CodePipeline job", {"pipeline": "qa-foo"})
    journal.event("CodePipeline job", {"pipeline": "qa-bar"})
    lines = [json.loads(text) for text in journal.path.read_text("utf-8").splitlines()]
    assert [one["about"]["pipeline"] for one in lines] == ["qa-foo", "qa-bar"]
