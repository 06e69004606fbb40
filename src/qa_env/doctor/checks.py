"""All checks by name, and running them: each for itself, so that what breaks one leaves the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from botocore.exceptions import BotoCoreError, ClientError

from qa_env.blueprint import Blueprint
from qa_env.doctor import (
    deployed,
    github,
    load_balancers,
    mysql,
    pipelines,
    redis,
    secrets,
    slack,
    stg,
    webhook,
)
from qa_env.doctor.finding import Finding, Findings, Unchecked, problem, unknown
from qa_env.doctor.refusal import refused
from qa_env.doctor.world import World
from qa_env.errors import Blocked, NotReady

BLUEPRINT = "blueprint"
"""The only check that needs no AWS: whoever reads the files makes it."""
OF_INSTALLATION: Mapping[str, Callable[[World], Findings]] = {
    "clock": deployed.clock,
    "functions": deployed.functions,
    "dead-letters": deployed.dead_letters,
    "alarms": deployed.alarms,
}
OF_BLUEPRINT: Mapping[str, Callable[[World, Blueprint], Findings]] = {
    "account": deployed.account,
    "built-in": deployed.built_in,
    "parameters": deployed.parameters,
    "load-balancers": load_balancers.load_balancers,
    "ports": load_balancers.ports,
    "load-balancer-ingress": load_balancers.ingress,
    "certificates": load_balancers.certificates,
    "cluster": stg.cluster,
    "stg-services": stg.services,
    "task-ingress": stg.ingress,
    "pipeline-role": pipelines.role,
    "pipeline-permissions": pipelines.permissions,
    "build-projects": pipelines.projects,
    "connection": pipelines.connection,
    "artifact-bucket": pipelines.bucket,
    "image-repository": pipelines.images,
    "log-groups": pipelines.logs,
    "secrets": secrets.secrets,
    "mysql": mysql.mysql,
    "mysql-grants": mysql.grants,
    "mysql-connections": mysql.connections,
    "mysql-schemas": mysql.schemas,
    "redis": redis.redis,
    "redis-keys": redis.keys,
    "github": github.repository,
    "github-permissions": github.permissions,
    "webhook": webhook.settings,
    "webhook-deliveries": webhook.deliveries,
    "webhook-ping": webhook.ping,
    "slack": slack.slack,
}
NAMES = (BLUEPRINT, *OF_INSTALLATION, *OF_BLUEPRINT)


@dataclass(frozen=True)
class Result:
    """One finding of one check; `about` is the repository of its blueprint, empty for the installation."""

    check: str
    about: str
    finding: Finding


def examine(world: World, blueprints: Iterable[Blueprint], only: str = "") -> Iterator[Result]:
    """Run all checks, or the one that is named, of the installation and of each blueprint."""
    for name, check in OF_INSTALLATION.items():
        if only in ("", name):
            yield from (Result(name, "", one) for one in guarded(partial(check, world)))
    for blueprint in blueprints:
        for name, of_blueprint in OF_BLUEPRINT.items():
            if only in ("", name):
                found = guarded(partial(of_blueprint, world, blueprint))
                yield from (Result(name, blueprint.repository, one) for one in found)


def guarded(check: Callable[[], Findings]) -> Findings:
    """What the check finds, and why it could not go on. Of an unexpected error only the type is told: its
    text may hold anything."""
    try:
        yield from check()
    except Unchecked as error:
        yield unknown(str(error), error.fix)
    except ClientError as error:
        yield refused(error)
    except BotoCoreError as error:
        yield unknown(
            f"AWS cannot be asked: {error}", "see whether network, region and credentials are right"
        )
    except NotReady as error:
        yield unknown(str(error), "try again in a while")
    except Blocked as error:
        yield problem(str(error), "correct what it names")
    except Exception as error:
        yield unknown(f"the check failed ({type(error).__name__})", "report it: this is a fault of qa-env")
