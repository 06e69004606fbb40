"""The page behind a curtain: what a visitor sees on an environment's own port while it is not live.

A page view gets a page that turns into the application by itself; whatever is not one (an application's
`fetch`, an image, a form) gets 503 and JSON, so that nobody parses a waiting room.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qa_env.model import Phase
from qa_env.page import parts, times, web
from qa_env.page.frame import document, part
from qa_env.page.html import Child, Markup, el
from qa_env.page.web import Page, Request
from qa_env.summary import Summary
from qa_env.wording import Words

REFRESH = 3  # seconds between two looks of the page's script
RETRY = {"Retry-After": "5"}
GONE = "gone"
KIND = "curtain"
DOCUMENTS = ("document", "iframe")
ALMOST = 0.95  # of the bar is full when it takes longer than usual


@dataclass(frozen=True)
class View:
    """What is shown: `took` are the seconds of the repository's last builds, `now` is epoch seconds."""

    summary: Summary
    words: Words
    now: float
    took: Sequence[int] = ()

    @property
    def state(self) -> str:
        """The state that the sentences are about; a reset is shown as one, whatever it waits for."""
        return "resetting" if parts.is_resetting(self.summary.env) else self.summary.phase


def is_page_view(request: Request) -> bool:
    """A browser asking for a document, or our own script asking for what is new on it."""
    wanted = request.header("sec-fetch-dest")
    navigates = wanted in DOCUMENTS if wanted else "text/html" in request.header("accept")
    return request.method in ("GET", "HEAD") and (navigates or request.refreshes)


def is_visit(request: Request) -> bool:
    """Is there somebody to wake it for? A look ahead of the browser's is none.

    A tab that was hidden when it fell asleep only asks for news: it counts, because it says that the
    application is coming.
    """
    ahead = request.header("sec-purpose") or request.header("purpose")
    return is_page_view(request) and request.method == "GET" and not ahead


def render(view: View, request: Request) -> Page:
    """503: it comes, or somebody has to do something."""
    title, text = _sentences(view)
    if not is_page_view(request):
        return web.data(503, KIND, _facts(view, title), RETRY)
    env = view.summary.env
    state = part(
        "state",
        el("p", None, parts.badge(view.words, view.summary.phase)),
        el("h1", None, title),
        el("p", {"class": "lead"}, text),
        live=True,
    )
    more = part("more", _progress(view), parts.reasons(view.words, view.summary), _about(view))
    named = f"{env.branch}: {view.words(f'phase.{view.summary.phase}')}"
    return document(
        view.words, KIND, named, state, more, status=503, refresh=REFRESH, home=False, headers=RETRY
    )


def nothing(words: Words, request: Request) -> Page:
    """404: nobody holds this port (any more)."""
    title, text = words("curtain.gone"), words("curtain.gone.text")
    if not is_page_view(request):
        return web.data(404, KIND, {"state": GONE, "message": title}, RETRY)
    said = part("state", el("h1", None, title), el("p", {"class": "lead"}, text), live=True)
    return document(words, KIND, title, said, part("more"), status=404, home=False, headers=RETRY)


def _sentences(view: View) -> tuple[str, str]:
    words = view.words
    title, text = words(f"curtain.{view.state}"), words(f"curtain.{view.state}.text")
    if view.summary.phase is Phase.DELETING and view.summary.env.next_commit:
        text = words("curtain.deleting.next", commit=view.summary.env.next_commit[: parts.SHORT])
    return title, text


def _facts(view: View, message: str) -> Mapping[str, Any]:
    summary = view.summary
    return {
        "state": summary.phase,
        "message": message,
        "reasons": summary.reasons,
        "slug": summary.env.slug,
        "branch": summary.env.branch,
        "commit": summary.env.commit,
        "stage": summary.stage or summary.failed_stage,
        "log_url": summary.log_url,
        "page_url": summary.page_url,
    }


def _progress(view: View) -> Markup | None:
    if view.summary.phase not in (Phase.BUILDING, Phase.DEPLOYING, Phase.FAILED, Phase.BLOCKED):
        return None
    steps = parts.stages(view.words, view.summary)
    expected = _expected(view) if view.summary.phase in parts.MOVING else None
    return el("div", {"class": "progress"}, steps, expected) if steps or expected else None


def _expected(view: View) -> Markup | None:
    """How long it usually takes, and how long it has taken."""
    if not view.took:
        return None
    words, usual = view.words, statistics.median(view.took)
    began = times.seconds(view.summary.env.remembered("pipeline").get("started", ""))
    text = words("curtain.usually", usual=times.minutes(words, usual))
    if began is None or usual <= 0:
        return el("p", {"class": "expected"}, text)
    age = max(0.0, view.now - began)
    share = min(age / usual, ALMOST)
    bar = {"max": "100", "value": str(round(share * 100)), "aria-label": words("curtain.progress")}
    so_far = words("curtain.so_far", age=times.minutes(words, age))
    return el("p", {"class": "expected"}, el("progress", bar), text, " ", so_far)


def _about(view: View) -> Markup:
    words, summary = view.words, view.summary
    env = summary.env
    rows: list[tuple[str, Child]] = [
        (words("page.branch"), parts.branch(summary)),
        (words("page.commit"), parts.commit(words, summary)),
        (words("page.by"), parts.who(words, env.by)),
        (words("page.pushed"), times.exact(words, env.at, view.now)),
    ]
    more = el("p", None, el("a", {"href": summary.page_url}, words("curtain.more")))
    return el(
        "section", {"aria-label": words("page.about")}, parts.facts(rows), more if summary.page_url else None
    )
