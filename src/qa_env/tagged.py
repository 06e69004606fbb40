"""Everything in AWS that carries our owner tag, by the tagging API: a hundred things a page, of all kinds.

It also finds what the blueprint no longer knows: another load balancer, a role that is gone. And it shows
things for a while that are no more (facts B4-6), so what matters is looked at once more by `is_there`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_env import aws, ecs, naming
from qa_env.model import Slug, key

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_resourcegroupstaggingapi import ResourceGroupsTaggingAPIClient
    from mypy_boto3_resourcegroupstaggingapi.type_defs import TagFilterTypeDef

# Part of an ARN → the kind of condition that speaks of it.
KINDS = {
    ":targetgroup/": "target_group",
    ":listener/": "listener",
    ":listener-rule/": "curtain",
    ":service/": "service",
    ":task-definition/": "task_definition",
    ":codepipeline:": "pipeline",
}


@dataclass(frozen=True)
class Thing:
    """One thing of ours: whose it is, and the key of the condition that speaks of it."""

    arn: str
    slug: Slug
    repository: str
    key: str


@dataclass(frozen=True)
class Tagged:
    """The tagging API's view of one installation."""

    client: ResourceGroupsTaggingAPIClient
    ecs: ECSClient
    installation: str

    def things(self) -> Iterator[Thing]:
        """Every thing that belongs to an environment; kinds that we do not make are left out."""
        ours: TagFilterTypeDef = {"Key": naming.TAG_INSTALLATION, "Values": [self.installation]}
        with aws.doing("listing what carries our tag"):
            for page in self.client.get_paginator("get_resources").paginate(TagFilters=[ours]):
                for one in page["ResourceTagMappingList"]:
                    tags = aws.tag_dict(one["Tags"])
                    slug = naming.owner_of(tags, self.installation)
                    kind = next((kind for part, kind in KINDS.items() if part in one["ResourceARN"]), None)
                    if slug and kind:
                        name = tags.get(naming.TAG_ROLE, "")
                        yield Thing(
                            one["ResourceARN"], slug, tags.get(naming.TAG_REPOSITORY, ""), key(kind, name)
                        )

    def is_there(self, arn: str) -> bool:
        """False for what is only still shown: a deleted service or task definition (facts B2-2, B2-10)."""
        if ":service/" in arn:
            cluster, _, name = arn.partition(":service/")[2].rpartition("/")
            return ecs.find(self.ecs, cluster or "default", name) is not None
        if ":task-definition/" in arn:
            try:
                described = self.ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
            except self.ecs.exceptions.ClientException:
                return False
            return described["status"] in ("ACTIVE", "INACTIVE")
        return True
