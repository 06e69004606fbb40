"""The page behind the curtain: plain, correct, and harmless whatever a branch is called."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest

from qa_env import naming
from qa_env.model import Claim, Desired, Environment, Phase, State, port_scope
from qa_env.page import listing, lookup
from qa_env.page.curtain import GONE, WORDS, render
from qa_env.page.html import Page
from tests.fakes import MemoryStore
from tests.making import environment, said

BROWSER = {"accept": "text/html,application/xhtml+xml", "sec-fetch-dest": "document"}
ARN = "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:loadbalancer/app/qa/0123456789abcdef"
OTHER = ARN.replace("app/qa", "app/qa-2")
HOSTILE = [
    "qa/<script>alert(1)</script>",
    'qa/"><img/src=x/onerror=alert(1)>',
    "qa/'-alert(1)-'",
    "qa/</title></style></body>",
    "qa/&lt;b&gt;",
    "qa/日本語",
    "qa/{0}{title}%s",
]


class Reader(HTMLParser):
    """What a browser would make of a page: its elements, and its text."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(page.body)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


def page(env: Environment | None, method: str = "GET", **headers: str) -> Page:
    return render(env, method, BROWSER | headers)


def in_phase(phase: Phase) -> Environment:
    """An environment of which people would be told this."""
    state = {
        Phase.READY: State.READY,
        Phase.FAILED: State.FAILED,
        Phase.BLOCKED: State.BLOCKED,
        Phase.BUILDING: State.WAITING,
    }.get(phase)
    env = environment(
        conditions={"service/app": said(state)} if state else {},
        desired=Desired.ABSENT if phase is Phase.DELETING else Desired.PRESENT,
    )
    assert env.phase is phase
    return env


PHASES = [Phase.QUEUED, Phase.BUILDING, Phase.READY, Phase.FAILED, Phase.BLOCKED, Phase.DELETING]


@pytest.mark.parametrize("phase", PHASES)
def test_every_phase_has_its_sentence(phase: Phase) -> None:
    """503, because it comes again; the sentence, the branch, the commit and who pushed it."""
    shown = page(in_phase(phase))
    text = Reader(shown).text
    assert shown.status == 503
    assert WORDS[phase] in text
    assert f"qa/foo: {phase}" in text
    assert "a" * 40 in text
    assert "hanako" in text


def test_there_is_a_sentence_for_each_phase() -> None:
    """A new phase needs one."""
    assert set(WORDS) == set(Phase)


def test_a_page_looks_again_by_itself() -> None:
    """Without a script; where there is nothing to come, it does not."""
    assert ("http-equiv", "refresh") in Reader(page(environment())).attributes
    assert ("http-equiv", "refresh") not in Reader(page(None)).attributes


def test_no_environment_is_a_404() -> None:
    """With what to do about it."""
    shown = page(None)
    assert shown.status == 404
    assert GONE in Reader(shown).text


@pytest.mark.parametrize("branch", HOSTILE)
def test_hostile_branch_names_are_only_text(branch: str) -> None:
    """The page has the elements it always has, and shows the name as it is."""
    usual, shown = Reader(page(environment())), Reader(page(environment(branch=branch)))
    assert shown.elements == usual.elements
    assert branch in shown.text


@pytest.mark.parametrize("text", HOSTILE)
def test_everything_else_from_outside_is_only_text(text: str) -> None:
    """Who pushed, what the commit is called, and what resources say."""
    usual = Reader(page(environment(conditions={"service/app": said(State.FAILED, "x")})))
    conditions = {"service/app": said(State.FAILED, text)}
    shown = Reader(page(environment(by=text, commit=text, conditions=conditions)))
    assert shown.elements == usual.elements
    assert shown.texts.count(text) == 3


def test_no_script_could_run() -> None:
    """The policy forbids what escaping would have missed."""
    headers = page(environment()).headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "script-src" not in headers["Content-Security-Policy"]
    assert "script" not in Reader(page(environment())).elements


@pytest.mark.parametrize("env", [environment(), None])
@pytest.mark.parametrize("dest", ["document", "empty"])
def test_nothing_is_kept_or_indexed(env: Environment | None, dest: str) -> None:
    """No cache may hold a waiting room, no search engine a branch."""
    headers = page(env, **{"sec-fetch-dest": dest}).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Robots-Tag"] == "noindex, nofollow"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Retry-After"] == "5"


@pytest.mark.parametrize(
    ("method", "headers", "html"),
    [
        ("GET", {"sec-fetch-dest": "document"}, True),
        ("GET", {"sec-fetch-dest": "iframe"}, True),
        ("HEAD", {"sec-fetch-dest": "document"}, True),
        ("GET", {"accept": "text/html,*/*;q=0.8"}, True),
        ("GET", {"sec-fetch-dest": "empty", "accept": "text/html"}, False),
        ("GET", {"sec-fetch-dest": "image", "accept": "image/*"}, False),
        ("GET", {"sec-fetch-dest": "script"}, False),
        ("GET", {"accept": "application/json"}, False),
        ("GET", {"accept": "*/*"}, False),
        ("GET", {}, False),
        ("POST", {"sec-fetch-dest": "document", "accept": "text/html"}, False),
        ("OPTIONS", {"accept": "text/html"}, False),
    ],
)
def test_only_a_page_view_gets_a_page(method: str, headers: dict[str, str], html: bool) -> None:
    """An application's `fetch` must not parse HTML, and a form must not show a page as its answer."""
    shown = render(environment(branch='qa/"'), method, headers)
    assert shown.status == 503
    if html:
        assert shown.headers["Content-Type"] == "text/html; charset=utf-8"
        assert shown.body.startswith("<!doctype html>")
    else:
        assert shown.headers["Content-Type"] == "application/json"
        assert json.loads(shown.body) == {"state": "queued", "message": WORDS[Phase.QUEUED]}


def test_json_where_there_is_no_environment() -> None:
    """404 and a state of its own."""
    shown = render(None, "POST", {})
    assert (shown.status, json.loads(shown.body)) == (404, {"state": "gone", "message": GONE})


def test_what_is_missing_is_said_once() -> None:
    """Trouble before waiting, each sentence once, nothing of what is ready."""
    conditions = {
        "schema": said(State.READY, "fine"),
        "service/app": said(State.FAILED, "exit code 1"),
        "service/worker": said(State.FAILED, "exit code 1"),
        "claims": said(State.BLOCKED, "no free port"),
        "curtain/app": said(State.WAITING, "waiting for the service"),
    }
    text = Reader(page(environment(conditions=conditions))).text
    assert "no free port; exit code 1\n" in text
    assert "fine" not in text
    assert "waiting for the service" not in text


def test_what_is_waited_for_is_said() -> None:
    """Where nothing went wrong."""
    conditions = {"schema": said(State.WAITING, "the database is down"), "pipeline": said(State.WAITING, "")}
    assert "the database is down" in Reader(page(environment(conditions=conditions))).text


def test_what_is_unknown_is_said_so() -> None:
    """A branch made by the `create` event has no commit yet."""
    text = Reader(page(environment(commit="", by=""))).text
    assert "not known yet" in text
    assert "unknown" in text


class TestList:
    def test_every_environment_is_a_row(self) -> None:
        """By name, with its state, commit and links."""
        there = {"listener/app": said(State.READY, url="http://qa.example.com:10001/")}
        shown = listing.render(
            [environment("qa-foo", conditions=there), environment("qa-bar", branch="qa/bar")]
        )
        read = Reader(shown)
        assert shown.status == 200
        assert read.text.index("qa/bar") < read.text.index("qa/foo")
        assert {"ready", "queued", "hanako", "a" * 10} <= set(read.texts)
        assert [value for name, value in read.attributes if name == "href"] == [
            "http://qa.example.com:10001/"
        ]

    def test_an_empty_list_says_what_to_do(self) -> None:
        """And shows no table."""
        read = Reader(listing.render([]))
        assert "Push a branch to build one." in read.text
        assert "table" not in read.elements

    @pytest.mark.parametrize("text", HOSTILE)
    def test_what_is_from_outside_is_only_text(self, text: str) -> None:
        """Branches, people and hosts."""
        there = {"listener/app": said(State.READY, url=f"http://{text}/")}
        usual = Reader(listing.render([environment(conditions=there)]))
        shown = Reader(listing.render([environment(branch=text, by=text, conditions=there)]))
        assert shown.elements == usual.elements
        assert shown.texts.count(text) == 2
        assert ("href", f"http://{text}/") in shown.attributes

    def test_nothing_is_kept_or_run(self) -> None:
        """The same headers as the curtain's page."""
        headers = listing.render([]).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")


class TestLookup:
    places = lookup.Places("qa-env", (ARN, OTHER))

    @staticmethod
    def group(arn: str, installation: str = "qa-env") -> str:
        """The page's target group of a load balancer."""
        name = naming.curtain_target_group(installation, arn)
        return f"arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:targetgroup/{name}/6d0ecf831eec9f09"

    @pytest.fixture
    def store(self) -> MemoryStore:
        made = MemoryStore()
        for slug, arn in (("qa-foo", ARN), ("qa-bar", OTHER)):
            env = environment(slug)
            made.desire(env, None)
            made.claim(env, {"port/app": Claim(port_scope(arn), "10001")})
        return made

    def find(self, store: MemoryStore, arn: str, port: str) -> str | None:
        env = lookup.environment(store, arn, port)
        return env.slug if env else None

    def test_the_target_group_says_which_load_balancer(self) -> None:
        """Each load balancer has a page of its own."""
        assert self.places.load_balancer(self.group(ARN)) == ARN
        assert self.places.load_balancer(self.group(OTHER)) == OTHER

    def test_another_target_group_is_no_curtain(self) -> None:
        """A load balancer that no blueprint names (any more), another installation's, or none at all."""
        for group in (self.group(ARN + "0"), self.group(ARN, "qa-two"), "arn", "", ":targetgroup/"):
            assert self.places.load_balancer(group) is None

    def test_the_claim_of_the_port_says_who(self, store: MemoryStore) -> None:
        """The same port of two load balancers is two environments."""
        assert self.find(store, ARN, "10001") == "qa-foo"
        assert self.find(store, OTHER, "10001") == "qa-bar"

    @pytest.mark.parametrize("port", ["10002", "", "0", "-10001", "10001 ", "1e4", "x", "10001/..", "0x2711"])
    def test_an_unknown_port_is_nobodys(self, store: MemoryStore, port: str) -> None:
        """Whatever a visitor sends as one."""
        assert self.find(store, ARN, port) is None

    def test_a_claim_without_a_record_is_nobodys(self) -> None:
        """Nothing is shown of what is not there."""
        store: Any = MemoryStore()
        store.claims[Claim(port_scope(ARN), "10001")] = "qa-foo"
        assert self.find(store, ARN, "10001") is None
