"""AWS answers a wrong signature with the session's token; no error that we raise has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from botocore.session import Session

from qa_env import receiver, runtime
from tests.canaries import AWS_SESSION_TOKEN

REASON = (
    "The request signature we calculated does not match. The Canonical String for this request should have"
    f" been 'POST\n/\n\nhost:sqs\nx-amz-security-token:{AWS_SESSION_TOKEN}\n\nhost;x-amz-security-token'"
)
AS_XML = f"<E><Error><Code>SignatureDoesNotMatch</Code><Message>{REASON}</Message></Error></E>"
AS_JSON = json.dumps({"__type": "SignatureDoesNotMatch", "message": REASON})
CLIENTS: dict[str, Callable[[], Any]] = {
    "elbv2": lambda: runtime.client("elbv2"),
    "dynamodb": lambda: runtime.store().table.meta.client,
    "sqs": lambda: receiver._sqs(Session()),
    "secretsmanager": lambda: receiver._secrets_manager(Session()),
}
READS: dict[str, Callable[[Any], Any]] = {
    "elbv2": lambda client: client.describe_load_balancers(),
    "dynamodb": lambda client: client.list_tables(),
    "sqs": lambda client: client.list_queues(),
    "secretsmanager": lambda client: client.get_secret_value(SecretId="webhook"),
}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Credentials, and clients that are made with them."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-northeast-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_SESSION_TOKEN", AWS_SESSION_TOKEN)
    monkeypatch.setenv("QA_ENV_TABLE", "table")
    runtime.client.cache_clear()
    runtime.store.cache_clear()
    yield
    runtime.client.cache_clear()
    runtime.store.cache_clear()


class Refusal(AWSResponse):
    """What AWS sends, as one of its protocols has it."""

    def __init__(self, service: str) -> None:
        super().__init__("https://aws.example.com", 403, {}, None)
        self._content = (AS_XML if service == "elbv2" else AS_JSON).encode()


@pytest.mark.parametrize("service", CLIENTS)
def test_an_error_does_not_repeat_the_sessions_token(service: str) -> None:
    """Of either composition root; the rest of what AWS says stays, for whoever must repair it."""
    client = CLIENTS[service]()
    client.meta.events.register_first("before-send", lambda **_: Refusal(service))
    with pytest.raises(ClientError) as caught:
        READS[service](client)
    assert AWS_SESSION_TOKEN not in f"{caught.value}{caught.value.response}"
    assert "should have been 'POST\n/\n\nhost:sqs\nx-amz-security-token:…\n" in str(caught.value)
