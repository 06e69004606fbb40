"""The list of all environments: what a target group of the operator's own, on any port, shows."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from qa_env.model import Environment
from qa_env.page.html import Page, page


def render(environments: Iterable[Environment]) -> Page:
    """Every environment with its state, commit and links, by name."""
    rows = "\n".join(_row(env) for env in sorted(environments, key=lambda env: env.slug))
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Branch", "State", "Commit", "By", "Links"))
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    nothing = "<p>There is none. Push a branch to build one.</p>"
    return page(200, "Environments", f"<h1>Environments</h1>\n{table if rows else nothing}")


def _row(env: Environment) -> str:
    links = " ".join(
        f'<a href="{escape(url)}" rel="noreferrer">{escape(role)}</a>' for role, url in env.urls.items()
    )
    texts = (env.branch, env.phase, env.commit[:10], env.by)
    return "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in texts) + f"<td>{links}</td></tr>"
