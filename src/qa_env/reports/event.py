"""Events on EventBridge's default bus, so that teams hang their own automation on it (`docs/events.md`).

What was sent cannot be asked for, so an event may come twice; `id` is then the same. All of a build is one
event: consumers care that it began, not which pass it is in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_env import aws, telling
from qa_env.blueprint import Blueprint
from qa_env.errors import Blocked, NotReady
from qa_env.model import Environment, Outputs, Phase, Slug
from qa_env.summary import Summary

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

SOURCE = "qa-env"
PASSING = ("InternalFailure", "ThrottlingException")  # BC:events.PutEvents: the others are for a person
TYPES = {
    Phase.QUEUED: "building",
    Phase.BUILDING: "building",
    Phase.DEPLOYING: "building",
    Phase.READY: "ready",
    Phase.ASLEEP: "asleep",
    Phase.FAILED: "failed",
    Phase.BLOCKED: "failed",
}


@dataclass(frozen=True)
class Event:
    """Outputs: what was `said` last, as a digest, and the `id` of that event."""

    events: EventBridgeClient
    blueprint: Blueprint
    installation: str
    name: str = ""
    kind = "event"

    def ensure(self, env: Environment) -> Outputs:
        """Send an event if it is another one than the last; none while the environment goes."""
        known = env.remembered(self.kind)
        if env.phase is Phase.DELETING:
            return known
        if not env.commit:
            raise NotReady("waiting for the commit")
        detail = self._detail(env, TYPES[env.phase])
        passing = ("url", "urls") if TYPES[env.phase] == "building" else ()  # they come one by one
        said = telling.digest({name: value for name, value in detail.items() if name not in passing})
        if known.get("said") == said:
            return known
        return {"said": said, "id": self._put(env, TYPES[env.phase], detail)}

    def delete(self, env: Environment) -> None:
        """Say that the environment is gone."""
        self._put(env, "deleted", self._detail(env, "deleted"))

    def owners(self) -> Iterator[Slug]:
        """An event is not kept."""
        return iter(())

    def _detail(self, env: Environment, kind: str) -> dict[str, Any]:
        summary = Summary(env, self.blueprint)
        return {
            "version": 1,
            "installation": self.installation,
            "slug": env.slug,
            "repository": env.repository,
            "branch": env.branch,
            "commit": env.commit,
            "url": summary.url,
            "urls": summary.urls,
            "phase": kind if kind in ("building", "deleted") else str(env.phase),
            "blocked": env.phase is Phase.BLOCKED,
            "reason": telling.reason(summary),
            "by": env.by,
            "at": env.at,
            "page_url": summary.page_url,
        }

    def _put(self, env: Environment, kind: str, detail: dict[str, Any]) -> str:
        """Send it; returns its id, which follows from the event before: ready again is another event."""
        identifier = telling.digest([env.remembered(self.kind).get("id", ""), detail])
        entry: PutEventsRequestEntryTypeDef = {
            "Source": SOURCE,
            "DetailType": f"environment.{kind}",
            "Detail": json.dumps({"id": identifier, **detail}),
        }
        with aws.doing(f"sending the event environment.{kind}"):
            answer = self.events.put_events(Entries=[entry])
        if answer.get("FailedEntryCount"):
            code = answer["Entries"][0].get("ErrorCode", "no reason")
            said = f"EventBridge did not take the event: {code}"
            raise NotReady(f"{said}; trying again") if code in PASSING else Blocked(said)
        return identifier
