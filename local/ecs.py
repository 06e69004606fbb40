"""ECS without Docker: MiniStack keeps the records, this keeps them true.

Inside MiniStack's process (`local/inside.py`). MiniStack alone calls every task RUNNING and every
deployment COMPLETED at once; here services get processes (`local/task.py`), deployments that start,
complete and fail, tasks that stop with a reason, services that drain, and the events that AWS sends about
all of it. One thread owns all processes, so they die with it, and looks at every service several times a
second.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ministack.core.responses import error_response_json, json_response, request_scope
from ministack.services import alb, eventbridge
from ministack.services import ecs as state

from local.journal import Journal
from local.task import CannotStart, HealthCheck, Task

PASS = 0.25  # seconds between two looks at everything
DRAIN = 2.0  # at most: an idle target is deregistered at once, whatever the target group's delay says
STOP_TIMEOUT = 10.0  # seconds from SIGTERM to SIGKILL
RESTART = 1.0  # seconds between a failed task and its replacement
CLUSTER_MEMORY = 8192  # MiB of the one instance there seems to be: a task that wants more finds no room
FORGET = 60.0  # seconds until AWS may purge an INACTIVE service

Service = dict[str, Any]
log = logging.getLogger("local.ecs")


def handler(original: Any, runner: Runner) -> Any:
    """MiniStack's ECS with AWS's refusals, a service that drains, and tasks that can be stopped."""

    async def handle(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        rule = {
            "CreateService": runner.refuse_create,
            "UpdateService": runner.refuse_update,
            "DeleteService": runner.delete_service,
            "StopTask": runner.stop_task,
            "DeleteTaskDefinitions": runner.delete_task_definitions,
        }.get(action)
        answer = rule(json.loads(body)) if rule else None
        if answer:
            return state._finalize_ecs_response(answer)
        return await original(method, path, headers, body, query)

    return handle


def uses_target_group(arn: str) -> bool:
    """Does any listener or rule forward to this target group?"""
    return any(forwards_to(user, arn) for user in [*alb._listeners.values(), *alb._rules.values()])


def forwards_to(user: dict[str, Any], group: str) -> bool:
    """Does this listener or rule forward to the target group?"""
    actions = user.get("DefaultActions", user.get("Actions", []))
    return any(action.get("TargetGroupArn") == group for action in actions)


class Runner:
    """Makes services what they should be. All public methods answer API calls; `start` does the work."""

    def __init__(self, account: str, region: str, images: Path, logs: Path, journal: Journal) -> None:
        self._scope = (account, region)
        self._journal = journal
        self._images = images
        self._logs = logs
        self._tasks: list[Task] = []
        self._known: set[str] = set()  # deployments that were seen
        self._restart_at: dict[str, float] = {}
        self._inactive_since: dict[str, float] = {}
        self._wake = threading.Event()
        self._events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    @classmethod
    def from_environment(cls) -> Runner:
        """As `local/ministack.py` started us."""
        return cls(
            os.environ["MINISTACK_ACCOUNT_ID"],
            os.environ["MINISTACK_REGION"],
            Path(os.environ["LOCAL_IMAGES"]),
            Path(os.environ["LOCAL_LOGS"]),
            Journal(Path(os.environ["LOCAL_JOURNAL"])),
        )

    def start(self) -> None:
        """Take MiniStack's own task placement out and ours in."""
        state._reconcile_service_tasks = self._observe
        threading.Thread(target=self._run, daemon=True, name="ecs-runner").start()
        threading.Thread(target=self._deliver, daemon=True, name="ecs-events").start()

    # -- API calls ---------------------------------------------------------------------------------

    def refuse_create(self, request: dict[str, Any]) -> Any:
        """What AWS does not create (facts B2-3, B2-4)."""
        service = self._find(request.get("cluster", "default"), request["serviceName"])
        if service and service["status"] == "DRAINING":
            return error_response_json(
                "InvalidParameterException", "Unable to Start a service that is still Draining."
            )
        if service and service["status"] == "ACTIVE":
            return error_response_json("InvalidParameterException", "Creation of service was not idempotent.")
        for balancer in request.get("loadBalancers", []):
            arn = balancer.get("targetGroupArn", "")
            if arn not in alb._tgs or not uses_target_group(arn):
                text = (
                    f"The target group with targetGroupArn {arn} does not have an associated load balancer."
                )
                return error_response_json("InvalidParameterException", text)
        return None

    def refuse_update(self, request: dict[str, Any]) -> Any:
        """Only active services can be changed."""
        service = self._find(request.get("cluster", "default"), request["service"])
        if service and service["status"] != "ACTIVE":
            return error_response_json("ServiceNotActiveException", "Service was not ACTIVE.")
        return None

    def delete_service(self, request: dict[str, Any]) -> Any:
        """ACTIVE → DRAINING now; INACTIVE when its last task has stopped."""
        service = self._find(request.get("cluster", "default"), request["service"])
        if service is None or service["status"] == "INACTIVE":
            return error_response_json("ServiceNotFoundException", "Service not found.")
        if service["desiredCount"] > 0 and not request.get("force"):
            text = "The service cannot be stopped while it is scaled above 0."
            return error_response_json("InvalidParameterException", text)
        service["status"] = "DRAINING"
        service["desiredCount"] = 0
        self._wake.set()
        return json_response({"service": state._sanitize(service)})

    def stop_task(self, request: dict[str, Any]) -> Any:
        """A person stops one task; its service starts another."""
        for task in self._tasks:
            if task.record["taskArn"].endswith(request["task"]) and task.live:
                self._stop(task, "UserInitiated", request.get("reason", "Task stopped by user"))
                return json_response({"task": state._sanitize(task.record)})
        return None

    def delete_task_definitions(self, request: dict[str, Any]) -> Any:
        """Gone at once where nothing uses them, as AWS does after a while."""
        deleted, failures = [], []
        for arn in request.get("taskDefinitions", []):
            key = state._resolve_td_delete_key(arn)
            definition = state._task_defs.get(key) if key else None
            if definition is None:
                failures.append({"arn": arn, "reason": "TASK_DEFINITION_NOT_FOUND"})
            elif definition["status"] == "ACTIVE":
                failures.append(
                    {"arn": arn, "reason": "The specified task definition is still in ACTIVE status."}
                )
            else:
                definition["status"] = "DELETE_IN_PROGRESS"
                state._task_defs.pop(key, None)
                state._tags.pop(definition["taskDefinitionArn"], None)
                deleted.append(definition)
        return json_response({"taskDefinitions": deleted, "failures": failures})

    def _find(self, cluster: str, name: str) -> Service | None:
        key = f"{cluster.rsplit('/', 1)[-1]}/{name.rsplit('/', 1)[-1]}"
        service: Service | None = state._services.get(key)
        return service

    def _observe(self, _cluster: str, key: str) -> None:
        """CreateService and UpdateService end here: a deployment we do not know has just begun."""
        deployment = state._services[key]["deployments"][0]
        if deployment["id"] not in self._known:
            self._known.add(deployment["id"])
            deployment["rolloutState"] = "IN_PROGRESS"
            deployment["rolloutStateReason"] = f"ECS deployment {deployment['id']} in progress."
        self._wake.set()

    # -- the loop ----------------------------------------------------------------------------------

    def _run(self) -> None:
        with request_scope(*self._scope):
            while True:
                self._wake.wait(PASS)
                self._wake.clear()
                for key, service in list(state._services.items()):
                    try:
                        self._look_at(key, service)
                    except Exception:
                        log.exception("looking at service %s", key)

    def _look_at(self, key: str, service: Service) -> None:
        mine = [task for task in self._tasks if task.service == service["serviceArn"]]
        for task in mine:
            self._advance(service, task)
        match service["status"]:
            case "ACTIVE":
                self._roll(service, [task for task in mine if task.live])
            case "DRAINING":
                self._drain(service, [task for task in mine if task.live])
            case "INACTIVE":
                self._purge(key, service)
        self._tasks = [task for task in self._tasks if task.live]
        self._count(service)
        state._recount_cluster(service["clusterArn"].rsplit("/", 1)[-1])

    def _advance(self, service: Service, task: Task) -> None:
        """What happened to one task since the last look."""
        code = task.exit_code()
        now = time.monotonic()
        if code is not None:
            reason = "Essential container in task exited"
            self._stop(task, "EssentialContainerExited", reason)
            self._stopped(service, task, code)
        elif task.stopping and not task.terminated and now - task.stopping >= _drain_seconds(service):
            task.terminated = now
            task.record["lastStatus"] = "STOPPING"
            _signal(task, signal.SIGTERM)
        elif task.terminated and now - task.terminated >= STOP_TIMEOUT:
            _signal(task, signal.SIGKILL)
        elif not task.stopping and task.check:
            self._ask_health(service, task, task.check)

    def _ask_health(self, service: Service, task: Task, check: HealthCheck) -> None:
        _publish(service, self._tasks)
        grace = service.get("healthCheckGracePeriodSeconds", 0)
        group = _group(service)
        limit = int(group["UnhealthyThresholdCount"]) if group else 2
        if not check.healthy and check.failures >= limit and time.monotonic() - task.started >= grace:
            arn = service["loadBalancers"][0]["targetGroupArn"]
            reason = f"Task failed ELB health checks in (target-group {arn}): {check.last}"
            self._say(
                service, f"(task {task.record['taskArn'][-36:]}) failed ELB health checks: {check.last}"
            )
            self._stop(task, "ServiceSchedulerInitiated", reason)
            self._failed(service, task)

    def _roll(self, service: Service, live: list[Task]) -> None:
        """Bring an active service to its primary deployment."""
        primary = service["deployments"][0]
        desired = service["desiredCount"]
        new = [task for task in live if task.wanted and task.deployment == primary["id"]]
        old = [task for task in live if task.wanted and task.deployment != primary["id"]]
        for task in new[desired:]:
            self._stop(
                task,
                "ServiceSchedulerInitiated",
                f"Scaling activity initiated by (deployment {primary['id']})",
            )
        if primary["rolloutState"] == "FAILED":
            return
        limits = service["deploymentConfiguration"]
        least = -(-desired * int(limits.get("minimumHealthyPercent", 100)) // 100)
        most = max(1, desired * int(limits.get("maximumPercent", 200)) // 100)
        ready = sum(task.ready for task in [*new, *old])
        for task in old:
            if ready - task.ready >= least:
                ready -= task.ready
                reason = f"Scaling activity initiated by (deployment {primary['id']})"
                self._stop(task, "ServiceSchedulerInitiated", reason)
        if time.monotonic() >= self._restart_at.get(service["serviceArn"], 0.0):
            for _ in range(min(desired - len(new), most - len(live))):
                self._place(service, primary)
        if (
            primary["rolloutState"] == "IN_PROGRESS"
            and sum(task.ready for task in new) >= desired
            and not old
        ):
            self._completed(service, primary)

    def _drain(self, service: Service, live: list[Task]) -> None:
        for task in live:
            if task.wanted:
                self._stop(task, "ServiceSchedulerInitiated", "Service deleted")
        if not live:
            service["status"] = "INACTIVE"
            state._tags.pop(service["serviceArn"], None)
            self._inactive_since[service["serviceArn"]] = time.monotonic()

    def _purge(self, key: str, service: Service) -> None:
        since = self._inactive_since.get(service["serviceArn"], 0.0)
        if time.monotonic() - since > FORGET:
            state._services.pop(key, None)

    # -- tasks -------------------------------------------------------------------------------------

    def _place(self, service: Service, deployment: dict[str, Any]) -> None:
        """Start one task of a deployment, or say why there is none."""
        definition = state._task_defs[state._resolve_td_key(deployment["taskDefinition"])]
        wants = sum(
            int(c.get("memory") or c.get("memoryReservation") or 0)
            for c in definition["containerDefinitions"]
        )
        wants = max(wants, int(definition.get("memory") or 0))
        if wants > CLUSTER_MEMORY:
            self._no_room(service, wants)
            return
        balancer = (service.get("loadBalancers") or [{}])[0]
        name = balancer.get("containerName") or definition["containerDefinitions"][0]["name"]
        container = next(c for c in definition["containerDefinitions"] if c["name"] == name)
        record = _new_record(service, definition, deployment)
        task = Task(record, service["serviceArn"], deployment["id"], name)
        state._tasks[record["taskArn"]] = record
        self._tasks.append(task)
        try:
            task.launch(container, self._images, self._logs)
        except CannotStart as error:
            self._stop(task, "TaskFailedToStart", str(error))
            self._stopped(service, task, None)
            return
        record["lastStatus"] = record["containers"][0]["lastStatus"] = "RUNNING"
        record["startedAt"] = _now()
        group = _group(service)
        if group:
            task.check = HealthCheck(group, task.address, task.port, self._wake.set)
            task.check.start()
        self._task_changed(record)

    def _no_room(self, service: Service, wants: int) -> None:
        self._restart_at[service["serviceArn"]] = time.monotonic() + 10
        text = (
            "was unable to place a task because no container instance met all of its requirements. "
            f"The closest matching container-instance has insufficient memory available for {wants} MiB."
        )
        self._say(service, text)
        self._service_action(
            service, "ERROR", "SERVICE_TASK_PLACEMENT_FAILURE", {"reason": "RESOURCE:MEMORY"}
        )

    def _stop(self, task: Task, code: str, reason: str) -> None:
        """Begin to stop a task; the first reason is the one that is kept."""
        if task.stopping:
            return
        task.stopping = time.monotonic()
        if task.check:
            task.check.stop()
        task.record.update(
            desiredStatus="STOPPED",
            lastStatus="DEACTIVATING",
            stopCode=code,
            stoppedReason=reason,
            stoppingAt=_now(),
        )
        service = self._find(task.record["clusterArn"], task.service)
        if service:
            _publish(service, self._tasks)

    def _stopped(self, service: Service, task: Task, code: int | None) -> None:
        record = task.record
        record.update(lastStatus="STOPPED", stoppedAt=_now(), executionStoppedAt=_now())
        for container in record["containers"]:
            container["lastStatus"] = "STOPPED"
            if code is not None:
                container["exitCode"] = code
        if record["stopCode"] in ("EssentialContainerExited", "TaskFailedToStart"):
            self._failed(service, task)
        self._task_changed(record)
        self._wake.set()

    def _failed(self, service: Service, task: Task) -> None:
        """Count a failed task against its deployment; too many fail the deployment."""
        self._restart_at[service["serviceArn"]] = time.monotonic() + RESTART
        primary = service["deployments"][0]
        if task.deployment != primary["id"] or primary["rolloutState"] != "IN_PROGRESS":
            return
        primary["failedTasks"] += 1
        breaker = service["deploymentConfiguration"].get("deploymentCircuitBreaker") or {}
        if breaker.get("enable") and primary["failedTasks"] >= state._circuit_breaker_threshold(service):
            primary["rolloutState"] = "FAILED"
            primary["rolloutStateReason"] = "ECS deployment circuit breaker: tasks failed to start."
            self._deployment_changed(service, primary, "ERROR", "SERVICE_DEPLOYMENT_FAILED")

    def _completed(self, service: Service, primary: dict[str, Any]) -> None:
        primary["rolloutState"] = "COMPLETED"
        primary["rolloutStateReason"] = f"ECS deployment {primary['id']} completed."
        primary["updatedAt"] = _now()
        _publish(service, self._tasks)
        self._count(service)
        self._say(service, "has reached a steady state.")
        self._deployment_changed(service, primary, "INFO", "SERVICE_DEPLOYMENT_COMPLETED")
        self._service_action(service, "INFO", "SERVICE_STEADY_STATE", {})

    def _count(self, service: Service) -> None:
        """Counts as DescribeServices shows them; old deployments without tasks disappear."""
        mine = [task for task in self._tasks if task.service == service["serviceArn"] and task.live]
        kept = []
        for deployment in service["deployments"]:
            running = [
                t for t in mine if t.deployment == deployment["id"] and t.record["lastStatus"] == "RUNNING"
            ]
            any_left = any(t.deployment == deployment["id"] for t in mine)
            deployment.update(runningCount=len(running), pendingCount=0)
            if deployment["status"] == "PRIMARY" or any_left:
                kept.append(deployment)
        service["deployments"] = kept
        service["runningCount"] = sum(d["runningCount"] for d in kept)
        service["pendingCount"] = 0

    # -- events ------------------------------------------------------------------------------------

    def _say(self, service: Service, text: str) -> None:
        message = {
            "id": str(uuid.uuid4()),
            "createdAt": _now(),
            "message": f"(service {service['serviceName']}) {text}",
        }
        service["events"] = [message, *service["events"][:99]]

    def _task_changed(self, record: dict[str, Any]) -> None:
        self._emit("ECS Task State Change", [record["taskArn"]], state._sanitize(record))

    def _deployment_changed(self, service: Service, deployment: dict[str, Any], kind: str, name: str) -> None:
        detail = {
            "eventType": kind,
            "eventName": name,
            "deploymentId": deployment["id"],
            "updatedAt": datetime.now(UTC).isoformat(),
            "reason": deployment["rolloutStateReason"],
        }
        self._emit("ECS Deployment State Change", [service["serviceArn"]], detail)

    def _service_action(self, service: Service, kind: str, name: str, more: dict[str, str]) -> None:
        detail = {
            "eventType": kind,
            "eventName": name,
            "clusterArn": service["clusterArn"],
            "createdAt": datetime.now(UTC).isoformat(),
            **more,
        }
        self._emit("ECS Service Action", [service["serviceArn"]], detail)

    def _emit(self, kind: str, resources: list[str], detail: dict[str, Any]) -> None:
        self._journal.event(kind, {"resource": resources[0], **detail})
        self._events.put(
            {"Source": "aws.ecs", "DetailType": kind, "Resources": resources, "Detail": json.dumps(detail)}
        )

    def _deliver(self) -> None:
        with request_scope(*self._scope):
            while True:
                event = self._events.get()
                try:
                    eventbridge._put_events({"Entries": [event]}, allow_aws_source=True)
                except Exception:
                    log.exception("delivering %s", event["DetailType"])


def _group(service: Service) -> dict[str, Any] | None:
    """The target group of a web service."""
    for balancer in service.get("loadBalancers") or []:
        group: dict[str, Any] | None = alb._tgs.get(balancer.get("targetGroupArn", ""))
        return group
    return None


def _publish(service: Service, tasks: list[Task]) -> None:
    """The target group holds exactly the healthy tasks of its service."""
    group = _group(service)
    if not group:
        return
    arn = group["TargetGroupArn"]
    mine = [task for task in tasks if task.service == service["serviceArn"]]
    targets = [(task.address, task.port) for task in mine if task.ready]
    previous = service.setdefault("_published_targets", {}).get(arn, [])
    alb.set_targets_for_group(arn, targets, previous)
    service["_published_targets"][arn] = [address for address, _ in targets]


def _drain_seconds(service: Service) -> float:
    group = _group(service)
    if not group:
        return 0.0
    attributes = alb._tg_attrs.get(group["TargetGroupArn"], [])
    delays = [a["Value"] for a in attributes if a["Key"] == "deregistration_delay.timeout_seconds"]
    return min(DRAIN, float(delays[0]) if delays else DRAIN)


def _signal(task: Task, number: signal.Signals) -> None:
    if task.child:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(task.child.pid, number)


def _new_record(service: Service, definition: dict[str, Any], deployment: dict[str, Any]) -> dict[str, Any]:
    cluster = service["clusterArn"].rsplit("/", 1)[-1]
    prefix = service["clusterArn"].rsplit(":cluster/", 1)[0]
    arn = f"{prefix}:task/{cluster}/{uuid.uuid4().hex}"
    containers = state._build_task_containers(definition, [])
    for container in containers:
        container.update(taskArn=arn, lastStatus="PENDING")
    return {
        "taskArn": arn,
        "clusterArn": service["clusterArn"],
        "taskDefinitionArn": definition["taskDefinitionArn"],
        "group": f"service:{service['serviceName']}",
        "startedBy": deployment["id"],
        "launchType": service.get("launchType") or "EC2",
        "lastStatus": "PENDING",
        "desiredStatus": "RUNNING",
        "connectivity": "CONNECTED",
        "createdAt": _now(),
        "cpu": definition.get("cpu", "0"),
        "memory": definition.get("memory", "0"),
        "containers": containers,
        "stoppedReason": None,
        "stopCode": None,
        "healthStatus": "UNKNOWN",
        "enableExecuteCommand": service.get("enableExecuteCommand", False),
        "tags": service.get("tags", []) if service.get("propagateTags") == "SERVICE" else [],
        "version": 1,
    }


def _now() -> str:
    text: str = state._iso()
    return text
