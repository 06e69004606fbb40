"""`qa-env exec`: a command in a running task, by ECS Exec."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from typing import Any, NamedTuple

from qa_env import naming
from qa_env.cli import environments
from qa_env.cli.ended import Ended, Exit
from qa_env.cli.installation import Installation
from qa_env.cli.output import Output
from qa_env.model import Environment

HELP = "run a command in a running task of a role; a shell if none is named"
SHELL = "/bin/sh"
PLUGIN = "session-manager-plugin"
GET_PLUGIN = "https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html"
AGENT = "ExecuteCommandAgent"
FOR_THE_TASK = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP)


class Place(NamedTuple):
    """The container that the command runs in."""

    cluster: str
    task: str
    container: str
    runtime: str


def configure(parser: argparse.ArgumentParser) -> None:
    """Where, and what."""
    environments.add_argument(parser)
    parser.add_argument("role", metavar="ROLE", help="the role, as the blueprint names it")
    parser.usage = f"%(prog)s [options] ENV ROLE [-- COMMAND …]  (default: {SHELL})"
    parser.epilog = "example: qa-env exec qa/foo app -- bin/rails console"


def run(given: argparse.Namespace, installation: Installation, out: Output) -> int:
    """In JSON only where it would run, and nothing runs: a terminal's session is no document."""
    env = environments.find(installation, given.environment)
    ecs = installation.client("ecs")
    place = _place(ecs, env, given.role)
    command = shlex.join(given.after) or SHELL
    if out.json:
        shown = {"cluster": place.cluster, "task": place.task, "container": place.container}
        out.document({"slug": env.slug, "role": given.role, **shown, "command": command})
        return Exit.DONE
    if shutil.which(PLUGIN) is None:
        raise Ended(Exit.NOT_SO, f"{PLUGIN} is not installed here, and ECS Exec needs it: {GET_PLUGIN}")
    out.note(f"{env.slug}: {command} in container {place.container} of {place.task.rsplit('/', 1)[-1]}")
    session = ecs.execute_command(
        cluster=place.cluster, task=place.task, container=place.container, interactive=True, command=command
    )["session"]
    return Exit.DONE if _connect(ecs, place, session) == 0 else Exit.NOT_SO


def _place(ecs: Any, env: Environment, role: str) -> Place:
    """A container of the role that runs and can be entered; Ended says what is missing."""
    if role not in env.roles:
        raise Ended(Exit.USAGE, f"{env.slug} has no role {role}: name one of {', '.join(sorted(env.roles))}")
    cluster, name = env.remembered("service", role).get("cluster", ""), naming.service(env.slug, role)
    if not cluster:
        raise Ended(Exit.NOT_SO, f"{name} has never run: it is {env.phase}.")
    found = ecs.describe_services(cluster=cluster, services=[name])["services"]
    if not found or found[0]["status"] != "ACTIVE":
        raise Ended(Exit.NOT_SO, f"the service {name} is not there: {env.slug} is {env.phase}.")
    if not found[0].get("enableExecuteCommand"):
        raise Ended(
            Exit.NOT_SO,
            f"the service {name} does not allow it: leave `exec: false` out of roles.{role} in the blueprint,"
            " deploy, and redeploy the environment",
        )
    return _container(ecs, env, cluster, role)


def _container(ecs: Any, env: Environment, cluster: str, role: str) -> Place:
    name = naming.service(env.slug, role)
    listed = ecs.list_tasks(cluster=cluster, serviceName=name, desiredStatus="RUNNING")["taskArns"]
    tasks = ecs.describe_tasks(cluster=cluster, tasks=listed)["tasks"] if listed else []
    running = [task for task in tasks if task["lastStatus"] == "RUNNING"]
    if not running:
        raise Ended(
            Exit.NOT_SO,
            f"no task of {name} is running: {env.slug} is {env.phase}. A visit wakes what sleeps.",
        )
    image = env.built.image if env.built else ""
    containers = [(task, one) for task in running for one in task["containers"]]
    own = [(task, one) for task, one in containers if one.get("image") == image]
    able = [(task, one) for task, one in own or containers if _can_be_entered(one)]
    if not able:
        raise Ended(
            Exit.NOT_SO,
            f"the tasks of {name} run without ECS's agent for it: their task role needs"
            " ssmmessages:CreateControlChannel, CreateDataChannel, OpenControlChannel and OpenDataChannel,"
            " and what started before it had them must start again (`qa-env redeploy`)",
        )
    task, container = able[0]
    return Place(cluster, task["taskArn"], container["name"], container["runtimeId"])


def _can_be_entered(container: Mapping[str, Any]) -> bool:
    agents = container.get("managedAgents", ())
    return any(one["name"] == AGENT and one["lastStatus"] == "RUNNING" for one in agents)


def _connect(ecs: Any, place: Place, session: Mapping[str, str]) -> int:
    """Hand the terminal to the plugin, with what `aws ecs execute-command` gives it.

    Ctrl-C and its like are for the command in the task: the plugin hears them, we must not end of them.
    """
    cluster, task = place.cluster.rsplit("/", 1)[-1], place.task.rsplit("/", 1)[-1]
    target = {"Target": f"ecs:{cluster}_{task}_{place.runtime}"}
    arguments = [json.dumps(session), ecs.meta.region_name, "StartSession", "", json.dumps(target)]
    before = {one: signal.signal(one, signal.SIG_IGN) for one in FOR_THE_TASK}
    try:
        return subprocess.run([PLUGIN, *arguments, ecs.meta.endpoint_url], check=False).returncode
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
