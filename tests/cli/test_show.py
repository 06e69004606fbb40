"""`qa-env show`: one environment, found by slug or branch."""

from __future__ import annotations

import json

import pytest

from qa_env.model import Slug, State
from qa_env.page import api
from qa_env.summary import Summary
from tests.cli.terminal import Terminal
from tests.installation import A, B, Installation
from tests.making import environment, said

FOO = Slug("qa-foo")


@pytest.fixture
def foo(qa: Installation) -> Installation:
    """qa/foo has failed in its migration."""
    stages = json.dumps([{"name": "Migrate", "status": "Failed", "url": "https://m"}, {"name": "Deploy"}])
    tasks = json.dumps({"running": 1, "desired": 2, "stopped": "exit 1"})
    env = environment(
        conditions={
            "pipeline": said(State.FAILED, "the build failed in Migrate", stages=stages),
            "service/app": said(State.READY, tasks=tasks),
            "listener/app": said(State.READY, url="http://qa:10001/"),
        },
    )
    qa.store.desire(env, None)
    qa.store.save(env)
    qa.store.note(FOO, "hanako", f"commit {A}", kind="wanted", phase="queued")
    return qa


def test_json_is_what_the_api_says(foo: Installation, terminal: Terminal) -> None:
    expected = api.everything(Summary(foo.env(FOO), None), foo.store.history(FOO))
    assert terminal.type("show", "qa-foo", "--json").document == expected


@pytest.mark.parametrize("name", ["qa-foo", "qa/foo"])
def test_it_says_what_a_person_wants_to_know(foo: Installation, terminal: Terminal, name: str) -> None:
    lines = [" ".join(line.split()) for line in terminal.type("show", name).out.splitlines()]
    for wanted in (
        "branch qa/foo",
        "repository example/shop",
        "state failed",
        "the build failed in Migrate",
        f"commit {A}",
        "pushed 2026-11-02 02:16:01",
        "url of app http://qa:10001/",
        "Migrate Failed",
        "app 1 of 2 exit 1",
        "pipeline failed the build failed in Migrate",
    ):
        assert wanted in lines
    assert lines[-1].endswith(f"hanako wanted queued commit {A}")


def test_a_branch_of_two_repositories_is_asked_back(foo: Installation, terminal: Terminal) -> None:
    foo.store.desire(environment("blog-qa-foo", repository="example/blog", commit=B), None)
    said_ = terminal.type("show", "qa/foo")
    assert (said_.code, said_.out) == (2, "")
    assert "blog-qa-foo (example/blog), qa-foo (example/shop)" in said_.err
    assert terminal.type("show", "blog-qa-foo", "--json").document["commit"] == B


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("qa-fo", "did you mean qa-foo"),
        ("qa/fooo", "qa/foo"),
        ("release", "`qa-env list` shows all there are."),
        ("qa/\x1b[2J", "\\x1b[2J"),
    ],
)
def test_what_there_is_not_has_near_matches(
    foo: Installation, terminal: Terminal, name: str, hint: str
) -> None:
    said_ = terminal.type("show", name)
    assert (said_.code, said_.out) == (3, "")
    assert hint in said_.err
    assert "\x1b" not in said_.err


@pytest.mark.parametrize("name", ["qa-old", "qa/old"])
def test_of_what_is_gone_the_history_is_left(foo: Installation, terminal: Terminal, name: str) -> None:
    foo.store.note(Slug("qa-old"), "hanako", "nothing is left", kind="deleted")
    said_ = terminal.type("show", name)
    assert said_.code == 3
    assert "qa-old is gone" in said_.err
    assert "nothing is left" in said_.out
    as_json = terminal.type("show", name, "--json")
    assert as_json.code == 3
    assert as_json.document["error"]["status"] == 404
    assert [one["kind"] for one in as_json.document["history"]] == ["deleted"]


def test_texts_are_escaped(foo: Installation, terminal: Terminal) -> None:
    foo.store.note(FOO, "\x1b[31m", "line\nline\x07", kind="wanted")
    out = terminal.type("show", "qa-foo").out
    assert "\\x1b[31m" in out
    assert "line\\x0aline\\x07" in out
    assert all(one.isprintable() or one == "\n" for one in out)
