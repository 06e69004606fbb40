"""`qa-env redeploy`, `reset-db` and `delete`: written down in the caller's name, fulfilled by the loop."""

from __future__ import annotations

import io
from typing import Any

import pytest

from qa_env.model import Phase, Slug
from tests.cli.terminal import Terminal, woken
from tests.installation import Installation
from tests.making import environment

FOO = Slug("qa-foo")
COMMANDS = [("redeploy",), ("reset-db", "--yes"), ("delete", "--yes")]
DESTRUCTIVE = ["reset-db", "delete"]


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def fulfil(qa: Installation) -> None:
    """What is on the queue reaches the loop."""
    qa.queue += [Slug(slug) for slug in woken(qa)]
    qa.settle()


def test_a_redeploy_builds_once_more(foo: Installation, terminal: Terminal) -> None:
    before = foo.env(FOO).built
    said = terminal.type("redeploy", "qa/foo")
    assert said.code == 0
    assert "qa-env wait qa-foo" in said.out
    fulfil(foo)
    env = foo.env(FOO)
    assert env.phase is Phase.READY
    assert env.built != before


def test_a_reset_empties_the_schema(foo: Installation, terminal: Terminal) -> None:
    assert terminal.type("reset-db", "qa-foo", "--yes").code == 0
    assert foo.env(FOO).resetting
    fulfil(foo)
    assert foo.env(FOO).phase is Phase.READY
    assert int(foo.env(FOO).remembered("schema")["reset"]) == foo.env(FOO).asked.reset


def test_a_deletion_leaves_nothing(foo: Installation, terminal: Terminal) -> None:
    assert terminal.type("delete", "qa/foo", "--yes").code == 0
    fulfil(foo)
    assert foo.left() == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_caller_is_named_and_the_environment_woken(
    foo: Installation, terminal: Terminal, command: tuple[str, ...]
) -> None:
    foo.aws.serve(
        "sts:GetCallerIdentity", lambda *_: {"Arn": "arn:aws:sts::1:assumed-role/Admin/hanako@example"}
    )
    said = terminal.type(*command, "qa/foo", "--json")
    event = foo.store.history(FOO)[0]
    assert (event.by, event.kind) == ("hanako@example", said.document["asked"])
    assert foo.env(FOO).asked.by == "hanako@example"
    assert said.document["slug"] == "qa-foo"
    assert woken(foo) == ["qa-foo"]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_there_is_not_is_said(foo: Installation, terminal: Terminal, command: tuple[str, ...]) -> None:
    said = terminal.type(*command, "qa/fo")
    assert (said.code, said.out) == (3, "")
    assert "did you mean qa/foo" in said.err


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_going_away_hears_no_wish(
    foo: Installation, terminal: Terminal, command: tuple[str, ...]
) -> None:
    foo.delete("qa/foo")
    said = terminal.type(*command, "qa-foo")
    assert said.code == 3
    assert "being deleted" in said.err
    assert woken(foo) == []


def test_what_has_no_commit_yet_is_not_deleted(qa: Installation, terminal: Terminal) -> None:
    qa.store.desire(environment(commit=""), None)
    said = terminal.type("delete", "qa-foo", "--yes")
    assert said.code == 1
    assert "no commit yet" in said.err


class TestConfirmation:
    @pytest.mark.parametrize("command", DESTRUCTIVE)
    def test_nothing_is_destroyed_where_nobody_can_be_asked(
        self, foo: Installation, terminal: Terminal, command: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
        before = foo.env(FOO)
        said = terminal.type(command, "qa/foo")
        assert said.code == 2
        assert "--yes" in said.err
        assert foo.env(FOO) == before

    @pytest.mark.parametrize("command", DESTRUCTIVE)
    @pytest.mark.parametrize(
        ("answer", "code"), [("y\n", 0), ("YES\n", 0), ("n\n", 1), ("\n", 1), ("", 1), ("yellow\n", 1)]
    )
    def test_a_terminal_is_asked(
        self,
        foo: Installation,
        terminal: Terminal,
        monkeypatch: pytest.MonkeyPatch,
        command: str,
        answer: str,
        code: int,
    ) -> None:
        asked = self._at_a_terminal(monkeypatch, answer)
        said = terminal.type(command, "qa/foo")
        assert said.code == code
        assert "qa-foo (branch qa/foo of example/shop, stack qa-env): " in asked.getvalue()
        assert bool(foo.env(FOO).asked.by) == (code == 0)

    def test_the_question_shows_no_control_characters(
        self, qa: Installation, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        qa.store.desire(environment(branch="qa/\x1b[8m"), None)
        asked = self._at_a_terminal(monkeypatch, "n\n")
        terminal.type("delete", "qa-foo")
        assert "qa/\\x1b[8m" in asked.getvalue()
        assert "\x1b" not in asked.getvalue()

    @staticmethod
    def _at_a_terminal(monkeypatch: pytest.MonkeyPatch, answer: str) -> Any:
        asked = Tty()
        monkeypatch.setattr("sys.stdin", Tty(answer))
        monkeypatch.setattr("sys.stderr", asked)
        return asked
