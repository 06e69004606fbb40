"""The page between a button and what it does: it says exactly what will happen and what it will cost."""

from __future__ import annotations

from qa_env.model import SCHEMA, Wish
from qa_env.page import parts
from qa_env.page.frame import document
from qa_env.page.html import Child, el, outside
from qa_env.page.web import Page
from qa_env.summary import Summary
from qa_env.wording import Words

TITLES = {
    Wish.REDEPLOY: "wish.redeploy.title",
    Wish.RESET: "wish.reset.title",
    Wish.DELETE: "wish.delete.title",
}
TEXTS = {Wish.REDEPLOY: "wish.redeploy.text", Wish.RESET: "wish.reset.text", Wish.DELETE: "wish.delete.text"}
SENDS = {Wish.REDEPLOY: "wish.redeploy.send", Wish.RESET: "wish.reset.send", Wish.DELETE: "wish.delete.send"}


def render(words: Words, summary: Summary, wish: Wish) -> Page:
    """A form that posts to itself."""
    env = summary.env
    here = f"/environments/{env.slug}"
    title = words(TITLES[wish])
    rows: list[tuple[str, Child]] = [
        (words("page.branch"), outside(env.branch)),
        (words("page.repository"), env.repository),
        (words("page.commit"), parts.commit(words, summary)),
        (words("page.state"), parts.badge(words, summary.phase)),
    ]
    if wish is not Wish.REDEPLOY and SCHEMA in env.claims:
        rows.append((words("page.schema_name"), el("code", None, env.claims[SCHEMA].name)))
    send = el("button", {"type": "submit", "class": f"button sends for-{wish}"}, words(SENDS[wish]))
    cancel = el("a", {"href": here, "class": "button"}, words("wish.cancel"))
    form = el("form", {"method": "post", "action": f"{here}/{wish}", "class": "confirm"}, send, " ", cancel)
    said = (el("h1", None, title), el("p", {"class": "lead"}, words(TEXTS[wish])), parts.facts(rows), form)
    return document(words, "confirm", f"{title} {env.branch}", *said)
