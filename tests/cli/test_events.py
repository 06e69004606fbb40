"""`qa-env events`: histories as lines, with `-f` until somebody has seen enough."""

from __future__ import annotations

import pytest

from qa_env.model import Slug
from qa_env.page import api
from tests.cli.terminal import Terminal, interrupt
from tests.installation import Installation
from tests.making import environment

FOO, BAR = Slug("qa-foo"), Slug("qa-bar")


@pytest.fixture
def two(qa: Installation) -> Installation:
    """Two environments to which something has happened, and one that is gone."""
    qa.store.desire(environment("qa-foo"), None)
    qa.store.desire(environment("qa-bar", branch="qa/bar"), None)
    qa.store.note(FOO, "hanako", "first", kind="wanted", phase="queued")
    qa.store.note(BAR, "taro", "second", kind="wanted", phase="queued")
    qa.store.note(FOO, "qa-env", "third", kind="pass", phase="building")
    qa.store.note(Slug("qa-old"), "qa-env", "long ago", kind="deleted")
    return qa


def texts(records: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(one["slug"], one["text"]) for one in records]


def test_all_that_there_is_comes_in_order(two: Installation, terminal: Terminal) -> None:
    records = terminal.type("events", "--json").records
    assert texts(records) == [("qa-foo", "first"), ("qa-bar", "second"), ("qa-foo", "third")]
    assert records[0] == {"slug": "qa-foo", **api.event(two.store.history(FOO)[-1])}
    assert [line.split()[2] for line in terminal.type("events").out.splitlines()] == [
        "qa-foo",
        "qa-bar",
        "qa-foo",
    ]


@pytest.mark.parametrize(
    ("name", "found"), [("qa/foo", ["first", "third"]), ("qa-bar", ["second"]), ("qa-old", ["long ago"])]
)
def test_one_s_own_can_be_had_even_when_it_is_gone(
    two: Installation, terminal: Terminal, name: str, found: list[str]
) -> None:
    assert [one["text"] for one in terminal.type("events", name, "--json").records] == found


def test_following_shows_each_once_until_it_is_interrupted(two: Installation, terminal: Terminal) -> None:
    terminal.meanwhile = [
        lambda: two.store.note(FOO, "qa-env", "fourth", kind="pass"),
        lambda: None,
        lambda: two.store.note(FOO, "qa-env", "fifth", kind="pass"),
        interrupt,
    ]
    said = terminal.type("events", "qa-foo", "-f", "--json")
    assert said.code == 130
    assert [one["text"] for one in said.records] == ["first", "third", "fourth", "fifth"]


def test_following_all_sees_who_comes_and_who_goes(two: Installation, terminal: Terminal) -> None:
    def push() -> None:
        two.store.desire(environment("qa-new", branch="qa/new"), None)
        two.store.note(Slug("qa-new"), "taro", "fourth", kind="wanted")

    def go() -> None:
        two.store.table.delete_item(Key={"pk": "environment", "sk": "qa-new"})
        two.store.note(Slug("qa-new"), "qa-env", "fifth", kind="deleted")

    terminal.meanwhile = [push, go, interrupt]
    records = terminal.type("events", "-f", "--json").records
    assert texts(records)[3:] == [("qa-new", "fourth"), ("qa-new", "fifth")]


def test_what_there_is_not_is_said(two: Installation, terminal: Terminal) -> None:
    said = terminal.type("events", "qa-fo")
    assert said.code == 3
    assert "did you mean qa-foo" in said.err


def test_texts_are_escaped(two: Installation, terminal: Terminal) -> None:
    two.store.note(BAR, "\x1b[31m", "a\nb", kind="late")
    line = terminal.type("events", "qa-bar").out.splitlines()[-1]
    assert line.endswith("late (\\x1b[31m): a\\x0ab")
