"""What the functions have at hand: secrets by reference, and what is put on the queue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from qa_env import runtime
from qa_env.errors import Blocked
from qa_env.model import Slug
from tests.strict_aws import StrictAWS, World, strict_aws


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[StrictAWS, World]]:
    """An account whose clients the product makes by itself."""
    with strict_aws() as aws:
        world = aws.world()
        monkeypatch.setenv("AWS_DEFAULT_REGION", aws.region)
        monkeypatch.setenv("QA_ENV_QUEUE_URL", world.queue_url)
        runtime.client.cache_clear()
        yield aws, world
        runtime.client.cache_clear()


def test_secrets_are_read_by_reference(account: tuple[StrictAWS, World]) -> None:
    """From Secrets Manager and, decrypted, from SSM."""
    aws, _ = account
    aws.client("secretsmanager").create_secret(Name="stg/redis", SecretString="from the manager")
    aws.client("ssm").put_parameter(Name="/stg/mysql", Value="from the store", Type="SecureString")
    read = runtime.secret_reader()
    assert read("secretsmanager:stg/redis") == "from the manager"
    assert read("ssm:/stg/mysql") == "from the store"


@pytest.mark.parametrize("reference", ["secretsmanager:stg/none", "ssm:/stg/none"])
def test_a_secret_that_is_missing_needs_a_person(account: tuple[StrictAWS, World], reference: str) -> None:
    """It is no mishap that the next pass may not meet."""
    with pytest.raises(Blocked, match=f"reading {reference}"):
        runtime.secret_reader()(reference)


def test_every_wake_up_is_delivered(account: tuple[StrictAWS, World]) -> None:
    """One that comes during a pass must cause another pass: none is taken for a duplicate."""
    aws, world = account
    sqs = aws.client("sqs")
    for _ in range(2):
        runtime.wake(Slug("qa-foo"), "a test")
    received = sqs.receive_message(QueueUrl=world.queue_url, MaxNumberOfMessages=10)["Messages"]
    assert [json.loads(one["Body"]) for one in received] == [{"slug": "qa-foo", "why": "a test"}] * 2


def test_many_are_woken_with_their_reasons(account: tuple[StrictAWS, World]) -> None:
    """More than one call takes; none is left out."""
    aws, world = account
    wanted = {(f"qa-{number}", f"reason {number}") for number in range(2 * runtime.MESSAGES_PER_CALL + 1)}
    runtime.wake_all([(Slug(slug), why) for slug, why in sorted(wanted)])
    found = set()
    while received := aws.client("sqs").receive_message(QueueUrl=world.queue_url, MaxNumberOfMessages=10):
        if "Messages" not in received:
            break
        found |= {(body["slug"], body["why"]) for body in map(json.loads, bodies(received))}
    assert found == wanted


def bodies(received: dict[str, Any]) -> list[str]:
    return [one["Body"] for one in received["Messages"]]


def test_who_could_not_be_woken_is_named(account: tuple[StrictAWS, World]) -> None:
    """SQS refuses single messages of a call by its answer, not by an error."""
    aws, _ = account

    def refuse(_: str, params: dict[str, Any]) -> dict[str, Any]:
        last = params["Entries"][-1]["Id"]
        return {"Successful": [], "Failed": [{"Id": last, "Code": "InternalError", "SenderFault": False}]}

    aws.serve("sqs:SendMessageBatch", refuse)
    with pytest.raises(RuntimeError, match=r"not taken: qa-bar \(InternalError\)$"):
        runtime.wake_all([(Slug("qa-foo"), "a test"), (Slug("qa-bar"), "a test")])


def test_a_postponed_message_comes_back(account: tuple[StrictAWS, World]) -> None:
    """At once, if so asked; the queue's own time-out would hide it for longer."""
    aws, world = account
    runtime.wake(Slug("qa-foo"), "a test")
    (first,) = aws.client("sqs").receive_message(QueueUrl=world.queue_url)["Messages"]
    assert "Messages" not in aws.client("sqs").receive_message(QueueUrl=world.queue_url)
    runtime.postpone(first["ReceiptHandle"], 0)
    (again,) = aws.client("sqs").receive_message(QueueUrl=world.queue_url)["Messages"]
    assert again["Body"] == first["Body"]
