"""`qa-env list`: the same facts as the API, a row each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from qa_env.model import State
from qa_env.page import api
from qa_env.summary import Summary
from tests.cli.terminal import Terminal
from tests.installation import A, B, Installation
from tests.making import environment, example, said

HOSTILE = "qa/\x1b[2J\x07\u202egnp\x7f"


@pytest.fixture
def several(qa: Installation) -> Installation:
    """One is ready, one failed, one is of another repository."""
    failed = {"pipeline": said(State.FAILED, "the build failed in Build")}
    ready = {"listener/app": said(State.READY, url="http://qa:10001/"), "pipeline": said(State.READY)}
    for env in (
        environment("qa-old", branch="qa/old", at="2026-11-01T00:00:00+00:00", conditions=ready),
        environment("qa-foo", conditions=failed, commit=B),
        environment("blog-qa-foo", repository="example/blog", by="taro", at="2026-11-03T00:00:00+00:00"),
    ):
        qa.store.desire(env, None)
        qa.store.save(env)
    return qa


def slugs(terminal: Terminal, *options: str) -> list[str]:
    return [one["slug"] for one in terminal.type("list", "--json", *options).document["environments"]]


def test_json_is_what_the_api_says(several: Installation, terminal: Terminal) -> None:
    answer = terminal.type("list", "--json").document
    expected = [
        api.environment(Summary(several.store.get(slug), None))
        for slug in ("blog-qa-foo", "qa-foo", "qa-old")
    ]
    assert answer == {"environments": expected, "total": 3, "next": None}


def test_a_row_has_state_branch_commit_and_where_it_is_or_why_not(
    several: Installation, terminal: Terminal
) -> None:
    head, blog, foo, old = terminal.type("list").out.splitlines()
    assert head.split()[:6] == ["STATE", "ENVIRONMENT", "BRANCH", "COMMIT", "BY", "PUSHED"]
    assert blog.split()[:2] == ["queued", "blog-qa-foo"]
    assert foo.split()[:6] == ["failed", "qa-foo", "qa/foo", B[:8], "hanako", "74d"]
    assert foo.endswith("  the build failed in Build")
    assert old.split() == ["ready", "qa-old", "qa/old", A[:8], "hanako", "75d", "http://qa:10001/"]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--phase", "failed"), ["qa-foo"]),
        (("--repository", "example/blog"), ["blog-qa-foo"]),
        (("--branch", "OLD"), ["qa-old"]),
        (("--branch", "foo", "--repository", "example/shop"), ["qa-foo"]),
        (("--branch", "hanako"), []),
    ],
)
def test_it_can_be_narrowed(
    several: Installation, terminal: Terminal, options: tuple[str, ...], found: list[str]
) -> None:
    assert slugs(terminal, *options) == found


def test_nothing_is_said_to_be_nothing(terminal: Terminal) -> None:
    said_ = terminal.type("list")
    assert (said_.code, said_.out) == (0, "")
    assert "no environments yet" in said_.err
    assert terminal.type("list", "--phase", "ready").err == "There are no such environments.\n"
    assert terminal.type("list", "--json").document == {"environments": [], "total": 0, "next": None}


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_a_branch_is_called_never_speaks_to_the_terminal(
    qa: Installation, terminal: Terminal, options: tuple[str, ...]
) -> None:
    env = environment(branch=HOSTILE, by="\x9b31m\r\n")
    qa.store.desire(env, None)
    qa.store.save(replace(env, conditions={"pipeline": said(State.FAILED, "\x1b]0;x\x07")}))
    out = terminal.type("list", *options).out
    assert all(one.isprintable() or one == "\n" for one in out)
    if options:
        assert json.loads(out)["environments"][0]["branch"] == HOSTILE
    else:
        assert "qa/\\x1b[2J\\x07\\u202egnp\\x7f" in out
        assert len(out.splitlines()) == 2


def test_a_record_that_cannot_be_read_hides_no_other(several: Installation, terminal: Terminal) -> None:
    several.store.table.put_item(Item={"pk": "environment", "sk": "qa-broken", "desired": "?"})
    assert slugs(terminal) == ["blog-qa-foo", "qa-foo", "qa-old"]


def test_blueprints_add_what_only_they_know(
    several: Installation, terminal: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "blueprints").mkdir()
    made = yaml.safe_dump(example() | {"page": {"url": "https://qa"}})
    (tmp_path / "blueprints" / "shop.yaml").write_text(made, "utf-8")
    (one,) = terminal.type("list", "--json", "--branch", "old").document["environments"]
    assert one["page_url"] == "https://qa/environments/qa-old"
    (tmp_path / "blueprints" / "shop.yaml").write_text("version: 1", "utf-8")
    wrong = terminal.type("list")
    assert wrong.code == 2
    assert "shop.yaml" in wrong.err
