"""What people ask beyond Git — redeploy, reset, delete — and sleep, through every real module."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from qa_env.errors import NotReady, Rejected
from qa_env.model import Environment, Phase, Ref, Slug, State, Wish
from qa_env.summary import Summary
from tests.installation import PAGE, A, B, C, Installation, installed
from tests.strict_aws import Event

FOO = Slug("qa-foo")
HOUR = 3600


@pytest.fixture(params=[False, True], ids=["last-webhook", "github"])
def qa(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """Both ways of knowing where a branch is; qa/foo is ready at commit A."""
    with installed(asks_github=request.param) as made:
        made.push("qa/foo", A)
        made.settle()
        assert made.env(FOO).phase is Phase.READY, made.messages(FOO)
        yield made


@pytest.fixture
def drowsy() -> Iterator[Installation]:
    """Falls asleep after two hours; qa/foo is ready at commit A."""
    with installed(sleep_after=2) as made:
        made.push("qa/foo", A)
        made.settle()
        assert made.env(FOO).phase is Phase.READY, made.messages(FOO)
        yield made


def ask(qa: Installation, wish: Wish, by: str = "taro") -> None:
    """Somebody presses a button of the page."""
    replace(qa.watch, clock=lambda: qa.now).ask(FOO, wish, by)


def build(qa: Installation, commit: str) -> None:
    """It is pushed and built, and its tasks are about to start."""
    qa.push("qa/foo", commit)
    qa.deliver()
    qa.engine.run_until_idle()
    qa.deliver()


def executions(qa: Installation) -> list[dict[str, Any]]:
    """The newest first."""
    return qa.codepipeline.list_pipeline_executions(pipelineName=FOO)["pipelineExecutionSummaries"]


def built(env: Environment) -> tuple[str, str]:
    assert env.built is not None
    return env.built.commit, env.built.execution


def is_hidden(qa: Installation, role: str = "app") -> bool:
    """Does the curtain hang?"""
    listener = qa.env(FOO).remembered("listener", role)["arn"]
    rules = qa.aws.client("elbv2").describe_rules(ListenerArn=listener)["Rules"]
    return any(not rule["IsDefault"] for rule in rules)


def ready(qa: Installation) -> Environment:
    env = qa.env(FOO)
    assert env.phase is Phase.READY, qa.messages(FOO)
    return env


# --- redeploy ---------------------------------------------------------------------------------------------


def test_a_redeploy_builds_the_same_commit_once_more(qa: Installation) -> None:
    """Another execution of the same commit is built and runs everywhere; it is started once."""
    _, before = built(qa.env(FOO))
    definition = qa.task_definition("qa-foo-app")
    ask(qa, Wish.REDEPLOY)
    qa.settle()
    env = ready(qa)
    commit, execution = built(env)
    assert commit == A
    assert execution != before
    assert env.output("pipeline")["fulfilled"] == str(env.asked.redeploy)
    assert qa.task_definition("qa-foo-app") != definition
    assert {env.output("service", role)["execution"] for role in ("app", "admin", "worker")} == {execution}
    assert [one["status"] for one in executions(qa)] == ["Succeeded", "Succeeded"]
    assert not is_hidden(qa)


def test_the_old_version_serves_until_the_new_build_is_there(qa: Installation) -> None:
    """A redeploy hides nothing while it builds."""
    before = qa.task_definition("qa-foo-app")
    ask(qa, Wish.REDEPLOY)
    qa.deliver()
    assert qa.env(FOO).phase is Phase.BUILDING
    assert qa.task_definition("qa-foo-app") == before
    assert qa.service("qa-foo-app")["runningCount"] == 1
    assert not is_hidden(qa)


def test_a_fulfilled_redeploy_is_over(qa: Installation) -> None:
    """Later passes and pushes start nothing because of it."""
    ask(qa, Wish.REDEPLOY)
    qa.settle()
    qa.aws.calls.clear()
    qa.run_pass(FOO)
    assert [call.name for call in qa.aws.writes()] == []
    qa.push("qa/foo", B)
    qa.settle()
    assert built(ready(qa))[0] == B
    assert len(executions(qa)) == 3


def test_a_crash_after_the_start_starts_nothing_twice(qa: Installation) -> None:
    """The execution was started but nobody could write it down: the same one is found again."""
    ask(qa, Wish.REDEPLOY)
    qa.aws.fail("dynamodb:UpdateItem", 1, "ProvisionedThroughputExceededException")
    with pytest.raises(Exception, match="ProvisionedThroughputExceeded"):
        qa.run_pass(FOO)
    assert len(executions(qa)) == 2
    qa.queue.append(FOO)
    qa.settle()
    assert len(executions(qa)) == 2
    assert built(ready(qa))[1] == executions(qa)[0]["pipelineExecutionId"]


def test_a_list_that_lags_starts_nothing_twice(qa: Installation) -> None:
    """An old answer to the question for executions is no reason to start another one."""
    old = qa.engine.answer("ListPipelineExecutions", {"pipelineName": FOO})
    ask(qa, Wish.REDEPLOY)
    qa.deliver()
    qa.aws.serve("codepipeline:ListPipelineExecutions", lambda operation, params: _summaries(old))
    qa.run_pass(FOO)
    qa.aws.serve_no_more("codepipeline:ListPipelineExecutions")
    assert qa.env(FOO).conditions["pipeline"].state is State.WAITING
    qa.settle()
    assert len(executions(qa)) == 2
    ready(qa)


def _summaries(answer: dict[str, Any]) -> dict[str, Any]:
    summaries = answer["pipelineExecutionSummaries"]
    for one in summaries:
        one.pop("startTime", None)
        one.pop("lastUpdateTime", None)
    return {"pipelineExecutionSummaries": summaries}


def test_a_failed_build_is_repeated_by_a_redeploy(qa: Installation) -> None:
    """What failed for a reason outside of the commit need no push."""
    qa.failing.add(("build", B))
    qa.push("qa/foo", B)
    qa.settle()
    assert qa.env(FOO).phase is Phase.FAILED
    qa.failing.clear()
    ask(qa, Wish.REDEPLOY)
    qa.settle()
    assert built(ready(qa))[0] == B


def test_a_redeploy_that_fails_is_said_and_not_repeated(qa: Installation) -> None:
    """The version before goes on running, and the next wish tries once more."""
    before = built(qa.env(FOO))
    qa.failing.add(("build", A))
    ask(qa, Wish.REDEPLOY)
    qa.settle()
    assert qa.env(FOO).phase is Phase.FAILED
    assert len(executions(qa)) == 2
    assert built(qa.env(FOO)) == before
    assert not is_hidden(qa)
    qa.failing.clear()
    qa.now += 1
    ask(qa, Wish.REDEPLOY)
    qa.settle()
    assert built(ready(qa)) != before


def test_a_push_fulfils_a_redeploy(qa: Installation) -> None:
    """The wish and the push together make one execution, of the new commit."""
    ask(qa, Wish.REDEPLOY)
    qa.push("qa/foo", B)
    qa.settle()
    assert built(ready(qa))[0] == B
    assert len(executions(qa)) == 2


def test_a_redeploy_during_a_build_ends_with_a_build_begun_after_it(qa: Installation) -> None:
    """An execution that was under way before the wish does not fulfil it."""
    qa.push("qa/foo", B)
    qa.deliver()
    qa.engine.step()
    first = executions(qa)[0]["pipelineExecutionId"]
    ask(qa, Wish.REDEPLOY)
    qa.settle(rounds=20)
    commit, execution = built(ready(qa))
    assert commit == B
    assert execution != first


def test_a_later_execution_by_hand_fulfils_the_wish_too(qa: Installation) -> None:
    """Somebody restarts the pipeline in the console while the wish's own execution waits."""
    ask(qa, Wish.REDEPLOY)
    qa.deliver()
    qa.codepipeline.start_pipeline_execution(name=FOO)
    qa.settle(rounds=20)
    ready(qa)
    assert len(executions(qa)) == 3


def test_a_pipeline_deleted_during_a_redeploy_is_made_again(qa: Installation) -> None:
    """Its own first execution counts."""
    ask(qa, Wish.REDEPLOY)
    qa.deliver()
    qa.codepipeline.delete_pipeline(name=FOO)
    qa.run_pass(FOO)
    qa.settle()
    assert built(ready(qa))[1] == executions(qa)[0]["pipelineExecutionId"]
    assert len(executions(qa)) == 1


# --- reset ------------------------------------------------------------------------------------------------


def test_a_reset_empties_the_schema_and_migrates_it_again(qa: Installation) -> None:
    """Dropped and created once, then one execution; both wishes are fulfilled."""
    qa.datastores.migrate(FOO, "by hand")
    ask(qa, Wish.RESET)
    assert qa.env(FOO).resetting
    qa.settle()
    env = ready(qa)
    assert qa.datastores.migrated[FOO] == [A]
    assert drops(qa) == 1
    assert len(executions(qa)) == 2
    assert env.output("schema")["reset"] == str(env.asked.reset)
    assert not env.resetting
    assert not is_hidden(qa)


def test_the_curtain_hangs_during_a_reset(qa: Installation) -> None:
    """Nobody sees an application without its tables, until it is migrated and live again."""
    ask(qa, Wish.RESET)
    hidden = []
    for _ in range(30):
        qa.queue.append(FOO)
        qa.run_pass(FOO)
        qa.engine.step()
        hidden.append(is_hidden(qa))
        if drops(qa) and not qa.datastores.migrated.get(FOO):
            assert is_hidden(qa)
    assert hidden[0]
    qa.settle()
    assert not is_hidden(qa)


def test_a_reset_lets_a_running_build_end_first(qa: Installation) -> None:
    """Nothing is dropped while something may migrate, and the deployment of that build can end."""
    qa.push("qa/foo", B)
    qa.deliver()
    qa.engine.step()
    ask(qa, Wish.RESET)
    qa.deliver()
    assert drops(qa) == 0
    assert [one["status"] for one in executions(qa)] == ["InProgress", "Succeeded"]
    assert "ended" in qa.env(FOO).conditions["pipeline"].message
    qa.engine.step()
    qa.run_pass(FOO)
    assert Summary(qa.env(FOO), qa.blueprint).stage == "Migrate"
    assert qa.env(FOO).conditions["schema"].state is State.READY
    qa.settle(rounds=20)
    assert built(ready(qa)) == (B, executions(qa)[0]["pipelineExecutionId"])
    assert [one["status"] for one in executions(qa)] == ["Succeeded"] * 3
    assert qa.datastores.migrated[FOO] == [B]
    assert drops(qa) == 1


def test_a_reset_waits_for_builds_that_outlive_their_execution(qa: Installation) -> None:
    """CodeBuild goes on after its execution was abandoned, and might migrate what was just dropped."""
    building = {"builds": [{"id": "migrate:1", "buildStatus": "IN_PROGRESS"}]}
    state = {
        "stageName": "Migrate",
        "actionStates": [{"actionName": "Migrate", "latestExecution": {"externalExecutionId": "migrate:1"}}],
    }
    qa.aws.serve("codebuild:BatchGetBuilds", lambda operation, params: building)
    qa.aws.serve("codepipeline:GetPipelineState", lambda operation, params: {"stageStates": [state]})
    ask(qa, Wish.RESET)
    qa.deliver()
    assert drops(qa) == 0
    building["builds"][0]["buildStatus"] = "STOPPED"
    qa.run_pass(FOO)
    qa.run_pass(FOO)
    assert drops(qa) == 1


def test_a_worker_that_hung_does_not_reset_again_what_another_has_reset(qa: Installation) -> None:
    """Of the same wish and generation: the schema is migrated and in use by then (seed 7571)."""
    ask(qa, Wish.RESET)
    qa.run_pass(FOO)
    seen = qa.env(FOO)
    assert seen.reset_due
    assert seen.remembered("pipeline")["idle"] == str(seen.asked.reset)
    qa.settle()
    assert qa.datastores.migrated[FOO] == [A]
    (schema,) = (r for wave in qa.plan(qa.blueprint).build for r in wave if r.kind == "schema")
    with pytest.raises(NotReady, match="the schema stays"):
        schema.ensure(seen)
    assert (qa.datastores.migrated[FOO], drops(qa)) == ([A], 1)


def test_a_reset_of_a_failed_environment_with_rewritten_migrations(qa: Installation) -> None:
    """The main use: a force-push whose migrations fail on the old schema."""
    qa.failing.add(("migrate", B))
    qa.push("qa/foo", B)
    qa.settle()
    assert qa.env(FOO).phase is Phase.FAILED
    qa.failing.clear()  # it is only the old schema that stands in the way
    ask(qa, Wish.RESET)
    qa.settle()
    assert built(ready(qa))[0] == B
    assert qa.datastores.migrated[FOO] == [B]


@pytest.mark.parametrize("between", [0, 1, 2, 3, 4, 5])
def test_a_reset_that_is_asked_twice_ends(qa: Installation, between: int) -> None:
    """However far the first one has come, the second ends with a schema migrated after it."""
    ask(qa, Wish.RESET)
    for _ in range(between):
        qa.run_pass(FOO)
        qa.engine.step()
    qa.now += 1
    ask(qa, Wish.RESET)
    qa.settle(rounds=25)
    env = ready(qa)
    assert qa.datastores.migrated[FOO] == [A]
    assert env.output("schema")["reset"] == str(env.asked.reset)


@pytest.mark.parametrize("between", [0, 1, 2, 3, 4, 5])
def test_a_push_during_a_reset_migrates_the_new_commit_after_the_drop(qa: Installation, between: int) -> None:
    """One wish and one push, whichever comes first at the pipeline."""
    ask(qa, Wish.RESET)
    for _ in range(between):
        qa.run_pass(FOO)
        qa.engine.step()
    qa.push("qa/foo", B)
    qa.settle(rounds=25)
    assert built(ready(qa))[0] == B
    assert qa.datastores.migrated[FOO][-1] == B
    assert drops(qa) == 1


@pytest.mark.parametrize("between", [0, 1, 2, 3])
def test_a_deletion_during_a_reset_leaves_nothing(qa: Installation, between: int) -> None:
    """By Git or by a person."""
    ask(qa, Wish.RESET)
    for _ in range(between):
        qa.run_pass(FOO)
        qa.engine.step()
    if between % 2:
        qa.delete("qa/foo")
    else:
        ask(qa, Wish.DELETE)
    qa.settle()
    assert qa.left() == []


def test_a_datastore_that_refuses_the_drop_is_asked_again(qa: Installation) -> None:
    """Nothing is built before the drop has succeeded."""
    ask(qa, Wish.RESET)
    qa.run_pass(FOO)
    qa.datastores.error = {"error": "not_ready", "message": "sessions are still open"}
    qa.run_pass(FOO)
    qa.run_pass(FOO)
    assert len(executions(qa)) == 1
    qa.datastores.error = None
    qa.settle()
    ready(qa)
    assert qa.datastores.migrated[FOO] == [A]


def test_a_reset_without_a_database_is_a_redeploy() -> None:
    """There is nothing to drop."""
    with installed(database=None) as qa:
        qa.push("qa/foo", A)
        qa.settle()
        ask(qa, Wish.RESET)
        qa.settle()
        assert not ready(qa).resetting
        assert len(executions(qa)) == 2


def test_nothing_is_started_in_the_pass_that_drops() -> None:
    """That it was dropped must be written down first, whoever migrates: here it is not the pipeline."""
    with installed() as qa:
        without = qa.blueprint.pipeline.model_copy(update={"migrate_project": None})
        qa.use(qa.blueprint.model_copy(update={"pipeline": without}))
        qa.push("qa/foo", A)
        qa.settle()
        ask(qa, Wish.RESET)
        while not drops(qa):
            qa.run_pass(FOO)
        assert len(executions(qa)) == 1
        qa.settle()
        ready(qa)
        assert (drops(qa), len(executions(qa))) == (1, 2)


def test_a_database_that_the_blueprint_forgot_for_a_while_is_not_reset_again(qa: Installation) -> None:
    """The wish was fulfilled once; the schema's own word for it is lost."""
    ask(qa, Wish.RESET)
    qa.settle()
    whole = qa.blueprint
    qa.use(whole.model_copy(update={"database": None}))
    qa.run_pass(FOO)
    qa.settle(rounds=20)
    assert "schema" not in qa.env(FOO).conditions
    qa.use(whole)
    qa.run_pass(FOO)
    qa.settle(rounds=20)
    assert drops(qa) == 1


class Killed(BaseException):
    """The sandbox died: nothing of ours may catch this."""


def test_a_reset_survives_a_crash_after_each_call() -> None:
    """Killed right after any one call that changes something, the schema is migrated after its last drop."""
    with installed() as qa:
        qa.push("qa/foo", A)
        qa.settle()
        for number in range(40):
            qa.now += 1
            ask(qa, Wish.RESET)
            killed = _killed(qa, number)
            qa.settle(rounds=25)
            assert not ready(qa).resetting, number
            assert qa.datastores.migrated[FOO] == [A], number
            if not killed:
                break
        assert number > 8


def _killed(qa: Installation, number: int) -> bool:
    """Die right after the n-th change, of AWS, of the data or of the record; False if there are fewer."""
    seen, ours = 0, True

    def count() -> None:
        nonlocal seen
        seen += ours
        if ours and seen == number + 1:
            raise Killed

    def watch(event: Event) -> None:
        if event.done and not event.is_read:
            count()

    def data(request: Any) -> Any:
        answer = original(request)
        if request["store"] == "mysql" and request["action"] == "delete":
            count()
        return answer

    original = qa.clients.datastores
    qa.clients = replace(qa.clients, datastores=data)
    qa.aws.on_call(watch)
    try:
        for _ in range(8):
            ours = True
            qa.run_pass(FOO)
            ours = False  # what CodePipeline does is not ours
            qa.engine.step()
    except Killed:
        qa.queue.append(FOO)
        return True
    finally:
        qa.aws._callbacks.remove(watch)
        qa.clients = replace(qa.clients, datastores=original)
    return False


def drops(qa: Installation) -> int:
    return sum((r["store"], r["action"]) == ("mysql", "delete") for r in qa.datastores.requests)


# --- delete -----------------------------------------------------------------------------------------------


def test_a_dismissed_environment_goes_although_its_branch_stays(qa: Installation) -> None:
    """Everything is removed, and nothing brings it back but a push."""
    ask(qa, Wish.DELETE)
    qa.run_pass(FOO)
    assert qa.env(FOO).phase is Phase.DELETING
    assert qa.env(FOO).by == "taro"
    qa.settle()
    assert qa.left() == []
    qa.say("qa/foo", Ref.CHECKED, "")
    qa.watch.signal(FOO, "a late event")
    qa.settle()
    assert qa.left() == []


@pytest.mark.parametrize("passes", [0, 1, 2])
def test_nothing_revives_what_is_being_dismissed(qa: Installation, passes: int) -> None:
    """Sweeps, checks and late events find the branch, and leave the environment alone."""
    ask(qa, Wish.DELETE)
    for _ in range(passes):
        qa.run_pass(FOO)
    qa.say("qa/foo", Ref.CHECKED, "")
    qa.watch.sweep(int(qa.now // 60))
    qa.now += 120
    qa.settle()
    assert qa.left() == []


def test_a_wish_to_redeploy_comes_too_late_for_what_is_going(qa: Installation) -> None:
    """The page says so."""
    ask(qa, Wish.DELETE)
    qa.run_pass(FOO)
    with pytest.raises(Rejected):
        ask(qa, Wish.REDEPLOY)


def test_going_back_to_a_commit_that_was_once_dismissed_is_a_new_wish(qa: Installation) -> None:
    """Delete is pressed, another commit is pushed before anything happened, then the first one again."""
    ask(qa, Wish.DELETE)
    qa.push("qa/foo", B)
    qa.push("qa/foo", A)
    qa.settle(rounds=20)
    assert ready(qa).commit == A


def test_the_next_push_after_a_dismissal_builds_anew(qa: Installation) -> None:
    """The dismissal was of one commit."""
    ask(qa, Wish.DELETE)
    qa.settle()
    qa.push("qa/foo", B)
    qa.settle()
    env = ready(qa)
    assert built(env)[0] == B
    assert env.asked.dismissed == ""


@pytest.mark.parametrize("passes", [0, 1, 2, 3])
def test_a_push_during_the_teardown_of_a_dismissed_commit_builds_anew(qa: Installation, passes: int) -> None:
    """It waits for the end of the teardown, if that has begun."""
    ask(qa, Wish.DELETE)
    for _ in range(passes):
        qa.run_pass(FOO)
    qa.push("qa/foo", B)
    qa.settle(rounds=25)
    assert built(ready(qa))[0] == B
    qa.delete("qa/foo")
    qa.settle()
    assert qa.left() == []


def test_a_build_that_ends_after_the_dismissal_revives_nothing(qa: Installation) -> None:
    """Its Deploy action is told that nobody wants it."""
    qa.push("qa/foo", B)
    qa.deliver()
    ask(qa, Wish.DELETE)
    qa.run_pass(FOO)
    qa.engine.run_until_idle()
    qa.settle()
    assert qa.left() == []


# --- stages and tasks -------------------------------------------------------------------------------------


def test_the_stages_of_a_running_build_are_shown(qa: Installation) -> None:
    """In the pipeline's order, each as it is, and when it was started."""
    qa.push("qa/foo", B)
    qa.deliver()
    qa.engine.step()
    qa.run_pass(FOO)
    summary = Summary(qa.env(FOO), qa.blueprint)
    assert [(one.name, one.status) for one in summary.stages] == [
        ("Source", "Succeeded"),
        ("Build", "InProgress"),
        ("Migrate", ""),
        ("Deploy", ""),
    ]
    assert summary.stage == "Build"
    assert qa.env(FOO).remembered("pipeline")["started"].endswith("+00:00")


def test_a_stage_event_shows_the_next_stage(qa: Installation) -> None:
    """Nobody waits for the tick."""
    qa.push("qa/foo", B)
    qa.deliver()
    qa.engine.step()
    assert FOO in qa.queue
    qa.deliver()
    assert Summary(qa.env(FOO), qa.blueprint).stage == "Build"


def test_a_failed_stage_is_shown_with_its_log(qa: Installation) -> None:
    """And none of it stays when the next build begins."""
    qa.failing.add(("migrate", B))
    qa.push("qa/foo", B)
    qa.settle()
    summary = Summary(qa.env(FOO), qa.blueprint)
    assert (summary.failed_stage, summary.log_url) == ("Migrate", "https://logs.example.com/1")
    assert summary.stages[2].url == "https://logs.example.com/1"
    qa.push("qa/foo", C)
    qa.deliver()
    known = qa.env(FOO).remembered("pipeline")
    assert known["log_url"] == ""
    assert "Failed" not in known["stages"]


def test_a_finished_build_tells_how_long_it_took(qa: Installation) -> None:
    """From its start until it was live; every stage succeeded, and looking again costs nothing more."""
    known = qa.env(FOO).output("pipeline")
    assert {one["status"] for one in json.loads(known["stages"])} == {"Succeeded"}
    (took,) = qa.store.durations("example/shop")
    assert known["seconds"] == str(took)
    newest = executions(qa)[0]
    assert took == int((newest["lastUpdateTime"] - newest["startTime"]).total_seconds())
    qa.aws.calls.clear()
    qa.run_pass(FOO)
    assert len(qa.aws.calls_to("codepipeline:*")) == 3
    qa.push("qa/foo", B)
    qa.settle()
    assert len(qa.store.durations("example/shop")) == 2


def test_a_failed_deployment_that_recovered_costs_no_more_calls(qa: Installation) -> None:
    """The stages of an execution that has ended stay what they were."""
    build(qa, B)
    qa.aws.ecs.stop_task("qa-foo-app", "Essential container exited")
    qa.aws.ecs.fail("qa-foo-app", "tasks failed to start")
    qa.run_pass(FOO)
    qa.now += 60
    qa.engine.run_until_idle()
    qa.settle()
    assert "Failed" in {one["status"] for one in json.loads(qa.env(FOO).output("pipeline")["stages"])}
    qa.aws.calls.clear()
    qa.run_pass(FOO)
    assert qa.aws.calls_to("GetPipelineState") == []


def test_the_tasks_of_every_role_are_shown(qa: Installation) -> None:
    """As many as run and as are wanted, and why the last one ended."""
    assert [(t.role, t.running, t.desired, t.stopped) for t in Summary(qa.env(FOO), qa.blueprint).tasks] == [
        ("app", 1, 1, ""),
        ("admin", 1, 1, ""),
        ("worker", 1, 1, ""),
    ]
    build(qa, B)
    qa.aws.ecs.stop_task("qa-foo-app", "Essential container exited", exit_code=3)
    qa.run_pass(FOO)
    app = Summary(qa.env(FOO), qa.blueprint).tasks[0]
    assert (app.desired, app.stopped) == (1, "container web exited with code 3")


# --- sleep ------------------------------------------------------------------------------------------------


def fall_asleep(qa: Installation) -> None:
    """Two quiet hours and what comes of them."""
    qa.now += 2 * HOUR + 1
    qa.run_pass(FOO)
    qa.settle()
    assert qa.env(FOO).phase is Phase.ASLEEP, qa.messages(FOO)


def counts(qa: Installation) -> list[tuple[int, int]]:
    """(wanted, running) of each role."""
    services = [qa.service(f"qa-foo-{role}") for role in ("app", "admin", "worker")]
    return [(one["desiredCount"], one["runningCount"]) for one in services]


def wake(qa: Installation) -> None:
    """Somebody visits the curtain."""
    replace(qa.watch, clock=lambda: qa.now).awaken(FOO)


def test_what_nobody_visits_falls_asleep(drowsy: Installation) -> None:
    """No tasks, the curtain before every port, everything else as it was."""
    claims = drowsy.env(FOO).claims
    fall_asleep(drowsy)
    env = drowsy.env(FOO)
    assert counts(drowsy) == [(0, 0)] * 3
    assert is_hidden(drowsy)
    assert is_hidden(drowsy, "admin")
    assert env.settled
    assert env.claims == claims
    assert drowsy.datastores.migrated[FOO] == [A]
    assert {env.output("service", role)["serving"] for role in ("app", "admin", "worker")} == {"no"}


def test_the_curtain_hangs_before_the_tasks_go(drowsy: Installation) -> None:
    """A visitor never meets a bare 503."""
    drowsy.now += 2 * HOUR + 1
    drowsy.aws.calls.clear()
    drowsy.run_pass(FOO)
    done = [call.operation for call in drowsy.aws.writes() if call.service in ("elbv2", "ecs")]
    assert done.index("UpdateService") > max(n for n, name in enumerate(done) if name == "CreateRule")


def test_a_service_stays_awake_while_its_curtain_cannot_hang(drowsy: Installation) -> None:
    """No door is closed without a word on it; the worker has no door."""
    drowsy.aws.elbv2.quotas["rules-per-application-load-balancer"] = 1
    drowsy.now += 2 * HOUR + 1
    drowsy.run_pass(FOO)
    drowsy.aws.ecs.settle_all()
    app, admin, worker = counts(drowsy)
    assert sorted([app, admin]) == [(0, 0), (1, 1)]
    assert worker == (0, 0)
    drowsy.aws.elbv2.quotas["rules-per-application-load-balancer"] = 100
    drowsy.queue.append(FOO)
    drowsy.settle()
    assert counts(drowsy) == [(0, 0)] * 3


@pytest.mark.parametrize("sign", ["push", "visit", "redeploy", "wake"])
def test_interest_keeps_an_environment_awake(drowsy: Installation, sign: str) -> None:
    """The hours are counted from the last of them."""
    drowsy.now += HOUR
    match sign:
        case "push":
            drowsy.push("qa/foo", B)
        case "visit":
            drowsy.store.visit(FOO, int(drowsy.now * 1000))
        case "redeploy":
            ask(drowsy, Wish.REDEPLOY)
        case _:
            env = drowsy.env(FOO)
            drowsy.store.ask(env, replace(env.asked, awake=int(drowsy.now * 1000)))
    drowsy.settle()
    drowsy.now += HOUR + 120
    drowsy.run_pass(FOO)
    drowsy.settle()
    assert counts(drowsy) == [(1, 1)] * 3
    drowsy.now += HOUR
    drowsy.run_pass(FOO)
    drowsy.settle()
    assert drowsy.env(FOO).phase is Phase.ASLEEP


def test_without_the_setting_nothing_sleeps(qa: Installation) -> None:
    """However long nobody comes."""
    qa.now += 1000 * HOUR
    qa.run_pass(FOO)
    qa.settle()
    assert ready(qa).settled
    assert counts(qa) == [(1, 1)] * 3


def test_while_asleep_nothing_moves(drowsy: Installation) -> None:
    """Passes, a clock that is a little behind, trouble with AWS: it sleeps on."""
    fall_asleep(drowsy)
    drowsy.aws.calls.clear()
    for step in (0, -3600, 7200):
        drowsy.now += step
        drowsy.run_pass(FOO)
    drowsy.aws.throttle("codepipeline:ListPipelineExecutions", 1)
    with pytest.raises(Exception, match="Rate exceeded"):
        drowsy.run_pass(FOO)
    drowsy.run_pass(FOO)
    assert {call.service for call in drowsy.aws.writes()} <= {"dynamodb"}
    assert drowsy.env(FOO).phase is Phase.ASLEEP


def test_falling_asleep_and_waking_survive_a_crash_after_each_call(drowsy: Installation) -> None:
    """Killed right after any one change, the next passes finish it, and nobody meets a bare 503."""
    for number in range(40):
        drowsy.now += 2 * HOUR + 1
        killed = _killed(drowsy, number)
        assert is_hidden(drowsy) or counts(drowsy)[0] == (1, 1), number
        drowsy.queue.append(FOO)
        drowsy.settle()
        assert drowsy.env(FOO).phase is Phase.ASLEEP, number
        wake(drowsy)
        killed = _killed(drowsy, number) or killed
        drowsy.settle()
        assert ready(drowsy).settled
        assert counts(drowsy) == [(1, 1)] * 3
        assert not is_hidden(drowsy)
        if not killed:
            break
    assert number > 5


def test_a_visit_wakes_what_sleeps(drowsy: Installation) -> None:
    """The same build starts again; the curtain hangs until it is live."""
    before = built(drowsy.env(FOO))
    fall_asleep(drowsy)
    wake(drowsy)
    drowsy.run_pass(FOO)
    assert "waking up" in drowsy.env(FOO).conditions["service/app"].message
    assert is_hidden(drowsy)
    drowsy.settle()
    assert built(ready(drowsy)) == before
    assert counts(drowsy) == [(1, 1)] * 3
    assert not is_hidden(drowsy)
    fall_asleep(drowsy)


def test_what_wakes_is_hidden_until_it_is_healthy(drowsy: Installation) -> None:
    """A task that runs need not answer yet."""
    fall_asleep(drowsy)
    wake(drowsy)
    drowsy.run_pass(FOO)
    drowsy.aws.ecs.start("qa-foo-app")
    assert drowsy.service("qa-foo-app")["runningCount"] == 1
    drowsy.run_pass(FOO)
    drowsy.run_pass(FOO)
    assert is_hidden(drowsy)
    drowsy.settle()
    assert not is_hidden(drowsy)


def test_what_cannot_start_any_more_is_said_when_it_wakes(drowsy: Installation) -> None:
    """The circuit breaker watches that start like any other."""
    fall_asleep(drowsy)
    wake(drowsy)
    drowsy.run_pass(FOO)
    drowsy.aws.ecs.stop_task("qa-foo-app", "Essential container exited", exit_code=3)
    drowsy.aws.ecs.fail("qa-foo-app", "tasks failed to start")
    drowsy.run_pass(FOO)
    assert drowsy.env(FOO).phase is Phase.FAILED
    assert "exited with code 3" in drowsy.env(FOO).conditions["service/app"].message


def test_a_rolling_service_is_hidden_until_its_first_task_runs_again(drowsy: Installation) -> None:
    """Its old deployment is called complete all the while."""
    roles = dict(drowsy.blueprint.roles)
    deployment = roles["app"].deployment.model_copy(update={"strategy": "rolling"})
    roles["app"] = roles["app"].model_copy(update={"deployment": deployment})
    drowsy.use(drowsy.blueprint.model_copy(update={"roles": roles}))
    drowsy.run_pass(FOO)
    drowsy.settle()
    fall_asleep(drowsy)
    wake(drowsy)
    for _ in range(3):
        drowsy.run_pass(FOO)
        assert is_hidden(drowsy)
    drowsy.settle()
    assert not is_hidden(drowsy)


def test_a_visitor_need_not_wait_for_github() -> None:
    """It had confirmed this very commit; a build that ends while it is away goes live as well."""
    with installed(asks_github=True, sleep_after=2) as qa:
        qa.push("qa/foo", A)
        qa.settle()
        fall_asleep(qa)
        assert qa.branches is not None
        qa.branches.error = NotReady("GitHub cannot be asked: timeout")
        wake(qa)
        qa.settle()
        assert not is_hidden(qa)
        assert counts(qa) == [(1, 1)] * 3
        before = built(ready(qa))
        ask(qa, Wish.REDEPLOY)
        qa.settle(rounds=20)
        assert built(ready(qa)) != before
        assert not ready(qa).settled


def test_a_redeploy_wakes_and_builds(drowsy: Installation) -> None:
    """It is a sign of interest as well."""
    before = built(drowsy.env(FOO))
    fall_asleep(drowsy)
    ask(drowsy, Wish.REDEPLOY)
    drowsy.settle()
    assert built(ready(drowsy)) != before
    assert counts(drowsy) == [(1, 1)] * 3


def test_a_push_wakes_and_builds(drowsy: Installation) -> None:
    """As on an environment that is awake."""
    fall_asleep(drowsy)
    drowsy.push("qa/foo", B)
    drowsy.settle()
    assert built(ready(drowsy))[0] == B
    assert counts(drowsy) == [(1, 1)] * 3


@pytest.mark.parametrize("by", ["branch", "person"])
def test_what_sleeps_can_be_deleted(drowsy: Installation, by: str) -> None:
    """And leaves nothing."""
    fall_asleep(drowsy)
    if by == "branch":
        drowsy.delete("qa/foo")
    else:
        ask(drowsy, Wish.DELETE)
    drowsy.settle()
    assert drowsy.left() == []


def test_a_start_that_failed_is_not_hidden_by_sleep(drowsy: Installation) -> None:
    """Its circuit breaker has spoken; the other roles sleep."""
    build(drowsy, B)
    drowsy.aws.ecs.stop_task("qa-foo-app", "Essential container exited", exit_code=3)
    drowsy.aws.ecs.fail("qa-foo-app", "tasks failed to start")
    drowsy.run_pass(FOO)
    drowsy.now += 2 * HOUR + 60
    drowsy.run_pass(FOO)
    drowsy.run_pass(FOO)
    env = drowsy.env(FOO)
    assert env.phase is Phase.FAILED
    assert "does not start" in env.conditions["service/app"].message
    assert env.output("service", "worker")["asleep"]


def test_a_visit_wakes_the_application_beside_a_worker_that_failed(drowsy: Installation) -> None:
    """Whoever opens the port gets the application all the same; the worker is tried again."""
    build(drowsy, B)
    drowsy.aws.ecs.fail("qa-foo-worker", "tasks failed to start")
    _only_web_gets_there(drowsy)
    assert (drowsy.env(FOO).phase, is_hidden(drowsy)) == (Phase.FAILED, False)
    drowsy.now += 2 * HOUR + 60
    _only_web_gets_there(drowsy)
    assert (drowsy.env(FOO).phase, is_hidden(drowsy)) == (Phase.FAILED, True)
    assert counts(drowsy)[0] == (0, 0)
    wake(drowsy)
    _only_web_gets_there(drowsy)
    assert not is_hidden(drowsy)
    assert counts(drowsy) == [(1, 1)] * 3


def _only_web_gets_there(qa: Installation) -> None:
    """Some minutes in which the worker stays as it is."""
    for _ in range(4):
        qa.deliver()
        for role in ("app", "admin"):
            qa.aws.ecs.settle(f"qa-foo-{role}")
        qa.aws.ecs.drain_all()
        qa.now += 60
        qa.run_pass(FOO)


def test_an_environment_that_is_not_built_does_not_sleep() -> None:
    """Somebody waits for it, however long that takes."""
    with installed(sleep_after=1) as qa:
        qa.push("qa/foo", A)
        qa.settle()
        qa.failing.add(("build", B))
        qa.push("qa/foo", B)
        qa.settle()
        qa.now += 5 * HOUR
        qa.run_pass(FOO)
        assert counts(qa) == [(1, 1)] * 3


def test_the_page_is_what_the_curtain_shows(drowsy: Installation) -> None:
    """Its rule forwards to the page function."""
    fall_asleep(drowsy)
    elbv2 = drowsy.aws.client("elbv2")
    listener = drowsy.env(FOO).remembered("listener", "app")["arn"]
    (rule,) = [r for r in elbv2.describe_rules(ListenerArn=listener)["Rules"] if not r["IsDefault"]]
    group = rule["Actions"][0]["TargetGroupArn"]
    health = elbv2.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    assert [one["Target"]["Id"] for one in health] == [PAGE]
