"""The words of the stand-in: what it is given, what it keeps, what it refuses. No behaviour."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

JSON = dict[str, Any]


class Status(StrEnum):
    """The API's spelling (BC: PipelineExecutionStatus, StageExecutionStatus, ActionExecutionStatus)."""

    IN_PROGRESS = "InProgress"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    SUPERSEDED = "Superseded"
    CANCELLED = "Cancelled"
    ABANDONED = "Abandoned"


EVENT_STATE = {
    Status.IN_PROGRESS: "STARTED",
    Status.CANCELLED: "CANCELED",
    **{status: status.upper() for status in Status if status not in ("InProgress", "Cancelled")},
}
"""Events spell states differently (facts B3-11): STARTED for InProgress, CANCELED with one L."""

UNFINISHED = (Status.IN_PROGRESS, Status.STOPPING)


class ApiError(Exception):
    """A refusal with the error code AWS would answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ActionFailed(Exception):
    """Why an action failed, in the words `errorDetails` shows."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class SourceRevision:
    """What a Source action found; a build's input artifact leads back to one."""

    action: str
    repository: str
    branch: str
    commit: str


class BuildStatus(StrEnum):
    """CodeBuild's spelling (BC:codebuild.StatusType); of what ends a build only this happens here."""

    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


@dataclass(frozen=True)
class BuildResult:
    """How a CodeBuild run ended."""

    ok: bool
    summary: str = ""
    log_url: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)


RunBuild = Callable[[str, dict[str, str], SourceRevision, str], BuildResult]


def succeed(_project: str, _env: dict[str, str], _source: SourceRevision, _execution: str) -> BuildResult:
    """A build that builds nothing and succeeds."""
    return BuildResult(ok=True)


def no_such_function(name: str, _event: JSON) -> None:
    """What invoking means where nobody said: there is no function."""
    raise LookupError(f"Function not found: {name}")


def no_such_secret(name: str) -> str:
    """What a variable from a secret means where nobody said: there is none."""
    raise LookupError(f"no secret {name}")


@dataclass(frozen=True)
class World:
    """What the pipelines act upon. Nothing here is called while the engine's lock is held.

    `invoke_lambda` raises only where Lambda's Invoke API itself would refuse: no such function, no
    permission. The invocation is asynchronous, so CodePipeline does not see an exception *inside* the
    function: the action waits for its time limit (facts B3-16). `read_secret` gives what Secrets Manager
    holds under a name or an ARN, and raises LookupError where there is nothing. An AssertionError, from any
    of these, is a test's own and comes out of `step()`.
    """

    resolve_head: Callable[[str, str], str | None]
    run_build: RunBuild = succeed
    invoke_lambda: Callable[[str, JSON], None] = no_such_function
    emit: Callable[[JSON], None] = lambda event: None
    read_secret: Callable[[str], str] = no_such_secret


@dataclass(frozen=True)
class Settings:
    """Where the pipelines live and how patient they are; times in seconds."""

    account: str = "123456789012"
    region: str = "us-east-1"
    pipeline_quota: int = 1000  # facts B3-3
    execution_quota: int = 50  # facts B3-9, B3-15: of one pipeline at the same time
    round_limit: float = 20 * 60  # facts B3-16: one answer of a Lambda action
    invoke_limit: float = 24 * 3600  # facts B3-16: all its rounds together
    continuation_delay: float = 5
    clock: Callable[[], float] = time.time
    build_seconds: Callable[[], float] = lambda: 0.0  # how long a build that starts now stands before it acts
    new_id: Callable[[], str] = lambda: str(uuid.uuid4())


@dataclass(eq=False)
class Build:
    """The CodeBuild build of an action, which is told of neither stopping nor deleting (facts B3-13, B3-14).

    Its id is what CodeBuild calls it: `project:uuid`, as in a build's CODEBUILD_BUILD_ID.
    """

    id: str
    project: str
    pipeline: str
    started: float
    status: BuildStatus = BuildStatus.IN_PROGRESS
    ended: float = 0.0


@dataclass(eq=False)
class ActionRun:
    """One action of one execution."""

    id: str
    declaration: JSON
    stage: StageRun
    started: float
    updated: float
    status: Status = Status.IN_PROGRESS
    configuration: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    error: ActionFailed | None = None
    url: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    build: Build | None = None

    @property
    def name(self) -> str:
        return str(self.declaration["name"])


@dataclass(eq=False)
class StageRun:
    """One stage of one execution, from entering it to leaving it."""

    execution: Execution
    declaration: JSON
    status: Status = Status.IN_PROGRESS
    actions: list[ActionRun] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.declaration["name"])

    @property
    def unfinished(self) -> list[ActionRun]:
        return [action for action in self.actions if action.status is Status.IN_PROGRESS]

    def next_group(self) -> list[JSON]:
        """The not yet started actions with the lowest runOrder: they run side by side."""
        started = {action.name for action in self.actions}
        rest = [action for action in self.declaration["actions"] if action["name"] not in started]
        lowest = min((action["runOrder"] for action in rest), default=0)
        return [action for action in rest if action["runOrder"] == lowest]


@dataclass(eq=False)
class Execution:
    """One run of a pipeline, with the declaration it started from."""

    id: str
    number: int
    pipeline: Pipeline
    declaration: JSON
    trigger: str
    started: float
    updated: float
    pins: dict[str, str] = field(default_factory=dict)
    status: Status = Status.IN_PROGRESS
    summary: str = ""
    abandon: bool = False
    stop_reason: str = ""
    stages: list[StageRun] = field(default_factory=list)
    revisions: dict[str, SourceRevision] = field(default_factory=dict)
    artifacts: dict[str, SourceRevision] = field(default_factory=dict)
    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def next_stage(self) -> str | None:
        rest = self.declaration["stages"][len(self.stages) :]
        return str(rest[0]["name"]) if rest else None

    @property
    def current(self) -> StageRun | None:
        """The stage it is in: none while it waits in front of one."""
        return self.stages[-1] if self.stages and self.stages[-1].status in UNFINISHED else None


@dataclass(eq=False)
class Pipeline:
    """A pipeline and everything that ever ran in it."""

    arn: str
    created: float
    updated: float
    versions: list[JSON]
    tags: dict[str, str] = field(default_factory=dict)
    deleted: bool = False
    executions: dict[str, Execution] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, Execution] = field(default_factory=dict)  # stage → the one in front of it
    occupants: dict[str, StageRun] = field(default_factory=dict)  # stage → the one in it
    latest: dict[str, StageRun] = field(default_factory=dict)  # stage → the last one that entered it

    @property
    def declaration(self) -> JSON:
        return self.versions[-1]

    @property
    def name(self) -> str:
        return str(self.declaration["name"])


@dataclass(eq=False)
class Job:
    """One invocation of a Lambda action that waits for its answer."""

    id: str
    action: ActionRun
    open: bool = True
