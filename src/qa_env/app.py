"""What the worker and the audit are made of: every resource of every blueprint, and the loop over them.

What a function has at hand without knowing any resource is in `runtime.py`.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from qa_env import blueprint as blueprints
from qa_env import runtime
from qa_env.audit import Audit
from qa_env.blueprint import Blueprint, GitHub
from qa_env.blueprint import Slack as SlackSettings
from qa_env.branches import GitHubBranches
from qa_env.census import Watched
from qa_env.claims import Claims
from qa_env.controller import Controller, Plan
from qa_env.datacall import LambdaDatastores
from qa_env.github_api import GitHub as GitHubApi
from qa_env.looking import Once, Seen
from qa_env.model import Environment, Resource, Slug, State, port_key
from qa_env.redelivery import Redelivery
from qa_env.reports.commit_status import CommitStatus
from qa_env.reports.deployment import Deployment
from qa_env.reports.event import Event
from qa_env.reports.pull_request import PullRequest
from qa_env.reports.slack import SlackMessage
from qa_env.resources.account import Account
from qa_env.resources.checks import Checks
from qa_env.resources.curtain import Curtain
from qa_env.resources.image import Image
from qa_env.resources.keyspace import Keyspace
from qa_env.resources.listener import Listener
from qa_env.resources.pipeline import Pipeline
from qa_env.resources.schema import Schema
from qa_env.resources.service import Service
from qa_env.resources.target_group import TargetGroup
from qa_env.resources.task_definition import TaskDefinition
from qa_env.slack_api import Slack as SlackApi
from qa_env.store import Store
from qa_env.tagged import Tagged

Waves = list[list[Resource]]


@dataclass(frozen=True)
class Clients:
    """AWS as one installation sees it; `client` makes (or remembers) a boto3 client by service name.

    `wake` puts many on the queue, each with its reason.

    `hubs` and `slacks` are the clients that were made: one per credentials, because who is asked too often
    limits those, and a client keeps the silence that it was asked for.
    """

    client: Callable[[str], Any]
    installation: str
    deploy_function: str
    page_function: str
    datastores: Callable[..., Any]
    read_secret: Callable[[str], str]
    wake: Callable[[Sequence[tuple[Slug, str]]], None]
    hubs: dict[tuple[str, str], GitHubApi] = field(default_factory=dict)
    slacks: dict[tuple[str, str], SlackApi] = field(default_factory=dict)


def plan(clients: Clients, store: Store, blueprint: Blueprint) -> Plan:
    """One repository's resources for one pass, in waves: what needs something stands behind what gives it.

    They share what they see, so a plan must not outlive its pass.
    """
    once = Seen()
    github = _github(clients, blueprint.github) if blueprint.github else None
    branches = GitHubBranches(github) if github else None
    roles, web = set(blueprint.roles), set(blueprint.web_roles)
    of = functools.partial(_role_resources, clients, blueprint, once)
    data, accounts = _data(clients, store, blueprint), _accounts(clients, store, blueprint)
    own = accounts if blueprint.database and blueprint.database.accounts == "own" else []
    pipeline = _pipeline(clients, blueprint)
    images: list[Resource] = [Image(clients.client("ecr"), blueprint)]
    gate: list[Resource] = []
    if blueprint.pipeline.start == "checks" and branches:
        gate = [Checks(branches, blueprint.pipeline.required_checks)]
    filled = next((one.filled for one in data if isinstance(one, Keyspace)), dict[str, Slug | None])
    return Plan(
        claims=Claims(clients.client("elbv2"), store, blueprint, clients.installation, once, filled),
        build=[
            [*gate, *data, *of(TargetGroup, web)],
            own,
            [*images, *of(TaskDefinition, roles), *of(Listener, web)],
            [pipeline, *of(Curtain, web)],
            of(Service, roles),
        ],
        tear_down=[[pipeline, *of(Service, roles)], *_role_waves(of, roles, images), own, data],
        retired=functools.partial(_retired, of, blueprint, [] if own else accounts),
        reports=_reports(clients, blueprint, github),
        branches=branches,
    )


def watched(clients: Clients, store: Store, blueprint: Blueprint) -> Watched:
    """What the audit lists of one repository: one resource of each kind, as a kind is listed whole.

    A curtain goes with its listener; task definitions cost a call each, and the tagging API shows them. Of
    data the names are listed, and of accounts the tagging API shows the secrets.
    """
    one = plan(clients, store, blueprint)
    kinds = {resource.kind: resource for wave in one.tear_down for resource in wave}
    data = [d for d in kinds.values() if isinstance(d, Schema | Keyspace | Account)]
    left_out = {Curtain.kind, TaskDefinition.kind, *(one.kind for one in data)}
    things = [thing for kind, thing in kinds.items() if kind not in left_out]
    return Watched(blueprint, things, data, one.branches)


def _retired(
    of: Callable[..., list[Resource]], blueprint: Blueprint, accounts: list[Resource], env: Environment
) -> Waves:
    """What stands for roles that the blueprint has no more, and before roles that have no port any more.

    `accounts` are those that an environment has only from an earlier blueprint.
    """
    gone = env.roles - set(blueprint.roles)
    ported = {role for role in env.roles if port_key(role) in env.claims}
    bare = ported - set(blueprint.web_roles) - gone
    return [
        of(Service, gone),
        [*of(TaskDefinition, gone), *of(Listener, gone | bare)],
        [*of(Curtain, gone | bare), *of(TargetGroup, gone | bare)],
        [account for account in accounts if _had(env, account)],
    ]


def _had(env: Environment, account: Resource) -> bool:
    """Is there still something of it, or was it removed under the present wish, which looks twice?"""
    condition = env.conditions.get(account.kind)
    return condition is not None and (condition.state is not State.GONE or env.is_gone(condition))


def _role_waves(of: Callable[..., list[Resource]], roles: set[str], beside: list[Resource]) -> Waves:
    """What stands behind the services when they go."""
    return [
        [*beside, *of(TaskDefinition, roles), *of(Listener, roles)],
        [*of(Curtain, roles), *of(TargetGroup, roles)],
    ]


def _role_resources(
    clients: Clients, blueprint: Blueprint, once: Once, kind: type, roles: set[str]
) -> list[Resource]:
    made: dict[type, Callable[[str], Resource]] = {
        TargetGroup: lambda role: TargetGroup(
            clients.client("elbv2"), blueprint, clients.installation, role, once
        ),
        Listener: lambda role: Listener(
            clients.client("elbv2"), blueprint, clients.installation, clients.read_secret, role, once
        ),
        Curtain: lambda role: Curtain(
            clients.client("elbv2"),
            blueprint,
            clients.installation,
            clients.page_function,
            clients.read_secret,
            role,
            once,
        ),
        TaskDefinition: lambda role: TaskDefinition(
            clients.client("ecs"), blueprint, clients.installation, role, once
        ),
        Service: lambda role: Service(clients.client("ecs"), blueprint, clients.installation, role, once),
    }
    return [made[kind](role) for role in sorted(roles)]


def _data(clients: Clients, store: Store, blueprint: Blueprint) -> list[Resource]:
    data: list[Resource] = []
    if blueprint.database:
        data.append(Schema(clients.datastores, store, blueprint.database, blueprint.connections))
    if blueprint.redis.mode != "none":
        data.append(Keyspace(clients.datastores, store, blueprint.redis, clients.installation, clients.wake))
    return data


def _accounts(clients: Clients, store: Store, blueprint: Blueprint) -> list[Resource]:
    if blueprint.database is None:
        return []
    client, call = clients.client("secretsmanager"), clients.datastores
    return [
        Account(client, call, store, blueprint.database, clients.installation, blueprint.connections),
    ]


def _pipeline(clients: Clients, blueprint: Blueprint) -> Pipeline:
    return Pipeline(
        clients.client("codepipeline"),
        clients.client("codebuild"),
        blueprint,
        clients.installation,
        clients.deploy_function,
    )


def _reports(clients: Clients, blueprint: Blueprint, github: GitHubApi | None) -> list[Resource]:
    """Where people are told, as the blueprint wants it."""
    reports: list[Resource] = []
    if github and blueprint.github:
        made: dict[str, Callable[[GitHubApi], Resource]] = {
            CommitStatus.kind: lambda hub: CommitStatus(hub, blueprint),
            Deployment.kind: lambda hub: Deployment(hub, blueprint),
            PullRequest.kind: lambda hub: PullRequest(hub, blueprint, clients.installation),
        }
        reports += [made[kind](github) for kind in dict.fromkeys(blueprint.github.report)]
    if blueprint.slack:
        reports.append(SlackMessage(_slack(clients, blueprint.slack), blueprint))
    if blueprint.events:
        reports.append(Event(clients.client("events"), blueprint, clients.installation))
    return reports


def _github(clients: Clients, settings: GitHub) -> GitHubApi:
    made = GitHubApi(settings.api_url, lambda: json.loads(clients.read_secret(settings.secret)))
    return clients.hubs.setdefault((settings.api_url, settings.secret), made)


def _slack(clients: Clients, settings: SlackSettings) -> SlackApi:
    made = SlackApi(settings.api_url, lambda: json.loads(clients.read_secret(settings.secret)))
    return clients.slacks.setdefault((settings.api_url, settings.secret), made)


# --- the process environment ------------------------------------------------------------------------------


@functools.cache
def clients() -> Clients:
    """For the functions that reach all of AWS. What only reads needs no names of functions."""
    return Clients(
        client=runtime.client,
        installation=runtime.installation(),
        deploy_function=os.environ.get("QA_ENV_DEPLOY_FUNCTION", ""),
        page_function=os.environ.get("QA_ENV_PAGE_FUNCTION_ARN", ""),
        datastores=LambdaDatastores(runtime.client("lambda"), os.environ["QA_ENV_DATASTORES_FUNCTION"]),
        read_secret=runtime.secret_reader(),
        wake=runtime.wake_all,
    )


@functools.cache
def audit() -> Audit:
    """For the function that compares what there is with what is known."""
    return Audit(
        runtime.store(),
        [watched(clients(), runtime.store(), blueprint) for blueprint in blueprints.built_in().values()],
        Tagged(runtime.client, runtime.installation()),
        _redeliveries(os.environ["QA_ENV_WEBHOOK_URL"]),
        runtime.send,
    )


def _redeliveries(webhook_url: str) -> list[Redelivery]:
    """One for each set of credentials."""
    repositories: dict[tuple[str, str], list[str]] = {}
    for blueprint in blueprints.built_in().values():
        if blueprint.github:
            known_by = (blueprint.github.api_url, blueprint.github.secret)
            repositories.setdefault(known_by, []).append(blueprint.repository)
            _github(clients(), blueprint.github)
    return [Redelivery(clients().hubs[key], webhook_url, names) for key, names in repositories.items()]


@functools.cache
def controller() -> Controller:
    """The whole loop, for the function that may do all of it."""
    return Controller(
        runtime.store(),
        blueprints.built_in(),
        lambda blueprint: plan(clients(), runtime.store(), blueprint),
        runtime.wake,
        apart=float(os.environ["QA_ENV_SECOND_LOOK_SECONDS"]),
    )
