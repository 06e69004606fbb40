"""Where is this branch now, and are its commit's checks green? GitHub knows; a webhook only rings.

`matching-refs` answers an empty list when the branch is gone and 404 when we cannot see the repository at
all: the first means delete, the second must delete nothing.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from qa_env.errors import Blocked, NotReady
from qa_env.github_api import GitHub

GREEN = ("success", "neutral", "skipped")
UNFINISHED = ("pending", "queued", "in_progress", "waiting", "requested", "")


class Branches(Protocol):
    """The answer to “where is this branch now?”."""

    def head(self, repository: str, branch: str) -> str | None:
        """The commit of the branch, None if the branch does not exist; raises if that cannot be said."""

    def under(self, repository: str, prefix: str) -> dict[str, str]:
        """Branch → commit of every branch whose name begins so; raises if that cannot be said."""

    def shows(self, repository: str) -> bool:
        """Is the default branch shown? If not, that others are missing means nothing."""

    def checks(self, repository: str, commit: str, wanted: Iterable[str]) -> dict[str, str]:
        """Check or status name → its newest conclusion (`success`, `failure`, …, `pending`)."""


class GitHubBranches:
    """Branches by GitHub's REST API."""

    def __init__(self, github: GitHub) -> None:
        self.github = github

    def head(self, repository: str, branch: str) -> str | None:
        return next((sha for name, sha in self._matching(repository, branch) if name == branch), None)

    def under(self, repository: str, prefix: str) -> dict[str, str]:
        return dict(self._matching(repository, prefix))

    def shows(self, repository: str) -> bool:
        try:
            answer = self.github.get(f"/repos/{repository}")
        except LookupError as error:
            raise _unseen(repository) from error
        if not isinstance(answer, dict) or not answer.get("default_branch"):
            raise NotReady("GitHub's answer is no repository; asking again")
        return self.head(repository, str(answer["default_branch"])) is not None

    def _matching(self, repository: str, beginning: str) -> Iterator[tuple[str, str]]:
        """(branch, commit) of every branch whose name begins so."""
        quoted = urllib.parse.quote(beginning, safe="/")
        path = f"/repos/{repository}/git/matching-refs/heads/{quoted}?per_page=100"
        try:
            for page in self.github.pages(path):
                if not isinstance(page, list):
                    raise NotReady("GitHub's answer is no list of branches; asking again")
                for ref in page:
                    yield str(ref["ref"]).removeprefix("refs/heads/"), str(ref["object"]["sha"])
        except LookupError as error:
            raise _unseen(repository) from error

    def checks(self, repository: str, commit: str, wanted: Iterable[str]) -> dict[str, str]:
        """Check runs are asked for only where no status answers: fine-grained tokens may not see them."""
        try:
            status = self.github.get(f"/repos/{repository}/commits/{commit}/status?per_page=100")
            found = {one["context"]: one["state"] for one in status["statuses"]}
            if set(wanted) - found.keys():
                path = f"/repos/{repository}/commits/{commit}/check-runs?per_page=100"
                for run in self._runs(self.github.pages(path)):
                    found[run["name"]] = run["conclusion"] if run["status"] == "completed" else "pending"
        except LookupError as error:
            raise Blocked(f"GitHub shows no commit {commit} of {repository} to these credentials") from error
        return found

    @staticmethod
    def _runs(pages: Iterable[Any]) -> Iterator[Any]:
        for page in pages:
            yield from page["check_runs"]


def _unseen(repository: str) -> Blocked:
    return Blocked(f"GitHub shows no repository {repository} to these credentials: give them access to it")
