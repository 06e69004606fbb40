"""The canonical life of an environment, on a queue that delivers again, and all that exists in the world.

Every function of the product runs as an invocation behind the gate. What dies or fails comes again as AWS
lets it: a message after its visibility time-out or when the handler postponed it, a tick with the next
minute, an asynchronous invocation at once and three times at most, as a delivery that GitHub knows to have
failed.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.message import Message as Headers
from types import SimpleNamespace
from typing import Any, Literal
from unittest.mock import patch

from handlers import reconcile
from local import slack as local_slack
from local.codepipeline.values import BuildStatus
from local.slack import Slack as Workspace
from qa_env import app, naming
from qa_env.audit import Audit, Report
from qa_env.blueprint import Blueprint
from qa_env.controller import Plan
from qa_env.github_api import GitHub
from qa_env.model import Change, Condition, Phase, Ref, Slug, State
from qa_env.receiver import Queue
from qa_env.slack_api import Slack
from qa_env.tagged import Tagged
from tests.chaos.gate import SQS_ERRORS, Gate, Killed, Reply, gated
from tests.fakes import FakeBranches
from tests.installation import REPOSITORY, A, B, C, Installation, blueprint
from tests.reporting import TOKEN, Hub
from tests.strict_aws import Call as AwsCall
from tests.strict_aws import strict_aws

D, E, F = "d" * 40, "e" * 40, "f" * 40
BRANCH, SLUG = "qa/foo", Slug("qa-foo")
BYSTANDER = "qa/bystander"
ASYNCHRONOUS = 3  # times that Lambda tries an asynchronous invocation
VISIBILITY = 720  # seconds, as in template.yaml, until a message is seen again
RECEIVES = 10  # then a message goes to the dead-letter queue
A_DAY = 24 * 3600
AUDITS = 2  # that find nothing more: one may have been told what was before
QUIET = 3  # minutes without any change: nothing will change any more
PLACES = {
    "dynamodb": "table",
    "ecr": "images",
    "ecs": "tasks",
    "elbv2": "load balancers",
    "elbv2:DescribeTargetHealth": "tasks",  # a service registers its tasks with target groups
}
REPEATED = (
    "sqs:SendMessage",
    "sqs:ChangeMessageVisibility",
    "mysql:ensure",
    "redis:ensure",
    "codepipeline:PutJobSuccessResult",
)
"""What is written while nothing changes: wake-ups, their postponement, “is it there?”, “go on waiting”."""
TOLD = {
    "github": {"secret": "secretsmanager:github"},
    "slack": {"secret": "secretsmanager:slack", "channel": "C0QAENV0001"},
    "page": {"url": "https://qa.example.com"},
    "language": "en",
}


@dataclass
class Message:
    """One message of the queue; those of one environment come in order, one at a time."""

    slug: Slug
    body: dict[str, Any]
    sent: float
    received: int = 0
    first: float = 0.0
    visible: float = 0.0


class Memory:
    """Answers reads of what nobody changed since: a life is mostly reads, and moto is slow."""

    def __init__(self, handle: Callable[[AwsCall], Any]) -> None:
        self._handle = handle
        self._known: dict[str, dict[tuple[str, str], bytes]] = {place: {} for place in PLACES.values()}
        self.ecs_changed = True

    def __call__(self, call: AwsCall) -> Any:
        place = PLACES.get(call.name) or PLACES.get(call.service)
        if place is None:
            return self._handle(call)
        if not call.is_read:
            self.forget(place)
            if place == "load balancers":  # targets without a listener are not looked at
                self.forget("tasks")
            return self._handle(call)
        key = call.name, repr(call.params)
        if key not in self._known[place]:
            self._known[place][key] = pickle.dumps(self._handle(call))
        return pickle.loads(self._known[place][key])  # noqa: S301 - it is our own

    def forget(self, place: str) -> None:
        """Something changed there."""
        self._known[place].clear()
        self.ecs_changed = self.ecs_changed or place == "tasks"


@dataclass
class Life(Installation):
    """An installation whose functions may die at any call. `works` says which of AWS's machines move."""

    gate: Gate = field(default_factory=Gate)
    reports: bool = True
    works: set[str] = field(default_factory=lambda: {"pipeline", "ecs"})
    queue: list[Message] = field(default_factory=list)
    dead: list[Message] = field(default_factory=list)
    looked: reconcile.Looked = field(default_factory=dict)
    """What the sandbox of reconcile remembers."""
    audits: int = 0
    """So many audits come yet that find nothing, one a minute."""
    broken: int = 0
    """Invocations that ended with an error or died."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.memory = Memory(self.aws.handle)
        self.hub = Hub()
        self.slack = Workspace("xoxb-token")
        if self.reports:
            self._tell()

    def plan(self, blueprint: Blueprint) -> Plan:
        """As the product plans it; whether GitHub is asked for branches is the life's choice."""
        if not self.reports:
            return super().plan(blueprint)
        plan = app.plan(self.clients, self.store, blueprint)
        build, tear_down = self._our(plan.build), self._our(plan.tear_down)
        branches = plan.branches if self.branches else None
        return replace(plan, build=build, tear_down=tear_down, branches=branches)

    def _tell(self) -> None:
        """Reports go to the stand-ins, by clients that know our clock."""
        github, slack = self.blueprint.github, self.blueprint.slack
        assert github
        assert slack
        hub = GitHub(github.api_url, lambda: {"token": TOKEN}, clock=lambda: self.now)
        self.clients.hubs[github.api_url, github.secret] = hub
        talk = Slack(slack.api_url, lambda: {"token": self.slack.token}, clock=lambda: self.now)
        self.clients.slacks[slack.api_url, slack.secret] = talk
        self.gate.servers = {
            "api.github.com": ("github", self._github),
            "slack.com": ("slack", self.slack.answer),
        }

    def _github(self, method: str, target: str, headers: Headers, body: bytes) -> Reply:
        status, said, _ = self.hub.answer(method, target, headers.get("Authorization", ""), body)
        return status, said, {}

    # --- GitHub's hands -----------------------------------------------------------------------------------

    def say(self, branch: str, ref: Ref, commit: str, **details: Any) -> Slug:
        """GitHub says so, and again where that was not taken: redelivery asks it to, or a person does."""
        self.hub.branches.all = {"main": "0" * 39 + "1", **self.heads}
        if self.branches:
            self.branches.heads = {(REPOSITORY, name): head for name, head in self.heads.items()}
        slug = naming.slug("", REPOSITORY, branch)
        change = Change(slug, REPOSITORY, branch, ref, commit, by="dev", event="push", **details)
        self._asynchronously("webhook", lambda: self._take(change), slug)
        return slug

    def _take(self, change: Change) -> None:
        """What the receiver does with a delivery that it believes: one call."""

        def send(**message: Any) -> None:
            self._put(change.slug, json.loads(message["MessageBody"]))

        sqs: Any = SimpleNamespace(send_message=send)
        Queue(self.world.queue_url, lambda: sqs).put(change, "a receipt")

    def _put(self, slug: Slug, body: dict[str, Any]) -> None:
        """Onto the queue, through the gate."""
        sent, params = Message(slug, body, self.now), (slug, json.dumps(body))
        self.gate.through(
            "sqs:SendMessage", params, lambda: self.queue.append(sent), SQS_ERRORS, is_read=False
        )

    # --- AWS's hands --------------------------------------------------------------------------------------

    def settle(self, rounds: int = 60) -> None:
        """Let AWS work, minute by minute, until nothing changes any more."""
        quiet = 0
        for _ in range(rounds):
            before = self.changes()
            self.deliver()
            self._let_work()
            self.now += 60
            self._let_work()
            self._sweep()
            self.deliver()
            waits = self._pending() or self.audits
            quiet = quiet + 1 if self.changes() == before and not waits else 0
            if quiet == QUIET:
                return
        raise AssertionError(f"still moving after {rounds} minutes: {self.messages(SLUG)}")

    def deliver(self, limit: int = 60) -> None:
        """Deliver every message that may be seen, and those that come of it."""
        for _ in range(limit):
            message = self._next()
            if message is None:
                return
            self._receive(message)
        raise AssertionError(f"{limit} messages and more: {[one.body for one in self.queue]}")

    def pass_over(self, slug: Slug) -> list[str]:
        """One more pass; the names of the calls that changed something."""
        seen = len(self.gate.calls)
        self._wake(slug, "once more")
        self.deliver()
        return [call.name for call in self.gate.calls[seen:] if not call.is_read]

    def _next(self) -> Message | None:
        heads = {message.slug: message for message in reversed(self.queue)}.values()
        return next((message for message in self.queue if message in heads and self._is_seen(message)), None)

    def _is_seen(self, message: Message) -> bool:
        return message.visible <= self.now

    def _pending(self) -> bool:
        """Is there a message that says more than “look again”, or one that came to nothing before?"""
        return any("change" in one.body or one.received for one in self.queue)

    def _receive(self, message: Message) -> None:
        """Hand one message to the function; it is gone once the function says that it is done."""
        message.received += 1
        message.first = message.first or self.now
        message.visible = self.now + VISIBILITY

        def postpone(_receipt: str, seconds: int) -> None:
            self.gate.postpone(lambda: setattr(message, "visible", self.now + seconds), message.slug, seconds)

        with self._survive(), self._invocation("reconcile", message.slug):
            answer = self._handle({"Records": [_record(message)]}, postpone)
            if not answer["batchItemFailures"]:
                self.queue.remove(message)
                return
            self.broken += 1
        if message.received == RECEIVES:
            self.queue.remove(message)
            self.dead.append(message)

    def _handle(self, event: dict[str, Any], postpone: Callable[[str, int], None]) -> Any:
        """What the function answers; a sandbox that died remembers nothing."""
        try:
            return reconcile.handler(
                event, None, controller=self.controller, postpone=postpone, looked=self.looked
            )
        except Killed:
            self.looked.clear()
            raise

    @contextmanager
    def _invocation(self, function: str, slug: str = "") -> Iterator[None]:
        """A run of a function; what it does for the bystander is none of the life's calls."""
        if slug == naming.slug("", REPOSITORY, BYSTANDER):
            yield
        else:
            with self.gate.invocation(function):
                yield

    @contextmanager
    def _survive(self) -> Iterator[None]:
        """A function that dies or raises ends its invocation only."""
        try:
            yield
        except AssertionError:
            raise
        except (Killed, Exception):
            self.broken += 1

    def _let_work(self) -> None:
        if "pipeline" in self.works:
            self.engine.run_until_idle()
        if "ecs" in self.works and self.memory.ecs_changed:
            self.aws.ecs.settle_all()
            self.aws.ecs.drain_all()
            self.memory.forget("tasks")
            self.memory.ecs_changed = False

    def _sweep(self) -> None:
        with self._survive(), self._invocation("sweep"):
            self.watch.sweep(int(self.now // 60))
        if self.audits:
            with self._survive(), self._invocation("audit"):
                report = self._audit()
                if not report.created and not report.woken:
                    self.audits -= 1

    def _audit(self) -> Report:
        """As the product does it; what it finds goes onto the queue."""
        watched = replace(app.watched(self.clients, self.store, self.blueprint), branches=self.branches)
        tagged = Tagged(self.aws.client, self.clients.installation)

        def send(slug: Slug, message: Mapping[str, Any]) -> None:
            self._put(slug, {"slug": slug, **message})

        return Audit(self.store, [watched], tagged, [], send, clock=lambda: self.now).run()

    def _invoke(self, function: str, event: dict[str, Any]) -> None:
        self._asynchronously("deploy", lambda: super(Life, self)._invoke(function, event))

    def _emit(self, event: dict[str, Any]) -> None:
        self._asynchronously("signals", lambda: super(Life, self)._emit(event))

    def _asynchronously(self, function: str, run: Callable[[], None], slug: str = "") -> None:
        for _ in range(ASYNCHRONOUS):
            before = self.broken
            with self._survive(), self._invocation(function, slug):
                run()
            if self.broken == before:
                return

    def _wake(self, slug: Slug, why: str) -> None:
        """A wake-up beside one that was not seen yet says nothing new."""
        if not any(one.slug == slug and "why" in one.body and not one.received for one in self.queue):
            self.queue.append(Message(slug, {"slug": slug, "why": why}, self.now))

    def changes(self) -> int:
        """How often anything happened so far: a change, or an end that nobody wanted."""
        return self.gate.writes.total() - sum(self.gate.writes[name] for name in REPEATED) + self.broken


def _record(message: Message) -> dict[str, Any]:
    """As Lambda gives it to the function."""
    body = json.dumps(message.body)
    return {
        "messageId": "1",
        "receiptHandle": "receipt",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": str(message.received),
            "SentTimestamp": str(int(message.sent * 1000)),
            "ApproximateFirstReceiveTimestamp": str(int(message.first * 1000)),
            "MessageGroupId": str(message.slug),
        },
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:ap-northeast-1:123456789012:qa-env.fifo",
        "awsRegion": "ap-northeast-1",
    }


@contextmanager
def living(
    *,
    asks_github: bool,
    reports: bool = True,
    store: Literal["dynamo", "memory"] = "dynamo",
    bystander: bool = True,
) -> Iterator[Life]:
    """An account with STG, things of others and one environment that nothing happens to."""
    with strict_aws() as aws:
        world = aws.world()
        told = TOLD if reports else {}
        branches = FakeBranches() if asks_github else None
        life = Life(aws, world, blueprint(world, **told), branches, reports=reports)
        clock = SimpleNamespace(time=lambda: life.now, gmtime=time.gmtime, strftime=time.strftime)
        with (
            patch.object(aws, "handle", life.memory),
            patch.object(local_slack, "time", clock),
            gated(life, store, gate=life.gate),
        ):
            add_foreign_things(life)
            if bystander:
                life.push(BYSTANDER, A)
                life.settle()
                life.gate.forget()
            yield life


def add_foreign_things(life: Life) -> None:
    """Things of others that look a little like ours."""
    elbv2 = life.aws.client("elbv2")
    action: Any = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}
    balancer = life.world.load_balancer.arn
    elbv2.create_listener(LoadBalancerArn=balancer, Port=10002, Protocol="HTTP", DefaultActions=[action])
    elbv2.create_target_group(
        Name="qa-foo-other", Protocol="HTTP", Port=80, VpcId=life.world.vpc, TargetType="ip"
    )
    life.datastores.schemas.add("qa-foo-other")
    life.datastores.keys["qa_foo_other"] = 1
    life._push_image(f"{life.world.repository_uri}:qa-foo-other", "foreign")


# --- the life -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Act:
    """Something happens, then everything settles as far as these machines of AWS let it."""

    name: str
    happens: Callable[[Life], object]
    ends: Phase | None  # what people see then
    works: frozenset[str] = frozenset({"pipeline", "ecs"})

    def play(self, life: Life) -> None:
        """Ends with the phase it should end with, whatever happened on the way."""
        life.works = set(self.works)
        self.happens(life)
        life.settle()
        env = life.store.get(SLUG)
        phase = env.phase if env else None
        assert phase == self.ends, f"{self.name}: {phase}, not {self.ends}: {env and life.messages(SLUG)}"


def _push(commit: str) -> Callable[[Life], object]:
    return lambda life: life.push(BRANCH, commit)


def _create(life: Life) -> None:
    life.push(BRANCH, A)
    if life.reports:
        life.hub.open_pull(BRANCH)


def _fail(life: Life) -> None:
    life.failing.add(("migrate", C))
    life.push(BRANCH, C)


def _lose_record(life: Life) -> None:
    """The table is lost, and restored without this environment; only GitHub knows that it is wanted."""
    life.audits = AUDITS
    if life.branches:
        env = life.store.get(SLUG)
        assert env
        for claim in env.claims.values():
            life.store.table.delete_item(Key={"pk": f"claim#{claim.scope}", "sk": claim.name})
        life.store.table.delete_item(Key={"pk": "environment", "sk": SLUG})


def _build_all_day(life: Life) -> None:
    life.builds_take = A_DAY
    life.push(BRANCH, F)


def _delete_while_building(life: Life) -> None:
    life.builds_take = 0
    life.delete(BRANCH)


LIFE = (
    Act("create", _create, Phase.BUILDING, frozenset()),
    Act("build", lambda life: None, Phase.DEPLOYING, frozenset({"pipeline"})),
    Act("deploy", lambda life: None, Phase.READY),
    Act("push again", _push(B), Phase.READY),
    Act("failed build", _fail, Phase.FAILED),
    Act("repair", _push(D), Phase.READY),
    Act("delete", lambda life: life.delete(BRANCH), Phase.DELETING, frozenset({"pipeline"})),
    Act("push during delete", _push(E), Phase.READY),
    Act("lost record", _lose_record, Phase.READY),
    Act("push once more", _build_all_day, Phase.BUILDING),
    Act("delete while building", _delete_while_building, None),
)


# --- the world ----------------------------------------------------------------------------------------------

MASKS = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{16,32}(?![0-9a-f])"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d[\d:.]*(\+00:00|Z| UTC)?"), "<time>"),
    (re.compile(r"(qa-env-page-)[0-9a-f]{6}\b"), r"\1<hash>"),
    (re.compile(r"(task-definition/[\w-]+|\bqa-[\w-]+-(app|admin|worker)):\d+"), r"\1:<revision>"),
)
MAKES = re.compile(
    ":(Create|RegisterTaskDefinition|StartPipelineExecution)"
    "|:POST (.*/deployments|.*/comments|chat.postMessage)$"
)
RECORD = ("slug", "repository", "branch", "desired", "commit", "next_commit", "begun")
VOLATILE = ("said", "id", "ts", "phase", "wished", "superseded", "seconds", "started", "execution")
"""Outputs that may differ: times, ids, and what a report said on the way."""


def world(life: Life) -> dict[str, Any]:
    """Everything that exists, by place, without times and what is drawn at random."""
    found = {
        "elbv2": _elbv2(life),
        "ecs": _ecs(life),
        "codepipeline": _codepipeline(life),
        "codebuild": _codebuild(life),
        "ecr": _ecr(life),
        "data": _data(life),
        "table": _table(life),
        "github": _github(life) if life.reports else {},
        "slack": [one["blocks"] for one in life.slack.messages],
        "dead letters": [one.body for one in life.dead],
    }
    text = json.dumps(found, sort_keys=True, default=str)
    for pattern, instead in MASKS:
        text = pattern.sub(instead, text)
    return dict(json.loads(text))


def _elbv2(life: Life) -> dict[str, Any]:
    elbv2 = life.aws.client("elbv2")
    groups = elbv2.describe_target_groups()["TargetGroups"]
    names = {group["TargetGroupArn"]: group["TargetGroupName"] for group in groups}
    tags = {"group": {g["TargetGroupName"]: _tags(elbv2, g["TargetGroupArn"]) for g in groups}}
    listeners = {}
    for balancer in elbv2.describe_load_balancers()["LoadBalancers"]:
        for one in elbv2.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]:
            rules = elbv2.describe_rules(ListenerArn=one["ListenerArn"])["Rules"]
            listeners[f"{balancer['LoadBalancerName']}:{one['Port']}"] = {
                "protocol": one["Protocol"],
                "tags": _tags(elbv2, one["ListenerArn"]),
                "actions": _named(one["DefaultActions"], names),
                "rules": [
                    [rule["Priority"], rule["Conditions"], _named(rule["Actions"], names)]
                    for rule in rules
                    if not rule["IsDefault"]
                ],
            }
    settings = {g["TargetGroupName"]: _group(elbv2, g) for g in groups}
    return {"listeners": listeners, "target groups": settings, **tags}


def _group(elbv2: Any, group: dict[str, Any]) -> dict[str, Any]:
    arn = group["TargetGroupArn"]
    attributes = elbv2.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
    health = elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
    shown = {key: value for key, value in group.items() if key not in ("TargetGroupArn", "LoadBalancerArns")}
    return {
        **shown,
        "attributes": {one["Key"]: one["Value"] for one in attributes},
        "targets": len(health),
        "balancers": len(group["LoadBalancerArns"]),
    }


def _tags(elbv2: Any, arn: str) -> dict[str, str]:
    (described,) = elbv2.describe_tags(ResourceArns=[arn])["TagDescriptions"]
    return {tag["Key"]: tag["Value"] for tag in described["Tags"]}


def _named(actions: list[dict[str, Any]], names: dict[str, str]) -> str:
    text = json.dumps(actions, sort_keys=True)
    for arn, name in names.items():
        text = text.replace(arn, name)
    return text


def _ecs(life: Life) -> dict[str, Any]:
    ecs, cluster = life.aws.client("ecs"), life.world.cluster
    arns = ecs.list_services(cluster=cluster, maxResults=100)["serviceArns"]
    listed = ecs.describe_services(cluster=cluster, services=arns, include=["TAGS"])["services"]
    volatile = ("deployments", "events", "createdAt", "createdBy", "serviceArn")
    services = {
        one["serviceName"]: {key: value for key, value in one.items() if key not in volatile}
        for one in listed
    }
    families = {}
    for status in ("ACTIVE", "INACTIVE"):
        for arn in ecs.list_task_definitions(status=status)["taskDefinitionArns"]:
            described = ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
            made = described["taskDefinition"]
            kept = {key: made[key] for key in ("family", "containerDefinitions", "cpu", "memory")}
            families.setdefault(made["family"], []).append([status, kept, described.get("tags")])
    return {"services": services, "task definitions": families}


def _codepipeline(life: Life) -> dict[str, Any]:
    found = {}
    for name, pipeline in life.engine.pipelines.items():
        declaration = {key: value for key, value in pipeline.declaration.items() if key != "version"}
        runs = [
            [run.trigger, sorted(run.pins.values()), str(run.status)] for run in pipeline.executions.values()
        ]
        found[name] = {"declaration": declaration, "tags": pipeline.tags, "executions": runs}
    return found


def _codebuild(life: Life) -> list[list[str]]:
    """Builds that go on, also of pipelines that are gone: one may still push an image or migrate."""
    builds = [one for one in life.engine.codebuild.builds if one.status is BuildStatus.IN_PROGRESS]
    return [[one.pipeline, one.project] for one in builds]


def _ecr(life: Life) -> list[str]:
    images = life.aws.client("ecr").list_images(repositoryName=life.world.repository)["imageIds"]
    return sorted(image["imageTag"] for image in images)


def _data(life: Life) -> dict[str, Any]:
    data = life.datastores
    return {"schemas": sorted(data.schemas), "migrated": data.migrated, "keys": data.keys}


def _table(life: Life) -> dict[str, Any]:
    records = {}
    for env in life.store.all():
        conditions = {
            name: [one.state, one.message, _steady(one), one.generation == env.generation]
            for name, one in env.conditions.items()
        }
        built = env.built and env.built.commit
        fields = {name: getattr(env, name) for name in RECORD}
        records[env.slug] = fields | {"claims": env.claims, "conditions": conditions, "built": built}
    scopes = ["schema", "redis namespace", *(f"port {lb.arn}" for lb in life.world.load_balancers)]
    claims = {scope: life.store.taken(scope) for scope in scopes}
    return {"records": records, "claims": claims, "dismissed": life.store.dismissals()}


def _steady(condition: Condition) -> dict[str, str]:
    """While something waits, its outputs are hints only, and die with the pass that had them."""
    if condition.state is State.WAITING:
        return {}
    return {name: value for name, value in condition.outputs.items() if value and name not in VOLATILE}


def _github(life: Life) -> dict[str, Any]:
    statuses = {
        f"{commit[:4]} {one['context']}": [one["state"], one["description"], one["target_url"]]
        for commit in (A, B, C, D, E, F)
        for one in reversed(life.hub._get_statuses(commit, {})[1])
    }
    return {
        "statuses": statuses,
        "deployments": sorted(life.hub.deployments.shown()),
        "comments": life.hub.bodies(),
    }


def makings(life: Life) -> Counter[str]:
    """How often each thing was made, or was tried to be: what must not be made twice."""
    return Counter(call.name for call in life.gate.calls if MAKES.search(call.name))


def differences(expected: Any, found: Any, where: str = "") -> list[str]:
    """Where two worlds differ, one line each."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return [
            line
            for name in sorted({*expected, *found})
            for line in differences(expected.get(name), found.get(name), f"{where}/{name}")
        ]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = zip(expected, found, strict=True)
        return [line for n, (one, two) in enumerate(pairs) for line in differences(one, two, f"{where}[{n}]")]
    return [] if expected == found else [f"{where}: {_short(found)}, not {_short(expected)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return text if len(text) < 300 else f"{text[:300]}…"
