"""The webhook from a Function URL's event to the queue, driven by `events/*.json`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest
from moto import mock_aws

from handlers import webhook
from local import send
from qa_env import github, receiver
from qa_env.receiver import BURST, MAX_AGE, REFILL, Queue, Secrets
from tests import canaries
from tests.test_github import ENTRY

ROOT = Path(__file__).parents[2]
SECRET = canaries.WEBHOOK_SECRET
REGION = "ap-northeast-1"
FIFO = {"FifoQueue": "true"}


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    repositories = tmp_path / "repositories.json"
    repositories.write_text(json.dumps({"example/shop": ENTRY}))
    return {"QA_ENV_REPOSITORIES": str(repositories)}


class Installation:
    """The receiver as `build` makes it, over moto's queue and secret."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.sqs = boto3.client("sqs", region_name=REGION)
        self.secrets = boto3.client("secretsmanager", region_name=REGION)
        self.queue = self.sqs.create_queue(QueueName="qa-env.fifo", Attributes=FIFO)["QueueUrl"]
        self.secret = self.secrets.create_secret(Name="qa-env/webhook", SecretString=SECRET)["ARN"]
        self.environ = environ | {"QA_ENV_QUEUE_URL": self.queue, "QA_ENV_WEBHOOK_SECRET": self.secret}
        self.receiver = receiver.build(self.environ)
        self.calls = 0

    def send(self, event: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.calls += 1
        context = SimpleNamespace(aws_request_id=f"request-{self.calls}")
        answer = webhook.handler(event, context, receiver=self.receiver)
        assert answer["headers"]["content-type"] == "application/json"
        assert "\n" not in answer["body"]
        return answer["statusCode"], json.loads(answer["body"])

    def deliver(self, name: str, **edit: Any) -> tuple[int, dict[str, Any]]:
        return self.send(request(name, **edit))

    def messages(self) -> list[dict[str, Any]]:
        """What is on the queue, taken off it."""
        answer = self.sqs.receive_message(
            QueueUrl=self.queue, MaxNumberOfMessages=10, AttributeNames=["MessageGroupId"]
        )
        for message in answer.get("Messages", []):
            self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return answer.get("Messages", [])

    def slugs(self) -> list[str]:
        return [json.loads(message["Body"])["slug"] for message in self.messages()]


@pytest.fixture
def installation(environ: dict[str, str]) -> Iterator[Installation]:
    with mock_aws():
        yield Installation(environ)


def request(name: str, secret: str = SECRET, form: bool = False, **edit: Any) -> dict[str, Any]:
    """A Function URL's event (payload 2.0) of an example, signed."""
    envelope = json.loads((ROOT / "events" / f"{name}.json").read_text("utf-8"))
    body = json.dumps(envelope["body"] | edit).encode()
    headers = envelope["headers"]
    if form:
        body = urlencode({"payload": body.decode()}).encode()
        headers = headers | {"Content-Type": "application/x-www-form-urlencoded"}
    event = of_bytes(body, secret, **headers)
    return as_base64(event) if form else event


def of_bytes(body: bytes, secret: str = SECRET, **headers: str) -> dict[str, Any]:
    headers = send.signed(headers, body, secret)
    return {
        "version": "2.0",
        "rawPath": "/",
        "headers": {name.lower(): value for name, value in headers.items()},
        "requestContext": {"http": {"method": "POST", "path": "/"}, "requestId": "1"},
        "body": body.decode(),
        "isBase64Encoded": False,
    }


def as_base64(event: dict[str, Any]) -> dict[str, Any]:
    return event | {"body": base64.b64encode(event["body"].encode()).decode(), "isBase64Encoded": True}


ACCEPTED = {
    "push-create": ["qa-foo"],
    "push-update": ["qa-foo"],
    "push-force": ["qa-foo"],
    "push-delete": ["qa-foo"],
    "create": ["qa-foo"],
    "delete": ["qa-foo"],
    "check_suite-completed": ["qa-foo"],
    "check_run-completed": ["qa-foo"],
    "workflow_run-completed": ["qa-foo"],
    "status-success": ["qa-foo", "qa-bar"],
    "pull_request-opened": ["qa-foo"],
}


class TestDeliveries:
    @pytest.mark.parametrize(("name", "slugs"), ACCEPTED.items())
    def test_ours_go_on_the_queue(self, installation: Installation, name: str, slugs: list[str]) -> None:
        assert installation.deliver(name) == (202, {"message": "queued", "slugs": slugs})
        messages = installation.messages()
        assert [message["Attributes"]["MessageGroupId"] for message in messages] == slugs
        for message, slug in zip(messages, slugs, strict=True):
            content = json.loads(message["Body"])
            assert content["slug"] == content["change"]["slug"] == slug
            assert len(message["Body"]) < 2048

    @pytest.mark.parametrize("name", ["push-hostile", "push-unicode"])
    def test_any_name_that_git_allows(self, installation: Installation, name: str) -> None:
        status, answer = installation.deliver(name)
        (message,) = installation.messages()
        assert status == 202
        assert answer["slugs"] == [message["Attributes"]["MessageGroupId"]]
        assert json.loads(message["Body"])["change"]["branch"].startswith("qa/")

    @pytest.mark.parametrize("name", ["push-tag", "push-other-branch", "ping", "ping-organization"])
    def test_what_is_none_of_our_business(self, installation: Installation, name: str) -> None:
        status, answer = installation.deliver(name)
        assert (status, list(answer)) == (200, ["message"])
        assert installation.messages() == []

    def test_the_readme_lists_every_example(self) -> None:
        readme = (ROOT / "events" / "README.md").read_text("utf-8")
        assert [p.stem for p in (ROOT / "events").glob("*.json") if f"`{p.stem}`" not in readme] == []

    @pytest.mark.parametrize("form", [False, True])
    def test_base64_and_forms(self, installation: Installation, form: bool) -> None:
        event = request("push-create", form=form)
        assert installation.send(event if form else as_base64(event))[0] == 202

    def test_header_names_in_any_case(self, installation: Installation) -> None:
        event = request("push-create")
        event["headers"] = {name.upper(): value for name, value in event["headers"].items()}
        assert installation.send(event)[0] == 202

    def test_a_redelivery_is_acted_on(self, installation: Installation) -> None:
        event = request("push-create")
        assert [installation.send(event)[0], installation.send(event)[0]] == [202, 202]
        first, second = installation.messages()
        assert first["Body"] == second["Body"]


class TestRefusals:
    def refused(self, installation: Installation, event: dict[str, Any]) -> int:
        status, answer = installation.send(event)
        assert list(answer) == ["error"]
        assert installation.messages() == []
        return status

    @pytest.mark.parametrize("signature", ["sha256=" + "0" * 64, "sha1=" + "0" * 40, "sha256=é", "", None])
    def test_a_signature_that_is_not_ours(self, installation: Installation, signature: str | None) -> None:
        event = request("push-create")
        event["headers"]["x-hub-signature-256"] = signature
        if signature is None:
            del event["headers"]["x-hub-signature-256"]
        assert self.refused(installation, event) == 401

    def test_one_byte_more_than_was_signed(self, installation: Installation) -> None:
        event = request("push-create")
        event["body"] += " "
        assert self.refused(installation, event) == 401

    @pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'"\\ud800"'])
    def test_a_malformed_body(self, installation: Installation, body: bytes) -> None:
        event = of_bytes(body, **{"X-GitHub-Event": "push"})
        assert self.refused(installation, event) == 400

    def test_a_body_that_is_not_base64(self, installation: Installation) -> None:
        assert self.refused(installation, request("push-create") | {"isBase64Encoded": True}) == 400

    def test_a_branch_that_git_forbids(self, installation: Installation) -> None:
        assert self.refused(installation, request("push-create", ref="refs/heads/qa//x")) == 400

    def test_a_repository_without_a_blueprint(self, installation: Installation) -> None:
        event = request("push-create", repository={"full_name": "example/other"})
        assert self.refused(installation, event) == 404

    def test_a_body_too_large(self, installation: Installation) -> None:
        assert self.refused(installation, of_bytes(b" " * (github.BODY_MAX + 1))) == 413

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
    def test_another_method(self, installation: Installation, method: str) -> None:
        event = request("push-create") | {"requestContext": {"http": {"method": method}}}
        assert self.refused(installation, event) == 405

    @pytest.mark.parametrize("event", [{}, {"headers": None, "body": None}])
    def test_no_request_at_all(self, installation: Installation, event: dict[str, Any]) -> None:
        assert self.refused(installation, event) == 405

    def test_a_queue_that_takes_nothing(self, installation: Installation) -> None:
        installation.sqs.delete_queue(QueueUrl=installation.queue)
        status, answer = installation.deliver("push-create")
        assert (status, list(answer)) == (503, ["error"])

    @pytest.mark.parametrize("secret", ["", "arn:aws:secretsmanager:ap-northeast-1:123456789012:secret:none"])
    def test_without_a_secret_everything_is_refused(self, installation: Installation, secret: str) -> None:
        environ = installation.environ | {"QA_ENV_WEBHOOK_SECRET": secret}
        installation.receiver = receiver.build(environ)
        assert self.refused(installation, request("push-create")) == 503
        assert self.refused(installation, request("ping")) == 503

    @pytest.mark.parametrize("text", ["\n", '{"secret": ""}', '{"other": "x"}', '{"secret": null}'])
    def test_an_empty_secret_is_none(self, installation: Installation, text: str) -> None:
        empty = installation.secrets.create_secret(Name="empty", SecretString=text)["ARN"]
        installation.receiver = receiver.build(installation.environ | {"QA_ENV_WEBHOOK_SECRET": empty})
        assert self.refused(installation, request("ping", secret="")) == 503
        assert self.refused(installation, request("ping", secret=text)) == 503

    def test_nothing_of_the_payload_or_the_secret_is_logged(
        self, installation: Installation, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for event in (request("push-create"), request("push-create", secret="wrong")):
            installation.send(event)
        logged = capsys.readouterr().out
        assert "hanako" not in logged
        assert SECRET not in logged
        assert "sha256=" not in logged


class TestRotation:
    def rotate(self, installation: Installation, text: str) -> None:
        installation.secrets.put_secret_value(SecretId=installation.secret, SecretString=text)

    def status(self, installation: Installation, secret: str) -> int:
        return installation.send(request("ping", secret))[0]

    def test_loses_nothing(self, installation: Installation) -> None:
        assert self.status(installation, SECRET) == 200
        self.rotate(installation, "new")
        assert self.status(installation, SECRET) == 200, "GitHub has not been told yet"
        assert self.status(installation, "new") == 200, "and now it has"
        assert self.status(installation, SECRET) == 200, "a redelivery from before"
        self.rotate(installation, "newer")
        assert self.status(installation, "newer") == 200
        assert self.status(installation, SECRET) == 401, "two rotations ago"

    def test_in_a_sandbox_that_starts_in_the_middle_of_it(self, installation: Installation) -> None:
        self.rotate(installation, "new")
        assert self.status(installation, SECRET) == 200

    @pytest.mark.parametrize(
        "text", ["s3cret", "s3cret\n", '{"secret": "s3cret"}', '{"secret": "s3cret\\n"}']
    )
    def test_plain_or_json(self, installation: Installation, text: str) -> None:
        self.rotate(installation, text)
        assert self.status(installation, "s3cret") == 200

    @pytest.mark.parametrize("text", ["12345", "[1]", "null", '"quoted"', "{not json"])
    def test_plain_text_that_happens_to_be_json(self, installation: Installation, text: str) -> None:
        self.rotate(installation, text)
        assert self.status(installation, text) == 200


class Vault:
    """What `Secrets` reads, and the clock it looks at."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.secrets: tuple[bytes, ...] = (b"old",)
        self.reads = 0
        self.broken = False

    def read(self) -> tuple[bytes, ...]:
        self.reads += 1
        if self.broken:
            raise OSError("unreachable")
        return self.secrets

    def cache(self) -> Secrets:
        return Secrets(self.read, lambda: self.now)


def accepted(secrets: Secrets, secret: bytes) -> bool:
    signature = "sha256=" + hmac.new(secret, b"{}", hashlib.sha256).hexdigest()
    try:
        github.verify(secrets, b"{}", signature)
    except github.Rejected:
        return False
    return True


class TestCache:
    def test_one_reading_serves_many_deliveries(self) -> None:
        vault = Vault()
        secrets = vault.cache()
        assert all(accepted(secrets, b"old") for _ in range(100))
        assert vault.reads == 1

    def test_forgeries_cannot_make_us_read_each_time(self) -> None:
        vault = Vault()
        secrets = vault.cache()
        for _ in range(1000):
            assert not accepted(secrets, b"forged")
            vault.now += 0.1
        assert vault.reads <= BURST + 100 / REFILL

    def test_a_new_secret_is_known_at_once_although_somebody_forges(self) -> None:
        vault = Vault()
        secrets = vault.cache()
        assert not accepted(secrets, b"forged")
        assert not accepted(secrets, b"forged")
        vault.secrets = (b"new", b"old")
        assert accepted(secrets, b"new")

    def test_under_a_flood_a_new_secret_is_known_after_ten_seconds(self) -> None:
        vault = Vault()
        secrets = vault.cache()
        for _ in range(1000):
            accepted(secrets, b"forged")
            vault.now += 0.1
        vault.secrets = (b"new", b"old")
        for _ in range(101):
            accepted(secrets, b"forged")
            vault.now += 0.1
        assert accepted(secrets, b"new")
        assert accepted(secrets, b"old")

    def test_a_withdrawn_secret_is_refused_after_five_minutes(self) -> None:
        vault = Vault()
        secrets = vault.cache()
        assert accepted(secrets, b"old")
        vault.secrets = (b"newer", b"new")
        vault.now += MAX_AGE + 1
        assert not accepted(secrets, b"old")

    def test_what_is_known_survives_an_outage(self) -> None:
        vault = Vault()
        secrets = vault.cache()
        assert accepted(secrets, b"old")
        vault.broken = True
        vault.now += MAX_AGE + 1
        assert all(accepted(secrets, b"old") for _ in range(100))
        assert vault.reads <= 1 + BURST

    def test_what_cannot_be_told_from_a_forgery_during_an_outage_is_put_off(self) -> None:
        """After a rotation it may be genuine; GitHub shows it as failed, and it can be delivered again."""
        vault = Vault()
        secrets = vault.cache()
        assert accepted(secrets, b"old")
        vault.secrets, vault.broken = (b"new", b"old"), True
        signature = "sha256=" + hmac.new(b"new", b"{}", hashlib.sha256).hexdigest()
        for _ in range(2 * BURST):
            with pytest.raises(github.Rejected, match="cannot be read") as refused:
                github.verify(secrets, b"{}", signature)
            assert refused.value.status == 503
        vault.broken = False
        vault.now += REFILL
        assert accepted(secrets, b"new")
        with pytest.raises(github.Rejected) as refused:
            github.verify(secrets, b"{}", "sha256=" + "0" * 64)
        assert refused.value.status == 401

    def test_an_outage_at_the_start_ends(self) -> None:
        vault = Vault()
        vault.broken = True
        secrets = vault.cache()
        assert not any(accepted(secrets, b"old") for _ in range(100))
        vault.broken = False
        vault.now += REFILL
        assert accepted(secrets, b"old")


class TestQueue:
    def test_ids_are_legal_whatever_the_sender_claims(self, environ: dict[str, str]) -> None:
        sent: list[dict[str, str]] = []
        queue = Queue("url", lambda: SimpleNamespace(send_message=lambda **what: sent.append(what)))  # type: ignore[arg-type, return-value]
        headers, body = (
            {"x-github-event": "push", "x-github-delivery": "é" * 1000},
            request("push-unicode")["body"],
        )
        (change,) = github.receive(headers, body.encode(), {"example/shop": ENTRY}).changes
        for receipt in ("é" * 1000, "\U0001f600", ""):
            queue.put(change, receipt)
        ids = [what["MessageDeduplicationId"] for what in sent]
        assert len(set(ids)) == 3
        assert all(len(id_) <= 128 and id_.isalnum() for id_ in ids)
        assert {what["MessageGroupId"] for what in sent} == {change.slug}


LIGHT = """
import json, sys
from handlers import webhook
imported = set(sys.modules)
answer = webhook.handler(json.loads(sys.stdin.readline()), None)
print(json.dumps([answer["statusCode"], sorted(imported), sorted(sys.modules)]), file=sys.stderr)
"""


class _Aws(BaseHTTPRequestHandler):
    """As much of AWS as one delivery needs, for a process that moto is not in."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = {"SecretString": SECRET}
        if self.headers["x-amz-target"] == "AmazonSQS.SendMessage":
            digest = hashlib.md5(asked["MessageBody"].encode(), usedforsecurity=False).hexdigest()
            answer = {"MessageId": "1", "MD5OfMessageBody": digest}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(what: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), what)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_imports_little(environ: dict[str, str]) -> None:
    """What takes long comes before the first delivery. AWS is where `AWS_ENDPOINT_URL` says."""
    with serving(_Aws) as port:
        endpoint = f"http://127.0.0.1:{port}"
        environ |= {"QA_ENV_QUEUE_URL": f"{endpoint}/1/light.fifo", "QA_ENV_WEBHOOK_SECRET": "light"}
        environ |= {"AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": REGION, "PYTHONPATH": "src"}
        environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        told = {"input": json.dumps(request("push-create")), "env": environ, "cwd": ROOT}
        process = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, **told)
    assert process.returncode == 0, process.stderr
    status, at_import, in_the_end = json.loads(process.stderr.splitlines()[-1])
    assert status == 202
    assert not {"boto3", "pydantic", "yaml", "redis", "pymysql", "cryptography"} & set(in_the_end)
    assert {"botocore.session", "botocore.client"} <= set(at_import)


class _Url(BaseHTTPRequestHandler):
    """A Function URL: turns a request into Lambda's event and the handler's answer into a response."""

    installation: Installation

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        event = of_bytes(b"") | {"headers": dict(self.headers), "body": body.decode()}
        status, answer = self.installation.send(event)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url(installation: Installation) -> Iterator[str]:
    with serving(type("Url", (_Url,), {"installation": installation})) as port:
        yield f"http://webhook.lambda-url.localhost:{port}/"


class TestSend:
    @pytest.mark.parametrize("name", [*ACCEPTED, "ping", "push-unicode"])
    def test_signs_as_github_does(self, url: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert send.main([f"events/{name}.json", "--url", url, "--secret", SECRET]) == 0
        assert capsys.readouterr().out.splitlines()[-1].startswith("20")

    def test_fails_where_the_webhook_refuses(self, url: str) -> None:
        assert send.main(["events/push-create.json", "--url", url, "--secret", "wrong"]) == 1

    def test_for_another_repository(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        told = ["events/push-create.json", "--url", url, "--secret", SECRET, "--repository", "local/sample"]
        assert send.main(told) == 1
        assert "404" in capsys.readouterr().out

    def test_takes_the_running_stack(
        self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stack = tmp_path / "stack.json"
        monkeypatch.setattr(send, "STACK", stack)
        assert send.main(["events/push-create.json"]) == 1
        assert "make run" in capsys.readouterr().err
        stack.write_text(json.dumps({"webhook_url": url, "webhook_secret": SECRET}))
        assert send.main(["events/push-create.json"]) == 0

    @pytest.mark.parametrize("file", ["events/sqs-wake.json", "events/README.md", "events/none.json"])
    def test_what_is_no_payload(self, file: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert send.main([file, "--url", "http://127.0.0.1:1/", "--secret", SECRET]) == 1
        assert capsys.readouterr().err.startswith("not sent: ")
