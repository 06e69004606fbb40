"""Calls of an environment's own passes, beside as few as the batch sizes of the APIs allow.

    make bench        (PYTHONPATH=src:. python -m bench.calls [--json])

A pass over an environment at rest, an update push of it and its whole life, function by function. What is
asked in one run of one function — distinct names, ARNs, keys — could have been asked in so many calls of the
size that AWS admits (`BATCHES`); where an API takes one thing a call, as many calls as things. A thing that
is asked for twice counts once. What changes something counts as it is: everything that is written had to be.
"""

from __future__ import annotations

import logging
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bench import report
from qa_env.model import Environment, Phase, Slug
from tests.installation import A, B, Installation, blueprint
from tests.strict_aws import Event, strict_aws

REACH = 1.2
# Operation → (parameter that lists what is asked for, how many of it a call takes): API references.
BATCHES = {
    "elbv2:DescribeTags": ("ResourceArns", 20),
    "elbv2:DescribeLoadBalancers": ("LoadBalancerArns", 20),
    "ecs:DescribeServices": ("services", 10),
    "ecs:DescribeTasks": ("tasks", 100),
    "codebuild:BatchGetBuilds": ("ids", 100),
    "dynamodb:GetItem": ("Key", 100),  # as BatchGetItem
}
GROUPS = 100  # target groups by name or ARN: the account's own quota per load balancer is not more

Invocation = list[tuple[str, Mapping[str, Any]]]


class Counted(Installation):
    """An installation whose functions' calls are kept apart from those of AWS's and people's hands."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.invocations: list[tuple[str, Invocation]] = []
        self._running: list[Invocation] = []
        self.aws.on_call(self._count)
        asked = self.datastores
        self.clients = self.clients.__class__(
            **{**vars(self.clients), "datastores": lambda request: self._ask(asked, request)}
        )

    def run_pass(self, slug: Slug) -> Environment | None:
        with self._invocation("reconcile"):
            return super().run_pass(slug)

    def _invoke(self, function: str, event: dict[str, Any]) -> None:
        with self._invocation("deploy"):
            super()._invoke(function, event)

    def _emit(self, event: dict[str, Any]) -> None:
        with self._invocation("signals"):
            super()._emit(event)

    def say(self, *args: Any, **details: Any) -> Slug:
        with self._invocation(
            "reconcile"
        ):  # the message of the webhook: the pass that follows is the same run
            return super().say(*args, **details)

    def _wake(self, slug: Slug, why: str) -> None:
        super()._wake(slug, why)
        self._note("sqs:SendMessage", {"slug": slug, "why": why})

    def _ask(self, datastores: Callable[[Any], Any], request: Mapping[str, Any]) -> Any:
        self._note(f"lambda:Invoke {request['store']}", request)
        return datastores(request)

    def _count(self, event: Event) -> None:
        if event.moment == "before":
            self._note(event.name, event.params)

    def _note(self, name: str, params: Mapping[str, Any]) -> None:
        if self._running:
            self._running[-1].append((name, params))

    @contextmanager
    def _invocation(self, function: str) -> Iterator[None]:
        self._running.append([])
        try:
            yield
        finally:
            calls = self._running.pop()
            if calls:
                self.invocations.append((function, calls))


def fewest(calls: Invocation) -> Counter[str]:
    """Service → calls, if everything that was asked had been asked in as few as AWS admits."""
    things: dict[tuple[str, int], set[str]] = defaultdict(set)
    for name, params in calls:
        place, size = BATCHES.get(name, ("", 1))
        if name == "elbv2:DescribeTargetGroups" and "LoadBalancerArn" not in params:
            place, size = ("Names" if "Names" in params else "TargetGroupArns"), GROUPS
        asked = params.get(place, params)
        for thing in asked if isinstance(asked, list | tuple) else [asked]:
            things[name, size].add(repr(thing))
    found: Counter[str] = Counter()
    for (name, size), distinct in things.items():
        found[name.partition(":")[0]] += math.ceil(len(distinct) / size)
    return found


def made(calls: Invocation) -> Counter[str]:
    """Service → calls, as they were made."""
    return Counter(name.partition(":")[0] for name, _ in calls)


def measure() -> report.Result:
    """One row per act and service."""
    logging.disable()
    with strict_aws() as aws:
        world = aws.world()
        qa = Counted(aws, world, blueprint(world))
        acts: dict[str, list[Invocation]] = {}

        def act(title: str, do: Callable[[], object]) -> None:
            qa.invocations.clear()
            do()
            acts[title] = [calls for _, calls in qa.invocations]

        slug = Slug("qa-foo")
        act("create", lambda: (qa.push("qa/foo", A), qa.settle()))
        assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
        qa.run_pass(slug)
        act("a pass at rest", lambda: qa.run_pass(slug))
        act("update push", lambda: (qa.push("qa/foo", B), qa.settle()))
        assert qa.env(slug).phase is Phase.READY, qa.messages(slug)
        act("delete", lambda: (qa.delete("qa/foo"), qa.settle()))
        assert qa.left() == [], qa.left()
    return report.Result(
        "Calls of one environment with three roles, two of them with a URL",
        ["act", "functions run", "service", "calls", "fewest", "ratio"],
        [row for title, runs in acts.items() for row in _rows(title, runs)],
        [_goal(title, acts[title]) for title in ("a pass at rest", "update push")],
        ["Calls per function's run are what throttling meets: divide by the functions run."],
    )


def _rows(title: str, runs: list[Invocation]) -> Iterator[report.Row]:
    calls, least = _sums(runs)
    for service in [*sorted(calls), "all"]:
        counts = [sum(one.values()) if service == "all" else one[service] for one in (calls, least)]
        yield {
            "act": title,
            "functions run": len(runs),
            "service": service,
            "calls": counts[0],
            "fewest": counts[1],
            "ratio": counts[0] / counts[1],
        }


def _sums(runs: list[Invocation]) -> tuple[Counter[str], Counter[str]]:
    return sum(map(made, runs), Counter()), sum(map(fewest, runs), Counter())


def _goal(title: str, runs: list[Invocation]) -> report.Goal:
    calls, least = _sums(runs)
    return report.Goal(f"calls, {title}", calls.total(), least.total(), "calls", REACH)


if __name__ == "__main__":
    sys.exit(report.main(measure))
