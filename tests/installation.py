"""A whole installation in one process: strict AWS, the CodePipeline stand-in, fakes only for our protocols.

The queue is a list and the clock a number, so a test decides what happens next. `settle()` plays AWS: it
runs pipelines, lets services start and drain, and delivers every message, until nothing moves any more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from botocore.parsers import create_parser

from handlers import deploy
from local.codepipeline import ApiError, BuildResult, Engine, Settings, SourceRevision
from local.codepipeline import World as PipelineWorld
from qa_env import app, naming, signals
from qa_env.audit import Audit, Report
from qa_env.blueprint import Blueprint
from qa_env.controller import Controller, Plan
from qa_env.model import Change, Environment, Orphan, Ref, Resource, Slug
from qa_env.resources.checks import Checks
from qa_env.resources.curtain import Curtain
from qa_env.resources.keyspace import Keyspace
from qa_env.resources.service import Service
from qa_env.store import DynamoStore
from qa_env.tagged import Tagged
from qa_env.watch import Watch
from tests.fakes import FakeBranches, FakeDatastores
from tests.strict_aws import StrictAWS, World, strict_aws

REPOSITORY = "example/shop"
PAGE = "arn:aws:lambda:ap-northeast-1:123456789012:function:qa-env-page"
A, B, C = "a" * 40, "b" * 40, "c" * 40


def blueprint(world: World, **changes: Any) -> Blueprint:
    """A blueprint for the strict world: two web roles and a worker."""
    web = {"copy_of": world.stg_web, "container": "web", "port": 3000}
    values: dict[str, Any] = {
        "version": 1,
        "repository": REPOSITORY,
        "cluster": world.cluster,
        "image_repository": world.repository,
        "load_balancers": [
            {"arn": lb.arn, "host": f"{lb.name}.example.com", "ports": "10001-10049"}
            for lb in world.load_balancers
        ],
        "roles": {
            "app": {**web, "log_group": "/qa/app", "threads": 3},
            "admin": {**web, "log_group": "/qa/admin"},
            "worker": {"copy_of": world.stg_worker, "container": "worker", "log_group": "/qa/worker"},
        },
        "pipeline": {
            "connection_arn": "arn:aws:codeconnections:ap-northeast-1:123456789012:connection/1",
            "role_arn": "arn:aws:iam::123456789012:role/pipeline",
            "artifact_bucket": "artifacts",
            "build_project": "build",
            "migrate_project": "migrate",
        },
        "database": {"secret": "secretsmanager:mysql"},
        "redis": {
            "mode": "namespace",
            "secret": "secretsmanager:redis",
            "variables": {"REDIS_NAMESPACE": "{namespace}"},
        },
    }
    return Blueprint.model_validate(values | changes)


@dataclass
class Installation:
    """One installation and the hands of GitHub, of people and of AWS."""

    aws: StrictAWS
    world: World
    blueprint: Blueprint
    branches: FakeBranches | None = None
    datastores: FakeDatastores = field(default_factory=FakeDatastores)
    queue: list[Slug] = field(default_factory=list)
    heads: dict[str, str] = field(default_factory=dict)
    failing: set[tuple[str, str]] = field(default_factory=set)
    logins: list[tuple[str, str]] = field(default_factory=list)
    """With which user and password each migration logged in, empty where the project's own do."""
    now: float = 1_800_000_000.0
    builds_take: float = 0.0
    """Seconds that a build which begins now stands before it does what it does."""

    def __post_init__(self) -> None:
        self.store = DynamoStore(self.aws.table(self.world.table))
        self.engine = Engine(
            PipelineWorld(
                resolve_head=lambda repository, branch: self.heads.get(branch),
                run_build=self._run_build,
                invoke_lambda=self._invoke,
                emit=self._emit,
                read_secret=self.read_secret,
            ),
            Settings(region=self.aws.region, clock=lambda: self.now, build_seconds=lambda: self.builds_take),
        )
        self.aws.serve("codepipeline:*", self._codepipeline)
        self.aws.serve("codebuild:*", self._codebuild)
        self.aws.tagging.offer(lambda: [(one.arn, one.tags) for one in self.engine.pipelines.values()])
        self.codepipeline = self.aws.client("codepipeline")
        self.codebuild = self.aws.client("codebuild")
        self.watch = Watch(self.store, self._wake)
        self.clients = app.Clients(
            client=self.aws.client,
            installation="qa-env",
            deploy_function="qa-env-deploy",
            page_function=PAGE,
            datastores=self.datastores,
            read_secret=lambda reference: "{}",
            wake=lambda calls: [self._wake(*call) for call in calls],
        )
        self.controller = Controller(
            self.store, {REPOSITORY: self.blueprint}, self.plan, self._wake, clock=self._tick, apart=20
        )

    def plan(self, blueprint: Blueprint) -> Plan:
        """As the product plans it, but GitHub is the fake and nothing is posted there."""
        plan = app.plan(self.clients, self.store, blueprint)
        build, tear_down = self._our(plan.build), self._our(plan.tear_down)
        return replace(plan, build=build, tear_down=tear_down, reports=(), branches=self.branches)

    def audit(self, *, deliver: bool = True, **how: Any) -> Report:
        """One audit, then what it put on the queue."""
        watched = app.watched(self.clients, self.store, self.blueprint)
        tagged = Tagged(self.aws.client, self.clients.installation)
        audit = Audit(
            self.store,
            [replace(watched, branches=self.branches)],
            tagged,
            [],
            self._receive,
            clock=self._tick,
        )
        report = audit.run(**how)
        if deliver:
            self.deliver()
        return report

    def _receive(self, slug: Slug, message: Mapping[str, Any]) -> None:
        """What reconcile does first with a message of the audit."""
        if "change" in message:
            self.controller.request(Change.from_dict(json.loads(json.dumps(message["change"]))))
        if "orphan" in message:
            self.controller.adopt(Orphan.from_dict(json.loads(json.dumps(message["orphan"]))))
        self._wake(slug, "the audit")

    def use(self, blueprint: Blueprint) -> None:
        """The operator deployed another blueprint."""
        self.blueprint = blueprint
        self.controller = replace(self.controller, blueprints={blueprint.repository: blueprint})

    def _our(self, waves: Sequence[Sequence[Resource]]) -> list[list[Resource]]:
        return [[self._ours(resource) for resource in wave] for wave in waves]

    def _ours(self, resource: Resource) -> Resource:
        """The same resource with our GitHub and our clock."""
        if isinstance(resource, Keyspace):
            return replace(resource, clock=lambda: self.now)
        if isinstance(resource, Checks) and self.branches:
            return replace(resource, branches=self.branches)
        if isinstance(resource, Curtain | Service):
            return replace(resource, now=lambda: datetime.fromtimestamp(self.now, UTC))
        return resource

    # --- GitHub's hands ---------------------------------------------------------------------------------

    def push(self, branch: str, commit: str, **details: Any) -> Slug:
        """The branch is at this commit and a webhook says so."""
        before, self.heads[branch] = self.heads.get(branch, ""), commit
        self.engine.push(self.blueprint.repository, branch)
        return self.say(branch, Ref.PRESENT, commit, **({"before": before} | details))

    def delete(self, branch: str, **details: Any) -> Slug:
        """The branch is gone and a webhook says so."""
        before = self.heads.pop(branch, "")
        return self.say(branch, Ref.ABSENT, "", **({"before": before} | details))

    def say(self, branch: str, ref: Ref, commit: str, **details: Any) -> Slug:
        """Only the webhook: it may be late, doubled or wrong."""
        if self.branches:
            self.branches.heads = self.shown()
        slug, repository = self.blueprint.slug(branch), self.blueprint.repository
        change = Change(slug, repository, branch, ref, commit, by="dev", event="push", **details)
        self.controller.request(change)
        self._wake(slug, "a change")
        return slug

    def shown(self) -> dict[tuple[str, str], str]:
        """What GitHub shows: every branch of the repository, which it knows by its present name only."""
        return {(self.blueprint.repository, name): head for name, head in self.heads.items()}

    # --- AWS's hands ------------------------------------------------------------------------------------

    def run_pass(self, slug: Slug) -> Environment | None:
        """One pass, and the queue's messages about this environment with it."""
        self.queue[:] = [one for one in self.queue if one != slug]
        return self.controller.reconcile(slug)

    def deliver(self, limit: int = 60) -> None:
        """Deliver every message on the queue, and those that come of it."""
        for _ in range(limit):
            if not self.queue:
                return
            self.run_pass(self.queue[0])
        raise AssertionError(f"{limit} passes and the queue is not empty: {set(self.queue)}")

    def settle(self, rounds: int = 12) -> None:
        """Let AWS work and deliver what comes of it, until nothing moves."""
        for _ in range(rounds):
            self.deliver()
            self.engine.run_until_idle()
            self.aws.ecs.settle_all()
            self.aws.ecs.drain_all()
            self.now += 60
            self.engine.run_until_idle()
            woken = self.watch.sweep(int(self.now // 60))
            if not woken and not self.queue:
                return

    def env(self, slug: Slug) -> Environment:
        """The record, which must be there."""
        env = self.store.get(slug)
        assert env is not None
        return env

    def messages(self, slug: Slug) -> dict[str, str]:
        """What every condition says, for assertions that read well when they fail."""
        return {name: f"{c.state}: {c.message}" for name, c in self.env(slug).conditions.items()}

    def task_definition(self, service: str) -> str:
        """The ARN of the task definition that the service runs."""
        return self.service(service)["taskDefinition"]

    def service(self, service: str) -> dict[str, Any]:
        ecs = self.aws.client("ecs")
        (described,) = ecs.describe_services(cluster=self.world.cluster, services=[service])["services"]
        return described

    def left(self) -> list[str]:
        """Everything of ours that exists in the world: nothing after the last teardown."""
        plan = self.plan(self.blueprint)
        waves = [*plan.build, *plan.tear_down]
        kinds = {(r.kind, r.name): r for wave in waves for r in wave}.values()
        found = {f"{r.kind} of {slug}" for r in kinds for slug in r.owners()}
        found |= {f"record {env.slug}" for env in self.store.all()}
        found |= {f"schema {name}" for name in self.datastores.schemas}
        found |= {f"user {name}" for name in self.datastores.accounts}
        secrets = self.aws.client("secretsmanager").list_secrets()["SecretList"]
        ours = naming.account_secrets("qa-env")
        found |= {f"secret {one['Name']}" for one in secrets if one["Name"].startswith(ours)}
        found |= {f"keys {name}" for name in self.datastores.keys}
        groups = self.aws.client("elbv2").describe_target_groups()["TargetGroups"]
        found |= {g["TargetGroupName"] for g in groups if g["TargetGroupName"] != self.world.stg_web}
        scopes = ["schema", "redis namespace", *(f"port {lb.arn}" for lb in self.world.load_balancers)]
        found |= {f"claim {scope} {name}" for scope in scopes for name in self.store.taken(scope)}
        return sorted(found)

    def _codepipeline(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        return _as_read(self.codepipeline, self.engine.answer, operation, params)

    def _codebuild(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        return _as_read(self.codebuild, self.engine.codebuild.answer, operation, params)

    def read_secret(self, name: str) -> str:
        """What Secrets Manager holds."""
        return str(self.aws.client("secretsmanager").get_secret_value(SecretId=name)["SecretString"])

    def _run_build(
        self, project: str, variables: dict[str, str], source: SourceRevision, execution: str
    ) -> BuildResult:
        if (project, source.commit) in self.failing:
            return BuildResult(ok=False, summary="exit status 1", log_url="https://logs.example.com/1")
        if project == "build":
            self._push_image(variables["IMAGE"], execution)
        if project == "migrate" and "DB_NAME" in variables:
            self.datastores.migrate(variables["DB_NAME"], source.commit)
            self.logins.append((variables.get("DB_USER", ""), variables.get("DB_PASSWORD", "")))
        return BuildResult(ok=True)

    def _push_image(self, image: str, execution: str) -> None:
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"digest": f"sha256:{sha256(execution.encode()).hexdigest()}"},
        }
        self.aws.client("ecr").put_image(
            repositoryName=self.world.repository,
            imageManifest=json.dumps(manifest),
            imageTag=image.rpartition(":")[2],
        )

    def _invoke(self, function: str, event: dict[str, Any]) -> None:
        assert function == "qa-env-deploy"
        deploy.handler(event, None, watch=self.watch, codepipeline=self.codepipeline)

    def _emit(self, event: dict[str, Any]) -> None:
        slug = signals.slug_of(event)
        if slug and _is_ruled(event):
            self.watch.signal(slug, event["detail-type"])

    def _wake(self, slug: Slug, why: str) -> None:
        self.queue.append(slug)

    def _tick(self) -> float:
        """Time moves a little with every look at the clock."""
        self.now += 0.01
        return self.now


def _as_read(
    client: Any, answer: Callable[[str, Any], Any], operation: str, params: dict[str, Any]
) -> dict[str, Any]:
    """A stand-in's answer as the client would have read it: times are times, not numbers."""
    shape = client.meta.service_model.operation_model(operation).output_shape
    try:
        body = json.dumps(answer(operation, params)).encode()
        return dict(create_parser("json").parse({"status_code": 200, "headers": {}, "body": body}, shape))
    except ApiError as error:
        said = {"Error": {"Code": error.code, "Message": error.message}}
        raise client.exceptions.from_code(error.code)(said, operation) from error


def _is_ruled(event: dict[str, Any]) -> bool:
    """Does the template have a rule for this? Every change of an execution, and the begin of a stage."""
    kind, state = event["detail-type"], event["detail"]["state"]
    return "Pipeline Execution" in kind or ("Stage Execution" in kind and state == "STARTED")


@contextmanager
def installed(asks_github: bool = False, load_balancers: int = 1, **changes: Any) -> Iterator[Installation]:
    """An installation in an account of its own; `changes` are blueprint keys."""
    with strict_aws() as aws:
        world = aws.world(load_balancers=load_balancers)
        branches = FakeBranches() if asks_github else None
        yield Installation(aws, world, blueprint(world, **changes), branches)
