"""`qa-env redrive`: bring dead letters back to the queue and say what each is about.

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
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from qa_env.cli import times
from qa_env.cli.ended import Exit
from qa_env.cli.installation import Installation
from qa_env.cli.output import Output
from qa_env.page.times import iso

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

HELP = "bring dead letters back to the queue, saying what each is about"
HIDDEN = 60  # seconds that a received message is hidden from others: far longer than ten of them take
WAIT = 2  # seconds that an empty queue is given to show a message after all
RUN = "redriven"  # the message attribute that says by which run


@dataclass(frozen=True)
class Letter:
    """What a dead letter is about, and no more of its body; `received` is how often it was."""

    slug: str
    about: str
    since: str
    received: int
    moved_before: bool

    def __str__(self) -> str:
        again = ", moved before" if self.moved_before else ""
        dead = f"{times.moment(self.since)} UTC, received {self.received} times{again}"
        return f"{self.slug}: {self.about}, {dead}"


@dataclass(frozen=True)
class Redrive:
    """One run. `tell` hears what became of each letter, `say` how it ended."""

    sqs: SQSClient
    queue: str
    dead: str
    tell: Callable[[str, Letter], None]
    say: Callable[[str], None]
    wait: int
    run: str = field(default_factory=lambda: uuid.uuid4().hex)

    def move(self) -> bool:
        """Move everything; False if something came back dead meanwhile, which is left where it is."""
        moved = 0
        while messages := self._receive():
            left = list(messages)
            with self._releasing(left):
                for message in messages:
                    if self._is_own(message):
                        self.tell("came back", read(message))
                        self.say(f"{moved} moved. Stopped: repair what makes this one fail, then run again.")
                        return False
                    self._move(message)
                    left.remove(message)
                    moved += 1
                    self.tell("moved", read(message))
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
            self.tell("would move", read(message))
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


def read(message: MessageTypeDef) -> Letter:
    """What a message says of which environment, and since when it is dead."""
    attributes = message["Attributes"]
    return Letter(
        slug=_shown(attributes["MessageGroupId"]),
        about=_said(message["Body"]),
        since=iso(int(attributes["SentTimestamp"]) / 1000),
        received=int(attributes["ApproximateReceiveCount"]),
        moved_before=bool(message.get("MessageAttributes")),
    )


def _said(body: str) -> str:
    try:
        known: Any = json.loads(body)
        change = known.get("change")
        if change:
            return f"{_shown(change.get('event'))} of {_shown(change['branch'])}, {_shown(change['ref'])}"
        return "found without a record" if "orphan" in known else "a wake-up"
    except (ValueError, TypeError, KeyError, AttributeError):
        return f"{len(body)} characters that are no message of ours"


def _shown(text: Any) -> str:
    """A branch is anybody's text: no control characters, and not at any length."""
    return "".join(one if one.isprintable() else "?" for one in str(text or "something"))[:120]


def configure(parser: argparse.ArgumentParser) -> None:
    """Whether to move anything."""
    parser.add_argument(
        "--dry-run", action="store_true", help="only list them, the first ten of each environment"
    )
    parser.epilog = "example: qa-env redrive --dry-run"


def run(given: argparse.Namespace, installation: Installation, out: Output) -> int:
    """A line for each letter; 1 if something came back dead."""

    def tell(result: str, letter: Letter) -> None:
        if out.json:
            out.record({"result": result, **asdict(letter)})
        else:
            out.line(f"{result:<12}{letter}")

    queues = (installation.output("QueueUrl"), installation.output("DeadLetterQueueUrl"))
    redrive = Redrive(installation.client("sqs"), *queues, tell, out.note if out.json else out.line, WAIT)
    if given.dry_run:
        redrive.show()
        return Exit.DONE
    try:
        return Exit.DONE if redrive.move() else Exit.NOT_SO
    except KeyboardInterrupt:
        out.note("qa-env: interrupted; run it again for the rest.")
        raise
