"""The CodePipeline of the branch: Source → Build → Migrate → Deploy, started pinned to the pushed commit.

`CreatePipeline` starts an execution by itself (facts B3-1): that one is adopted if it took the wanted
commit, and overtaken if not. Which commit an execution has is known only after its Source action, so while
that is unknown nothing is started. `UpdatePipeline` cancels what runs (B3-10), so it is called on a
difference only. The pipeline's product is the record's `built`: once that is the wanted commit it is done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_env import aws, naming
from qa_env.blueprint import Blueprint
from qa_env.errors import Blocked, Failed, NotReady
from qa_env.model import NOT_WANTED, Environment, Outputs, Slug
from qa_env.variables import data_variables

if TYPE_CHECKING:
    from mypy_boto3_codebuild import CodeBuildClient
    from mypy_boto3_codepipeline import CodePipelineClient
    from mypy_boto3_codepipeline.type_defs import PipelineExecutionSummaryTypeDef

SOURCE = "Source"
BUILDS = ("Build", "Migrate")
RUNNING = ("InProgress", "Stopping")
VALUE_MAX = 1000  # facts B3-7: the whole JSON of EnvironmentVariables, too
COMMIT = "#{SourceVariables.CommitId}"


@dataclass(frozen=True)
class Pipeline:
    """The pipeline. `deploy` is the deploy function's name."""

    client: CodePipelineClient
    codebuild: CodeBuildClient
    blueprint: Blueprint
    installation: str
    deploy: str
    name: str = ""
    kind = "pipeline"

    def ensure(self, env: Environment) -> Outputs:
        """Find, create or update the pipeline; returns once it has built the wanted commit."""
        name = naming.pipeline(env.slug)
        if self.blueprint.pipeline.start == "checks":
            env.output("checks")
        with aws.doing(f"ensuring pipeline {name}"):
            wanted = self._wanted(env)
            tags = self._find(env)
            if tags is None:
                self._create(env, wanted)
                raise NotReady("the first build has started")
            if tags.get(naming.TAG_SETTINGS) != aws.fingerprint(wanted):
                self._update(env, wanted)
            return self._run(env, name)

    def delete(self, env: Environment) -> None:
        """Stop what runs, its CodeBuild builds too, then delete the pipeline if it is ours."""
        name = naming.pipeline(env.slug)
        with aws.doing(f"deleting pipeline {name}"):
            try:
                if self._find(env) is None:
                    return
            except Blocked:
                return
            self._stop(name)
            self.client.delete_pipeline(name=name)

    def owners(self) -> Iterator[Slug]:
        """Slugs of every pipeline carrying our owner tag."""
        for page in self.client.get_paginator("list_pipelines").paginate():
            for pipeline in page["pipelines"]:
                try:
                    tags = self._tags(self._arn(pipeline["name"]))
                except self.client.exceptions.PipelineNotFoundException:
                    continue
                if slug := naming.owner_of(tags, self.installation):
                    yield slug

    def _find(self, env: Environment) -> dict[str, str] | None:
        """The tags of the pipeline with our name: None if missing, Blocked if someone else's."""
        name = naming.pipeline(env.slug)
        try:
            arn = self._arn(name)
        except self.client.exceptions.PipelineNotFoundException:
            return None
        tags = self._tags(arn)
        if naming.owner_of(tags, self.installation) != env.slug:
            raise Blocked(f"pipeline {name} has our name but is not ours; rename or delete it")
        return tags

    def _arn(self, name: str) -> str:
        return self.client.get_pipeline(name=name)["metadata"]["pipelineArn"]

    def _tags(self, arn: str) -> dict[str, str]:
        pages = self.client.get_paginator("list_tags_for_resource").paginate(resourceArn=arn)
        return aws.tag_dict([tag for page in pages for tag in page["tags"]])

    def _create(self, env: Environment, wanted: Any) -> None:
        tags = naming.tags(self.installation, env) | {naming.TAG_SETTINGS: aws.fingerprint(wanted)}
        try:
            self.client.create_pipeline(pipeline=wanted, tags=aws.tag_list(tags, "key", "value"))
        except self.client.exceptions.PipelineNameInUseException as error:
            raise NotReady(f"pipeline {wanted['name']} exists but cannot be read yet") from error

    def _update(self, env: Environment, wanted: Any) -> None:
        self.client.update_pipeline(pipeline=wanted)
        self.client.tag_resource(
            resourceArn=self._arn(wanted["name"]),
            tags=aws.tag_list({naming.TAG_SETTINGS: aws.fingerprint(wanted)}, "key", "value"),
        )

    def _run(self, env: Environment, name: str) -> Outputs:
        """See to it that the wanted commit is being built; return when it has been."""
        newest = self._newest(name)
        if newest is None:
            return self._start(env, name, "first")
        execution = newest["pipelineExecutionId"]
        commit, status = _commit_of(newest), newest["status"]
        if not commit and env.remembered(self.kind).get("execution") == execution:
            commit = env.remembered(self.kind).get("commit", "")
        known = {"execution": execution, "commit": env.commit}
        if commit == env.commit:
            return self._progress(env, name, status, known)
        if not commit and status in RUNNING:
            raise NotReady("waiting until the running build has found its commit")
        return self._start(env, name, execution)

    def _progress(self, env: Environment, name: str, status: str, known: dict[str, str]) -> Outputs:
        if env.built and env.built.commit == env.commit:
            return known
        if status in RUNNING:
            raise NotReady(f"building: {self._stage(name)}", **known)
        if status in ("Failed", "Stopped"):
            stage, why, link = self._failure(name, known["execution"])
            if not why.startswith(NOT_WANTED):
                found = (f" in {stage}" if stage else "") + (f": {why}" if why else "")
                shown = {"log_url": link} if link else {}
                raise Failed(f"the build {status.lower()}{found}", **known, **shown)
            # Deploy refused the commit while it was not wanted; now it is.
        return self._start(env, name, known["execution"])

    def _start(self, env: Environment, name: str, after: str) -> Outputs:
        started = self.client.start_pipeline_execution(
            name=name,
            sourceRevisions=[
                {"actionName": SOURCE, "revisionType": "COMMIT_ID", "revisionValue": env.commit},
            ],
            clientRequestToken=f"{env.slug}-{env.generation}-{after[:8]}",
        )
        execution = started["pipelineExecutionId"]
        raise NotReady("the build has started", execution=execution, commit=env.commit)

    def _newest(self, name: str) -> PipelineExecutionSummaryTypeDef | None:
        listed = self.client.list_pipeline_executions(pipelineName=name, maxResults=1)
        summaries = listed["pipelineExecutionSummaries"]
        return summaries[0] if summaries else None

    def _stage(self, name: str) -> str:
        states = self.client.get_pipeline_state(name=name)["stageStates"]
        running = [
            s["stageName"] for s in states if s.get("latestExecution", {}).get("status") == "InProgress"
        ]
        return running[0] if running else "between two stages"

    def _failure(self, name: str, execution: str) -> tuple[str, str, str]:
        """(stage, why, log link) of the action of this execution that failed.

        A stage shows the last execution that entered it, which may be an older one.
        """
        for stage in self.client.get_pipeline_state(name=name)["stageStates"]:
            if stage.get("latestExecution", {}).get("pipelineExecutionId") != execution:
                continue
            for action in stage.get("actionStates", []):
                latest = action.get("latestExecution", {})
                if latest.get("status") in ("Failed", "Abandoned"):
                    why = latest.get("errorDetails", {}).get("message") or latest.get("summary", "")
                    return stage["stageName"], why, latest.get("externalExecutionUrl", "")
        return "", "", ""

    def _stop(self, name: str) -> None:
        """A build that goes on after its pipeline is gone could migrate a dropped schema (facts B3-14)."""
        building = self._builds(name)
        for build in building:
            self.codebuild.stop_build(id=build)
        running = [s for s in self._executions(name) if s["status"] in RUNNING]
        for execution in running:
            if execution["status"] == "InProgress":
                self._stop_execution(name, execution["pipelineExecutionId"])
        if building or running:
            raise NotReady("stopping the build")

    def _executions(self, name: str) -> list[PipelineExecutionSummaryTypeDef]:
        return self.client.list_pipeline_executions(pipelineName=name)["pipelineExecutionSummaries"]

    def _stop_execution(self, name: str, execution: str) -> None:
        exceptions = self.client.exceptions
        try:
            self.client.stop_pipeline_execution(
                pipelineName=name, pipelineExecutionId=execution, abandon=True, reason="the branch is gone"
            )
        except (exceptions.DuplicatedStopRequestException, exceptions.PipelineExecutionNotStoppableException):
            return

    def _builds(self, name: str) -> list[str]:
        """The CodeBuild builds of the pipeline's actions that still run, whatever the pipeline says."""
        ids = [
            action.get("latestExecution", {}).get("externalExecutionId", "")
            for stage in self.client.get_pipeline_state(name=name)["stageStates"]
            if stage["stageName"] in BUILDS
            for action in stage.get("actionStates", [])
        ]
        known = [build for build in ids if build]
        described = self.codebuild.batch_get_builds(ids=known)["builds"] if known else []
        return [build["id"] for build in described if build["buildStatus"] == "IN_PROGRESS"]

    def _wanted(self, env: Environment) -> dict[str, Any]:
        settings = self.blueprint.pipeline
        if "#{" in env.branch:
            raise Blocked(
                f"branch {env.branch!r} holds '#{{', which CodePipeline reads as a variable; rename it"
            )
        stages = [
            _stage(SOURCE, self._source(env)),
            _stage("Build", self._build(settings.build_project, self._variables(env))),
        ]
        if settings.migrate_project:
            variables = self._variables(env) | data_variables(self.blueprint, env)
            stages.append(_stage("Migrate", self._build(settings.migrate_project, variables)))
        stages.append(_stage("Deploy", self._deploy(env)))
        return {
            "name": naming.pipeline(env.slug),
            "roleArn": settings.role_arn,
            "pipelineType": "V2",
            "executionMode": "SUPERSEDED",
            "artifactStore": {"type": "S3", "location": settings.artifact_bucket},
            "stages": stages,
        }

    def _variables(self, env: Environment) -> dict[str, str]:
        return self.blueprint.pipeline.environment | {
            self.blueprint.branch_variable: env.branch,
            "COMMIT": COMMIT,
            "IMAGE": self._image(env),
            "QA_ENV_SLUG": str(env.slug),
        }

    def _image(self, env: Environment) -> str:
        repository = f"{self.blueprint.registry}/{self.blueprint.image_repository}"
        return f"{repository}:{naming.image_tag(env.slug, COMMIT)}"

    def _source(self, env: Environment) -> dict[str, Any]:
        return {
            "actionTypeId": _type("Source", "AWS", "CodeStarSourceConnection"),
            "namespace": "SourceVariables",
            "configuration": {
                "ConnectionArn": self.blueprint.pipeline.connection_arn,
                "FullRepositoryId": self.blueprint.repository,
                "BranchName": env.branch,
                "DetectChanges": "false",  # otherwise every push runs twice (facts B3-2)
            },
            "outputArtifacts": [{"name": SOURCE}],
        }

    def _build(self, project: str, variables: dict[str, str]) -> dict[str, Any]:
        text = json.dumps([{"name": k, "value": v} for k, v in sorted(variables.items())], ensure_ascii=False)
        if len(text) > VALUE_MAX:
            raise Blocked(
                f"the variables of {project} take {len(text)} of {VALUE_MAX} characters: shorten"
                " pipeline.environment or the branch's name"
            )
        return {
            "actionTypeId": _type("Build", "AWS", "CodeBuild"),
            "configuration": {"ProjectName": project, "EnvironmentVariables": text},
            "inputArtifacts": [{"name": SOURCE}],
        }

    def _deploy(self, env: Environment) -> dict[str, Any]:
        parameters = {
            "slug": env.slug,
            "commit": COMMIT,
            "image": self._image(env),
            "execution": "#{codepipeline.PipelineExecutionId}",
        }
        return {
            "actionTypeId": _type("Invoke", "AWS", "Lambda"),
            "configuration": {"FunctionName": self.deploy, "UserParameters": json.dumps(parameters)},
        }


def _stage(name: str, action: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "actions": [{"name": name, "runOrder": 1, **action}]}


def _type(category: str, owner: str, provider: str) -> dict[str, str]:
    return {"category": category, "owner": owner, "provider": provider, "version": "1"}


def _commit_of(execution: PipelineExecutionSummaryTypeDef) -> str:
    """Empty until the Source action has finished."""
    revisions = {r["actionName"]: r.get("revisionId", "") for r in execution.get("sourceRevisions", [])}
    return revisions.get(SOURCE, "")
