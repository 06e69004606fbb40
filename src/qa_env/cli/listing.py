"""`qa-env list`."""

from __future__ import annotations

import argparse

from qa_env.cli import output, times
from qa_env.cli.ended import Exit
from qa_env.cli.installation import Installation
from qa_env.cli.output import Cell, Output
from qa_env.model import Phase
from qa_env.page import api
from qa_env.page.query import Query
from qa_env.summary import Summary

HELP = "all environments, the newest push first"
HEADS = ("STATE", "ENVIRONMENT", "BRANCH", "COMMIT", "BY", "PUSHED", "URL, OR WHY THERE IS NONE")


def configure(parser: argparse.ArgumentParser) -> None:
    """What narrows the list."""
    parser.add_argument("--repository", metavar="R", default="", help="only of this repository: owner/name")
    parser.add_argument(
        "--phase", metavar="P", default="", choices=list(Phase), help=f"only these: {', '.join(Phase)}"
    )
    parser.add_argument("--branch", metavar="TEXT", default="", help="only where the branch has this in it")
    parser.epilog = "example: qa-env list --phase failed --json | jq -r '.environments[].branch'"


def run(given: argparse.Namespace, installation: Installation, out: Output) -> int:
    """A row each; in JSON as `/api/v1/environments` says it, but all at once."""
    query = Query(repository=given.repository, state=given.phase)
    everything = (installation.summary(env) for env in installation.store.all(consistent=False))
    part = given.branch.casefold()
    found = [one for one in query.select(everything) if part in one.env.branch.casefold()]
    if out.json:
        shown = [api.environment(one) for one in found]
        out.document({"environments": shown, "total": len(shown), "next": None})
    elif found:
        out.table(HEADS, [_row(one, installation.clock()) for one in found])
    else:
        out.note("There are no such environments." if _narrows(given) else "There are no environments yet.")
    return Exit.DONE


def _row(summary: Summary, now: float) -> list[Cell]:
    env = summary.env
    why = (summary.phase in (Phase.FAILED, Phase.BLOCKED) or not summary.url) and summary.reasons
    return [
        output.state(summary.phase),
        env.slug,
        env.branch,
        env.commit[:8],
        env.by,
        times.ago(env.at, now),
        why[0] if why else summary.url,
    ]


def _narrows(given: argparse.Namespace) -> bool:
    return bool(given.repository or given.phase or given.branch)
