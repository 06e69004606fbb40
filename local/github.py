"""The part of GitHub's REST API that qa-env uses, answered from the local git remote.

Branches and their commits' statuses and checks, deployments (`local/github_deployments.py`), pull requests
and their comments (`local/github_pulls.py`), webhooks' deliveries (`local/github_hooks.py`). Everything that
was written stays readable at `GET /_local/posted`. A wrong token gets 401; another repository 404, as GitHub
answers where one may not look.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from local import serving
from local.git import Remote
from local.github_deployments import Deployments
from local.github_hooks import Hooks
from local.github_pulls import Pulls

Answer = tuple[int, Any]
Links = dict[str, str]
PAGE = 30  # GitHub's own default for per_page


Tell = Callable[[str, dict[str, Any]], object]
"""Sends a webhook: the event's name and its payload."""


class GitHub:
    """What one repository's API knows. `posted` is everything that was written, oldest first."""

    def __init__(self, remote: Remote, repository: str, token: str, tell: Tell | None = None) -> None:
        self.remote = remote
        self.repository = repository
        self.token = token
        self.posted: list[dict[str, Any]] = []
        self.available = True  # a test sets this to False: GitHub answers 503
        self._lock = threading.Lock()
        self._statuses: dict[str, list[dict[str, Any]]] = {}
        self._tell = tell or (lambda event, payload: None)
        self.deployments = Deployments()
        self.pulls = Pulls(repository, remote.head)
        self.hooks = Hooks(repository, token)

    def answer(self, method: str, target: str, authorization: str, body: bytes) -> tuple[int, Any, Links]:
        """Status, body and the next page's link of one request."""
        if urlsplit(target).path == "/_local/posted":
            return 200, self.posted, {}
        if not self.available:
            return 503, {"message": "Service unavailable"}, {}
        if told := self.hooks.answer(method, target, authorization.partition(" ")[2]):
            return told
        if authorization.partition(" ")[2] != self.token:
            return 401, {"message": "Bad credentials"}, {}
        status, answer = self._route(method, target, body)
        answer, links = _page(answer, target)
        return status, answer, links

    def _route(self, method: str, target: str, body: bytes) -> Answer:
        url = urlsplit(target)
        prefix = f"/repos/{self.repository}"
        path = unquote(url.path)
        if path != prefix and not path.startswith(prefix + "/"):
            return 404, {"message": "Not Found"}
        rest = path.removeprefix(prefix)
        for verb, pattern, handle in self._routes():
            found = re.fullmatch(pattern, rest, re.DOTALL)
            if verb == method and found:
                return self._call(handle, found, dict(parse_qsl(url.query)), body)
        return 404, {"message": "Not Found"}

    def _call(
        self, handle: Callable[..., Answer], found: re.Match[str], query: dict[str, str], body: bytes
    ) -> Answer:
        """A handler gets what the pattern caught, then what was sent: the body, or in a GET the query."""
        with self._lock:
            if not body:
                return handle(*found.groups(), query)
            given = json.loads(body)
            status, answer = handle(*found.groups(), given)
            if status < 300:
                self.posted.append({"path": found.string, "body": given})
            return status, answer

    def _routes(self) -> list[tuple[str, str, Callable[..., Answer]]]:
        return [
            ("GET", "", self._repository),
            ("GET", "/git/matching-refs/heads/(.*)", self._matching),
            ("GET", "/git/ref/heads/(.+)", self._ref),
            ("POST", "/statuses/([0-9a-f]{40})", self._post_status),
            ("GET", "/commits/([0-9a-f]{40})/statuses", self._get_statuses),
            ("GET", "/commits/([0-9a-f]{40})/status", self._combined),
            ("GET", "/commits/([0-9a-f]{40})/check-runs", self._check_runs),
            ("GET", "/deployments", self.deployments.list),
            ("POST", "/deployments", self._deploy),
            ("GET", "/deployments/([0-9]+)/statuses", lambda n, _: self.deployments.list_statuses(int(n))),
            (
                "POST",
                "/deployments/([0-9]+)/statuses",
                lambda n, given: self.deployments.add_status(int(n), given, _now()),
            ),
            ("GET", "/pulls", self.pulls.list),
            ("POST", "/pulls", self._open_pull),
            ("GET", "/issues/([0-9]+)/comments", lambda n, _: self.pulls.list_comments(int(n))),
            (
                "POST",
                "/issues/([0-9]+)/comments",
                lambda n, given: self.pulls.add_comment(int(n), given, _now()),
            ),
            (
                "PATCH",
                "/issues/comments/([0-9]+)",
                lambda n, given: self.pulls.edit_comment(int(n), given),
            ),
        ]

    def _repository(self, _query: dict[str, str]) -> Answer:
        return 200, {"id": 1, "full_name": self.repository, "default_branch": "main", "archived": False}

    def _matching(self, prefix: str, _query: dict[str, str]) -> Answer:
        found = [_ref(name, commit) for name, commit in self.remote.heads() if name.startswith(prefix)]
        return 200, found

    def _ref(self, branch: str, _query: dict[str, str]) -> Answer:
        commit = self.remote.head(branch)
        return (200, _ref(branch, commit)) if commit else (404, {"message": "Not Found"})

    def _post_status(self, commit: str, given: dict[str, Any]) -> Answer:
        if not commit.strip("0"):
            return 422, {"message": f"No commit found for SHA: {commit}"}
        if given.get("state") not in ("error", "failure", "pending", "success"):
            return 422, {"message": "Validation Failed"}
        if len(given.get("description") or "") > 140:
            return 422, {"message": "Validation Failed", "errors": ["description is too long"]}
        status = {
            "context": "default",
            "description": None,
            "target_url": None,
            **given,
            "created_at": _now(),
        }
        self._statuses.setdefault(commit, []).insert(0, status)
        return 201, status

    def _get_statuses(self, commit: str, _query: dict[str, str]) -> Answer:
        return 200, list(self._statuses.get(commit, []))

    def _combined(self, commit: str, _query: dict[str, str]) -> Answer:
        latest: dict[str, dict[str, Any]] = {}
        for status in self._statuses.get(commit, []):
            latest.setdefault(status["context"].lower(), status)
        states = {status["state"] for status in latest.values()}
        failed, pending = states & {"error", "failure"}, "pending" in states or not states
        state = "failure" if failed else "pending" if pending else "success"
        return 200, {
            "sha": commit,
            "state": state,
            "statuses": list(latest.values()),
            "total_count": len(latest),
        }

    def _check_runs(self, _commit: str, _query: dict[str, str]) -> Answer:
        return 200, {"total_count": 0, "check_runs": []}

    def _deploy(self, given: dict[str, Any]) -> Answer:
        ref = str(given.get("ref") or "")
        sha = ref if re.fullmatch("[0-9a-f]{40}", ref) else self.remote.head(ref)
        green = self._combined(sha or "", {})[1]["state"] == "success"
        return self.deployments.create(given, sha, green, _now())

    def _open_pull(self, given: dict[str, Any]) -> Answer:
        status, pull = self.pulls.create(given, _now())
        if status < 300:
            self._tell("pull_request", self._event(pull))
        return status, pull

    def _event(self, pull: dict[str, Any]) -> dict[str, Any]:
        return {
            "action": "opened",
            "number": pull["number"],
            "pull_request": pull,
            "repository": {"id": 1, "full_name": self.repository, "default_branch": "main"},
            "sender": {"login": "sample-developer", "id": 2, "type": "User"},
        }


class Server(serving.Server):
    """The stand-in behind HTTP on a free port."""

    def __init__(self, github: GitHub, port: int = 0, seen: serving.Seen = serving.unseen) -> None:
        def answer(method: str, target: str, headers: Message, body: bytes) -> serving.Reply:
            status, said, links = github.answer(method, target, headers.get("Authorization", ""), body)
            shown = [f'<http://{headers["Host"]}{path}>; rel="{name}"' for name, path in links.items()]
            return status, said, {"Link": ", ".join(shown)} if shown else {}

        super().__init__(answer, port, seen)


def _page(answer: Any, target: str) -> tuple[Any, Links]:
    """One page of a list, and where the next one is."""
    if not isinstance(answer, list):
        return answer, {}
    url = urlsplit(target)
    given = dict(parse_qsl(url.query))
    size, page = min(100, int(given.get("per_page", PAGE))), int(given.get("page", 1))
    more = len(answer) > page * size
    query = urlencode({**given, "per_page": size, "page": page + 1})
    return answer[(page - 1) * size : page * size], {"next": f"{url.path}?{query}"} if more else {}


def _ref(branch: str, commit: str) -> dict[str, Any]:
    return {"ref": f"refs/heads/{branch}", "object": {"type": "commit", "sha": commit}}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
