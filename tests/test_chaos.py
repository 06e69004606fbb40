"""Random histories: a few hundred of them here, as many as one likes by `make chaos SEEDS=10000`.

Each seed is one history (`tests/chaos/histories.py`); a failure prints it step by step. The mutants are the
measure: a suite that does not notice what they break would not notice it in the loop either.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from qa_env.model import Wish
from tests.chaos import hands, invariants
from tests.chaos.gate import Fault
from tests.chaos.histories import DIRECTED, calm, live
from tests.chaos.machine import BRANCHES, KINDS, SERVICES, chaotic
from tests.chaos.mutants import MUTANTS, Mutant

SEEDS = 200
AT_ONCE = 10
ENOUGH = 60  # histories in which a mutant must have been caught


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What goes wrong on purpose fills no log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_every_history_settles(first: int) -> None:
    wrong = [result for result in map(live, range(first, first + AT_ONCE)) if result.wrong]
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("name", DIRECTED)
def test_every_directed_history_settles(name: str) -> None:
    assert not live(name).wrong, live(name)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_every_mutant_is_caught(mutant: Mutant) -> None:
    """The seeds that are known to catch it come first; after a change of the loop others may."""
    seeds = dict.fromkeys((*mutant.caught_by, *range(ENOUGH)))
    caught = (seed for seed in seeds if live(seed, mutant=mutant).wrong)
    assert list(islice(caught, 1)), f"{mutant.name}: none of {len(seeds)} histories notices it"


# --- the same machine in the hands of Hypothesis, which shrinks what it finds -----------------------------

branches = st.sampled_from(list(BRANCHES))
numbers = st.integers(0, 7)
MEETINGS = ("codepipeline:CreatePipeline", "elbv2:CreateListener", "dynamodb:save", "dynamodb:forget")


class History(RuleBasedStateMachine):
    """Asks GitHub; `NoGitHub` believes the last webhook."""

    asks_github = True

    def __init__(self) -> None:
        super().__init__()
        self.made = chaotic(asks_github=self.asks_github)
        self.chaos = self.made.__enter__()

    @rule(branch=branches, bad=st.sampled_from(["", "", "build", "migrate"]))
    def push(self, branch: str, bad: str) -> None:
        self.chaos.do_bad_push(branch, bad) if bad else self.chaos.do_push(branch)

    @rule(branch=branches)
    def delete(self, branch: str) -> None:
        self.chaos.do_delete(branch)

    @rule(which=numbers, again=st.booleans())
    def hear(self, which: int, again: bool) -> None:
        self.chaos.do_hear(which, again)

    @rule(kind=st.sampled_from([str(kind) for kind in KINDS]), at=st.integers(1, 40))
    def receive(self, kind: str, at: int) -> None:
        self.chaos.do_receive(kind, at)

    @rule(
        act=st.sampled_from(["tick", "audit", "pipelines"]),
        kind=st.sampled_from([str(kind) for kind in Fault]),
        at=st.integers(1, 30),
    )
    def strike(self, act: str, kind: str, at: int) -> None:
        self.chaos.do_strike(act, kind, at)

    @rule(times=st.integers(1, 6))
    def receive_well(self, times: int) -> None:
        self.chaos.do_receive_well(times)

    @rule(steps=st.integers(1, 12))
    def work(self, steps: int) -> None:
        self.chaos.do_pipelines(steps)
        self.chaos.do_tasks()

    @rule(seconds=st.sampled_from([20, 100, 700]))
    def wait(self, seconds: int) -> None:
        self.chaos.do_wait(seconds)
        self.chaos.do_tick()

    @rule(branch=branches, wish=st.sampled_from(list(Wish)))
    def ask(self, branch: str, wish: Wish) -> None:
        self.chaos.do_ask(branch, wish)

    @rule(branch=branches, kind=st.sampled_from(list(hands.DELETES)))
    def delete_by_hand(self, branch: str, kind: str) -> None:
        self.chaos.do_delete_by_hand(kind, branch)

    @rule(branch=branches, kind=st.sampled_from(list(hands.CHANGES)))
    def change_by_hand(self, branch: str, kind: str) -> None:
        self.chaos.do_change_by_hand(kind, branch)

    @rule(branch=branches, what=st.sampled_from(["record", "claims", "both", "table"]))
    def lose(self, branch: str, what: str) -> None:
        if what == "claims":
            self.chaos.do_lose_claims(branch)
        elif what == "table":
            self.chaos.do_lose_table(claims=False)
        else:
            self.chaos.do_lose_record(branch, claims=what == "both")

    @rule(which=numbers)
    def lose_webhook(self, which: int) -> None:
        self.chaos.do_lose_webhook(which)

    @rule(which=numbers)
    def lose_event(self, which: int) -> None:
        self.chaos.do_lose_event(which)

    @rule(branch=branches, back_and_forth=st.booleans())
    def hurry(self, branch: str, back_and_forth: bool) -> None:
        self.chaos.do_hurry(branch, back_and_forth)

    @rule(call=st.sampled_from(MEETINGS), act=st.sampled_from(["push", "delete"]), branch=branches)
    def meet(self, call: str, act: str, branch: str) -> None:
        self.chaos.do_meet(call, act, branch)

    @rule(service=st.sampled_from(["", *SERVICES]))
    def break_or_repair(self, service: str) -> None:
        self.chaos.do_break(service) if service else self.chaos.do_repair()

    @rule(what=st.sampled_from(["goes_blind", "errs", "recovers", "recovers"]))
    def github(self, what: str) -> None:
        getattr(self.chaos, f"do_github_{what}")()

    @rule(world=st.booleans())
    def audit(self, world: bool) -> None:
        self.chaos.do_audit(world)

    @invariant()
    def nothing_bad_has_happened(self) -> None:
        wrong = list(invariants.after_a_step(self.chaos))
        assert not wrong, wrong

    def teardown(self) -> None:
        try:
            wrong = list(calm(self.chaos))
            assert not wrong, wrong
        finally:
            self.made.__exit__(None, None, None)


class NoGitHub(History):
    asks_github = False


@pytest.mark.parametrize("machine", [History, NoGitHub])
def test_whatever_hypothesis_thinks_of(machine: type[History]) -> None:
    """Few examples, and always the same: the seeds above are the many."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=10,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
