"""STG: the cluster, the services that are copied, and the way to their tasks."""

from __future__ import annotations

from typing import Any

import pytest

from qa_env.doctor.finding import Level
from tests.doctor.sound import Sound


def role(world: Sound, name: str = "app", **changes: Any) -> None:
    """Change one role of the blueprint."""
    roles = world.values["roles"]
    world.changes["roles"] = roles | {name: roles[name] | changes}


def register(world: Sound, family: str, **changes: Any) -> None:
    """STG runs another task definition from now on; `changes` of the container, or of the whole."""
    ecs = world.aws.client("ecs")
    known = ecs.describe_task_definition(taskDefinition=family)["taskDefinition"]
    container = known["containerDefinitions"][0]
    whole = ("taskRoleArn", "networkMode", "requiresCompatibilities")
    of_container = {key: value for key, value in changes.items() if key not in whole}
    wanted = {
        "family": family,
        "cpu": "512",
        "memory": "1024",
        "containerDefinitions": [{**container, **of_container}],
        "executionRoleArn": known["executionRoleArn"],
        **{key: known[key] for key in whole},
        **{key: value for key, value in changes.items() if key in whole},
    }
    wanted = {key: value for key, value in wanted.items() if value is not None}
    arn = ecs.register_task_definition(**wanted)["taskDefinition"]["taskDefinitionArn"]
    ecs.update_service(cluster=world.account.cluster, service=family, taskDefinition=arn)


def test_a_cluster_that_is_missing_is_said(world: Sound) -> None:
    world.changes["cluster"] = "nowhere"

    assert "cluster nowhere is not there" in world.worst("cluster").text
    assert [one.level for one in world.findings("stg-services")] == [Level.PROBLEM] * 2


def test_a_capacity_provider_that_is_missing_is_said(world: Sound) -> None:
    role(world, capacity={"provider": "FARGATE_SPOT"})

    found = world.worst("cluster")
    assert found.text == "cluster qa has no capacity provider FARGATE_SPOT"
    assert "put-cluster-capacity-providers --cluster qa --capacity-providers FARGATE_SPOT" in found.fix

    world.aws.client("ecs").put_cluster_capacity_providers(
        cluster="qa", capacityProviders=["FARGATE_SPOT"], defaultCapacityProviderStrategy=[]
    )
    assert [one.level for one in world.findings("cluster")] == [Level.OK]


def test_a_service_that_is_missing_is_said(world: Sound) -> None:
    role(world, copy_of="gone")

    found = world.worst("stg-services")
    assert found.text == "app: service gone is not active in cluster qa"
    assert "roles.app.copy_of" in found.fix


def test_a_container_that_is_missing_is_said(world: Sound) -> None:
    role(world, container="nginx")

    assert "has no container nginx but web" in world.worst("stg-services").text


def test_a_container_of_another_application_is_said(world: Sound) -> None:
    world.changes["image_repository"] = "other"

    found = world.findings("stg-services")
    assert {one.level for one in found} == {Level.WARNING}
    assert "branches will run 123456789012.dkr.ecr.ap-northeast-1.amazonaws.com/other" in found[0].text


@pytest.mark.parametrize("suffix", ["@sha256:" + "0" * 64, ":v1@sha256:" + "0" * 64, ""])
def test_an_image_may_be_named_by_tag_or_digest(world: Sound, suffix: str) -> None:
    register(world, world.account.stg_web, image=f"{world.account.repository_uri}{suffix}")

    assert {one.level for one in world.findings("stg-services")} == {Level.OK}


def test_another_log_driver_is_said(world: Sound) -> None:
    register(world, world.account.stg_web, logConfiguration={"logDriver": "splunk", "options": {}})

    assert "logs by splunk" in world.worst("stg-services").text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"target_type": "instance"}, "network mode awsvpc, which needs target_type ip"),
        ({"port": 8080}, "maps the ports 3000, not 8080"),
    ],
)
def test_what_ecs_would_refuse_is_said(world: Sound, changes: dict[str, Any], text: str) -> None:
    role(world, **changes)

    found = world.worst("stg-services")
    assert found.level == Level.PROBLEM
    assert text in found.text


@pytest.mark.parametrize(("wanted", "levels"), [(True, {Level.OK, Level.WARNING}), (False, {Level.OK})])
def test_exec_without_a_task_role_is_said(world: Sound, wanted: bool, levels: set[Level]) -> None:
    register(world, world.account.stg_web, taskRoleArn=None)
    role(world, exec=wanted)

    assert {one.level for one in world.findings("stg-services")} == levels


def test_tasks_that_do_not_admit_the_load_balancer_are_said_with_the_command(world: Sound) -> None:
    group = world.account.security_group
    world.shut(group)
    world.admit(group, 3000, 3000, IpRanges=[{"CidrIp": "10.0.1.0/24"}])  # one of two subnets

    found = world.worst("task-ingress")
    assert found.level == Level.PROBLEM
    assert "app: its tasks do not admit qa-1 on port 3000" in found.text
    assert f"--group-id {group} --protocol tcp --port 3000 --source-group {world.lb_group}" in found.fix


def test_tasks_may_admit_the_load_balancer_by_its_addresses(world: Sound) -> None:
    world.shut(world.account.security_group)
    world.admit(world.account.security_group, 0, 65535, IpRanges=[{"CidrIp": "10.0.0.0/16"}])

    assert [one.level for one in world.findings("task-ingress")] == [Level.OK]


def test_another_security_group_admits_nothing(world: Sound) -> None:
    world.shut(world.account.security_group)
    own = [{"GroupId": world.account.security_group}]
    world.admit(world.account.security_group, 3000, 3000, UserIdGroupPairs=own)

    assert world.worst("task-ingress").level == Level.PROBLEM


def test_another_port_admits_nothing(world: Sound) -> None:
    role(world, port=3001)

    assert world.worst("task-ingress").level == Level.PROBLEM


def test_tasks_in_their_instances_network_cannot_be_checked(world: Sound) -> None:
    ecs = world.aws.client("ecs")
    service = ecs.describe_services(cluster="qa", services=["stg-web"])["services"][0]
    del service["networkConfiguration"]
    world.aws.serve("ecs:DescribeServices", lambda *_: {"services": [service], "failures": []})

    assert world.worst("task-ingress").level == Level.UNKNOWN
