"""Namespaces and numbered databases on a real Redis server."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.servers import Redis, free_port
from qa_env.datastores import redis as keyspaces
from tests.datastores.asking import BAD_PREFIXES, HOSTILE, SECRET, ask, certificate, minutes, silent_server

NEIGHBOURS = [
    *("qa_foobar:1", "qa_foo_bar:1", "qa_foo", "qa_fo:1", "QA_foo:1", "xqa_foo:1", "qa-foo:1", "qaxfoo:1"),
    *("prod:qa_foo:1", "session:qa_foo", ":qa_foo:1", " qa_foo:1"),
]


@pytest.fixture
def keys(redis_server: Redis) -> Iterator[redis.Redis]:
    """Database 0; afterwards every database is empty."""
    with redis_server.connect() as client:
        yield client
        client.flushall()


def run(
    server: Redis, action: str, remaining: Callable[[], float] = minutes, /, **changes: Any
) -> dict[str, Any]:
    request = {"prefix": "qa", "mode": "namespace", "namespace": "qa_foo", "database": 0}
    request |= {"namespaces": {"qa_foo": "qa"}, **changes}
    return ask(server.secret, remaining, store="redis", action=action, **request)


def delete(
    server: Redis, remaining: Callable[[], float] = minutes, name: object = "qa_foo", **changes: Any
) -> dict[str, Any]:
    """A scan for one namespace: what came of it, with the number of keys or the refusal of this one."""
    prefix = changes.pop("prefix", "qa")
    answer = run(server, "delete", remaining, namespaces={str(name): prefix}, **changes)
    if refusal := answer.pop("refused").get(str(name)):
        assert answer == {"gone": "yes", "removed": {}}
        return {"error": "blocked", "message": refusal}
    return {**answer, "removed": answer["removed"][str(name)]}


def numbered(server: Redis, action: str, number: int, /, **changes: Any) -> dict[str, Any]:
    request = {"mode": "database", "database": number, "owner": "qa-env/qa-foo", **changes}
    return run(server, action, **request)


def at(server: Redis) -> str:
    """As messages and records name it."""
    return f"Redis at {server.host}:{server.port}"


def with_url(server: Redis, url: str, action: str = "list", **request: Any) -> dict[str, Any]:
    request = {"prefix": "qa", "mode": "namespace", "database": 0, **request}
    return ask(json.dumps({"url": url}), store="redis", action=action, **request)


def fill(client: redis.Redis, name: str, count: int) -> None:
    for start in range(0, count, 5000):
        client.mset({f"{name}:{number}": "x" for number in range(start, min(start + 5000, count))})


def held(client: redis.Redis) -> list[str]:
    return sorted(key.decode("latin-1") for key in client.keys("*"))


class Clock:
    """Remaining seconds that shrink by one with every look."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        self.seconds -= 1
        return self.seconds


def test_ensure(redis_server: Redis) -> None:
    """Ensuring changes nothing; it says where the environment's keys go."""
    for _ in range(2):
        assert run(redis_server, "ensure") == {"namespace": "qa_foo", "database": "0"}
        assert run(redis_server, "ensure", database=15) == {"namespace": "qa_foo", "database": "15"}
        assert numbered(redis_server, "ensure", 3) == {"database": "3", "server": at(redis_server)}


@pytest.mark.parametrize("mode", ["namespace", "database"])
def test_a_number_out_of_range_is_blocked(redis_server: Redis, mode: str) -> None:
    """Redis has 16 databases unless configured."""
    for action in ("ensure", "delete"):
        answer = run(redis_server, action, mode=mode, database=16, owner="qa-env/qa-foo")

        assert answer["error"] == "blocked"
        assert "does not let us select database 16" in answer["message"]


def test_cluster_mode_is_blocked(tmp_path: Path) -> None:
    """It refuses SELECT, and a scan of one node would not see every key."""
    with Redis(tmp_path, databases=1, options=["--cluster-enabled", "yes"]) as server:
        for answer in (run(server, "ensure"), run(server, "delete"), run(server, "list")):
            assert answer["error"] == "blocked"
            assert "runs in cluster mode" in answer["message"]
        assert numbered(server, "ensure", 1)["error"] == "blocked"


@pytest.mark.parametrize("kind", ["string", "list", "hash", "stream"])
def test_delete_takes_every_kind_of_key(redis_server: Redis, keys: redis.Redis, kind: str) -> None:
    """Whatever the application stored under its namespace goes, also below further colons."""
    match kind:
        case "string":
            keys.set("qa_foo:a:b:c", "x")
        case "list":
            keys.rpush("qa_foo:queue:default", "x")
        case "hash":
            keys.hset("qa_foo:", "field", "x")
        case "stream":
            keys.xadd(b"qa_foo:\xff\xfe", {"a": "b"})

    assert delete(redis_server) == {"gone": "yes", "removed": 1}
    assert delete(redis_server) == {"gone": "yes", "removed": 0}
    assert held(keys) == []


def test_delete_leaves_the_neighbours(redis_server: Redis, keys: redis.Redis) -> None:
    """Names with a common beginning, and the same namespace in another database."""
    keys.mset({name: "x" for name in [*NEIGHBOURS, "qa_foo:1"]})
    with redis_server.connect(1) as other:
        other.set("qa_foo:1", "x")

        assert delete(redis_server) == {"gone": "yes", "removed": 1}
        assert held(keys) == sorted(NEIGHBOURS)
        assert held(other) == ["qa_foo:1"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_touch_nothing(redis_server: Redis, keys: redis.Redis, name: object) -> None:
    """Glob characters, other people's names and things that are not names."""
    keys.mset({key: "x" for key in [*NEIGHBOURS, "qa-foo:1", "qa_foo:1", f"{name}:1"]})
    before = held(keys)

    assert run(redis_server, "ensure", namespace=name)["error"] == "blocked"
    assert delete(redis_server, name=name)["error"] == "blocked"
    assert held(keys) == before


@pytest.mark.parametrize("prefix", BAD_PREFIXES)
def test_bad_prefixes_touch_nothing(redis_server: Redis, keys: redis.Redis, prefix: object) -> None:
    """An empty or wild prefix would make everybody's keys ours."""
    keys.set("qa_foo:1", "x")

    for action in ("ensure", "list"):
        assert run(redis_server, action, prefix=prefix)["error"] == "blocked"
    assert delete(redis_server, prefix=prefix)["error"] == "blocked"
    assert held(keys) == ["qa_foo:1"]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(r"*?[]^\-!a{}", min_size=1, max_size=6), other=st.text("abc-^!", min_size=1, max_size=6))
def test_an_escaped_name_matches_only_itself(keys: redis.Redis, name: str, other: str) -> None:
    """Even names that the checks in front would refuse."""
    keys.flushdb()
    keys.mset({f"{name}:1": "x", f"{other}:1": "x"})
    pattern = f"{keyspaces._escaped(name)}:*"

    assert [f"{name}:1".encode()] == list(keys.scan_iter(match=pattern, count=100))


def test_delete_goes_on_from_the_cursor(redis_server: Redis, keys: redis.Redis) -> None:
    """20,000 keys of ours among as many of others, with time for a handful of pages in each call."""
    fill(keys, "qa_foo", 20_000)
    fill(keys, "qa_foobar", 20_000)
    answer, removed, calls = {"cursor": "0"}, 0, 0
    while "gone" not in answer:
        answer = delete(redis_server, Clock(12), cursor=answer["cursor"])
        removed += answer["removed"]
        calls += 1

    assert removed == 20_000
    assert calls > 5
    assert keys.dbsize() == 20_000
    assert run(redis_server, "list")["names"] == ["qa_foobar"]


def test_without_time_nothing_happens(redis_server: Redis, keys: redis.Redis) -> None:
    """With less than five seconds left the cursor comes back as it was."""
    keys.set("qa_foo:1", "x")

    for cursor in ("0", "17"):
        assert delete(redis_server, lambda: 4.9, cursor=cursor) == {"cursor": cursor, "removed": 0}
    assert held(keys) == ["qa_foo:1"]


def test_a_connection_that_is_lost_costs_no_more_than_its_page(
    redis_server: Redis, keys: redis.Redis
) -> None:
    """The call says how far it came, and the next one goes on there."""
    fill(keys, "qa_foo", 5000)
    fill(keys, "stg", 20_000)
    asked = itertools.count(1)

    def remaining() -> float:
        if next(asked) == 20:
            keys.client_kill_filter(_type="normal", skipme=True)
        return 300.0

    answer = delete(redis_server, remaining)
    assert int(answer["cursor"]) > 0
    assert 0 < answer["removed"] < 5000
    rest = delete(redis_server, cursor=answer["cursor"])
    assert rest["gone"] == "yes"
    assert keys.dbsize() == 20_000


def test_what_is_written_behind_the_cursor_is_left_to_the_next_look(
    redis_server: Redis, keys: redis.Redis
) -> None:
    """A scan promises what was there from its beginning to its end, and the next one counts the rest."""
    fill(keys, "qa_foo", 3000)
    fill(keys, "other", 30_000)
    first = delete(redis_server, Clock(9))
    fill(keys, "qa_foo", 3000)
    rest = delete(redis_server, cursor=first["cursor"])
    left = [name for name in held(keys) if name.startswith("qa_foo:")]

    assert rest == {"gone": "yes", "removed": 3000 - len(left)}
    assert left
    assert delete(redis_server) == {"gone": "yes", "removed": len(left)}
    assert keys.dbsize() == 30_000


def test_one_scan_removes_several_namespaces(redis_server: Redis, keys: redis.Redis) -> None:
    """Each with its own count; what only begins like them, or has another prefix, stays."""
    mine = {"qa_foo": 3000, "qa_fox": 20, "qa_empty": 0}
    for name, count in {**mine, "qa_fo": 5, "qa_foobar": 5, "qa_fooo": 5, "stg": 20_000}.items():
        fill(keys, name, count)
    before = scans(keys)
    answer = run(redis_server, "delete", namespaces=dict.fromkeys(mine, "qa"))

    assert answer == {"gone": "yes", "removed": mine, "refused": {}}
    assert keys.dbsize() == 20_015
    assert scans(keys) - before in range(20, 26)  # 23,035 keys, a thousand a page


def test_each_namespace_has_a_prefix_of_its_own(redis_server: Redis, keys: redis.Redis) -> None:
    """Several blueprints may share a server; theirs are found though the names have nothing in common."""
    keys.mset({"qa_foo:1": "x", "other_foo:1": "x", "other_bar:1": "x"})
    answer = run(redis_server, "delete", namespaces={"qa_foo": "qa", "other_foo": "other"})

    assert answer["removed"] == {"qa_foo": 1, "other_foo": 1}
    assert held(keys) == ["other_bar:1"]


@pytest.mark.parametrize("name", [name for name in HOSTILE if isinstance(name, str)])
def test_a_hostile_name_does_not_stop_the_others(redis_server: Redis, keys: redis.Redis, name: str) -> None:
    """It is refused by itself, whatever stands beside it, and nothing of its like is touched."""
    keys.mset({key: "x" for key in [*NEIGHBOURS, f"{name}:1", "qa_mine:1"]})
    before = held(keys)
    answer = run(redis_server, "delete", namespaces={name: "qa", "qa_mine": "qa"})

    assert (answer["gone"], answer["removed"]) == ("yes", {"qa_mine": 1})
    assert list(answer["refused"]) == [name]
    assert held(keys) == [key for key in before if key != "qa_mine:1"]


def scans(client: redis.Redis) -> int:
    """How many SCAN commands the server has answered."""
    return int(client.info("commandstats").get("cmdstat_scan", {"calls": 0})["calls"])


@pytest.mark.parametrize("cursor", ["", "-1", "1 MATCH *", "clean:17", "x", "9" * 30, "0"])
def test_a_strange_cursor_starts_again(redis_server: Redis, keys: redis.Redis, cursor: str) -> None:
    """Starting from the beginning is always right."""
    fill(keys, "qa_foo", 10)

    assert delete(redis_server, cursor=cursor) == {"gone": "yes", "removed": 10}


def test_delete_of_a_database(redis_server: Redis, keys: redis.Redis) -> None:
    """That number is empty afterwards, all others are as they were."""
    clients = {number: redis_server.connect(number) for number in range(16)}
    for number, client in clients.items():
        fill(client, "k", number + 1)

    assert numbered(redis_server, "delete", 3) == {"gone": "yes", "removed": "4"}
    assert numbered(redis_server, "delete", 3) == {"gone": "yes", "removed": "0"}
    assert [n for n, client in clients.items() if client.dbsize() != n + 1] == [3]
    assert clients[3].dbsize() == 0
    for client in clients.values():
        client.close()


@pytest.mark.parametrize("number", [0, -1])
def test_database_0_is_never_flushed(redis_server: Redis, keys: redis.Redis, number: int) -> None:
    """It is where everything without a number lives."""
    keys.set("prod", "x")

    for action in ("ensure", "delete"):
        assert numbered(redis_server, action, number)["error"] == "blocked"
    assert held(keys) == ["prod"]


@pytest.mark.parametrize("suffix", ["/5", "?db=5", "/5?db=6", "/?socket_timeout=0.0001", "/5?protocol=3"])
def test_the_url_does_not_choose_the_database(redis_server: Redis, keys: redis.Redis, suffix: str) -> None:
    """redis-py would let it win over the number that we ask for."""
    clients = {number: redis_server.connect(number) for number in (0, 3, 5, 6)}
    for client in clients.values():
        client.set("k", "x")

    request = {"mode": "database", "database": 3, "owner": "qa-env/qa-foo"}
    answer = with_url(redis_server, redis_server.url + suffix, "delete", **request)
    assert answer == {"gone": "yes", "removed": "1"}
    assert {number: client.dbsize() for number, client in clients.items()} == {0: 1, 3: 0, 5: 1, 6: 1}
    for client in clients.values():
        client.close()


def test_list_of_namespaces(redis_server: Redis, keys: redis.Redis) -> None:
    """Each namespace of ours once; nothing that only begins like one."""
    fill(keys, "qa_foo", 1500)
    keys.mset({name: "x" for name in NEIGHBOURS})
    keys.mset({b"qa_\xff:1": "x", "qa_:1": "x", "qa_b*r:1": "x"})

    answer = run(redis_server, "list")
    assert answer == {"names": ["qa-foo", "qa_fo", "qa_foo", "qa_foo_bar", "qa_foobar"], "cursor": "0"}


def test_list_is_bounded(redis_server: Redis, keys: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call reads so many pages and no more; the next can go on."""
    monkeypatch.setattr(keyspaces, "LIST_PAGES", 2)
    fill(keys, "other", 10_000)
    keys.mset({f"qa_{number}x:1": "x" for number in range(20)})
    found, cursor, calls = set(), "0", 0
    while calls == 0 or cursor != "0":
        answer = run(redis_server, "list", cursor=cursor)
        found |= set(answer["names"])
        cursor, calls = answer["cursor"], calls + 1

    assert found == {f"qa_{number}x" for number in range(20)}
    assert calls in range(4, 8)
    assert run(redis_server, "list", lambda: 4.9) == {"names": [], "cursor": "0"}


def test_list_of_databases(redis_server: Redis, keys: redis.Redis) -> None:
    """The numbers that hold keys; 0 is nobody's."""
    for number in (0, 2, 10):
        with redis_server.connect(number) as client:
            client.set("k", "x")

    assert numbered(redis_server, "list", 0) == {"names": ["2", "10"], "owners": {}}


def test_a_database_says_whose_it_is_until_it_is_removed(redis_server: Redis, keys: redis.Redis) -> None:
    """One key, within our prefix; nobody else gets what bears it, whatever the table says."""
    made = {"database": "3", "server": at(redis_server)}
    assert numbered(redis_server, "ensure", 3) == numbered(redis_server, "ensure", 3) == made
    with redis_server.connect(3) as client:
        assert held(client) == ["qa-env-owner"]
    assert numbered(redis_server, "list", 0) == {"names": ["3"], "owners": {"3": "qa-env/qa-foo"}}
    refused = numbered(redis_server, "ensure", 3, owner="qa-env/qa-bar")
    assert refused["error"] == "blocked"
    assert "database 3 is marked as that of qa-env/qa-foo" in refused["message"]
    assert numbered(redis_server, "delete", 3, owner="qa-env/qa-bar")["error"] == "blocked"
    assert numbered(redis_server, "delete", 3) == {"gone": "yes", "removed": "1"}
    assert numbered(redis_server, "list", 0) == {"names": [], "owners": {}}
    assert numbered(redis_server, "ensure", 3, owner="qa-env/qa-bar") == made


def test_a_mark_that_somebody_has_flushed_is_made_again(redis_server: Redis, keys: redis.Redis) -> None:
    """Applications flush their database. Before servers were written down none is named."""
    for server in (numbered(redis_server, "ensure", 3)["server"], ""):
        with redis_server.connect(3) as client:
            client.flushdb()
            client.set("k", "x")
        assert numbered(redis_server, "list", 0) == {"names": ["3"], "owners": {}}
        numbered(redis_server, "ensure", 3, server=server)
        assert numbered(redis_server, "list", 0)["owners"] == {"3": "qa-env/qa-foo"}


@pytest.mark.parametrize("server", [None, "Redis at another:6379"])
def test_keys_that_nobody_marked_are_neither_taken_nor_flushed(
    redis_server: Redis, keys: redis.Redis, server: str | None
) -> None:
    """The secret leads to another server by now, where the number is another team's."""
    with redis_server.connect(3) as client:
        client.set("jobs", "theirs")
        refused = numbered(redis_server, "ensure", 3, server=server)
        assert refused["error"] == "blocked"
        assert "database 3 holds keys without our mark" in refused["message"]
        assert numbered(redis_server, "delete", 3, server=server) == {"gone": "yes", "removed": "0"}
        assert held(client) == ["jobs"]
        client.flushdb()
        assert numbered(redis_server, "ensure", 3, server=server)["server"] == at(redis_server)
        client.set("jobs", "ours")
        assert numbered(redis_server, "delete", 3, server=server)["removed"] == "2"
        assert held(client) == []


def test_the_documented_user_can_do_all_that_numbered_databases_need(
    redis_server: Redis, keys: redis.Redis
) -> None:
    """As docs/data.md grants it."""
    rights = "+select +info +scan +unlink +get +set +dbsize +flushdb"
    keys.execute_command(
        "ACL", "SETUSER", "small", "on", ">small-password", "~qa-*", "~qa_*", *rights.split()
    )
    secret = json.dumps({"url": f"redis://small:small-password@{redis_server.host}:{redis_server.port}"})
    request = {"store": "redis", "mode": "database", "prefix": "qa", "database": 3, "owner": "qa-env/qa-foo"}
    try:
        for action in ("ensure", "list", "delete"):
            assert "error" not in ask(secret, action=action, **request)
    finally:
        keys.acl_deluser("small")


def test_a_wrong_password_is_blocked(redis_server: Redis) -> None:
    """The sentence names the host; `ask` checks that it does not quote the URL."""
    place = f"{redis_server.host}:{redis_server.port}"
    for url in (f"redis://:wr0ng@{place}", f"redis://us3r:wr0ng@{place}", f"redis://{place}"):
        answer = with_url(redis_server, url)

        assert answer["error"] == "blocked"
        assert f"Redis at {place} refuses" in answer["message"]
        assert not [word for word in ("wr0ng", "us3r") if word in answer["message"]]


def test_a_missing_permission_is_blocked(redis_server: Redis, keys: redis.Redis) -> None:
    """The sentence says what the account needs."""
    keys.set("qa_foo:1", "x")
    keys.acl_setuser("small", enabled=True, passwords=["+pw"], keys=["qa_*"], commands=["+@all", "-unlink"])
    url = f"redis://small:pw@{redis_server.host}:{redis_server.port}"

    answer = with_url(redis_server, url, "delete", namespaces={"qa_foo": "qa"})
    assert answer["error"] == "blocked"
    assert "it needs SELECT" in answer["message"]
    keys.acl_deluser("small")


def test_a_password_with_reserved_characters(redis_server: Redis, keys: redis.Redis) -> None:
    """Percent-encoded it works; plain it is blocked without quoting it."""
    keys.acl_setuser("small", enabled=True, passwords=["+p#s/s@w?"], keys=["*"], commands=["+@all"])
    place = f"{redis_server.host}:{redis_server.port}"

    assert with_url(redis_server, f"redis://small:p%23s%2Fs%40w%3F@{place}") == {"names": [], "cursor": "0"}
    answer = with_url(redis_server, f"redis://small:p#s/s@w?@{place}")
    assert answer["error"] == "blocked"
    assert "percent-encoded" in answer["message"]
    assert "p#s" not in answer["message"]
    keys.acl_deluser("small")


def test_a_replica_is_blocked(tmp_path: Path) -> None:
    """The reader's address was put into the secret."""
    with Redis(tmp_path, options=["--replicaof", "127.0.0.1", "1"]) as server:
        answer = numbered(server, "delete", 1)

    assert answer["error"] == "blocked"
    assert "is read-only" in answer["message"]


def test_a_server_that_is_down_is_not_ready(redis_server: Redis) -> None:
    """A refused connection waits for the next tick."""
    port = free_port()
    answer = with_url(redis_server, f"redis://:p4ssw0rd@127.0.0.1:{port}")

    assert answer["error"] == "not_ready"
    assert f"Redis at 127.0.0.1:{port} cannot be reached" in answer["message"]


def test_a_silent_server_is_not_ready(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that accepts and says nothing costs one timeout, not four attempts."""
    monkeypatch.setattr(keyspaces, "SOCKET_SECONDS", 0.2)
    with silent_server() as (port, listening):
        answer = with_url(redis_server, f"redis://127.0.0.1:{port}")
        listening.accept()[0].close()
        with pytest.raises(TimeoutError):
            listening.accept()

    assert answer["error"] == "not_ready"


def test_an_old_server_will_do(tmp_path: Path) -> None:
    """Before Redis 6 there was no HELLO, and the refusal quotes the password that came with it."""
    with Redis(tmp_path, options=["--rename-command", "HELLO", ""]) as server:
        assert run(server, "ensure", database=1) == {"namespace": "qa_foo", "database": "1"}


@pytest.mark.parametrize(
    "url",
    [
        *("", "p4ssw0rd", "http://:p4ssw0rd@h", "unix:///p4ssw0rd", "redis://:p4ssw0rd@", "redis://:6379"),
        *("redis://h:p4ssw0rd", "redis://u:p4ssw0rd/x@h", "redis://u:12/p4ssw0rd@h", "redis://[p4ssw0rd"),
    ],
)
def test_an_unknown_secret_is_blocked(redis_server: Redis, url: str) -> None:
    """The sentence names the secret, not what it holds."""
    answer = with_url(redis_server, url)

    assert answer["error"] == "blocked"
    assert "secret secretsmanager:stg/store must" in answer["message"]
    assert "p4ssw0rd" not in answer["message"]


def test_tls(tmp_path: Path) -> None:
    """rediss:// is verified: with ssl_ca of the secret, or the system's authorities."""
    ca, other, port = certificate(tmp_path / "server"), certificate(tmp_path / "other"), str(free_port())
    files = ["--tls-cert-file", f"{tmp_path}/server.pem", "--tls-key-file", f"{tmp_path}/server.key"]
    options = ["--tls-port", port, "--tls-auth-clients", "no", "--tls-ca-cert-file", f"{tmp_path}/server.pem"]
    request = {"store": "redis", "action": "list", "mode": "namespace", "prefix": "qa", "database": 0}
    with Redis(tmp_path / "redis", options=[*files, *options]) as server:
        url = f"rediss://:{server.password}@127.0.0.1:{port}"
        assert ask(json.dumps({"url": url, "ssl_ca": ca}), **request) == {"names": [], "cursor": "0"}
        for secret in ({"url": url, "ssl_ca": other}, {"url": url}):
            assert "does not vouch" in ask(json.dumps(secret), **request)["message"]
        answer = ask(json.dumps({"url": url, "ssl_ca": "not PEM"}), **request)
    assert answer == {"error": "blocked", "message": f"ssl_ca of secret {SECRET} must be certificates in PEM"}
