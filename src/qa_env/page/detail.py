"""One environment with everything that is known of it, and what may be asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qa_env.model import Condition, Phase, State, Wish
from qa_env.page import commands, parts, times
from qa_env.page.frame import document, part
from qa_env.page.html import Child, Markup, el, outside
from qa_env.page.query import deployed_at, visited_at
from qa_env.page.web import Page
from qa_env.store import Event
from qa_env.summary import Summary
from qa_env.wording import Words

REFRESH = 5  # seconds
PAGE = "page"  # who asked, if nobody is logged in
CHANGES = "; "  # between what the controller notes of one pass
STATES = {
    State.READY: "state.ready",
    State.WAITING: "state.waiting",
    State.BLOCKED: "state.blocked",
    State.FAILED: "state.failed",
    State.GONE: "state.gone",
}
KINDS = {
    "wanted": "history.wanted",
    "unwanted": "history.unwanted",
    "late": "history.late",
    "pass": "history.pass",
    "built": "history.built",
    "deleted": "history.deleted",
    "found": "history.found",
    "awoken": "history.awoken",
    "redeploy": "history.redeploy",
    "reset": "history.reset",
    "delete": "history.delete",
}
WISHES = {Wish.REDEPLOY: "wish.redeploy", Wish.RESET: "wish.reset", Wish.DELETE: "wish.delete"}
DONE = {
    Wish.REDEPLOY: "wish.redeploy.done",
    Wish.RESET: "wish.reset.done",
    Wish.DELETE: "wish.delete.done",
}


@dataclass(frozen=True)
class View:
    """One environment. `done` is what the visitor has just asked for; `now` is epoch seconds."""

    words: Words
    summary: Summary
    history: Sequence[Event]
    now: float
    done: str = ""


def allowed(summary: Summary) -> list[Wish]:
    """What the page may be asked for here."""
    if summary.blueprint is None or summary.phase is Phase.DELETING:
        return []
    possible = [wish for wish in Wish if wish is not Wish.RESET or summary.blueprint.database]
    return [wish for wish in possible if wish in summary.blueprint.page.buttons]


def render(view: View) -> Page:
    """The whole page."""
    words, summary = view.words, view.summary
    title = f"{summary.env.branch}: {words(f'phase.{summary.phase}')}"
    shown = (
        _way_back(words),
        _notice(view),
        el("h1", None, outside(summary.env.branch)),
        part("state", _state(view), live=True),
        part("about", parts.reasons(words, summary), _about(view), _buttons(view)),
        part("pipeline", _pipeline(view)),
        part("tasks", _tasks(view)),
        part("history", _history(words, view.history, view.now)),
        part("conditions", _conditions(view)),
        part("tools", _tools(view), _links(view)),
    )
    return document(words, "detail", title, *shown, refresh=REFRESH)


def gone(words: Words, slug: str, history: Sequence[Event], now: float) -> Page:
    """404: what became of an environment that is no more."""
    said = (
        _way_back(words),
        el("h1", None, slug),
        el("p", {"class": "lead"}, words("page.gone")),
        part("history", _history(words, history, now)),
    )
    return document(words, "gone", slug, *said, status=404)


def _way_back(words: Words) -> Markup:
    link = el("a", {"href": "/"}, words("page.all"))
    return el("nav", {"class": "back", "aria-label": words("page.where")}, link)


def _notice(view: View) -> Markup | None:
    done = {str(wish): key for wish, key in DONE.items()}.get(view.done)
    return el("p", {"class": "notice", "role": "status"}, view.words(done)) if done else None


def _state(view: View) -> Child:
    words, summary = view.words, view.summary
    resetting = el("span", {"class": "quiet"}, words("page.resetting"))
    return el(
        "p",
        {"class": "state"},
        parts.badge(words, summary.phase),
        [" ", resetting] if parts.is_resetting(summary.env) else None,
    )


def _about(view: View) -> Markup:
    words, summary = view.words, view.summary
    env = summary.env
    urls = [
        el(
            "li",
            None,
            el("span", {"class": "role"}, role),
            " ",
            parts.copyable(words, parts.link(url, url), role),
        )
        for role, url in summary.urls.items()
    ]
    rows: list[tuple[str, Child]] = [
        (words("page.links"), el("ul", {"class": "urls"}, urls) if urls else words("page.none_yet")),
        (words("page.branch"), parts.branch(summary)),
        (words("page.repository"), env.repository),
        (words("page.commit"), parts.commit(words, summary)),
        (words("page.by"), parts.who(words, env.by)),
        (words("page.pushed"), times.exact(words, env.at, view.now)),
    ]
    if deployed := deployed_at(summary):
        rows.append((words("page.deployed"), times.exact(words, deployed, view.now)))
    if visited := visited_at(summary):
        rows.append((words("page.visited"), times.exact(words, visited, view.now)))
    return el("section", {"aria-label": words("page.about")}, parts.facts(rows))


def _buttons(view: View) -> Markup | None:
    """Links, because each leads to a page that says what will happen; nothing is done by following one."""
    wishes = allowed(view.summary)
    if not wishes:
        return None
    made = [
        el(
            "a",
            {"href": f"/environments/{view.summary.env.slug}/{wish}", "class": f"button for-{wish}"},
            view.words(WISHES[wish]),
        )
        for wish in wishes
    ]
    return el("nav", {"class": "wishes", "aria-label": view.words("page.wishes")}, made)


def _section(name: str, title: str, *children: Child) -> Markup:
    return el("section", {"aria-labelledby": name}, el("h2", {"id": name}, title), *children)


def _pipeline(view: View) -> Markup | None:
    shown = parts.stages(view.words, view.summary, linked=True)
    return _section("pipeline", view.words("page.stages"), shown) if shown else None


def _tasks(view: View) -> Markup | None:
    words, tasks = view.words, view.summary.tasks
    if not tasks:
        return None
    names = (words("page.role"), words("page.running"), words("page.stopped"))
    rows = [
        (task.role, words("page.of", running=task.running, desired=task.desired), _said(task.stopped))
        for task in tasks
    ]
    return _section("tasks", words("page.tasks"), _table(words("page.tasks"), names, rows))


def _conditions(view: View) -> Markup:
    words, conditions = view.words, view.summary.env.conditions
    names = (words("page.resource"), words("page.state"), words("page.message"), words("page.since"))
    rows = [
        (el("code", None, name), _condition(words, one), _said(one.message), _since(view, one))
        for name, one in sorted(conditions.items())
    ]
    return _section("conditions", words("page.conditions"), _table(words("page.conditions"), names, rows))


def _condition(words: Words, condition: Condition) -> Markup:
    return el("span", {"class": f"condition is-{condition.state}"}, words(STATES[condition.state]))


def _since(view: View, condition: Condition) -> Markup:
    return times.ago(view.words, condition.since, view.now)


def _said(text: str) -> Markup | None:
    return outside(text, parts.SPOKEN) if text else None


def _table(name: str, names: Sequence[str], rows: Sequence[Sequence[Child]]) -> Markup:
    """Laid out as cards on a phone; each cell therefore knows what it is called."""
    head = [el("th", {"scope": "col", "role": "columnheader"}, one) for one in names]
    return el(
        "table",
        {"role": "table"},
        el("caption", {"class": "hidden"}, name),
        el("thead", {"role": "rowgroup"}, el("tr", {"role": "row"}, head)),
        el("tbody", {"role": "rowgroup"}, [_cells(names, row) for row in rows]),
    )


def _cells(names: Sequence[str], row: Sequence[Child]) -> Markup:
    first, *others = row
    made = [
        el("td", {"role": "cell", "data-label": name if cell else None}, cell)
        for name, cell in zip(names[1:], others, strict=True)
    ]
    return el("tr", {"role": "row"}, el("th", {"scope": "row", "role": "rowheader"}, first), made)


def _history(words: Words, history: Sequence[Event], now: float) -> Markup:
    lines = [_event(words, event, place, now) for place, event in enumerate(reversed(history))]
    shown = (
        el("ol", {"class": "history"}, reversed(lines)) if lines else el("p", None, words("page.none_yet"))
    )
    return _section("history", words("page.history"), shown)


def _event(words: Words, event: Event, place: int, now: float) -> Markup:
    """`place` counts from the oldest on, so that an opened line stays open when newer ones come."""
    what = words(KINDS[event.kind]) if event.kind in KINDS else event.kind or words("history.other")
    head = el(
        "p",
        None,
        el("strong", None, what),
        " ",
        parts.badge(words, event.phase) if event.phase else None,
        " ",
        el("span", {"class": "quiet"}, times.exact(words, event.at, now), " · ", _by(words, event.by)),
    )
    return el(
        "li",
        {"class": f"is-{event.phase}" if event.phase in list(Phase) else None},
        head,
        _text(words, event, place),
    )


def _by(words: Words, name: str) -> Markup:
    return el("span", None, words("page.somebody")) if name == PAGE else parts.who(words, name)


def _text(words: Words, event: Event, place: int) -> Markup | None:
    """What one pass changed is a long line: it opens when somebody wants to know."""
    changes = event.text.split(CHANGES)
    if event.kind != "pass" or len(changes) == 1:
        return el("p", {"class": "said"}, _said(event.text)) if event.text else None
    lines = [el("li", None, _said(change)) for change in changes]
    told = el("summary", None, words("history.changes", count=len(changes)))
    return el("details", {"id": f"event-{place}"}, told, el("ul", {"class": "said"}, lines))


def _tools(view: View) -> Markup | None:
    words, summary = view.words, view.summary
    env = summary.env
    rows: list[tuple[str, str]] = []
    if line := commands.schema(env):
        rows.append((words("page.schema", name=env.claims["schema"].name), line))
    if line := commands.redis(env, summary.blueprint):
        rows.append((words("page.redis", name=env.claims["redis"].name), line))
    shells = commands.shells(env, summary.blueprint)
    rows += [(words("page.shell", role=role), line) for role, line in shells.items()]
    if not rows:
        return None
    shown = [
        el("div", {"class": "line"}, el("h3", None, name), _line(words, name, line)) for name, line in rows
    ]
    return _section("tools", words("page.tools"), el("p", None, words("page.tools.text")), shown)


def _line(words: Words, name: str, line: str) -> Markup:
    code = el("code", None, line)
    return el("div", {"class": "command"}, parts.copyable(words, code, name))


def _links(view: View) -> Markup:
    words, summary = view.words, view.summary
    found: dict[str, Any] = {}
    if summary.pipeline_link:
        found[words("page.link.pipeline")] = summary.pipeline_link
    found |= _per_role(words("page.link.logs"), summary.log_links())
    found |= _per_role(words("page.link.events"), summary.event_links())
    found[words("page.link.branch")] = summary.branch_url
    if summary.commit_url:
        found[words("page.link.commit")] = summary.commit_url
    shown = [el("li", None, parts.link(address, name)) for name, address in found.items()]
    return _section("links", words("page.more"), el("ul", {"class": "columns"}, shown))


def _per_role(name: str, addresses: Mapping[str, str]) -> dict[str, str]:
    return {f"{name}: {role}": address for role, address in addresses.items()}
