"""One API call on its way to moto, and what a test sees of it."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, cast

from botocore.client import BaseClient
from botocore.exceptions import ClientError

Params = dict[str, Any]
Answer = dict[str, Any]
Rule = Callable[["Call"], Answer]
READS = ("Describe", "List", "Get", "BatchGet", "Query", "Scan", "Receive", "Head")


class Refused(AssertionError):
    """A test reached something this layer cannot answer truthfully. No ClientError: nobody may catch it."""


@dataclass(frozen=True)
class Call:
    """What a client is about to do; `proceed` lets moto do it."""

    client: BaseClient
    operation: str
    params: Params
    send: Callable[[str, Params], Answer] = field(repr=False)

    @property
    def service(self) -> str:
        return str(self.client.meta.service_model.service_name)

    @property
    def name(self) -> str:
        return f"{self.service}:{self.operation}"

    @property
    def is_read(self) -> bool:
        return self.operation.startswith(READS)

    def matches(self, pattern: str) -> bool:
        """`CreateService`, `ecs:CreateService`, `ecs:*` and `*` all name this call."""
        return fnmatchcase(self.name if ":" in pattern else self.operation, pattern)

    def proceed(self, **changed: Any) -> Answer:
        """Let moto answer, with some parameters replaced."""
        return self.send(self.operation, {**self.params, **changed})

    def ask(self, operation: str, **params: Any) -> Answer:
        """Ask moto something else, unseen by faults and records."""
        return self.send(operation, params)

    def error(self, code: str, message: str, status: int = 400) -> ClientError:
        """The exception boto3 raises for this error code, of the class the service's model declares."""
        response: Any = {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "strict-aws"},
        }
        declared: type[ClientError] = self.client.exceptions.from_code(code)
        return declared(response, self.operation)


@dataclass
class Event:
    """One call as a test sees it: in `aws.calls`, and in `on_call` before and after its effect."""

    number: int
    service: str
    operation: str
    params: Params
    moment: Literal["before", "after"] = "before"
    answer: Answer | None = None
    error: BaseException | None = None
    is_read: bool = False

    @property
    def name(self) -> str:
        return f"{self.service}:{self.operation}"

    @property
    def done(self) -> bool:
        """It took effect."""
        return self.moment == "after" and self.error is None

    def __str__(self) -> str:
        outcome = f" ✗ {self.error}" if self.error else ""
        return f"{self.number} {self.moment} {self.name}{outcome}"


def page(items: list[Any], call: Call, *, key: str, default: int) -> Answer:
    """One page of an ECS list, 10 or 100 items at a time. Facts B2-8."""
    start = int(call.params.get("nextToken") or 0)
    end = start + call.params.get("maxResults", default)
    answer: Answer = {key: items[start:end]}
    if end < len(items):
        answer["nextToken"] = str(end)
    return answer


def copied(answer: Answer) -> Answer:
    """A copy that shares nothing: what deepcopy makes of plain values, several times faster."""
    return cast(Answer, pickle.loads(pickle.dumps(answer)))  # noqa: S301 our own values


class Pages:
    """Lists in pages: what comes and goes between two of them makes no other thing be left out."""

    def __init__(self) -> None:
        self._shown: dict[str, frozenset[Hashable]] = {}

    def cut(
        self, items: list[Any], identity: Callable[[Any], Hashable], size: int, token: str | None
    ) -> tuple[list[Any], str | None]:
        """One page and the token of the next one; a KeyError if nobody was given this token."""
        seen = self._shown[token] if token else frozenset()
        rest = [item for item in items if identity(item) not in seen]
        if len(rest) <= size:
            return rest, None
        following = f"page-{len(self._shown) + 1}"
        self._shown[following] = seen | {identity(item) for item in rest[:size]}
        return rest[:size], following


def as_tags(tags: Iterable[dict[str, str]]) -> Iterator[tuple[str, str]]:
    """Tags of ECS or of ELB as comparable pairs."""
    for tag in tags:
        yield tag.get("key", tag.get("Key", "")), tag.get("value", tag.get("Value", ""))
