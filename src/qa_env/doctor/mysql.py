"""MySQL, as the datastores function sees it: the server, the account's rights, and room for connections."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qa_env import naming
from qa_env.blueprint import Blueprint, Database
from qa_env.doctor.finding import Finding, Findings, ok, problem, unknown, warning
from qa_env.doctor.world import World
from qa_env.model import SCHEMA, Slug

SHARE = 0.8  # of the server's connections, where the blueprint gives no number; datastores/mysql.py
ACCOUNT = "'USER'@'HOST'"
EVERYTHING = "ALL PRIVILEGES"
WHOLE = {"CREATE", "DROP", "SELECT", "CREATE USER"}  # MySQL 8 never says ALL of *.*, but lists it
KILLING = {"CONNECTION_ADMIN", "CONNECTION ADMIN", "SUPER", EVERYTHING}
TAKING_OVER = ("CREATE USER", "SUPER", EVERYTHING)
HARMLESS = {"USAGE", "PROCESS", "CONNECTION_ADMIN", "CONNECTION ADMIN"}

Grant = Mapping[str, Any]


def mysql(world: World, blueprint: Blueprint) -> Findings:
    """The server is reached, encrypted, writable, and spells names as we do."""
    if blueprint.database is None:
        return
    facts = _facts(world, blueprint.database)
    yield ok(f"MySQL {facts['version']} answers")
    yield _encrypted(facts["tls"])
    if facts["read_only"]:
        yield problem(
            "the server is read-only", "put the writer's host name into the secret of database.secret"
        )
    if facts["lower_case_table_names"] and "{branch_}" in blueprint.database.schema_name:
        yield problem(
            "the server folds schema names to lower case, so branches that differ in case would share one",
            "use {slug} in database.schema",
        )
    if facts["plugin"] == "mysql_native_password" and _version(facts["version"]) >= (8, 4):
        yield warning(
            "the account logs in by mysql_native_password, which MySQL 9 has no more",
            f"ALTER USER {ACCOUNT} IDENTIFIED WITH caching_sha2_password BY '…';",
        )


def _encrypted(tls: str) -> Finding:
    if tls:
        return ok(f"the connection is encrypted ({tls})")
    return warning(
        "the connection is not encrypted", 'put "tls": true, or "ssl_ca", into the secret of database.secret'
    )


def _version(text: str) -> tuple[int, ...]:
    """MySQL's; MariaDB counts otherwise and keeps the old plugin."""
    return () if "MariaDB" in text else tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def grants(world: World, blueprint: Blueprint) -> Findings:
    """The account may do what it must on our schemas, and nothing else."""
    if blueprint.database is None:
        return
    facts = _facts(world, blueprint.database)
    given: Sequence[Grant] = facts["grants"]
    own = blueprint.database.accounts == "own"
    start = beginning(blueprint, blueprint.database)
    ours = Ours(blueprint.database.prefix, start, own, "MariaDB" in facts["version"])
    yield from _on_schemas(given, ours, facts["partial_revokes"])
    yield from _on_server(given, ours)
    if own:
        yield from _making_users(given, ours, blueprint.database.accounts_trust)
    yield from _too_much(given, ours)
    if facts["others"]:
        yield unknown(
            f"{facts['others']} lines of the account's grants are of roles or otherwise not understood",
            "look at them yourself: SHOW GRANTS",
        )


@dataclass(frozen=True)
class Ours:
    """What the account is there for: schemas that begin with `start`, and with `own` a user for each."""

    prefix: str
    start: str
    own: bool
    is_mariadb: bool

    @property
    def pattern(self) -> str:
        """All of these schemas, in a grant."""
        return f"{_escaped(self.start)}%"

    @property
    def statement(self) -> str:
        """The grant that is needed (docs/data.md)."""
        return f"GRANT ALL ON `{self.pattern}`.* TO {ACCOUNT}{' WITH GRANT OPTION' if self.own else ''};"

    @property
    def kill(self) -> str:
        """The privilege to end others' sessions."""
        return "CONNECTION ADMIN" if self.is_mariadb else "CONNECTION_ADMIN"

    @property
    def harmless(self) -> set[str]:
        """What it may have for the whole server."""
        return HARMLESS | ({"CREATE USER"} if self.own else set())

    def covers(self, grant: Grant) -> bool:
        """Is it for all of our schemas, whatever else it is for?"""
        return bool(grant["object"] == "*" and _covers(grant["schema"], self.start))

    def holds(self, grant: Grant) -> bool:
        """Is it for schemas with our prefix alone? Either separator is ours (`naming.is_ours`)."""
        starts = (self.prefix,) if self.prefix[-1] in "-_" else (f"{self.prefix}-", f"{self.prefix}_")
        return any(_means_only(grant["schema"], start) for start in starts)


def beginning(blueprint: Blueprint, database: Database) -> str:
    """What all schemas of this blueprint begin with: the prefix with its separator."""
    branch = f"{blueprint.branch_prefix}x"
    slug = blueprint.slug(branch)
    name = naming.expand(database.schema_name, slug, branch)
    return database.prefix if database.prefix[-1] in "-_" else name[: len(database.prefix) + 1]


def _on_schemas(given: Sequence[Grant], ours: Ours, literal: bool) -> Findings:
    """A grant on all of our schemas, by a pattern that means no others."""
    if literal and not _everywhere(given):
        yield problem(
            "partial_revokes is on: the server takes a pattern in a grant for a name, so none covers ours",
            "switch it off: SET PERSIST partial_revokes = OFF;",
        )
        return
    covering = [one for one in given if ours.covers(one)]
    all_of_it = [one for one in covering if EVERYTHING in one["privileges"]]
    if not any(_may(one, "CREATE") and _may(one, "DROP") for one in covering):
        yield problem(f"the account may not create and drop schemas `{ours.pattern}`", ours.statement)
    elif not all_of_it and not _everywhere(given):
        yield warning(f"the account has some rights on `{ours.pattern}`, but not ALL", ours.statement)
    elif ours.own and not any(one["grantable"] for one in covering):
        yield problem("the account may not give environments' users their rights", ours.statement)
    elif any(ours.holds(one) for one in all_of_it):
        yield ok(f"the account has ALL on `{ours.pattern}`")
    for one in covering:
        if one["schema"] != "*" and not ours.holds(one):
            yield warning(
                f"the grant on `{one['schema']}` covers others' schemas as well (a bare _ is any character)",
                f"{ours.statement} REVOKE ALL ON `{one['schema']}`.* FROM {ACCOUNT};",
            )


def _on_server(given: Sequence[Grant], ours: Ours) -> Findings:
    """PROCESS to see others' sessions, and a way to end them."""
    server = _for_server(given)
    if not server & {"PROCESS", EVERYTHING}:
        yield warning(
            "the account does not see others' sessions (PROCESS), so an open transaction holds up a deletion",
            f"GRANT PROCESS ON *.* TO {ACCOUNT};",
        )
    if not server & KILLING and not any(_rds_kill(one) for one in given):
        yield warning(
            "the account may not end others' sessions, so an open transaction holds up a deletion",
            f"GRANT {ours.kill} ON *.* TO {ACCOUNT}; on RDS:"
            f" GRANT EXECUTE ON PROCEDURE mysql.rds_kill TO {ACCOUNT};",
        )


def _making_users(given: Sequence[Grant], ours: Ours, trusted: bool) -> Findings:
    """What `accounts: own` needs besides (docs/data.md)."""
    if not _for_server(given) & {"CREATE USER", EVERYTHING}:
        yield problem("the account may make no users", f"GRANT CREATE USER ON *.* TO {ACCOUNT};")
    if not _everywhere(given) and not any(_reads(one, "user") for one in given):
        yield problem(
            "the account does not see who is there",
            f"GRANT SELECT (User, Host, Super_priv, Create_user_priv) ON mysql.user TO {ACCOUNT};",
        )
    if ours.is_mariadb and not trusted:
        yield problem(
            "MariaDB protects no administrator from an account that makes users: environments are blocked",
            "read docs/data.md, then set database.accounts_trust, or database.accounts: shared",
        )


def _reads(grant: Grant, table: str) -> bool:
    return grant["schema"] == "mysql" and grant["object"] in (table, "*") and "SELECT" in grant["privileges"]


def _rds_kill(grant: Grant) -> bool:
    of_it = grant["object"] in ("rds_kill", "*") and grant["schema"] in ("mysql", "*")
    return of_it and bool({"EXECUTE", EVERYTHING} & set(grant["privileges"]))


def _too_much(given: Sequence[Grant], ours: Ours) -> Findings:
    """What it could do to others: nobody should notice that this account exists."""
    if _everywhere(given):
        yield warning(
            "the account may do everything on *.*: it could drop every schema and take over root",
            f"{ours.statement} REVOKE ALL PRIVILEGES ON *.* FROM {ACCOUNT};"
            f" GRANT PROCESS, {ours.kill} ON *.* TO {ACCOUNT};",
        )
        return
    for grant in given:
        privileges = [one for one in grant["privileges"] if one not in ours.harmless]
        if grant["schema"] == "*" and (found := [one for one in privileges if one in TAKING_OVER]):
            yield warning(
                f"the account has {', '.join(found)} for the whole server: it could take over root",
                f"REVOKE {', '.join(found)} ON *.* FROM {ACCOUNT};",
            )
            privileges = [one for one in privileges if one not in found]
        if privileges and not _is_needed(grant, ours):
            where = "*.*" if grant["schema"] == "*" else f"`{grant['schema']}`.{_thing(grant)}"
            yield warning(
                f"the account also has {', '.join(privileges)} on {where}, which qa-env does not need",
                f"REVOKE {', '.join(privileges)} ON {where} FROM {ACCOUNT};",
            )


def _is_needed(grant: Grant, ours: Ours) -> bool:
    """Is there a use for it? One that covers too much has been spoken of."""
    if ours.holds(grant) or (ours.covers(grant) and grant["schema"] != "*") or _rds_kill(grant):
        return True
    return ours.own and any(_reads(grant, table) for table in ("user", "global_grants"))


def _thing(grant: Grant) -> str:
    return "*" if grant["object"] == "*" else f"`{grant['object']}`"


def _for_server(given: Iterable[Grant]) -> set[str]:
    return {privilege for one in given if one["schema"] == "*" for privilege in one["privileges"]}


def _everywhere(given: Iterable[Grant]) -> bool:
    server = _for_server(given)
    return EVERYTHING in server or server >= WHOLE


def _may(grant: Grant, privilege: str) -> bool:
    return bool({privilege, EVERYTHING} & set(grant["privileges"]))


def _escaped(text: str) -> str:
    """As a name in a grant, where `_` and `%` stand for others (facts B9-4)."""
    return text.replace("_", "\\_").replace("%", "\\%")


def _parts(pattern: str) -> Iterator[tuple[str, bool]]:
    """Each character of a pattern, and whether it stands for itself."""
    for found in re.finditer(r"\\([_%\\])|(.)", pattern, re.DOTALL):
        yield (found[1], True) if found[1] else (found[2], found[2] not in "_%")


def _covers(pattern: str, start: str) -> bool:
    """Does the pattern of a grant mean every schema that begins so?"""
    if pattern == "*":
        return True
    wild = {"_": ".", "%": ".*"}
    expression = "".join(re.escape(one) if itself else wild[one] for one, itself in _parts(pattern))
    return all(re.fullmatch(expression, start + rest, re.DOTALL) for rest in ("a", "zz-9"))


def _means_only(pattern: str, start: str) -> bool:
    """Does it mean no schema that begins otherwise?"""
    fixed = ""
    for one, itself in _parts(pattern):
        if not itself:
            break
        fixed += one
    return fixed.startswith(start)


def connections(world: World, blueprint: Blueprint) -> Findings:
    """What the environments may open, against what the server and the blueprint leave them."""
    if blueprint.database is None:
        return
    facts = _facts(world, blueprint.database)
    most, each = int(facts["max_connections"]), blueprint.connections
    budget = blueprint.database.connections or int(most * SHARE)
    present = sum(env.repository in blueprint.names for env in world.store().all(consistent=False))
    fitting = budget // each
    text = (
        f"an environment opens up to {each} connections: {fitting} fit into {budget} of max_connections"
        f" {most}, {present} are there; the most ever used were {facts['max_used_connections']}"
    )
    fix = "give roles fewer threads, raise max_connections, or let environments sleep (sleep_after)"
    if budget > most:
        yield problem(f"database.connections is {budget}, the server's max_connections {most}", "lower it")
    elif present > fitting:
        yield problem(text, fix)
    elif fitting < min(_capacity(blueprint), present + 2):
        yield warning(f"{text}; another one will soon be too many", fix)
    else:
        yield ok(text)


def _capacity(blueprint: Blueprint) -> int:
    """How many environments the ports are for."""
    ports = sum(len(lb.port_range) for lb in blueprint.load_balancers)
    return ports // len(blueprint.web_roles) if blueprint.web_roles else ports


def schemas(world: World, blueprint: Blueprint) -> Findings:
    """No schema has our prefix that belongs to no environment."""
    database = blueprint.database
    if database is None:
        return
    request = {"store": "mysql", "action": "list", "secret": database.secret, "prefix": database.prefix}
    claimed = world.store().taken(SCHEMA)
    names = [str(name) for name in world.ask_datastores(request)["names"]]
    yield from unclaimed("schemas", names, claimed, "database.prefix")


GOES = "goes when the branch is pushed and deleted once more"


def unclaimed(
    what: str, names: Iterable[str], claimed: Mapping[str, Slug], prefix: str, left: str = GOES
) -> Findings:
    """Of names in the server, those that no environment claims; `left` says how what is left of one goes."""
    found = [name for name in names if name not in claimed]
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        yield warning(
            f"{what} with our prefix belong to no environment: {', '.join(found[:5])}{more}",
            f"what is somebody else's needs another name, or the blueprint another {prefix}; what is left of"
            f" a branch {left}",
        )
    else:
        yield ok(f"all {what} with our prefix belong to environments")


def _facts(world: World, database: Database) -> Mapping[str, Any]:
    request = {"store": "mysql", "action": "check", "secret": database.secret, "prefix": database.prefix}
    key = ("mysql", database.secret, database.prefix)
    return dict(world.once(key, lambda: world.ask_datastores(request)))
