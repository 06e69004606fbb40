"""What is made of the facts about Redis, and the same with a real server behind it."""

from __future__ import annotations

from typing import Any

import pytest

from local.servers import Redis
from qa_env.datastores import Datastores
from qa_env.doctor.finding import Level
from qa_env.model import REDIS_DATABASES, REDIS_NAMESPACES, Claim, Slug
from tests.doctor.sound import REDIS, Sound
from tests.fakes import MemoryStore

NUMBERED = {"mode": "database", "secret": "secretsmanager:redis", "databases": "1-15"}


def claimed(world: Sound, *claims: Claim) -> None:
    store = MemoryStore()
    store.claims = dict.fromkeys(claims, Slug("qa-foo"))
    world.store = store


@pytest.mark.parametrize(
    ("changes", "level", "text"),
    [
        ({"tls": False}, Level.WARNING, "not encrypted"),
        ({"replica": True}, Level.PROBLEM, "is a replica"),
        ({"policy": "volatile-lru"}, Level.WARNING, "maxmemory-policy is volatile-lru"),
        ({"policy": "allkeys-lfu"}, Level.WARNING, "it forgets keys"),
        ({"keys": ["~app:*", "%R~qa_*"]}, Level.PROBLEM, "may not touch keys like qa_x:1"),
        ({"keys": []}, Level.PROBLEM, "only none"),
    ],
)
def test_a_server_that_will_not_do_is_said(
    world: Sound, changes: dict[str, Any], level: Level, text: str
) -> None:
    world.data["redis", "check"] = REDIS | changes

    found = world.worst("redis")
    assert found.level == level
    assert text in found.text


@pytest.mark.parametrize("keys", [["~*"], ["~app:*", "~qa_*"], ["%RW~qa_*"], None])
def test_a_user_that_may_touch_our_keys_is_fine(world: Sound, keys: list[str] | None) -> None:
    world.data["redis", "check"] = REDIS | {"keys": keys}

    assert {one.level for one in world.findings("redis")} == {Level.OK}


@pytest.mark.parametrize(
    ("settings", "number"),
    [({}, 9), (NUMBERED, 15)],
)
def test_the_highest_database_is_the_one_that_is_tried(
    world: Sound, settings: dict[str, Any], number: int
) -> None:
    world.changes = {"redis": settings} if settings else {}
    world.data["redis", "check"] = lambda request: REDIS | {"version": f"tried {request['database']}"}

    assert f"Redis tried {number} answers" in world.findings("redis")[0].text


def test_a_cluster_is_a_problem(world: Sound) -> None:
    message = "Redis at cache:6379 runs in cluster mode; give the blueprint a cache without it"
    world.data["redis", "check"] = {"error": "blocked", "message": message}

    found = world.worst("redis")
    assert (found.level, found.text) == (Level.PROBLEM, message)


def test_without_redis_nothing_is_looked_at(world: Sound) -> None:
    world.changes = {"redis": {"mode": "none"}}

    assert world.findings("redis") + world.findings("redis-keys") == []


def test_keys_that_nobody_claims_are_said(world: Sound) -> None:
    claimed(world, Claim(REDIS_NAMESPACES, "qa_foo"))
    world.data["redis", "list"] = {"names": ["qa_foo"], "cursor": "0"}
    assert [one.level for one in world.findings("redis-keys")] == [Level.OK]
    world.data["redis", "list"] = {"names": ["qa_foo", "qa_jobs"], "cursor": "0"}
    assert world.worst("redis-keys").text.endswith("belong to no environment: qa_jobs")


def test_databases_that_nobody_claims_are_said(world: Sound) -> None:
    """Those outside the range are others' by right."""
    world.changes = {"redis": {**NUMBERED, "databases": "3-15"}}
    claimed(world, Claim(REDIS_DATABASES, "3"))
    world.data["redis", "list"] = {"names": ["1", "3"]}
    assert [one.level for one in world.findings("redis-keys")] == [Level.OK]
    world.data["redis", "list"] = {"names": ["1", "3", "4"]}
    assert world.worst("redis-keys").text.endswith("belong to no environment: 4")


@pytest.mark.parametrize("settings", [{}, NUMBERED])
def test_a_real_server_is_understood(world: Sound, redis_server: Redis, settings: dict[str, Any]) -> None:
    """A test server without TLS, by the real action; somebody's keys are in the way."""
    world.changes = {"redis": settings} if settings else {}
    datastores = Datastores(lambda _: redis_server.secret)
    for action in ("check", "list"):
        world.data["redis", action] = lambda request: datastores.handle(request, lambda: 300.0)
    with redis_server.connect(9) as client:
        client.set("qa_jobs:1", "x")
        found = [world.worst("redis").text, world.worst("redis-keys").text]
        client.flushall()

    assert found[0] == "the connection is not encrypted"
    assert found[1].endswith(
        "belong to no environment: 9" if settings else "belong to no environment: qa_jobs"
    )
