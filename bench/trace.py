"""Reading the local stack's journal: who was at work when, and what followed what.

Only calls of qa-env's own functions count, not those of the page, which somebody looks at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from local.iam.guard import access_key
from local.journal import Line
from local.stack import INSTALLATION

FUNCTIONS = ("webhook", "reconcile", "signals", "deploy", "datastores")
KEYS = {access_key(f"{INSTALLATION}-{name}") for name in FUNCTIONS} | {""}  # GitHub and Slack know no keys
DATASTORES = access_key(f"{INSTALLATION}-datastores")
OURS = "lambda:Invoke"  # of the datastores function
JOB = "CodePipeline job"

Span = tuple[float, float]


@dataclass(frozen=True)
class Trace:
    """A part of the journal, in the order of time: one push and what came of it."""

    lines: Sequence[Line]

    @property
    def start(self) -> float:
        """When the webhook function was started."""
        return float(next(self.runs("webhook"))["at"])

    def runs(self, function: str) -> Iterator[Line]:
        """The function's runs."""
        name = f"{INSTALLATION}-{function}"
        return (one for one in self._of("run") if one["function"] == name)

    def calls(self, *operations: str) -> Iterator[Line]:
        """Our functions' calls; of all operations if none is named."""
        ours = (one for one in self._of("call") if one["key"] in KEYS)
        return (one for one in ours if not operations or one["operation"] in operations)

    def events(self, name: str, **about: str) -> Iterator[Line]:
        """Events of this name of which all of this is said; of a value its end is enough."""
        named = (one for one in self._of("event") if one["name"] == name)
        return (
            one
            for one in named
            if all(one["about"].get(field, "").endswith(end) for field, end in about.items())
        )

    def passes(self) -> Iterator[Line]:
        """Runs of reconcile that looked at the environment."""
        looks = [one["at"] for one in self.calls("dynamodb:GetItem")]
        return (run for run in self.runs("reconcile") if any(run["at"] <= at <= over(run) for at in looks))

    def delivered(self, event: Line) -> float | None:
        """When the function that the event goes to began to run; None if it goes to none."""
        told = self.runs("deploy") if event["name"] == JOB else self._told(event)
        return next((run["at"] for run in told if run["at"] >= event["at"]), None)

    def answers(self) -> Iterator[Span]:
        """While an endpoint answered a call."""
        return (_span(one) for one in self.calls() if one["operation"] != OURS)

    def statements(self) -> Iterator[Span]:
        """While MySQL or Redis was connected to and answered: from the secret's answer to the run's end.

        The function itself needs about a millisecond of that.
        """
        read = [over(one) for one in self.calls("secretsmanager:GetSecretValue") if one["key"] == DATASTORES]
        for run in self.runs("datastores"):
            if begun := [at for at in read if run["at"] <= at <= over(run)]:
                yield max(begun), over(run)

    def deliveries(self) -> Iterator[Span]:
        """While an event or a message was on its way, and no earlier pass held it up."""
        for event in self._of("event"):
            if (at := self.delivered(event)) is not None:
                yield event["at"], at
        free = 0.0
        for run in self.runs("reconcile"):
            yield max(free, run["about"]["sent"]), run["at"]
            free = over(run)

    def waits(self) -> Iterator[Span]:
        """While the pipeline built, services started and tasks drained."""
        started = self.calls("codepipeline:CreatePipeline", "codepipeline:StartPipelineExecution")
        yield from _between(started, list(self.events(JOB))[:1])
        deployed = self.events("ECS Deployment State Change", eventName="SERVICE_DEPLOYMENT_COMPLETED")
        yield from _between(self.calls("ecs:CreateService", "ecs:UpdateService"), deployed)
        stopped = self.events("ECS Task State Change", lastStatus="STOPPED")
        yield from _between(self.calls("ecs:DeleteService"), stopped)

    def _of(self, kind: str) -> Iterator[Line]:
        return (one for one in self.lines if one["kind"] == kind)

    def _told(self, event: Line) -> Iterator[Line]:
        """Runs of signals that were given such an event."""
        said = {field: value for field, value in event["about"].items() if field != "resource"}.items()
        for run in self.runs("signals"):
            given = run["about"]
            if given.get("detail-type") == event["name"] and said <= given.get("detail", {}).items():
                yield run


def over(line: Line) -> float:
    """When what the line is about was over."""
    return float(line["at"] + line["took"])


def covered(spans: Iterable[Span], within: Span) -> float:
    """Seconds of `within` in which there is at least one of the spans."""
    reached, last = within
    total = 0.0
    for begin, end in sorted(spans):
        begin, end = max(begin, reached), min(end, last)
        if end > begin:
            total, reached = total + end - begin, end
    return total


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest of the values that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _between(calls: Iterable[Line], events: Iterable[Line]) -> Iterator[Span]:
    """From the first call's answer until the last of the events."""
    begun, ended = next(iter(calls), None), list(events)
    if begun and ended:
        yield over(begun), ended[-1]["at"]


def _span(line: Line) -> Span:
    return line["at"], over(line)
