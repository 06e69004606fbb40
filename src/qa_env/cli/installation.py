"""The installation that a command works on: found by its CloudFormation stack, or the one of `make run`.

Nothing is asked of AWS before something is needed, so what needs nothing works without credentials.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from qa_env import aws, redaction
from qa_env import blueprint as blueprints
from qa_env.blueprint import Blueprint, BlueprintError
from qa_env.cli.ended import Ended, Exit
from qa_env.model import Environment, Slug
from qa_env.store import DynamoStore
from qa_env.summary import Summary
from qa_env.watch import Watch

DEFAULT_STACK = "qa-env"
LOCAL_STACK = Path(__file__).parents[3] / ".local" / "stack.json"
USUAL = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=5, read_timeout=60)
# An audit may take ten minutes, and must not be asked for a second time meanwhile.
PATIENT = Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=5, read_timeout=610)
ACTIONS = {"lambda:Invoke": "lambda:InvokeFunction"}  # where the permission is not named like the call


@dataclass(frozen=True)
class Installation:
    """One installation as a person reaches it; clients and stores are made at their first use.

    `endpoints` are those of a stack that is not in AWS, by service, `""` for all others, and `credentials`
    are boto3's arguments for it. `clock` and `pause` are how commands that wait see time.
    """

    stack: str = DEFAULT_STACK
    region: str | None = None
    profile: str | None = None
    blueprint_directory: Path | None = None
    endpoints: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, Any] = field(default_factory=dict, repr=False)
    announce: Callable[[str], None] = field(default=lambda _: None)
    clock: Callable[[], float] = field(default=time.time)
    pause: Callable[[float], None] = field(default=time.sleep)
    _clients: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def is_local(self) -> bool:
        """Is it the stack of `make run`?"""
        return bool(self.endpoints)

    @property
    def title(self) -> str:
        """What people call it."""
        return "the local stack" if self.is_local else f"stack {self.stack}"

    @cached_property
    def session(self) -> boto3.Session:
        """boto3's, with the profile and region that were asked for."""
        return boto3.Session(profile_name=self.profile, region_name=self.region, **self.credentials)

    def client(self, service: str) -> Any:
        """A boto3 client, made once. Its errors know the permission that was needed, and no credentials."""
        if service not in self._clients:
            endpoint = self.endpoints.get(service) or self.endpoints.get("")
            config = PATIENT if service == "lambda" else USUAL
            # The stubs know only literal names.
            made = self.session.client(service, endpoint_url=endpoint, config=config)  # type: ignore[call-overload]
            self._clients[service] = _naming_actions(redaction.redacting(made))
        return self._clients[service]

    @cached_property
    def described(self) -> Mapping[str, Any]:
        """The stack as CloudFormation describes it."""
        if self.is_local:
            self.announce("The local stack of `make run` (--stack NAME for one in AWS).")
        try:
            answer = self.client("cloudformation").describe_stacks(StackName=self.stack)
        except ClientError as error:
            if aws.code(error) != "ValidationError":
                raise
            where = self.client("cloudformation").meta.region_name
            raise Ended(
                Exit.AWS,
                f"there is no stack {self.stack} in {where}: name another one by --stack or QA_ENV_STACK,"
                " another place by --region or --profile",
            ) from error
        return dict(answer["Stacks"][0])

    @cached_property
    def outputs(self) -> Mapping[str, str]:
        """The stack's outputs (`template.yaml`)."""
        return {one["OutputKey"]: one["OutputValue"] for one in self.described.get("Outputs", ())}

    @cached_property
    def parameters(self) -> Mapping[str, str]:
        """The stack's parameters, defaults included."""
        return {one["ParameterKey"]: one["ParameterValue"] for one in self.described.get("Parameters", ())}

    def output(self, name: str) -> str:
        """One of the stack's outputs."""
        return self._known(self.outputs, "output", name)

    @property
    def name(self) -> str:
        """The parameter `Installation`: the beginning of its functions' names."""
        return self._known(self.parameters, "parameter", "Installation")

    @cached_property
    def store(self) -> DynamoStore:
        """Records, claims and history."""
        endpoint = self.endpoints.get("")
        made = self.session.resource("dynamodb", endpoint_url=endpoint, config=USUAL)
        table = made.Table(self.output("TableName"))
        _naming_actions(redaction.redacting(table.meta.client))
        return DynamoStore(table)

    @cached_property
    def watch(self) -> Watch:
        """What people ask goes through this, as from the page's buttons."""
        return Watch(self.store, self.wake, self.clock)

    def wake(self, slug: Slug, why: str) -> None:
        """Put an environment on the queue."""
        self.client("sqs").send_message(
            QueueUrl=self.output("QueueUrl"),
            MessageBody=json.dumps({"slug": slug, "why": why}),
            MessageGroupId=slug,
            MessageDeduplicationId=uuid.uuid4().hex,
        )

    @cached_property
    def caller(self) -> str:
        """Who asks: the last part of the ARN that STS knows, a person's name where that is a session."""
        return str(self.client("sts").get_caller_identity()["Arn"]).rsplit("/", 1)[-1].rsplit(":", 1)[-1]

    @cached_property
    def blueprints(self) -> Mapping[str, Blueprint]:
        """The blueprints by repository; none where no directory is known."""
        if self.blueprint_directory is None:
            return {}
        try:
            return blueprints.load(self.blueprint_directory)
        except (BlueprintError, OSError) as error:
            raise Ended(Exit.USAGE, f"the blueprints in {self.blueprint_directory}: {error}") from error

    def summary(self, env: Environment) -> Summary:
        """What people are told of it."""
        return Summary(env, blueprints.of_repository(self.blueprints.values(), env.repository))

    def _known(self, values: Mapping[str, str], kind: str, name: str) -> str:
        if name not in values:
            raise Ended(
                Exit.AWS, f"{self.title} has no {kind} {name}: is it qa-env's, and as new as this command?"
            )
        return values[name]


def find(
    stack: str | None,
    region: str | None = None,
    profile: str | None = None,
    blueprint_directory: Path | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> Installation:
    """The named stack's, or that of QA_ENV_STACK; without a name the local one if it is up, else the default.

    Who names a profile or region means AWS, too.
    """
    directory = blueprint_directory or _blueprint_directory()
    named = stack or os.environ.get("QA_ENV_STACK")
    if not (named or region or profile) and LOCAL_STACK.exists():
        return _local(directory, announce)
    return Installation(named or DEFAULT_STACK, region, profile, directory, announce=announce)


def _local(directory: Path | None, announce: Callable[[str], None]) -> Installation:
    """The stack that `make run` has started."""
    try:
        info = json.loads(LOCAL_STACK.read_text("utf-8"))
        names = ("aws_access_key_id", "aws_secret_access_key")
        return Installation(
            region=info["region"],
            blueprint_directory=directory,
            endpoints={"": info["aws_endpoint_url"], "codepipeline": info["codepipeline_endpoint_url"]},
            credentials={name: info[name] for name in names},
            announce=announce,
        )
    except (OSError, ValueError, KeyError) as error:
        raise Ended(
            Exit.AWS,
            f"{LOCAL_STACK.name} of the local stack cannot be read: start `make run` again, or give --stack",
        ) from error


def _blueprint_directory() -> Path | None:
    """`$BLUEPRINTS` as for `make build`, otherwise `blueprints/` where that is."""
    named = os.environ.get("BLUEPRINTS")
    directory = Path(named or "blueprints")
    return directory if named or directory.is_dir() else None


def _naming_actions(client: Any) -> Any:
    """The boto3 client; an error says by `Action` which permission the call needed."""
    client.meta.events.register("after-call", _name_action)
    return client


def _name_action(parsed: Any, model: Any, **_: Any) -> None:
    """botocore makes its exception of this afterwards."""
    if isinstance(parsed, dict) and parsed.get("Error"):
        action = f"{model.service_model.signing_name}:{model.name}"
        parsed["Error"]["Action"] = ACTIONS.get(action, action)
