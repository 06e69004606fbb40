"""Reading ECS: what several resources need to know of the STG service they copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qa_env.errors import Blocked

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_ecs.type_defs import ServiceTypeDef

NO_MORE = ("INACTIVE",)


def find(client: ECSClient, cluster: str, name: str) -> ServiceTypeDef | None:
    """The service, also while it drains; None if missing.

    A missing service is no error but a failure with the reason MISSING, and a deleted one may be shown
    as INACTIVE for a while (facts B2-2).
    """
    answer = client.describe_services(cluster=cluster, services=[name], include=["TAGS"])
    found = [one for one in answer["services"] if one["status"] not in NO_MORE]
    reasons = {failure.get("reason") for failure in answer.get("failures", [])} - {"MISSING"}
    if reasons:
        raise RuntimeError(f"describing service {name}: {', '.join(map(str, reasons))}")
    if not found:
        return None
    (service,) = found
    return service


def original(client: ECSClient, cluster: str, name: str) -> ServiceTypeDef:
    """The STG service that a role copies; Blocked if it is not there."""
    service = find(client, cluster, name)
    if service is None or service["status"] != "ACTIVE":
        raise Blocked(f"service {name} is not in cluster {cluster}: correct copy_of in the blueprint")
    return service
