"""The list of all environments: what a target group of the operator's own shows.

Everything works without a script: the filters are a form, the order is a field of it. With one, the results
follow what is typed and refresh themselves.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from qa_env.blueprint import Blueprint
from qa_env.model import Phase
from qa_env.page import parts, times
from qa_env.page.frame import document, part
from qa_env.page.html import Child, Markup, el, leads_somewhere, outside
from qa_env.page.query import SORTS, TROUBLE_FIRST, Query, deployed_at, visited_at, window
from qa_env.page.web import Page
from qa_env.summary import Summary
from qa_env.wording import Words

REFRESH = 15  # seconds; every look reads all records
HOME = "/"
ANY = ""


@dataclass(frozen=True)
class View:
    """All environments, and what of them is asked for. `now` is epoch seconds."""

    words: Words
    summaries: Sequence[Summary]
    query: Query
    blueprints: Mapping[str, Blueprint]
    now: float

    @cached_property
    def shows_visits(self) -> bool:
        """Nobody needs a column of which nothing is known."""
        return any(one.env.visited for one in self.summaries)

    @cached_property
    def shows_repository(self) -> bool:
        """With one repository its name says nothing."""
        return len({one.env.repository for one in self.summaries} | set(self.blueprints)) > 1


def render(view: View) -> Page:
    """Everything on one page, as far as a load balancer lets it through."""
    words = view.words
    found = view.query.select(view.summaries)
    if view.query.start >= len(found):  # there were more when somebody went on to this page
        view = replace(view, query=replace(view.query, start=0))
    top = el(
        "div", {"class": "heading"}, el("h1", None, words("page.list.title")), _summary(view, len(found))
    )
    results = part("results" if view.summaries else "empty", _results(view, found))
    shown = (top, _form(view), results) if view.summaries else (top, results)
    return document(words, "list", words("page.list.title"), *shown, refresh=REFRESH)


def _summary(view: View, found: int) -> Markup:
    """How many there are, by state; and how many of them are shown."""
    words, count = view.words, len(view.summaries)
    phases = Counter(one.phase for one in view.summaries)
    states = [
        words("page.list.state", count=phases[phase], state=words(f"phase.{phase}"))
        for phase in (Phase.READY, *(one for one in TROUBLE_FIRST if one is not Phase.READY))
        if phases[phase]
    ]
    if not count:
        return part("summary", live=True, tag="p")
    text = words("page.list.one") if count == 1 else words("page.list.many", count=count)
    if states:
        text = words("page.list.summary", count=text, states=words("page.list.comma").join(states))
    if view.query.narrows:
        text = f"{text}{words('page.list.found', count=found)}"
    return part("summary", text, live=True, tag="p")


def _results(view: View, found: Sequence[Summary]) -> Child:
    words = view.words
    if not view.summaries:
        return _how_to_begin(words, view.blueprints.values())
    if not found:
        clear = el("a", {"href": HOME, "class": "button"}, words("page.list.clear"))
        return el("div", {"class": "empty"}, el("p", None, words("page.list.no_match")), el("p", None, clear))
    rows, more = window(
        found, view.query.start, lambda one: _row(view, one), lambda row: len(json.dumps(row))
    )
    names = [words(key) for key in ("page.branch", "page.state", "page.links", "page.commit", "page.pushed")]
    names += [words("page.deployed")] + ([words("page.visited")] if view.shows_visits else [])
    head = [el("th", {"scope": "col", "role": "columnheader"}, name) for name in names]
    table = el(
        "table",
        {"role": "table"},
        el("caption", {"class": "hidden"}, words("page.list.title")),
        el("thead", {"role": "rowgroup"}, el("tr", {"role": "row"}, head)),
        el("tbody", {"role": "rowgroup"}, rows),
    )
    return [table, _pages(view, len(found), len(rows), more)]


def _row(view: View, summary: Summary) -> Markup:
    """One environment. Roles are said again because on a phone the table is laid out as cards."""
    words, env = view.words, summary.env
    name = el("a", {"href": f"/environments/{env.slug}"}, outside(env.branch))
    place = el("div", {"class": "quiet"}, env.repository) if view.shows_repository else None
    state = [parts.badge(words, summary.phase), _detail(words, summary)]
    pushed = [times.ago(words, env.at, view.now), " ", el("span", {"class": "quiet"}, outside(env.by))]
    cells: list[Child] = [state, _links(words, summary), parts.commit(words, summary), pushed]
    made = [el("td", {"role": "cell"}, cell) for cell in cells]
    made.append(_when(view, "page.deployed", deployed_at(summary)))
    if view.shows_visits:
        made.append(_when(view, "page.visited", visited_at(summary)))
    head = el("th", {"role": "rowheader", "scope": "row"}, name, place)
    return el("tr", {"role": "row", "id": f"env-{env.slug}"}, head, made)


def _when(view: View, key: str, at: str) -> Markup:
    if not at:
        return el("td", {"role": "cell"})
    return el("td", {"role": "cell", "data-label": view.words(key)}, times.ago(view.words, at, view.now))


def _detail(words: Words, summary: Summary) -> Markup | None:
    """What a badge leaves open: the stage that runs, the one that failed, a reset."""
    if parts.is_resetting(summary.env):
        return el("div", {"class": "quiet"}, words("page.resetting"))
    stage = summary.stage if summary.phase is Phase.BUILDING else summary.failed_stage
    return el("div", {"class": "quiet"}, parts.stage_name(words, stage)) if stage else None


def _links(words: Words, summary: Summary) -> Child:
    made: list[Child] = []
    for role, url in summary.urls.items():
        made.append(parts.link(url, role))
        if url == summary.url and leads_somewhere(url):
            pair = parts.copyable(words, parts.link(url, role), f"{summary.env.branch} {role}")
            made = [el("span", {"class": "pair"}, pair)]
        made.append(" ")
    return made


def _pages(view: View, found: int, shown: int, more: int) -> Markup | None:
    """Nothing is left out silently."""
    words, start = view.words, view.query.start
    if not start and not more:
        return None
    back = el("a", {"href": view.query.address(HOME, 0), "class": "button"}, words("page.list.first"))
    ahead = el("a", {"href": view.query.address(HOME, more), "class": "button"}, words("page.list.next"))
    said = words("page.list.part", first=start + 1, last=start + shown, count=found)
    label = words("page.list.pages")
    links = [back if start else None, " ", ahead if more else None]
    return el("nav", {"class": "pages", "aria-label": label}, el("p", None, said), el("p", None, links))


def _how_to_begin(words: Words, blueprints: Iterable[Blueprint]) -> Markup:
    lines = [
        el("li", None, el("p", None, one.repository), el("pre", None, el("code", None, _push(one))))
        for one in blueprints
    ]
    begun = el("p", {"class": "lead"}, words("page.list.empty")), el("p", None, words("page.list.begin"))
    return el("div", {"class": "empty"}, begun, el("ul", None, lines) if lines else None)


def _push(blueprint: Blueprint) -> str:
    return f"git push origin HEAD:refs/heads/{blueprint.branch_prefix}my-branch"


def _form(view: View) -> Markup:
    """What there is to choose from is what occurs, and what is chosen."""
    words, query, all_ = view.words, view.query, view.summaries
    states = {one.phase for one in all_} | ({Phase(query.state)} if query.state else set())
    chosen = {query.repository, query.owner} - {ANY}
    repositories = sorted({one.env.repository for one in all_} | chosen & {query.repository})
    owners = sorted({one.env.by for one in all_ if one.env.by} | chosen & {query.owner}, key=str.casefold)
    phases = [(str(one), words(f"phase.{one}")) for one in TROUBLE_FIRST if one in states]
    search = {"type": "search", "name": "q", "id": "q", "value": query.text, "autocomplete": "off"}
    hint = {"placeholder": words("page.list.hint"), "maxlength": "200", "spellcheck": "false"}
    fields = [_field("q", words("page.list.search"), el("input", {**search, **hint}))]
    if len(repositories) > 1 or query.repository:
        choices = [(one, one) for one in repositories]
        fields.append(_select(words, "repository", words("page.repository"), query.repository, choices))
    fields += [
        _select(words, "state", words("page.state"), query.state, phases),
        _select(words, "owner", words("page.by"), query.owner, [(one, one) for one in owners]),
        _order(words, query),
    ]
    send = el("button", {"class": "button", "id": "send"}, words("page.list.filter"))
    return el("form", {"class": "filter", "role": "search", "action": HOME, "id": "filter"}, fields, send)


def _select(words: Words, name: str, label: str, chosen: str, choices: Iterable[tuple[str, str]]) -> Markup:
    return _choice(name, label, chosen, [(ANY, words("page.list.any")), *choices])


def _order(words: Words, query: Query) -> Markup:
    names = {
        "age": "page.list.by_age",
        "branch": "page.list.by_branch",
        "state": "page.list.by_state",
        "owner": "page.list.by_owner",
    }
    return _choice("sort", words("page.list.sort"), query.sort, [(one, words(names[one])) for one in SORTS])


def _choice(name: str, label: str, chosen: str, choices: Iterable[tuple[str, str]]) -> Markup:
    options = [el("option", {"value": value, "selected": value == chosen}, text) for value, text in choices]
    return _field(name, label, el("select", {"name": name, "id": name}, options))


def _field(name: str, label: str, control: Markup) -> Markup:
    return el("div", {"class": f"field for-{name}"}, el("label", {"for": name}, label), control)
