"""`qa-env reset-db`."""

from __future__ import annotations

import argparse

from qa_env.cli import environments, wish
from qa_env.cli.installation import Installation
from qa_env.cli.output import Output
from qa_env.model import Wish

HELP = "drop an environment's schema, create it anew and let the pipeline fill it"
WHAT = "its database is dropped, with all that is in it, and filled by the pipeline again."


def configure(parser: argparse.ArgumentParser) -> None:
    """Which one, and whether that is meant."""
    environments.add_argument(parser)
    wish.add_yes(parser)
    parser.epilog = "example: qa-env reset-db qa/foo --yes && qa-env wait qa/foo"


def run(given: argparse.Namespace, installation: Installation, out: Output) -> int:
    """Only asked for: the loop does it."""
    env = wish.confirm(given.environment, WHAT, installation, yes=given.yes)
    return wish.ask(env.slug, Wish.RESET, installation, out, then="qa-env wait")
