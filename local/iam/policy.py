"""How IAM decides about a request, as far as template.yaml uses the language of policies.

What the template does not use (NotAction, policy variables, other operators) is an error here, not a guess.
Sources: IAM User Guide, "Policy evaluation logic", "IAM JSON policy elements: Condition operators" and
"Multivalued context keys" (ForAllValues is true of a key that the request does not have).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

Context = Mapping[str, tuple[str, ...]]
"""Condition keys, which have no case, and their values."""
ELEMENTS = {"Sid", "Effect", "Action", "Resource", "Condition"}
EXACT, PATTERN = ("StringEquals",), ("StringLike", "ArnEquals", "ArnLike")


@dataclass(frozen=True)
class Request:
    """What IAM is asked: may this be done with that, under these circumstances?"""

    action: str
    resource: str
    context: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, action: str, resource: str, context: Context | None = None) -> Request:
        """The same request is equal however its context was put together."""
        return cls(action, resource, tuple(sorted((k.lower(), v) for k, v in (context or {}).items())))

    def __str__(self) -> str:
        said = ", ".join(f"{key}={'|'.join(values)}" for key, values in self.context)
        return f"{self.action} on {self.resource}" + (f" ({said})" if said else "")


@dataclass(frozen=True)
class Statement:
    """One statement; `place` names it for people."""

    place: str
    effect: Literal["Allow", "Deny"]
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """Operator, key and values; all of them must hold."""

    @classmethod
    def of(cls, place: str, written: Mapping[str, Any]) -> Statement:
        """A statement as it is written in a policy, its intrinsic functions resolved."""
        if unknown := set(written) - ELEMENTS:
            raise ValueError(f"{place}: {', '.join(sorted(unknown))} is not covered")
        conditions = [
            (operator, key.lower(), _texts(values))
            for operator, keys in written.get("Condition", {}).items()
            for key, values in keys.items()
        ]
        made = cls(
            place,
            written["Effect"],
            _texts(written["Action"]),
            _texts(written["Resource"]),
            tuple(conditions),
        )
        for text in (*made.resources, *(value for _, _, values in made.conditions for value in values)):
            if "${" in text:
                raise ValueError(f"{place}: policy variables are not covered: {text}")
        return made

    def covers(self, request: Request) -> bool:
        """Does it speak of this request?"""
        if not any(matches(pattern.lower(), request.action.lower()) for pattern in self.actions):
            return False
        if not any(matches(pattern, request.resource) for pattern in self.resources):
            return False
        context = dict(request.context)
        return all(_holds(operator, values, context.get(key)) for operator, key, values in self.conditions)


def is_allowed(statements: Iterable[Statement], request: Request) -> bool:
    """Something allows it and nothing denies it."""
    effects = {statement.effect for statement in statements if statement.covers(request)}
    return effects == {"Allow"}


def needed(statements: Iterable[Statement], requests: Iterable[Request]) -> set[tuple[Statement, str]]:
    """The (statement, action) without which one of the requests would be denied."""
    allowing = [statement for statement in statements if statement.effect == "Allow"]
    found: set[tuple[Statement, str]] = set()
    for request in requests:
        covering = [statement for statement in allowing if statement.covers(request)]
        if len(covering) == 1:
            found.add((covering[0], request.action))
    return found


def given(statements: Iterable[Statement]) -> Iterator[tuple[Statement, str]]:
    """Every (statement, action) that allows something."""
    for statement in statements:
        if statement.effect == "Allow":
            yield from ((statement, action) for action in statement.actions)


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def matches(pattern: str, text: str) -> bool:
    """`*` is any text, also with colons and slashes; `?` is one character."""
    return bool(_pattern(pattern).fullmatch(text))


def _holds(operator: str, wanted: tuple[str, ...], found: tuple[str, ...] | None) -> bool:
    name = operator.removeprefix("ForAllValues:")
    if name not in EXACT + PATTERN:
        raise ValueError(f"the condition operator {operator} is not covered")
    if name == operator:
        return found is not None and len(found) == 1 and _is_one_of(name, wanted, found[0])
    return all(_is_one_of(name, wanted, value) for value in found or ())


def _is_one_of(name: str, wanted: tuple[str, ...], value: str) -> bool:
    return any(value == one if name in EXACT else matches(one, value) for one in wanted)


def _texts(value: Any) -> tuple[str, ...]:
    found = tuple(value) if isinstance(value, list) else (value,)
    for text in found:
        if not isinstance(text, str):
            raise TypeError(f"this is not resolved: {text}")
    return found
