"""The comment on the pull request: one, edited in place, and nothing foreign gets out of its place in it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from qa_env.errors import Blocked, NotReady
from qa_env.model import Desired, Environment, Phase, State
from qa_env.reports.pull_request import PullRequest
from tests import reporting
from tests.making import A, B, environment, said
from tests.reporting import ADMIN, HOSTILE, LOG, PAGE, TOKEN, URL, Hub, Loop, github, gone, settings, told

MARK = "<!-- qa-env:staging:qa-foo -->"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with github() as made:
        yield made


@pytest.fixture
def report(hub: Hub) -> PullRequest:
    return PullRequest(hub.api, settings(), "staging")


def text(body: str) -> str:
    """What a person reads of a comment, roughly: without tags, with characters for references."""
    return html.unescape(re.sub(r"<[^>]*>", "", body))


def only(hub: Hub) -> str:
    (body,) = hub.bodies()
    return body


def test_it_lists_roles_urls_commit_state_who_and_when(hub: Hub, report: PullRequest) -> None:
    hub.open_pull()
    told(report, reporting.ready())
    body = only(hub)
    assert body.startswith(MARK)
    read = text(body)
    for part in ("qa/foo – Ready", f"| app | {URL} |", f"| admin | {ADMIN} |", "Commit: aaaaaaa"):
        assert part in read
    for part in ("Pushed by: hanako", "At: 2026-11-02 02:16 UTC", "Details"):
        assert part in read
    assert read.index("| app |") < read.index("| admin |")
    links = [html.unescape(link) for link in re.findall(r'href="([^"]*)"', body)]
    assert links == [
        URL,
        ADMIN,
        f"https://github.com/example/shop/commit/{A}",
        f"{PAGE}/environments/qa-foo",
    ]


@pytest.mark.parametrize(
    ("env", "state"),
    [
        (reporting.queued(), "Queued"),
        (reporting.building(), "Building"),
        (reporting.deploying(), "Starting"),
        (reporting.asleep(), "Asleep"),
        (reporting.failed(), "Failed"),
        (reporting.blocked(), "Needs a person"),
    ],
)
def test_each_phase_is_said_in_words(hub: Hub, report: PullRequest, env: Environment, state: str) -> None:
    hub.open_pull()
    told(report, env)
    assert f"### qa/foo – {state}" in text(only(hub))


def test_a_failure_has_its_reason_and_its_log(hub: Hub, report: PullRequest) -> None:
    hub.open_pull()
    told(report, reporting.failed("exit code 1"))
    assert "> exit code 1" in text(only(hub))
    assert LOG in html.unescape(only(hub))


def test_it_speaks_the_blueprints_language(hub: Hub) -> None:
    hub.open_pull()
    told(PullRequest(hub.api, settings(language="ja"), "staging"), reporting.ready())
    assert "準備完了" in only(hub)
    assert "| ロール | URL |" in only(hub)


def test_one_comment_is_edited_in_place(hub: Hub, report: PullRequest) -> None:
    """Through a whole life, to the end."""
    hub.open_pull()
    env = told(report, reporting.queued())
    for later in (reporting.building(), reporting.ready(), reporting.building(commit=B)):
        env = told(report, later, env)
    assert "bbbbbbb" in only(hub)
    env = told(report, reporting.deleting(commit=B), env)
    assert "Being deleted" in only(hub)
    gone(report, reporting.deleting(commit=B), env)
    assert "qa/foo – Deleted" in text(only(hub))
    assert URL not in html.unescape(only(hub))


def test_what_was_said_is_not_said_again(hub: Hub, report: PullRequest) -> None:
    """While it builds nothing is asked, at rest nothing is written."""
    hub.open_pull()
    env = told(report, reporting.building())
    asked = len(hub.asked)
    for number in range(5):
        env = told(report, env.with_conditions({"service/app": said(State.WAITING, f"{number} of 3")}))
    assert len(hub.asked) == asked
    env = told(report, reporting.ready(), env)
    written = len(hub.written)
    told(report, env)
    assert len(hub.written) == written


def test_what_memory_lost_is_found(hub: Hub, report: PullRequest) -> None:
    """A pass that died after telling makes no second comment, and edits nothing that is right."""
    hub.open_pull()
    before = told(report, reporting.building())
    told(report, reporting.ready(), before)
    written = len(hub.written)
    told(report, reporting.ready())
    assert len(hub.written) == written
    told(report, reporting.ready(), before)
    assert "Ready" in only(hub)


def test_it_is_found_behind_many_others(hub: Hub, report: PullRequest) -> None:
    """And a person who quotes the mark is not taken for us."""
    number = hub.open_pull()
    for count in range(130):
        hub.pulls.add_comment(number, {"body": f"{count}: look, {MARK}"}, "now")
    told(report, reporting.building())
    told(report, reporting.ready())
    assert len(hub.bodies()) == 131
    assert "Ready" in hub.bodies()[-1]


def test_another_environments_comment_is_not_ours(hub: Hub, report: PullRequest) -> None:
    """Another installation's neither."""
    number = hub.open_pull()
    for mark in ("<!-- qa-env:staging:qa-foo-2 -->", "<!-- qa-env:other:qa-foo -->"):
        hub.pulls.add_comment(number, {"body": f"{mark}\n\ntheirs"}, "now")
    told(report, reporting.ready())
    assert [body.endswith("theirs") for body in hub.bodies()] == [True, True, False]


class TestWithoutAPullRequest:
    def test_that_is_no_error(self, hub: Hub, report: PullRequest) -> None:
        env = told(report, reporting.ready())
        assert hub.bodies() == []
        assert env.remembered("pull_request")["pull"] == ""

    def test_while_it_builds_it_is_asked_for_once(self, hub: Hub, report: PullRequest) -> None:
        env = told(report, reporting.building())
        asked = len(hub.asked)
        told(report, env)
        assert len(hub.asked) == asked

    @pytest.mark.parametrize(
        "env", [reporting.ready(), reporting.asleep(), reporting.failed(), reporting.blocked()]
    )
    def test_one_that_is_opened_later_is_found_at_rest(
        self, hub: Hub, report: PullRequest, env: Environment
    ) -> None:
        """Its event causes a pass in which nothing else is new."""
        before = told(report, env)
        hub.open_pull()
        told(report, before)
        assert only(hub).startswith(MARK)

    def test_a_second_one_gets_a_comment_of_its_own(self, hub: Hub, report: PullRequest) -> None:
        """The first was closed."""
        hub.open_pull()
        env = told(report, reporting.ready())
        hub.pulls.all[0]["state"] = "closed"
        second = hub.open_pull()
        told(report, env)
        assert [one["issue"] for one in hub.pulls.comments.values()] == [1, second]

    def test_others_are_not_ours(self, hub: Hub, report: PullRequest) -> None:
        """Another branch's; a fork's branch of the same name; one whose fork is gone."""
        hub.branches.all |= {"qa/bar": B}
        hub.open_pull("qa/bar")
        hub.open_pull()
        for repo in ({"full_name": "stranger/shop"}, None):
            hub.pulls.all[-1]["head"]["repo"] = repo
            told(report, reporting.ready())
        assert hub.bodies() == []

    def test_of_several_the_oldest_is_ours(self, hub: Hub, report: PullRequest) -> None:
        """Into several branches: the comment does not move to each new one."""
        hub.open_pull()
        hub.pulls.all = [{**hub.pulls.all[0], "number": number} for number in (9, 10)]
        told(report, reporting.ready())
        assert [one["issue"] for one in hub.pulls.comments.values()] == [9]


class TestTheEnd:
    def test_github_has_closed_the_pull_request_with_its_branch(self, hub: Hub, report: PullRequest) -> None:
        """The comment is edited all the same, also if memory is lost."""
        hub.open_pull()
        env = told(report, reporting.ready())
        del hub.branches.all["qa/foo"]
        env = told(report, reporting.deleting(), env)
        assert "Being deleted" in only(hub)
        gone(report, reporting.deleting())
        assert "Deleted" in only(hub)

    def test_where_nothing_was_said_nothing_is_made(self, hub: Hub, report: PullRequest) -> None:
        hub.open_pull()
        told(report, reporting.deleting())
        gone(report, reporting.deleting())
        assert hub.bodies() == []

    def test_going_away_is_said_once(self, hub: Hub, report: PullRequest) -> None:
        hub.open_pull()
        env = told(report, reporting.ready())
        env = told(report, reporting.deleting(), env)
        asked = len(hub.asked)
        told(report, reporting.deleting(), env)
        assert len(hub.asked) == asked

    def test_a_comment_that_was_removed_stays_removed(self, hub: Hub, report: PullRequest) -> None:
        hub.open_pull()
        env = told(report, reporting.ready())
        hub.pulls.comments.clear()
        told(report, reporting.deleting(), env)
        gone(report, reporting.deleting(), env)
        assert hub.bodies() == []


def test_a_comment_that_was_removed_by_hand_is_made_anew(hub: Hub, report: PullRequest) -> None:
    hub.open_pull()
    env = told(report, reporting.building())
    hub.pulls.comments.clear()
    told(report, reporting.ready(), env)
    assert "Ready" in only(hub)


@pytest.mark.parametrize(
    "name",
    [
        HOSTILE,
        "qa/@example/team",
        "qa/#17",
        "qa/www.evil.example",
        "qa/https://evil.example",
        "qa/--><script>alert(1)</script>",
        "qa/</code></a><img/src=x>",
        "qa/||x|",
        "qa/`x`",
        "qa/$x$",
        "qa/:tada:",
        "qa/&lt;b&gt;",
    ],
)
def test_what_is_hostile_stays_in_its_place(hub: Hub, report: PullRequest, name: str) -> None:
    """Of a branch's name, of an error and of who pushed, every sign is a character reference, in `<code>`.

    So no sign of theirs is Markdown or HTML, and GitHub looks for mentions and links elsewhere.
    """
    hub.branches.all[name] = A
    hub.open_pull(name)
    told(report, reporting.blocked(f"{name}\n\n# {name}", slug="qa-hostile", branch=name, by=name))
    body = only(hub)
    assert text(body).count(name) >= 4
    plain = reporting.blocked("quite", slug="qa-hostile", branch="qa/plain", by="hanako")
    hub.branches.all["qa/plain"] = A
    hub.open_pull("qa/plain")
    told(report, plain)
    assert structure(body) == structure(hub.bodies()[-1])


def structure(body: str) -> str:
    """What of a comment means something to Markdown: all but what is in `<code>`, which must be harmless."""
    inner = re.findall(r"<code>(.*?)</code>", body, re.DOTALL)
    for one in inner:
        assert re.fullmatch(r"(?:[^\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]| |&#[0-9]+;)*", one), one
    return re.sub(r"<code>.*?</code>", "<code></code>", body, flags=re.DOTALL)


def test_a_page_that_is_no_url_breaks_nothing(hub: Hub) -> None:
    """An address is in quotes, so its signs are references, too."""
    hub.open_pull()
    odd = 'https://qa.example.com"><script>|x'
    told(PullRequest(hub.api, settings(page={"url": odd}), "staging"), reporting.ready())
    assert "<script>" not in only(hub)
    assert f"{odd}/environments/qa-foo" in html.unescape(only(hub))


def test_a_long_reason_is_cut(hub: Hub, report: PullRequest) -> None:
    hub.open_pull()
    told(report, reporting.blocked("x" * 100_000))
    assert len(only(hub)) < 10_000


def test_without_a_commit_there_is_nothing_to_say(hub: Hub, report: PullRequest) -> None:
    with pytest.raises(NotReady, match=r"^waiting for the commit$"):
        told(report, environment(commit=""))
    told(report, reporting.deleting(commit=""))
    assert hub.asked == []


@pytest.mark.parametrize(("status", "error"), [(404, Blocked), (403, Blocked), (503, NotReady)])
@pytest.mark.parametrize(("method", "part"), [("GET", "/pulls"), ("POST", "/comments")])
def test_a_github_that_takes_no_comment(
    hub: Hub, report: PullRequest, method: str, part: str, status: int, error: type[Exception]
) -> None:
    """It says what to do; what was not said is said next time."""
    hub.open_pull()
    hub.refusing = {(method, part): (status, "no")}
    with pytest.raises(error) as caught:
        told(report, reporting.ready())
    assert TOKEN not in str(caught.value)
    hub.refusing = {}
    told(report, reporting.ready())
    assert "Ready" in only(hub)


def test_a_github_that_is_away_holds_nothing_up(hub: Hub, report: PullRequest) -> None:
    """The phase stays, and the tick asks again; many passes are one comment."""
    hub.open_pull()
    hub.available = False
    loop = Loop(report)
    env = loop.run()
    assert env is not None
    assert (env.phase, loop.condition.state) == (Phase.READY, State.WAITING)
    hub.available = True
    for _ in range(3):
        loop.run()
    assert "Ready" in only(hub)
    loop.remove()
    while loop.run():
        pass
    assert "Deleted" in only(hub)


def test_a_new_commit_is_in_the_same_comment(hub: Hub, report: PullRequest) -> None:
    hub.open_pull()
    env = told(report, reporting.ready())
    told(report, replace(env, commit=B))
    assert "bbbbbbb" in only(hub)


def test_the_next_life_edits_the_same_comment(
    hub: Hub, report: PullRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though GitHub does not show it: a push during the teardown begins a new life with the comment known."""
    hub.open_pull()
    loop = Loop(report)
    loop.run()
    seen = loop.store.get(loop.env.slug)
    assert seen is not None
    wish = replace(seen, desired=Desired.ABSENT, next_commit=B, generation=seen.generation + 1)
    loop.store.desire(wish, seen)
    while (env := loop.run()) and env.desired is Desired.ABSENT:
        pass
    monkeypatch.setattr(hub.pulls, "list_comments", lambda number: (200, []))
    for _ in range(3):
        loop.run()
    assert "bbbbbbb" in only(hub)
