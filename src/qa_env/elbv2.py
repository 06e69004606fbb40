"""Reading ELBv2: what several resources need to find their own things again.

Listeners and rules have no name, so they are found by tag; `DescribeTags` takes twenty ARNs a call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from qa_env import aws, naming
from qa_env.model import Slug

if TYPE_CHECKING:
    from mypy_boto3_elbv2 import ElasticLoadBalancingv2Client
    from mypy_boto3_elbv2.type_defs import ListenerTypeDef

TAGS_PER_CALL = 20


def tags(elbv2: ElasticLoadBalancingv2Client, arns: Iterable[str]) -> dict[str, dict[str, str]]:
    """ARN → tags."""
    wanted = list(arns)
    found: dict[str, dict[str, str]] = {}
    for start in range(0, len(wanted), TAGS_PER_CALL):
        answer = elbv2.describe_tags(ResourceArns=wanted[start : start + TAGS_PER_CALL])
        for described in answer["TagDescriptions"]:
            found[described["ResourceArn"]] = aws.tag_dict(described["Tags"])
    return found


def owners(elbv2: ElasticLoadBalancingv2Client, arns: Iterable[str], installation: str) -> Iterator[Slug]:
    """The environments that these things belong to."""
    for tagged in tags(elbv2, arns).values():
        if slug := naming.owner_of(tagged, installation):
            yield slug


def listeners(elbv2: ElasticLoadBalancingv2Client, load_balancer: str) -> list[ListenerTypeDef]:
    """Every listener of a load balancer; none if the load balancer is gone."""
    pages = elbv2.get_paginator("describe_listeners").paginate(LoadBalancerArn=load_balancer)
    try:
        return [listener for page in pages for listener in page["Listeners"]]
    except elbv2.exceptions.LoadBalancerNotFoundException:
        return []
