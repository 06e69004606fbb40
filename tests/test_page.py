"""The page behind the curtain: plain, correct, and harmless whatever a branch is called."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from qa_env.model import Asked, Built, Claim, Environment, Phase, Slug, State, port_scope
from qa_env.page import lookup, times
from qa_env.page.curtain import is_page_view
from qa_env.page.web import Page, Request
from qa_env.wording import Words
from tests.fakes import MemoryStore
from tests.making import A, B, environment, said
from tests.pages import ARN, HOSTILE, NOW, OTHER, Reader, Visit, curtain_group, in_phase, store_with

LANGUAGES = ["en", "ja"]


def shown(env: Environment, **headers: str | None) -> Page:
    return Visit(env).see(**headers)


def stages(*statuses: str) -> str:
    names = ("Source", "Build", "Migrate", "Deploy")
    return json.dumps([{"name": n, "status": s, "url": ""} for n, s in zip(names, statuses, strict=True)])


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_is_said_in_both_languages(phase: Phase, language: str) -> None:
    """503, because it comes again; what it is, which branch and commit, who pushed it and when."""
    words = Words(language)
    page = shown(in_phase(phase), accept_language=language)
    read = Reader(page)
    assert page.status == 503
    assert read.those("html", lang=language)
    assert page.headers["Content-Language"] == language
    assert words(f"curtain.{phase}") in read.texts
    assert words(f"curtain.{phase}.text") in read.texts
    assert words(f"phase.{phase}") in read.texts
    assert {"qa/foo", A[:8], "hanako"} <= set(read.texts)
    assert read.those("a", title=A, href=f"https://github.com/example/shop/commit/{A}")
    assert read.those("time", datetime="2026-11-02T02:16:01Z")
    assert read.elements.count("h1") == 1


def test_the_languages_are_asked_for_in_the_usual_way() -> None:
    """And an answer in one is no answer for who wants the other."""
    page = shown(environment(), accept_language="fr, ja;q=0.8, en;q=0.5")
    assert Reader(page).those("html", lang="ja")
    assert "Accept-Language" in page.headers["Vary"]
    assert Reader(shown(environment(), accept_language=None)).those("html", lang="en")


def test_what_aws_says_is_marked_as_english() -> None:
    """So that a screen reader does not read it as Japanese."""
    env = in_phase(Phase.FAILED, conditions={"service/app": said(State.FAILED, "exit code 1")})
    read = Reader(shown(env, accept_language="ja"))
    assert "exit code 1" in read.text
    assert read.those("bdi", lang="en")


class TestProgress:
    def building(self, **outputs: str) -> Visit:
        outputs = {"stages": stages("Succeeded", "InProgress", "", "")} | outputs
        visit = Visit(environment(conditions={"pipeline": said(State.WAITING, "building: Build", **outputs)}))
        visit.store.builds["example/shop"] = [100, 240, 250]
        return visit

    def test_stages_are_done_running_and_to_come(self) -> None:
        read = Reader(self.building().see())
        classes = [one.get("class") for one in read.those("li")]
        assert classes == ["is-done", "is-running", "is-waiting", "is-waiting"]
        assert [one.get("aria-current") for one in read.those("li")] == [None, "step", None, None]
        assert {"done", "running", "to come"} <= set(read.texts)

    def test_it_says_how_long_it_usually_takes(self) -> None:
        """The median: one long build frightens nobody."""
        assert "This usually takes about 4 minutes." in Reader(self.building().see()).text

    def test_and_how_long_it_has_taken(self) -> None:
        visit = self.building(started=times.iso(NOW - 121))
        read = Reader(visit.see())
        assert "So far: 2 minutes." in read.text
        assert read.those("progress", value="50")

    def test_a_build_that_takes_too_long_is_never_shown_as_done(self) -> None:
        visit = self.building(started=times.iso(NOW - 9000))
        assert Reader(visit.see()).those("progress", value="95")

    def test_a_start_that_cannot_be_read_is_left_out(self) -> None:
        assert "So far" not in Reader(self.building(started="yesterday").see()).text

    def test_without_a_finished_build_nothing_is_promised(self) -> None:
        visit = self.building()
        visit.store.builds.clear()
        read = Reader(visit.see())
        assert "usually" not in read.text
        assert read.those("ol")

    def test_a_stage_of_another_pipeline_is_called_as_it_is(self) -> None:
        visit = self.building(stages=json.dumps([{"name": "<Scan>", "status": "InProgress"}]))
        assert "<Scan>" in Reader(visit.see()).texts

    def test_a_failure_says_where_why_and_where_to_read_on(self) -> None:
        failed = said(
            State.FAILED,
            "the build failed in Migrate: duplicate column",
            stages=stages("Succeeded", "Succeeded", "Failed", ""),
            log_url="https://log",
        )
        read = Reader(shown(environment(conditions={"pipeline": failed})))
        assert "It failed in the stage “Migrate”." in read.texts
        assert "the build failed in Migrate: duplicate column" in read.texts
        assert "https://log" in read.links
        assert [one.get("class") for one in read.those("li")][2] == "is-failed"

    def test_a_log_address_that_is_none_is_no_link(self) -> None:
        """It comes from AWS, but nothing from outside may run."""
        failed = said(State.FAILED, "x", log_url="javascript:alert(1)")
        read = Reader(shown(environment(conditions={"pipeline": failed})))
        assert not any("javascript" in one for one in read.links)


def test_what_blocks_is_said_with_what_to_do() -> None:
    env = environment(conditions={"claims": said(State.BLOCKED, "no free port; add a load balancer")})
    read = Reader(shown(env))
    assert "no free port; add a load balancer" in read.texts
    assert "It cannot go on by itself" in read.texts


def test_trouble_is_said_once_and_before_what_waits() -> None:
    conditions = {
        "schema": said(State.READY, "fine"),
        "service/app": said(State.FAILED, "exit code 1"),
        "service/worker": said(State.FAILED, "exit code 1"),
        "claims": said(State.BLOCKED, "no free port"),
        "curtain/app": said(State.WAITING, "waiting for the service"),
    }
    texts = Reader(shown(environment(conditions=conditions))).texts
    assert texts.index("no free port") < texts.index("exit code 1")
    assert texts.count("exit code 1") == 1
    assert "fine" not in texts
    assert "waiting for the service" not in texts


def test_a_reset_is_called_one_until_it_failed() -> None:
    env = in_phase(Phase.BUILDING, asked=Asked(reset=5, redeploy=5))
    assert "The database is being reset" in Reader(shown(env)).texts
    failed = in_phase(Phase.FAILED, asked=Asked(reset=5, redeploy=5))
    assert "This version could not be built or started" in Reader(shown(failed)).texts


def test_a_push_during_the_teardown_is_announced() -> None:
    env = in_phase(Phase.DELETING, next_commit=B)
    assert B[:8] in Reader(shown(env)).text


def test_a_page_looks_again_by_itself() -> None:
    """With the script, and without it; where there is nothing to come, it does not."""
    read, gone = Reader(shown(environment())), Reader(Visit().see())
    assert read.those("main", **{"data-page": "curtain", "data-refresh": "3"})
    assert ("http-equiv", "refresh") in read.attributes
    assert "noscript" in read.elements
    assert "data-refresh" not in gone.those("main")[0]
    assert ("http-equiv", "refresh") not in gone.attributes


def test_our_answers_bear_a_mark_that_an_application_does_not_send() -> None:
    """That is how the script knows when the application is live."""
    for page in (
        shown(environment()),
        Visit().see(),
        shown(environment(), accept="*/*", sec_fetch_dest=None),
    ):
        assert page.headers["X-Qa-Env"] == "curtain"


def test_no_environment_is_a_404() -> None:
    """With what to do about it."""
    page = Visit().see()
    assert page.status == 404
    assert "There is no environment here" in Reader(page).texts
    assert page.headers["Retry-After"] == "5"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("text", HOSTILE)
def test_everything_from_outside_is_only_text(text: str, language: str) -> None:
    """Branch, person, commit, messages: the page has its usual elements, and shows them as they are."""
    conditions = {"service/app": said(State.FAILED, "x")}
    usual = Reader(shown(environment(conditions=conditions), accept_language=language))
    conditions = {"service/app": said(State.FAILED, text)}
    hostile = environment(branch=text, by=text, commit=text, conditions=conditions)
    read = Reader(shown(hostile, accept_language=language))
    assert read.elements == usual.elements
    assert [name for name, _ in read.attributes] == [name for name, _ in usual.attributes]
    assert read.unclosed == []
    assert read.texts.count(text) >= 3


def test_the_detail_page_is_linked_where_its_address_is_known() -> None:
    visit = Visit(environment())
    assert "https://qa.example.com/environments/qa-foo" in Reader(visit.see()).links
    visit = Visit(environment(), page={})
    assert not any("/environments/" in one for one in Reader(visit.see()).links)


def test_what_is_unknown_is_said_so() -> None:
    """A branch made by the `create` event has no commit yet."""
    read = Reader(shown(environment(commit="", by="", at="")))
    assert read.texts.count("unknown") == 3


def test_an_environment_without_a_blueprint_is_shown() -> None:
    """Its repository was taken out while it was up."""
    env = environment(repository="example/other", conditions={"branch": said(State.BLOCKED, "no blueprint")})
    assert "no blueprint" in Reader(shown(env)).texts


@pytest.mark.parametrize("path", ["/", "/api/v1/environments", "/environments/qa-foo/delete", "/%ff", "/x?y"])
def test_every_path_of_a_port_is_the_environments(path: str) -> None:
    """Our own addresses mean nothing there: the application may have them as well."""
    page = Visit(environment()).see(path=path)
    assert page.status == 503
    assert "Your turn is coming" in Reader(page).texts


@pytest.mark.parametrize(
    ("method", "headers", "html"),
    [
        ("GET", {"sec-fetch-dest": "document"}, True),
        ("GET", {"sec-fetch-dest": "iframe"}, True),
        ("HEAD", {"sec-fetch-dest": "document"}, True),
        ("GET", {"accept": "text/html,*/*;q=0.8"}, True),
        ("GET", {"sec-fetch-dest": "empty", "accept": "text/html", "x-qa-env": "refresh"}, True),
        ("GET", {"sec-fetch-dest": "empty", "accept": "text/html"}, False),
        ("GET", {"sec-fetch-dest": "image", "accept": "image/*"}, False),
        ("GET", {"sec-fetch-dest": "script"}, False),
        ("GET", {"accept": "application/json"}, False),
        ("GET", {"accept": "*/*"}, False),
        ("GET", {}, False),
        ("POST", {"sec-fetch-dest": "document", "accept": "text/html"}, False),
        ("POST", {"x-qa-env": "refresh"}, False),
        ("OPTIONS", {"accept": "text/html"}, False),
    ],
)
def test_only_a_page_view_gets_a_page(method: str, headers: dict[str, str], html: bool) -> None:
    """An application's `fetch` must not parse HTML, and a form must not show a page as its answer."""
    request = Request(
        method, headers=headers | {"x-forwarded-port": "10001"}, target_group=curtain_group(ARN)
    )
    page = Visit(environment(branch='qa/"')).site.answer(request)
    assert is_page_view(request) is html
    assert page.status == 503
    assert page.headers["Retry-After"] == "5"
    if html:
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert page.body.startswith("<!doctype html>")
    else:
        assert page.headers["Content-Type"] == "application/json; charset=utf-8"
        assert json.loads(page.body)["state"] == "queued"


def test_a_program_is_told_the_state_and_the_reasons() -> None:
    """What a developer sees with curl."""
    failed = said(State.FAILED, "exit 1", stages=stages("Succeeded", "Failed", "", ""), log_url="https://log")
    page = shown(environment(conditions={"pipeline": failed}), accept="*/*", sec_fetch_dest=None)
    assert json.loads(page.body) == {
        "state": "failed",
        "message": "This version could not be built or started",
        "reasons": ["exit 1"],
        "slug": "qa-foo",
        "branch": "qa/foo",
        "commit": A,
        "stage": "Build",
        "log_url": "https://log",
        "page_url": "https://qa.example.com/environments/qa-foo",
    }
    gone = Visit().see(method="POST")
    assert (gone.status, json.loads(gone.body)["state"]) == (404, "gone")


class TestWaking:
    def test_a_visit_wakes_what_sleeps(self) -> None:
        """And it is written down who could not be named."""
        visit = Visit(in_phase(Phase.ASLEEP))
        assert "Waking up" in Reader(visit.see()).texts
        assert visit.woken == ["qa-foo"]
        assert visit.store.records[Slug("qa-foo")].asked.awake == int(NOW * 1000)
        assert visit.store.history(Slug("qa-foo"))[0].kind == "awoken"

    @pytest.mark.parametrize(
        ("method", "headers"),
        [
            ("HEAD", {}),
            ("POST", {}),
            ("GET", {"sec_fetch_dest": "image"}),
            ("GET", {"sec_fetch_dest": None, "accept": "*/*"}),
            ("HEAD", {"x_qa_env": "refresh"}),
            ("GET", {"sec_purpose": "prefetch;prerender"}),
            ("GET", {"purpose": "prefetch"}),
        ],
    )
    def test_nothing_else_does(self, method: str, headers: dict[str, Any]) -> None:
        """A monitor, an image, a browser that guesses."""
        visit = Visit(in_phase(Phase.ASLEEP))
        visit.see(method=method, **headers)
        assert visit.woken == []

    def test_a_page_that_was_open_before_wakes_it_once(self) -> None:
        """A tab comes back to what fell asleep behind it, and looks every three seconds until that is up."""
        visit = Visit(in_phase(Phase.ASLEEP))
        for _ in range(5):
            assert "Waking up" in Reader(visit.see(x_qa_env="refresh")).texts
            visit.now += 3
        assert visit.woken == ["qa-foo"]
        assert [event.kind for event in visit.store.history(Slug("qa-foo"))] == ["awoken"]

    @pytest.mark.parametrize("phase", [one for one in Phase if one is not Phase.ASLEEP])
    def test_what_is_awake_is_left_alone(self, phase: Phase) -> None:
        visit = Visit(in_phase(phase))
        before = visit.store.records[Slug("qa-foo")]
        visit.see()
        assert (visit.woken, visit.store.records[Slug("qa-foo")]) == ([], before)
        assert visit.store.history(Slug("qa-foo")) == []


class TestTimes:
    @pytest.mark.parametrize(
        ("age", "text"),
        [
            (-5, "just now"),
            (0, "just now"),
            (59, "just now"),
            (60, "1 minute ago"),
            (3599, "59 minutes ago"),
            (3600, "1 hour ago"),
            (86399, "23 hours ago"),
            (86400, "1 day ago"),
            (864000, "10 days ago"),
        ],
    )
    def test_how_long_ago(self, age: float, text: str) -> None:
        assert text in times.ago(Words("en"), times.iso(NOW - age), NOW)

    def test_the_exact_time_is_there_for_machines_and_people(self) -> None:
        made = times.exact(Words("ja"), "2026-11-02T11:16:01+09:00", NOW)
        assert 'datetime="2026-11-02T02:16:01Z"' in made
        assert "（2026-11-02 02:16 UTC）" in made

    @pytest.mark.parametrize("at", ["", "soon", "2026-13-01"])
    def test_what_is_no_time_is_unknown(self, at: str) -> None:
        assert times.seconds(at) is None
        assert times.ago(Words("en"), at, NOW) == times.exact(Words("en"), at, NOW) == "<span>unknown</span>"

    def test_a_length_is_never_zero_minutes(self) -> None:
        assert times.minutes(Words("en"), 3) == "a minute"
        assert times.minutes(Words("en"), 235) == "4 minutes"


class TestLookup:
    places = lookup.Places("qa-env", (ARN, OTHER))

    @pytest.fixture
    def store(self) -> MemoryStore:
        made = store_with(environment("qa-foo"))
        made.records[Slug("qa-bar")] = environment("qa-bar")
        made.claims[Claim(port_scope(OTHER), "10001")] = Slug("qa-bar")
        return made

    def find(self, store: MemoryStore, arn: str, port: str) -> str | None:
        env = lookup.environment(store, arn, port)
        return env.slug if env else None

    def test_the_target_group_says_which_load_balancer(self) -> None:
        """Each load balancer has a page of its own."""
        assert self.places.load_balancer(curtain_group(ARN)) == ARN
        assert self.places.load_balancer(curtain_group(OTHER)) == OTHER

    def test_another_target_group_is_no_curtain(self) -> None:
        """A load balancer that no blueprint names (any more), another installation's, or none at all."""
        for group in (curtain_group(ARN + "0"), curtain_group(ARN, "qa-two"), "arn", "", ":targetgroup/"):
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
        store = MemoryStore()
        store.claims[Claim(port_scope(ARN), "10001")] = Slug("qa-foo")
        assert self.find(store, ARN, "10001") is None


def test_an_old_version_that_is_built_says_that_it_starts() -> None:
    """The commit is built, its services are not up."""
    env = replace(in_phase(Phase.BUILDING), built=Built(A, "image", "1"))
    assert "The application is starting" in Reader(shown(env)).texts
