"""What people do by hand to what is ours: they delete things, or change something and leave it so."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from qa_env.model import REDIS, Slug

if TYPE_CHECKING:
    from tests.chaos.machine import Chaos

LEFT = "tried-by-hand"  # what everything that somebody changed bears


def _delete_listeners(chaos: Chaos, slug: Slug) -> None:
    for arn, _ in chaos.listeners_of(slug):
        chaos.client("elbv2").delete_listener(ListenerArn=arn)


def _delete_groups(chaos: Chaos, slug: Slug) -> None:
    _delete_listeners(chaos, slug)
    for arn in chaos.groups_of(slug):
        with suppress(ClientError):  # in use for a while
            chaos.client("elbv2").delete_target_group(TargetGroupArn=arn)


def _delete_rules(chaos: Chaos, slug: Slug) -> None:
    for _, listener in chaos.listeners_of(slug):
        for arn in list(listener._non_default_rules):
            chaos.client("elbv2").delete_rule(RuleArn=arn)


def _delete_services(chaos: Chaos, slug: Slug) -> None:
    for cluster, name in chaos.services_of(slug):
        chaos.client("ecs").delete_service(cluster=cluster, service=name, force=True)


def _deregister(chaos: Chaos, slug: Slug) -> None:
    for arn in chaos.definitions_of(slug):
        chaos.client("ecs").deregister_task_definition(taskDefinition=arn)


def _delete_pipeline(chaos: Chaos, slug: Slug) -> None:
    chaos.engine.pipelines.pop(slug, None)


def _drop_schema(chaos: Chaos, slug: Slug) -> None:
    chaos.emptied.add(slug)
    chaos.datastores.schemas.discard(slug)
    chaos.datastores.migrated.pop(slug, None)


def _remove_keys(chaos: Chaos, slug: Slug) -> None:
    env = chaos.records.get(slug)
    claim = env.claims.get(REDIS) if env else None
    chaos.datastores.keys.pop(claim.name if claim else "", None)
    chaos.datastores.owners.pop(claim.name if claim else "", None)


def _answer_otherwise(chaos: Chaos, slug: Slug) -> None:
    said: Any = {"StatusCode": "200", "MessageBody": LEFT}
    action: Any = {"Type": "fixed-response", "FixedResponseConfig": said}
    for arn, _ in chaos.listeners_of(slug):
        chaos.client("elbv2").modify_listener(ListenerArn=arn, DefaultActions=[action])


def _check_otherwise(chaos: Chaos, slug: Slug) -> None:
    for arn in chaos.groups_of(slug):
        chaos.client("elbv2").modify_target_group(TargetGroupArn=arn, HealthCheckPath=f"/{LEFT}")


def _stop_services(chaos: Chaos, slug: Slug) -> None:
    for cluster, name in chaos.services_of(slug):
        chaos.client("ecs").update_service(cluster=cluster, service=name, desiredCount=0)


def _rename_a_stage(chaos: Chaos, slug: Slug) -> None:
    if slug in chaos.engine.pipelines:
        client = chaos.client("codepipeline")
        declaration = client.get_pipeline(name=slug)["pipeline"]
        declaration["stages"][-1]["name"] = LEFT
        client.update_pipeline(pipeline=declaration)


Hand = Callable[["Chaos", Slug], None]
DELETES: dict[str, Hand] = {
    "listener": _delete_listeners,
    "target group": _delete_groups,
    "rule": _delete_rules,
    "service": _delete_services,
    "task definition": _deregister,
    "pipeline": _delete_pipeline,
    "schema": _drop_schema,
    "keys": _remove_keys,
}
CHANGES: dict[str, Hand] = {
    "listener": _answer_otherwise,
    "target group": _check_otherwise,
    "service": _stop_services,
    "pipeline": _rename_a_stage,
}


def left(chaos: Chaos, slug: Slug) -> list[str]:
    """What is still as somebody has left it."""
    groups = chaos.aws.elbv2._backend.target_groups
    pipeline = chaos.engine.pipelines.get(slug)
    shown = [
        *(f"listener {vars(listener.default_actions[0])}" for _, listener in chaos.listeners_of(slug)),
        *(f"target group {vars(groups[arn])}" for arn in chaos.groups_of(slug)),
        f"pipeline {pipeline.declaration if pipeline else ''}",
    ]
    return [one for one in shown if LEFT in one]
