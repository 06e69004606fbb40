"""Whole lives on the local stack: how soon an event is followed by the call it allows, and what we add.

    make bench        (PYTHONPATH=src:. python -m bench.stack [--json])

Environments are created, updated and deleted one after the other by real pushes; builds take no time. The
tick and the audit are taken out first: a stage that comes to no end without the tick gets it from here, and
is counted. The first life, in which functions start cold, is not.

Latency is from the moment at which something ended or began in AWS until the call that depended on it arrived
at its endpoint, delivery included. A stage lasts from the webhook's start until the curtain has fallen
(create, update) or the record is forgotten (delete). The stack's part of it is the time in which at least one
of these went on, so what happens side by side counts once:

* an endpoint answered a call, or MySQL or Redis the datastores function (whose answer is not the stack's);
* an event or a message was on its way: until the function ran, but not behind an earlier pass;
* the pipeline built, a service started or drained (`waits`).

All the rest is ours. Answers are timed at the endpoints, so what our clients need besides (connecting,
signing, reading) is ours, too. MySQL and Redis are timed from when the function has read the secret until
its end (`data`), which is a little too much: `strict` is the ratio if all of that were ours.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench import report
from bench.report import Goal, Result, Row
from bench.trace import JOB, Trace, covered, over, percentile
from local import git
from local.journal import Line
from local.stack import INSTALLATION, Options, Stack

LIVES = 20
PATIENCE = 30  # seconds for a stage before the tick is made
TICKS = 5  # until a stage is given up
QUIET = 0.5  # seconds without a message before the next push
LATENCY_MAX = 1000  # ms
RATIO_MAX = 1.5
CREATE, UPDATE, DELETE = STAGES = ("create", "update", "delete")
LINK_COLUMNS = ("n", "delivery p50 ms", "p50 ms", "p99 ms")
STAGE_COLUMNS = (
    "messages",
    "passes",
    "calls",
    "wall s",
    "waits s",
    "stack s",
    "data s",
    "ours s",
    "ratio",
    "strict",
)
NOTES = (
    "Here nothing is shown late, so the second look at what is gone follows the first at once. In AWS it",
    "comes with the first tick that is SecondLookSeconds later: no event says that time has passed.",
)

Traces = Mapping[str, Sequence[Trace]]


@dataclass(frozen=True)
class Link:
    """What ended or began, found in a stage by `event`, and the calls of which the first depended on it."""

    name: str
    stages: tuple[str, ...]
    event: Callable[[Trace], Iterable[Line]]
    calls: tuple[str, ...]


def _webhook(trace: Trace) -> Iterable[Line]:
    return trace.runs("webhook")


def _stage_began(trace: Trace) -> Iterable[Line]:
    return trace.events("CodePipeline Stage Execution State Change", state="STARTED")


def _built(trace: Trace) -> Iterable[Line]:
    """The first round of the Deploy action; the others only ask again."""
    return list(trace.events(JOB))[:1]


def _healthy(trace: Trace) -> Iterable[Line]:
    named = {"eventName": "SERVICE_DEPLOYMENT_COMPLETED", "resource": "-web"}
    return trace.events("ECS Deployment State Change", **named)


def _drained(trace: Trace) -> Iterable[Line]:
    return list(trace.events("ECS Task State Change", lastStatus="STOPPED"))[-1:]


LINKS = (
    Link("first push → pipeline", (CREATE,), _webhook, ("codepipeline:CreatePipeline",)),
    Link("next push → execution", (UPDATE,), _webhook, ("codepipeline:StartPipelineExecution",)),
    Link("stage began → looked at", (CREATE, UPDATE), _stage_began, ("codepipeline:ListPipelineExecutions",)),
    Link("image built → task definition", (CREATE, UPDATE), _built, ("ecs:RegisterTaskDefinition",)),
    Link("service healthy → curtain", (CREATE, UPDATE), _healthy, ("elbv2:DeleteRule",)),
    Link("branch deleted → services", (DELETE,), _webhook, ("ecs:DeleteService",)),
    Link("tasks drained → task definition", (DELETE,), _drained, ("ecs:DeregisterTaskDefinition",)),
)


@dataclass
class Lives:
    """Pushes to one stack, and cuts its journal into stages."""

    stack: Stack
    clone: Path
    ticks: int = 0
    _marks: list[tuple[str, float]] = field(default_factory=list)

    def live(self, number: int) -> None:
        """One environment, from its first push until nothing of it is known."""
        branch = f"qa/life-{number}"
        for stage in (CREATE, UPDATE):
            commit = self._commit(f"{stage} {number}")
            self._push(stage, f"HEAD:refs/heads/{branch}")
            self._until(partial(self._is_ready, commit), f"{branch} is ready")
        self._push(DELETE, f":refs/heads/{branch}")
        self._until(lambda: not self._is_known(branch), f"{branch} is forgotten")

    def traces(self) -> Traces:
        """Each stage's parts of the journal, but not the first life's."""
        lines = self.stack.journal.read()
        ends = [*(at for _, at in self._marks[1:]), time.time()]
        found: dict[str, list[Trace]] = {stage: [] for stage in STAGES}
        for (stage, begin), end in list(zip(self._marks, ends, strict=True))[len(STAGES) :]:
            found[stage].append(Trace([line for line in lines if begin <= line["at"] < end]))
        return found

    def _commit(self, text: str) -> str:
        (self.clone / "GREETING").write_text(text, "utf-8")
        git.git(self.clone, "commit", "--quiet", "--all", "--message", text)
        return git.git(self.clone, "rev-parse", "HEAD").strip()

    def _push(self, stage: str, refspec: str) -> None:
        self._until(self._is_quiet, "the queue is empty")
        self._marks.append((stage, time.time()))
        git.git(self.clone, "push", "--quiet", "origin", refspec)

    def _until(self, done: Callable[[], bool], what: str) -> None:
        """Wait; make the tick where nothing else does it."""
        for _ in range(TICKS):
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                if done():
                    return
                time.sleep(0.1)
            self.ticks += 1
            self.stack.client("lambda").invoke(FunctionName=f"{INSTALLATION}-sweep", Payload=b"{}")
        raise TimeoutError(f"{what}: not after {TICKS} ticks; logs are in {self.stack.info['logs']}")

    def _is_ready(self, commit: str) -> bool:
        posted = self.stack.github.posted if self.stack.github else []
        said = [one["body"]["state"] for one in posted if one["path"] == f"/statuses/{commit}"]
        return "success" in said

    def _is_known(self, branch: str) -> bool:
        key = {"pk": {"S": "environment"}, "sk": {"S": branch.replace("/", "-")}}
        found = self.stack.client("dynamodb").get_item(TableName=self.stack.info["table"], Key=key)
        return "Item" in found

    def _is_quiet(self) -> bool:
        """No build and no message, and still none a moment later."""
        if not self._is_idle():
            return False
        time.sleep(QUIET)
        return self._is_idle()

    def _is_idle(self) -> bool:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        asked = {"QueueUrl": self.stack.info["queue_url"], "AttributeNames": names}
        counts = self.stack.client("sqs").get_queue_attributes(**asked)["Attributes"]
        return not any(int(count) for count in counts.values()) and "InProgress" not in self._executions()

    def _executions(self) -> set[str]:
        """The states of all executions there are."""
        client = self.stack.client("codepipeline")
        names = [one["name"] for one in client.list_pipelines()["pipelines"]]
        lists = [client.list_pipeline_executions(pipelineName=name) for name in names]
        return {one["status"] for found in lists for one in found["pipelineExecutionSummaries"]}


def measure() -> Result:
    """One row per link and per stage."""
    with Stack.start(Options(name="bench"), say=_say) as stack, tempfile.TemporaryDirectory() as place:
        _take_out_the_tick(stack)
        git.git(Path(place), "clone", "--quiet", stack.info["git_remote"], "clone")
        lives = Lives(stack, Path(place) / "clone")
        lives.live(0)
        cold = lives.ticks
        for number in range(1, LIVES + 1):
            lives.live(number)
        return result(lives.traces(), lives.ticks - cold)


def result(traces: Traces, ticks: int) -> Result:
    """What was seen, as a table."""
    links = [_latency(link, traces) for link in LINKS]
    stages = [_stage(stage, traces[stage]) for stage in STAGES]
    slowest = max(links, key=lambda row: float(row["p99 ms"]))
    goals = [
        Goal(f"{slowest['what']}, p99, the slowest", slowest["p99 ms"], LATENCY_MAX, "ms", 1),
        Goal("stages that waited for the tick", ticks, 0, "stages", 1),
        *(Goal(row["what"], row["wall s"], row["stack s"], "s", RATIO_MAX) for row in stages),
    ]
    columns = ("what", *LINK_COLUMNS, *STAGE_COLUMNS)
    return Result("Lives on the local stack, without the tick", columns, [*links, *stages], goals, NOTES)


def _latency(link: Link, traces: Traces) -> Row:
    found = [one for stage in link.stages for trace in traces[stage] for one in _followed(link, trace)]
    delivered, called = zip(*found, strict=True)
    values = (len(found), percentile(delivered, 50), percentile(called, 50), percentile(called, 99))
    return {"what": link.name} | dict(zip(LINK_COLUMNS, values, strict=True))


def _followed(link: Link, trace: Trace) -> Iterator[tuple[float, float]]:
    """Milliseconds until the event was delivered, and until the call came."""
    for event in link.event(trace):
        at = event["at"]
        called = next(one["at"] for one in trace.calls(*link.calls) if one["at"] > at)
        delivered = trace.delivered(event) if event["kind"] == "event" else at
        yield ((delivered or at) - at) * 1000, (called - at) * 1000


def _stage(stage: str, traces: Sequence[Trace]) -> Row:
    """Medians; the ratio is that of the medians."""
    parts = [_parts(stage, trace) for trace in traces]
    row: Row = {name: statistics.median(one[name] for one in parts) for name in parts[0]}
    strict = row["wall s"] / (row["stack s"] - row["data s"])
    return {"what": stage, "n": len(parts), **row, "ratio": row["wall s"] / row["stack s"], "strict": strict}


def _parts(stage: str, trace: Trace) -> dict[str, float]:
    last = "dynamodb:TransactWriteItems" if stage == DELETE else "elbv2:DeleteRule"
    *_, closing = trace.calls(last)
    window = (trace.start, over(closing))
    wall, waits = window[1] - window[0], list(trace.waits())
    without_data = [*waits, *trace.answers(), *trace.deliveries()]
    stacks = covered([*without_data, *trace.statements()], window)
    return {
        "messages": _number(trace.runs("reconcile")),
        "passes": _number(trace.passes()),
        "calls": _number(trace.calls()),
        "wall s": wall,
        "waits s": covered(waits, window),
        "stack s": stacks,
        "ours s": wall - stacks,
        "data s": stacks - covered(without_data, window),
    }


def _number(lines: Iterable[Any]) -> float:
    return float(sum(1 for _ in lines))


def _take_out_the_tick(stack: Stack) -> None:
    schedules = stack.client("scheduler")
    for one in schedules.list_schedules()["Schedules"]:
        schedules.delete_schedule(Name=one["Name"], GroupName=one["GroupName"])


def _say(text: str) -> None:
    """Beside the table, which may be JSON."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(report.main(measure))
