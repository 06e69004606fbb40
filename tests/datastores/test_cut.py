"""A function that dies at any of its statements, or whose connection breaks there: asking again ends it.

`make crash` kills functions around a whole request to the `datastores` function. Here they are killed around
each statement that it sends to a real server: before it, after it, and with its answer lost.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Any

import pymysql
import pytest
import redis
from pymysql.constants import CR

from local.servers import MariaDB, Redis
from qa_env.datastores import Datastores, mysql
from qa_env.datastores import redis as keyspace
from tests import canaries
from tests.datastores.asking import SECRET, minutes

LOGIN = "secretsmanager:login"
Execute = Callable[[str], list[tuple[Any, ...]]]


class Killed(BaseException):
    """The sandbox died."""


class Way(StrEnum):
    """What happens to one statement."""

    BEFORE = "killed before it"
    AFTER = "killed after it"
    LOST = "its answer lost"


@dataclass
class Death:
    """The statement that goes wrong, by its number; `met` once it has."""

    number: int
    way: Way
    lost: Exception
    sent: int = 0

    @property
    def met(self) -> bool:
        return self.sent >= self.number

    def around(self, send: Callable[..., Any]) -> Callable[..., Any]:
        def sends(*given: Any, **more: Any) -> Any:
            self.sent += 1
            if self.sent != self.number:
                return send(*given, **more)
            if self.way is Way.BEFORE:
                raise Killed
            send(*given, **more)
            raise self.lost if self.way is Way.LOST else Killed

        return sends


def deaths(way: Way, lost: Exception) -> Iterator[Death]:
    """At the first statement, the second and so on; the last one comes too late."""
    for number in count(1):
        death = Death(number, way, lost)
        yield death
        if not death.met:
            assert death.sent >= 4, "something was asked"
            return


@contextmanager
def dying(thing: Any, method: str, death: Death) -> Iterator[None]:
    """Every call of this method counts; the function's death is over with the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thing, method, death.around(getattr(thing, method)))
        with suppress(Killed):
            yield


def answer(secret: str, request: dict[str, Any]) -> dict[str, Any]:
    login = {"username": "qa-foo", "password": canaries.ACCOUNT_PASSWORD}
    secrets = {SECRET: secret, LOGIN: json.dumps(login)}
    return Datastores(secrets.__getitem__).handle({"secret": SECRET, "prefix": "qa", **request}, minutes)


# --- MySQL ------------------------------------------------------------------------------------------------

SCHEMA = {"store": "mysql", "name": "qa-foo", "charset": "utf8mb4"}
ACCOUNT = {**SCHEMA, "login": LOGIN, "connections": 4, "trust": True, "known": False}
ENSURE, DELETE = {**SCHEMA, "action": "ensure"}, {**SCHEMA, "action": "delete"}
ENSURE_ACCOUNT = {**ACCOUNT, "action": "ensure_account"}
DELETE_ACCOUNT = {**ACCOUNT, "action": "delete_account"}
ACTS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "a schema is made": ([], ENSURE),
    "a schema is dropped": ([ENSURE], DELETE),
    "a user is made": ([ENSURE], ENSURE_ACCOUNT),
    "a user gets another limit": ([ENSURE, ENSURE_ACCOUNT], {**ENSURE_ACCOUNT, "connections": 9}),
    "a user is dropped": ([ENSURE, ENSURE_ACCOUNT], DELETE_ACCOUNT),
    "a known user is dropped": ([ENSURE, ENSURE_ACCOUNT], {**DELETE_ACCOUNT, "login": None, "known": True}),
}
"""What was done before, and what is asked for."""


@pytest.fixture
def sql(mariadb: MariaDB) -> Iterator[Execute]:
    with mariadb.connect() as connection, connection.cursor() as cursor:

        def execute(statement: str) -> list[tuple[Any, ...]]:
            cursor.execute(statement)
            return list(cursor.fetchall())

        yield execute
        clear(execute)


def clear(sql: Execute) -> None:
    sql("DROP USER IF EXISTS 'qa-foo'@'%'")
    sql("DROP DATABASE IF EXISTS `qa-foo`")


def found(sql: Execute) -> dict[str, Any]:
    """What there is of the environment: its tables, its user with all that it may, and their sessions."""
    users = sql("SELECT User, Host, max_user_connections FROM mysql.user WHERE User LIKE 'qa%'")
    return {
        "schemas": sql("SHOW DATABASES LIKE 'qa%'"),
        "tables": sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'qa-foo'"),
        "users": users,
        "grants": sql("SHOW GRANTS FOR 'qa-foo'@'%'") if users else [],
        "sessions": [
            user
            for _, user, _, schema, command, *_ in sql("SHOW PROCESSLIST")
            if "qa-foo" in (user, schema) and command != "Killed"
        ],
    }


def quiet(sql: Execute) -> dict[str, Any]:
    """What there is when it has been the same for a while."""
    seen = found(sql)
    time.sleep(0.1)
    return seen if found(sql) == seen else quiet(sql)


def settled(sql: Execute, wanted: dict[str, Any]) -> dict[str, Any]:
    """What there is, once the server has noticed which connections are closed."""
    deadline = time.monotonic() + 5
    while (seen := found(sql)) != wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    return seen


@contextmanager
def lived(server: MariaDB, sql: Execute, before: list[dict[str, Any]]) -> Iterator[None]:
    """The environment as it was, with a table and somebody in a transaction; nothing of it is left later."""
    with ExitStack() as stack:
        for request in before:
            assert "error" not in answer(server.secret, request)
        if before:
            sql("CREATE TABLE `qa-foo`.pets (name TEXT)")
            own = ENSURE_ACCOUNT in before
            session = pymysql.connect(
                host=server.host,
                port=server.port,
                user="qa-foo" if own else server.user,
                password=canaries.ACCOUNT_PASSWORD if own else server.password,
                database="qa-foo",
            )
            stack.enter_context(closing(session))
            session.cursor().execute("SELECT * FROM pets")
        yield
    clear(sql)


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("act", ACTS)
def test_mysql_ends_the_same_wherever_it_was_cut(mariadb: MariaDB, sql: Execute, act: str, way: Way) -> None:
    before, request = ACTS[act]
    with lived(mariadb, sql, before):
        said = answer(mariadb.secret, request)
        wanted = quiet(sql)
    for death in deaths(way, pymysql.OperationalError(CR.CR_SERVER_LOST, "cut")):
        with lived(mariadb, sql, before):
            heard: dict[str, Any] = {}
            with dying(mysql._Connection, "query", death):
                heard = answer(mariadb.secret, request)
            assert heard.get("error") in (None, "not_ready")
            assert answer(mariadb.secret, request) == said, death
            assert settled(sql, wanted) == wanted, death


# --- Redis ------------------------------------------------------------------------------------------------

NAMESPACES = {"store": "redis", "mode": "namespace", "database": 0, "action": "delete"}
NAMESPACES |= {"namespaces": {"qa_foo": "qa", "qa_bar": "qa"}}
NUMBERED = {"store": "redis", "mode": "database", "database": 3, "owner": "qa-env/qa-foo"}
REQUESTS = {
    "namespaces are removed": NAMESPACES,
    "a numbered database is removed": {**NUMBERED, "action": "delete"},
    "a numbered database is marked": {**NUMBERED, "action": "ensure"},
    "numbered databases are listed": {**NUMBERED, "action": "list"},
}


def filled(server: Redis) -> None:
    """Two namespaces, two databases, one of them marked, and keys of others."""
    keys = [f"{name}:{number}" for name in ("qa_foo", "qa_bar") for number in range(30)]
    for number, some in {0: [*keys, "qa_foobar:1", "qa_food:1", "stg:1"], 3: ["x"], 5: ["x"]}.items():
        with server.connect(number) as client:
            client.flushdb()
            client.mset(dict.fromkeys(some, "x"))
    with server.connect(5) as client:
        client.set("qa-env-owner", "qa-env/qa-bar")


def kept(server: Redis) -> dict[int, list[bytes]]:
    """The keys of each database."""
    found = {}
    for number in (0, 3, 5):
        with server.connect(number) as client:
            found[number] = sorted(client.keys("*"))
    return found


def ended(server: Redis, request: dict[str, Any], cursor: str = "0") -> dict[str, Any]:
    """What is said in the end."""
    said = answer(server.secret, {**request, "cursor": cursor})
    return {name: value for name, value in said.items() if name != "removed"}


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("act", REQUESTS)
def test_redis_ends_the_same_wherever_it_was_cut(
    redis_server: Redis, act: str, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyspace, "PAGE", 10)
    request = REQUESTS[act]
    filled(redis_server)
    said, wanted = ended(redis_server, request), kept(redis_server)
    for death in deaths(way, redis.ConnectionError("cut")):
        filled(redis_server)
        heard: dict[str, Any] = {}
        with dying(redis.connection.AbstractConnection, "send_packed_command", death):
            heard = answer(redis_server.secret, request)
        assert heard.get("error") in (None, "not_ready")
        assert ended(redis_server, request, heard.get("cursor", "0")) == said, death
        assert kept(redis_server) == wanted, death
    with redis_server.connect() as client:
        client.flushall()
