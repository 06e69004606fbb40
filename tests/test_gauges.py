"""The numbers behind the dashboard."""

from __future__ import annotations

from dataclasses import replace

from qa_env import gauges
from qa_env.model import Claim, Desired, Phase, State
from tests.making import blueprint, environment, said

LB = blueprint().load_balancers[0]


def measured(*environments: object, **changes: object) -> dict[str, int]:
    found = gauges.of(list(environments), [blueprint(**changes)])
    return {gauge.phase or gauge.name: gauge.value for gauge in found}


def test_every_phase_is_counted_also_where_there_is_nobody() -> None:
    """A line that is not drawn would look like a gap in the data."""
    ready = environment(conditions={"service/app": said(State.READY)})
    going = environment("qa-bar", desired=Desired.ABSENT)
    found = measured(ready, going)
    assert {phase: found[phase] for phase in Phase if found[phase]} == {Phase.READY: 1, Phase.DELETING: 1}
    assert set(Phase) <= set(found)


def test_what_needs_a_person_is_counted_whatever_its_phase() -> None:
    """A teardown that is stuck is still called deleting."""
    stuck = environment(desired=Desired.ABSENT, conditions={"service/app": said(State.BLOCKED)})
    assert measured(stuck)["NeedsAPerson"] == 1
    assert measured(environment())["NeedsAPerson"] == 0


def test_free_ports_are_those_of_the_scarcest_load_balancer() -> None:
    other = LB.model_copy(update={"arn": LB.arn.replace("/qa/", "/other/"), "ports": "10001-10003"})
    both = {"load_balancers": (LB, other)}
    claim = Claim(f"port {other.arn}", "10002")
    env = replace(environment(), claims={"port/app": claim})
    assert measured(env, **both)["FreePorts"] == 2
    assert measured()["FreePorts"] == len(LB.port_range)
