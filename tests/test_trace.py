"""Subsegments: what the daemon is told, and that nothing depends on it."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from handlers import signals, webhook
from qa_env import calls, trace
from qa_env.blueprint import index
from qa_env.model import Slug
from qa_env.receiver import Receiver
from qa_env.watch import Watch
from tests.fakes import MemoryStore
from tests.making import blueprint, environment, event
from tests.strict_aws import strict_aws

SECRET = b"It's a Secret to Everybody"
ROOT, PARENT = "1-581cf771-a006649127e371903a2de979", "70de5b6f19ff9a0c"


@dataclass
class Daemon:
    """What it has been sent."""

    inbox: socket.socket

    def told(self) -> list[dict[str, Any]]:
        """Every document so far."""
        found = []
        while True:
            try:
                datagram = self.inbox.recv(65536)
            except TimeoutError:
                return found
            head, _, document = datagram.partition(b"\n")
            assert json.loads(head) == {"format": "json", "version": 1}
            found.append(json.loads(document))


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A daemon, and an invocation that is sampled."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inbox:
        inbox.bind(("127.0.0.1", 0))
        inbox.settimeout(0.1)
        monkeypatch.setenv("AWS_XRAY_DAEMON_ADDRESS", f"127.0.0.1:{inbox.getsockname()[1]}")
        monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root={ROOT};Parent={PARENT};Sampled=1;Lineage=1:a:0")
        yield Daemon(inbox)


def test_a_subsegment_hangs_under_lambdas_segment(daemon: Daemon) -> None:
    """With the identifiers of the invocation, one of its own, its time and what it is about."""
    with trace.about("pass", environment="qa-foo"):
        pass
    (told,) = daemon.told()
    assert (told["type"], told["trace_id"], told["parent_id"]) == ("subsegment", ROOT, PARENT)
    assert len(told["id"]) == 16
    assert told["start_time"] <= told["end_time"]
    assert (told["name"], told["annotations"]) == ("pass", {"environment": "qa-foo"})


def test_what_breaks_is_told_too(daemon: Daemon) -> None:
    with pytest.raises(ZeroDivisionError), trace.about("pass", environment="qa-foo"):
        1 // 0  # noqa: B018 - it is for the error
    assert [one["name"] for one in daemon.told()] == ["pass"]


def test_a_call_to_aws_is_a_subsegment_without_what_was_given(daemon: Daemon) -> None:
    with strict_aws() as aws:
        sqs = calls.logged(aws.client("sqs"))
        url = sqs.create_queue(QueueName="one")["QueueUrl"]
        with pytest.raises(sqs.exceptions.ClientError):
            sqs.send_message(QueueUrl=f"{url}-none", MessageBody="what was sent")
    made, refused = daemon.told()
    assert (made["name"], made["namespace"], made["error"]) == ("sqs", "aws", False)
    assert made["aws"]["operation"] == "CreateQueue"
    assert (refused["aws"]["operation"], refused["error"]) == ("SendMessage", True)
    assert "what was sent" not in json.dumps(refused)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("_X_AMZN_TRACE_ID", f"Root={ROOT};Parent={PARENT};Sampled=0"),
        ("_X_AMZN_TRACE_ID", "nonsense"),
        ("_X_AMZN_TRACE_ID", ""),
        ("AWS_XRAY_DAEMON_ADDRESS", ""),
        ("AWS_XRAY_DAEMON_ADDRESS", "no-port"),
        ("AWS_XRAY_DAEMON_ADDRESS", "no.such.host.invalid:2000"),
        ("AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1:many"),
    ],
)
def test_who_is_not_traced_works_on(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """Nothing is sent and nothing is raised."""
    monkeypatch.setenv(variable, value)
    trace.record("pass", 0.0)
    assert daemon.told() == []


def test_an_event_is_about_its_environment(daemon: Daemon) -> None:
    store = MemoryStore()
    store.desire(environment("qa-foo"), None)
    woken: list[Slug] = []
    watch = Watch(store, lambda slug, why: woken.append(slug))
    signals.handler(event("codepipeline-execution-failed"), None, watch=watch)
    assert woken == ["qa-foo"]
    assert [one["annotations"] for one in daemon.told()] == [{"environment": "qa-foo"}]


def test_a_delivery_is_about_its_environments(daemon: Daemon) -> None:
    """With GitHub's id of it: what the pass behind the queue says is about the same slug."""
    taken: list[str] = []
    receiver = Receiver([SECRET], index([blueprint()]), lambda change, _: taken.append(change.slug))
    body = json.dumps(event("push-update")["body"])
    signature = hmac.new(SECRET, body.encode(), hashlib.sha256).hexdigest()
    headers = {
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": "1-2-3",
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    sent = {"requestContext": {"http": {"method": "POST"}}, "headers": headers, "body": body}
    assert webhook.handler(sent, None, receiver=receiver)["statusCode"] == 202
    assert [one["annotations"] for one in daemon.told()] == [
        {"environment": slug, "delivery": "1-2-3"} for slug in taken
    ]
    assert taken
