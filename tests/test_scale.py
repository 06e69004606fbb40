"""What is done over all environments takes no more calls than AWS's batches need.

The small edition of `bench/scale.py`, which has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import scale
from bench.report import Goal

ENVIRONMENTS = 12


@pytest.fixture(scope="module")
def fleet() -> Iterator[scale.Fleet]:
    """A dozen settled environments."""
    with scale.fleet(ENVIRONMENTS) as made:
        made.grow(ENVIRONMENTS)
        yield made


@pytest.fixture(scope="module")
def goals(fleet: scale.Fleet) -> list[Goal]:
    """The calls to each service beside the fewest that so many things need."""
    meter = scale.Meter(fleet.qa)
    return [goal for what in scale.BUDGETED for goal in scale.within_budget(fleet, meter, what)]


def test_no_service_is_asked_more_than_it_must_be(goals: list[Goal]) -> None:
    """A call per environment would be a dozen."""
    assert {goal.figure: goal.measured - goal.bound for goal in goals if goal.measured > goal.bound + 4} == {}


def test_every_service_that_the_audit_lists_is_counted(goals: list[Goal]) -> None:
    """A bound of nothing would be no bound."""
    audited = {goal.figure.rsplit(" ", 1)[-1] for goal in goals if goal.figure.startswith(scale.AUDIT)}
    assert {"dynamodb", "ecs", "elbv2", "ecr", "codepipeline", "resourcegroupstaggingapi"} <= audited
    assert all(goal.bound for goal in goals if goal.measured)
