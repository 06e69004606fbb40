"""`make demo`: the whole story on this machine, from `git push` to nothing left.

Shows what appears and disappears as AWS, MySQL and Redis themselves see it (`local/inventory.py`). Exits 0
only if the application answered through the load balancer with its branch, commit and data, the second
commit replaced the first, nothing is left at the end, and no function called what its role does not allow.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local import git
from local.inventory import Inventory
from local.run import TROUBLE, interrupted_by_signal, options
from local.stack import LOCAL, Options, Stack

BRANCH = "qa/foo"
PATIENCE = 90  # seconds for any one thing to happen
LOOK_AGAIN = 0.25


class Unexpected(Exception):
    """What should have happened and did not."""


class Story:
    """One run of the demo; every line says how many seconds it is since the last `git push`."""

    def __init__(self, stack: Stack, workspace: Path) -> None:
        self.stack = stack
        self.inventory = Inventory(stack)
        self.clone = workspace / "clone"
        self.baseline = self.inventory.take()
        self._seen = self.baseline
        self._reported: dict[str, str] = {}
        self._since = time.monotonic()

    def tell(self, text: str, *, mark: str = " ") -> None:
        """One line with the time."""
        print(f"{time.monotonic() - self._since:6.1f} s {mark} {text}", flush=True)

    def chapter(self, title: str) -> None:
        """A heading; the clock starts anew."""
        print(f"\n{title}", flush=True)
        self._since = time.monotonic()

    def push(self, refspec: str) -> None:
        """A real `git push`; what the webhook answered comes back through git."""
        print(f"        $ git push origin {refspec}")
        result = subprocess.run(
            ["git", "-C", str(self.clone), "push", "origin", refspec],
            capture_output=True,
            text=True,
            check=False,
        )
        for line in result.stderr.splitlines():
            if line.startswith("remote:"):
                self.tell(line.removeprefix("remote:").strip())
        if result.returncode:
            raise Unexpected(f"git push failed: {result.stderr.strip()}")

    def commit(self, greeting: str) -> str:
        """Change the application; returns the commit."""
        (self.clone / "GREETING").write_text(greeting + "\n", "utf-8")
        git.git(self.clone, "commit", "--quiet", "--all", "--message", greeting)
        return git.git(self.clone, "rev-parse", "HEAD").strip()

    def watch(self, what: str, until: Callable[[], Any]) -> Any:
        """Show what comes and goes until something is true; Unexpected if it does not become true."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.show_changes()
            check_rights(self.stack)
            result = until()
            if result:
                self.show_changes()
                return result
            time.sleep(LOOK_AGAIN)
        raise Unexpected(f"waited {PATIENCE} s until {what}; logs are in {self.stack.info['logs']}")

    def show_changes(self) -> None:
        """What appeared and disappeared since the last look, and what people were told."""
        now = self.inventory.take()
        for line in sorted(self._seen - now):
            self.tell(line, mark="-")
        for line in sorted(now - self._seen):
            self.tell(line, mark="+")
        self._seen = now
        for place, said in self.told().items():
            if said != self._reported.get(place, ""):
                self._reported[place] = said
                self.tell(f"{place}: {said}", mark="»")

    def told(self) -> dict[str, str]:
        """What people see now, place by place, each in one line."""
        status = self.status()
        words = (str(status.get(key) or "") for key in ("state", "description", "target_url"))
        messages = self.stack.slack.messages
        told = {"commit status": " ".join(words).strip(), "Slack": messages[-1]["text"] if messages else ""}
        if hub := self.stack.github:
            told["deployments"] = ", ".join(
                f"{commit[:7]} {state}" for _, commit, state in hub.deployments.shown()
            )
            comments = [one["body"] for one in hub.pulls.comments.values()]
            told["pull request"] = plain(comments[-1]) if comments else ""
        return told

    def left(self) -> set[str]:
        """What there is now and was not before."""
        return self.inventory.take() - self.baseline

    def open_pull(self) -> None:
        """As a developer does on GitHub; without credentials nobody could comment on it."""
        if not self.stack.info["asks_github"]:
            return
        github, repository = self.stack.info["github_url"], self.stack.info["repository"]
        body = json.dumps({"title": "Foo", "head": BRANCH, "base": "main"}).encode()
        token = {"Authorization": f"Bearer {self.stack.info['github_token']}"}
        request = urllib.request.Request(f"{github}/repos/{repository}/pulls", body, token)
        with urllib.request.urlopen(request, timeout=10) as answer:
            self.tell(f"a pull request is opened: #{json.loads(answer.read())['number']}")
        self.watch("the pull request had its comment", lambda: self.told()["pull request"])

    def status(self) -> dict[str, Any]:
        """The newest commit status on GitHub."""
        posted = self.stack.github.posted if self.stack.github else []
        statuses = [one["body"] for one in posted if one["path"].startswith("/statuses/")]
        return dict(statuses[-1]) if statuses else {}

    def url(self) -> str:
        """The reported URL: on GitHub, or without credentials in the record."""
        url = str(self.status().get("target_url") or "")
        records = [item for item in self.inventory.items() if item["pk"] == "environment"]
        if not url and records:
            port = _listener_port(self._seen - self.baseline)
            url = f"http://{self.stack.info['load_balancers'][0]['host']}:{port}/" if port else ""
        return url


def fetch(url: str) -> dict[str, Any]:
    """What the application says of itself; empty while it is not it that answers."""
    request = urllib.request.Request(f"{url}about.json", headers={"Accept": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            said = json.loads(answer.read())
    except (urllib.error.HTTPError, ValueError):
        return {}
    except OSError as error:
        raise Unexpected(f"{url} does not answer: {error}") from error
    return dict(said) if "branch" in said else {}


def plain(comment: str) -> str:
    """The first line of a comment as a person reads it."""
    (first, *_) = re.sub(r"<!--.*?-->\s*", "", comment).splitlines()
    return html.unescape(re.sub(r"<[^>]*>", "", first)).lstrip("# ")


def title(url: str) -> str:
    """The title of what a browser shows, whoever answers."""
    request = urllib.request.Request(url, headers={"Accept": "text/html"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            page = answer.read()
    except urllib.error.HTTPError as error:
        page = error.read()
    except OSError as error:
        raise Unexpected(f"{url} does not answer: {error}") from error
    found = re.search(rb"<title>(.*?)</title>", page, re.DOTALL)
    return html.unescape(found.group(1).decode()) if found else "no title"


def tell(stack: Stack, workspace: Path) -> None:
    """The story; Unexpected says where it went wrong."""
    story = Story(stack, workspace)
    git.git(workspace, "clone", "--quiet", stack.info["git_remote"], str(story.clone))

    story.chapter(f"A developer pushes {BRANCH}.")
    first = story.commit("Hello from the first commit.")
    story.push(f"HEAD:refs/heads/{BRANCH}")
    url = story.watch("a URL was reported", story.url)
    story.tell(f"the URL is known: {url}; a visitor sees “{title(url)}”", mark="»")
    said = story.watch("the application answered", lambda: _live(url, first))
    said = story.watch("the worker had worked", lambda: _worked(url))
    story.tell(f"{url} answers:")
    _print(said)
    _check(said, first, stack)

    story.open_pull()

    story.chapter("The second commit.")
    second = story.commit("Hello from the second commit.")
    story.push(f"HEAD:refs/heads/{BRANCH}")
    said = story.watch("the second commit answered", lambda: _live(url, second))
    story.tell(f"{url} answers:")
    _print(said)
    _check(said, second, stack)

    story.chapter("The branch is deleted.")
    story.push(f":refs/heads/{BRANCH}")
    story.watch("everything was gone", lambda: not story.left())
    story.tell("what is left: nothing")
    try:
        fetch(url)
    except Unexpected:
        story.tell(f"{url} is closed")
    else:
        raise Unexpected(f"{url} still answers")


def check_rights(stack: Stack) -> None:
    """Unexpected if a function called what its role does not allow."""
    if denied := stack.denials.read():
        raise Unexpected("\n".join([f"IAM denied {len(denied)} calls:", *denied]))


def _live(url: str, commit: str) -> dict[str, Any]:
    said = fetch(url)
    return said if said.get("commit") == commit else {}


def _worked(url: str) -> dict[str, Any]:
    said = fetch(url)
    return said if said.get("rows_written_by_worker") and said.get("jobs_done_by_worker") else {}


def _check(said: dict[str, Any], commit: str, stack: Stack) -> None:
    """Branch, commit, schema and redis place are this environment's own."""
    expected: dict[str, Any] = {"branch": BRANCH, "commit": commit, "schema": "qa-foo"}
    if stack.info["redis_mode"] == "namespace":
        expected["redis_namespace"] = "qa_foo"
    wrong = [
        f"{name} is {said.get(name)!r}, not {value!r}"
        for name, value in expected.items()
        if said.get(name) != value
    ]
    foreign = [key for key in said["redis_keys"] if not key.startswith(said["redis_namespace"])]
    if wrong or foreign or not said["redis_keys"]:
        raise Unexpected(f"the application says: {'; '.join([*wrong, *foreign]) or 'no redis keys'}")


def _print(said: dict[str, Any]) -> None:
    for name, value in said.items():
        text = ", ".join(value) if isinstance(value, list) else value
        print(f"              {name.replace('_', ' '):24} {text}")


def _listener_port(things: set[str]) -> int:
    ports = [int(thing.rsplit(" ", 1)[-1]) for thing in things if thing.startswith("listener on port")]
    return min(ports, default=0)


def main(arguments: list[str] | None = None) -> int:
    """0 if all of it happened; otherwise 1 and a sentence."""
    parser = argparse.ArgumentParser(prog="python -m local.demo", description=__doc__.splitlines()[0])
    chosen = options(parser, ["--name", "demo", *(sys.argv[1:] if arguments is None else arguments)])
    interrupted_by_signal()
    started = time.monotonic()
    try:
        return _run(chosen, started)
    except KeyboardInterrupt:
        return 130
    except Unexpected as error:
        print(f"\nThis went wrong: {error}", file=sys.stderr)
    except TROUBLE as error:
        print(f"\nThis went wrong: {error}\nlogs are in {LOCAL / chosen.name / 'logs'}", file=sys.stderr)
    return 1


def _run(chosen: Options, started: float) -> int:
    print("The stack starts: no AWS account, no Docker.")
    with Stack.start(
        chosen, say=lambda text: print(f"{time.monotonic() - started:6.1f} s   {text}", flush=True)
    ) as stack:
        workspace = stack.directory / "run" / "demo"
        workspace.mkdir()
        tell(stack, workspace)
        check_rights(stack)
        print(f"\nDone in {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
