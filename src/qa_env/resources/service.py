"""The ECS service of one role: a copy of the STG service that runs the branch's task definition.

A service of the same name cannot be created while the old one drains (facts B2-3), and one whose target
group no listener uses is refused (B2-4): both are NotReady. What makes it ours is kept as a fingerprint in
a tag; the count and the task definition are compared as well, because people change those by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_env import aws, ecs, naming
from qa_env.blueprint import Blueprint, Role
from qa_env.errors import Blocked, Failed, NotReady
from qa_env.model import Environment, Outputs, Slug

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_ecs.type_defs import DeploymentTypeDef, ServiceTypeDef, TaskTypeDef

PER_CALL = 10


@dataclass(frozen=True)
class Service:
    """One role's ECS service."""

    client: ECSClient
    blueprint: Blueprint
    installation: str
    name: str
    kind = "service"

    def ensure(self, env: Environment) -> Outputs:
        """Find, create or update the service; returns once it runs the wanted task definition."""
        name = naming.service(env.slug, self.name)
        task = env.output("task_definition", self.name)
        with aws.doing(f"ensuring service {name}"):
            mark = self._mark(env, task["arn"])
            service = self._find(env)
            if service is None:
                self._create(env, name, mark, self._wanted(env, task["arn"]))
                raise NotReady(f"{self.name} is starting", serving="no")
            if service["status"] != "ACTIVE":
                raise NotReady(f"{self.name} is still stopping; it is created again after that")
            if self._differs(service, mark, task["arn"]):
                self._update(service, mark, self._wanted(env, task["arn"]))
                raise NotReady(f"{self.name} is being replaced", serving=_serving(service))
            return self._state(service, task)

    def delete(self, env: Environment) -> None:
        """Delete the service if it is ours and wait until its tasks have stopped."""
        name = naming.service(env.slug, self.name)
        with aws.doing(f"deleting service {name}"):
            try:
                service = self._find(env)
            except Blocked:
                return
            if service is None:
                return
            if service["status"] == "ACTIVE":
                self.client.delete_service(cluster=self.blueprint.cluster, service=name, force=True)
            raise NotReady(f"the tasks of {self.name} are stopping")

    def owners(self) -> Iterator[Slug]:
        """Slugs of every service carrying our owner tag."""
        pages = self.client.get_paginator("list_services").paginate(cluster=self.blueprint.cluster)
        arns = [arn for page in pages for arn in page["serviceArns"]]
        for start in range(0, len(arns), PER_CALL):
            described = self.client.describe_services(
                cluster=self.blueprint.cluster, services=arns[start : start + PER_CALL], include=["TAGS"]
            )
            for service in described["services"]:
                slug = naming.owner_of(aws.tag_dict(service.get("tags")), self.installation)
                if slug and service["status"] != "INACTIVE":
                    yield slug

    def _find(self, env: Environment) -> ServiceTypeDef | None:
        """The service with our name: None if missing, Blocked if someone else's."""
        name = naming.service(env.slug, self.name)
        service = ecs.find(self.client, self.blueprint.cluster, name)
        if service and naming.owner_of(aws.tag_dict(service.get("tags")), self.installation) != env.slug:
            raise Blocked(f"service {name} has our name but is not ours; rename or delete it")
        return service

    def _create(self, env: Environment, name: str, mark: str, wanted: dict[str, Any]) -> None:
        tags = naming.tags(self.installation, env, self.name) | {naming.TAG_SETTINGS: mark}
        self.client.create_service(
            serviceName=name,
            propagateTags="SERVICE",
            enableECSManagedTags=True,
            tags=aws.tag_list(tags, "key", "value"),
            **wanted,
        )

    def _update(self, service: ServiceTypeDef, mark: str, wanted: dict[str, Any]) -> None:
        settings = {key: value for key, value in wanted.items() if key != "launchType"}
        self.client.update_service(service=service["serviceName"], **settings)
        self.client.tag_resource(
            resourceArn=service["serviceArn"],
            tags=aws.tag_list({naming.TAG_SETTINGS: mark}, "key", "value"),
        )

    def _differs(self, service: ServiceTypeDef, mark: str, task_definition: str) -> bool:
        return (
            aws.tag_dict(service.get("tags")).get(naming.TAG_SETTINGS) != mark
            or service["taskDefinition"] != task_definition
            or service["desiredCount"] != self._role.count
        )

    def _mark(self, env: Environment, task_definition: str) -> str:
        return aws.fingerprint([task_definition, self._load_balancers(env), self._role.model_dump()])

    def _load_balancers(self, env: Environment) -> list[dict[str, Any]]:
        """The target group, once a listener uses it: ECS refuses it before (facts B2-4)."""
        role = self._role
        if not role.web:
            return []
        env.output("listener", self.name)
        group = env.output("target_group", self.name)["arn"]
        return [{"targetGroupArn": group, "containerName": role.container, "containerPort": role.port}]

    def _wanted(self, env: Environment, task_definition: str) -> dict[str, Any]:
        role = self._role
        stg = ecs.original(self.client, self.blueprint.cluster, role.copy_of)
        wanted: dict[str, Any] = {
            "cluster": self.blueprint.cluster,
            "taskDefinition": task_definition,
            "desiredCount": role.count,
            "deploymentConfiguration": _deployment(role),
            "enableExecuteCommand": role.exec,
        }
        settings: tuple[str, ...] = ("networkConfiguration",)
        if role.capacity is None:  # placement and platform make sense only where STG's tasks run
            settings += ("placementConstraints", "placementStrategy", "platformVersion")
        wanted |= {setting: value for setting in settings if (value := stg.get(setting))}
        wanted |= _capacity(role, stg)
        if role.web:
            wanted["loadBalancers"] = self._load_balancers(env)
            wanted["healthCheckGracePeriodSeconds"] = role.deployment.grace
        return wanted

    def _state(self, service: ServiceTypeDef, task: Outputs) -> Outputs:
        """Ready, failed or still starting, with the reason that ECS gives."""
        (primary,) = [one for one in service["deployments"] if one["status"] == "PRIMARY"]
        known = {"task_definition": task["arn"], "commit": task["commit"], "serving": _serving(service)}
        if primary.get("rolloutState") == "FAILED":
            reason = self._reason(service) or primary.get("rolloutStateReason") or "the deployment failed"
            raise Failed(f"{self.name} does not start: {reason}", **known)
        complete = primary.get("rolloutState", "COMPLETED") == "COMPLETED"
        if complete and len(service["deployments"]) == 1 and _runs(primary):
            return known
        running = f"{primary['runningCount']} of {primary['desiredCount']} running"
        reason = self._reason(service) if primary.get("failedTasks") or _no_room(service) else ""
        raise NotReady(f"{self.name} is starting: {running}{'; ' if reason else ''}{reason}", **known)

    def _reason(self, service: ServiceTypeDef) -> str:
        """Why tasks of this service do not run, as one sentence."""
        if no_room := _no_room(service):
            return no_room
        listed = self.client.list_tasks(
            cluster=self.blueprint.cluster, serviceName=service["serviceName"], desiredStatus="STOPPED"
        )["taskArns"][:PER_CALL]
        if not listed:
            return ""
        tasks = self.client.describe_tasks(cluster=self.blueprint.cluster, tasks=listed)["tasks"]
        current = [one for one in tasks if one.get("taskDefinitionArn") == service["taskDefinition"]]
        newest = sorted(current or tasks, key=lambda one: str(one.get("stoppedAt", "")))
        return _why(newest[-1]) if newest else ""

    @property
    def _role(self) -> Role:
        return self.blueprint.roles[self.name]


def _deployment(role: Role) -> dict[str, Any]:
    """Stop-then-start by default; two failed tasks, not ECS's minimum of three, end it (facts B2-11)."""
    replace = role.deployment.strategy == "replace"
    return {
        "minimumHealthyPercent": 0 if replace else 100,
        "maximumPercent": 100 if replace else 200,
        "deploymentCircuitBreaker": {
            "enable": True,
            "rollback": False,
            "thresholdConfiguration": {"type": "COUNT", "value": role.deployment.failures},
        },
    }


def _capacity(role: Role, stg: ServiceTypeDef) -> dict[str, Any]:
    if role.capacity and role.capacity.provider:
        return {"capacityProviderStrategy": [{"capacityProvider": role.capacity.provider, "weight": 1}]}
    if role.capacity:
        return {"launchType": role.capacity.launch_type}
    if stg.get("capacityProviderStrategy"):
        return {"capacityProviderStrategy": stg["capacityProviderStrategy"]}
    return {"launchType": stg["launchType"]} if stg.get("launchType") else {}


def _runs(deployment: DeploymentTypeDef) -> bool:
    return deployment["runningCount"] >= deployment["desiredCount"]


def _serving(service: ServiceTypeDef) -> str:
    complete = [one for one in service["deployments"] if one.get("rolloutState") == "COMPLETED"]
    return "yes" if any(_runs(one) for one in complete) else "no"


def _no_room(service: ServiceTypeDef) -> str:
    """The newest service event, if it says that no instance could take the task."""
    for event in service.get("events", [])[:1]:
        if "was unable to place a task" in event["message"]:
            return f"no room on the cluster: {event['message'].split('Reason: ')[-1]}"
    return ""


def _why(task: TaskTypeDef) -> str:
    stopped = task.get("stoppedReason", "")
    for container in task.get("containers", []):
        reason = container.get("reason", "")
        if "CannotPull" in reason or "CannotPull" in stopped:
            return f"cannot pull the image: {reason or stopped}"
        if container.get("exitCode"):
            detail = f" ({reason})" if reason else ""
            return f"container {container['name']} exited with code {container['exitCode']}{detail}"
    if "health check" in stopped.lower():
        return f"unhealthy: {stopped}"
    return stopped
