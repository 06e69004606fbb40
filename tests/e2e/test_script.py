"""The pages' script alone, in a real Chromium: the answers come from a site in memory, the time is ours."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import Browser, Request, Route, expect

from local.chromium import chromium
from qa_env.model import Phase
from tests.pages import HOST, Visit, in_phase

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
REFRESH = 15_000  # milliseconds between two looks of the list


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


def test_a_double_click_asks_once(browser: Browser) -> None:
    """Each would be a build of its own. Through a real server: what is intercepted is sent once anyway."""
    visit = Visit(in_phase(Phase.READY))
    sent: list[str] = []
    clicked = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made = visit.ask(urlsplit(self.path).path)
            self.send_response(made.status)
            for name, value in made.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(made.body.encode())

        def do_POST(self) -> None:
            sent.append(self.path)
            clicked.wait(10)
            self.send_response(303)
            self.send_header("Location", "/environments/qa-foo?done=redeploy")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.server_port}/environments/qa-foo/redeploy")
    page.dblclick("button.sends", delay=50, no_wait_after=True)  # milliseconds: a hand is not faster
    page.wait_for_timeout(500)  # of the browser's: for a second request, if there is one
    clicked.set()
    expect(page.locator("main[data-page=detail]")).to_be_visible()
    assert sent == ["/environments/qa-foo/redeploy"]
    page.close()
    server.shutdown()
    server.server_close()


def test_what_is_typed_while_the_list_refreshes_is_still_asked_for(browser: Browser) -> None:
    """An answer that comes between a key and its question must not cancel the question."""
    visit = Visit(in_phase(Phase.READY))
    held: list[Route] = []
    holds = False

    def answer(route: Route, title: str = "") -> None:
        url = urlsplit(route.request.url)
        made = visit.ask(url.path, query=dict(parse_qsl(url.query)))
        body = made.body.replace("<title>", f"<title>{title}")
        route.fulfill(status=made.status, headers=dict(made.headers), body=body)

    def meet(route: Route) -> None:
        if holds and not held:
            held.append(route)
        else:
            answer(route)

    def is_search(request: Request) -> bool:
        return request.url.endswith("?q=nothing")

    context = browser.new_context()
    page = context.new_page()
    page.clock.install(time=0)
    page.clock.pause_at(1)  # else it runs on by itself, and a slow machine asks before it is answered
    page.route("**/*", meet)
    page.goto(f"http://{HOST}/")
    holds = True
    with page.expect_request(f"http://{HOST}/"):
        page.clock.run_for(REFRESH)
    page.fill("#q", "nothing")
    answer(held[0], title="refreshed ")
    expect(page).to_have_title(re.compile("^refreshed "))
    with page.expect_request(is_search, timeout=5_000):
        page.clock.run_for(300)
    expect(page.get_by_text("No environment matches.")).to_be_visible()
    context.close()
