"""When somebody last came, by the load balancers' own counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from qa_env.model import Claim, Condition, Environment, Phase, State, port_scope
from qa_env.visits import PERIOD, QUERIES_PER_CALL, Visits
from tests.fakes import MemoryStore
from tests.making import environment, said
from tests.strict_aws import StrictAWS, strict_aws

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
LOAD_BALANCER = (
    "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:loadbalancer/app/qa/0123456789abcdef"
)
GROUP = "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:targetgroup/{name}/0123456789abcdef"


@pytest.fixture
def aws() -> Iterator[StrictAWS]:
    with strict_aws() as made:
        yield made


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def add(
    store: MemoryStore,
    slug: str,
    state: State = State.READY,
    outputs: Mapping[str, str] = {},
    **conditions: Condition,
) -> Environment:
    """An environment with two web roles on the load balancer, behind curtains of this state."""
    env = environment(slug)
    store.desire(env, None)
    first = 10001 + len(store.claims)
    ports = {f"port/{role}": Claim(port_scope(LOAD_BALANCER), str(first + n)) for n, role in enumerate("ab")}
    env = store.claim(env, ports)
    groups = {
        f"target_group/{role}": said(State.READY, arn=GROUP.format(name=f"{slug}-{role}")) for role in "ab"
    }
    curtains = {f"curtain/{role}": said(state, **outputs) for role in "ab"}
    env = env.with_conditions(groups | curtains | conditions)
    store.save(env)
    return env


def count(aws: StrictAWS, group: str, minutes_ago: float, requests: float) -> None:
    """A load balancer counted so many requests so long ago."""
    aws.client("cloudwatch").put_metric_data(
        Namespace="AWS/ApplicationELB",
        MetricData=[
            {
                "MetricName": "RequestCount",
                "Dimensions": [
                    {"Name": "LoadBalancer", "Value": "app/qa/0123456789abcdef"},
                    {"Name": "TargetGroup", "Value": f"targetgroup/{group}/0123456789abcdef"},
                ],
                "Timestamp": NOW - timedelta(minutes=minutes_ago),
                "Value": requests,
            }
        ],
    )


def look(aws: StrictAWS, store: MemoryStore) -> list[str]:
    return list(Visits(aws.client("cloudwatch"), store).look(store.all(), NOW.timestamp()))


def visited(store: MemoryStore, slug: str) -> float:
    """Minutes since the visit that the record knows of."""
    return (NOW.timestamp() * 1000 - store.records[environment(slug).slug].visited) / 60_000


def test_the_newest_request_to_any_role_counts(aws: StrictAWS, store: MemoryStore) -> None:
    """By the end of its period, because nobody knows better; the other environment was not visited."""
    add(store, "qa-foo")
    add(store, "qa-bar")
    count(aws, "qa-foo-a", 31, 2)
    count(aws, "qa-foo-b", 21, 1)
    assert look(aws, store) == ["qa-foo"]
    assert 21 - 2 * PERIOD / 60 <= visited(store, "qa-foo") <= 21
    assert store.records[environment("qa-bar").slug].visited == 0


def test_a_count_of_zero_is_no_visit(aws: StrictAWS, store: MemoryStore) -> None:
    add(store, "qa-foo")
    count(aws, "qa-foo-a", 12, 0)
    assert look(aws, store) == []


def test_what_is_known_is_not_written_again(aws: StrictAWS, store: MemoryStore) -> None:
    add(store, "qa-foo")
    count(aws, "qa-foo-a", 12, 1)
    assert look(aws, store) == ["qa-foo"]
    assert look(aws, store) == []


def test_who_uses_it_counts_whatever_its_other_roles_do(aws: StrictAWS, store: MemoryStore) -> None:
    """A worker that does not start must not let the application fall asleep under its users."""
    env = add(store, "qa-foo", **{"service/worker": said(State.FAILED)})
    assert env.phase is Phase.FAILED
    count(aws, "qa-foo-a", 12, 1)
    assert look(aws, store) == ["qa-foo"]


@pytest.mark.parametrize(
    ("state", "outputs"),
    [
        (State.WAITING, {}),
        (State.GONE, {}),
        (State.READY, {"asleep": "7"}),
        (State.READY, {"hides": "reset"}),
    ],
)
def test_only_what_is_live_is_asked_for(
    aws: StrictAWS, store: MemoryStore, state: State, outputs: dict[str, str]
) -> None:
    """While the curtain hangs nobody reaches the target group, and every metric asked for has a price."""
    add(store, "qa-foo", state, outputs)
    count(aws, "qa-foo-a", 12, 1)
    assert look(aws, store) == []
    assert aws.calls_to("cloudwatch:*")[1:] == []


def test_more_environments_than_one_call_takes(aws: StrictAWS, store: MemoryStore) -> None:
    for number in range(QUERIES_PER_CALL // 2 + 1):
        add(store, f"qa-{number}")
    last = f"qa-{QUERIES_PER_CALL // 2}"
    count(aws, f"{last}-b", 12, 1)
    assert look(aws, store) == [last]
