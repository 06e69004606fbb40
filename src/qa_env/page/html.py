"""The frame of every page: one document without scripts or anything from outside.

Branch names and messages are hostile input: whoever fills the frame escapes, and the policy allows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

REFRESH = 5  # seconds
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
}
STYLE = """:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 3rem auto; padding: 0 1rem; }
dt, th { font-weight: 600; text-align: left; }
dd { margin: 0 0 .75rem; }
dd, td { overflow-wrap: anywhere; }
td, th { padding: .25rem 1rem .25rem 0; vertical-align: top; }"""


@dataclass(frozen=True)
class Page:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: str


def page(status: int, title: str, main: str, refresh: bool = True) -> Page:
    """A whole document; `title` is text, `main` is HTML."""
    again = f'<meta http-equiv="refresh" content="{REFRESH}">\n' if refresh else ""
    body = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
{again}<title>{escape(title)}</title>
<style>
{STYLE}
</style>
</head>
<body>
<main>
{main}
</main>
</body>
</html>
"""
    return Page(status, {**HEADERS, "Content-Type": "text/html; charset=utf-8"}, body)
