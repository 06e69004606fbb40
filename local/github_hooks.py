"""Webhooks as GitHub's API shows them, of a repository, an organisation and an App, and their deliveries.

Nothing is sent: what a receiver answered, or would answer to a redelivery, is what a test says. What belongs
to the App is shown to its JWT alone, which is checked as GitHub does; the rest to the token.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

Links = dict[str, str]
Answer = tuple[int, Any, Links]
NOT_FOUND: Answer = (404, {"message": "Not Found"}, {})
PERMISSIONS = {
    **dict.fromkeys(("statuses", "deployments", "pull_requests"), "write"),
    **dict.fromkeys(("metadata", "contents", "checks"), "read"),
}
KEPT = 3 * 24 * 3600  # seconds
PAGE = 30


@dataclass
class Webhook:
    """One webhook; `deliveries` is newest first, `answer` what its receiver will say to a redelivery."""

    url: str
    id: int = 1
    answer: int = 202
    active: bool = True
    events: Sequence[str] = ("push", "create", "delete", "pull_request")
    signed: bool = True
    deliveries: list[dict[str, Any]] = field(default_factory=list)

    @property
    def config(self) -> dict[str, str]:
        """With the secret hidden, as always; absent if there is none."""
        shown = {"url": self.url, "content_type": "json", "insecure_ssl": "0"}
        return shown | ({"secret": "********"} if self.signed else {})

    @property
    def shown(self) -> dict[str, Any]:
        """As a list of webhooks has it."""
        about = {"id": self.id, "name": "web", "active": self.active, "events": list(self.events)}
        return {**about, "config": self.config}

    def record(self, guid: str, status: int, at: float, event: str = "push", **other: Any) -> dict[str, Any]:
        """An attempt to deliver; `status` is 0 where nobody answered."""
        made = {
            "id": 10_000 + len(self.deliveries),
            "guid": guid,
            "delivered_at": datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z"),
            "redelivery": False,
            "duration": 0.5,
            "status": _words(status),
            "status_code": status,
            "event": event,
            "action": None,
            "installation_id": None,
            "repository_id": 1,
            "throttled_at": None,
            **other,
        }
        self.deliveries.insert(0, made)
        return made

    def page(self, path: str, query: Mapping[str, str]) -> Answer:
        """From the delivery on that the cursor names; the next page has a cursor, too."""
        size = min(100, int(query.get("per_page", PAGE)))
        ids = [f"v1_{one['id']}" for one in self.deliveries]
        if (cursor := query.get("cursor", ids[0] if ids else "")) not in [*ids, ""]:
            return 400, {"message": "Invalid cursor"}, {}
        first = ids.index(cursor) if cursor else 0
        rest = ids[first + size :]
        link = f"{path}?{urlencode({'per_page': size, 'cursor': rest[0]})}" if rest else ""
        return 200, self.deliveries[first : first + size], {"next": link} if link else {}

    def redeliver(self, delivery: int, now: float) -> Answer:
        """The same event once more."""
        found = next((one for one in self.deliveries if one["id"] == delivery), None)
        if found is None:
            return NOT_FOUND
        if now - datetime.fromisoformat(found["delivered_at"]).timestamp() > KEPT:
            return 422, {"message": "Delivery is too old to be redelivered"}, {}
        repository = found["repository_id"]
        self.record(
            found["guid"], self.answer, now, found["event"], redelivery=True, repository_id=repository
        )
        return 202, {}, {}


@dataclass
class App:
    """A GitHub App with its webhook; its private key is not GitHub's."""

    key: rsa.RSAPublicKey
    webhook: Webhook
    id: str = "12345"
    installation: int = 678
    permissions: dict[str, str] = field(default_factory=lambda: dict(PERMISSIONS))

    def refuses(self, jwt: str, now: float) -> str:
        """Why this is no JWT of the App; empty if it is."""
        try:
            header, body, signature = (_unpadded(part) for part in jwt.split("."))
            signed = jwt.rpartition(".")[0].encode()
            self.key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
            algorithm, claims = json.loads(header)["alg"], json.loads(body)
        except (ValueError, InvalidSignature):
            return "A JSON web token could not be decoded"
        if algorithm != "RS256" or str(claims["iss"]) != self.id or claims["iat"] > now:
            return "A JSON web token could not be decoded"
        return "" if now < claims["exp"] <= now + 600 else "'Expiration time' claim ('exp') is wrong"


class Hooks:
    """What the API says about webhooks; `None` for whatever else it is asked."""

    def __init__(self, repository: str, token: str, clock: Callable[[], float] = time.time) -> None:
        owner = repository.partition("/")[0]
        self.of: dict[str, list[Webhook]] = {f"/repos/{repository}": [], f"/orgs/{owner}": []}
        self.token = token
        self.clock = clock
        self.app: App | None = None

    def answer(self, method: str, target: str, token: str) -> Answer | None:
        """One request, with what it shows as its authorization."""
        url = urlsplit(target)
        if url.path == "/app" or url.path.startswith("/app/"):
            return self._as_app(method, url.path, dict(parse_qsl(url.query)), token)
        found = re.fullmatch(r"(/repos/[^/]+/[^/]+|/orgs/[^/]+)/hooks(?:/([0-9]+)(/.*))?", url.path)
        if found is None:
            return None
        if token != self.token:
            return 401, {"message": "Bad credentials"}, {}
        hooks, number, rest = self.of.get(found[1]), found[2], found[3]
        if hooks is None:
            return NOT_FOUND
        if not number:
            return 200, [one.shown for one in hooks], {}
        hook = next((one for one in hooks if one.id == int(number)), None)
        return self._of_hook(hook, method, rest, url.path, dict(parse_qsl(url.query))) if hook else NOT_FOUND

    def _as_app(self, method: str, path: str, query: Mapping[str, str], jwt: str) -> Answer:
        now = self.clock()
        if self.app is None or (why := self.app.refuses(jwt, now)):
            return 401, {"message": why if self.app else "A JSON web token could not be decoded"}, {}
        if (method, path) == ("POST", f"/app/installations/{self.app.installation}/access_tokens"):
            return 201, {"token": self.token, "expires_at": "in an hour"}, {}
        if (method, path) == ("GET", "/app"):
            return 200, {"id": int(self.app.id), "events": list(self.app.webhook.events)}, {}
        if (method, path) == ("GET", f"/app/installations/{self.app.installation}"):
            return 200, {"id": self.app.installation, "permissions": self.app.permissions}, {}
        if (method, path) == ("GET", "/app/hook/config"):
            return 200, self.app.webhook.config, {}
        return self._of_hook(self.app.webhook, method, path.removeprefix("/app/hook"), path, query)

    def _of_hook(self, hook: Webhook, method: str, rest: str, path: str, query: Mapping[str, str]) -> Answer:
        if (method, rest) == ("GET", "/deliveries"):
            return hook.page(path, query)
        if (method, rest) == ("POST", "/pings") and not path.startswith("/app/"):
            hook.record(f"ping-{len(hook.deliveries)}", hook.answer, self.clock(), "ping")
            return 204, None, {}
        found = re.fullmatch("/deliveries/([0-9]+)/attempts", rest)
        if method == "POST" and found:
            return hook.redeliver(int(found[1]), self.clock())
        return NOT_FOUND


def _words(status: int) -> str:
    if 200 <= status < 300:
        return "OK"
    return HTTPStatus(status).phrase if status else "timed out"


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
