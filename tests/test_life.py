"""The life of an environment, through every real module, over strict AWS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from qa_env import naming
from qa_env.errors import NotReady
from qa_env.model import Condition, Phase, State
from tests.installation import A, B, Installation, blueprint, installed


@pytest.fixture(params=[False, True], ids=["last-webhook", "github"])
def qa(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """Both ways of knowing where a branch is."""
    with installed(asks_github=request.param) as made:
        yield made


def test_first_pass_reports_the_url(qa: Installation) -> None:
    """Listener, target group, schema, keyspace, pipeline and so the URL exist after one pass."""
    slug = qa.push("qa/foo", A)
    env = qa.run_pass(slug)
    assert env is not None
    assert env.urls == {"app": "http://qa-1.example.com:10001/", "admin": "http://qa-1.example.com:10002/"}
    assert env.phase is Phase.BUILDING
    assert qa.datastores.schemas == {"qa-foo"}
    assert list(qa.datastores.keys) == ["qa_foo"]
    assert qa.codepipeline.get_pipeline(name="qa-foo")["pipeline"]["pipelineType"] == "V2"


def test_push_builds_an_environment(qa: Installation) -> None:
    """A push settles as ready, on the pushed commit, with one execution of the pipeline."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    env = qa.env(slug)
    assert env.phase is Phase.READY, qa.messages(slug)
    assert env.built is not None
    assert env.built.commit == A
    executions = qa.codepipeline.list_pipeline_executions(pipelineName=slug)["pipelineExecutionSummaries"]
    assert [(one["status"], one["trigger"]["triggerType"]) for one in executions] == [
        ("Succeeded", "CreatePipeline")
    ]
    for role in ("app", "admin", "worker"):
        assert qa.service(f"qa-foo-{role}")["runningCount"] == 1


def test_second_push_replaces_the_commit(qa: Installation) -> None:
    """An update pushes through the same pipeline, pinned; ports, schema and namespace stay."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    before = qa.env(slug)
    qa.push("qa/foo", B)
    qa.settle()
    after = qa.env(slug)
    assert after.phase is Phase.READY, qa.messages(slug)
    assert after.built is not None
    assert after.built.commit == B
    assert after.claims == before.claims
    newest = qa.codepipeline.list_pipeline_executions(pipelineName=slug)["pipelineExecutionSummaries"][0]
    assert newest["trigger"]["triggerType"] == "StartPipelineExecution"
    assert newest["sourceRevisions"][0]["revisionId"] == B


def test_delete_leaves_nothing(qa: Installation) -> None:
    """Deleting the branch removes every trace; the record becomes history."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    qa.delete("qa/foo")
    qa.settle()
    assert qa.left() == []
    assert "deleted" in {event.kind for event in qa.store.history(slug)}


def test_settled_means_no_more_changes(qa: Installation) -> None:
    """One more pass over a settled environment changes nothing in AWS."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    qa.aws.calls.clear()
    qa.run_pass(slug)
    assert [call.name for call in qa.aws.writes()] == []


def test_push_during_teardown_finishes_it_first(qa: Installation) -> None:
    """A push after teardown began drops the old schema, then builds anew on the same ports."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    held = qa.env(slug).claims
    qa.delete("qa/foo")
    qa.run_pass(slug)
    qa.push("qa/foo", B)
    qa.run_pass(slug)
    assert qa.env(slug).next_commit == B
    qa.settle(rounds=20)
    env = qa.env(slug)
    assert env.phase is Phase.READY, qa.messages(slug)
    assert env.built is not None
    assert env.built.commit == B
    assert env.claims == held
    drops = [r for r in qa.datastores.requests if (r["store"], r["action"]) == ("mysql", "delete")]
    assert drops
    qa.delete("qa/foo")
    qa.settle()
    assert qa.left() == []


def test_delete_while_building_revives_nothing(qa: Installation) -> None:
    """A build that finishes after the branch is gone changes nothing."""
    slug = qa.push("qa/foo", A)
    qa.run_pass(slug)
    qa.delete("qa/foo")
    qa.engine.run_until_idle()
    qa.settle()
    assert qa.left() == []
    assert qa.store.get(slug) is None


def test_failed_build_keeps_the_last_good_version(qa: Installation) -> None:
    """A failed migration stops the pipeline; what runs goes on running; the next push repairs it."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    running = qa.task_definition("qa-foo-app")
    qa.failing.add(("migrate", B))
    qa.push("qa/foo", B)
    qa.settle()
    env = qa.env(slug)
    assert env.phase is Phase.FAILED
    assert "Migrate" in env.conditions["pipeline"].message
    assert qa.task_definition("qa-foo-app") == running
    qa.push("qa/foo", "d" * 40)
    qa.settle()
    assert qa.env(slug).phase is Phase.READY, qa.messages(slug)


def test_a_late_worker_drops_no_data_of_the_next_life(qa: Installation) -> None:
    """It had looked before the push; by now the record wants something else."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    qa.delete("qa/foo")
    late = qa.env(slug)
    gone = Condition(State.GONE, generation=late.generation)
    late = late.with_conditions(dict.fromkeys(("pipeline", *(f"service/{r}" for r in late.roles)), gone))
    qa.push("qa/foo", B)
    plan = qa.plan(qa.blueprint)
    for resource in plan.tear_down[-1]:
        with pytest.raises(NotReady, match="moved on"):
            resource.delete(late)
    assert qa.datastores.schemas == {"qa-foo"}
    assert list(qa.datastores.keys) == ["qa_foo"]


def test_what_lists_do_not_show_yet_is_not_made_again(qa: Installation) -> None:
    """A task definition that was registered a moment ago: the record knows its revision."""
    qa.aws.hide_new("ecs:RegisterTaskDefinition", describes=3)
    slug = qa.push("qa/foo", A)
    qa.settle()
    assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
    assert len(qa.aws.calls_to("RegisterTaskDefinition")) == 3


def test_two_environments_share_nothing(qa: Installation) -> None:
    """Every port is held once; deleting one environment leaves the other ready."""
    first, second = qa.push("qa/foo", A), qa.push("qa/foo-bar", B)
    qa.settle()
    urls = [*qa.env(first).urls.values(), *qa.env(second).urls.values()]
    assert len(set(urls)) == 4
    qa.delete("qa/foo")
    qa.settle()
    assert qa.store.get(first) is None
    assert qa.env(second).phase is Phase.READY, qa.messages(second)
    assert qa.run_pass(second) is not None
    assert qa.env(second).phase is Phase.READY, qa.messages(second)
    assert qa.datastores.schemas == {"qa-foo-bar"}


def test_each_curtain_shows_the_page_of_its_own_load_balancer() -> None:
    """Roles may be spread, and a target group serves one load balancer only (facts B1-1)."""
    with installed(load_balancers=2) as qa:
        one_port_each = [one.model_dump() | {"ports": "10001-10001"} for one in qa.blueprint.load_balancers]
        qa.use(blueprint(qa.world, load_balancers=one_port_each))
        env = qa.run_pass(qa.push("qa/foo", A))
        assert env is not None
        assert len(env.urls) == 2
        elbv2 = qa.aws.client("elbv2")
        for lb in qa.world.load_balancers:
            (listener,) = elbv2.describe_listeners(LoadBalancerArn=lb.arn)["Listeners"]
            rules = elbv2.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
            (curtain,) = [one["Actions"][0]["TargetGroupArn"] for one in rules if not one["IsDefault"]]
            (page,) = elbv2.describe_target_groups(TargetGroupArns=[curtain])["TargetGroups"]
            assert page["TargetGroupName"] == naming.curtain_target_group("qa-env", lb.arn)


def test_one_role_missing_does_not_hide_what_is_wrong_with_another(qa: Installation) -> None:
    """Target groups are looked for together; one that is gone fails the whole call (facts B1-6)."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    elbv2 = qa.aws.client("elbv2")
    for listener in elbv2.describe_listeners(LoadBalancerArn=qa.world.load_balancer.arn)["Listeners"]:
        if listener["Port"] == 10001:
            elbv2.delete_listener(ListenerArn=listener["ListenerArn"])
    elbv2.delete_target_group(TargetGroupArn=qa.env(slug).output("target_group", "app")["arn"])
    other = qa.env(slug).output("target_group", "admin")["arn"]
    elbv2.modify_target_group(TargetGroupArn=other, HealthCheckPath="/by-hand")
    qa.run_pass(slug)
    groups = elbv2.describe_target_groups(Names=["qa-foo-app", "qa-foo-admin"])["TargetGroups"]
    assert {one["HealthCheckPath"] for one in groups} == {qa.blueprint.roles["app"].health_check.path}


def test_a_group_that_is_not_ours_any_more_is_not_touched_beside_one_that_is(qa: Installation) -> None:
    """Each of those that are looked for together is judged by its own tags."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    elbv2 = qa.aws.client("elbv2")
    theirs = qa.env(slug).output("target_group", "admin")["arn"]
    elbv2.add_tags(ResourceArns=[theirs], Tags=[{"Key": naming.TAG_INSTALLATION, "Value": "another"}])
    elbv2.modify_target_group(TargetGroupArn=theirs, HealthCheckPath="/theirs")
    env = qa.run_pass(slug)
    assert env is not None
    assert env.conditions["target_group/admin"].state is State.BLOCKED
    assert env.conditions["target_group/app"].state is State.READY
    (group,) = elbv2.describe_target_groups(TargetGroupArns=[theirs])["TargetGroups"]
    assert group["HealthCheckPath"] == "/theirs"


def test_between_the_two_looks_of_a_teardown_nothing_is_asked(qa: Installation) -> None:
    """Events still come, and each would be a look at everything, a scan of Redis included."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    qa.delete("qa/foo")
    for _ in range(10):
        qa.run_pass(slug)
        qa.aws.ecs.drain_all()
        if qa.controller.again_in(qa.env(slug)):
            break
    qa.aws.calls.clear()
    ask, qa.clients = qa.clients, replace(qa.clients, datastores=None)  # it would break
    qa.run_pass(slug)
    assert {call.service for call in qa.aws.calls} == {"dynamodb"}
    qa.clients = ask
    qa.now += 20
    assert qa.run_pass(slug) is None
    assert qa.left() == []
