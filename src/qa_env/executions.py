"""Reading CodePipeline: a pipeline's executions, and how far one of them has come.

Which commit an execution has is known only after its Source action, and a stage shows the last execution that
entered it, which may be an older one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_codepipeline import CodePipelineClient
    from mypy_boto3_codepipeline.type_defs import PipelineExecutionSummaryTypeDef, StageStateTypeDef

RUNNING = ("InProgress", "Stopping")
BROKEN = ("Failed", "Stopped")
SUCCEEDED = "Succeeded"


@dataclass(frozen=True)
class Stage:
    """One stage as one execution has seen it; `status` is empty if it has not come there.

    `broken` says that one of its actions failed, `why` what that said, `url` leads to its log.
    """

    name: str
    status: str = ""
    url: str = ""
    broken: bool = False
    why: str = ""


def newest(client: CodePipelineClient, pipeline: str) -> PipelineExecutionSummaryTypeDef | None:
    """The execution that was started last."""
    listed = client.list_pipeline_executions(pipelineName=pipeline, maxResults=1)
    summaries = listed["pipelineExecutionSummaries"]
    return summaries[0] if summaries else None


def last(client: CodePipelineClient, pipeline: str) -> list[PipelineExecutionSummaryTypeDef]:
    """The last hundred executions, the newest first."""
    return client.list_pipeline_executions(pipelineName=pipeline)["pipelineExecutionSummaries"]


def commit(execution: PipelineExecutionSummaryTypeDef, source: str) -> str:
    """What the Source action of this name found; empty until it has finished."""
    revisions = {r["actionName"]: r.get("revisionId", "") for r in execution.get("sourceRevisions", [])}
    return revisions.get(source, "")


def started(execution: PipelineExecutionSummaryTypeDef) -> str:
    """When it was started, ISO in UTC; empty if that is not said."""
    at: datetime | None = execution.get("startTime")
    return at.astimezone(UTC).isoformat(timespec="seconds") if at else ""


def seconds(execution: PipelineExecutionSummaryTypeDef) -> str:
    """How long it took until its end, empty if that is not said."""
    if "startTime" not in execution or "lastUpdateTime" not in execution:
        return ""
    return str(int((execution["lastUpdateTime"] - execution["startTime"]).total_seconds()))


def stages(client: CodePipelineClient, pipeline: str, execution: str) -> list[Stage]:
    """The pipeline's stages in their order, as this execution has seen them."""
    return [_stage(state, execution) for state in client.get_pipeline_state(name=pipeline)["stageStates"]]


def _stage(state: StageStateTypeDef, execution: str) -> Stage:
    name, latest = state["stageName"], state.get("latestExecution")
    if latest is None or latest["pipelineExecutionId"] != execution:
        return Stage(name)
    actions = [action.get("latestExecution", {}) for action in state.get("actionStates", [])]
    urls = [url for action in actions if (url := action.get("externalExecutionUrl"))]
    for action in actions:
        if action.get("status") in ("Failed", "Abandoned"):
            why = action.get("errorDetails", {}).get("message") or action.get("summary", "")
            return Stage(name, latest["status"], action.get("externalExecutionUrl", ""), True, why)
    return Stage(name, latest["status"], urls[0] if urls else "")
