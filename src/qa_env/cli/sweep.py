"""`qa-env sweep`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from qa_env.cli.ended import Ended, Exit
from qa_env.cli.installation import Installation
from qa_env.cli.output import Output

HELP = "run the audit now: compare what there is with what is known, and repair"
MEANINGS = {
    "adopted": "without a record, being torn down",
    "young": "without a record, but not for an hour yet",
    "created": "branches that had no record",
    "woken": "looked at, because something is missing or the branch is elsewhere",
    "redelivered": "deliveries that GitHub was asked to make again",
    "unknown": "named like ours, but nothing proves it: left alone",
    "refused": "for a person to decide",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """How much it may do."""
    parser.add_argument("--dry-run", action="store_true", help="only say what it would do")
    parser.add_argument(
        "--share",
        metavar="X",
        type=_share,
        help="which share of all environments may be torn down at once, 0 to 1, this once and whatever the"
        " blueprints say",
    )
    parser.epilog = "example: qa-env sweep --dry-run"


def run(given: argparse.Namespace, installation: Installation, out: Output) -> int:
    """The audit's report (docs/operations.md, "The audit"); 1 if a person must decide something."""
    wanted = {"dry_run": given.dry_run} | ({} if given.share is None else {"share": given.share})
    report = _invoke(installation, wanted)
    if out.json:
        out.document(report)
    else:
        _say(report, given.dry_run, out)
    return Exit.NOT_SO if report["refused"] else Exit.DONE


def _invoke(installation: Installation, wanted: dict[str, Any]) -> dict[str, Any]:
    function = installation.output("AuditFunctionName")
    answer = installation.client("lambda").invoke(FunctionName=function, Payload=json.dumps(wanted).encode())
    said = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        raise Ended(
            Exit.NOT_SO,
            f"the audit broke ({said.get('errorType', 'no reason')}): its log is /aws/lambda/{function}",
        )
    return dict(said)


def _say(report: dict[str, Any], dry_run: bool, out: Output) -> None:
    found = [(kind, meaning) for kind, meaning in MEANINGS.items() if report.get(kind)]
    for kind, meaning in found:
        out.line(f"{kind}: {meaning}")
        for one in report[kind]:
            out.line(f"  {one}")
    if not found:
        out.line("Everything is as it is known.")
    elif dry_run:
        out.line("Nothing was done.")


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from error
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return share
