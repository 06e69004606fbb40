"""What people see, with a real Chromium through the load balancer's ports: list, detail, curtain, buttons.

Every visitor at the end must have met no error of a page and made no request to anywhere else.
"""

from __future__ import annotations

import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from local.chromium import chromium
from tests.e2e.browser import DESKTOP, PHONE, visitor
from tests.e2e.conftest import Developer, wait

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SOON = 30_000  # milliseconds for anything that the controller must do first
NO_SUCH_THING = "status of 404"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


def start(dev: Developer, branch: str, **files: str | None) -> str:
    """Push a commit of its own; returns the URL of the environment that is made for it."""
    commit = dev.commit(**files)
    dev.push(branch)
    url = str(wait(lambda: _url(dev.record(branch), commit), "there is a URL"))
    wait(lambda: _is_open(url), f"{url} is open")
    return url


def _is_open(url: str) -> bool:
    """The local stack opens a port some moments after its listener is there."""
    place = urlsplit(url)
    try:
        socket.create_connection((place.hostname or "", place.port or 80), timeout=1).close()
    except OSError:
        return False
    return True


def _url(record: dict[str, Any], commit: str) -> str | None:
    return record.get("url") if record.get("commit") == commit else None


def ready(dev: Developer, branch: str, **files: str | None) -> str:
    """Push and wait until it answers; returns the URL."""
    url = start(dev, branch, **files)
    wait(lambda: dev.record(branch).get("state") == "ready", f"{branch} is ready", lambda: dev.record(branch))
    return url


def detail(dev: Developer, branch: str) -> str:
    return f"{dev.stack.info['page_url']}environments/{dev.slug(branch)}"


def is_page(page: Page, kind: str) -> None:
    expect(page.locator(f"main[data-page={kind}]")).to_be_visible()


def has_state(page: Page, state: str) -> None:
    expect(page.locator(f"[data-part=state] .badge.is-{state}")).to_be_visible(timeout=SOON)


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_a_curtain_becomes_the_application_by_itself(dev: Developer, browser: Browser, script: bool) -> None:
    """The visitor comes while it is being built, touches nothing, and ends up in the application."""
    url = start(dev, "qa/curtain", BUILD_SECONDS="6", GREETING="I am alive")
    with visitor(browser, java_script_enabled=script) as guest:
        answer = guest.page.goto(url)
        assert answer is not None
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        is_page(guest.page, "curtain")
        has_state(guest.page, "building")
        expect(guest.page.locator("main")).to_contain_text("qa/curtain")
        expect(guest.page.locator("td", has_text="I am alive")).to_be_visible(timeout=SOON)
    assert dev.answer(url)["branch"] == "qa/curtain"


def test_a_curtain_shows_the_stage_and_how_long_it_usually_takes(dev: Developer, browser: Browser) -> None:
    """Known from the repository's last builds, whatever branch they were of."""
    ready(dev, "qa/before")
    url = start(dev, "qa/stage", BUILD_SECONDS="8")
    with visitor(browser) as guest:
        guest.page.goto(url)
        running = guest.page.locator(".stages li[aria-current=step]")
        expect(running).to_be_visible(timeout=SOON)
        expect(guest.page.locator("progress")).to_be_visible(timeout=SOON)


def test_a_failed_build_says_why_everywhere(dev: Developer, browser: Browser) -> None:
    """On its port, on its own page and in the list; the next push repairs it before the visitor's eyes."""
    url = start(dev, "qa/broken", FAIL_BUILD="yes")
    with visitor(browser) as guest:
        guest.page.goto(url)
        has_state(guest.page, "failed")
        expect(guest.page.locator(".reasons")).to_contain_text("FAIL_BUILD is in the repository")
        guest.page.goto(detail(dev, "qa/broken"))
        has_state(guest.page, "failed")
        expect(guest.page.locator(".reasons")).to_contain_text("FAIL_BUILD is in the repository")
        expect(guest.page.locator(".stages .is-failed")).to_be_visible()
        guest.page.goto(dev.stack.info["page_url"])
        expect(guest.page.locator("#env-qa-broken .badge.is-failed")).to_be_visible()
        guest.page.goto(url)
        is_page(guest.page, "curtain")
        dev.commit(FAIL_BUILD=None, GREETING="repaired")
        dev.push("qa/broken")
        expect(guest.page.locator("td", has_text="repaired")).to_be_visible(timeout=SOON)


def test_what_is_no_page_view_gets_json(dev: Developer) -> None:
    """An application's fetch, an image, a form and curl: never HTML of a waiting room."""
    url = start(dev, "qa/json", FAIL_BUILD="yes")
    wait(lambda: dev.record("qa/json").get("state") == "failed", "it has failed")
    for method in ("GET", "POST"):
        request = urllib.request.Request(f"{url}any/path", method=method, headers={"Accept": "*/*"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        answer = refused.value
        said = json.loads(answer.read())
        assert (answer.code, answer.headers["Retry-After"]) == (503, "5")
        assert said["state"] == "failed"
        assert "FAIL_BUILD" in said["reasons"][0]


def test_the_list_shows_searches_and_follows(dev: Developer, browser: Browser) -> None:
    """What is typed narrows the list at once; what happens appears in it without a reload."""
    with visitor(browser) as guest:
        page = guest.page
        page.goto(dev.stack.info["page_url"])
        is_page(page, "list")
        expect(page.locator(".empty")).to_be_visible()
        ready(dev, "qa/one")
        page.reload()
        expect(page.locator("#env-qa-one .badge.is-ready")).to_be_visible()
        start(dev, "qa/two", FAIL_BUILD="yes")
        expect(page.locator("#env-qa-two .badge.is-failed")).to_be_visible(timeout=SOON)
        page.locator("#q").fill("two")
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.locator("#q")).to_be_focused()
        page.locator("#q").fill("nothing like it")
        expect(page.locator(".empty")).to_be_visible()
        page.locator("#q").fill("")
        page.locator("#state").select_option("ready")
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.locator("#env-qa-one")).to_be_visible()


def test_the_list_works_without_a_script(dev: Developer, browser: Browser) -> None:
    """Filters are a form, links are links, and there is no button that does nothing."""
    url = ready(dev, "qa/plain")
    with visitor(browser, java_script_enabled=False) as guest:
        page = guest.page
        page.goto(dev.stack.info["page_url"])
        expect(page.locator(f"#env-qa-plain a[href='{url}']")).to_be_visible()
        expect(page.locator("button.copy").first).to_be_hidden()
        page.locator("#q").fill("nobody")
        page.locator("#send").click()
        expect(page.locator(".empty")).to_be_visible()
        page.goto(dev.stack.info["page_url"])
        page.locator("#env-qa-plain th a").click()
        is_page(page, "detail")


def test_a_link_can_be_copied(dev: Developer, browser: Browser) -> None:
    """The page is plain http here, where browsers have no clipboard for scripts: it must do without."""
    url = ready(dev, "qa/copy")
    with visitor(browser, permissions=["clipboard-read", "clipboard-write"]) as guest:
        page = guest.page
        page.goto(dev.stack.info["page_url"])
        page.locator("#env-qa-copy button.copy").click()
        page.locator("#q").focus()
        page.keyboard.press("Control+V")
        expect(page.locator("#q")).to_have_value(url)


def press(page: Page, wish: str) -> None:
    """From an environment's page through the confirmation."""
    page.locator(f".wishes a.for-{wish}").click()
    is_page(page, "confirm")
    page.locator("form.confirm button[type=submit]").click()
    is_page(page, "detail")
    expect(page.locator(".notice")).to_be_visible()


def test_redeploy_builds_the_same_commit_again(dev: Developer, browser: Browser) -> None:
    ready(dev, "qa/again")
    before = dev.record("qa/again")
    executions = dev.executions("qa/again")
    with visitor(browser) as guest:
        guest.page.goto(detail(dev, "qa/again"))
        press(guest.page, "redeploy")
        wait(lambda: len(dev.executions("qa/again")) == len(executions) + 1, "another execution has begun")
        wait(lambda: dev.record("qa/again")["state"] == "ready", "it is ready again")
        expect(guest.page.locator("[data-part=history]")).to_contain_text("redeploy", ignore_case=True)
    after = dev.record("qa/again")
    assert after["commit"] == before["commit"]
    kinds = [event["kind"] for event in after["history"]]
    assert kinds.count("redeploy") == 1


def test_reset_gives_a_fresh_schema_and_the_same_code(dev: Developer, browser: Browser) -> None:
    """Migrated and seeded, without the rows that visits had left."""
    url = ready(dev, "qa/reset")
    for _ in range(5):
        visits = dev.answer(url)["visits"]
    assert visits >= 5
    with visitor(browser) as guest:
        guest.page.goto(detail(dev, "qa/reset"))
        press(guest.page, "reset")
        wait(lambda: dev.answer(url).get("visits", 99) < visits, "the application sees a fresh schema")
        wait(lambda: dev.record("qa/reset")["state"] == "ready", "it is ready again")
    said = dev.answer(url)
    assert said["articles"] == ["First article", "Second article"]
    assert said["commit"] == dev.record("qa/reset")["commit"]


def test_delete_removes_all_though_the_branch_stays(dev: Developer, browser: Browser) -> None:
    """And the next push brings it back."""
    ready(dev, "qa/unwanted")
    with visitor(browser) as guest:
        guest.page.goto(detail(dev, "qa/unwanted"))
        press(guest.page, "delete")
        dev.gone()
        assert dev.stack.remote.head("qa/unwanted") is not None
        guest.page.goto(dev.stack.info["page_url"])
        expect(guest.page.locator("#env-qa-unwanted")).to_have_count(0)
    ready(dev, "qa/unwanted", GREETING="wanted again")


def test_what_is_gone_still_has_its_history(dev: Developer, browser: Browser) -> None:
    ready(dev, "qa/past")
    dev.delete("qa/past")
    dev.gone()
    with visitor(browser) as guest:
        answer = guest.page.goto(detail(dev, "qa/past"))
        assert answer is not None
        assert answer.status == 404
        is_page(guest.page, "gone")
        assert guest.page.locator(".history li").count() > 3
        guest.complaints[:] = [one for one in guest.complaints if NO_SUCH_THING not in one]


def test_an_environments_application_cannot_press_buttons(dev: Developer, browser: Browser) -> None:
    """It lives on the same host under another port, where no cookie rule would stop it."""
    url = ready(dev, "qa/hostile")
    target = f"{detail(dev, 'qa/hostile')}/delete"
    with visitor(browser) as guest:
        guest.page.goto(url)
        post = f"""() => {{
            const form = document.createElement("form");
            form.method = "post"; form.action = {json.dumps(target)};
            document.body.append(form); form.submit();
        }}"""
        with guest.page.expect_navigation() as navigation:
            guest.page.evaluate(post)
        assert navigation.value.status == 403
        guest.complaints[:] = [one for one in guest.complaints if "status of 403" not in one]
    assert dev.record("qa/hostile")["state"] == "ready"
    assert "delete" not in [event["kind"] for event in dev.record("qa/hostile")["history"]]


def test_pages_speak_japanese(dev: Developer, browser: Browser) -> None:
    """By the browser's language: list, detail and curtain, with the language said to screen readers."""
    url = start(dev, "qa/日本", FAIL_BUILD="yes")
    with visitor(browser, locale="ja-JP") as guest:
        page = guest.page
        for address in (dev.stack.info["page_url"], detail(dev, "qa/日本"), url):
            page.goto(address)
            expect(page.locator("html")).to_have_attribute("lang", "ja")
            text = page.locator("main").inner_text()
            assert re.search(r"[\u3040-\u30ff]", text), text
            assert "qa/日本" in text


def test_the_api_says_the_same(dev: Developer) -> None:
    """The facts of the list as JSON, for scripts."""
    url = ready(dev, "qa/api")
    with urllib.request.urlopen(f"{dev.stack.info['page_url']}api/v1/environments", timeout=10) as answer:
        said: dict[str, Any] = json.loads(answer.read())
    (one,) = said["environments"]
    assert (one["slug"], one["state"], one["url"]) == ("qa-api", "ready", url)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("window", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_everybody_can_use_every_page(
    crowd: list[str], browser: Browser, scheme: str, window: dict[str, int]
) -> None:
    """axe-core finds nothing serious and nothing is wider than the window, in both colour schemes."""
    with visitor(browser, color_scheme=scheme, viewport=window) as guest:
        for address in crowd:
            guest.page.goto(address)
            expect(guest.page.locator("main")).to_be_visible()
            assert guest.barriers() == [], address
            assert guest.overflow() == 0, address


@pytest.fixture(scope="module")
def crowd(shared_dev: Developer) -> Iterator[list[str]]:
    """Addresses of every kind of page, with environments in several states and a name as long as may be."""
    dev = shared_dev
    dev.commit(GREETING="crowd")
    long = "qa/" + "a-very-long-name-without-any-mercy/" * 4 + "end"
    for branch in ("qa/ready", long):
        dev.push(branch)
    failed = start(dev, "qa/failed", FAIL_BUILD="yes")
    building = start(dev, "qa/slow", FAIL_BUILD=None, BUILD_SECONDS="120")
    wait(lambda: dev.record("qa/ready").get("state") == "ready", "one is ready")
    wait(lambda: dev.record("qa/failed").get("state") == "failed", "one has failed")
    home = dev.stack.info["page_url"]
    confirm = f"{detail(dev, 'qa/ready')}/reset"
    pages = [detail(dev, one) for one in ("qa/ready", long, "qa/failed", "qa/slow")]
    yield [home, f"{home}?q=none-of-them", *pages, confirm, failed, building]
    for branch, _ in dev.stack.remote.heads():
        if branch != "main":
            dev.delete(branch)
    dev.gone()
