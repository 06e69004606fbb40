"""`qa-env redeploy`."""

from __future__ import annotations

import argparse

from qa_env.cli import environments, wish
from qa_env.cli.installation import Installation
from qa_env.cli.output import Output
from qa_env.model import Wish

HELP = "build and deploy an environment's commit once more"


def configure(parser: argparse.ArgumentParser) -> None:
    """Which one."""
    environments.add_argument(parser)
    parser.epilog = "example: qa-env redeploy qa/foo && qa-env wait qa/foo"


def run(given: argparse.Namespace, installation: Installation, out: Output) -> int:
    """Only asked for: the loop does it."""
    return wish.ask(given.environment, Wish.REDEPLOY, installation, out, then="qa-env wait")
