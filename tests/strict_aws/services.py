"""An ECS service, its deployments and its tasks, as DescribeServices and DescribeTasks show them.

moto keeps a service without most of its settings, and its tasks not at all (facts D2-9…12).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Settings = dict[str, Any]

# What a change of which starts a new deployment. BC:ecs.UpdateService says it for each parameter.
DEPLOYED = (
    "taskDefinition",
    "networkConfiguration",
    "platformVersion",
    "loadBalancers",
    "serviceRegistries",
    "serviceConnectConfiguration",
    "volumeConfigurations",
    "vpcLatticeConfigurations",
)

# What AWS fills in. BC:ecs.CreateService.
DEFAULTS: Settings = {
    "loadBalancers": [],
    "serviceRegistries": [],
    "placementConstraints": [],
    "placementStrategy": [],
    "schedulingStrategy": "REPLICA",
    "deploymentController": {"type": "ECS"},
    "enableECSManagedTags": False,
    "propagateTags": "NONE",
    "enableExecuteCommand": False,
    "healthCheckGracePeriodSeconds": 0,
    "desiredCount": 0,
}
DEPLOYMENT_DEFAULTS: Settings = {
    "deploymentCircuitBreaker": {"enable": False, "rollback": False},
    "maximumPercent": 200,
    "minimumHealthyPercent": 100,
}

# Shown by DescribeServices as they were asked for.
SHOWN = (
    "loadBalancers",
    "serviceRegistries",
    "desiredCount",
    "launchType",
    "capacityProviderStrategy",
    "platformVersion",
    "taskDefinition",
    "deploymentConfiguration",
    "placementConstraints",
    "placementStrategy",
    "networkConfiguration",
    "healthCheckGracePeriodSeconds",
    "schedulingStrategy",
    "deploymentController",
    "enableECSManagedTags",
    "propagateTags",
    "enableExecuteCommand",
    "availabilityZoneRebalancing",
)


class Clock:
    """Times and identifiers that are the same in every run, and never the same twice in one."""

    def __init__(self) -> None:
        self._ticks = 0

    def tick(self) -> int:
        self._ticks += 1
        return self._ticks

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.tick())


@dataclass
class Task:
    arn: str
    cluster_arn: str
    service: str
    deployment: str
    task_definition: str
    containers: list[dict[str, Any]]
    created_at: datetime
    launch_type: str = "FARGATE"
    address: str = ""  # its IP address or its instance, as a target of a load balancer
    tags: list[dict[str, str]] = field(default_factory=list)
    status: str = "RUNNING"
    stopped: dict[str, Any] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        return self.status == "RUNNING"

    def stop(self, at: datetime, reason: str, code: str) -> None:
        self.status = "STOPPED"
        self.stopped = {"stoppedReason": reason, "stopCode": code, "stoppingAt": at, "stoppedAt": at}
        for container in self.containers:
            container["lastStatus"] = "STOPPED"

    def describe(self, with_tags: bool) -> dict[str, Any]:
        return {
            "taskArn": self.arn,
            "clusterArn": self.cluster_arn,
            "taskDefinitionArn": self.task_definition,
            "group": f"service:{self.service}",
            "startedBy": self.deployment,
            "lastStatus": self.status,
            "desiredStatus": self.status,
            "launchType": self.launch_type,
            "containers": self.containers,
            "createdAt": self.created_at,
            "startedAt": self.created_at,
            "tags": self.tags if with_tags else [],
            **self.stopped,
        }


@dataclass
class Deployment:
    id: str
    settings: Settings
    created_at: datetime
    status: str = "PRIMARY"
    rollout_state: str = "IN_PROGRESS"
    rollout_reason: str = ""
    failed_tasks: int = 0
    """Counted by the controls; back to zero once a task runs. BC:ecs.Deployment.failedTasks."""

    @property
    def task_definition(self) -> str:
        return str(self.settings["taskDefinition"])

    def become(self, state: str, reason: str) -> None:
        self.rollout_state, self.rollout_reason = state, reason


@dataclass
class Service:
    cluster: str
    cluster_arn: str
    name: str
    arn: str
    settings: Settings
    created_at: datetime
    status: str = "ACTIVE"
    deployments: list[Deployment] = field(default_factory=list)  # newest first; the first one is PRIMARY
    events: list[dict[str, Any]] = field(default_factory=list)  # newest first
    tasks: list[Task] = field(default_factory=list)
    last_completed: Settings | None = None  # what a rollback returns to
    describes_left: int | None = None  # until a draining service is inactive

    @property
    def primary(self) -> Deployment:
        return self.deployments[0]

    @property
    def desired(self) -> int:
        return int(self.settings["desiredCount"])

    def running(self, deployment: Deployment | None = None) -> list[Task]:
        return [
            task
            for task in self.tasks
            if task.running and (deployment is None or task.deployment == deployment.id)
        ]

    @property
    def breaker(self) -> Settings:
        return dict(self.settings["deploymentConfiguration"]["deploymentCircuitBreaker"])

    def say(self, clock: Clock, message: str) -> None:
        """A line of the service's event log; ECS keeps the newest 100."""
        event = {
            "id": f"{clock.tick():036d}",
            "createdAt": clock.now(),
            "message": f"(service {self.name}) {message}",
        }
        self.events = [event, *self.events][:100]

    def describe(self, tags: list[dict[str, str]] | None) -> dict[str, Any]:
        """As DescribeServices shows it; `tags` only when they were asked for. Facts B2-9."""
        shown = {key: self.settings[key] for key in SHOWN if self.settings.get(key) is not None}
        return {
            "serviceArn": self.arn,
            "serviceName": self.name,
            "clusterArn": self.cluster_arn,
            "status": self.status,
            "runningCount": len(self.running()),
            "pendingCount": self._pending() if self.status == "ACTIVE" else 0,
            "deployments": [self._describe_deployment(each) for each in self.deployments],
            "events": self.events,
            "createdAt": self.created_at,
            **shown,
            **({"tags": tags} if tags is not None else {}),
        }

    def _pending(self) -> int:
        if self.primary.rollout_state == "FAILED":  # BC: "doesn't launch any new tasks"
            return 0
        return max(self.desired - len(self.running(self.primary)), 0)

    def _describe_deployment(self, deployment: Deployment) -> dict[str, Any]:
        primary = deployment is self.primary
        shown = (
            "launchType",
            "capacityProviderStrategy",
            "platformVersion",
            "networkConfiguration",
            "taskDefinition",
        )
        return {
            "id": deployment.id,
            "status": deployment.status,
            "desiredCount": self.desired if primary else 0,
            "runningCount": len(self.running(deployment)),
            "pendingCount": self._pending() if primary and self.status == "ACTIVE" else 0,
            "failedTasks": deployment.failed_tasks,
            "rolloutState": deployment.rollout_state,
            "rolloutStateReason": deployment.rollout_reason,
            "createdAt": deployment.created_at,
            "updatedAt": deployment.created_at,
            **{key: deployment.settings[key] for key in shown if deployment.settings.get(key) is not None},
        }


def in_full(strategy: list[Settings]) -> list[Settings]:
    """A strategy as AWS answers it, with the defaults. BC:ecs.CapacityProviderStrategyItem."""
    return [{"weight": 0, "base": 0} | item for item in strategy]


def complete(settings: Settings) -> Settings:
    """Settings with AWS's defaults filled in."""
    merged = DEFAULTS | {key: value for key, value in settings.items() if value is not None}
    merged["deploymentConfiguration"] = DEPLOYMENT_DEFAULTS | merged.get("deploymentConfiguration", {})
    if merged.get("capacityProviderStrategy"):
        merged["capacityProviderStrategy"] = in_full(merged["capacityProviderStrategy"])
    else:
        merged.setdefault("launchType", "EC2")
    if merged.get("launchType") == "FARGATE":
        merged.setdefault("platformVersion", "LATEST")
    return merged
