"""`qa-env COMMAND …`: reads what was typed, runs the command, ends with its exit code."""

from __future__ import annotations

import argparse
import importlib
import itertools
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from botocore.exceptions import BotoCoreError, ClientError

from qa_env import aws
from qa_env.cli import installation as installations
from qa_env.cli import output
from qa_env.cli.ended import Ended, Exit
from qa_env.cli.installation import Installation
from qa_env.cli.output import Output

COMMANDS = {
    "list": "listing",
    "show": "show",
    "logs": "logs",
    "events": "events",
    "wait": "wait",
    "redeploy": "redeploy",
    "reset-db": "reset_db",
    "delete": "delete",
    "exec": "shell",
    "sweep": "sweep",
    "redrive": "redrive",
    "doctor": "doctor",
    "blueprint": "blueprint",
}
TAKES_COMMAND = "exec"
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AccessDeniedError")
INVALID = ("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException")
DESCRIPTION = "Look after the environments of an installation of qa-env. docs/cli.md has the whole of it."
EXITS = """\
exit codes: 0 done; 1 it did not come to be; 2 wrong use; 3 no such environment; 4 AWS cannot be
reached or refuses; 124 timeout; 130 interrupted"""


class Command(Protocol):
    """What the module of a command has."""

    HELP: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments, and an example."""

    def run(self, given: argparse.Namespace, installation: Installation, out: Output) -> int:
        """Do it; returns the exit code."""


def main(
    arguments: Sequence[str] | None = None, *, find: Callable[..., Installation] = installations.find
) -> int:
    """Run one command; returns its exit code. Nothing that people may meet ends in a traceback."""
    given = read(sys.argv[1:] if arguments is None else arguments)
    no_colour = given.no_color or bool(os.environ.get("NO_COLOR"))
    out = output.to_terminal(given.json, no_colour)
    _log_to(out)
    try:
        found = find(given.stack, given.region, given.profile, given.blueprints, out.note)
        return int(load(given.command).run(given, found, out))
    except Ended as error:
        out.note(f"qa-env: {error}")
        return error.code
    except (BotoCoreError, ClientError) as error:
        out.note(f"qa-env: {refusal(error)}")
        return Exit.AWS
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # `| head` has seen enough; nor may Python complain when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """What was typed. `after` is what stands behind `--`: a command of another program, not for argparse."""
    typed = list(itertools.takewhile(lambda one: one != "--", arguments))
    made = parser()
    given = made.parse_args(typed)
    given.after = list(arguments[len(typed) + 1 :])
    if given.after and given.command != TAKES_COMMAND:
        made.error(f"only {TAKES_COMMAND} takes something after --")
    return given


class _Sentence(logging.Formatter):
    """What is logged as people read it: a record that cannot be read, and no traceback."""

    def format(self, record: logging.LogRecord) -> str:
        about = getattr(record, "environment", "")
        return output.escaped(f"qa-env: {record.getMessage()}{': ' if about else ''}{about}")


def _log_to(out: Output) -> None:
    handler = logging.StreamHandler(out.errors)
    handler.setFormatter(_Sentence())
    logging.basicConfig(level=logging.ERROR, handlers=[handler])


def load(name: str) -> Command:
    """The module of a command."""
    return cast(Command, importlib.import_module(f"qa_env.cli.{COMMANDS[name]}"))


def parser() -> argparse.ArgumentParser:
    """Everything that may be typed. What is common to all commands may stand before or after the command."""
    layout = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(
        prog="qa-env", description=DESCRIPTION, epilog=EXITS, formatter_class=layout, allow_abbrev=False
    )
    _add_common(made, default=None)
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    for name in COMMANDS:
        module = load(name)
        one = commands.add_parser(
            name, help=module.HELP, description=module.HELP, formatter_class=layout, allow_abbrev=False
        )
        module.configure(one)
        _add_common(one, default=argparse.SUPPRESS)
    return made


def _add_common(parser: argparse.ArgumentParser, default: Any) -> None:
    """`default` must say nothing in a command: it would overwrite what stood before the command."""
    group = parser.add_argument_group("for every command")
    group.add_argument(
        "--stack",
        metavar="NAME",
        default=default,
        help="the installation's CloudFormation stack (default: $QA_ENV_STACK, else the local stack while"
        f" `make run` is up, else {installations.DEFAULT_STACK})",
    )
    group.add_argument("--region", metavar="REGION", default=default, help="the AWS region")
    group.add_argument("--profile", metavar="PROFILE", default=default, help="the AWS profile")
    group.add_argument(
        "--blueprints",
        metavar="DIR",
        type=Path,
        default=default,
        help="where the blueprints are, for what only they know, links for example (default: $BLUEPRINTS,"
        " else blueprints/)",
    )
    flag = False if default is None else default
    group.add_argument("--json", action="store_true", default=flag, help="say it in JSON")
    group.add_argument("--no-color", action="store_true", default=flag, help="no colours; so does $NO_COLOR")


def refusal(error: BotoCoreError | ClientError) -> str:
    """One sentence: which permission is missing, what is wrong with the credentials, or what AWS says."""
    if not isinstance(error, ClientError):
        return f"AWS cannot be asked: {str(error).rstrip('.')}. Are region, profile and credentials right?"
    said: Any = error.response.get("Error", {})
    action = said.get("Action") or error.operation_name
    if aws.code(error) in DENIED:
        return f"the credentials do not allow {action} (docs/cli.md has a policy): {said.get('Message')}"
    if aws.code(error) in INVALID:
        return f"the credentials are not valid (any more), log in again: {said.get('Message')}"
    return f"AWS refuses {action}: {said.get('Message') or aws.code(error)}"


if __name__ == "__main__":
    sys.exit(main())
