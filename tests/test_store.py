"""The store's contract: one suite for the real table and for the fake that other suites use."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from qa_env.errors import Stale
from qa_env.model import Asked, Built, Claim, Condition, Desired, Environment, State
from qa_env.rounds import Member, Result, Rounds
from qa_env.store import DynamoStore, Store, Taken
from tests.fakes import MemoryStore
from tests.making import A, B, environment, said
from tests.strict_aws import StrictAWS, strict_aws
from tests.strict_aws.world import _build_table

SCHEMA = {"schema": Claim("schema", "qa-foo")}
PORTS = {"port/app": Claim("port lb", "10001"), "port/admin": Claim("port lb", "10002")}


@pytest.fixture
def aws() -> Iterator[StrictAWS]:
    with strict_aws() as made:
        _build_table(made)
        yield made


@pytest.fixture
def dynamo(aws: StrictAWS) -> DynamoStore:
    return DynamoStore(boto3.resource("dynamodb", region_name=aws.region).Table("qa-env"))


@pytest.fixture(params=["memory", "dynamodb"])
def store(request: pytest.FixtureRequest) -> Store:
    """Both stores."""
    if request.param == "memory":
        return MemoryStore()
    made: DynamoStore = request.getfixturevalue("dynamo")
    return made


def stored(store: Store, **changes: Any) -> Environment:
    """An environment that is in the store."""
    env = environment(**changes)
    store.desire(env, None)
    return env


def now(store: Store, env: Environment) -> Environment:
    """Its record, which must be there."""
    found = store.get(env.slug)
    assert found is not None
    return found


class TestWish:
    def test_nothing_is_stored_at_first(self, store: Store) -> None:
        """A slug without a record has none, and nothing else either."""
        env = environment()
        assert store.get(env.slug) is None
        assert list(store.all()) == []
        assert store.history(env.slug) == []
        assert store.holder(SCHEMA["schema"]) is None
        assert store.taken("schema") == {}

    def test_a_wish_can_be_read_again(self, store: Store) -> None:
        """Every attribute that a wish has, hostile branch names included."""
        env = stored(
            store, branch="qa/`\";DROP '日本\\", before=B, pushed_at=1793586000, next_commit=B, commit=""
        )
        assert store.get(env.slug) == env

    def test_all_are_read(self, store: Store) -> None:
        """Every record once; claims and history are none."""
        made = [stored(store, slug=f"qa-{number}") for number in range(5)]
        store.claim(made[0], SCHEMA)
        store.note(made[0].slug, "dev", "hello")
        assert sorted(env.slug for env in store.all()) == [env.slug for env in made]

    def test_a_new_wish_keeps_what_others_wrote(self, store: Store) -> None:
        """Claims, conditions and what was built have writers of their own."""
        env = stored(store)
        store.claim(env, SCHEMA)
        store.save(environment(conditions={"schema": said(State.READY)}))
        store.record_built(env.slug, Built(A, "image", "1"))
        store.desire(environment(commit=B, generation=8), env)
        after = now(store, env)
        assert (after.commit, after.generation) == (B, 8)
        assert after.claims == SCHEMA
        assert after.conditions == {"schema": said(State.READY)}
        assert after.built == Built(A, "image", "1")

    def test_a_wish_and_its_line_are_written_together(self, store: Store) -> None:
        """A history that knows of no wish, or of one that was never written, would explain nothing."""
        env = environment(by="dev")
        store.desire(env, None, "wants commit a", kind="wish")
        with pytest.raises(Stale):
            store.desire(environment(by="late", generation=8), None, "wants commit b", kind="wish")
        assert now(store, env).by == "dev"
        lines = [(event.by, event.text, event.kind) for event in store.history(env.slug)]
        assert lines == [("dev", "wants commit a", "wish")]

    def test_a_second_first_wish_is_stale(self, store: Store) -> None:
        """Who saw no record must not overwrite the one that came meanwhile."""
        env = stored(store)
        with pytest.raises(Stale):
            store.desire(environment(commit=B, generation=8), None)
        assert store.get(env.slug) == env

    def test_a_wish_upon_another_generation_is_stale(self, store: Store) -> None:
        """Who saw an older record must look again."""
        env = stored(store)
        store.desire(environment(commit=B, generation=8), env)
        with pytest.raises(Stale):
            store.desire(environment(commit=A, generation=9), env)
        assert now(store, env).commit == B

    def test_a_wish_upon_a_forgotten_record_is_stale(self, store: Store) -> None:
        """A late worker writes no ghost."""
        env = stored(store, desired=Desired.ABSENT)
        store.forget(env)
        with pytest.raises(Stale):
            store.desire(environment(commit=B, generation=8), env)
        assert store.get(env.slug) is None


class TestRenew:
    def test_renew_keeps_the_claims_and_nothing_else(self, store: Store) -> None:
        """A new life on the same ports: what the old one built and said is not its own."""
        env = store.claim(stored(store, desired=Desired.ABSENT, next_commit=B), SCHEMA | PORTS)
        env = env.with_conditions({"schema": said(State.GONE)})
        store.save(env)
        fresh = replace(
            env, desired=Desired.PRESENT, commit=B, next_commit="", generation=8, conditions={}, built=None
        )
        store.renew(fresh, env)
        assert store.get(env.slug) == fresh
        assert store.holder(SCHEMA["schema"]) == env.slug
        assert store.taken("port lb") == {"10001": env.slug, "10002": env.slug}

    def test_renew_clears_what_was_built(self, store: Store) -> None:
        """The commit must be built anew, even if it is the same."""
        env = stored(store)
        store.record_built(env.slug, Built(A, "image", "1"))
        gone = environment(desired=Desired.ABSENT, next_commit=A, generation=8)
        store.desire(gone, env)
        store.save(replace(gone, conditions={"schema": said(State.GONE, generation=8)}))
        store.renew(environment(generation=9), gone)
        after = now(store, env)
        assert after.built is None
        assert after.conditions == {}

    @pytest.mark.parametrize("seen", [environment(desired=Desired.ABSENT, generation=6), environment()])
    def test_renew_of_what_moved_on_is_stale(self, store: Store, seen: Environment) -> None:
        """Another generation, or one that is wanted: nothing is replaced."""
        env = stored(store, desired=Desired.ABSENT if seen.generation == 6 else Desired.PRESENT)
        with pytest.raises(Stale):
            store.renew(environment(commit=B, generation=9), seen)
        assert store.get(env.slug) == env

    def test_renew_of_nothing_is_stale(self, store: Store) -> None:
        """A late worker writes no ghost."""
        with pytest.raises(Stale):
            store.renew(environment(generation=8), environment(desired=Desired.ABSENT))
        assert store.get(environment().slug) is None


class TestClaim:
    def test_a_claim_is_held_and_recorded(self, store: Store) -> None:
        """Both sides tell: the claim whose it is, the record what it holds."""
        env = stored(store)
        claimed = store.claim(env, SCHEMA | PORTS)
        assert claimed.claims == SCHEMA | PORTS
        assert store.get(env.slug) == claimed
        assert store.holder(SCHEMA["schema"]) == env.slug
        assert store.taken("port lb") == {"10001": env.slug, "10002": env.slug}
        assert store.taken("port") == {}

    def test_claims_are_added(self, store: Store) -> None:
        """What is held already stays, and may be claimed again."""
        env = store.claim(stored(store), SCHEMA)
        env = store.claim(env, SCHEMA | PORTS)
        assert now(store, env).claims == SCHEMA | PORTS

    def test_all_or_nothing(self, store: Store) -> None:
        """One lost claim: nothing is claimed, and the error names exactly what was lost."""
        first = store.claim(stored(store), {"port/app": PORTS["port/app"]})
        second = stored(store, slug="qa-bar")
        with pytest.raises(Taken) as caught:
            store.claim(second, SCHEMA | PORTS)
        assert caught.value.claims == (PORTS["port/app"],)
        assert "port lb 10001" in str(caught.value)
        assert store.get(second.slug) == second
        assert store.holder(SCHEMA["schema"]) is None
        assert store.taken("port lb") == {"10001": first.slug}

    def test_several_lost_claims_are_all_named(self, store: Store) -> None:
        """So that one look suffices."""
        store.claim(stored(store), SCHEMA | PORTS)
        with pytest.raises(Taken) as caught:
            store.claim(stored(store, slug="qa-bar"), PORTS | {"redis": Claim("redis", "1")} | SCHEMA)
        assert set(caught.value.claims) == {*PORTS.values(), *SCHEMA.values()}

    def test_the_same_name_in_another_scope_is_another_claim(self, store: Store) -> None:
        """Port 10001 of two load balancers."""
        first = store.claim(stored(store), {"port/app": Claim("port one", "10001")})
        second = store.claim(stored(store, slug="qa-bar"), {"port/app": Claim("port two", "10001")})
        assert store.taken("port one") == {"10001": first.slug}
        assert store.taken("port two") == {"10001": second.slug}

    @pytest.mark.parametrize("generation", [6, 8])
    def test_a_claim_for_another_generation_is_stale(self, store: Store, generation: int) -> None:
        """Nothing is claimed for a wish that is not this one."""
        stored(store)
        with pytest.raises(Stale):
            store.claim(environment(generation=generation), SCHEMA)
        assert store.holder(SCHEMA["schema"]) is None

    def test_a_claim_beside_another_workers_is_stale(self, store: Store) -> None:
        """Two workers saw the same record: one of them may not give the same role a second port."""
        env = stored(store)
        kept = store.claim(env, {"port/app": Claim("port lb", "10001")})
        with pytest.raises(Stale):
            store.claim(env, {"port/app": Claim("port lb", "10002")})
        assert store.taken("port lb") == {"10001": "qa-foo"}
        assert now(store, env).claims == kept.claims

    def test_a_record_is_current_until_the_wish_changes(self, store: Store) -> None:
        env = stored(store)
        assert store.is_current(env)
        store.save(env.with_conditions({"schema": said(State.READY)}))
        assert store.is_current(env)
        store.desire(replace(env, generation=env.generation + 1), env)
        assert not store.is_current(env)
        assert not store.is_current(environment("qa-nowhere"))

    def test_a_claim_without_a_record_is_stale(self, store: Store) -> None:
        """A late worker holds nothing that nobody would ever free."""
        with pytest.raises(Stale):
            store.claim(environment(), SCHEMA)
        assert store.holder(SCHEMA["schema"]) is None
        assert store.get(environment().slug) is None


class TestSave:
    def test_conditions_are_replaced(self, store: Store) -> None:
        """All of them at once, with everything that they say; nothing else is written."""
        env = store.claim(stored(store), SCHEMA)
        store.save(replace(env, conditions={"schema": said(State.WAITING, "soon"), "x": said(State.READY)}))
        broken = replace(said(State.FAILED), unexpected=True)
        conditions = {"schema": said(State.BLOCKED, "full «é»", arn="a:b"), "service/app": broken}
        store.save(replace(env, conditions=conditions, commit=B, claims={}))
        assert store.get(env.slug) == replace(env, conditions=conditions)

    @pytest.mark.parametrize("generation", [6, 8])
    def test_another_generations_conditions_are_stale(self, store: Store, generation: int) -> None:
        """A worker that was overtaken does not write over the one that overtook it."""
        env = stored(store)
        with pytest.raises(Stale):
            store.save(environment(generation=generation, conditions={"schema": said(State.READY)}))
        assert store.get(env.slug) == env

    def test_a_late_worker_writes_no_ghost(self, store: Store) -> None:
        """After `forget` nothing of an environment comes back."""
        env = stored(store, desired=Desired.ABSENT)
        store.forget(env)
        with pytest.raises(Stale):
            store.save(replace(env, conditions={"schema": said(State.READY)}))
        assert store.get(env.slug) is None
        assert list(store.all()) == []


class TestBuilt:
    def test_what_was_built_is_recorded(self, store: Store) -> None:
        """The newest build of the wanted commit, and nothing else."""
        env = stored(store)
        store.record_built(env.slug, Built(A, "image-1", "1"))
        store.record_built(env.slug, Built(A, "image-2", "2"))
        assert store.get(env.slug) == replace(env, built=Built(A, "image-2", "2"))

    def test_a_commit_that_is_not_wanted_is_stale(self, store: Store) -> None:
        """An overtaken build deploys nothing."""
        env = stored(store, commit=B)
        with pytest.raises(Stale):
            store.record_built(env.slug, Built(A, "image", "1"))
        assert store.get(env.slug) == env

    def test_a_build_for_a_deleted_branch_is_stale(self, store: Store) -> None:
        """Even if it is the commit that was wanted last."""
        env = stored(store, desired=Desired.ABSENT)
        with pytest.raises(Stale):
            store.record_built(env.slug, Built(A, "image", "1"))
        assert store.get(env.slug) == env

    def test_a_build_without_a_record_is_stale(self, store: Store) -> None:
        """A late build writes no ghost."""
        with pytest.raises(Stale):
            store.record_built(environment().slug, Built(A, "image", "1"))
        assert store.get(environment().slug) is None


class TestForget:
    def test_record_and_claims_go_together(self, store: Store) -> None:
        """What was held is free for others; the history stays."""
        env = store.claim(stored(store, desired=Desired.ABSENT), SCHEMA | PORTS)
        other = store.claim(stored(store, slug="qa-bar"), {"port/app": Claim("port lb", "10003")})
        store.note(env.slug, "dev", "hello")
        store.forget(env)
        assert [one.slug for one in store.all()] == [other.slug]
        assert store.taken("port lb") == {"10003": other.slug}
        assert store.holder(SCHEMA["schema"]) is None
        assert [event.text for event in store.history(env.slug)] == ["hello"]
        assert store.claim(other, SCHEMA).claims["schema"] == SCHEMA["schema"]

    def test_a_wanted_environment_is_not_forgotten(self, store: Store) -> None:
        """A push came back between the look and the forgetting."""
        env = store.claim(stored(store), SCHEMA)
        with pytest.raises(Stale):
            store.forget(replace(env, desired=Desired.ABSENT))
        assert store.get(env.slug) == env
        assert store.holder(SCHEMA["schema"]) == env.slug

    def test_another_generation_is_not_forgotten(self, store: Store) -> None:
        """Pushed and deleted again meanwhile: what the push made has not been looked for yet."""
        env = store.claim(stored(store, desired=Desired.ABSENT), SCHEMA)
        with pytest.raises(Stale):
            store.forget(replace(env, generation=6))
        assert store.get(env.slug) == env
        assert store.holder(SCHEMA["schema"]) == env.slug

    def test_forgetting_twice_is_stale(self, store: Store) -> None:
        """The second worker finds nothing to forget and harms nobody."""
        env = store.claim(stored(store, desired=Desired.ABSENT), SCHEMA)
        store.forget(env)
        heir = store.claim(stored(store, slug="qa-bar"), SCHEMA)
        with pytest.raises(Stale):
            store.forget(env)
        assert store.holder(SCHEMA["schema"]) == heir.slug

    def test_what_another_holds_by_now_stays_its(self, store: Store) -> None:
        """An item that was lost has been claimed again: that must not keep the record for ever."""
        env = stored(store, desired=Desired.ABSENT)
        heir = store.claim(stored(store, slug="qa-bar"), SCHEMA)
        store.forget(replace(env, claims=SCHEMA | PORTS))
        assert [one.slug for one in store.all()] == [heir.slug]
        assert store.holder(SCHEMA["schema"]) == heir.slug

    def test_when_the_branch_was_deleted_is_remembered(self, store: Store) -> None:
        """Nothing else could tell that a push which comes later is older."""
        env = stored(store, desired=Desired.ABSENT, pushed_at=100)
        assert store.deleted_at(env.slug) == 0
        store.forget(env)
        assert store.deleted_at(env.slug) == 100

    def test_a_deletion_without_a_record_is_remembered_and_an_older_one_is_not(self, store: Store) -> None:
        for pushed_at in (100, 200, 150):
            store.remember_deletion(environment().slug, pushed_at)
        assert store.deleted_at(environment().slug) == 200
        assert list(store.all()) == []
        store.forget(stored(store, desired=Desired.ABSENT, pushed_at=50))
        assert store.deleted_at(environment().slug) == 200


class TestHistory:
    def test_the_newest_comes_first(self, store: Store) -> None:
        """Each environment has its own, with who and what."""
        env = environment()
        for number in range(3):
            store.note(env.slug, f"dev-{number}", f"text {number}")
            time.sleep(0.002)  # a millisecond is what the order goes by
        store.note(environment("qa-bar").slug, "dev", "elsewhere")
        events = store.history(env.slug)
        assert [(event.by, event.text) for event in events] == [
            ("dev-2", "text 2"),
            ("dev-1", "text 1"),
            ("dev-0", "text 0"),
        ]
        assert events[0].at > events[2].at

    def test_two_notes_of_one_moment_are_both_kept(self, store: Store) -> None:
        """However fast things happen."""
        for number in range(20):
            store.note(environment().slug, "dev", str(number))
        assert {event.text for event in store.history(environment().slug)} == {str(n) for n in range(20)}

    def test_at_most_two_hundred_are_read(self, store: Store) -> None:
        """A page of an environment that lives for months stays a page."""
        for number in range(205):
            store.note(environment().slug, "dev", str(number))
        assert len(store.history(environment().slug)) == 200


class TestTable:
    """What only the real table can show."""

    def test_history_expires(self, dynamo: DynamoStore) -> None:
        """Each line carries the TTL attribute that the template names, ninety days ahead."""
        dynamo.note(environment().slug, "dev", "x" * 5000)
        (item,) = dynamo.table.scan()["Items"]
        assert abs(int(item["expires"]) - time.time() - 90 * 86400) < 60
        assert len(str(item["text"])) == 1000

    @pytest.mark.parametrize("with_record", [True, False])
    def test_deletions_expire(self, dynamo: DynamoStore, with_record: bool) -> None:
        """Thirty days ahead: no webhook is as late as that."""
        if with_record:
            dynamo.forget(stored(dynamo, desired=Desired.ABSENT, pushed_at=100))
        else:
            dynamo.remember_deletion(environment().slug, 100)
        (item,) = dynamo.table.scan()["Items"]
        assert abs(int(item["expires"]) - time.time() - 30 * 86400) < 60

    def test_records_and_claims_do_not_expire(self, dynamo: DynamoStore) -> None:
        """Nothing that leads to a resource may vanish by itself."""
        dynamo.claim(stored(dynamo), SCHEMA | PORTS)
        assert not [item for item in dynamo.table.scan()["Items"] if "expires" in item]

    def test_nothing_is_left_of_a_forgotten_environment(self, dynamo: DynamoStore) -> None:
        """The table is as empty as before."""
        dynamo.forget(dynamo.claim(stored(dynamo, desired=Desired.ABSENT), SCHEMA | PORTS))
        assert dynamo.table.scan()["Items"] == []

    def test_a_newer_builds_record_can_be_read(self, dynamo: DynamoStore) -> None:
        """After a rollback: unknown attributes are ignored, an unknown state is looked at again."""
        env = stored(dynamo)
        dynamo.table.update_item(
            Key={"pk": "environment", "sk": str(env.slug)},
            UpdateExpression="SET keep_until = :x, built = :built, conditions = :conditions",
            ExpressionAttributeValues={
                ":x": "2027-01-01",
                ":built": json.dumps({"commit": A, "image": "i", "execution": "1", "digest": "sha256:x"}),
                ":conditions": json.dumps(
                    {
                        "schema": {
                            "state": "ready",
                            "outputs": {"name": "qa-foo"},
                            "generation": 7,
                            "tint": 1,
                        },
                        "service/app": {"state": "asleep", "generation": 7},
                    }
                ),
            },
        )
        after = now(dynamo, env)
        assert after.built == Built(A, "i", "1")
        assert after.output("schema") == {"name": "qa-foo"}
        assert after.conditions["service/app"] == Condition(State.WAITING, generation=7)
        assert list(dynamo.all()) == [after]

    def test_what_a_newer_build_wrote_survives_an_older_one(self, dynamo: DynamoStore) -> None:
        """A wish and a save write their own attributes and leave the rest alone."""
        env = stored(dynamo)
        record = {"pk": "environment", "sk": str(env.slug)}
        dynamo.table.update_item(
            Key=record, UpdateExpression="SET keep_until = :x", ExpressionAttributeValues={":x": "2027"}
        )
        dynamo.desire(environment(generation=8), env)
        dynamo.save(environment(generation=8, conditions={"schema": said(State.READY)}))
        assert dynamo.table.get_item(Key=record)["Item"]["keep_until"] == "2027"

    def test_an_older_builds_record_can_be_read(self, dynamo: DynamoStore) -> None:
        """Attributes that were added since have their defaults."""
        dynamo.table.put_item(
            Item={
                "pk": "environment",
                "sk": "qa-foo",
                "repository": "example/shop",
                "branch": "qa/foo",
                "desired": "present",
                "commit": A,
                "generation": 7,
            }
        )
        assert list(dynamo.all()) == [replace(environment(), by="", at="")]

    def test_everything_is_read_over_many_pages(self, dynamo: DynamoStore) -> None:
        """DynamoDB answers a megabyte at a time."""
        text = {"schema": said(State.BLOCKED, "x" * 150_000)}
        for number in range(12):
            env = stored(dynamo, slug=f"qa-{number}")
            dynamo.save(replace(env, conditions=text))
        assert len({env.slug for env in dynamo.all()}) == 12

    @pytest.mark.parametrize("operation", ["desire", "renew", "claim", "save", "record_built", "forget"])
    def test_throttling_is_not_taken_for_a_refusal(
        self, aws: StrictAWS, dynamo: DynamoStore, operation: str
    ) -> None:
        """It escapes as what it is, so that the queue tries again; only a refused condition is Stale."""
        env = stored(dynamo, desired=Desired.PRESENT if operation == "record_built" else Desired.ABSENT)
        error = "ProvisionedThroughputExceededException"
        for call in ("UpdateItem", "PutItem", "TransactWriteItems"):
            aws.fail(call, error=error)
        act = {
            "desire": lambda: dynamo.desire(environment(generation=8), env),
            "renew": lambda: dynamo.renew(environment(generation=8), env),
            "claim": lambda: dynamo.claim(env, SCHEMA),
            "save": lambda: dynamo.save(env),
            "record_built": lambda: dynamo.record_built(env.slug, Built(A, "i", "1")),
            "forget": lambda: dynamo.forget(env),
        }
        with pytest.raises(ClientError) as caught:
            act[operation]()
        assert caught.value.response["Error"]["Code"] == error

    @pytest.mark.parametrize("operation", ["desire", "claim", "forget"])
    def test_a_conflict_of_transactions_is_not_taken_for_a_refusal(
        self, aws: StrictAWS, dynamo: DynamoStore, operation: str
    ) -> None:
        """Two workers at one item in one moment: nothing was decided, so it is tried again."""
        env = stored(dynamo, desired=Desired.ABSENT)
        refused: Any = {
            "Error": {"Code": "TransactionCanceledException", "Message": "conflict"},
            "CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}],
        }
        aws.fail("TransactWriteItems", error=ClientError(refused, "TransactWriteItems"))
        act: dict[str, Callable[[], object]] = {
            "desire": lambda: dynamo.desire(environment(generation=8), env, "a wish"),
            "claim": lambda: dynamo.claim(env, SCHEMA),
            "forget": lambda: dynamo.forget(env),
        }
        with pytest.raises(Taken if operation == "claim" else ClientError) as caught:
            act[operation]()
        assert getattr(caught.value, "claims", ()) == ()
        assert dynamo.get(env.slug) == env

    def test_one_of_many_workers_gets_a_claim(self, dynamo: DynamoStore) -> None:
        """Twenty at once: one holds it, and only its record says so."""
        made = [stored(dynamo, slug=f"qa-{number}") for number in range(20)]

        def try_it(env: Environment) -> None:
            with suppress(Taken):
                dynamo.claim(env, SCHEMA)

        with ThreadPoolExecutor(20) as pool:
            list(pool.map(try_it, made))
        holders = [env.slug for env in dynamo.all() if env.claims]
        assert holders == [dynamo.holder(SCHEMA["schema"])]


class TestBeyondGit:
    def test_what_people_ask_for_is_kept_beside_everything_else(self, store: Store) -> None:
        """The page's attribute survives passes and pushes, and changes none of theirs."""
        env = stored(store)
        asked = Asked(redeploy=1, reset=2, awake=3, dismissed=A, by="花子")
        store.ask(env, asked)
        store.save(environment(conditions={"schema": said(State.READY)}))
        store.desire(environment(commit=B, generation=8), env)
        after = now(store, env)
        assert (after.asked, after.commit) == (asked, B)
        assert after.conditions == {"schema": said(State.READY)}

    def test_two_who_ask_at_once_are_both_heard(self, store: Store) -> None:
        """Somebody presses a button while a visitor wakes the environment: both saw the same record."""
        env = stored(store)
        store.ask(env, replace(env.asked, dismissed=A, by="taro"))
        store.ask(env, replace(env.asked, awake=5))
        store.ask(env, env.asked)
        assert now(store, env).asked == Asked(awake=5, dismissed=A, by="taro")

    def test_asking_of_what_moved_on_is_stale(self, store: Store) -> None:
        """The person saw another commit than the one that is wanted now."""
        env = stored(store)
        store.desire(environment(commit=B, generation=8), env)
        with pytest.raises(Stale):
            store.ask(env, Asked(redeploy=1))
        assert now(store, env).asked == Asked()

    def test_asking_of_nothing_makes_no_ghost(self, store: Store) -> None:
        env = environment()
        with pytest.raises(Stale):
            store.ask(env, Asked(redeploy=1))
        store.visit(env.slug, 5)
        assert store.get(env.slug) is None

    def test_a_visit_is_remembered(self, store: Store) -> None:
        env = stored(store)
        store.visit(env.slug, 1_793_586_000_000)
        assert now(store, env).visited == 1_793_586_000_000

    def test_a_new_life_knows_no_old_wishes(self, store: Store) -> None:
        """Neither that its commit was unwanted, nor who visited it."""
        env = stored(store, desired=Desired.ABSENT)
        store.ask(env, Asked(dismissed=A))
        store.visit(env.slug, 5)
        store.renew(environment(generation=9), env)
        assert (now(store, env).asked, now(store, env).visited) == (Asked(), 0)

    def test_the_last_ten_durations_are_known(self, store: Store) -> None:
        """Per repository, the newest last."""
        for seconds in range(12):
            store.took("example/shop", seconds)
        store.took("example/other", 99)
        assert store.durations("example/shop") == list(range(2, 12))
        assert store.durations("example/none") == []
        assert list(store.all()) == []

    def test_an_event_has_a_kind_and_a_phase(self, store: Store) -> None:
        env = environment()
        store.note(env.slug, "qa-env", "schema: ready", kind="pass", phase="ready")
        store.note(env.slug, "dev", "hello")
        plain, passed = store.history(env.slug)
        assert (passed.kind, passed.phase, passed.text) == ("pass", "ready", "schema: ready")
        assert (plain.kind, plain.phase) == ("", "")


class TestRounds:
    MEMBER = Member("qa_foo", environment().slug, 7, "7/2026-11-02", "qa")

    def test_a_place_has_none_at_first(self, store: Store) -> None:
        assert store.rounds("secretsmanager:redis 0") == Rounds()

    def test_what_was_saved_can_be_read_again(self, store: Store) -> None:
        """Everything but the revision, which is the table's."""
        result = Result(self.MEMBER, 3, "not ours")
        rounds = Rounds({"qa_foo": self.MEMBER}, {"qa_foo": result}, {"qa_foo": result}, "17", "me", 1.5)
        store.save_rounds("place", rounds)
        assert replace(store.rounds("place"), revision=0) == rounds
        assert store.rounds("other place") == Rounds()
        assert list(store.all()) == []

    def test_one_of_two_who_saw_the_same_is_stale(self, store: Store) -> None:
        """At first and later."""
        for number in range(3):
            seen = store.rounds("place")
            store.save_rounds("place", replace(seen, cursor=f"{number}"))
            with pytest.raises(Stale):
                store.save_rounds("place", replace(seen, cursor="late"))
            assert store.rounds("place").cursor == f"{number}"

    def test_every_records_generation_is_known(self, store: Store) -> None:
        stored(store)
        stored(store, slug="qa-bar", generation=9)
        assert store.generations() == {"qa-foo": 7, "qa-bar": 9}


def test_rounds_of_a_newer_build_can_be_read(dynamo: DynamoStore) -> None:
    """What this one does not know is ignored, at every level."""
    member = {**asdict(TestRounds.MEMBER), "colour": "blue"}
    newer = {"waiting": {"qa_foo": member}, "results": {"qa_foo": {"member": member, "paint": 1}}, "more": 5}
    dynamo.table.put_item(Item={"pk": "rounds", "sk": "place", "rounds": json.dumps(newer), "revision": 4})
    read = dynamo.rounds("place")
    assert (read.waiting, read.revision) == ({"qa_foo": TestRounds.MEMBER}, 4)
    assert read.results == {"qa_foo": Result(TestRounds.MEMBER)}


def test_a_record_that_cannot_be_read_has_a_generation(dynamo: DynamoStore) -> None:
    """Its environment is left alone, and so are those of others."""
    stored(dynamo)
    dynamo.table.put_item(Item={"pk": "environment", "sk": "qa-odd", "layout": 99})
    assert dynamo.generations() == {"qa-foo": 7, "qa-odd": 0}


def test_a_wish_of_a_newer_build_can_be_read(dynamo: DynamoStore) -> None:
    """Rolling back the controller must not stop an environment."""
    env = stored(dynamo)
    dynamo.table.update_item(
        Key={"pk": "environment", "sk": str(env.slug)},
        UpdateExpression="SET asked_redeploy = :five, asked_paint = :blue",
        ExpressionAttributeValues={":five": 5, ":blue": "blue"},
    )
    assert now(dynamo, env).asked == Asked(redeploy=5)
