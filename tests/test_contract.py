"""The resource contract: one suite that every resource passes (`qa_env.model.Resource`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from qa_env import naming
from qa_env.errors import Blocked
from qa_env.model import Claim, Desired, Environment, Phase, Resource, Slug
from tests.installation import PAGE, REPOSITORY, A, Installation, installed
from tests.strict_aws import Event

Hand = Callable[[Installation, Environment], None]
Survives = Callable[[], bool]


@dataclass(frozen=True)
class Kind:
    """A kind of resource and what people can do to it by hand."""

    kind: str
    name: str = ""
    vanish: Hand | None = None
    foreign: Callable[[Installation, Environment], Survives] | None = None
    foreign_first: bool = True  # the foreign thing is there before the push

    def of(self, qa: Installation) -> Resource:
        """The resource as the installation plans it."""
        plan = qa.plan(qa.blueprint)
        waves = [*plan.build, *plan.tear_down]
        return next(r for wave in waves for r in wave if (r.kind, r.name) == (self.kind, self.name))


def _drop_listener(qa: Installation, env: Environment) -> None:
    lb, port = env.port_of("app")
    elbv2 = qa.aws.client("elbv2")
    for listener in elbv2.describe_listeners(LoadBalancerArn=lb)["Listeners"]:
        if listener["Port"] == port:
            elbv2.delete_listener(ListenerArn=listener["ListenerArn"])


def _drop_target_group(qa: Installation, env: Environment) -> None:
    _drop_listener(qa, env)
    qa.aws.client("elbv2").delete_target_group(TargetGroupArn=env.output("target_group", "app")["arn"])


def _drop_service(qa: Installation, env: Environment) -> None:
    qa.aws.client("ecs").delete_service(cluster=qa.world.cluster, service="qa-foo-app", force=True)
    qa.aws.ecs.drain_all()


def _drop_task_definition(qa: Installation, env: Environment) -> None:
    qa.aws.client("ecs").deregister_task_definition(
        taskDefinition=env.output("task_definition", "app")["arn"]
    )


def _drop_pipeline(qa: Installation, env: Environment) -> None:
    qa.codepipeline.delete_pipeline(name="qa-foo")


def _drop_schema(qa: Installation, env: Environment) -> None:
    qa.datastores.schemas.discard("qa-foo")


def _drop_secret(qa: Installation, env: Environment) -> None:
    """With a new password the user must be altered, and the tasks be told."""
    secret = naming.account_secret("qa-env", env.slug)
    qa.aws.client("secretsmanager").delete_secret(SecretId=secret, ForceDeleteWithoutRecovery=True)


def _drop_keys(qa: Installation, env: Environment) -> None:
    qa.datastores.keys.pop("qa_foo")


def _foreign_target_group(qa: Installation, env: Environment) -> Survives:
    elbv2 = qa.aws.client("elbv2")
    elbv2.create_target_group(
        Name="qa-foo-app", Protocol="HTTP", Port=80, VpcId=qa.world.vpc, TargetType="ip"
    )
    return lambda: bool(elbv2.describe_target_groups(Names=["qa-foo-app"])["TargetGroups"])


def _foreign_page(qa: Installation, env: Environment) -> Survives:
    name = naming.curtain_target_group("qa-env", qa.world.load_balancer.arn)
    elbv2 = qa.aws.client("elbv2")
    elbv2.create_target_group(Name=name, TargetType="lambda")
    return lambda: bool(elbv2.describe_target_groups(Names=[name])["TargetGroups"])


def _foreign_listener(qa: Installation, env: Environment) -> Survives:
    _drop_listener(qa, env)
    lb, port = env.port_of("app")
    elbv2 = qa.aws.client("elbv2")
    action: Any = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}
    elbv2.create_listener(LoadBalancerArn=lb, Port=port, Protocol="HTTP", DefaultActions=[action])
    return lambda: port in {one["Port"] for one in elbv2.describe_listeners(LoadBalancerArn=lb)["Listeners"]}


def _foreign_service(qa: Installation, env: Environment) -> Survives:
    qa.aws.client("ecs").create_service(
        cluster=qa.world.cluster,
        serviceName="qa-foo-app",
        taskDefinition=qa.world.stg_worker,
        desiredCount=1,
        launchType="FARGATE",
        networkConfiguration=qa.world.network,
    )
    return lambda: qa.service("qa-foo-app")["status"] == "ACTIVE"


def _foreign_task_definition(qa: Installation, env: Environment) -> Survives:
    ecs = qa.aws.client("ecs")
    container = {"name": "web", "image": "busybox", "memory": 128}
    ecs.register_task_definition(family="qa-foo-app", containerDefinitions=[container])
    return lambda: (
        ecs.describe_task_definition(taskDefinition="qa-foo-app:1")["taskDefinition"]["status"] == "ACTIVE"
    )


def _foreign_pipeline(qa: Installation, env: Environment) -> Survives:
    """A copy of a pipeline of ours, without its tags."""
    qa.push("qa/model", A)
    qa.deliver()
    model = qa.codepipeline.get_pipeline(name="qa-model")["pipeline"]
    qa.codepipeline.create_pipeline(pipeline={**model, "name": "qa-foo"})
    qa.delete("qa/model")
    qa.settle()
    return lambda: [p["name"] for p in qa.codepipeline.list_pipelines()["pipelines"]] == ["qa-foo"]


def _foreign_schema(qa: Installation, env: Environment) -> Survives:
    _claim_for_other(qa, "schema", Claim("schema", "qa-foo"))
    qa.datastores.schemas.add("qa-foo")
    return lambda: "qa-foo" in qa.datastores.schemas


def _foreign_keys(qa: Installation, env: Environment) -> Survives:
    _claim_for_other(qa, "redis", Claim("redis namespace", "qa_foo"))
    qa.datastores.keys["qa_foo"] = 1
    return lambda: "qa_foo" in qa.datastores.keys


def _foreign_secret(qa: Installation, env: Environment) -> Survives:
    client, name = qa.aws.client("secretsmanager"), naming.account_secret("qa-env", env.slug)
    client.create_secret(Name=name, SecretString="{}")
    return lambda: [one["Name"] for one in client.list_secrets()["SecretList"]] == [name]


def _claim_for_other(qa: Installation, key: str, claim: Claim) -> None:
    other = Environment(Slug("qa-other"), REPOSITORY, "qa/other", Desired.PRESENT, A, 1)
    qa.store.desire(other, None)
    qa.store.claim(other, {key: claim})


TARGET_GROUP = Kind("target_group", "app", _drop_target_group, _foreign_target_group)
LISTENER = Kind("listener", "app", _drop_listener, _foreign_listener, foreign_first=False)
CURTAIN = Kind("curtain", "app", None, _foreign_page)
PIPELINE = Kind("pipeline", "", _drop_pipeline, _foreign_pipeline)
TASK_DEFINITION = Kind("task_definition", "app", _drop_task_definition, _foreign_task_definition)
SERVICE = Kind("service", "app", _drop_service, _foreign_service)
SCHEMA = Kind("schema", "", _drop_schema, _foreign_schema)
KEYSPACE = Kind("keyspace", "", _drop_keys, _foreign_keys)
ACCOUNT = Kind("account", "", _drop_secret, _foreign_secret)
IMAGE = Kind("image")
KINDS = (
    *(TARGET_GROUP, LISTENER, CURTAIN, PIPELINE, TASK_DEFINITION, SERVICE),
    *(SCHEMA, KEYSPACE, ACCOUNT, IMAGE),
)
OWN = {"secret": "secretsmanager:mysql", "accounts": "own"}


def _id(kind: Kind) -> str:
    return kind.kind


every_kind = pytest.mark.parametrize("kind", KINDS, ids=_id)
restorable = pytest.mark.parametrize("kind", [k for k in KINDS if k.vanish], ids=_id)
takeable = pytest.mark.parametrize("kind", [k for k in KINDS if k.foreign], ids=_id)


class Killed(BaseException):
    """The sandbox died: nothing of ours may catch this."""


@pytest.fixture
def qa() -> Iterator[Installation]:
    """An installation without environments, which get everything that there is."""
    with installed(database=OWN) as made:
        yield made


@pytest.fixture
def settled(qa: Installation) -> Installation:
    """An installation whose qa/foo is ready."""
    qa.push("qa/foo", A)
    qa.settle()
    assert qa.env(Slug("qa-foo")).phase is Phase.READY, qa.messages(Slug("qa-foo"))
    return qa


@every_kind
def test_ensure_twice_changes_nothing(settled: Installation, kind: Kind) -> None:
    """`ensure` of what is there writes nothing and gives the same outputs."""
    env = settled.env(Slug("qa-foo"))
    resource = kind.of(settled)
    first = resource.ensure(env)
    settled.aws.calls.clear()
    second = resource.ensure(env)
    assert second == first
    assert [call.name for call in settled.aws.writes()] == []


@every_kind
def test_delete_of_nothing_succeeds(qa: Installation, kind: Kind) -> None:
    """`delete` of what never was returns and writes nothing."""
    env = Environment(Slug("qa-foo"), REPOSITORY, "qa/foo", Desired.ABSENT, A, 1)
    qa.aws.calls.clear()
    kind.of(qa).delete(env)
    assert [call.name for call in qa.aws.writes()] == []


@every_kind
def test_owners_are_those_that_exist(settled: Installation, kind: Kind) -> None:
    """`owners` names an environment while it has such a thing and not after."""
    owners = set(kind.of(settled).owners())
    assert owners == (set() if kind is CURTAIN else {"qa-foo"})
    settled.delete("qa/foo")
    settled.settle()
    assert set(kind.of(settled).owners()) == set()


@restorable
def test_ensure_restores_what_disappeared(settled: Installation, kind: Kind) -> None:
    """What a person deleted is there again after the next passes, and the environment is ready."""
    assert kind.vanish is not None
    kind.vanish(settled, settled.env(Slug("qa-foo")))
    settled.run_pass(Slug("qa-foo"))
    settled.settle()
    assert settled.env(Slug("qa-foo")).phase is Phase.READY, settled.messages(Slug("qa-foo"))
    assert "qa-foo" in set(kind.of(settled).owners())


def test_a_fallen_curtain_is_hung_again(qa: Installation) -> None:
    """While the service is not live, a rule that a person deleted comes back."""
    slug = qa.push("qa/foo", A)
    qa.run_pass(slug)
    elbv2 = qa.aws.client("elbv2")
    listener = qa.env(slug).output("listener", "app")["arn"]
    rules = [r for r in elbv2.describe_rules(ListenerArn=listener)["Rules"] if not r["IsDefault"]]
    assert len(rules) == 1
    elbv2.delete_rule(RuleArn=rules[0]["RuleArn"])
    qa.run_pass(slug)
    assert set(CURTAIN.of(qa).owners()) == {"qa-foo"}
    page = naming.curtain_target_group("qa-env", qa.world.load_balancer.arn)
    (group,) = elbv2.describe_target_groups(Names=[page])["TargetGroups"]
    health = elbv2.describe_target_health(TargetGroupArn=group["TargetGroupArn"])["TargetHealthDescriptions"]
    assert [one["Target"]["Id"] for one in health] == [PAGE]


def test_a_page_that_another_teardown_deletes_first_is_gone(qa: Installation) -> None:
    """IAM may deny to delete it then, as what is gone bears no tag of ours."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    elbv2 = qa.aws.client("elbv2")
    name = naming.curtain_target_group("qa-env", qa.world.load_balancer.arn)
    env = qa.env(slug)
    assert elbv2.describe_target_groups(Names=[name])["TargetGroups"][0]["LoadBalancerArns"] == []
    qa.aws.fail("DeleteTargetGroup", error="AccessDenied")
    with pytest.raises(Blocked):
        CURTAIN.of(qa).delete(env)
    qa.aws.fail("DeleteTargetGroup", error="AccessDenied", after=True)
    CURTAIN.of(qa).delete(env)
    with pytest.raises(elbv2.exceptions.TargetGroupNotFoundException):
        elbv2.describe_target_groups(Names=[name])


@takeable
def test_not_ours_is_blocked_and_survives_delete(qa: Installation, kind: Kind) -> None:
    """A thing with our name but not our mark blocks the environment and outlives its teardown."""
    assert kind.foreign is not None
    slug = Slug("qa-foo")
    if kind.foreign_first:
        survives = kind.foreign(qa, Environment(slug, REPOSITORY, "qa/foo", Desired.PRESENT, A, 1))
    qa.push("qa/foo", A)
    qa.deliver()
    first = qa.env(slug).phase
    qa.settle()
    if not kind.foreign_first:
        survives = kind.foreign(qa, qa.env(slug))
        qa.run_pass(slug)
    assert Phase.BLOCKED in (first, qa.env(slug).phase), qa.messages(slug)
    qa.delete("qa/foo")
    qa.settle()
    assert qa.store.get(slug) is None, qa.messages(slug)
    assert survives()


@restorable
def test_crash_after_each_call_is_repaired(settled: Installation, kind: Kind) -> None:
    """Killed right after any one call of a repair, the next passes finish it."""
    assert kind.vanish is not None
    slug = Slug("qa-foo")
    tried = 0
    while tried < 40:
        kind.vanish(settled, settled.env(slug))
        if not _killed_after_write(settled, slug, tried):
            break
        tried += 1
        settled.settle()
        assert settled.env(slug).phase is Phase.READY, (tried, settled.messages(slug))
    settled.delete("qa/foo")
    settled.settle()
    assert settled.left() == []


def test_crash_after_each_call_of_a_teardown_is_repaired() -> None:
    """Killed right after any one call of a teardown, the next passes finish it and nothing is left."""
    with installed(database=OWN) as qa:
        tried = 0
        while tried < 60:
            slug = qa.push("qa/foo", A)
            qa.settle()
            qa.delete("qa/foo")
            killed = _killed_after_write(qa, slug, tried)
            qa.settle()
            assert qa.left() == [], tried
            if not killed:
                break
            tried += 1
        assert tried > 5


def _killed_after_write(qa: Installation, slug: Slug, number: int) -> bool:
    """Run passes and die right after the n-th writing call took effect; False if there are fewer."""
    seen = 0

    def kill(event: Event) -> None:
        nonlocal seen
        if event.done and not event.is_read and event.service != "dynamodb":
            if seen == number:
                raise Killed
            seen += 1

    qa.aws.on_call(kill)
    try:
        for _ in range(4):
            qa.run_pass(slug)
    except Killed:
        qa.queue.append(slug)  # SQS delivers the message again
        return True
    finally:
        qa.aws._callbacks.remove(kill)
    return False
