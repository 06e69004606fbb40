"""Pull requests and the comments on them, as GitHub's API keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Answer = tuple[int, Any]
NOT_FOUND: Answer = (404, {"message": "Not Found"})
BODY_MAX = 65536


class Pulls:
    """One repository's. A pull request is open while its branch is there: GitHub closes it with that."""

    def __init__(self, repository: str, head: Callable[[str], str | None]) -> None:
        self.repository = repository
        self.head = head
        self.all: list[dict[str, Any]] = []
        self.comments: dict[int, dict[str, Any]] = {}

    def create(self, given: Mapping[str, Any], now: str) -> Answer:
        """Open one from a branch of this repository."""
        branch, base = given.get("head", ""), given.get("base", "")
        sha, onto = self.head(branch), self.head(base)
        if not given.get("title") or sha is None or onto is None:
            return _invalid("title, head and base must be there")
        if any(one["head"]["ref"] == branch and one["state"] == "open" for one in self.list({})[1]):
            return _invalid(f"A pull request already exists for {branch}")
        number = len(self.all) + 1
        made = {
            "id": 100 + number,
            "number": number,
            "state": "open",
            "title": given["title"],
            "head": self._side(branch, sha),
            "base": self._side(base, onto),
            "html_url": f"https://github.com/{self.repository}/pull/{number}",
            "created_at": now,
        }
        self.all.append(made)
        return 201, made

    def list(self, query: Mapping[str, str]) -> Answer:
        """Newest first; `head` is `owner:branch`, and what has no colon is ignored, as GitHub does."""
        for one in self.all:
            if self.head(one["head"]["ref"]) is None:
                one["state"] = "closed"
        state, label = query.get("state", "open"), query.get("head", "")
        return 200, [
            one
            for one in self.all[::-1]
            if state in ("all", one["state"]) and (":" not in label or one["head"]["label"] == label)
        ]

    def list_comments(self, number: int) -> Answer:
        """Oldest first."""
        if number not in [one["number"] for one in self.all]:
            return NOT_FOUND
        return 200, [one for one in self.comments.values() if one["issue"] == number]

    def add_comment(self, number: int, given: Mapping[str, Any], now: str) -> Answer:
        """A comment on the conversation."""
        if number not in [one["number"] for one in self.all]:
            return NOT_FOUND
        if not _fits(given):
            return _invalid("body is missing or too long (maximum is 65536 characters)")
        made = {"id": 7000 + len(self.comments), "issue": number, "body": given["body"], "created_at": now}
        self.comments[made["id"]] = made
        return 201, made

    def edit_comment(self, number: int, given: Mapping[str, Any]) -> Answer:
        """Another text."""
        if number not in self.comments:
            return NOT_FOUND
        if not _fits(given):
            return _invalid("body is missing or too long (maximum is 65536 characters)")
        self.comments[number]["body"] = given["body"]
        return 200, self.comments[number]

    def _side(self, branch: str, sha: str) -> dict[str, Any]:
        owner = self.repository.partition("/")[0]
        repo = {"full_name": self.repository, "owner": {"login": owner}}
        return {"label": f"{owner}:{branch}", "ref": branch, "sha": sha, "repo": repo}


def _fits(given: Mapping[str, Any]) -> bool:
    return 0 < len(given.get("body") or "") <= BODY_MAX


def _invalid(reason: str) -> Answer:
    return 422, {"message": f"Validation Failed: {reason}"}
