"""What the stack saw and when, a line of JSON each: what `bench/stack.py` measures with.

| kind | a line is | fields |
|---|---|---|
| `call` | a request that was answered, at the endpoint | `operation`, `key` (the caller's access key) |
| `run` | a run of a function | `function`, `cold`, `about` |
| `event` | something that began or ended in AWS: the moment it happened, not its delivery | `name`, `about` |

All have `at`, in seconds since the epoch, and `took`. A run is `about` the message or event it was given.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.iam import wire

Line = dict[str, Any]
Application = Callable[[Mapping[str, Any], Any, Any], Awaitable[None]]
TOLD = ("resource", "pipeline", "stage", "state", "group", "lastStatus", "eventName")


@dataclass(frozen=True)
class Journal:
    """The file with the lines."""

    path: Path

    @classmethod
    def among(cls, logs: Path) -> Journal:
        """Where a stack with this directory of logs has it."""
        return cls(logs / "journal.log")

    def write(self, kind: str, at: float, **fields: object) -> None:
        """One write at the end of the file, so that processes may share it; it took until now."""
        line = {"kind": kind, "at": at, "took": time.time() - at, **fields}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(line)}\n")

    def event(self, name: str, detail: Mapping[str, Any]) -> None:
        """An event of AWS, at the moment it happens."""
        about = {field: detail[field] for field in TOLD if field in detail}
        self.write("event", time.time(), name=name, about=about)

    def read(self) -> list[Line]:
        """All lines so far, by the time they began."""
        text = self.path.read_text("utf-8") if self.path.exists() else ""
        return sorted(map(json.loads, text.splitlines()), key=lambda line: line["at"])


def observed(application: Application, journal: Journal) -> Application:
    """The ASGI application; whatever is signed is written down with the time that the answer took."""

    async def observe(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        at, body = time.time(), bytearray()
        headers = {name.decode().lower(): value.decode() for name, value in scope.get("headers", [])}
        authorization = headers.get("authorization", "")

        async def receive_too() -> Mapping[str, Any]:
            message: Mapping[str, Any] = await receive()
            body.extend(message.get("body", b""))
            return message

        await application(scope, receive_too if authorization else receive, send)
        if key := wire.access_key(authorization):
            service = wire.service(authorization)
            operation, _ = wire.read(service, scope["method"], scope["path"], headers, bytes(body))
            journal.write("call", at, operation=operation, key=key)

    return observe
