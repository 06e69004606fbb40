"""Start and stop MiniStack, and deploy the real `template.yaml` to it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from local import process
from local.iam.guard import Denials
from local.journal import Journal

REGION = "ap-northeast-1"
ACCOUNT = "111122223333"
ROOT = Path(__file__).parent.parent
AWS_EVENTS_HEADER = "x-local-aws-events"
"""With the stack's token, PutEvents accepts `aws.` sources, as AWS does from its own services."""


class DeployError(Exception):
    """The template could not be deployed; the text says which resource and why."""


@dataclass(frozen=True)
class MiniStack:
    """A running MiniStack and how to talk to it."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    token: str
    denials: Denials
    _clients: dict[tuple[str, str, str, bool], Any] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def client(self, service: str, endpoint: str | None = None, key: str = ACCOUNT) -> Any:
        """A boto3 client of this stack, never of a real account; with a function's key it has its rights."""
        return self._client(service, endpoint or self.url, key)

    def emit(self, event: Mapping[str, Any]) -> None:
        """Send an event as AWS itself would (source `aws.…`); the deployed rules deliver it."""
        self._client("events", self.url, ACCOUNT, {AWS_EVENTS_HEADER: self.token}).put_events(Entries=[event])

    def _client(
        self, service: str, endpoint: str, access_key: str, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Made once: clients may be shared by threads, but not be made by two at a time."""
        key = (service, endpoint, access_key, bool(headers))
        with self._lock:
            if key not in self._clients:
                make: Any = boto3.client  # its type knows only literal names of services
                made = make(
                    service,
                    endpoint_url=endpoint,
                    region_name=REGION,
                    aws_access_key_id=access_key,
                    aws_secret_access_key="local",
                    config=Config(retries={"mode": "standard"}, read_timeout=120),
                )
                for name, value in (headers or {}).items():
                    made.meta.events.register("before-call", partial(_add_header, name, value))
                self._clients[key] = made
            return self._clients[key]

    def stop(self) -> None:
        """Stop it with everything it runs."""
        process.stop(self.process)


def _add_header(name: str, value: str, params: dict[str, Any], **_: Any) -> None:
    params["headers"][name] = value


def start(directory: Path, logs: Path, token: str, environment: Mapping[str, str]) -> MiniStack:
    """Start MiniStack on a free port; `environment` reaches every function it runs."""
    port = process.free_port()
    url = f"http://127.0.0.1:{port}"
    temporary = directory / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    log, denials = logs / "ministack.log", Denials.among(logs)
    settings = {
        **_clean(os.environ),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_REGION": REGION,
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": REGION,
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "DOCKER_HOST": f"unix://{temporary}/no-docker.sock",
        "TMPDIR": str(temporary),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LOCAL_TOKEN": token,
        "LOCAL_IMAGES": str(directory / "images"),
        "LOCAL_LOGS": str(logs / "tasks"),
        "LOCAL_DENIED": str(denials.path),
        "LOCAL_JOURNAL": str(Journal.among(logs).path),
        **environment,
    }
    command = [sys.executable, "-m", "local.inside"]
    child = process.start(command, log=log, environment=settings, directory=ROOT)
    stack = MiniStack(url, child, log, token, denials)
    _wait(stack)
    return stack


def deploy(
    stack: MiniStack, name: str, template_url: str, parameters: Mapping[str, str], patience: float = 120
) -> dict[str, str]:
    """Create the CloudFormation stack and return its outputs."""
    cloudformation = stack.client("cloudformation")
    cloudformation.create_stack(
        StackName=name,
        TemplateURL=template_url,
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
        OnFailure="DO_NOTHING",
    )
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        if found["StackStatus"] == "CREATE_COMPLETE":
            return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
        if not found["StackStatus"].endswith("IN_PROGRESS"):
            raise DeployError(f"template.yaml: {found['StackStatus']}: {_failures(cloudformation, name)}")
        time.sleep(0.2)
    raise DeployError(f"template.yaml is not deployed after {patience:.0f} s; see {stack.log}")


def _failures(cloudformation: Any, name: str) -> str:
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    failed = [event for event in events if event["ResourceStatus"].endswith("FAILED")]
    return "; ".join(
        f"{e['LogicalResourceId']}: {e.get('ResourceStatusReason', '?')}" for e in reversed(failed)
    )


def _wait(stack: MiniStack, patience: float = 60) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if stack.process.poll() is not None:
            raise RuntimeError(f"MiniStack ended with {stack.process.returncode}; see {stack.log}")
        try:
            with urllib.request.urlopen(f"{stack.url}/_ministack/ready", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    stack.stop()
    raise RuntimeError(f"MiniStack does not answer after {patience:.0f} s; see {stack.log}")


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Nothing of a person's AWS or Python configuration may reach the functions."""
    foreign = ("AWS_", "PYTHONPATH", "MINISTACK_", "LAMBDA_", "QA_ENV_")
    return {name: value for name, value in environment.items() if not name.startswith(foreign)}
