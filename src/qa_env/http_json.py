"""JSON over HTTP by the standard library, for the small clients of GitHub and Slack.

No redirect is followed, because urllib would carry the Authorization header to wherever it is sent. What goes
wrong is told by its type alone: urllib's texts may hold an address, and some addresses are secrets.
"""

from __future__ import annotations

import functools
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from typing import Any

from qa_env.errors import NotReady

REFUSAL_MAX = 65536  # bytes that are read of an answer that is a refusal
LONGEST = 3600  # seconds: GitHub's limits end with the hour, Slack's with the minute
A_MINUTE = 60.0  # what both ask for where they do not say how long


class Unreachable(Exception):
    """Nobody answered, or what answered does not speak HTTP. Its text is the type of what went wrong."""


@dataclass(frozen=True)
class Answer:
    """What came back, whatever its status."""

    status: int
    headers: Message = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        """Was it done?"""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body; None if it is empty, ValueError if it is not JSON."""
        return json.loads(self.body or b"null")


@dataclass
class Silence:
    """Until when somebody must not be asked, because they said so; kept for the sandbox's life."""

    who: str
    clock: Callable[[], float] = time.time
    until: float = 0.0

    def keep(self, seconds: float) -> NotReady:
        """Be silent for so long, an hour at most; returns what to say of it."""
        self.until = max(self.until, self.clock() + min(max(seconds, 1.0), LONGEST))
        return self._said()

    def respect(self) -> None:
        """NotReady while they must not be asked."""
        if self.clock() < self.until:
            raise self._said()

    def _said(self) -> NotReady:
        until = datetime.fromtimestamp(self.until, UTC)
        return NotReady(f"{self.who} limits how often it is asked; going on at {until:%H:%M:%S} UTC")


def send(
    method: str, url: str, headers: Mapping[str, str], body: Mapping[str, Any] | None, timeout: float
) -> Answer:
    """One request and its answer, whatever its status; Unreachable if there is none. `timeout` in seconds."""
    try:
        request = urllib.request.Request(  # noqa: S310 - whoever calls has looked at the scheme
            url,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers=dict(headers),
        )
        with _opener().open(request, timeout=timeout) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        return _refusal(error)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unreachable(type(error).__name__) from None


def seconds(text: str | None) -> float | None:
    """The number in a `Retry-After`; None if there is none, or a date, which neither of the two sends."""
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None


def _refusal(error: urllib.error.HTTPError) -> Answer:
    try:
        with error:
            return Answer(error.code, error.headers, error.read(REFUSAL_MAX))
    except (OSError, http.client.HTTPException):
        return Answer(error.code, error.headers, b"")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses: the answer becomes an HTTPError with its own status."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Nowhere."""


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirects)
