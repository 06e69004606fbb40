"""A visitor with a real browser, who notices everything that a page must not do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 900}
SERIOUS = ("serious", "critical")


@dataclass
class Visitor:
    """One tab. `complaints` are errors of its page and requests to anywhere but the load balancer."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        self.page.on("request", self._asked)

    def _heard(self, message: ConsoleMessage) -> None:
        """A curtain is a 503, and Chromium calls every such answer an error: that one is meant."""
        if message.type in ("error", "warning") and "status of 503" not in message.text:
            self.complaints.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme != "data" and not (url.hostname or "").endswith("localhost"):
            self.complaints.append(f"request to {request.url}")

    def barriers(self) -> list[str]:
        """What axe-core finds serious, as `rule: element`."""
        found: dict[str, Any] = Axe().run(self.page).response
        return [
            f"{violation['id']}: {node['html']}"
            for violation in found["violations"]
            if violation["impact"] in SERIOUS
            for node in violation["nodes"]
        ]

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(width))


@contextmanager
def visitor(browser: Browser, **context: Any) -> Iterator[Visitor]:
    """A tab of its own; fails at the end if the page did what it must not."""
    opened = browser.new_context(**{"viewport": DESKTOP, "locale": "en-GB"} | context)
    made = Visitor(opened.new_page())
    try:
        yield made
    finally:
        opened.close()
    assert not made.complaints, made.complaints
