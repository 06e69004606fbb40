"""`qa-env show`."""

from __future__ import annotations

import argparse
import json

from qa_env.cli import environments, output, times
from qa_env.cli.ended import Exit
from qa_env.cli.installation import Installation
from qa_env.cli.output import Output
from qa_env.model import Environment, State
from qa_env.page import api
from qa_env.page.query import deployed_at, visited_at
from qa_env.store import Event
from qa_env.summary import Summary

HELP = "one environment: state, addresses, stages, tasks, conditions, history"
EVENTS = 10  # of the history, for people; JSON has all
COLOURS = {State.READY: "green", State.BLOCKED: "red", State.FAILED: "red", State.GONE: "dim"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Which one."""
    environments.add_argument(parser)
    parser.epilog = "example: qa-env show qa/foo"


def run(given: argparse.Namespace, installation: Installation, out: Output) -> int:
    """In JSON as `/api/v1/environments/{slug}` says it."""
    env = environments.look_up(installation, given.environment)
    if env is None:
        return _gone(given.environment, installation, out)
    summary, history = installation.summary(env), installation.store.history(env.slug)
    if out.json:
        out.document(api.everything(summary, history))
        return Exit.DONE
    _facts(summary, out)
    _parts(summary, out)
    _history(history[:EVENTS], out)
    return Exit.DONE


def _facts(summary: Summary, out: Output) -> None:
    env = summary.env
    built = env.built.commit if env.built and env.built.commit != env.commit else ""
    out.facts(
        [
            ("environment", env.slug),
            ("branch", env.branch),
            ("repository", env.repository),
            ("state", output.state(summary.phase)),
            *(("", reason) for reason in summary.reasons),
            ("resetting", "the database is being emptied and filled again" if env.resetting else ""),
            ("commit", env.commit),
            ("built so far", built),
            ("by", env.by),
            ("pushed", times.moment(env.at)),
            ("deployed", times.moment(deployed_at(summary))),
            ("visited", times.moment(visited_at(summary))),
            *((f"url of {role}", url) for role, url in summary.urls.items()),
            ("log", summary.log_url),
            ("page", summary.page_url),
            *_claims(env),
        ]
    )


def _claims(env: Environment) -> list[tuple[str, str]]:
    """What it holds, apart from the ports, which are in the URLs."""
    return [(claim.scope, claim.name) for name, claim in sorted(env.claims.items()) if "/" not in name]


def _parts(summary: Summary, out: Output) -> None:
    if summary.stages:
        out.line()
        out.table(("STAGE", "STATUS"), [(one.name, one.status or "–") for one in summary.stages])
    if summary.tasks:
        out.line()
        counted = [(one.role, f"{one.running} of {one.desired}", one.stopped) for one in summary.tasks]
        out.table(("ROLE", "RUNNING", "THE LAST ONE ENDED BECAUSE"), counted)
    if summary.env.conditions:
        out.line()
        said = sorted(summary.env.conditions.items())
        rows = [
            (name, output.Painted(one.state, COLOURS.get(one.state, "blue")), one.message)
            for name, one in said
        ]
        out.table(("CONDITION", "STATE", "SAYS"), rows)


def _history(history: list[Event], out: Output) -> None:
    if history:
        out.line()
        rows = [(times.moment(one.at), one.by, one.kind, one.phase, one.text) for one in reversed(history)]
        out.table(("AT (UTC)", "BY", "WHAT", "STATE", ""), rows)


def _gone(name: str, installation: Installation, out: Output) -> int:
    """What is left of it is its history; of what never was, nothing."""
    slug = environments.gone(installation, name)
    if slug is None:
        raise environments.unknown(name, list(installation.store.all()))
    history = installation.store.history(slug)
    said = f"{slug} is gone."
    if out.json:
        out.document(json.loads(api.problem(404, said, history=history).body))
    else:
        _history(history[:EVENTS], out)
    out.note(f"qa-env: {said} Its history is kept for 90 days.")
    return Exit.UNKNOWN
