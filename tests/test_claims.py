"""Ports, names and redis databases: claimed all at once, never twice, and within what AWS admits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import boto3
import pytest

from qa_env import naming
from qa_env.blueprint import Blueprint
from qa_env.claims import Claims
from qa_env.errors import Blocked, NotReady, Stale
from qa_env.holding import LOST
from qa_env.looking import Seen
from qa_env.model import Claim, Desired, Environment, Slug, State, key, port_key, port_scope
from qa_env.store import DynamoStore
from tests.making import REPOSITORY, A, blueprint, environment, said
from tests.strict_aws import StrictAWS, World, strict_aws

LISTENERS = "listeners-per-application-load-balancer"
TARGET_GROUPS = "target-groups-per-application-load-balancer"


@dataclass
class Place:
    """An account with load balancers, and environments that claim in it."""

    aws: StrictAWS
    world: World
    foreign: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        table = boto3.resource("dynamodb", region_name=self.aws.region).Table(self.world.table)
        self.store = DynamoStore(table)

    def blueprint(self, *ports: str, web: int = 2, **changes: Any) -> Blueprint:
        """One load balancer for each range of ports, so many web roles and a worker."""
        balancers = [
            {"arn": lb.arn, "host": f"{lb.name}.example.com", "ports": some}
            for lb, some in zip(self.world.load_balancers, ports, strict=False)
        ]
        role = {"copy_of": "stg-web", "container": "web", "log_group": "/qa"}
        roles: dict[str, Any] = {f"web{number}": {**role, "port": 3000} for number in range(1, web + 1)}
        changes = {"database": None, "redis": {"mode": "none"}} | changes
        return blueprint(load_balancers=balancers, roles=roles | {"worker": role}, **changes)

    def claims(self, made: Blueprint) -> Claims:
        return Claims(self.aws.client("elbv2"), self.store, made, "qa-env", Seen())

    def wished(self, branch: str) -> Environment:
        """An environment that was wished for, or the one that already was."""
        slug = naming.slug("", REPOSITORY, branch)
        if self.store.get(slug) is None:
            self.store.desire(environment(slug, branch=branch), None)
        return self.now(branch)

    def now(self, branch: str) -> Environment:
        env = self.store.get(naming.slug("", REPOSITORY, branch))
        assert env is not None
        return env

    def claim(self, made: Blueprint, branch: str) -> Environment:
        """What the environment holds after asking."""
        env, said = self.claims(made).ensure(self.wished(branch))
        assert said == {name: str(claim) for name, claim in env.claims.items()}
        assert self.now(branch).claims == env.claims
        return env

    def lose(self, env: Environment) -> None:
        """The items of its claims are gone, the record is not, and its resources have noticed."""
        for claim in env.claims.values():
            self.store.table.delete_item(Key={"pk": f"claim#{claim.scope}", "sk": claim.name})
        listeners = {key("listener", role): said(State.BLOCKED) for role in ("web1", "web2")}
        noticed = {"claims": said(State.READY), "schema": said(State.WAITING, **LOST), **listeners}
        self.store.save(env.with_conditions(noticed))

    def refusal(self, made: Blueprint, branch: str) -> str:
        """What is said when it cannot have what it needs; it then holds nothing new."""
        before = self.wished(branch)
        with pytest.raises(Blocked) as caught:
            self.claims(made).ensure(before)
        assert self.now(branch) == before
        return str(caught.value)

    def listen(self, load_balancer: int, port: int) -> None:
        """A listener with a target group that belong to somebody else."""
        elbv2 = self.aws.client("elbv2")
        group = elbv2.create_target_group(
            Name=f"foreign-{next(self.foreign)}", Protocol="HTTP", Port=80, VpcId=self.world.vpc
        )["TargetGroups"][0]["TargetGroupArn"]
        elbv2.create_listener(
            LoadBalancerArn=self.world.load_balancers[load_balancer - 1].arn,
            Protocol="HTTP",
            Port=port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        )

    def scope(self, load_balancer: int) -> str:
        return port_scope(self.world.load_balancers[load_balancer - 1].arn)


@pytest.fixture
def place() -> Iterator[Place]:
    with strict_aws() as aws:
        yield Place(aws, aws.world(load_balancers=2))


def ports(place: Place, env: Environment) -> list[tuple[int, int]]:
    """(number of the load balancer, port) of each web role, in order of the roles."""
    numbers = {lb.arn: number for number, lb in enumerate(place.world.load_balancers, start=1)}
    held = [
        env.port_of(name.removeprefix("port/")) for name in sorted(env.claims) if name.startswith("port/")
    ]
    return [(numbers[arn], port) for arn, port in held]


class TestPorts:
    def test_the_first_free_ports_of_the_first_load_balancer(self, place: Place) -> None:
        """Every web role has one, the worker none; the next environment has the next."""
        made = place.blueprint("10001-10049", "10001-10049")
        assert ports(place, place.claim(made, "qa/foo")) == [(1, 10001), (1, 10002)]
        assert ports(place, place.claim(made, "qa/bar")) == [(1, 10003), (1, 10004)]
        assert port_key("worker") not in place.now("qa/foo").claims

    def test_ports_are_kept(self, place: Place) -> None:
        """Asking again changes nothing, whatever became free meanwhile: the URL is stable."""
        made = place.blueprint("10001-10049")
        first, second = place.claim(made, "qa/foo"), place.claim(made, "qa/bar")
        gone = environment(first.slug, branch="qa/foo", desired=Desired.ABSENT, generation=8)
        place.store.desire(gone, first)
        place.store.forget(place.now("qa/foo"))
        assert place.claim(made, "qa/bar") == second
        assert ports(place, place.claim(made, "qa/baz")) == [(1, 10001), (1, 10002)]

    def test_a_new_role_gets_a_port_and_the_others_keep_theirs(self, place: Place) -> None:
        """The blueprint grows under a living environment."""
        place.claim(place.blueprint("10001-10049", web=1), "qa/foo")
        place.claim(place.blueprint("10001-10049", web=1), "qa/bar")
        grown = place.claim(place.blueprint("10001-10049", web=2), "qa/foo")
        assert ports(place, grown) == [(1, 10001), (1, 10003)]

    def test_all_ports_on_one_load_balancer_if_possible(self, place: Place) -> None:
        """One free port on the first is left alone while the second has room for both."""
        made = place.blueprint("10001-10003", "20001-20009")
        assert ports(place, place.claim(made, "qa/foo")) == [(1, 10001), (1, 10002)]
        assert ports(place, place.claim(made, "qa/bar")) == [(2, 20001), (2, 20002)]

    def test_spread_if_not_possible(self, place: Place) -> None:
        """Better on two load balancers than not at all."""
        made = place.blueprint("10001-10001", "20001-20001")
        assert ports(place, place.claim(made, "qa/foo")) == [(1, 10001), (2, 20001)]

    def test_those_with_too_few_free_ports_are_not_asked(self) -> None:
        """An odd port that is left over on each of many load balancers costs the others no call."""
        with strict_aws() as aws:
            place = Place(aws, aws.world(load_balancers=3))
            made = place.blueprint("10001-10002", "20001-20003", "30001-30009")
            place.claim(made, "qa/first")
            place.claim(made, "qa/second")
            aws.calls.clear()
            assert ports(place, place.claim(made, "qa/foo")) == [(3, 30001), (3, 30002)]
            asked = {call.params["LoadBalancerArn"] for call in aws.calls_to("DescribeListeners")}
            assert place.world.load_balancers[1].arn not in asked

    def test_a_port_left_over_is_taken_where_no_load_balancer_has_room_for_all(self, place: Place) -> None:
        """Those with room for all turn out to have foreign listeners."""
        made = place.blueprint("10001-10001", "20001-20002")
        place.listen(2, 20001)
        assert sorted(ports(place, place.claim(made, "qa/foo"))) == [(1, 10001), (2, 20002)]

    def test_foreign_listeners_are_avoided(self, place: Place) -> None:
        """A port that somebody else listens on is not free."""
        place.listen(1, 10001)
        place.listen(1, 10003)
        made = place.blueprint("10001-10049")
        assert ports(place, place.claim(made, "qa/foo")) == [(1, 10002), (1, 10004)]

    def test_the_live_limit_of_listeners_is_respected(self, place: Place) -> None:
        """Foreign listeners count, and so do ports that are claimed but have no listener yet."""
        place.aws.elbv2.quotas[LISTENERS] = 5
        place.listen(1, 443)
        made = place.blueprint("10001-10049")
        place.claim(made, "qa/foo")
        place.claim(made, "qa/bar")
        assert "2 ports wanted, 0 free" in place.refusal(made, "qa/baz")
        place.aws.elbv2.quotas[LISTENERS] = 7
        assert ports(place, place.claim(made, "qa/baz")) == [(1, 10005), (1, 10006)]

    def test_a_listener_of_ours_counts_once(self, place: Place) -> None:
        """A claimed port whose listener stands takes one place, not two."""
        place.aws.elbv2.quotas[LISTENERS] = 4
        made = place.blueprint("10001-10049")
        for _, port in ports(place, place.claim(made, "qa/foo")):
            place.listen(1, port)
        assert ports(place, place.claim(made, "qa/bar")) == [(1, 10003), (1, 10004)]

    def test_the_live_limit_of_target_groups_is_respected(self, place: Place) -> None:
        """One place is kept for the page behind the curtain, which every load balancer needs."""
        place.aws.elbv2.quotas[TARGET_GROUPS] = 3
        made = place.blueprint("10001-10049", web=1)
        place.claim(made, "qa/foo")
        place.claim(made, "qa/bar")
        assert "1 ports wanted, 0 free" in place.refusal(made, "qa/baz")

    def test_the_second_load_balancer_takes_what_the_first_cannot(self, place: Place) -> None:
        """Limits hold for each load balancer by itself."""
        place.aws.elbv2.quotas[LISTENERS] = 2
        made = place.blueprint("10001-10049", "10001-10049")
        assert ports(place, place.claim(made, "qa/foo")) == [(1, 10001), (1, 10002)]
        assert ports(place, place.claim(made, "qa/bar")) == [(2, 10001), (2, 10002)]

    def test_full_names_the_holders_and_what_to_do(self, place: Place) -> None:
        """Which load balancers, how many environments, some of them by name, and the two ways out."""
        made = place.blueprint("10001-10007", web=1)
        for number in range(7):
            place.claim(made, f"qa/{number}")
        assert place.refusal(made, "qa/late") == (
            "1 ports wanted, 0 free: qa-1.example.com (10001-10007) full with 7 environments"
            " (qa-0, qa-1, qa-2, qa-3, qa-4 and 2 more); delete one, or add a load balancer to the blueprint"
        )

    def test_full_of_others_says_so(self, place: Place) -> None:
        """Nobody looks for an environment to delete where there is none."""
        place.listen(1, 10001)
        assert "0 environments (nothing of ours)" in place.refusal(
            place.blueprint("10001-10001", web=1), "qa/foo"
        )

    def test_a_load_balancer_that_is_gone_blocks(self, place: Place) -> None:
        """And the message names it."""
        made = place.blueprint("10001-10049")
        place.aws.client("elbv2").delete_load_balancer(LoadBalancerArn=place.world.load_balancer.arn)
        assert "reading the listeners of qa-1.example.com" in place.refusal(made, "qa/foo")

    def test_a_right_that_is_missing_blocks_and_is_named(self, place: Place) -> None:
        """Whichever of the reads that are made at once is refused."""
        made = place.blueprint("10001-10049")
        for read in ("DescribeTargetGroups", "DescribeAccountLimits", "DescribeListeners"):
            place.aws.fail(read, times=9, error="AccessDenied")
            assert "looking for" in (said := place.refusal(made, "qa/foo")) or "reading" in said, read
            place.aws.clear_faults()

    def test_only_the_load_balancer_with_room_is_asked(self, place: Place) -> None:
        """Neither those behind it nor those full of claims: a burst of claims must not be throttled."""
        made = place.blueprint("10001-10001", "10001-10049", web=1)
        for branch, balancer in zip(("qa/first", "qa/second"), place.world.load_balancers, strict=True):
            place.aws.calls.clear()
            place.claim(made, branch)
            asked = [call.params["LoadBalancerArn"] for call in place.aws.calls_to("DescribeListeners")]
            assert asked == [balancer.arn]
            assert len(place.aws.calls_to("DescribeAccountLimits")) == 1

    def test_a_lost_race_is_run_again(self, place: Place) -> None:
        """Another takes the port between the look and the claim: a free one elsewhere is taken."""
        made = place.blueprint("10001-10049", web=1)
        rival, thieves = place.wished("qa/rival"), iter([10001, 10002])

        def steal(event: Any) -> None:
            claims = f"claim#{place.scope(1)}"
            looked = event.name == "dynamodb:Query" and event.done
            if looked and event.params["ExpressionAttributeValues"] == {":pk": claims}:
                nonlocal rival
                for port in itertools.islice(thieves, 1):
                    rival = place.store.claim(rival, {f"port/x{port}": Claim(place.scope(1), str(port))})

        place.aws.on_call(steal)
        ((_, port),) = ports(place, place.claim(made, "qa/foo"))
        assert port not in (10001, 10002)
        assert set(place.store.taken(place.scope(1))) == {"10001", "10002", str(port)}

    def test_an_overtaken_worker_claims_nothing(self, place: Place) -> None:
        """The record moved on: what this worker wanted may not be wanted any more."""
        made = place.blueprint("10001-10049")
        old = place.wished("qa/foo")
        place.store.desire(environment(old.slug, branch="qa/foo", generation=8), old)
        with pytest.raises(Stale):
            place.claims(made).ensure(old)
        assert place.store.taken(place.scope(1)) == {}


class TestNames:
    def test_names_are_claimed_with_the_ports(self, place: Place) -> None:
        """Schema and namespace as the application computes them."""
        made = place.blueprint(
            "10001-10049",
            database={"secret": "ssm:/db"},
            redis={"mode": "namespace", "secret": "ssm:/redis"},
        )
        held = place.claim(made, "qa/foo").claims
        assert held["schema"] == Claim("schema", "qa-foo")
        assert held["redis"] == Claim("redis namespace", "qa_foo")

    @pytest.mark.parametrize("kind", ["schema", "redis namespace"])
    def test_two_branches_that_would_share_a_name(self, place: Place, kind: str) -> None:
        """The second is blocked with the holder's name and what to do; it holds no port either."""
        if kind == "schema":
            changes: dict[str, Any] = {"database": {"secret": "ssm:/db", "schema": "{branch_}"}}
        else:
            changes = {"redis": {"mode": "namespace", "secret": "ssm:/redis", "namespace": "{branch_}"}}
        made = place.blueprint("10001-10049", **changes)
        first = place.claim(made, "qa/a_b")
        assert place.refusal(made, "qa/a/b") == (
            f"{kind} qa_a_b is held by {first.slug}: two branches would share it; rename the branch 'qa/a/b'"
        )
        assert set(place.store.taken(place.scope(1)).values()) == {first.slug}

    def test_a_shared_name_is_free_after_the_holder(self, place: Place) -> None:
        """A blocked branch goes on once the other is deleted."""
        made = place.blueprint("10001-10049", database={"secret": "ssm:/db", "schema": "{branch_}"})
        first = place.claim(made, "qa/a_b")
        place.refusal(made, "qa/a/b")
        gone = environment(first.slug, branch="qa/a_b", desired=Desired.ABSENT, generation=8)
        place.store.desire(gone, first)
        place.store.forget(place.now("qa/a_b"))
        assert place.claim(made, "qa/a/b").claims["schema"] == Claim("schema", "qa_a_b")

    @pytest.mark.parametrize("branch", ["qa/`;DROP", "qa/日本", "qa/" + "x" * 70])
    def test_a_branch_that_makes_no_name(self, place: Place, branch: str) -> None:
        """It is blocked with the reason and the way out; nothing is claimed for it."""
        made = place.blueprint("10001-10049", database={"secret": "ssm:/db", "schema": "{branch_}"})
        said = place.refusal(made, branch)
        assert said.startswith(f"naming the data of {branch!r}: ")
        assert said.endswith("; rename the branch")
        assert place.store.taken(place.scope(1)) == {}

    def test_odd_branches_get_clean_names(self, place: Place) -> None:
        """With the usual template every branch that git allows has a schema."""
        made = place.blueprint("10001-10049", database={"secret": "ssm:/db"})
        name = place.claim(made, "qa/`;DROP").claims["schema"].name
        assert name == naming.slug("", REPOSITORY, "qa/`;DROP")


class TestRedisDatabases:
    def test_each_environment_has_a_number(self, place: Place) -> None:
        """The lowest that is free."""
        made = place.blueprint("10001-10049", redis=NUMBERED)
        assert [place.claim(made, f"qa/{n}").claims["redis"].name for n in range(3)] == ["1", "2", "3"]

    def test_exhausted_names_the_holders_and_what_to_do(self, place: Place) -> None:
        """No number is given to two."""
        made = place.blueprint("10001-10049", redis=NUMBERED)
        for number in range(3):
            place.claim(made, f"qa/{number}")
        assert place.refusal(made, "qa/late") == (
            "no free redis database: all of 1-3 are held by qa-0, qa-1, qa-2;"
            " delete an environment or raise redis.databases"
        )

    def test_numbers_are_the_whole_installations(self, place: Place) -> None:
        """Two repositories' secrets may well lead to one server, so no number is given to both."""
        for branch, secret, number in (("qa/foo", "ssm:/redis-1", "1"), ("qa/bar", "ssm:/redis-2", "2")):
            made = place.blueprint("10001-10049", redis={**NUMBERED, "secret": secret})
            assert place.claim(made, branch).claims["redis"] == Claim("redis database", number)


class TestItemsThatWereLost:
    """Somebody deleted what says whose a claim is; the record still knows."""

    def test_they_are_claimed_again(self, place: Place) -> None:
        made = place.blueprint("10001-10049", database={"secret": "ssm:/db"}, redis=NUMBERED)
        env = place.claim(made, "qa/foo")
        place.lose(env)
        assert place.claim(made, "qa/foo").claims == env.claims
        assert {place.store.holder(claim) for claim in env.claims.values()} == {env.slug}

    def test_a_teardown_claims_again_what_nobody_holds(self, place: Place) -> None:
        """Else its data would be left, and its number given to the next one with keys in it."""
        made = place.blueprint("10001-10049", database={"secret": "ssm:/db"}, redis=NUMBERED)
        place.lose(place.claim(made, "qa/foo"))
        place.store.desire(environment("qa-foo", desired=Desired.ABSENT), place.now("qa/foo"))
        env = place.claims(made).keep(place.now("qa/foo"))
        assert {place.store.holder(env.claims[name]) for name in ("schema", "redis")} == {env.slug}

    def test_a_number_that_a_record_speaks_of_is_given_to_nobody_else(self, place: Place) -> None:
        made = place.blueprint("10001-10049", redis=NUMBERED)
        place.lose(place.claim(made, "qa/foo"))
        assert place.claim(made, "qa/bar").claims["redis"].name == "2"

    def test_what_another_holds_by_now_is_given_up(self, place: Place) -> None:
        """A port has no listener yet that could tell; both would wait for each other for ever."""
        made = place.blueprint("10001-10049")
        before = place.claim(made, "qa/foo").claims
        place.lose(place.now("qa/foo"))
        assert place.claim(made, "qa/bar").claims == before
        after = place.claim(made, "qa/foo").claims
        assert not set(after.values()) & set(before.values())
        assert {place.store.holder(claim) for claim in after.values()} == {"qa-foo"}

    def test_a_new_life_does_not_believe_what_the_last_one_held(self, place: Place) -> None:
        """Its listeners are gone: others may have been given their ports while it was torn down."""
        made = place.blueprint("10001-10049")
        env = place.claim(made, "qa/foo")
        place.lose(env)
        place.store.desire(environment("qa-foo", desired=Desired.ABSENT, generation=8), place.now("qa/foo"))
        place.store.renew(replace(env, generation=9, conditions={}), place.now("qa/foo"))
        assert place.claim(made, "qa/bar").claims == env.claims
        assert not set(place.claim(made, "qa/foo").claims.values()) & set(env.claims.values())

    def test_a_name_that_another_holds_by_now_needs_a_person(self, place: Place) -> None:
        made = place.blueprint("10001-10049", database={"secret": "ssm:/db", "schema": "{branch_}"})
        place.lose(place.claim(made, "qa/a_b"))
        second = place.claim(made, "qa/a/b")
        assert place.refusal(made, "qa/a_b") == (
            f"schema qa_a_b is held by {second.slug}: two branches would share it; rename the branch 'qa/a_b'"
        )


NUMBERED = {"mode": "database", "secret": "ssm:/redis", "databases": "1-3"}


class TestWhatRedisSays:
    """Numbered databases whose claims were lost, with the records."""

    def number(self, place: Place, branch: str, filled: dict[str, Slug | None]) -> str:
        made = place.blueprint("10001-10049", web=0, redis=NUMBERED)
        claims = replace(place.claims(made), filled=lambda: filled)
        env, _ = claims.ensure(place.wished(branch))
        return env.claims["redis"].name

    def test_its_own_is_taken_again(self, place: Place) -> None:
        assert self.number(place, "qa/a", {"1": Slug("qa-b"), "3": Slug("qa-a")}) == "3"

    def test_what_holds_anybody_elses_keys_is_given_to_nobody(self, place: Place) -> None:
        assert self.number(place, "qa/a", {"1": Slug("qa-b"), "2": None, "14": None}) == "3"

    def test_a_claim_weighs_more_than_a_mark(self, place: Place) -> None:
        assert self.number(place, "qa/a", {}) == "1"
        assert self.number(place, "qa/b", {"1": Slug("qa-b")}) == "2"

    def test_where_all_are_full_a_person_is_told_which_are_nobodys(self, place: Place) -> None:
        assert self.number(place, "qa/b", {}) == "1"
        with pytest.raises(Blocked, match=r"held by qa-b; flush what is nobody's \(2\), delete an env"):
            self.number(place, "qa/a", {"1": Slug("qa-b"), "2": None, "3": Slug("qa-c"), "14": None})

    def test_while_redis_is_away_all_else_is_claimed(self, place: Place) -> None:
        def away() -> dict[str, Slug | None]:
            raise NotReady("Redis cannot be reached")

        made = place.blueprint("10001-10049", web=1, redis=NUMBERED)
        env, _ = replace(place.claims(made), filled=away).ensure(place.wished("qa/a"))
        assert list(env.claims) == [port_key("web1")]
        env, _ = replace(place.claims(made), filled=dict[str, Slug | None]).ensure(place.now("qa/a"))
        assert set(env.claims) == {port_key("web1"), "redis"}


def test_fifty_at_once_share_nothing(place: Place) -> None:
    """However they race, no port and no number is held twice; who lost too often tries again."""
    redis = {"mode": "database", "secret": "ssm:/redis", "databases": "1-60"}
    made = place.blueprint("10001-10060", web=1, redis=redis)
    place.aws.elbv2.quotas |= {LISTENERS: 60, TARGET_GROUPS: 61}
    branches = [f"qa/{number}" for number in range(50)]
    for branch in branches:
        place.wished(branch)

    def ensure(branch: str) -> Environment:
        for _ in range(10):
            with suppress(NotReady):
                return place.claims(made).ensure(place.now(branch))[0]
        raise AssertionError(f"{branch} never got what it needs")

    with ThreadPoolExecutor(50) as pool:
        made_all = list(pool.map(ensure, branches))
    held = [claim for env in made_all for claim in env.claims.values()]
    assert len(held) == 50 * 2
    assert len(set(held)) == len(held)
    assert {claim: env.slug for env in made_all for claim in env.claims.values()} == {
        claim: place.store.holder(claim) for claim in held
    }
    assert {env.commit for env in made_all} == {A}
