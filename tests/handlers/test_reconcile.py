"""Queue → passes: what fails comes again alone, what will never work is dropped, everything else happens."""

from __future__ import annotations

import copy
import hashlib
import io
import itertools
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from handlers import reconcile
from qa_env import github, naming
from qa_env.blueprint import index
from qa_env.controller import Controller, Plan
from qa_env.errors import NotReady
from qa_env.model import Change, Desired, Environment, Ref, Slug
from qa_env.watch import NOT_SETTLED
from tests.event_source import properties
from tests.fakes import MemoryStore, NothingToClaim
from tests.making import EVENTS, REPOSITORY, A, B, blueprint, environment, event

GITHUB = sorted(path.stem for path in EVENTS.glob("push-*.json"))
MADE = blueprint(
    github=None, pipeline={**blueprint().pipeline.model_dump(), "start": "push", "required_checks": ()}
)


class Claiming(NothingToClaim):
    """Claims nothing, and breaks for environments that a test has poisoned."""

    def __init__(self) -> None:
        self.poisoned: set[str] = set()

    def ensure(self, env: Environment) -> tuple[Environment, dict[str, str]]:
        if env.slug in self.poisoned:
            raise RuntimeError("a bug")
        return env, {}


class Queue:
    """The handler over a store in memory, and the messages that it asks to have again."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.claims = Claiming()
        self.held: list[str] = []
        self.postponed: list[tuple[str, int]] = []
        self.throttled = False
        self.wakes: list[Slug] = []
        self.looked: reconcile.Looked = {}
        plan = Plan(self.claims, build=[], tear_down=[], retired=lambda gone: [])
        self.controller = Controller(
            self.store, {REPOSITORY: MADE}, lambda _: plan, lambda slug, why: self.wakes.append(slug)
        )

    def deliver(self, *messages: Any, received: int = 1, age: float = 0, waited: float = 0) -> list[str]:
        """Deliver these bodies as one batch; the numbers of those that must come again.

        They were sent `age` seconds ago, and first received so many seconds later as they `waited`.
        """
        records = [record(number, body, received) for number, body in enumerate(messages)]
        sent = time.time() - age
        for one in records:
            one["attributes"]["SentTimestamp"] = str(int(sent * 1000))
            one["attributes"]["ApproximateFirstReceiveTimestamp"] = str(int((sent + waited) * 1000))
        answer = reconcile.handler(
            {"Records": records},
            None,
            controller=self.controller,
            postpone=self._postpone,
            looked=self.looked,
        )
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def _postpone(self, receipt: str, seconds: int) -> None:
        """Every message is held first, for a function that dies; the last word counts."""
        if self.throttled:
            said = {"Error": {"Code": "RequestThrottled", "Message": "Too many requests"}}
            raise ClientError(said, "ChangeMessageVisibility")
        if seconds == reconcile.HOLD:
            self.held.append(receipt)
        else:
            self.postponed.append((receipt, seconds))

    def looked_at(self, slug: str) -> bool:
        """Has a pass been over this environment?"""
        env = self.store.get(Slug(slug))
        return env is not None and "claims" in env.conditions


@pytest.fixture
def queue() -> Queue:
    return Queue()


def record(number: int, message: Any, received: int = 1) -> dict[str, Any]:
    """The example's record with another body; its group is the slug, as the senders make it."""
    body = message if isinstance(message, str) else json.dumps(message)
    made = copy.deepcopy(event("sqs-wake")["Records"][0])
    group = message.get("slug", "x") if isinstance(message, dict) else "x"
    made |= {"messageId": str(number), "receiptHandle": f"receipt-{number}", "body": body}
    made["md5OfBody"] = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
    made["attributes"] |= {"MessageGroupId": str(group), "ApproximateReceiveCount": str(received)}
    return made


def change(branch: str, ref: Ref = Ref.PRESENT, **changes: Any) -> dict[str, Any]:
    """The message that the receiver makes of a webhook."""
    slug = naming.slug("", REPOSITORY, branch)
    made = Change(slug, REPOSITORY, branch, ref, A if ref is Ref.PRESENT else "", by="hanako", event="push")
    return {"slug": slug, "change": made.to_dict() | changes}


def wake(slug: str) -> dict[str, Any]:
    return {"slug": slug, "why": "a test"}


class TestMessages:
    def test_the_example_wakes_its_environment(self, queue: Queue) -> None:
        """A message without a change is a pass over what is there."""
        queue.store.desire(environment(), None)
        example = event("sqs-wake")
        answer = reconcile.handler(example, None, controller=queue.controller, postpone=lambda *_: None)
        assert answer == {"batchItemFailures": []}
        assert queue.looked_at("qa-foo")

    def test_waking_what_is_not_there_does_nothing(self, queue: Queue) -> None:
        """A late wake-up makes no ghost."""
        assert queue.deliver(wake("qa-foo")) == []
        assert queue.store.records == {}

    @pytest.mark.parametrize("name", GITHUB)
    def test_githubs_examples_arrive(self, queue: Queue, name: str) -> None:
        """From GitHub's payload to the record: the branch, the commit and who pushed it."""
        envelope = event(name)
        headers = {key.lower(): value for key, value in envelope["headers"].items()}
        reception = github.receive(headers, json.dumps(envelope["body"]).encode(), index([MADE]))
        messages = [{"slug": one.slug, "change": one.to_dict()} for one in reception.changes]
        assert queue.deliver(*messages, wake("qa-other")) == []
        pushed = [one for one in reception.changes if one.ref is Ref.PRESENT]
        assert list(queue.store.records) == [one.slug for one in pushed]
        for one in pushed:
            env = queue.store.records[Slug(one.slug)]
            assert (env.branch, env.commit, env.by) == (one.branch, one.commit, one.by)
            assert queue.looked_at(one.slug)

    def test_a_push_and_its_delete(self, queue: Queue) -> None:
        """In one batch, in order; nothing was made, so nothing is left after two looks."""
        assert queue.deliver(change("qa/foo"), change("qa/foo", Ref.ABSENT)) == []
        env = queue.store.get(Slug("qa-foo"))
        assert env is None or env.desired is Desired.ABSENT
        queue.deliver(wake("qa-foo"), wake("qa-foo"))
        assert queue.store.records == {}

    def test_a_newer_receivers_message_is_read(self, queue: Queue) -> None:
        """Between the deployments of two functions."""
        message = change("qa/foo", priority="high") | {"sent": "2026-11-02"}
        assert queue.deliver(message) == []
        assert queue.looked_at("qa-foo")


class TestRejected:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"repository": "example/unknown"}, "no blueprint for repository example/unknown"),
            ({"branch": "qa/bar"}, "is environment qa-bar, not 'qa-foo'"),
        ],
    )
    def test_what_nothing_covers_is_dropped_with_a_warning(
        self, queue: Queue, caplog: pytest.LogCaptureFixture, changes: dict[str, str], said: str
    ) -> None:
        """It would never work, so it must not come again; the log says what it was."""
        message = change("qa/foo")
        message["change"] |= changes
        assert queue.deliver(message, change("qa/baz")) == []
        assert list(queue.store.records) == ["qa-baz"]
        assert queue.postponed == []
        (warning,) = [one for one in caplog.records if one.levelno == logging.WARNING]
        assert said in warning.getMessage()

    def test_a_branch_that_would_share_anothers_name_is_dropped(
        self, queue: Queue, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Six digits of a hash can be met on purpose: the environment stays the first branch's."""
        first, second = colliding()
        queue.deliver(change(first))
        before = queue.store.get(naming.slug("", REPOSITORY, first))
        assert queue.deliver(change(second), change(second, Ref.ABSENT)) == []
        assert queue.store.get(naming.slug("", REPOSITORY, first)) == before
        assert before
        assert before.branch == first
        assert "rename" in caplog.text


class TestFailures:
    def test_a_failed_message_fails_alone(self, queue: Queue) -> None:
        """One broken environment never stops the others of the batch."""
        queue.claims.poisoned = {"qa-bad"}
        branches = ["qa/one", "qa/bad", "qa/two", "qa/three"]
        assert queue.deliver(*map(change, branches)) == ["1"]
        phases = [queue.store.records[Slug(branch.replace("/", "-"))].phase for branch in branches]
        assert phases == ["ready", "failed", "ready", "ready"]

    def test_what_follows_in_the_same_group_waits(self, queue: Queue) -> None:
        """The order within one environment is kept: its later messages come again after the failed one."""
        queue.claims.poisoned = {"qa-bad"}
        assert queue.deliver(change("qa/bad"), change("qa/one"), wake("qa-bad"), wake("qa-one")) == ["0", "2"]

    def test_a_batch_that_fails_altogether_is_an_answer_too(self, queue: Queue) -> None:
        """Every message comes again, and the function itself has not failed."""
        queue.claims.poisoned = {"qa-bad", "qa-worse"}
        assert queue.deliver(change("qa/bad"), change("qa/worse")) == ["0", "1"]

    @pytest.mark.parametrize(
        "body",
        [
            "",
            "{",
            "[]",
            "null",
            "7",
            "{}",
            '{"slug": "qa-foo", "change": {}}',
            '{"slug": "qa-foo", "change": 7}',
        ],
    )
    def test_what_cannot_be_read_goes_to_the_dead_letters(self, queue: Queue, body: str) -> None:
        """After its attempts; it is not dropped in silence, and the others happen."""
        assert queue.deliver(body, change("qa/one")) == ["0"]
        assert queue.looked_at("qa-one")

    def test_the_conditions_are_saved_before_a_message_fails(self, queue: Queue) -> None:
        """What people asked for is written down even if the pass breaks."""
        queue.claims.poisoned = {"qa-bad"}
        queue.deliver(change("qa/bad", commit=B))
        env = queue.store.get(Slug("qa-bad"))
        assert env
        assert env.commit == B

    @pytest.mark.parametrize(("received", "seconds"), [(1, 2), (2, 4)])
    def test_a_pass_that_broke_comes_back_a_little_later(
        self, queue: Queue, received: int, seconds: int
    ) -> None:
        """After seconds, not after the queue's visibility timeout; what succeeded is not touched."""
        queue.claims.poisoned = {"qa-bad"}
        assert queue.deliver(change("qa/one"), change("qa/bad"), received=received) == ["1"]
        assert queue.postponed == [("receipt-1", seconds)]

    def test_a_pass_that_keeps_breaking_is_left_to_the_tick(
        self, queue: Queue, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The push that repairs the branch must not stand behind it; an alarm counts the words."""
        queue.claims.poisoned = {"qa-bad"}
        assert queue.deliver(change("qa/bad"), change("qa/bad", commit=B), received=3) == []
        assert queue.postponed == []
        assert queue.store.records[Slug("qa-bad")].commit == B
        assert "a pass keeps failing" in caplog.text

    @pytest.mark.parametrize("received", [4, 99])
    def test_what_killed_its_function_is_written_down_and_left_to_the_tick(
        self, queue: Queue, received: int
    ) -> None:
        """Who broke three times would have said so: it died."""
        assert queue.deliver(change("qa/foo"), received=received) == []
        assert queue.store.records[Slug("qa-foo")].commit == A
        assert not queue.looked_at("qa-foo")

    def test_a_function_that_dies_holds_its_message_a_little_longer_than_it_may_run(
        self, queue: Queue
    ) -> None:
        """And not for as long as a message is hidden that nobody could be invoked for."""
        queue.deliver(change("qa/one"), change("qa/two"))
        assert queue.held == ["receipt-0", "receipt-1"]
        timeout = properties("ReconcileFunction")["Timeout"]
        assert timeout < reconcile.HOLD < properties("Queue")["VisibilityTimeout"]

    @pytest.mark.parametrize(
        ("why", "age", "happens"),
        [
            (NOT_SETTLED, 0, True),
            (NOT_SETTLED, reconcile.TICKS - 5, True),
            (NOT_SETTLED, reconcile.TICKS + 5, False),
            ("built", reconcile.TICKS + 5, True),
        ],
    )
    def test_ticks_that_were_long_in_the_queue_say_nothing_new(
        self, queue: Queue, why: str, age: float, happens: bool
    ) -> None:
        """Younger ones stand behind them, and perhaps a push."""
        queue.store.desire(environment(), None)
        assert queue.deliver({"slug": "qa-foo", "why": why}, age=age) == []
        assert queue.looked_at("qa-foo") == happens

    @pytest.mark.parametrize(("received", "seconds"), [(1, 2), (2, 4), (8, 256), (9, 300), (99, 300)])
    def test_a_change_that_cannot_be_written_down_comes_back_always(
        self, queue: Queue, monkeypatch: pytest.MonkeyPatch, received: int, seconds: int
    ) -> None:
        """Later and later, five minutes at most, and never dropped: nothing else knows of it."""
        monkeypatch.setattr(queue.store, "desire", out_of_order)
        assert queue.deliver(change("qa/foo"), received=received) == ["0"]
        assert queue.postponed == [("receipt-0", seconds)]

    def test_an_alarm_can_count_what_needs_a_person(
        self, queue: Queue, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Whatever the phase is called: template.yaml's filter looks at this field."""
        caplog.set_level(logging.INFO)
        queue.deliver(change("qa/foo"))
        assert [one.blocked for one in caplog.records if one.message == "a pass"] == [False]
        template = (Path(__file__).parents[2] / "template.yaml").read_text("utf-8")
        assert '{ $.message = "a pass" && $.blocked IS TRUE }' in template

    def test_a_repaired_environment_goes_on(self, queue: Queue) -> None:
        """The same message, once the trouble is over."""
        queue.claims.poisoned = {"qa-bad"}
        assert queue.deliver(change("qa/bad")) == ["0"]
        queue.claims.poisoned = set()
        assert queue.deliver(change("qa/bad"), received=2) == []
        assert queue.looked_at("qa-bad")


class TestMessagesThatCannotBeHeld:
    """SQS refuses to change a message's visibility, for as long as a test says."""

    @pytest.fixture
    def queue(self, queue: Queue) -> Queue:
        queue.throttled = True
        return queue

    def test_they_are_worked_off_all_the_same(self, queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
        """Failing, they would come back after the queue's twelve minutes, and their group with them."""
        assert queue.deliver(change("qa/foo"), wake("qa-foo")) == []
        assert queue.store.records[Slug("qa-foo")].commit == A
        assert queue.looked_at("qa-foo")
        assert caplog.text.count("a message that cannot be held") == 2
        assert "RequestThrottled" in caplog.text

    def test_the_log_says_whose_they_are(self, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
        """Before the body is read, and not whose the one before was."""
        log = io.StringIO()
        monkeypatch.setattr(reconcile.logger.registered_handler, "stream", log)
        queue.deliver(wake("qa-foo"), wake("qa-bar"))
        lines = [json.loads(line) for line in log.getvalue().splitlines()]
        held = [one["environment"] for one in lines if one["message"] == "a message that cannot be held"]
        assert held == ["qa-foo", "qa-bar"]

    def test_a_change_that_cannot_be_written_down_comes_again_whenever_that_is(
        self, queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It must not be lost; and the log says why it failed, not only that it was not held."""
        monkeypatch.setattr(queue.store, "desire", out_of_order)
        assert queue.deliver(change("qa/foo")) == ["0"]
        assert "the table cannot be reached" in caplog.text

    def test_a_pass_that_broke_is_left_to_the_tick(
        self, queue: Queue, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It could not be tried again within seconds, and the push that repairs it must not wait minutes."""
        queue.claims.poisoned = {"qa-bad"}
        assert queue.deliver(change("qa/bad"), change("qa/bad", commit=B)) == []
        assert queue.store.records[Slug("qa-bad")].commit == B
        assert "a pass keeps failing" in caplog.text


class TestWakeUpsInBursts:
    """A wake-up is about what happened before it was sent, so a later pass has seen that."""

    @pytest.mark.parametrize(("age", "happens"), [(10, False), (1, True)])
    def test_one_that_a_whole_pass_came_after_is_no_reason_for_another(
        self, queue: Queue, age: float, happens: bool
    ) -> None:
        """The pass began five seconds ago."""
        queue.deliver(change("qa/foo"), age=5)
        forget_passes(queue, "qa-foo")
        assert queue.deliver(wake("qa-foo"), age=age) == []
        assert queue.looked_at("qa-foo") == happens

    def test_what_counts_is_when_the_pass_began_and_not_when_it_was_asked_for(self, queue: Queue) -> None:
        """Its message was sent 20 seconds ago and had waited for 15."""
        queue.deliver(change("qa/foo"), age=20, waited=15)
        forget_passes(queue, "qa-foo")
        queue.deliver(wake("qa-foo"), age=10)
        assert not queue.looked_at("qa-foo")

    def test_a_pass_over_another_environment_is_none(self, queue: Queue) -> None:
        queue.store.desire(environment(), None)
        queue.deliver(change("qa/bar"), age=5)
        queue.deliver(wake("qa-foo"), age=10)
        assert queue.looked_at("qa-foo")

    @pytest.mark.parametrize("received", [1, reconcile.PASSES])
    def test_a_pass_that_broke_is_none(self, queue: Queue, received: int) -> None:
        """Whether it comes again or is left to the tick."""
        queue.claims.poisoned = {"qa-foo"}
        queue.deliver(change("qa/foo"), age=5, received=received)
        queue.claims.poisoned = set()
        forget_passes(queue, "qa-foo")
        queue.deliver(wake("qa-foo"), age=10)
        assert queue.looked_at("qa-foo")

    def test_news_of_the_branch_is_never_late(self, queue: Queue) -> None:
        """It is written down, and looked at, whenever it comes."""
        queue.deliver(change("qa/foo"), age=5)
        queue.deliver(change("qa/foo", commit=B), age=10)
        assert queue.store.records[Slug("qa-foo")].commit == B
        assert queue.looked_at("qa-foo")

    def test_a_pass_that_could_not_look_is_none(self, queue: Queue) -> None:
        """Without its blueprint, or an answer of GitHub, it has seen nothing of the world."""
        queue.store.desire(environment(repository="example/unknown"), None)
        queue.deliver(wake("qa-foo"))
        assert queue.looked == {}

    def test_a_function_that_is_new_knows_of_no_pass(self, queue: Queue) -> None:
        """What another sandbox has seen is looked at once more, which does no harm."""
        queue.deliver(change("qa/foo"), age=5)
        forget_passes(queue, "qa-foo")
        queue.looked.clear()
        queue.deliver(wake("qa-foo"), age=10)
        assert queue.looked_at("qa-foo")


def forget_passes(queue: Queue, slug: str) -> None:
    """As if no pass had been over it, so that the next one shows."""
    queue.store.records[Slug(slug)] = replace(queue.store.records[Slug(slug)], conditions={})


def out_of_order(*_: object, **__: object) -> None:
    raise RuntimeError("the table cannot be reached")


def colliding() -> tuple[str, str]:
    """Two branches with one slug: one word in capitals and small letters, until two hashes meet."""
    seen: dict[Slug, str] = {}
    for spelling in itertools.product(*((letter, letter.upper()) for letter in "abcdefghijklmnopqrs")):
        branch = f"qa/{''.join(spelling)}"
        slug = naming.slug("", REPOSITORY, branch)
        if slug in seen:
            return seen[slug], branch
        seen[slug] = branch
    raise AssertionError("no two hashes met")


@dataclass
class Thing:
    """What is gone whenever somebody looks, or not yet."""

    name: str = ""
    until: int = 0
    kind: str = "thing"

    def ensure(self, env: Environment) -> dict[str, str]:
        return {}

    def delete(self, env: Environment) -> None:
        if self.until:
            raise NotReady("still there")

    def owners(self) -> Iterator[Slug]:
        return iter(())


class TestSecondLook:
    @pytest.fixture
    def leaving(self, queue: Queue) -> Queue:
        """An environment of which nothing is left."""
        plan = Plan(queue.claims, build=[], tear_down=[[Thing()]], retired=lambda gone: [])
        queue.controller = replace(queue.controller, plan=lambda _: plan, apart=20)
        queue.store.desire(environment(desired=Desired.ABSENT), None)
        return queue

    def test_it_is_not_left_to_the_tick(self, leaving: Queue) -> None:
        """Nothing in AWS says that twenty seconds have passed, so the message comes again."""
        assert leaving.deliver(wake("qa-foo")) == ["0"]
        assert leaving.postponed == [("receipt-0", 20)]
        leaving.controller = replace(leaving.controller, clock=lambda: time.time() + 20)
        assert leaving.deliver(wake("qa-foo"), received=2) == []
        assert leaving.store.get(Slug("qa-foo")) is None

    def test_a_message_that_came_too_early_waits_for_the_rest(self, leaving: Queue) -> None:
        leaving.deliver(wake("qa-foo"))
        leaving.controller = replace(leaving.controller, clock=lambda: time.time() + 15)
        assert leaving.deliver(wake("qa-foo"), received=2) == ["0"]
        assert leaving.postponed[1:] in ([("receipt-0", 5)], [("receipt-0", 6)])

    def test_what_went_last_counts(self, leaving: Queue) -> None:
        """Of two things one was seen gone twelve seconds later."""
        later = [Thing("early"), Thing("late", until=12)]
        plan = Plan(leaving.claims, build=[], tear_down=[later], retired=lambda gone: [])
        leaving.controller = replace(leaving.controller, plan=lambda _: plan)
        assert leaving.deliver(wake("qa-foo")) == []
        clock = time.time() + 12
        later[1].until = 0
        leaving.controller = replace(leaving.controller, clock=lambda: clock)
        assert leaving.deliver(wake("qa-foo")) == ["0"]
        assert leaving.postponed == [("receipt-0", 20)]

    def test_a_long_wait_is_the_ticks(self, leaving: Queue) -> None:
        """The environment's messages would wait behind this one for as long."""
        leaving.controller = replace(leaving.controller, apart=3600)
        assert leaving.deliver(wake("qa-foo")) == []
        assert leaving.postponed == []

    def test_one_that_cannot_be_held_is_the_ticks(self, leaving: Queue) -> None:
        """It would come back after minutes; the tick looks within one."""
        leaving.throttled = True
        assert leaving.deliver(wake("qa-foo")) == []
        leaving.controller = replace(leaving.controller, clock=lambda: time.time() + 20)
        assert leaving.deliver(wake("qa-foo")) == []
        assert leaving.store.get(Slug("qa-foo")) is None

    def test_one_that_never_comes_to_an_end_is_left_to_the_tick(self, leaving: Queue) -> None:
        assert leaving.deliver(wake("qa-foo"), received=reconcile.PASSES) == []
        assert leaving.store.get(Slug("qa-foo")) is not None

    def test_what_is_wanted_waits_for_nothing(self, queue: Queue) -> None:
        queue.store.desire(environment(), None)
        assert queue.deliver(wake("qa-foo")) == []
