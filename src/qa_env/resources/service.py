"""The ECS service of one role: a copy of the STG service that runs the branch's task definition.

A service of the same name cannot be created while the old one drains (facts B2-3), and one whose target
group no listener uses is refused (B2-4): both are NotReady. What makes it ours is kept as a fingerprint in
a tag; what the blueprint says is compared as well, because people change it by hand, and what they changed is
put back alone. What is copied from STG (network, placement, platform) is not compared, and written only with
another fingerprint: STG moves on, and its deployment must restart nobody. Asleep is the same service with a
count of none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qa_env import aws, ecs, naming, sleep
from qa_env.blueprint import Blueprint, Capacity, Role
from qa_env.errors import Blocked, Failed, NotReady
from qa_env.looking import Once, afresh
from qa_env.model import Environment, Outputs, Slug, State, key

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_ecs.type_defs import DeploymentTypeDef, ServiceTypeDef, TaskTypeDef

TASKS_PER_CALL = 100
LISTED_PER_CALL = 100  # ten, where nothing is asked for (facts B2-8)
LATELY = timedelta(minutes=5)  # in which ends of tasks count
PATIENCE = timedelta(minutes=15)  # with a cluster that has no room
CAPACITY = frozenset({"launchType", "capacityProviderStrategy"})
NO_LOAD_BALANCER: Mapping[str, Any] = MappingProxyType(
    {"loadBalancers": [], "healthCheckGracePeriodSeconds": 0}
)
"""What DescribeServices need not say where it is so."""


@dataclass(frozen=True)
class Service:
    """One role's ECS service."""

    client: ECSClient
    blueprint: Blueprint
    installation: str
    name: str
    once: Once = afresh
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    kind = "service"

    def ensure(self, env: Environment) -> Outputs:
        """Find, create or update the service; returns once it runs the wanted task definition, or sleeps."""
        name = naming.service(env.slug, self.name)
        task = env.output("task_definition", self.name)
        asleep = self._asleep(env)
        about = {"commit": task["commit"], "execution": task["execution"], "asleep": asleep}
        if (cluster := self._cluster(env)) != self.blueprint.cluster:
            raise Blocked(
                f"{name} runs in cluster {cluster}: put that back into the blueprint, or delete the branch"
                " and push it again",
                **about,
            )
        with aws.doing(f"ensuring service {name}", **about):
            mark = self._mark(env, task["arn"])
            own = self._own(env, task["arn"], 0 if asleep else self._role.count)
            service = self._find(env)
            if service is None:
                made = self._create(env, name, mark, own | self._copied())
                said = f"{self.name} is starting"
                raise NotReady(said, serving="no", asleep=asleep, cluster=cluster, tasks=_tasks(made))
            known = {"asleep": asleep, "cluster": cluster, "tasks": _tasks(service)}
            if service["status"] != "ACTIVE":
                said = f"{self.name} is still stopping; it is created again after that"
                raise NotReady(said, serving="no", **known)
            if updated := self._correct(service, mark, own):
                serving = "no" if asleep else self._serving(updated)
                said = f"{self.name} is {_becoming(service, updated, asleep)}"
                raise NotReady(said, serving=serving, **known)
            return self._state(env, service, {"task_definition": task["arn"], "cluster": cluster, **about})

    def delete(self, env: Environment) -> None:
        """Delete the service if it is ours and wait until its tasks have stopped."""
        name = naming.service(env.slug, self.name)
        with aws.doing(f"deleting service {name}"):
            try:
                service = self._find(env)
            except Blocked:
                return
            except self.client.exceptions.ClusterNotFoundException:
                if not env.remembered(self.kind, self.name).get("cluster"):
                    raise  # the blueprint's: a slip there must not make what runs elsewhere look gone
                return  # a cluster is deleted only once nothing runs in it
            if service and service["status"] == "ACTIVE":
                self.client.delete_service(cluster=self._cluster(env), service=name, force=True)
            if service or self._stopping(env):
                raise NotReady(f"the tasks of {self.name} are stopping")

    def owners(self) -> Iterator[Slug]:
        """Slugs of every service carrying our owner tag."""
        return self.whose({})

    def whose(self, known: Mapping[str, Slug]) -> Iterator[Slug]:
        """The same, without asking for the tags of what is `known`: ARN → whose it is."""
        pages = self.client.get_paginator("list_services").paginate(
            cluster=self.blueprint.cluster, PaginationConfig={"PageSize": LISTED_PER_CALL}
        )
        arns = [arn for page in pages for arn in page["serviceArns"]]
        yield from (known[arn] for arn in arns if arn in known)
        others = [arn for arn in arns if arn not in known]
        for service in ecs.services(self.client, self.blueprint.cluster, others).values():
            if slug := naming.owner_of(aws.tag_dict(service.get("tags")), self.installation):
                yield slug

    def _find(self, env: Environment) -> ServiceTypeDef | None:
        """The service with our name: None if missing, Blocked if someone else's."""
        name = naming.service(env.slug, self.name)
        names = {name, *(naming.service(env.slug, role) for role in self.blueprint.roles)}
        service = ecs.seen(self.client, self.once, self._cluster(env), names).get(name)
        if service and naming.owner_of(aws.tag_dict(service.get("tags")), self.installation) != env.slug:
            raise Blocked(f"service {name} has our name but is not ours; rename or delete it")
        return service

    def _asleep(self, env: Environment) -> str:
        """Since when nobody was interested, if that is long ago and nobody would meet a closed door."""
        asleep = sleep.asleep(env, self.blueprint.sleep_after, self.now())
        hidden = not self._role.web or env.remembered("curtain", self.name).get("asleep") == asleep
        return asleep if hidden else ""

    def _create(self, env: Environment, name: str, mark: str, wanted: dict[str, Any]) -> ServiceTypeDef:
        tags = naming.tags(self.installation, env, self.name) | {naming.TAG_SETTINGS: mark}
        return self.client.create_service(
            serviceName=name,
            tags=aws.tag_list(tags, "key", "value"),
            **wanted,
        )["service"]

    def _correct(self, service: ServiceTypeDef, mark: str, own: dict[str, Any]) -> ServiceTypeDef | None:
        """The service as it was updated; None if it is as wanted.

        What somebody changed is put back alone: UpdateService deploys anew for a network that STG has changed
        since, and for load balancers even where they are the same.
        """
        if aws.tag_dict(service.get("tags")).get(naming.TAG_SETTINGS) == mark:
            changed = _changed(service, own)
            return self._update(service, {"cluster": own["cluster"], **changed}) if changed else None
        wanted = own | self._copied()
        updated = self._update(service, wanted | _changed(service, wanted))
        self.client.tag_resource(
            resourceArn=service["serviceArn"],
            tags=aws.tag_list({naming.TAG_SETTINGS: mark}, "key", "value"),
        )
        return updated

    def _update(self, service: ServiceTypeDef, settings: dict[str, Any]) -> ServiceTypeDef:
        """What is absent stays as it is; a change of capacity must be forced.

        Waking is forced as well: a deployment is complete when its tasks are healthy, while tasks that were
        only added count as soon as they run.
        """
        sent = {key: value for key, value in settings.items() if key != "launchType"}
        moves = "capacityProviderStrategy" in sent and _strategy(sent) != _strategy(service)
        wakes = sent.get("desiredCount") and not service["desiredCount"]
        if moves or wakes:
            sent["forceNewDeployment"] = True
        return self.client.update_service(service=service["serviceName"], **sent)["service"]

    def _cluster(self, env: Environment) -> str:
        """Where the service is; the blueprint may have moved on since."""
        return env.remembered(self.kind, self.name).get("cluster", self.blueprint.cluster)

    def _stopping(self, env: Environment) -> bool:
        """Do containers still run? A service counts as gone when its tasks are merely STOPPING."""
        cluster, family = self._cluster(env), naming.service(env.slug, self.name)
        pages = self.client.get_paginator("list_tasks").paginate(
            cluster=cluster, family=family, desiredStatus="STOPPED"
        )
        listed = [arn for page in pages for arn in page["taskArns"]]
        for start in range(0, len(listed), TASKS_PER_CALL):
            found = self.client.describe_tasks(cluster=cluster, tasks=listed[start : start + TASKS_PER_CALL])
            if any(task["lastStatus"] != "STOPPED" for task in found["tasks"]):
                return True
        return False

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

    def _own(self, env: Environment, task_definition: str, count: int) -> dict[str, Any]:
        """What the blueprint says of the service."""
        role = self._role
        own: dict[str, Any] = {
            "cluster": self.blueprint.cluster,
            "taskDefinition": task_definition,
            "desiredCount": count,
            "deploymentConfiguration": _deployment(role),
            "enableExecuteCommand": role.exec,
            "availabilityZoneRebalancing": "DISABLED",  # the default refuses to stop before it starts
            "propagateTags": "SERVICE",
            "enableECSManagedTags": True,
        }
        if role.capacity:
            own |= _capacity(role.capacity)
        if role.web:
            own["loadBalancers"] = self._load_balancers(env)
            own["healthCheckGracePeriodSeconds"] = role.deployment.grace
        return own

    def _copied(self) -> dict[str, Any]:
        """What the service has from STG's."""
        stg = ecs.original(self.client, self.once, self.blueprint, self._role)
        settings: tuple[str, ...] = ("networkConfiguration",)
        if self._role.capacity is None:  # placement and platform make sense only where STG's tasks run
            settings += ("placementConstraints", "placementStrategy", "platformVersion")
            settings += (
                ("capacityProviderStrategy",) if stg.get("capacityProviderStrategy") else ("launchType",)
            )
        return {setting: value for setting in settings if (value := stg.get(setting))}

    def _state(self, env: Environment, service: ServiceTypeDef, known: dict[str, str]) -> Outputs:
        """Ready, failed, asleep or still starting, with the reason that ECS gives."""
        (primary,) = [one for one in service["deployments"] if one["status"] == "PRIMARY"]
        known = {**known, "serving": self._serving(service), "tasks": _tasks(service)}
        if primary.get("rolloutState") == "FAILED":
            stops = self._stops(service)
            reason = _no_room(service) or _last(stops) or primary.get("rolloutStateReason")
            known["tasks"] = _tasks(service, stops)
            raise Failed(f"{self.name} does not start: {reason or 'the deployment failed'}", **known)
        if known["asleep"]:
            return {**known, "serving": "no"}
        complete = _complete(primary) and len(service["deployments"]) == 1
        if complete and self._was_ready(env, known):
            return known
        stops = self._stops(service)
        known["tasks"] = _tasks(service, stops)
        lately = [task for task in stops if self.now() - task["stoppedAt"] < LATELY]
        if len(lately) >= self._role.deployment.failures and primary.get("rolloutState") == "COMPLETED":
            raise Failed(f"{self.name} keeps ending: {_last(stops)}", **known)
        if complete:
            return known
        no_room = _no_room(service)
        if no_room and self.now() - primary["createdAt"] > PATIENCE:
            raise Failed(f"{self.name} does not start: {no_room}", **known)
        running = f"{primary['runningCount']} of {primary['desiredCount']} running"
        reason = no_room or _last(stops)
        raise NotReady(f"{self.name} is starting: {running}{'; ' if reason else ''}{reason}", **known)

    def _was_ready(self, env: Environment, known: Outputs) -> bool:
        """Was this build ready the last time? Then nobody need look at its past."""
        last = env.conditions.get(key(self.kind, self.name))
        same = last is not None and last.outputs.get("execution") == known["execution"]
        return same and last is not None and last.state is State.READY

    def _serving(self, service: ServiceTypeDef) -> str:
        """Does a visitor get an answer? When rolling, the old tasks answer until the new ones do."""
        deployments = service["deployments"]
        counting = deployments if self._rolls else [d for d in deployments if d["status"] == "PRIMARY"]
        return "yes" if any(_complete(one) and one["runningCount"] for one in counting) else "no"

    def _stops(self, service: ServiceTypeDef) -> list[TaskTypeDef]:
        """Tasks of the wanted revision that ended, oldest first, but not because ECS scaled or replaced them.

        A worker that dies after some seconds counts as started (facts B2-11), so its ends are counted here.
        """
        listed = self.client.list_tasks(
            cluster=service["clusterArn"], serviceName=service["serviceName"], desiredStatus="STOPPED"
        )["taskArns"][:TASKS_PER_CALL]
        if not listed:
            return []
        tasks = self.client.describe_tasks(cluster=service["clusterArn"], tasks=listed)["tasks"]
        ended = [
            task
            for task in tasks
            if task.get("taskDefinitionArn") == service["taskDefinition"]
            and "scaling activity" not in task.get("stoppedReason", "").lower()
            and "stoppedAt" in task
        ]
        return sorted(ended, key=lambda task: task["stoppedAt"])

    @property
    def _role(self) -> Role:
        return self.blueprint.roles[self.name]

    @property
    def _rolls(self) -> bool:
        return self._role.deployment.strategy == "rolling"


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


def _capacity(capacity: Capacity) -> dict[str, Any]:
    if capacity.provider:
        return {"capacityProviderStrategy": [{"capacityProvider": capacity.provider, "weight": 1}]}
    return {"launchType": capacity.launch_type}


def _changed(service: ServiceTypeDef, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What the service does not show as wanted, and what it has that is not wanted at all."""
    shown = {**NO_LOAD_BALANCER, **service}
    compared = {"loadBalancers": [], **wanted}
    of_it = compared.keys() & shown.keys() - CAPACITY
    changed = {key: compared[key] for key in of_it if not _shows(shown[key], compared[key])}
    if changed.get("loadBalancers") == []:
        changed |= NO_LOAD_BALANCER
    if CAPACITY & wanted.keys() and _strategy(wanted) != _strategy(service):
        changed["capacityProviderStrategy"] = wanted.get("capacityProviderStrategy", [])
    return changed


def _shows(shown: Any, wanted: Any) -> bool:
    """Is this what was asked for? ECS adds to it, and what it says nothing of is no difference."""
    if isinstance(wanted, Mapping):
        return all(_shows(shown[key], value) for key, value in wanted.items() if key in shown)
    if isinstance(wanted, list):
        return len(shown) == len(wanted) and all(map(_shows, shown, wanted))
    return bool(shown == wanted)


def _strategy(settings: Mapping[str, Any]) -> set[tuple[str, int, int]]:
    """Comparable: AWS answers with the defaults filled in."""
    strategy = settings.get("capacityProviderStrategy") or []
    return {(one["capacityProvider"], one.get("weight", 0), one.get("base", 0)) for one in strategy}


def _complete(deployment: DeploymentTypeDef) -> bool:
    running = deployment["runningCount"] >= deployment["desiredCount"]
    return running and deployment.get("rolloutState", "COMPLETED") == "COMPLETED"


def _no_room(service: ServiceTypeDef) -> str:
    """The newest service event, if it says that no instance could take the task."""
    for event in service.get("events", [])[:1]:
        if "was unable to place a task" in event["message"]:
            return f"no room on the cluster: {event['message'].split('Reason: ')[-1]}"
    return ""


def _becoming(service: ServiceTypeDef, updated: ServiceTypeDef, asleep: str) -> str:
    if asleep:
        return "falling asleep"
    if not service["desiredCount"]:
        return "waking up"
    deployments = updated["deployments"]
    under_way = any(one.get("rolloutState") == "IN_PROGRESS" for one in deployments)
    return "being replaced" if under_way or len(deployments) > 1 else "put back"


def _tasks(service: ServiceTypeDef, stops: Sequence[TaskTypeDef] = ()) -> str:
    """What people are shown of the tasks; `stopped` is why the last one ended, where that is known."""
    counts = {"running": service["runningCount"], "desired": service["desiredCount"]}
    return json.dumps({**counts, "stopped": _last(stops)})


def _last(stops: Sequence[TaskTypeDef]) -> str:
    return _why(stops[-1]) if stops else ""


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
