"""`qa-env wait`: through real pushes, builds, failures and teardowns; time is the test's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from qa_env.model import Condition, Desired, Phase, Slug, State, Wish
from tests.cli.terminal import Terminal
from tests.installation import A, B, C, Installation

FOO = Slug("qa-foo")


def push(qa: Installation, commit: str) -> Callable[[], object]:
    return lambda: qa.push("qa/foo", commit)


def test_what_is_ready_is_not_waited_for(foo: Installation, terminal: Terminal) -> None:
    said = terminal.type("wait", "qa/foo")
    assert (said.code, terminal.pauses) == (0, 0)
    assert foo.env(FOO).urls["app"] in said.out
    assert terminal.type("wait", "qa/foo", "--for", "settled").code == 0


def test_a_push_is_waited_for_by_its_commit_even_before_its_webhook(
    qa: Installation, terminal: Terminal
) -> None:
    terminal.meanwhile = [lambda: None, push(qa, A), qa.settle]
    said = terminal.type("wait", "qa/foo", "--commit", A[:10], "--json")
    assert said.code == 0
    assert (said.document["state"], said.document["built_commit"]) == ("ready", A)
    assert terminal.pauses == 3


def test_the_version_before_is_not_taken_for_the_pushed_one(foo: Installation, terminal: Terminal) -> None:
    terminal.meanwhile = [lambda: None, push(foo, B), foo.deliver, foo.settle]
    said = terminal.type("wait", "qa-foo", "--commit", B)
    assert said.code == 0
    assert terminal.pauses == 4
    assert "qa-foo is at commit aaaaaaaa, not bbbbbbbb\n" in said.err
    assert "qa-foo is building" in said.err


def test_a_failed_build_ends_it_with_the_reason(foo: Installation, terminal: Terminal) -> None:
    foo.failing.add(("build", B))
    terminal.meanwhile = [push(foo, B), foo.settle]
    said = terminal.type("wait", "qa/foo", "--commit", B, "--json")
    assert said.code == 1
    assert said.document["state"] == "failed"
    assert "exit status 1" in said.document["reasons"][0]
    again = terminal.type("wait", "qa/foo")
    assert again.code == 1
    assert "qa-foo is failed: the build failed in Build" in again.err


def test_a_failure_that_is_nobodys_verdict_is_waited_out(foo: Installation, terminal: Terminal) -> None:
    env = foo.env(FOO)
    broken = Condition(State.FAILED, "no answer", {}, env.generation, unexpected=True)
    foo.store.save(env.with_conditions({"schema": broken}))
    assert foo.env(FOO).phase is Phase.FAILED
    terminal.meanwhile = [lambda: foo.run_pass(FOO), foo.settle]
    assert terminal.type("wait", "qa/foo").code == 0


def test_what_needs_a_person_ends_it(foo: Installation, terminal: Terminal) -> None:
    env = foo.env(FOO)
    stuck = Condition(State.BLOCKED, "no free port", {}, env.generation)
    foo.store.save(env.with_conditions({"listener/app": stuck}))
    said = terminal.type("wait", "qa/foo")
    assert said.code == 1
    assert "qa-foo is blocked: no free port" in said.err


def test_a_newer_push_takes_the_commit_s_place(foo: Installation, terminal: Terminal) -> None:
    terminal.meanwhile = [push(foo, B), push(foo, C)]
    said = terminal.type("wait", "qa/foo", "--commit", B)
    assert said.code == 1
    assert f"moved on to {C}" in said.err


def test_time_runs_out(foo: Installation, terminal: Terminal) -> None:
    said = terminal.type("wait", "qa/foo", "--commit", C, "--timeout", "30s", "--json")
    assert said.code == 124
    assert said.document["commit"] == A
    assert "that was all the time there was" in said.err
    assert terminal.pauses == 10


@pytest.mark.parametrize("wish", [Wish.REDEPLOY, Wish.RESET])
def test_what_was_just_asked_for_is_waited_for(foo: Installation, terminal: Terminal, wish: Wish) -> None:
    """Until a pass has seen the wish, the record still says ready."""
    before = foo.env(FOO).built
    replace(foo.watch, clock=lambda: foo.now).ask(FOO, wish, "taro")
    foo.queue.append(FOO)
    assert foo.env(FOO).phase is Phase.READY
    terminal.meanwhile = [lambda: None, foo.settle]
    assert terminal.type("wait", "qa/foo").code == 0
    assert foo.env(FOO).built != before


def test_a_failure_from_before_the_wish_does_not_end_it(foo: Installation, terminal: Terminal) -> None:
    foo.failing.add(("build", B))
    foo.push("qa/foo", B)
    foo.settle()
    foo.failing.clear()
    replace(foo.watch, clock=lambda: foo.now).ask(FOO, Wish.REDEPLOY, "taro")
    foo.queue.append(FOO)
    terminal.meanwhile = [lambda: None, foo.settle]
    assert terminal.type("wait", "qa/foo").code == 0


class TestGone:
    def test_a_deleted_branch_is_waited_for_until_nothing_is_left(
        self, foo: Installation, terminal: Terminal
    ) -> None:
        terminal.meanwhile = [lambda: foo.delete("qa/foo"), foo.settle]
        said = terminal.type("wait", "qa/foo", "--for", "gone", "--json")
        assert said.code == 0
        assert said.document == {"slug": "qa-foo", "state": "gone"}
        assert foo.store.get(FOO) is None

    def test_what_has_gone_before_is_gone(self, foo: Installation, terminal: Terminal) -> None:
        foo.delete("qa/foo")
        foo.settle()
        for name in ("qa-foo", "qa/foo"):
            assert terminal.type("wait", name, "--for", "gone").code == 0

    def test_a_teardown_that_needs_a_person_ends_it(self, foo: Installation, terminal: Terminal) -> None:
        foo.delete("qa/foo")
        env = foo.env(FOO)
        assert env.desired is Desired.ABSENT
        foo.store.save(
            env.with_conditions({"schema": Condition(State.BLOCKED, "denied", {}, env.generation)})
        )
        assert terminal.type("wait", "qa-foo", "--for", "gone").code == 1

    def test_an_environment_that_goes_is_not_waited_for_to_be_ready(
        self, foo: Installation, terminal: Terminal
    ) -> None:
        terminal.meanwhile = [push(foo, B), lambda: foo.delete("qa/foo")]
        said = terminal.type("wait", "qa/foo", "--commit", B)
        assert said.code == 1

    def test_it_has_no_commit(self, terminal: Terminal) -> None:
        assert terminal.type("wait", "qa-foo", "--for", "gone", "--commit", A).code == 2


@pytest.mark.parametrize("until", ["ready", "gone", "settled"])
def test_what_never_was_is_not_waited_for(foo: Installation, terminal: Terminal, until: str) -> None:
    said = terminal.type("wait", "qa-fo", "--for", until)
    assert (said.code, terminal.pauses) == (3, 0)
    assert "did you mean qa-foo" in said.err


@pytest.mark.parametrize("text", ["10", "-1m", "1w", "", "٣m"])
def test_what_is_no_length_of_time_is_refused(terminal: Terminal, text: str) -> None:
    said = terminal.type("wait", "qa-foo", f"--timeout={text}")
    assert said.code == 2
    assert "90s, 10m, 2h, 1d" in said.err
