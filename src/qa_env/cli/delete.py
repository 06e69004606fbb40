"""`qa-env delete`."""

from __future__ import annotations

import argparse

from qa_env.cli import environments, wish
from qa_env.cli.installation import Installation
from qa_env.cli.output import Output
from qa_env.model import Wish

HELP = "remove an environment, though its branch stays; the next push brings it back"
WHAT = "everything behind it is removed, its data too. The branch stays, and its next push brings it back."


def configure(parser: argparse.ArgumentParser) -> None:
    """Which one, and whether that is meant."""
    environments.add_argument(parser)
    wish.add_yes(parser)
    parser.epilog = "example: qa-env delete qa/foo --yes && qa-env wait qa-foo --for gone"


def run(given: argparse.Namespace, installation: Installation, out: Output) -> int:
    """Only asked for: the loop does it."""
    env = wish.confirm(given.environment, WHAT, installation, yes=given.yes)
    return wish.ask(env.slug, Wish.DELETE, installation, out, then="qa-env wait --for gone")
