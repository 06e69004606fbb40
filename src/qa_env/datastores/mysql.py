"""Schemas on the shared MySQL server.

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
from dataclasses import dataclass, field
from typing import Any

import pymysql
from pymysql.constants import CR, ER
from pymysql.cursors import Cursor

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

_PRIVILEGES = "does not allow this to the secret's account; grant it ALL on our schemas, and PROCESS"
_FOREIGN_KEY = "keeps the schema, because tables of another schema refer to it"
_CHARSET = "does not know this charset or collation; change them in the blueprint"
_TLS = "accepts only TLS; set tls or ssl_ca in the secret"
_READ_ONLY = "is read-only; the secret needs the host name of the writer"
_BLOCKED: dict[int, str] = {
    ER.ACCESS_DENIED_ERROR: "refuses the secret's user name or password",
    1698: "refuses the secret's user name or password",  # ER_ACCESS_DENIED_NO_PASSWORD_ERROR
    CR.CR_AUTH_PLUGIN_CANNOT_LOAD: "wants a way of logging in that we do not have",
    ER.HOST_NOT_PRIVILEGED: "does not accept connections from where this function runs",
    ER.HOST_IS_BLOCKED: "has blocked this function's address after failed connections; run FLUSH HOSTS",
    ER.DBACCESS_DENIED_ERROR: _PRIVILEGES,
    ER.TABLEACCESS_DENIED_ERROR: _PRIVILEGES,
    ER.SPECIFIC_ACCESS_DENIED_ERROR: _PRIVILEGES,
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


def perform(request: Request, secret: str, remaining_seconds: Remaining) -> Answer:
    """Carry out one request on a connection of its own."""
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
            " may have: delete one, give its roles fewer threads, or raise database.connections or the server's"
            " max_connections"
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


def _check(cursor: Cursor) -> Answer:
    """What the server and the account are like; nothing is changed. For people, who judge it elsewhere.

    What shows accounts may show a hash of the password (SHOW GRANTS does on MariaDB), so only what is
    understood of it is answered; `others` counts the lines that are not.
    """
    cursor.execute("SELECT @@version, @@lower_case_table_names, @@max_connections")
    ((version, lower_case, connections),) = cursor.fetchall()
    cursor.execute("SHOW GRANTS")
    lines = [str(line) for (line,) in cursor.fetchall()]
    grants = [_grant(found) for line in lines if (found := _GRANT.match(line))]
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
        connection = pymysql.connect(**_options(server), read_timeout=_bounded(remaining))
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
        tls = {"ssl": _verified(server.ca)}
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


def _verified(ca: str | None) -> ssl.SSLContext:
    """Without `ca` the system's authorities count, and RDS's is not among them.

    Python 3.13 became strict about details that older database certificates lack; PyMySQL relents likewise.
    """
    context = ssl.create_default_context(cadata=ca)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _bounded(remaining: float) -> float:
    return max(1.0, min(STATEMENT_SECONDS, remaining - 2))
