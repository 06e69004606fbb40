"""Bring dead letters back to the queue and say what each is about: `make redrive`, `make redrive DRY=1`.

Each message is sent to the queue in its own group, then deleted, one after the other in the order in which
they died. So it is always in one of the two queues; whoever interrupts this may leave one in both, which is
harmless, as every message only says what to look at. A message that comes back dead while this runs ends it:
what fails at once would otherwise be moved for ever.

SQS can do it by itself (StartMessageMoveTask, FIFO queues included, oldest first). But that goes on in the
background, says neither what it moved nor what came back, and cannot be tried out: neither moto nor the local
stack has it.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from local.send import STACK as LOCAL_STACK

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

DEFAULT = "qa-env"
HIDDEN = 60  # seconds that a received message is hidden from others: far longer than ten of them take
RUN = "redriven"  # the message attribute that says by which run


class NotFound(Exception):
    """There are no such queues; the text says why."""


@dataclass(frozen=True)
class Redrive:
    """One run. `wait` is how many seconds an empty queue is given to show a message after all."""

    sqs: SQSClient
    queue: str
    dead: str
    say: Callable[[str], None] = print
    wait: int = 2
    run: str = field(default_factory=lambda: uuid.uuid4().hex)

    def move(self) -> bool:
        """Move everything; False if something came back dead meanwhile, which is left where it is."""
        moved = 0
        while messages := self._receive():
            left = list(messages)
            with self._releasing(left):
                for message in messages:
                    if self._is_own(message):
                        self.say(f"came back   {about(message)}")
                        self.say(f"{moved} moved. Stopped: repair what makes this one fail, then run again.")
                        return False
                    self._move(message)
                    left.remove(message)
                    moved += 1
                    self.say(f"moved       {about(message)}")
        self.say(f"{moved} moved." if moved else "There are no dead letters.")
        return True

    def show(self) -> None:
        """List what would be moved; of an environment the first ten, a FIFO queue shows no more at a time."""
        shown: dict[str, MessageTypeDef] = {}
        held: list[MessageTypeDef] = []
        with self._releasing(held):
            while messages := self._receive():
                held += messages
                if all(message["MessageId"] in shown for message in messages):
                    break
                shown |= {message["MessageId"]: message for message in messages}
        for message in shown.values():
            self.say(f"would move  {about(message)}")
        if shown:
            self.say(f"{len(shown)} shown; there are about {max(self._count(), len(shown))}.")
        else:
            self.say("There are no dead letters.")

    def _receive(self) -> list[MessageTypeDef]:
        answer = self.sqs.receive_message(
            QueueUrl=self.dead,
            MaxNumberOfMessages=10,
            VisibilityTimeout=HIDDEN,
            WaitTimeSeconds=self.wait,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=[RUN],
        )
        return answer.get("Messages", [])

    def _is_own(self, message: MessageTypeDef) -> bool:
        attributes = message.get("MessageAttributes", {})
        return RUN in attributes and attributes[RUN].get("StringValue") == self.run

    def _move(self, message: MessageTypeDef) -> None:
        """A run's deduplication ids are its own: a message may be moved again within five minutes."""
        self.sqs.send_message(
            QueueUrl=self.queue,
            MessageBody=message["Body"],
            MessageGroupId=message["Attributes"]["MessageGroupId"],
            MessageDeduplicationId=f"{self.run}-{message['MessageId']}",
            MessageAttributes={RUN: {"DataType": "String", "StringValue": self.run}},
        )
        self.sqs.delete_message(QueueUrl=self.dead, ReceiptHandle=message["ReceiptHandle"])

    @contextmanager
    def _releasing(self, messages: list[MessageTypeDef]) -> Iterator[None]:
        """Show again, whatever happens, what is in the list at the end: it would stay hidden."""
        try:
            yield
        finally:
            for message in messages:
                with suppress(ClientError, BotoCoreError):
                    self.sqs.change_message_visibility(
                        QueueUrl=self.dead, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
                    )

    def _count(self) -> int:
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.dead, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)


def about(message: MessageTypeDef) -> str:
    """One line: environment, what it says of which branch, and since when it is dead; no more of its body."""
    attributes = message["Attributes"]
    since = datetime.fromtimestamp(int(attributes["SentTimestamp"]) / 1000, UTC)
    tries = attributes["ApproximateReceiveCount"]
    again = ", moved before" if message.get("MessageAttributes") else ""
    said = f"{_shown(attributes['MessageGroupId'])}: {_said(message['Body'])}"
    return f"{said}, {since:%Y-%m-%d %H:%M:%S} UTC, received {tries} times{again}"


def _said(body: str) -> str:
    try:
        read: Any = json.loads(body)
        change = read.get("change")
        if change:
            return f"{_shown(change.get('event'))} of {_shown(change['branch'])}, {_shown(change['ref'])}"
        return "found without a record" if "orphan" in read else "a wake-up"
    except (ValueError, TypeError, KeyError, AttributeError):
        return f"{len(body)} characters that are no message of ours"


def _shown(text: Any) -> str:
    """A branch is anybody's text: no control characters, and not at any length."""
    return "".join(one if one.isprintable() else "?" for one in str(text or "something"))[:120]


def of_stack(stack: str) -> Redrive:
    """The queues of a stack in the AWS account whose credentials are there; NotFound says what is missing."""
    try:
        answer = boto3.client("cloudformation").describe_stacks(StackName=stack)
    except ClientError as error:
        raise NotFound(f"stack {stack}: {error.response['Error'].get('Message', error)}") from error
    outputs = {one["OutputKey"]: one["OutputValue"] for one in answer["Stacks"][0].get("Outputs", [])}
    try:
        return Redrive(boto3.client("sqs"), outputs["QueueUrl"], outputs["DeadLetterQueueUrl"])
    except KeyError as error:
        raise NotFound(f"stack {stack} has no output {error}: is it qa-env's?") from error


def of_local_stack() -> Redrive:
    """The queues of the stack that `make run` has started."""
    info = json.loads(LOCAL_STACK.read_text("utf-8"))
    sqs = boto3.client(
        "sqs",
        endpoint_url=info["aws_endpoint_url"],
        region_name=info["region"],
        aws_access_key_id=info["aws_access_key_id"],
        aws_secret_access_key=info["aws_secret_access_key"],
    )
    return Redrive(sqs, info["queue_url"], info["dead_letter_queue_url"])


def find(stack: str | None) -> Redrive:
    """The named stack's; without a name the local one's if it is up, otherwise the default stack's."""
    if stack is None and LOCAL_STACK.exists():
        print("The local stack (STACK=… for one in AWS):")
        return of_local_stack()
    print(f"Stack {stack or DEFAULT}:")
    return of_stack(stack or DEFAULT)


def main(arguments: list[str] | None = None) -> int:
    """0 if all was moved or shown, 1 if something came back dead or could not be done, 130 if interrupted."""
    parser = argparse.ArgumentParser(prog="python -m scripts.redrive", description="Bring dead letters back.")
    parser.add_argument(
        "--stack", help=f"a stack in AWS; without it the local one if it is up, otherwise {DEFAULT}"
    )
    parser.add_argument("--dry-run", action="store_true", help="only list them")
    given = parser.parse_args(arguments)
    try:
        redrive = find(given.stack)
        if given.dry_run:
            redrive.show()
            return 0
        return 0 if redrive.move() else 1
    except (NotFound, BotoCoreError, ClientError) as error:
        print(f"not done: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: run it again for the rest", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
