"""A small client of Slack: a bot's token for the Web API, or an incoming webhook.

The webhook's address is a secret, so it is in no message and no log; `http_json` tells what goes wrong by its
type alone. Slack answers 200 to most refusals and says in the body which it is: what a person must correct is
`Refused`, which is Blocked, with the word and what to do.
"""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from qa_env import http_json
from qa_env.errors import Blocked, NotReady
from qa_env.http_json import A_MINUTE, Answer, Silence, Unreachable

TIMEOUT = 8  # seconds
LOCAL = ("localhost", "127.0.0.1")
MUST_HOLD = 'it must hold {"token": …} or {"webhook_url": …}'
WORD_MAX = 80  # characters of Slack's word for what is wrong
_PASSING = ("internal_error", "fatal_error", "service_unavailable", "request_timeout", "rollup_error")
_CREDENTIALS = ("invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive")
_HELP = {
    **dict.fromkeys(_CREDENTIALS, "put a valid token into the secret"),
    "missing_scope": "give the Slack app the scope chat:write",
    "channel_not_found": "correct slack.channel in the blueprint, or invite the app to the channel",
    "not_in_channel": "invite the app to the channel",
    "is_archived": "choose another channel in the blueprint",
    "channel_is_archived": "choose another channel",
    **dict.fromkeys(
        ("no_service", "no_team", "HTTP 403", "HTTP 404", "HTTP 410"),
        "make a new webhook and put it into the secret",
    ),
    "action_prohibited": "ask a Slack administrator to allow it",
    "restricted_action": "ask a Slack administrator to allow it",
}


class Refused(Blocked):
    """Slack will not do it; `word` is its own for why, e.g. `channel_not_found`."""

    def __init__(self, word: str) -> None:
        super().__init__(f"Slack says {word}: {_HELP.get(word, 'see Slack’s documentation of this word')}")
        self.word = word


@dataclass
class Slack:
    """One set of credentials, read at the first call and again when Slack refuses them.

    `clock` is seconds since the epoch. One client serves all threads: they share the silence.
    """

    api_url: str
    credentials: Callable[[], Mapping[str, str]]
    clock: Callable[[], float] = time.time
    _known: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._silence = Silence("Slack", self.clock)

    @property
    def edits(self) -> bool:
        """Can messages be edited and found again? A webhook can only add some."""
        return "token" in self._secret()

    def call(self, method: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """A Web API method that writes; Refused if Slack will not."""
        return self._api("POST", f"{self.api_url.rstrip('/')}/{method}", body)

    def ask(self, method: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        """A Web API method that reads: those take no JSON."""
        return self._api("GET", f"{self.api_url.rstrip('/')}/{method}?{urllib.parse.urlencode(query)}", None)

    def post(self, message: Mapping[str, Any]) -> None:
        """Send a message to the webhook; Refused if Slack will not have it."""
        url = str(self._secret()["webhook_url"]).strip()
        if not _is_safe(url):
            raise Blocked("webhook_url in the Slack secret is no https address: copy it from Slack")
        answer = self._send("POST", url, {}, message)
        if not answer.ok:
            word = answer.body.decode("utf-8", "replace").strip()
            raise self._refusal(_word(word) or f"HTTP {answer.status}")

    def _api(self, method: str, url: str, body: Mapping[str, Any] | None) -> Mapping[str, Any]:
        answer = self._send(method, url, {"Authorization": f"Bearer {self._secret()['token'].strip()}"}, body)
        if not answer.ok:
            raise Refused(f"HTTP {answer.status}")
        try:
            said = answer.json()
        except ValueError:
            raise NotReady("Slack's answer is not JSON; trying again") from None
        if not isinstance(said, dict):
            raise NotReady("Slack's answer is no JSON object; trying again")
        if not said.get("ok"):
            raise self._refusal(_word(str(said.get("error"))) or "nothing that is known")
        return said

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> Answer:
        self._silence.respect()
        headers = {**headers, "User-Agent": "qa-env", "Content-Type": "application/json; charset=utf-8"}
        try:
            answer = http_json.send(method, url, headers, body, TIMEOUT)
        except Unreachable as error:
            raise NotReady(f"Slack cannot be reached: {error}; trying again") from None
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            wait = http_json.seconds(answer.headers.get("retry-after"))
            raise self._silence.keep(A_MINUTE if wait is None else wait)
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise NotReady(f"Slack answers {answer.status}; trying again")
        return answer

    def _refusal(self, word: str) -> Exception:
        word = word[:WORD_MAX]
        if word in ("ratelimited", "rate_limited"):
            return self._silence.keep(A_MINUTE)
        if word in _PASSING:
            return NotReady(f"Slack says {word}; trying again")
        if word not in ("message_not_found", "cant_update_message", "edit_window_closed"):
            self._known = {}  # the secret may have been renewed: read it again the next time
        return Refused(word)

    def _secret(self) -> Mapping[str, str]:
        if not self._known:
            self._known = self._read()
        return self._known

    def _read(self) -> Mapping[str, str]:
        try:
            secret = self.credentials()
        except ValueError:  # its text may hold some of the secret
            raise Blocked(f"the Slack secret is not JSON: {MUST_HOLD}") from None
        one = [key for key in ("token", "webhook_url") if isinstance(secret, Mapping) and secret.get(key)]
        if not one or not isinstance(secret[one[0]], str):
            raise Blocked(f"the Slack secret cannot be used: {MUST_HOLD}")
        return {one[0]: secret[one[0]]}


def _word(text: str) -> str:
    """The text if it is one of Slack's words; what else it says might repeat the secret."""
    return text if text.isidentifier() else ""


def _is_safe(url: str) -> bool:
    """Encrypted, or to this machine."""
    try:
        address = urllib.parse.urlsplit(url)
    except ValueError:
        return False
    return bool(address.hostname) and (
        address.scheme == "https" or (address.scheme == "http" and address.hostname in LOCAL)
    )
