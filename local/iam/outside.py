"""The guard of the CodePipeline stand-in, which is outside of MiniStack and asks it for the roles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from local.codepipeline import Settings
from local.codepipeline.wire import Refuse
from local.iam import guard, needs, wire
from local.iam.guard import Denials, Guard, Role


def codepipeline(
    settings: Settings,
    client: Callable[[str], Any],
    tags: Callable[[str], needs.Tags | None],
    denials: Denials,
) -> Refuse:
    """For pipelines that have these tags; `client` makes MiniStack's. Each role is read once."""

    @cache
    def role(key: str) -> Role | None:
        for function in client("lambda").list_functions()["Functions"]:
            if guard.access_key(function["FunctionName"]) == key:
                return _deployed(client("iam"), function["FunctionName"], function["Role"])
        return None

    decides = Guard(settings.account, settings.region, role, tags, lambda name: name, denials)

    def refuse(authorization: str, operation: str, params: Mapping[str, Any]) -> str:
        denial = decides.refusal(wire.access_key(authorization), f"codepipeline:{operation}", params)
        return denial.message if denial else ""

    return refuse


def _deployed(iam: Any, function: str, arn: str) -> Role:
    """A function's role as the API shows it."""
    name = arn.rpartition("/")[2]
    documents = {
        policy: iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]
    }
    return Role.of(function, arn, documents)
