"""What can be counted in the records: the numbers behind the dashboard and three alarms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from qa_env.blueprint import Blueprint
from qa_env.model import Environment, Phase, port_scope

OVERDUE = 3 * 60 * 60
"""Seconds. A pipeline is what takes longest: CodeBuild ends Build and Migrate after an hour each unless their
projects say otherwise, and Deploy waits for twenty minutes. What takes longer does not end by itself."""


@dataclass(frozen=True)
class Gauge:
    """One number, `phase` where it is one of several of that name."""

    name: str
    value: int
    phase: str = ""


def of(environments: Collection[Environment], blueprints: Iterable[Blueprint], now: float) -> Iterator[Gauge]:
    """Environments by phase (also those that are none), how many need a person, and the scarcest ports.

    `Overdue` are those that wait for ever, as far as one can tell: for hours, while nothing says that they
    need a person. What does say so is in `NeedsAPerson`, has an alarm, and names what to do.
    `FreePorts` is of the load balancer that has the fewest left; a full one stops new environments of the
    repositories that have no other.
    """
    phases = Counter(env.phase for env in environments)
    for phase in Phase:
        yield Gauge("Environments", phases[phase], phase)
    yield Gauge("NeedsAPerson", sum(env.needs_a_person for env in environments))
    yield Gauge("Overdue", sum(env.unmoved(now) > OVERDUE for env in environments))
    free = list(_free_ports(environments, blueprints))
    if free:
        yield Gauge("FreePorts", min(free))


def _free_ports(environments: Iterable[Environment], blueprints: Iterable[Blueprint]) -> Iterator[int]:
    taken = {(claim.scope, claim.name) for env in environments for claim in env.claims.values()}
    ports: dict[str, set[int]] = {}
    for blueprint in blueprints:
        for lb in blueprint.load_balancers:
            ports.setdefault(port_scope(lb.arn), set()).update(lb.port_range)
    for scope, numbers in ports.items():
        yield sum((scope, str(number)) not in taken for number in numbers)
