"""Values that several suites begin with: an environment and a blueprint, complete and changeable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from qa_env.blueprint import Blueprint
from qa_env.model import Condition, Desired, Environment, Slug, State

ROOT = Path(__file__).parents[1]
EVENTS = ROOT / "events"
REPOSITORY = "example/shop"
A, B, C, D = "a" * 40, "b" * 40, "c" * 40, "d" * 40


def event(name: str) -> dict[str, Any]:
    """One of AWS's events in `events/`, or the envelope of one of GitHub's."""
    return dict(json.loads((EVENTS / f"{name}.json").read_text("utf-8")))


def environment(slug: str = "qa-foo", **changes: Any) -> Environment:
    """A present environment at commit A, in its seventh generation."""
    values: dict[str, Any] = {
        "slug": Slug(slug),
        "repository": REPOSITORY,
        "branch": "qa/foo",
        "desired": Desired.PRESENT,
        "commit": A,
        "generation": 7,
        "by": "hanako",
        "at": "2026-11-02T02:16:01+00:00",
    }
    return Environment(**values | changes)


def said(state: State, message: str = "", generation: int = 7, **outputs: str) -> Condition:
    """A condition of that environment's present generation."""
    return Condition(state, message, outputs, generation, "2026-11-02T02:16:02+00:00")


def example() -> dict[str, Any]:
    """The contents of blueprints/example.yaml."""
    return dict(yaml.safe_load((ROOT / "blueprints" / "example.yaml").read_text("utf-8")))


def blueprint(**changes: Any) -> Blueprint:
    """The example, with some of its keys replaced."""
    return Blueprint.model_validate(example() | changes)
