"""Elements cannot be broken out of, and the policy fits exactly what is served."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from qa_env.model import Phase
from qa_env.page.frame import POLICY
from qa_env.page.html import Markup, el, leads_somewhere, outside
from qa_env.page.routes import broken
from qa_env.page.web import Page, Request
from tests.pages import BROWSER, HOSTILE, Reader, Visit, in_phase

ALLOWED = {"default-src", "script-src", "style-src", "img-src", "connect-src", "form-action", "base-uri"}


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_escaped_and_finished_html_is_not(text: str) -> None:
    made = el("p", {"title": text}, text, el("b"), [text, [text], None])
    read = Reader(Page(200, {}, made))
    assert read.elements == ["p", "b"]
    assert read.attributes == [("title", text)]
    assert "".join(read.texts) == text * 3
    assert isinstance(made, Markup)


def test_attributes_may_be_left_out_or_stand_alone() -> None:
    assert el("a", {"x": None, "y": False, "z": True, "empty": ""}) == '<a z empty=""></a>'
    assert el("input", {"value": '"'}) == '<input value="&quot;">'


@pytest.mark.parametrize("name", ["onclick", "ONLOAD", "style", "src", "srcdoc"])
def test_what_a_browser_would_run_cannot_be_written(name: str) -> None:
    with pytest.raises(ValueError, match="would be run"):
        el("p", {name: "x"})


@pytest.mark.parametrize(
    "address", ["https://x/", "http://x:1/", "/", "/environments/qa-foo?x=1", "?q=1", "#main"]
)
def test_addresses_that_lead_somewhere(address: str) -> None:
    assert leads_somewhere(address)
    assert Reader(Page(200, {}, el("a", {"href": address}))).links == [address]


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        " javascript:x",
        "data:text/html,x",
        "//evil",
        "/\\evil",
        "",
        "x",
        "ftp://x",
        "\n/",
    ],
)
def test_addresses_that_lead_nowhere(address: str) -> None:
    """The text is shown all the same."""
    assert not leads_somewhere(address)
    assert el("a", {"href": address}, "x") == "<a>x</a>"
    assert el("form", {"action": address}) == "<form></form>"


def test_marks_for_right_to_left_stay_within_their_text() -> None:
    assert outside("\u202egnp", "en") == '<bdi lang="en">\u202egnp</bdi>'


def pages() -> list[Page]:
    """One of each kind that there is."""
    visit = Visit(in_phase(Phase.FAILED))
    visit.store.note(in_phase(Phase.FAILED).slug, "hanako", "x", kind="wanted")
    visit.store.events["qa-gone"] = visit.store.events["qa-foo"]
    paths = (
        "/",
        "/?q=x",
        "/environments/qa-foo",
        "/environments/qa-gone",
        "/environments/qa-foo/reset",
        "/x",
    )
    made = [visit.ask(path) for path in paths]
    return [*made, Visit().ask(), visit.see(), visit.see(9), broken(Request(headers=BROWSER))]


def _inline(page: Page, tag: str) -> list[str]:
    return re.findall(f"<{tag}>(.*?)</{tag}>", page.body, re.DOTALL)


@pytest.mark.parametrize("page", pages())
def test_the_policy_allows_what_is_inline_and_nothing_else(page: Page) -> None:
    policy = page.headers["Content-Security-Policy"]
    assert policy == POLICY
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert set(rules) == ALLOWED | {"frame-ancestors"}
    assert rules["default-src"] == rules["base-uri"] == rules["frame-ancestors"] == "'none'"
    assert rules["connect-src"] == rules["form-action"] == "'self'"
    assert rules["img-src"] == "data:"
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (code,) = _inline(page, tag)
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


@pytest.mark.parametrize("page", pages())
def test_nothing_is_inline_but_the_two_and_nothing_comes_from_outside(page: Page) -> None:
    read = Reader(page)
    names = {name for name, _ in read.attributes}
    assert not {name for name in names if name.startswith("on") or name in ("style", "src", "srcset")}
    assert read.elements.count("script") == read.elements.count("style") == 1
    assert not {"img", "iframe", "object", "embed", "base", "svg"} & set(read.elements)
    icons = [one["href"] for one in read.those("link")]
    assert all(str(one).startswith("data:image/svg+xml,") for one in icons)
    assert "url(" not in _inline(page, "style")[0]


@pytest.mark.parametrize("page", pages())
def test_every_page_can_be_read_without_eyes(page: Page) -> None:
    """Landmarks, one heading of the first level, labels, names of buttons, unique ids."""
    read = Reader(page)
    assert read.unclosed == []
    assert read.elements.count("main") == read.elements.count("header") == read.elements.count("h1") == 1
    assert read.those("html")[0]["lang"] in ("en", "ja")
    ids = [value for name, value in read.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    labelled = {one["for"] for one in read.those("label")}
    assert {one["id"] for one in read.those("input") + read.those("select")} == labelled
    assert all(one["aria-label"] for one in read.those("button", type="button"))
    headers = [one for one in read.those("th")]
    assert all(one.get("scope") in ("row", "col") for one in headers)
    assert read.those("a", href="#main")
    assert "title" in read.elements


@pytest.mark.parametrize("page", pages())
def test_nothing_is_kept_indexed_or_guessed(page: Page) -> None:
    """No cache may hold a waiting room, no search engine a branch."""
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["X-Robots-Tag"] == "noindex, nofollow"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert Reader(page).those("meta", name="robots")
