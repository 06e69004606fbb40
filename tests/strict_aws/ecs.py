"""ECS: services with a life of their own (facts B2, D2-9…13); clusters and task definitions stay moto's.

The layer answers for services and their tasks. A deployment stands still until the test moves it: `start`,
`settle`, `fail`, `stop_task`, `drain`, `purge`. moto keeps a shadow of each service, for its tags and for the
tagging API.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

from moto.ecs.models import EC2ContainerServiceBackend

from tests.strict_aws.call import Answer, Call, Refused, Rule, as_tags, page
from tests.strict_aws.ecs_rules import check_settings
from tests.strict_aws.elbv2 import Elbv2
from tests.strict_aws.services import DEPLOYED, Clock, Deployment, Service, Settings, Task, complete, in_full
from tests.strict_aws.task_definitions import TaskDefinitions

CREATE_ONLY = ("cluster", "serviceName", "clientToken", "tags", "role")
UPDATE_ONLY = ("cluster", "service", "forceNewDeployment")
SCALED = "Scaling activity initiated by the service scheduler"


class Ecs:
    """Controls: `start`, `settle`, `fail`, `stop_task`, `event`, `drain`, `drain_after`, `purge`.

    `service` lets a test look inside.
    """

    def __init__(self, backend: EC2ContainerServiceBackend, elbv2: Elbv2) -> None:
        self._backend = backend
        self._elbv2 = elbv2
        self._clock = Clock()
        self._services: dict[tuple[str, str], Service] = {}
        self._drain_after: int | None = None
        self.task_definitions = TaskDefinitions(backend, self._used_task_definitions, self._clock)
        self.rules: dict[str, Rule] = {
            "CreateService": self._create_service,
            "UpdateService": self._update_service,
            "DeleteService": self._delete_service,
            "DescribeServices": self._describe_services,
            "ListServices": self._list_services,
            "ListTasks": self._list_tasks,
            "DescribeTasks": self._describe_tasks,
            "StopTask": self._stop_task,
            "RunTask": self._not_covered,
            "StartTask": self._not_covered,
            **self.task_definitions.rules,
        }

    # Controls

    def service(self, name_or_arn: str) -> Service:
        """The service of this name or ARN, in whatever state; exactly one."""
        found = [each for each in self._services.values() if name_or_arn in (each.name, each.arn)]
        if len(found) != 1:
            raise LookupError(
                f"{len(found)} services are called {name_or_arn}; there are {list(self._services)}"
            )
        return found[0]

    def start(self, name: str, *, health: str = "initial") -> None:
        """As many tasks of the newest deployment run as desired, older ones are gone; not complete yet."""
        service = self.service(name)
        current = service.running(service.primary)
        keep = [task.arn for task in current[: service.desired]]
        for task in [task for task in service.running() if task.arn not in keep]:
            self._stop(service, task, SCALED, "ServiceSchedulerInitiated")
        while len(service.running()) < service.desired:
            self._start(service)
        for task in service.running():
            self._place(service, task, health)
        service.deployments = [service.primary]
        service.primary.failed_tasks = 0

    def settle(self, name: str, *, health: str = "healthy") -> None:
        """The newest deployment gets there: its tasks run, their targets are `health`, it is COMPLETED."""
        self.start(name, health=health)
        service = self.service(name)
        service.primary.become("COMPLETED", f"ECS deployment {service.primary.id} completed.")
        service.last_completed = deepcopy(service.primary.settings)
        service.say(self._clock, "has reached a steady state.")
        self.task_definitions.sweep()

    def settle_all(self) -> None:
        """Every active service settles."""
        for service in list(self._services.values()):
            if service.status == "ACTIVE":
                self.settle(service.arn)

    def fail(self, name: str, reason: str, *, failed_tasks: int = 3) -> None:
        """The newest deployment does not get there; the event log tells why.

        `reason` is a line such as "was unable to place a task because …". Only a circuit breaker makes the
        deployment FAILED, and with rollback the service returns to the last completed one; without a breaker
        it stays IN_PROGRESS, as on AWS. Facts B2-11, B2-12; BC:ecs.Deployment.
        """
        service = self.service(name)
        deployment = service.primary
        deployment.failed_tasks += failed_tasks
        service.say(self._clock, reason)
        if not service.breaker["enable"]:
            return
        deployment.become("FAILED", "ECS deployment circuit breaker: tasks failed to start.")
        service.say(self._clock, f"(deployment {deployment.id}) deployment failed: tasks failed to start.")
        if service.breaker["rollback"] and service.last_completed:
            service.settings |= deepcopy(service.last_completed)
            back = self._deploy(service)
            back.rollout_reason = f"ECS deployment circuit breaker: rolling back to deploymentId {back.id}"
            service.say(self._clock, f"rolling back to deployment {back.id}.")

    def stop_task(
        self,
        name: str,
        stopped_reason: str,
        *,
        exit_code: int | None = None,
        reason: str | None = None,
        container: str | None = None,
        stop_code: str = "EssentialContainerExited",
    ) -> str:
        """A running task stops, or one that never ran if none does; the answer is its ARN.

        `reason` and `exit_code` are the container's: "CannotPullContainerError: …", 1. The failure counts
        for a deployment under way.
        """
        service = self.service(name)
        running = service.running(service.primary)
        task = running[0] if running else self._start(service)
        for each in task.containers:
            if container in (None, each["name"]):
                each |= {"exitCode": exit_code} if exit_code is not None else {}
                each |= {"reason": reason} if reason is not None else {}
        self._stop(service, task, stopped_reason, stop_code)
        if service.primary.rollout_state == "IN_PROGRESS":
            service.primary.failed_tasks += 1
        return task.arn

    def event(self, name: str, message: str) -> None:
        """A line in the service's event log, such as "was unable to place a task because …"."""
        service = self.service(name)
        service.say(self._clock, message)

    def drain_after(self, describes: int | None) -> None:
        """Services deleted from now on are INACTIVE after so many describes; None: only after `drain`."""
        self._drain_after = describes

    def drain(self, name: str) -> None:
        """The tasks of a deleted service are gone: DRAINING becomes INACTIVE. Facts B2-2."""
        service = self.service(name)
        if service.status != "DRAINING":
            raise LookupError(f"draining {service.name}: it is {service.status}")
        for task in service.running():
            self._stop(service, task, SCALED, "ServiceSchedulerInitiated")
        service.status = "INACTIVE"
        service.deployments = []
        self.task_definitions.sweep()

    def drain_all(self) -> None:
        """Every draining service is gone."""
        for service in list(self._services.values()):
            if service.status == "DRAINING":
                self.drain(service.arn)

    def purge(self, name: str) -> None:
        """AWS forgets an INACTIVE service: DescribeServices answers MISSING. Facts B2-2."""
        service = self.service(name)
        if service.status != "INACTIVE":
            raise LookupError(f"purging {service.name}: it is {service.status}")
        del self._services[service.cluster, service.name]
        del self._backend.services[f"{service.cluster}:{service.name}"]

    def tagged(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Services until they are purged, and task definitions, with their tags."""
        for service in self._services.values():
            yield service.arn, dict(as_tags(self._tags(service)))
        yield from self.task_definitions.tagged()

    # Services

    def _create_service(self, call: Call) -> Answer:
        """A name is free again only when its service is INACTIVE. Facts B2-2, B2-3."""
        cluster = self._cluster(call)
        wanted = self._settings(call, {k: v for k, v in call.params.items() if k not in CREATE_ONLY})
        existing = self._services.get((cluster, call.params["serviceName"]))
        if existing and existing.status == "DRAINING":
            raise call.error("InvalidParameterException", "Unable to Start a service that is still Draining.")
        if existing and existing.status == "ACTIVE":
            if existing.settings != wanted or not self._same_tags(existing, call):
                raise call.error("InvalidParameterException", "Creation of service was not idempotent.")
            return {"service": existing.describe(self._tags(existing))}
        check_settings(call, wanted, self._backend, self._elbv2)
        shadow = self._shadow(call, wanted)
        service = Service(
            cluster=cluster,
            cluster_arn=shadow["clusterArn"],
            name=shadow["serviceName"],
            arn=shadow["serviceArn"],
            settings=wanted,
            created_at=self._clock.now(),
        )
        self._services[cluster, service.name] = service
        self._deploy(service)
        return {"service": service.describe(self._tags(service))}

    @staticmethod
    def _shadow(call: Call, settings: Settings) -> Settings:
        """moto's own record of the service: it checks the subnets and carries the tags."""
        params: Settings = {
            key: call.params[key] for key in ("cluster", "serviceName", "tags") if key in call.params
        }
        params |= {"taskDefinition": settings["taskDefinition"], "desiredCount": 0}
        if network := deepcopy(settings.get("networkConfiguration")):
            network["awsvpcConfiguration"].setdefault("securityGroups", [])
            params["networkConfiguration"] = network
        return dict(call.send("CreateService", params)["service"])

    def _update_service(self, call: Call) -> Answer:
        """Only an ACTIVE service can be updated. Facts D2-11; BC:ecs.UpdateService."""
        service = self._find(call)
        if service.status != "ACTIVE":
            raise call.error("ServiceNotActiveException", "Service was not ACTIVE.")
        changes = {key: value for key, value in call.params.items() if key not in UPDATE_ONLY}
        merged = _with_capacity(call, service.settings, changes)
        wanted = self._settings(call, merged, keep=service.settings["taskDefinition"])
        check_settings(call, wanted, self._backend, self._elbv2)
        before, service.settings = service.settings, wanted
        redeployed = any(before.get(key) != wanted.get(key) for key in DEPLOYED)
        if redeployed or call.params.get("forceNewDeployment"):
            self._deploy(service)
        return {"service": service.describe(self._tags(service))}

    def _delete_service(self, call: Call) -> Answer:
        """DRAINING until its tasks are gone, then INACTIVE; deleting either again succeeds. Facts B2-2."""
        service = self._find(call)
        if service.status == "ACTIVE" and service.desired > 0 and not call.params.get("force"):
            raise call.error(
                "InvalidParameterException", "The service cannot be stopped while it is scaled above 0."
            )
        if service.status == "ACTIVE":
            service.status = "DRAINING"
            service.settings["desiredCount"] = 0
            service.describes_left = self._drain_after
        return {"service": service.describe(self._tags(service))}

    def _describe_services(self, call: Call) -> Answer:
        """INACTIVE ones are still shown, purged ones MISSING. Facts B2-2, B2-8, B2-9."""
        cluster = self._cluster(call)
        with_tags = "TAGS" in call.params.get("include", [])
        answer: Answer = {"services": [], "failures": []}
        for name_or_arn in call.params["services"]:
            service = self._services.get((cluster, name_or_arn.split("/")[-1]))
            if service is None:
                arn = name_or_arn if name_or_arn.startswith("arn:") else self._arn(cluster, name_or_arn)
                answer["failures"].append({"arn": arn, "reason": "MISSING"})
                continue
            self._count_down(service)
            answer["services"].append(service.describe(self._tags(service) if with_tags else None))
        return answer

    def _list_services(self, call: Call) -> Answer:
        """ACTIVE ones only, ten at a time. Facts B2-2, B2-8."""
        cluster = self._cluster(call)
        arns = [
            each.arn
            for each in self._services.values()
            if each.cluster == cluster and each.status == "ACTIVE"
        ]
        return page(sorted(arns), call, key="serviceArns", default=10)

    def _count_down(self, service: Service) -> None:
        if service.status != "DRAINING" or service.describes_left is None:
            return
        if service.describes_left <= 0:
            self.drain(service.arn)
        else:
            service.describes_left -= 1

    # Tasks

    def _list_tasks(self, call: Call) -> Answer:
        """Running ones unless the stopped ones are asked for. BC:ecs.ListTasks."""
        cluster, status = self._cluster(call), call.params.get("desiredStatus", "RUNNING")
        if name := call.params.get("serviceName"):
            services = [self._find(call, name)]
        else:
            services = [each for each in self._services.values() if each.cluster == cluster]
        tasks = [task for service in services for task in service.tasks if task.status == status]
        if family := call.params.get("family"):
            tasks = [task for task in tasks if task.task_definition.split("/")[-1].startswith(f"{family}:")]
        if started_by := call.params.get("startedBy"):
            tasks = [task for task in tasks if task.deployment == started_by]
        return page([task.arn for task in tasks], call, key="taskArns", default=100)

    def _describe_tasks(self, call: Call) -> Answer:
        self._cluster(call)
        with_tags = "TAGS" in call.params.get("include", [])
        answer: Answer = {"tasks": [], "failures": []}
        for name in call.params["tasks"]:
            found = self._task(name)
            if found is None:
                answer["failures"].append({"arn": name, "reason": "MISSING"})
            else:
                answer["tasks"].append(found[1].describe(with_tags))
        return answer

    def _stop_task(self, call: Call) -> Answer:
        self._cluster(call)
        found = self._task(call.params["task"])
        if found is None:
            raise call.error("InvalidParameterException", "The referenced task was not found.")
        service, task = found
        if task.running:
            self._stop(service, task, call.params.get("reason", "Task stopped by user"), "UserInitiated")
        return {"task": task.describe(with_tags=False)}

    @staticmethod
    def _not_covered(call: Call) -> Answer:
        raise Refused(f"{call.name}: tasks outside services are not covered by this layer")

    # How things happen

    def _deploy(self, service: Service) -> Deployment:
        """A new PRIMARY deployment; the older ones stay ACTIVE until it settles."""
        for older in service.deployments:
            older.status = "ACTIVE"
        settings = {
            key: service.settings.get(key) for key in (*DEPLOYED, "launchType", "capacityProviderStrategy")
        }
        deployment = Deployment(f"ecs-svc/{self._clock.tick():019d}", deepcopy(settings), self._clock.now())
        deployment.rollout_reason = f"ECS deployment {deployment.id} in progress."
        service.deployments.insert(0, deployment)
        return deployment

    def _start(self, service: Service) -> Task:
        """A task of the newest deployment, not behind the load balancer yet."""
        number = self._clock.tick()
        definition = self.task_definitions.get(service.primary.task_definition)
        awsvpc = definition.network_mode == "awsvpc"
        task = Task(
            arn=f"{service.cluster_arn.replace(':cluster/', ':task/')}/{number:032x}",
            cluster_arn=service.cluster_arn,
            service=service.name,
            deployment=service.primary.id,
            task_definition=service.primary.task_definition,
            containers=[],
            created_at=self._clock.now(),
            launch_type=service.settings.get("launchType", "FARGATE"),
            address=f"10.0.{number // 256 % 256}.{number % 256}" if awsvpc else f"i-{number:017x}",
            tags=deepcopy(self._tags(service)) if service.settings["propagateTags"] == "SERVICE" else [],
        )
        for container in definition.container_definitions:
            shown = {
                "taskArn": task.arn,
                "name": container["name"],
                "image": container["image"],
                "lastStatus": "RUNNING",
            }
            task.containers.append(shown)
        service.tasks.append(task)
        return task

    def _place(self, service: Service, task: Task, health: str) -> None:
        """The load balancer knows the task, and how it does."""
        for target in service.settings["loadBalancers"]:
            self._elbv2.register(target["targetGroupArn"], task.address, target["containerPort"], health)

    def _stop(self, service: Service, task: Task, reason: str, code: str) -> None:
        task.stop(self._clock.now(), reason, code)
        for target in service.settings["loadBalancers"]:
            self._elbv2.deregister(target["targetGroupArn"], task.address)

    # What is where

    def _cluster(self, call: Call) -> str:
        name = str(call.params.get("cluster", "default")).split("/")[-1]
        cluster = self._backend.clusters.get(name)
        if cluster is None or cluster.status != "ACTIVE":
            raise call.error("ClusterNotFoundException", "Cluster not found.")
        return name

    def _find(self, call: Call, name: str | None = None) -> Service:
        name = (name or call.params["service"]).split("/")[-1]
        service = self._services.get((self._cluster(call), name))
        if service is None:
            raise call.error("ServiceNotFoundException", "Service not found.")
        return service

    def _task(self, name_or_arn: str) -> tuple[Service, Task] | None:
        for service in self._services.values():
            for task in service.tasks:
                if name_or_arn.split("/")[-1] == task.arn.split("/")[-1]:
                    return service, task
        return None

    def _settings(self, call: Call, asked: Settings, keep: str | None = None) -> Settings:
        """Settings in full, the task definition as an ARN: two ways to ask for one thing are the same."""
        definition = self.task_definitions.resolve(call, asked.get("taskDefinition", ""), keep)
        return complete(deepcopy(asked) | {"taskDefinition": definition.arn})

    def _arn(self, cluster: str, name: str) -> str:
        return f"{self._backend.clusters[cluster].arn.replace(':cluster/', ':service/')}/{name}"

    def _tags(self, service: Service) -> list[dict[str, str]]:
        return list(self._backend.services[f"{service.cluster}:{service.name}"].tags)

    def _same_tags(self, service: Service, call: Call) -> bool:
        return sorted(as_tags(self._tags(service))) == sorted(as_tags(call.params.get("tags", [])))

    def _used_task_definitions(self) -> set[str]:
        alive = [each for each in self._services.values() if each.status != "INACTIVE"]
        deployed = {deployment.task_definition for each in alive for deployment in each.deployments}
        return deployed | {task.task_definition for each in alive for task in each.running()}


def _with_capacity(call: Call, before: Settings, changes: Settings) -> Settings:
    """A strategy takes the launch type's place, and an empty one gives it back, but only by force.

    Source: BC:ecs.UpdateService.capacityProviderStrategy; the refusal is quoted in pipecd #6385.
    """
    merged = before | changes
    strategy = in_full(merged.get("capacityProviderStrategy") or [])
    if strategy != (before.get("capacityProviderStrategy") or []):
        if not call.params.get("forceNewDeployment"):
            raise call.error(
                "InvalidParameterException",
                "When switching from launch type to capacity provider strategy on an existing service, or"
                " making a change to a capacity provider strategy on a service that is already using one,"
                " you must force a new deployment.",
            )
        merged.pop("launchType" if strategy else "capacityProviderStrategy", None)
    return merged
