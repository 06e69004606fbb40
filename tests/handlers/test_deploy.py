"""The Deploy action: every job gets an answer, whatever happens."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from handlers import deploy
from qa_env.deployment import Outcome
from qa_env.model import Built, Condition, Desired, Environment, Slug, State
from qa_env.watch import Watch
from tests.fakes import MemoryStore
from tests.making import A, environment, event, said
from tests.strict_aws import names
from tests.test_naming import _model

COMMIT = "e222c55103b27498bcf2076a9a063988e4fec6b4"
IMAGE = f"123456789012.dkr.ecr.ap-northeast-1.amazonaws.com/shop:qa-foo-{COMMIT}"
BUILT = Built(COMMIT, IMAGE, "5e0c1c6b-7d3f-4a0e-9a64-2f3a5b7c9d11")
JOB = "11111111-abcd-1111-abcd-111111abcdef"
LIVE = {
    "service/app": said(State.READY, commit=COMMIT, execution=BUILT.execution),
    "listener/app": said(State.READY, url="http://qa.example.com:10001/"),
}


class CodePipeline:
    """The two calls that answer a job; what they refuse is what AWS's own model refuses."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, dict[str, Any]]] = []

    def put_job_success_result(self, **answer: Any) -> None:
        self._put("PutJobSuccessResult", answer)

    def put_job_failure_result(self, **answer: Any) -> None:
        self._put("PutJobFailureResult", answer)

    def _put(self, operation: str, answer: dict[str, Any]) -> None:
        assert not names.complaints("codepipeline", _model("codepipeline").operation_model(operation), answer)
        self.answers.append((operation, answer))


class BrokenStore(MemoryStore):
    """A table that cannot be reached, for so many reads."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def get(self, slug: Slug) -> Environment | None:
        if self.times > 0:
            self.times -= 1
            raise ClientError({"Error": {"Code": "Throttled", "Message": "s3cret"}}, "GetItem")
        return super().get(slug)


class Action:
    """The handler over a store in memory."""

    def __init__(self, env: Environment | None = None, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.queue: list[tuple[Slug, str]] = []
        self.codepipeline = CodePipeline()
        if env:
            self.store.records[env.slug] = env

    def run(self, sent: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """The one answer that the job got."""
        self.codepipeline.answers.clear()
        watch = Watch(self.store, lambda slug, why: self.queue.append((slug, why)))
        said_ = deploy.handler(
            sent or event("codepipeline-job"), None, watch=watch, codepipeline=self.codepipeline
        )
        (answer,) = self.codepipeline.answers
        assert answer[1]["jobId"] == JOB
        failed = answer[0] == "PutJobFailureResult"
        assert failed == (said_["outcome"] == Outcome.FAILED)
        return answer

    def reason(self, sent: dict[str, Any] | None = None) -> str:
        """Why the action failed."""
        operation, answer = self.run(sent)
        assert operation == "PutJobFailureResult"
        assert answer["failureDetails"]["type"] == "JobFailed"
        return str(answer["failureDetails"]["message"])


def failed(reason: str) -> Condition:
    """What a service says that this build does not start."""
    return said(State.FAILED, reason, commit=COMMIT, execution=BUILT.execution)


def job(**parameters: Any) -> dict[str, Any]:
    """The example with other UserParameters."""
    sent = event("codepipeline-job")
    configuration = sent["CodePipeline.job"]["data"]["actionConfiguration"]["configuration"]
    configuration["UserParameters"] = json.dumps(json.loads(configuration["UserParameters"]) | parameters)
    return sent


def again(sent: dict[str, Any], token: str) -> dict[str, Any]:
    """The next round of the same job."""
    sent["CodePipeline.job"]["data"]["continuationToken"] = token
    return sent


class TestRounds:
    def test_the_first_round_announces_what_was_built(self) -> None:
        """The record has it, the environment is woken, and the action waits."""
        action = Action(environment(commit=COMMIT))
        operation, answer = action.run()
        assert operation == "PutJobSuccessResult"
        assert answer["continuationToken"]
        assert "executionDetails" not in answer
        assert action.store.records[Slug("qa-foo")].built == BUILT
        assert action.queue == [("qa-foo", "built")]

    def test_later_rounds_announce_nothing(self) -> None:
        """The environment is not woken again by every question."""
        action = Action(environment(commit=COMMIT))
        token = action.run()[1]["continuationToken"]
        for _ in range(3):
            token = action.run(again(job(), token))[1]["continuationToken"]
        assert action.queue == [("qa-foo", "built")]
        assert len(action.store.history(Slug("qa-foo"))) == 1

    @pytest.mark.parametrize("followed", [True, False])
    def test_two_builds_of_one_commit_do_not_announce_in_turns(self, followed: bool) -> None:
        """The one that the pipeline resource does not follow waits until the other one's build is live."""
        action = Action(environment(commit=COMMIT))
        token = action.run()[1]["continuationToken"]
        env = action.store.records[Slug("qa-foo")]
        other = Built(COMMIT, IMAGE, "another")
        mine = BUILT.execution if followed else other.execution
        conditions = LIVE | {
            "service/app": said(State.READY, commit=COMMIT, execution=other.execution),
            "pipeline": said(State.WAITING, execution=mine),
        }
        action.store.records[env.slug] = replace(env, built=other, conditions=conditions)
        operation, answer = action.run(again(job(), token))
        assert operation == "PutJobSuccessResult"
        assert ("continuationToken" in answer) == followed
        assert action.store.records[env.slug].built == (BUILT if followed else other)

    def test_a_record_made_anew_is_told_again(self) -> None:
        """What was announced to a record that is lost is not known to the one after it."""
        action = Action(environment(commit=COMMIT))
        token = action.run()[1]["continuationToken"]
        action.store.records[Slug("qa-foo")] = environment(commit=COMMIT)
        action.run(again(job(), token))
        assert action.store.records[Slug("qa-foo")].built == BUILT

    def test_a_commit_that_is_live_ends_the_action(self) -> None:
        """With the URL in the pipeline's page."""
        action = Action(environment(commit=COMMIT, built=BUILT, conditions=LIVE))
        assert action.run() == (
            "PutJobSuccessResult",
            {"jobId": JOB, "executionDetails": {"summary": "http://qa.example.com:10001/"}},
        )

    def test_a_role_that_does_not_start_fails_the_action(self) -> None:
        """With ECS's reason."""
        broken = {"service/worker": failed("worker does not start: exit code 1")}
        action = Action(environment(commit=COMMIT, built=BUILT, conditions=LIVE | broken))
        assert action.reason() == "worker does not start: exit code 1"

    @pytest.mark.parametrize(
        ("env", "said_"),
        [
            (None, "the branch is gone, nothing is deployed"),
            (environment(commit=COMMIT, desired=Desired.ABSENT), "the branch is gone, nothing is deployed"),
            (environment(commit=A), f"superseded by commit {A}"),
        ],
        ids=["forgotten", "deleted", "superseded"],
    )
    def test_a_build_that_nobody_wants_fails_and_changes_nothing(
        self, env: Environment | None, said_: str
    ) -> None:
        """It revives no record and wakes nobody."""
        action = Action(env)
        assert action.reason() == f"not wanted: {said_}"
        assert action.store.get(Slug("qa-foo")) == env
        assert action.queue == []

    @pytest.mark.parametrize("length", [2048, 5000, 20_000])
    def test_a_long_reason_is_cut_to_what_aws_takes(self, length: int) -> None:
        """An answer that is refused would be none."""
        broken = {"service/app": failed("é" * length)}
        action = Action(environment(commit=COMMIT, built=BUILT, conditions=broken))
        assert len(action.reason()) == min(length, 5000)

    def test_a_long_list_of_urls_is_cut_to_what_aws_takes(self) -> None:
        """The same for a success."""
        many = {f"listener/r{n}": said(State.READY, url="http://" + "x" * 300) for n in range(10)}
        _, answer = Action(environment(commit=COMMIT, built=BUILT, conditions=LIVE | many)).run()
        assert len(answer["executionDetails"]["summary"]) == 2048


class TestEveryJobIsAnswered:
    @pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '"qa-foo"', "7", '{"slug": "qa-foo"}'])
    def test_malformed_parameters(self, text: str) -> None:
        """An action that somebody edited by hand says what it should have."""
        sent = job()
        sent["CodePipeline.job"]["data"]["actionConfiguration"]["configuration"]["UserParameters"] = text
        assert Action().reason(sent) == "UserParameters must be JSON with slug, commit, image and execution"

    @pytest.mark.parametrize("slug", ["stg*", "", 7, None, ["qa-foo"], {"a": 1}, "x" * 41])
    def test_a_slug_that_is_none(self, slug: Any) -> None:
        """Nothing is looked up by it."""
        assert Action().reason(job(slug=slug)).endswith("is not the name of an environment")

    @pytest.mark.parametrize("data", [None, {}, [], {"actionConfiguration": None}])
    def test_a_job_without_parameters(self, data: Any) -> None:
        """Only its id is needed for an answer."""
        reason = Action().reason({"CodePipeline.job": {"id": JOB, "data": data}})
        assert reason == "UserParameters must be JSON with slug, commit, image and execution"

    @pytest.mark.parametrize("parameters", [{"commit": None}, {"commit": 7}, {"image": []}, {"commit": {}}])
    def test_parameters_of_another_kind(self, parameters: Any) -> None:
        """Whatever they are, there is an answer."""
        assert Action(environment(commit=A)).reason(job(**parameters))

    def test_an_error_is_tried_again(self) -> None:
        """A throttled call does not cost a whole build: the next round finds the same job."""
        action = Action(environment(commit=COMMIT), BrokenStore(times=2))
        operation, answer = action.run()
        assert operation == "PutJobSuccessResult"
        operation, answer = action.run(again(job(), answer["continuationToken"]))
        assert operation == "PutJobSuccessResult"
        action.run(again(job(), answer["continuationToken"]))
        assert action.store.records[Slug("qa-foo")].built == BUILT
        assert action.queue == [("qa-foo", "built")]

    def test_an_error_that_stays_fails_the_action(self) -> None:
        """After some rounds, and without the error's own text, which may hold anything."""
        action = Action(environment(commit=COMMIT), BrokenStore(times=1000))
        token, rounds = "", 1
        while (answer := action.run(again(job(), token)))[0] == "PutJobSuccessResult":
            token, rounds = answer[1]["continuationToken"], rounds + 1
            assert rounds < 20
        assert rounds == deploy.ERRORS_MAX
        reason = answer[1]["failureDetails"]["message"]
        assert "ClientError" in reason
        assert "s3cret" not in reason

    def test_errors_in_a_row_are_counted_and_others_forgotten(self) -> None:
        """A round that worked begins the count anew."""
        store = BrokenStore(times=deploy.ERRORS_MAX - 1)
        action, token = Action(environment(commit=COMMIT), store), ""
        for _ in range(3):
            for _ in range(deploy.ERRORS_MAX):
                operation, answer = action.run(again(job(), token))
                assert operation == "PutJobSuccessResult"
                token = answer["continuationToken"]
            store.times = deploy.ERRORS_MAX - 1
