"""Crash everywhere: each external call of the canonical life goes wrong in each way, and all end the same.

    python -m tests.chaos.crash [--every N] [--way WAY] [--jobs 2] [--github yes|no|both]

The life is lived once to know how each act of it ends. It is lived a second time, and at every call a child
is forked for each way of going wrong; there the call goes wrong, the act is settled as far as redelivery,
tick and time settle it, and the world must be the same as at the end of the undisturbed act. It must stay so
in one more pass, and nothing may have been made once more than in the undisturbed act, except what the call
in question was about to make. That nothing foreign was touched and no claim is held twice follows: STG,
things of others and another environment are part of the world, and at the end of the life it is as before.

Reads are not crashed at: dying before or after a read is dying after the last write. They are throttled,
time out, and answer what was before the last change of the same act. Where nothing was written since the
same function read the same the last time and the answer is the same, too, reading is not tried again.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import logging
import os
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.gate import Call, Fault
from tests.chaos.life import LIFE, REPEATED, SLUG, Act, Life, differences, living, makings, world

OF_WRITES = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.ERROR, Fault.LOST_ANSWER, Fault.THROTTLED)
OF_READS = (Fault.LOST_ANSWER, Fault.THROTTLED)
LONGEST = 120  # seconds that one point may take
BEHIND = (
    "/github",
    "/slack",
    "/elbv2/group/qa-env-page",  # all curtains share it, and the last one takes it along
    "/elbv2/target groups/qa-env-page",
)
"""What may differ between before and after a life."""
SHOWN = 12  # differences of one point

Choice = Callable[[Call, Fault], bool]


@dataclass(frozen=True)
class Point:
    """One call of the life and the way in which it goes wrong."""

    github: bool
    act: str
    number: int
    function: str
    call: str
    fault: Fault

    @property
    def service(self) -> str:
        return self.call.partition(":")[0]

    def __str__(self) -> str:
        asks = "asking GitHub" if self.github else "by the last webhook"
        return f"{self.act}, call {self.number} ({self.function}) {self.call}: {self.fault} ({asks})"


@dataclass(frozen=True)
class End:
    """How an undisturbed act ends."""

    calls: int
    writes: int
    world: dict[str, Any]
    made: Counter[str]


@dataclass
class Report:
    """What was tried and what came of it."""

    calls: int = 0
    writes: int = 0
    seconds: float = 0.0
    tried: list[Point] = field(default_factory=list)
    failed: dict[Point, list[str]] = field(default_factory=dict)

    def add(self, other: Report) -> None:
        self.calls += other.calls
        self.writes += other.writes
        self.seconds += other.seconds
        self.tried += other.tried
        self.failed |= other.failed

    def lines(self) -> Iterator[str]:
        """For people."""
        for point, problems in self.failed.items():
            yield f"FAILED {point}"
            yield from (f"    {problem}" for problem in problems)
        yield from _counted("by way", Counter(str(point.fault) for point in self.tried))
        yield from _counted("by service", Counter(point.service for point in self.tried))
        yield (
            f"{self.calls} calls, {self.writes} of them writes; {len(self.tried)} points tried in"
            f" {self.seconds:.0f} s, {len(self.failed)} failed"
        )


def _counted(title: str, counts: Counter[str]) -> Iterator[str]:
    yield f"{title}: {', '.join(f'{name} {count}' for name, count in counts.most_common())}"


def every(n: int, ways: Container[Fault] = frozenset(Fault)) -> Choice:
    """Each n-th point among those of these ways."""
    seen = 0

    def choose(_call: Call, fault: Fault) -> bool:
        nonlocal seen
        seen += fault in ways
        return fault in ways and seen % n == 0

    return choose


def explore(
    *,
    github: bool,
    choose: Choice = lambda call, fault: True,
    jobs: int = 1,
    acts: Iterable[Act] = LIFE,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Live the life and try every point of it that is chosen."""
    began = time.monotonic()
    acts = tuple(acts)
    ends = undisturbed(github, acts)
    report = Report(sum(end.calls for end in ends), sum(end.writes for end in ends))
    with living(asks_github=github) as life:
        explorer = Explorer(life, github, choose, jobs, report, say)
        for act, end in zip(acts, ends, strict=True):
            before = len(report.tried), len(report.failed)
            explorer.play(act, end)
            tried, failed = len(report.tried) - before[0], len(report.failed) - before[1]
            say(f"{act.name}: {end.calls} calls, {tried} points, {failed} failed")
    report.seconds = time.monotonic() - began
    return report


def undisturbed(github: bool, acts: Iterable[Act]) -> list[End]:
    """The reference: how each act ends when nothing goes wrong."""
    ends = []
    with living(asks_github=github) as life:
        before = world(life)
        for act in acts:
            life.gate.forget()
            act.play(life)
            calls, made = list(life.gate.calls), makings(life)
            ends.append(End(len(calls), sum(not call.is_read for call in calls), world(life), made))
            unrest = restless(life)
            assert not unrest, f"{act.name} does not come to rest: {unrest}"
        changed = differences(before, ends[-1].world) if act.ends is None else []
        left = [line for line in changed if not line.startswith(BEHIND)]
        assert not left, f"the life leaves something or took something along: {left}"
    return ends


def restless(life: Life) -> list[str]:
    """What one more pass changes, though nothing is left to do."""
    return [name for name in life.pass_over(SLUG) if name not in REPEATED]


class Explorer:
    """Lives the life and forks at every call. In a child `point` is what it tries."""

    def __init__(
        self,
        life: Life,
        github: bool,
        choose: Choice,
        jobs: int,
        report: Report,
        say: Callable[[str], None],
    ) -> None:
        self.life = life
        self.github = github
        self.choose = choose
        self.jobs = jobs
        self.report = report
        self.say = say
        self.act = LIFE[0]
        self.point: Point | None = None
        self._read: set[tuple[Any, ...]] = set()
        self._running: dict[int, tuple[int, Point]] = {}  # read end of the pipe → process and its point
        self._answer = -1

    def play(self, act: Act, end: End) -> None:
        """Live one act; its children end here."""
        self.act = act
        self._read.clear()
        self.life.gate.forget()
        self.life.gate.catch_up()  # it was quiet for minutes: nobody lags so far behind
        self.life.gate.decide = self._decide
        gc.freeze()
        try:
            act.play(self.life)
            if self.point:
                self._end(self._problems(self.point, end))
        except BaseException as error:
            if self.point is None:
                raise
            self._end([f"{type(error).__name__}: {error}"])
        gc.unfreeze()
        self.life.gate.decide = lambda call: None
        while self._running:
            self._collect()
        changed = differences(end.world, world(self.life))
        assert not changed, f"the life is not the same twice: {changed}"
        restless(self.life)

    def _decide(self, call: Call) -> Fault | None:
        for fault in self._ways(call):
            if self.choose(call, fault) and self._fork(call, fault):
                return fault
        return None

    def _ways(self, call: Call) -> tuple[Fault, ...]:
        if not call.is_read:
            return OF_WRITES
        place = (call.function, call.name, repr(call.params), self.life.changes())
        if call.can_be_stale:
            return (*OF_READS, Fault.STALE)
        if place in self._read:
            return ()
        self._read.add(place)
        return OF_READS

    def _fork(self, call: Call, fault: Fault) -> bool:
        """True in the child."""
        while len(self._running) >= self.jobs:
            self._collect()
        point = Point(self.github, self.act.name, call.number, call.function, call.name, fault)
        self.report.tried.append(point)
        ours, theirs = os.pipe()
        process = os.fork()
        if process:
            os.close(theirs)
            self._running[ours] = (process, point)
            return False
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a test runner has its own use for it
        signal.alarm(LONGEST)
        gc.disable()
        self.point, self._answer = point, theirs
        self.life.gate.decide = lambda call: None
        return True

    def _problems(self, point: Point, end: End) -> list[str]:
        """What is wrong at the end of an act in which one call went wrong.

        What an old answer left behind may wait for the next look at what is settled (`watch`).
        """
        if restless(self.life):
            self.life.settle()
        made = makings(self.life)
        more = [
            f"{name} was called {count} times, not {end.made[name]}"
            for name, count in made.items()
            if count > _most(point, name, end.made[name])
        ]
        problems = differences(end.world, world(self.life))[:SHOWN] + more
        return problems + [f"one more pass changes something: {name}" for name in restless(self.life)]

    def _end(self, problems: list[str]) -> None:
        """The child says what it found, and is no more."""
        try:
            os.write(self._answer, json.dumps([problem[:2000] for problem in problems]).encode())
        finally:
            os._exit(0)

    def _collect(self) -> None:
        """Wait for a child's answer."""
        ready, _, _ = select.select(list(self._running), [], [])
        for pipe in ready:
            process, point = self._running.pop(pipe)
            with os.fdopen(pipe, "rb") as answer:
                said = answer.read()
            os.waitpid(process, 0)
            problems = json.loads(said) if said else ["no answer"]
            if problems:
                self.report.failed[point] = problems
                self.say(f"FAILED {point}: {problems[0]}")


def _most(point: Point, name: str, made: int) -> int:
    """How often this may have been called where the undisturbed act called it so often.

    All roles share a look: after an old answer each may try once more to make what it has missed.
    """
    if point.fault is Fault.STALE:
        return max(2 * made, made + 1)
    return made + 1 if name == point.call else made


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.crash", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="only each N-th point: best a prime"
    )
    parser.add_argument(
        "--way", action="append", choices=list(Fault), help="only these ways, e.g. 'crash after'"
    )
    parser.add_argument("--jobs", type=int, default=2, help="points tried at the same time")
    parser.add_argument("--github", choices=("yes", "no", "both"), default="both", help="is GitHub asked?")
    parser.add_argument("--json", metavar="FILE", help="also write the failures there")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    total = Report()
    for github in {"yes": [True], "no": [False], "both": [True, False]}[given.github]:
        total.add(
            explore(
                github=github,
                choose=every(given.every, given.way or frozenset(Fault)),
                jobs=given.jobs,
                say=functools.partial(print, flush=True),
            )
        )
    print("\n".join(total.lines()))
    if given.json:
        found = [{**asdict(point), "problems": problems} for point, problems in total.failed.items()]
        Path(given.json).write_text(json.dumps(found, indent=1), "utf-8")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
