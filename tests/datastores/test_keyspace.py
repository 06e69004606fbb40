"""A namespace that goes with its environment: the loop, the datastores function and a real Redis server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import redis

from local.servers import Redis
from qa_env.controller import Controller, Plan
from qa_env.datastores import Datastores
from qa_env.model import REDIS, REDIS_NAMESPACES, Claim, Desired, Environment, Outputs, Slug
from qa_env.resources.keyspace import Keyspace
from tests.datastores.asking import SECRET, minutes
from tests.fakes import MemoryStore
from tests.making import REPOSITORY, blueprint, environment

SLUG = Slug("qa-foo")
APART = 20
PATIENCE = 50
ENDLESSLY = 10 * PATIENCE


class NothingToClaim:
    def ensure(self, env: Environment) -> tuple[Environment, Outputs]:
        return env, {}


class Teardown:
    """A deleted branch's namespace and the passes that remove it; `pages` is what one call has time for."""

    def __init__(self, server: Redis) -> None:
        self.server = server
        self.pages = ENDLESSLY
        self.before_call: Callable[[], object] = minutes
        self.requests: list[Mapping[str, Any]] = []
        self.now = 1_793_600_000.0
        self.store = MemoryStore()
        claim = Claim(REDIS_NAMESPACES, "qa_foo")
        env = environment(SLUG, desired=Desired.ABSENT, begun=True, claims={REDIS: claim})
        self.store.records[SLUG] = env
        self.store.claims[claim] = SLUG
        place = {"mode": "namespace", "secret": SECRET, "prefix": "qa", "database": 0}
        one = blueprint(redis=place)
        keyspace = Keyspace(self._call, self.store, one.redis)
        plan = Plan(NothingToClaim(), [], [[keyspace]], lambda env: [])
        self.controller = Controller(
            self.store,
            {REPOSITORY: one},
            lambda _: plan,
            lambda slug, reason: None,
            apart=APART,
            clock=lambda: self.now,
        )

    def _call(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self.before_call()
        self.requests.append(request)
        looks = iter(range(self.pages))
        store = Datastores({SECRET: self.server.secret}.__getitem__)
        return store.handle(request, lambda: 0.0 if next(looks, None) is None else 300.0)

    def look(self) -> str:
        """One pass, well apart from the last one; what the record says of the keys afterwards."""
        self.now += APART
        env = self.controller.reconcile(SLUG)
        return env.conditions["keyspace"].message if env else "forgotten"

    def end(self) -> list[str]:
        """Passes until the environment is forgotten, and what each of them said."""
        said: list[str] = []
        while not said or said[-1] != "forgotten":
            assert len(said) < PATIENCE, said[-5:]
            said.append(self.look())
        return said


@pytest.fixture
def keys(redis_server: Redis) -> Iterator[redis.Redis]:
    """Database 0, where 30,000 keys are somebody else's; empty afterwards."""
    with redis_server.connect() as client:
        client.mset({f"stg:{number}": "x" for number in range(30_000)})
        yield client
        client.flushall()


@pytest.fixture
def teardown(redis_server: Redis) -> Teardown:
    return Teardown(redis_server)


def fill(keys: redis.Redis, count: int = 5000) -> None:
    if count:
        keys.mset({f"qa_foo:{number}": "x" for number in range(count)})


def test_two_looks_end_it(teardown: Teardown, keys: redis.Redis) -> None:
    """The first removes the keys, the second finds none: each reads the keyspace once."""
    fill(keys)

    assert teardown.end() == ["gone", "forgotten"]
    assert [request["cursor"] for request in teardown.requests] == ["0", "0"]
    assert keys.dbsize() == 30_000


@pytest.mark.parametrize("count", [0, 5000])
@pytest.mark.parametrize("pages", [2, 7, 20])
def test_looks_that_outlast_their_calls_come_to_an_end(
    teardown: Teardown, keys: redis.Redis, pages: int, count: int
) -> None:
    """However few pages a call has time for, with and without keys of ours."""
    fill(keys, count)
    teardown.pages = pages
    said = teardown.end()

    assert said[-2] == "gone"
    assert any(message.startswith("removing redis keys") for message in said)
    assert keys.dbsize() == 30_000


def test_keys_that_were_written_after_the_first_look_go(teardown: Teardown, keys: redis.Redis) -> None:
    """It takes two looks that say gone in a row."""
    fill(keys)
    said = [teardown.look()]
    fill(keys, 3)
    said += teardown.end()

    assert said == ["gone", "redis keys keep appearing; something still writes them", "gone", "forgotten"]
    assert keys.dbsize() == 30_000


def test_what_was_interrupted_is_looked_at_once_more_as_a_whole(
    teardown: Teardown, keys: redis.Redis
) -> None:
    """A removal that went on from a cursor may have missed what was written behind it."""
    fill(keys)
    teardown.pages = 20
    assert teardown.look().startswith("removing redis keys")
    fill(keys)
    teardown.pages = ENDLESSLY
    assert teardown.look() == "gone"
    left = keys.dbsize() - 30_000

    assert left > 0
    assert teardown.look().startswith("redis keys keep appearing")
    assert teardown.requests[-1]["cursor"] == "0"
    assert keys.dbsize() == 30_000


def test_a_busy_writer_keeps_the_record(teardown: Teardown, keys: redis.Redis) -> None:
    """Something that keeps writing is told of, and nothing is forgotten as long as it does."""
    teardown.before_call = lambda: keys.set("qa_foo:again", "x")
    said = {teardown.look() for _ in range(6)}

    assert said == {"gone", "redis keys keep appearing; something still writes them"}
