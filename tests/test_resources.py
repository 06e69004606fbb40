"""What single resources promise beyond the contract: settings of the blueprint, words of AWS."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from qa_env import naming, telling
from qa_env.blueprint import Blueprint
from qa_env.errors import Blocked, Failed, NotReady
from qa_env.model import Claim, Desired, Environment, Phase, Ref, Slug, State, port_key
from qa_env.resources.service import Service
from qa_env.summary import Summary
from tests import canaries
from tests.installation import A, B, Installation, installed
from tests.making import environment


def changed(qa: Installation, **keys: Any) -> Installation:
    """An installation without environments in the same account, under another blueprint."""
    return Installation(qa.aws, qa.world, altered(qa, **keys))


def altered(qa: Installation, **keys: Any) -> Blueprint:
    """The blueprint with other keys; `roles__app` reaches into a role."""
    values = qa.blueprint.model_dump(by_alias=True)
    for key, value in keys.items():
        part, _, name = key.partition("__")
        if name:
            values[part][name] = {**values[part][name], **value}
        else:
            values[part] = value
    return Blueprint.model_validate(values)


def writes_of_a_pass(qa: Installation, slug: Slug, service: str) -> list[str]:
    """What one more pass changes in one of AWS's services."""
    qa.aws.calls.clear()
    qa.run_pass(slug)
    return [call.operation for call in qa.aws.writes() if call.service == service]


def test_https_listener_has_the_certificate() -> None:
    """HTTPS: certificate and policy of the blueprint, and an https URL."""
    with installed() as qa:
        certificate = qa.aws.client("acm").request_certificate(DomainName="*.example.com")["CertificateArn"]
        lb = {
            "arn": qa.world.load_balancer.arn,
            "host": "{slug}.example.com",
            "ports": "443-444",
            "protocol": "HTTPS",
            "certificate_arn": certificate,
        }
        qa = changed(qa, load_balancers=[lb])
        slug = qa.push("qa/foo", A)
        qa.settle()
        assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
        assert qa.env(slug).urls == {
            "app": "https://qa-foo.example.com/",
            "admin": "https://qa-foo.example.com:444/",
        }
        listed = qa.aws.client("elbv2").describe_listeners(LoadBalancerArn=qa.world.load_balancer.arn)
        assert [one["Certificates"][0]["CertificateArn"] for one in listed["Listeners"]] == [certificate] * 2
        qa.aws.calls.clear()
        qa.run_pass(slug)
        assert qa.aws.writes() == []


class Secrets:
    """Secrets Manager, and how often it was asked."""

    def __init__(self) -> None:
        self.texts = {
            "secretsmanager:oidc": json.dumps({"client_id": "qa", "client_secret": canaries.OIDC_SECRET}),
            "secretsmanager:oidc2": json.dumps({"client_id": "qa", "client_secret": "psst"}),
        }
        self.reads = 0

    def __call__(self, reference: str) -> str:
        self.reads += 1
        return self.texts[reference]


@pytest.fixture
def guarded() -> Iterator[tuple[Installation, Secrets]]:
    """An installation whose environments are behind a log-in."""
    with installed() as qa:
        certificate = qa.aws.client("acm").request_certificate(DomainName="*.example.com")["CertificateArn"]
        lb = {
            "arn": qa.world.load_balancer.arn,
            "host": "qa.example.com",
            "ports": "10001-10049",
            "protocol": "HTTPS",
            "certificate_arn": certificate,
            "oidc": OIDC,
        }
        qa = changed(qa, load_balancers=[lb])
        secrets = Secrets()
        qa.clients = replace(qa.clients, read_secret=secrets)
        yield qa, secrets


OIDC = {
    "secret": "secretsmanager:oidc",
    "issuer": "https://id.example.com",
    "authorization_endpoint": "https://id.example.com/authorize",
    "token_endpoint": "https://id.example.com/token",
    "user_info_endpoint": "https://id.example.com/user",
    "session_timeout": 3600,
}


def with_oidc(qa: Installation, **changes: Any) -> Blueprint:
    values = qa.blueprint.model_dump(by_alias=True)
    lb = values["load_balancers"][0]
    wanted = {**lb, "oidc": {**OIDC, **changes}} if "oidc" not in changes else {**lb, **changes}
    return altered(qa, load_balancers=[wanted])


def listeners(qa: Installation) -> list[dict[str, Any]]:
    """Those of our environments."""
    elbv2 = qa.aws.client("elbv2")
    return list(elbv2.describe_listeners(LoadBalancerArn=qa.world.load_balancer.arn)["Listeners"])


def log_ins(actions: list[dict[str, Any]]) -> list[Any]:
    return [one.get("AuthenticateOidcConfig") for one in sorted(actions, key=lambda one: one["Order"])]


def test_everybody_logs_in_before_an_environment_and_its_curtain(
    guarded: tuple[Installation, Secrets],
) -> None:
    """The listener and the curtain's rule ask for it; what is settled reads no secret."""
    qa, secrets = guarded
    slug = qa.push("qa/foo", A)
    qa.run_pass(slug)
    elbv2 = qa.aws.client("elbv2")
    for listener in listeners(qa):
        rules = elbv2.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
        assert len(rules) == 2
        for actions in [listener["DefaultActions"], *(rule["Actions"] for rule in rules)]:
            login, forward = log_ins(actions)
            assert login == {
                "Issuer": "https://id.example.com",
                "AuthorizationEndpoint": "https://id.example.com/authorize",
                "TokenEndpoint": "https://id.example.com/token",
                "UserInfoEndpoint": "https://id.example.com/user",
                "ClientId": "qa",
                "Scope": "openid email",
                "SessionTimeout": 3600,
                "OnUnauthenticatedRequest": "authenticate",
            }
            assert forward is None
    qa.settle()
    assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
    reads, _ = secrets.reads, qa.aws.calls.clear()
    qa.run_pass(slug)
    assert qa.aws.writes() == []
    assert secrets.reads == reads
    qa.delete("qa/foo")
    qa.settle()
    assert qa.left() == []


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"session_timeout": 60}, {"SessionTimeout": 60}),
        ({"issuer": "https://other.example.com"}, {"Issuer": "https://other.example.com"}),
        ({"secret": "secretsmanager:oidc2"}, {}),
    ],
)
@pytest.mark.parametrize("hidden", [False, True])
def test_a_changed_log_in_is_written_once(
    guarded: tuple[Installation, Secrets], change: dict[str, Any], shown: dict[str, Any], hidden: bool
) -> None:
    """Where the blueprint has other settings, or another secret, and on a hanging curtain as well."""
    qa, secrets = guarded
    slug = qa.push("qa/foo", A)
    qa.run_pass(slug) if hidden else qa.settle()
    qa.use(with_oidc(qa, **change))
    reads = secrets.reads
    qa.run_pass(slug)
    assert secrets.reads == reads + (4 if hidden else 2)
    assert writes_of_a_pass(qa, slug, "elbv2") == []
    elbv2 = qa.aws.client("elbv2")
    for listener in listeners(qa):
        for rule in elbv2.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]:
            assert shown.items() <= log_ins(rule["Actions"])[0].items()


def test_a_new_secret_reaches_the_load_balancer(guarded: tuple[Installation, Secrets]) -> None:
    """Under another reference."""
    qa, _ = guarded
    slug = qa.push("qa/foo", A)
    qa.settle()
    qa.use(with_oidc(qa, secret="secretsmanager:oidc2"))
    qa.aws.calls.clear()
    qa.run_pass(slug)
    given = [call.params["DefaultActions"][0] for call in qa.aws.calls_to("ModifyListener")]
    assert [one["AuthenticateOidcConfig"]["ClientSecret"] for one in given] == ["psst"] * 2


def test_a_crash_before_the_mark_writes_the_log_in_again(guarded: tuple[Installation, Secrets]) -> None:
    """The mark says what has been written, so it is never there too early."""
    qa, _ = guarded
    slug = qa.push("qa/foo", A)
    qa.settle()
    qa.use(with_oidc(qa, secret="secretsmanager:oidc2"))
    qa.aws.fail("elbv2:ModifyListener", 2, "InternalFailure")
    with pytest.raises(ExceptionGroup):
        qa.run_pass(slug)
    qa.aws.calls.clear()
    qa.run_pass(slug)
    assert len(qa.aws.calls_to("ModifyListener")) == 2
    qa.settle()
    assert qa.env(slug).phase is Phase.READY, qa.messages(slug)


def test_a_log_in_that_somebody_removed_comes_back(guarded: tuple[Installation, Secrets]) -> None:
    """As everything that people change by hand."""
    qa, _ = guarded
    slug = qa.push("qa/foo", A)
    qa.settle()
    for listener in listeners(qa):
        forward = {"Type": "forward", "TargetGroupArn": listener["DefaultActions"][1]["TargetGroupArn"]}
        qa.aws.client("elbv2").modify_listener(ListenerArn=listener["ListenerArn"], DefaultActions=[forward])
    qa.run_pass(slug)
    assert all(log_ins(listener["DefaultActions"])[0] for listener in listeners(qa))


def test_a_log_in_that_the_blueprint_no_longer_wants_goes(guarded: tuple[Installation, Secrets]) -> None:
    """Back to forwarding, on listeners and curtains."""
    qa, _ = guarded
    slug = qa.push("qa/foo", A)
    qa.run_pass(slug)
    qa.use(with_oidc(qa, oidc=None))
    qa.run_pass(slug)
    elbv2 = qa.aws.client("elbv2")
    for listener in listeners(qa):
        for rule in elbv2.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]:
            assert [one["Type"] for one in rule["Actions"]] == ["forward"]


@pytest.mark.parametrize("text", ["hush", '["hush"]', '{"client_secret": "hush"}'])
def test_a_secret_that_cannot_be_used_is_said_without_telling_it(
    guarded: tuple[Installation, Secrets], text: str
) -> None:
    """People correct it; nobody reads it in a condition or in the history."""
    qa, secrets = guarded
    secrets.texts["secretsmanager:oidc"] = text
    slug = qa.push("qa/foo", A)
    qa.run_pass(slug)
    assert "secretsmanager:oidc must be JSON" in qa.env(slug).conditions["listener/app"].message
    assert "hush" not in f"{qa.env(slug)}{qa.store.history(slug)}"


@pytest.mark.parametrize(
    ("capacity", "expected"),
    [
        ({"launch_type": "FARGATE"}, {"launchType": "FARGATE"}),
        ({"launch_type": "EC2"}, {"launchType": "EC2"}),
        ({"provider": "FARGATE_SPOT"}, {"capacityProviderStrategy": "FARGATE_SPOT"}),
        (None, {"launchType": "FARGATE"}),
    ],
    ids=["fargate", "ec2", "spot", "as-stg"],
)
def test_capacity_is_the_blueprints_or_stgs(
    capacity: dict[str, str] | None, expected: dict[str, str]
) -> None:
    """A launch type, a capacity provider, or what STG has."""
    with installed() as qa:
        qa = changed(qa, roles__worker={"capacity": capacity})
        slug = qa.push("qa/foo", A)
        qa.settle()
        assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
        service = qa.service("qa-foo-worker")
        strategy = service.get("capacityProviderStrategy") or [{}]
        found = {
            "launchType": service.get("launchType"),
            "capacityProviderStrategy": strategy[0].get("capacityProvider"),
        }
        assert expected.items() <= found.items()
        task = qa.aws.client("ecs").describe_task_definition(taskDefinition=service["taskDefinition"])
        where = "EC2" if "EC2" in expected.values() else "FARGATE"
        assert task["taskDefinition"]["requiresCompatibilities"] == [where]


def test_a_deployment_stops_first_or_rolls_as_the_blueprint_says() -> None:
    """replace: 0/100 %. rolling: 100/200 %. Both break after the blueprint's number of failed tasks."""
    with installed() as qa:
        qa = changed(qa, roles__worker={"deployment": {"strategy": "rolling", "failures": 4}})
        qa.push("qa/foo", A)
        qa.settle()
        app, worker = (qa.service(f"qa-foo-{role}")["deploymentConfiguration"] for role in ("app", "worker"))
        assert (app["minimumHealthyPercent"], app["maximumPercent"]) == (0, 100)
        assert (worker["minimumHealthyPercent"], worker["maximumPercent"]) == (100, 200)
        assert worker["deploymentCircuitBreaker"]["thresholdConfiguration"] == {"type": "COUNT", "value": 4}


def test_the_curtain_goes_up_before_a_replacing_deployment_and_not_for_a_rolling_one() -> None:
    """A visitor never meets a bare 503: the rule is there before the service is touched."""
    with installed() as qa:
        qa = changed(qa, roles__admin={"deployment": {"strategy": "rolling"}})
        slug = qa.push("qa/foo", A)
        qa.settle()
        qa.push("qa/foo", B)
        qa.deliver()
        qa.engine.run_until_idle()
        qa.aws.calls.clear()
        qa.run_pass(slug)
        order = [
            (call.operation, call.params.get("service", "curtain"))
            for call in qa.aws.writes()
            if call.operation in ("CreateRule", "UpdateService")
        ]
        assert order[0] == ("CreateRule", "curtain")
        assert sorted(order[1:]) == [
            ("UpdateService", "qa-foo-admin"),
            ("UpdateService", "qa-foo-app"),
            ("UpdateService", "qa-foo-worker"),
        ]
        conditions = qa.env(slug).conditions
        assert conditions["curtain/app"].state is State.WAITING
        assert conditions["curtain/admin"].state is State.READY


def test_no_room_is_said_as_a_sentence() -> None:
    """Placement failures say what is missing while ECS goes on trying."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.deliver()
        qa.engine.run_until_idle()
        qa.deliver()
        qa.aws.ecs.event(
            "qa-foo-app",
            "(service qa-foo-app) was unable to place a task because no container instance met all of its"
            " requirements. Reason: No Container Instances were found with 512 MiB of memory.",
        )
        qa.run_pass(slug)
        said = qa.env(slug).conditions["service/app"].message
        assert "no room on the cluster: No Container Instances were found with 512 MiB" in said


def test_an_image_that_cannot_be_pulled_is_said() -> None:
    """A task that never started has a reason, no exit code."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.deliver()
        qa.engine.run_until_idle()
        qa.deliver()
        qa.aws.ecs.stop_task("qa-foo-app", "CannotPullContainerError: manifest for shop:x not found")
        qa.aws.ecs.fail("qa-foo-app", "tasks failed to start")
        qa.run_pass(slug)
        assert "cannot pull the image" in qa.env(slug).conditions["service/app"].message


def test_health_check_and_delay_follow_the_blueprint() -> None:
    """A changed blueprint changes the target group of an environment that exists."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        qa.use(altered(qa, roles__app={"health_check": {"path": "/up"}, "deregistration_delay": 9}))
        qa.run_pass(slug)
        elbv2 = qa.aws.client("elbv2")
        (group,) = elbv2.describe_target_groups(Names=["qa-foo-app"])["TargetGroups"]
        assert group["HealthCheckPath"] == "/up"
        attributes = elbv2.describe_target_group_attributes(TargetGroupArn=group["TargetGroupArn"])[
            "Attributes"
        ]
        assert {"Key": "deregistration_delay.timeout_seconds", "Value": "9"} in attributes


def test_a_full_load_balancer_says_who_is_there() -> None:
    """No port: blocked, with the number of environments, their names, and what to do."""
    with installed() as qa:
        qa.aws.elbv2.quotas["listeners-per-application-load-balancer"] = 2
        first, second = qa.push("qa/foo", A), qa.push("qa/bar", B)
        qa.deliver()
        blocked = qa.env(second)
        assert blocked.phase is Phase.BLOCKED
        said = blocked.conditions["claims"].message
        assert "2 ports wanted, 0 free" in said
        assert first in said
        assert "add a load balancer" in said


@pytest.mark.parametrize("branch", ["qa/`;DROP DATABASE stg;--", "qa/'\"%x", "qa/日本語", "qa/" + "x" * 247])
def test_hostile_branches_are_environments_like_any_other(branch: str) -> None:
    """Whatever git allows gets harmless names, its branch as data, and leaves nothing."""
    branch = branch.replace(" ", "_")
    with installed() as qa:
        slug = qa.push(branch, A)
        qa.settle()
        assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
        assert qa.env(slug).branch == branch
        assert qa.datastores.schemas == {slug}
        qa.delete(branch)
        qa.settle()
        assert qa.left() == []


def test_a_branch_that_codepipeline_would_read_as_a_variable_is_blocked() -> None:
    """`#{` in a branch name is said, not executed."""
    with installed() as qa:
        slug = qa.push("qa/#{SourceVariables.CommitId}", A)
        qa.deliver()
        assert "reads as a variable" in qa.env(slug).conditions["pipeline"].message
        assert qa.codepipeline.list_pipelines()["pipelines"] == []


def test_a_stg_deployment_restarts_nobody() -> None:
    """STG is copied at a push; a new revision of STG's task definition changes no environment."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        ecs = qa.aws.client("ecs")
        stg = ecs.describe_task_definition(taskDefinition=qa.world.stg_web)["taskDefinition"]
        (container,) = stg["containerDefinitions"]
        ecs.register_task_definition(
            family=qa.world.stg_web,
            containerDefinitions=[{**container, "image": "shop:new"}],
            **{key: stg[key] for key in ("cpu", "memory", "networkMode", "requiresCompatibilities")},
            executionRoleArn=stg["executionRoleArn"],
        )
        ecs.update_service(
            cluster=qa.world.cluster, service=qa.world.stg_web, taskDefinition=qa.world.stg_web
        )
        qa.aws.calls.clear()
        qa.run_pass(slug)
        assert qa.aws.writes() == []


@pytest.mark.parametrize(
    "trouble", ["datastores", "throttle-services", "throttle-revisions", "foreign-revision"]
)
def test_trouble_elsewhere_hides_no_application_that_runs(trouble: str) -> None:
    """The curtain goes up for what the service says, not because something else cannot be asked."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        match trouble:
            case "datastores":
                qa.datastores.error = {"error": "not_ready", "message": "db does not answer"}
            case "throttle-services":
                qa.aws.throttle("ecs:DescribeServices", 30)
            case "throttle-revisions":
                qa.aws.throttle("ecs:ListTaskDefinitions", 30)
            case _:
                container = {"name": "web", "image": "busybox", "memory": 128}
                qa.aws.client("ecs").register_task_definition(
                    family="qa-foo-app", containerDefinitions=[container]
                )
        qa.aws.calls.clear()
        for _ in range(3):
            with contextlib.suppress(Exception):
                qa.run_pass(slug)
        assert qa.aws.calls_to("CreateRule") == []


def test_a_service_is_gone_when_its_containers_have_stopped() -> None:
    """INACTIVE comes when tasks are merely STOPPING: a worker may still write keys then."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        qa.delete("qa/foo")
        qa.run_pass(slug)
        stopping = {"taskArns": ["arn:aws:ecs:ap-northeast-1:123456789012:task/qa/1"]}
        qa.aws.serve("ecs:ListTasks", lambda operation, params: stopping)
        qa.aws.serve("ecs:DescribeTasks", lambda operation, params: {"tasks": [{"lastStatus": "STOPPING"}]})
        qa.aws.ecs.drain_all()
        qa.run_pass(slug)
        assert qa.datastores.keys
        qa.aws.serve("ecs:DescribeTasks", lambda operation, params: {"tasks": [{"lastStatus": "STOPPED"}]})
        qa.settle()
        assert qa.left() == []


@pytest.mark.parametrize(("key", "value"), [("database", None), ("redis", {"mode": "none"})])
def test_data_that_the_blueprint_forgot_is_not_said_to_be_gone(key: str, value: Any) -> None:
    """The claim remembers it: the teardown waits until the blueprint has it again."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        whole = qa.blueprint
        qa.use(Blueprint.model_validate({**whole.model_dump(by_alias=True), key: value}))
        qa.delete("qa/foo")
        qa.settle()
        assert qa.datastores.schemas if key == "database" else qa.datastores.keys
        kind = {"database": "schema", "redis": "keyspace"}[key]
        assert "put it back" in qa.env(slug).conditions[kind].message
        qa.use(whole)
        qa.run_pass(slug)
        qa.settle()
        assert qa.left() == []


def test_a_cluster_that_was_deleted_has_no_service_left() -> None:
    """Its services went with it. What only the blueprint names wrongly may run somewhere else."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        ecs = qa.aws.client("ecs")
        for name in (
            *(f"{slug}-{role}" for role in qa.blueprint.roles),
            qa.world.stg_web,
            qa.world.stg_worker,
        ):
            ecs.delete_service(cluster=qa.world.cluster, service=name, force=True)
        qa.aws.ecs.drain_all()
        ecs.delete_cluster(cluster=qa.world.cluster)
        qa.delete("qa/foo")
        qa.settle()
        assert qa.store.get(slug) is None, qa.messages(slug)
        env = environment("qa-new", desired=Desired.ABSENT)
        (service, *_) = (r for wave in qa.plan(qa.blueprint).tear_down for r in wave if r.kind == "service")
        with pytest.raises(Blocked, match="Cluster not found"):
            service.delete(env)


def test_a_changed_cluster_leaves_no_service_in_the_old_one() -> None:
    """The service remembers where it is, and is deleted there."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        qa.aws.client("ecs").create_cluster(clusterName="other")
        qa.use(Blueprint.model_validate({**qa.blueprint.model_dump(by_alias=True), "cluster": "other"}))
        qa.delete("qa/foo")
        qa.settle()
        assert qa.store.get(slug) is None
        listed = qa.aws.client("ecs").list_services(cluster=qa.world.cluster, maxResults=100)["serviceArns"]
        assert not [arn for arn in listed if "qa-foo" in arn]


def test_a_changed_redis_mode_still_frees_the_old_place() -> None:
    """The claim says what kind of place it is."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        redis = {"mode": "database", "secret": "secretsmanager:redis", "databases": "1-3"}
        qa.use(Blueprint.model_validate({**qa.blueprint.model_dump(by_alias=True), "redis": redis}))
        qa.delete("qa/foo")
        qa.settle()
        assert qa.store.get(slug) is None, qa.messages(slug)
        assert qa.datastores.keys == {}


def test_keys_are_removed_from_the_database_that_they_are_in() -> None:
    """The blueprint's number is another one by now."""
    with installed() as qa:
        qa.push("qa/foo", A)
        qa.settle()
        redis = {**qa.blueprint.model_dump(by_alias=True)["redis"], "database": 3}
        qa.use(Blueprint.model_validate({**qa.blueprint.model_dump(by_alias=True), "redis": redis}))
        qa.delete("qa/foo")
        qa.settle()
        asked = [
            one for one in qa.datastores.requests if (one["store"], one["action"]) == ("redis", "delete")
        ]
        assert {one["database"] for one in asked} == {0}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"mode": "namespace"}, {"mode": "database", "databases": "1-3"}),
        ({"mode": "database", "databases": "1-3"}, {"mode": "namespace"}),
        ({"mode": "namespace", "database": 0}, {"mode": "namespace", "database": 3}),
    ],
    ids=["to numbers", "to namespaces", "to another database"],
)
def test_what_lives_is_not_moved_to_another_place_in_redis(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    """It would lose its jobs and meet those of STG; it goes on as it is until its branch is pushed anew."""
    redis = {"secret": "secretsmanager:redis", "variables": {"REDIS_DATABASE": "{database}"}}
    with installed() as qa:
        qa.use(altered(qa, redis=redis | before))
        slug = qa.push("qa/foo", A)
        qa.settle()
        running = qa.service("qa-foo-app")["taskDefinition"]
        place = qa.env(slug).output("keyspace")
        qa.use(altered(qa, redis=redis | after))
        for _ in range(3):
            qa.run_pass(slug)
        env = qa.env(slug)
        assert env.phase is Phase.BLOCKED
        assert f"redis.{'mode' if before['mode'] != after['mode'] else 'database'}" in _said(env, "keyspace")
        assert env.remembered("keyspace") == place
        assert qa.service("qa-foo-app")["taskDefinition"] == running
        qa.delete("qa/foo")
        qa.settle()
        assert qa.left() == []
        assert qa.datastores.keys == {}
        qa.push("qa/foo", A)
        qa.settle()
        assert qa.env(slug).phase is Phase.READY, qa.messages(slug)


def test_a_number_on_another_server_is_not_taken_from_whose_keys_are_in_it() -> None:
    """The secret leads elsewhere by now: nothing there is marked, and nothing there is flushed."""
    redis = {"mode": "database", "databases": "1-3", "secret": "secretsmanager:redis"}
    with installed() as qa:
        qa.use(altered(qa, redis=redis))
        slug = qa.push("qa/foo", A)
        qa.settle()
        number = qa.env(slug).output("keyspace")["database"]
        qa.datastores.server = "Redis at another:6379"
        qa.datastores.keys, qa.datastores.owners = {number: 7}, {}
        qa.run_pass(slug)
        assert "keys without our mark" in _said(qa.env(slug), "keyspace")
        qa.delete("qa/foo")
        qa.settle()
        assert qa.store.get(slug) is None, qa.messages(slug)
        assert qa.datastores.keys == {number: 7}


def _said(env: Environment, kind: str) -> str:
    condition = env.conditions[kind]
    assert condition.state is State.BLOCKED
    return condition.message


@pytest.mark.parametrize("seen", [False, True])
def test_images_go_from_every_repository_that_they_were_pushed_to(seen: bool) -> None:
    """The blueprint's repository is another one by now, with or without a pass in between."""
    with installed() as qa:
        qa.push("qa/foo", A)
        qa.settle()
        qa.aws.client("ecr").create_repository(repositoryName="other")
        changed = {**qa.blueprint.model_dump(by_alias=True), "image_repository": "other"}
        qa.use(Blueprint.model_validate(changed))
        if seen:
            qa.run_pass(Slug("qa-foo"))
            qa.settle()
        qa.delete("qa/foo")
        qa.settle()
        assert qa.aws.client("ecr").list_images(repositoryName=qa.world.repository)["imageIds"] == []
        assert qa.left() == []


@pytest.mark.parametrize("changed", [{"branch_prefix": "test/"}, {"slug_prefix": "shop"}])
def test_a_branch_that_is_no_longer_listened_to_says_so(changed: dict[str, str]) -> None:
    """Without GitHub nobody would ever tell that it was deleted."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        (key,) = changed
        whole = qa.blueprint.model_dump(by_alias=True) | {"database": None, "redis": {"mode": "none"}}
        qa.use(Blueprint.model_validate(whole | changed))
        qa.run_pass(slug)
        env = qa.env(slug)
        assert env.phase is Phase.BLOCKED
        assert f"put {key} back" in env.conditions["branch"].message


def test_a_stuck_teardown_needs_a_person() -> None:
    """Its phase stays “deleting”, and the reason is said all the same."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        assert not qa.env(slug).needs_a_person
        qa.aws.fail("DeleteTargetGroup", times=99, error="AccessDenied")
        qa.delete("qa/foo")
        qa.settle()
        env = qa.env(slug)
        assert (env.phase, env.needs_a_person) == (Phase.DELETING, True)
        assert "AccessDenied" in telling.headline(Summary(env, qa.blueprint))


def test_a_role_that_loses_its_port_loses_its_listener() -> None:
    """It goes on as a worker; the listener, the target group and the service's registration go."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        qa.use(altered(qa, roles__admin={"port": None}))
        qa.run_pass(slug)
        qa.settle()
        env = qa.env(slug)
        assert env.phase is Phase.READY, qa.messages(slug)
        assert set(env.urls) == {"app"}
        assert qa.service("qa-foo-admin").get("loadBalancers", []) == []
        groups = qa.aws.client("elbv2").describe_target_groups()["TargetGroups"]
        assert "qa-foo-admin" not in {group["TargetGroupName"] for group in groups}


def lose(qa: Installation, slug: Slug) -> Claim:
    """Record and claims are gone, the world stays; the port of `app`."""
    env = qa.env(slug)
    qa.store.table.delete_item(Key={"pk": "environment", "sk": str(slug)})
    for claim in env.claims.values():
        qa.store.table.delete_item(Key={"pk": f"claim#{claim.scope}", "sk": claim.name})
    return env.claims[port_key("app")]


def ports_of(qa: Installation, slug: Slug) -> set[str]:
    """Of this role's listeners, whatever the record knows."""
    client, found = qa.aws.client("elbv2"), set()
    for lb in qa.blueprint.load_balancers:
        for one in client.describe_listeners(LoadBalancerArn=lb.arn)["Listeners"]:
            (said,) = client.describe_tags(ResourceArns=[one["ListenerArn"]])["TagDescriptions"]
            tags = {tag["Key"]: tag["Value"] for tag in said["Tags"]}
            if (tags.get(naming.TAG_ENVIRONMENT), tags.get(naming.TAG_ROLE)) == (slug, "app"):
                found.add(str(one["Port"]))
    return found


def test_a_port_that_another_took_while_the_record_was_lost_is_given_up() -> None:
    """Neither waits for the other: the one without a claim moves, and takes its old listener away."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        lost = lose(qa, slug)
        other = environment(Slug("qa-other"), branch="qa/other")
        qa.store.desire(other, None)
        qa.store.claim(other, {port_key("app"): lost})
        qa.push("qa/foo", B)
        qa.settle()
        assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
        assert qa.env(slug).claims[port_key("app")] != lost
        assert ports_of(qa, slug) == {qa.env(slug).claims[port_key("app")].name}


def test_a_listener_that_was_not_seen_when_the_record_was_made_anew_goes() -> None:
    """A stale answer hid it, so another port was claimed: one role has one listener."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        lost = lose(qa, slug)
        env = environment(slug, branch="qa/foo", commit=A)
        qa.store.desire(env, None)
        qa.store.claim(env, {port_key("app"): Claim(lost.scope, str(int(lost.name) + 5))})
        qa.queue.append(slug)
        qa.settle()
        assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
        assert ports_of(qa, slug) == {str(int(lost.name) + 5)}


def test_what_ecr_refuses_to_delete_is_not_said_to_be_gone() -> None:
    """ECR answers refusals instead of raising them."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        refusal = {"failureCode": "KmsError", "failureReason": "the key is disabled"}
        qa.aws.serve("ecr:BatchDeleteImage", lambda operation, params: {"failures": [refusal]})
        qa.delete("qa/foo")
        qa.settle()
        assert "the key is disabled" in qa.env(slug).conditions["image"].message


def test_releasing_the_same_commit_again_starts_it_again() -> None:
    """A start that failed can be repeated: another execution is another build."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.deliver()
        qa.engine.run_until_idle()
        qa.deliver()
        qa.aws.ecs.stop_task("qa-foo-app", "CannotPullContainerError: i/o timeout")
        qa.aws.ecs.fail("qa-foo-app", "tasks failed to start")
        qa.run_pass(slug)
        qa.now += 10
        qa.engine.run_until_idle()
        assert qa.env(slug).phase is Phase.FAILED
        first = qa.task_definition("qa-foo-app")
        qa.codepipeline.start_pipeline_execution(name="qa-foo")
        qa.settle()
        assert qa.task_definition("qa-foo-app") != first
        assert qa.env(slug).phase is Phase.READY, qa.messages(slug)


def test_a_blocked_task_definition_ends_the_deploy_action() -> None:
    """The pipeline says what a person must do instead of hanging for a day."""
    with installed() as qa:
        qa.push("qa/foo", A)
        qa.settle()
        ecs = qa.aws.client("ecs")
        container = {"name": "web", "image": "busybox", "memory": 128}
        ecs.register_task_definition(family="qa-foo-app", containerDefinitions=[container])
        qa.push("qa/foo", B)
        qa.settle()
        state = qa.codepipeline.get_pipeline_state(name="qa-foo")["stageStates"][-1]
        said = state["actionStates"][0]["latestExecution"]["errorDetails"]["message"]
        assert "is not ours" in said


def test_a_build_that_was_refused_in_a_bad_moment_is_built_again() -> None:
    """A late delete made Deploy refuse the commit; the branch is there, so it is built after all."""
    with installed(asks_github=True) as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        qa.push("qa/foo", B)
        qa.deliver()
        qa.say("qa/foo", Ref.ABSENT, "")
        qa.queue.clear()
        qa.engine.run_until_idle()
        qa.now += 60
        qa.run_pass(slug)
        qa.settle()
        env = qa.env(slug)
        assert env.phase is Phase.READY, qa.messages(slug)
        assert env.built is not None
        assert env.built.commit == B


def test_a_changed_capacity_is_forced_on_the_service() -> None:
    """ECS refuses to switch between launch type and strategy without a forced deployment."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        qa.use(altered(qa, roles__worker={"capacity": {"provider": "FARGATE_SPOT"}}))
        qa.aws.calls.clear()
        qa.run_pass(slug)
        (update,) = [c for c in qa.aws.calls_to("UpdateService") if c.params["service"] == "qa-foo-worker"]
        assert update.params["forceNewDeployment"] is True
        qa.settle()
        assert qa.env(slug).phase is Phase.READY, qa.messages(slug)


def test_a_worker_that_keeps_ending_is_not_called_ready() -> None:
    """ECS calls a task started that dies seconds later; its ends are counted, and said."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        planned = [resource for wave in qa.plan(qa.blueprint).build for resource in wave]
        (worker,) = [r for r in planned if isinstance(r, Service) and r.name == "worker"]
        worker = replace(worker, now=lambda: datetime(2026, 1, 1, 0, 5, tzinfo=UTC))
        env = qa.env(slug)
        young = replace(env, conditions={k: c for k, c in env.conditions.items() if k != "service/worker"})
        assert worker.ensure(young)["serving"] == "yes"
        for _ in range(2):
            qa.aws.ecs.stop_task("qa-foo-worker", "Essential container in task exited", exit_code=7)
        with pytest.raises(Failed, match="worker keeps ending: container worker exited with code 7"):
            worker.ensure(young)


def test_a_build_that_a_person_stopped_is_not_started_again() -> None:
    """An older execution's refusal in the Deploy stage says nothing about the one that was stopped."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        qa.push("qa/foo", B)
        qa.deliver()
        qa.engine.step()
        qa.engine.step()
        qa.push("qa/foo", "c" * 40)
        qa.queue.clear()
        qa.engine.run_until_idle()
        said = qa.codepipeline.get_pipeline_state(name=slug)["stageStates"][-1]["actionStates"][0]
        assert said["latestExecution"]["errorDetails"]["message"].startswith("not wanted")
        qa.run_pass(slug)
        (newest, *_) = qa.codepipeline.list_pipeline_executions(pipelineName=slug)[
            "pipelineExecutionSummaries"
        ]
        qa.engine.step()
        qa.codepipeline.stop_pipeline_execution(
            pipelineName=slug, pipelineExecutionId=newest["pipelineExecutionId"], abandon=False
        )
        qa.engine.run_until_idle()
        qa.deliver()
        listed = qa.codepipeline.list_pipeline_executions(pipelineName=slug)["pipelineExecutionSummaries"]
        assert listed[0]["pipelineExecutionId"] == newest["pipelineExecutionId"]
        assert qa.env(slug).conditions["pipeline"].message == "the build stopped"


def test_a_build_that_a_teardown_stopped_is_started_for_who_wants_it_again() -> None:
    """The record was lost in the middle of the teardown, so the pipeline is still there, and its end."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.deliver()
        for _ in range(3):
            qa.engine.step()
        qa.delete("qa/foo")
        qa.run_pass(slug)
        qa.queue.clear()
        qa.engine.run_until_idle()
        (stopped,) = qa.codepipeline.list_pipeline_executions(pipelineName=slug)["pipelineExecutionSummaries"]
        assert (stopped["status"], stopped["sourceRevisions"][0]["revisionId"]) == ("Stopped", A)
        qa.store.table.delete_item(Key={"pk": "environment", "sk": str(slug)})
        qa.push("qa/foo", A)
        qa.settle()
        assert qa.env(slug).phase is Phase.READY, qa.messages(slug)


class TestBuilds:
    """A build ends by itself or by StopBuild, whatever becomes of its execution: facts B3-13, B3-14."""

    def builds(self, qa: Installation) -> list[tuple[str, str]]:
        return [(one.project, str(one.status)) for one in qa.engine.codebuild.builds]

    def replace_projects(self, qa: Installation) -> None:
        """Who names the new ones in BuildProjectArns takes the old ones out."""
        denied = ("AccessDeniedException", "not authorized to perform: codebuild:BatchGetBuilds")
        qa.aws.fail("codebuild:BatchGetBuilds", 100, denied)
        projects = {"build_project": "new", "migrate_project": "newer"}
        qa.use(altered(qa, pipeline={**qa.blueprint.pipeline.model_dump(), **projects}))

    def test_a_teardown_stops_the_build_that_runs(self) -> None:
        with installed() as qa:
            slug = qa.push("qa/foo", A)
            qa.builds_take = 3600
            qa.deliver()
            qa.engine.run_until_idle()
            qa.delete("qa/foo")
            qa.run_pass(slug)
            assert self.builds(qa) == [("build", "STOPPED")]
            assert "stopping the build" in qa.env(slug).conditions["pipeline"].message
            qa.settle()
            assert qa.left() == []

    @pytest.mark.parametrize("dies", ["", "codebuild:StopBuild", "codepipeline:TagResource"])
    def test_an_update_stops_the_build_that_it_cancels(self, dies: str) -> None:
        """The next execution's build stands in its place, and a teardown would not find it."""
        with installed() as qa:
            slug = qa.push("qa/foo", A)
            qa.builds_take = 3600
            qa.deliver()
            qa.engine.run_until_idle()
            qa.use(altered(qa, pipeline={**qa.blueprint.pipeline.model_dump(), "build_project": "new"}))
            if dies:
                qa.aws.fail(dies)
                with contextlib.suppress(ClientError):
                    qa.run_pass(slug)
            qa.run_pass(slug)
            qa.engine.run_until_idle()
            assert self.builds(qa) == [("build", "STOPPED"), ("new", "IN_PROGRESS")]
            qa.delete("qa/foo")
            qa.settle()
            assert {status for _, status in self.builds(qa)} == {"STOPPED"}
            assert qa.left() == []

    def test_a_project_that_was_replaced_and_may_not_be_looked_at_any_more_stops_nothing(self) -> None:
        with installed() as qa:
            slug = qa.push("qa/foo", A)
            qa.settle()
            self.replace_projects(qa)
            qa.run_pass(slug)
            declared = qa.engine.pipelines[slug].declaration["stages"][1]["actions"][0]["configuration"]
            assert declared["ProjectName"] == "new"
            assert qa.env(slug).phase is Phase.READY, qa.messages(slug)

    def test_one_that_still_runs_a_build_wants_it_back(self) -> None:
        with installed() as qa:
            slug = qa.push("qa/foo", A)
            qa.builds_take = 3600
            qa.deliver()
            qa.engine.run_until_idle()
            self.replace_projects(qa)
            qa.run_pass(slug)
            assert qa.env(slug).conditions["pipeline"].state is State.BLOCKED
            assert "codebuild:BatchGetBuilds" in qa.env(slug).conditions["pipeline"].message


class TestBusyPipeline:
    """CodePipeline says that a pipeline is busy, or that enough of it runs: facts B3-13 to B3-15."""

    def test_a_start_that_finds_it_busy_is_made_once(self) -> None:
        with installed() as qa:
            slug = qa.push("qa/foo", A)
            qa.settle()
            qa.push("qa/foo", B)
            qa.aws.busy("StartPipelineExecution", times=2)
            for _ in range(2):
                qa.run_pass(slug)
                assert qa.env(slug).conditions["pipeline"].state is State.WAITING
                assert "busy" in qa.env(slug).conditions["pipeline"].message
            qa.settle()
            assert [run["trigger"]["triggerType"] for run in executions_of(qa, slug)] == [
                "StartPipelineExecution",
                "CreatePipeline",
            ]
            built = qa.env(slug).built
            assert built is not None
            assert built.commit == B
            assert qa.env(slug).phase is Phase.READY, qa.messages(slug)

    @pytest.mark.parametrize("operation", ["CreatePipeline", "TagResource"])
    def test_one_whose_tags_are_busy_is_made_or_marked_later(self, operation: str) -> None:
        with installed() as qa:
            slug = qa.push("qa/foo", A)
            if operation == "TagResource":
                qa.settle()
                qa.use(altered(qa, pipeline={**qa.blueprint.pipeline.model_dump(), "build_project": "new"}))
                qa.queue.append(slug)
            qa.aws.busy(operation)
            qa.run_pass(slug)
            assert qa.env(slug).conditions["pipeline"].state is State.WAITING
            qa.settle()
            assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
            assert len(executions_of(qa, slug)) == 1
            assert writes_of_a_pass(qa, slug, "codepipeline") == []

    @pytest.mark.parametrize("operation", ["StopPipelineExecution", "DeletePipeline"])
    def test_a_teardown_that_finds_it_busy_comes_again(self, operation: str) -> None:
        """It says that it waits, drops nothing before, and leaves nothing."""
        with installed() as qa:
            slug = qa.push("qa/foo", A)
            qa.deliver()
            if operation == "DeletePipeline":
                qa.settle()  # what runs would be stopped first
            qa.delete("qa/foo")
            qa.aws.busy(operation, times=2)
            for _ in range(2):
                qa.run_pass(slug)
                assert qa.env(slug).conditions["pipeline"].state is State.WAITING
                assert qa.datastores.schemas == {"qa-foo"}
            qa.run_pass(slug)
            assert len(qa.aws.calls_to(operation)) == 3
            qa.settle()
            assert qa.left() == []

    def test_one_of_which_too_much_runs_waits_for_a_person_or_an_end(self) -> None:
        """As every quota; what has ended makes room, and the next look starts it."""
        with installed() as qa:
            slug = qa.push("qa/foo", A)
            qa.settle()
            limit = ("ConcurrentPipelineExecutionsLimitExceededException", "reached the limit")
            qa.aws.fail("StartPipelineExecution", 1, limit)
            qa.push("qa/foo", B)
            qa.run_pass(slug)
            assert qa.env(slug).conditions["pipeline"].state is State.BLOCKED
            assert "reached the limit" in qa.env(slug).conditions["pipeline"].message
            qa.settle()
            assert len(executions_of(qa, slug)) == 2
            assert qa.env(slug).phase is Phase.READY, qa.messages(slug)


def executions_of(qa: Installation, slug: Slug) -> list[Any]:
    """What ran in the pipeline, the newest first."""
    return list(qa.codepipeline.list_pipeline_executions(pipelineName=slug)["pipelineExecutionSummaries"])


def test_an_update_that_is_refused_hides_nothing() -> None:
    """The old version runs on in front of everybody until a person has helped."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        qa.aws.fail("UpdateService", 100, ("AccessDeniedException", "not authorized"))
        qa.push("qa/foo", B)
        qa.settle()
        qa.run_pass(slug)
        env = qa.env(slug)
        assert env.conditions["service/app"].state is State.BLOCKED
        assert env.conditions["curtain/app"].state is State.READY


def test_an_unhealthy_task_is_said() -> None:
    """It has neither an exit code nor a pull error, only the load balancer's verdict."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.deliver()
        qa.engine.run_until_idle()
        qa.deliver()
        qa.aws.ecs.stop_task("qa-foo-app", "Task failed ELB health checks in (target-group qa-foo-app)")
        qa.aws.ecs.fail("qa-foo-app", "tasks failed to start")
        qa.run_pass(slug)
        assert "unhealthy: Task failed ELB health checks" in qa.env(slug).conditions["service/app"].message


def test_a_cluster_without_room_fails_the_start_after_a_quarter_of_an_hour() -> None:
    """ECS would go on trying for ever, and the Deploy action with it."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.deliver()
        qa.engine.run_until_idle()
        qa.deliver()
        qa.aws.ecs.event(
            "qa-foo-worker", "was unable to place a task. Reason: No Container Instances were found."
        )
        planned = [resource for wave in qa.plan(qa.blueprint).build for resource in wave]
        (worker,) = [r for r in planned if isinstance(r, Service) and r.name == "worker"]
        with pytest.raises(NotReady, match="no room on the cluster"):
            replace(worker, now=lambda: datetime(2026, 1, 1, 0, 10, tzinfo=UTC)).ensure(qa.env(slug))
        with pytest.raises(Failed, match="no room on the cluster: No Container Instances were found"):
            replace(worker, now=lambda: datetime(2026, 1, 1, 0, 20, tzinfo=UTC)).ensure(qa.env(slug))


def pipeline_of(qa: Installation) -> dict[str, Any]:
    """As it is declared now, with its version."""
    return dict(qa.codepipeline.get_pipeline(name="qa-foo")["pipeline"])


def without_migrate(qa: Installation) -> None:
    """Somebody takes the stage out in the console."""
    declared = pipeline_of(qa)
    stages = [stage for stage in declared["stages"] if stage["name"] != "Migrate"]
    qa.codepipeline.update_pipeline(pipeline={**declared, "stages": stages})


def stage_names(qa: Installation) -> list[str]:
    return [stage["name"] for stage in pipeline_of(qa)["stages"]]


ALL_STAGES = ["Source", "Build", "Migrate", "Deploy"]


def test_a_stage_that_somebody_removed_comes_back_once() -> None:
    """The version tells it; what is settled again is not touched again, and nothing is built for it."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        assert writes_of_a_pass(qa, slug, "codepipeline") == []
        without_migrate(qa)
        assert writes_of_a_pass(qa, slug, "codepipeline") == ["UpdatePipeline", "TagResource"]
        assert (stage_names(qa), pipeline_of(qa)["version"]) == (ALL_STAGES, 3)
        assert writes_of_a_pass(qa, slug, "codepipeline") == []
        assert qa.env(slug).phase is Phase.READY, qa.messages(slug)


def test_a_stage_that_somebody_removed_while_it_builds_is_built_again() -> None:
    """Both updates cancel what runs: the commit is built by the pipeline as it should be."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.deliver()
        qa.engine.step()
        without_migrate(qa)
        qa.settle()
        assert stage_names(qa) == ALL_STAGES
        assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
        assert qa.datastores.migrated == {"qa-foo": [A]}


def test_a_crash_before_the_mark_updates_the_pipeline_again() -> None:
    """Whether the blueprint or a person had changed it: the mark says what was written, never too early."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        for change in (lambda: without_migrate(qa), lambda: qa.use(altered(qa, pipeline=other_build(qa)))):
            change()
            qa.aws.fail("codepipeline:TagResource")
            with pytest.raises(ClientError):
                qa.run_pass(slug)
            assert writes_of_a_pass(qa, slug, "codepipeline") == ["UpdatePipeline", "TagResource"]
            assert writes_of_a_pass(qa, slug, "codepipeline") == []
        assert stage_names(qa) == ALL_STAGES
        configuration = pipeline_of(qa)["stages"][1]["actions"][0]["configuration"]
        assert configuration["ProjectName"] == "other"


def other_build(qa: Installation) -> dict[str, Any]:
    return {**qa.blueprint.model_dump(by_alias=True)["pipeline"], "build_project": "other"}


def test_a_mark_without_a_version_gets_one_and_updates_nothing() -> None:
    """As an earlier release left it: an upgrade cancels no build, and changes are noticed from then on."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        tags = qa.engine.pipelines["qa-foo"].tags
        tags[naming.TAG_SETTINGS] = tags[naming.TAG_SETTINGS].partition(":")[0]
        assert writes_of_a_pass(qa, slug, "codepipeline") == ["TagResource"]
        assert writes_of_a_pass(qa, slug, "codepipeline") == []
        without_migrate(qa)
        assert writes_of_a_pass(qa, slug, "codepipeline") == ["UpdatePipeline", "TagResource"]
        assert stage_names(qa) == ALL_STAGES


def test_an_answer_from_before_our_own_update_is_no_change() -> None:
    """Else it would cancel the build that the update made room for."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        qa.use(altered(qa, pipeline=other_build(qa)))
        assert writes_of_a_pass(qa, slug, "codepipeline") == ["UpdatePipeline", "TagResource"]
        qa.aws.stale("codepipeline:GetPipeline", 1)
        assert writes_of_a_pass(qa, slug, "codepipeline") == []


BREAKER = {"enable": True, "rollback": False}


@pytest.mark.parametrize(
    "change",
    [
        {"healthCheckGracePeriodSeconds": 7},
        {"healthCheckGracePeriodSeconds": 0},
        {"deploymentConfiguration": {"minimumHealthyPercent": 50, "maximumPercent": 150}},
        {"deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": False, "rollback": False}}},
        {
            "deploymentConfiguration": {
                "deploymentCircuitBreaker": BREAKER
                | {"thresholdConfiguration": {"type": "COUNT", "value": 9}}
            }
        },
        {"enableExecuteCommand": False},
        {"availabilityZoneRebalancing": "ENABLED"},
        {"propagateTags": "NONE"},
        {"enableECSManagedTags": False},
        {"loadBalancers": []},
        {"desiredCount": 2},
        {
            "capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}],
            "forceNewDeployment": True,
        },
    ],
    ids=lambda change: "-".join(change),
)
def test_a_setting_of_a_service_that_somebody_changed_comes_back_once(change: dict[str, Any]) -> None:
    """Everything that the blueprint says; what is settled again is not touched again."""
    with installed() as qa:
        qa = changed(qa, roles__app={"capacity": {"launch_type": "FARGATE"}})
        slug = qa.push("qa/foo", A)
        qa.settle()
        before = settings(qa, change)
        ecs = qa.aws.client("ecs")
        if change.get("loadBalancers") == []:
            change = {**change, "healthCheckGracePeriodSeconds": 0}
        ecs.update_service(cluster=qa.world.cluster, service="qa-foo-app", **change)
        qa.aws.ecs.settle("qa-foo-app")
        assert settings(qa, change) != before
        qa.run_pass(slug)
        assert settings(qa, change).items() >= before.items()
        qa.settle()
        assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
        assert writes_of_a_pass(qa, slug, "ecs") == []


def settings(qa: Installation, of: dict[str, Any]) -> dict[str, Any]:
    """What the service has of these."""
    shown = qa.service("qa-foo-app")
    return {key: shown.get(key) for key in of if key != "forceNewDeployment"}


def test_a_load_balancer_that_somebody_gave_a_worker_goes() -> None:
    """It has none in the blueprint."""
    with installed() as qa:
        qa = changed(qa, roles__worker={"copy_of": qa.world.stg_web, "container": "web"})
        slug = qa.push("qa/foo", A)
        qa.settle()
        ecs, app = qa.aws.client("ecs"), qa.service("qa-foo-app")
        ecs.update_service(
            cluster=qa.world.cluster, service="qa-foo-worker", loadBalancers=app["loadBalancers"]
        )
        qa.run_pass(slug)
        assert qa.service("qa-foo-worker")["loadBalancers"] == []


def test_what_starts_no_task_hides_no_application() -> None:
    """A grace period is put right behind nobody's back: the tasks run on, and the curtain stays down."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        ecs = qa.aws.client("ecs")
        ecs.update_service(cluster=qa.world.cluster, service="qa-foo-app", healthCheckGracePeriodSeconds=7)
        qa.aws.calls.clear()
        qa.run_pass(slug)
        qa.run_pass(slug)
        assert qa.service("qa-foo-app")["healthCheckGracePeriodSeconds"] == 60
        assert qa.aws.calls_to("CreateRule") == []
        assert qa.env(slug).phase is Phase.READY, qa.messages(slug)


@pytest.mark.parametrize(
    "change",
    [{"healthCheckGracePeriodSeconds": 7}, {"propagateTags": "NONE"}, {"desiredCount": 2}],
    ids=lambda change: "-".join(change),
)
def test_putting_back_brings_nothing_of_what_stg_changed_meanwhile(change: dict[str, Any]) -> None:
    """Its new network would replace the tasks that run."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.settle()
        ecs, before = qa.aws.client("ecs"), qa.service("qa-foo-app")
        network = {"awsvpcConfiguration": {"subnets": [qa.world.subnets[0]], "assignPublicIp": "ENABLED"}}
        ecs.update_service(cluster=qa.world.cluster, service=qa.world.stg_web, networkConfiguration=network)
        ecs.update_service(cluster=qa.world.cluster, service="qa-foo-app", **change)
        qa.run_pass(slug)
        after = qa.service("qa-foo-app")
        assert {key: after[key] for key in change} == {key: before[key] for key in change}
        assert after["networkConfiguration"] == before["networkConfiguration"]
        assert [one["id"] for one in after["deployments"]] == [one["id"] for one in before["deployments"]]
        assert qa.env(slug).conditions["service/app"].message == "app is put back"
        qa.push("qa/foo", B)
        qa.settle()
        assert qa.service("qa-foo-app")["networkConfiguration"] != before["networkConfiguration"]


PATHS = [{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/admin*"]}}]
HOSTS = [{"Field": "host-header", "HostHeaderConfig": {"Values": ["*"]}}]
FIXED = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}]


@pytest.mark.parametrize(
    "change",
    [{"Conditions": PATHS}, {"Conditions": HOSTS}, {"Actions": FIXED}, {"Priority": 7}, {}],
    ids=["paths", "hosts", "answer", "priority", "target"],
)
def test_a_curtain_that_somebody_changed_hangs_again_once(change: dict[str, Any]) -> None:
    """Everywhere, and in front of the page; what hangs as it should is not touched again."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.run_pass(slug)
        (before,) = curtains(qa, slug)
        elbv2 = qa.aws.client("elbv2")
        group = qa.env(slug).output("target_group", "app")["arn"]
        to_the_application = {"Actions": [{"Type": "forward", "TargetGroupArn": group}]}
        if "Priority" in change:
            elbv2.set_rule_priorities(RulePriorities=[{"RuleArn": before["RuleArn"], **change}])
        else:
            elbv2.modify_rule(RuleArn=before["RuleArn"], **(change or to_the_application))
        assert curtains(qa, slug) != [before]
        qa.run_pass(slug)
        (after,) = curtains(qa, slug)
        assert {**after, "RuleArn": ""} == {**before, "RuleArn": ""}
        assert writes_of_a_pass(qa, slug, "elbv2") == []


def test_a_curtain_that_lost_its_place_to_a_rule_of_others_is_left_hanging() -> None:
    """A person has to help, and until then hides what can be hidden; then it is in its place again."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.run_pass(slug)
        (ours,) = curtains(qa, slug)
        elbv2, listener = qa.aws.client("elbv2"), qa.env(slug).output("listener", "app")["arn"]
        elbv2.set_rule_priorities(RulePriorities=[{"RuleArn": ours["RuleArn"], "Priority": 7}])
        (theirs,) = elbv2.create_rule(ListenerArn=listener, Priority=1, Conditions=PATHS, Actions=FIXED)[
            "Rules"
        ]
        qa.run_pass(slug)
        assert {rule["RuleArn"] for rule in curtains(qa, slug)} == {ours["RuleArn"], theirs["RuleArn"]}
        said = qa.env(slug).conditions["curtain/app"]
        assert said.state is State.BLOCKED
        assert "give it another priority" in said.message
        elbv2.set_rule_priorities(RulePriorities=[{"RuleArn": theirs["RuleArn"], "Priority": 9}])
        qa.run_pass(slug)
        assert {rule["Priority"] for rule in curtains(qa, slug)} == {"1", "9"}


@pytest.mark.parametrize("describes", [1, 2, 3])
def test_a_curtain_that_is_shown_late_calls_nobody(describes: int) -> None:
    """Whichever look shows it first, it is ours."""
    with installed() as qa:
        qa.aws.hide_new("elbv2:CreateRule", describes)
        slug = qa.push("qa/foo", A)
        for _ in range(4):
            qa.run_pass(slug)
            assert qa.env(slug).conditions["curtain/app"].state is State.WAITING
        assert len(curtains(qa, slug)) == 1


@pytest.mark.parametrize("left_out", [(), ("PathPatternConfig",)], ids=["both", "short"])
def test_a_curtain_is_known_by_what_aws_makes_of_it(left_out: tuple[str, ...]) -> None:
    """The load balancer shows the short form of the paths, and of the target, as well or alone."""
    with installed() as qa:
        slug = qa.push("qa/foo", A)
        qa.run_pass(slug)
        (rule,) = curtains(qa, slug)
        (condition,), (action,) = rule["Conditions"], rule["Actions"]
        paths = {key: value for key, value in condition.items() if key not in left_out} | {"Values": ["/*"]}
        groups = [{"TargetGroupArn": action["TargetGroupArn"], "Weight": 1}]
        shown = {
            **rule,
            "Conditions": [paths],
            "Actions": [{**action, "Order": 1, "ForwardConfig": {"TargetGroups": groups}}],
        }
        listener = qa.env(slug).output("listener", "app")["arn"]
        qa.aws.serve(
            "elbv2:DescribeRules",
            lambda operation, params: {"Rules": [shown] if params["ListenerArn"] == listener else []},
        )
        qa.aws.calls.clear()
        qa.run_pass(slug)
        assert listener not in {call.params["ListenerArn"] for call in qa.aws.calls_to("CreateRule")}
        assert qa.aws.calls_to("DeleteRule") == []


def curtains(qa: Installation, slug: Slug) -> list[Any]:
    """The rules in front of `app`."""
    listener = qa.env(slug).output("listener", "app")["arn"]
    rules = qa.aws.client("elbv2").describe_rules(ListenerArn=listener)["Rules"]
    return [rule for rule in rules if not rule["IsDefault"]]
