"""`qa-env sweep`: the audit function, through its own handler."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from handlers import audit as function
from qa_env import app
from qa_env.audit import Audit
from qa_env.model import Slug
from qa_env.tagged import Tagged
from tests.cli.terminal import Terminal, deploy_stack
from tests.installation import A, Installation, installed

FOO = Slug("qa-foo")


@pytest.fixture
def qa() -> Iterator[Installation]:
    """With GitHub; qa/lost was pushed, and nobody heard of it."""
    with installed(asks_github=True) as made:
        deploy_stack(made)
        made.push("qa/foo", A)
        made.settle()
        assert made.branches
        made.branches.heads[("example/shop", "qa/lost")] = A
        yield made


@pytest.fixture
def asked(qa: Installation) -> list[dict[str, Any]]:
    """What the function was asked; it answers as the deployed one does."""
    found: list[dict[str, Any]] = []

    def invoke(operation: str, params: dict[str, Any]) -> dict[str, Any]:
        assert params["FunctionName"] == "qa-env-audit"
        found.append(json.loads(params["Payload"]))
        watched = app.watched(qa.clients, qa.store, qa.blueprint)
        tagged = Tagged(qa.aws.client, "qa-env")
        parts = ([replace(watched, branches=qa.branches)], tagged, [], qa._receive)
        audit = Audit(qa.store, *parts, clock=qa._tick)
        answer = function.handler(found[-1], SimpleNamespace(), audit=audit)
        return {"StatusCode": 200, "Payload": io.BytesIO(json.dumps(answer).encode())}

    qa.aws.serve("lambda:Invoke", invoke)
    return found


def test_what_nobody_heard_of_is_repaired(
    qa: Installation, asked: list[dict[str, Any]], terminal: Terminal
) -> None:
    said = terminal.type("sweep")
    assert said.code == 0
    assert "created: branches that had no record\n  qa-lost\n" in said.out
    assert qa.store.get(Slug("qa-lost")) is not None
    assert asked == [{"dry_run": False}]


def test_a_dry_run_only_says_so(qa: Installation, asked: list[dict[str, Any]], terminal: Terminal) -> None:
    said = terminal.type("sweep", "--dry-run")
    assert said.code == 0
    assert said.out.endswith("  qa-lost\nNothing was done.\n")
    assert qa.store.get(Slug("qa-lost")) is None
    assert asked == [{"dry_run": True}]


def test_json_is_the_report(qa: Installation, asked: list[dict[str, Any]], terminal: Terminal) -> None:
    report = terminal.type("sweep", "--json", "--dry-run", "--share", "0.5").document
    assert report["created"] == ["qa-lost"]
    assert report.keys() == {"adopted", "young", "created", "woken", "redelivered", "unknown", "refused"}
    assert asked == [{"dry_run": True, "share": 0.5}]


def test_nothing_to_do_is_said(qa: Installation, asked: list[dict[str, Any]], terminal: Terminal) -> None:
    assert qa.branches
    del qa.branches.heads[("example/shop", "qa/lost")]
    assert terminal.type("sweep").out == "Everything is as it is known.\n"


def test_what_a_person_must_decide_is_a_failure(
    qa: Installation, asked: list[dict[str, Any]], terminal: Terminal
) -> None:
    qa.aws.fail("ecs:ListServices", 1, "AccessDeniedException")
    said = terminal.type("sweep")
    assert said.code == 1
    assert "refused: for a person to decide\n" in said.out


def test_an_audit_that_breaks_is_a_failure_that_names_its_log(qa: Installation, terminal: Terminal) -> None:
    answer = json.dumps(
        {"errorType": "Runtime.ExitError", "errorMessage": "what only the log may say"}
    ).encode()
    qa.aws.serve("lambda:Invoke", lambda *_: {"FunctionError": "Unhandled", "Payload": io.BytesIO(answer)})
    said = terminal.type("sweep", "--json")
    assert (said.code, said.out) == (1, "")
    assert "Runtime.ExitError" in said.err
    assert "/aws/lambda/qa-env-audit" in said.err
    assert "only the log" not in said.err


@pytest.mark.parametrize("share", ["1.1", "-1", "all", "nan"])
def test_a_share_is_between_none_and_all(terminal: Terminal, share: str) -> None:
    assert terminal.type("sweep", f"--share={share}").code == 2
