"""What a thousand pushes cost in AWS, beside the builds and tasks that they are for.

    make bench        (PYTHONPATH=src:. python -m bench.cost [--json])

Invocations, messages and calls are counted in a life of three roles over strict AWS; the rest is assumed so
that it errs upwards: what GitHub and ECS cause starts cold each time, a pass makes its calls one after the
other, every ECS event of a service causes a pass. Prices are on-demand, without free tiers, US dollars.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from bench import report
from bench.report import Result
from qa_env.model import Environment, Slug
from tests.installation import A, B, Installation, blueprint
from tests.strict_aws import strict_aws

PUSHES = 1000
ROLES = 3
ECS_EVENTS = 4  # of one service whose task is replaced: began, ended, a task stopped, steady
CALL = 0.03  # seconds; what most APIs take within a region
COLD = {
    "webhook": 0.7,
    "signals": 0.6,
    "deploy": 0.6,
}  # seconds, with a third of a processor, and one call or two
GIGABYTES = {"webhook": 0.5, "signals": 0.5, "deploy": 0.5, "reconcile": 1.0}  # template.yaml
READ_UNITS, WRITE_UNITS = 2, 7  # of a ready environment's record: 6.5 KB
GB_SECOND, INVOCATION = 13.3334e-6, 0.20e-6  # Lambda, arm64
SQS, DYNAMO_READ, DYNAMO_WRITE = 0.50e-6, 0.1415e-6, 0.705e-6  # FIFO requests; units in eu-west-1
COLUMNS = ("push", "passes", "calls", "Lambda GB-s", "Lambda $", "SQS $", "DynamoDB $", f"$ per {PUSHES}")


class Counting(Installation):
    """An installation that counts what Lambda, SQS and ECS would be paid for."""

    def __post_init__(self) -> None:
        self.counted: Counter[str] = Counter()
        super().__post_init__()

    def run_pass(self, slug: Slug) -> Environment | None:
        """A message that reconcile takes."""
        self.counted["reconcile"] += 1
        return super().run_pass(slug)

    def _invoke(self, function: str, event: dict[str, Any]) -> None:
        self.counted["deploy"] += 1
        super()._invoke(function, event)

    def _emit(self, event: dict[str, Any]) -> None:
        self.counted["signals"] += 1
        super()._emit(event)

    def _wake(self, slug: Slug, why: str) -> None:
        self.counted["messages"] += 1
        super()._wake(slug, why)


def measure() -> Result:
    """The three kinds of pushes that an environment's life consists of."""
    logging.disable()
    with strict_aws() as aws:
        qa = Counting(aws, world := aws.world(), blueprint(world))
        pushes: Mapping[str, Callable[[], Slug]] = {
            "create": lambda: qa.push("qa/foo", A),
            "update": lambda: qa.push("qa/foo", B),
            "delete": lambda: qa.delete("qa/foo"),
        }
        rows = [_row(qa, kind, push) for kind, push in pushes.items()]
    notes = [
        f"Seconds of a call: {CALL}; of a cold start with its calls: {max(COLD.values())}.",
        f"ECS events of a service: {ECS_EVENTS}.",
        "Not counted: builds, tasks, pipelines' minutes, logs and what runs whether anybody pushes or not.",
    ]
    return Result("What pushes cost", COLUMNS, rows, (), notes)


def _row(qa: Counting, kind: str, push: Callable[[], Slug]) -> report.Row:
    qa.counted.clear()
    qa.aws.calls.clear()
    push()
    qa.settle(rounds=20)
    made = qa.counted
    by_ecs = ROLES * ECS_EVENTS
    calls = Counter((call.service, call.name) for call in qa.aws.calls)
    passes = made["reconcile"] + by_ecs
    per_pass = sum(calls.values()) / made["reconcile"]
    invoked = {
        "webhook": 1,
        "signals": made["signals"] + by_ecs,
        "deploy": made["deploy"],
        "reconcile": passes,
    }
    seconds = COLD | {"reconcile": per_pass * CALL}
    used = sum(number * seconds[name] * GIGABYTES[name] for name, number in invoked.items())
    functions = used * GB_SECOND + sum(invoked.values()) * INVOCATION
    queue = 4 * (made["messages"] + by_ecs) * SQS  # sent, received, postponed, deleted
    table = _table(calls) * passes / made["reconcile"]
    prices = (PUSHES * one for one in (functions, queue, table, functions + queue + table))
    return dict(zip(COLUMNS, (kind, passes, per_pass * passes, PUSHES * used, *prices), strict=True))


def _table(calls: Mapping[tuple[str, str], int]) -> float:
    """Each call as if it were about a whole record, which most are."""
    price = 0.0
    for (service, name), number in calls.items():
        if service == "dynamodb" and name.startswith(("Get", "Query", "BatchGet")):
            price += number * READ_UNITS * DYNAMO_READ
        elif service == "dynamodb":
            price += number * WRITE_UNITS * (2 if name.startswith("Transact") else 1) * DYNAMO_WRITE
    return price


if __name__ == "__main__":
    sys.exit(report.main(measure))
