"""Reading ECS: services by name, and what several resources need to know of the STG service they copy."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING

from qa_env.blueprint import Blueprint, Role
from qa_env.errors import Blocked
from qa_env.looking import Once

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_ecs.type_defs import ServiceTypeDef

NO_MORE = ("INACTIVE",)
PER_CALL = 10


def services(client: ECSClient, cluster: str, names: Collection[str]) -> dict[str, ServiceTypeDef]:
    """Name → service, also while it drains; without what is missing. It may be asked for by ARN.

    A missing service is no error but a failure with the reason MISSING, and a deleted one may be shown
    as INACTIVE for a while (facts B2-2).
    """
    wanted = sorted(names)
    there: dict[str, ServiceTypeDef] = {}
    for start in range(0, len(wanted), PER_CALL):
        asked = wanted[start : start + PER_CALL]
        answer = client.describe_services(cluster=cluster, services=asked, include=["TAGS"])
        reasons = {failure.get("reason") for failure in answer.get("failures", [])} - {"MISSING"}
        if reasons:
            raise RuntimeError(f"describing services {', '.join(asked)}: {', '.join(map(str, reasons))}")
        there |= {one["serviceName"]: one for one in answer["services"] if one["status"] not in NO_MORE}
    return there


def find(client: ECSClient, cluster: str, name: str) -> ServiceTypeDef | None:
    """One service, None if it is missing."""
    return next(iter(services(client, cluster, [name]).values()), None)


def seen(client: ECSClient, once: Once, cluster: str, names: Collection[str]) -> dict[str, ServiceTypeDef]:
    """The same services for everybody in a pass who asks for them."""
    wanted = frozenset(names)
    return once(("services", cluster, wanted), partial(services, client, cluster, wanted))


def original(client: ECSClient, once: Once, blueprint: Blueprint, role: Role) -> ServiceTypeDef:
    """The STG service that a role copies, read with those of all roles; Blocked if it is not there."""
    copied = {one.copy_of for one in blueprint.roles.values()}
    service = seen(client, once, blueprint.cluster, copied).get(role.copy_of.rpartition("/")[2])
    if service is None or service["status"] != "ACTIVE":
        raise Blocked(
            f"service {role.copy_of} is not in cluster {blueprint.cluster}: correct copy_of in the blueprint"
        )
    return service
