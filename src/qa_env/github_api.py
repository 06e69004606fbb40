"""A small GitHub REST client: a fine-grained token, or an App's installation token.

Addresses are built from the blueprint alone, never from a payload, and the credentials go to no other host:
no redirect is followed, and no next page elsewhere. A GitHub that cannot be asked is NotReady; one that
refuses us is Blocked, with what to check.
"""

from __future__ import annotations

import base64
import functools
import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from qa_env.errors import Blocked, NotReady

TIMEOUT = 8  # seconds
PAGES = 10
JWT_SECONDS = 540  # GitHub allows ten minutes at most
EARLY = 300  # renew an installation token, valid for an hour, so many seconds before it ends
MUST_HOLD = "it must hold token, or app_id, installation_id and private_key (PEM, without a passphrase)"
_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')


@dataclass
class GitHub:
    """One set of credentials: `{"token"}` or `{"app_id", "installation_id", "private_key"}`.

    `credentials` is read at the first call, so that a sandbox that never asks never reads the secret.
    """

    api_url: str
    credentials: Callable[[], Mapping[str, str]]
    _token: str = field(default="", repr=False)
    _until: float = 0.0

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

    def _url(self, path: str) -> str:
        return f"{self.api_url.rstrip('/')}{path}"

    def _call(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> tuple[Any, str]:
        return self._send(method, url, self._authorization(), body)

    def _send(
        self, method: str, url: str, authorization: str, body: Mapping[str, Any] | None
    ) -> tuple[Any, str]:
        request = urllib.request.Request(  # noqa: S310 - the blueprint allows http(s) only
            url,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={
                "Authorization": authorization,
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
                "User-Agent": "qa-env",
                "Content-Type": "application/json",
            },
        )
        try:
            with _opener().open(request, timeout=TIMEOUT) as answer:
                return json.loads(answer.read() or b"null"), answer.headers.get("Link", "")
        except urllib.error.HTTPError as error:
            raise self._refusal(method, url, error) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NotReady(f"GitHub cannot be asked: {type(error).__name__}; trying again") from error

    def _refusal(self, method: str, url: str, error: urllib.error.HTTPError) -> Exception:
        path = urllib.parse.urlsplit(url).path
        limited = error.headers.get("x-ratelimit-remaining") == "0" or error.headers.get("retry-after")
        if error.code == HTTPStatus.NOT_FOUND:
            return LookupError(path)
        if limited or error.code == HTTPStatus.TOO_MANY_REQUESTS or error.code >= 500:
            return NotReady(f"GitHub answers {error.code} to {method} {path}; trying again")
        if error.code < HTTPStatus.BAD_REQUEST:
            return Blocked(
                f"GitHub redirects {method} {path} ({error.code}): was the repository renamed?"
                " Correct it in the blueprint"
            )
        if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            self._until = 0.0  # the secret may have been renewed: read it again the next time
            return Blocked(
                f"GitHub refuses {method} {path} ({error.code}): check the credentials' permissions"
            )
        return Blocked(f"GitHub answers {error.code} to {method} {path}")

    def _authorization(self) -> str:
        if self._token and time.time() < self._until:
            return f"Bearer {self._token}"
        credentials = self._credentials()
        if "token" in credentials:
            self._token, self._until = str(credentials["token"]).strip(), time.time() + EARLY
        else:
            self._token, self._until = self._installation_token(credentials), time.time() + 3600 - EARLY
        return f"Bearer {self._token}"

    def _credentials(self) -> Mapping[str, str]:
        try:
            credentials = self.credentials()
        except ValueError:  # its text may hold some of the secret
            raise Blocked(f"the GitHub secret is not JSON: {MUST_HOLD}") from None
        if not isinstance(credentials, Mapping):
            raise Blocked(f"the GitHub secret is not a JSON object: {MUST_HOLD}")
        return credentials

    def _installation_token(self, credentials: Mapping[str, str]) -> str:
        try:
            path = f"/app/installations/{int(credentials['installation_id'])}/access_tokens"
            jwt = _jwt(str(credentials["app_id"]), credentials["private_key"])
        except (KeyError, ValueError, TypeError, AttributeError):
            raise Blocked(f"the GitHub secret cannot be used: {MUST_HOLD}") from None
        answer, _ = self._send("POST", self._url(path), f"Bearer {jwt}", {})
        return str(answer["token"])


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """urllib would carry the Authorization header to wherever it is sent."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: the answer becomes an HTTPError with its own status."""


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirects)


def _jwt(app_id: str, private_key: str) -> str:
    """RS256 by `cryptography`, which PyMySQL needs anyway; imported here, as tokens do without."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    loaded = serialization.load_pem_private_key(private_key.encode(), password=None)
    if not isinstance(loaded, rsa.RSAPrivateKey):
        raise ValueError("not an RSA key")
    now = int(time.time())
    claims = {"iat": now - 60, "exp": now + JWT_SECONDS, "iss": app_id}
    signed = f"{_base64({'alg': 'RS256', 'typ': 'JWT'})}.{_base64(claims)}"
    signature = loaded.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _base64(part: Mapping[str, Any]) -> str:
    text = json.dumps(part, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()
