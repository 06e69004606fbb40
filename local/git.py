"""The git remote: a bare repository whose hook sends webhooks as GitHub does.

The hook is this module again (`python -m local.git REPOSITORY`): one signed `push` event for each branch or
tag that changed. It waits for the answer and prints it, so that whoever pushes sees `remote: webhook …` and
nothing is lost silently; GitHub itself would send later and never tell.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local import send

ROOT = Path(__file__).parent.parent
ZEROS = "0" * 40
SETTINGS = "qa-env-hook.json"
AUTHOR = {
    "GIT_AUTHOR_NAME": "Sample Developer",
    "GIT_AUTHOR_EMAIL": "developer@example.com",
    "GIT_COMMITTER_NAME": "Sample Developer",
    "GIT_COMMITTER_EMAIL": "developer@example.com",
}


class GitError(Exception):
    """What git said when it refused."""


@dataclass(frozen=True)
class Remote:
    """A bare repository."""

    path: Path

    def head(self, branch: str) -> str | None:
        """The commit a branch is at; None if there is no such branch."""
        return dict(self.heads()).get(branch)

    def heads(self) -> list[tuple[str, str]]:
        """Every branch with its commit."""
        lines = git(self.path, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads").splitlines()
        pairs = (line.split(" ", 1) for line in lines)
        return [(ref.removeprefix("refs/heads/"), commit) for commit, ref in pairs]

    def extract(self, commit: str, into: Path) -> None:
        """The files of a commit, without history: what a build gets to see."""
        into.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            ["git", "-C", str(self.path), "archive", "--format=tar", commit], capture_output=True, check=False
        )
        if packed.returncode:
            raise GitError(packed.stderr.decode(errors="replace").strip())
        subprocess.run(["tar", "-x", "-C", str(into)], input=packed.stdout, check=True)


def create(path: Path, seed: Path, repository: str) -> Remote:
    """A bare repository with the files of `seed` on `main`; quiet until `connect`."""
    path.mkdir(parents=True)
    git(path, "init", "--quiet", "--bare", "--initial-branch=main")
    work = ["--git-dir", str(path), "--work-tree", str(seed)]
    git(path, *work, "add", "--all", ".", ":(exclude)**/__pycache__")
    git(path, *work, "commit", "--quiet", "--message", "Sample application")
    (path / "index").unlink(missing_ok=True)
    git(path, "config", "qa-env.repository", repository)
    return Remote(path)


def connect(remote: Remote, repository: str, url: str, secret: str) -> None:
    """From now on every push is told to the webhook."""
    settings = {"repository": repository, "url": url, "secret": secret}
    (remote.path / SETTINGS).write_text(json.dumps(settings), "utf-8")
    command = shlex.join([sys.executable, "-m", "local.git", str(remote.path)])
    hook = remote.path / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ncd {shlex.quote(str(ROOT))} && exec {command}\n", "utf-8")
    hook.chmod(0o755)


def git(directory: Path, *arguments: str, check: bool = True) -> str:
    """Run git, independent of a person's own settings; GitError carries what it said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {
        **AUTHOR,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "LC_ALL": "C.UTF-8",
    }
    result = subprocess.run(
        ["git", "-C", str(directory), *arguments], capture_output=True, env=environment, check=False
    )
    if check and result.returncode:
        raise GitError(result.stderr.decode(errors="replace").strip())
    return result.stdout.decode(errors="replace")


def push_event(remote: Remote, repository: str, before: str, after: str, ref: str) -> dict[str, Any]:
    """The body of GitHub's `push` event (facts A17)."""
    created, deleted = before == ZEROS, after == ZEROS
    forced = not (created or deleted) and not _is_ancestor(remote, before, after)
    head = None if deleted else _commit(remote, after)
    owner, _, name = repository.partition("/")
    person = {"login": "sample-developer", "id": 2, "type": "User"}
    now = int(time.time())
    return {
        "ref": ref,
        "before": before,
        "after": after,
        "created": created,
        "deleted": deleted,
        "forced": forced,
        "base_ref": None,
        "compare": f"https://github.com/{repository}/compare/{before[:12]}...{after[:12]}",
        "commits": [] if head is None else [head],
        "head_commit": head,
        "pusher": {"name": "sample-developer", "email": "developer@example.com"},
        "sender": person,
        "repository": {
            "id": 1,
            "name": name,
            "full_name": repository,
            "private": True,
            "owner": {"login": owner, "name": owner, "id": 3, "type": "Organization"},
            "html_url": f"https://github.com/{repository}",
            "default_branch": "main",
            "archived": False,
            "created_at": now,
            "pushed_at": now,
        },
    }


def deliver(remote: Remote, lines: Iterable[str]) -> Iterable[str]:
    """Send an event for each `before after ref` line of a post-receive hook; says what was answered."""
    repository = json.loads((remote.path / SETTINGS).read_text("utf-8"))["repository"]
    for line in lines:
        before, after, ref = line.rstrip("\n").split(" ", 2)
        yield tell(remote, "push", push_event(remote, repository, before, after, ref))


def tell(remote: Remote, event: str, payload: dict[str, Any]) -> str:
    """Send one event to the webhook of `connect`; what was answered, or why it was not delivered."""
    settings = json.loads((remote.path / SETTINGS).read_text("utf-8"))
    body = json.dumps(payload).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/local",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-GitHub-Hook-ID": "1",
    }
    try:
        status, answer = send.post(settings["url"], send.signed(headers, body, settings["secret"]), body)
    except (OSError, http.client.HTTPException) as error:
        return f"webhook: not delivered: {error}"
    return f"webhook: {status} {answer.strip()}"


def _is_ancestor(remote: Remote, before: str, after: str) -> bool:
    base = git(remote.path, "merge-base", before, after, check=False).strip()
    return base == before


def _commit(remote: Remote, commit: str) -> dict[str, Any]:
    fields = git(remote.path, "log", "-1", "--format=%an%n%ae%n%cI%n%T%n%B", commit).split("\n", 4)
    name, email, at, tree, message = fields
    who = {"name": name, "email": email}
    return {
        "id": commit,
        "tree_id": tree,
        "message": message.strip(),
        "timestamp": at,
        "author": who,
        "committer": who,
        "distinct": True,
        "added": [],
        "removed": [],
        "modified": [],
    }


if __name__ == "__main__":
    received = (line.decode(errors="replace") for line in sys.stdin.buffer)
    for said in deliver(Remote(Path(sys.argv[1])), received):
        print(said, flush=True)
