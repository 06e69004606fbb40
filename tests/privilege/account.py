"""A whole installation whose functions are the real handlers, with their real wiring.

Only what is outside AWS is a stand-in (GitHub, Slack, MySQL, Redis), and CodePipeline, CodeBuild and
CloudWatch. Nothing is injected: the handlers read the process environment, make their boto3 clients and
invoke each other through the API. What a function calls, as nobody else does, is written down before it
has an effect; what a person or AWS itself does is not.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import boto3

from handlers import audit, datastores, deploy, page, reconcile, signals, sweep, webhook
from local import slack
from local.iam import needs
from local.iam.policy import Request
from local.send import signed
from qa_env import app, looking, naming, runtime
from qa_env import blueprint as blueprints
from qa_env import datastores as stores
from qa_env.aws import tag_dict
from qa_env.blueprint import Blueprint, index
from qa_env.model import Phase, Ref, Slug
from scripts import build, expand
from tests import canaries, reporting
from tests.chaos.gate import InTurn
from tests.event_source import record
from tests.installation import REPOSITORY, Installation, _is_ruled, blueprint
from tests.making import event
from tests.privilege.template import Stack
from tests.strict_aws import Event, StrictAWS, strict_aws

INSTALLATION = "qa-env"
FUNCTIONS = tuple(build.FUNCTIONS)
KINDS = ("github", "slack", "oidc", "mysql", "redis")
PAGE = "https://qa.example.com"
WEBHOOK = "https://webhook.example.com/"
AHEAD = 600
"""Minutes: the ticks run faster than the clock, but the last visit must not be later than now."""
LAMBDA_CACHES = (
    *(runtime.client, runtime.store, runtime.installation, runtime.watch),
    *(app.clients, app.audit, app.controller),
    *(page._identity, webhook._receiver, datastores._datastores),
)
"""What a sandbox keeps, of which every account has its own."""


@dataclass(frozen=True)
class Use:
    """A function made a call, for which IAM decides about a request."""

    function: str
    operation: str
    request: Request

    def __str__(self) -> str:
        return f"{self.function} calls {self.operation}: {self.request}"


class Recorder:
    """Writes down what whoever acts is about to call. Calls that nobody acts for are the test's own."""

    def __init__(self, read: Callable[[Event], list[Request]]) -> None:
        self.uses: dict[Use, None] = {}
        self.unknown: list[str] = []
        """Why some calls could not be written down: the product may well survive what is raised."""
        self._read = read
        self._acting: ContextVar[str] = ContextVar("function", default="")

    @contextmanager
    def acting(self, function: str) -> Iterator[None]:
        """A run of a function; another one that runs meanwhile acts for itself."""
        token = self._acting.set(function)
        try:
            yield
        finally:
            self._acting.reset(token)

    def __call__(self, event: Event) -> None:
        function = self._acting.get()
        if not function or event.moment != "before":
            return
        try:
            requests = self._read(event)
        except Exception as error:
            self.unknown.append(f"{function} calls {event.name}: {error!r}")
            raise
        for request in requests:
            self.uses[Use(function, event.name, request)] = None


@dataclass
class Account(Installation):
    """The installation, and the hands of everybody who has to do with it."""

    hub: reporting.Hub = field(default_factory=reporting.Hub)
    slack_url: str = ""
    repositories: Path = Path("repositories.json")
    now: float = field(default_factory=time.time)
    builds: set[str] = field(default_factory=set)
    """CodeBuild builds that are running."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.arns = self._make_secrets()
        self.recorder = Recorder(self._requests)
        self.aws.on_call(self.recorder)
        self.aws.serve("lambda:Invoke", self._invoke_datastores)
        self.aws.serve("codebuild:*", self._answer_codebuild)
        self.aws.serve("cloudwatch:GetMetricData", _somebody_came)
        self.minute = int(self.now // 60) - AHEAD

    def _make_secrets(self) -> dict[str, str]:
        """Of each kind one in Secrets Manager and one in SSM, and the webhook's: name → ARN."""
        manager, ssm = self.aws.client("secretsmanager"), self.aws.client("ssm")
        texts = canaries.secrets(redis={"url": "redis://127.0.0.1:6379"})
        arns = {}
        for kind in KINDS:
            text = texts[f"secretsmanager:{kind}"]
            arns[kind] = manager.create_secret(Name=kind, SecretString=text)["ARN"]
            ssm.put_parameter(Name=f"/qa/{kind}", Value=text, Type="SecureString")
            arns[f"/qa/{kind}"] = f"arn:aws:ssm:{self.aws.region}:{self.aws.account}:parameter/qa/{kind}"
        created = manager.create_secret(Name="webhook", SecretString=canaries.WEBHOOK_SECRET)
        return arns | {"webhook": created["ARN"]}

    @property
    def stack(self) -> Stack:
        """The expanded template, deployed here."""

        def arn(service: str, resource: str, account: str = self.aws.account) -> str:
            region = "" if service == "iam" else self.aws.region
            return f"arn:aws:{service}:{region}:{account}:{resource}"

        values: dict[str, Any] = {
            "AWS::Partition": "aws",
            "AWS::Region": self.aws.region,
            "AWS::AccountId": self.aws.account,
            "Installation": INSTALLATION,
            "PassRoleArns": [arn("iam", f"role/{one}") for one in ("pipeline", "stg-task", "stg-execution")],
            "BuildProjectArns": [arn("codebuild", f"project/{one}") for one in ("build", "migrate")],
            "ImageRepositoryArns": [arn("ecr", f"repository/{self.world.repository}")],
            "DataSecretArns": self._secrets("mysql", "redis"),
            "GitHubSecretArns": self._secrets("github"),
            "SlackSecretArns": self._secrets("slack"),
            "OidcSecretArns": self._secrets("oidc"),
            "VpcSubnetIds": ["subnet-0123"],
            "SecondLookSeconds": "0",
            "OwnAccounts": "true",
            "Table": self.world.table,
            "Table.Arn": arn("dynamodb", f"table/{self.world.table}"),
            "Queue": self.world.queue_url,
            "Queue.Arn": self.world.queue_arn,
            "WebhookSecret": self.arns["webhook"],
            "WebhookFunctionUrl.FunctionUrl": WEBHOOK,
        }
        for function in FUNCTIONS:
            name = f"{INSTALLATION}-{function.lower()}"
            values[f"{function}Function"] = name
            values[f"{function}Function.Arn"] = arn("lambda", f"function:{name}")
            values[f"{function}Logs.Arn"] = arn("logs", f"log-group:/aws/lambda/{name}:*")
        return Stack(_template(), values)

    def _secrets(self, *kinds: str) -> list[str]:
        return [self.arns[name] for kind in kinds for name in (kind, f"/qa/{kind}")]

    def use(self, blueprint: Blueprint) -> None:
        """The operator deployed another blueprint: new sandboxes."""
        self.blueprint = blueprint
        self.repositories.write_text(json.dumps(index([blueprint])), "utf-8")
        for one in LAMBDA_CACHES:
            one.cache_clear()

    def change(self, **changes: Any) -> None:
        """Some keys of the blueprint become others."""
        self.use(Blueprint.model_validate(self.blueprint.model_dump(by_alias=True) | changes))

    def secrets_in(self, service: str) -> dict[str, Any]:
        """The keys of a blueprint whose secrets are all there."""
        name = {"secretsmanager": "secretsmanager:{}", "ssm": "ssm:/qa/{}"}[service]
        return {
            "github": {"secret": name.format("github"), "api_url": self.hub.api.api_url},
            "slack": {
                "secret": name.format("slack"),
                "api_url": self.slack_url,
                "channel": "#qa",
            },
            "database": {"secret": name.format("mysql"), "accounts": "own"},
            "redis": {
                "mode": "namespace",
                "secret": name.format("redis"),
                "variables": {"REDIS_NAMESPACE": "{namespace}"},
            },
            "page": {"url": PAGE, "buttons": ["redeploy", "reset", "delete"]},
        }

    def guarded(self, service: str, **oidc: Any) -> dict[str, Any]:
        """The load balancer with certificate and log-in."""
        certificate = self.aws.client("acm").request_certificate(DomainName="*.example.com")["CertificateArn"]
        place = {"secretsmanager": "secretsmanager:oidc", "ssm": "ssm:/qa/oidc"}[service]
        addresses = {
            name: f"https://id.example.com/{name}"
            for name in ("issuer", "authorization_endpoint", "token_endpoint", "user_info_endpoint")
        }
        one = {
            "arn": self.world.load_balancer.arn,
            "host": "{slug}.example.com",
            "ports": "10001-10049",
            "protocol": "HTTPS",
            "certificate_arn": certificate,
            "oidc": {"secret": place, **addresses, **oidc},
        }
        return {"load_balancers": [one]}

    # --- what is written down -----------------------------------------------------------------------------

    def _requests(self, event: Event) -> list[Request]:
        call = needs.Call(
            event.name, event.params, self.aws.region, self.aws.account, self._tags, self._secret_arn
        )
        return needs.of(call)

    def _tags(self, arn: str) -> dict[str, str]:
        pipelines = ((one.arn, one.tags) for one in self.engine.pipelines.values())
        known = {**dict(self.aws.elbv2.tagged()), **dict(self.aws.ecs.tagged()), **dict(pipelines)}
        tags = self._described(arn).get("Tags") if ":secret:" in arn else None
        return tag_dict(tags) if tags else dict(known.get(arn, {}))

    def _secret_arn(self, name: str) -> str:
        """A secret that is not there is named without the six characters that AWS draws."""
        missing = f"arn:aws:secretsmanager:{self.aws.region}:{self.aws.account}:secret:{name}"
        return name if name.startswith("arn:") else str(self._described(name).get("ARN", missing))

    def _described(self, name: str) -> dict[str, Any]:
        manager = self.aws.client("secretsmanager")
        try:
            return dict(manager.describe_secret(SecretId=name))
        except manager.exceptions.ResourceNotFoundException:
            return {}

    # --- the functions ------------------------------------------------------------------------------------

    def run(self, function: str, handler: Callable[..., Any], sent: Any) -> Any:
        """A function as Lambda runs it."""
        with self.recorder.acting(function):
            return handler(sent, None)

    def say(self, branch: str, ref: Ref, commit: str, **details: Any) -> Slug:
        """GitHub delivers a push."""
        self.hub.branches.all = {"main": "0" * 39 + "1", **self.heads}
        gone = "0" * 40
        changes = {
            "ref": f"refs/heads/{branch}",
            "before": details.get("before") or gone,
            "after": commit or gone,
        }
        sent = event("push-create" if ref is Ref.PRESENT else "push-delete")
        body = json.dumps(sent["body"] | changes).encode()
        delivery = {
            "headers": signed(sent["headers"], body, canaries.WEBHOOK_SECRET),
            "requestContext": {"http": {"method": "POST"}},
            "body": body.decode(),
        }
        answer = self.run("webhook", webhook.handler, delivery)
        assert answer["statusCode"] == 202, answer
        return naming.slug("", REPOSITORY, branch)

    def deliver(self, limit: int = 60) -> None:
        """Hand over what is on the queue: the mapping polls it with the function's role."""
        sqs, queue = self.aws.client("sqs"), self.world.queue_url
        with self.recorder.acting("reconcile"):
            for _ in range(limit):
                received = sqs.receive_message(QueueUrl=queue, AttributeNames=["All"]).get("Messages")
                if not received:
                    return
                for message in received:
                    answer = reconcile.handler({"Records": [record(message)]}, None)
                    assert answer == {"batchItemFailures": []}, answer
                    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        raise AssertionError(f"{limit} messages and the queue is not empty")

    def settle(self, rounds: int = 30) -> None:
        """Let AWS work and minutes pass, until nothing moves."""
        self._let_pass(rounds, lambda: all(env.settled for env in self.store.all()))

    def settle_as(self, slug: Slug, phase: Phase) -> None:
        """The same until people see the environment so."""
        self._let_pass(30, lambda: self.env(slug).phase is phase)

    def _let_pass(self, rounds: int, until: Callable[[], bool]) -> None:
        for _ in range(rounds):
            self.deliver()
            self.engine.run_until_idle()
            self.aws.ecs.settle_all()
            self.aws.ecs.drain_all()
            self.now += 60
            self.engine.run_until_idle()
            self.sweep()
            self.deliver()
            if until():
                return
        raise AssertionError([(env.slug, self.messages(env.slug)) for env in self.store.all()])

    def sweep(self) -> None:
        """The next tick."""
        self.minute += 1
        with patch.object(sweep, "time", SimpleNamespace(time=lambda: self.minute * 60)):
            self.run("sweep", sweep.handler, {})

    def look(self) -> None:
        """An audit of everything, as a person asks for it; then what comes of it."""
        self.run("audit", audit.handler, {"share": 1})
        self.deliver()

    def visit(self, path: str, method: str = "GET") -> int:
        """Somebody looks at a page, or presses a button of it; the answer's status."""
        sent = event("alb-page") | {"path": path, "httpMethod": method}
        host = {"host": PAGE.removeprefix("https://"), "x-forwarded-proto": "https", "origin": PAGE}
        sent["headers"] |= host | {"x-forwarded-port": "443"}
        return int(self.run("page", page.handler, sent)["statusCode"])

    def open_at(self, port: int) -> int:
        """Somebody opens an environment's address while the curtain hangs there."""
        sent = event("alb-page")
        name = naming.curtain_target_group(INSTALLATION, self.world.load_balancer.arn)
        arn = sent["requestContext"]["elb"]["targetGroupArn"].replace("qa-env-page-1a2b3c", name)
        sent["requestContext"]["elb"]["targetGroupArn"] = arn
        sent["headers"] |= {"x-forwarded-port": str(port)}
        return int(self.run("page", page.handler, sent)["statusCode"])

    def _invoke(self, function: str, event: dict[str, Any]) -> None:
        assert function == f"{INSTALLATION}-deploy"
        self.run("deploy", deploy.handler, event)

    def _emit(self, event: dict[str, Any]) -> None:
        if _is_ruled(event):
            self.run("signals", signals.handler, event)

    def _invoke_datastores(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        assert params["FunctionName"] == f"{INSTALLATION}-datastores"
        answer = self.run("datastores", datastores.handler, json.loads(params["Payload"]))
        return {"StatusCode": 200, "Payload": io.BytesIO(json.dumps(answer).encode())}

    def _codepipeline(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """The stand-in's answers, with the builds of actions that ran."""
        answer = super()._codepipeline(operation, params)
        for stage in answer.get("stageStates", []):
            for action in stage["actionStates"] if stage["stageName"] in ("Build", "Migrate") else []:
                action.get("latestExecution", {})["externalExecutionId"] = f"{stage['stageName'].lower()}:1"
        return answer

    def _answer_codebuild(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        if operation == "StopBuild":
            self.builds.discard(params["id"])
            return {}
        states = {True: "IN_PROGRESS", False: "SUCCEEDED"}
        return {
            "builds": [{"id": one, "buildStatus": states[one in self.builds]} for one in params["ids"]],
        }


def _somebody_came(operation: str, params: dict[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC)
    asked = params["MetricDataQueries"]
    return {"MetricDataResults": [{"Id": one["Id"], "Timestamps": [now], "Values": [1.0]} for one in asked]}


@cache
def _template() -> dict[str, Any]:
    return expand.expanded()


@contextmanager
def running(directory: Path) -> Iterator[Account]:
    """An account with the installation in it, and everything it talks to."""
    workspace = slack.Slack(canaries.SLACK_TOKEN)
    server = slack.Server(workspace)
    server.start()
    try:
        with strict_aws() as aws, reporting.github() as hub, ExitStack() as patches:
            world = aws.world()
            repositories = directory / "repositories.json"
            account = Account(
                aws,
                world,
                blueprint(world),
                hub=hub,
                slack_url=server.api_url,
                repositories=repositories,
            )
            for one in _wiring(account, aws):
                patches.enter_context(one)
            account.change(**account.secrets_in("secretsmanager"))
            yield account
    finally:
        server.stop()
        for one in LAMBDA_CACHES:
            one.cache_clear()


def _wiring(account: Account, aws: StrictAWS) -> list[Any]:
    """The variables that template.yaml sets, the blueprints, and data that is in memory."""
    stack = account.stack
    variables = {"QA_ENV_REPOSITORIES": str(account.repositories)}
    for function in FUNCTIONS:
        variables |= stack.variables(function)

    make = boto3.client

    def client(service: str, **settings: Any) -> Any:
        """The stand-in's errors are of the classes of a client that the layer made."""
        return aws.client(service) if service == "codepipeline" else make(service, **settings)

    def perform(store: str) -> Callable[..., Any]:
        return lambda request, *_: account.datastores(request)

    return [
        patch.dict("os.environ", variables),
        patch.object(boto3, "client", client),
        patch.object(blueprints, "built_in", lambda: {REPOSITORY: account.blueprint}),
        patch.object(stores, "_store", perform),
        patch.object(looking, "ThreadPoolExecutor", InTurn),  # threads would not know who acts
    ]
