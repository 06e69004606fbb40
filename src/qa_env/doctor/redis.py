"""Redis, as the datastores function sees it: the server, what it forgets by itself, and whose keys it has."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from qa_env import naming
from qa_env.blueprint import Blueprint
from qa_env.doctor.finding import Findings, ok, problem, warning
from qa_env.doctor.mysql import unclaimed
from qa_env.doctor.world import World
from qa_env.model import REDIS_DATABASES, REDIS_NAMESPACES


def redis(world: World, blueprint: Blueprint) -> Findings:
    """The server is reached, encrypted, is no cluster, has the databases, and forgets nothing by itself."""
    settings = blueprint.redis
    if settings.mode == "none":
        return
    number = settings.database if settings.mode == "namespace" else settings.numbers.stop - 1
    facts = world.ask_datastores(_request(blueprint, "check") | {"database": number})
    yield ok(f"Redis {facts['version']} answers, and has database {number}")
    if not facts["tls"]:
        yield warning(
            "the connection is not encrypted",
            "use rediss:// in the secret, where the cache has TLS switched on",
        )
    if facts["replica"]:
        yield problem("the server is a replica", "put the primary's address into the secret")
    if facts["policy"] != "noeviction":
        yield warning(
            f"the server's maxmemory-policy is {facts['policy']}: when full it forgets keys, queued jobs too",
            "set maxmemory-policy to noeviction in its parameter group",
        )
    yield from _allowed(blueprint, facts)


def _allowed(blueprint: Blueprint, facts: Mapping[str, Any]) -> Findings:
    """The user's key patterns, where they are shown; in a numbered database it needs one key of ours."""
    patterns = facts["keys"]
    if patterns is None:
        return
    branch = f"{blueprint.branch_prefix}x"
    slug = blueprint.slug(branch)
    key = f"{naming.expand(blueprint.redis.namespace, slug, branch)}:1"
    if blueprint.redis.mode == "database":
        key = naming.database_mark(blueprint.redis.prefix)
    # `%R~…` is for reading alone, `%W~…` for writing alone.
    both = [one for one in patterns if one.startswith(("~", "%RW~"))]
    matching = [one for one in both if fnmatchcase(key, one.partition("~")[2])]
    if matching == ["~*"]:
        yield ok("the user may touch every key")
    elif not matching:
        yield problem(
            f"the user may not touch keys like {key}, only {', '.join(patterns) or 'none'}",
            f"ACL SETUSER USER ~{key.partition('x:')[0]}*",
        )
    else:
        yield ok(f"the user may touch {', '.join(patterns)}")


def keys(world: World, blueprint: Blueprint) -> Findings:
    """No keys are where an environment's could be that belong to none."""
    mode = blueprint.redis.mode
    if mode == "none":
        return
    answer = world.ask_datastores(_request(blueprint, "list") | {"database": blueprint.redis.database})
    names = [str(name) for name in answer["names"]]
    if mode == "namespace":
        yield from unclaimed("Redis namespaces", names, world.store().taken(REDIS_NAMESPACES), "redis.prefix")
        return
    ranged = [name for name in names if int(name) in blueprint.redis.numbers]
    taken = world.store().taken(REDIS_DATABASES)
    flush = "wants to be flushed by hand, for it is given to nobody"
    yield from unclaimed("Redis databases", ranged, taken, "range of redis.databases", flush)


def _request(blueprint: Blueprint, action: str) -> dict[str, Any]:
    settings = blueprint.redis
    return {
        "store": "redis",
        "action": action,
        "mode": settings.mode,
        "secret": settings.secret,
        "prefix": settings.prefix,
    }
