"""Namespaces that go with their environments: the loop, the datastores function and a real Redis server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import redis
from botocore.exceptions import ClientError, ReadTimeoutError

from local.servers import Redis, free_port
from qa_env.controller import Controller, Plan
from qa_env.datacall import FunctionError
from qa_env.datastores import Datastores
from qa_env.errors import Stale
from qa_env.model import REDIS, REDIS_NAMESPACES, Claim, Desired, Slug, State
from qa_env.resources.keyspace import Keyspace
from qa_env.rounds import LEASE, SHARED, Rounds
from tests.datastores.asking import SECRET, minutes
from tests.event_source import properties
from tests.fakes import MemoryStore, NothingToClaim
from tests.making import A, B, blueprint, environment, said

FOO, BAR, BAZ, QUX = (Slug(f"qa-{name}") for name in ("foo", "bar", "baz", "qux"))
PLACE = f"{SECRET} 0"
APART = 20
PATIENCE = 50
ENDLESSLY = 10 * PATIENCE
OTHERS = 30_000


class Killed(BaseException):
    """The sandbox died."""


def nothing(*_: object) -> None:
    pass


class Teardowns:
    """Deleted branches' namespaces and the passes that remove them.

    `pages` is what one call has time for, `during` happens while the next request is under way, and `woken`
    is the queue.
    """

    def __init__(self, server: Redis, *slugs: Slug) -> None:
        self.secret = server.secret
        self.pages = ENDLESSLY
        self.before_call: Callable[[], object] = minutes
        self.during: Callable[[], object] = nothing
        self.requests: list[Mapping[str, Any]] = []
        self.woken: list[Slug] = []
        self.now = 1_793_600_000.0
        self.store = MemoryStore()
        for slug in slugs:
            self.bury(slug)

    def bury(self, slug: Slug, *, database: int = 0, namespace: str = "", **changes: Any) -> None:
        """A branch that was deleted, with a blueprint of its own."""
        claim = Claim(REDIS_NAMESPACES, namespace or slug.replace("-", "_"))
        values = {"desired": Desired.ABSENT, "begun": True, "repository": f"example/{database}"}
        self.store.records[slug] = environment(slug, claims={REDIS: claim}, **values | changes)
        self.store.claims[claim] = slug

    def worker(self) -> Controller:
        """A sandbox of the function."""
        blueprints = {}
        for database in (0, 1):
            place = {"mode": "namespace", "secret": SECRET, "prefix": "qa", "database": database}
            blueprints[f"example/{database}"] = blueprint(repository=f"example/{database}", redis=place)

        def plan(one: Any) -> Plan:
            keyspace = Keyspace(self._call, self.store, one.redis, "qa-env", self._wake_all, lambda: self.now)
            return Plan(NothingToClaim(), [], [[keyspace]], lambda env: [])

        return Controller(
            self.store,
            blueprints,
            plan,
            lambda slug, reason: self.woken.append(slug),
            apart=APART,
            clock=lambda: self.now,
        )

    def _wake_all(self, calls: Any) -> None:
        self.woken += [slug for slug, _ in calls]

    def _call(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self.before_call()
        self.requests.append(request)
        happens, self.during = self.during, nothing
        happens()
        looks = iter(range(self.pages))
        store = Datastores({SECRET: self.secret}.__getitem__)
        return store.handle(request, lambda: 0.0 if next(looks, None) is None else 300.0)

    def run_pass(self, slug: Slug = FOO) -> str:
        """One pass; what the record says of the keys afterwards."""
        self.woken = [one for one in self.woken if one != slug]
        self.now += 0.01
        env = self.worker().reconcile(slug)
        if env is None:
            return "forgotten"
        return env.conditions["keyspace"].message if env.desired is Desired.ABSENT else "begins anew"

    def look(self, slug: Slug = FOO) -> str:
        """A pass well apart from the last one."""
        self.now += APART
        return self.run_pass(slug)

    def end(self, slug: Slug = FOO) -> list[str]:
        """Looks until the environment is forgotten, and what each of them said."""
        said: list[str] = []
        while not said or said[-1] != "forgotten":
            assert len(said) < PATIENCE, said[-5:]
            said.append(self.look(slug))
        return said

    def deliver(self) -> None:
        """What is on the queue, and what comes of it; too soon for anything to be seen gone twice."""
        for _ in range(PATIENCE):
            if not self.woken:
                return
            self.run_pass(self.woken[0])
        raise AssertionError(f"{PATIENCE} passes, and there is still {self.woken}")

    def state(self, slug: Slug) -> State:
        return self.store.records[slug].conditions["keyspace"].state

    @property
    def scans(self) -> list[list[str]]:
        """The namespaces of each round, by its first request."""
        return [sorted(one["namespaces"]) for one in self.requests if one["cursor"] == "0"]

    @property
    def rounds(self) -> Rounds:
        return self.store.rounds(PLACE)


@pytest.fixture
def keys(redis_server: Redis) -> Iterator[redis.Redis]:
    """Database 0, where 30,000 keys are somebody else's; empty afterwards."""
    with redis_server.connect() as client:
        client.mset({f"stg:{number}": "x" for number in range(OTHERS)})
        yield client
        client.flushall()


@pytest.fixture
def teardown(redis_server: Redis) -> Teardowns:
    """One branch was deleted."""
    return Teardowns(redis_server, FOO)


@pytest.fixture
def four(redis_server: Redis, keys: redis.Redis) -> Teardowns:
    """Four branches with 1,000 keys each were deleted at once."""
    for slug in (FOO, BAR, BAZ, QUX):
        fill(keys, 1000, slug.replace("-", "_"))
    return Teardowns(redis_server, FOO, BAR, BAZ, QUX)


def fill(keys: redis.Redis, count: int = 5000, name: str = "qa_foo") -> None:
    if count:
        keys.mset({f"{name}:{number}": "x" for number in range(count)})


class TestAlone:
    """One environment at a time."""

    def test_two_looks_end_it(self, teardown: Teardowns, keys: redis.Redis) -> None:
        """The first removes the keys, the second finds none: each reads the keyspace once."""
        fill(keys)

        assert teardown.end() == ["gone", "forgotten"]
        assert [request["cursor"] for request in teardown.requests] == ["0", "0"]
        assert keys.dbsize() == OTHERS

    @pytest.mark.parametrize("count", [0, 5000])
    @pytest.mark.parametrize("pages", [2, 7, 20])
    def test_looks_that_outlast_their_calls_come_to_an_end(
        self, teardown: Teardowns, keys: redis.Redis, pages: int, count: int
    ) -> None:
        """However few pages a call has time for, with and without keys of ours."""
        fill(keys, count)
        teardown.pages = pages
        said = teardown.end()

        assert said[-1] == "forgotten"
        assert "gone" in said
        assert any(message.startswith("removing redis keys") for message in said)
        assert keys.dbsize() == OTHERS
        assert len(teardown.scans) == 2

    def test_an_interrupted_look_waits_for_nobody(self, teardown: Teardowns, keys: redis.Redis) -> None:
        """It wakes itself until it has seen everything."""
        fill(keys)
        teardown.pages = 7
        teardown.run_pass()
        teardown.deliver()

        assert teardown.state(FOO) is State.GONE
        assert keys.dbsize() == OTHERS

    def test_keys_that_were_written_after_the_first_look_go(
        self, teardown: Teardowns, keys: redis.Redis
    ) -> None:
        """It takes two looks that say gone in a row."""
        fill(keys)
        said = [teardown.look()]
        fill(keys, 3)
        said += teardown.end()

        assert said == ["gone", "redis keys keep appearing; something still writes them", "gone", "forgotten"]
        assert keys.dbsize() == OTHERS

    def test_what_was_interrupted_is_looked_at_once_more_as_a_whole(
        self, teardown: Teardowns, keys: redis.Redis
    ) -> None:
        """A removal that went on from a cursor may have missed what was written behind it."""
        fill(keys)
        teardown.pages = 20
        assert teardown.look().startswith("removing redis keys")
        fill(keys)
        teardown.pages = ENDLESSLY
        assert teardown.look() == "gone"
        left = keys.dbsize() - OTHERS

        assert left > 0
        assert teardown.look().startswith("redis keys keep appearing")
        assert teardown.requests[-1]["cursor"] == "0"
        assert keys.dbsize() == OTHERS

    def test_a_busy_writer_keeps_the_record(self, teardown: Teardowns, keys: redis.Redis) -> None:
        """Something that keeps writing is told of, and nothing is forgotten as long as it does."""
        teardown.before_call = lambda: keys.set("qa_foo:again", "x")
        said = {teardown.look() for _ in range(6)}

        assert said == {"gone", "redis keys keep appearing; something still writes them"}

    def test_what_ran_again_between_two_looks_makes_the_first_one_void(
        self, teardown: Teardowns, keys: redis.Redis
    ) -> None:
        """Even one that had found nothing: two more rounds begin once the service is gone again."""
        env = teardown.store.records[FOO]
        first = said(State.GONE)
        teardown.store.records[FOO] = env.with_conditions({"service/app": first})
        assert teardown.look() == "gone"
        running = replace(first, state=State.WAITING)
        now = teardown.store.records[FOO]
        teardown.store.records[FOO] = now.with_conditions({"service/app": running})
        assert teardown.look() == "waiting until the service of app is gone"
        fill(keys, 3)
        again = replace(first, since="2026-11-02T02:17:00+00:00")
        now = teardown.store.records[FOO]
        teardown.store.records[FOO] = now.with_conditions({"service/app": again})
        assert teardown.look() == "gone"

        assert keys.dbsize() == OTHERS
        assert len(teardown.scans) == 2

    def test_a_record_of_an_earlier_version_is_gone_on_with(
        self, teardown: Teardowns, keys: redis.Redis
    ) -> None:
        """It remembers a cursor of its own, which means nothing any more."""
        fill(keys)
        known = said(State.WAITING, "removing redis keys: 7 so far", cursor="clean:17", database="0")
        env = teardown.store.records[FOO]
        teardown.store.records[FOO] = env.with_conditions({"keyspace": known})

        assert teardown.end() == ["gone", "forgotten"]
        assert teardown.scans == [["qa_foo"], ["qa_foo"]]
        assert keys.dbsize() == OTHERS


class TestTogether:
    """Several at once: who comes while a scan is under way waits for the next, which is for all of them."""

    def begin(self, four: Teardowns) -> None:
        """The first one scans, the others come meanwhile."""
        four.during = lambda: [four.run_pass(slug) for slug in (BAR, BAZ, QUX)]
        four.run_pass(FOO)

    def test_those_who_wait_share_the_next_scan(self, four: Teardowns, keys: redis.Redis) -> None:
        """Nobody waits for the tick: whoever ends a round wakes its members, and one of those who wait."""
        self.begin(four)
        assert four.scans == [["qa_foo"]]
        assert [four.state(slug) for slug in (FOO, BAR, BAZ, QUX)] == [State.GONE, *[State.WAITING] * 3]
        assert keys.dbsize() == OTHERS + 3000
        four.deliver()

        assert four.scans == [["qa_foo"], ["qa_bar", "qa_baz", "qa_qux"]]
        assert {four.state(slug) for slug in four.store.records} == {State.GONE}
        assert keys.dbsize() == OTHERS

    def test_only_a_second_round_lets_go_of_them(self, four: Teardowns, keys: redis.Redis) -> None:
        """Two scans of each, four of the keyspace: it would be eight one by one."""
        self.begin(four)
        four.deliver()
        four.now += APART
        self.begin(four)
        four.deliver()
        assert list(four.store.records) == [BAR, BAZ, QUX]
        for slug in (BAR, BAZ, QUX):
            assert four.look(slug) == "forgotten"

        assert four.scans == [["qa_foo"], ["qa_bar", "qa_baz", "qa_qux"]] * 2
        assert keys.dbsize() == OTHERS

    def test_keys_that_appear_keep_only_their_own_environment(
        self, four: Teardowns, keys: redis.Redis
    ) -> None:
        self.begin(four)
        four.deliver()
        fill(keys, 2, "qa_bar")
        four.now += APART
        self.begin(four)
        four.deliver()
        four.now += APART

        assert [four.run_pass(slug) for slug in (BAZ, QUX)] == ["forgotten", "forgotten"]
        assert list(four.store.records) == [BAR]
        assert four.end(BAR)[-1] == "forgotten"
        assert keys.dbsize() == OTHERS

    def test_who_joins_during_a_round_is_not_in_it(self, four: Teardowns, keys: redis.Redis) -> None:
        four.during = lambda: four.run_pass(BAR)
        four.pages = 7
        assert four.run_pass(FOO).startswith("removing redis keys")
        assert four.run_pass(BAR) == SHARED

        assert [sorted(one["namespaces"]) for one in four.requests] == [["qa_foo"], ["qa_foo"]]
        assert len([key for key in keys.scan_iter("qa_bar:*", count=1000)]) == 1000

    def test_an_interrupted_round_goes_on_in_anybodys_pass(self, four: Teardowns, keys: redis.Redis) -> None:
        """At its cursor and for its members; a new one begins when it has ended."""
        four.pages = 7
        four.run_pass(FOO)
        cursor = four.rounds.cursor
        four.pages = ENDLESSLY
        assert four.run_pass(BAR) == SHARED
        assert (four.requests[-1]["cursor"], list(four.requests[-1]["namespaces"])) == (cursor, ["qa_foo"])
        assert {FOO, BAR} <= set(four.woken)
        four.deliver()

        assert four.scans == [["qa_foo"], ["qa_bar"]]
        assert (four.state(FOO), four.state(BAR)) == (State.GONE, State.GONE)

    def test_a_dead_function_holds_the_lease_and_no_longer(self, four: Teardowns, keys: redis.Redis) -> None:
        """Its request may still be under way: nobody else asks before that is certainly over."""
        four.pages = 7
        four.run_pass(FOO)
        cursor = four.rounds.cursor

        def die() -> None:
            raise Killed

        four.during = die
        with pytest.raises(Killed):
            four.run_pass(BAR)
        asked = len(four.requests)
        four.now += LEASE - 5
        assert four.run_pass(BAZ) == SHARED
        assert len(four.requests) == asked
        four.now += 10
        four.pages = ENDLESSLY
        four.run_pass(BAZ)
        assert (four.requests[-1]["cursor"], list(four.requests[-1]["namespaces"])) == (cursor, ["qa_foo"])
        four.run_pass(FOO)
        four.deliver()

        assert four.scans == [["qa_foo"], ["qa_bar", "qa_baz"]]
        assert four.state(FOO) is State.GONE

    @pytest.mark.parametrize(
        "error",
        [
            FunctionError("the datastores function failed"),
            ClientError(
                {
                    "Error": {"Code": "TooManyRequestsException"},
                    "ResponseMetadata": {"HTTPStatusCode": 429},
                },
                "Invoke",
            ),
        ],
        ids=["ended without an answer", "throttled"],
    )
    def test_a_request_that_is_over_frees_the_lease(
        self, four: Teardowns, keys: redis.Redis, error: Exception
    ) -> None:
        """The next pass asks again at once, for the same members."""

        def fail() -> None:
            raise error

        four.during = fail
        with pytest.raises(type(error)):
            four.run_pass(FOO)
        four.run_pass(BAR)
        four.deliver()

        assert four.scans == [["qa_foo"], ["qa_foo"], ["qa_bar"]]
        assert four.state(BAR) is State.GONE

    def test_redis_that_is_away_frees_the_lease(self, four: Teardowns, keys: redis.Redis) -> None:
        """Whoever comes next asks for all who wait, and does not wait for a scan that nobody makes."""
        secret, four.secret = four.secret, json.dumps({"url": f"redis://127.0.0.1:{free_port()}"})
        assert "cannot be reached" in four.run_pass(FOO)
        assert "cannot be reached" in four.run_pass(BAR)
        four.secret = secret
        four.run_pass(FOO)
        four.deliver()

        assert (four.state(FOO), four.state(BAR)) == (State.GONE, State.GONE)

    def test_an_answer_that_never_came_keeps_the_lease(self, four: Teardowns, keys: redis.Redis) -> None:
        """The function may still be at work."""

        def fail() -> None:
            raise ReadTimeoutError(endpoint_url="https://lambda.example.com")

        four.during = fail
        with pytest.raises(ReadTimeoutError):
            four.run_pass(FOO)

        assert four.run_pass(BAR) == SHARED

    def test_two_places_are_independent(self, four: Teardowns, redis_server: Redis) -> None:
        """While one database is scanned, another one may be."""
        with redis_server.connect(1) as other:
            fill(other, 10, "qa_other")
            four.bury(Slug("qa-other"), database=1)
            four.during = lambda: four.run_pass(Slug("qa-other"))
            four.run_pass(FOO)

            assert four.scans == [["qa_foo"], ["qa_other"]]
            assert [one["database"] for one in four.requests] == [0, 1]
            assert four.state(Slug("qa-other")) is State.GONE
            assert other.dbsize() == 0

    def test_a_name_that_is_not_ours_blocks_its_own_environment(
        self, four: Teardowns, keys: redis.Redis
    ) -> None:
        """Whatever claimed it: the function refuses, and the others' keys go."""
        thief = Slug("qa-thief")
        four.bury(thief, namespace="stg")
        four.during = lambda: [four.run_pass(slug) for slug in (thief, BAR)]
        four.run_pass(FOO)
        four.deliver()
        four.run_pass(thief)

        assert four.state(thief) is State.BLOCKED
        assert "'stg' is not a name of ours" in four.store.records[thief].conditions["keyspace"].message
        assert four.state(BAR) is State.GONE
        assert keys.dbsize() == OTHERS + 2000
        assert four.rounds.holder == ""

    def test_a_record_that_moved_on_is_left_out(self, four: Teardowns, keys: redis.Redis) -> None:
        """Nothing is removed for it, and nothing of it stays on the list."""
        self.begin(four)
        four.store.records[BAR] = replace(four.store.records[BAR], generation=8, desired=Desired.PRESENT)
        del four.store.records[BAZ]
        four.run_pass(QUX)

        assert four.scans[-1] == ["qa_qux"]
        assert {one.slug for one in four.rounds.members} == {FOO, QUX}
        assert keys.dbsize() == OTHERS + 2000

    def test_a_lost_claim_is_no_mark(self, four: Teardowns, keys: redis.Redis) -> None:
        self.begin(four)
        four.store.claims[Claim(REDIS_NAMESPACES, "qa_bar")] = Slug("qa-other")
        four.run_pass(QUX)

        assert four.scans[-1] == ["qa_baz", "qa_qux"]

    def test_a_lost_record_is_found_and_hands_over_again(self, four: Teardowns, keys: redis.Redis) -> None:
        """The audit's tombstone is a record of another generation."""
        self.begin(four)
        four.bury(BAR, branch="", generation=9)

        assert four.end(BAR)[-1] == "forgotten"
        assert not list(keys.scan_iter("qa_bar:*", count=1000))

    def test_a_push_during_the_teardown_keeps_what_it_writes(
        self, four: Teardowns, keys: redis.Redis
    ) -> None:
        """Its life begins when no round is for its namespace any more, however late the others are."""
        self.begin(four)
        moved = replace(four.store.records[BAR], next_commit=B, generation=8)
        four.store.desire(moved, four.store.records[BAR])
        four.deliver()
        heard = ""
        for _ in range(PATIENCE):
            four.during = lambda: four.run_pass(BAZ)
            heard = four.look(BAR)
            if heard == "begins anew":
                break
        assert heard == "begins anew"
        before = len(four.scans)
        fill(keys, 10, "qa_bar")
        for slug in (FOO, BAZ, QUX):
            four.end(slug)

        assert keys.dbsize() == OTHERS + 10
        assert four.scans[before:]
        assert all("qa_bar" not in names for names in four.scans[before:])

    def test_who_waits_is_not_forgotten_by_a_stale_result(self, four: Teardowns, keys: redis.Redis) -> None:
        """A result counts for the look that asked for it: under a new wish everything begins anew."""
        assert four.run_pass(FOO) == "gone"
        moved = replace(four.store.records[FOO], commit=A, next_commit=B, generation=8)
        four.store.desire(moved, four.store.records[FOO])
        fill(keys, 5)

        assert four.run_pass(FOO) == "gone"
        assert keys.dbsize() == OTHERS + 3000


class TestTheList:
    """What passes write beside each other."""

    def test_a_write_that_came_too_late_is_made_again(self, four: Teardowns) -> None:
        """Somebody else's whole round comes between our look and our write: neither loses its result."""
        save = four.store.save_rounds

        def late(place: str, rounds: Rounds) -> None:
            four.store.save_rounds = save
            four.run_pass(BAR)
            save(place, rounds)

        four.store.save_rounds = late
        four.run_pass(FOO)

        assert four.scans == [["qa_bar"], ["qa_foo"]]
        assert sorted(four.rounds.results) == ["qa_bar", "qa_foo"]

    def test_a_list_that_cannot_be_written_is_an_error(self, four: Teardowns) -> None:
        """The queue tries the pass again."""

        def refuse(place: str, rounds: Rounds) -> None:
            raise Stale(place)

        four.store.save_rounds = refuse
        with pytest.raises(RuntimeError, match="kept moving"):
            four.run_pass(FOO)
        assert four.requests == []

    def test_the_lease_outlasts_a_pass_and_its_request(self) -> None:
        """With half a minute for clocks that differ."""
        functions = ("ReconcileFunction", "DatastoresFunction")

        assert sum(properties(name)["Timeout"] for name in functions) + 30 <= LEASE
