"""HTML by construction: text is escaped because nothing else is possible, and addresses lead to http(s) only.

Branch names, people and messages are hostile input. So no page is put together from strings: `el` makes every
element, escapes whatever is not `Markup`, and refuses attributes that a browser would run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape

VOID = frozenset({"input", "link", "meta"})
ADDRESSES = frozenset({"href", "action"})
RUNS = re.compile(r"on|style$|src", re.IGNORECASE)
_LEADS = re.compile(r"https?://|/(?![/\\])|[?#]")


class Markup(str):
    """Finished HTML. Made by `el`, and by nobody from a text that came from outside."""

    __slots__ = ()


Child = str | None | Iterable["Child"]
Attributes = Mapping[str, str | bool | None]


def el(tag: str, attributes: Attributes | None = None, *children: Child) -> Markup:
    """An element. Attributes that are None or False are left out; True stands alone.

    An address that leads neither to http(s) nor to ourselves is left out, so that the link leads nowhere.
    Raises ValueError for attributes that would be run.
    """
    opening = f"<{tag}{''.join(_attribute(*pair) for pair in (attributes or {}).items())}>"
    return Markup(opening if tag in VOID else f"{opening}{''.join(map(_inner, children))}</{tag}>")


def outside(text: str, language: str | None = None) -> Markup:
    """A text from outside: isolated, so that right-to-left marks in it reorder nothing around it."""
    return el("bdi", {"lang": language}, text)


def leads_somewhere(address: str) -> bool:
    """May this stand in a link?"""
    return _LEADS.match(address) is not None


def _inner(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return escape(child)
    return "".join(map(_inner, child))


def _attribute(name: str, value: str | bool | None) -> str:
    if RUNS.match(name):
        raise ValueError(f"the attribute {name} would be run; the policy of our pages forbids it")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    if name in ADDRESSES and not leads_somewhere(value):
        return ""
    return f' {name}="{escape(value)}"'
