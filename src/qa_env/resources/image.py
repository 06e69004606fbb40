"""The images of the environment in the shared ECR repository.

The pipeline pushes them, one per commit, tagged `<slug>-<commit>`; here they only go again. The tag is the
mark of ownership: nothing else is deleted. A lifecycle rule on the repository is the backstop (facts B4-2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_env import aws, naming
from qa_env.blueprint import Blueprint
from qa_env.errors import Blocked, NotReady
from qa_env.model import Environment, Outputs, Slug

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

PER_CALL = 100
LISTED_PER_CALL = 1000  # the service model's maximum


@dataclass(frozen=True)
class Image:
    """Every image of the environment."""

    client: ECRClient
    blueprint: Blueprint
    name: str = ""
    kind = "image"

    def ensure(self, env: Environment) -> Outputs:
        """Nothing to do: the pipeline builds images. Says where they are, should the blueprint change."""
        return {"repositories": ",".join(self._repositories(env))}

    def delete(self, env: Environment) -> None:
        """Delete every image whose tag is the environment's, once no build can push another."""
        env.require_gone("pipeline")
        with aws.doing(f"deleting the images of {env.slug}"):
            deleted = sum(self._delete_all(env, repository) for repository in self._repositories(env))
        if deleted:
            raise NotReady(f"{deleted} images deleted; looking again")

    def owners(self) -> Iterator[Slug]:
        """Slugs of every image tagged the way we tag."""
        for tag in self._tags(self.blueprint.image_repository):
            slug = tag.rpartition("-")[0]
            if naming.is_slug(slug) and naming.is_image_of(Slug(slug), tag):
                yield Slug(slug)

    def _repositories(self, env: Environment) -> list[str]:
        known = env.remembered(self.kind).get("repositories", "").split(",")
        return sorted({self.blueprint.image_repository, *known} - {""})

    def _delete_all(self, env: Environment, repository: str) -> int:
        """How many there were."""
        tags = [tag for tag in self._tags(repository) if naming.is_image_of(env.slug, tag)]
        for start in range(0, len(tags), PER_CALL):
            self._delete(repository, tags[start : start + PER_CALL])
        return len(tags)

    def _delete(self, repository: str, tags: list[str]) -> None:
        """ECR refuses by an answer, not by an error (facts B4-2)."""
        answer = self.client.batch_delete_image(
            repositoryName=repository, imageIds=[{"imageTag": tag} for tag in tags]
        )
        refused = [one for one in answer.get("failures", []) if one.get("failureCode") != "ImageNotFound"]
        if refused:
            raise Blocked(f"ECR keeps an image: {refused[0].get('failureReason')}")

    def _tags(self, repository: str) -> Iterator[str]:
        """Every tag; none if the repository is gone."""
        try:
            yield from self._listed(repository)
        except self.client.exceptions.RepositoryNotFoundException:
            return

    def _listed(self, repository: str) -> Iterator[str]:
        pages = self.client.get_paginator("list_images").paginate(
            repositoryName=repository,
            filter={"tagStatus": "TAGGED"},
            PaginationConfig={"PageSize": LISTED_PER_CALL},
        )
        return (image["imageTag"] for page in pages for image in page["imageIds"])
