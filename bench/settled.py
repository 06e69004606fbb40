"""Settled environments in any number: what the table says of each, and what stands for it in AWS.

The world is seeded by the calls that make it, without the passes and builds that lead there: thousands of
things take a minute.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from qa_env import aws, naming
from qa_env.model import (
    REDIS,
    REDIS_NAMESPACES,
    SCHEMA,
    Claim,
    Condition,
    Desired,
    Environment,
    Slug,
    State,
    port_key,
    port_scope,
)
from tests.installation import REPOSITORY, Installation
from tests.light import slug_of

WEB = ("app", "admin")
ROLES = (*WEB, "worker")
FIRST_PORT = 10001
PER_LOAD_BALANCER = 24  # environments: AWS admits 50 listeners
SINCE = "2026-11-02T02:20:01.000+00:00"


def environment(number: int, load_balancers: Sequence[str]) -> Environment:
    """One as the table has it when it is ready: three roles, two of them with a URL."""
    branch = f"qa/feature-{number:04d}-of-usual-length"
    slug = slug_of(branch)
    return Environment(
        slug=slug,
        repository=REPOSITORY,
        branch=branch,
        desired=Desired.PRESENT,
        commit=f"{number:040x}",
        generation=_generation(number),
        by=f"developer-{number % 20}",
        at="2026-11-02T02:16:01.000+00:00",
        claims=_claims(number, slug, load_balancers),
        conditions=_conditions(number, slug, load_balancers),
    )


def load_balancers_for(environments: int) -> int:
    """How many these need, and one that has room."""
    return -(-environments // PER_LOAD_BALANCER) + 1


def _generation(number: int) -> int:
    return 1_793_586_000_000 + number


def _place(number: int, load_balancers: Sequence[str]) -> tuple[str, int]:
    """(load balancer, first of the environment's ports)."""
    balancer, place = divmod(number, PER_LOAD_BALANCER)
    return load_balancers[balancer % len(load_balancers)], FIRST_PORT + len(WEB) * place


def _claims(number: int, slug: Slug, load_balancers: Sequence[str]) -> dict[str, Claim]:
    balancer, first = _place(number, load_balancers)
    ports = {
        port_key(role): Claim(port_scope(balancer), str(first + place)) for place, role in enumerate(WEB)
    }
    return {SCHEMA: Claim(SCHEMA, slug), REDIS: Claim(REDIS_NAMESPACES, slug.replace("-", "_")), **ports}


def _conditions(number: int, slug: Slug, load_balancers: Sequence[str]) -> dict[str, Condition]:
    def ready(**outputs: str) -> Condition:
        return Condition(State.READY, "", outputs, _generation(number), SINCE)

    balancer, first = _place(number, load_balancers)
    commit, arn = f"{number:040x}", f"{balancer.rpartition(':')[0]}:targetgroup/{slug}/0123456789abcdef"
    stages = [{"name": one, "status": "Succeeded"} for one in ("Source", "Build", "Migrate", "Deploy")]
    said = {key: ready() for key in ("branch", "claims", "commit_status", "deployment", "slack", "event")}
    said |= {"schema": ready(name=slug), "keyspace": ready(namespace=slug)}
    said["pipeline"] = ready(execution=commit[:36], commit=commit, stages=json.dumps(stages), seconds="240")
    for role in ROLES:
        tasks = json.dumps({"running": 1, "desired": 1})
        said[f"task_definition/{role}"] = ready(arn=arn, commit=commit, execution=commit[:36])
        said[f"service/{role}"] = ready(serving="yes", tasks=tasks, task_definition=arn, commit=commit)
    for place, role in enumerate(WEB):
        url = f"https://{slug}.qa.example.com:{first + place}/"
        said |= {f"target_group/{role}": ready(arn=arn), f"curtain/{role}": ready()}
        said[f"listener/{role}"] = ready(arn=arn, url=url)
    return said


def settle(qa: Installation, numbers: Iterable[int]) -> None:
    """Let environments of these numbers be there as if they had been pushed an hour ago and were ready."""
    load_balancers = [lb.arn for lb in qa.world.load_balancers]
    for number in numbers:
        env = environment(number, load_balancers)
        record(qa, env)
        _balance(qa, env)
        _run(qa, env)
        _build(qa, env)
        qa.datastores.schemas.add(env.claims[SCHEMA].name)
        qa.datastores.keys[env.claims[REDIS].name] = 1


def record(qa: Installation, env: Environment) -> None:
    """What the table has of it: record and claims."""
    qa.store.desire(env, None)
    bare = qa.env(env.slug)
    qa.store.save(qa.store.claim(bare, env.claims).with_conditions(env.conditions))


def _balance(qa: Installation, env: Environment) -> None:
    elbv2 = qa.aws.client("elbv2")
    for role in WEB:
        balancer, port = env.port_of(role)
        tags = aws.tag_list(naming.tags("qa-env", env, role))
        (group,) = elbv2.create_target_group(
            Name=naming.target_group(env.slug, role),
            Protocol="HTTP",
            Port=3000,
            VpcId=qa.world.vpc,
            TargetType="ip",
            Tags=tags,
        )["TargetGroups"]
        forward = {"Type": "forward", "TargetGroupArn": group["TargetGroupArn"]}
        elbv2.create_listener(
            LoadBalancerArn=balancer, Protocol="HTTP", Port=port, DefaultActions=[forward], Tags=tags
        )


def _run(qa: Installation, env: Environment) -> None:
    ecs = qa.aws.client("ecs")
    for role in ROLES:
        name = naming.service(env.slug, role)
        tags = aws.tag_list(naming.tags("qa-env", env, role), "key", "value")
        ecs.register_task_definition(
            family=name,
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="512",
            memory="1024",
            executionRoleArn=f"arn:aws:iam::{qa.aws.account}:role/stg-execution",
            containerDefinitions=[{"name": role, "image": f"{qa.world.repository_uri}:{env.commit}"}],
            tags=tags,
        )
        ecs.create_service(
            cluster=qa.world.cluster,
            serviceName=name,
            taskDefinition=name,
            desiredCount=1,
            launchType="FARGATE",
            networkConfiguration=qa.world.network,
            tags=tags,
        )


def _build(qa: Installation, env: Environment) -> None:
    """The pipeline is declared like one that was made by a pass, and its image is pushed."""
    codepipeline = qa.aws.client("codepipeline")
    (first, *_) = codepipeline.list_pipelines()["pipelines"]
    declared = codepipeline.get_pipeline(name=first["name"])["pipeline"]
    declared |= {"name": naming.pipeline(env.slug), "version": 1}
    codepipeline.create_pipeline(
        pipeline=declared, tags=aws.tag_list(naming.tags("qa-env", env), "key", "value")
    )
    qa._push_image(f"{qa.world.repository_uri}:{naming.image_tag(env.slug, env.commit)}", env.commit[:36])
