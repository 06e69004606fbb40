"""Lines to paste into a shell, for who wants to look into an environment's data or tasks.

No secret is known here, not even the host of a data store: what has to be filled in is said in capitals, and
a password is asked for. Every argument is quoted for the shell, whatever it holds.
"""

from __future__ import annotations

import shlex

from qa_env import naming
from qa_env.blueprint import Blueprint
from qa_env.model import REDIS, REDIS_DATABASES, SCHEMA, Environment

MYSQL = ("mysql", "--host=STG_MYSQL_HOST", "--user=STG_MYSQL_USER", "--password")
REDIS_CLI = ("redis-cli", "-h", "STG_REDIS_HOST")


def schema(env: Environment) -> str:
    """Opens the environment's schema; empty if it holds none."""
    claim = env.claims.get(SCHEMA)
    return shlex.join((*MYSQL, claim.name)) if claim else ""


def redis(env: Environment, blueprint: Blueprint | None) -> str:
    """Lists the environment's keys; empty if it holds none."""
    claim = env.claims.get(REDIS)
    if claim is None:
        return ""
    if claim.scope == REDIS_DATABASES:
        return shlex.join((*REDIS_CLI, "-n", claim.name, "--scan"))
    number = ("-n", str(blueprint.redis.database)) if blueprint else ()
    return shlex.join((*REDIS_CLI, *number, "--scan", "--pattern", f"{claim.name}:*"))


def shells(env: Environment, blueprint: Blueprint | None) -> dict[str, str]:
    """Role → a shell in its newest task, for roles that allow it. Which task that is, the shell finds out."""
    if blueprint is None:
        return {}
    region = blueprint.load_balancers[0].arn.split(":")[3]
    return {
        role: _shell(region, _cluster(env, blueprint, role), naming.service(env.slug, role), one.container)
        for role, one in blueprint.roles.items()
        if one.exec
    }


def _shell(region: str, cluster: str, service: str, container: str) -> str:
    place = ("--region", region, "--cluster", cluster)
    first = ("--query", "taskArns[0]", "--output", "text")
    task = shlex.join(("aws", "ecs", "list-tasks", *place, "--service-name", service, *first))
    run = shlex.join(("aws", "ecs", "execute-command", *place, "--container", container))
    return f'{run} --task "$({task})" --interactive --command /bin/sh'


def _cluster(env: Environment, blueprint: Blueprint, role: str) -> str:
    return env.remembered("service", role).get("cluster") or blueprint.cluster
