"""What `check` says of real servers: facts for people, read without changing anything, and no secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from pymysql.cursors import Cursor

from local.servers import MariaDB, Redis, free_port
from tests.datastores.asking import BAD_PREFIXES, ask, certificate

OURS = "ALL ON `qa-%`.*"


@pytest.fixture
def cursor(mariadb: MariaDB) -> Iterator[Cursor]:
    """Of the almighty user; the small account is gone afterwards."""
    with mariadb.connect() as connection, connection.cursor() as cursor:
        yield cursor
        cursor.execute("DROP USER IF EXISTS 'small'@'127.0.0.1'")


@pytest.fixture
def keys(redis_server: Redis) -> Iterator[redis.Redis]:
    with redis_server.connect() as client:
        yield client
        client.acl_deluser("small")
        client.flushall()


def mysql(server: MariaDB, secret: str = "", **changes: Any) -> dict[str, Any]:
    return ask(secret or server.secret, **{"store": "mysql", "action": "check", "prefix": "qa"} | changes)


def small(server: MariaDB, cursor: Cursor, *grants: str) -> str:
    """The secret of an account with these grants only."""
    cursor.execute("CREATE OR REPLACE USER 'small'@'127.0.0.1' IDENTIFIED BY 'small-password'")
    for grant in grants:
        cursor.execute(f"GRANT {grant} TO 'small'@'127.0.0.1'")
    return _login(server)


def _login(server: MariaDB) -> str:
    return json.dumps({**json.loads(server.secret), "username": "small", "password": "small-password"})


def keyspace(server: Redis, url: str = "", **changes: Any) -> dict[str, Any]:
    request = {"store": "redis", "action": "check", "mode": "namespace", "prefix": "qa", "database": 9}
    return ask(json.dumps({"url": url or server.url}), **request | changes)


def test_mysql_says_what_the_server_is_like(mariadb: MariaDB) -> None:
    answer = mysql(mariadb)

    assert "MariaDB" in answer["version"]
    assert answer["tls"] == ""
    assert answer["plugin"] == "mysql_native_password"
    assert answer["lower_case_table_names"] == 0
    assert answer["max_connections"] == 151
    assert 1 <= answer["max_used_connections"] <= 151
    assert not answer["partial_revokes"]
    assert not answer["read_only"]


def test_mysql_says_what_the_account_may_and_not_its_password(mariadb: MariaDB, cursor: Cursor) -> None:
    """SHOW GRANTS of MariaDB shows a hash; a wildcard's escape is kept, as it decides what is meant."""
    grants = (OURS, "ALL ON `qa\\_%`.*", "PROCESS ON *.*", "SELECT (host, user) ON mysql.user")
    answer = mysql(mariadb, small(mariadb, cursor, *grants))

    assert sorted((one["schema"], one["object"], one["privileges"]) for one in answer["grants"]) == [
        ("*", "*", ["PROCESS"]),
        ("mysql", "user", ["SELECT"]),
        ("qa-%", "*", ["ALL PRIVILEGES"]),
        ("qa\\_%", "*", ["ALL PRIVILEGES"]),
    ]
    assert answer["others"] == 0
    cursor.execute("SELECT PASSWORD('small-password')")
    ((digest,),) = cursor.fetchall()
    assert digest not in json.dumps(answer)
    assert "small" not in json.dumps(answer)


def test_mysql_says_what_the_account_may_hand_on(mariadb: MariaDB, cursor: Cursor) -> None:
    answer = mysql(mariadb, small(mariadb, cursor, OURS, "ALL ON `qa\\_%`.*"))
    assert not any(one["grantable"] for one in answer["grants"])
    cursor.execute(f"GRANT {OURS} TO 'small'@'127.0.0.1' WITH GRANT OPTION")

    handed_on = {one["schema"]: one["grantable"] for one in mysql(mariadb, _login(mariadb))["grants"]}
    assert handed_on == {"*": False, "qa-%": True, "qa\\_%": False}


def test_mysql_counts_what_it_does_not_understand(mariadb: MariaDB, cursor: Cursor) -> None:
    """A role's rights are not in the list."""
    cursor.execute("CREATE OR REPLACE ROLE helper")
    answer = mysql(mariadb, small(mariadb, cursor, OURS, "helper"))
    cursor.execute("DROP ROLE helper")

    assert answer["others"] == 1


def test_mysql_names_a_procedure_that_may_be_called(mariadb: MariaDB, cursor: Cursor) -> None:
    cursor.execute("CREATE OR REPLACE PROCEDURE mysql.rds_kill(IN thread BIGINT) KILL thread")
    answer = mysql(mariadb, small(mariadb, cursor, "EXECUTE ON PROCEDURE mysql.rds_kill"))
    cursor.execute("DROP PROCEDURE mysql.rds_kill")

    found = [one for one in answer["grants"] if one["object"] == "rds_kill"]
    expected = {"privileges": ["EXECUTE"], "schema": "mysql", "object": "rds_kill", "grantable": False}
    assert found == [expected]


def test_mysql_says_that_a_connection_is_encrypted(tmp_path: Path) -> None:
    authority = certificate(tmp_path / "server")
    options = [f"--ssl-cert={tmp_path}/server.pem", f"--ssl-key={tmp_path}/server.key"]
    with MariaDB(tmp_path / "m", options) as server:
        secret = json.dumps({**json.loads(server.secret), "ssl_ca": authority})
        assert mysql(server, secret)["tls"].startswith("TLS")


@pytest.mark.parametrize("prefix", BAD_PREFIXES)
def test_mysql_keeps_the_guard(mariadb: MariaDB, prefix: object) -> None:
    assert mysql(mariadb, prefix=prefix)["error"] == "blocked"


def test_mysql_changes_nothing(mariadb: MariaDB, cursor: Cursor) -> None:
    """Not even with the almighty account: the server sees reading statements only."""
    before = _changes(cursor)
    mysql(mariadb)

    assert _changes(cursor) == before


def _changes(cursor: Cursor) -> dict[str, str]:
    names = "'Com_create_db','Com_drop_db','Com_grant','Com_revoke','Com_kill','Com_update','Com_delete'"
    cursor.execute(f"SHOW GLOBAL STATUS WHERE Variable_name IN ({names}, 'Com_insert')")
    return dict(cursor.fetchall())


def test_redis_says_what_the_server_is_like(redis_server: Redis) -> None:
    answer = keyspace(redis_server)

    assert answer.pop("version")
    assert answer == {
        "tls": False,
        "databases": 16,
        "policy": "noeviction",
        "maxmemory": 0,
        "replica": False,
        "keys": ["~*"],
    }


def test_redis_says_how_it_evicts(redis_server: Redis, keys: redis.Redis) -> None:
    keys.config_set("maxmemory-policy", "allkeys-lru")
    answer = keyspace(redis_server)
    keys.config_set("maxmemory-policy", "noeviction")

    assert answer["policy"] == "allkeys-lru"


def test_redis_says_which_keys_the_user_may_touch(redis_server: Redis, keys: redis.Redis) -> None:
    """And no hash of its password."""
    keys.acl_setuser("small", enabled=True, passwords=["+pw"], keys=["qa_*"], commands=["+@all"])
    answer = keyspace(redis_server, f"redis://small:pw@{redis_server.host}:{redis_server.port}")

    assert answer["keys"] == ["~qa_*"]
    assert keys.acl_getuser("small")["passwords"][0] not in json.dumps(answer)


def test_redis_leaves_out_what_is_kept_from_the_user(redis_server: Redis, keys: redis.Redis) -> None:
    """CONFIG and ACL are an administrator's, and on ElastiCache nobody's."""
    commands = ["+@all", "-@admin"]
    keys.acl_setuser("small", enabled=True, passwords=["+pw"], keys=["*"], commands=commands)
    answer = keyspace(redis_server, f"redis://small:pw@{redis_server.host}:{redis_server.port}")

    assert answer["databases"] is None
    assert answer["keys"] is None
    assert answer["policy"] == "noeviction"


@pytest.mark.parametrize("mode", ["namespace", "database"])
def test_redis_says_that_there_are_too_few_databases(redis_server: Redis, mode: str) -> None:
    answer = keyspace(redis_server, mode=mode, database=16)

    assert answer["error"] == "blocked"
    assert "does not let us select database 16" in answer["message"]


def test_redis_says_that_it_runs_in_cluster_mode(tmp_path: Path) -> None:
    with Redis(tmp_path, databases=1, options=["--cluster-enabled", "yes"]) as server:
        answer = keyspace(server, database=0)

    assert answer["error"] == "blocked"
    assert "runs in cluster mode" in answer["message"]


def test_a_server_that_is_down_is_not_ready(mariadb: MariaDB) -> None:
    secret = json.dumps({**json.loads(mariadb.secret), "port": free_port()})

    assert mysql(mariadb, secret)["error"] == "not_ready"


def test_an_account_that_may_do_nothing_is_told_of(mariadb: MariaDB, cursor: Cursor) -> None:
    """Everything that is asked is allowed to every account."""
    answer = mysql(mariadb, small(mariadb, cursor))

    nothing = {"privileges": ["USAGE"], "schema": "*", "object": "*", "grantable": False}
    assert answer["grants"] == [nothing]
