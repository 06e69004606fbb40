"""A Slack on this machine: the methods that qa-env uses and an incoming webhook, refusing what Slack refuses.

Messages stay readable at `GET /_local/messages`. Slack answers 200 to nearly everything and says in the body
whether it did it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from local import serving
from local.serving import Reply

BLOCKS_MAX, HEADER_MAX, SECTION_MAX, BUTTON_MAX, URL_MAX, ACTIONS_MAX, CONTEXT_MAX = (
    50,
    150,
    3000,
    75,
    3000,
    25,
    10,
)
TEXT_MAX = 40000


class Refusal(Exception):
    """Slack's word for what is wrong."""


class Slack:
    """One workspace with one channel. `refuses` and `limited` are a test's: a word, and seconds to wait."""

    def __init__(self, token: str, channel: str = "qa", hook: str = "/services/T0/B0/s3cret") -> None:
        self.token = token
        self.channel = channel
        self.identifier = "C0QAENV0001"
        self.hook = hook
        self.messages: list[dict[str, Any]] = []
        self.may_look_back = True  # has the token the scope channels:history?
        self.refuses = ""
        self.limited = 0
        self.asked: list[str] = []
        self._lock = threading.Lock()
        self._last = 0.0

    def answer(self, method: str, target: str, headers: Message, body: bytes) -> Reply:
        """One request."""
        url = urlsplit(target)
        if url.path == "/_local/messages":
            return 200, self.messages, {}
        with self._lock:
            self.asked.append(url.path.rsplit("/", 1)[-1])
            if self.limited:
                return 429, {"ok": False, "error": "ratelimited"}, {"Retry-After": str(self.limited)}
            if url.path == self.hook:
                return self._webhook(body)
            given = json.loads(body) if method == "POST" else dict(parse_qsl(url.query))
            return self._method(url.path.rsplit("/", 1)[-1], headers.get("Authorization", ""), given)

    def _webhook(self, body: bytes) -> Reply:
        try:
            if self.refuses:
                raise Refusal(self.refuses)
            self._add(json.loads(body), "webhook")
        except Refusal as error:
            status = {"no_service": 404, "action_prohibited": 403, "channel_is_archived": 410}
            return status.get(str(error), 400), str(error), {}
        return 200, "ok", {}

    def _method(self, name: str, authorization: str, given: Mapping[str, Any]) -> Reply:
        methods = {
            "auth.test": lambda _: {"user": "qa-env", "team": "Example"},
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "conversations.history": self._history,
        }
        try:
            if authorization != f"Bearer {self.token}":
                raise Refusal("invalid_auth")
            if name not in methods:
                raise Refusal("unknown_method")
            if self.refuses:
                raise Refusal(self.refuses)
            return 200, {"ok": True, **methods[name](given)}, {}
        except Refusal as error:
            return 200, {"ok": False, "error": str(error)}, {}

    def _post(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if given.get("channel") not in (self.identifier, self.channel, f"#{self.channel}"):
            raise Refusal("channel_not_found")
        made = self._add(given, "bot")
        return {"channel": self.identifier, "ts": made["ts"], "message": made}

    def _update(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if given.get("channel") != self.identifier:
            raise Refusal("channel_not_found")
        known = next((one for one in self.messages if one["ts"] == given.get("ts")), None)
        if known is None:
            raise Refusal("message_not_found")
        known.update(_checked(given), edits=known["edits"] + 1)
        return {"channel": self.identifier, "ts": known["ts"], "text": known["text"]}

    def _history(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if not self.may_look_back:
            raise Refusal("missing_scope")
        if given.get("channel") != self.identifier:
            raise Refusal("channel_not_found")
        since = [one for one in self.messages[::-1] if float(one["ts"]) > float(given.get("oldest") or 0)]
        shown = since[: int(given.get("limit") or 100)]
        if given.get("include_all_metadata") != "true":
            shown = [{key: value for key, value in one.items() if key != "metadata"} for one in shown]
        return {"messages": shown, "has_more": len(shown) < len(since)}

    def _add(self, given: Mapping[str, Any], by: str) -> dict[str, Any]:
        self._last = max(time.time(), self._last + 0.000002)
        made = {"ts": f"{self._last:.6f}", "by": by, "edits": 0, **_checked(given)}
        self.messages.append(made)
        return made


class Server(serving.Server):
    """The workspace behind HTTP; the Web API is under `api_url`, the webhook at `webhook_url`."""

    def __init__(self, slack: Slack, port: int = 0, seen: serving.Seen = serving.unseen) -> None:
        super().__init__(slack.answer, port, seen)
        self.api_url = f"{self.url}/api"
        self.webhook_url = f"{self.url}{slack.hook}"


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a message; Refusal if Slack would not have it."""
    text, blocks = given.get("text") or "", given.get("blocks") or []
    if not text and not blocks:
        raise Refusal("no_text")
    if len(text) > TEXT_MAX:
        raise Refusal("msg_too_long")
    if len(blocks) > BLOCKS_MAX or not all(_fits(block) for block in blocks):
        raise Refusal("invalid_blocks")
    kept = {"text": text, "blocks": blocks}
    return {**kept, **({"metadata": given["metadata"]} if "metadata" in given else {})}


def _fits(block: Mapping[str, Any]) -> bool:
    elements = block.get("elements", [])
    match block.get("type"):
        case "header":
            return _is_text(block.get("text"), HEADER_MAX, plain=True)
        case "section":
            return _is_text(block.get("text"), SECTION_MAX)
        case "context":
            return 0 < len(elements) <= CONTEXT_MAX and all(_is_text(one, SECTION_MAX) for one in elements)
        case "actions":
            names = [one.get("action_id") for one in elements]
            few = 0 < len(elements) <= ACTIONS_MAX and len(set(names)) == len(names)
            return few and all(_is_button(one) for one in elements)
    return False


def _is_button(element: Mapping[str, Any]) -> bool:
    url = element.get("url", "")
    named = 0 < len(element.get("action_id", "")) <= 255
    is_link = len(url) <= URL_MAX and url.startswith(("http://", "https://"))
    return (
        element.get("type") == "button"
        and named
        and is_link
        and _is_text(element.get("text"), BUTTON_MAX, plain=True)
    )


def _is_text(text: Any, limit: int, *, plain: bool = False) -> bool:
    if not isinstance(text, Mapping) or text.get("type") not in ("plain_text", "mrkdwn"):
        return False
    if plain and text["type"] != "plain_text":
        return False
    return 0 < len(text.get("text") or "") <= limit
