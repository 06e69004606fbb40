"""The part of GitHub's REST API that qa-env uses, answered from the local git remote.

Reading: `matching-refs`, one ref, statuses and checks of a commit. Writing: commit statuses and
deployments. Everything that was posted stays readable at `GET /_local/posted`. A wrong token gets 401;
another repository 404, as GitHub answers where one may not look.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from local.git import Remote

Answer = tuple[int, Any]
Links = dict[str, str]
PAGE = 30  # GitHub's own default for per_page


class GitHub:
    """What one repository's API knows. `posted` is every accepted POST, oldest first."""

    def __init__(self, remote: Remote, repository: str, token: str) -> None:
        self.remote = remote
        self.repository = repository
        self.token = token
        self.posted: list[dict[str, Any]] = []
        self.available = True  # a test sets this to False: GitHub answers 503
        self._lock = threading.Lock()
        self._statuses: dict[str, list[dict[str, Any]]] = {}
        self._deployments: list[dict[str, Any]] = []

    def answer(self, method: str, target: str, authorization: str, body: bytes) -> tuple[int, Any, Links]:
        """Status, body and the next page's link of one request."""
        if urlsplit(target).path == "/_local/posted":
            return 200, self.posted, {}
        if not self.available:
            return 503, {"message": "Service unavailable"}, {}
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
                return self._call(handle, found, body)
        return 404, {"message": "Not Found"}

    def _call(self, handle: Callable[..., Answer], found: re.Match[str], body: bytes) -> Answer:
        with self._lock:
            if not body:
                return handle(*found.groups())
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
            ("POST", "/deployments", self._post_deployment),
            ("GET", "/deployments", self._get_deployments),
            ("POST", "/deployments/([0-9]+)/statuses", self._post_deployment_status),
        ]

    def _repository(self) -> Answer:
        return 200, {"id": 1, "full_name": self.repository, "default_branch": "main", "archived": False}

    def _matching(self, prefix: str) -> Answer:
        found = [_ref(name, commit) for name, commit in self.remote.heads() if name.startswith(prefix)]
        return 200, found

    def _ref(self, branch: str) -> Answer:
        commit = self.remote.head(branch)
        return (200, _ref(branch, commit)) if commit else (404, {"message": "Not Found"})

    def _post_status(self, commit: str, given: dict[str, Any]) -> Answer:
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

    def _get_statuses(self, commit: str) -> Answer:
        return 200, list(self._statuses.get(commit, []))

    def _combined(self, commit: str) -> Answer:
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

    def _check_runs(self, _commit: str) -> Answer:
        return 200, {"total_count": 0, "check_runs": []}

    def _post_deployment(self, given: dict[str, Any]) -> Answer:
        deployment = {"id": len(self._deployments) + 1, "statuses": [], **given}
        self._deployments.append(deployment)
        return 201, deployment

    def _get_deployments(self) -> Answer:
        return 200, self._deployments[::-1]

    def _post_deployment_status(self, number: str, given: dict[str, Any]) -> Answer:
        if not 0 < int(number) <= len(self._deployments):
            return 404, {"message": "Not Found"}
        self._deployments[int(number) - 1]["statuses"].insert(0, given)
        return 201, given


class Server:
    """The stand-in behind HTTP on a free port."""

    def __init__(self, github: GitHub, port: int = 0) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                authorization = self.headers.get("Authorization", "")
                status, answer, links = github.answer(self.command, self.path, authorization, body)
                text = json.dumps(answer).encode()
                self.send_response(status)
                for relation, path in links.items():
                    self.send_header("Link", f'<http://{self.headers["Host"]}{path}>; rel="{relation}"')
                self.send_header("Content-Type", "application/json; charset=utf-8")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = _serve  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def start(self) -> None:
        """Serve until `stop`."""
        threading.Thread(target=self._http.serve_forever, daemon=True, name="github").start()

    def stop(self) -> None:
        """Close the port."""
        self._http.shutdown()
        self._http.server_close()


def _page(answer: Any, target: str) -> tuple[Any, Links]:
    """One page of a list, and where the next one is."""
    if not isinstance(answer, list):
        return answer, {}
    url = urlsplit(target)
    given = {name: values[0] for name, values in parse_qs(url.query).items()}
    size, page = min(100, int(given.get("per_page", PAGE))), int(given.get("page", 1))
    more = len(answer) > page * size
    query = urlencode({**given, "per_page": size, "page": page + 1})
    return answer[(page - 1) * size : page * size], {"next": f"{url.path}?{query}"} if more else {}


def _ref(branch: str, commit: str) -> dict[str, Any]:
    return {"ref": f"refs/heads/{branch}", "object": {"type": "commit", "sha": commit}}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
