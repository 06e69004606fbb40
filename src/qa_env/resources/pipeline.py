"""The CodePipeline of the branch: Source → Build → Migrate → Deploy, started pinned to the pushed commit.

`CreatePipeline` starts an execution by itself (facts B3-1): that one is adopted if it took the wanted
commit, and overtaken if not. Which commit an execution has is known only after its Source action, so while
that is unknown nothing is started. `UpdatePipeline` cancels what runs (B3-10), so it is called on a
difference only: of what is wanted, or of the version. A new pipeline has version 1 and every update adds one
(botocore's model, `PipelineDeclaration.version`), so a later version than we wrote last is somebody else's.
The pipeline's product is the record's `built`: once that is the wanted commit it is done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from qa_env import aws, executions, naming
from qa_env.blueprint import Blueprint
from qa_env.errors import Blocked, Failed, NotReady
from qa_env.executions import BROKEN, RUNNING, SUCCEEDED, Stage
from qa_env.model import NOT_WANTED, Environment, Outputs, Slug
from qa_env.variables import data_secrets, data_variables

if TYPE_CHECKING:
    from mypy_boto3_codebuild import CodeBuildClient
    from mypy_boto3_codepipeline import CodePipelineClient
    from mypy_boto3_codepipeline.type_defs import PipelineExecutionSummaryTypeDef

SOURCE = "Source"
BUILDS = ("Build", "Migrate")
LISTED_PER_CALL = 1000  # the service model's maximum
VALUE_MAX = 1000  # facts B3-7: the whole JSON of EnvironmentVariables, too
COMMIT = "#{SourceVariables.CommitId}"
FIRST_VERSION = 1
BRANCH_GONE = "the branch is gone"
"""Why a teardown stops an execution. Somebody else's reason is another."""


@dataclass(frozen=True)
class Found:
    """A pipeline that is there. `tags` remember what was written last, and as which version."""

    arn: str
    version: int
    tags: Mapping[str, str]

    @property
    def written(self) -> tuple[str, int]:
        """The settings' fingerprint and the version they became; 0 where the tag has no version yet."""
        settings, _, version = self.tags.get(naming.TAG_SETTINGS, "").partition(":")
        return settings, int(version) if version.isdecimal() else 0


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
            found = self._find(env)
            if self.blueprint.database and env.resetting:
                self._await_reset(env, name, exists=found is not None)
            wanted = self._wanted(env)
            if found is None:
                self._create(env, wanted)
                raise NotReady("the first build has started", **self._begun(env, ""))
            self._correct(found, wanted)
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
        """Slugs of every pipeline carrying our owner tag; others' are not asked for their tags."""
        return self.whose({})

    def whose(self, known: Mapping[str, Slug]) -> Iterator[Slug]:
        """The same, without asking for the tags of what is `known`: ARN → whose it is.

        That asks two calls of each of the others.
        """
        named = {arn.rpartition(":")[2]: slug for arn, slug in known.items() if ":codepipeline:" in arn}
        for name in filter(naming.is_slug, self._names()):
            if slug := named.get(name) or self._owner(name):
                yield slug

    def _names(self) -> Iterator[str]:
        pages = self.client.get_paginator("list_pipelines").paginate(
            PaginationConfig={"PageSize": LISTED_PER_CALL}
        )
        return (one["name"] for page in pages for one in page["pipelines"])

    def _owner(self, name: str) -> Slug | None:
        try:
            found = self._named(name)
        except self.client.exceptions.PipelineNotFoundException:
            return None
        return naming.owner_of(found.tags, self.installation)

    def _find(self, env: Environment) -> Found | None:
        """The pipeline with our name: None if missing, Blocked if someone else's."""
        name = naming.pipeline(env.slug)
        try:
            found = self._named(name)
        except self.client.exceptions.PipelineNotFoundException:
            return None
        if naming.owner_of(found.tags, self.installation) != env.slug:
            raise Blocked(f"pipeline {name} has our name but is not ours; rename or delete it")
        return found

    def _named(self, name: str) -> Found:
        got = self.client.get_pipeline(name=name)
        arn = got["metadata"]["pipelineArn"]
        return Found(arn, got["pipeline"]["version"], self._tags(arn))

    def _tags(self, arn: str) -> dict[str, str]:
        pages = self.client.get_paginator("list_tags_for_resource").paginate(resourceArn=arn)
        return aws.tag_dict([tag for page in pages for tag in page["tags"]])

    def _create(self, env: Environment, wanted: Any) -> None:
        tags = naming.tags(self.installation, env) | _mark(aws.fingerprint(wanted), FIRST_VERSION)
        try:
            self.client.create_pipeline(pipeline=wanted, tags=aws.tag_list(tags, "key", "value"))
        except self.client.exceptions.PipelineNameInUseException as error:
            raise NotReady(f"pipeline {wanted['name']} exists but cannot be read yet") from error

    def _correct(self, found: Found, wanted: Any) -> None:
        """Update the pipeline if it is not as wanted; its mark comes last, so that a crash repeats it.

        What AWS shows of it is not compared: it writes defaults into declarations, and a difference that is
        none would cancel the build in every pass. Where the tag has no version yet, as an earlier release
        left it, the present one is taken for ours.
        """
        settings, version = aws.fingerprint(wanted), found.version
        written, last = found.written
        # A version below the last one is an answer from before our own update: versions only rise.
        if written != settings or version > last > 0:
            version = self._update(wanted)
        elif last:
            return
        mark = aws.tag_list(_mark(settings, version), "key", "value")
        self.client.tag_resource(resourceArn=found.arn, tags=mark)

    def _update(self, wanted: Any) -> int:
        """Update the pipeline and stop the builds of what that cancels (facts B3-10, B3-13).

        Once the next execution has come to their stage nobody could find them any more, and one that goes on
        could migrate a schema that a teardown has dropped by then.
        """
        building = self._builds(wanted["name"])
        version = self.client.update_pipeline(pipeline=wanted)["pipeline"]["version"]
        begun_meanwhile = self._builds(wanted["name"])
        for build in sorted({*building, *begun_meanwhile}):
            self.codebuild.stop_build(id=build)
        return version

    def _await_reset(self, env: Environment, name: str, exists: bool) -> None:
        """Until the schema is reset let what runs end, start nothing, and say when nothing runs any more."""
        if not env.reset_due:
            env.output("schema")  # that it was dropped is written down before anything can fill it again
            return
        newest = executions.newest(self.client, name) if exists else None
        if newest and self._works(name):
            stages = self._seen_stages(env, name, newest["pipelineExecutionId"], newest["status"])
            raise NotReady("the schema is reset when the running build has ended", **_shown(newest, stages))
        raise NotReady("waiting until the schema is reset", idle=str(env.asked.reset))

    def _works(self, name: str) -> bool:
        return any(s["status"] in RUNNING for s in executions.last(self.client, name)) or bool(
            self._builds(name)
        )

    def _run(self, env: Environment, name: str) -> Outputs:
        """See to it that the wanted commit is being built; return when it has been."""
        newest = executions.newest(self.client, name)
        if newest is None:
            self._start(env, name, "first")
        fulfilling = self._fulfilling(env, name)
        if fulfilling == []:
            self._start(env, name, f"asked-{env.asked.redeploy}")
        execution, status = newest["pipelineExecutionId"], newest["status"]
        commit = executions.commit(newest, SOURCE)
        if not commit and env.remembered(self.kind).get("execution") == execution:
            commit = env.remembered(self.kind).get("commit", "")
        if not commit and status in RUNNING:
            raise NotReady("waiting until the running build has found its commit")
        if commit != env.commit:
            self._start(env, name, execution[:8])
        known = {"execution": execution, "commit": commit, "status": status}
        if not _is_built(env, fulfilling):
            self._progress(env, name, newest, known)
        wish = str(env.asked.redeploy)
        stages = self._seen_stages(env, name, execution, status)
        return {**known, "asked": wish, "fulfilled": wish, **_shown(newest, stages)}

    def _fulfilling(self, env: Environment, name: str) -> list[str] | None:
        """The executions that fulfil the last wish: the one started for it and later ones; None without one.

        Empty while none was started, or it is not shown yet: then it is started (again, by the same token).
        """
        last = env.remembered(self.kind)
        if env.asked.redeploy <= int(last.get("fulfilled") or 0):
            return None
        if env.asked.redeploy > int(last.get("asked") or 0):
            return []
        listed = [one["pipelineExecutionId"] for one in executions.last(self.client, name)]
        wished = last.get("wished") or (listed or [""])[-1]  # all, of a pipeline made after the wish
        return listed[: listed.index(wished) + 1] if wished in listed else []

    def _progress(
        self,
        env: Environment,
        name: str,
        newest: PipelineExecutionSummaryTypeDef,
        known: dict[str, str],
    ) -> NoReturn:
        """The newest execution is of the wanted commit and has not built it (yet)."""
        status, execution = newest["status"], newest["pipelineExecutionId"]
        stages = executions.stages(self.client, name, execution) if status in RUNNING + BROKEN else []
        known = {**known, **_shown(newest, stages)}
        if status in RUNNING:
            running = [stage.name for stage in stages if stage.status == "InProgress"]
            raise NotReady(f"building: {running[0] if running else 'between two stages'}", **known)
        (broken, *_) = [*(stage for stage in stages if stage.broken), Stage("")]
        if status in BROKEN and not _was_unwanted(newest, broken):
            found = (f" in {broken.name}" if broken.name else "") + (f": {broken.why}" if broken.why else "")
            raise Failed(f"the build {status.lower()}{found}", **{**known, "log_url": broken.url})
        self._start(env, name, execution[:8])

    def _start(self, env: Environment, name: str, after: str) -> NoReturn:
        """Start an execution; what tells one start from another makes the same one idempotent."""
        started = self.client.start_pipeline_execution(
            name=name,
            sourceRevisions=[
                {"actionName": SOURCE, "revisionType": "COMMIT_ID", "revisionValue": env.commit},
            ],
            clientRequestToken=f"{env.slug}-{env.generation}-{after}",
        )
        execution = started["pipelineExecutionId"]
        begun = self._begun(env, execution)
        raise NotReady("the build has started", execution=execution, commit=env.commit, **begun)

    def _begun(self, env: Environment, execution: str) -> dict[str, str]:
        """What is known of an execution that begins: whatever is wished for now, it fulfils."""
        shown = {"stages": _text([Stage(name) for name in self._stage_names]), "started": "", "log_url": ""}
        wish = {"asked": str(env.asked.redeploy), "wished": execution, "idle": ""}
        return {**shown, **wish, "status": "", "seconds": ""}

    def _seen_stages(self, env: Environment, name: str, execution: str, status: str) -> list[Stage]:
        """The stages without a call where they are known: they all succeeded, or ended as they were seen."""
        last = env.remembered(self.kind)
        same = last.get("execution") == execution
        seen = [Stage(**one) for one in json.loads(last.get("stages") or "[]")] if same else []
        if status == SUCCEEDED:
            urls = {stage.name: stage.url for stage in seen}
            return [Stage(stage, SUCCEEDED, urls.get(stage, "")) for stage in self._stage_names]
        if same and last.get("status") == status and status not in RUNNING:
            return seen
        return executions.stages(self.client, name, execution)

    @property
    def _stage_names(self) -> list[str]:
        migrate = ["Migrate"] if self.blueprint.pipeline.migrate_project else []
        return [SOURCE, "Build", *migrate, "Deploy"]

    def _stop(self, name: str) -> None:
        """A build that goes on after its pipeline is gone could migrate a dropped schema (facts B3-14)."""
        building = self._builds(name)
        for build in building:
            self.codebuild.stop_build(id=build)
        running = [s for s in executions.last(self.client, name) if s["status"] in RUNNING]
        for execution in running:
            if execution["status"] == "InProgress":
                self._stop_execution(name, execution["pipelineExecutionId"])
        if building or running:
            raise NotReady("stopping the build")

    def _stop_execution(self, name: str, execution: str) -> None:
        exceptions = self.client.exceptions
        try:
            self.client.stop_pipeline_execution(
                pipelineName=name, pipelineExecutionId=execution, abandon=True, reason=BRANCH_GONE
            )
        except (exceptions.DuplicatedStopRequestException, exceptions.PipelineExecutionNotStoppableException):
            return

    def _builds(self, name: str) -> list[str]:
        """The CodeBuild builds of the pipeline's actions that still run, whatever the pipeline says.

        Unless we may not look at a project that the blueprint no longer names: then its word must do.
        """
        last = [
            action.get("latestExecution", {})
            for stage in self.client.get_pipeline_state(name=name)["stageStates"]
            if stage["stageName"] in BUILDS
            for action in stage.get("actionStates", [])
        ]
        shown = {
            one["externalExecutionId"]: one.get("status") for one in last if one.get("externalExecutionId")
        }
        named = (self.blueprint.pipeline.build_project, self.blueprint.pipeline.migrate_project)
        own = [build for build in shown if build.partition(":")[0] in named]
        others = [build for build in shown if build not in own]
        running = self._running(own)
        try:
            running += self._running(others)
        except self.codebuild.exceptions.ClientError as error:
            goes_on = "InProgress" in [shown[build] for build in others]
            if goes_on or not aws.is_denied(error):
                raise
        return running

    def _running(self, builds: list[str]) -> list[str]:
        described = self.codebuild.batch_get_builds(ids=builds)["builds"] if builds else []
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
            secrets = data_secrets(self.blueprint, env, "secret")
            stages.append(_stage("Migrate", self._build(settings.migrate_project, variables, secrets)))
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

    def _build(
        self, project: str, variables: dict[str, str], secrets: Mapping[str, str] = MappingProxyType({})
    ) -> dict[str, Any]:
        listed = [{"name": k, "value": v} for k, v in sorted(variables.items())]
        listed += [{"name": k, "value": v, "type": "SECRETS_MANAGER"} for k, v in sorted(secrets.items())]
        text = json.dumps(listed, ensure_ascii=False)
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


def _mark(settings: str, version: int) -> dict[str, str]:
    """The tag that says what we wrote last, and which version of the pipeline that made."""
    return {naming.TAG_SETTINGS: f"{settings}:{version}"}


def _stage(name: str, action: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "actions": [{"name": name, "runOrder": 1, **action}]}


def _type(category: str, owner: str, provider: str) -> dict[str, str]:
    return {"category": category, "owner": owner, "provider": provider, "version": "1"}


def _was_unwanted(execution: PipelineExecutionSummaryTypeDef, broken: Stage) -> bool:
    """Did it end because nobody wanted its commit then? Deploy refused it, or a teardown stopped it."""
    stopped = execution.get("stopTrigger", {}).get("reason")
    return stopped == BRANCH_GONE or broken.why.startswith(NOT_WANTED)


def _is_built(env: Environment, fulfilling: Sequence[str] | None) -> bool:
    """Has the wanted commit been built, and by an execution that fulfils the wish if there is one?"""
    built = env.built
    if built is None or built.commit != env.commit:
        return False
    return fulfilling is None or built.execution in fulfilling


def _shown(execution: PipelineExecutionSummaryTypeDef, stages: Sequence[Stage]) -> dict[str, str]:
    """What people see of an execution; empty where an earlier one has said something else."""
    took = executions.seconds(execution) if execution["status"] == SUCCEEDED else ""
    started = executions.started(execution)
    return {"stages": _text(stages), "started": started, "seconds": took, "log_url": ""}


def _text(stages: Sequence[Stage]) -> str:
    return json.dumps([{"name": one.name, "status": one.status, "url": one.url} for one in stages])
