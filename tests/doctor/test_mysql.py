"""What is made of the facts about MySQL, and the same with a real server behind it."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from local.servers import MariaDB
from qa_env.datastores import Datastores
from qa_env.doctor.finding import Finding, Level
from qa_env.model import Claim, Slug
from tests.doctor.sound import MYSQL, REPOSITORY, Sound
from tests.fakes import MemoryStore
from tests.making import environment


def on(schema: str, *privileges: str, thing: str = "*", grantable: bool = False) -> dict[str, Any]:
    """A grant; ALL unless privileges are named."""
    given = list(privileges or ("ALL PRIVILEGES",))
    return {"privileges": given, "schema": schema, "object": thing, "grantable": grantable}


SERVER = on("*", "PROCESS", "CONNECTION_ADMIN")


def facts(world: Sound, **changes: Any) -> None:
    world.data["mysql", "check"] = MYSQL | changes


def judged(world: Sound, *grants: dict[str, Any], **changes: Any) -> list[Finding]:
    """What is said of these grants."""
    facts(world, grants=list(grants), **changes)
    return [one for one in world.findings("mysql-grants") if one.level != Level.OK]


@pytest.mark.parametrize(
    ("changes", "level", "text", "fix"),
    [
        ({"tls": ""}, Level.WARNING, "not encrypted", '"tls": true'),
        ({"read_only": True}, Level.PROBLEM, "read-only", "writer"),
        ({"plugin": "mysql_native_password"}, Level.WARNING, "MySQL 9", "caching_sha2_password"),
    ],
)
def test_a_server_that_will_not_do_is_said(
    world: Sound, changes: dict[str, Any], level: Level, text: str, fix: str
) -> None:
    facts(world, **changes)

    found = world.worst("mysql")
    assert found.level == level
    assert text in found.text
    assert fix in found.fix


@pytest.mark.parametrize("version", ["8.0.40", "10.11.19-MariaDB"])
def test_the_old_plugin_is_fine_where_it_stays(world: Sound, version: str) -> None:
    facts(world, version=version, plugin="mysql_native_password")

    assert {one.level for one in world.findings("mysql")} == {Level.OK}


@pytest.mark.parametrize(("template", "level"), [("{branch_}", Level.PROBLEM), ("{slug}", Level.OK)])
def test_folded_names_matter_where_case_does(world: Sound, template: str, level: Level) -> None:
    world.changes["database"] = {"secret": "secretsmanager:mysql", "schema": template}
    facts(world, lower_case_table_names=1)

    assert max(world.findings("mysql"), key=lambda one: one.level == level).level == level


def test_a_server_that_cannot_be_reached_leaves_it_unknown(world: Sound) -> None:
    world.data["mysql", "check"] = {"error": "not_ready", "message": "MySQL at db:3306 cannot be reached"}

    found = world.worst("mysql")
    assert found.level == Level.UNKNOWN
    assert found.text == "MySQL at db:3306 cannot be reached"


def test_a_function_that_does_not_know_the_action_leaves_it_unknown(world: Sound) -> None:
    """One of an older version, for example."""
    failed = {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorType": "ValueError"}')}
    world.aws.serve("lambda:Invoke", lambda *_: failed)

    found = world.worst("mysql")
    assert found.level == Level.UNKNOWN
    assert "failed (ValueError)" in found.text
    assert "make deploy" in found.fix


def test_a_server_that_refuses_us_is_a_problem(world: Sound) -> None:
    world.data["mysql", "check"] = {
        "error": "blocked",
        "message": "MySQL at db:3306 refuses the secret's user",
    }

    assert world.worst("mysql").level == Level.PROBLEM


def test_exactly_what_is_needed_is_fine(world: Sound) -> None:
    kill = on("mysql", "EXECUTE", thing="rds_kill")

    assert judged(world, on("qa-%"), SERVER) == []
    assert judged(world, on("qa-%"), on("*", "PROCESS"), kill) == []
    assert judged(world, on("qa-%"), on("*", "PROCESS", "CONNECTION ADMIN")) == []
    assert judged(world, on("qa-%"), on("qa\\_%"), SERVER) == []  # as docs/data.md writes it for both


def test_an_underscore_must_be_escaped(world: Sound) -> None:
    """`qa_%` is `qa-foo` and `qaxfoo` as well (facts B9-4)."""
    world.changes["database"] = {"secret": "secretsmanager:mysql", "schema": "{slug_}"}
    assert judged(world, on("qa\\_%"), SERVER) == []

    wider, missing = judged(world, on("qa_%"), SERVER), judged(world, on("qa-%"), SERVER)

    assert [one.level for one in wider] == [Level.WARNING]
    assert "GRANT ALL ON `qa\\_%`.* TO 'USER'@'HOST';" in wider[0].fix
    assert "REVOKE ALL ON `qa_%`.* FROM 'USER'@'HOST';" in wider[0].fix
    assert Level.PROBLEM in {one.level for one in missing}


@pytest.mark.parametrize("pattern", ["qa%", "%", "q_-%", "_a-%"])
def test_a_wider_pattern_is_said_with_the_statements(world: Sound, pattern: str) -> None:
    (found,) = judged(world, on(pattern), SERVER)

    assert found.level == Level.WARNING
    assert f"the grant on `{pattern}` covers others" in found.text
    assert found.fix.startswith("GRANT ALL ON `qa-%`.* TO")


@pytest.mark.parametrize("pattern", ["qa-f%", "qa-", "qa-%x", "stg\\_%", "qa\\_%"])
def test_a_pattern_that_does_not_cover_our_schemas_is_a_problem(world: Sound, pattern: str) -> None:
    found = [one for one in judged(world, on(pattern), SERVER) if one.level == Level.PROBLEM]

    assert [one.fix for one in found] == ["GRANT ALL ON `qa-%`.* TO 'USER'@'HOST';"]


def test_some_rights_are_not_all(world: Sound) -> None:
    (found,) = judged(world, on("qa-%", "CREATE", "DROP", "SELECT"), SERVER)

    assert found.level == Level.WARNING
    assert "but not ALL" in found.text


@pytest.mark.parametrize(
    ("server", "text", "fix"),
    [
        (on("*", "CONNECTION_ADMIN"), "PROCESS", "GRANT PROCESS ON *.*"),
        (on("*", "PROCESS"), "may not end others' sessions", "GRANT CONNECTION_ADMIN ON *.*"),
    ],
)
def test_what_is_missing_for_the_server_is_said(
    world: Sound, server: dict[str, Any], text: str, fix: str
) -> None:
    (found,) = judged(world, on("qa-%"), server)

    assert found.level == Level.WARNING
    assert text in found.text
    assert fix in found.fix


@pytest.mark.parametrize(
    "listed", [(), ("SELECT", "CREATE", "DROP", "PROCESS", "CREATE USER", "SUPER", "RELOAD")]
)
def test_all_on_everything_is_said_with_the_reason(world: Sound, listed: tuple[str, ...]) -> None:
    """MySQL 8 lists it."""
    (found,) = judged(world, on("*", *listed))

    assert found.level == Level.WARNING
    assert "take over root" in found.text
    assert "REVOKE ALL PRIVILEGES ON *.*" in found.fix


@pytest.mark.parametrize("privilege", ["CREATE USER", "SUPER"])
def test_a_way_to_root_is_said_with_the_reason(world: Sound, privilege: str) -> None:
    (found,) = judged(world, on("qa-%"), on("*", "PROCESS", "CONNECTION_ADMIN", privilege))

    assert found.level == Level.WARNING
    assert f"{privilege} for the whole server: it could take over root" in found.text
    assert found.fix == f"REVOKE {privilege} ON *.* FROM 'USER'@'HOST';"


@pytest.mark.parametrize(
    ("grant", "where"),
    [
        (on("stg_main"), "`stg_main`.*"),
        (on("mysql", "SELECT", thing="user"), "`mysql`.`user`"),
        (on("*", "SELECT", "RELOAD"), "*.*"),
    ],
)
def test_rights_on_what_is_others_are_said(world: Sound, grant: dict[str, Any], where: str) -> None:
    (found,) = judged(world, on("qa-%"), SERVER, grant)

    assert found.level == Level.WARNING
    assert f"on {where}, which qa-env does not need" in found.text


def test_patterns_that_are_taken_for_names_are_a_problem(world: Sound) -> None:
    (found,) = judged(world, on("qa-%"), SERVER, partial_revokes=True)

    assert found.level == Level.PROBLEM
    assert "partial_revokes" in found.fix


def test_grants_that_are_not_understood_are_said(world: Sound) -> None:
    (found,) = judged(world, on("qa-%"), SERVER, others=2)

    assert found.level == Level.UNKNOWN


USERS = on("*", "PROCESS", "CONNECTION_ADMIN", "CREATE USER")
SEEN = on("mysql", "SELECT", thing="user")
PROTECTED = on("mysql", "SELECT", thing="global_grants")


def own(world: Sound, **changes: Any) -> None:
    """Each environment has a user of its own."""
    world.changes["database"] = {"secret": "secretsmanager:mysql", "accounts": "own", **changes}


def test_what_users_of_their_own_need_is_fine_where_they_are_wanted(world: Sound) -> None:
    own(world)
    assert judged(world, on("qa-%", grantable=True), USERS, SEEN, PROTECTED) == []
    world.changes = {}
    assert {one.level for one in judged(world, on("qa-%"), USERS, SEEN)} == {Level.WARNING}


@pytest.mark.parametrize(
    ("grants", "fix"),
    [
        ((on("qa-%"), USERS, SEEN), "GRANT ALL ON `qa-%`.* TO 'USER'@'HOST' WITH GRANT OPTION;"),
        ((on("qa-%", grantable=True), SERVER, SEEN), "GRANT CREATE USER ON *.* TO 'USER'@'HOST';"),
        ((on("qa-%", grantable=True), USERS), "ON mysql.user TO 'USER'@'HOST';"),
    ],
)
def test_what_is_missing_for_users_of_their_own_is_said(
    world: Sound, grants: tuple[dict[str, Any], ...], fix: str
) -> None:
    own(world)
    (found,) = judged(world, *grants)

    assert found.level == Level.PROBLEM
    assert found.fix.endswith(fix)


@pytest.mark.parametrize(("trusted", "levels"), [(False, [Level.PROBLEM]), (True, [])])
def test_users_of_their_own_on_mariadb_want_trust(world: Sound, trusted: bool, levels: list[Level]) -> None:
    own(world, accounts_trust=trusted)
    found = judged(world, on("qa-%", grantable=True), USERS, SEEN, version="10.11.19-MariaDB")

    assert [one.level for one in found] == levels


def environments(world: Sound, count: int) -> None:
    store = MemoryStore()
    for number in range(count):
        store.desire(environment(f"qa-{number}", repository=REPOSITORY), None)
    store.desire(environment("blog-qa-1", repository="example/blog"), None)
    world.store = store


@pytest.mark.parametrize(
    ("most", "present", "level"),
    [
        (500, 3, Level.OK),
        (40, 4, Level.OK),
        (40, 2, Level.OK),
        (40, 3, Level.WARNING),
        (20, 3, Level.PROBLEM),
    ],
)
def test_connections_are_counted_against_the_server(
    world: Sound, most: int, present: int, level: Level
) -> None:
    """An environment has 3 + 5; four fifths of the server's are for all of them."""
    if (most, present) == (40, 4):
        world.changes["load_balancers"] = [world.values["load_balancers"][0] | {"ports": "10001-10004"}]
    environments(world, present)
    facts(world, max_connections=most)

    (found,) = world.findings("mysql-connections")
    assert found.level == level
    assert f"up to 8 connections: {most * 8 // 10 // 8} fit into {most * 8 // 10}" in found.text


def test_a_budget_beyond_the_server_is_a_problem(world: Sound) -> None:
    world.changes["database"] = {"secret": "secretsmanager:mysql", "connections": 501}

    assert "database.connections is 501" in world.worst("mysql-connections").text


def test_schemas_that_nobody_claims_are_said(world: Sound) -> None:
    store = MemoryStore()
    store.claims[Claim("schema", "qa-foo")] = Slug("qa-foo")
    world.store = store
    world.data["mysql", "list"] = {"names": ["qa-foo"]}
    assert [one.level for one in world.findings("mysql-schemas")] == [Level.OK]

    world.data["mysql", "list"] = {"names": ["qa-foo", "qa-old", *(f"qa-{n}" for n in range(6))]}
    found = world.worst("mysql-schemas")
    assert found.level == Level.WARNING
    assert "belong to no environment: qa-old, qa-0, qa-1, qa-2, qa-3 and 2 more" in found.text


def test_a_real_server_is_understood(world: Sound, mariadb: MariaDB) -> None:
    """The almighty account of a test server without TLS, by the real action."""
    datastores = Datastores(lambda _: mariadb.secret)
    for action in ("check", "list"):
        world.data["mysql", action] = lambda request: datastores.handle(request, lambda: 300.0)

    said = {
        name: {one.text for one in world.findings(name) if one.level != Level.OK}
        for name in ("mysql", "mysql-grants", "mysql-connections", "mysql-schemas")
    }

    assert said == {
        "mysql": {"the connection is not encrypted"},
        "mysql-grants": {
            "the account may do everything on *.*: it could drop every schema and take over root"
        },
        "mysql-connections": set(),
        "mysql-schemas": set(),
    }


def test_a_real_account_with_exactly_what_is_needed_is_fine(world: Sound, mariadb: MariaDB) -> None:
    """As the README tells to make it."""
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE USER 'qa'@'127.0.0.1' IDENTIFIED BY 'qa-password'")
        cursor.execute("GRANT ALL ON `qa-%`.* TO 'qa'@'127.0.0.1' WITH GRANT OPTION")
        cursor.execute("GRANT ALL ON `qa\\_%`.* TO 'qa'@'127.0.0.1'")
        cursor.execute("GRANT PROCESS, CONNECTION ADMIN ON *.* TO 'qa'@'127.0.0.1'")
        secret = json.dumps({**json.loads(mariadb.secret), "username": "qa", "password": "qa-password"})
        datastores = Datastores(lambda _: secret)
        world.data["mysql", "check"] = lambda request: datastores.handle(request, lambda: 300.0)

        found = world.findings("mysql-grants")
        cursor.execute("DROP USER 'qa'@'127.0.0.1'")

    assert [(one.level, one.text) for one in found] == [(Level.OK, "the account has ALL on `qa-%`")]
