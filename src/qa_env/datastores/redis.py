"""Keys on the shared Redis server: one namespace (`qa_foo:*`) or one numbered database per environment.

Surprising facts: `qa_foo*` also matches `qa_foobar:1`, so the colon belongs to the pattern, and glob
characters are escaped (facts B8-1, B8-9). SCAN may repeat keys, promises only those that were there
throughout, and its default COUNT of 10 is fifteen times slower than 1000 (B8-8, reliability 2b). It walks the
whole keyspace, however few keys are ours, so it can stop and go on in a later call. redis-py would let a
database in the URL win over the one we ask for, so the URL is taken apart here.
"""

from __future__ import annotations

import re
import ssl
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from os.path import commonprefix
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from redis import exceptions
from redis.connection import ConnectionPool, SSLConnection

from qa_env import naming
from qa_env.datastores import Answer, Remaining, Request, guard
from qa_env.errors import Blocked, NotReady

Options = dict[str, Any]

SOCKET_SECONDS = 5
RESERVE_SECONDS = 5
PAGE = 1000
LIST_PAGES = 1000  # about a million keys a call; the next call goes on from the cursor

_CURSOR = re.compile(r"\d{1,20}")
_GLOB = re.compile(r"[*?\[\]^\\-]")


def perform(request: Request, secret: str, remaining_seconds: Remaining) -> Answer:
    """Carry out one request on a connection of its own."""
    options, where = _options(secret, request["secret"])
    with _errors(where):
        match request["action"], request["mode"]:
            case "ensure", "namespace":
                return _ensure_namespace(options, where, request)
            case "ensure", "database":
                return _ensure_database(options, where, request)
            case "delete", "namespace":
                return _delete_namespaces(options, where, request, remaining_seconds)
            case "delete", "database":
                return _delete_database(options, where, request)
            case "list", "namespace":
                return _list_namespaces(options, where, request, remaining_seconds)
            case "list", "database":
                return _list_databases(options, where, request)
            case "check", "namespace" | "database":
                return _check(options, where, int(request["database"]))
    raise ValueError(f"unknown action {request['action']!r} or mode {request['mode']!r}")


def _ensure_namespace(options: Options, where: str, request: Request) -> Answer:
    namespace = guard.require_ours(request["namespace"], request["prefix"])
    number = int(request["database"])
    with _client(options, where, number):
        return {"namespace": namespace, "database": str(number)}


def _ensure_database(options: Options, where: str, request: Request) -> Answer:
    """Mark the database as its environment's: when the table is lost nothing else says whose it is.

    Blocked if it holds keys without a mark, unless the environment had it before, on this server.
    """
    number = _number(request)
    with _client(options, where, number) as client:
        if not _is_marked(client, where, request):
            if not _had(request, where) and client.dbsize():
                raise Blocked(
                    f"{where}: database {number} holds keys without our mark; see whose they are, then flush"
                    " it, or delete the branch and push it again once the environment is gone"
                )
            client.set(_mark(request), str(request["owner"]))
    return {"database": str(number), "server": where}


def _is_marked(client: redis.Redis, where: str, request: Request) -> bool:
    """Does the database bear its environment's mark? Blocked if it bears another's."""
    found = _text(client.get(_mark(request)))
    if found and found != request["owner"]:
        raise Blocked(
            f"{where}: database {request['database']} is marked as that of {found}; see what it holds, then"
            " flush it"
        )
    return bool(found)


def _had(request: Request, where: str) -> bool:
    """Had the environment this number on this server before? Empty: before servers were written down."""
    return request.get("server", "") in ("", where)


def _mark(request: Request) -> str:
    return naming.database_mark(guard.require_prefix(request["prefix"]))


def _text(value: Any) -> str:
    """Latin-1 decodes any byte, so whatever somebody has written there is an owner that we do not know."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value or "")


def _delete_namespaces(options: Options, where: str, request: Request, remaining: Remaining) -> Answer:
    """Remove what several namespaces hold in one scan; gone is said at the scan's end, of all keys that were
    there when it began. `namespaces` maps each to its prefix; who is refused does not stop the others.
    """
    ours, refused = _ours(request["namespaces"])
    if not ours:
        return {"gone": "yes", "removed": {}, "refused": refused}
    with _client(options, where, int(request["database"])) as client:
        start = _resumed(request.get("cursor", "0"))
        cursor, removed = _unlink(client, ours, start, remaining)
    end = {"gone": "yes"} if cursor is None else {"cursor": str(cursor)}
    return {**end, "removed": dict(removed), "refused": refused}


def _unlink(
    client: redis.Redis, ours: Mapping[str, object], start: int, remaining: Remaining
) -> tuple[int | None, Counter[str]]:
    """Unlink while scanning, as long as there is time: where to go on, and how many keys of each.

    The next page is asked for before the keys of the last one are sent, so that a page costs one round trip
    and the server does not wait for us. A connection that is lost on the way is where this call stops: what
    it had not heard of, the next one does again.
    """
    connection: Any = client.connection_pool.get_connection()  # redis-py has no types for what it does
    pattern, ended = _pattern(ours), False
    removed, keys = Counter(dict.fromkeys(ours, 0)), dict[str, list[bytes]]()
    cursor = following = start
    try:
        while not ended and remaining() >= RESERVE_SECONDS:
            connection.send_command("SCAN", following, "MATCH", pattern, "COUNT", PAGE)
            _send(connection, keys)
            answer = connection.read_response()
            removed.update(_heard(connection, keys))
            cursor, following, keys = following, int(answer[0]), _certain(answer[1], ours)
            ended = following == 0
        _send(connection, keys)
        removed.update(_heard(connection, keys))
    except (exceptions.ConnectionError, exceptions.TimeoutError):
        if cursor == start:
            raise
        return cursor, removed
    return (None if ended else following), removed


def _send(connection: Any, keys: Mapping[str, list[bytes]]) -> None:
    for some in keys.values():
        connection.send_command("UNLINK", *some)


def _heard(connection: Any, keys: Iterable[str]) -> dict[str, int]:
    return {name: int(connection.read_response()) for name in keys}


def _ours(namespaces: Mapping[str, object]) -> tuple[dict[str, object], dict[str, str]]:
    """Those with their prefixes that are certainly ours, and why the others are not."""
    ours, refused = dict[str, object](), dict[str, str]()
    for name, prefix in namespaces.items():
        try:
            ours[guard.require_ours(name, prefix)] = prefix
        except Blocked as error:
            refused[name] = str(error)
    return ours, refused


def _pattern(ours: Iterable[str]) -> str:
    """What matches every key of these, and of several also keys of others whose names begin like theirs."""
    names = list(ours)
    shared = commonprefix(names)  # noqa: RUF071 - names are no paths
    return f"{_escaped(shared)}{'*' if len(names) > 1 else ''}:*"


def _certain(found: Iterable[bytes], ours: Mapping[str, object]) -> dict[str, list[bytes]]:
    """Those of the keys that are certainly of these namespaces, by namespace."""
    grouped: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for key in found:
        name, colon, _ = key.partition(b":")
        grouped[name + colon].append(key)
    return {
        guard.require_ours(name, prefix): keys
        for name, prefix in ours.items()
        if (keys := grouped.get(f"{name}:".encode()))
    }


def _delete_database(options: Options, where: str, request: Request) -> Answer:
    """Flush this number and no other, unless nothing in it is ours. FLUSHALL appears nowhere."""
    number = _number(request)
    with _client(options, where, number) as client:
        if not _is_marked(client, where, request) and not _had(request, where):
            return {"gone": "yes", "removed": "0"}
        removed = client.dbsize()
        client.flushdb(asynchronous=True)
        if client.dbsize():
            raise NotReady(f"{where}: keys of database {number} keep appearing; something still writes them")
    return {"gone": "yes", "removed": str(removed)}


def _list_namespaces(options: Options, where: str, request: Request, remaining: Remaining) -> Answer:
    """Namespaces with our prefix that hold keys, as far as this call gets; cursor 0 says: all of them."""
    prefix = guard.require_prefix(request["prefix"])
    cursor = _resumed(request.get("cursor", "0"))
    found: set[str] = set()
    with _client(options, where, int(request["database"])) as client:
        for _ in range(LIST_PAGES):
            if remaining() < RESERVE_SECONDS:
                break
            cursor, keys = client.scan(cursor, match=f"{_escaped(prefix)}*:*", count=PAGE)
            found |= {_namespace(key) for key in keys}
            if cursor == 0:
                break
    return {"names": sorted(name for name in found if naming.is_ours(name, prefix)), "cursor": str(cursor)}


def _namespace(key: bytes | str) -> str:
    """No letter beyond ASCII is ever ours."""
    return _text(key).partition(":")[0]


def _list_databases(options: Options, where: str, request: Request) -> Answer:
    """The numbers that hold keys, and the marks of those that bear one."""
    mark = _mark(request)
    with _client(options, where, 0) as client:
        filled = [int(name.removeprefix("db")) for name in client.info("keyspace")]
        numbers = [str(number) for number in sorted(filled) if number > 0]
        asked = client.pipeline(transaction=False)
        for number in numbers:
            asked.select(int(number))
            asked.get(mark)
        marks = map(_text, asked.execute()[1::2])
    return {"names": numbers, "owners": {n: owner for n, owner in zip(numbers, marks, strict=True) if owner}}


def _check(options: Options, where: str, number: int) -> Answer:
    """What the server and the account are like; nothing is changed. For people, who judge it elsewhere.

    CONFIG and ACL are often kept from an account, and on ElastiCache from everybody: what is not shown is
    null. ACL GETUSER shows hashes of passwords, so only the key patterns of its answer go on.
    """
    with _client(options, where, number) as client:
        memory = client.info("memory")
        databases = _allowed(lambda: client.config_get("databases"))
        user = _allowed(lambda: client.acl_getuser(str(client.acl_whoami())))
        return {
            "version": str(client.info("server").get("redis_version", "")),
            "tls": options.get("connection_class") is SSLConnection,
            "databases": int(databases["databases"]) if databases else None,
            "policy": str(memory.get("maxmemory_policy", "")),
            "maxmemory": int(memory.get("maxmemory", 0)),
            "replica": client.info("replication").get("role") == "slave",
            "keys": [str(pattern) for pattern in user["keys"]] if user else None,
        }


def _allowed(ask: Callable[[], Any]) -> Any:
    """The answer; None where the server or the account's rights keep it."""
    try:
        return ask()
    except exceptions.ResponseError:
        return None


def _number(request: Request) -> int:
    """0 is where everything without a number lives, so it is never one environment's own."""
    number = int(request["database"])
    if number < 1:
        raise Blocked(f"database {number} cannot belong to one environment; start `databases` at 1")
    return number


def _resumed(cursor: str) -> int:
    """Where to go on: from the beginning if that cannot be told, which is always right."""
    return int(cursor) if _CURSOR.fullmatch(cursor) else 0


def _escaped(name: str) -> str:
    return _GLOB.sub(r"\\\g<0>", name)


@contextmanager
def _client(options: Options, where: str, number: int) -> Iterator[redis.Redis]:
    """A client that has selected this database, on a server where a scan sees every key."""
    pool = ConnectionPool(**options, db=number)
    with redis.Redis.from_pool(pool) as client:
        try:
            pool.release(pool.get_connection())
        except exceptions.ResponseError:
            raise Blocked(
                f"{where} does not let us select database {number}: it has fewer (16 unless configured) or"
                " runs in cluster mode (one only); change the blueprint's range, or use another cache"
            ) from None
        if client.info("cluster").get("cluster_enabled"):
            raise Blocked(f"{where} runs in cluster mode; give the blueprint a cache without it")
        yield client


def _options(secret: str, reference: object) -> tuple[Options, str]:
    """How to connect, and the server's name for messages. Whatever else the URL says is ignored."""
    values = guard.fields(secret, reference, ("url",))
    try:
        parts = urlsplit(str(values["url"]))
        host, port = parts.hostname, parts.port or 6379
    except ValueError:  # its text would quote the URL
        host, port = None, 0
    if (
        host is None
        or parts.scheme not in ("redis", "rediss")
        or "@" in parts.path + parts.query + parts.fragment
    ):
        raise Blocked(
            f"secret {reference} must hold url: redis://[user:password@]host:port or rediss://…, with the"
            " password percent-encoded"
        )
    options: Options = {
        "host": host,
        "port": port,
        "username": unquote(parts.username or "") or None,
        "password": unquote(parts.password or "") or None,
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": SOCKET_SECONDS,
        "protocol": 2,  # 3 says HELLO, and a server that does not know it quotes the password in its error
    }
    if parts.scheme == "rediss":
        options |= {"connection_class": SSLConnection, "ssl_ca_data": guard.authority(values, reference)}
    return options, f"Redis at {host}:{port}"


@contextmanager
def _errors(where: str) -> Iterator[None]:
    """Every error is a sentence that names the host and never the URL."""
    try:
        yield
    except (exceptions.AuthenticationError, exceptions.AuthorizationError):
        raise Blocked(f"{where} refuses the secret's user name or password") from None
    except exceptions.NoPermissionError:
        raise Blocked(
            f"{where} does not allow this to the secret's account; it needs SELECT, INFO, SCAN and"
            " UNLINK, with numbered databases also GET, SET, DBSIZE and FLUSHDB"
        ) from None
    except exceptions.OutOfMemoryError:
        raise Blocked(f"{where} is full and refuses to write; give it more memory or remove keys") from None
    except exceptions.ReadOnlyError:
        raise Blocked(f"{where} is read-only; the secret needs the primary's address") from None
    except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
        if isinstance(error.__context__, ssl.SSLCertVerificationError):
            raise Blocked(f"{where} shows a certificate that ssl_ca does not vouch for") from None
        raise NotReady(f"{where} cannot be reached: {error}") from None
