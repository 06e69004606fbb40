"""Slack: one message per environment and push, edited in place where the secret is a bot's token.

A webhook can neither edit nor find: there each change of what is said is a message of its own. With a token,
a message that memory does not hold is looked for by its metadata; that takes a scope of its own
(`channels:history`) and the channel's id, and without them a message may be doubled after a crash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from qa_env import slack_blocks, telling
from qa_env.blueprint import Blueprint
from qa_env.errors import Blocked, NotReady
from qa_env.model import Environment, Outputs, Phase, Slug
from qa_env.slack_api import Refused, Slack
from qa_env.summary import Summary

EVENT_TYPE = "qa_env"
LOST = (  # the last two: the channel where it is, which need not be the blueprint's any more
    "message_not_found",
    "cant_update_message",
    "edit_window_closed",
    "channel_not_found",
    "is_inactive",
)
UNDER_WAY = (Phase.QUEUED, Phase.BUILDING, Phase.DEPLOYING)
LOOKED_THROUGH = 200  # messages since the push


@dataclass(frozen=True)
class SlackMessage:
    """Outputs: `said`, `commit` and `phase`; with a token also where the message is: `channel` and `ts`."""

    slack: Slack
    blueprint: Blueprint
    name: str = ""
    kind = "slack"

    def ensure(self, env: Environment) -> Outputs:
        """The push's message says the phase."""
        known = env.remembered(self.kind)
        if not env.commit:
            if env.phase is Phase.DELETING:
                return known
            raise NotReady("waiting for the commit")
        message = slack_blocks.message(Summary(env, self.blueprint))
        said = telling.digest([env.commit, message])
        is_going = env.phase is Phase.DELETING and _is_going(env, known)
        if known.get("said") == said or is_going:
            return known
        return {"said": said, "commit": env.commit, "phase": env.phase, **self._tell(env, message)}

    def delete(self, env: Environment) -> None:
        """The last message says that it is gone."""
        if env.commit:
            self._tell(env, slack_blocks.gone(Summary(env, self.blueprint)))

    def owners(self) -> Iterator[Slug]:
        """Nothing that could be left: a message is the channel's history."""
        return iter(())

    def _tell(self, env: Environment, message: dict[str, Any]) -> Outputs:
        if not self.slack.edits:
            self.slack.post(message)
            return {}
        message = {**message, "metadata": _metadata(env)}
        place = self._place(env, env.remembered(self.kind))
        if place and self._edit(place, message):
            return {"channel": place[0], "ts": place[1]}
        return self._post(message)

    def _place(self, env: Environment, known: Outputs) -> tuple[str, str] | None:
        """Where the push's message is: (channel, ts), None if there is none.

        An earlier push's message is left behind; it must not say for ever that it is being built, or going.
        """
        last = (known["channel"], known["ts"]) if known.get("ts") else None
        if last and known["commit"] == env.commit:
            return last
        if last and known["phase"] in UNDER_WAY:
            self._edit(last, slack_blocks.replaced(Summary(env, self.blueprint), known["commit"]))
        if last and known["phase"] == Phase.DELETING:
            before = replace(env, commit=known["commit"])
            self._edit(
                last, slack_blocks.gone(Summary(before, self.blueprint)) | {"metadata": _metadata(before)}
            )
        return self._find(env)

    def _post(self, message: dict[str, Any]) -> Outputs:
        quiet = {"unfurl_links": False, "unfurl_media": False}
        made = self.slack.call("chat.postMessage", {"channel": self._channel, **message, **quiet})
        return {"channel": str(made["channel"]), "ts": str(made["ts"])}

    def _edit(self, place: tuple[str, str], message: dict[str, Any]) -> bool:
        """False if the message is not there, or not to be edited any more."""
        channel, ts = place
        try:
            self.slack.call("chat.update", {"channel": channel, "ts": ts, **message})
        except Refused as error:
            if error.word in LOST:
                return False
            raise
        return True

    def _find(self, env: Environment) -> tuple[str, str] | None:
        """The push's message among those since the push; None also where the token may not look."""
        channel = env.remembered(self.kind).get("channel") or self._channel
        query = {
            "channel": channel,
            "oldest": _epoch(env.at),
            "limit": str(LOOKED_THROUGH),
            "include_all_metadata": "true",
        }
        with suppress(Refused):
            for one in self.slack.ask("conversations.history", query).get("messages", []):
                if _is_of(one, env):
                    return channel, str(one["ts"])
        return None

    @property
    def _channel(self) -> str:
        channel = self.blueprint.slack.channel if self.blueprint.slack else None
        if not channel:
            raise Blocked("the Slack secret holds a token, so the blueprint must name slack.channel")
        return channel


def _is_going(env: Environment, known: Outputs) -> bool:
    """Was it said that this commit goes away? A push that waits for the end of that makes it no news."""
    return (known.get("phase"), known.get("commit")) == (Phase.DELETING, env.commit)


def _metadata(env: Environment) -> dict[str, Any]:
    return {"event_type": EVENT_TYPE, "event_payload": {"slug": env.slug, "commit": env.commit}}


def _is_of(message: Mapping[str, Any], env: Environment) -> bool:
    metadata = message.get("metadata") or {}
    return {key: metadata.get(key) for key in ("event_type", "event_payload")} == _metadata(env)


def _epoch(at: str) -> str:
    """Slack's own notation; the beginning of time where it is not known."""
    try:
        return f"{datetime.fromisoformat(at).timestamp():.6f}"
    except ValueError:
        return "0"
