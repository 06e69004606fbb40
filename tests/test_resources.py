"""What single resources promise beyond the contract: settings of the blueprint, words of AWS."""

from __future__ import annotations

from typing import Any

import pytest

from qa_env.blueprint import Blueprint
from qa_env.model import Phase, State
from tests.installation import A, B, Installation, installed


def changed(qa: Installation, **keys: Any) -> Installation:
    """The same account under a blueprint with other keys; `roles__app` reaches into a role."""
    values = qa.blueprint.model_dump(by_alias=True)
    for key, value in keys.items():
        part, _, name = key.partition("__")
        if name:
            values[part][name] = {**values[part][name], **value}
        else:
            values[part] = value
    return Installation(qa.aws, qa.world, Blueprint.model_validate(values))


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


@pytest.mark.parametrize(
    ("capacity", "expected"),
    [
        ({"launch_type": "FARGATE"}, {"launchType": "FARGATE"}),
        ({"provider": "FARGATE_SPOT"}, {"capacityProviderStrategy": "FARGATE_SPOT"}),
        (None, {"launchType": "FARGATE"}),
    ],
    ids=["fargate", "spot", "as-stg"],
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
        other = changed(qa, roles__app={"health_check": {"path": "/up"}, "deregistration_delay": 9})
        qa.use(other.blueprint)
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
