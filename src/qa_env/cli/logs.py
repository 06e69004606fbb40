"""`qa-env logs`."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from qa_env import aws, naming
from qa_env.cli import environments, following, times
from qa_env.cli.ended import Ended, Exit
from qa_env.cli.installation import Installation
from qa_env.cli.output import Output, Painted
from qa_env.model import Environment
from qa_env.page.times import iso

HELP = "what an environment's tasks, its build or qa-env itself wrote"
PIPELINE, QA_ENV = "pipeline", "qa-env"
BUILDS = ("Build", "Migrate")
FUNCTIONS = ("webhook", "reconcile", "signals", "deploy")  # those that write about one environment
SINCE = {PIPELINE: None, QA_ENV: times.duration("1h")}
SINCE_OF_ROLES = times.duration("10m")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # that an application writes; escaped they would only be in the way
LATE = 15  # seconds that a line may come after a newer one


@dataclass(frozen=True)
class Source:
    """One log group, or what of it is about the environment."""

    name: str
    group: str
    narrowed: Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """One line of a log; `at` is in milliseconds since the epoch."""

    at: int
    source: str
    stream: str
    message: str
    id: str


def configure(parser: argparse.ArgumentParser) -> None:
    """Whose, and since when."""
    environments.add_argument(parser)
    parser.add_argument(
        "source",
        metavar="ROLE|pipeline|qa-env",
        nargs="?",
        help="the tasks of one role (default: of every role), the newest build, or qa-env's own functions",
    )
    following.add_argument(parser)
    parser.add_argument(
        "--since",
        metavar="TIME",
        type=times.duration,
        help="how far back: 90s, 10m, 2h, 1d (default: 10m of roles, 1h of qa-env, all of the newest build)",
    )
    parser.epilog = "example: qa-env logs qa/foo app -f --since 1h"


def run(given: argparse.Namespace, installation: Installation, out: Output) -> int:
    """A line each, the newest last."""
    env = environments.find(installation, given.environment)
    if given.source not in (None, PIPELINE, QA_ENV) and given.source not in env.roles:
        known = ", ".join([*sorted(env.roles), PIPELINE, QA_ENV])
        raise Ended(Exit.USAGE, f"{env.slug} has no role {given.source}: name one of {known}")
    back = SINCE.get(given.source, SINCE_OF_ROLES) if given.since is None else given.since
    start = 0 if back is None else int((installation.clock() - back) * 1000)
    logs = _Logs(env, given.source, installation, out, start)
    following.show(logs.look, lambda line: line.id, logs.tell, follow=given.follow, installation=installation)
    return Exit.DONE


@dataclass
class _Logs:
    """The lines that are asked for, from `start` on (milliseconds since the epoch)."""

    env: Environment
    source: str | None
    installation: Installation
    out: Output
    start: int
    _noted: set[str] = field(default_factory=set)

    def look(self) -> list[Line]:
        """In their order. Sources are looked for each time: a build's next stage has a log of its own."""
        found = [line for source in self._sources() for line in self._read(source)]
        found.sort(key=lambda line: line.at)
        if found:
            self.start = max(self.start, found[-1].at - LATE * 1000)
        return found

    def tell(self, line: Line) -> None:
        """For people with what of JSON they read."""
        at = iso(line.at / 1000)
        if self.out.json:
            said = {"at": at, "source": line.source, "stream": line.stream, "message": line.message}
            self.out.record({"slug": self.env.slug, **said})
        else:
            text = _short(line.message) if self.source == QA_ENV else line.message
            for one in COLOURS.sub("", text).expandtabs(4).splitlines():
                self.out.line(
                    Painted(times.moment(at), "dim"), "  ", Painted(line.source, "blue"), f"  {one}"
                )

    def _sources(self) -> Iterator[Source]:
        if self.source == PIPELINE:
            yield from self._builds()
        elif self.source == QA_ENV:
            term = {"filterPattern": f'"{self.env.slug}"'}
            for name in FUNCTIONS:
                yield Source(name, f"/aws/lambda/{self.installation.name}-{name}", term)
        else:
            for role in [self.source] if self.source else sorted(self.env.roles):
                yield from self._role(role)

    def _role(self, role: str) -> Iterator[Source]:
        """Where its tasks write, as their task definition says."""
        env = self.installation.store.get(self.env.slug) or self.env
        arn = env.remembered("task_definition", role).get("arn")
        if arn is None:
            self._note(f"{role} of {env.slug} has never run: nothing is built yet.")
            return
        described = self.installation.client("ecs").describe_task_definition(taskDefinition=arn)
        streams = {"logStreamNamePrefix": f"{naming.log_stream_prefix(env.slug)}/"}
        configured = [
            one.get("logConfiguration", {}) for one in described["taskDefinition"]["containerDefinitions"]
        ]
        groups = {one["options"]["awslogs-group"] for one in configured if one.get("logDriver") == "awslogs"}
        if not groups:
            self._note(f"{role} of {env.slug} does not write to CloudWatch, but as its STG service does.")
        for group in sorted(groups):
            yield Source(role, group, streams)

    def _builds(self) -> Iterator[Source]:
        """The logs of the newest execution's builds; a stage that it has not reached shows an older one's."""
        stages = self._stages()
        newest = stages[0].get("latestExecution", {}).get("pipelineExecutionId") if stages else None
        actions = {
            action["latestExecution"]["externalExecutionId"]: stage["stageName"]
            for stage in stages
            if stage.get("latestExecution", {}).get("pipelineExecutionId") == newest
            for action in stage["actionStates"]
            if "externalExecutionId" in action.get("latestExecution", {}) and stage["stageName"] in BUILDS
        }
        codebuild = self.installation.client("codebuild")
        builds = codebuild.batch_get_builds(ids=list(actions))["builds"] if actions else []
        known = [build for build in builds if "streamName" in build.get("logs", {})]
        if not known:
            self._note(f"{self.env.slug} has no build whose log is known: see `qa-env show {self.env.slug}`.")
        for build in known:
            logs = build["logs"]
            yield Source(actions[build["id"]], logs["groupName"], {"logStreamNames": [logs["streamName"]]})

    def _stages(self) -> list[dict[str, Any]]:
        """The pipeline's stages; none before it is made."""
        codepipeline = self.installation.client("codepipeline")
        try:
            return list(codepipeline.get_pipeline_state(name=naming.pipeline(self.env.slug))["stageStates"])
        except ClientError as error:
            if aws.code(error) != "PipelineNotFoundException":
                raise
            return []

    def _read(self, source: Source) -> Iterator[Line]:
        pages = self.installation.client("logs").get_paginator("filter_log_events")
        try:
            for page in pages.paginate(logGroupName=source.group, startTime=self.start, **source.narrowed):
                for event in page["events"]:
                    if self.source != QA_ENV or _is_about(self.env.slug, event["message"]):
                        known = (source.name, event["logStreamName"], event["message"], event["eventId"])
                        yield Line(event["timestamp"], *known)
        except ClientError as error:
            if aws.code(error) != "ResourceNotFoundException":
                raise
            self._note(f"nothing has been written to log group {source.group} yet.")

    def _note(self, text: str) -> None:
        """What is missing is said once, however often it is looked for."""
        if text not in self._noted:
            self._noted.add(text)
            self.out.note(text)


def _is_about(slug: str, message: str) -> bool:
    """The filter only finds the word; the functions say in a field of its own what they talk of."""
    said = _read_json(message).get("environment")
    return isinstance(said, str) and slug in said.split(",")


def _short(message: str) -> str:
    """Level, message and the exception's name."""
    said = _read_json(message)
    known = (said.get("level"), said.get("message"), said.get("exception_name"))
    return "  ".join(str(one) for one in known if one)


def _read_json(message: str) -> Mapping[str, Any]:
    try:
        said = json.loads(message)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
