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
    """A job of the Lambda invoke action, and what its rounds before this one came to.

    `announced` says that one of them announced the build, `errors` how many in a row broke.
    """

    id: str
    slug: Slug
    built: Built
    announced: bool = False
    errors: int = 0

    @property
    def token(self) -> str:
        """The continuation token that tells the next round."""
        return json.dumps({"announced": self.announced, "errors": self.errors})


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
    return Job(job_id(event), Slug(slug), built, **_read_token(data.get("continuationToken")))


def _read_token(token: str | None) -> dict[str, Any]:
    """The fields of `Job` that its token carries; none of a token that says something else."""
    try:
        values = json.loads(token or "{}")
        return {"announced": bool(values["announced"]), "errors": int(values["errors"])}
    except (KeyError, TypeError, ValueError):
        return {}


def is_overtaken(env: Environment, job: Job) -> bool:
    """Has another execution built the same commit since this one announced it, and is that the one to follow?

    A pipeline that was deleted while it ran leaves an execution that goes on asking. Two that announced
    whenever the record named the other would replace the services in turns. The one that the pipeline
    resource follows may always announce again: nothing starts before its build is the record's.
    """
    same = env.built is not None and env.built.commit == job.built.commit
    followed = env.remembered("pipeline").get("execution") == job.built.execution
    return same and env.built != job.built and job.announced and not followed


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
