"""Which environment is an AWS event about?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from qa_env.signals import slug_of
from tests.making import EVENTS, event

AWS = {
    "codepipeline-execution-failed": "qa-foo",
    "codepipeline-execution-succeeded": "qa-foo",
    "ecs-deployment-failed": "qa-foo",
    "ecs-task-stopped": "qa-foo",
    "codebuild-stopped": "qa-foo",
}


def ecs(**changes: Any) -> dict[str, Any]:
    return event("ecs-deployment-failed") | changes


@pytest.mark.parametrize(("name", "slug"), AWS.items())
def test_the_examples_name_their_environment(name: str, slug: str) -> None:
    """A pipeline by its name, a build by its pipeline, an ECS event by its service without the role."""
    assert slug_of(event(name)) == slug


def test_every_example_from_eventbridge_is_tested() -> None:
    """A new file in events/ comes into the table above."""
    from_aws = {
        path.stem for path in EVENTS.glob("*.json") if "detail-type" in json.loads(path.read_text("utf-8"))
    }
    assert from_aws == set(AWS)


def test_a_slug_with_hyphens_keeps_them() -> None:
    """Only what follows the last hyphen is the role."""
    arn = "arn:aws:ecs:ap-northeast-1:123456789012:service/stg/qa-foo-bar-1a2b3c-worker"
    assert slug_of(ecs(resources=[arn])) == "qa-foo-bar-1a2b3c"


def test_the_old_form_of_a_services_arn_is_read() -> None:
    """Accounts that never opted in have no cluster in it."""
    assert slug_of(ecs(resources=["arn:aws:ecs:ap-northeast-1:123456789012:service/qa-foo-app"])) == "qa-foo"


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"source": "aws.ec2", "detail": {"pipeline": "qa-foo"}},
        {"source": "aws.codepipeline"},
        {"source": "aws.codepipeline", "detail": None},
        {"source": "aws.codepipeline", "detail": {"pipeline": "Deploy_Prod"}},
        {"source": "aws.codepipeline", "detail": {"pipeline": 7.5}},
        {"source": "aws.ecs"},
        {"source": "aws.ecs", "resources": None},
        {"source": "aws.ecs", "resources": []},
        {"source": "aws.ecs", "resources": [7]},
        {"source": "aws.ecs", "resources": ["arn:aws:ecs:r:1:service/stg/web"]},
        {"source": "aws.ecs", "resources": ["arn:aws:ecs:r:1:service/stg/QA_foo-app"]},
        {"source": "aws.ecs", "resources": ["arn:aws:ecs:r:1:task/stg/qa-foo-app"]},
        {
            "source": "aws.ecs",
            "resources": ["arn:aws:ecs:r:1:task/stg/1"],
            "detail": {"group": "family:qa-foo-app"},
        },
        {"source": "aws.ecs", "detail": {"group": "service:"}},
        {"source": "aws.ecs", "detail": {"group": "service:-app"}},
        {"source": "aws.ecs", "detail": {"group": "service:qa-foo*-app"}},
    ],
)
def test_what_is_about_none_of_ours_is_none(other: dict[str, Any]) -> None:
    """Whatever is in it, it wakes nobody and breaks nothing."""
    assert slug_of(other) is None
