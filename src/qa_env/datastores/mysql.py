"""Schemas on the shared MySQL server, and the users of those environments that have their own.

Surprising facts: DROP DATABASE waits for every open transaction, by default for a year (facts B9-5), so the
session waits five seconds and first ends the sessions that use the schema. RDS grants no SUPER; its way to
end a session is `CALL mysql.rds_kill` (B9-10). A drop that is cut off leaves some of the tables, and dropping
again succeeds (reliability 2c). PyMySQL escapes values, never identifiers (reliability 1.8).
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pymysql
from pymysql.constants import CR, ER
from pymysql.cursors import Cursor

from qa_env import naming
from qa_env.datastores import Answer, Remaining, Request, guard
from qa_env.errors import Blocked, NotReady

CONNECT_SECONDS = 5
LOCK_SECONDS = 5
SHARE = 0.8  # of the server's connections: the rest is STG's and ours
STATEMENT_SECONDS = 30  # a drop that takes longer goes on without us and is confirmed by the next call

_SYSTEM = frozenset(
    {"information_schema", "innodb_memcache", "mysql", "mysql_innodb_cluster_metadata", "ndbinfo"}
    | {"performance_schema", "rdsadmin", "sys"}
)
_WORD = re.compile(r"[A-Za-z0-9_]{1,64}")
_IDENTIFIER = r"(?:\*|`(?:[^`]|``)+`)"
_GRANT = re.compile(
    rf"GRANT (?P<privileges>.+?) ON (?:FUNCTION |PROCEDURE |PACKAGE |PACKAGE BODY )?"
    rf"(?P<schema>{_IDENTIFIER})\.(?P<object>{_IDENTIFIER}) TO ",
    re.IGNORECASE,
)
_PLUGIN = re.compile(r"IDENTIFIED (?:WITH|VIA) [`']?(\w+)")

_PRIVILEGES = (
    "does not allow this to the secret's account; grant it ALL on our schemas, and PROCESS (docs/data.md)"
)
_FOREIGN_KEY = "keeps the schema, because tables of another schema refer to it"
_CHARSET = "does not know this charset or collation; change them in the blueprint"
_TLS = "accepts only TLS; set tls or ssl_ca in the secret"
_TRUST = "share one user, or set database.accounts_trust (docs/data.md)"
_READ_ONLY = "is read-only; the secret needs the host name of the writer"
_BLOCKED: dict[int, str] = {
    ER.ACCESS_DENIED_ERROR: "refuses the secret's user name or password",
    1698: "refuses the secret's user name or password",  # ER_ACCESS_DENIED_NO_PASSWORD_ERROR
    CR.CR_AUTH_PLUGIN_CANNOT_LOAD: "wants a way of logging in that we do not have",
    ER.HOST_NOT_PRIVILEGED: "does not accept connections from where this function runs",
    ER.HOST_IS_BLOCKED: "has blocked this function's address after failed connections; run FLUSH HOSTS",
    ER.DBACCESS_DENIED_ERROR: _PRIVILEGES,
    ER.TABLEACCESS_DENIED_ERROR: _PRIVILEGES,
    ER.COLUMNACCESS_DENIED_ERROR: _PRIVILEGES,
    ER.SPECIFIC_ACCESS_DENIED_ERROR: _PRIVILEGES,
    ER.CANNOT_USER: "does not make or change this user; is there one of this name for another host?",
    1819: "does not accept our passwords; relax its policy",  # ER_NOT_VALID_PASSWORD
    ER.WRONG_DB_NAME: "does not accept this schema name",
    ER.UNKNOWN_CHARACTER_SET: _CHARSET,
    ER.UNKNOWN_COLLATION: _CHARSET,
    ER.COLLATION_CHARSET_MISMATCH: _CHARSET,
    ER.ROW_IS_REFERENCED: _FOREIGN_KEY,
    ER.ROW_IS_REFERENCED_2: _FOREIGN_KEY,
    3730: _FOREIGN_KEY,  # ER_FK_CANNOT_DROP_PARENT, MySQL 8
    ER.DB_DROP_RMDIR: "keeps the schema, because its directory holds files that are not tables",
    ER.OPTION_PREVENTS_STATEMENT: _READ_ONLY,
    1836: _READ_ONLY,  # ER_READ_ONLY_MODE
    CR.CR_SSL_CONNECTION_ERROR: "offers no TLS, but the secret asks for it",
    3159: _TLS,  # ER_SECURE_TRANSPORT_REQUIRED, MySQL; MariaDB says ACCESS_DENIED
}
_NOT_READY: dict[int, str] = {
    CR.CR_CONN_HOST_ERROR: "cannot be reached",
    CR.CR_SERVER_GONE_ERROR: "closed the connection",
    CR.CR_SERVER_LOST: "did not answer in time or closed the connection",
    ER.SERVER_SHUTDOWN: "is shutting down",
    ER.CON_COUNT_ERROR: "has no connection to spare",
    ER.TOO_MANY_USER_CONNECTIONS: "has no connection to spare for this account",
    ER.USER_LIMIT_REACHED: "has no connection to spare for this account",
    ER.QUERY_INTERRUPTED: "interrupted the statement",
    ER.LOCK_DEADLOCK: "found a deadlock",
}
_KILL_REFUSED = frozenset(
    {ER.KILL_DENIED_ERROR, ER.SPECIFIC_ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR}
    | {ER.SP_DOES_NOT_EXIST, ER.PROCACCESS_DENIED_ERROR}
)


@dataclass(frozen=True)
class Server:
    """Where to connect. `tls` None means: encrypted where the server offers it, but not verified."""

    host: str
    port: int
    user: str = field(repr=False)
    password: str = field(repr=False)
    tls: bool | None = None
    ca: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, secret: str, reference: object) -> Server:
        """Read the JSON that RDS and people write: host, port, username or user, password, tls, ssl_ca."""
        values = guard.fields(secret, reference, ("host", "password"))
        user, port = values.get("username") or values.get("user"), str(values.get("port") or 3306)
        if not user or not port.isdecimal():
            raise Blocked(f"secret {reference} must be JSON with host, port, username and password")
        ca = guard.authority(values, reference)
        tls = values.get("tls", True if ca else None)
        return cls(str(values["host"]), int(port), str(user), str(values["password"]), tls, ca)

    def __str__(self) -> str:
        return f"MySQL at {self.host}:{self.port}"


def perform(request: Request, secret: str, remaining_seconds: Remaining, login: str = "") -> Answer:
    """Carry out one request on a connection of its own; `login` is the secret of an environment's user."""
    server = Server.of(secret, request["secret"])
    prefix = guard.require_prefix(request["prefix"])
    with _session(server, remaining_seconds()) as cursor:
        match request["action"]:
            case "ensure":
                return _ensure(cursor, request)
            case "delete":
                return _delete(cursor, request["name"], prefix, server)
            case "list":
                return {"names": [name for name in _schemas(cursor) if _is_ours(name, prefix)]}
            case "check":
                return _check(cursor)
            case "ensure_account":
                return _ensure_account(cursor, request, server, login)
            case "delete_account":
                return _delete_account(cursor, request, server, login)
            case "list_accounts":
                return {"names": [name for name in _users(cursor) if _is_ours(name, prefix)]}
    raise ValueError(f"unknown action {request['action']!r}")


def _ensure(cursor: Cursor, request: Request) -> Answer:
    """An existing schema stays as it is, whatever its charset."""
    name, prefix = request["name"], request["prefix"]
    _refuse_folding(cursor, guard.require_ours(name, prefix))
    charset, collation = _word(request.get("charset")), _word(request.get("collation"))
    there = _schemas(cursor)
    if name not in there:
        _require_room(cursor, sum(_is_ours(one, prefix) for one in there) + 1, request)
    cursor.execute(
        f"CREATE DATABASE IF NOT EXISTS {_quoted(name, prefix)}"
        + (f" CHARACTER SET {charset}" if charset else "")
        + (f" COLLATE {collation}" if collation else "")
    )
    return {"name": name}


def _require_room(cursor: Cursor, environments: int, request: Request) -> None:
    """One environment too many, and everybody is told "Too many connections", STG included."""
    each, budget = request.get("each", 0), request.get("budget")
    if not budget:
        cursor.execute("SELECT @@max_connections")
        ((most,),) = cursor.fetchall()
        budget = int(most * SHARE)
    if environments * each > budget:
        raise Blocked(
            f"{environments} environments with {each} connections each are more than the {budget} that they"
            " may have: delete one, give its roles fewer threads, or raise database.connections or the"
            " server's max_connections"
        )


def _delete(cursor: Cursor, name: str, prefix: str, server: Server) -> Answer:
    """Gone is said only after looking again; DROP itself fails where we may not see the schema."""
    _refuse_folding(cursor, guard.require_ours(name, prefix))
    refused = _end_sessions(cursor, guard.require_ours(name, prefix))
    try:
        cursor.execute(f"DROP DATABASE IF EXISTS {_quoted(name, prefix)}")
    except pymysql.OperationalError as error:
        if error.args[0] != ER.LOCK_WAIT_TIMEOUT:
            raise
        hint = f"; {refused} of its sessions could not be ended, grant CONNECTION_ADMIN" if refused else ""
        raise NotReady(f"{server}: an open transaction holds schema {name}{hint}") from None
    if name in _schemas(cursor):
        raise NotReady(f"{server}: schema {name} was dropped, but is there again")
    return {"gone": "yes"}


def _ensure_account(cursor: Cursor, request: Request, server: Server, login: str) -> Answer:
    """A user that may do everything in one schema, and nothing else; what is as wanted is not touched.

    Logging in as the user shows whether it is as wanted, and that it is ours: nobody else knows the password.
    """
    user, own = _user(request, server), _own(request, server, login)
    most, schema = int(request["connections"]), _pattern(request)
    seen = _as_itself(own, schema)
    if seen is None or seen.most != most:
        _require_protection(cursor, bool(request.get("trust")))
    if seen is None:
        there = user in _users(cursor)
        if there and not request.get("known"):
            raise Blocked(f"{server}: user {user} is there, but is not ours; drop it or rename the branch")
        cursor.execute(
            f"{'ALTER' if there else 'CREATE'} USER %s@'%%' IDENTIFIED BY %s"
            " WITH MAX_USER_CONNECTIONS %s PASSWORD EXPIRE NEVER",
            (user, own.password, most),
        )
    elif seen.most != most:
        cursor.execute("ALTER USER %s@'%%' WITH MAX_USER_CONNECTIONS %s", (user, most))
    if seen is None or not seen.may_all:
        cursor.execute(f"GRANT ALL PRIVILEGES ON {schema}.* TO %s@'%%'", (user,))
    return {"user": user}


def _delete_account(cursor: Cursor, request: Request, server: Server, login: str) -> Answer:
    """Drop the user if it is ours, then end its sessions: they outlive it, and no new one can come.

    One that is gone may have left some: whoever dropped it may have died before it ended them.
    """
    user = _user(request, server)
    if user in _users(cursor):
        opens = bool(login) and _as_itself(_own(request, server, login), _pattern(request)) is not None
        if not opens and not request.get("known"):
            return {"gone": "yes"}
        cursor.execute("DROP USER IF EXISTS %s@'%%'", (user,))
    cursor.execute("SHOW PROCESSLIST")
    for session in [row[0] for row in cursor.fetchall() if row[1] == user]:
        _end(cursor, session)
    return {"gone": "yes"}


def _user(request: Request, server: Server) -> str:
    """The schema's own user, or Blocked: neither the server's nor the one that we are logged in with."""
    _quoted(request["name"], request["prefix"])
    user = guard.require_ours(naming.account(request["name"]), request["prefix"])
    if user == server.user:
        raise Blocked(f"{user} is the account that makes the others; rename the branch")
    return user


def _own(request: Request, server: Server, login: str) -> Server:
    """The same server for the environment's user, as its secret says."""
    values = guard.fields(login, request["login"], ("username", "password"))
    if values["username"] != naming.account(request["name"]):
        raise Blocked(f"secret {request['login']} is not that of {naming.account(request['name'])}")
    return replace(server, user=str(values["username"]), password=str(values["password"]))


def _pattern(request: Request) -> str:
    r"""The schema as GRANT wants it, where `_` would mean any character (facts B9-4)."""
    return _quoted(request["name"], request["prefix"]).replace("_", r"\_")


@dataclass(frozen=True)
class _Seen:
    """What a user finds of itself: how many connections it may have, and if it has its rights."""

    most: int
    may_all: bool


def _as_itself(own: Server, schema: str) -> _Seen | None:
    """Log in as the user and look; None if it is not there, or has another password.

    One that has all its connections in use is let in, but no further: what is not seen is made so again.
    """
    try:
        connection = _Connection(**_options(own), read_timeout=CONNECT_SECONDS)
    except pymysql.MySQLError as error:
        if error.args[0] in (ER.USER_LIMIT_REACHED, ER.TOO_MANY_USER_CONNECTIONS):
            return _Seen(0, may_all=False)
        if error.args[0] == ER.ACCESS_DENIED_ERROR:
            return None
        raise
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@max_user_connections")
        ((most,),) = cursor.fetchall()
        cursor.execute("SHOW GRANTS")
        grants = [_grant(found) for (line,) in cursor.fetchall() if (found := _GRANT.match(str(line)))]
    wanted = {"privileges": ["ALL PRIVILEGES"], "schema": schema[1:-1], "object": "*"}
    return _Seen(int(most), wanted in grants)


def _users(cursor: Cursor) -> list[str]:
    cursor.execute("SELECT DISTINCT User FROM mysql.user ORDER BY 1")
    return [str(name) for (name,) in cursor.fetchall()]


def _require_protection(cursor: Cursor, trusted: bool) -> None:
    """Who may make users may change any of them, but for those with SYSTEM_USER (MySQL from 8.0.16)."""
    if trusted:
        return
    cursor.execute("SELECT @@version")
    ((version,),) = cursor.fetchall()
    numbers = tuple(int(number) for number in re.findall(r"\d+", str(version))[:3])
    if "MariaDB" in str(version) or numbers < (8, 0, 16):
        raise Blocked(f"{version} protects no administrator from the secret's account; {_TRUST}")
    cursor.execute("SELECT CURRENT_USER()")
    ((we,),) = cursor.fetchall()
    protected = _accounts(cursor, "mysql.global_grants WHERE PRIV = 'SYSTEM_USER'")
    powerful = _accounts(cursor, "mysql.user WHERE Super_priv = 'Y' OR Create_user_priv = 'Y'")
    exposed = powerful - protected if we not in protected else powerful | protected
    if exposed - {we}:
        raise Blocked(f"the secret's account could take over {', '.join(sorted(exposed - {we}))}; {_TRUST}")


def _accounts(cursor: Cursor, where: str) -> set[str]:
    cursor.execute(f"SELECT CONCAT(User, '@', Host) FROM {where}")  # noqa: S608 - two constants, above
    return {str(account) for (account,) in cursor.fetchall()}


def _check(cursor: Cursor) -> Answer:
    """What the server and the account are like; nothing is changed. For people, who judge it elsewhere.

    What shows accounts may show a hash of the password (SHOW GRANTS does on MariaDB), so only what is
    understood of it is answered; `others` counts the lines that are not.
    """
    cursor.execute("SELECT @@version, @@lower_case_table_names, @@max_connections")
    ((version, lower_case, connections),) = cursor.fetchall()
    cursor.execute("SHOW GRANTS")
    lines = [str(line) for (line,) in cursor.fetchall()]
    grants = [
        {**_grant(found), "grantable": " WITH GRANT OPTION" in line[found.end() :]}
        for line in lines
        if (found := _GRANT.match(line))
    ]
    return {
        "version": str(version),
        "tls": _shown(cursor, "SHOW SESSION STATUS LIKE 'Ssl_version'"),
        "plugin": _plugin(cursor),
        "lower_case_table_names": int(lower_case),
        "max_connections": int(connections),
        "max_used_connections": int(_shown(cursor, "SHOW GLOBAL STATUS LIKE 'Max_used_connections'") or 0),
        "partial_revokes": _shown(cursor, "SHOW GLOBAL VARIABLES LIKE 'partial_revokes'") == "ON",
        "read_only": _shown(cursor, "SHOW GLOBAL VARIABLES LIKE 'read_only'") == "ON",
        "grants": grants,
        "others": len(lines) - len(grants),
    }


def _grant(found: re.Match[str]) -> Answer:
    """One line of SHOW GRANTS. Wildcards in the schema's name, and their escapes, stay as they are."""
    schema, thing = (
        name if name == "*" else name[1:-1].replace("``", "`") for name in (found["schema"], found["object"])
    )
    privileges = [one.strip().upper() for one in re.sub(r"\([^)]*\)", "", found["privileges"]).split(",")]
    return {"privileges": privileges, "schema": schema, "object": thing}


def _shown(cursor: Cursor, statement: str) -> str:
    """The value of one variable; empty where the server does not know it."""
    cursor.execute(statement)
    return next((str(value) for _, value in cursor.fetchall()), "")


def _plugin(cursor: Cursor) -> str:
    """How the account logs in; empty where that is not shown. The statement shows the hash as well."""
    try:
        cursor.execute("SHOW CREATE USER CURRENT_USER()")
    except pymysql.MySQLError:
        return ""
    ((text,),) = cursor.fetchall()
    found = _PLUGIN.search(str(text))
    return found[1] if found else "mysql_native_password"


def _end_sessions(cursor: Cursor, name: str) -> int:
    """End every session that uses the schema; how many may not be ended. Never fatal: the drop decides.

    Compared here and not in SQL, where `qa-Foo` equals `qa-foo`. Without PROCESS we see our own account only.
    """
    cursor.execute("SHOW PROCESSLIST")
    sessions = [row[0] for row in cursor.fetchall() if row[3] == name]
    return sum(not _end(cursor, session) for session in sessions)


def _end(cursor: Cursor, session: int) -> bool:
    for statement in ("KILL %s", "CALL mysql.rds_kill(%s)"):
        try:
            cursor.execute(statement, (session,))
            return True
        except pymysql.MySQLError as error:
            if error.args[0] == ER.NO_SUCH_THREAD:
                return True
            if error.args[0] not in _KILL_REFUSED:
                raise
    return False


def _schemas(cursor: Cursor) -> list[str]:
    cursor.execute("SELECT schema_name FROM information_schema.schemata ORDER BY 1")
    return [str(name) for (name,) in cursor.fetchall()]


def _refuse_folding(cursor: Cursor, name: str) -> None:
    """Where the server folds names to lower case, `qa-Foo` *is* `qa-foo`: another environment's schema."""
    if name == name.lower():
        return
    cursor.execute("SELECT @@lower_case_table_names")
    if cursor.fetchall() != ((0,),):
        raise Blocked(f"the server folds schema names to lower case, so {name} is not safe; use {{slug}}")


def _is_ours(name: str, prefix: str) -> bool:
    try:
        return bool(_quoted(name, prefix))
    except Blocked:
        return False


def _quoted(name: str, prefix: str) -> str:
    """The name as an identifier. Every statement that changes something gets it from here."""
    if guard.require_ours(name, prefix).lower() in _SYSTEM:
        raise Blocked(f"{name} belongs to the server itself; nothing was touched")
    return "`" + name.replace("`", "``") + "`"


def _word(text: str | None) -> str:
    if text and not _WORD.fullmatch(text):
        raise Blocked(_CHARSET)
    return text or ""


@contextmanager
def _session(server: Server, remaining: float) -> Iterator[Cursor]:
    """A cursor whose every error is a sentence that names the host, and neither user nor password."""
    try:
        connection = _Connection(**_options(server), read_timeout=_bounded(remaining))
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()
    except pymysql.MySQLError as error:
        code = error.args[0] if error.args else 0
        cause = getattr(error, "original_exception", None)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise Blocked(f"{server} shows a certificate that ssl_ca does not vouch for") from None
        if code in _BLOCKED:
            raise Blocked(f"{server} {_BLOCKED[code]} (error {code})") from None
        if code in _NOT_READY:
            reason = f": {cause}" if cause else ""
            raise NotReady(f"{server} {_NOT_READY[code]} (error {code}){reason}") from None
        raise


def _options(server: Server) -> dict[str, Any]:
    tls: dict[str, Any] = {}
    if server.tls:
        tls = {"ssl": _verifying(server.ca)}
    elif server.tls is False:
        tls = {"ssl_disabled": True}
    return {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
        "autocommit": True,
        "connect_timeout": CONNECT_SECONDS,
        "init_command": f"SET SESSION lock_wait_timeout={LOCK_SECONDS}",
        **tls,
    }


class _Connection(pymysql.Connection):
    """PyMySQL makes a context for every connection, and reads all authorities even to verify nothing."""

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        return sslp if isinstance(sslp, ssl.SSLContext) else _trusting()


@cache
def _trusting() -> ssl.SSLContext:
    """For encryption without verification."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@cache
def _verifying(ca: str | None) -> ssl.SSLContext:
    """Without `ca` the system's authorities count, and RDS's is not among them.

    Python 3.13 became strict about details that older database certificates lack; PyMySQL relents likewise.
    """
    context = ssl.create_default_context(cadata=ca)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _bounded(remaining: float) -> float:
    return max(1.0, min(STATEMENT_SECONDS, remaining - 2))
