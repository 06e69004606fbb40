"""Asking the `datastores` function, the only one that can reach data.

Its refusals come back as data (`{"error": "not_ready" | "blocked", "message": …}`) and become the errors of
the contract here; anything else it failed with is unexpected.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from qa_env.errors import Blocked, NotReady

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

Answer = Mapping[str, Any]


class FunctionError(RuntimeError):
    """The function ended without an answer: nothing of this request goes on any more."""


class Datastores(Protocol):
    """One request, one answer; both plain JSON."""

    def __call__(self, request: Mapping[str, Any]) -> Answer: ...


@dataclass(frozen=True)
class LambdaDatastores:
    """The function, invoked synchronously with an explicit payload."""

    client: LambdaClient
    function: str

    def __call__(self, request: Mapping[str, Any]) -> Answer:
        answer = self.client.invoke(FunctionName=self.function, Payload=json.dumps(request).encode())
        body = answer["Payload"].read()
        if answer.get("FunctionError"):
            kind = json.loads(body or b"{}").get("errorType", "unknown error")
            raise FunctionError(f"the datastores function failed ({kind}); its log says why")
        return dict(json.loads(body))


def ask(call: Datastores, request: Mapping[str, Any]) -> Answer:
    """The answer; NotReady or Blocked where the function said so."""
    answer = call(request)
    match answer.get("error"):
        case None:
            return answer
        case "not_ready":
            raise NotReady(str(answer.get("message")))
        case _:
            raise Blocked(str(answer.get("message")))
