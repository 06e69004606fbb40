"""Somebody who types `qa-env …` and reads what comes; the whole installation runs in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pytest

from qa_env.cli import installation as installations
from qa_env.cli.installation import Installation as Reached
from qa_env.cli.main import main
from tests.installation import Installation

STACK = "qa-env"
PAUSES = 100


class Said(NamedTuple):
    """The exit code, and what stood on standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def records(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Terminal:
    """`meanwhile` happens in the pauses of a command that waits, one after the other; then nothing does."""

    qa: Installation
    capsys: pytest.CaptureFixture[str]
    meanwhile: list[Callable[[], Any]] = field(default_factory=list)
    pauses: int = 0

    def type(self, *arguments: str) -> Said:
        """Run it, and read all that it said."""
        self.capsys.readouterr()
        self.pauses = 0
        try:
            code = main(arguments, find=self._find)
        except SystemExit as error:  # argparse's
            code = int(str(error.code))
        return Said(code, *self.capsys.readouterr())

    def _find(self, *given: Any) -> Reached:
        """As it is found, but time is the test's."""
        return replace(installations.find(*given), clock=lambda: self.qa.now, pause=self._pause)

    def _pause(self, seconds: float) -> None:
        self.pauses += 1
        assert self.pauses < PAUSES, "it would wait for ever"
        self.qa.now += seconds
        if self.meanwhile:
            self.meanwhile.pop(0)()


def interrupt() -> None:
    """Ctrl-C."""
    raise KeyboardInterrupt


def deploy_stack(qa: Installation, name: str = STACK, **outputs: str | None) -> None:
    """The stack whose outputs lead to the installation; None leaves one out."""
    known = {
        "TableName": qa.world.table,
        "QueueUrl": qa.world.queue_url,
        "DeadLetterQueueUrl": qa.world.dlq_url,
        "AuditFunctionName": "qa-env-audit",
    }
    kept = {key: {"Value": value} for key, value in (known | outputs).items() if value is not None}
    template = {
        "Parameters": {"Installation": {"Type": "String", "Default": "qa-env"}},
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": kept,
    }
    qa.aws.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(template))
    qa.aws.calls.clear()


def woken(qa: Installation) -> list[str]:
    """The environments that are on the queue now; they are taken off it."""
    sqs, found = qa.aws.client("sqs"), []
    while messages := sqs.receive_message(QueueUrl=qa.world.queue_url, MaxNumberOfMessages=10).get(
        "Messages"
    ):
        for message in messages:
            found.append(json.loads(message["Body"])["slug"])
            sqs.delete_message(QueueUrl=qa.world.queue_url, ReceiptHandle=message["ReceiptHandle"])
    return found
