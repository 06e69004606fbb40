"""Which page answers, who may ask for what, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from qa_env.model import Asked, Phase, Slug, Wish
from qa_env.page import guard
from qa_env.page.identity import Identity
from qa_env.page.routes import broken
from qa_env.page.web import Page, Request
from tests.making import A, environment, example
from tests.pages import ALL, ARN, BROWSER, HOSTILE, NOW, Reader, Visit, in_phase

SLUG = Slug("qa-foo")
OIDC = {
    "secret": "secretsmanager:oidc",
    "issuer": "https://login.example.com",
    "authorization_endpoint": "https://login.example.com/authorize",
    "token_endpoint": "https://login.example.com/token",
    "user_info_endpoint": "https://login.example.com/userinfo",
}


def asked(visit: Visit) -> Asked:
    return visit.store.records[SLUG].asked


class TestPaths:
    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/environments",
            "/environments/",
            "/environments/qa-foo",
            "/environments/qa-foo/",
            "/environments/qa-foo/redeploy",
            "/environments/qa-foo/redeploy/",
            "/api/v1/environments",
            "/api/v1/environments/",
            "/api/v1/environments/qa-foo",
            "/api/v1/environments/qa-foo/",
            "/robots.txt",
        ],
    )
    def test_what_there_is(self, path: str) -> None:
        """With and without a slash at the end; HEAD is as good as GET; our mark is on everything."""
        visit = Visit(environment())
        for method in ("GET", "HEAD"):
            page = visit.ask(path, method)
            assert page.status == 200
            assert page.headers["X-Qa-Env"]
            assert page.headers["Cache-Control"] == "no-store"

    @pytest.mark.parametrize(
        "path",
        [
            "/x",
            "//",
            "/environments/QA-FOO",
            "/environments/qa-foo/sleep",
            "/environments/qa-foo/redeploy/now",
            "/environments/../robots.txt",
            "/environments/" + "a" * 41,
            "/environments/-foo",
            "/environments/qa--foo",
            "/environments/qa-foo\n",
            "/\ufffd",
            "/favicon.ico",
            "",
            *(f"/environments/{text}" for text in HOSTILE),
        ],
    )
    def test_what_there_is_not(self, path: str) -> None:
        """The path is not repeated: it is hostile as well."""
        page = Visit(environment()).ask(path)
        assert page.status == 404
        read = Reader(page)
        assert "Not found" in read.texts
        assert "/" in read.links
        assert "alert" not in read.text

    @pytest.mark.parametrize(
        "path", ["/api/v1/x", "/api/v2/environments", "/api/v1/environments/qa-bar", "/api/"]
    )
    def test_scripts_are_refused_in_json(self, path: str) -> None:
        page = Visit(environment()).ask(path)
        assert page.status == 404
        assert json.loads(page.body)["error"]["status"] == 404

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "x"])
    @pytest.mark.parametrize("path", ["/", "/environments/qa-foo", "/robots.txt", "/api/v1/environments"])
    def test_a_wrong_method_is_told_the_right_ones(self, path: str, method: str) -> None:
        page = Visit(environment()).ask(path, method)
        assert (page.status, page.headers["Allow"]) == (405, "GET, HEAD")

    def test_a_wish_may_also_be_posted(self) -> None:
        page = Visit(environment()).ask("/environments/qa-foo/redeploy", "PUT")
        assert (page.status, page.headers["Allow"]) == (405, "GET, HEAD, POST")

    def test_robots_are_not_welcome(self) -> None:
        assert "Disallow: /\n" in Visit().ask("/robots.txt").body

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("wish", list(Wish))
    def test_looking_changes_nothing(self, wish: Wish, method: str) -> None:
        """Not even a link that somebody follows unawares."""
        visit = Visit(environment())
        before = visit.store.records[SLUG]
        for path in ("/", "/environments/qa-foo", f"/environments/qa-foo/{wish}", "/api/v1/environments"):
            visit.ask(path, method)
        assert visit.store.records[SLUG] == before
        assert (visit.woken, visit.store.history(SLUG)) == ([], [])


class TestWishes:
    def post(self, visit: Visit, wish: str = "redeploy", **headers: Any) -> Page:
        return visit.ask(f"/environments/qa-foo/{wish}", "POST", **headers)

    @pytest.mark.parametrize(
        ("wish", "expected"),
        [
            (Wish.REDEPLOY, Asked(redeploy=int(NOW * 1000), by="page")),
            (Wish.RESET, Asked(redeploy=int(NOW * 1000), reset=int(NOW * 1000), by="page")),
            (Wish.DELETE, Asked(dismissed=A, dismissed_in=7, by="page")),
        ],
    )
    def test_it_is_written_down_noted_and_shown(self, wish: Wish, expected: Asked) -> None:
        """And nothing else is done."""
        visit = Visit(environment())
        page = self.post(visit, wish)
        assert (page.status, page.headers["Location"]) == (303, f"/environments/qa-foo?done={wish}")
        assert asked(visit) == expected
        assert visit.woken == [SLUG]
        assert [(event.kind, event.by) for event in visit.store.history(SLUG)] == [(wish, "page")]
        assert replace(visit.store.records[SLUG], asked=Asked()) == environment()

    def test_only_where_the_blueprint_allows_it(self) -> None:
        visit = Visit(environment(), page={"buttons": ["redeploy"]})
        assert self.post(visit, "delete").status == 403
        assert visit.ask("/environments/qa-foo/delete").status == 403
        assert asked(visit) == Asked()
        assert self.post(visit, "redeploy").status == 303

    def test_not_without_a_blueprint(self) -> None:
        visit = Visit(environment(repository="example/other"))
        assert self.post(visit).status == 403
        assert asked(visit) == Asked()

    def test_not_of_what_is_not_there_or_goes(self) -> None:
        assert self.post(Visit()).status == 404
        visit = Visit(in_phase(Phase.DELETING))
        assert self.post(visit, "delete").status == 409
        assert asked(visit) == Asked()

    def test_what_the_watch_refuses_is_a_page(self) -> None:
        """An environment without a commit cannot be dismissed yet."""
        visit = Visit(environment(commit=""))
        page = self.post(visit, "delete")
        assert page.status == 409
        assert "has no commit yet" in Reader(page).text


class TestOrigin:
    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"sec_fetch_site": "same-origin"},
            {"host": "QA.example.com"},
            {"host": "qa.example.com:443"},
            {"host": "behind-another-proxy", "x_forwarded_proto": "http"},
            {"origin": "https://qa.example.com:443"},
        ],
    )
    def test_our_own_page_may_ask(self, headers: dict[str, str]) -> None:
        visit = Visit(environment())
        assert visit.ask("/environments/qa-foo/redeploy", "POST", **headers).status == 303
        assert asked(visit).redeploy

    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": None},
            {"origin": ""},
            {"origin": "null"},
            {"origin": "https://evil.example"},
            {"origin": "http://qa.example.com"},
            {"origin": "https://qa.example.com:10001"},
            {"origin": "https://qa.example.com.evil.example"},
            {"origin": "https://qa.example.com@evil.example"},
            {"origin": "https://qa.example.com:x"},
            {"origin": "https://qa.example.com:443, https://evil.example"},
            {"origin": "ftp://qa.example.com"},
            {"origin": "//qa.example.com"},
            {"origin": "https://"},
            {"origin": "https://[qa"},
            {"origin": "https://evil.example", "host": "evil.example"},
            {"sec_fetch_site": "same-site"},
            {"sec_fetch_site": "cross-site"},
            {"sec_fetch_site": "none"},
        ],
    )
    def test_nobody_else_may(self, headers: dict[str, str | None]) -> None:
        """An environment's application under another port, a stranger, a stranger's name for our address."""
        visit = Visit(environment())
        page = visit.ask("/environments/qa-foo/delete", "POST", **headers)
        assert page.status == 403
        assert "so nothing was done" in Reader(page).text
        assert asked(visit) == Asked()
        assert visit.woken == []

    def test_without_an_address_in_the_blueprints_the_request_s_own_counts(self) -> None:
        """Then a stranger's name for our address cannot be told from ours."""
        request = Request(
            headers={"origin": "http://qa:8080", "host": "qa:8080", "x-forwarded-proto": "http"}
        )
        assert guard.is_own(request, ())
        assert guard.is_own(request, {"http://qa:8080/", "https://other/"})
        assert not guard.is_own(request, {"http://qa/"})
        for wrong in ({"origin": "http://qa:10001"}, {"host": ""}, {"x-forwarded-proto": "https"}):
            assert not guard.is_own(Request(headers={**request.headers, **wrong}), ())

    def test_plain_http_on_a_port_of_its_own(self) -> None:
        """As an internal load balancer has it."""
        visit = Visit(environment(), page={"url": "http://qa.internal:8080", "buttons": ["redeploy"]})
        sent = {"origin": "http://qa.internal:8080", "host": "qa.internal:8080", "x_forwarded_proto": "http"}
        assert visit.ask("/environments/qa-foo/redeploy", "POST", **sent).status == 303


class TestWho:
    def visit(self, name: str | None = None, oidc: bool = True) -> Visit:
        """A site behind a log-in; whoever has one is called so."""
        balancers = example()["load_balancers"]
        if oidc:
            balancers[0]["oidc"] = OIDC
        visit = Visit(environment(), load_balancers=balancers)
        if name is not None:

            class Known(Identity):
                def name(self, header: str) -> str:
                    return str(name)

            visit.identity = Known((ARN,))
        return visit

    def test_the_name_is_written_down(self) -> None:
        visit = self.visit("hanako@example.com")
        page = visit.ask("/environments/qa-foo/redeploy", "POST", x_amzn_oidc_data="signed")
        assert page.status == 303
        assert asked(visit).by == "hanako@example.com"
        assert visit.store.history(SLUG)[0].by == "hanako@example.com"

    def test_where_there_is_a_log_in_nobody_may_ask_without(self) -> None:
        visit = self.visit()
        page = visit.ask("/environments/qa-foo/redeploy", "POST")
        assert page.status == 403
        assert "logged in" in Reader(page).text
        assert asked(visit) == Asked()

    @pytest.mark.parametrize("oidc", [True, False])
    def test_a_log_in_that_proves_nothing_is_worse_than_none(self, oidc: bool) -> None:
        visit = self.visit(oidc=oidc)
        page = visit.ask("/environments/qa-foo/redeploy", "POST", x_amzn_oidc_data="forged")
        assert page.status == 403
        assert "the log-in cannot be read" in Reader(page).text
        assert asked(visit) == Asked()

    def test_looking_needs_no_proof(self) -> None:
        """That is the load balancer's business."""
        visit = self.visit()
        assert visit.ask("/environments/qa-foo", x_amzn_oidc_data="forged").status == 200


class TestErrorsOfOurs:
    def test_a_browser_is_told_what_to_do(self) -> None:
        page = broken(Request(headers=BROWSER | {"accept-language": "ja"}))
        read = Reader(page)
        assert page.status == 500
        assert "エラーが発生しました" in read.texts
        assert page.headers["X-Qa-Env"] == "error"
        assert read.those("main", **{"data-page": "error", "data-refresh": "10"})

    @pytest.mark.parametrize("headers", [{"accept": "*/*"}, {"sec-fetch-dest": "image"}])
    def test_a_program_gets_json(self, headers: dict[str, str]) -> None:
        page = broken(Request(headers=headers))
        assert json.loads(page.body)["error"]["status"] == 500


def test_what_the_blueprint_of_the_tests_allows() -> None:
    """Otherwise the refusals above would prove nothing."""
    assert ALL["page"]["buttons"] == list(Wish)
