"""The page behind a curtain: one plain HTML page, or JSON for whatever is not a page view.

It says what is missing, and refreshes itself until the application answers in its place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from html import escape

from qa_env.model import Environment, Phase, State
from qa_env.page.html import HEADERS, REFRESH, Page, page

WORDS = {
    Phase.QUEUED: "This environment is about to be built.",
    Phase.BUILDING: "This environment is being built.",
    Phase.DEPLOYING: "This environment is starting.",
    Phase.READY: "This environment is ready; the page opens in a moment.",
    Phase.FAILED: "This version could not be built or started.",
    Phase.BLOCKED: "This environment needs somebody's help before it can go on.",
    Phase.DELETING: "This environment is being deleted, because its branch is gone.",
}
GONE = "There is no environment on this port (any more). Push the branch to build it again."


def render(env: Environment | None, method: str, headers: Mapping[str, str]) -> Page:
    """503 while the environment is on its way, 404 where there is none. Header names in lower case."""
    status = 503 if env else 404
    if _is_page_view(method, headers):
        title = f"{env.branch}: {env.phase}" if env else "no environment here"
        made = page(status, title, _main(env), refresh=env is not None)
    else:
        body = json.dumps(
            {"state": env.phase if env else "gone", "message": WORDS[env.phase] if env else GONE}
        )
        made = Page(status, {**HEADERS, "Content-Type": "application/json"}, body)
    return replace(made, headers={**made.headers, "Retry-After": str(REFRESH)})


def _is_page_view(method: str, headers: Mapping[str, str]) -> bool:
    """A browser asking for a document; `fetch`, images and forms get JSON."""
    wanted = headers.get("sec-fetch-dest")
    navigates = wanted in ("document", "iframe") if wanted else "text/html" in headers.get("accept", "")
    return method in ("GET", "HEAD") and navigates


def _main(env: Environment | None) -> str:
    if env is None:
        return f"<h1>Nothing here</h1>\n<p>{escape(GONE)}</p>"
    facts = {
        "Branch": env.branch,
        "Commit": env.commit or "not known yet",
        "Pushed by": env.by or "unknown",
        "Since": env.at[:19].replace("T", " ") + " UTC",
        "What is missing": "; ".join(_open(env)) or "nothing",
    }
    rows = "\n".join(f"<dt>{escape(name)}</dt>\n<dd>{escape(text)}</dd>" for name, text in facts.items())
    return f"<h1>{escape(WORDS[env.phase])}</h1>\n<dl>\n{rows}\n</dl>"


def _open(env: Environment) -> list[str]:
    """What blocks or failed if anything did, each sentence once; otherwise what all the rest waits for."""
    said: dict[State, list[str]] = {}
    for condition in env.conditions.values():
        if condition.message:
            said.setdefault(condition.state, []).append(condition.message)
    trouble = said.get(State.BLOCKED, []) + said.get(State.FAILED, [])
    return list(dict.fromkeys(trouble)) or said.get(State.WAITING, [])[:1]
