"""Schemas on a real MariaDB server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from local.servers import MariaDB, free_port
from qa_env.datastores import mysql
from tests.datastores.asking import BAD_PREFIXES, HOSTILE, ask, certificate, silent_server

Execute = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def sql(mariadb: MariaDB) -> Iterator[Execute]:
    """Statements of the almighty user; afterwards nothing but system schemas is left."""
    connection = mariadb.connect()

    def execute(statement: str) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    execute("SET SESSION lock_wait_timeout = 10")
    yield execute
    for name in set(schemas(execute)):
        execute(f"DROP DATABASE `{name.replace('`', '``')}`")
    connection.close()


def schemas(sql: Execute) -> list[str]:
    system = {"information_schema", "mysql", "performance_schema", "sys"}
    return sorted({name for (name,) in sql("SHOW DATABASES")} - system)


def ensure(server: MariaDB, name: object = "qa-foo", **changes: Any) -> dict[str, Any]:
    request = {"prefix": "qa", "name": name, "charset": "utf8mb4", "collation": None, **changes}
    return ask(server.secret, store="mysql", action="ensure", **request)


def delete(server: MariaDB, name: object = "qa-foo", **changes: Any) -> dict[str, Any]:
    return ask(server.secret, store="mysql", action="delete", **{"prefix": "qa", "name": name, **changes})


def names(server: MariaDB, prefix: str = "qa") -> list[str]:
    return list(ask(server.secret, store="mysql", action="list", prefix=prefix)["names"])


def changed(server: MariaDB, **changes: Any) -> str:
    return json.dumps({**json.loads(server.secret), **changes})


def account(server: MariaDB, sql: Execute, *grants: str) -> str:
    """The secret of an account with these grants only."""
    sql("CREATE OR REPLACE USER 'small'@'127.0.0.1' IDENTIFIED BY 'small-password'")
    for grant in grants:
        sql(f"GRANT {grant} TO 'small'@'127.0.0.1'")
    return changed(server, username="small", password="small-password")


@pytest.mark.parametrize("name", ["qa-foo", "qa_foo", "qa-1.2", "qa-Foo", "qa-" + "x" * 61])
def test_ensure_list_delete(mariadb: MariaDB, sql: Execute, name: str) -> None:
    """Every name that is ours can be created, is listed, and goes; each step may be repeated."""
    assert ensure(mariadb, name) == ensure(mariadb, name) == {"name": name}
    assert names(mariadb) == [name] == schemas(sql)
    assert delete(mariadb, name) == delete(mariadb, name) == {"gone": "yes"}
    assert names(mariadb) == [] == schemas(sql)


def test_charset_and_collation(mariadb: MariaDB, sql: Execute) -> None:
    """They are those of the request, and an existing schema keeps its own."""
    ensure(mariadb, charset="latin1", collation="latin1_bin")
    ensure(mariadb)

    assert "CHARACTER SET latin1 COLLATE latin1_bin" in sql("SHOW CREATE DATABASE `qa-foo`")[0][1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"charset": "klingon"},
        {"charset": "utf8mb4 COLLATE utf8mb4_bin"},
        {"charset": "utf8mb4", "collation": "latin1_bin"},
        {"collation": "x; DROP DATABASE `qa-foo`"},
    ],
)
def test_a_wrong_charset_is_blocked(mariadb: MariaDB, sql: Execute, wrong: dict[str, str]) -> None:
    """An unknown charset needs a person, one with more than a word in it never reaches the server."""
    assert ensure(mariadb, **wrong)["error"] == "blocked"
    assert schemas(sql) == []


def test_an_environment_too_many_is_refused_before_its_schema_is_made(mariadb: MariaDB, sql: Execute) -> None:
    """Those that are there go on; when one has gone there is room again. Others' schemas do not count."""
    sql("CREATE DATABASE `stg_main`")
    room = {"each": 15, "budget": 30}
    for name in ("qa-foo", "qa-bar"):
        assert ensure(mariadb, name, **room) == {"name": name}
    refused = ensure(mariadb, "qa-baz", **room)
    assert refused["error"] == "blocked"
    assert "3 environments with 15 connections each are more than the 30" in refused["message"]
    assert ensure(mariadb, "qa-foo", **room) == {"name": "qa-foo"}
    delete(mariadb, "qa-bar")
    assert ensure(mariadb, "qa-baz", **room) == {"name": "qa-baz"}


def test_without_a_budget_most_of_the_servers_connections_may_be_used(mariadb: MariaDB, sql: Execute) -> None:
    ((most,),) = sql("SELECT @@max_connections")
    assert ensure(mariadb, each=int(most * 0.8)) == {"name": "qa-foo"}
    assert ensure(mariadb, "qa-bar", each=int(most * 0.4) + 1)["error"] == "blocked"
    assert ensure(mariadb, "qa-bar", each=int(most * 0.4)) == {"name": "qa-bar"}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_touch_nothing(mariadb: MariaDB, sql: Execute, name: object) -> None:
    """What is not certainly ours is blocked, and everybody's schemas stay."""
    for other in ("prod", "qa-foo", "qafoo", "stg_main"):
        sql(f"CREATE DATABASE `{other}`")
    before = schemas(sql)

    assert ensure(mariadb, name)["error"] == "blocked"
    assert delete(mariadb, name)["error"] == "blocked"
    assert schemas(sql) == before


@pytest.mark.parametrize("prefix", BAD_PREFIXES)
def test_bad_prefixes_touch_nothing(mariadb: MariaDB, sql: Execute, prefix: object) -> None:
    """An empty or wild prefix would make other people's schemas ours."""
    sql("CREATE DATABASE `qa-foo`")

    assert delete(mariadb, prefix=prefix)["error"] == "blocked"
    assert ask(mariadb.secret, store="mysql", action="list", prefix=prefix)["error"] == "blocked"
    assert schemas(sql) == ["qa-foo"]


@pytest.mark.parametrize(("name", "prefix"), [("mysql_innodb_cluster_metadata", "mysql")])
def test_system_schemas_are_never_ours(mariadb: MariaDB, sql: Execute, name: str, prefix: str) -> None:
    """Not even where the prefix would allow it."""
    sql(f"CREATE DATABASE `{name}`")

    assert delete(mariadb, name, prefix=prefix)["error"] == "blocked"
    assert names(mariadb, prefix) == []
    assert schemas(sql) == [name]


def test_list_has_only_ours(mariadb: MariaDB, sql: Execute) -> None:
    """A name that only begins like ours is somebody else's."""
    for name in ("qa-foo", "qa_bar", "qafoo", "prod-qa-foo", "qa-", "qa-`x"):
        sql(f"CREATE DATABASE `{name.replace('`', '``')}`")

    assert names(mariadb) == ["qa-foo", "qa_bar"]


def test_delete_leaves_the_neighbours(mariadb: MariaDB, sql: Execute) -> None:
    """Names that a wildcard, a fold or a common beginning would confuse."""
    neighbours = ["qa-Foo", "qa-foo-bar", "qa_foo", "qaxfoo"]
    for name in ("qa-foo", *neighbours):
        sql(f"CREATE DATABASE `{name}`")

    assert delete(mariadb) == {"gone": "yes"}
    assert schemas(sql) == neighbours


def test_delete_ends_the_sessions_that_use_the_schema(mariadb: MariaDB, sql: Execute) -> None:
    """A transaction that the application left open does not hold up the drop; other sessions live on."""
    sql("CREATE DATABASE `qa-foo`")
    sql("CREATE DATABASE `qa-Foo`")
    sql("CREATE TABLE `qa-foo`.t (id INT)")
    holder, bystander = mariadb.connect(), mariadb.connect()
    holder.select_db("qa-foo")
    bystander.select_db("qa-Foo")
    holder.begin()
    holder.cursor().execute("SELECT * FROM t")

    assert delete(mariadb) == {"gone": "yes"}
    with pytest.raises(pymysql.MySQLError):
        holder.cursor().execute("SELECT 1")
    bystander.cursor().execute("SELECT 1")
    bystander.close()


def test_a_foreign_transaction_makes_it_wait(
    mariadb: MariaDB, sql: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that uses another schema is not ended: not ready, and done once it lets go."""
    monkeypatch.setattr(mysql, "LOCK_SECONDS", 1)
    sql("CREATE DATABASE `qa-foo`")
    sql("CREATE TABLE `qa-foo`.t (id INT)")
    holder = mariadb.connect()
    holder.begin()
    holder.cursor().execute("SELECT * FROM `qa-foo`.t")

    answer = delete(mariadb)
    assert answer["error"] == "not_ready"
    assert "an open transaction holds schema qa-foo" in answer["message"]
    assert schemas(sql) == ["qa-foo"]
    holder.rollback()
    assert delete(mariadb) == {"gone": "yes"}
    holder.close()


OURS = "ALL ON `qa-%`.*"


def test_sessions_that_may_not_be_ended(
    mariadb: MariaDB, sql: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Being denied KILL is not fatal: without a lock the drop succeeds, with one we wait and say why."""
    monkeypatch.setattr(mysql, "LOCK_SECONDS", 1)
    secret = account(mariadb, sql, OURS, "PROCESS ON *.*")
    request = {"store": "mysql", "action": "delete", "prefix": "qa", "name": "qa-foo"}
    sql("CREATE DATABASE `qa-foo`")
    sql("CREATE TABLE `qa-foo`.t (id INT)")
    holder = mariadb.connect()
    holder.select_db("qa-foo")
    holder.begin()
    holder.cursor().execute("SELECT * FROM t")

    answer = ask(secret, **request)
    assert answer["error"] == "not_ready"
    assert "1 of its sessions could not be ended" in answer["message"]
    holder.rollback()
    assert ask(secret, **request) == {"gone": "yes"}
    holder.close()


def test_rds_kill_is_the_way_out(mariadb: MariaDB, sql: Execute) -> None:
    """Where KILL is denied, the procedure that RDS offers ends the session."""
    sql("CREATE OR REPLACE PROCEDURE mysql.rds_kill(IN thread BIGINT) KILL thread")
    secret = account(mariadb, sql, OURS, "PROCESS ON *.*", "EXECUTE ON PROCEDURE mysql.rds_kill")
    sql("CREATE DATABASE `qa-foo`")
    sql("CREATE TABLE `qa-foo`.t (id INT)")
    holder = mariadb.connect()
    holder.select_db("qa-foo")
    holder.begin()
    holder.cursor().execute("SELECT * FROM t")

    assert ask(secret, store="mysql", action="delete", prefix="qa", name="qa-foo") == {"gone": "yes"}
    sql("DROP PROCEDURE mysql.rds_kill")


def test_missing_privileges_are_blocked(mariadb: MariaDB, sql: Execute) -> None:
    """And an invisible schema is never reported gone."""
    sql("CREATE DATABASE `qa_foo`")
    secret = account(mariadb, sql, OURS)

    for action in ("ensure", "delete"):
        answer = ask(secret, store="mysql", action=action, prefix="qa", name="qa_foo", charset="utf8mb4")
        assert answer["error"] == "blocked"
        assert "grant it ALL" in answer["message"]
    assert schemas(sql) == ["qa_foo"]


def test_a_foreign_key_from_elsewhere_is_blocked(mariadb: MariaDB, sql: Execute) -> None:
    """Only a person can decide what becomes of the other table."""
    sql("CREATE DATABASE `qa-foo`")
    sql("CREATE DATABASE `other`")
    sql("CREATE TABLE `qa-foo`.t (id INT PRIMARY KEY)")
    sql("CREATE TABLE `other`.u (id INT, FOREIGN KEY (id) REFERENCES `qa-foo`.t (id))")

    answer = delete(mariadb)
    assert answer["error"] == "blocked"
    assert "tables of another schema refer to it" in answer["message"]
    sql("DROP DATABASE `other`")
    assert delete(mariadb) == {"gone": "yes"}


def test_two_deletes_at_once(mariadb: MariaDB, sql: Execute) -> None:
    """Workers that meet do not harm each other: both end with the schema gone, or are told to wait."""
    sql("CREATE DATABASE `qa-foo`")
    for number in range(30):
        sql(f"CREATE TABLE `qa-foo`.t{number} (id INT)")
    answers: list[dict[str, Any]] = []
    workers = [threading.Thread(target=lambda: answers.append(delete(mariadb))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert len(answers) == 4
    assert {"gone": "yes"} in answers
    assert all(answer.get("error", "not_ready") == "not_ready" for answer in answers)
    assert delete(mariadb) == {"gone": "yes"}


def test_a_wrong_password_is_blocked(mariadb: MariaDB) -> None:
    """The sentence names the host; `ask` checks that it names neither user nor password."""
    answer = ask(changed(mariadb, password="wr0ng-secret"), store="mysql", action="list", prefix="qa")

    assert answer["error"] == "blocked"
    assert f"{mariadb.host}:{mariadb.port} refuses the secret's user name" in answer["message"]


def test_a_server_that_is_down_is_not_ready(mariadb: MariaDB) -> None:
    """A refused connection waits for the next tick and names the host."""
    port = free_port()
    answer = ask(changed(mariadb, port=port), store="mysql", action="list", prefix="qa")

    assert answer["error"] == "not_ready"
    assert f"MySQL at 127.0.0.1:{port} cannot be reached" in answer["message"]


def test_a_silent_server_is_not_ready(mariadb: MariaDB) -> None:
    """One that accepts and says nothing is left in time to answer."""
    with silent_server() as (port, _):
        secret = changed(mariadb, port=port)
        answer = ask(secret, lambda: 3.0, store="mysql", action="list", prefix="qa")

    assert answer["error"] == "not_ready"
    assert "did not answer in time" in answer["message"]


def test_a_server_without_a_free_connection_is_not_ready(mariadb: MariaDB, sql: Execute) -> None:
    """One that is busy is asked again later."""
    secret = account(mariadb, sql, OURS)
    sql("ALTER USER 'small'@'127.0.0.1' WITH MAX_USER_CONNECTIONS 1")
    login = json.loads(secret)
    with pymysql.connect(
        host=mariadb.host, port=mariadb.port, user=login["username"], password=login["password"]
    ):
        answer = ask(secret, store="mysql", action="list", prefix="qa")

    assert answer["error"] == "not_ready"


@pytest.mark.parametrize(
    "secret",
    [
        *("", "no json: p4ssw0rd", "[]", "7", "{}", '{"host": "h", "password": "p4ssw0rd"}'),
        '{"host": "h", "username": "u5er", "password": "p4ssw0rd", "port": "p4ssw0rd"}',
    ],
)
def test_an_unknown_secret_is_blocked(secret: str) -> None:
    """The sentence names the secret, not what it holds."""
    answer = ask(secret, store="mysql", action="list", prefix="qa")

    assert answer["error"] == "blocked"
    assert "secret secretsmanager:stg/store must be JSON with host" in answer["message"]
    assert "p4ssw0rd" not in answer["message"]


def test_secrets_do_not_show_in_reprs(mariadb: MariaDB) -> None:
    """Neither in a traceback with local variables nor in a log."""
    server = mysql.Server.of(mariadb.secret, "x")

    assert mariadb.password not in repr(server) + str(server)
    assert mariadb.user not in repr(server) + str(server)


def test_a_folding_server_is_blocked(tmp_path: Path) -> None:
    """With lower_case_table_names, deleting qa-Foo would drop qa-foo."""
    with MariaDB(tmp_path / "mariadb", options=["--lower-case-table-names=1"]) as server:
        assert ensure(server, "qa-foo") == {"name": "qa-foo"}
        assert ensure(server, "qa-Foo")["error"] == "blocked"
        assert delete(server, "qa-Foo")["error"] == "blocked"
        assert names(server) == ["qa-foo"]


def test_tls(mariadb: MariaDB, tmp_path: Path) -> None:
    """Verified with the right ssl_ca; blocked with another one, and where the server has no TLS."""
    ca, other = certificate(tmp_path / "server"), certificate(tmp_path / "other")
    files = [f"--ssl-cert={tmp_path}/server.pem", f"--ssl-key={tmp_path}/server.key"]
    request = {"store": "mysql", "action": "list", "prefix": "qa"}
    with MariaDB(tmp_path / "mariadb", options=[*files, "--require-secure-transport=ON"]) as server:
        assert ask(changed(server, ssl_ca=ca), **request) == {"names": []}
        assert ask(server.secret, **request) == {"names": []}
        assert "does not vouch" in ask(changed(server, ssl_ca=other), **request)["message"]
        assert "does not vouch" in ask(changed(server, tls=True), **request)["message"]
        assert ask(changed(server, tls=False), **request)["error"] == "blocked"
    assert "must be certificates in PEM" in ask(changed(mariadb, ssl_ca="not PEM"), **request)["message"]
    assert "offers no TLS" in ask(changed(mariadb, ssl_ca=ca), **request)["message"]
