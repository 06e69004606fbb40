"""The words of the design: what an environment's conditions mean for people and for other resources."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from qa_env.errors import NotReady
from qa_env.model import (
    Built,
    Change,
    Claim,
    Condition,
    Desired,
    Phase,
    Ref,
    State,
    key,
    label,
    port_key,
    port_scope,
)
from tests.making import REPOSITORY, A, B, environment, said

LB = "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:loadbalancer/app/qa/0123456789abcdef"
BUILT = Built(A, f"shop:qa-foo-{A}", "execution")
READY, WAITING, BLOCKED, FAILED, GONE = State.READY, State.WAITING, State.BLOCKED, State.FAILED, State.GONE


def conditions(*states: State, generation: int = 7) -> dict[str, Condition]:
    return {f"kind/{number}": said(state, generation=generation) for number, state in enumerate(states)}


@pytest.mark.parametrize(
    ("states", "building", "built"),
    [
        ((), Phase.QUEUED, Phase.QUEUED),
        ((READY,), Phase.READY, Phase.READY),
        ((READY, READY), Phase.READY, Phase.READY),
        ((READY, WAITING), Phase.BUILDING, Phase.DEPLOYING),
        ((WAITING,), Phase.BUILDING, Phase.DEPLOYING),
        ((READY, GONE), Phase.READY, Phase.READY),
        ((FAILED, WAITING, READY), Phase.FAILED, Phase.FAILED),
        ((BLOCKED, READY), Phase.BLOCKED, Phase.BLOCKED),
        ((FAILED, BLOCKED, WAITING), Phase.BLOCKED, Phase.BLOCKED),
    ],
)
def test_the_phase_is_one_word_for_many_conditions(
    states: tuple[State, ...], building: Phase, built: Phase
) -> None:
    """What blocks or failed comes first; what waits is building until the wanted commit is built."""
    env = environment(conditions=conditions(*states))
    assert env.phase is building
    assert replace(env, built=replace(BUILT, commit=B)).phase is building
    assert replace(env, built=BUILT).phase is built


def test_conditions_of_an_earlier_wish_count_for_nothing() -> None:
    """After a push, what an earlier generation said neither fails nor blocks nor readies anything."""
    old = conditions(READY, BLOCKED, FAILED, generation=6)
    assert environment(conditions=old).phase is Phase.QUEUED
    assert environment(conditions=old | {"branch": said(READY)}).phase is Phase.BUILDING
    assert environment(conditions=old | {"branch": said(READY)}, built=BUILT).phase is Phase.DEPLOYING


@pytest.mark.parametrize("states", [(), (READY,), (BLOCKED,), (FAILED,), (GONE, GONE)])
def test_an_unwanted_environment_is_being_deleted(states: tuple[State, ...]) -> None:
    """Whatever its resources say."""
    env = environment(desired=Desired.ABSENT, conditions=conditions(*states))
    assert env.phase is Phase.DELETING
    assert not env.settled


@pytest.mark.parametrize("state", [WAITING, BLOCKED, FAILED])
def test_reports_never_decide_the_phase(state: State) -> None:
    """A GitHub that takes no status holds no environment up."""
    env = environment(conditions={"service/app": said(READY), "commit_status": said(state)})
    assert env.phase is Phase.READY


def test_only_ready_environments_are_settled() -> None:
    """Everything else is looked at again."""
    for states in ((READY,), (), (WAITING,), (BLOCKED,), (FAILED,)):
        env = environment(conditions=conditions(*states))
        assert env.settled == (states == (READY,)), states


def test_output_is_what_a_ready_resource_said() -> None:
    """By kind, or by kind and role."""
    env = environment(conditions={"schema": said(READY, name="qa-foo"), "listener/app": said(READY, arn="x")})
    assert env.output("schema") == {"name": "qa-foo"}
    assert env.output("listener", "app") == {"arn": "x"}


@pytest.mark.parametrize("state", [WAITING, BLOCKED, FAILED, GONE])
def test_output_waits_for_a_resource_that_is_not_ready(state: State) -> None:
    """Outputs of a resource that is not usable now are not handed on."""
    env = environment(conditions={"target_group/app": said(state, arn="x")})
    with pytest.raises(NotReady, match=r"^waiting for the target group of app$"):
        env.output("target_group", "app")


def test_output_waits_for_a_resource_that_never_spoke() -> None:
    """And says which one in words."""
    with pytest.raises(NotReady, match=r"^waiting for the schema$"):
        environment().output("schema")


def test_remembered_is_what_was_said_in_any_state() -> None:
    """A hint for the resource itself, empty if there is none."""
    env = environment(conditions={"pipeline": said(FAILED, execution="1")})
    assert env.remembered("pipeline") == {"execution": "1"}
    assert env.remembered("service", "app") == {}


def test_port_of_is_the_claimed_port() -> None:
    """The load balancer's ARN survives its colons and slashes."""
    env = environment(claims={port_key("app"): Claim(port_scope(LB), "10001")})
    assert env.port_of("app") == (LB, 10001)
    assert env.load_balancers("app") == {LB}


def test_port_of_waits_for_the_claim() -> None:
    """A role without a port has no load balancer either."""
    env = environment(claims={port_key("app"): Claim(port_scope(LB), "10001")})
    with pytest.raises(NotReady, match=r"^waiting for the port of admin$"):
        env.port_of("admin")
    assert env.load_balancers("admin") == set()


@pytest.mark.parametrize("state", [READY, WAITING, BLOCKED, FAILED])
def test_require_gone_waits_for_whatever_may_still_run(state: State) -> None:
    """Data goes only after its users, by whatever role."""
    env = environment(desired=Desired.ABSENT, conditions={"pipeline": said(GONE), "service/app": said(state)})
    with pytest.raises(NotReady, match=r"^waiting until the service of app is gone$"):
        env.require_gone("pipeline", "service")
    env.require_gone("pipeline")


def test_require_gone_believes_only_the_present_wish() -> None:
    """What was gone in an earlier life may have come back since."""
    env = environment(conditions={"service/app": said(GONE, generation=6)})
    with pytest.raises(NotReady):
        env.require_gone("service")
    environment(conditions={"service/app": said(GONE)}).require_gone("service")
    environment().require_gone("service")


def test_urls_are_those_of_listeners_that_have_one() -> None:
    """Role → URL in order of the roles, whatever the listener's state."""
    env = environment(
        conditions={
            "listener/web": said(WAITING, url="http://qa:2/"),
            "listener/admin": said(READY, url="http://qa:1/"),
            "listener/api": said(BLOCKED),
            "service/app": said(READY, url="no"),
        }
    )
    assert env.urls == {"admin": "http://qa:1/", "web": "http://qa:2/"}
    assert list(env.urls) == ["admin", "web"]


def test_with_conditions_lays_over() -> None:
    """What was said anew replaces, the rest stays, and the original is as it was."""
    env = environment(conditions={"schema": said(WAITING), "pipeline": said(READY)})
    changed = env.with_conditions({"schema": said(READY)})
    assert changed.conditions == {"schema": said(READY), "pipeline": said(READY)}
    assert env.conditions["schema"].state is WAITING


def test_keys_and_labels() -> None:
    """One spelling for the record, one for people."""
    assert (key("schema"), key("target_group", "app")) == ("schema", "target_group/app")
    assert (label("schema"), label("target_group", "app")) == ("schema", "target group of app")
    assert str(Claim("schema", "qa-foo")) == "schema qa-foo"


CHANGE = Change("qa-foo", REPOSITORY, "qa/foo", Ref.PRESENT, A, B, 1793586000, "hanako", "push", "guid")


@pytest.mark.parametrize("ref", list(Ref))
def test_a_change_survives_the_queue(ref: Ref) -> None:
    """To JSON and back it is the same, hostile branch names included."""
    change = replace(CHANGE, ref=ref, branch="qa/`\";DROP ' 日本\\")
    assert Change.from_dict(json.loads(json.dumps(change.to_dict()))) == change


def test_a_newer_receivers_change_can_be_read() -> None:
    """Fields that this build does not know are ignored."""
    assert Change.from_dict(CHANGE.to_dict() | {"priority": "high"}) == CHANGE


def test_an_older_receivers_change_can_be_read() -> None:
    """Fields that were added since have their defaults."""
    short = {"slug": "qa-foo", "repository": REPOSITORY, "branch": "qa/foo", "ref": "absent"}
    assert Change.from_dict(short) == Change("qa-foo", REPOSITORY, "qa/foo", Ref.ABSENT)


@pytest.mark.parametrize("ref", ["gone", "", None])
def test_a_change_that_says_nothing_known_is_refused(ref: str | None) -> None:
    """Better no reading than a wrong one."""
    with pytest.raises(ValueError, match="not a valid Ref"):
        Change.from_dict(CHANGE.to_dict() | {"ref": ref})
