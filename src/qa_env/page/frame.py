"""The document around every page: head, policy, the bar on top, and the two things that are inline.

The policy allows exactly this style and this script by their hashes, and nothing else from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from qa_env.page.html import Child, Markup, el
from qa_env.page.script import SCRIPT
from qa_env.page.style import ICON, STYLE
from qa_env.page.web import HEADERS, MARK, Page
from qa_env.wording import Words


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src 'sha256-{_hash(SCRIPT)}'",
        f"style-src 'sha256-{_hash(STYLE)}'",
        "img-src data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
AGAIN = 10  # seconds between two tries after an error of ours
WITHOUT_SCRIPT = 5  # seconds between two looks of a browser that runs no script


def document(
    words: Words,
    kind: str,
    title: str,
    *main: Child,
    status: int = 200,
    refresh: int = 0,
    home: bool = True,
    headers: Mapping[str, str] | None = None,
) -> Page:
    """A whole page. `kind` names it for style and script; `refresh` is seconds between two looks, or 0.

    `home` links to the list: on an environment's own port there is none.
    """
    described = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Language": words.language,
        "Content-Security-Policy": POLICY,
        MARK: kind,
    }
    texts = {"data-copied": words("page.copied"), "data-lost": words("page.lost")}
    looks = {"data-refresh": str(refresh)} if refresh else {}
    body = el(
        "body",
        {"class": f"of-{kind}", **texts},
        el("a", {"class": "skip", "href": "#main"}, words("page.skip")),
        el("header", {"class": "top"}, _brand(words, home)),
        el("p", {"id": "lost", "class": "lost", "role": "status"}),
        el("main", {"id": "main", "tabindex": "-1", "data-page": kind, **looks}, *main),
        el("p", {"id": "spoken", "class": "hidden", "role": "status"}),
        el("script", None, Markup(SCRIPT)),
    )
    head = _head(title, refresh if kind == "curtain" else 0)
    whole = el("html", {"lang": words.language}, head, body)
    return Page(status, {**HEADERS, **described, **(headers or {})}, f"<!doctype html>\n{whole}\n")


def part(name: str, *children: Child, live: bool = False, tag: str = "div") -> Markup:
    """A piece that the script replaces when it has changed; what is `live` is then read out."""
    return el(tag, {"data-part": name, "aria-live": "polite" if live else None}, *children)


def problem(words: Words, status: int, text: Child, headers: Mapping[str, str] | None = None) -> Page:
    """What went wrong and what to do, with a way back; what is not the visitor's fault is tried again."""
    titles = {403: "page.error.403", 404: "page.error.404", 405: "page.error.405", 409: "page.error.409"}
    title = words(titles.get(status, "page.error.500"))
    shown = (el("h1", None, title), el("p", {"class": "lead"}, text))
    if status >= 500:
        return document(
            words, "error", title, *shown, status=status, refresh=AGAIN, home=False, headers=headers
        )
    back = el("p", None, el("a", {"href": "/", "class": "button"}, words("page.all")))
    return document(words, "problem", title, *shown, back, status=status, headers=headers)


def _head(title: str, refresh: int) -> Markup:
    again = el("meta", {"http-equiv": "refresh", "content": str(WITHOUT_SCRIPT)})
    return el(
        "head",
        None,
        el("meta", {"charset": "utf-8"}),
        el("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        el("meta", {"name": "robots", "content": "noindex, nofollow"}),
        el("meta", {"name": "color-scheme", "content": "light dark"}),
        el("noscript", None, again) if refresh else None,
        el("title", None, title),
        Markup(f'<link rel="icon" href="{ICON}">'),
        el("style", None, Markup(STYLE)),
    )


def _brand(words: Words, home: bool) -> Markup:
    name = el("span", {"class": "brand"}, words("page.brand"))
    return el("a", {"href": "/"}, name) if home else name
