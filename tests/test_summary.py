"""The facts that every report and page shows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from qa_env.model import Built, Condition, Desired, Environment, Phase, State
from qa_env.summary import Stage, Summary, Task
from tests.making import A, blueprint, environment, example, said

READY, WAITING, BLOCKED, FAILED = State.READY, State.WAITING, State.BLOCKED, State.FAILED


def summary(blueprint_changes: dict[str, Any] | None = None, **changes: Any) -> Summary:
    return Summary(environment(**changes), blueprint(**(blueprint_changes or {})))


def listeners(state: State = READY) -> dict[str, Condition]:
    return {f"listener/{role}": said(state, url=f"http://qa/{role}") for role in ("admin", "app", "old")}


def test_the_first_web_role_of_the_blueprint_is_the_main_one() -> None:
    """Not the first of the alphabet; what the blueprint no longer has comes last."""
    made = summary(conditions=listeners())
    assert list(made.urls) == ["app", "admin", "old"]
    assert made.url == "http://qa/app"
    assert summary().url == ""


def test_reasons_are_the_trouble_or_the_first_thing_waited_for() -> None:
    """What needs a person first; each sentence once; nothing of an older wish or of a report."""
    conditions = {
        "slack": said(BLOCKED, "no such channel"),
        "service/app": said(WAITING, "app is starting"),
        "service/admin": said(WAITING, "admin is starting"),
        "schema": said(FAILED, "old", generation=6),
    }
    assert summary(conditions=conditions).reasons == ["app is starting"]
    conditions |= {"pipeline": said(FAILED, "the build failed"), "claims": said(BLOCKED, "full")}
    conditions |= {"listener/app": said(BLOCKED, "full")}
    assert summary(conditions=conditions).reasons == ["full", "the build failed"]


def stages(**statuses: str) -> str:
    return json.dumps([{"name": name, "status": status, "url": "u"} for name, status in statuses.items()])


def test_a_failed_build_names_its_stage_and_leads_to_its_log() -> None:
    failed = said(
        FAILED,
        "the build failed in Migrate",
        stages=stages(Source="Succeeded", Migrate="Failed"),
        log_url="https://log",
    )
    made = summary(conditions={"pipeline": failed})
    assert (made.phase, made.failed_stage, made.log_url) == (Phase.FAILED, "Migrate", "https://log")
    assert made.stages == [Stage("Source", "Succeeded", "u"), Stage("Migrate", "Failed", "u")]
    without = said(FAILED, "the build failed")
    assert "codepipeline/pipelines/qa-foo" in summary(conditions={"pipeline": without}).log_url


def test_a_failed_start_leads_to_what_ecs_says() -> None:
    """In the cluster where the service is, which need not be the blueprint's any more."""
    conditions = {"pipeline": said(READY), "service/worker": said(FAILED, "keeps ending", cluster="old")}
    made = summary(conditions=conditions)
    assert "clusters/old/services/qa-foo-worker/events" in made.log_url
    assert made.failed_stage == ""


def test_what_is_well_has_no_log_of_a_failure() -> None:
    """Though the build before failed."""
    assert summary(conditions={"pipeline": said(READY, log_url="https://old")}).log_url == ""


def test_the_running_stage_is_known() -> None:
    running = said(WAITING, stages=stages(Source="Succeeded", Build="InProgress", Deploy=""))
    assert summary(conditions={"pipeline": running}).stage == "Build"
    assert summary().stage == ""


def test_tasks_come_in_the_blueprints_order() -> None:
    tasks = {
        f"service/{role}": said(READY, tasks=json.dumps({"running": 1, "desired": 2, "stopped": why}))
        for role, why in (("worker", "exit 1"), ("app", ""))
    }
    assert summary(conditions=tasks).tasks == [Task("app", 1, 2), Task("worker", 1, 2, "exit 1")]


def test_a_role_that_is_gone_has_no_tasks() -> None:
    """What it said last stays in the record, for those who remove it."""
    left = said(State.GONE, tasks=json.dumps({"running": 1, "desired": 1, "stopped": ""}))
    assert summary(conditions={"service/old": left}).tasks == []


def test_links_lead_to_github_and_to_the_page() -> None:
    """A branch may be called almost anything; GitHub Enterprise has its API under a path."""
    made = summary(
        {"page": {"url": "https://qa.example.com/"}}, branch="qa/#1 <日本>"
    )  # fmt: skip
    assert made.commit_url == f"https://github.com/example/shop/commit/{A}"
    assert made.branch_url == "https://github.com/example/shop/tree/qa/%231%20%3C%E6%97%A5%E6%9C%AC%3E"
    assert made.page_url == "https://qa.example.com/environments/qa-foo"
    own = {**example()["github"], "api_url": "https://git.example.com/api/v3"}
    assert summary({"github": own}).commit_url.startswith("https://git.example.com/example/shop/")
    assert summary(commit="").commit_url == ""


def test_an_environment_without_a_blueprint_can_still_be_shown() -> None:
    """Its repository was taken out while it was up."""
    env = environment(conditions=listeners() | {"branch": said(BLOCKED, "no blueprint")})
    made = Summary(env, None)
    assert (made.url, made.page_url, made.log_url) == ("http://qa/admin", "", "")
    assert made.log_links() == made.event_links() == {}
    assert made.reasons == ["no blueprint"]


def test_logs_and_events_of_every_role() -> None:
    made = summary()
    assert set(made.log_links()) == set(made.event_links()) == {"app", "admin", "worker"}
    assert "*2fqa*2fshop*2fadmin" in made.log_links()["admin"]


class TestPhase:
    """What the page and the reports call it."""

    def ready(self, **outputs: str) -> Environment:
        built = Built(A, "image", "1")
        conditions = {"pipeline": said(READY), "service/app": said(READY, **outputs)}
        return environment(built=built, conditions=conditions)

    def test_what_sleeps_is_at_rest(self) -> None:
        assert self.ready().phase is Phase.READY
        asleep = self.ready(asleep="7")
        assert (asleep.phase, asleep.settled) == (Phase.ASLEEP, True)

    def test_a_role_that_went_while_asleep_keeps_nothing_asleep(self) -> None:
        """The blueprint lost it; the others were woken since."""
        retired = self.ready().with_conditions({"service/old": said(State.GONE, "gone", asleep="1")})
        assert retired.phase is Phase.READY

    def test_a_build_asked_for_again_is_a_build(self) -> None:
        """Though the commit has been built before."""
        env = self.ready()
        again = env.with_conditions({"pipeline": said(WAITING)})
        assert again.phase is Phase.BUILDING
        assert env.with_conditions({"service/app": said(WAITING)}).phase is Phase.DEPLOYING

    def test_reports_decide_no_phase_but_keep_it_unsettled(self) -> None:
        env = self.ready().with_conditions({"slack": said(FAILED, "no answer")})
        assert (env.phase, env.settled) == (Phase.READY, False)
        assert env.with_conditions({"slack": said(READY)}).settled
        assert not env.with_conditions({"slack": said(READY, generation=6)}).settled

    def test_a_doubt_about_the_branch_changes_nothing_that_people_see(self) -> None:
        """GitHub is away or lags for a moment: what runs still runs; but somebody has to look again."""
        doubted = self.ready().with_conditions({"branch": said(WAITING, "GitHub cannot be asked")})
        assert (doubted.phase, doubted.settled) == (Phase.READY, False)
        alone = environment(conditions={"branch": said(WAITING, "waiting for the push")})
        assert alone.phase is Phase.BUILDING

    def test_deleting_outranks_everything(self) -> None:
        gone = replace(self.ready(asleep="7"), desired=Desired.ABSENT)
        assert gone.phase is Phase.DELETING
