"""The list: every environment, found, filtered, sorted, and small enough for a load balancer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from qa_env.model import Asked, Environment, Phase, Slug, State
from qa_env.page import alb, query, times
from qa_env.page.web import Page, Request
from tests.making import A, B, environment, said
from tests.pages import HOSTILE, NOW, OWN_GROUP, Reader, Visit, in_phase

ANSWER_MAX = 1_000_000  # bytes of JSON that a load balancer takes from a function


def urls(*roles: str, host: str = "qa.example.com:10001") -> dict[str, Any]:
    return {f"listener/{role}": said(State.READY, url=f"https://{host}/{role}") for role in roles}


def some() -> list[Environment]:
    """Three that differ in everything."""
    return [
        in_phase(Phase.FAILED, slug=Slug("qa-beta"), branch="qa/Beta", by="taro", at=times.iso(NOW - 60)),
        in_phase(
            Phase.READY, slug=Slug("qa-alpha"), branch="qa/alpha", by="Hanako", at=times.iso(NOW - 9000)
        ),
        environment("qa-gamma", branch="qa/gamma", by="ken", at=times.iso(NOW - 500), commit=B),
    ]


def branches(page: Page) -> list[str]:
    """Which environments are shown, in their order."""
    return [str(one["id"]).removeprefix("env-") for one in Reader(page).those("tr") if one.get("id")]


def test_a_row_says_everything() -> None:
    """Links, state, branch, commit, age, who, last deployed and last visited."""
    conditions = urls("app", "admin") | {"service/app": said(State.READY)}
    visit = Visit(environment(conditions=conditions, visited=int((NOW - 120) * 1000)))
    page = visit.ask()
    read = Reader(page)
    assert page.status == 200
    assert {"ready", "qa/foo", "hanako", A[:8], "app", "admin", "2 minutes ago"} <= set(read.texts)
    assert {"https://qa.example.com:10001/app", "https://qa.example.com:10001/admin"} <= set(read.links)
    assert "/environments/qa-foo" in read.links
    assert read.those("a", title=A, href=f"https://github.com/example/shop/commit/{A}")
    times_shown = [one["datetime"] for one in read.those("time")]
    assert times_shown == ["2026-11-02T02:16:01Z", "2026-11-02T02:16:02Z", times.iso(NOW - 120)]
    assert [one["aria-label"] for one in read.those("button", type="button")] == ["Copy: qa/foo app"]


def test_what_sleeps_was_deployed_when_it_was_built() -> None:
    """Its service came to rest later, and nothing was deployed then."""
    slept = replace(said(State.READY, asleep="1"), since="2026-11-02T05:00:00+00:00")
    read = Reader(Visit(environment(conditions={"service/app": slept, "pipeline": said(State.READY)})).ask())
    shown = [one["datetime"] for one in read.those("time")]
    assert shown == ["2026-11-02T02:16:01Z", "2026-11-02T02:16:02Z"]


def test_nobody_gets_a_column_of_which_nothing_is_known() -> None:
    """Visits are counted only where somebody counts them."""
    assert "Last visited" not in Reader(Visit(environment()).ask()).texts
    assert "Last visited" in Reader(Visit(environment(visited=1)).ask()).texts


def test_a_repository_is_named_where_there_are_several() -> None:
    assert "example/shop" not in Reader(Visit(environment()).ask()).texts
    two = Visit(environment(), environment("blog-qa-foo", repository="example/blog"))
    assert {"example/shop", "example/blog"} <= set(Reader(two.ask()).texts)
    assert branches(two.ask(query={"repository": "example/blog"})) == ["blog-qa-foo"]


def test_a_badge_leaves_nothing_open() -> None:
    """Which stage runs, which one failed, and that the database is being reset."""
    running = said(State.WAITING, stages=json.dumps([{"name": "Migrate", "status": "InProgress"}]))
    failed = said(State.FAILED, stages=json.dumps([{"name": "Build", "status": "Failed"}]))
    visit = Visit(
        environment("qa-1", conditions={"pipeline": running}),
        environment("qa-2", conditions={"pipeline": failed}),
        environment("qa-3", asked=Asked(reset=1)),
    )
    assert {"Migrate", "Build", "the database is being reset"} <= set(Reader(visit.ask()).texts)


def test_the_summary_counts_all_by_state() -> None:
    visit = Visit(*some())
    assert "3 environments: 1 ready, 1 failed, 1 queued" in Reader(visit.ask()).texts
    assert "1 environment: 1 queued" in Reader(Visit(environment()).ask()).texts
    narrowed = Reader(visit.ask(query={"q": "beta"}))
    assert "3 environments: 1 ready, 1 failed, 1 queued – 1 shown" in narrowed.texts
    assert narrowed.those("p", **{"data-part": "summary", "aria-live": "polite"})


class TestChoosing:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("alpha", ["qa-alpha"]),
            ("ALPHA", ["qa-alpha"]),
            (" qa-al ", ["qa-alpha"]),
            ("hanako", ["qa-alpha"]),
            ("example/shop", ["qa-beta", "qa-gamma", "qa-alpha"]),
            (B[:5], ["qa-gamma"]),
            ("", ["qa-beta", "qa-gamma", "qa-alpha"]),
            ("nothing", []),
            ("(", []),
            ("%", []),
        ],
    )
    def test_search(self, text: str, found: list[str]) -> None:
        """Branch, slug, person, repository, or the beginning of a commit."""
        assert branches(Visit(*some()).ask(query={"q": text})) == found

    @pytest.mark.parametrize(
        ("sort", "found"),
        [
            ("age", ["qa-beta", "qa-gamma", "qa-alpha"]),
            ("", ["qa-beta", "qa-gamma", "qa-alpha"]),
            ("unknown", ["qa-beta", "qa-gamma", "qa-alpha"]),
            ("branch", ["qa-alpha", "qa-beta", "qa-gamma"]),
            ("owner", ["qa-alpha", "qa-gamma", "qa-beta"]),
            ("state", ["qa-beta", "qa-gamma", "qa-alpha"]),
        ],
    )
    def test_order(self, sort: str, found: list[str]) -> None:
        """Newest first unless asked otherwise; upper case is no order; trouble comes first."""
        assert branches(Visit(*some()).ask(query={"sort": sort})) == found

    def test_every_state_has_its_place_in_the_order(self) -> None:
        assert set(query.TROUBLE_FIRST) == set(Phase)

    def test_filters(self) -> None:
        visit = Visit(*some())
        assert branches(visit.ask(query={"state": "failed"})) == ["qa-beta"]
        assert branches(visit.ask(query={"owner": "ken"})) == ["qa-gamma"]
        assert branches(visit.ask(query={"owner": "ken", "state": "failed"})) == []
        assert len(branches(visit.ask(query={"state": "no-such-state"}))) == 3

    def test_what_is_chosen_stays_chosen(self) -> None:
        """Though nothing has that state any more; choices are what occurs."""
        read = Reader(
            Visit(*some()).ask(query={"q": '"x', "state": "asleep", "owner": "gone", "sort": "branch"})
        )
        chosen = [one["value"] for one in read.those("option") if "selected" in one]
        assert chosen == ["asleep", "gone", "branch"]
        assert read.those("input", value='"x')
        values = [one["value"] for one in read.those("option")]
        assert {"failed", "ready", "queued", "asleep", "Hanako", "ken", "taro", "gone"} <= set(values)
        assert "blocked" not in values

    def test_no_match_leads_back_to_all(self) -> None:
        read = Reader(Visit(*some()).ask(query={"q": "nothing"}))
        assert "No environment matches." in read.texts
        assert read.those("a", href="/", **{"class": "button"})
        assert "table" not in read.elements

    @pytest.mark.parametrize("start", ["-1", "x", "1e9", "9" * 50, "²", "", "3"])
    def test_a_place_that_is_none_is_the_first(self, start: str) -> None:
        """The last one was a place until others went."""
        assert len(branches(Visit(*some()).ask(query={"from": start}))) == 3

    def test_a_very_long_question_is_cut(self) -> None:
        read = Reader(Visit(*some()).ask(query={"q": "x" * 100_000}))
        assert len(str(read.those("input")[0]["value"])) == 200


def test_an_empty_list_says_how_to_begin() -> None:
    read = Reader(Visit().ask())
    assert "There is no environment yet." in read.texts
    assert "git push origin HEAD:refs/heads/qa/my-branch" in read.texts
    assert not {"table", "form"} & set(read.elements)


def test_the_form_works_without_a_script() -> None:
    read = Reader(Visit(*some()).ask())
    assert read.those("form", action="/", role="search")
    assert [one.get("name") for one in read.those("input") + read.those("select")] == [
        "q",
        "state",
        "owner",
        "sort",
    ]
    assert read.those("button", id="send")


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_from_outside_is_only_text(text: str, language: str) -> None:
    """Branches, people, commits and hosts; what is typed as well."""
    usual = Reader(Visit(environment(conditions=urls("app"))).ask(accept_language=language))
    hostile = environment(branch=text, by=text, commit=text, conditions=urls("app", host=text))
    read = Reader(Visit(hostile).ask(accept_language=language))
    assert read.elements == usual.elements
    assert [name for name, _ in read.attributes] == [name for name, _ in usual.attributes]
    assert read.texts.count(text) >= 3
    searched = Reader(Visit(hostile).ask(query={"q": text, "owner": text, "state": text}))
    assert searched.those("input")[0]["value"] == text


def test_a_role_whose_address_is_none_is_no_link() -> None:
    conditions = {"listener/app": said(State.READY, url="javascript:alert(1)")}
    read = Reader(Visit(environment(conditions=conditions)).ask())
    assert "app" in read.texts
    assert not any("javascript" in one for one in read.links)
    assert not read.those("button", type="button")


class TestSize:
    def many(self, count: int, branch: str = "qa/feature-{}-of-usual-length") -> Visit:
        """Three roles each, two of them with a URL, as the record has them when they are ready."""
        made = []
        for number in range(count):
            name = branch.format(f"{number:04}")
            slug = Slug(f"qa-feature-{number:04}-of-usual-length")
            host = f"{slug}.qa.example.com:{10001 + number}"
            conditions = urls("app", "admin", "worker", host=host) | {"service/app": said(State.READY)}
            made.append(environment(slug, branch=name, conditions=conditions, visited=int(NOW * 1000)))
        return Visit(*made)

    def answer(self, visit: Visit, **headers: str) -> dict[str, Any]:
        event = {"headers": headers, "requestContext": {"elb": {"targetGroupArn": OWN_GROUP}}}
        asked = Request(headers=headers, target_group=OWN_GROUP)
        return alb.answer(event, asked, visit.site.answer(asked))

    @pytest.mark.parametrize("language", ["en", "ja"])
    @pytest.mark.parametrize("encoding", ["gzip", "identity"])
    def test_500_environments_fit_into_one_answer(self, encoding: str, language: str) -> None:
        """Also for who does not take gzip."""
        visit = self.many(500)
        made = self.answer(visit, **{"accept-encoding": encoding, "accept-language": language})
        assert len(json.dumps(made)) < ANSWER_MAX
        assert len(branches(visit.ask(accept_language=language))) == 500

    def test_what_does_not_fit_is_said_and_can_be_reached(self) -> None:
        """Branches of the greatest length, each character of which takes five to escape."""
        visit = self.many(500, branch="qa/{}" + "&" * 240)
        made = self.answer(visit)
        assert len(json.dumps(made)) < ANSWER_MAX
        seen: list[str] = []
        link = "/"
        for _ in range(5):
            asked = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}
            page = visit.ask(query=asked)
            read = Reader(page)
            seen += branches(page)
            assert "of 500" in read.text
            ahead = [one["href"] for one in read.those("a") if "from=" in str(one["href"])]
            if not ahead:
                break
            link = str(ahead[-1])
        assert len(seen) == len(set(seen)) == 500

    def test_pages_keep_the_question(self) -> None:
        visit = self.many(501)
        read = Reader(visit.ask(query={"q": "usual", "sort": "branch"}))
        assert "1 to 500 of 501" in read.texts
        assert "/?q=usual&sort=branch&from=500" in read.links
        last = visit.ask(query={"q": "usual", "sort": "branch", "from": "500"})
        assert branches(last) == ["qa-feature-0500-of-usual-length"]
        assert "/?q=usual&sort=branch" in Reader(last).links

    def test_a_row_that_is_too_large_is_shown_alone(self) -> None:
        """Otherwise the next page would begin with it for ever."""
        found = [Visit(environment()).site.summary(environment(f"qa-{n}")) for n in range(3)]
        shown, after = query.window(found, 0, lambda one: one.env.slug, lambda _: query.BYTES + 1)
        assert (shown, after) == (["qa-0"], 1)


def test_the_records_are_read_once() -> None:
    """However many there are: the table is asked one Query, and no history."""
    visit = Visit(*some())
    reads: list[str] = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            reads.append(name)
            return getattr(visit.store, name)

    site = replace(visit.site, store=Counting())
    site.answer(Request(target_group=OWN_GROUP))
    assert reads == ["all"]
