"""Which environment is an AWS event about? CodePipeline's, CodeBuild's and ECS's become wake-ups, no more.

Events come at least once and in no certain order (facts B2-16), so they carry no truth: the loop looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qa_env import naming
from qa_env.model import Slug

PIPELINE = "codepipeline/"  # of who started a build, when it was a pipeline


def slug_of(event: Mapping[str, Any]) -> Slug | None:
    """The environment that the event's name points at; the caller checks that there is such a record."""
    detail = event.get("detail") or {}
    if event.get("source") == "aws.codepipeline":
        return _checked(str(detail.get("pipeline", "")))
    if event.get("source") == "aws.codebuild":
        initiator = str((detail.get("additional-information") or {}).get("initiator", ""))
        return _checked(initiator.removeprefix(PIPELINE)) if initiator.startswith(PIPELINE) else None
    if event.get("source") == "aws.ecs":
        return _checked(_service(event, detail).rpartition("-")[0])
    return None


def _service(event: Mapping[str, Any], detail: Mapping[str, Any]) -> str:
    """A task names its service in `group`, the other events in `resources[0]`."""
    group = str(detail.get("group", ""))
    if group.startswith("service:"):
        return group.removeprefix("service:")
    arn = next(iter(event.get("resources") or []), "")
    return str(arn).rsplit("/", 1)[-1] if ":service/" in str(arn) else ""


def _checked(name: str) -> Slug | None:
    return Slug(name) if naming.is_slug(name) else None
