"""Dead letters come back: all of them, in order, in their own group, and nothing of a payload is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from qa_env.cli import redrive
from qa_env.cli.main import main
from qa_env.cli.redrive import Letter, Redrive
from qa_env.model import Phase
from tests import light
from tests.event_source import waiting
from tests.making import A, B
from tests.strict_aws.call import Event

SECRET = "what only a commit message says"


class Letters:
    """The queues of an installation, and what a run says."""

    def __init__(self, qa: light.Installation) -> None:
        self.qa = qa
        self.said: list[str] = []
        self.put_dead = 0

    def run(self) -> Redrive:
        return Redrive(self.qa.sqs, self.qa.queue, self.qa.dead, self.tell, self.said.append, wait=0)

    def tell(self, result: str, letter: Letter) -> None:
        self.said.append(f"{result}: {letter}")

    def die(self, group: str, body: str, attributes: Mapping[str, Any] | None = None) -> None:
        """This message died."""
        self.put_dead += 1
        self.qa.sqs.send_message(
            QueueUrl=self.qa.dead,
            MessageBody=body,
            MessageGroupId=group,
            MessageDeduplicationId=f"dead-{self.put_dead}",
            MessageAttributes=attributes or {},
        )

    def on(self, url: str) -> list[tuple[str, str]]:
        """(group, body) of everything on a queue, in each group's order; it is taken off it."""
        found = []
        while messages := self.qa.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"]
        ).get("Messages"):
            for message in messages:
                found.append((message["Attributes"]["MessageGroupId"], message["Body"]))
                self.qa.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    def fail(self, operation: str, number: int, when: str = "before") -> None:
        """The n-th such call from now on fails, before or after its effect."""
        calls = iter(range(1, number + 1))

        def strike(call: Event) -> None:
            if call.operation == operation and call.moment == when and next(calls, None) == number:
                raise ClientError({"Error": {"Code": "InternalError", "Message": "no"}}, operation)

        self.qa.aws.on_call(strike)


@pytest.fixture
def letters() -> Iterator[Letters]:
    with light.installed() as qa:
        yield Letters(qa)


def change(number: int, branch: str = "qa/foo") -> str:
    """The message of a push."""
    said = {"slug": "qa-foo", "branch": branch, "ref": "present", "event": "push", "commit": f"{number:040x}"}
    return json.dumps({"slug": "qa-foo", "change": said | {"by": SECRET}})


def test_every_message_comes_back_in_its_group_and_order(letters: Letters) -> None:
    """More than one call receives, of several environments, byte by byte."""
    dead = [(f"qa-{number % 3}", change(number)) for number in range(25)]
    for group, body in dead:
        letters.die(group, body)
    assert letters.run().move()
    assert waiting(letters.qa.sqs, letters.qa.dead) == 0
    came = letters.on(letters.qa.queue)
    assert sorted(came) == sorted(dead)
    for group in ("qa-0", "qa-1", "qa-2"):
        assert [one for one in came if one[0] == group] == [one for one in dead if one[0] == group]
    assert letters.said[-1] == "25 moved."


@pytest.mark.parametrize("operation", ["SendMessage", "DeleteMessage"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_whatever_interrupts_it_loses_nothing(letters: Letters, operation: str, when: str) -> None:
    """The third call fails or its answer is lost: run again, and all have come in order, one maybe twice."""
    bodies = [change(number) for number in range(6)]
    for body in bodies:
        letters.die("qa-foo", body)
    letters.fail(operation, 3, when)
    with pytest.raises(ClientError):
        letters.run().move()
    assert letters.run().move()
    assert waiting(letters.qa.sqs, letters.qa.dead) == 0
    came = [body for _, body in letters.on(letters.qa.queue)]
    assert list(dict.fromkeys(came)) == bodies
    assert len(came) <= len(bodies) + 1


def test_what_was_received_and_not_moved_is_shown_again_at_once(letters: Letters) -> None:
    """The next run need not wait until it becomes visible."""
    for number in range(3):
        letters.die("qa-foo", change(number))
    letters.fail("SendMessage", 1)
    with pytest.raises(ClientError):
        letters.run().move()
    letters.said.clear()
    letters.run().show()
    assert len(letters.said) == 4


def test_what_comes_back_dead_ends_the_run(letters: Letters) -> None:
    """Its own message returns while it runs: it stays dead, and so does what would have come after it."""
    letters.die("qa-foo", change(1))
    run, again = letters.run(), list[str]()

    def die_again(call: Event) -> None:
        if call.operation == "DeleteMessage" and call.done and not again:
            (message,) = letters.qa.sqs.receive_message(
                QueueUrl=letters.qa.queue, MessageAttributeNames=["All"]
            )["Messages"]
            letters.qa.sqs.delete_message(QueueUrl=letters.qa.queue, ReceiptHandle=message["ReceiptHandle"])
            again.append(message["Body"])
            letters.die("qa-foo", message["Body"], message["MessageAttributes"])
            letters.die("qa-bar", change(2))

    letters.qa.aws.on_call(die_again)
    assert not run.move()
    assert letters.said[-1].startswith("1 moved. Stopped")
    assert letters.on(letters.qa.queue) == []
    assert letters.on(letters.qa.dead) == [("qa-foo", change(1)), ("qa-bar", change(2))]


def test_another_run_moves_what_came_back(letters: Letters) -> None:
    """Within five minutes, too: a queue must not take it for a duplicate of the first."""
    letters.die("qa-foo", change(1))
    letters.run().move()
    assert letters.on(letters.qa.queue) == [("qa-foo", change(1))]
    letters.die("qa-foo", change(1))
    letters.run().move()
    assert letters.on(letters.qa.queue) == [("qa-foo", change(1))]


def test_a_dry_run_moves_nothing_and_hides_nothing(letters: Letters) -> None:
    """Afterwards everything can be received as before."""
    dead = [(f"qa-{number % 2}", change(number)) for number in range(8)]
    for group, body in dead:
        letters.die(group, body)
    letters.run().show()
    assert letters.said[-1] == "8 shown; there are about 8."
    assert waiting(letters.qa.sqs, letters.qa.queue) == 0
    assert sorted(letters.on(letters.qa.dead)) == sorted(dead)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (change(1), "push of qa/foo, present"),
        (change(1, "qa/\x1b[2J\u202egnp"), "push of qa/?[2J?gnp, present"),
        (json.dumps({"slug": "qa-foo", "why": SECRET}), "a wake-up"),
        (
            json.dumps({"slug": "qa-foo", "orphan": {"slug": "qa-foo", "claims": {}}}),
            "found without a record",
        ),
        (SECRET, f"{len(SECRET)} characters that are no message of ours"),
        (json.dumps([SECRET]), f"{len(SECRET) + 4} characters that are no message of ours"),
        (json.dumps({"change": SECRET}), f"{len(SECRET) + 14} characters that are no message of ours"),
    ],
)
def test_a_line_says_what_a_message_is_about_and_no_more(letters: Letters, body: str, said: str) -> None:
    """Environment, event, branch, when and how often; nothing that only a payload says."""
    letters.die("qa-foo", body)
    letters.run().show()
    assert letters.said[0] == f"would move: qa-foo: {said}, 2027-01-15 08:00:00 UTC, received 1 times"
    assert SECRET not in "".join(letters.said)


def test_what_a_broken_table_refused_is_brought_back_to_life(letters: Letters) -> None:
    """The whole way: ten tries, a dead letter, the table repaired, redriven, ready."""
    qa = letters.qa
    broken = True

    def refuse(call: Event) -> None:
        if broken and call.operation == "TransactWriteItems" and call.moment == "before":
            raise ClientError({"Error": {"Code": "InternalServerError", "Message": "no"}}, call.operation)

    qa.aws.on_call(refuse)
    qa.push("qa/foo", A)
    qa.source.drain()
    for _ in range(10):
        qa.skip()
    assert len(qa.dead_letters()) == 1
    broken = False
    assert letters.run().move()
    qa.settle()
    assert (qa.env("qa/foo").phase, qa.env("qa/foo").commit) == (Phase.READY, A)
    assert qa.complaints() == []


def test_an_old_change_that_comes_back_takes_no_environment_back_in_time(letters: Letters) -> None:
    """Its branch has moved on meanwhile, and was deleted in the other case: that stays so."""
    qa = letters.qa
    (late,) = qa.written([("qa/foo", A)])
    qa.deliver(late[0])
    (message,) = qa.sqs.receive_message(QueueUrl=qa.queue, VisibilityTimeout=0)["Messages"]
    qa.source.drain()
    qa.clock.advance(5)
    qa.push("qa/foo", B)
    qa.settle()
    letters.die("qa-foo", message["Body"])
    letters.run().move()
    qa.settle()
    assert (qa.env("qa/foo").phase, qa.env("qa/foo").commit) == (Phase.READY, B)


class TestCommand:
    @pytest.fixture(autouse=True)
    def _no_waiting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The clock stands still, and a queue that waits for it would wait for ever."""
        monkeypatch.setattr(redrive, "WAIT", 0)

    def type(self, letters: Letters, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
        """The exit code, and standard output."""
        stack(letters.qa, "qa-env", {"QueueUrl": letters.qa.queue, "DeadLetterQueueUrl": letters.qa.dead})
        capsys.readouterr()
        return main(["redrive", *options]), capsys.readouterr().out

    def test_moves_and_says_what(self, letters: Letters, capsys: pytest.CaptureFixture[str]) -> None:
        letters.die("qa-foo", change(1))
        code, out = self.type(letters, capsys)
        assert code == 0
        assert out.splitlines()[0].startswith(
            "moved       qa-foo: push of qa/foo, present, 2027-01-15 08:00:00 UTC"
        )
        assert out.splitlines()[1:] == ["1 moved."]
        assert letters.on(letters.qa.queue) == [("qa-foo", change(1))]

    def test_a_dry_run_moves_nothing(self, letters: Letters, capsys: pytest.CaptureFixture[str]) -> None:
        letters.die("qa-foo", change(1))
        code, out = self.type(letters, capsys, "--dry-run")
        assert code == 0
        assert out.startswith("would move  qa-foo: ")
        assert letters.on(letters.qa.dead) == [("qa-foo", change(1))]

    def test_json_has_a_line_for_each(self, letters: Letters, capsys: pytest.CaptureFixture[str]) -> None:
        letters.die("qa-foo", change(1))
        letters.die("qa-bar", SECRET)
        _, out = self.type(letters, capsys, "--json")
        first, second = map(json.loads, out.splitlines())
        assert first == {
            "result": "moved",
            "slug": "qa-foo",
            "about": "push of qa/foo, present",
            "since": "2027-01-15T08:00:00Z",
            "received": 1,
            "moved_before": False,
        }
        assert second["about"] == f"{len(SECRET)} characters that are no message of ours"

    def test_what_comes_back_dead_is_a_failure(
        self, letters: Letters, capsys: pytest.CaptureFixture[str]
    ) -> None:
        letters.die("qa-foo", change(1))
        again = list[str]()

        def die_again(call: Event) -> None:
            if call.operation == "SendMessage" and call.done and not again:
                again.append(call.params["MessageBody"])
                letters.die("qa-bar", again[0], call.params["MessageAttributes"])

        letters.qa.aws.on_call(die_again)
        code, out = self.type(letters, capsys)
        assert code == 1
        assert "came back   qa-bar: " in out


def stack(qa: light.Installation, name: str, outputs: dict[str, str]) -> None:
    """A stack with these outputs."""
    template: dict[str, Any] = {
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {key: {"Value": value} for key, value in outputs.items()},
    }
    qa.aws.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(template))
