"""The same facts as JSON for scripts, under /api/v1 (`docs/api.md`).

Names stay: a field may be added, none is renamed or removed without another version. Times are ISO 8601 in
UTC, what is not known is null, and a list is never missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from qa_env.model import Condition
from qa_env.page import times, web
from qa_env.page.query import Query, deployed_at, visited_at, window
from qa_env.page.web import Page
from qa_env.store import Event
from qa_env.summary import Summary

KIND = "api"
ENVIRONMENTS = "/api/v1/environments"


def listing(summaries: Sequence[Summary], query: Query) -> Page:
    """The environments that are asked for; `next` leads to the rest, if one answer cannot hold all."""
    found = query.select(summaries)
    shown, more = window(found, query.start, environment, lambda one: len(json.dumps(one)))
    after = query.address(ENVIRONMENTS, more) if more else None
    return web.data(200, KIND, {"environments": shown, "total": len(found), "next": after})


def detail(summary: Summary, history: Sequence[Event]) -> Page:
    """Everything of one."""
    return web.data(200, KIND, everything(summary, history))


def everything(summary: Summary, history: Sequence[Event]) -> dict[str, Any]:
    """What its own page says of one."""
    more = {
        "stages": [asdict(stage) for stage in summary.stages],
        "tasks": [asdict(task) for task in summary.tasks],
        "conditions": [_condition(*pair) for pair in sorted(summary.env.conditions.items())],
        "links": _links(summary),
        "history": [event(one) for one in history],
    }
    return {**environment(summary), **more}


def problem(
    status: int, message: str, headers: Mapping[str, str] | None = None, history: Sequence[Event] = ()
) -> Page:
    """What went wrong; `history` is what is left of an environment that is gone."""
    left = {"history": [event(one) for one in history]} if history else {}
    return web.data(status, KIND, {"error": {"status": status, "message": message}, **left}, headers)


def environment(summary: Summary) -> dict[str, Any]:
    """What the list says of one."""
    env = summary.env
    return {
        "slug": env.slug,
        "repository": env.repository,
        "branch": env.branch,
        "branch_url": summary.branch_url,
        "commit": env.commit or None,
        "commit_url": summary.commit_url or None,
        "built_commit": env.built.commit if env.built else None,
        "by": env.by or None,
        "pushed_at": _time(env.at),
        "deployed_at": _time(deployed_at(summary)),
        "visited_at": _time(visited_at(summary)),
        "state": summary.phase,
        "resetting": env.resetting,
        "stage": summary.stage or summary.failed_stage or None,
        "reasons": summary.reasons,
        "url": summary.url or None,
        "urls": summary.urls,
        "log_url": summary.log_url or None,
        "page_url": summary.page_url or None,
    }


def _condition(name: str, condition: Condition) -> dict[str, Any]:
    kind, _, role = name.partition("/")
    return {
        "resource": kind,
        "role": role or None,
        "state": condition.state,
        "message": condition.message,
        "since": _time(condition.since),
    }


def _links(summary: Summary) -> dict[str, Any]:
    return {
        "pipeline": summary.pipeline_link or None,
        "logs": summary.log_links(),
        "events": summary.event_links(),
    }


def event(one: Event) -> dict[str, Any]:
    """One line of a history."""
    named = {"by": one.by, "kind": one.kind, "state": one.phase or None, "text": one.text}
    return {"at": _time(one.at), **named}


def _time(at: str) -> str | None:
    then = times.seconds(at)
    return None if then is None else times.iso(then)
