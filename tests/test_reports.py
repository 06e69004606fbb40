"""What all reports have in common: who is told as the blueprint wants it, and that nobody waits for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from qa_env import app
from qa_env.controller import FAREWELL, Controller, Plan
from qa_env.errors import Blocked, NotReady
from qa_env.model import REPORTS, Desired, Environment, Outputs, Phase, Resource, Slug, State
from qa_env.reports.pull_request import PullRequest
from qa_env.wording import Words, en
from tests.fakes import MemoryStore, NothingToClaim
from tests.installation import Installation, blueprint, installed
from tests.making import REPOSITORY, B, environment, example
from tests.making import blueprint as made_blueprint

# --- who is told ------------------------------------------------------------------------------------------


def kinds(qa: Installation, **changes: Any) -> list[str]:
    plan = app.plan(qa.clients, qa.store, blueprint(qa.world, **changes))
    return [report.kind for report in plan.reports]


def test_who_is_told_is_the_blueprints_choice() -> None:
    github, slack = {"secret": "secretsmanager:github"}, {"secret": "secretsmanager:slack"}
    with installed() as qa:
        assert kinds(qa) == ["event"]
        assert kinds(qa, events=False) == []
        assert kinds(qa, slack=slack, events=False) == ["slack"]
        assert set(kinds(qa, slack=slack, github=github)) == REPORTS
        only = {**github, "report": ["pull_request", "pull_request"]}
        assert kinds(qa, github=only, events=False) == ["pull_request"]
        assert kinds(qa, github={**github, "report": []}, events=False) == []


def test_one_client_for_all_that_have_the_same_credentials() -> None:
    """Who is asked too often limits those: branches, checks and all reports share the silence."""
    hub, other = {"secret": "secretsmanager:github"}, {"secret": "secretsmanager:other"}
    with installed() as qa:
        plans = [
            app.plan(qa.clients, qa.store, blueprint(qa.world, github=settings, slack=hub))
            for settings in (hub, hub, other)
        ]
        clients = [{id(r.github) for r in plan.reports if hasattr(r, "github")} for plan in plans]
        asking = [id(plan.branches.github) for plan in plans]
        assert clients[0] == clients[1] == {asking[0]} == {asking[1]}
        assert clients[2] == {asking[2]} != clients[0]
        assert len({id(r.slack) for plan in plans for r in plan.reports if hasattr(r, "slack")}) == 1


def test_the_comments_mark_has_the_installations_name() -> None:
    with installed() as qa:
        plan = app.plan(qa.clients, qa.store, blueprint(qa.world, github={"secret": "secretsmanager:github"}))
        (report,) = [one for one in plan.reports if isinstance(one, PullRequest)]
        assert report.installation == qa.clients.installation


def test_every_phase_has_its_words() -> None:
    for prefix in ("phase", "report"):
        assert {f"{prefix}.{phase}" for phase in Phase} <= en.TEXTS.keys()
    assert Words("ja")("slack.open", role="app") == "app を開く"


# --- nobody waits for them --------------------------------------------------------------------------------


@dataclass
class Report:
    """Says what a test wants it to; counts how often it was asked."""

    kind: str
    name: str = ""
    trouble: Exception | None = None
    ensured: list[Phase] = field(default_factory=list)
    deleted: int = 0

    def ensure(self, env: Environment) -> Outputs:
        self.ensured.append(env.phase)
        self._speak()
        return {"said": env.phase}

    def delete(self, env: Environment) -> None:
        self.deleted += 1
        self._speak()

    def owners(self) -> Iterator[Slug]:
        return iter(())

    def _speak(self) -> None:
        if self.trouble:
            raise self.trouble


@dataclass
class Branches:
    """A GitHub that shows no branch, or is away."""

    trouble: Exception | None = None

    def head(self, repository: str, branch: str) -> None:
        if self.trouble:
            raise self.trouble


class Told:
    """An environment with two reports, and a clock."""

    def __init__(self, *reports: Resource) -> None:
        self.store, self.now, self.woken = MemoryStore(), 1_800_000_000.0, 0
        plan = Plan(NothingToClaim(), [], [], retired=lambda env: [], reports=reports)
        self.controller = Controller(
            self.store,
            {REPOSITORY: made_blueprint(**example())},
            lambda _: plan,
            self.wake,
            apart=20,
            clock=lambda: self.now,
        )
        self.store.desire(environment(), None)

    def wake(self, slug: Slug, why: str) -> None:
        self.woken += 1

    def run(self, later: float = 60) -> Environment | None:
        self.now += later
        return self.controller.reconcile(Slug("qa-foo"))

    def remove(self) -> None:
        seen = self.store.get(Slug("qa-foo"))
        assert seen is not None
        self.store.desire(replace(seen, desired=Desired.ABSENT, generation=seen.generation + 1), seen)


@pytest.fixture
def good() -> Report:
    return Report("commit_status")


@pytest.fixture
def bad() -> Report:
    return Report("slack", trouble=NotReady("Slack is away"))


@pytest.mark.parametrize("trouble", [NotReady("away"), Blocked("no"), KeyError("bug")])
def test_a_report_in_trouble_is_its_own_affair(good: Report, bad: Report, trouble: Exception) -> None:
    """The phase stays, the other one speaks, nothing is raised, and the record says what is wrong."""
    bad.trouble = trouble
    env = Told(good, bad).run()
    assert env is not None
    assert env.phase is Phase.READY
    assert not env.settled
    states = {NotReady: State.WAITING, Blocked: State.BLOCKED, KeyError: State.FAILED}
    assert env.conditions["slack"].state is states[type(trouble)]
    assert env.remembered("commit_status") == {"said": "ready"}


def test_what_was_said_is_written_down_at_once(good: Report) -> None:
    """Even if it is all that is new: the next pass must not repeat it."""
    told = Told(good)
    told.run()
    env = told.store.get(Slug("qa-foo"))
    assert env is not None
    assert env.remembered("commit_status") == {"said": "ready"}


def test_a_report_causes_no_pass_of_its_own(good: Report, bad: Report) -> None:
    """Its trouble is looked at by the tick, or passes would chase each other."""
    told = Told(good, bad)
    told.run()
    told.woken = 0
    for trouble in (NotReady("still away"), Blocked("no"), None):
        bad.trouble = trouble
        told.run()
    assert told.woken == 0


def test_reports_speak_side_by_side() -> None:
    """One that hangs until its time-out delays no other: both are under way at the same time."""
    meeting = threading.Barrier(2, timeout=10)

    class Meeting(Report):
        def _speak(self) -> None:
            meeting.wait()

    env = Told(Meeting("slack"), Meeting("event")).run()
    assert env is not None
    assert env.settled


def test_the_farewell_waits_for_who_is_away_but_not_for_long(good: Report, bad: Report) -> None:
    """Ten minutes from when nothing was left; who was told is not told again."""
    told = Told(good, bad)
    told.run()
    told.remove()
    passes = 0
    while told.run():
        passes += 1
        assert passes < 20
    assert FAREWELL / 60 <= passes <= FAREWELL / 60 + 2
    assert good.deleted == 1
    assert bad.deleted >= FAREWELL / 60
    assert told.store.get(Slug("qa-foo")) is None


def test_who_was_told_of_the_end_hears_no_more(good: Report, bad: Report) -> None:
    """Nor does a pass in which GitHub could not be asked about the branch make it all be said again."""
    told, github = Told(good, bad), Branches()
    plan = replace(told.controller.plan(made_blueprint(**example())), branches=github)
    told.controller = replace(told.controller, plan=lambda _: plan)
    told.remove()
    while not good.deleted:
        told.run()
    heard = list(good.ensured)
    github.trouble = NotReady("GitHub is away")
    told.run()
    github.trouble = None
    for _ in range(3):
        assert told.run() is not None
    assert (good.deleted, good.ensured) == (1, heard)


def test_the_farewell_ends_when_the_last_one_was_told(good: Report, bad: Report) -> None:
    told = Told(good, bad)
    told.remove()
    for _ in range(4):
        assert told.run() is not None
    bad.trouble = None
    assert told.run() is None
    assert good.deleted == 1


def test_nobody_waits_for_who_needs_a_person(good: Report, bad: Report) -> None:
    """A channel that is archived would keep the record for ever."""
    bad.trouble = Blocked("the channel is archived")
    told = Told(good, bad)
    told.remove()
    passes = 0
    while told.run():
        passes += 1
        assert passes < 4
    assert (good.deleted, bad.deleted) == (1, 1)


def test_a_push_does_not_wait_for_the_farewell(good: Report, bad: Report) -> None:
    """The next life begins as soon as nothing is left, and knows nothing of what was said in the last one."""
    told = Told(good, bad)
    told.remove()
    told.run()
    told.run()
    seen = told.store.get(Slug("qa-foo"))
    assert seen is not None
    told.store.desire(replace(seen, next_commit=B, generation=seen.generation + 1), seen)
    env = told.run()
    assert env is not None
    assert (env.desired, env.commit, env.conditions) == (Desired.PRESENT, B, {})
    assert env.phase is Phase.QUEUED


def test_what_could_not_say_goodbye_is_remembered_by_the_next_life(good: Report, bad: Report) -> None:
    """It finds there what it had said last, and may put it right."""
    away, bad.trouble = bad.trouble, None
    told = Told(good, bad)
    told.run()
    bad.trouble = away
    told.remove()
    seen = told.store.get(Slug("qa-foo"))
    assert seen is not None
    told.store.desire(replace(seen, next_commit=B, generation=seen.generation + 1), seen)
    while (env := told.run()) and env.desired is Desired.ABSENT:
        pass
    assert env is not None
    assert list(env.conditions) == [bad.kind]
    assert env.remembered(bad.kind) == {"said": Phase.READY}


def test_while_it_goes_reports_are_asked_too(good: Report) -> None:
    """They say that it goes; `delete` comes once, at the end."""
    told = Told(good)
    told.run()
    told.remove()
    while told.run():
        assert good.deleted == 0
    assert good.ensured[0] is Phase.READY
    assert set(good.ensured[1:]) <= {Phase.DELETING}
    assert good.deleted == 1
