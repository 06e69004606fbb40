"""The commit status: what a developer sees on GitHub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from qa_env.controller import Controller, Plan
from qa_env.errors import Blocked, NotReady
from qa_env.github_api import GitHub
from qa_env.model import Built, Environment, Phase, State
from qa_env.reports.commit_status import CommitStatus
from tests.fakes import MemoryStore
from tests.github_server import TOKEN, Answer, Server, serve
from tests.making import REPOSITORY, A, B, blueprint, environment, said

PATH = f"POST /repos/{REPOSITORY}/statuses/{A}"
URL = "http://qa.example.com:10001/"
LISTENERS = {"listener/app": said(State.READY, url=URL), "listener/zoo": said(State.READY, url="http://x/")}


class NothingToClaim:
    """An environment that needs no port and no name."""

    def ensure(self, env: Environment) -> tuple[Environment, dict[str, str]]:
        return env, {}


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as made:
        made.answers[PATH] = Answer({"id": 1}, 201)
        yield made


def report(server: Server, env: Environment) -> Environment:
    """The environment after a pass that reported."""
    outputs = CommitStatus(GitHub(server.url, lambda: {"token": TOKEN})).ensure(env)
    return env.with_conditions({"commit_status": said(State.READY, **outputs)})


def posted(server: Server) -> list[Any]:
    return [one.body for one in server.asked]


def having(state: State | None, message: str = "", **changes: Any) -> Environment:
    service = {"service/app": said(state, message)} if state else {}
    return environment(conditions=LISTENERS | service, **changes)


@pytest.mark.parametrize(
    ("env", "phase", "state", "text"),
    [
        (environment(), Phase.QUEUED, "pending", "Queued"),
        (having(State.WAITING, "soon"), Phase.BUILDING, "pending", "Building"),
        (having(State.WAITING, built=Built(A, "i", "1")), Phase.DEPLOYING, "pending", "Starting"),
        (having(State.READY), Phase.READY, "success", "Ready"),
        (having(State.FAILED, "exit code 1"), Phase.FAILED, "failure", "Failed: exit code 1"),
        (having(State.BLOCKED, "no free port"), Phase.BLOCKED, "error", "Needs a person: no free port"),
    ],
)
def test_each_phase_has_a_state_and_a_word(
    server: Server, env: Environment, phase: Phase, state: str, text: str
) -> None:
    """With the reason where there is trouble, in one context for the environment."""
    assert env.phase is phase
    report(server, env)
    (body,) = posted(server)
    assert (body["state"], body["description"], body["context"]) == (state, text, "qa-env/qa-foo")


def test_the_url_is_the_first_roles(server: Server) -> None:
    """It is there as soon as the listener is, long before anything runs."""
    report(server, having(State.WAITING))
    assert posted(server)[0]["target_url"] == URL


def test_no_url_yet(server: Server) -> None:
    """GitHub is not given an empty address."""
    report(server, environment())
    assert "target_url" not in posted(server)[0]


def test_what_was_said_is_not_said_again(server: Server) -> None:
    """A hundred passes are one status: GitHub takes a thousand for a commit."""
    env = having(State.WAITING, "1 of 3 running")
    for number in range(5):
        env = report(server, env).with_conditions({"service/app": said(State.WAITING, f"{number} of 3")})
    assert len(posted(server)) == 1


def test_what_is_new_is_said(server: Server) -> None:
    """Another phase, another reason, another address; and then no more."""
    env = report(server, having(State.WAITING))
    for conditions in (
        {"service/app": said(State.READY)},
        {"service/app": said(State.FAILED, "exit code 1")},
        {"service/app": said(State.FAILED, "exit code 2")},
        {"listener/app": said(State.READY, url="https://qa.example.com/")},
    ):
        env = report(server, report(server, env.with_conditions(conditions)))
    assert [body["description"] for body in posted(server)] == [
        "Building",
        "Ready",
        "Failed: exit code 1",
        "Failed: exit code 2",
        "Failed: exit code 2",
    ]


def test_another_commit_gets_its_own(server: Server) -> None:
    """The same words about a new commit are news."""
    server.answers[f"POST /repos/{REPOSITORY}/statuses/{B}"] = Answer({"id": 2}, 201)
    env = report(server, having(State.READY))
    report(server, replace(env, commit=B))
    assert [one.path.rsplit("/", 1)[1] for one in server.asked] == [A, B]


@pytest.mark.parametrize("length", [100, 139, 140, 141, 1000])
def test_a_long_reason_is_cut(server: Server, length: int) -> None:
    """GitHub takes 140 characters and would refuse more."""
    report(server, having(State.FAILED, "é" * (length - len("Failed: "))))
    text = posted(server)[0]["description"]
    assert len(text) == min(length, 140)
    assert text.endswith("…") == (length > 140)


def test_old_trouble_is_not_todays(server: Server) -> None:
    """What an earlier wish ran into is not in the sentence about this one."""
    conditions = {
        "service/app": said(State.FAILED, "old trouble", generation=6),
        "service/worker": said(State.FAILED, "new trouble"),
    }
    report(server, environment(conditions=conditions))
    assert posted(server)[0]["description"] == "Failed: new trouble"


def test_its_own_trouble_is_not_the_environments(server: Server) -> None:
    """A status that could not be posted before is no reason to call the environment blocked."""
    env = having(State.BLOCKED, "no free port")
    env = replace(
        env, conditions={"commit_status": said(State.BLOCKED, "GitHub refuses")} | dict(env.conditions)
    )
    report(server, env)
    assert posted(server)[0]["description"] == "Needs a person: no free port"


def test_many_passes_are_one_status(server: Server) -> None:
    """Through the loop: what was said in the last pass is remembered in the next."""
    store = MemoryStore()
    plan = Plan(
        NothingToClaim(),
        build=[],
        tear_down=[],
        retired=lambda gone: [],
        reports=[CommitStatus(GitHub(server.url, lambda: {"token": TOKEN}))],
    )
    controller = Controller(store, {REPOSITORY: blueprint()}, lambda _: plan, lambda slug, why: None)
    env = environment()
    store.desire(env, None)
    for _ in range(5):
        controller.reconcile(env.slug)
    assert [body["description"] for body in posted(server)] == ["Ready"]
    after = store.get(env.slug)
    assert after
    assert after.conditions["commit_status"].state is State.READY


def test_without_a_commit_there_is_nothing_to_say(server: Server) -> None:
    """The `create` event names none: the push will."""
    with pytest.raises(NotReady, match=r"^waiting for the commit$"):
        report(server, environment(commit=""))
    assert posted(server) == []


@pytest.mark.parametrize(
    ("status", "error"), [(404, Blocked), (403, Blocked), (422, Blocked), (503, NotReady), (429, NotReady)]
)
def test_a_github_that_takes_no_status(server: Server, status: int, error: type[Exception]) -> None:
    """The retry policy is the error's; what was not said is said next time."""
    server.answers[PATH] = Answer({}, status)
    env = having(State.READY)
    with pytest.raises(error) as caught:
        report(server, env)
    assert TOKEN not in str(caught.value)
    server.answers[PATH] = Answer({}, 201)
    report(server, env)
    assert posted(server)[1]["state"] == "success"


def test_it_owns_nothing_and_leaves_past_statuses(server: Server) -> None:
    """A status cannot be removed."""
    made = CommitStatus(GitHub(server.url, lambda: {"token": TOKEN}))
    made.delete(environment())
    assert list(made.owners()) == []
    assert posted(server) == []


def test_an_unexpected_error_is_not_the_commits_failure(server: Server) -> None:
    """It is `error`, as what needs a person is."""
    broken = replace(said(State.FAILED, "KeyError with the service; it is tried again"), unexpected=True)
    report(server, environment(conditions=LISTENERS | {"service/app": broken}))
    assert [one["state"] for one in posted(server)] == ["error"]
