"""Random histories, each from one number, and what comes of them: calm, and then the truth.

    python -m tests.chaos.histories --seeds 1000 [--first 0] [--steps 60] [--jobs 2]

A history is a list of the machine's steps. When it ends, everything works again and GitHub shows what there
is; where GitHub is not asked, each branch is pushed or deleted once more, because what nobody was told
nobody can know. Then minutes pass, and at last hours, and the invariants must hold.
"""

from __future__ import annotations

import argparse
import gc
import logging
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from qa_env.audit import GRACE
from qa_env.model import Ref, Wish
from tests.chaos import hands, invariants
from tests.chaos.gate import Fault
from tests.chaos.machine import BRANCHES, KINDS, SERVICES, Chaos, chaotic
from tests.chaos.mutants import SOUND, Mutant

Step = tuple[str, tuple[Any, ...]]
STEPS = 60
HOURS = 4  # of calm: two audits a grace period apart, and what they find is torn down in between
PASSES = 120  # over one environment, from the beginning of the calm to its end


DIRECTED: dict[str, tuple[Step, ...]] = {
    "a slow worker makes things for a branch that was looked for and not found": (
        ("push", ("qa/a",)),
        ("hear_all", ()),
        ("meet", ("elbv2:CreateTargetGroup", "delete", "qa/a")),
        ("receive_well", (6,)),
    ),
    "a worker that hung makes a thing after the first look, and the second is told what was before": (
        ("push", ("qa/a",)),
        ("hear_all", ()),
        ("meet", ("codepipeline:CreatePipeline", "delete", "qa/a")),
        ("receive_well", (2,)),
        ("wait", (20,)),
        ("receive", ("stale", 1)),
    ),
    "a push arrives while the environment is being forgotten": (
        ("push", ("qa/a",)),
        ("hear_all", ()),
        ("settle", ()),
        ("delete", ("qa/a",)),
        ("hear_all", ()),
        ("meet", ("dynamodb:forget", "push", "qa/a")),
        ("settle", ()),
    ),
    "the table is lost while four environments live": (
        *(("push", (branch,)) for branch in BRANCHES),
        ("hear_all", ()),
        ("settle", ()),
        ("disaster", (False,)),
    ),
}
"""What chance meets too seldom, without GitHub's word on what lives."""


@dataclass
class Result:
    """What came of one history: nothing in `wrong` if all was well."""

    seed: int | str
    github: bool
    steps: list[Step]
    wrong: list[str] = field(default_factory=list)
    passes: int = 0
    calls: int = 0

    def __str__(self) -> str:
        lines = [f"seed {self.seed} ({'asks GitHub' if self.github else 'last webhook'}):"]
        lines += [f"    {number}. {name} {given}" for number, (name, given) in enumerate(self.steps, 1)]
        return "\n".join([*lines, *(f"  wrong: {one}" for one in self.wrong)])


def live(seed: int | str, *, steps: int = STEPS, mutant: Mutant = SOUND) -> Result:
    """One whole history: odd seeds ask GitHub, a name is one of `DIRECTED`."""
    if isinstance(seed, str):
        return _play(Result(seed, False, []), Random(0), iter(DIRECTED[seed]), mutant)
    random, github = Random(seed), bool(seed % 2)
    return _play(Result(seed, github, []), random, history(random, github, steps), mutant)


def _play(result: Result, random: Random, steps: Iterator[Step], mutant: Mutant) -> Result:
    with chaotic(asks_github=result.github, mutant=mutant) as chaos:
        try:
            for step in steps:
                result.steps.append(step)
                name, given = step
                getattr(chaos, f"do_{name}")(*given)
                chaos.now += random.choice((0, 1, 5, 30))
                result.wrong += invariants.after_a_step(chaos)
                if result.wrong:
                    return result
            result.wrong += calm(chaos)
        except Exception as error:  # a bug of the product or of this harness: both are findings
            result.wrong.append(f"{type(error).__name__}: {error}")
        result.passes = max(chaos.passes.values(), default=0)
        result.calls = len(chaos.gate.calls)
    return result


def history(random: Random, github: bool, number: int) -> Iterator[Step]:
    """Steps by their weights."""
    steps = _steps(random, github)
    weights = [weight for weight, _ in steps]
    for _ in range(number):
        ((_, make),) = random.choices(steps, weights)
        yield make()


def _steps(random: Random, github: bool) -> list[tuple[int, Callable[[], Step]]]:
    def branch() -> str:
        return random.choice(tuple(BRANCHES))

    def any_of(*choices: Any) -> Any:
        return random.choice(choices)

    def at(usual: int) -> int:
        return 1 + int(random.expovariate(1 / usual))

    return [
        (8, lambda: ("push", (branch(),))),
        (2, lambda: ("bad_push", (branch(), any_of("build", "migrate")))),
        (5, lambda: ("delete", (branch(),))),
        (4, lambda: ("hurry", (branch(), any_of(True, False)))),
        (16, lambda: ("hear", (random.randrange(8), random.random() < 0.15))),
        (2, lambda: ("lose_webhook", (random.randrange(8),))),
        (18, lambda: ("receive", (any_of(*map(str, KINDS)), at(12)))),
        (4, lambda: ("strike", (any_of("tick", "audit", "pipelines"), any_of(*map(str, Fault)), at(8)))),
        (14, lambda: ("receive_well", (random.randint(1, 6),))),
        (3, lambda: ("lose_event", (random.randrange(8),))),
        (8, lambda: ("tick", ())),
        (2, lambda: ("audit", (any_of(True, False),))),
        (10, lambda: ("pipelines", (random.randint(1, 12),))),
        (8, lambda: ("tasks", ())),
        (4, lambda: ("wait", (any_of(1, 20, 100, 700, 4000),))),
        (2, lambda: ("break", (any_of(*SERVICES),))),
        (4, lambda: ("repair", ())),
        (2, lambda: ("delete_by_hand", (any_of(*hands.DELETES), branch()))),
        (2, lambda: ("change_by_hand", (any_of(*hands.CHANGES), branch()))),
        (1, lambda: ("lose_record", (branch(), random.random() < 0.3))),
        (1, lambda: ("lose_claims", (branch(),))),
        (1, lambda: ("lose_table", (random.random() < 0.3,))),
        (1, lambda: ("disaster", (random.random() < 0.3,))),
        (2, lambda: ("ask", (branch(), any_of(*Wish)))),
        (1 if github else 0, lambda: ("github_goes_blind", ())),
        (1 if github else 0, lambda: ("github_errs", ())),
        (3 if github else 0, lambda: ("github_recovers", ())),
    ]


def calm(chaos: Chaos) -> Iterator[str]:
    """Everything works again, what was said is heard, time passes; yields what is wrong then."""
    chaos.do_repair()
    chaos.do_github_recovers()
    chaos.trouble = None
    chaos.redrive()
    chaos.do_hear_all()
    chaos.passes.clear()
    chaos.do_settle()
    for branch in BRANCHES:
        _say_the_truth(chaos, branch)
    chaos.do_settle()
    for _ in range(HOURS):
        chaos.now += GRACE
        chaos.operate(chaos.audit_now())
        chaos.do_settle()
        _try_again(chaos)
    chaos.do_watch()
    chaos.do_settle()
    chaos.unclaimed.clear()
    yield from invariants.after_a_step(chaos)
    yield from invariants.in_the_end(chaos)
    yield from invariants.wants_nothing(chaos)
    most = max(chaos.passes.values(), default=0)
    if most > PASSES:
        yield f"{most} passes over one environment since it is calm"


def _say_the_truth(chaos: Chaos, branch: str) -> None:
    """A last word where the last one may not have come, failed or was dismissed."""
    head = chaos.heads.get(branch)
    is_bad = any(commit == head for _, commit in chaos.failing)
    needs_a_build = is_bad or branch in chaos.dismissed or chaos.slug_of(branch) in chaos.emptied
    if head and (needs_a_build or not chaos.branches):
        chaos.do_push(branch)
    elif not head and not chaos.branches:
        chaos.webhooks.append(chaos._change(branch, Ref.ABSENT, "", "", "delete"))
    chaos.do_hear_all()


def _try_again(chaos: Chaos) -> None:
    """A person pushes again where a build failed because its Deploy action reached nothing for too long."""
    for branch in list(chaos.heads):
        env = chaos.records.get(chaos.slug_of(branch))
        said = env.conditions["pipeline"].message if env and "pipeline" in env.conditions else ""
        if "cannot say what became of it" in said or "gave no result within" in said:
            chaos.do_push(branch)
            chaos.do_hear_all()
            chaos.do_settle()


# --- the command ------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args(arguments)
    seeds = range(given.first, given.first + given.seeds)
    began, passes, wrong, calls = time.monotonic(), Counter[int](), 0, 0
    with multiprocessing.Pool(given.jobs, _quietly, maxtasksperchild=100) as pool:
        for result in pool.imap_unordered(_Live(given.steps), seeds):
            passes[result.passes] += 1
            calls += result.calls
            if result.wrong:
                wrong += 1
                print(result, flush=True)
    seconds = time.monotonic() - began
    print(
        f"{given.seeds} histories of {given.steps} steps, {calls} calls, {seconds:.0f} s on {given.jobs}"
        f" processes: {given.seeds - wrong} settled, {wrong} did not; at most {max(passes)} passes"
    )
    return 1 if wrong else 0


@dataclass(frozen=True)
class _Live:
    """`live`, as a pool can send it."""

    steps: int

    def __call__(self, seed: int) -> Result:
        return live(seed, steps=self.steps)


def _quietly() -> None:
    logging.disable(logging.CRITICAL)
    gc.freeze()  # modules and their models: a quarter of the time went into looking through them
    gc.set_threshold(50_000, 20, 50)


if __name__ == "__main__":
    sys.exit(main())
