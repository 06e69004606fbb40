"""What the pipeline's Deploy action is told: is the commit live on every role yet?

Pure: the handler reads the job and the record, this decides, the handler answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from qa_env import naming
from qa_env.model import NOT_WANTED, Built, Condition, Desired, Environment, Slug, State


class Outcome(StrEnum):
    """The three answers that a Lambda invoke action may get."""

    LIVE = "live"
    FAILED = "failed"
    CONTINUE = "continue"


@dataclass(frozen=True)
class Job:
    """A job of the Lambda invoke action; `errors` is how many rounds in a row broke before this one."""

    id: str
    slug: Slug
    built: Built
    errors: int


@dataclass(frozen=True)
class Verdict:
    """One of the three answers and a sentence for the pipeline's page."""

    outcome: Outcome
    message: str


def job_id(event: Mapping[str, Any]) -> str:
    """The job's id: needed for an answer even when the rest cannot be read."""
    return str(event["CodePipeline.job"]["id"])


def read_job(event: Mapping[str, Any]) -> Job:
    """The job as the blueprint's pipeline sends it; ValueError if it is some other job."""
    try:
        data = event["CodePipeline.job"]["data"]
        given = json.loads(data["actionConfiguration"]["configuration"]["UserParameters"])
        built = Built(commit=given["commit"], image=given["image"], execution=given["execution"])
        slug = given["slug"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError("UserParameters must be JSON with slug, commit, image and execution") from error
    if not isinstance(slug, str) or not naming.is_slug(slug):
        raise ValueError(f"{slug!r} is not the name of an environment")
    errors = str(data.get("continuationToken")).removeprefix("errors=")
    return Job(job_id(event), Slug(slug), built, int(errors) if errors.isdecimal() else 0)


def judge(env: Environment | None, built: Built) -> Verdict:
    """Live on every role, failed with the reason, overtaken — or not decided yet."""
    if env is None or env.desired is Desired.ABSENT:
        return Verdict(Outcome.FAILED, f"{NOT_WANTED}: the branch is gone, nothing is deployed")
    if env.commit != built.commit:
        return Verdict(Outcome.FAILED, f"{NOT_WANTED}: superseded by commit {env.commit}")
    said = {name: c for name, c in env.conditions.items() if c.state is not State.GONE}  # a retired role's
    now = {name: c for name, c in said.items() if c.generation == env.generation and not c.unexpected}
    for name, condition in now.items():
        if condition.state in (State.FAILED, State.BLOCKED) and _concerns(name, condition, built):
            return Verdict(Outcome.FAILED, condition.message or f"{name} failed")
    services = [c for name, c in said.items() if name.startswith("service/")]
    shown = [c for name, c in said.items() if name.startswith("curtain/")]
    live = services and all(c.outputs.get("execution") == built.execution for c in services)
    if live and all(c.state is State.READY and c.generation == env.generation for c in services + shown):
        return Verdict(Outcome.LIVE, ", ".join(env.urls.values()) or "live")
    return Verdict(Outcome.CONTINUE, "starting")


def _concerns(name: str, condition: Condition, built: Built) -> bool:
    """Is this about bringing this build to life? A service's word may still be about the build before."""
    if name.startswith("service/"):
        return condition.outputs.get("execution") == built.execution
    return name.startswith(("task_definition/", "target_group/", "listener/"))
