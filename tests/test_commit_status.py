"""The commit status: what a developer sees on GitHub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from qa_env.errors import Blocked, NotReady
from qa_env.model import Environment, Phase, State
from qa_env.reports.commit_status import CommitStatus
from tests import reporting
from tests.making import A, B, environment, said
from tests.reporting import HOSTILE, LISTENERS, LOG, PAGE, TOKEN, URL, Hub, Loop, github, settings, told


@pytest.fixture
def hub() -> Iterator[Hub]:
    with github() as made:
        yield made


@pytest.fixture
def report(hub: Hub) -> CommitStatus:
    return CommitStatus(hub.api, settings())


@pytest.mark.parametrize(
    ("env", "phase", "state", "text"),
    [
        (reporting.queued(), Phase.QUEUED, "pending", "Queued"),
        (reporting.building(), Phase.BUILDING, "pending", "Building"),
        (reporting.deploying(), Phase.DEPLOYING, "pending", "Starting"),
        (reporting.ready(), Phase.READY, "success", "Ready"),
        (reporting.asleep(), Phase.ASLEEP, "success", "Asleep, opening it wakes it"),
        (reporting.failed(), Phase.FAILED, "failure", "Failed: exit code 1"),
        (reporting.blocked(), Phase.BLOCKED, "error", "Needs a person: no free port"),
    ],
)
def test_each_phase_has_a_state_and_a_word(
    hub: Hub, report: CommitStatus, env: Environment, phase: Phase, state: str, text: str
) -> None:
    """With the reason where there is trouble, in one context for the environment."""
    assert env.phase is phase
    told(report, env)
    (status,) = hub.statuses()
    assert (status["state"], status["description"], status["context"]) == (state, text, "qa-env/qa-foo")


def test_the_url_is_the_main_roles(hub: Hub, report: CommitStatus) -> None:
    """Not the first of the alphabet; it is there as soon as the listener is, long before anything runs."""
    told(report, reporting.building())
    assert hub.statuses()[0]["target_url"] == URL


def test_a_failure_leads_to_its_log(hub: Hub, report: CommitStatus) -> None:
    told(report, reporting.failed())
    assert hub.statuses()[0]["target_url"] == LOG


def test_without_a_url_it_leads_to_the_page_or_nowhere(hub: Hub, report: CommitStatus) -> None:
    """GitHub is not given an empty address."""
    told(report, reporting.queued())
    told(CommitStatus(hub.api, settings(page={})), reporting.queued(commit=B))
    assert hub.statuses(A)[0]["target_url"] == f"{PAGE}/environments/qa-foo"
    assert hub.statuses(B)[0]["target_url"] is None


def test_what_was_said_is_not_said_again(hub: Hub, report: CommitStatus) -> None:
    """A hundred passes are one status, and not even a question: GitHub takes a thousand for a commit."""
    env = told(report, reporting.building())
    asked = len(hub.asked)
    for number in range(5):
        env = told(report, env.with_conditions({"service/app": said(State.WAITING, f"{number} of 3")}))
    assert len(hub.statuses()) == 1
    assert len(hub.asked) == asked


def test_what_is_new_is_said(hub: Hub, report: CommitStatus) -> None:
    """Another phase, another reason, another address; and then no more."""
    env = told(report, reporting.building())
    for conditions in (
        {"service/app": said(State.READY)},
        {"service/app": said(State.FAILED, "exit code 1")},
        {"service/app": said(State.FAILED, "exit code 2")},
        {"service/app": said(State.READY)},
        {"listener/app": said(State.READY, url="https://qa.example.com/")},
    ):
        env = told(report, told(report, env.with_conditions(conditions)))
    assert [status["description"] for status in hub.statuses()] == [
        "Building",
        "Ready",
        "Failed: exit code 1",
        "Failed: exit code 2",
        "Ready",
        "Ready",
    ]


def test_what_memory_lost_is_found(hub: Hub, report: CommitStatus) -> None:
    """A pass that died after telling tells nothing twice, whatever the record remembers."""
    before = told(report, reporting.building())
    told(report, reporting.ready(), before)
    for memory in (None, before):
        told(report, reporting.ready(), memory)
    assert [status["description"] for status in hub.statuses()] == ["Building", "Ready"]


def test_only_the_newest_of_our_own_context_counts(hub: Hub, report: CommitStatus) -> None:
    """Others speak of the commit, too, and what we said before something else is to be said again."""
    hub._post_status(A, {"state": "success", "description": "Ready", "context": "ci"})
    env = told(report, reporting.ready())
    env = told(report, reporting.building(), env)
    told(report, reporting.ready(), env)
    ours = [one["description"] for one in hub.statuses() if one["context"] == "qa-env/qa-foo"]
    assert ours == ["Ready", "Building", "Ready"]


def test_another_commit_gets_its_own(hub: Hub, report: CommitStatus) -> None:
    """The same words about a new commit are news."""
    env = told(report, reporting.ready())
    told(report, replace(env, commit=B))
    assert [len(hub.statuses(commit)) for commit in (A, B)] == [1, 1]


@pytest.mark.parametrize("length", [100, 139, 140, 141, 1000])
def test_a_long_reason_is_cut(hub: Hub, report: CommitStatus, length: int) -> None:
    """GitHub takes 140 characters and would refuse more."""
    told(report, reporting.blocked("é" * (length - len("Needs a person: "))))
    text = hub.statuses()[0]["description"]
    assert len(text) == min(length, 140)
    assert text.endswith("…") == (length > 140)


def test_a_reason_is_one_line(hub: Hub, report: CommitStatus) -> None:
    told(report, reporting.blocked(f"two\nlines\t{HOSTILE}"))
    assert hub.statuses()[0]["description"] == f"Needs a person: two lines {HOSTILE}"


def test_old_trouble_is_not_todays(hub: Hub, report: CommitStatus) -> None:
    """What an earlier wish ran into is not in the sentence about this one."""
    conditions = {
        "service/app": said(State.FAILED, "old trouble", generation=6),
        "service/worker": said(State.FAILED, "new trouble"),
    }
    told(report, environment(conditions=conditions))
    assert hub.statuses()[0]["description"] == "Failed: new trouble"


def test_its_own_trouble_is_not_the_environments(hub: Hub, report: CommitStatus) -> None:
    """A status that could not be posted before is no reason to call the environment blocked."""
    env = reporting.blocked()
    env = replace(
        env, conditions={"commit_status": said(State.BLOCKED, "GitHub refuses")} | dict(env.conditions)
    )
    told(report, env)
    assert hub.statuses()[0]["description"] == "Needs a person: no free port"


def test_it_speaks_the_blueprints_language(hub: Hub) -> None:
    told(CommitStatus(hub.api, settings(language="ja")), reporting.ready())
    assert hub.statuses()[0]["description"] == "準備完了"


def test_an_unexpected_error_is_not_the_commits_failure(hub: Hub, report: CommitStatus) -> None:
    """It is `error`, as what needs a person is; another report's is none at all."""
    broken = replace(said(State.FAILED, "KeyError with the service; it is tried again"), unexpected=True)
    told(report, environment(conditions=LISTENERS | {"service/app": broken}))
    told(report, reporting.failed(commit=B).with_conditions({"slack": broken}))
    assert [hub.statuses(commit)[0]["state"] for commit in (A, B)] == ["error", "failure"]


def test_many_passes_are_one_status(hub: Hub, report: CommitStatus) -> None:
    """Through the loop: what was said in the last pass is remembered in the next."""
    loop = Loop(report)
    for _ in range(5):
        loop.run()
    assert [status["description"] for status in hub.statuses()] == ["Ready"]
    assert loop.condition.state is State.READY


def test_without_a_commit_there_is_nothing_to_say(hub: Hub, report: CommitStatus) -> None:
    """The `create` event names none: the push will."""
    with pytest.raises(NotReady, match=r"^waiting for the commit$"):
        told(report, environment(commit=""))
    assert hub.asked == []


@pytest.mark.parametrize(
    ("status", "error"), [(404, Blocked), (403, Blocked), (422, Blocked), (503, NotReady)]
)
def test_a_github_that_takes_no_status(
    hub: Hub, report: CommitStatus, status: int, error: type[Exception]
) -> None:
    """The retry policy is the error's; what was not said is said next time."""
    hub.refusing = {("POST", "/statuses/"): (status, "no")}
    with pytest.raises(error) as caught:
        told(report, reporting.ready())
    assert TOKEN not in str(caught.value)
    hub.refusing = {}
    told(report, reporting.ready())
    assert hub.statuses()[0]["state"] == "success"


def test_a_github_that_is_away_holds_nothing_up(hub: Hub, report: CommitStatus) -> None:
    """The phase stays, and the tick asks again."""
    hub.available = False
    loop = Loop(report)
    env = loop.run()
    assert env is not None
    assert (env.phase, env.settled) == (Phase.READY, False)
    assert loop.condition.state is State.WAITING
    hub.available = True
    env = loop.run()
    assert env is not None
    assert env.settled
    assert len(hub.statuses()) == 1


def test_of_what_goes_nothing_new_is_said(hub: Hub, report: CommitStatus) -> None:
    """A past commit's status stands: it cannot be removed."""
    env = told(report, reporting.ready())
    asked = len(hub.asked)
    after = told(report, reporting.deleting(), env)
    report.delete(after)
    assert after.remembered("commit_status") == env.remembered("commit_status")
    assert len(hub.asked) == asked
    assert list(report.owners()) == []
