"""The Lambda entry point and the dispatch behind it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from redis.connection import ConnectionPool

from handlers.datastores import handler, logger
from local.servers import MariaDB, Redis
from qa_env.datastores import Datastores
from qa_env.errors import Blocked, Failed, NotReady
from tests.datastores.asking import SECRET

SOURCES = Path(__file__).parents[2] / "src"


class Context:
    """As much of Lambda's context as is used."""

    def __init__(self, milliseconds: int = 60_000) -> None:
        self.milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


def refusing(error: Exception) -> Datastores:
    def read(reference: str) -> str:
        raise error

    return Datastores(read)


REQUEST = {"store": "mysql", "action": "list", "secret": SECRET, "prefix": "qa"}


def test_both_stores_through_the_handler(
    mariadb: MariaDB, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A life of one environment; the log has no secret."""
    log = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", log)
    secrets = {"secretsmanager:db": mariadb.secret, "ssm:redis": redis_server.secret}
    datastores = Datastores(secrets.__getitem__)
    schema = {"store": "mysql", "secret": "secretsmanager:db", "prefix": "qa", "name": "qa-foo"}
    keyspace = {"store": "redis", "secret": "ssm:redis", "prefix": "qa", "mode": "namespace"}
    keyspace |= {"namespace": "qa_foo", "namespaces": {"qa_foo": "qa"}, "database": 0}

    def call(request: dict[str, Any], action: str) -> dict[str, Any]:
        return handler({**request, "action": action}, Context(), datastores=datastores)

    assert call(schema, "ensure") == {"name": "qa-foo"}
    assert call(keyspace, "ensure") == {"namespace": "qa_foo", "database": "0"}
    assert call(schema, "list") == {"names": ["qa-foo"]}
    assert call(schema, "delete") == {"gone": "yes"}
    assert call(keyspace, "delete") == {"gone": "yes", "removed": {"qa_foo": 0}, "refused": {}}
    assert call({**schema, "name": "prod"}, "delete")["error"] == "blocked"
    assert "refusing a request" in log.getvalue()
    assert mariadb.password not in log.getvalue()
    assert redis_server.password not in log.getvalue()


def test_remaining_time_is_in_seconds(redis_server: Redis) -> None:
    """Lambda counts in milliseconds: 4,900 of them are too few to begin with."""
    request = {"store": "redis", "action": "delete", "secret": SECRET, "mode": "namespace", "cursor": "7"}
    request |= {"prefix": "qa", "namespaces": {"qa_foo": "qa"}, "database": 0}
    datastores = Datastores(lambda _: redis_server.secret)

    answer = handler(request, Context(4_900), datastores=datastores)
    assert answer == {"cursor": "7", "removed": {"qa_foo": 0}, "refused": {}}
    assert handler(request, Context(5_100), datastores=datastores)["gone"] == "yes"


@pytest.mark.parametrize(
    ("error", "word"), [(NotReady("x"), "not_ready"), (Blocked("x"), "blocked"), (Failed("x"), "blocked")]
)
def test_refusals_are_data(error: Exception, word: str) -> None:
    """Also those of the reader of secrets."""
    assert handler(REQUEST, Context(), datastores=refusing(error)) == {"error": word, "message": "x"}


def test_the_unexpected_escapes() -> None:
    """It is an error of the function, for retry and alarm."""
    with pytest.raises(ZeroDivisionError):
        handler(REQUEST, Context(), datastores=refusing(ZeroDivisionError()))


def test_what_escapes_does_not_repeat_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as the address has it nor decoded, nor as the cause of it; the type and the rest are told."""

    def refuse(*_: object, **__: object) -> None:
        try:
            raise ValueError("AUTH p#s/w")
        except ValueError as error:
            raise RuntimeError("no answer to p%23s%2Fw") from error

    monkeypatch.setattr(ConnectionPool, "get_connection", refuse)
    request = REQUEST | {"store": "redis", "mode": "database"}
    datastores = Datastores(lambda _: json.dumps({"url": "redis://:p%23s%2Fw@127.0.0.1"}))
    with pytest.raises(RuntimeError) as caught:
        handler(request, Context(), datastores=datastores)
    assert str(caught.value) == "RuntimeError: no answer to …"
    told = "".join(traceback.format_exception(caught.value))
    assert "p#s/w" not in told


@pytest.mark.parametrize("change", [{"store": "mongo"}, {"store": None}, {"action": "flushall"}])
def test_an_unknown_request_is_an_error(mariadb: MariaDB, change: dict[str, Any]) -> None:
    """A bug of ours, or two builds that do not fit together."""
    with pytest.raises(ValueError, match="unknown"):
        handler({**REQUEST, **change}, Context(), datastores=Datastores(lambda _: mariadb.secret))


def test_a_store_is_imported_when_asked_for() -> None:
    """A cold start pays for neither client, nor for pydantic, YAML or boto3."""
    heavy = ["boto3", "pydantic", "pymysql", "redis", "yaml"]
    code = f"import sys, json, qa_env.datastores; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SOURCES
    )

    assert json.loads(done.stdout) == []
