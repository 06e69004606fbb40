"""Secrets: they exist and hold the keys that are needed. No value is ever part of a finding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qa_env import aws
from qa_env.blueprint import Blueprint
from qa_env.doctor.finding import Finding, Findings, ok, problem
from qa_env.doctor.refusal import refused
from qa_env.doctor.world import World

Keys = tuple[tuple[str, ...], ...]
"""Ways to fill a secret, one of which is enough; each is a set of keys."""

DATABASE: Keys = (("host", "username", "password"), ("host", "user", "password"))
REDIS: Keys = (("url",),)
GITHUB: Keys = (("token",), ("app_id", "installation_id", "private_key"))
SLACK: Keys = (("token",), ("webhook_url",))
OIDC: Keys = (("client_id", "client_secret"),)


def references(blueprint: Blueprint) -> Iterator[tuple[str, str, Keys]]:
    """(key in the blueprint, reference, what it must hold) of every secret."""
    if blueprint.database:
        yield "database.secret", blueprint.database.secret, DATABASE
    if blueprint.redis.secret:
        yield "redis.secret", blueprint.redis.secret, REDIS
    if blueprint.github:
        yield "github.secret", blueprint.github.secret, GITHUB
    if blueprint.slack:
        yield "slack.secret", blueprint.slack.secret, SLACK
    for number, lb in enumerate(blueprint.load_balancers):
        if lb.oidc:
            yield f"load_balancers[{number}].oidc.secret", lb.oidc.secret, OIDC


def secrets(world: World, blueprint: Blueprint) -> Findings:
    """Each secret exists and holds JSON with the keys that are needed."""
    for key, reference, needed in references(blueprint):
        try:
            held = world.secret(reference)
        except world.client("ssm").exceptions.ClientError as error:
            if aws.code(error) in ("ResourceNotFoundException", "ParameterNotFound"):
                yield problem(
                    f"{key}: {reference} is not there", f"make it in {world.region}, or correct {key}"
                )
            else:
                found = refused(error)
                yield replace(found, text=f"{key}: {found.text}")
            continue
        except ValueError:
            held = None
        yield _judged(key, reference, needed, held)


def _judged(key: str, reference: str, needed: Keys, held: object) -> Finding:
    ways = " or ".join(", ".join(way) for way in needed)
    if not isinstance(held, dict):
        return problem(f"{key}: {reference} holds no JSON object", f"it must hold JSON with {ways}")
    if any(all(held.get(name) for name in way) for way in needed):
        return ok(f"{key}: {reference} holds what is needed")
    missing = min(([name for name in way if not held.get(name)] for way in needed), key=len)
    return problem(f"{key}: {reference} has no {', '.join(missing)}", f"it must hold JSON with {ways}")
