"""A first pass where every call takes 100 ms, beside the calls of it that must wait for each other.

    make bench        (PYTHONPATH=src:. python -m bench.first_pass [--json])

From the delivery of a webhook until people are told the URL: the message, the wish, claims, schema, redis,
target groups, listeners, curtains and the pipeline of an environment with three roles, two of them with a
URL. AWS is the strict layer over moto; its own time is in the seconds, and ours.

The bound is the longest chain of calls of which each needs what the one before said, or must not be made
before it (`NEEDS`), times 100 ms. A call that is not in the table ends the benchmark: somebody must say what
it waits for.
"""

from __future__ import annotations

import itertools
import logging
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from unittest.mock import patch

from botocore.client import BaseClient

from bench import report
from qa_env import looking
from qa_env.blueprint import Blueprint
from qa_env.controller import Plan
from qa_env.model import Change, Environment, Outputs, Ref, Slug
from tests.chaos.gate import InTurn
from tests.installation import REPOSITORY, A, Installation, installed

DELAY = 0.1
REPEATS = 5
REACH = 1.3

# What a call waits for. The names are those of `_name`.
NEEDS: dict[str, tuple[str, ...]] = {
    "the message": (),
    "the record, for the wish": ("the message",),
    "the wish": ("the record, for the wish",),
    "history": ("the wish",),  # the pass's line: written while people are told
    "the record, for the pass": ("the wish",),
    "who holds numbers": ("the record, for the pass",),
    "limits": ("the record, for the pass",),
    "an earlier target group": ("the record, for the pass",),
    "what the load balancer has": ("who holds numbers",),
    "claims": ("what the load balancer has", "limits", "an earlier target group"),
    "whose claim": ("claims",),
    "schema": ("whose claim",),
    "redis": ("whose claim",),
    "the VPC": ("claims",),
    "target group": ("the VPC",),
    "STG's services": ("the record, for the pass",),
    "an earlier pipeline": ("the record, for the pass",),
    "pipeline": ("an earlier pipeline", "schema", "redis"),
    "listener": ("target group",),
    "rules": ("listener",),
    "an earlier page": ("claims",),
    "its marks": ("an earlier page",),
    "what it shows": ("an earlier page",),
    "page": ("an earlier page",),
    "what the page shows": ("page",),
    "curtain": ("rules", "what it shows", "its marks", "what the page shows"),
    "what was seen": ("curtain", "pipeline", "schema", "redis", "STG's services"),
}
PLAIN = {
    "elbv2:DescribeAccountLimits": "limits",
    "elbv2:DescribeListeners": "what the load balancer has",
    "elbv2:DescribeLoadBalancers": "the VPC",
    "elbv2:CreateListener": "listener",
    "elbv2:DescribeRules": "rules",
    "elbv2:CreateRule": "curtain",
    "elbv2:DescribeTags": "its marks",
    "elbv2:DescribeTargetHealth": "what it shows",
    "elbv2:RegisterTargets": "what the page shows",
    "ecs:DescribeServices": "STG's services",
    "codepipeline:GetPipeline": "an earlier pipeline",
    "codepipeline:CreatePipeline": "pipeline",
    "dynamodb:Query": "who holds numbers",
    "dynamodb:PutItem": "history",
}


def longest(names: set[str]) -> list[str]:
    """The longest chain among the calls of these names."""

    @cache
    def chain(name: str) -> list[str]:
        before = [chain(one) for one in NEEDS[name] if one in names]
        return [*max(before, key=len, default=[]), name]

    return max((chain(name) for name in names), key=len)


@dataclass
class Clock:
    """Delays every call to AWS and to the datastores function, and remembers what each was for."""

    names: list[str] = field(default_factory=list)
    told: float = 0.0
    began: float = 0.0

    def __post_init__(self) -> None:
        self._inside = threading.local()
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Calls made meanwhile take their time."""
        original = BaseClient._make_api_call

        def slow(client: Any, operation: str, params: Any) -> Any:
            if getattr(self._inside, "now", False):  # moto's own
                return original(client, operation, params)
            self._inside.now = True
            try:
                service = client.meta.service_model.service_name
                self.delay(self._name(f"{service}:{operation}", params))
                return original(client, operation, params)
            finally:
                self._inside.now = False

        with patch.object(BaseClient, "_make_api_call", slow):
            self.began = time.perf_counter()
            yield

    def delay(self, name: str) -> None:
        """The call of this name is on its way."""
        with self._lock:
            self.names.append(name)
        time.sleep(DELAY)

    def _name(self, call: str, params: Mapping[str, Any]) -> str:
        if call == "dynamodb:GetItem":
            is_claim = str(params["Key"]["pk"]).startswith("claim#")
            wished = "the wish" in self.names
            return "whose claim" if is_claim else f"the record, for the {'pass' if wished else 'wish'}"
        if call == "dynamodb:TransactWriteItems":
            is_claim = any("claim#" in str(item) for item in params["TransactItems"])
            return "claims" if is_claim else "the wish"
        if call == "dynamodb:UpdateItem" and "conditions" in params["UpdateExpression"]:
            return "what was seen"
        if call == "elbv2:CreateTargetGroup":
            return "page" if params.get("TargetType") == "lambda" else "target group"
        if call == "elbv2:DescribeTargetGroups":
            if "LoadBalancerArn" in params:
                return "what the load balancer has"
            return "an earlier target group" if "claims" not in self.names else "an earlier page"
        return PLAIN[call]


@dataclass(frozen=True)
class Report:
    """The last one in the chain: it is told the URLs."""

    tell: Callable[[Environment], None]
    kind: str = "event"
    name: str = ""

    def ensure(self, env: Environment) -> Outputs:
        """Told."""
        self.tell(env)
        return {}

    def delete(self, env: Environment) -> None:
        """Nothing is left of what was told."""

    def owners(self) -> Iterator[Slug]:
        """Nobody."""
        return iter(())


@dataclass(frozen=True)
class Slow:
    """The datastores function, as far away as AWS."""

    qa: Installation
    clock: Clock

    def __call__(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """One answer."""
        self.clock.delay("schema" if request["store"] == "mysql" else "redis")
        return self.qa.datastores(request)


def run(*, is_first: bool, in_turn: bool = False) -> Clock:
    """One first pass; `is_first`: nobody's curtain hung on this load balancer before."""
    with installed() as qa:
        if not is_first:
            qa.run_pass(qa.push("qa/earlier", A))
        clock = Clock()
        qa.clients = replace(qa.clients, datastores=Slow(qa, clock))

        def tell(env: Environment) -> None:
            assert set(env.urls) == {"app", "admin"}
            clock.told = time.perf_counter() - clock.began

        def plan(blueprint: Blueprint) -> Plan:
            return replace(qa.plan(blueprint), reports=[Report(tell)])

        controller = replace(qa.controller, plan=plan)
        change = Change(Slug("qa-foo"), REPOSITORY, "qa/foo", Ref.PRESENT, A, by="dev", event="push")
        pool = InTurn if in_turn else looking.ThreadPoolExecutor
        with patch.object(looking, "ThreadPoolExecutor", pool), clock.running():
            clock.delay("the message")
            controller.request(change)
            controller.reconcile(change.slug)
    return clock


def measure() -> report.Result:
    """A row for an environment beside others, one for the first of all."""
    logging.disable()
    rows, goals = [], []
    for title, is_first in (("beside others", False), ("the first of all", True)):
        runs = [run(is_first=is_first) for _ in range(REPEATS)]
        names = runs[0].names
        chain = longest(set(names))
        told = statistics.median(one.told for one in runs)
        turn = run(is_first=is_first, in_turn=True)
        writes = sum(1 for name in names if name in WRITES)
        rows.append(
            {
                "environment": title,
                "calls": len(names),
                "longest chain": len(chain),
                "bound s": len(chain) * DELAY,
                "measured s": told,
                "one after another s": turn.told,
                "one resource at a time s": 2 * writes * DELAY,
            }
        )
        goals.append(report.Goal(f"first pass, {title}", told, len(chain) * DELAY, "s", REACH))
    return report.Result(
        f"First pass, every call delayed by {DELAY * 1000:.0f} ms (median of {REPEATS})",
        list(rows[0]),
        rows,
        goals,
        [
            f"The chain: {' → '.join(chain)}.",
            "One resource at a time is computed: each is made and looked at once before the next, as"
            " CloudFormation does where things depend on each other.",
        ],
    )


WRITES = frozenset(
    itertools.chain(
        ("the message", "the wish", "claims", "schema", "redis", "target group", "pipeline", "listener"),
        ("page", "what the page shows", "curtain", "what was seen"),
    )
)

if __name__ == "__main__":
    sys.exit(report.main(measure))
