"""What the pipeline's Deploy action is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from qa_env.deployment import Outcome, Verdict, job_id, judge, read_job
from qa_env.model import NOT_WANTED, Built, Condition, Desired, Environment, State
from tests.making import A, B, environment, event, said

COMMIT = "e222c55103b27498bcf2076a9a063988e4fec6b4"
READY, WAITING, BLOCKED, FAILED, GONE = State.READY, State.WAITING, State.BLOCKED, State.FAILED, State.GONE


BUILT = Built(A, f"shop:qa-foo-{A}", "execution-1")


def service(state: State, message: str = "", **changes: Any) -> Condition:
    """What a service says about the build that is judged, unless something else is given."""
    return said(state, message, **{"commit": A, "execution": "execution-1"} | changes)


def env(conditions: dict[str, Condition] | None = None, **changes: Any) -> Environment:
    """Live on both roles, unless something else is said."""
    live = {
        "service/app": service(READY),
        "service/worker": service(READY),
        "curtain/app": said(READY),
        "listener/app": said(READY, url="http://qa.example.com:10001/"),
    }
    return environment(conditions=live | (conditions or {}), **changes)


class TestJob:
    def test_the_example_is_read(self) -> None:
        """Slug, commit, image and execution as the pipeline passes them."""
        job = read_job(event("codepipeline-job"))
        image = f"123456789012.dkr.ecr.ap-northeast-1.amazonaws.com/shop:qa-foo-{COMMIT}"
        assert (job.id, job.slug) == ("11111111-abcd-1111-abcd-111111abcdef", "qa-foo")
        assert job.built == Built(COMMIT, image, "5e0c1c6b-7d3f-4a0e-9a64-2f3a5b7c9d11")
        assert (job.announced, job.errors) == (False, 0)

    def test_a_later_round_knows_what_came_before_it(self) -> None:
        """Its continuation token carries it."""
        job = replace(read_job(event("codepipeline-job")), announced=True, errors=3)
        later = event("codepipeline-job")
        later["CodePipeline.job"]["data"]["continuationToken"] = job.token
        assert read_job(later) == job

    @pytest.mark.parametrize(
        "token", [None, "", "errors=3", "of others", "[]", "7", "null", "{}", '{"errors": 3}']
    )
    def test_a_token_of_others_says_nothing(self, token: str | None) -> None:
        """An earlier version's, or somebody's own: the round is as good as the first."""
        later = event("codepipeline-job")
        later["CodePipeline.job"]["data"]["continuationToken"] = token
        job = read_job(later)
        assert (job.announced, job.errors) == (False, 0)

    @pytest.mark.parametrize(
        "text",
        ["", "{", "[]", "7", '"x"', "null", "{}", '{"slug": "qa-foo", "commit": "a", "image": "i"}'],
    )
    def test_other_parameters_are_refused(self, text: str) -> None:
        """With what would be right; the job's id can be read all the same."""
        broken = event("codepipeline-job")
        broken["CodePipeline.job"]["data"]["actionConfiguration"]["configuration"]["UserParameters"] = text
        with pytest.raises(ValueError, match="must be JSON with slug, commit, image and execution"):
            read_job(broken)
        assert job_id(broken) == "11111111-abcd-1111-abcd-111111abcdef"

    @pytest.mark.parametrize(
        "remove",
        [
            lambda job: job.pop("data"),
            lambda job: job["data"].pop("actionConfiguration"),
            lambda job: job["data"]["actionConfiguration"].pop("configuration"),
            lambda job: job["data"]["actionConfiguration"]["configuration"].pop("UserParameters"),
        ],
    )
    def test_a_job_without_parameters_is_refused(self, remove: Callable[[Any], Any]) -> None:
        """Whatever is missing on the way to them."""
        broken = event("codepipeline-job")
        remove(broken["CodePipeline.job"])
        with pytest.raises(ValueError, match="UserParameters"):
            read_job(broken)

    @pytest.mark.parametrize("slug", ['""', '"stg*"', '"QA-foo"', '"qa-foo\\n"', "7", "null", '["qa-foo"]'])
    def test_a_slug_that_is_none_is_refused(self, slug: str) -> None:
        """The pipeline of somebody else deploys nothing of ours."""
        broken = event("codepipeline-job")
        configuration = broken["CodePipeline.job"]["data"]["actionConfiguration"]["configuration"]
        configuration["UserParameters"] = configuration["UserParameters"].replace('"qa-foo"', slug)
        with pytest.raises(ValueError, match="is not the name of an environment"):
            read_job(broken)


class TestVerdict:
    def test_live_on_every_role(self) -> None:
        """The pipeline's page shows the URLs."""
        assert judge(env(), BUILT) == Verdict(Outcome.LIVE, "http://qa.example.com:10001/")

    def test_live_without_a_web_role(self) -> None:
        """Workers alone are an environment too."""
        worker = environment(conditions={"service/worker": service(READY)})
        assert judge(worker, BUILT) == Verdict(Outcome.LIVE, "live")

    @pytest.mark.parametrize("gone", [None, env(desired=Desired.ABSENT)], ids=["forgotten", "deleted"])
    def test_no_environment_is_a_failure(self, gone: Environment | None) -> None:
        """A build that ends after its branch is gone revives nothing."""
        verdict = judge(gone, BUILT)
        assert verdict == Verdict(Outcome.FAILED, f"{NOT_WANTED}: the branch is gone, nothing is deployed")

    def test_a_superseded_commit_is_a_failure_that_names_the_newer_one(self) -> None:
        """Even if it is what still runs; it begins so that nobody takes it for a deployment that failed."""
        verdict = judge(env(commit=B), BUILT)
        assert verdict == Verdict(Outcome.FAILED, f"{NOT_WANTED}: superseded by commit {B}")

    def test_nothing_said_yet(self) -> None:
        """No service has spoken: nothing is concluded from silence."""
        assert judge(environment(), BUILT).outcome is Outcome.CONTINUE

    @pytest.mark.parametrize(
        "conditions",
        [
            {"service/worker": service(WAITING, "starting")},
            {"service/worker": service(READY, execution="execution-0")},
            {"service/worker": said(READY, commit=A)},
            {"service/worker": service(READY, generation=6)},
            {"curtain/app": said(WAITING)},
            {"curtain/app": said(READY, generation=6)},
            {"curtain/admin": said(FAILED)},
        ],
        ids=[
            "starting",
            "other build",
            "no build",
            "old wish",
            "curtain up",
            "old curtain",
            "curtain failed",
        ],
    )
    def test_not_live_yet(self, conditions: dict[str, Condition]) -> None:
        """One role that is not there yet, or a curtain that still hangs, is not live."""
        assert judge(env(conditions), BUILT).outcome is Outcome.CONTINUE

    @pytest.mark.parametrize("state", [FAILED, BLOCKED])
    def test_a_failed_role_fails_with_its_reason(self, state: State) -> None:
        """The developer reads on the pipeline's page why it does not start."""
        reason = "worker does not start: exit code 1"
        verdict = judge(env({"service/worker": service(state, reason)}), BUILT)
        assert verdict == Verdict(Outcome.FAILED, reason)

    @pytest.mark.parametrize("kind", ["task_definition", "target_group", "listener"])
    def test_what_a_service_needs_fails_with_its_reason(self, kind: str) -> None:
        """The service would wait for it until the action times out."""
        verdict = judge(env({f"{kind}/app": said(BLOCKED, "no such service")}), BUILT)
        assert verdict == Verdict(Outcome.FAILED, "no such service")

    def test_a_failure_without_words_is_named(self) -> None:
        """The pipeline refuses an empty message."""
        assert judge(env({"service/worker": service(FAILED)}), BUILT).message == "service/worker failed"

    @pytest.mark.parametrize(
        "condition",
        [
            service(FAILED, "old", execution="execution-0"),
            service(FAILED, "old", generation=6),
            said(BLOCKED, "of no build"),
            replace(service(FAILED, "ClientError; it is tried again"), unexpected=True),
        ],
        ids=["another build", "earlier wish", "no build", "unexpected"],
    )
    def test_a_failure_that_is_no_verdict_on_this_build(self, condition: Condition) -> None:
        """What another build or an unlucky call ran into may well work in a moment."""
        assert judge(env({"service/worker": condition}), BUILT).outcome is Outcome.CONTINUE

    def test_a_role_that_was_retired_is_not_waited_for(self) -> None:
        """It left the blueprint and is gone: the others are the environment."""
        retired = {"service/admin": said(GONE), "curtain/admin": said(GONE)}
        assert judge(env(retired), BUILT).outcome is Outcome.LIVE
        assert judge(environment(conditions=retired), BUILT).outcome is Outcome.CONTINUE

    @pytest.mark.parametrize("kind", ["commit_status", "image", "checks", "pipeline"])
    def test_others_are_not_waited_for(self, kind: str) -> None:
        """A GitHub that takes no status does not hold the pipeline, nor does the pipeline itself."""
        assert judge(env({kind: said(FAILED)}), BUILT).outcome is Outcome.LIVE
