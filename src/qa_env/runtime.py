"""What a function's process has at hand: clients, table, queue and secrets, from the process environment.

Apart from `app.py` because most functions only look at records and wake: they import no resource and nothing
that those need. The receiver has its own, lighter still. Clients are made at the first use and kept for the
sandbox's life.
"""

from __future__ import annotations

import functools
import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import boto3
from botocore.config import Config

from qa_env import aws, calls, redaction
from qa_env.model import Slug
from qa_env.store import DynamoStore
from qa_env.watch import Watch

USUAL = Config(
    retries={"mode": "standard", "max_attempts": 5},
    connect_timeout=3,
    read_timeout=15,
    max_pool_connections=25,
)
# A repeated invocation would start a second purge beside the first, so this one is not retried.
PATIENT = Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=3, read_timeout=70)

MESSAGES_PER_CALL = 10  # the API reference of SendMessageBatch


@functools.cache
def client(service: str) -> Any:
    """A boto3 client, made once. (The stubs know only literal names, hence the ignore.)"""
    made = boto3.client(service, config=PATIENT if service == "lambda" else USUAL)  # type: ignore[call-overload]
    return calls.logged(redaction.redacting(made))


@functools.cache
def store() -> DynamoStore:
    """The table named by QA_ENV_TABLE."""
    table = boto3.resource("dynamodb", config=USUAL).Table(os.environ["QA_ENV_TABLE"])
    calls.logged(redaction.redacting(table.meta.client))
    return DynamoStore(table)


@functools.cache
def installation() -> str:
    """The name that all owner tags carry."""
    return os.environ["QA_ENV_INSTALLATION"]


def wake(slug: Slug, why: str) -> None:
    """Put a slug on the queue."""
    send(slug, {"why": why})


def wake_all(wakes: Sequence[tuple[Slug, str]]) -> None:
    """Put many slugs on the queue, each with its reason; raises for what SQS did not take."""
    refused = []
    for start in range(0, len(wakes), MESSAGES_PER_CALL):
        some = wakes[start : start + MESSAGES_PER_CALL]
        entries = [{"Id": str(n), **_message(slug, {"why": why})} for n, (slug, why) in enumerate(some)]
        answer = client("sqs").send_message_batch(QueueUrl=os.environ["QA_ENV_QUEUE_URL"], Entries=entries)
        refused += [f"{some[int(one['Id'])][0]} ({one['Code']})" for one in answer.get("Failed", ())]
    if refused:
        raise RuntimeError(f"waking {len(wakes)} environments: not taken: {', '.join(refused)}")


def send(slug: Slug, message: Mapping[str, Any]) -> None:
    """Put a message on the queue."""
    client("sqs").send_message(QueueUrl=os.environ["QA_ENV_QUEUE_URL"], **_message(slug, message))


def _message(slug: Slug, message: Mapping[str, Any]) -> dict[str, str]:
    """Never de-duplicated: a wake-up during a pass must cause another one."""
    return {
        "MessageBody": json.dumps({"slug": slug, **message}),
        "MessageGroupId": slug,
        "MessageDeduplicationId": uuid.uuid4().hex,
    }


def postpone(receipt: str, seconds: int) -> None:
    """Let a message that failed come back after so many seconds."""
    client("sqs").change_message_visibility(
        QueueUrl=os.environ["QA_ENV_QUEUE_URL"], ReceiptHandle=receipt, VisibilityTimeout=seconds
    )


def secret_reader() -> Callable[[str], str]:
    """Reads `secretsmanager:<id>` and `ssm:<name>`; the text is the secret, so it is never logged."""

    def read(reference: str) -> str:
        kind, _, name = reference.partition(":")
        with aws.doing(f"reading {reference}"):
            if kind == "secretsmanager":
                return str(client("secretsmanager").get_secret_value(SecretId=name)["SecretString"])
            return str(client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])

    return read


@functools.cache
def watch() -> Watch:
    """For functions that only look at records and wake."""
    return Watch(store(), wake, wake_all=wake_all)
