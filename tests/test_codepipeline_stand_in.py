"""The CodePipeline stand-in behaves as facts B3 says; everything that relies on it relies on these."""

from __future__ import annotations

import contextlib
import json
import random
import re
import threading
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from local.codepipeline import (
    ApiError,
    BuildResult,
    Engine,
    Server,
    Settings,
    SourceRevision,
    World,
    attach,
    rules,
)
from local.codepipeline.values import EVENT_STATE, Status
from local.codepipeline.wire import respond

A, B, C = "a" * 40, "b" * 40, "c" * 40
PIPELINE, STAGE, ACTION = (
    f"CodePipeline {kind} Execution State Change" for kind in ("Pipeline", "Stage", "Action")
)


class Outside:
    """What the pipelines act upon in these tests, and an engine on top whose clock only moves by hand."""

    def __init__(self, **settings: Any) -> None:
        self.now = 1_700_000_000.0
        self.heads: dict[tuple[str, str], str] = {("acme/shop", "qa/foo"): A}
        self.builds: list[tuple[str, dict[str, str], SourceRevision, str]] = []
        self.results: dict[str, BuildResult | Exception] = {}
        self.jobs: list[dict[str, Any]] = []
        self.function: Callable[[dict[str, Any]], object] = lambda job: None
        self.events: list[dict[str, Any]] = []
        world = World(self.resolve, self.build, self.invoke, self.events.append)
        self.engine = Engine(world, Settings(clock=lambda: self.now, **settings))
        self.aws: Any = self.engine.client()

    def resolve(self, repository: str, branch: str) -> str | None:
        return self.heads.get((repository, branch))

    def build(self, project: str, env: dict[str, str], source: SourceRevision, execution: str) -> BuildResult:
        self.builds.append((project, env, source, execution))
        result = self.results.get(project, BuildResult(ok=True, log_url=f"https://logs/{project}"))
        if isinstance(result, Exception):
            raise result
        return result

    def invoke(self, name: str, event: dict[str, Any]) -> None:
        self.jobs.append(event["CodePipeline.job"])
        assert (
            name == event["CodePipeline.job"]["data"]["actionConfiguration"]["configuration"]["FunctionName"]
        )
        self.function(event["CodePipeline.job"])

    def create(self, *stages: dict[str, Any], **more: Any) -> str:
        """Create the pipeline `qa-foo`; the id of its first execution."""
        self.aws.create_pipeline(pipeline=pipeline(*stages, **more))
        return self.ids()[0]

    def start(self, commit: str, **more: Any) -> str:
        pin = {"actionName": "Git", "revisionType": "COMMIT_ID", "revisionValue": commit}
        answer = self.aws.start_pipeline_execution(name="qa-foo", sourceRevisions=[pin], **more)
        return str(answer["pipelineExecutionId"])

    def stop(self, execution: str, **more: Any) -> None:
        self.aws.stop_pipeline_execution(pipelineName="qa-foo", pipelineExecutionId=execution, **more)

    def execution(self, identifier: str) -> Any:
        answer = self.aws.get_pipeline_execution(pipelineName="qa-foo", pipelineExecutionId=identifier)
        return answer["pipelineExecution"]

    def ids(self) -> list[str]:
        answer = self.aws.list_pipeline_executions(pipelineName="qa-foo")
        return [each["pipelineExecutionId"] for each in answer["pipelineExecutionSummaries"]]

    def status(self, identifier: str) -> str:
        return str(self.execution(identifier)["status"])

    def stage(self, name: str) -> Any:
        states = self.aws.get_pipeline_state(name="qa-foo")["stageStates"]
        return next(state for state in states if state["stageName"] == name)

    def action(self, stage: str) -> Any:
        return self.stage(stage)["actionStates"][0].get("latestExecution")

    def told(self, kind: str, **wanted: str) -> list[str]:
        """The states that events of one kind told, in order."""
        keys = {key.replace("_", "-"): value for key, value in wanted.items()}
        details = [event["detail"] for event in self.events if event["detail-type"] == kind]
        return [each["state"] for each in details if keys.items() <= each.items()]


def action(name: str, category: str, provider: str, **more: Any) -> dict[str, Any]:
    kind = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
    return {"name": name, "actionTypeId": kind, **more}


def source(**more: Any) -> dict[str, Any]:
    configuration = {
        "ConnectionArn": "arn:aws:codeconnections:us-east-1:123456789012:connection/1",
        "FullRepositoryId": "acme/shop",
        "BranchName": "qa/foo",
        "DetectChanges": "false",
    }
    given: dict[str, Any] = {
        "configuration": configuration,
        "outputArtifacts": [{"name": "Code"}],
        "namespace": "SourceVariables",
        **more,
    }
    return {"name": "Source", "actions": [action("Git", "Source", "CodeStarSourceConnection", **given)]}


def build(name: str = "Build", variables: Any = None, **more: Any) -> dict[str, Any]:
    configuration = {"ProjectName": name.lower()}
    if variables is not None:
        configuration["EnvironmentVariables"] = (
            variables if isinstance(variables, str) else json.dumps(variables)
        )
    given = {"configuration": configuration, "inputArtifacts": [{"name": "Code"}], **more}
    return {"name": name, "actions": [action(name, "Build", "CodeBuild", **given)]}


def deploy(**more: Any) -> dict[str, Any]:
    configuration = {"FunctionName": "deploy", "UserParameters": "#{SourceVariables.CommitId}"}
    given = {"configuration": configuration, "inputArtifacts": [{"name": "Code"}], **more}
    return {"name": "Deploy", "actions": [action("Deploy", "Invoke", "Lambda", **given)]}


def pipeline(*stages: dict[str, Any], **more: Any) -> Any:
    return {
        "name": "qa-foo",
        "roleArn": "arn:aws:iam::123456789012:role/pipeline",
        "artifactStore": {"type": "S3", "location": "artifacts"},
        "pipelineType": "V2",
        "stages": list(stages) or [source(), build()],
        **more,
    }


@pytest.fixture
def outside() -> Outside:
    return Outside()


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


# --- Builds -------------------------------------------------------------------------------------


def building(outside: Outside, *stages: dict[str, Any]) -> str:
    """A pipeline whose build has begun; the build's id, as its action shows it."""
    outside.create(*stages)
    outside.engine.step()
    return str(outside.action("Build")["externalExecutionId"])


def build_status(outside: Outside, build: str) -> str:
    (found,) = outside.engine.codebuild.answer("BatchGetBuilds", {"ids": [build]})["builds"]
    assert found["buildComplete"] is (found["buildStatus"] != "IN_PROGRESS")
    return str(found["buildStatus"])


def stop_build(outside: Outside, build: str) -> Any:
    return outside.engine.codebuild.answer("StopBuild", {"id": build})["build"]


@pytest.mark.parametrize(("ok", "ended"), [(True, "SUCCEEDED"), (False, "FAILED")])
def test_an_action_of_codebuild_names_its_build(outside: Outside, ok: bool, ended: str) -> None:
    outside.results["build"] = BuildResult(ok=ok)
    build = building(outside)
    assert re.fullmatch(r"build:[0-9a-f-]{36}", build)
    assert build_status(outside, build) == "IN_PROGRESS"
    outside.engine.run_until_idle()
    assert build_status(outside, build) == ended
    assert outside.action("Build")["externalExecutionId"] == build
    assert "externalExecutionId" not in outside.action("Source")
    (detail, _) = outside.aws.list_action_executions(pipelineName="qa-foo")["actionExecutionDetails"]
    assert detail["output"]["executionResult"]["externalExecutionId"] == build


def test_a_build_that_is_stopped_does_nothing_and_fails_its_action(outside: Outside) -> None:
    build = building(outside)
    assert stop_build(outside, build)["buildStatus"] == "STOPPED"
    assert outside.action("Build")["status"] == "InProgress", "CodePipeline hears of it later"
    outside.engine.run_until_idle()
    assert outside.action("Build")["errorDetails"]["message"] == "Build terminated with state: STOPPED"
    assert outside.status(outside.ids()[0]) == "Failed"
    assert outside.builds == []


@pytest.mark.parametrize("end", ["abandon", "update", "delete"])
@pytest.mark.parametrize("stopped", [False, True])
def test_only_stopping_a_build_stops_it(outside: Outside, end: str, stopped: bool) -> None:  # B3-13, B3-14
    build = building(outside)
    match end:
        case "abandon":
            outside.stop(outside.ids()[0], abandon=True)
        case "update":
            outside.aws.update_pipeline(pipeline=pipeline())
        case "delete":
            outside.aws.delete_pipeline(name="qa-foo")
    assert build_status(outside, build) == "IN_PROGRESS"
    if stopped:
        stop_build(outside, build)
    outside.engine.run_until_idle()
    assert build_status(outside, build) == ("STOPPED" if stopped else "SUCCEEDED")
    assert len(outside.builds) == (not stopped)


def test_a_build_that_has_ended_cannot_be_stopped(outside: Outside) -> None:
    build = building(outside)
    outside.engine.run_until_idle()
    assert stop_build(outside, build)["buildStatus"] == "SUCCEEDED"
    outside.engine.run_until_idle()
    assert outside.status(outside.ids()[0]) == "Succeeded"


def test_a_build_that_is_stopped_while_it_works_has_not_succeeded(outside: Outside) -> None:
    """What it has done by then it has done."""
    outside.create(source(), build(), build("Migrate"))
    outside.engine.step()
    one = outside.action("Build")["externalExecutionId"]
    run = outside.build

    def stopped_on_the_way(*given: Any) -> BuildResult:
        stop_build(outside, one)
        return run(*given)

    object.__setattr__(outside.engine._runner.world, "run_build", stopped_on_the_way)
    outside.engine.run_until_idle()
    assert build_status(outside, one) == "STOPPED"
    assert outside.status(outside.ids()[0]) == "Failed"
    assert [each[0] for each in outside.builds] == ["build"]


def test_what_codebuild_does_not_know(outside: Outside) -> None:
    outside.create()
    asked = outside.engine.codebuild.answer("BatchGetBuilds", {"ids": ["build:1"]})
    assert asked == {"builds": [], "buildsNotFound": ["build:1"]}
    with pytest.raises(ApiError) as unknown:
        stop_build(outside, "build:1")
    with pytest.raises(ApiError) as unheard_of:
        outside.engine.codebuild.answer("StartBuild", {"projectName": "build"})
    assert [unknown.value.code, unheard_of.value.code] == [
        "ResourceNotFoundException",
        "UnknownOperationException",
    ]


def test_a_build_may_take_its_time() -> None:
    """It stands until the clock has come so far; who waits for nothing else is idle meanwhile."""
    outside = Outside(build_seconds=lambda: 600.0)
    build = building(outside)
    outside.engine.run_until_idle()
    assert build_status(outside, build) == "IN_PROGRESS"
    assert outside.engine.next_due() == outside.now + 600
    outside.now += 600
    outside.engine.run_until_idle()
    assert build_status(outside, build) == "SUCCEEDED"


# --- Pipelines ----------------------------------------------------------------------------------


def test_a_created_pipeline_starts_by_itself_on_the_head_of_its_branch(outside: Outside) -> None:  # B3-1
    first = outside.create()
    assert outside.execution(first)["status"] == "InProgress"
    assert outside.execution(first)["trigger"]["triggerType"] == "CreatePipeline"
    outside.engine.run_until_idle()
    assert outside.status(first) == "Succeeded"
    assert outside.builds[0][2] == SourceRevision("Git", "acme/shop", "qa/foo", A)


def test_starting_right_after_creating_builds_twice(outside: Outside) -> None:  # B3-1
    outside.create()
    outside.start(B)
    outside.engine.run_until_idle()
    assert [build[2].commit for build in outside.builds] == [A, B]


@pytest.mark.parametrize(
    ("configuration", "executions"),
    [({}, 2), ({"DetectChanges": "true"}, 2), ({"DetectChanges": "false"}, 1), ({"BranchName": "qa/bar"}, 1)],
)
def test_a_push_starts_whatever_does_not_say_no(
    outside: Outside, configuration: dict[str, str], executions: int
) -> None:  # B3-2
    stage = source()
    settings = stage["actions"][0]["configuration"]
    del settings["DetectChanges"]
    settings |= configuration
    outside.aws.create_pipeline(pipeline=pipeline(stage, build()))
    outside.engine.push("acme/shop", "qa/foo")
    listed = outside.aws.list_pipeline_executions(pipelineName="qa-foo")["pipelineExecutionSummaries"]
    triggers = [each["trigger"]["triggerType"] for each in listed]
    assert triggers == ["Webhook", "CreatePipeline"][-executions:]


def test_a_name_is_taken_once(outside: Outside) -> None:  # B3-15
    outside.create()
    with pytest.raises(outside.aws.exceptions.PipelineNameInUseException):
        outside.create()


def test_the_number_of_pipelines_is_limited() -> None:  # B3-3
    outside = Outside(pipeline_quota=1)
    outside.create()
    with pytest.raises(outside.aws.exceptions.LimitExceededException):
        outside.aws.create_pipeline(pipeline=pipeline(name="qa-bar"))


def test_the_number_of_executions_at_once_is_limited() -> None:  # B3-9, B3-15
    """The same request again is the same execution; what has ended makes room."""
    outside = Outside(execution_quota=2)
    outside.create()
    second = outside.start(B, clientRequestToken="second")
    assert outside.start(B, clientRequestToken="second") == second
    with pytest.raises(outside.aws.exceptions.ConcurrentPipelineExecutionsLimitExceededException):
        outside.start(C)
    assert len(outside.ids()) == 2
    outside.engine.run_until_idle()
    outside.start(C)


def test_get_gives_back_the_declaration_with_the_defaults_written_in(outside: Outside) -> None:
    outside.create()
    got = outside.aws.get_pipeline(name="qa-foo")
    assert got["metadata"]["pipelineArn"] == "arn:aws:codepipeline:us-east-1:123456789012:qa-foo"
    assert (got["pipeline"]["version"], got["pipeline"]["executionMode"]) == (1, "SUPERSEDED")
    assert got["pipeline"]["stages"][1]["actions"][0]["runOrder"] == 1
    assert got["pipeline"]["stages"][1]["actions"][0]["outputArtifacts"] == []


def test_what_get_gives_back_can_be_sent_to_update(outside: Outside) -> None:
    outside.create()
    answer = outside.aws.update_pipeline(pipeline=outside.aws.get_pipeline(name="qa-foo")["pipeline"])
    assert answer["pipeline"]["version"] == 2
    assert outside.aws.get_pipeline(name="qa-foo")["pipeline"]["version"] == 2
    assert outside.aws.get_pipeline(name="qa-foo", version=1)["pipeline"]["version"] == 1
    with pytest.raises(outside.aws.exceptions.PipelineVersionNotFoundException):
        outside.aws.get_pipeline(name="qa-foo", version=3)


def test_a_new_pipeline_has_version_1_whatever_is_asked_for(outside: Outside) -> None:
    """Also one of a name that was there before. BC:codepipeline.PipelineDeclaration.version"""
    outside.create()
    outside.aws.update_pipeline(pipeline=pipeline())
    copied = outside.aws.get_pipeline(name="qa-foo")["pipeline"]
    outside.aws.delete_pipeline(name="qa-foo")
    assert outside.aws.create_pipeline(pipeline=copied)["pipeline"]["version"] == 1
    assert outside.aws.get_pipeline(name="qa-foo")["pipeline"]["version"] == 1


def test_the_type_is_v1_unless_said_or_needed(outside: Outside) -> None:  # B3-4
    plain = {key: value for key, value in pipeline().items() if key != "pipelineType"}
    assert outside.aws.create_pipeline(pipeline=plain)["pipeline"]["pipelineType"] == "V1"
    with_variables: Any = {**plain, "name": "other", "variables": [{"name": "X", "defaultValue": "1"}]}
    assert outside.aws.create_pipeline(pipeline=with_variables)["pipeline"]["pipelineType"] == "V2"
    with pytest.raises(outside.aws.exceptions.InvalidStructureException):
        outside.aws.create_pipeline(pipeline={**with_variables, "name": "third", "pipelineType": "V1"})


def test_updating_bumps_the_version_and_cancels_what_is_in_flight(outside: Outside) -> None:  # B3-10, B3-11
    first = outside.create()
    outside.engine.step()  # the source is there, the build is in progress
    second = outside.start(B)
    outside.aws.update_pipeline(pipeline=pipeline())
    outside.engine.run_until_idle()
    assert (outside.status(first), outside.status(second)) == ("Cancelled", "Cancelled")
    assert outside.told(PIPELINE, execution_id=first) == ["STARTED", "CANCELED"]
    assert outside.told(STAGE, execution_id=first, stage="Build") == ["STARTED", "CANCELED"]
    assert outside.told(ACTION, execution_id=first, stage="Build") == ["STARTED", "CANCELED"]
    assert len(outside.builds) == 1, "the build that was in progress is not stopped by this"
    third = outside.start(C)
    outside.engine.run_until_idle()
    assert outside.status(third) == "Succeeded"
    assert outside.execution(third)["pipelineVersion"] == 2


def test_deleting_lets_the_build_finish_and_starts_nothing_after_it(outside: Outside) -> None:  # B3-14
    outside.create(source(), build(), build("Migrate"))
    outside.engine.step()
    outside.aws.delete_pipeline(name="qa-foo")
    outside.engine.run_until_idle()
    assert [each[0] for each in outside.builds] == ["build"]
    assert outside.told(ACTION, stage="Build") == ["STARTED"], "of a deleted pipeline nothing is told"
    with pytest.raises(outside.aws.exceptions.PipelineNotFoundException):
        outside.aws.get_pipeline(name="qa-foo")


def test_deleting_starts_no_later_action_of_the_same_stage(outside: Outside) -> None:  # B3-14
    late = {**build("Late")["actions"][0], "runOrder": 2}
    outside.create(source(), {"name": "Work", "actions": [*build()["actions"], late]})
    outside.engine.step()
    outside.aws.delete_pipeline(name="qa-foo")
    outside.engine.run_until_idle()
    assert [each[0] for each in outside.builds] == ["build"]


def test_deleting_lets_nobody_in_who_waits(outside: Outside) -> None:  # B3-14
    outside.create()
    outside.start(B)
    outside.aws.delete_pipeline(name="qa-foo")
    outside.engine.run_until_idle()
    assert outside.builds == []


def test_a_pipeline_recreated_under_its_name_hears_nothing_of_its_predecessor(outside: Outside) -> None:
    outside.create()
    outside.engine.step()
    outside.aws.delete_pipeline(name="qa-foo")
    again = outside.create()
    outside.engine.run_until_idle()
    assert outside.ids() == [again]
    assert outside.told(PIPELINE, execution_id=again) == ["STARTED", "SUCCEEDED"]


def test_a_stop_that_settles_after_the_delete_lets_nobody_in(outside: Outside) -> None:  # B3-14
    first = outside.create(source(), deploy())
    outside.engine.run_until_idle()
    outside.start(B)
    outside.engine.run_until_idle()
    outside.stop(first, abandon=True)
    outside.aws.delete_pipeline(name="qa-foo")
    outside.engine.run_until_idle()
    assert len(outside.jobs) == 1


def test_a_deleted_pipeline_tells_and_invokes_no_more(outside: Outside) -> None:  # B3-14
    outside.create(source(), deploy())
    outside.engine.run_until_idle()
    outside.aws.put_job_success_result(jobId=outside.jobs[0]["id"], continuationToken="x")
    told = len(outside.events)
    outside.aws.delete_pipeline(name="qa-foo")
    outside.now += 30
    outside.engine.run_until_idle()
    assert (len(outside.jobs), len(outside.events)) == (1, told)


def test_deleting_what_is_missing_succeeds(outside: Outside) -> None:  # B3-14
    outside.aws.delete_pipeline(name="never-was")


@pytest.mark.parametrize(
    "call",
    [
        lambda aws: aws.get_pipeline(name="no"),
        lambda aws: aws.get_pipeline_state(name="no"),
        lambda aws: aws.update_pipeline(pipeline=pipeline(name="no")),
        lambda aws: aws.start_pipeline_execution(name="no"),
        lambda aws: aws.list_pipeline_executions(pipelineName="no"),
    ],
)
def test_a_missing_pipeline_is_not_found(outside: Outside, call: Callable[[Any], Any]) -> None:
    with pytest.raises(outside.aws.exceptions.PipelineNotFoundException):
        call(outside.aws)


def test_lists_come_in_pages(outside: Outside) -> None:
    for name in ("c", "a", "b"):
        outside.aws.create_pipeline(pipeline=pipeline(name=name))
    one = outside.aws.list_pipelines(maxResults=2)
    outside.aws.delete_pipeline(name="b")  # the token's own item goes: nothing shifts, nothing is lost
    two = outside.aws.list_pipelines(maxResults=2, nextToken=one["nextToken"])
    assert [[each["name"] for each in page["pipelines"]] for page in (one, two)] == [["a", "b"], ["c"]]
    assert "nextToken" not in two
    with pytest.raises(outside.aws.exceptions.InvalidNextTokenException):
        outside.aws.list_pipelines(nextToken="nonsense")
    with pytest.raises(outside.aws.exceptions.InvalidNextTokenException):
        outside.aws.list_pipelines(nextToken="1")


def test_a_page_has_a_hundred_where_nobody_says(outside: Outside) -> None:
    for number in range(101):
        outside.aws.create_pipeline(pipeline=pipeline(name=f"qa-{number:03}"))
    pages = list(outside.aws.get_paginator("list_pipelines").paginate())
    assert [len(page["pipelines"]) for page in pages] == [100, 1]
    assert len(outside.aws.list_pipelines(maxResults=1000)["pipelines"]) == 101


def test_executions_are_listed_newest_first_in_pages(outside: Outside) -> None:
    expected = [outside.create()]
    for commit in (B, C):
        outside.engine.run_until_idle()
        expected.insert(0, outside.start(commit))
    outside.engine.run_until_idle()
    pages = outside.aws.get_paginator("list_pipeline_executions").paginate(
        pipelineName="qa-foo", PaginationConfig={"PageSize": 2}
    )
    listed = [each for page in pages for each in page["pipelineExecutionSummaries"]]
    assert [each["pipelineExecutionId"] for each in listed] == expected
    assert [each["sourceRevisions"][0]["revisionId"] for each in listed] == [C, B, A]
    assert [each["trigger"]["triggerType"] for each in listed][-2:] == [
        "StartPipelineExecution",
        "CreatePipeline",
    ]


def test_executions_can_be_filtered_by_a_stage_they_passed(outside: Outside) -> None:
    first = outside.create()
    outside.engine.run_until_idle()
    outside.results["build"] = BuildResult(ok=False)
    outside.start(B)
    outside.engine.run_until_idle()
    wanted: Any = {"succeededInStage": {"stageName": "Build"}}
    answer = outside.aws.list_pipeline_executions(pipelineName="qa-foo", filter=wanted)
    assert [each["pipelineExecutionId"] for each in answer["pipelineExecutionSummaries"]] == [first]


# --- What is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "n" * 101},
        {"name": "qa/foo"},
        {"name": "é"},
        {"roleArn": "role"},
        {"artifactStore": {"type": "S3", "location": "under_score"}},
        {"pipelineType": "V3"},
        {"stages": [source(), build(variables=[{"name": "X", "value": "v" * 1000}])]},  # B3-7: 1000 in all
        {"stages": [source(namespace="a b"), build()]},
        {"executionMode": "QUEUED"},  # not a rule of AWS: the stand-in says what it cannot do
    ],
)
def test_the_model_is_enforced(outside: Outside, wrong: dict[str, Any]) -> None:  # B3-3, D2-15
    with pytest.raises(outside.aws.exceptions.ValidationException):
        outside.create(**wrong) if "stages" not in wrong else outside.create(*wrong["stages"])
    assert outside.aws.list_pipelines()["pipelines"] == []


def test_a_value_of_1000_characters_is_accepted(outside: Outside) -> None:  # B3-7
    frame = len(json.dumps([{"name": "X", "value": ""}]))
    outside.create(source(), build(variables=[{"name": "X", "value": "v" * (1000 - frame)}]))


def test_required_members_and_types_are_checked_where_no_client_did(outside: Outside) -> None:
    with pytest.raises(Exception, match="'name' failed to satisfy constraint: Member must not be null"):
        outside.engine.answer("GetPipeline", {})
    with pytest.raises(Exception, match="name must be a string"):
        outside.engine.answer("GetPipeline", {"name": 1})
    with pytest.raises(Exception, match="no operation RetryStageExecution"):
        outside.engine.answer("RetryStageExecution", {})


def test_every_pattern_of_the_model_is_one_python_understands() -> None:
    shapes = [rules.model().shape_for(name) for name in rules.model().shape_names]
    patterns = [shape.metadata["pattern"] for shape in shapes if "pattern" in shape.metadata]
    assert patterns
    assert all(re.compile(pattern) for pattern in patterns)


NO_SOURCE = {"name": "Start", "actions": build()["actions"]}
TWO_SOURCES = {"name": "Source", "actions": source()["actions"] + source()["actions"]}
TWICE: Any = build()
TWICE["actions"] = TWICE["actions"] * 2


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([source()], "InvalidStructureException"),  # B3-3: two stages at least
        ([source(), *[build(f"B{n}") for n in range(50)]], "InvalidStructureException"),
        ([NO_SOURCE, build()], "InvalidStructureException"),
        ([source(), source()], "InvalidStructureException"),
        ([source(), {"name": "Build", "actions": []}], "InvalidStageDeclarationException"),
        ([source(), build(), build()], "InvalidStageDeclarationException"),
        ([source(), TWICE], "InvalidActionDeclarationException"),
        ([source(), build(namespace="SourceVariables")], "InvalidStructureException"),
        ([source(), build(outputArtifacts=[{"name": "Code"}])], "InvalidStructureException"),
        ([source(), build(inputArtifacts=[{"name": "Lost"}])], "InvalidActionDeclarationException"),
        ([source(), build(inputArtifacts=[])], "InvalidActionDeclarationException"),
        ([source(), build(configuration={})], "InvalidActionDeclarationException"),
        (
            [source(), deploy(configuration={"FunctionName": "f", "Typo": "1"})],
            "InvalidActionDeclarationException",
        ),
        (
            [source(), {"name": "Approve", "actions": [action("Ask", "Approval", "Manual")]}],
            "InvalidActionDeclarationException",
        ),
    ],
)
def test_a_structure_that_cannot_run_is_refused(outside: Outside, stages: Any, expected: str) -> None:
    with pytest.raises(ClientError) as error:
        outside.create(*stages)
    assert code(error) == expected
    outside.create()
    with pytest.raises(ClientError) as error:
        outside.aws.update_pipeline(pipeline=pipeline(*stages))
    assert code(error) == expected


def test_one_artifact_store_setting_is_needed(outside: Outside) -> None:
    store: Any = {"type": "S3", "location": "artifacts"}
    with pytest.raises(outside.aws.exceptions.InvalidStructureException):
        outside.create(artifactStores={"us-east-1": store})
    declaration = {key: value for key, value in pipeline().items() if key != "artifactStore"}
    with pytest.raises(outside.aws.exceptions.InvalidStructureException):
        outside.aws.create_pipeline(pipeline=declaration)
    outside.aws.create_pipeline(pipeline={**declaration, "artifactStores": {"us-east-1": store}})


# --- Starting -----------------------------------------------------------------------------------


def test_a_pinned_commit_is_built_whatever_the_head_is(outside: Outside) -> None:  # B3-6
    outside.create()
    outside.engine.run_until_idle()
    pinned = outside.start(B)
    outside.engine.run_until_idle()
    assert outside.builds[-1][2].commit == B
    assert outside.execution(pinned)["artifactRevisions"][0]["revisionId"] == B


def test_the_commit_is_known_once_the_source_action_has_finished(outside: Outside) -> None:  # B3-12
    first = outside.create()
    assert outside.execution(first)["artifactRevisions"] == []
    outside.engine.step()
    assert outside.execution(first)["artifactRevisions"] == [
        {"name": "Code", "revisionId": A, "revisionUrl": f"https://github.com/acme/shop/commit/{A}"}
    ]
    assert outside.action("Source")["status"] == "Succeeded"
    assert outside.action("Build")["status"] == "InProgress"


def test_a_branch_that_is_gone_fails_the_source_action(outside: Outside) -> None:
    outside.heads.clear()
    first = outside.create()
    outside.engine.run_until_idle()
    assert outside.status(first) == "Failed"
    assert "No branch qa/foo found" in outside.action("Source")["errorDetails"]["message"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"actionName": "Nobody", "revisionType": "COMMIT_ID", "revisionValue": A},
        {"actionName": "Git", "revisionType": "IMAGE_DIGEST", "revisionValue": A},
    ],
)
def test_only_a_commit_of_a_source_action_can_be_pinned(outside: Outside, wrong: Any) -> None:
    outside.create()
    with pytest.raises(outside.aws.exceptions.ValidationException):
        outside.aws.start_pipeline_execution(name="qa-foo", sourceRevisions=[wrong])


def test_a_v1_pipeline_takes_no_overrides(outside: Outside) -> None:  # B3-4
    outside.create(pipelineType="V1")
    with pytest.raises(outside.aws.exceptions.ValidationException):
        outside.start(B)
    outside.aws.start_pipeline_execution(name="qa-foo")


def test_the_same_token_starts_once(outside: Outside) -> None:  # B3-6
    outside.create()
    first = outside.start(B, clientRequestToken="push-1")
    assert outside.start(B, clientRequestToken="push-1") == first
    assert outside.start(B, clientRequestToken="push-2") != first
    with pytest.raises(outside.aws.exceptions.ValidationException):
        outside.start(B, clientRequestToken="not allowed")


# --- Variables ----------------------------------------------------------------------------------


def test_variables_are_resolved_when_the_action_runs(outside: Outside) -> None:  # B3-7, B3-8
    variables = [
        {"name": "ENV", "value": "#{variables.ENV}", "type": "PLAINTEXT"},
        {"name": "SIZE", "value": "#{variables.SIZE}"},
        {"name": "COMMIT", "value": "#{SourceVariables.CommitId}"},
        {"name": "BRANCH", "value": "#{SourceVariables.BranchName}"},
        {"name": "RUN", "value": "#{codepipeline.PipelineExecutionId}"},
        {"name": "IMAGE", "value": "#{Made.IMAGE}"},
    ]
    outside.results["build"] = BuildResult(ok=True, variables={"IMAGE": "shop:1"})
    declared = [{"name": "ENV"}, {"name": "SIZE", "defaultValue": "small"}]
    outside.create(source(), build(namespace="Made"), build("Migrate", variables), variables=declared)
    run = outside.start(B, variables=[{"name": "ENV", "value": "qa-foo"}])
    outside.engine.run_until_idle()
    assert outside.builds[-1] == (
        "migrate",
        {"ENV": "qa-foo", "SIZE": "small", "COMMIT": B, "BRANCH": "qa/foo", "RUN": run, "IMAGE": "shop:1"},
        SourceRevision("Git", "acme/shop", "qa/foo", B),
        run,
    )
    assert {"name": "ENV", "resolvedValue": "qa-foo"} in outside.execution(run)["variables"]


@pytest.mark.parametrize("name", ["variables.MISSING", "Nobody.X", "SourceVariables", ""])
def test_a_variable_nobody_set_fails_the_action(outside: Outside, name: str) -> None:
    first = outside.create(source(), build(variables=[{"name": "X", "value": f"#{{{name}}}"}]))
    outside.engine.run_until_idle()
    assert outside.status(first) == "Failed"
    assert f"#{{{name}}} cannot be resolved" in outside.action("Build")["errorDetails"]["message"]
    assert outside.builds == []


def test_a_variable_must_be_declared_and_not_empty(outside: Outside) -> None:  # B3-7
    outside.create(variables=[{"name": "ENV", "defaultValue": "x"}])
    with pytest.raises(outside.aws.exceptions.ValidationException):
        outside.start(B, variables=[{"name": "OTHER", "value": "x"}])
    with pytest.raises(Exception, match="length greater than or equal to 1"):
        outside.engine.answer(
            "StartPipelineExecution", {"name": "qa-foo", "variables": [{"name": "ENV", "value": ""}]}
        )
    with pytest.raises(outside.aws.exceptions.ValidationException):
        outside.start(B, variables=[{"name": "ENV", "value": "v" * 1001}])


def test_a_quote_in_a_value_breaks_the_json_around_it(outside: Outside) -> None:  # B3-7
    outside.create(
        source(),
        build(variables=[{"name": "TITLE", "value": "#{variables.TITLE}"}]),
        variables=[{"name": "TITLE", "defaultValue": "x"}],
    )
    run = outside.start(B, variables=[{"name": "TITLE", "value": 'say "hi"'}])
    outside.engine.run_until_idle()
    assert outside.status(run) == "Failed"
    assert outside.action("Build")["errorDetails"]["code"] == "ConfigurationError"


@pytest.mark.parametrize("text", ["{}}", '{"name": "X"}', '["X"]', '[{"name": "X"}]', "7"])
def test_environment_variables_that_are_none_fail_the_action(outside: Outside, text: str) -> None:  # B3-8
    first = outside.create(source(), build(variables=text))
    outside.engine.run_until_idle()
    assert outside.status(first) == "Failed"


def test_variables_from_a_secret_are_not_guessed(outside: Outside) -> None:
    secret = [{"name": "X", "value": "arn", "type": "SECRETS_MANAGER"}]
    first = outside.create(source(), build(variables=secret))
    outside.engine.run_until_idle()
    assert outside.status(first) == "Failed"


# --- Running ------------------------------------------------------------------------------------


def test_a_failed_build_ends_the_execution_and_the_next_one_can_pass(outside: Outside) -> None:
    outside.results["build"] = BuildResult(ok=False, summary="rspec: 3 failures", log_url="https://logs/1")
    first = outside.create(source(), build(), build("Migrate"))
    outside.engine.run_until_idle()
    assert outside.status(first) == "Failed"
    assert outside.stage("Build")["latestExecution"]["status"] == "Failed"
    assert outside.action("Build")["externalExecutionUrl"] == "https://logs/1"
    assert outside.action("Build")["errorDetails"] == {"code": "JobFailed", "message": "rspec: 3 failures"}
    assert outside.action("Migrate") is None
    outside.results.clear()
    second = outside.start(B)
    outside.engine.run_until_idle()
    assert outside.status(second) == "Succeeded"


def test_a_build_that_breaks_down_fails_its_action(outside: Outside) -> None:
    outside.results["build"] = OSError("no disk")
    first = outside.create()
    outside.engine.run_until_idle()
    assert outside.status(first) == "Failed"
    assert outside.action("Build")["errorDetails"]["message"] == "OSError: no disk"


def test_an_assertion_in_a_test_is_not_swallowed(outside: Outside) -> None:
    outside.results["build"] = AssertionError("the test's own finding")
    outside.create()
    with pytest.raises(AssertionError, match="the test's own finding"):
        outside.engine.run_until_idle()


def test_actions_run_in_their_order_and_side_by_side_within_it(outside: Outside) -> None:
    late = {**build("Late")["actions"][0], "runOrder": 2}
    stage = {"name": "Work", "actions": [late, *build("One")["actions"], *build("Two")["actions"]]}
    outside.create(source(), stage)
    outside.engine.step()
    states = {each["actionName"]: "latestExecution" in each for each in outside.stage("Work")["actionStates"]}
    assert states == {"Late": False, "One": True, "Two": True}
    outside.engine.run_until_idle()
    assert [each[0] for each in outside.builds] == ["one", "two", "late"]


def test_a_stage_fails_when_all_its_actions_have_ended(outside: Outside) -> None:
    outside.results["one"] = BuildResult(ok=False)
    stage = {"name": "Work", "actions": [*build("One")["actions"], *build("Two")["actions"]]}
    first = outside.create(source(), stage)
    outside.engine.step()
    outside.engine.step()
    assert outside.status(first) == "InProgress"
    outside.engine.step()
    assert outside.status(first) == "Failed"
    assert len(outside.builds) == 2


def test_a_build_can_go_on_from_what_a_build_produced(outside: Outside) -> None:
    test = build("Test", inputArtifacts=[{"name": "Code"}, {"name": "Image"}])
    test["actions"][0]["configuration"]["PrimarySource"] = "Image"
    outside.create(source(), build(outputArtifacts=[{"name": "Image"}]), test)
    outside.engine.run_until_idle()
    assert outside.builds[-1][2].commit == A


def test_the_state_shows_who_is_in_a_stage_and_who_waits(outside: Outside) -> None:
    first = outside.create()
    outside.engine.step()
    second = outside.start(B)
    outside.engine.run_until_idle(limit=10)
    assert outside.stage("Build")["latestExecution"]["pipelineExecutionId"] == second
    outside.start(C)
    third = outside.start(A)
    assert outside.stage("Source")["inboundExecution"]["pipelineExecutionId"] == third
    assert first in outside.ids()


def test_actions_are_listed_with_what_they_were_given(outside: Outside) -> None:
    first = outside.create(source(), build(variables=[{"name": "C", "value": "#{SourceVariables.CommitId}"}]))
    outside.engine.run_until_idle()
    answer = outside.aws.list_action_executions(pipelineName="qa-foo", filter={"pipelineExecutionId": first})
    details = answer["actionExecutionDetails"]
    assert [(each["actionName"], each["status"]) for each in details] == [
        ("Build", "Succeeded"),
        ("Git", "Succeeded"),
    ]
    assert A in details[0]["input"]["resolvedConfiguration"]["EnvironmentVariables"]
    assert details[1]["output"]["outputVariables"]["CommitId"] == A


# --- Superseding --------------------------------------------------------------------------------


def test_a_newer_execution_overtakes_the_one_that_waits_not_the_one_that_runs(
    outside: Outside,
) -> None:  # B3-9
    first = outside.create()  # in Source
    second = outside.start(B)  # waits in front of Source
    third = outside.start(C)
    assert [outside.status(each) for each in (first, second, third)] == [
        "InProgress",
        "Superseded",
        "InProgress",
    ]
    outside.engine.run_until_idle()
    assert [outside.status(each) for each in (first, second, third)] == [
        "Succeeded",
        "Superseded",
        "Succeeded",
    ]
    assert [each[2].commit for each in outside.builds] == [A, C]
    assert outside.told(PIPELINE, execution_id=second) == ["STARTED", "SUPERSEDED"]


def test_overtaking_happens_in_front_of_any_stage(outside: Outside) -> None:  # B3-9
    first = outside.create(source(), deploy())
    outside.engine.run_until_idle()  # the function has not answered: the first one is in Deploy
    second = outside.start(B)
    outside.engine.run_until_idle()
    assert outside.stage("Deploy")["inboundExecution"]["pipelineExecutionId"] == second
    third = outside.start(C)
    outside.engine.run_until_idle()
    assert [outside.status(each) for each in (first, second, third)] == [
        "InProgress",
        "Superseded",
        "InProgress",
    ]
    outside.aws.put_job_success_result(jobId=outside.jobs[0]["id"])
    outside.engine.run_until_idle()
    assert outside.jobs[-1]["data"]["actionConfiguration"]["configuration"]["UserParameters"] == C


# --- Stopping -----------------------------------------------------------------------------------


def test_stopping_waits_for_the_action_in_progress(outside: Outside) -> None:  # B3-13
    first = outside.create(source(), build(), build("Migrate"))
    outside.engine.step()
    outside.stop(first, reason="branch deleted")
    assert outside.status(first) == "Stopping"
    assert outside.stage("Build")["latestExecution"]["status"] == "Stopping"
    outside.engine.run_until_idle()
    assert outside.status(first) == "Stopped"
    assert outside.action("Build")["status"] == "Succeeded"
    assert outside.action("Migrate") is None
    assert outside.told(PIPELINE) == ["STARTED", "STOPPING", "STOPPED"]
    summary = outside.aws.list_pipeline_executions(pipelineName="qa-foo")["pipelineExecutionSummaries"][0]
    assert summary["stopTrigger"] == {"reason": "branch deleted"}


def test_abandoning_does_not_wait_but_the_build_goes_on(outside: Outside) -> None:  # B3-13
    first = outside.create()
    outside.engine.step()
    outside.stop(first, abandon=True)
    assert outside.status(first) == "Stopping"
    outside.engine.step()
    assert (outside.status(first), outside.action("Build")["status"]) == ("Stopped", "Abandoned")
    assert outside.builds == []
    outside.engine.run_until_idle()
    assert len(outside.builds) == 1
    assert (outside.status(first), outside.action("Build")["status"]) == ("Stopped", "Abandoned")
    assert outside.told(ACTION, stage="Build") == ["STARTED", "ABANDONED"]


def test_who_waits_is_stopped_and_whoever_is_next_goes_on(outside: Outside) -> None:
    first = outside.create()
    second = outside.start(B)
    outside.stop(second)
    outside.engine.run_until_idle()
    assert (outside.status(first), outside.status(second)) == ("Succeeded", "Stopped")
    third, fourth = outside.start(B), outside.start(C)
    outside.stop(third, abandon=True)
    outside.engine.run_until_idle()
    assert (outside.status(third), outside.status(fourth)) == ("Stopped", "Succeeded")


def test_stopping_twice_is_a_duplicate_but_waiting_may_become_abandoning(outside: Outside) -> None:  # B3-13
    first = outside.create(source(), deploy())
    outside.engine.run_until_idle()
    outside.stop(first)
    outside.engine.run_until_idle()
    assert outside.status(first) == "Stopping"
    with pytest.raises(outside.aws.exceptions.DuplicatedStopRequestException):
        outside.stop(first)
    outside.stop(first, abandon=True)
    with pytest.raises(outside.aws.exceptions.DuplicatedStopRequestException):
        outside.stop(first, abandon=True)
    outside.engine.run_until_idle()
    assert outside.status(first) == "Stopped"


def test_what_is_over_cannot_be_stopped(outside: Outside) -> None:  # B3-13
    first = outside.create()
    outside.engine.run_until_idle()
    for identifier in (first, "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(outside.aws.exceptions.PipelineExecutionNotStoppableException):
            outside.stop(identifier)
    with pytest.raises(outside.aws.exceptions.PipelineExecutionNotFoundException):
        outside.execution("00000000-0000-0000-0000-000000000000")


# --- Lambda actions -----------------------------------------------------------------------------


def test_a_function_gets_the_real_event_and_ends_its_action(outside: Outside) -> None:  # B3-16
    first = outside.create(source(), deploy())
    outside.engine.run_until_idle()
    job = outside.jobs[0]
    assert job["accountId"] == "123456789012"
    assert job["data"]["actionConfiguration"] == {
        "configuration": {"FunctionName": "deploy", "UserParameters": A}
    }
    assert (job["data"]["inputArtifacts"][0]["name"], job["data"]["inputArtifacts"][0]["revision"]) == (
        "Code",
        A,
    )
    assert job["data"]["outputArtifacts"] == []
    assert set(job["data"]["artifactCredentials"]) == {"accessKeyId", "secretAccessKey", "sessionToken"}
    assert not {"continuationToken", "encryptionKey"} & set(job["data"])
    assert outside.status(first) == "InProgress"
    outside.aws.put_job_success_result(jobId=job["id"], executionDetails={"summary": "live"})
    outside.engine.run_until_idle()
    assert outside.status(first) == "Succeeded"
    assert outside.action("Deploy")["summary"] == "live"


def test_a_function_may_answer_while_it_is_invoked(outside: Outside) -> None:
    outside.function = lambda job: outside.aws.put_job_success_result(
        jobId=job["id"], outputVariables={"URL": "u"}
    )
    last = build("After", [{"name": "URL", "value": "#{Live.URL}"}])
    first = outside.create(source(), deploy(namespace="Live"), last)
    outside.engine.run_until_idle()
    assert outside.status(first) == "Succeeded"
    assert outside.builds[-1][1] == {"URL": "u"}


def test_a_failure_result_fails_the_action(outside: Outside) -> None:
    first = outside.create(source(), deploy())
    outside.engine.run_until_idle()
    outside.aws.put_job_failure_result(
        jobId=outside.jobs[0]["id"], failureDetails={"type": "JobFailed", "message": "unhealthy"}
    )
    assert outside.status(first) == "Failed"
    assert outside.action("Deploy")["errorDetails"] == {"code": "JobFailed", "message": "unhealthy"}


def test_a_continuation_token_brings_a_new_job_after_a_while(outside: Outside) -> None:  # B3-16
    first = outside.create(source(), deploy())
    outside.engine.run_until_idle()
    outside.aws.put_job_success_result(jobId=outside.jobs[0]["id"], continuationToken="round-2")
    outside.engine.run_until_idle()
    assert len(outside.jobs) == 1
    outside.now += 5
    outside.engine.run_until_idle()
    assert outside.jobs[1]["data"]["continuationToken"] == "round-2"
    assert outside.jobs[1]["id"] != outside.jobs[0]["id"]
    outside.aws.put_job_success_result(jobId=outside.jobs[1]["id"])
    assert outside.status(first) == "Succeeded"


def test_a_continuation_has_no_output_variables(outside: Outside) -> None:  # B3-16
    outside.create(source(), deploy())
    outside.engine.run_until_idle()
    job = outside.jobs[0]["id"]
    with pytest.raises(outside.aws.exceptions.ValidationException):
        outside.aws.put_job_success_result(jobId=job, continuationToken="x", outputVariables={"A": "b"})
    with pytest.raises(outside.aws.exceptions.ValidationException):
        outside.aws.put_job_success_result(jobId=job, continuationToken="x" * 2049)
    outside.aws.put_job_success_result(jobId=job, continuationToken="x" * 2048)


def test_silence_fails_the_action_after_twenty_minutes(outside: Outside) -> None:  # B3-16
    first = outside.create(source(), deploy())
    outside.engine.run_until_idle()
    assert outside.engine.next_due() == outside.now + 20 * 60
    outside.now += 20 * 60
    outside.engine.run_until_idle()
    assert outside.status(first) == "Failed"
    with pytest.raises(outside.aws.exceptions.InvalidJobStateException):
        outside.aws.put_job_success_result(jobId=outside.jobs[0]["id"])


def test_all_rounds_together_are_limited() -> None:  # B3-16
    outside = Outside(invoke_limit=60, continuation_delay=20)
    outside.function = lambda job: outside.aws.put_job_success_result(jobId=job["id"], continuationToken="x")
    first = outside.create(source(), deploy())
    outside.engine.run_until_idle()
    while outside.status(first) == "InProgress":
        outside.now = outside.engine.next_due() or outside.now
        outside.engine.run_until_idle()
    assert (outside.status(first), len(outside.jobs)) == ("Failed", 3)
    assert outside.engine.next_due() is None


def test_a_function_that_cannot_be_invoked_fails_the_action(outside: Outside) -> None:
    def refuse(_job: dict[str, Any]) -> None:
        raise PermissionError("not authorized")

    outside.function = refuse
    first = outside.create(source(), deploy())
    outside.engine.run_until_idle()
    assert outside.status(first) == "Failed"
    assert "not authorized" in outside.action("Deploy")["errorDetails"]["message"]


def test_a_job_is_answered_once(outside: Outside) -> None:
    outside.create(source(), deploy())
    outside.engine.run_until_idle()
    outside.aws.put_job_success_result(jobId=outside.jobs[0]["id"])
    with pytest.raises(outside.aws.exceptions.InvalidJobStateException):
        outside.aws.put_job_success_result(jobId=outside.jobs[0]["id"])
    with pytest.raises(outside.aws.exceptions.JobNotFoundException):
        outside.aws.put_job_success_result(jobId="00000000-0000-0000-0000-000000000000")


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (lambda outside, run: outside.stop(run, abandon=True), "InvalidJobStateException"),
        (lambda outside, run: outside.aws.update_pipeline(pipeline=pipeline()), "InvalidJobStateException"),
        (lambda outside, run: outside.aws.delete_pipeline(name="qa-foo"), "JobNotFoundException"),
    ],
)
def test_an_answer_that_comes_too_late_is_refused(outside: Outside, end: Any, expected: str) -> None:
    first = outside.create(source(), deploy())
    outside.engine.run_until_idle()
    end(outside, first)
    outside.engine.run_until_idle()
    with pytest.raises(ClientError) as error:
        outside.aws.put_job_failure_result(
            jobId=outside.jobs[0]["id"], failureDetails={"type": "JobFailed", "message": "late"}
        )
    assert code(error) == expected


# --- All together -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_every_execution_ends(seed: int) -> None:
    """Random calls between random steps: nothing hangs, and a stage never has two executions in it."""
    dice, outside = random.Random(seed), Outside(continuation_delay=1)  # noqa: S311 - dice, not secrets

    def function(job: dict[str, Any]) -> None:
        again = {"continuationToken": "x"} if dice.random() < 0.3 else {}
        with contextlib.suppress(ClientError):
            outside.aws.put_job_success_result(jobId=job["id"], **again)

    outside.function = function
    outside.create(source(), build(), deploy())
    for _ in range(60):
        outside.results["build"] = BuildResult(ok=dice.random() < 0.8)
        run = dice.choice(outside.ids())
        calls: list[Callable[[], object]] = [
            lambda: outside.start(dice.choice([A, B, C])),
            lambda run=run: outside.stop(run, abandon=dice.random() < 0.5),  # type: ignore[misc]
            lambda: outside.aws.update_pipeline(pipeline=pipeline(source(), build(), deploy())),
        ]
        with contextlib.suppress(ClientError):
            dice.choices([*calls, outside.engine.step], weights=[3, 2, 1, 6])[0]()
        states = [
            stage.get("latestExecution", {})
            for stage in outside.aws.get_pipeline_state(name="qa-foo")["stageStates"]
        ]
        busy = [
            state["pipelineExecutionId"]
            for state in states
            if state.get("status") in ("InProgress", "Stopping")
        ]
        assert len(busy) == len(set(busy)), "nobody is in two stages"
    while (due := outside.engine.next_due()) is not None:
        outside.now = max(outside.now, due)
        outside.engine.run_until_idle()
    final = {run: outside.status(run) for run in outside.ids()}
    assert not {"InProgress", "Stopping"} & set(final.values())
    for run, status in final.items():
        told = outside.told(PIPELINE, execution_id=run)
        assert (told[0], told[-1]) == ("STARTED", EVENT_STATE[Status(status)])


# --- Events -------------------------------------------------------------------------------------


def test_an_event_has_the_whole_envelope(outside: Outside) -> None:  # B3-12
    first = outside.create()
    assert outside.events == [], "nothing is told during the call that caused it"
    outside.engine.run_until_idle()
    event = outside.events[0]
    assert {key: value for key, value in event.items() if key != "id"} == {
        "version": "0",
        "detail-type": PIPELINE,
        "source": "aws.codepipeline",
        "account": "123456789012",
        "time": "2023-11-14T22:13:20Z",
        "region": "us-east-1",
        "resources": ["arn:aws:codepipeline:us-east-1:123456789012:qa-foo"],
        "detail": {
            "pipeline": "qa-foo",
            "execution-id": first,
            "start-time": "2023-11-14T22:13:20.000Z",
            "state": "STARTED",
            "version": 1.0,
            "pipeline-execution-attempt": 1.0,
            "execution-trigger": {
                "trigger-type": "CreatePipeline",
                "trigger-detail": "arn:aws:iam::123456789012:root",
            },
        },
    }


def test_events_tell_pipeline_stages_and_actions_in_order(outside: Outside) -> None:  # B3-11, B3-12
    outside.create()
    outside.engine.run_until_idle()
    told = [
        (event["detail-type"].split()[1], event["detail"].get("stage"), event["detail"]["state"])
        for event in outside.events
    ]
    both = ("STARTED", "SUCCEEDED")
    stages = [
        [
            ("Stage", name, "STARTED"),
            *[("Action", name, state) for state in both],
            ("Stage", name, "SUCCEEDED"),
        ]
        for name in ("Source", "Build")
    ]
    assert told == [("Pipeline", None, "STARTED"), *stages[0], *stages[1], ("Pipeline", None, "SUCCEEDED")]
    assert A not in json.dumps(outside.events), "no event carries the commit"


def test_an_actions_event_says_what_and_why(outside: Outside) -> None:
    outside.results["build"] = BuildResult(ok=False, summary="red", log_url="https://logs/1")
    outside.create()
    outside.engine.run_until_idle()
    detail = next(
        e["detail"] for e in outside.events if e["detail-type"] == ACTION and e["detail"]["state"] == "FAILED"
    )
    assert (detail["action"], detail["type"]["provider"]) == ("Build", "CodeBuild")
    assert detail["execution-result"] == {
        "external-execution-url": "https://logs/1",
        "external-execution-summary": "red",
        "error-code": "JobFailed",
    }


def test_api_and_events_spell_differently() -> None:  # B3-11
    assert EVENT_STATE[Status.IN_PROGRESS] == "STARTED"
    assert EVENT_STATE[Status.CANCELLED] == "CANCELED"
    assert {EVENT_STATE[status] for status in Status} == {
        "STARTED", "SUCCEEDED", "FAILED", "STOPPING", "STOPPED", "SUPERSEDED", "CANCELED", "ABANDONED",
    }  # fmt: skip


def test_every_status_is_one_the_api_knows() -> None:
    model = rules.model()
    known = {
        value
        for name in ("PipelineExecutionStatus", "ActionExecutionStatus")
        for value in model.shape_for(name).metadata["enum"]
    }
    assert {status.value for status in Status} == known


# --- Tags ---------------------------------------------------------------------------------------


def test_tags_are_set_merged_removed_and_listed(outside: Outside) -> None:
    outside.aws.create_pipeline(pipeline=pipeline(), tags=[{"key": "a", "value": "1"}])
    arn = outside.aws.get_pipeline(name="qa-foo")["metadata"]["pipelineArn"]
    outside.aws.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "2"}, {"key": "b", "value": "3"}])
    assert outside.aws.list_tags_for_resource(resourceArn=arn)["tags"] == [
        {"key": "a", "value": "2"},
        {"key": "b", "value": "3"},
    ]
    outside.aws.untag_resource(resourceArn=arn, tagKeys=["a", "never"])
    assert outside.aws.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "b", "value": "3"}]


def test_wrong_tags_and_arns_are_refused(outside: Outside) -> None:
    errors = outside.aws.exceptions
    outside.create()
    prefix = "arn:aws:codepipeline:us-east-1:123456789012"
    many: Any = [{"key": str(number), "value": ""} for number in range(51)]
    with pytest.raises(errors.TooManyTagsException):
        outside.aws.tag_resource(resourceArn=f"{prefix}:qa-foo", tags=many)
    with pytest.raises(errors.InvalidTagsException):
        outside.aws.tag_resource(resourceArn=f"{prefix}:qa-foo", tags=[{"key": "aws:x", "value": ""}])
    with pytest.raises(errors.ResourceNotFoundException):
        outside.aws.list_tags_for_resource(resourceArn=f"{prefix}:never-was")
    with pytest.raises(errors.InvalidArnException):
        outside.aws.list_tags_for_resource(resourceArn="arn:aws:codepipeline:eu-west-1:123456789012:qa-foo")
    with pytest.raises(errors.ValidationException):
        outside.aws.list_tags_for_resource(resourceArn="qa-foo")


# --- Ways in ------------------------------------------------------------------------------------


def test_settings_decide_account_and_region() -> None:
    outside = Outside(account="210987654321", region="eu-central-1")
    outside.create()
    arn = outside.aws.get_pipeline(name="qa-foo")["metadata"]["pipelineArn"]
    assert arn == "arn:aws:codepipeline:eu-central-1:210987654321:qa-foo"


def test_answers_are_copies(outside: Outside) -> None:
    asked = pipeline()
    answer = outside.engine.answer("CreatePipeline", {"pipeline": asked})
    for mine in (answer["pipeline"], asked):
        mine["stages"][1]["actions"][0]["configuration"]["ProjectName"] = "changed"
    got = outside.aws.get_pipeline(name="qa-foo")["pipeline"]
    assert got["stages"][1]["actions"][0]["configuration"] == {"ProjectName": "build"}


def test_an_engine_that_never_rests_is_noticed() -> None:
    outside = Outside(continuation_delay=0)
    outside.function = lambda job: outside.aws.put_job_success_result(jobId=job["id"], continuationToken="x")
    outside.create(source(), deploy())
    with pytest.raises(RuntimeError, match="still busy after 50 steps"):
        outside.engine.run_until_idle(limit=50)


@mock_aws
def test_a_client_of_the_engine_comes_before_moto(outside: Outside) -> None:
    outside.engine.client().create_pipeline(pipeline=pipeline())
    mine = boto3.client("codepipeline", region_name="us-east-1")
    assert mine.list_pipelines()["pipelines"] == [], "moto's own"
    attach(mine, outside.engine)
    assert mine.list_pipelines()["pipelines"][0]["name"] == "qa-foo"


@pytest.fixture
def client_of() -> Callable[[str], Any]:
    def make(url: str) -> Any:
        return boto3.client(
            "codepipeline",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )

    return make


@pytest.mark.parametrize("inside_moto", [False, True])
def test_over_http_in_threads(client_of: Callable[[str], Any], inside_moto: bool) -> None:
    """The whole way: build in another thread, a function that calls back over HTTP, events; then silence."""
    before = set(threading.enumerate())
    done = threading.Event()
    events: list[str] = []

    def emit(event: dict[str, Any]) -> None:
        events.append(event["detail"]["state"])
        if event["detail-type"] == PIPELINE and event["detail"]["state"] == "SUCCEEDED":
            done.set()

    def invoke(_name: str, event: dict[str, Any]) -> None:
        job = event["CodePipeline.job"]
        more = {} if "continuationToken" in job["data"] else {"continuationToken": "again"}
        aws.put_job_success_result(jobId=job["id"], **more)

    engine = Engine(
        World(lambda repository, branch: A, invoke_lambda=invoke, emit=emit),
        Settings(continuation_delay=0.05),
    )
    mock = mock_aws()
    if inside_moto:
        mock.start()
    try:
        with Server(engine) as server:
            aws = client_of(server.url)
            aws.create_pipeline(pipeline=pipeline(source(), build(), deploy()))
            with pytest.raises(aws.exceptions.PipelineNameInUseException):
                aws.create_pipeline(pipeline=pipeline())
            assert done.wait(20)
            listed = aws.list_pipeline_executions(pipelineName="qa-foo")["pipelineExecutionSummaries"]
            assert [each["status"] for each in listed] == ["Succeeded"]
    finally:
        if inside_moto:
            mock.stop()
    assert events[0] == "STARTED"
    assert set(threading.enumerate()) == before


def test_builds_run_side_by_side_and_stopping_waits_for_them(client_of: Callable[[str], Any]) -> None:
    both_in, go_on = threading.Barrier(3), threading.Event()

    def slow(_project: str, _env: dict[str, str], _source: SourceRevision, _execution: str) -> BuildResult:
        both_in.wait(20)
        go_on.wait(20)
        return BuildResult(ok=True)

    server = Server(Engine(World(lambda repository, branch: A, slow)))
    server.start()
    for name in ("one", "two"):
        client_of(server.url).create_pipeline(pipeline=pipeline(name=name))
    both_in.wait(20)
    assert (
        client_of(server.url).get_pipeline_state(name="one")["stageStates"][1]["latestExecution"]["status"]
        == "InProgress"
    )
    with pytest.raises(TimeoutError):
        server.stop(timeout=0.2)
    go_on.set()
    server.stop()


def test_a_target_that_breaks_does_not_end_the_service(client_of: Callable[[str], Any]) -> None:
    finished = threading.Event()

    def emit(event: dict[str, Any]) -> None:
        if event["detail-type"] == PIPELINE and event["detail"]["state"] == "SUCCEEDED":
            finished.set()
        raise ConnectionError("the target is down")

    with Server(Engine(World(lambda repository, branch: A, emit=emit)), workers=2) as server:
        client_of(server.url).create_pipeline(pipeline=pipeline())
        assert finished.wait(20)


def test_a_server_that_never_started_can_be_stopped() -> None:
    Server(Engine(World(lambda repository, branch: A))).stop()


@pytest.mark.parametrize("body", [b"{", b"[]"])
def test_what_is_no_request_is_refused(outside: Outside, body: bytes) -> None:
    status, answer = respond(outside.engine, "CodePipeline_20150709.ListPipelines", body)
    assert (status, json.loads(answer)["__type"]) == (400, "SerializationException")
