"""`make run`: the stack, staying up until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from botocore.exceptions import BotoCoreError, ClientError

from local.forward import PortsTaken
from local.git import GitError
from local.ministack import DeployError
from local.servers import ServerError
from local.stack import LOCAL, Options, Stack

TROUBLE = (ServerError, DeployError, PortsTaken, GitError, ClientError, BotoCoreError, RuntimeError, OSError)

HELP = """
qa-env is up.

  what there is    {page_url}
  git remote       {git_remote}
  for programs     {file}
  logs             {logs}
  Slack            {slack_url}/_local/messages
  GitHub           {github_url}/_local/posted

In another terminal:

  git clone {git_remote} sample-app && cd sample-app
  git push origin HEAD:refs/heads/qa/foo        # builds an environment
  git push origin :refs/heads/qa/foo            # removes every trace of it
  curl {github_url}/repos/{repository}/pulls -H 'Authorization: Bearer {github_token}' \\
       -d '{{"title": "Foo", "head": "qa/foo", "base": "main"}}'      # opens a pull request

Is GitHub asked where a branch is? {github}.
More to choose: PYTHONPATH=src:. .venv/bin/python -m local.run --help
A file FAIL_BUILD, FAIL_MIGRATE or FAIL_START in a commit makes exactly that fail; BUILD_SECONDS holds how
long its build takes.
Ctrl-C stops everything.
"""


def options(parser: argparse.ArgumentParser, arguments: list[str] | None = None) -> Options:
    """What run and demo have in common."""
    parser.add_argument("--name", default=Options.name, help="of this stack; several can be up at once")
    parser.add_argument(
        "--no-github",
        dest="github",
        action="store_false",
        help="no GitHub credentials: the last webhook says where a branch is",
    )
    parser.add_argument(
        "--redis",
        choices=["namespace", "database"],
        default=Options.redis,
        help="how environments share Redis",
    )
    parser.add_argument(
        "--accounts",
        choices=["shared", "own"],
        default=Options.accounts,
        help="own: each environment has a MySQL user of its own",
    )
    parser.add_argument(
        "--build-seconds", type=float, default=0, metavar="N", help="how long a build takes at least"
    )
    parser.add_argument(
        "--packages", action="store_true", help="artefacts as AWS gets them, with their packages: slower"
    )
    given = parser.parse_args(arguments)
    if not given.name.replace("-", "").isalnum():
        parser.error("--name takes letters, digits and hyphens")
    return Options(given.name, given.github, given.redis, given.accounts, given.build_seconds, given.packages)


def ended_by_signal() -> threading.Event:
    """Set by the first Ctrl-C or SIGTERM; the second ends the process at once."""
    ended = threading.Event()

    def end(number: int, _frame: object) -> None:
        if ended.is_set():
            sys.exit(128 + number)
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    return ended


def interrupted_by_signal() -> None:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def main(arguments: list[str] | None = None) -> int:
    """0 after Ctrl-C; 1 with one sentence if something could not be started or ended by itself."""
    chosen = options(argparse.ArgumentParser(prog="python -m local.run", description=__doc__), arguments)
    interrupted_by_signal()
    try:
        with Stack.start(chosen) as stack:
            ended = ended_by_signal()
            github = "Yes (--no-github to try without)" if chosen.github else "No, the last webhook counts"
            shown = {**stack.info, "file": stack.file, "github": github}
            print(HELP.format(**shown), flush=True)
            while not ended.wait(1):
                if stack.cloud.process.poll() is not None:
                    print(f"MiniStack ended by itself; see {stack.cloud.log}", file=sys.stderr)
                    return 1
            print("stopping", flush=True)
    except KeyboardInterrupt:
        return 130
    except TROUBLE as error:
        print(
            f"the stack did not start: {error}\nlogs are in {LOCAL / chosen.name / 'logs'}", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
