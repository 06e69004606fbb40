"""Secrets: there, and with the keys that are needed; their values are said to nobody."""

from __future__ import annotations

import json

import pytest

from qa_env.doctor.finding import Level
from tests import canaries
from tests.doctor.sound import Sound

KEYS = ("database", "redis", "github", "slack", "load_balancers[0].oidc")


def test_every_secret_of_the_blueprint_is_looked_at(world: Sound) -> None:
    assert [one.text.partition(":")[0] for one in world.findings("secrets")] == [
        f"{key}.secret" for key in KEYS
    ]


def test_a_secret_that_is_missing_is_said(world: Sound) -> None:
    world.changes["database"] = {"secret": "secretsmanager:gone"}

    found = world.worst("secrets")
    assert found.level == Level.PROBLEM
    assert found.text == "database.secret: secretsmanager:gone is not there"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("mysql", {"host": "h", "password": canaries.MYSQL_PASSWORD}, "has no username"),
        ("redis", {"uri": canaries.REDIS_PASSWORD}, "has no url"),
        ("github", {"app_id": 1, "private_key": "x", "token": ""}, "has no token"),
        ("slack", canaries.SLACK_TOKEN, "holds no JSON object"),
        ("oidc", [canaries.OIDC_SECRET], "holds no JSON object"),
        ("oidc", {"client_secret": canaries.OIDC_SECRET}, "has no client_id"),
    ],
)
def test_what_a_secret_lacks_is_said_and_not_what_it_holds(
    world: Sound, name: str, value: object, text: str
) -> None:
    world.secret(name, value)

    found = world.worst("secrets")
    assert found.level == Level.PROBLEM
    assert text in found.text
    assert canaries.found_in(found.text + found.fix) == []


def test_each_way_to_fill_a_secret_will_do(world: Sound) -> None:
    world.secret("mysql", {"host": "h", "user": "u", "password": canaries.MYSQL_PASSWORD})
    world.secret("github", json.loads(canaries.secrets()["secretsmanager:app"]))
    world.secret("slack", {"webhook_url": f"https://hooks.slack.com{canaries.SLACK_HOOK}"})

    assert {one.level for one in world.findings("secrets")} == {Level.OK}


def test_a_parameter_of_ssm_is_a_secret_as_well(world: Sound) -> None:
    world.changes["redis"] = {"mode": "namespace", "secret": "ssm:/stg/redis"}
    assert "redis.secret: ssm:/stg/redis is not there" in world.worst("secrets").text
    value = json.dumps({"url": f"redis://:{canaries.REDIS_PASSWORD}@h"})
    world.aws.client("ssm").put_parameter(Name="/stg/redis", Value=value, Type="SecureString")
    assert {one.level for one in world.findings("secrets")} == {Level.OK}


def test_a_secret_that_may_not_be_read_is_said_with_the_permission(world: Sound) -> None:
    """The others are looked at all the same."""
    message = "User: x is not authorized to perform: secretsmanager:GetSecretValue on resource: y"
    world.aws.fail("GetSecretValue", error=("AccessDeniedException", message))

    found = world.worst("secrets")
    assert found.level == Level.UNKNOWN
    assert found.text == ("database.secret: these credentials do not allow secretsmanager:GetSecretValue")
    assert len(world.findings("secrets")) == len(KEYS)
