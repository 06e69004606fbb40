"""Deployments and their statuses as GitHub's API keeps them (facts A33, A34), with what GitHub refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Answer = tuple[int, Any]
STATES = ("error", "failure", "inactive", "in_progress", "queued", "pending", "success")
NOT_FOUND: Answer = (404, {"message": "Not Found"})
FILTERS = ("sha", "ref", "task", "environment")


class Deployments:
    """One repository's. Not kept: that GitHub itself inactivates deployments that are not transient."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []
        self.statuses: dict[int, list[dict[str, Any]]] = {}

    def create(self, given: Mapping[str, Any], sha: str | None, green: bool, now: str) -> Answer:
        """Deploy `sha`, if anything is there; `green` says whether all its statuses are."""
        if not given.get("ref") or sha is None:
            return _invalid(f"No ref found for: {given.get('ref')}")
        if given.get("auto_merge", True):
            return 409, {"message": "Conflict merging the default branch"}
        if given.get("required_contexts") != [] and not green:
            return 409, {"message": "Conflict: Commit status checks failed"}
        made = {
            "id": 1000 + len(self.all),
            "ref": given["ref"],
            "sha": sha,
            "task": given.get("task", "deploy"),
            "environment": given.get("environment", "production"),
            "payload": given.get("payload", {}),
            "description": given.get("description"),
            "transient_environment": given.get("transient_environment", False),
            "production_environment": given.get("production_environment", False),
            "created_at": now,
        }
        self.all.append(made)
        self.statuses[made["id"]] = []
        return 201, made

    def list(self, query: Mapping[str, str]) -> Answer:
        """Newest first, those that match."""
        wanted = {name: query[name] for name in FILTERS if name in query}
        found = [one for one in self.all if all(one[name] == value for name, value in wanted.items())]
        return 200, found[::-1]

    def list_statuses(self, number: int) -> Answer:
        """Newest first."""
        known = self.statuses.get(number)
        return (200, known[::-1]) if known is not None else NOT_FOUND

    def add_status(self, number: int, given: Mapping[str, Any], now: str) -> Answer:
        """Only the states, lengths and addresses that GitHub takes."""
        if number not in self.statuses:
            return NOT_FOUND
        if given.get("state") not in STATES:
            return _invalid("state is not included in the list")
        if len(given.get("description") or "") > 140:
            return _invalid("description is too long (maximum is 140 characters)")
        for name in ("environment_url", "log_url", "target_url"):
            if given.get(name) and not re.match(r"https?://", given[name]):
                return _invalid(f"{name} must use http(s) scheme")
        count = sum(len(statuses) for statuses in self.statuses.values())
        kept = ("state", "description", "environment_url", "log_url")
        made = {"id": 5000 + count, **{name: given.get(name) or "" for name in kept}, "created_at": now}
        self.statuses[number].append(made)
        return 201, made

    def shown(self) -> list[tuple[str, str, str]]:
        """(environment, commit, newest state) of each, oldest first: what people see."""
        return [
            (one["environment"], one["sha"], (self.statuses[one["id"]] or [{"state": ""}])[-1]["state"])
            for one in self.all
        ]


def _invalid(reason: str) -> Answer:
    return 422, {"message": f"Validation Failed: {reason}"}
