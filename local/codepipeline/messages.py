"""What the outside is told: state-change events and the event of a Lambda job. Pure functions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from local.codepipeline.values import EVENT_STATE, JSON, ActionRun, Execution, Job, Settings, Status


def state_change(settings: Settings, kind: str, execution: Execution, status: Status, **more: Any) -> JSON:
    """The EventBridge envelope (facts B3-11, B3-12; fields: AWS:detect-state-changes-cloudwatch-events)."""
    detail = {
        "pipeline": execution.pipeline.name,
        "execution-id": execution.id,
        "start-time": _iso(execution.started, "milliseconds"),
        "state": EVENT_STATE[status],
        "version": float(execution.declaration["version"]),
        "pipeline-execution-attempt": 1.0,
    }
    return {
        "version": "0",
        "id": settings.new_id(),
        "detail-type": f"CodePipeline {kind} Execution State Change",
        "source": "aws.codepipeline",
        "account": settings.account,
        "time": _iso(settings.clock(), "seconds"),
        "region": settings.region,
        "resources": [execution.pipeline.arn],
        "detail": {**detail, **{key.replace("_", "-"): value for key, value in more.items()}},
    }


def of_execution(execution: Execution, account: str) -> JSON:
    """What the STARTED event of an execution says besides."""
    trigger = {"trigger-type": execution.trigger, "trigger-detail": f"arn:aws:iam::{account}:root"}
    return {"execution_trigger": trigger}


def of_action(action: ActionRun, region: str) -> JSON:
    """What an action's event says besides: no commit, not even a Source action's, so nobody relies on it."""
    result = {
        "external-execution-url": action.url,
        "external-execution-summary": action.error.message if action.error else action.summary,
        "error-code": action.error.code if action.error else "",
    }
    known = {key: text for key, text in result.items() if text}
    return {
        "stage": action.stage.name,
        "action": action.name,
        "action_execution_id": action.id,
        "region": region,
        "type": action.declaration["actionTypeId"],
        **({"execution_result": known} if known else {}),
    }


def lambda_job(job: Job, account: str, continuation: str) -> JSON:
    """The event a function is invoked with (AWS:lambda/services-codepipeline)."""
    declaration, execution = job.action.declaration, job.action.stage.execution
    stores = execution.declaration.get("artifactStores", {})
    store = execution.declaration.get("artifactStore") or next(iter(stores.values()))

    def artifact(name: str) -> JSON:
        source = execution.artifacts.get(name)
        key = f"{execution.pipeline.name[:20]}/{name[:10]}/{execution.id[:7]}"
        place = {"bucketName": store["location"], "objectKey": key}
        revision = source.commit if source else None
        return {"name": name, "revision": revision, "location": {"type": "S3", "s3Location": place}}

    content: JSON = {
        "actionConfiguration": {"configuration": dict(job.action.configuration)},
        "inputArtifacts": [artifact(each["name"]) for each in declaration["inputArtifacts"]],
        "outputArtifacts": [artifact(each["name"]) for each in declaration["outputArtifacts"]],
        "artifactCredentials": dict.fromkeys(("accessKeyId", "secretAccessKey", "sessionToken"), "stand-in"),
    }
    if continuation:
        content["continuationToken"] = continuation
    if "encryptionKey" in store:
        content["encryptionKey"] = store["encryptionKey"]
    return {"CodePipeline.job": {"id": job.id, "accountId": account, "data": content}}


def _iso(seconds: float, precision: str) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision).replace("+00:00", "Z")
