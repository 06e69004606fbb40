"""The gate: every external call passes it, and each fault does what it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from qa_env.errors import NotReady
from qa_env.model import Change, Phase, Slug
from qa_env.resources.target_group import TargetGroup
from tests.chaos.gate import Call, Fault, Gate, Killed, gated
from tests.chaos.life import BRANCH, SLUG, Life, living
from tests.installation import A, Installation, installed

GROUP = {"Name": "qa-x", "Protocol": "HTTP", "Port": 80, "TargetType": "ip"}


@pytest.fixture
def qa() -> Iterator[Installation]:
    with installed(asks_github=True) as made:
        yield made


@pytest.fixture
def gate(qa: Installation) -> Iterator[Gate]:
    with gated(qa) as made:
        yield made


@pytest.fixture
def life() -> Iterator[Life]:
    """An installation with reports."""
    with living(asks_github=True, bystander=False) as made:
        made.push(BRANCH, A)
        yield made


def at(name: str, fault: Fault) -> Any:
    """Decides this fault for the first call of that name."""
    struck: list[Call] = []

    def decide(call: Call) -> Fault | None:
        if call.name != name or struck:
            return None
        struck.append(call)
        return fault

    return decide


def create(qa: Installation) -> Any:
    return qa.aws.client("elbv2").create_target_group(VpcId=qa.world.vpc, **GROUP)


def exists(qa: Installation) -> bool:
    return "qa-x" in [g["TargetGroupName"] for g in groups(qa)]


def groups(qa: Installation) -> list[Any]:
    return qa.aws.client("elbv2").describe_target_groups()["TargetGroups"]


class TestCounting:
    def test_what_the_test_does_itself_is_not_counted(self, qa: Installation, gate: Gate) -> None:
        create(qa)
        assert gate.calls == []

    def test_calls_are_counted_by_name_and_function(self, qa: Installation, gate: Gate) -> None:
        with gate.invocation("reconcile"):
            groups(qa)
            create(qa)
        assert [(call.number, call.name, call.is_read, call.function) for call in gate.calls] == [
            (1, "elbv2:DescribeTargetGroups", True, "reconcile"),
            (2, "elbv2:CreateTargetGroup", False, "reconcile"),
        ]

    def test_a_pass_calls_every_service_through_the_gate(self, life: Life) -> None:
        life.settle()
        assert {call.service for call in life.gate.calls} == {
            *("codepipeline", "dynamodb", "ecs", "elbv2", "events"),
            *("github", "slack", "mysql", "redis", "sqs"),
        }
        functions = {"webhook", "reconcile", "deploy", "signals", "sweep"}
        assert {call.function for call in life.gate.calls} == functions

    def test_a_store_in_memory_is_behind_the_gate_too(self, qa: Installation) -> None:
        with gated(qa, store="memory") as gate:
            slug = qa.push(BRANCH, A)
            with gate.invocation("reconcile"):
                qa.run_pass(slug)
        names = [call.name for call in gate.calls if call.service == "dynamodb"]
        assert names[0] == "dynamodb:get"
        assert "dynamodb:claim" in names
        assert [call.is_read for call in gate.calls if call.name == "dynamodb:claim"] == [False]

    def test_waking_is_a_call(self, qa: Installation, gate: Gate) -> None:
        slug = qa.push(BRANCH, A)
        qa.queue.clear()
        gate.decide = at("sqs:SendMessage", Fault.CRASH_BEFORE)
        with gate.invocation("reconcile"), pytest.raises(Killed):
            qa.run_pass(slug)
        assert qa.queue == []

    @pytest.mark.parametrize("threads", [False, True])
    def test_threads_of_a_pass_belong_to_its_invocation(self, qa: Installation, threads: bool) -> None:
        with gated(qa, threads=threads) as gate:
            slug = qa.push(BRANCH, A)
            with gate.invocation("reconcile"):
                qa.run_pass(slug)
        assert "elbv2:CreateTargetGroup" in [call.name for call in gate.calls]


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "error", "takes_effect"),
        [
            (Fault.CRASH_BEFORE, Killed, False),
            (Fault.CRASH_AFTER, Killed, True),
            (Fault.ERROR, ClientError, False),
            (Fault.LOST_ANSWER, ReadTimeoutError, True),
            (Fault.THROTTLED, ClientError, False),
        ],
    )
    def test_a_fault_raises_before_or_after_the_effect(
        self, qa: Installation, gate: Gate, fault: Fault, error: type[BaseException], takes_effect: bool
    ) -> None:
        gate.decide = at("elbv2:CreateTargetGroup", fault)
        with gate.invocation("reconcile"), pytest.raises(error):
            create(qa)
        assert exists(qa) is takes_effect

    @pytest.mark.parametrize(
        ("fault", "code", "status"),
        [(Fault.ERROR, "InternalFailure", 500), (Fault.THROTTLED, "Throttling", 400)],
    )
    def test_errors_are_the_services_own(
        self, qa: Installation, gate: Gate, fault: Fault, code: str, status: int
    ) -> None:
        gate.decide = at("elbv2:CreateTargetGroup", fault)
        with gate.invocation("reconcile"), pytest.raises(ClientError) as raised:
            create(qa)
        assert raised.value.response["Error"]["Code"] == code
        assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == status

    def test_a_throttled_transaction_is_cancelled(self, qa: Installation, gate: Gate) -> None:
        slug = qa.push(BRANCH, A)
        gate.decide = at("dynamodb:TransactWriteItems", Fault.THROTTLED)
        with gate.invocation("reconcile"), pytest.raises(ClientError) as raised:
            qa.run_pass(slug)
        assert raised.value.response["Error"]["Code"] == "TransactionCanceledException"
        assert raised.value.response["CancellationReasons"][0] == {"Code": "ThrottlingError"}
        assert qa.env(slug).claims == {}

    def test_a_stale_read_answers_what_was(self, qa: Installation, gate: Gate) -> None:
        with gate.invocation("reconcile"):
            groups(qa)
            create(qa)
            gate.decide = at("elbv2:DescribeTargetGroups", Fault.STALE)
            assert not exists(qa)
            assert exists(qa)
        assert [call.can_be_stale for call in gate.calls] == [False, False, True, False]

    def test_a_stale_read_may_be_that_there_is_nothing(self, qa: Installation, gate: Gate) -> None:
        """Not found is an answer as well."""
        elbv2 = qa.aws.client("elbv2")
        with gate.invocation("reconcile"):
            with pytest.raises(elbv2.exceptions.TargetGroupNotFoundException):
                elbv2.describe_target_groups(Names=["qa-x"])
            create(qa)
            gate.decide = at("elbv2:DescribeTargetGroups", Fault.STALE)
            with pytest.raises(elbv2.exceptions.TargetGroupNotFoundException):
                elbv2.describe_target_groups(Names=["qa-x"])

    def test_a_read_without_an_earlier_answer_is_not_stale(self, qa: Installation, gate: Gate) -> None:
        create(qa)
        gate.decide = at("elbv2:DescribeTargetGroups", Fault.STALE)
        with gate.invocation("reconcile"):
            assert exists(qa)

    def test_a_replica_that_caught_up_is_not_stale(self, qa: Installation, gate: Gate) -> None:
        gate.decide = lambda call: Fault.STALE
        with gate.invocation("reconcile"):
            groups(qa)
            create(qa)
            gate.catch_up()
            assert exists(qa)

    def test_consistent_reads_are_never_stale(self, qa: Installation, gate: Gate) -> None:
        slug = qa.push(BRANCH, A)
        with gate.invocation("reconcile"):
            qa.run_pass(slug)
            qa.run_pass(slug)
        reads = [call for call in gate.calls if call.name == "dynamodb:GetItem"]
        assert reads
        assert not any(call.can_be_stale for call in reads if call.params.get("ConsistentRead"))

    @pytest.mark.parametrize("fault", [Fault.ERROR, Fault.LOST_ANSWER, Fault.THROTTLED])
    def test_a_fake_of_github_says_it_as_its_client_does(
        self, qa: Installation, gate: Gate, fault: Fault
    ) -> None:
        gate.decide = at("github:head", fault)
        assert qa.branches is not None
        with gate.invocation("reconcile"), pytest.raises(NotReady):
            qa.branches.head("example/shop", BRANCH)

    def test_a_datastore_whose_answer_is_lost_has_done_it(self, qa: Installation, gate: Gate) -> None:
        slug = qa.push(BRANCH, A)
        gate.decide = at("mysql:ensure", Fault.LOST_ANSWER)
        with gate.invocation("reconcile"), pytest.raises(ReadTimeoutError):
            qa.run_pass(slug)
        assert qa.datastores.schemas == {"qa-foo"}


class TestOverHttp:
    STATUS = f"github:POST /repos/example/shop/statuses/{A}"
    POST = "slack:POST chat.postMessage"

    def test_reports_reach_the_stand_ins_without_a_socket(self, life: Life) -> None:
        life.settle()
        assert life.env(SLUG).phase is Phase.READY
        assert life.hub.statuses(A)[-1]["state"] == "success"
        assert len(life.slack.messages) == 1

    @pytest.mark.parametrize(
        ("fault", "said", "takes_effect"),
        [
            (Fault.ERROR, "GitHub answers 500", False),
            (Fault.THROTTLED, "GitHub limits how often it is asked", False),
            (Fault.LOST_ANSWER, "GitHub cannot be asked: TimeoutError", True),
        ],
    )
    def test_github_fails_as_github_does(
        self, life: Life, fault: Fault, said: str, takes_effect: bool
    ) -> None:
        life.gate.decide = at(self.STATUS, fault)
        with life.gate.invocation("reconcile"):
            life.controller.request(_change(life))
            life.controller.reconcile(SLUG)
        assert said in life.messages(SLUG)["commit_status"]
        assert bool(life.hub.statuses(A)) is takes_effect

    @pytest.mark.parametrize(
        ("fault", "said", "messages"),
        [
            (Fault.ERROR, "Slack answers 500", 0),
            (Fault.THROTTLED, "Slack limits how often it is asked", 0),
            (Fault.LOST_ANSWER, "Slack cannot be reached: TimeoutError", 1),
        ],
    )
    def test_slack_fails_as_slack_does(self, life: Life, fault: Fault, said: str, messages: int) -> None:
        life.gate.decide = at(self.POST, fault)
        with life.gate.invocation("reconcile"):
            life.controller.request(_change(life))
            life.controller.reconcile(SLUG)
        assert said in life.messages(SLUG)["slack"]
        assert len(life.slack.messages) == messages


class TestDeath:
    def test_nothing_of_a_dead_invocation_passes(self, qa: Installation, gate: Gate) -> None:
        """Neither what catches everything nor what cleans up."""
        gate.decide = at("elbv2:DescribeTargetGroups", Fault.CRASH_AFTER)

        def run() -> None:
            try:
                groups(qa)
            finally:
                create(qa)

        with gate.invocation("reconcile"), pytest.raises(Killed):
            run()
        assert not exists(qa)
        assert [call.name for call in gate.calls] == ["elbv2:DescribeTargetGroups"]

    def test_the_next_invocation_lives(self, qa: Installation, gate: Gate) -> None:
        gate.decide = at("elbv2:CreateTargetGroup", Fault.CRASH_BEFORE)
        with gate.invocation("reconcile"), pytest.raises(Killed):
            create(qa)
        with gate.invocation("reconcile"):
            create(qa)
        assert exists(qa)

    def test_an_invocation_inside_another_dies_alone(self, qa: Installation, gate: Gate) -> None:
        """An event of one function's call may run another function."""
        gate.decide = at("elbv2:DescribeTargetGroups", Fault.CRASH_AFTER)
        with gate.invocation("reconcile"):
            with gate.invocation("signals"), pytest.raises(Killed):
                groups(qa)
            create(qa)
        assert exists(qa)

    @pytest.mark.parametrize("threads", [False, True])
    def test_a_pass_that_dies_saves_nothing(self, qa: Installation, threads: bool) -> None:
        """What works beside the call that died reaches the world no more."""
        with gated(qa, threads=threads) as gate:
            slug = qa.push(BRANCH, A)
            name = "elbv2:CreateTargetGroup"
            gate.decide = lambda call: Fault.CRASH_BEFORE if call.name == name else None
            with gate.invocation("reconcile"), pytest.raises(Killed):
                qa.run_pass(slug)
            assert not exists_any(qa, slug)
            assert qa.env(slug).conditions == {}

    def test_a_message_whose_function_died_comes_again(self, life: Life) -> None:
        life.gate.decide = at("elbv2:CreateTargetGroup", Fault.CRASH_AFTER)
        life.deliver()
        assert [(one.slug, one.received) for one in life.queue] == [(SLUG, 1)]
        assert life.broken == 1
        life.settle()
        assert life.env(SLUG).phase is Phase.READY, life.messages(SLUG)


def exists_any(qa: Installation, slug: Slug) -> bool:
    """Is there any target group of this environment?"""
    waves = qa.plan(qa.blueprint).build
    (kind, *_) = [r for wave in waves for r in wave if isinstance(r, TargetGroup)]
    return slug in set(kind.owners())


def _change(life: Life) -> Any:
    """What the webhook put on the queue."""
    return Change.from_dict(life.queue.pop().body["change"])
