"""`qa-env blueprint`: what `python -m qa_env.blueprint` does."""

from __future__ import annotations

import argparse

from qa_env import blueprint as blueprints
from qa_env.cli.ended import Ended, Exit
from qa_env.cli.installation import Installation
from qa_env.cli.output import Output

HELP = "check blueprints, or print their JSON Schema; needs no AWS"


def configure(parser: argparse.ArgumentParser) -> None:
    """`check FILE…` and `schema`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="check|schema")
    check = actions.add_parser("check", help="say every mistake, each with its key")
    check.add_argument("files", metavar="FILE", nargs="+", help="a blueprint; several are compared as well")
    check.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="say it in JSON")
    schema = actions.add_parser("schema", help="the JSON Schema, for editors")
    schema.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="it always is")
    parser.epilog = "example: qa-env blueprint check blueprints/shop.yaml"


def run(given: argparse.Namespace, installation: Installation, out: Output) -> int:
    """1 if a file has a mistake."""
    if given.action == "schema":
        out.document(blueprints.Blueprint.model_json_schema())
        return Exit.DONE
    try:
        files, mistakes = blueprints.check(given.files)
    except OSError as error:
        raise Ended(Exit.USAGE, str(error)) from error
    if out.json:
        out.document({"files": given.files, "mistakes": mistakes})
    else:
        for mistake in mistakes:
            for line in mistake.splitlines():
                out.line(line)
        for file in files if not mistakes else ():
            out.line(f"{file}: fine")
    return Exit.NOT_SO if mistakes else Exit.DONE
