"""Reading ELBv2: what several resources need to find their own things again.

Listeners and rules have no name, so they are found by tag; `DescribeTags` takes twenty ARNs a call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from qa_env import aws, naming
from qa_env.looking import at_once
from qa_env.model import Slug

if TYPE_CHECKING:
    from mypy_boto3_elbv2 import ElasticLoadBalancingv2Client
    from mypy_boto3_elbv2.type_defs import ListenerTypeDef, TargetGroupTypeDef

TAGS_PER_CALL = 20


def tags(elbv2: ElasticLoadBalancingv2Client, arns: Iterable[str]) -> dict[str, dict[str, str]]:
    """ARN → tags; what has gone meanwhile is left out."""
    wanted = list(arns)
    found: dict[str, dict[str, str]] = {}
    for start in range(0, len(wanted), TAGS_PER_CALL):
        found |= _tags(elbv2, wanted[start : start + TAGS_PER_CALL])
    return found


def _tags(elbv2: ElasticLoadBalancingv2Client, arns: list[str]) -> dict[str, dict[str, str]]:
    """One missing ARN fails the whole call, so then each is asked for by itself."""
    gone = elbv2.exceptions
    try:
        described = elbv2.describe_tags(ResourceArns=arns)["TagDescriptions"]
    except (gone.TargetGroupNotFoundException, gone.ListenerNotFoundException, gone.RuleNotFoundException):
        if len(arns) == 1:
            return {}
        return {arn: tagged for one in arns for arn, tagged in _tags(elbv2, [one]).items()}
    return {one["ResourceArn"]: aws.tag_dict(one["Tags"]) for one in described}


def target_groups(elbv2: ElasticLoadBalancingv2Client, names: Iterable[str]) -> dict[str, TargetGroupTypeDef]:
    """Name → target group. One missing name fails the whole call, so then each is asked for by itself."""
    wanted = sorted(names)
    try:
        groups = elbv2.describe_target_groups(Names=wanted)["TargetGroups"]
    except elbv2.exceptions.TargetGroupNotFoundException:
        if len(wanted) == 1:
            return {}
        found = at_once([partial(target_groups, elbv2, [name]) for name in wanted])
        return {name: group for one in found for name, group in one.items()}
    return {group["TargetGroupName"]: group for group in groups}


def owners(
    elbv2: ElasticLoadBalancingv2Client, arns: Iterable[str], installation: str, known: Mapping[str, Slug]
) -> Iterator[Slug]:
    """The environments that these things belong to; no tags are asked for of what is `known`, ARN → whose."""
    there = list(arns)
    yield from (known[arn] for arn in there if arn in known)
    for tagged in tags(elbv2, (arn for arn in there if arn not in known)).values():
        if slug := naming.owner_of(tagged, installation):
            yield slug


def listeners(elbv2: ElasticLoadBalancingv2Client, load_balancer: str) -> list[ListenerTypeDef]:
    """Every listener of a load balancer; none if the load balancer is gone."""
    pages = elbv2.get_paginator("describe_listeners").paginate(LoadBalancerArn=load_balancer)
    try:
        return [listener for page in pages for listener in page["Listeners"]]
    except elbv2.exceptions.LoadBalancerNotFoundException:
        return []
