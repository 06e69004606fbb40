"""The queue as template.yaml makes it, and the event source mapping that hands its messages to reconcile.

Time is a number that a test moves, and moto's queues go by it: a message that is to come back in five minutes
comes back when the test says that five minutes have passed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from threading import Condition
from typing import Any
from unittest.mock import patch

from moto.core import DEFAULT_ACCOUNT_ID
from moto.sqs.models import sqs_backends

from scripts import expand

Handler = Callable[[dict[str, Any]], Mapping[str, Any]]


class Clock:
    """Seconds since the epoch. A look moves them by a microsecond, since moto wants time to pass."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@contextmanager
def ticking(clock: Clock) -> Iterator[None]:
    """Let moto's queues go by this clock."""
    with (
        patch("moto.sqs.models.unix_time_millis", lambda: clock() * 1000),
        patch("moto.sqs.models.unix_time", lambda: clock()),
    ):
        yield


@cache
def properties(resource: str) -> dict[str, Any]:
    """What template.yaml says of a resource."""
    return dict(expand.sam()["Resources"][resource]["Properties"])


def make_queues(sqs: Any) -> tuple[str, str]:
    """The URLs of queue and dead-letter queue, with the template's settings."""
    dead = _make(sqs, "dead-letters.fifo", {})
    attributes = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]
    redrive = properties("Queue")["RedrivePolicy"] | {"deadLetterTargetArn": attributes["QueueArn"]}
    visibility = str(properties("Queue")["VisibilityTimeout"])
    queue = _make(
        sqs, "changes.fifo", {"RedrivePolicy": json.dumps(redrive), "VisibilityTimeout": visibility}
    )
    return queue, dead


def _make(sqs: Any, name: str, attributes: dict[str, str]) -> str:
    return str(sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"} | attributes)["QueueUrl"])


def until_next(url: str, clock: Clock) -> float:
    """Seconds until the next postponed message comes back, which no API says."""
    name = url.rpartition("/")[2]
    regions = sqs_backends[DEFAULT_ACCOUNT_ID].values()
    (queue,) = (region.queues[name] for region in regions if name in region.queues)
    messages = queue._messages
    now = clock()
    return min(at for message in messages if (at := message.visible_at / 1000) > now) - now


def waiting(sqs: Any, url: str) -> int:
    """Messages on a queue, also those that somebody has received."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return int(attributes[names[0]]) + int(attributes[names[1]])


@dataclass
class EventSource:
    """Receives one message at a time in as many threads as `ReconcileConcurrency` allows.

    What the handler does not report as failed is deleted; the rest comes again when it is visible again.
    """

    sqs: Any
    url: str
    handler: Handler
    concurrency: int = 10
    received: dict[str, int] = field(default_factory=Counter)
    """Message id → how often it was handed over."""
    together: int = 0
    """How many messages of one group were ever in flight at once, at most."""

    def __post_init__(self) -> None:
        self._changed = Condition()
        self._busy = 0
        self._in_flight: Counter[str] = Counter()

    def drain(self) -> None:
        """Hand over until nothing is visible; what was postponed stays."""
        ended: list[bool] = []
        with ThreadPoolExecutor(self.concurrency) as pool:
            for worker in [pool.submit(self._work, ended) for _ in range(self.concurrency)]:
                worker.result()

    def _work(self, ended: list[bool]) -> None:
        """Ends when nothing is visible while nobody is busy: only who is busy sends more."""
        while not ended:
            with self._changed:
                self._busy += 1
            handed = False
            try:
                handed = self._hand_over()
            finally:
                self._rest(ended, handed)

    def _rest(self, ended: list[bool], handed: bool) -> None:
        """After a message there may be others; without one, wait until somebody else has handed one over."""
        with self._changed:
            self._busy -= 1
            if self._busy == 0 and not handed:
                ended.append(True)
            if handed or ended:
                self._changed.notify_all()
            else:
                self._changed.wait()

    def _hand_over(self) -> bool:
        """One message; False if none is visible."""
        answer = self.sqs.receive_message(QueueUrl=self.url, AttributeNames=["All"])
        for message in answer.get("Messages", []):
            group = message["Attributes"]["MessageGroupId"]
            with self._flying(group):
                self.received[message["MessageId"]] += 1
                failed = self.handler({"Records": [record(message)]})["batchItemFailures"]
            if not failed:  # from here on somebody else may receive the group's next one
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return bool(answer.get("Messages"))

    @contextmanager
    def _flying(self, group: str) -> Iterator[None]:
        with self._changed:
            self._in_flight[group] += 1
            self.together = max(self.together, self._in_flight[group])
        try:
            yield
        finally:
            with self._changed:
                self._in_flight[group] -= 1


def record(message: Mapping[str, Any]) -> dict[str, Any]:
    """A received message as Lambda hands it over."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:ap-northeast-1:123456789012:qa-env.fifo",
        "awsRegion": "ap-northeast-1",
    }
