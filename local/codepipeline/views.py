"""What the API shows of the engine's state. Pure functions; absent values are left out, as AWS does."""

from __future__ import annotations

from local.codepipeline import values
from local.codepipeline.values import (
    JSON,
    ActionRun,
    Build,
    BuildStatus,
    Pipeline,
    SourceRevision,
    StageRun,
    Status,
)


def tags(pairs: dict[str, str]) -> list[JSON]:
    return [{"key": key, "value": value} for key, value in sorted(pairs.items())]


def pipeline_summary(pipeline: Pipeline) -> JSON:
    declaration = pipeline.declaration
    kept = {key: declaration[key] for key in ("name", "version", "pipelineType", "executionMode")}
    return {**kept, "created": pipeline.created, "updated": pipeline.updated}


def _common(execution: values.Execution) -> JSON:
    shown = {
        "pipelineExecutionId": execution.id,
        "status": execution.status,
        "statusSummary": execution.summary,
        "trigger": {"triggerType": execution.trigger},
        "executionMode": execution.declaration["executionMode"],
        "executionType": "STANDARD",
    }
    return {key: value for key, value in shown.items() if value != ""}


def execution(run: values.Execution) -> JSON:
    """GetPipelineExecution; the commit is known once the Source action has finished (facts B3-12)."""
    variables = run.namespaces["variables"]
    return {
        **_common(run),
        "pipelineName": run.pipeline.name,
        "pipelineVersion": run.declaration["version"],
        "artifactRevisions": [
            {
                "name": artifact["name"],
                "revisionId": commit,
                "revisionUrl": _url(run.revisions[action["name"]]),
            }
            for action in run.declaration["stages"][0]["actions"]
            if action["name"] in run.revisions
            for artifact in action["outputArtifacts"]
            for commit in [run.revisions[action["name"]].commit]
        ],
        "variables": [{"name": name, "resolvedValue": value} for name, value in variables.items()],
    }


def execution_summary(run: values.Execution) -> JSON:
    """One line of ListPipelineExecutions."""
    revisions = [
        {"actionName": name, "revisionId": revision.commit, "revisionUrl": _url(revision)}
        for name, revision in run.revisions.items()
    ]
    stopped = {"stopTrigger": {"reason": run.stop_reason}} if run.stop_reason else {}
    times = {"startTime": run.started, "lastUpdateTime": run.updated}
    return {**_common(run), **times, "sourceRevisions": revisions, **stopped}


def succeeded_in(run: values.Execution, stage: str) -> bool:
    return any(each.name == stage and each.status is Status.SUCCEEDED for each in run.stages)


def pipeline_state(pipeline: Pipeline) -> JSON:
    """GetPipelineState: per stage who is in it or was last, and who waits in front of it."""
    return {
        "pipelineName": pipeline.name,
        "pipelineVersion": pipeline.declaration["version"],
        "stageStates": [_stage_state(pipeline, stage) for stage in pipeline.declaration["stages"]],
        "created": pipeline.created,
        "updated": pipeline.updated,
    }


def _stage_state(pipeline: Pipeline, declaration: JSON) -> JSON:
    name = declaration["name"]
    latest, inbound = pipeline.latest.get(name), pipeline.waiting.get(name)
    runs = {action.name: action for action in latest.actions} if latest else {}
    actions = [
        {"actionName": action["name"], **_latest(runs.get(action["name"]))}
        for action in declaration["actions"]
    ]
    state: JSON = {"stageName": name, "inboundTransitionState": {"enabled": True}, "actionStates": actions}
    if latest:
        state["latestExecution"] = _stage_execution(latest.execution, latest)
    if inbound:
        waiting = {"pipelineExecutionId": inbound.id, "status": inbound.status, "type": "STANDARD"}
        state |= {"inboundExecution": waiting, "inboundExecutions": [waiting]}
    return state


def _stage_execution(run: values.Execution, stage: StageRun) -> JSON:
    return {"pipelineExecutionId": run.id, "status": stage.status, "type": "STANDARD"}


def _latest(action: ActionRun | None) -> JSON:
    if action is None:
        return {}
    shown: JSON = {
        "actionExecutionId": action.id,
        "status": action.status,
        "lastStatusChange": action.updated,
    }
    revision = action.stage.execution.revisions.get(action.name)
    found = {
        "revisionId": revision.commit,
        "revisionChangeId": revision.commit,
        "created": action.updated,
    } if revision else None  # fmt: skip
    return {"latestExecution": {**shown, **_result(action)}, **({"currentRevision": found} if found else {})}


def _result(action: ActionRun) -> JSON:
    build = action.build.id if action.build else ""
    shown: JSON = {
        "externalExecutionId": build,
        "summary": action.summary,
        "externalExecutionUrl": action.url,
    }
    if action.error:
        shown["errorDetails"] = {"code": action.error.code, "message": action.error.message[:5000]}
    return {key: value for key, value in shown.items() if value}


def action_detail(action: ActionRun) -> JSON:
    """One line of ListActionExecutions, with the configuration as it was resolved."""
    result = _result(action)
    if "summary" in result:
        result["externalExecutionSummary"] = result.pop("summary")
    run = action.stage.execution
    return {
        "pipelineExecutionId": run.id,
        "actionExecutionId": action.id,
        "pipelineVersion": run.declaration["version"],
        "stageName": action.stage.name,
        "actionName": action.name,
        "startTime": action.started,
        "lastUpdateTime": action.updated,
        "status": action.status,
        "input": {
            "actionTypeId": action.declaration["actionTypeId"],
            "configuration": action.declaration["configuration"],
            "resolvedConfiguration": action.configuration,
        },
        "output": {"executionResult": result, "outputVariables": action.outputs},
    }


def build(one: Build) -> JSON:
    """What CodeBuild tells of a build."""
    ended = {"endTime": one.ended} if one.ended else {}
    return {
        "id": one.id,
        "projectName": one.project,
        "initiator": f"codepipeline/{one.pipeline}",  # BC:codebuild.Build.initiator
        "startTime": one.started,
        "buildStatus": one.status,
        "buildComplete": one.status is not BuildStatus.IN_PROGRESS,
        **ended,
    }


def _url(revision: SourceRevision) -> str:
    return f"https://github.com/{revision.repository}/commit/{revision.commit}"
