"""A small GitHub REST client: a fine-grained token, or an App's installation token.

Addresses are built from the blueprint alone, never from a payload, and the credentials go to no other host:
no redirect is followed, and no next page elsewhere. A GitHub that cannot be asked is NotReady; one that
refuses us is Blocked, with what to check.

Limits (facts A38) are honoured by silence: once GitHub says that it was asked too often, nothing is asked
with these credentials until the time it names, reports and questions about branches alike. GitHub punishes
those who go on, and what decides about a branch is only late, never wrong.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from qa_env import http_json
from qa_env.errors import Blocked, NotReady
from qa_env.http_json import A_MINUTE, Answer, Silence, Unreachable

TIMEOUT = 8  # seconds
PAGES = 10
JWT_SECONDS = 540  # GitHub allows ten minutes at most
EARLY = 300  # renew an installation token, valid for an hour, so many seconds before it ends
REASON_MAX = 200  # characters of what GitHub says about a refusal
MUST_HOLD = "it must hold token, or app_id, installation_id and private_key (PEM, without a passphrase)"
_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')


class Refused(Blocked):
    """GitHub will not do it; `status` is HTTP's for why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class GitHub:
    """One set of credentials: `{"token"}` or `{"app_id", "installation_id", "private_key"}`.

    `credentials` is read at the first call, so that a sandbox that never asks never reads the secret. `clock`
    is seconds since the epoch. One client serves all threads: they share the token and the silence.
    """

    api_url: str
    credentials: Callable[[], Mapping[str, str]]
    clock: Callable[[], float] = time.time
    _token: str = field(default="", repr=False)
    _until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self._silence = Silence("GitHub", self.clock)

    def get(self, path: str) -> Any:
        """The JSON at `path`; LookupError if GitHub answers 404."""
        return self._call("GET", self._url(path))[0]

    def pages(self, path: str) -> Iterator[Any]:
        """The JSON of each page; Blocked where there are more that cannot be read: absence is concluded."""
        url = self._url(path)
        for _ in range(PAGES):
            body, link = self._call("GET", url)
            yield body
            found = _NEXT.search(link)
            if found is None:
                return
            url = found.group(1)
            if not url.startswith(self._url("/")):
                raise Blocked(f"GitHub's next page is not under {self.api_url}: correct github.api_url")
        raise Blocked(f"GitHub has more than {PAGES} pages of {urllib.parse.urlsplit(url).path}")

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Post JSON; LookupError if GitHub answers 404."""
        return self._call("POST", self._url(path), body)[0]

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Change what is at `path`; LookupError if GitHub answers 404."""
        return self._call("PATCH", self._url(path), body)[0]

    def app(self) -> GitHub | None:
        """A client that speaks as the App itself; None for a token.

        What belongs to the App, as its webhook, GitHub shows to its JWT alone, and nothing else to that.
        """
        if "token" in self._credentials():
            return None
        made = _App(self.api_url, self.credentials, self.clock)
        made._silence = self._silence
        return made

    def _url(self, path: str) -> str:
        return f"{self.api_url.rstrip('/')}{path}"

    def _call(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> tuple[Any, str]:
        with self._lock:
            authorization = self._authorization()
        return self._send(method, url, authorization, body)

    def _send(
        self, method: str, url: str, authorization: str, body: Mapping[str, Any] | None
    ) -> tuple[Any, str]:
        self._silence.respect()
        headers = {
            "Authorization": authorization,
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
            "User-Agent": "qa-env",
            "Content-Type": "application/json",
        }
        try:
            answer = http_json.send(method, url, headers, body, TIMEOUT)
            if not answer.ok:
                raise self._refusal(f"{method} {urllib.parse.urlsplit(url).path}", answer, authorization)
            return answer.json(), answer.headers.get("Link", "")
        except (Unreachable, ValueError) as error:
            kind = str(error) if isinstance(error, Unreachable) else type(error).__name__
            raise NotReady(f"GitHub cannot be asked: {kind}; trying again") from error

    def _refusal(self, what: str, answer: Answer, authorization: str) -> Exception:
        status = answer.status
        if status == HTTPStatus.NOT_FOUND:
            return LookupError(what.partition(" ")[2])
        if (pause := self._pause(answer)) is not None:
            return self._silence.keep(pause)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return NotReady(f"GitHub answers {status} to {what}; trying again")
        if status < HTTPStatus.BAD_REQUEST:
            return Blocked(
                f"GitHub redirects {what} ({status}): was the repository renamed?"
                " Rename it in the blueprint, and list the old name in formerly"
            )
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            self._until = 0.0  # the secret may have been renewed: read it again the next time
            return Refused(status, f"GitHub refuses {what} ({status}): check the credentials' permissions")
        return Refused(status, f"GitHub answers {status} to {what}{_reason(answer, authorization)}")

    def _pause(self, answer: Answer) -> float | None:
        """Seconds of silence that GitHub asks for; None if this is no limit."""
        if answer.status not in (HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS):
            return None
        wait = http_json.seconds(answer.headers.get("retry-after"))
        if wait is not None:
            return wait
        reset = http_json.seconds(answer.headers.get("x-ratelimit-reset"))
        if answer.headers.get("x-ratelimit-remaining") == "0":
            return reset - self.clock() if reset is not None else A_MINUTE
        limited = answer.status == HTTPStatus.TOO_MANY_REQUESTS or b"secondary rate limit" in answer.body
        return A_MINUTE if limited else None

    def _authorization(self) -> str:
        if not self._token or self.clock() >= self._until:
            self._token, seconds = self._token_for(self._credentials())
            self._until = self.clock() + seconds
        return f"Bearer {self._token}"

    def _token_for(self, credentials: Mapping[str, str]) -> tuple[str, float]:
        """What to show GitHub, and for how many seconds."""
        if "token" in credentials:
            return str(credentials["token"]).strip(), EARLY
        return self._installation_token(credentials), 3600 - EARLY

    def _credentials(self) -> Mapping[str, str]:
        try:
            credentials = self.credentials()
        except ValueError:  # its text may hold some of the secret
            raise Blocked(f"the GitHub secret is not JSON: {MUST_HOLD}") from None
        if not isinstance(credentials, Mapping):
            raise Blocked(f"the GitHub secret is not a JSON object: {MUST_HOLD}")
        return credentials

    def _installation_token(self, credentials: Mapping[str, str]) -> str:
        with _usable():
            path = f"/app/installations/{int(credentials['installation_id'])}/access_tokens"
        answer, _ = self._send("POST", self._url(path), f"Bearer {self._jwt(credentials)}", {})
        return str(answer["token"])

    def _jwt(self, credentials: Mapping[str, str]) -> str:
        with _usable():
            return _jwt(str(credentials["app_id"]), credentials["private_key"], int(self.clock()))


class _App(GitHub):
    """The App itself."""

    def _token_for(self, credentials: Mapping[str, str]) -> tuple[str, float]:
        return self._jwt(credentials), JWT_SECONDS - A_MINUTE


@contextmanager
def _usable() -> Iterator[None]:
    """Blocked for what is missing in the credentials or cannot be read; nothing of them is in its text."""
    try:
        yield
    except (KeyError, ValueError, TypeError, AttributeError):
        raise Blocked(f"the GitHub secret cannot be used: {MUST_HOLD}") from None


def _reason(answer: Answer, authorization: str) -> str:
    """What GitHub says about it, short and in one line, should it even repeat the credentials."""
    try:
        said = answer.json()
    except ValueError:
        return ""
    message = said.get("message") if isinstance(said, dict) else None
    said_of_us = str(message or "").replace(authorization.partition(" ")[2], "…")
    text = " ".join(said_of_us.split())[:REASON_MAX]
    return f": {text}" if text else ""


def _jwt(app_id: str, private_key: str, now: int) -> str:
    """RS256 by `cryptography`, which PyMySQL needs anyway; imported here, as tokens do without."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    loaded = serialization.load_pem_private_key(private_key.encode(), password=None)
    if not isinstance(loaded, rsa.RSAPrivateKey):
        raise ValueError("not an RSA key")
    claims = {"iat": now - 60, "exp": now + JWT_SECONDS, "iss": app_id}
    signed = f"{_base64({'alg': 'RS256', 'typ': 'JWT'})}.{_base64(claims)}"
    signature = loaded.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _base64(part: Mapping[str, Any]) -> str:
    text = json.dumps(part, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()
