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
from qa_env.model import Built, Condition, Desired, Environment, Slug, State


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
    if not naming.is_slug(slug):
        raise ValueError(f"{slug!r} is not the name of an environment")
    errors = data.get("continuationToken", "").removeprefix("errors=")
    return Job(job_id(event), Slug(slug), built, int(errors) if errors.isdecimal() else 0)


def judge(env: Environment | None, commit: str) -> Verdict:
    """Live on every role, failed with the reason, overtaken — or not decided yet."""
    if env is None or env.desired is Desired.ABSENT:
        return Verdict(Outcome.FAILED, "the branch is gone: nothing is deployed")
    if env.commit != commit:
        return Verdict(Outcome.FAILED, f"superseded: commit {env.commit} is wanted now")
    said = {name: c for name, c in env.conditions.items() if c.state is not State.GONE}  # a retired role's
    services = {name: c for name, c in said.items() if name.startswith("service/")}
    for name, condition in services.items():
        if condition.state in (State.FAILED, State.BLOCKED) and _concerns(env, condition, commit):
            return Verdict(Outcome.FAILED, condition.message or f"{name} failed")
    shown = [c for name, c in said.items() if name.startswith("curtain/")]
    live = services and all(_is_live(env, c, commit) for c in services.values())
    if live and all(c.state is State.READY and c.generation == env.generation for c in shown):
        return Verdict(Outcome.LIVE, ", ".join(env.urls.values()) or "live")
    return Verdict(Outcome.CONTINUE, "starting")


def _concerns(env: Environment, condition: Condition, commit: str) -> bool:
    """Was this said under the present wish, about this commit? (Blocked ones may name no commit.)"""
    return condition.generation == env.generation and condition.outputs.get("commit", commit) == commit


def _is_live(env: Environment, condition: Condition, commit: str) -> bool:
    return (
        condition.state is State.READY
        and condition.generation == env.generation
        and condition.outputs.get("commit") == commit
    )
