"""What CreateService and UpdateService refuse; moto accepts all of it (facts D2-10)."""

from __future__ import annotations

from typing import Any

from moto.ecs.models import EC2ContainerServiceBackend, TaskDefinition

from tests.strict_aws.call import Call
from tests.strict_aws.elbv2 import Elbv2
from tests.strict_aws.services import Settings

FARGATE = ("FARGATE", "FARGATE_SPOT")


def check_settings(call: Call, settings: Settings, backend: EC2ContainerServiceBackend, elbv2: Elbv2) -> None:
    """Raise what AWS raises for settings that cannot work; they are complete, the task definition an ARN."""
    definition = backend.describe_task_definition(settings["taskDefinition"])
    _check_capacity(call, settings, definition, backend)
    _check_network(call, settings, definition)
    _check_deployment(call, settings)
    for target in settings["loadBalancers"]:
        _check_container(call, target, definition)
        _check_target_group(call, target, definition, elbv2)


def _refuse(call: Call, message: str) -> Exception:
    return call.error("InvalidParameterException", message)


def _check_capacity(
    call: Call, settings: Settings, definition: TaskDefinition, backend: EC2ContainerServiceBackend
) -> None:
    """Either a launch type or a strategy, of providers that exist. BC:ecs.CreateService.launchType."""
    strategy = settings.get("capacityProviderStrategy") or []
    if strategy and settings.get("launchType"):
        message = "Specifying both a launch type and capacity provider strategy is not supported."
        raise _refuse(call, f"{message} Remove one and try again.")
    for provider in (item["capacityProvider"] for item in strategy):
        if provider not in (*FARGATE, *backend.capacity_providers):
            raise _refuse(call, f"The specified capacity provider '{provider}' was not found.")
    on_fargate = settings.get("launchType") == "FARGATE" or any(
        i["capacityProvider"] in FARGATE for i in strategy
    )
    if on_fargate and "FARGATE" not in (definition.requires_compatibilities or []):
        raise _refuse(call, "Task definition does not support launch_type FARGATE.")


def _check_network(call: Call, settings: Settings, definition: TaskDefinition) -> None:
    """awsvpc needs a network configuration, nothing else takes one. BC:ecs.CreateService."""
    network = settings.get("networkConfiguration")
    if definition.network_mode == "awsvpc" and not network:
        raise _refuse(call, "Network Configuration must be provided when networkMode 'awsvpc' is specified.")
    if definition.network_mode != "awsvpc" and network:
        raise _refuse(
            call, "Network Configuration is not valid for the given networkMode of this task definition."
        )


def _check_deployment(call: Call, settings: Settings) -> None:
    """A deployment needs room to move, and a grace period a load balancer. BC:ecs.CreateService."""
    deployment = settings["deploymentConfiguration"]
    if deployment["minimumHealthyPercent"] >= 100 and deployment["maximumPercent"] <= 100:
        raise _refuse(
            call,
            "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.",
        )
    if settings["healthCheckGracePeriodSeconds"] and not settings["loadBalancers"]:
        message = "Health check grace period is only valid for services configured to use load balancers"
        raise _refuse(call, message)


def _check_container(call: Call, target: dict[str, Any], definition: TaskDefinition) -> None:
    """Facts D2-10: the container and its port are in the task definition."""
    name, port = target["containerName"], target["containerPort"]
    container = next((each for each in definition.container_definitions if each["name"] == name), None)
    if container is None:
        raise _refuse(call, f"The container {name} does not exist in the task definition.")
    if port not in [mapping["containerPort"] for mapping in container.get("portMappings", [])]:
        raise _refuse(call, f"The container {name} did not have a container port {port} defined.")


def _check_target_group(call: Call, target: dict[str, Any], definition: TaskDefinition, elbv2: Elbv2) -> None:
    """Facts B2-4: it exists, takes this kind of target, and a listener or rule forwards to it."""
    arn = target["targetGroupArn"]
    if not elbv2.has_target_group(arn):
        raise _refuse(
            call, f"The target group with targetGroupArn {arn} does not exist."
        )  # the exact words are not known
    wanted = "ip" if definition.network_mode == "awsvpc" else "instance"
    if elbv2.target_type(arn) != wanted:
        message = f"The provided target group {arn} has target type {elbv2.target_type(arn)}, which is "
        message += (
            f"incompatible with the {definition.network_mode} network mode specified in the task definition."
        )
        raise _refuse(call, message)
    if not elbv2.has_load_balancer(arn):
        raise _refuse(
            call, f"The target group with targetGroupArn {arn} does not have an associated load balancer."
        )
