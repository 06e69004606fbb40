"""One ECS task as a process of this machine: from task definition to exit code.

An image is a directory that the local build made (`<images>/<repository>/<tag>`) *and* a tag in ECR, so
that deleting the image there makes it unpullable here too. The process gets the container's environment,
its secrets resolved, and a port of its own in `PORT`. Every task has its own loopback address, because a
target group tells targets apart by address.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ministack.services import ecr, ecs

from local import process

ECS_SEES_IT = 0.5
"""Seconds between looks at a target that was never healthy: one success is enough (as for an ALB)."""

_addresses = itertools.count()


class CannotStart(Exception):
    """Why a task never ran, in ECS's words."""


@dataclass
class Task:
    """A process and what DescribeTasks says of it (`record`)."""

    record: dict[str, Any]
    service: str
    deployment: str
    container: str
    address: str = field(default_factory=lambda: _new_address())
    port: int = field(default_factory=process.free_port)
    started: float = field(default_factory=time.monotonic)
    stopping: float = 0.0
    terminated: float = 0.0
    check: HealthCheck | None = None
    child: subprocess.Popen[bytes] | None = None

    @property
    def live(self) -> bool:
        """Not yet stopped, whatever it is asked to do."""
        return bool(self.record["lastStatus"] != "STOPPED")

    @property
    def wanted(self) -> bool:
        """Counts for its service: running and not asked to stop."""
        return self.live and not self.stopping

    @property
    def ready(self) -> bool:
        """Wanted, and healthy where a load balancer asks."""
        running = self.wanted and self.record["lastStatus"] == "RUNNING"
        return running and (self.check is None or self.check.healthy)

    def launch(self, container: Mapping[str, Any], images: Path, logs: Path) -> None:
        """Start the process; CannotStart says why not."""
        directory = _pull(str(container["image"]), images)
        command = [*container.get("entryPoint", []), *container.get("command", [])]
        if not command:
            raise CannotStart("CannotStartContainerError: no command in the task definition")
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **{item["name"]: item["value"] for item in container.get("environment", [])},
            **_secrets(container),
            "HOST": self.address,
            "PORT": str(self.port),
        }
        log = logs / f"{_log_name(container)}-{self.record['taskArn'][-8:]}.log"
        try:
            self.child = process.start(command, log=log, environment=environment, directory=directory)
        except OSError as error:
            raise CannotStart(f"CannotStartContainerError: {error}") from error

    def exit_code(self) -> int | None:
        """None while it runs; ECS shows a killed process as 128 + signal."""
        code = self.child.poll() if self.child else 0
        return 128 - code if code is not None and code < 0 else code


class HealthCheck(threading.Thread):
    """Asks a target as its target group says; the load balancer's view of one task."""

    def __init__(
        self, group: Mapping[str, Any], address: str, port: int, changed: Callable[[], None]
    ) -> None:
        super().__init__(daemon=True, name=f"health-{address}")
        self.healthy = False
        self.ever_healthy = False
        self.failures = 0
        self.last = "no answer yet"
        self._group = group
        self._url = f"http://{address}:{port}{group['HealthCheckPath']}"
        self._changed = changed
        self._stop_asking = threading.Event()

    def run(self) -> None:
        """Every half second until it is healthy once, then at the group's interval."""
        successes = 0
        while not self._stop_asking.is_set():
            if self._ask():
                successes, self.failures = successes + 1, 0
                if not self.healthy and (
                    not self.ever_healthy or successes >= self._group["HealthyThresholdCount"]
                ):
                    self.healthy = self.ever_healthy = True
                    self._changed()
            else:
                successes, self.failures = 0, self.failures + 1
                if self.healthy and self.failures >= self._group["UnhealthyThresholdCount"]:
                    self.healthy = False
                    self._changed()
            pause = self._group["HealthCheckIntervalSeconds"] if self.ever_healthy else ECS_SEES_IT
            self._stop_asking.wait(pause)

    def stop(self) -> None:
        """Never ask again; the target counts as unhealthy."""
        self.healthy = False
        self._stop_asking.set()

    def _ask(self) -> bool:
        request = urllib.request.Request(self._url, headers={"User-Agent": "ELB-HealthChecker/2.0"})
        try:
            with urllib.request.urlopen(request, timeout=self._group["HealthCheckTimeoutSeconds"]) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code
        except OSError as error:
            self.last = str(error)
            return False
        self.last = f"HTTP {status}"
        return matches(self._group["Matcher"]["HttpCode"], status)


def _new_address() -> str:
    number = next(_addresses)
    return f"127.1.{number // 250 % 250}.{number % 250 + 2}"


def matches(codes: str, status: int) -> bool:
    """`200-399,404` as target groups understand it."""
    for part in codes.split(","):
        first, _, last = part.partition("-")
        if int(first) <= status <= int(last or first):
            return True
    return False


def _pull(image: str, images: Path) -> Path:
    name, _, tag = image.split("/", 1)[-1].partition(":")
    directory = images / name / tag
    known = name in ecr._repositories and ecr._find_image(name, {"imageTag": tag})
    if not known or not directory.is_dir():
        raise CannotStart(f"CannotPullContainerError: {image}: not found")
    return directory


def _secrets(container: Mapping[str, Any]) -> dict[str, str]:
    try:
        resolved: dict[str, str] = ecs._resolve_container_secrets(container)
    except ecs._SecretResolutionError as error:
        text = f"ResourceInitializationError: unable to pull secrets or registry auth: {error}"
        raise CannotStart(text) from error
    return resolved


def _log_name(container: Mapping[str, Any]) -> str:
    options = container.get("logConfiguration", {}).get("options", {})
    prefix = options.get("awslogs-stream-prefix", "task")
    return f"{prefix}-{container['name']}".replace("/", "-")
