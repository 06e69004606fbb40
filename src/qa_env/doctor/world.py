"""What the checks look at: AWS, the stack, the table, and what several of them need to find there."""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

from qa_env import ecs
from qa_env.blueprint import Blueprint
from qa_env.datacall import Answer, LambdaDatastores, ask
from qa_env.doctor.finding import Unchecked
from qa_env.store import Store

Found = TypeVar("Found")

ZIP_MAX = 300_000_000  # bytes; Lambda takes 250 MB
ZIP_TIMEOUT = 60  # seconds
LOCAL = ("127.0.0.1", "localhost")
BY_HAND = "try again, or compare the blueprint with the one that was deployed last"


@dataclass(frozen=True)
class Stack:
    """The installation's CloudFormation stack; `resources` is type → physical ids."""

    name: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]
    resources: Mapping[str, tuple[str, ...]]

    def output(self, name: str) -> str:
        """One of its outputs; Unchecked if an older version has not got it."""
        if name not in self.outputs:
            raise Unchecked(f"stack {self.name} has no output {name}", "deploy this version: make deploy")
        return self.outputs[name]

    def listed(self, parameter: str) -> list[str]:
        """The items of a comma-separated parameter."""
        return [item.strip() for item in self.parameters.get(parameter, "").split(",") if item.strip()]


def is_safe(url: str) -> bool:
    """Encrypted, or to this machine."""
    address = urllib.parse.urlsplit(url)
    return address.scheme == "https" or (address.scheme == "http" and address.hostname in LOCAL)


def download(url: str) -> bytes:
    """What is at an address that AWS gave; it is signed, so it is in no message."""
    if not is_safe(url):
        raise Unchecked("the function's code is not behind https", BY_HAND)
    try:
        with urllib.request.urlopen(url, timeout=ZIP_TIMEOUT) as answer:  # noqa: S310 - is_safe has looked at it
            return bytes(answer.read(ZIP_MAX))
    except OSError as error:
        raise Unchecked(f"the function's code cannot be fetched ({type(error).__name__})", BY_HAND) from None


@dataclass(frozen=True)
class World:
    """`client` makes (or remembers) a boto3 client by service name; `stack` and `store` look when first asked
    and raise Unchecked where there is none. `clock` is seconds since the epoch, `pause` waits so many."""

    client: Callable[[str], Any]
    stack: Callable[[], Stack]
    store: Callable[[], Store]
    fetch: Callable[[str], bytes] = download
    clock: Callable[[], float] = time.time
    pause: Callable[[float], None] = time.sleep
    _known: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def region(self) -> str:
        """Where we look."""
        return str(self.client("elbv2").meta.region_name)

    def once(self, key: object, look: Callable[[], Found]) -> Found:
        """What `look` finds, looked for once: several checks ask the same."""
        if key not in self._known:
            self._known[key] = look()
        return cast(Found, self._known[key])

    def read_secret(self, reference: str) -> str:
        """The text of `secretsmanager:<id>` or `ssm:<name>`; AWS's error where that is refused."""
        kind, _, name = reference.partition(":")
        if kind == "ssm":
            found = self.client("ssm").get_parameter(Name=name, WithDecryption=True)
            return str(found["Parameter"]["Value"])
        return str(self.client("secretsmanager").get_secret_value(SecretId=name).get("SecretString", ""))

    def secret(self, reference: str) -> Any:
        """The JSON of a secret; ValueError (whose text may hold some of it) if it is none."""
        return json.loads(self.read_secret(reference))

    def ask_datastores(self, request: Mapping[str, Any]) -> Answer:
        """The answer of the datastores function; NotReady or Blocked where it said so."""
        function = self.stack().output("DatastoresFunctionName")
        try:
            return ask(LambdaDatastores(self.client("lambda"), function), request)
        except RuntimeError as error:
            raise Unchecked(
                str(error), "deploy this version: an older one cannot be asked: make deploy"
            ) from None

    def load_balancer(self, arn: str) -> Mapping[str, Any] | None:
        """A load balancer; None if there is none."""
        elbv2 = self.client("elbv2")

        def look() -> Mapping[str, Any] | None:
            try:
                return dict(elbv2.describe_load_balancers(LoadBalancerArns=[arn])["LoadBalancers"][0])
            except elbv2.exceptions.LoadBalancerNotFoundException:
                return None

        return self.once(("load balancer", arn), look)

    def stg(self, blueprint: Blueprint) -> dict[str, Any]:
        """Role → the STG service that it copies; without those that are missing."""
        found = {}
        for name, role in blueprint.roles.items():
            key = ("service", blueprint.cluster, role.copy_of)
            service = self.once(key, partial(self._service, blueprint.cluster, role.copy_of))
            if service and service["status"] == "ACTIVE":
                found[name] = service
        return found

    def _service(self, cluster: str, name: str) -> Any:
        client = self.client("ecs")
        try:
            return ecs.find(client, cluster, name)
        except client.exceptions.ClusterNotFoundException:
            return None

    def task_definition(self, arn: str) -> Mapping[str, Any]:
        """A task definition of STG."""
        client = self.client("ecs")
        described = self.once(
            ("task definition", arn), lambda: client.describe_task_definition(taskDefinition=arn)
        )
        return dict(described["taskDefinition"])

    def vpcs(self, blueprint: Blueprint) -> set[str]:
        """The VPCs of the STG tasks; none where they use the instances' network."""
        subnets = sorted(
            {one for service in self.stg(blueprint).values() for one in network(service, "subnets")}
        )
        if not subnets:
            return set()
        found = self.once(
            ("subnets", *subnets), lambda: self.client("ec2").describe_subnets(SubnetIds=subnets)["Subnets"]
        )
        return {subnet["VpcId"] for subnet in found}

    def security_group_rules(self, groups: list[str]) -> list[Mapping[str, Any]]:
        """What these security groups admit."""
        if not groups:
            return []
        found = self.client("ec2").describe_security_groups(GroupIds=groups)["SecurityGroups"]
        return [rule for group in found for rule in group["IpPermissions"]]


def network(service: Mapping[str, Any], what: str) -> list[str]:
    """`subnets` or `securityGroups` of a service with a network of its own."""
    configuration = service.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
    return list(configuration.get(what, ()))
