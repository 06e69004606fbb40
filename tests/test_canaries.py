"""Nothing secret leaks: the search of all output works, and a life with secrets everywhere shows none."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import pymysql
import pytest
import redis
from pymysql.err import InternalError, OperationalError

from handlers import audit, datastores, deploy, page, reconcile, signals, sweep, webhook
from local import slack
from local.github_hooks import App, Webhook
from local.send import signed
from qa_env import app, calls, receiver
from qa_env.blueprint import Blueprint, index
from qa_env.controller import Plan
from qa_env.datacall import LambdaDatastores
from qa_env.datastores import Datastores
from qa_env.model import Phase, Slug
from qa_env.page.lookup import Places
from tests import canaries, reporting
from tests.event_source import EventSource
from tests.installation import REPOSITORY, A, B, C, Installation, installed
from tests.making import event
from tests.reporting import Hub

ROOT = Path(__file__).parents[1]
SUITE = """
import logging, subprocess, sys
import pytest
from tests import canaries

def test_clean():
    print("canary")

def test_fails():
    assert 1 == 2

def test_prints():
    print("see", canaries.SLACK_TOKEN)

def test_warns():
    print(canaries.MYSQL_PASSWORD, file=sys.stderr)

def test_logs():
    logging.getLogger("qa_env.x").info("asking", extra={"with": {"token": canaries.GITHUB_TOKEN}})

def test_logs_what_it_met():
    try:
        raise ValueError(canaries.OIDC_SECRET)
    except ValueError:
        logging.getLogger("elsewhere").exception("no")

def test_raises():
    raise RuntimeError(canaries.pem(canaries.app_key()))

def test_shows_two():
    print(canaries.EMAIL, canaries.COMMIT_MESSAGE)

def test_reads_what_it_printed(capsys):
    print("see", canaries.SLACK_TOKEN)
    assert capsys.readouterr().out

def test_reads_what_it_warned(capfdbinary):
    print(canaries.MYSQL_PASSWORD, file=sys.stderr)
    assert capfdbinary.readouterr().err

def test_asks_a_program():
    command = [sys.executable, "-c", f"print({canaries.GITHUB_TOKEN!r})"]
    assert subprocess.run(command, capture_output=True, check=True).stdout

def test_reads_nothing_secret(capsys):
    print("canary")
    assert capsys.readouterr().out == "canary\\n"

@pytest.fixture
def leaky():
    print(canaries.WEBHOOK_SECRET)
    yield
    print(canaries.REDIS_PASSWORD)

def test_in_its_fixture(leaky):
    pass
"""
SHOWN = {
    "test_prints (call)": "Slack token",
    "test_warns (call)": "MySQL password",
    "test_logs (call)": "GitHub token",
    "test_logs_what_it_met (call)": "log-in client secret",
    "test_raises (call)": "GitHub App's private key",
    "test_shows_two (call)": "payload: commit message, payload: e-mail address",
    "test_reads_what_it_printed (call)": "Slack token",
    "test_reads_what_it_warned (call)": "MySQL password",
    "test_asks_a_program (call)": "GitHub token",
    "test_in_its_fixture (setup)": "webhook secret",
    "test_in_its_fixture (teardown)": "Redis password",
}


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_test_that_shows_a_secret_fails_and_the_report_does_not_repeat_it(
    tmp_path: Path, workers: str
) -> None:
    hooks = "pytest_configure, pytest_unconfigure, pytest_runtest_makereport"
    (tmp_path / "conftest.py").write_text(f"from tests.conftest import {hooks}\n", "utf-8")
    (tmp_path / "test_it.py").write_text(SUITE, "utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "-n", workers]
    command += ["--rootdir", str(tmp_path), str(tmp_path)]  # wherever the clone is
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": path}
    )
    told = re.findall(r"^test_it\.py::(\w+ \(\w+\)) shows a secret: (.*)$", done.stdout, re.MULTILINE)
    assert dict(told) == SHOWN, done.stdout
    assert canaries.found_in(done.stdout + done.stderr) == []
    assert re.search(r"PASSED .*test_clean", done.stdout)
    assert re.search(r"PASSED .*test_reads_nothing_secret", done.stdout)
    assert re.search(r"FAILED .*test_fails", done.stdout)


# --- a life with secrets everywhere ---------------------------------------------------------------------

SLUG = Slug("qa-foo")
FUNCTIONS = (webhook, reconcile, deploy, signals, sweep, audit, page, datastores)
OIDC = {
    "secret": "secretsmanager:oidc",
    "issuer": "https://id.example.com",
    "authorization_endpoint": "https://id.example.com/authorize",
    "token_endpoint": "https://id.example.com/token",
    "user_info_endpoint": "https://id.example.com/user",
}


@dataclass
class Life:
    """An installation that was given every secret, its functions, and everything that they show."""

    qa: Installation
    hub: Hub
    slack: slack.Server
    workspace: slack.Slack
    log: io.StringIO
    daemon: socket.socket
    secrets: dict[str, str] = field(default_factory=canaries.secrets)
    answers: list[Any] = field(default_factory=list)
    traces: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.qa.aws.on_call(lambda _: self.trace())
        manager = boto3.client("secretsmanager", region_name=self.qa.aws.region)
        text = canaries.PREVIOUS_WEBHOOK_SECRET
        secret = manager.create_secret(Name="webhook", SecretString=text)["ARN"]
        manager.put_secret_value(SecretId=secret, SecretString=canaries.WEBHOOK_SECRET)
        sqs = self.qa.aws.client("sqs")
        self.receiver = receiver.Receiver(
            receiver.Secrets(lambda: receiver.read_secret(manager, secret)),
            index([self.qa.blueprint]),
            receiver.Queue(self.qa.world.queue_url, lambda: sqs).put,
        )
        self.source = EventSource(sqs, self.qa.world.queue_url, self._reconcile, concurrency=1)
        self.qa.clients = replace(
            self.qa.clients,
            client=lambda service: calls.logged(self.qa.aws.client(service)),
            read_secret=lambda reference: self.secrets[reference],
        )
        self.use()
        self.qa.aws.calls.clear()

    def use(self, github: str = "github", channel: str | None = "#qa", **changes: Any) -> None:
        """Under a blueprint with everything that needs a secret."""
        values = self.qa.blueprint.model_dump(by_alias=True)
        acm, balancer = self.qa.aws.client("acm"), self.qa.world.load_balancer
        certificate = acm.request_certificate(DomainName="*.example.com")["CertificateArn"]
        https = {"protocol": "HTTPS", "certificate_arn": certificate, "oidc": OIDC}
        values |= {
            "load_balancers": [
                {"arn": balancer.arn, "host": "qa.example.com", "ports": "10001-10049"} | https
            ],
            "github": {"secret": f"secretsmanager:{github}", "api_url": self.hub.api.api_url},
            "slack": {"secret": "secretsmanager:slack", "api_url": self.slack.api_url, "channel": channel},
            "page": {"url": "https://qa.example.com"},
        }
        self.qa.use(Blueprint.model_validate(values | changes))
        self.qa.controller = replace(self.qa.controller, plan=self._plan)

    def _plan(self, blueprint: Blueprint) -> Plan:
        """As the product plans it, with all reports and GitHub as it is asked."""
        whole = app.plan(self.qa.clients, self.qa.store, blueprint)
        return replace(self.qa.plan(blueprint), reports=whole.reports, branches=whole.branches)

    def real_datastores(self) -> None:
        """The function itself, as it is invoked."""
        call = LambdaDatastores(Lambda(self), "qa-env-datastores")
        self.qa.clients = replace(self.qa.clients, datastores=call)

    def invoke(self, handler: Callable[..., Any], sent: Mapping[str, Any], **given: Any) -> Any:
        """A function as Lambda runs it: an exception goes to its log."""
        try:
            answer = handler(sent, Context(), **given)
        except Exception:
            self.log.write(traceback.format_exc())
            raise
        self.answers.append(answer)
        return answer

    def trace(self) -> None:
        """Read what the daemon has been told, before so much of it waits that the next is dropped."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.traces.append(self.daemon.recv(65536))

    def push(self, branch: str, commit: str, secret: str = canaries.WEBHOOK_SECRET) -> int:
        """A push as GitHub tells it, with what only its payload has; then all that comes of it."""
        self.qa.heads[branch] = self.hub.branches.all[branch] = commit
        return self.deliver("push-create", secret, ref=f"refs/heads/{branch}", after=commit)

    def lose(self, branch: str, commit: str) -> None:
        """A push that the table refuses until it is a dead letter."""
        self.qa.aws.faults.fail("TransactWriteItems", times=99, error="InternalServerError")
        self.push(branch, commit)
        self.qa.aws.faults.clear()

    def delete(self, branch: str) -> int:
        before = self.qa.heads.pop(branch)
        del self.hub.branches.all[branch]
        zeros = "0" * 40
        return self.deliver("push-delete", ref=f"refs/heads/{branch}", before=before, after=zeros)

    def deliver(self, name: str, secret: str = canaries.WEBHOOK_SECRET, **changes: Any) -> int:
        example = event(name)
        person = {"name": "hanako", "email": canaries.EMAIL}
        commit = {"id": A, "message": canaries.COMMIT_MESSAGE, "author": person, "committer": person}
        body = json.dumps(
            example["body"] | {"pusher": person, "commits": [commit], "head_commit": commit} | changes
        ).encode()
        sent = {
            "headers": signed(example["headers"], body, secret),
            "requestContext": {"http": {"method": "POST"}},
            "body": body.decode(),
            "isBase64Encoded": False,
        }
        status = int(self.invoke(webhook.handler, sent, receiver=self.receiver)["statusCode"])
        self.source.drain()
        return status

    def settle(self, rounds: int = 12) -> None:
        """AWS works, events come, time passes."""
        self.qa.settle(rounds)
        self.invoke(signals.handler, event("codepipeline-execution-succeeded"), watch=self.qa.watch)
        self.invoke(sweep.handler, {}, watch=self.qa.watch, visits=NoVisits())

    def pages(self, slug: str) -> list[str]:
        """Everything that a person or a program can look at."""
        paths = ["/", f"/environments/{slug}", "/api/v1/environments", f"/api/v1/environments/{slug}"]
        return [
            self._page(path)["body"] for path in [*paths, "/environments/none", f"/x?{canaries.EMAIL}"[:2]]
        ]

    def _page(self, path: str) -> dict[str, Any]:
        sent = event("alb-page") | {"path": path}
        sent["headers"] = {"host": "qa.example.com", "x-forwarded-proto": "https", "accept": "text/html"}
        return dict(
            self.invoke(
                page.handler,
                sent,
                store=self.qa.store,
                places=Places("qa-env", (self.qa.world.load_balancer.arn,)),
                blueprints={REPOSITORY: self.qa.blueprint},
                wake=lambda slug, why: None,
            )
        )

    def _reconcile(self, sent: dict[str, Any]) -> Any:
        return self.invoke(reconcile.handler, sent, controller=self.qa.controller, postpone=self._postpone)

    def _postpone(self, receipt: str, seconds: int) -> None:
        """What failed comes again at once."""
        self.qa.aws.client("sqs").change_message_visibility(
            QueueUrl=self.qa.world.queue_url,
            ReceiptHandle=receipt,
            VisibilityTimeout=seconds if seconds == reconcile.HOLD else 0,
        )

    def messages(self, url: str) -> list[Any]:
        """What is on a queue and stays there, with all attributes."""
        received = self.qa.aws.client("sqs").receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=0,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return list(received.get("Messages", []))

    def shown(self) -> dict[str, str]:
        """All that anybody could read, by where."""
        self.trace()
        world, store, hub = self.qa.world, self.qa.store, self.hub
        made = [(one.name, without_client_secret(one.params)) for one in self.qa.aws.calls]
        table = boto3.client("dynamodb", region_name=self.qa.aws.region).scan(TableName=world.table)
        pages = [text for env in store.all() for text in self.pages(env.slug)] or self.pages("qa-foo")
        return {
            "log": self.log.getvalue(),
            "answers of functions": repr(self.answers),
            "AWS calls": repr(made),
            "queue": repr(self.messages(world.queue_url)),
            "dead letters": repr(self.messages(world.dlq_url)),
            "table": repr(table["Items"]),
            "pages": "".join(pages),
            "traces": b"".join(self.traces).decode(),
            "GitHub": repr([hub.posted, hub.asked, vars(hub.deployments), vars(hub.pulls)]),
            "Slack": repr([self.workspace.messages, self.workspace.asked]),
        }

    def assert_no_secret(self) -> None:
        shown = self.shown()
        assert all(shown.values())
        assert {where: found for where, text in shown.items() if (found := canaries.found_in(text))} == {}


@dataclass
class Lambda:
    """Runs the datastores function, and answers as Lambda does where it fails."""

    life: Life

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803 - as boto3 spells them
        stores = Datastores(lambda reference: self.life.secrets[reference])
        try:
            answer = self.life.invoke(datastores.handler, json.loads(Payload), datastores=stores)
        except Exception as error:
            failure = {"errorType": type(error).__name__, "errorMessage": str(error)}
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(json.dumps(failure).encode())}
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}


class Context:
    """As much of Lambda's as is used."""

    aws_request_id = "request"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


class NoVisits:
    """Load balancers that nobody looked at."""

    def look(self, now: float) -> list[str]:
        return []


def without_client_secret(value: Any) -> Any:
    """The one place where a secret belongs: what the load balancer is given for its log-in."""
    if isinstance(value, dict):
        return {name: without_client_secret(one) for name, one in value.items() if name != "ClientSecret"}
    return [without_client_secret(one) for one in value] if isinstance(value, list) else value


@pytest.fixture
def life(monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    log = io.StringIO()
    for function in FUNCTIONS:
        monkeypatch.setattr(function.logger.registered_handler, "stream", log)
    workspace = slack.Slack(canaries.SLACK_TOKEN, hook=canaries.SLACK_HOOK)
    server = slack.Server(workspace)
    server.start()
    daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with daemon, installed() as qa, reporting.github() as hub:
        daemon.bind(("127.0.0.1", 0))
        daemon.setblocking(False)
        monkeypatch.setenv("AWS_XRAY_DAEMON_ADDRESS", f"127.0.0.1:{daemon.getsockname()[1]}")
        monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-2-3;Parent=4;Sampled=1")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", canaries.AWS_SECRET_KEY)
        monkeypatch.setenv("AWS_SESSION_TOKEN", canaries.AWS_SESSION_TOKEN)
        hub.hooks.app = App(canaries.app_key().public_key(), Webhook("https://qa.example.com/"))
        yield Life(qa, hub, server, workspace, log, daemon)
    server.stop()


@pytest.mark.parametrize(("github", "bot"), [("github", True), ("app", False)])
def test_a_whole_life_shows_no_secret(life: Life, github: str, bot: bool) -> None:
    if not bot:
        life.secrets |= canaries.secrets(slack={"webhook_url": life.slack.webhook_url})
    life.use(github, "#qa" if bot else None)
    assert life.push("qa/foo", A, "forged") == 401
    assert life.push("qa/foo", A, canaries.PREVIOUS_WEBHOOK_SECRET) == 202
    life.settle()
    assert life.qa.env(SLUG).phase is Phase.READY, life.qa.messages(SLUG)
    life.lose("qa/foo", C)
    (dead,) = life.messages(life.qa.world.dlq_url)
    assert json.loads(dead["Body"])["change"]["commit"] == C
    life.hub.open_pull()
    life.qa.failing.add(("build", B))
    life.push("qa/foo", B)
    life.settle()
    life.assert_no_secret()
    life.delete("qa/foo")
    life.settle()
    assert life.qa.left() == []
    life.assert_no_secret()
    traced = [json.loads(one.partition(b"\n")[2])["name"] for one in life.traces]
    assert {"delivery", "pass", "deploy", "event", "ecs"} <= {*traced}
    given = [one.params for one in life.qa.aws.calls_to("CreateListener")]
    assert canaries.OIDC_SECRET in repr(given), "there was a secret to be shown"
    assert life.workspace.messages
    assert life.hub.posted


class TestWhatGoesWrong:
    """Somebody's error text holds the secret that it was given."""

    def goes(self, life: Life) -> str:
        """A push and some passes, whatever breaks; what the conditions say."""
        life.push("qa/foo", A)
        with contextlib.suppress(Exception):
            life.settle(rounds=2)
        life.assert_no_secret()
        return repr(life.qa.messages(SLUG))

    @pytest.mark.parametrize(
        "error",
        [
            OperationalError(1045, f"Access denied for 'admin' (using password: {canaries.MYSQL_PASSWORD})"),
            OperationalError(2003, f"Can't connect to mysql://admin:{canaries.MYSQL_PASSWORD}@127.0.0.1"),
            InternalError(9999, f"out of order: {canaries.MYSQL_PASSWORD}"),
            RuntimeError(f"{{'password': '{canaries.MYSQL_PASSWORD}'}}"),
        ],
        ids=["access denied", "unreachable", "unknown to us", "unexpected"],
    )
    def test_mysql(self, life: Life, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        if isinstance(error, OperationalError):
            error.original_exception = OSError(canaries.MYSQL_PASSWORD)  # as PyMySQL does
        monkeypatch.setattr(pymysql, "connect", raising(error))
        life.real_datastores()
        assert "schema" in self.goes(life)

    @pytest.mark.parametrize(
        "error",
        [
            redis.exceptions.AuthenticationError(f"WRONGPASS {canaries.REDIS_PASSWORD}"),
            redis.exceptions.ConnectionError(f"no way to redis://:{canaries.REDIS_PASSWORD}@127.0.0.1:6379"),
            redis.exceptions.ResponseError(f"unknown command AUTH {canaries.REDIS_PASSWORD}"),
            RuntimeError(canaries.REDIS_PASSWORD),
        ],
        ids=["wrong password", "unreachable", "refused", "unexpected"],
    )
    def test_redis(self, life: Life, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        monkeypatch.setattr(redis.connection.ConnectionPool, "get_connection", raising(error))
        life.real_datastores()
        assert "keyspace" in self.goes(life)

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500])
    @pytest.mark.parametrize("github", ["github", "app"])
    def test_github_echoes_the_credentials(
        self, life: Life, monkeypatch: pytest.MonkeyPatch, github: str, status: int
    ) -> None:
        """An App that is refused shows its JWT only; one that is not, its token."""
        sells_tokens = life.hub.answer

        def echo(method: str, target: str, authorization: str, body: bytes) -> tuple[int, Any, Any]:
            if target.endswith("/access_tokens") and status != 401:
                return sells_tokens(method, target, authorization, body)
            return status, {"message": f"This is no good: {authorization}"}, {}

        monkeypatch.setattr(life.hub, "answer", echo)
        life.use(github)
        assert "GitHub" in self.goes(life)

    @pytest.mark.parametrize("word", [canaries.SLACK_TOKEN, f"invalid_auth {canaries.SLACK_TOKEN}"])
    def test_slack_echoes_the_token(self, life: Life, word: str) -> None:
        life.workspace.refuses = word
        assert "blocked" in self.goes(life)

    def test_slack_echoes_the_address(self, life: Life) -> None:
        life.secrets |= canaries.secrets(slack={"webhook_url": life.slack.webhook_url})
        life.use(channel=None)
        life.workspace.refuses = f"no_service at {life.slack.webhook_url}"
        assert "blocked" in self.goes(life)

    @pytest.mark.parametrize("form", ["{} no JSON", "[{}]"])
    @pytest.mark.parametrize("name", ["github", "slack", "oidc", "mysql", "redis"])
    def test_a_secret_that_cannot_be_used(self, life: Life, name: str, form: str) -> None:
        """One at a time: some stop everything that comes after them."""
        reference = f"secretsmanager:{name}"
        life.secrets[reference] = form.replace("{}", life.secrets[reference])
        if name in ("mysql", "redis"):
            life.real_datastores()
        assert "blocked" in self.goes(life)


def raising(error: Exception) -> Callable[..., Any]:
    def act(*_: object, **__: object) -> Any:
        raise error

    return act
