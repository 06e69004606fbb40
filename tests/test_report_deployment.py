"""The deployment on GitHub: one per commit, active as long as its version runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from qa_env.errors import Blocked, NotReady
from qa_env.model import Environment, Phase, State
from qa_env.reports.deployment import Deployment
from tests import reporting
from tests.making import A, B, C, environment, said
from tests.reporting import (
    HOSTILE,
    LISTENERS,
    LOG,
    PAGE,
    TOKEN,
    URL,
    Hub,
    Loop,
    github,
    gone,
    settings,
    told,
)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with github() as made:
        yield made


@pytest.fixture
def report(hub: Hub) -> Deployment:
    return Deployment(hub.api, settings())


def shown(hub: Hub) -> list[tuple[str, str]]:
    """(first letter of the commit, newest state) of each deployment, oldest first."""
    return [(commit[0], state) for _, commit, state in hub.deployments.shown()]


def states(hub: Hub, number: int = 0) -> list[str]:
    """Every state that a deployment went through."""
    return [one["state"] for one in hub.deployments.statuses[hub.deployments.all[number]["id"]]]


def newest(hub: Hub) -> dict[str, Any]:
    return hub.deployments.statuses[hub.deployments.all[-1]["id"]][-1]


def at(env: Environment, commit: str) -> Environment:
    return replace(env, commit=commit)


@pytest.mark.parametrize(
    ("env", "state", "text"),
    [
        (reporting.queued(), "queued", "Queued"),
        (reporting.building(), "in_progress", "Building"),
        (reporting.deploying(), "in_progress", "Starting"),
        (reporting.ready(), "success", "Ready"),
        (reporting.asleep(), "success", "Asleep, opening it wakes it"),
        (reporting.failed(), "failure", "Failed: exit code 1"),
        (reporting.blocked(), "error", "Needs a person: no free port"),
    ],
)
def test_each_phase_has_a_state(
    hub: Hub, report: Deployment, env: Environment, state: str, text: str
) -> None:
    told(report, env)
    assert shown(hub) == [("a", state)]
    assert newest(hub)["description"] == text


def test_it_is_what_github_should_know_of_a_test_environment(hub: Hub, report: Deployment) -> None:
    """Nothing is merged, no check is waited for, and it is neither production nor for ever."""
    told(report, reporting.building())
    (made,) = hub.deployments.all
    assert (made["ref"], made["environment"], made["task"]) == (A, "qa/foo", "deploy")
    assert (made["transient_environment"], made["production_environment"]) == (True, False)
    assert made["payload"] == {"qa_env": "qa-foo"}


def test_it_leads_to_the_main_role_and_to_the_page(hub: Hub, report: Deployment) -> None:
    told(report, reporting.building())
    assert (newest(hub)["environment_url"], newest(hub)["log_url"]) == (URL, f"{PAGE}/environments/qa-foo")


def test_a_failure_leads_to_its_log(hub: Hub, report: Deployment) -> None:
    told(report, reporting.failed())
    assert newest(hub)["log_url"] == LOG


def test_what_is_not_known_is_not_sent(hub: Hub) -> None:
    """GitHub refuses an empty address."""
    told(Deployment(hub.api, settings(page={})), reporting.queued())
    assert (newest(hub)["environment_url"], newest(hub)["log_url"]) == ("", "")


@pytest.mark.parametrize("length", [139, 140, 141, 1000])
def test_a_long_reason_is_cut(hub: Hub, report: Deployment, length: int) -> None:
    told(report, reporting.blocked("é" * (length - len("Needs a person: "))))
    assert len(newest(hub)["description"]) == min(length, 140)


def test_it_speaks_the_blueprints_language(hub: Hub) -> None:
    told(Deployment(hub.api, settings(language="ja")), reporting.ready())
    assert newest(hub)["description"] == "準備完了"


def test_what_was_said_is_not_said_again(hub: Hub, report: Deployment) -> None:
    """Not even asked for."""
    env = told(report, reporting.building())
    asked = len(hub.asked)
    for number in range(5):
        env = told(report, env.with_conditions({"service/app": said(State.WAITING, f"{number} of 3")}))
    assert len(hub.asked) == asked


def test_one_deployment_goes_through_a_build(hub: Hub, report: Deployment) -> None:
    env = told(report, reporting.queued())
    for later in (reporting.building(), reporting.deploying(), reporting.ready()):
        env = told(report, later, env)
    assert shown(hub) == [("a", "success")]
    assert states(hub) == ["queued", "in_progress", "in_progress", "success"]


@pytest.mark.parametrize(
    ("known", "state"),
    [
        ({}, "queued"),
        ({"commit": A, "stages": '[{"name": "Source", "status": ""}]'}, "queued"),
        ({"commit": B, "stages": '[{"name": "Source", "status": "Succeeded"}]'}, "queued"),
        ({"commit": A, "stages": '[{"name": "Source", "status": "InProgress"}]'}, "in_progress"),
    ],
    ids=["waiting for checks", "started", "the last push's build", "building"],
)
def test_what_waits_for_its_build_is_queued(
    hub: Hub, report: Deployment, known: dict[str, str], state: str
) -> None:
    """The loop looks before it tells, so a pass that has begun nothing is all there is of a queue."""
    told(report, reporting.building().with_conditions({"pipeline": said(State.WAITING, **known)}))
    assert states(hub) == [state]


def test_what_memory_lost_is_found(hub: Hub, report: Deployment) -> None:
    """A pass that died after telling makes no second deployment and tells nothing twice."""
    before = told(report, reporting.building())
    told(report, reporting.ready(), before)
    for memory in (None, before):
        env = told(report, reporting.ready(), memory)
    assert states(hub) == ["in_progress", "success"]
    assert env.remembered("deployment")["commit"] == A


def test_a_pass_that_died_before_it_told_the_state(hub: Hub, report: Deployment) -> None:
    """The deployment is there already, and has no status."""
    hub.refusing = {("POST", "/statuses"): (503, "away")}
    with pytest.raises(NotReady):
        told(report, reporting.building())
    hub.refusing = {}
    told(report, reporting.building())
    assert shown(hub) == [("a", "in_progress")]


def test_others_deployments_are_left_alone(hub: Hub, report: Deployment) -> None:
    """Of the same commit, in the same environment, in any form that a payload may have."""
    for payload in ({}, "", "text", '{"qa_env": "qa-bar"}', {"qa_env": "qa-bar"}, None, [], "7"):
        given = {"ref": A, "environment": "qa/foo", "payload": payload, "auto_merge": False}
        hub.deployments.create({**given, "required_contexts": []}, A, True, "now")
    env = told(report, reporting.ready())
    told(report, reporting.deleting(), env)
    assert [state for _, state in shown(hub)] == [""] * 8 + ["inactive"]


def test_a_payload_that_comes_back_as_text_is_ours(hub: Hub, report: Deployment) -> None:
    told(report, reporting.building())
    hub.deployments.all[0]["payload"] = '{"qa_env": "qa-foo"}'
    told(report, reporting.ready())
    assert shown(hub) == [("a", "success")]


class TestCommits:
    """Two versions of one environment."""

    def test_the_old_one_stays_while_it_runs(self, hub: Hub, report: Deployment) -> None:
        """And becomes inactive when the new one is live."""
        env = told(report, reporting.ready())
        env = told(report, at(reporting.building(), B), env)
        assert shown(hub) == [("a", "success"), ("b", "in_progress")]
        env = told(report, at(reporting.failed(), B), env)
        assert shown(hub) == [("a", "success"), ("b", "failure")]
        env = told(report, at(reporting.ready(), B), env)
        assert shown(hub) == [("a", "inactive"), ("b", "success")]
        assert env.remembered("deployment")["superseded"] == ""

    def test_the_old_one_stays_though_github_does_not_show_its_success_yet(
        self, hub: Hub, report: Deployment
    ) -> None:
        """Its list lags; what was said of it is remembered."""
        env = told(report, reporting.ready())
        before = hub.deployments.statuses.copy()
        hub.deployments.statuses.update({number: [] for number in before})
        env = told(report, at(reporting.building(), B), env)
        hub.deployments.statuses.update(before)
        assert shown(hub) == [("a", "success"), ("b", "in_progress")]
        told(report, at(reporting.ready(), B), env)
        assert shown(hub) == [("a", "inactive"), ("b", "success")]

    def test_one_that_never_ran_ends_at_once(self, hub: Hub, report: Deployment) -> None:
        """Three pushes within a minute: the first still runs."""
        env = told(report, reporting.ready())
        env = told(report, at(reporting.building(), B), env)
        env = told(report, at(reporting.building(), C), env)
        assert shown(hub) == [("a", "success"), ("b", "inactive"), ("c", "in_progress")]
        told(report, at(reporting.ready(), C), env)
        assert shown(hub) == [("a", "inactive"), ("b", "inactive"), ("c", "success")]

    def test_back_to_a_commit_that_still_runs(self, hub: Hub, report: Deployment) -> None:
        """Its deployment goes on."""
        env = told(report, reporting.ready())
        env = told(report, at(reporting.building(), B), env)
        told(report, reporting.ready(), env)
        assert shown(hub) == [("a", "success"), ("b", "inactive")]

    def test_back_to_a_commit_that_has_ended(self, hub: Hub, report: Deployment) -> None:
        """That is a new deployment: GitHub shows them in the order in which they were made."""
        env = told(report, reporting.ready())
        env = told(report, at(reporting.ready(), B), env)
        told(report, reporting.building(), env)
        assert shown(hub) == [("a", "inactive"), ("b", "success"), ("a", "in_progress")]

    def test_one_that_was_made_and_not_written_down_is_ended(self, hub: Hub, report: Deployment) -> None:
        """The pass for B died; when the next one ran, C had been pushed."""
        env = told(report, reporting.ready())
        told(report, at(reporting.building(), B), env)
        told(report, at(reporting.building(), C), env)
        assert shown(hub) == [("a", "success"), ("b", "inactive"), ("c", "in_progress")]

    def test_a_crash_after_any_call_is_repaired(self, hub: Hub, report: Deployment) -> None:
        """The same pass again, with the memory of the pass before, ends as if nothing had happened."""
        env = told(report, reporting.ready())
        for _ in range(3):
            told(report, at(reporting.ready(), B), env)
        assert shown(hub) == [("a", "inactive"), ("b", "success")]
        assert states(hub, 1) == ["success"]


class TestTheEnd:
    def test_everything_is_inactive(self, hub: Hub, report: Deployment) -> None:
        """Already when it goes; and once it is gone, nothing more has to be said."""
        env = told(report, reporting.ready())
        env = told(report, at(reporting.building(), B), env)
        env = told(report, at(reporting.deleting(), B), env)
        assert shown(hub) == [("a", "inactive"), ("b", "inactive")]
        asked = len(hub.asked)
        told(report, at(reporting.deleting(), B), env)
        gone(report, at(reporting.deleting(), B), env)
        assert len(hub.asked) == asked

    def test_it_is_inactive_when_gone_whatever_was_said_before(self, hub: Hub, report: Deployment) -> None:
        """No pass had the time to tell that it goes; or its memory is lost."""
        env = told(report, reporting.ready())
        gone(report, reporting.deleting(), env)
        told(report, at(reporting.building(), B))
        gone(report, at(reporting.deleting(), B))
        assert shown(hub) == [("a", "inactive"), ("b", "inactive")]

    def test_a_new_life_has_a_new_deployment(self, hub: Hub, report: Deployment) -> None:
        """The branch was deleted and pushed again, at the same commit."""
        env = told(report, reporting.ready())
        gone(report, reporting.deleting(), env)
        told(report, reporting.building())
        assert shown(hub) == [("a", "inactive"), ("a", "in_progress")]

    def test_without_a_commit_nothing_was_said(self, hub: Hub, report: Deployment) -> None:
        gone(report, reporting.deleting(commit=""))
        assert hub.written == []
        with pytest.raises(NotReady, match=r"^waiting for the commit$"):
            told(report, environment(commit=""))


def test_one_that_was_removed_by_hand_is_made_anew(hub: Hub, report: Deployment) -> None:
    env = told(report, reporting.building())
    hub.deployments.all.clear()
    hub.deployments.statuses.clear()
    env = told(report, reporting.ready(), env)
    assert shown(hub) == [("a", "success")]


def test_a_hostile_branch_is_only_a_name(hub: Hub, report: Deployment) -> None:
    """In the query, too: another branch's deployments are not touched."""
    told(report, reporting.ready(branch="qa/foo"))
    env = told(report, reporting.building(slug="qa-hostile", branch=HOSTILE))
    env = told(report, reporting.ready(slug="qa-hostile", branch=HOSTILE), env)
    told(report, reporting.deleting(slug="qa-hostile", branch=HOSTILE), env)
    assert hub.deployments.shown() == [("qa/foo", A, "success"), (HOSTILE, A, "inactive")]


def test_an_unexpected_error_is_not_the_commits_failure(hub: Hub, report: Deployment) -> None:
    broken = replace(said(State.FAILED, "KeyError with the service; it is tried again"), unexpected=True)
    told(report, environment(conditions=LISTENERS | {"service/app": broken}))
    assert shown(hub) == [("a", "error")]


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (404, Blocked, "Deployments: write"),
        (403, Blocked, "check the credentials"),
        (409, Blocked, "Conflict: x"),
        (422, Blocked, "Conflict: x"),
        (503, NotReady, "trying again"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_github_that_takes_no_deployment(
    hub: Hub, report: Deployment, method: str, status: int, error: type[Exception], words: str
) -> None:
    """It says what to do; what was not said is said next time."""
    hub.refusing = {(method, "/deployments"): (status, "Conflict: x")}
    with pytest.raises(error) as caught:
        told(report, reporting.ready())
    assert words in str(caught.value)
    assert TOKEN not in str(caught.value)
    hub.refusing = {}
    told(report, reporting.ready())
    assert shown(hub) == [("a", "success")]


def test_a_github_that_is_away_holds_nothing_up(hub: Hub, report: Deployment) -> None:
    """The phase stays, and the tick asks again; many passes are one deployment."""
    hub.available = False
    loop = Loop(report)
    env = loop.run()
    assert env is not None
    assert (env.phase, loop.condition.state) == (Phase.READY, State.WAITING)
    hub.available = True
    for _ in range(3):
        loop.run()
    assert states(hub) == ["success"]
    loop.remove()
    while loop.run():
        pass
    assert states(hub) == ["success", "inactive"]
