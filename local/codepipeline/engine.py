"""The operations of the API, on top of the runner.

`answer(operation, params)` is the whole API: it checks the request against the model, then calls one method.
Answers are plain JSON values with times in epoch seconds, as on the wire.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

from local.codepipeline import rules, views, wire
from local.codepipeline.codebuild import CodeBuild
from local.codepipeline.runner import Runner
from local.codepipeline.values import (
    JSON,
    UNFINISHED,
    ApiError,
    Execution,
    Pipeline,
    Settings,
    Status,
    World,
)

if TYPE_CHECKING:
    from mypy_boto3_codepipeline import CodePipelineClient

T = TypeVar("T")
MAX_TAGS = 50
PAGE_SIZE = 100


class Engine:
    """CodePipeline in memory. Without `wire.Server` nothing moves until somebody calls `step()`."""

    def __init__(self, world: World, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.pipelines: dict[str, Pipeline] = {}
        self._runner = Runner(world, self.settings)
        self.codebuild = CodeBuild(self._runner)
        self._started = 0
        self._operations: dict[str, Callable[[JSON], JSON]] = {
            "CreatePipeline": self._create_pipeline,
            "GetPipeline": self._get_pipeline,
            "UpdatePipeline": self._update_pipeline,
            "DeletePipeline": self._delete_pipeline,
            "ListPipelines": self._list_pipelines,
            "StartPipelineExecution": self._start_pipeline_execution,
            "StopPipelineExecution": self._stop_pipeline_execution,
            "GetPipelineExecution": self._get_pipeline_execution,
            "ListPipelineExecutions": self._list_pipeline_executions,
            "GetPipelineState": self._get_pipeline_state,
            "ListActionExecutions": self._list_action_executions,
            "PutJobSuccessResult": self._put_job_success_result,
            "PutJobFailureResult": self._put_job_failure_result,
            "TagResource": self._tag_resource,
            "UntagResource": self._untag_resource,
            "ListTagsForResource": self._list_tags_for_resource,
        }

    # --- Driving it ------------------------------------------------------------------------------

    def answer(self, operation: str, params: JSON) -> JSON:
        """What the service answers; raises `ApiError` where it refuses."""
        if operation not in self._operations:
            raise ApiError("UnknownOperationException", f"This stand-in has no operation {operation}")
        rules.check_request(operation, params)
        with self._runner.lock:
            return copy.deepcopy(self._operations[operation](copy.deepcopy(params)))

    def client(self) -> CodePipelineClient:
        """A real boto3 client that this engine answers in process: no socket, no thread."""
        return wire.client(self)

    def push(self, repository: str, branch: str) -> None:
        """Somebody pushed: whoever did not say DetectChanges false starts by itself (facts B3-2)."""
        with self._runner.lock:
            for pipeline in self.pipelines.values():
                if any(_detects(action, repository, branch) for action in _sources(pipeline)):
                    self._begin(pipeline, "Webhook", {})

    def step(self) -> bool:
        """Run the next due task and deliver its events; False if there was nothing to do."""
        return self._runner.step()

    def run_until_idle(self, limit: int = 10_000) -> int:
        """Step until nothing is due now; what is due later (`next_due`) waits for the clock."""
        for steps in range(limit):
            if not self.step():
                return steps
        raise RuntimeError(f"still busy after {limit} steps")

    def next_due(self) -> float | None:
        """When something is due next, by the engine's clock: move a test's clock there and step on."""
        return self._runner.next_due()

    def wait(self, stop: Event) -> None:
        """Block until a step is worth while or `stop` is set, followed by `wake`."""
        self._runner.wait(stop)

    def wake(self) -> None:
        """Let waiting threads look again."""
        self._runner.wake()

    # --- Pipelines -------------------------------------------------------------------------------

    def _create_pipeline(self, params: JSON) -> JSON:
        declaration = rules.normalise({**params["pipeline"], "version": 1})
        name, now, tags = declaration["name"], self.settings.clock(), _tags(params.get("tags", []))
        if name in self.pipelines:  # facts B3-15
            raise ApiError("PipelineNameInUseException", f"A pipeline with the name '{name}' already exists")
        rules.check_pipeline(declaration)
        if len(self.pipelines) >= self.settings.pipeline_quota:  # facts B3-3
            raise ApiError(
                "LimitExceededException", "The number of pipelines has exceeded the limit of the account"
            )
        arn = f"{self._arn_prefix}{name}"
        pipeline = self.pipelines[name] = Pipeline(arn, now, now, [declaration], tags)
        self._begin(pipeline, "CreatePipeline", {})  # facts B3-1
        return {"pipeline": declaration, "tags": views.tags(tags)}

    def _get_pipeline(self, params: JSON) -> JSON:
        pipeline = self._pipeline(params["name"])
        version = params.get("version", len(pipeline.versions))
        if version > len(pipeline.versions):
            raise ApiError("PipelineVersionNotFoundException", f"There is no version {version}")
        metadata = {"pipelineArn": pipeline.arn, "created": pipeline.created, "updated": pipeline.updated}
        return {"pipeline": pipeline.versions[version - 1], "metadata": metadata}

    def _update_pipeline(self, params: JSON) -> JSON:
        """A new version, whatever changed, and the end of all that is in flight (facts B3-10)."""
        pipeline = self._pipeline(params["pipeline"]["name"])
        declaration = rules.normalise({**params["pipeline"], "version": len(pipeline.versions) + 1})
        rules.check_pipeline(declaration)
        self._runner.cancel(pipeline)
        pipeline.versions.append(declaration)
        pipeline.updated = self.settings.clock()
        return {"pipeline": declaration}

    def _delete_pipeline(self, params: JSON) -> JSON:
        """Missing is success; what runs is not stopped, but no later stage starts (facts B3-14)."""
        if pipeline := self.pipelines.pop(params["name"], None):
            pipeline.deleted = True
        return {}

    def _list_pipelines(self, params: JSON) -> JSON:
        by_name = sorted(self.pipelines.values(), key=lambda pipeline: pipeline.name)
        page, token = _page(by_name, params, lambda pipeline: pipeline.name)
        return {"pipelines": [views.pipeline_summary(pipeline) for pipeline in page], **token}

    # --- Executions ------------------------------------------------------------------------------

    def _start_pipeline_execution(self, params: JSON) -> JSON:
        pipeline = self._pipeline(params["name"])
        rules.check_start(pipeline.declaration, params)
        token = params.get("clientRequestToken")
        if token and token in pipeline.tokens:  # BC: “identifies a unique execution request”
            return {"pipelineExecutionId": pipeline.tokens[token]}
        running = [run for run in pipeline.executions.values() if run.status in UNFINISHED]
        if len(running) >= self.settings.execution_quota:  # BC, facts B3-15
            raise ApiError(
                "ConcurrentPipelineExecutionsLimitExceededException",
                "The pipeline has reached the limit for concurrent pipeline executions.",
            )
        execution = self._begin(pipeline, "StartPipelineExecution", params)
        if token:
            pipeline.tokens[token] = execution.id
        return {"pipelineExecutionId": execution.id}

    def _begin(self, pipeline: Pipeline, trigger: str, params: JSON) -> Execution:
        now, declaration = self.settings.clock(), pipeline.declaration
        self._started += 1
        execution = Execution(self.settings.new_id(), self._started, pipeline, declaration, trigger, now, now)
        execution.pins = {
            pin["actionName"]: pin["revisionValue"] for pin in params.get("sourceRevisions", [])
        }
        defaults = {
            v["name"]: v["defaultValue"] for v in declaration.get("variables", []) if "defaultValue" in v
        }
        given = {variable["name"]: variable["value"] for variable in params.get("variables", [])}
        execution.namespaces = {
            "codepipeline": {"PipelineExecutionId": execution.id},
            "variables": {**defaults, **given},
        }
        pipeline.executions[execution.id] = execution
        self._runner.start(execution)
        return execution

    def _stop_pipeline_execution(self, params: JSON) -> JSON:
        """Waiting may become abandoning, else nobody asks twice (facts B3-13; BC DuplicatedStopRequest)."""
        pipeline, abandon = self._pipeline(params["pipelineName"]), bool(params.get("abandon"))
        execution = pipeline.executions.get(params["pipelineExecutionId"])
        if execution is None or execution.status not in (Status.IN_PROGRESS, Status.STOPPING):
            raise ApiError(
                "PipelineExecutionNotStoppableException", "The pipeline execution is not in progress"
            )
        if execution.status is Status.STOPPING and (execution.abandon or not abandon):
            raise ApiError(
                "DuplicatedStopRequestException", "The pipeline execution is already in a Stopping state"
            )
        execution.abandon, execution.stop_reason = abandon, params.get("reason", "")
        self._runner.stop(execution)
        return {"pipelineExecutionId": execution.id}

    def _get_pipeline_execution(self, params: JSON) -> JSON:
        execution = self._execution(params["pipelineName"], params["pipelineExecutionId"])
        return {"pipelineExecution": views.execution(execution)}

    def _list_pipeline_executions(self, params: JSON) -> JSON:
        newest = list(reversed(self._pipeline(params["pipelineName"]).executions.values()))
        if stage := params.get("filter", {}).get("succeededInStage", {}).get("stageName"):
            newest = [each for each in newest if views.succeeded_in(each, stage)]
        page, token = _page(newest, params, lambda execution: -execution.number)
        return {"pipelineExecutionSummaries": [views.execution_summary(each) for each in page], **token}

    def _get_pipeline_state(self, params: JSON) -> JSON:
        return views.pipeline_state(self._pipeline(params["name"]))

    def _list_action_executions(self, params: JSON) -> JSON:
        pipeline, wanted = self._pipeline(params["pipelineName"]), params.get("filter", {})
        only = wanted.get("latestInPipelineExecution", wanted).get("pipelineExecutionId")
        runs = (
            [self._execution(pipeline.name, only)] if only else list(reversed(pipeline.executions.values()))
        )
        actions = [
            action for run in runs for stage in reversed(run.stages) for action in reversed(stage.actions)
        ]
        numbered = list(enumerate(actions))
        page, token = _page(numbered, params, lambda each: each[0])
        return {"actionExecutionDetails": [views.action_detail(action) for _, action in page], **token}

    # --- Jobs ------------------------------------------------------------------------------------

    def _put_job_success_result(self, params: JSON) -> JSON:
        continuation, outputs = params.get("continuationToken"), params.get("outputVariables", {})
        if continuation and outputs:  # facts B3-16
            raise ApiError("ValidationException", "outputVariables cannot accompany a continuationToken")
        action = self._runner.answer(params["jobId"])
        action.summary = params.get("executionDetails", {}).get("summary", action.summary)
        if continuation:
            self._runner.invoke_again(action, continuation)
        else:
            self._runner.succeed(action, outputs)
        return {}

    def _put_job_failure_result(self, params: JSON) -> JSON:
        action, why = self._runner.answer(params["jobId"]), params["failureDetails"]
        self._runner.fail(action, why["type"], why["message"])
        return {}

    # --- Tags ------------------------------------------------------------------------------------

    def _tag_resource(self, params: JSON) -> JSON:
        pipeline = self._tagged(params["resourceArn"])
        pipeline.tags = _tags([*views.tags(pipeline.tags), *params["tags"]])
        return {}

    def _untag_resource(self, params: JSON) -> JSON:
        pipeline = self._tagged(params["resourceArn"])
        pipeline.tags = {key: value for key, value in pipeline.tags.items() if key not in params["tagKeys"]}
        return {}

    def _list_tags_for_resource(self, params: JSON) -> JSON:
        tags = views.tags(self._tagged(params["resourceArn"]).tags)
        page, token = _page(tags, params, lambda tag: tag["key"])
        return {"tags": page, **token}

    # --- Finding ---------------------------------------------------------------------------------

    @property
    def _arn_prefix(self) -> str:
        return f"arn:aws:codepipeline:{self.settings.region}:{self.settings.account}:"

    def _pipeline(self, name: str) -> Pipeline:
        if name not in self.pipelines:
            message = f"Account '{self.settings.account}' does not have a pipeline with name '{name}'"
            raise ApiError("PipelineNotFoundException", message)
        return self.pipelines[name]

    def _execution(self, name: str, identifier: str) -> Execution:
        pipeline = self._pipeline(name)
        if identifier not in pipeline.executions:
            message = f"The pipeline '{name}' does not have an execution with id '{identifier}'"
            raise ApiError("PipelineExecutionNotFoundException", message)
        return pipeline.executions[identifier]

    def _tagged(self, arn: str) -> Pipeline:
        name = arn.removeprefix(self._arn_prefix)
        if name == arn:
            raise ApiError("InvalidArnException", f"{arn} is not in this account and region")
        if name not in self.pipelines:
            raise ApiError("ResourceNotFoundException", f"There is no pipeline {arn}")
        return self.pipelines[name]


def _sources(pipeline: Pipeline) -> list[JSON]:
    return list(pipeline.declaration["stages"][0]["actions"])


def _detects(action: JSON, repository: str, branch: str) -> bool:
    configuration = action["configuration"]
    watched = (configuration["FullRepositoryId"], configuration["BranchName"])
    return watched == (repository, branch) and configuration.get("DetectChanges") != "false"


def _tags(tags: list[JSON]) -> dict[str, str]:
    values = {tag["key"]: tag["value"] for tag in tags}
    if any(key.startswith("aws:") for key in values):
        raise ApiError("InvalidTagsException", "Tags that start with 'aws:' are the system's")
    if len(values) > MAX_TAGS:
        raise ApiError("TooManyTagsException", f"A pipeline has at most {MAX_TAGS} tags")
    return values


def _page(items: Iterable[T], params: JSON, key: Callable[[T], Any]) -> tuple[list[T], dict[str, str]]:
    """One page in the order of `key`; the token is the last key, so what comes and goes shifts nothing.

    The default of 100 is what BC says of every list but ListPipelines, of which it says nothing.
    """
    rest = sorted(items, key=key)
    if token := params.get("nextToken"):
        try:
            after = json.loads(token)
            rest = [item for item in rest if key(item) > after]
        except (ValueError, TypeError) as error:
            raise ApiError("InvalidNextTokenException", f"{token} is no token of this list") from error
    size = params.get("maxResults", PAGE_SIZE)
    page = rest[:size]
    return page, {"nextToken": json.dumps(key(page[-1]))} if len(rest) > size else {}
