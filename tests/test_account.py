"""A MySQL user per environment: its statements, its secret, and its life. And what docs/data.md promises."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest
import redis
from pymysql.constants import ER

from local.servers import MariaDB, Redis
from qa_env import naming
from qa_env.datastores import Datastores, mysql
from qa_env.errors import Blocked, NotReady
from qa_env.model import Claim, Condition, Desired, Environment, Phase, Slug, State
from qa_env.resources import account
from tests import canaries
from tests.datastores.asking import BAD_PREFIXES, HOSTILE, minutes
from tests.fakes import FakeDatastores
from tests.installation import REPOSITORY, A, B, Installation, installed
from tests.making import blueprint
from tests.strict_aws import StrictAWS, strict_aws
from tests.test_template import role_of, statements

DATA = (Path(__file__).parents[1] / "docs" / "data.md").read_text("utf-8")
SECRET, LOGIN = "secretsmanager:stg/provisioner", "secretsmanager:qa-env/environment/qa-foo/mysql"
OWN = {"secret": "secretsmanager:mysql", "accounts": "own"}
PROVISIONER, APPLICATION, EACH = (
    "The provisioner",
    "The application, one user for all",
    "A user per environment",
)
Execute = Callable[..., list[tuple[Any, ...]]]


def documented(title: str, language: str = "sql") -> list[str]:
    """The statements under a heading of docs/data.md, with a password."""
    section = DATA.split(f"\n## {title}\n")[1].split("\n## ")[0]
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    lines = [line.rstrip(";") for block in blocks for line in block.splitlines()]
    assert lines, f"no statements under {title}"
    return [line.replace("<password>", canaries.MYSQL_PASSWORD) for line in lines]


@pytest.fixture
def sql(mariadb: MariaDB) -> Iterator[Execute]:
    """Statements of the almighty user; afterwards no schema and no user of a test is left."""
    with mariadb.connect() as connection, connection.cursor() as cursor:

        def execute(statement: str, *values: object) -> list[tuple[Any, ...]]:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

        ours = set(execute("SELECT User, Host FROM mysql.user"))
        system = set(execute("SHOW DATABASES"))
        yield execute
        for user, host in set(execute("SELECT User, Host FROM mysql.user")) - ours:
            execute("DROP USER %s@%s", user, host)
        for (name,) in set(execute("SHOW DATABASES")) - system:
            execute(f"DROP DATABASE `{name}`")


@pytest.fixture
def server(mariadb: MariaDB, sql: Execute) -> MariaDB:
    """The server with STG's schema, and the provisioner as docs/data.md makes it for users of their own."""
    for statement in [*documented(PROVISIONER), *documented(EACH)]:
        sql(statement)
    sql("GRANT CONNECTION ADMIN ON *.* TO 'provisioner'@'%'")
    sql("CREATE DATABASE stg_main")
    sql("CREATE TABLE stg_main.people (name TEXT)")
    return mariadb


def login(
    server: MariaDB, user: str, password: str = canaries.MYSQL_PASSWORD, schema: str | None = None
) -> Any:
    """A connection of somebody else."""
    return pymysql.connect(
        host=server.host, port=server.port, user=user, password=password, database=schema, autocommit=True
    )


def refusal(connection: Any, statement: str) -> int:
    """The number of the error that a statement is refused with; 0 if it is not."""
    with connection.cursor() as cursor:
        try:
            cursor.execute(statement)
        except pymysql.MySQLError as error:
            return int(error.args[0])
    return 0


def ask(server: MariaDB, action: str, name: object = "qa-foo", **changes: Any) -> dict[str, Any]:
    """One request to the datastores function, with the provisioner's secret and the environment's."""
    user = naming.account(name) if isinstance(name, str) else "qa-foo"
    own = {"username": user, "password": canaries.ACCOUNT_PASSWORD} | changes.pop("own", {})
    provisioner = {"host": server.host, "port": server.port, "username": "provisioner"}
    provisioner |= {"password": canaries.MYSQL_PASSWORD} | changes.pop("provisioner", {})
    secrets = {SECRET: json.dumps(provisioner), LOGIN: json.dumps(own)}
    request = {"store": "mysql", "action": action, "secret": SECRET, "prefix": "qa", "name": name}
    request |= {"login": LOGIN, "connections": 4, "trust": True, "known": False, **changes}
    answer = Datastores(secrets.__getitem__).handle(request, minutes)
    assert not canaries.found_in(json.dumps(answer))
    return answer


def make(server: MariaDB, name: str = "qa-foo", **changes: Any) -> dict[str, Any]:
    """The environment's schema and its user."""
    ask(server, "ensure", name, charset="utf8mb4")
    return ask(server, "ensure_account", name, **changes)


def users(sql: Execute) -> list[str]:
    return [name for (name,) in sql("SELECT User FROM mysql.user WHERE User LIKE 'qa%' ORDER BY 1")]


def changed_accounts(sql: Execute) -> list[tuple[Any, ...]]:
    """How often anybody made or changed a user, or granted something."""
    return sql(
        "SHOW GLOBAL STATUS WHERE Variable_name IN"
        " ('Com_create_user', 'Com_alter_user', 'Com_grant', 'Com_drop_user')"
    )


# --- the document's statements ----------------------------------------------------------------------------


def test_the_documented_provisioner_makes_and_drops_our_schemas_and_reaches_nothing_else(
    mariadb: MariaDB, sql: Execute
) -> None:
    for statement in documented(PROVISIONER):
        sql(statement)
    for name in ("stg_main", "qaz_stg", "qa"):
        sql(f"CREATE DATABASE {name}")
        sql(f"CREATE TABLE {name}.people (name TEXT)")
    for name in ("qa-foo", "qa_foo"):
        assert ask(mariadb, "ensure", name, charset="utf8mb4") == {"name": name}
        assert ask(mariadb, "delete", name) == {"gone": "yes"}
    with closing(login(mariadb, "provisioner")) as connection:
        for name in ("stg_main", "qaz_stg", "qa"):
            assert refusal(connection, f"SELECT * FROM {name}.people") == ER.TABLEACCESS_DENIED_ERROR
            assert refusal(connection, f"DROP DATABASE {name}") == ER.DBACCESS_DENIED_ERROR
        assert refusal(connection, "CREATE DATABASE other") == ER.DBACCESS_DENIED_ERROR
        assert refusal(connection, "ALTER USER 'admin'@'127.0.0.1' IDENTIFIED BY 'x'") != 0
        assert refusal(connection, "CREATE USER 'qa-foo'@'%' IDENTIFIED BY 'x'") != 0
        assert refusal(connection, "GRANT SELECT ON `qa-foo`.* TO 'provisioner'@'%'") != 0


def test_the_documented_application_reaches_every_environment_and_nothing_of_stg(
    mariadb: MariaDB, sql: Execute
) -> None:
    for statement in documented(APPLICATION):
        sql(statement)
    for name in ("stg_main", "qaz_stg", "qa-foo", "qa_foo"):
        sql(f"CREATE DATABASE `{name}`")
        sql(f"CREATE TABLE `{name}`.people (name TEXT)")
    with closing(login(mariadb, "application")) as connection:
        for name in ("qa-foo", "qa_foo"):
            assert refusal(connection, f"INSERT INTO `{name}`.people VALUES ('x')") == 0
            assert refusal(connection, f"CREATE TABLE `{name}`.pets (name TEXT)") == 0
        for name in ("stg_main", "qaz_stg"):
            assert refusal(connection, f"SELECT * FROM {name}.people") == ER.TABLEACCESS_DENIED_ERROR


def test_an_underscore_that_is_not_escaped_would_reach_other_peoples_schemas(
    mariadb: MariaDB, sql: Execute
) -> None:
    """Why the document says so."""
    sql("CREATE DATABASE qaz_stg")
    sql("CREATE USER 'careless'@'%%' IDENTIFIED BY %s", canaries.MYSQL_PASSWORD)
    sql("GRANT ALL ON `qa_%`.* TO 'careless'@'%'")
    with closing(login(mariadb, "careless")) as connection:
        assert refusal(connection, "CREATE TABLE qaz_stg.pets (name TEXT)") == 0


def test_with_users_of_their_own_mariadb_protects_no_administrator(server: MariaDB, sql: Execute) -> None:
    """What decision 0018 refuses unless the operator accepts it."""
    sql("CREATE USER 'boss'@'%%' IDENTIFIED BY %s", canaries.MYSQL_PASSWORD)
    sql("GRANT ALL ON *.* TO 'boss'@'%'")
    with closing(login(server, "provisioner")) as connection:
        assert refusal(connection, "ALTER USER 'boss'@'%' IDENTIFIED BY 'taken over'") == 0
        assert refusal(connection, "SELECT authentication_string FROM mysql.user") != 0
        assert refusal(connection, "SELECT * FROM mysql.global_priv") != 0
        assert refusal(connection, "GRANT SELECT ON stg_main.* TO 'provisioner'@'%'") != 0
    login(server, "boss", "taken over").close()


@pytest.mark.parametrize("plugin", ["mysql_native_password"])
def test_the_documented_plugin_works_for_provisioner_and_user(
    server: MariaDB, sql: Execute, plugin: str
) -> None:
    make(server)
    for user, password in (
        ("provisioner", canaries.MYSQL_PASSWORD),
        ("qa-foo", canaries.ACCOUNT_PASSWORD),
    ):
        assert sql("SELECT plugin FROM mysql.user WHERE User = %s", user) == [(plugin,)]
        login(server, user, password).close()


def test_the_documented_redis_users_stay_within_the_prefix(redis_server: Redis) -> None:
    admin = redis_server.connect()
    lines = documented("Redis", "redis")
    for line in lines:
        admin.execute_command(*line.split())
    admin.mset({"qa_foo:a": "1", "qa-foo:a": "1", "stg:session": "secret"})
    try:
        application, provisioner = (
            redis.Redis(
                redis_server.host,
                redis_server.port,
                username=name,
                password=canaries.MYSQL_PASSWORD,
                protocol=2,
            )
            for name in ("application", "provisioner")
        )
        application.set("qa_foo:b", "2")
        application.publish("qa_foo", "hello")
        assert application.get("qa-foo:a") == b"1"
        assert application.info("server")
        for refused in (
            ("GET", "stg:session"),
            ("DEL", "stg:session"),
            ("RENAME", "stg:session", "qa_foo:c"),
            ("EVAL", "return redis.call('GET', KEYS[1])", "1", "stg:session"),
            ("PUBLISH", "stg", "hello"),
            ("KEYS", "*"),
            ("FLUSHDB",),
            ("FLUSHALL",),
            ("CONFIG", "GET", "*"),
            ("ACL", "LIST"),
        ):
            with pytest.raises(redis.exceptions.ResponseError):
                application.execute_command(*refused)
        assert provisioner.unlink("qa_foo:a") == 1
        for refused in (("UNLINK", "stg:session"), ("GET", "qa_foo:b"), ("FLUSHDB",)):
            with pytest.raises(redis.exceptions.ResponseError):
                provisioner.execute_command(*refused)
        assert admin.get("stg:session") == b"secret"
    finally:
        admin.acl_deluser("application", "provisioner")
        admin.flushall()


def test_the_documented_redis_provisioner_can_remove_a_namespace(redis_server: Redis) -> None:
    admin = redis_server.connect()
    admin.execute_command(*documented("Redis", "redis")[0].split())
    admin.mset({"qa_foo:a": "1", "qa_foobar:a": "1"})
    place = f"{redis_server.host}:{redis_server.port}"
    secret = json.dumps({"url": f"redis://provisioner:{canaries.MYSQL_PASSWORD}@{place}"})
    request = {"store": "redis", "mode": "namespace", "secret": SECRET, "prefix": "qa", "database": 0}
    try:
        for action in ("ensure", "delete", "list"):
            answer = Datastores({SECRET: secret}.__getitem__).handle(
                {**request, "action": action, "namespace": "qa_foo", "namespaces": {"qa_foo": "qa"}}, minutes
            )
        assert answer["names"] == ["qa_foobar"]
    finally:
        admin.acl_deluser("provisioner")
        admin.flushall()


# --- the statements of the datastores function ------------------------------------------------------------


@pytest.mark.parametrize("name", ["qa-foo", "qa_foo", "qa-1.2", "qa-Foo", "qa-" + "x" * 61])
def test_a_user_may_everything_in_its_own_schema_and_nothing_in_others(
    server: MariaDB, sql: Execute, name: str
) -> None:
    others = ["qa-other", name[:2] + "x" + name[3:] if len(name) < 20 else "qaxother"]
    for other in others:
        sql(f"CREATE DATABASE `{other}`")
    user = naming.account(name)
    assert make(server, name) == {"user": user}
    assert len(user) <= 32
    with closing(login(server, user, canaries.ACCOUNT_PASSWORD, name)) as connection:
        assert refusal(connection, "CREATE TABLE pets (name TEXT)") == 0
        for other in others:
            assert refusal(connection, f"CREATE TABLE `{other}`.pets (name TEXT)") != 0
        assert refusal(connection, "SELECT * FROM stg_main.people") != 0
        assert refusal(connection, "CREATE USER 'x'@'%' IDENTIFIED BY 'x'") != 0
        with connection.cursor() as cursor:
            cursor.execute("SHOW DATABASES")
            assert {one for (one,) in cursor.fetchall()} == {name, "information_schema"}


def test_a_user_may_not_take_more_connections_than_its_own(server: MariaDB, sql: Execute) -> None:
    make(server, connections=2)
    first, second = (login(server, "qa-foo", canaries.ACCOUNT_PASSWORD) for _ in range(2))
    with pytest.raises(pymysql.OperationalError) as refused:
        login(server, "qa-foo", canaries.ACCOUNT_PASSWORD)
    assert refused.value.args[0] == ER.USER_LIMIT_REACHED
    assert ask(server, "ensure_account", connections=2) == {"user": "qa-foo"}  # in use is not in the way
    first.close()
    second.close()


def test_what_is_as_wanted_is_not_touched(server: MariaDB, sql: Execute) -> None:
    make(server)
    before = changed_accounts(sql)
    assert ask(server, "ensure_account") == {"user": "qa-foo"}
    assert changed_accounts(sql) == before


def test_what_differs_is_put_right(server: MariaDB, sql: Execute) -> None:
    """Rights that are missing (killed before the GRANT), another limit, and a password that was made anew."""
    make(server)
    sql("REVOKE ALL ON `qa-foo`.* FROM 'qa-foo'@'%'")
    ask(server, "ensure_account")
    with closing(login(server, "qa-foo", canaries.ACCOUNT_PASSWORD, "qa-foo")) as connection:
        assert refusal(connection, "CREATE TABLE pets (name TEXT)") == 0
    ask(server, "ensure_account", connections=9)
    assert sql("SELECT max_user_connections FROM mysql.user WHERE User = 'qa-foo'") == [(9,)]
    ask(server, "ensure_account", known=True, own={"password": "made anew"})
    login(server, "qa-foo", "made anew", "qa-foo").close()


def test_a_user_that_people_made_is_blocked_and_stays(server: MariaDB, sql: Execute) -> None:
    """Its password goes on opening it, whatever the name."""
    sql("CREATE USER 'qa-foo'@'%%' IDENTIFIED BY %s", canaries.MYSQL_PASSWORD)
    refused = make(server)
    assert refused["error"] == "blocked"
    assert "user qa-foo is there, but is not ours" in refused["message"]
    assert ask(server, "delete_account") == {"gone": "yes"}
    login(server, "qa-foo").close()


def test_a_user_of_that_name_for_another_host_is_not_ours_either(server: MariaDB, sql: Execute) -> None:
    sql("CREATE USER 'qa-foo'@'10.%%' IDENTIFIED BY %s", canaries.MYSQL_PASSWORD)
    assert make(server)["error"] == "blocked"
    assert make(server, known=True)["error"] == "blocked"
    assert sql("SELECT Host FROM mysql.user WHERE User = 'qa-foo'") == [("10.%",)]


def test_the_provisioner_never_changes_itself(server: MariaDB, sql: Execute) -> None:
    sql("RENAME USER 'provisioner'@'%' TO 'qa-foo'@'%'")
    for action in ("ensure_account", "delete_account"):
        refused = ask(server, action, known=True, provisioner={"username": "qa-foo"})
        assert refused["error"] == "blocked"
        assert "the account that makes the others" in refused["message"]
    login(server, "qa-foo").close()


def test_a_secret_of_another_environment_is_refused(server: MariaDB, sql: Execute) -> None:
    refused = make(server, own={"username": "qa-bar"})
    assert refused["error"] == "blocked"
    assert users(sql) == []


def test_a_deleted_user_is_gone_with_its_sessions(server: MariaDB, sql: Execute) -> None:
    """Even one that holds a transaction open no longer keeps the schema. Asking again is no mistake."""
    make(server)
    with closing(login(server, "qa-foo", canaries.ACCOUNT_PASSWORD, "qa-foo")) as connection:
        assert refusal(connection, "CREATE TABLE pets (name TEXT)") == 0
        assert refusal(connection, "BEGIN") == 0
        assert refusal(connection, "SELECT * FROM pets") == 0
        for _ in range(2):
            assert ask(server, "delete_account") == {"gone": "yes"}
        assert refusal(connection, "SELECT 1") != 0
    assert users(sql) == []
    began = time.monotonic()
    assert ask(server, "delete") == {"gone": "yes"}
    assert time.monotonic() - began < mysql.LOCK_SECONDS


def test_a_user_whose_secret_is_gone_is_dropped_if_the_record_knows_it(server: MariaDB, sql: Execute) -> None:
    make(server)
    assert ask(server, "delete_account", login=None) == {"gone": "yes"}
    assert users(sql) == ["qa-foo"]
    assert ask(server, "delete_account", login=None, known=True) == {"gone": "yes"}
    assert users(sql) == []


def test_only_users_with_our_prefix_are_listed(server: MariaDB, sql: Execute) -> None:
    make(server)
    for name in ("qafoo", "stg", "Qa-foo", "qa"):
        sql(f"CREATE USER '{name}'@'%'")
    assert ask(server, "list_accounts")["names"] == ["qa-foo"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_touch_no_user(server: MariaDB, sql: Execute, name: object) -> None:
    make(server, "qa-victim")
    before = changed_accounts(sql)
    for action in ("ensure_account", "delete_account"):
        assert ask(server, action, name, known=True)["error"] == "blocked"
    assert changed_accounts(sql) == before


@pytest.mark.parametrize("prefix", BAD_PREFIXES)
def test_bad_prefixes_touch_no_user(server: MariaDB, sql: Execute, prefix: object) -> None:
    before = changed_accounts(sql)
    for action in ("ensure_account", "delete_account", "list_accounts"):
        assert ask(server, action, prefix=prefix)["error"] == "blocked"
    assert changed_accounts(sql) == before


@pytest.mark.parametrize("password", ["it's", 'say "hi"', "back\\slash", "per%cent %s"])
def test_any_password_that_a_secret_holds_is_set_as_it_is(
    server: MariaDB, sql: Execute, password: str
) -> None:
    assert make(server, own={"password": password}) == {"user": "qa-foo"}
    login(server, "qa-foo", password).close()


def test_rights_that_are_missing_need_a_person(server: MariaDB, sql: Execute) -> None:
    sql("REVOKE CREATE USER ON *.* FROM 'provisioner'@'%'")
    refused = make(server)
    assert refused["error"] == "blocked"
    assert "docs/data.md" in refused["message"]


def test_an_error_that_repeats_the_users_password_is_hidden(
    server: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(own: mysql.Server, schema: str) -> None:
        raise ValueError(f"cannot use {own.password}")

    monkeypatch.setattr(mysql, "_as_itself", fails)
    with pytest.raises(RuntimeError, match=r"^ValueError: cannot use …$"):
        make(server)


# --- where administrators are protected --------------------------------------------------------------------


class Accounts:
    """A cursor that answers as a server with these accounts; MySQL was not at hand."""

    def __init__(self, version: str, powerful: Mapping[str, bool], we: str = "provisioner@%") -> None:
        self.version, self.powerful, self.we = version, powerful, we
        self.rows: list[tuple[str, ...]] = []

    def execute(self, statement: str) -> None:
        protected = [name for name, is_protected in self.powerful.items() if is_protected]
        answers = {
            "@@version": [self.version],
            "CURRENT_USER": [self.we],
            "global_grants": protected,
            "mysql.user": list(self.powerful),
        }
        (rows,) = (found for word, found in answers.items() if word in statement)
        self.rows = [(row,) for row in rows]

    def fetchall(self) -> list[tuple[str, ...]]:
        return self.rows


def protection(*given: Any, trusted: bool = False, **more: Any) -> str:
    """Why a user is not made, empty if it is."""
    cursor: Any = Accounts(*given, **more)
    try:
        mysql._require_protection(cursor, trusted)
    except Blocked as error:
        return str(error)
    return ""


def test_a_user_is_made_where_all_administrators_are_protected() -> None:
    assert protection("8.0.36", {"root@localhost": True, "provisioner@%": False}) == ""
    assert protection("8.4.2", {"root@localhost": True, "provisioner@%": False}) == ""


def test_none_is_made_where_one_administrator_is_not() -> None:
    """As on RDS: rdsadmin is protected, the master user is not."""
    said = protection("8.0.36", {"rdsadmin@localhost": True, "master@%": False, "provisioner@%": False})
    assert "could take over master@%;" in said
    assert protection("8.0.36", {"master@%": False}, trusted=True) == ""


def test_none_is_made_by_a_provisioner_that_is_protected_itself() -> None:
    """Then it may change those that are."""
    assert "root@localhost" in protection("8.0.36", {"root@localhost": True, "provisioner@%": True})


@pytest.mark.parametrize("version", ["8.0.15", "5.7.44-log", "10.11.14-MariaDB-0+deb12u2", "11.8.1-MariaDB"])
def test_none_is_made_where_the_server_knows_no_protection(version: str) -> None:
    assert "protects no administrator" in protection(version, {"root@localhost": True})


def test_mariadb_needs_the_operators_word(server: MariaDB, sql: Execute) -> None:
    refused = make(server, trust=False)
    assert refused["error"] == "blocked"
    assert "accounts_trust" in refused["message"]
    assert users(sql) == []


# --- the resource ------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every password that is made is one that all output is searched for; each another one."""
    made: list[str] = []

    def token(length: int) -> str:
        made.append(f"{canaries.ACCOUNT_PASSWORD}-{len(made)}")
        return made[-1]

    monkeypatch.setattr(account.secrets, "token_urlsafe", token)
    return made


@pytest.fixture
def qa() -> Iterator[Installation]:
    with installed(database=OWN) as made:
        yield made


def secret(qa: Installation, slug: str = "qa-foo") -> dict[str, str]:
    return dict(json.loads(qa.read_secret(f"qa-env/environment/{slug}/mysql")))


def container(qa: Installation, role: str = "app") -> dict[str, Any]:
    arn = qa.task_definition(f"qa-foo-{role}")
    described = qa.aws.client("ecs").describe_task_definition(taskDefinition=arn)
    return dict(described["taskDefinition"]["containerDefinitions"][0])


def asked(qa: Installation) -> list[str]:
    return [one["action"] for one in qa.datastores.requests if one["store"] == "mysql"]


def test_an_environment_has_a_tagged_secret_and_a_user(qa: Installation, password: list[str]) -> None:
    slug = qa.push("qa/foo", A)
    qa.push("qa/bar", A)
    qa.settle()
    assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
    assert qa.datastores.accounts == {"qa-foo": "qa-foo", "qa-bar": "qa-bar"}
    assert secret(qa)["username"] == "qa-foo"
    assert secret(qa)["password"] != secret(qa, "qa-bar")["password"]
    found = qa.aws.client("secretsmanager").describe_secret(SecretId="qa-env/environment/qa-foo/mysql")
    tags = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
    assert tags == naming.tags("qa-env", qa.env(slug))


def test_tasks_and_migrate_log_in_with_it(qa: Installation) -> None:
    qa.push("qa/foo", A)
    qa.settle()
    arn = qa.env(Slug("qa-foo")).output("account")["arn"]
    for role in ("app", "admin", "worker"):
        given = {one["name"]: one["valueFrom"] for one in container(qa, role)["secrets"]}
        assert given["DB_USER"] == f"{arn}:username::"
        assert given["DB_PASSWORD"] == f"{arn}:password::"
        assert "SECRET_KEY_BASE" in given
        assert {"DB_USER", "DB_PASSWORD"}.isdisjoint(
            one["name"] for one in container(qa, role)["environment"]
        )
    assert qa.logins == [("qa-foo", secret(qa)["password"])]


def test_what_stg_calls_the_same_is_replaced() -> None:
    """ECS refuses a name that is both a variable and a secret, or twice a secret."""
    with installed(
        database={**OWN, "user_variable": "RAILS_ENV", "password_variable": "SECRET_KEY_BASE"}
    ) as qa:
        qa.push("qa/foo", A)
        qa.settle()
        assert qa.env(Slug("qa-foo")).phase is Phase.READY, qa.messages(Slug("qa-foo"))
        assert sorted(one["name"] for one in container(qa)["secrets"]) == ["RAILS_ENV", "SECRET_KEY_BASE"]
        assert "RAILS_ENV" not in {one["name"] for one in container(qa)["environment"]}


def test_the_password_is_in_its_secret_and_nowhere_else(qa: Installation, password: list[str]) -> None:
    slug = qa.push("qa/foo", A)
    qa.settle()
    record = [qa.env(slug), qa.store.history(slug), qa.messages(slug)]
    shown = [record, qa.codepipeline.get_pipeline(name="qa-foo"), container(qa), qa.datastores.requests]
    shown += [call.params for call in qa.aws.calls if call.operation != "CreateSecret"]
    assert password[0] in secret(qa)["password"]
    assert password[0] not in repr(shown)


def test_everything_goes_the_user_after_its_users_and_before_the_schema(qa: Installation) -> None:
    qa.push("qa/foo", A)
    qa.settle()
    qa.datastores.requests.clear()
    qa.delete("qa/foo")
    qa.run_pass(Slug("qa-foo"))
    assert "delete_account" not in asked(qa), "tasks still run"
    qa.settle()
    assert qa.left() == []
    assert asked(qa)[:2] == ["delete_account", "delete_account"], "once more when its secret was gone"
    assert asked(qa).index("delete") > 0


def test_pushed_again_at_once_it_waits_for_the_name_of_its_secret(qa: Installation) -> None:
    qa.aws.secretsmanager.lingers = 3
    slug = qa.push("qa/foo", A)
    qa.settle()
    before = secret(qa)["password"]
    qa.delete("qa/foo")
    qa.run_pass(slug)
    qa.push("qa/foo", B)
    qa.settle(rounds=30)
    assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
    assert secret(qa)["password"] != before


def test_a_name_that_is_still_in_use_is_waited_for(qa: Installation) -> None:
    """The look does not show it any more, the create still refuses."""
    refusal = ("InvalidRequestException", "a secret with this name is already scheduled for deletion")
    qa.aws.fail("CreateSecret", error=refusal)
    slug = qa.push("qa/foo", A)
    qa.run_pass(slug)
    assert qa.env(slug).conditions["account"].state is State.WAITING
    qa.settle()
    assert qa.env(slug).phase is Phase.READY, qa.messages(slug)


@pytest.mark.parametrize("force", [True, False])
def test_a_secret_deleted_by_hand_is_made_anew_and_the_tasks_are_told(qa: Installation, force: bool) -> None:
    """Also one with a window of 30 days, in which nobody else could have the name."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    before = container(qa)["secrets"]
    how: Any = {"ForceDeleteWithoutRecovery": True} if force else {"RecoveryWindowInDays": 30}
    qa.aws.client("secretsmanager").delete_secret(SecretId="qa-env/environment/qa-foo/mysql", **how)
    qa.run_pass(slug)
    qa.settle()
    assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
    assert container(qa)["secrets"] != before
    assert secret(qa)["username"] == "qa-foo"


def test_a_user_that_people_made_blocks_the_environment_and_outlives_it(qa: Installation) -> None:
    qa.datastores.foreign_accounts.add("qa-foo")
    slug = qa.push("qa/foo", A)
    qa.settle()
    assert qa.env(slug).phase is Phase.BLOCKED
    assert "not ours" in qa.env(slug).conditions["account"].message
    qa.delete("qa/foo")
    qa.settle()
    assert qa.store.get(slug) is None, qa.messages(slug)
    assert not [one for one in qa.datastores.requests if one["action"] == "delete_account" and one["known"]]
    assert qa.left() == []
    for _ in range(3):
        report = qa.audit()
        qa.settle()
        qa.now += 4000
    assert report.adopted == []
    assert [one for one in report.unknown if "qa-foo is nobody's" in one]
    assert qa.datastores.foreign_accounts == {"qa-foo"}, "the user that people made"


def test_a_reset_keeps_the_user(qa: Installation) -> None:
    slug = qa.push("qa/foo", A)
    qa.settle()
    before = secret(qa)
    qa.datastores.requests.clear()
    now = int(qa.now * 1000)
    qa.store.ask(qa.env(slug), replace(qa.env(slug).asked, reset=now, redeploy=now))
    qa.run_pass(slug)
    qa.settle()
    assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
    assert "delete" in asked(qa)
    assert "delete_account" not in asked(qa)
    assert secret(qa) == before


def test_to_one_user_for_all_and_back(qa: Installation) -> None:
    """Tasks get what the blueprint says now; a user goes when nothing uses it any more."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    own = qa.blueprint
    assert own.database is not None
    qa.use(own.model_copy(update={"database": own.database.model_copy(update={"accounts": "shared"})}))
    qa.run_pass(slug)
    assert qa.datastores.accounts, "the old tasks still log in with it"
    qa.settle()
    assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
    assert [one["name"] for one in container(qa)["secrets"]] == ["SECRET_KEY_BASE"]
    assert qa.datastores.accounts == {}
    qa.use(own)
    qa.run_pass(slug)
    qa.settle()
    assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
    assert qa.datastores.accounts == {"qa-foo": "qa-foo"}
    qa.use(own.model_copy(update={"database": own.database.model_copy(update={"accounts": "shared"})}))
    qa.delete("qa/foo")
    qa.settle()
    assert qa.store.get(slug) is None
    assert qa.datastores.accounts == {}
    assert qa.aws.client("secretsmanager").list_secrets()["SecretList"] == []


def test_with_one_user_for_all_no_secret_is_looked_at() -> None:
    """So that an installation without such users needs none of the rights."""
    with installed() as qa:
        qa.push("qa/foo", A)
        qa.settle()
        qa.audit()
        qa.delete("qa/foo")
        qa.settle()
        assert qa.aws.calls_to("secretsmanager:*") == []
        assert {"ensure_account", "delete_account", "list_accounts"}.isdisjoint(asked(qa))


def test_a_late_worker_drops_no_user_of_the_next_life(qa: Installation) -> None:
    slug = qa.push("qa/foo", A)
    qa.settle()
    qa.delete("qa/foo")
    late = qa.env(slug)
    gone = Condition(State.GONE, generation=late.generation)
    late = late.with_conditions(dict.fromkeys(("pipeline", *(f"service/{r}" for r in late.roles)), gone))
    qa.push("qa/foo", B)
    (resource,) = (r for wave in qa.plan(qa.blueprint).tear_down for r in wave if r.kind == "account")
    with pytest.raises(NotReady, match="moved on"):
        resource.delete(late)
    assert qa.datastores.accounts == {"qa-foo": "qa-foo"}
    assert secret(qa)["username"] == "qa-foo"


# --- what is left behind -----------------------------------------------------------------------------------


def lose_record(qa: Installation) -> None:
    """A record that is gone with its claims, as if the table had been lost."""
    qa.store.table.delete_item(Key={"pk": "environment", "sk": "qa-foo"})


def test_the_audit_finds_a_secret_without_a_record(qa: Installation) -> None:
    slug = qa.push("qa/foo", A)
    qa.settle()
    lose_record(qa)
    for _ in range(2):
        qa.audit()
        qa.now += 4000
    qa.settle()
    qa.audit()
    qa.settle()
    assert qa.store.get(slug) is None
    assert qa.left() == []


def test_the_audit_removes_the_user_that_a_secret_of_ours_opens_and_leaves_what_only_bears_a_name(
    qa: Installation,
) -> None:
    """Even history proves nothing of a user: a person may have made it since."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    qa.push("qa/bar", A)
    qa.settle()
    qa.delete("qa/bar")
    qa.settle()
    qa.store.table.delete_item(Key={"pk": "environment", "sk": slug})
    for claim in ("schema", "redis namespace"):
        for name in qa.store.taken(claim):
            qa.store.table.delete_item(Key={"pk": f"claim#{claim}", "sk": name})
    qa.datastores.accounts["qa-bar"] = "qa-bar"
    qa.datastores.accounts["qa-never"] = "qa-never"
    assert qa.store.history(Slug("qa-bar"))
    for _ in range(2):
        report = qa.audit()
        qa.now += 4000
    qa.settle()
    assert report.adopted == [slug]
    assert [one for one in report.unknown if "qa-never" in one]
    assert [one for one in report.unknown if "qa-bar" in one]
    assert qa.datastores.accounts == {"qa-bar": "qa-bar", "qa-never": "qa-never"}


# --- a whole life on a real server -------------------------------------------------------------------------


class RealMySQL(FakeDatastores):
    """The function's own code for MySQL; `read` gives its secrets."""

    def __init__(self, read: Callable[[str], str]) -> None:
        super().__init__()
        self.function = Datastores(read)

    def _mysql(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.function.handle(json.loads(json.dumps(request)), minutes)


def test_a_whole_life_with_a_user_of_its_own(server: MariaDB, sql: Execute) -> None:
    """Push, migrate, another commit, reset, delete: the environment's user reaches its schema throughout."""
    place = {"host": server.host, "port": server.port, "username": "provisioner"}
    provisioner = json.dumps({**place, "password": canaries.MYSQL_PASSWORD})

    def read(reference: str) -> str:
        name = reference.removeprefix("secretsmanager:")
        return provisioner if name == "mysql" else qa.read_secret(name)

    with installed(database={**OWN, "accounts_trust": True}) as qa:
        qa.datastores = RealMySQL(read)
        qa.clients = replace(qa.clients, datastores=qa.datastores)
        slug, other = qa.push("qa/foo", A), qa.push("qa/bar", A)
        qa.settle()
        assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
        assert qa.env(other).phase is Phase.READY, qa.messages(other)
        (user, given) = next(one for one in qa.logins if one[0] == "qa-foo")
        with closing(login(server, user, given, "qa-foo")) as connection:
            assert refusal(connection, "CREATE TABLE pets (name TEXT)") == 0
            assert refusal(connection, "CREATE TABLE `qa-bar`.pets (name TEXT)") != 0
        limit = account.ROLLING * qa.blueprint.connections
        assert sql("SELECT max_user_connections FROM mysql.user WHERE User = 'qa-foo'") == [(limit,)]
        qa.push("qa/foo", B)
        now = int(qa.now * 1000)
        qa.store.ask(qa.env(slug), replace(qa.env(slug).asked, reset=now, redeploy=now))
        qa.settle(rounds=20)
        assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
        with closing(login(server, user, given, "qa-foo")) as connection:
            assert refusal(connection, "SELECT * FROM pets") == ER.NO_SUCH_TABLE, "it was reset"
            assert refusal(connection, "CREATE TABLE pets (name TEXT)") == 0
        qa.delete("qa/foo")
        qa.settle()
        assert qa.store.get(slug) is None, qa.messages(slug)
        assert users(sql) == ["qa-bar"]
        assert sql("SHOW DATABASES LIKE 'qa-%%'") == [("qa-bar",)]


# --- the blueprint -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("database", "said"),
    [
        ({"accounts_trust": True}, "accounts_trust needs accounts: own"),
        ({"accounts": "own", "user_variable": "DB_NAME"}, "DB_NAME: the name of two variables"),
        ({"accounts": "own", "password_variable": "BRANCH"}, "BRANCH: the name of two variables"),
        ({"accounts": "mine"}, "Input should be 'shared' or 'own'"),
    ],
)
def test_a_blueprint_that_cannot_be_meant_is_refused(database: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        blueprint(database={"secret": "secretsmanager:mysql", **database})


# --- names -------------------------------------------------------------------------------------------------


def test_names_of_users_are_short_stable_and_distinct() -> None:
    long = "qa-" + "x" * 37
    assert naming.account("qa-foo") == "qa-foo"
    assert naming.account("qa_foo") == "qa_foo"
    assert naming.account(long) == "qa-xxxxxxxxxxxxxxxxxxxxxx-23dcb3"
    assert naming.account(naming.account(long)) != naming.account(long), (
        "nobody can be named like the cut one"
    )


def test_a_secrets_name_never_looks_like_an_arns_end() -> None:
    """AWS: "Do not end your secret name with a hyphen followed by six characters"."""
    name = naming.account_secret("qa-env", Slug("qa-foo-abc123"))
    assert name == "qa-env/environment/qa-foo-abc123/mysql"
    assert not re.search(r"-.{6}$", name)


# --- strict AWS --------------------------------------------------------------------------------------------


@pytest.fixture
def aws() -> Iterator[StrictAWS]:
    with strict_aws() as made:
        yield made


def test_a_name_is_in_use_until_the_deletion_has_happened(aws: StrictAWS) -> None:  # B4-4
    client = aws.client("secretsmanager")
    aws.secretsmanager.lingers = 2
    client.create_secret(Name="a", SecretString="1")
    client.delete_secret(SecretId="a", ForceDeleteWithoutRecovery=True)
    assert client.describe_secret(SecretId="a")["DeletedDate"]
    with pytest.raises(client.exceptions.InvalidRequestException):
        client.get_secret_value(SecretId="a")
    with pytest.raises(client.exceptions.InvalidRequestException):
        client.create_secret(Name="a", SecretString="2")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.describe_secret(SecretId="a")
    client.create_secret(Name="a", SecretString="2")


def test_a_name_is_in_use_while_a_person_may_still_recover_it(aws: StrictAWS) -> None:  # B4-4
    client = aws.client("secretsmanager")
    client.create_secret(Name="a", SecretString="1")
    client.delete_secret(SecretId="a", RecoveryWindowInDays=7)
    with pytest.raises(client.exceptions.InvalidRequestException):
        client.create_secret(Name="a", SecretString="2")
    assert client.describe_secret(SecretId="a")["DeletedDate"]


def test_the_same_create_is_idempotent_and_another_is_not(aws: StrictAWS) -> None:
    client = aws.client("secretsmanager")
    same: Any = {"Name": "a", "SecretString": "1", "ClientRequestToken": "t" * 32}
    assert client.create_secret(**same)["ARN"] == client.create_secret(**same)["ARN"]
    with pytest.raises(client.exceptions.ResourceExistsException):
        client.create_secret(Name="a", SecretString="2")


def test_deleting_nothing_without_recovery_succeeds(aws: StrictAWS) -> None:
    aws.client("secretsmanager").delete_secret(SecretId="never", ForceDeleteWithoutRecovery=True)


def test_the_tagging_api_shows_secrets(aws: StrictAWS) -> None:
    tags = [{"Key": "a", "Value": "1"}]
    arn = aws.client("secretsmanager").create_secret(Name="a", SecretString="1", Tags=tags)["ARN"]
    pages = aws.client("resourcegroupstaggingapi").get_resources(TagFilters=[{"Key": "a"}])
    assert [one["ResourceARN"] for one in pages["ResourceTagMappingList"]] == [arn]


def test_a_secrets_name_has_few_characters(aws: StrictAWS) -> None:
    client = aws.client("secretsmanager")
    with pytest.raises(client.exceptions.ClientError, match="ValidationException"):
        client.create_secret(Name="qa env", SecretString="1")


# --- rights ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["reconcile", "audit", "datastores"])
def test_the_rights_are_there_only_with_the_parameter(function: str) -> None:
    """Elsewhere no function may make, describe or delete a secret, and none may do so to other secrets."""
    own = {"Fn::Sub"}
    conditions = [one["Fn::If"][0] for one in role_of(function)["Policies"] if "Fn::If" in one]
    assert "MakesAccounts" in conditions
    for statement in statements(function, "accounts"):
        if statement.get("Sid") != "List":
            assert set(statement["Resource"]) == own
            assert statement["Resource"]["Fn::Sub"].endswith(":secret:${Installation}/environment/*")
    others = [one for one in statements(function) if one not in statements(function, "accounts")]
    named = {
        a for one in others for a in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])
    }
    assert {a for a in named if a.startswith("secretsmanager:")} <= {"secretsmanager:GetSecretValue"}


def test_what_is_claimed_is_needed_to_touch_a_user(qa: Installation) -> None:
    """Without the schema's claim nothing is asked for, whatever the record says."""
    slug = qa.push("qa/foo", A)
    qa.settle()
    env = qa.env(slug)
    stolen = replace(env, claims={**env.claims, "schema": Claim("schema", "qa-other")})
    other = Environment(Slug("qa-other"), REPOSITORY, "qa/other", Desired.PRESENT, A, 1)
    qa.store.desire(other, None)
    qa.store.claim(other, {"schema": Claim("schema", "qa-other")})
    (resource,) = (r for wave in qa.plan(qa.blueprint).build for r in wave if r.kind == "account")
    qa.datastores.requests.clear()
    with pytest.raises(NotReady, match="waiting for the schema's name"):
        resource.ensure(stolen)
    assert qa.datastores.requests == []
