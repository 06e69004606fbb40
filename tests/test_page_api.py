"""The same facts for scripts; `docs/api.md` promises what stands here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from qa_env.model import Built, Environment, Phase, Slug, State
from qa_env.page import times
from tests.making import A, B, environment, said
from tests.pages import HOSTILE, NOW, Visit, in_phase

DOCUMENT = (Path(__file__).parents[1] / "docs" / "api.md").read_text("utf-8")
LIST = {"environments", "total", "next"}
MORE = {"stages", "tasks", "conditions", "links", "history"}


def documented(heading: str) -> set[str]:
    """The fields in the tables of a section."""
    section = DOCUMENT.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    cells = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def full() -> Environment:
    stages = json.dumps([{"name": "Build", "status": "InProgress", "url": "https://b"}])
    tasks = json.dumps({"running": 0, "desired": 1, "stopped": "exit 1"})
    conditions = {
        "pipeline": said(State.WAITING, "building: Build", stages=stages),
        "service/app": said(State.READY, tasks=tasks),
        "listener/admin": said(State.READY, url="https://qa:2/"),
        "listener/app": said(State.READY, url="https://qa:1/"),
    }
    built = Built(B, "image", "1")
    return environment(conditions=conditions, built=built, visited=int(NOW * 1000))


def get(visit: Visit, path: str = "", **query: str) -> Any:
    page = visit.ask(f"/api/v1/environments{path}", query=query, accept="application/json")
    assert page.headers["Content-Type"] == "application/json; charset=utf-8"
    return json.loads(page.body)


def test_the_list_says_what_is_documented() -> None:
    answer = get(Visit(full()))
    assert set(answer) == LIST
    assert set(answer["environments"][0]) | LIST == documented("`GET /api/v1/environments`")
    assert answer["environments"] == [
        {
            "slug": "qa-foo",
            "repository": "example/shop",
            "branch": "qa/foo",
            "branch_url": "https://github.com/example/shop/tree/qa/foo",
            "commit": A,
            "commit_url": f"https://github.com/example/shop/commit/{A}",
            "built_commit": B,
            "by": "hanako",
            "pushed_at": "2026-11-02T02:16:01Z",
            "deployed_at": "2026-11-02T02:16:02Z",
            "visited_at": "2026-11-02T06:13:20Z",
            "state": "building",
            "resetting": False,
            "stage": "Build",
            "reasons": ["building: Build"],
            "url": "https://qa:1/",
            "urls": {"app": "https://qa:1/", "admin": "https://qa:2/"},
            "log_url": None,
            "page_url": "https://qa.example.com/environments/qa-foo",
        }
    ]


def test_one_says_more() -> None:
    visit = Visit(full())
    visit.store.note(Slug("qa-foo"), "hanako", "wants it", kind="wanted", phase="queued")
    listed, answer = get(visit)["environments"][0], get(visit, "/qa-foo")
    more = {name: value for name, value in answer.items() if name not in listed}
    assert answer == {**listed, **more}
    assert set(more) == MORE == documented("`GET /api/v1/environments/{slug}`")
    assert more["stages"] == [{"name": "Build", "status": "InProgress", "url": "https://b"}]
    assert more["tasks"] == [{"role": "app", "running": 0, "desired": 1, "stopped": "exit 1"}]
    assert {"resource": "pipeline", "role": None, "state": "waiting"}.items() <= more["conditions"][2].items()
    assert {"resource": "listener", "role": "app", "since": "2026-11-02T02:16:02Z"}.items() <= more[
        "conditions"
    ][1].items()
    assert set(more["links"]) == {"pipeline", "logs", "events"}
    assert set(more["links"]["logs"]) == {"app", "admin", "worker"}
    (event,) = more["history"]
    assert {"by": "hanako", "kind": "wanted", "state": "queued", "text": "wants it"}.items() <= event.items()


def test_what_is_not_known_is_null() -> None:
    (answer,) = get(Visit(environment(commit="", by="", at="soon")))["environments"]
    unknown = {name for name, value in answer.items() if value is None}
    assert unknown == {
        *("commit", "commit_url", "built_commit", "by", "pushed_at", "deployed_at", "visited_at"),
        *("stage", "url", "log_url"),
    }
    assert (answer["urls"], answer["reasons"]) == ({}, [])


@pytest.mark.parametrize("phase", list(Phase))
def test_every_state_is_documented(phase: Phase) -> None:
    answer = get(Visit(in_phase(phase)))["environments"][0]
    assert answer["state"] == phase
    assert f"`{phase}`" in DOCUMENT


def test_it_is_chosen_from_as_on_the_page() -> None:
    visit = Visit(in_phase(Phase.FAILED, slug=Slug("qa-a")), environment("qa-b", at=times.iso(NOW)))
    assert [one["slug"] for one in get(visit, state="failed")["environments"]] == ["qa-a"]
    assert [one["slug"] for one in get(visit)["environments"]] == ["qa-b", "qa-a"]
    assert get(visit, q="nothing") == {"environments": [], "total": 0, "next": None}


def test_what_does_not_fit_comes_next() -> None:
    """With a load balancer's limit in mind; nothing is left out, nothing comes twice."""
    visit = Visit(*(environment(f"qa-{n:04}", branch="qa/" + "&" * 240) for n in range(1200)))
    seen: list[str] = []
    query: dict[str, str] = {"q": "qa"}
    for _ in range(10):
        page = visit.ask("/api/v1/environments", query=query)
        assert len(json.dumps(page.body)) < 1_000_000
        answer = json.loads(page.body)
        assert answer["total"] == 1200
        seen += [one["slug"] for one in answer["environments"]]
        if answer["next"] is None:
            break
        assert answer["next"].startswith("/api/v1/environments?q=qa&from=")
        query["from"] = answer["next"].rpartition("=")[2]
    assert len(seen) == len(set(seen)) == 1200


def test_what_is_gone_leaves_its_history() -> None:
    visit = Visit()
    visit.store.note(Slug("qa-foo"), "hanako", "wants it gone", kind="unwanted")
    page = visit.ask("/api/v1/environments/qa-foo")
    answer = json.loads(page.body)
    assert page.status == 404
    assert answer["error"]["status"] == 404
    assert [event["kind"] for event in answer["history"]] == ["unwanted"]


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_are_as_they_are(text: str) -> None:
    answer = get(Visit(environment(branch=text, by=text, conditions={"schema": said(State.FAILED, text)})))
    (one,) = answer["environments"]
    assert one["branch"] == one["by"] == one["reasons"][0] == text
