"""AWS's events → wake-ups."""

from __future__ import annotations

from typing import Any

import pytest

from handlers import signals
from qa_env.model import Slug
from qa_env.watch import Watch
from tests.fakes import MemoryStore
from tests.making import environment, event

NAMES = [
    "codebuild-stopped",
    "codepipeline-execution-failed",
    "codepipeline-execution-succeeded",
    "ecs-deployment-failed",
    "ecs-task-stopped",
]


def handled(sent: dict[str, Any], *slugs: str) -> tuple[dict[str, Any], list[tuple[Slug, str]]]:
    """The answer, and what was woken of these environments."""
    store, queue = MemoryStore(), []
    for slug in slugs:
        store.desire(environment(slug), None)
    watch = Watch(store, lambda slug, why: queue.append((slug, why)))
    return signals.handler(sent, None, watch=watch), queue


@pytest.mark.parametrize("name", NAMES)
def test_an_event_wakes_its_environment(name: str) -> None:
    """And no other; the reason is the event's kind."""
    answer, queue = handled(event(name), "qa-foo", "qa-foo-bar", "qa")
    assert answer == {"woken": "qa-foo"}
    assert queue == [("qa-foo", event(name)["detail-type"])]


@pytest.mark.parametrize("name", NAMES)
def test_an_event_about_others_wakes_nobody(name: str) -> None:
    """STG's services and other people's pipelines make events as well."""
    answer, queue = handled(event(name), "qa-bar")
    assert answer == {"woken": None}
    assert queue == []


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"source": "aws.ecs"},
        {"source": "aws.codepipeline", "detail": {}},
        {"source": "aws.codebuild", "detail": {"additional-information": {"initiator": "qa-foo"}}},
    ],
)
def test_an_event_that_says_nothing_wakes_nobody(sent: dict[str, Any]) -> None:
    """And breaks nothing."""
    assert handled(sent, "qa-foo") == ({"woken": None}, [])
