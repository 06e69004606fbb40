"""One stack for all tests of a module, and a developer with a clone who pushes to its remote."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from local import git
from local.inventory import Inventory
from local.stack import Options, Stack
from qa_env import naming

PATIENCE = 60


@dataclass
class Developer:
    """Pushes, opens URLs, and looks at what there is."""

    stack: Stack
    clone: Path
    inventory: Inventory
    baseline: set[str] = field(default_factory=set)

    def commit(self, **files: str | None) -> str:
        """A commit that writes these files at the top (None removes one); returns it."""
        for name, text in files.items():
            path = self.clone / name
            path.unlink() if text is None else path.write_text(text, "utf-8")
        git.git(self.clone, "add", "--all")
        git.git(self.clone, "commit", "--quiet", "--allow-empty", "--message", "A change")
        return git.git(self.clone, "rev-parse", "HEAD").strip()

    def push(self, branch: str, *options: str) -> str:
        """Push HEAD to a branch; what the hook printed."""
        return self._push(f"HEAD:refs/heads/{branch}", *options)

    def delete(self, branch: str) -> str:
        """Delete a branch on the remote."""
        return self._push(f":refs/heads/{branch}")

    def _push(self, refspec: str, *options: str) -> str:
        command = ["git", "-C", str(self.clone), "push", *options, "origin", refspec]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def slug(self, branch: str) -> str:
        """The environment's name."""
        return naming.slug("", self.stack.info["repository"], branch)

    def status(self, branch: str) -> dict[str, Any]:
        """The newest commit status of the environment on GitHub; empty before the first."""
        assert self.stack.github is not None
        context = f"qa-env/{self.slug(branch)}"
        bodies = [one["body"] for one in self.stack.github.posted if one["path"].startswith("/statuses/")]
        return next((body for body in reversed(bodies) if body["context"] == context), {})

    def record(self, branch: str) -> dict[str, Any]:
        """What the page's API says of the environment; empty while there is none."""
        url = f"{self.stack.info['page_url']}api/v1/environments/{self.slug(branch)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return dict(json.loads(answer.read()))
        except OSError:
            return {}

    def executions(self, branch: str) -> list[dict[str, Any]]:
        """The executions of the branch's pipeline, the newest first."""
        listed = self.stack.client("codepipeline").list_pipeline_executions(pipelineName=self.slug(branch))
        return list(listed["pipelineExecutionSummaries"])

    def about(self, branch: str) -> dict[str, Any]:
        """What the application at the reported URL says of itself; empty while it is not it that answers."""
        url = self.url(branch)
        return self.answer(url) if url else {}

    def url(self, branch: str) -> str:
        """The main role's URL, as GitHub's newest deployment of the branch says; empty before it is known."""
        assert self.stack.github is not None
        known = self.stack.github.deployments
        urls = [
            status["environment_url"]
            for one in known.all
            if one["environment"] == branch
            for status in known.statuses[one["id"]]
        ]
        return next((url for url in reversed(urls) if url), "")

    def answer(self, url: str) -> dict[str, Any]:
        """What the application at a URL says of itself."""
        try:
            with urllib.request.urlopen(f"{url}about.json", timeout=10) as answer:
                said: dict[str, Any] = json.loads(answer.read())
        except (OSError, ValueError):
            return {}
        return said if "branch" in said else {}

    def live(self, branch: str, commit: str) -> dict[str, Any]:
        """Wait until the commit answers; what it says."""
        said: dict[str, Any] = wait(lambda: self._at(branch, commit), f"{branch} answers at {commit}")
        return said

    def _at(self, branch: str, commit: str) -> dict[str, Any]:
        said = self.about(branch)
        return said if said.get("commit") == commit else {}

    def left(self) -> set[str]:
        """What there is now and was not when the stack came up."""
        return self.inventory.take() - self.baseline

    def gone(self) -> None:
        """Wait until nothing is left."""
        wait(lambda: not self.left(), "nothing is left", self.left)


def wait(until: Callable[[], Any], what: str, otherwise: Callable[[], Any] = lambda: "") -> Any:
    """The first true result; fails with what is instead."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if result := until():
            return result
        time.sleep(0.2)
    pytest.fail(f"not within {PATIENCE} s: {what} {otherwise()}")


def processes(place: Path) -> list[str]:
    """Processes that work under a directory: by their arguments or by where they are."""
    inside = f"{place}{os.sep}"
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (directory / "cmdline").read_bytes().decode(errors="replace")
            if inside in arguments or f"{(directory / 'cwd').readlink()}{os.sep}".startswith(inside):
                found.append(arguments.replace("\0", " "))
        except OSError:  # it has ended meanwhile
            continue
    return found


def developer(options: Options, directory: Path) -> Iterator[Developer]:
    """A stack and its developer. Whatever IAM denied a function by the end is an error."""
    with Stack.start(options) as stack:
        clone = directory / "clone"
        git.git(directory, "clone", "--quiet", stack.info["git_remote"], str(clone))
        for name in ("user.name", "user.email"):
            git.git(clone, "config", name, "developer@example.com")
        inventory = Inventory(stack)
        yield Developer(stack, clone, inventory, inventory.take())
        assert stack.denials.read() == []


@pytest.fixture(scope="module")
def shared_dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Developer]:
    """The developer of a stack with GitHub credentials and redis namespaces."""
    yield from developer(Options(name="e2e"), tmp_path_factory.mktemp("e2e"))


@pytest.fixture
def dev(shared_dev: Developer) -> Iterator[Developer]:
    """The same, with the application as it was in the beginning and no branch left by another test."""
    yield shared_dev
    for branch, _ in shared_dev.stack.remote.heads():
        if branch != "main":
            shared_dev.delete(branch)
    git.git(shared_dev.clone, "reset", "--quiet", "--hard", "origin/main")
    shared_dev.gone()
