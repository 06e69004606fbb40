"""Requests and answers, as every page sees them. No I/O.

`HEADERS` say what every answer has in common. `same-origin` as the referrer policy: `no-referrer` would make
browsers send `Origin: null` with our own forms, and the origin is what tells ours from others (`guard`);
a longer policy would tell applications on other ports where their visitors came from. Nothing secret stands
on a page, so it may be compressed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MARK = "X-Qa-Env"
"""Says that an answer is ours and of which kind; an application that has come alive does not send it."""

REFRESH = "refresh"
"""What our script says in the same header when it asks: it wants a page, though it is not a navigation."""

HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "Vary": "Accept, Accept-Encoding, Accept-Language",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
}


@dataclass(frozen=True)
class Request:
    """One HTTP request. `headers` have lower-case names, `query` is decoded, `path` is percent-decoded.

    `target_group` is the ARN of the target group that the request came through.
    """

    method: str = "GET"
    path: str = "/"
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    target_group: str = ""

    def header(self, name: str) -> str:
        """The header, empty if it was not sent."""
        return self.headers.get(name, "")

    @property
    def refreshes(self) -> bool:
        """Is it our own script that asks?"""
        return self.header(MARK.lower()) == REFRESH


@dataclass(frozen=True)
class Page:
    """One HTTP answer; `body` is text."""

    status: int
    headers: Mapping[str, str]
    body: str


def data(status: int, kind: str, values: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Page:
    """An answer in JSON."""
    described = {"Content-Type": "application/json; charset=utf-8", MARK: kind}
    return Page(status, {**HEADERS, **described, **(headers or {})}, json.dumps(values, ensure_ascii=False))
