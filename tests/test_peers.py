"""Seventeen scripts of what happened to others who do this job, in their order: none may happen here.

Each runs through the whole installation. Where the script is about deliveries they are GitHub's payloads,
signed: webhook function, FIFO queue, reconcile function. `qa` runs both ways of knowing where a branch is.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from handlers import reconcile, webhook
from local.send import signed
from qa_env import naming
from qa_env.aws import tag_dict
from qa_env.blueprint import Blueprint, index
from qa_env.branches import GitHubBranches
from qa_env.controller import Plan
from qa_env.github_api import GitHub as GitHubApi
from qa_env.model import Desired, Environment, Phase, Slug, State
from qa_env.receiver import Queue, Receiver
from qa_env.reports.commit_status import CommitStatus
from tests.fakes import FakeBranches, MemoryStore
from tests.github_server import Answer, Server, serve
from tests.installation import REPOSITORY, A, B, C, Installation, blueprint, installed
from tests.making import D, event
from tests.pages import Reader, Visit
from tests.reporting import Hub, github
from tests.strict_aws import Event

SECRET = "It's a Secret to Everybody"
REFUSAL = ("AccessDeniedException", "the role is not authorized to do that")
NOBODY = "0" * 40  # GitHub's commit of a branch that is not there


@pytest.fixture(params=[False, True], ids=["last-webhook", "github"])
def qa(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """Both ways of knowing where a branch is."""
    with installed(asks_github=request.param) as made:
        yield made


@pytest.fixture
def hub(qa: Installation) -> GitHub:
    return GitHub(qa)


@dataclass(frozen=True)
class Delivery:
    """One event as GitHub would send it; `guid` and `hook` are what two webhooks differ in."""

    event: str
    body: bytes
    guid: str
    hook: str = "292430182"

    def by(self, hook: str) -> Delivery:
        """The same event, delivered by another webhook: another id."""
        return Delivery(self.event, self.body, f"{self.guid}-{hook}", hook)

    def request(self, secret: str) -> dict[str, Any]:
        """The Function URL's event."""
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": self.event,
            "X-GitHub-Delivery": self.guid,
            "X-GitHub-Hook-ID": self.hook,
        }
        return {
            "headers": signed(headers, self.body, secret),
            "requestContext": {"http": {"method": "POST"}},
            "body": self.body.decode(),
            "isBase64Encoded": False,
        }


@dataclass
class GitHub:
    """Moves branches, and says so in deliveries: when, how often and in which order is up to the test."""

    qa: Installation
    second: int = 1_793_585_730
    guids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.sqs = self.qa.aws.client("sqs")
        queue = Queue(self.qa.world.queue_url, lambda: self.sqs)
        self.receiver = Receiver([SECRET.encode()], index([self.qa.blueprint]), queue.put)

    def use(self, made: Blueprint) -> None:
        """The operator deployed another blueprint, the webhook function with it."""
        self.qa.use(made)
        self.receiver = replace(self.receiver, index=index([made]))

    def push(self, branch: str, commit: str, *, seconds: int = 1) -> Delivery:
        """The branch is at this commit, so many seconds after the last push; nobody was told yet."""
        return self._move(branch, commit, seconds)

    def delete(self, branch: str, *, seconds: int = 1) -> Delivery:
        """The branch is gone; nobody was told yet."""
        return self._move(branch, NOBODY, seconds)

    def _move(self, branch: str, commit: str, seconds: int) -> Delivery:
        before = self.qa.heads.pop(branch, NOBODY)
        if commit != NOBODY:
            self.qa.heads[branch] = commit
        if self.qa.branches:
            self.qa.branches.heads = self.qa.shown()
        self.second += seconds
        kind = "push-delete" if commit == NOBODY else "push-create" if before == NOBODY else "push-update"
        return self.say(kind, ref=f"refs/heads/{branch}", before=before, after=commit)

    def say(self, name: str, **changes: Any) -> Delivery:
        """One of the examples in `events/` with some of its fields replaced."""
        example = event(name)
        body = example["body"] | changes
        called = self.qa.blueprint.repository
        body["repository"] = body["repository"] | {"pushed_at": self.second, "full_name": called}
        guid = f"guid-{next(self.guids)}"
        return Delivery(example["headers"]["X-GitHub-Event"], json.dumps(body).encode(), guid)

    def deliver(self, *deliveries: Delivery) -> list[int]:
        """Deliver in this order and let the reconcile function work; the webhook's answers."""
        statuses = [self.post(one) for one in deliveries]
        self.work()
        return statuses

    def post(self, delivery: Delivery, secret: str = SECRET) -> int:
        """Only the webhook: what it took is on the queue."""
        answer = webhook.handler(delivery.request(secret), None, receiver=self.receiver)
        return int(answer["statusCode"])

    def work(self) -> None:
        """The reconcile function takes what the queue shows, and what comes of it."""
        while messages := self.receive():
            failed = self.invoke(messages)
            for message in messages:
                if message["MessageId"] not in failed:
                    self.sqs.delete_message(
                        QueueUrl=self.qa.world.queue_url, ReceiptHandle=message["ReceiptHandle"]
                    )
        self.qa.deliver()

    def receive(self) -> list[dict[str, Any]]:
        return list(
            self.sqs.receive_message(
                QueueUrl=self.qa.world.queue_url, MaxNumberOfMessages=10, AttributeNames=["All"]
            ).get("Messages", [])
        )

    def show_again(self, messages: list[dict[str, Any]]) -> None:
        """Their visibility timeout is over."""
        for message in messages:
            self.sqs.change_message_visibility(
                QueueUrl=self.qa.world.queue_url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )

    def run_pass(self, slug: Slug) -> Environment | None:
        """One pass as the reconcile function makes it: what breaks is not seen by who comes next."""
        self.qa.queue[:] = [one for one in self.qa.queue if one != slug]
        body = json.dumps({"slug": slug, "why": "a test"})
        message = {"MessageId": "1", "ReceiptHandle": "1", "Body": body, "Attributes": {}}
        digest = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
        self.invoke([message | {"MD5OfBody": digest}])
        return self.qa.store.get(slug)

    def invoke(self, messages: list[dict[str, Any]]) -> set[str]:
        """One invocation of the reconcile function; the ids of what it wants to have again."""
        answer = reconcile.handler(
            {"Records": [_record(message) for message in messages]},
            None,
            controller=self.qa.controller,
            postpone=lambda receipt, seconds: None,
        )
        return {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}


def _record(message: dict[str, Any]) -> dict[str, Any]:
    """A received message as Lambda passes it on."""
    made: dict[str, Any] = copy.deepcopy(event("sqs-wake")["Records"][0])
    made |= {"messageId": message["MessageId"], "receiptHandle": message["ReceiptHandle"]}
    made |= {"body": message["Body"], "md5OfBody": message["MD5OfBody"]}
    return made | {"attributes": made["attributes"] | message["Attributes"]}


def builds(qa: Installation, slug: str) -> list[tuple[str, str]]:
    """(status, commit) of every execution of the environment's pipeline, the newest first."""
    listed = qa.codepipeline.list_pipeline_executions(pipelineName=slug)["pipelineExecutionSummaries"]
    return [(one["status"], one["sourceRevisions"][0]["revisionId"]) for one in listed]


def deployments(qa: Installation, slug: str) -> list[int]:
    """How many deployments each role's service has had, going by the revisions of its task definition."""
    roles = qa.blueprint.roles
    arns = [qa.task_definition(naming.service(Slug(slug), role)) for role in roles]
    return [int(arn.rpartition(":")[2]) for arn in arns]


def assert_live(qa: Installation, slug: str, commit: str) -> None:
    """The environment is ready, and every role runs this commit."""
    env = qa.env(Slug(slug))
    assert env.phase is Phase.READY, qa.messages(env.slug)
    assert (env.commit, env.built and env.built.commit) == (commit, commit)
    for role in qa.blueprint.roles:
        service = qa.service(naming.service(env.slug, role))
        assert (service["status"], service["runningCount"]) == ("ACTIVE", 1)
        assert image_of(qa, service["taskDefinition"]).endswith(f":{env.slug}-{commit}")


def image_of(qa: Installation, task_definition: str) -> str:
    """What the branch's container runs."""
    described = qa.aws.client("ecs").describe_task_definition(taskDefinition=task_definition)
    return str(described["taskDefinition"]["containerDefinitions"][0]["image"])


# --- 1 --------------------------------------------------------------------------------------------------


class TestSameDeliveryTwice:
    def test_a_redelivery_deploys_nothing_a_second_time(self, qa: Installation, hub: GitHub) -> None:
        """1, coolify#11108: the same delivery twice, while it is built and once more when it is live."""
        pushed = hub.push("qa/foo", A)
        assert hub.deliver(pushed, pushed) == [202, 202]
        qa.settle()
        assert hub.deliver(pushed) == [202]
        qa.settle()
        assert_live(qa, "qa-foo", A)
        assert builds(qa, "qa-foo") == [("Succeeded", A)]
        assert deployments(qa, "qa-foo") == [1, 1, 1]

    def test_two_deliveries_in_one_second_deploy_once(self, qa: Installation, hub: GitHub) -> None:
        """1, dokploy PR#4290: `create` and `push` tell of the same second, before anything was looked at."""
        pushed = hub.push("qa/foo", A)
        created = hub.say("create", ref="qa/foo")
        assert hub.deliver(created, pushed, created) == [202, 202, 202]
        qa.settle()
        assert_live(qa, "qa-foo", A)
        assert builds(qa, "qa-foo") == [("Succeeded", A)]
        assert deployments(qa, "qa-foo") == [1, 1, 1]

    def test_two_pushes_in_one_second_deploy_the_second_once(self, qa: Installation, hub: GitHub) -> None:
        """1, coolify#11108: two pushes within a second are one deployment, of the newer commit."""
        deliveries = [hub.push("qa/foo", A), hub.push("qa/foo", B, seconds=0)]
        hub.deliver(*deliveries)
        qa.settle()
        assert_live(qa, "qa-foo", B)
        assert deployments(qa, "qa-foo") == [1, 1, 1]


# --- 2 --------------------------------------------------------------------------------------------------


class TestWebhookRegisteredTwice:
    def test_two_hooks_build_one_environment_once(self, qa: Installation, hub: GitHub) -> None:
        """2, coolify#1006: repository and organisation have a hook each: other ids, the same news."""
        pushed = hub.push("qa/foo", A)
        hub.deliver(pushed, pushed.by("organisation"))
        qa.settle()
        updated = hub.push("qa/foo", B)
        hub.deliver(updated, updated.by("organisation"))
        qa.settle()
        assert [env.slug for env in qa.store.all()] == ["qa-foo"]
        assert_live(qa, "qa-foo", B)
        assert builds(qa, "qa-foo") == [("Succeeded", B), ("Succeeded", A)]
        assert deployments(qa, "qa-foo") == [2, 2, 2]

    @pytest.mark.parametrize("lag", ["while it goes", "after it is gone"])
    def test_a_hook_that_lags_behind_leaves_nothing(self, qa: Installation, hub: GitHub, lag: str) -> None:
        """2, coolify#1006: the second hook tells the whole story again when the first has told its end."""
        story = [hub.push("qa/foo", A), hub.push("qa/foo", B)]
        hub.deliver(*story)
        qa.settle()
        story.append(hub.delete("qa/foo"))
        hub.deliver(story[-1])
        if lag == "after it is gone":
            qa.settle()
            assert qa.left() == []
        hub.deliver(*(one.by("organisation") for one in story))
        qa.settle(rounds=20)
        assert qa.left() == []

    def test_a_hook_with_another_secret_is_refused_and_harms_nothing(
        self, qa: Installation, hub: GitHub
    ) -> None:
        """2, coolify#1006: a forgotten hook signs with an old secret."""
        pushed = hub.push("qa/foo", A)
        hub.deliver(pushed)
        deleted = hub.say("delete", ref="qa/foo")
        assert hub.post(deleted.by("forgotten"), secret="old") == 401
        hub.work()
        qa.settle()
        assert_live(qa, "qa-foo", A)


# --- 3 --------------------------------------------------------------------------------------------------


class TestLateEvents:
    @pytest.mark.parametrize("seconds", [0, 1], ids=["same second", "a second apart"])
    @pytest.mark.parametrize("live", [False, True], ids=["building", "live"])
    def test_the_older_push_does_not_win_because_its_event_is_last(
        self, qa: Installation, hub: GitHub, seconds: int, live: bool
    ) -> None:
        """3, pullpreview: A and B are pushed, A's event arrives last; B stays, and A is never built."""
        older, newer = hub.push("qa/foo", A), hub.push("qa/foo", B, seconds=seconds)
        hub.deliver(newer)
        if live:
            qa.settle()
        hub.deliver(older)
        qa.settle()
        assert_live(qa, "qa-foo", B)
        assert {commit for _, commit in builds(qa, "qa-foo")} == {B}
        assert deployments(qa, "qa-foo") == [1, 1, 1]

    @pytest.mark.parametrize("order", [(1, 2, 0), (2, 0, 1), (2, 1, 0)], ids=str)
    def test_the_last_of_three_pushes_wins_in_any_order(
        self, qa: Installation, hub: GitHub, order: tuple[int, ...]
    ) -> None:
        """3, CMS's guard: three pushes' events arrive in another order, the third push stays."""
        deliveries = [hub.push("qa/foo", commit) for commit in (A, B, C)]
        for number in order:
            hub.deliver(deliveries[number])
        qa.settle()
        assert_live(qa, "qa-foo", C)


# --- 4 --------------------------------------------------------------------------------------------------


@dataclass
class CodeBuild:
    """A CodeBuild whose builds go on for a while when they are told to stop; `during` happens in one."""

    qa: Installation
    project: str
    during: Callable[[], None]
    running: bool = False

    def __post_init__(self) -> None:
        self.qa.aws.serve("codebuild:*", self.answer)
        self.qa.aws.serve("codepipeline:*", self.name_the_build)
        self.push_image, self.qa._push_image = self.qa._push_image, self.build
        self.migrate, self.qa.datastores.migrate = self.qa.datastores.migrate, self.migration

    def answer(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        status = "IN_PROGRESS" if self.running else "STOPPED"
        return {"builds": [{"id": one, "buildStatus": status} for one in params.get("ids", [])]}

    def name_the_build(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """The pipeline's actions lead to their builds."""
        answer = self.qa._codepipeline(operation, params)
        for stage in answer.get("stageStates", []):
            for action in stage["actionStates"] if stage["stageName"].lower() == self.project else []:
                action.get("latestExecution", {})["externalExecutionId"] = f"{self.project}:1"
        return answer

    def build(self, image: str, execution: str) -> None:
        self._work("build")
        self.push_image(image, execution)

    def migration(self, schema: str, commit: str) -> None:
        self._work("migrate")
        self.migrate(schema, commit)

    def _work(self, project: str) -> None:
        if project == self.project:
            self.running = True
            self.during()
            self.running = False


def minutes(qa: Installation, count: int) -> None:
    """Time passes, CodePipeline works and the tick comes, but no task starts or ends."""
    for _ in range(count):
        qa.now += 60
        qa.engine.run_until_idle()
        qa.watch.sweep(int(qa.now // 60))
        qa.deliver()


class TestDeleteWhileBuilding:
    @pytest.mark.parametrize("stage", ["Source", "Deploy"])
    def test_a_deleted_branch_is_not_deployed_by_the_build_under_way(
        self, qa: Installation, hub: GitHub, stage: str
    ) -> None:
        """4, SWA#898: push, then delete while it is built; nothing is left when the build has ended."""
        hub.deliver(hub.push("qa/foo", A))
        if stage == "Deploy":
            qa.engine.run_until_idle()
        hub.deliver(hub.delete("qa/foo"))
        qa.settle()
        assert qa.left() == []

    @pytest.mark.parametrize("project", ["build", "migrate"])
    def test_a_build_that_does_not_stop_leaves_nothing_behind(
        self, qa: Installation, hub: GitHub, project: str
    ) -> None:
        """4, SWA#873: the build goes on for minutes; its image and its tables come after the deletion."""

        def during() -> None:
            hub.deliver(hub.delete("qa/foo"))
            minutes(qa, 5)
            assert qa.datastores.schemas == {"qa-foo"}, "a schema was dropped under a migration"

        CodeBuild(qa, project, during)
        hub.deliver(hub.push("qa/foo", A))
        qa.engine.run_until_idle()
        qa.settle()
        assert qa.left() == []


# --- 5 --------------------------------------------------------------------------------------------------


class TestPushDuringTeardown:
    @pytest.mark.parametrize("commit", [A, B], ids=["same commit", "another commit"])
    def test_the_new_environment_does_not_start_beside_the_old_one(
        self, qa: Installation, hub: GitHub, commit: str
    ) -> None:
        """5, aws-samples: delete and push again at once; the old tasks drain before new ones come."""
        hub.deliver(hub.push("qa/foo", A))
        qa.settle()
        old, held = services(qa, "qa-foo"), qa.env(Slug("qa-foo")).claims
        hub.deliver(hub.delete("qa/foo"))
        hub.deliver(hub.push("qa/foo", commit))
        minutes(qa, 5)
        assert {name: one["status"] for name, one in services(qa, "qa-foo").items()} == dict.fromkeys(
            old, "DRAINING"
        )
        assert qa.env(Slug("qa-foo")).phase is Phase.DELETING
        qa.settle(rounds=20)
        assert_live(qa, "qa-foo", commit)
        new = services(qa, "qa-foo")
        assert all(new[name]["createdAt"] > old[name]["createdAt"] for name in old)
        assert qa.env(Slug("qa-foo")).claims == held
        assert qa.datastores.migrated == {"qa-foo": [commit]}, "the old data is gone"


def services(qa: Installation, slug: str) -> dict[str, dict[str, Any]]:
    """Role → the environment's ECS service, drained ones as well."""
    return {role: qa.service(naming.service(Slug(slug), role)) for role in qa.blueprint.roles}


def running(qa: Installation, slug: str) -> dict[str, list[Any]]:
    """What would differ if a service had been stopped, updated or made anew."""
    telling = ("status", "createdAt", "taskDefinition", "runningCount")
    return {role: [one[name] for name in telling] for role, one in services(qa, slug).items()}


# --- 6 --------------------------------------------------------------------------------------------------


class TestHalfCreated:
    @pytest.mark.parametrize(
        "operation",
        [
            "elbv2:CreateTargetGroup",
            "elbv2:CreateListener",
            "codepipeline:CreatePipeline",
            "ecs:RegisterTaskDefinition",
            "ecs:CreateService",
        ],
    )
    def test_a_half_created_environment_is_not_stuck_for_ever(self, operation: str) -> None:
        """6, artsy/force#17064: its creation broke off; the next push resumes it, nothing is there twice."""
        with installed() as qa:
            hub = GitHub(qa)
            qa.aws.fail(operation, 999, REFUSAL)
            hub.deliver(hub.push("qa/foo", A))
            qa.settle()
            half = qa.env(Slug("qa-foo"))
            assert half.phase is Phase.BLOCKED
            assert REFUSAL[1] in "".join(qa.messages(half.slug).values())
            qa.aws.clear_faults()
            hub.deliver(hub.push("qa/foo", B))
            qa.settle()
            assert_live(qa, "qa-foo", B)
            assert qa.env(half.slug).claims == half.claims
            assert made(qa) == {"targetgroup": 3, "listener": 2, "service": 3, "pipeline": 1}
            hub.deliver(hub.delete("qa/foo"))
            qa.settle()
            assert qa.left() == []


def made(qa: Installation) -> dict[str, int]:
    """How many things of each kind there are beside STG's; the page's target group is one of them."""
    elbv2, lb = qa.aws.client("elbv2"), qa.world.load_balancer.arn
    return {
        "targetgroup": len(elbv2.describe_target_groups()["TargetGroups"]) - 1,
        "listener": len(elbv2.describe_listeners(LoadBalancerArn=lb)["Listeners"]),
        "service": len(qa.aws.client("ecs").list_services(cluster=qa.world.cluster)["serviceArns"]) - 2,
        "pipeline": len(qa.codepipeline.list_pipelines()["pipelines"]),
    }


# --- 7 --------------------------------------------------------------------------------------------------

TARGET_GROUPS = {"target_group/app", "target_group/admin"}
CURTAINS = {"curtain/app", "curtain/admin", "curtain/worker"}  # the page's target group goes with the last
LISTENERS = {"listener/app", "listener/admin"}
SERVICES = {"service/app", "service/admin", "service/worker"}
DATA = {"schema", "keyspace"}


class TestOneStepOfATeardownFails:
    @pytest.mark.parametrize(
        ("operation", "left", "waiting"),
        [
            ("elbv2:DeleteTargetGroup", TARGET_GROUPS | CURTAINS, set()),
            ("elbv2:DeleteListener", LISTENERS, TARGET_GROUPS),
            (
                "ecs:DeleteService",
                SERVICES,
                DATA | {f"task_definition/{role}" for role in ("app", "admin", "worker")},
            ),
            ("codepipeline:DeletePipeline", {"pipeline"}, DATA | {"image"}),
            ("ecr:BatchDeleteImage", {"image"}, set()),
        ],
    )
    def test_one_failing_step_keeps_no_other_from_being_done(
        self, operation: str, left: set[str], waiting: set[str]
    ) -> None:
        """7, dreamkast#4189: the others run; the page says what is left and why; retried, then gone."""
        with installed() as qa:
            hub = GitHub(qa)
            hub.deliver(hub.push("qa/foo", A))
            qa.settle()
            qa.aws.fail(operation, 999, REFUSAL)
            hub.deliver(hub.delete("qa/foo"))
            qa.settle()
            conditions = {
                name: one for name, one in qa.env(Slug("qa-foo")).conditions.items() if name != "branch"
            }
            states = {name: one.state for name, one in conditions.items()}
            expected = dict.fromkeys(left, State.BLOCKED) | dict.fromkeys(waiting, State.WAITING)
            assert states == dict.fromkeys(states, State.GONE) | expected
            shown = page(qa, "qa-foo")
            for name in left:
                assert REFUSAL[1] in conditions[name].message
                assert conditions[name].message in shown
            qa.aws.clear_faults()
            later(qa)
            assert qa.left() == []

    def test_data_that_cannot_be_dropped_is_named_and_the_rest_goes(self) -> None:
        """7, dreamkast#4189: MySQL and Redis are away; nothing else waits for them."""
        with installed() as qa:
            hub = GitHub(qa)
            hub.deliver(hub.push("qa/foo", A))
            qa.settle()
            qa.datastores.error = {"error": "blocked", "message": "MySQL refuses the password"}
            hub.deliver(hub.delete("qa/foo"))
            qa.settle()
            said = qa.messages(Slug("qa-foo"))
            assert {
                name for name, text in said.items() if text == "blocked: MySQL refuses the password"
            } == DATA
            assert made(qa) == {"targetgroup": 0, "listener": 0, "service": 0, "pipeline": 0}
            assert "MySQL refuses the password" in page(qa, "qa-foo")
            qa.datastores.error = None
            later(qa)
            assert qa.left() == []


def page(qa: Installation, slug: str) -> str:
    """What the environment's page says."""
    visit = Visit()
    visit.store, visit.now = cast("MemoryStore", qa.store), qa.now
    return Reader(visit.ask(f"/environments/{slug}")).text


# --- 8 --------------------------------------------------------------------------------------------------


def lose_the_record(qa: Installation, slug: str, *, claims: bool) -> None:
    """Somebody deleted the environment's row from the table, with its claims or without."""
    table, held = qa.store.table, qa.env(Slug(slug)).claims
    table.delete_item(Key={"pk": "environment", "sk": slug})
    for claim in held.values() if claims else ():
        table.delete_item(Key={"pk": f"claim#{claim.scope}", "sk": claim.name})


class TestRecordIsGone:
    @pytest.mark.parametrize("claims", [False, True], ids=["row", "row and claims"])
    def test_what_is_in_aws_without_a_record_does_not_stay_for_ever(
        self, qa: Installation, hub: GitHub, claims: bool
    ) -> None:
        """8, pix-bot, coolify#2901: state row gone, AWS still there; it is found by tag and swept."""
        hub.deliver(hub.push("qa/foo", A), hub.push("qa/bar", B))
        qa.settle()
        lose_the_record(qa, "qa-foo", claims=claims)
        hub.deliver(hub.delete("qa/foo"))
        qa.audit()
        qa.now += 3700
        qa.audit()
        qa.settle(rounds=20)
        assert [one for one in qa.left() if "foo" in one] == []
        assert_live(qa, "qa-bar", B)

    def test_what_is_alive_gets_its_record_back(self) -> None:
        """8, coolify#2901: the branch is there, so GitHub's list makes the record again over what is."""
        with installed(asks_github=True) as qa:
            hub = GitHub(qa)
            hub.deliver(hub.push("qa/foo", A))
            qa.settle()
            before = {role: one["createdAt"] for role, one in services(qa, "qa-foo").items()}
            lose_the_record(qa, "qa-foo", claims=False)
            qa.audit()
            qa.settle(rounds=20)
            assert_live(qa, "qa-foo", A)
            assert {role: one["createdAt"] for role, one in services(qa, "qa-foo").items()} == before


# --- 9 --------------------------------------------------------------------------------------------------


@dataclass
class Api:
    """GitHub's REST API in front of the installation; what it answers to everything may be overridden."""

    qa: Installation
    server: Server

    def __post_init__(self) -> None:
        self.qa.branches = cast(
            "FakeBranches", GitHubBranches(GitHubApi(self.server.url, lambda: {"token": "t"}))
        )
        self.show(**{"qa/foo": A, "qa/bar": B})

    def show(self, **heads: str) -> None:
        """The repository as it is: these branches, and main; no commit: it is missing."""
        repository = f"/repos/{REPOSITORY}"
        listing = f"{repository}/git/matching-refs/heads"
        refs = {"main": C} | heads
        for beginning in (*refs, "qa/", "qa/foo", "qa/bar"):
            found = [
                {"ref": f"refs/heads/{name}", "object": {"sha": sha}}
                for name, sha in refs.items()
                if sha and name.startswith(beginning)
            ]
            self.server.answers[f"{listing}/{beginning}?per_page=100"] = Answer(found)
        self.server.answers[repository] = Answer({"default_branch": "main"})

    def break_down(self, answer: Answer) -> None:
        """Whatever is asked, this is the answer; a list is one only to what asks for branches."""
        known = self.server.answers[f"/repos/{REPOSITORY}"]
        self.server.answers = {"*": answer}
        if answer.content == []:
            self.server.answers[f"/repos/{REPOSITORY}"] = known


class TestGitHubIsBroken:
    @pytest.mark.parametrize(
        "answer",
        [
            Answer({"message": "Server Error"}, 500),
            Answer("<html>Unicorn!</html>"),
            Answer("<html>Bad gateway</html>", 502),
            Answer([]),
            Answer({}),
            Answer({"message": "Not Found"}, 404),
            Answer({"message": "Bad credentials"}, 401),
            Answer(""),
        ],
        ids=["500", "HTML", "502", "empty list", "no list", "404", "401", "nothing"],
    )
    def test_an_answer_that_means_nothing_deletes_nothing(self, answer: Answer) -> None:
        """9, argo#11464/#14318: GitHub is broken during the sweep, for hours; then it is well again."""
        with installed() as qa, serve() as server:
            hub, api = GitHub(qa), Api(qa, server)
            hub.deliver(hub.push("qa/foo", A), hub.push("qa/bar", B))
            qa.settle()
            api.break_down(answer)
            before = {slug: running(qa, slug) for slug in ("qa-foo", "qa-bar")}
            for _ in range(3):
                qa.audit()
                qa.now += 3600
                look_at_all(qa)
            assert {slug: running(qa, slug) for slug in before} == before
            assert {env.desired for env in qa.store.all()} == {Desired.PRESENT}
            api.show(**{"qa/foo": A, "qa/bar": B})
            look_at_all(qa)
            assert_live(qa, "qa-foo", A)
            assert_live(qa, "qa-bar", B)

    def test_a_listing_that_is_cut_short_deletes_nothing(self) -> None:
        """9, argo#14318: most branches are missing from one hour to the next, and no webhook said so."""
        with installed() as qa, serve() as server:
            hub, api = GitHub(qa), Api(qa, server)
            branches = {"qa/foo": A, "qa/bar": B, "qa/one": C, "qa/two": D}
            api.show(**branches)
            hub.deliver(*(hub.push(branch, commit) for branch, commit in branches.items()))
            qa.settle()
            before = {slug: running(qa, slug) for slug in ("qa-foo", "qa-bar", "qa-one", "qa-two")}
            api.show(**(dict.fromkeys(branches, "") | {"qa/foo": A}))
            for _ in range(3):
                qa.audit()
                qa.now += 3600
                look_at_all(qa)
            assert {env.desired for env in qa.store.all()} == {Desired.PRESENT}
            assert {slug: running(qa, slug) for slug in before} == before


def look_at_all(qa: Installation) -> None:
    """The hourly look at what is settled, three times within some minutes."""
    for _ in range(3):
        qa.now += 60
        qa.queue.extend(env.slug for env in qa.store.all())
        qa.deliver()


# --- 10 -------------------------------------------------------------------------------------------------


class TestOneIsStuck:
    @pytest.mark.parametrize("code", ["AccessDenied", "InternalFailure"])
    def test_one_stuck_environment_does_not_stop_the_others(self, code: str) -> None:
        """10, jx gc: everything of one environment fails; those before and after it are built and removed."""
        with installed() as qa:
            hub = GitHub(qa)
            qa.run_pass = hub.run_pass
            break_all_of(qa, "qa-bad", code)
            branches = ["qa/able", "qa/bad", "qa/cosy"]
            hub.deliver(*(hub.push(branch, A) for branch in branches))
            qa.settle()
            assert_live(qa, "qa-able", A)
            assert_live(qa, "qa-cosy", A)
            assert qa.env(Slug("qa-bad")).phase in (Phase.BLOCKED, Phase.FAILED)
            hub.deliver(*(hub.delete(branch) for branch in branches))
            qa.settle()
            assert [env.slug for env in qa.store.all()] == ["qa-bad"]

    def test_a_record_that_nobody_can_read_stops_nobody_and_is_not_swept(self) -> None:
        """10, jx gc: sweep and audit go on after it, and do not take what is alive for an orphan."""
        with installed() as qa:
            hub = GitHub(qa)
            hub.deliver(hub.push("qa/bad", A), hub.push("qa/cosy", A))
            qa.settle()
            before = running(qa, "qa-bad")
            qa.store.table.update_item(
                Key={"pk": "environment", "sk": "qa-bad"},
                UpdateExpression="SET conditions = :broken",
                ExpressionAttributeValues={":broken": "{"},
            )
            qa.audit()
            qa.now += 3700
            qa.audit()
            hub.deliver(hub.push("qa/cosy", B))
            qa.settle()
            assert_live(qa, "qa-cosy", B)
            assert running(qa, "qa-bad") == before


def break_all_of(qa: Installation, slug: str, code: str) -> None:
    """From now on each call to the load balancer that names this environment fails."""

    def refuse(call: Event) -> None:
        if call.moment == "before" and call.service == "elbv2" and slug in str(call.params):
            raise ClientError({"Error": {"Code": code, "Message": REFUSAL[1]}}, call.operation)

    qa.aws.on_call(refuse)


# --- 11 -------------------------------------------------------------------------------------------------

LOOKALIKES = [
    "qa/a-b",
    "qa/a_b",
    "qa/A-B",
    "qa/a/b",
    f"qa/{'x' * 200}1",
    f"qa/{'x' * 200}2",
    "qa/日本語",
    "qa/日本誤",
]


class TestNamesThatLookAlike:
    def test_branches_that_look_alike_share_nothing(self) -> None:
        """11: case, `_`, 200 characters that differ in the last, Japanese: each its own id, everywhere."""
        with installed() as qa:
            hub = GitHub(qa)
            commits = {branch: f"{number}" * 40 for number, branch in enumerate(LOOKALIKES, 1)}
            hub.deliver(*(hub.push(branch, commit) for branch, commit in commits.items()))
            qa.settle(rounds=20)
            slugs = {env.branch: env.slug for env in qa.store.all()}
            assert sorted(slugs) == sorted(LOOKALIKES)
            for branch, commit in commits.items():
                assert_live(qa, slugs[branch], commit)
                assert ids(qa, slugs[branch]) == {slugs[branch]}
                assert variables(qa, slugs[branch])["BRANCH"] == branch
            for of in (schema, namespace, urls):
                assert len({of(qa, slug) for slug in slugs.values()}) == len(LOOKALIKES)

    def test_deleting_one_of_them_leaves_the_others_alone(self) -> None:
        """11: what goes is what the branch's own id says, not what begins like it."""
        with installed() as qa:
            hub = GitHub(qa)
            hub.deliver(hub.push("qa/a-b", A), hub.push("qa/a_b", B), hub.push("qa/a-b-c", C))
            qa.settle(rounds=20)
            hub.deliver(hub.delete("qa/a-b"))
            qa.settle(rounds=20)
            alive = {env.branch: env.slug for env in qa.store.all()}
            assert set(alive) == {"qa/a_b", "qa/a-b-c"}
            assert_live(qa, alive["qa/a_b"], B)
            assert_live(qa, alive["qa/a-b-c"], C)
            assert qa.datastores.schemas == {schema(qa, slug) for slug in alive.values()}


def ids(qa: Installation, slug: Slug) -> set[str]:
    """The environment's id as its things have it: tags, names, variables."""
    pipeline = qa.codepipeline.get_pipeline(name=slug)["metadata"]["pipelineArn"]
    tags = [qa.codepipeline.list_tags_for_resource(resourceArn=pipeline)["tags"]]
    for name in TARGET_GROUPS | LISTENERS:
        arn = qa.env(slug).conditions[name].outputs["arn"]
        described = qa.aws.client("elbv2").describe_tags(ResourceArns=[arn])["TagDescriptions"]
        tags.append(described[0]["Tags"])
    found = {tag_dict(one)[naming.TAG_ENVIRONMENT] for one in tags}
    return found | {schema(qa, slug), namespace(qa, slug).replace("_", "-")}


def schema(qa: Installation, slug: Slug) -> str:
    return variables(qa, slug)["DB_NAME"]


def namespace(qa: Installation, slug: Slug) -> str:
    return variables(qa, slug)["REDIS_NAMESPACE"]


def urls(qa: Installation, slug: Slug) -> str:
    return str(qa.env(slug).urls)


def variables(qa: Installation, slug: Slug) -> dict[str, str]:
    """What the application's first role is given."""
    arn = qa.task_definition(naming.service(slug, "app"))
    described = qa.aws.client("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"]
    return {one["name"]: one["value"] for one in described["containerDefinitions"][0]["environment"]}


# --- 12 -------------------------------------------------------------------------------------------------


def few_ports(qa: Installation) -> None:
    """The blueprint has four ports."""
    (only,) = qa.blueprint.load_balancers
    qa.use(blueprint(qa.world, load_balancers=[only.model_dump() | {"ports": "10001-10004"}]))


def few_listeners(qa: Installation) -> None:
    """The account allows four listeners."""
    qa.aws.elbv2.quotas["listeners-per-application-load-balancer"] = 4


def few_databases(qa: Installation) -> None:
    """Redis has two databases to give away."""
    numbered = qa.blueprint.redis.model_dump(exclude_unset=True)
    numbered |= {"mode": "database", "databases": "1-2", "variables": {"REDIS_DB": "{database}"}}
    qa.use(blueprint(qa.world, redis=numbered))


class TestFull:
    @pytest.mark.parametrize("limit", [few_ports, few_listeners, few_databases])
    def test_no_room_is_not_the_commits_fault_and_ends_by_itself(
        self, limit: Callable[[Installation], None]
    ) -> None:
        """12, SWA#941: the third is told who holds the places; no CI is red, and a freed place is its own."""
        with installed() as qa, github() as server:
            limit(qa)
            report_commit_statuses(qa, server)
            hub = GitHub(qa)
            hub.deliver(hub.push("qa/one", A), hub.push("qa/two", B))
            qa.settle()
            held = {env.slug: env.claims for env in qa.store.all()}
            hub.deliver(hub.push("qa/three", C))
            qa.settle()
            waiting = qa.env(Slug("qa-three"))
            assert waiting.phase is Phase.BLOCKED
            assert "qa-one, qa-two" in waiting.conditions["claims"].message
            assert waiting.claims == {}
            status = server.statuses(C)[-1]
            assert status["state"] == "error"
            assert status["description"].startswith("Needs a person: ")
            assert_live(qa, "qa-one", A)
            assert_live(qa, "qa-two", B)
            assert {env.slug: env.claims for env in qa.store.all() if env.slug != "qa-three"} == held
            hub.deliver(hub.delete("qa/one"))
            for _ in range(30):
                qa.settle(rounds=1)
            assert_live(qa, "qa-three", C)
            assert_live(qa, "qa-two", B)
            assert server.statuses(C)[-1]["state"] == "success"


def report_commit_statuses(qa: Installation, server: Hub) -> None:
    """The loop also tells GitHub, which knows the branches that the installation has."""
    server.branches.all = qa.heads

    def plan(made: Blueprint) -> Plan:
        return replace(qa.plan(made), reports=[CommitStatus(server.api, made)])

    qa.controller = replace(qa.controller, plan=plan)


# --- 13 -------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The worker is gone, in the middle of a call: nothing catches that."""


def kill_at(qa: Installation, operation: str, nth: int = 1) -> None:
    """The next worker that has done this (for the nth time) is killed before it hears so."""
    dies = iter([*[False] * (nth - 1), True])

    def strike(call: Event) -> None:
        if call.name == operation and call.done and next(dies, False):
            raise Killed(operation)

    qa.aws.on_call(strike)


class TestCrashedWorker:
    @pytest.mark.parametrize(
        ("operation", "nth"),
        [
            pytest.param("dynamodb:TransactWriteItems", 1, id="the wish"),
            pytest.param("dynamodb:TransactWriteItems", 2, id="claims"),
            pytest.param("dynamodb:UpdateItem", 1, id="what was seen"),
            pytest.param("elbv2:CreateListener", 1, id="a listener"),
        ],
    )
    @pytest.mark.parametrize("returns", [True, False], ids=["its message returns", "another worker comes"])
    def test_a_crashed_worker_leaves_nothing_locked(self, operation: str, nth: int, returns: bool) -> None:
        """13, coolify#1720: its work goes on when its message is visible again; others never wait."""
        with installed() as qa:
            hub = GitHub(qa)
            hub.post(hub.push("qa/foo", A))
            kill_at(qa, operation, nth)
            messages = hub.receive()
            with pytest.raises(Killed):
                hub.invoke(messages)
            hub.deliver(hub.push("qa/bar", B))
            if returns:
                hub.show_again(messages)
                hub.work()
            else:
                qa.run_pass(Slug("qa-foo"))
            qa.settle()
            assert_live(qa, "qa-foo", A)
            assert_live(qa, "qa-bar", B)

    @pytest.mark.parametrize("operation", ["ecs:DeleteService", "elbv2:DeleteListener"])
    def test_a_worker_that_crashed_while_removing_leaves_nothing(self, operation: str) -> None:
        """13, coolify#1720: the same of a teardown; the push behind its message waits and is not lost."""
        with installed() as qa:
            hub = GitHub(qa)
            hub.deliver(hub.push("qa/foo", A))
            qa.settle()
            hub.post(hub.delete("qa/foo"))
            kill_at(qa, operation)
            messages = hub.receive()
            with pytest.raises(Killed):
                hub.invoke(messages)
            hub.post(hub.push("qa/foo", B))
            assert hub.receive() == [], "the order within one environment is kept"
            hub.show_again(messages)
            hub.work()
            qa.settle(rounds=20)
            assert_live(qa, "qa-foo", B)
            hub.deliver(hub.delete("qa/foo"))
            qa.settle()
            assert qa.left() == []


# --- 14 -------------------------------------------------------------------------------------------------


def without_a_role(qa: Installation) -> dict[str, Any]:
    return {"roles": {name: role for name, role in given(qa, "roles").items() if name != "admin"}}


def without_a_port(qa: Installation) -> dict[str, Any]:
    roles = given(qa, "roles")
    return {"roles": roles | {"admin": {k: v for k, v in roles["admin"].items() if k != "port"}}}


def without_migrations(qa: Installation) -> dict[str, Any]:
    return {"pipeline": {k: v for k, v in given(qa, "pipeline").items() if k != "migrate_project"}}


def other_load_balancer(qa: Installation) -> dict[str, Any]:
    return {"load_balancers": given(qa, "load_balancers")[1:]}


def other_redis_mode(qa: Installation) -> dict[str, Any]:
    numbered = {"mode": "database", "databases": "1-9", "variables": {"REDIS_DB": "{database}"}}
    return {"redis": given(qa, "redis") | numbered}


def given(qa: Installation, key: str) -> Any:
    """What the blueprint says, as it can be written again."""
    return qa.blueprint.model_dump(exclude_unset=True, by_alias=True)[key]


class TestBlueprintHasMovedOn:
    @pytest.mark.parametrize(
        "change",
        [without_a_role, without_a_port, without_migrations, other_load_balancer, other_redis_mode],
    )
    @pytest.mark.parametrize("seen", [False, True], ids=["unseen", "seen"])
    def test_what_the_blueprint_no_longer_has_is_removed_all_the_same(
        self, change: Callable[[Installation], dict[str, Any]], seen: bool
    ) -> None:
        """14, coolify#11609: the blueprint changes, then the branch is deleted, at once or later."""
        with installed(load_balancers=2) as qa:
            hub = GitHub(qa)
            hub.deliver(hub.push("qa/foo", A))
            qa.settle()
            qa.use(blueprint(qa.world, **change(qa)))
            if seen:
                qa.run_pass(Slug("qa-foo"))
                qa.settle()
            hub.deliver(hub.delete("qa/foo"))
            qa.settle(rounds=20)
            assert qa.left() == []

    @pytest.mark.parametrize(
        ("removed", "kind"), [({"database": None}, "schema"), ({"redis": {"mode": "none"}}, "keyspace")]
    )
    def test_data_that_the_blueprint_cannot_reach_any_more_is_not_forgotten(
        self, removed: dict[str, Any], kind: str
    ) -> None:
        """14, coolify#4821: the feature is disabled, then the branch deleted; the page says what helps."""
        with installed() as qa:
            hub = GitHub(qa)
            hub.deliver(hub.push("qa/foo", A))
            qa.settle()
            whole = qa.blueprint
            qa.use(blueprint(qa.world, **removed))
            hub.deliver(hub.delete("qa/foo"))
            qa.settle()
            states = {name: one.state for name, one in qa.env(Slug("qa-foo")).conditions.items()}
            assert states == dict.fromkeys(states, State.GONE) | {
                "branch": State.READY,
                kind: State.BLOCKED,
            }
            assert f"no longer has the {kind}: put it back" in page(qa, "qa-foo")
            qa.use(whole)
            later(qa)
            assert qa.left() == []

    def test_a_repository_without_a_blueprint_keeps_saying_so_until_it_is_cleaned(
        self, qa: Installation, hub: GitHub
    ) -> None:
        """14, coolify#4821: the blueprint is removed, then the branch deleted; then the blueprint is back."""
        hub.deliver(hub.push("qa/foo", A))
        qa.settle()
        qa.controller = replace(qa.controller, blueprints={})
        deleted = hub.delete("qa/foo")
        hub.deliver(deleted)
        qa.now += 3600
        qa.run_pass(Slug("qa-foo"))
        branch = qa.env(Slug("qa-foo")).conditions["branch"]
        assert (branch.state, branch.message) == (
            State.BLOCKED,
            f"no blueprint for {REPOSITORY}: if the repository was renamed, add this name to formerly in its"
            " blueprint; if not, put the blueprint back so that this environment can be cleaned up",
        )
        qa.use(qa.blueprint)
        if qa.branches is None:  # nobody else can say it again
            hub.deliver(deleted)
        later(qa)
        assert qa.left() == []

    @pytest.mark.parametrize("changes", [{"branch_prefix": "preview/"}, {"slug_prefix": "shop"}])
    def test_a_branch_that_the_filter_ignores_by_now_is_cleaned_up(self, changes: dict[str, str]) -> None:
        """14, coolify#11609: its events are ignored or lead elsewhere; GitHub is asked instead."""
        with installed(asks_github=True) as qa:
            hub = GitHub(qa)
            hub.deliver(hub.push("qa/foo", A))
            qa.settle()
            data = {"database": given(qa, "database"), "redis": given(qa, "redis")}
            for one in data.values():
                one["prefix"] = "shop" if "slug_prefix" in changes else "preview"
            hub.use(blueprint(qa.world, **changes, **data))
            hub.deliver(hub.delete("qa/foo"))
            for _ in range(3):
                qa.now += 3600
                look_at_all(qa)
            later(qa)
            assert qa.left() == []


def later(qa: Installation) -> None:
    """A quarter of an hour, in which what is stuck is looked at again."""
    for _ in range(15):
        qa.settle(rounds=1)


# --- 15 -------------------------------------------------------------------------------------------------


class TestMigrationFails:
    def test_a_failed_migration_costs_neither_the_last_good_version_nor_its_data(self) -> None:
        """15, Heroku: two pushes fail to migrate; what runs stays, says so, and nothing is made anew."""
        with installed() as qa, github() as server:
            hub = GitHub(qa)
            report_commit_statuses(qa, server)
            hub.deliver(hub.push("qa/foo", A))
            qa.settle()
            before = standing(qa)
            for commit in (B, C):
                qa.failing.add(("migrate", commit))
                hub.deliver(hub.push("qa/foo", commit))
                qa.settle()
                assert standing(qa) == before
                assert image_of(qa, qa.task_definition("qa-foo-app")).endswith(A)
                assert curtains(qa) == 0, "the last good version is what a visitor sees"
                assert qa.env(Slug("qa-foo")).phase is Phase.FAILED
                assert "failed in Migrate" in page(qa, "qa-foo")
                status = server.statuses(commit)[-1]
                assert (status["state"], "Migrate" in status["description"]) == ("failure", True)
            hub.deliver(hub.push("qa/foo", D))
            qa.settle()
            assert_live(qa, "qa-foo", D)
            assert standing(qa) == before
            assert qa.datastores.migrated == {"qa-foo": [A, D]}, "the schema was never dropped"

    def test_an_environment_whose_first_migration_failed_is_not_made_anew(self) -> None:
        """15, Heroku: there is no good version yet; the next push goes on with what is there."""
        with installed() as qa:
            hub = GitHub(qa)
            qa.failing.add(("migrate", A))
            hub.deliver(hub.push("qa/foo", A))
            qa.settle()
            assert qa.env(Slug("qa-foo")).phase is Phase.FAILED
            assert curtains(qa) == 2, "a visitor is told so"
            before = {name: one for name, one in standing(qa).items() if not name.startswith("service")}
            hub.deliver(hub.push("qa/foo", B))
            qa.settle()
            assert_live(qa, "qa-foo", B)
            assert before.items() <= standing(qa).items()


def standing(qa: Installation) -> dict[str, str]:
    """Everything of qa/foo that a delete and a create would replace, and by what one would tell."""
    conditions = qa.env(Slug("qa-foo")).conditions
    arns = {
        name: condition.outputs["arn"]
        for name, condition in conditions.items()
        if name.startswith(("listener", "target_group"))
    }
    ecs = qa.aws.client("ecs")
    listed = ecs.list_services(cluster=qa.world.cluster)["serviceArns"]
    for one in ecs.describe_services(cluster=qa.world.cluster, services=listed)["services"]:
        if one["serviceName"].startswith("qa-foo"):
            arns[f"service/{one['serviceName']}"] = f"{one['serviceArn']} of {one['createdAt']}"
    pipeline = qa.codepipeline.get_pipeline(name="qa-foo")["metadata"]
    return arns | {"pipeline": f"{pipeline['pipelineArn']} of {pipeline['created']}"}


def curtains(qa: Installation) -> int:
    """How many listeners show the page instead of the application."""
    elbv2 = qa.aws.client("elbv2")
    listeners = elbv2.describe_listeners(LoadBalancerArn=qa.world.load_balancer.arn)["Listeners"]
    rules = [elbv2.describe_rules(ListenerArn=one["ListenerArn"])["Rules"] for one in listeners]
    return sum(not rule["IsDefault"] for some in rules for rule in some)


# --- 16 -------------------------------------------------------------------------------------------------


class TestCodeIsGone:
    def test_a_teardown_needs_nothing_of_the_branch(self) -> None:
        """16, GitLab's GIT_STRATEGY: commit, image, STG's service and the connection are gone as well."""
        with installed() as qa, serve() as server:
            hub, api = GitHub(qa), Api(qa, server)
            hub.deliver(hub.push("qa/foo", A))
            qa.settle()
            deleted = hub.delete("qa/foo")
            api.show()
            everything_of_the_branch_is_gone(qa)
            server.asked.clear()
            hub.deliver(deleted)
            qa.settle()
            assert qa.left() == []
            branches = f"/repos/{REPOSITORY}/git/matching-refs/heads/"
            assert {one.path.startswith(branches) for one in server.asked} == {True}


def everything_of_the_branch_is_gone(qa: Installation) -> None:
    """Nothing can be fetched, built or copied any more."""
    ecr, ecs = qa.aws.client("ecr"), qa.aws.client("ecs")
    images = ecr.list_images(repositoryName=qa.world.repository)["imageIds"]
    ecr.batch_delete_image(repositoryName=qa.world.repository, imageIds=images)
    for name in (qa.world.stg_web, qa.world.stg_worker):
        ecs.delete_service(cluster=qa.world.cluster, service=name, force=True)
    qa.failing |= {("build", A), ("migrate", A)}
    qa.aws.fail("codepipeline:StartPipelineExecution", 999, REFUSAL)


# --- 17 -------------------------------------------------------------------------------------------------


class TestRaceForPorts:
    def test_environments_that_are_made_at_once_do_not_share_a_port(self) -> None:
        """17, copilot#4532: all look for a free port before one has claimed it; the losers take another."""
        with installed() as qa:
            hub = GitHub(qa)
            slugs = [Slug(f"qa-{name}") for name in ("one", "two", "three", "four")]
            for slug in slugs:
                hub.post(hub.push(slug.replace("-", "/"), A))
            look_before_anybody_claims(qa, len(slugs))
            messages = hub.receive()
            with ThreadPoolExecutor(len(slugs)) as workers:
                failed = list(workers.map(lambda message: hub.invoke([message]), messages))
            assert failed == [set()] * len(slugs)
            qa.settle(rounds=20)
            for slug in slugs:
                assert_live(qa, slug, A)
            ports = [url for slug in slugs for url in qa.env(slug).urls.values()]
            assert len(set(ports)) == 2 * len(slugs)


def look_before_anybody_claims(qa: Installation, number: int) -> None:
    """So many workers have read which ports are free before the first of them writes its claim."""
    everybody, first = threading.Barrier(number, timeout=30), threading.local()

    def wait(call: Event) -> None:
        if call.name == "elbv2:DescribeAccountLimits" and call.done and not hasattr(first, "look"):
            first.look = everybody.wait()

    qa.aws.on_call(wait)
