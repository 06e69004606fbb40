"""All checks together: content in a sound world, and each for itself where something is missing."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from qa_env.doctor import checks, refusal
from qa_env.doctor.finding import Finding, Findings, Level, Unchecked, ok
from qa_env.errors import Blocked, NotReady
from tests import canaries
from tests.doctor.sound import Sound
from tests.strict_aws.call import Event


def test_everything_is_ok_in_a_sound_world(world: Sound) -> None:
    results = list(checks.examine(world.world, [world.blueprint]))

    assert [one for one in results if one.finding.level != Level.OK] == []
    assert {one.check for one in results} == set(checks.NAMES) - {checks.BLUEPRINT}
    assert canaries.found_in(str(results)) == []


def test_nothing_is_written(world: Sound) -> None:
    """In AWS, the queue and the table included."""
    world.aws.calls.clear()
    list(checks.examine(world.world, [world.blueprint]))

    reads = {"lambda:Invoke", "iam:SimulatePrincipalPolicy"}
    assert {event.name for event in world.aws.writes()} <= reads
    assert world.aws.calls


def test_each_check_says_what_it_is_for() -> None:
    for name, check in (checks.OF_INSTALLATION | checks.OF_BLUEPRINT).items():
        assert inspect.getdoc(check), name


def test_without_any_permission_every_check_says_what_it_lacks(world: Sound) -> None:
    """And none ends the others."""

    def refuse(event: Event) -> None:
        if event.moment == "before":
            client = world.aws.client(event.service)
            details = {"Code": "AccessDeniedException", "Message": "no"}
            raise client.exceptions.ClientError({"Error": details}, event.operation)

    subject, blueprint = world.world, world.blueprint
    world.aws.on_call(refuse)
    results = list(checks.examine(subject, [blueprint]))

    last = {one.check: one.finding for one in results}
    assert set(last) == set(checks.NAMES) - {checks.BLUEPRINT}
    assert {finding.level for finding in last.values()} == {Level.UNKNOWN}
    assert all("do not allow" in finding.text for name, finding in last.items() if name != "clock")


@pytest.mark.parametrize(
    ("operation", "check", "message", "permission"),
    [
        (
            "DescribeSecurityGroups",
            "load-balancer-ingress",
            "User: u is not authorized to perform: ec2:DescribeSecurityGroups because …",
            "ec2:DescribeSecurityGroups",
        ),
        ("GetRole", "pipeline-role", "no", "GetRole"),
    ],
)
def test_a_missing_permission_is_named(
    world: Sound, operation: str, check: str, message: str, permission: str
) -> None:
    world.aws.fail(operation, error=("AccessDenied", message))

    found = world.worst(check)
    assert found.level == Level.UNKNOWN
    assert found.text == f"these credentials do not allow {permission}"
    assert found.fix.startswith(f"allow {permission} ")


@pytest.mark.parametrize(
    ("action", "permission"),
    [
        ("s3:GetBucketLifecycleConfiguration", "s3:GetLifecycleConfiguration"),
        ("monitoring:DescribeAlarms", "cloudwatch:DescribeAlarms"),
        ("ecs:DescribeClusters", "ecs:DescribeClusters"),
    ],
)
def test_a_permission_is_called_as_policies_call_it(world: Sound, action: str, permission: str) -> None:
    details = {"Code": "AccessDenied", "Message": "", "Action": action}
    client = world.aws.client("sts")

    assert refusal.permission(client.exceptions.ClientError({"Error": details}, "X")) == permission


def finding_then(error: Exception) -> Iterator[Finding]:
    yield ok("before")
    raise error


@pytest.mark.parametrize(
    ("error", "level", "text"),
    [
        (Unchecked("no stack", "deploy"), Level.UNKNOWN, "no stack"),
        (NotReady("is starting"), Level.UNKNOWN, "is starting"),
        (Blocked("refuses"), Level.PROBLEM, "refuses"),
        (EndpointConnectionError(endpoint_url="https://x"), Level.UNKNOWN, "https://x"),
        (KeyError(canaries.MYSQL_PASSWORD), Level.UNKNOWN, "the check failed (KeyError)"),
    ],
)
def test_what_breaks_a_check_is_a_finding(error: Exception, level: Level, text: str) -> None:
    """After what was found before, and without the text of what nobody expected."""
    first, last = checks.guarded(lambda: finding_then(error))

    assert first == ok("before")
    assert last.level == level
    assert text in last.text
    assert last.fix
    assert canaries.found_in(last.text) == []


def test_what_breaks_one_check_leaves_the_others(world: Sound, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Findings:
        raise RuntimeError

    monkeypatch.setattr(checks, "OF_BLUEPRINT", {"broken": broken, "cluster": checks.OF_BLUEPRINT["cluster"]})
    results = list(checks.examine(world.world, [world.blueprint]))

    assert [one.finding.level for one in results if one.check == "broken"] == [Level.UNKNOWN]
    assert [one.finding.level for one in results if one.check == "cluster"] == [Level.OK]


def test_every_blueprint_is_examined(world: Sound) -> None:
    other = world.blueprint.model_copy(update={"repository": "example/other"})

    results = checks.examine(world.world, [world.blueprint, other], "cluster")
    assert [one.about for one in results] == ["example/shop", "example/other"]
