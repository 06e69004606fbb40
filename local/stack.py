"""The whole stack on this machine: servers, stand-ins, the STG world, and the real template deployed to it.

    with Stack.start() as stack:
        stack.info["page_url"], stack.client("ecs"), …

Everything it makes is under `.local/` and goes when it stops; logs stay. Processes die with the stack even
if it is killed (`local/process.py`), and what a killed stack left in the file system is removed by the next
one of its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from botocore.exceptions import ClientError

from local import codepipeline, deploy, forward, git, github, ministack, serving, slack, world
from local.build import Builds
from local.iam import outside
from local.iam import wire as iam_wire
from local.iam.guard import Denials
from local.journal import Journal
from local.servers import MariaDB, Redis

ROOT = Path(__file__).parent.parent
LOCAL = ROOT / ".local"
DEFAULT = "default"
SAMPLE = ROOT / "examples" / "sample-app"
INSTALLATION = "qa-env"
FIRST_PORT = 10000  # the page's; environments get the ones after it
PORTS = 21

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What a person may choose."""

    name: str = DEFAULT
    github: bool = True
    redis: str = "namespace"
    accounts: str = "shared"
    build_seconds: float = 0
    packages: bool = False
    sample: Path = SAMPLE


@dataclass
class Stack:
    """A running stack. `info` is what `stack.json` holds."""

    name: str
    directory: Path
    info: dict[str, Any] = field(default_factory=dict)
    _ends: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _cloud: ministack.MiniStack | None = None
    _github: github.GitHub | None = None
    _slack: slack.Slack | None = None

    @classmethod
    def start(cls, options: Options | None = None, say: Say = print) -> Self:
        """Start everything; if anything fails, stop what was started and raise."""
        options = options or Options()
        _clean_up_killed()
        name, lock = _claim(options.name)
        if name != options.name:
            say(f"a stack named {options.name} is up already; this one is named {name}")
        stack = cls(name, LOCAL / name)
        stack._ends.callback(lock.close)
        try:
            stack._start(options, say)
        except BaseException:
            stack.stop()
            raise
        return stack

    def stop(self) -> None:
        """Stop everything, in the reverse order of its start."""
        self._ends.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def file(self) -> Path:
        """Where tools find this stack."""
        return stack_file(self.name)

    def client(self, service: str) -> Any:
        """A boto3 client of this stack."""
        endpoint = self.info["codepipeline_endpoint_url"] if service == "codepipeline" else None
        return self.cloud.client(service, endpoint)

    @property
    def cloud(self) -> ministack.MiniStack:
        """MiniStack, once it is up."""
        if self._cloud is None:
            raise RuntimeError("MiniStack is not up")
        return self._cloud

    @property
    def github(self) -> github.GitHub | None:
        """The GitHub stand-in; None without credentials."""
        return self._github

    @property
    def slack(self) -> slack.Slack:
        """The Slack stand-in, once it is up."""
        if self._slack is None:
            raise RuntimeError("Slack is not up")
        return self._slack

    @property
    def denials(self) -> Denials:
        """What IAM refused the functions."""
        return Denials.among(self.directory / "logs")

    @property
    def journal(self) -> Journal:
        """What was called, run and told, and when."""
        return Journal.among(self.directory / "logs")

    @property
    def remote(self) -> git.Remote:
        """The git remote."""
        return git.Remote(Path(self.info["git_remote"]))

    def _start(self, options: Options, say: Say) -> None:
        run = self.directory / "run"
        self._clean(run)
        reserved = forward.reserve(PORTS, FIRST_PORT)
        self._ends.callback(reserved.close)
        say("starting MariaDB and Redis")
        mysql = self._ends.enter_context(MariaDB(run / "mariadb"))
        redis = self._ends.enter_context(Redis(run / "redis"))
        say("starting MiniStack, CodePipeline, GitHub and Slack")
        remote = git.create(run / "sample-app.git", options.sample, world.REPOSITORY)
        token = secrets.token_hex(16)
        hub = self._start_github(remote, token)
        sink = self._start_slack(secrets.token_hex(16))
        engine = self._codepipeline(remote)
        environment = {
            "AWS_ENDPOINT_URL_CODEPIPELINE": engine.url,
            "POWERTOOLS_TRACE_DISABLED": "true",
            "POWERTOOLS_METRICS_DISABLED": "true",
        }
        self._cloud = ministack.start(run, self.directory / "logs", secrets.token_hex(16), environment)
        self._ends.callback(self._cloud.stop)
        engine.start()
        self._ends.callback(_quietly(engine.stop))
        say("deploying template.yaml")
        secret = secrets.token_hex(20)
        given = {"webhook": {"secret": secret}, "slack": {"token": self.slack.token}}
        given |= {"github": {"token": token}} if options.github else {}
        made = world.create(self.cloud.client, mysql.url, redis.url, given)
        host = _host()
        page = f"http://{host}:{reserved.ports.start}/"
        blueprints = run / "blueprints"
        blueprints.mkdir()
        ports = range(reserved.ports.start + 1, reserved.ports.stop)
        places = world.Places(ports, host, page, sink.api_url, hub if options.github else None)
        text = world.blueprint(made, places, options.redis, options.accounts)
        (blueprints / "sample-app.yaml").write_text(text, "utf-8")
        self._builds(remote, run, made.servers, options.build_seconds)
        parameters = {
            "Installation": INSTALLATION,
            "OwnAccounts": str(options.accounts == "own").lower(),
            **made.parameters(),
        }
        outputs = self._deploy(parameters, blueprints, run / "functions", packages=options.packages)
        world.page_listener(
            self.cloud.client("elbv2"), INSTALLATION, made.balancer, reserved.ports.start, outputs
        )
        self._start_forward(reserved, made.balancer)
        self.info |= {
            "name": self.name,
            "region": ministack.REGION,
            "aws_endpoint_url": self.cloud.url,
            "aws_access_key_id": ministack.ACCOUNT,
            "aws_secret_access_key": "local",
            "codepipeline_endpoint_url": engine.url,
            "github_url": hub,
            "github_token": token,
            "asks_github": options.github,
            "slack_url": sink.url,
            "events_queue_url": world.events_queue(self.cloud.client),
            "repository": world.REPOSITORY,
            "webhook_url": self._function_url(outputs["WebhookUrl"]),
            "webhook_secret": secret,
            "queue_url": outputs["QueueUrl"],
            "dead_letter_queue_url": outputs["DeadLetterQueueUrl"],
            "table": outputs["TableName"],
            "cluster": world.CLUSTER,
            "load_balancers": [
                {"arn": made.balancer, "host": host, "ports": f"{ports.start}-{ports.stop - 1}"},
            ],
            "image_repository": world.IMAGES,
            "mysql": mysql.url,
            "redis": redis.url,
            "redis_mode": options.redis,
            "git_remote": str(remote.path),
            "page_url": page,
            "logs": str(self.directory / "logs"),
        }
        git.connect(remote, world.REPOSITORY, self.info["webhook_url"], self.info["webhook_secret"])
        self._write()

    def _clean(self, run: Path) -> None:
        """Remove what a killed stack of this name left; logs of the last run, too."""
        self.file.unlink(missing_ok=True)
        for directory in (run, self.directory / "logs"):
            shutil.rmtree(directory, ignore_errors=True)
        run.mkdir(parents=True)
        self._ends.callback(shutil.rmtree, run, ignore_errors=True)

    def _start_github(self, remote: git.Remote, token: str) -> str:
        self._github = github.GitHub(
            remote,
            world.REPOSITORY,
            token,
            tell=lambda event, payload: git.tell(remote, event, payload),
        )
        server = github.Server(self._github, seen=self._seen("github"))
        server.start()
        self._ends.callback(server.stop)
        return server.url

    def _start_slack(self, token: str) -> slack.Server:
        self._slack = slack.Slack(token, world.SLACK_CHANNEL)
        server = slack.Server(self._slack, seen=self._seen("slack"))
        server.start()
        self._ends.callback(server.stop)
        return server

    def _codepipeline(self, remote: git.Remote) -> codepipeline.Server:
        """Not started yet. Its world is looked up when used: MiniStack must know its address first."""
        acts = codepipeline.World(
            resolve_head=lambda _repository, branch: remote.head(branch),
            run_build=lambda *build: self._run_build(*build),
            invoke_lambda=self._invoke,
            emit=self._emit,
            read_secret=self._read_secret,
        )
        settings = codepipeline.Settings(
            account=ministack.ACCOUNT, region=ministack.REGION, continuation_delay=1
        )
        engine = codepipeline.Engine(acts, settings)

        def tags(arn: str) -> Mapping[str, str] | None:
            """Of a pipeline, as they are now; None if there is none."""
            return next((one.tags for one in list(engine.pipelines.values()) if one.arn == arn), None)

        refuse = outside.codepipeline(
            settings, lambda service: self.cloud.client(service), tags, self.denials
        )

        def seen(authorization: str, operation: str, at: float) -> None:
            key = iam_wire.access_key(authorization)
            self.journal.write("call", at, operation=f"codepipeline:{operation}", key=key)

        return codepipeline.Server(engine, refuse=refuse, seen=seen)

    def _builds(self, remote: git.Remote, run: Path, servers: Mapping[str, str], seconds: float) -> None:
        logs = self.directory / "logs" / "builds"
        shown = serving.Server(serving.files(logs))
        shown.start()
        self._ends.callback(shown.stop)
        ecr = self.cloud.client("ecr")
        builds = Builds(remote, run / "images", logs, ecr, servers, shown.url, self._goes_on, seconds)
        self._ends.callback(builds.ended.set)
        self._run_build = builds.run

    def _goes_on(self, pipeline: str, execution: str) -> bool:
        """Is the execution that a build belongs to still wanted?"""
        try:
            found = self.client("codepipeline").get_pipeline_execution(
                pipelineName=pipeline, pipelineExecutionId=execution
            )
        except ClientError:
            return False
        return bool(found["pipelineExecution"]["status"] == "InProgress")

    def _seen(self, place: str) -> serving.Seen:
        """Writes down what a stand-in outside of AWS answered."""

        def seen(method: str, at: float) -> None:
            self.journal.write("call", at, operation=f"{place}:{method}", key="")

        return seen

    def _invoke(self, function: str, event: Mapping[str, Any]) -> None:
        self.journal.event("CodePipeline job", {"pipeline": function})
        payload = json.dumps(event).encode()
        self.cloud.client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=payload)

    def _emit(self, event: Mapping[str, Any]) -> None:
        self.journal.event(event["detail-type"], event["detail"])
        self.cloud.emit(
            {
                "Source": event["source"],
                "DetailType": event["detail-type"],
                "Resources": event["resources"],
                "Detail": json.dumps(event["detail"]),
            }
        )

    def _read_secret(self, secret: str) -> str:
        """What CodeBuild does with a variable that names a secret."""
        return str(self.cloud.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"])

    def _deploy(
        self, parameters: Mapping[str, str], blueprints: Path, workspace: Path, *, packages: bool
    ) -> dict[str, str]:
        s3 = self.cloud.client("s3")
        url = deploy.package(s3, ministack.REGION, blueprints, workspace, packages=packages)
        return ministack.deploy(self.cloud, INSTALLATION, url, parameters)

    def _start_forward(self, reserved: forward.Range, balancer: str) -> None:
        elbv2 = self.cloud.client("elbv2")

        def listeners() -> set[int]:
            found = elbv2.describe_listeners(LoadBalancerArn=balancer)["Listeners"]
            return {listener["Port"] for listener in found}

        forwarder = forward.Forwarder(reserved, world.BALANCER, self.cloud.url, listeners)
        forwarder.start()
        self._ends.callback(forwarder.stop)

    def _function_url(self, url: str) -> str:
        """MiniStack serves `https://<id>.lambda-url.….on.aws/` under a path of its own."""
        identifier = url.removeprefix("https://").split(".")[0]
        return f"{self.cloud.url}/_aws/lambda-url/{identifier}/"

    def _write(self) -> None:
        partial = self.file.with_suffix(".new")
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(self.info, indent=2) + "\n", "utf-8")
        partial.rename(self.file)
        self._ends.callback(self.file.unlink, missing_ok=True)


def stack_file(name: str = DEFAULT) -> Path:
    """`.local/stack.json`; stacks with a name of their own have it in their directory."""
    return LOCAL / "stack.json" if name == DEFAULT else LOCAL / name / "stack.json"


def _claim(wanted: str) -> tuple[str, socket.socket]:
    """The first free name and its lock."""
    for name in [wanted, *(f"{wanted}-{number}" for number in range(2, 100))]:
        if lock := _lock(name):
            return name, lock
    raise RuntimeError(f"a hundred stacks named {wanted} are up")


def _lock(name: str) -> socket.socket | None:
    """A name in Linux's abstract sockets, which ends with this process; None while another one has it."""
    place = hashlib.sha256(str((LOCAL / name).resolve()).encode()).hexdigest()[:16]
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(f"\0qa-env-stack-{place}")
    except OSError:
        lock.close()
        return None
    return lock


def _clean_up_killed() -> None:
    """Remove what stacks that were killed left in the file system, except their logs."""
    for directory in LOCAL.glob("*/"):
        if lock := _lock(directory.name):
            with contextlib.closing(lock):
                stack_file(directory.name).unlink(missing_ok=True)
                shutil.rmtree(directory / "run", ignore_errors=True)


def _host() -> str:
    """The load balancer's local name where this machine can resolve it, as browsers and curl always can."""
    name = f"{world.BALANCER}.alb.localhost"
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return "localhost"
    return name


def _quietly(stop: Callable[[], None]) -> Callable[[], None]:
    """A build that does not end in time must not keep the rest from being stopped."""

    def stop_quietly() -> None:
        with contextlib.suppress(TimeoutError):
            stop()

    return stop_quietly
