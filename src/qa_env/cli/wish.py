"""What people ask beyond Git, as the page's buttons do it: written down here, fulfilled by the loop."""

from __future__ import annotations

import argparse
import sys

from qa_env.cli import environments
from qa_env.cli.ended import Ended, Exit
from qa_env.cli.installation import Installation
from qa_env.cli.output import Output, escaped
from qa_env.errors import Rejected
from qa_env.model import Environment, Wish
from qa_env.page import api

ENDS = {404: Exit.UNKNOWN, 409: Exit.NOT_SO}


def add_yes(parser: argparse.ArgumentParser) -> None:
    """What destroys something is asked about."""
    parser.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")


def ask(name: str, wish: Wish, installation: Installation, out: Output, *, then: str) -> int:
    """Write the wish down in the caller's name; `then` is how to wait until it is fulfilled."""
    env = environments.find(installation, name)
    try:
        installation.watch.ask(env.slug, wish, installation.caller)
    except Rejected as error:
        raise Ended(ENDS.get(error.status, Exit.NOT_SO), str(error)) from error
    if out.json:
        after = installation.store.get(env.slug) or env
        out.document({"asked": wish, **api.environment(installation.summary(after))})
    else:
        out.line(f"{env.slug}: asked to {wish} it. `{then} {env.slug}` waits until that is done.")
    return Exit.DONE


def confirm(name: str, what: str, installation: Installation, *, yes: bool) -> Environment:
    """The environment, once somebody has said yes to what will happen to it."""
    env = environments.find(installation, name)
    if yes:
        return env
    about = f"{env.slug} (branch {env.branch} of {env.repository}, {installation.title})"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Ended(
            Exit.USAGE, f"{about}: {what} Nothing was done: there is no terminal to ask on, give --yes."
        )
    print(escaped(f"{about}: {what} [y/N] "), end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Ended(Exit.NOT_SO, f"{env.slug}: nothing was done.")
    return env
