"""Everything in AWS that carries our owner tag, by the tagging API: a hundred things a page, of all kinds.

It also finds what the blueprint no longer knows: another load balancer, a role that is gone. And it shows
things for a while that are no more (facts B4-6), so what matters is looked at once more by `is_there`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_env import aws, ecs, elbv2, naming
from qa_env.model import Slug, key

if TYPE_CHECKING:
    from mypy_boto3_resourcegroupstaggingapi.type_defs import TagFilterTypeDef

# Part of an ARN → the kind of condition that speaks of it.
KINDS = {
    ":targetgroup/": "target_group",
    ":listener/": "listener",
    ":listener-rule/": "curtain",
    ":service/": "service",
    ":task-definition/": "task_definition",
    ":codepipeline:": "pipeline",
    ":secretsmanager:": "account",
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
    """The tagging API's view of one installation; `client` makes a boto3 client by its name."""

    client: Callable[[str], Any]
    installation: str

    def things(self) -> Iterator[Thing]:
        """Every thing that belongs to an environment; kinds that we do not make are left out."""
        ours: TagFilterTypeDef = {"Key": naming.TAG_INSTALLATION, "Values": [self.installation]}
        with aws.doing("listing what carries our tag"):
            pages = self.client("resourcegroupstaggingapi").get_paginator("get_resources")
            for page in pages.paginate(TagFilters=[ours]):
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
        """False for what is only still shown, which may last for hours (boto3 issue 3341)."""
        kind = next(kind for part, kind in KINDS.items() if part in arn)
        look = {
            "service": self._is_service,
            "task_definition": self._is_task_definition,
            "pipeline": self._is_pipeline,
            "account": self._is_secret,
        }
        return look.get(kind, self._is_balancing)(arn)

    def _is_service(self, arn: str) -> bool:
        """Whose cluster was deleted has gone with it, and is shown as long as any other."""
        cluster, _, name = arn.partition(":service/")[2].rpartition("/")
        client = self.client("ecs")
        try:
            return ecs.find(client, cluster or "default", name) is not None
        except client.exceptions.ClusterNotFoundException:
            return False

    def _is_task_definition(self, arn: str) -> bool:
        """One that is being deleted may be shown for as long as a task uses it (facts B2-10)."""
        client = self.client("ecs")
        try:
            described = client.describe_task_definition(taskDefinition=arn)["taskDefinition"]
        except client.exceptions.ClientException:
            return False
        return described["status"] in ("ACTIVE", "INACTIVE")

    def _is_pipeline(self, arn: str) -> bool:
        client = self.client("codepipeline")
        try:
            client.get_pipeline(name=arn.rpartition(":")[2])
        except client.exceptions.PipelineNotFoundException:
            return False
        return True

    def _is_secret(self, arn: str) -> bool:
        """One that is being deleted is shown until its name is free (facts B4-4)."""
        client = self.client("secretsmanager")
        try:
            return "DeletedDate" not in client.describe_secret(SecretId=arn)
        except client.exceptions.ResourceNotFoundException:
            return False

    def _is_balancing(self, arn: str) -> bool:
        """Target groups, listeners and rules: what has no tags is not there."""
        return bool(elbv2.tags(self.client("elbv2"), [arn]))
