"""The page behind a curtain: one plain HTML page, or JSON for whatever is not a page view.

Branch names and messages are hostile input: everything is escaped, and the policy allows no script at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from qa_env.model import Environment, Phase, State

REFRESH = 5  # seconds
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "Retry-After": str(REFRESH),
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
}
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


@dataclass(frozen=True)
class Page:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: str


def render(env: Environment | None, method: str, headers: Mapping[str, str]) -> Page:
    """503 while the environment is on its way, 404 where there is none. Header names in lower case."""
    status = 503 if env else 404
    if not _is_page_view(method, headers):
        text = WORDS[env.phase] if env else GONE
        body = json.dumps({"state": env.phase if env else "gone", "message": text})
        return Page(status, {**HEADERS, "Content-Type": "application/json"}, body)
    return Page(status, {**HEADERS, "Content-Type": "text/html; charset=utf-8"}, _html(env))


def _is_page_view(method: str, headers: Mapping[str, str]) -> bool:
    """A browser asking for a document; `fetch`, images and forms get JSON."""
    wanted = headers.get("sec-fetch-dest")
    navigates = wanted in ("document", "iframe") if wanted else "text/html" in headers.get("accept", "")
    return method in ("GET", "HEAD") and navigates


def _html(env: Environment | None) -> str:
    title = f"{env.branch}: {env.phase}" if env else "no environment here"
    refresh = f'<meta http-equiv="refresh" content="{REFRESH}">' if env else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
{refresh}
<title>{escape(title)}</title>
<style>
:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }}
body {{ max-width: 40rem; margin: 4rem auto; padding: 0 1rem; }}
dt {{ font-weight: 600; }}
dd {{ margin: 0 0 .75rem; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<main>
{_main(env)}
</main>
</body>
</html>
"""


def _main(env: Environment | None) -> str:
    if env is None:
        return f"<h1>Nothing here</h1>\n<p>{escape(GONE)}</p>"
    facts = {
        "Branch": env.branch,
        "Commit": env.commit or "not known yet",
        "Pushed by": env.by or "unknown",
        "Since": env.at,
        "What is missing": "; ".join(_open(env)) or "nothing",
    }
    rows = "\n".join(f"<dt>{escape(name)}</dt>\n<dd>{escape(text)}</dd>" for name, text in facts.items())
    return f"<h1>{escape(WORDS[env.phase])}</h1>\n<dl>\n{rows}\n</dl>"


def _open(env: Environment) -> list[str]:
    """What blocks or failed if anything did, otherwise what is waited for; each sentence once."""
    said: dict[State, list[str]] = {}
    for condition in env.conditions.values():
        if condition.message:
            said.setdefault(condition.state, []).append(condition.message)
    for states in ((State.BLOCKED, State.FAILED), (State.WAITING,)):
        messages = [message for state in states for message in said.get(state, [])]
        if messages:
            return list(dict.fromkeys(messages))
    return []
