"""Rights against what was done: what is denied, and what nobody needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from local.iam.policy import Request, Statement, given, is_allowed, matches, needed


def denied(statements: Collection[Statement], requests: Iterable[Request]) -> list[Request]:
    """The requests that IAM would refuse."""
    return [request for request in requests if not is_allowed(statements, request)]


def without(statements: Iterable[Statement], statement: Statement, action: str) -> list[Statement]:
    """The same role, were this action not in this statement."""
    return list(_without(statements, statement, action))


def _without(statements: Iterable[Statement], statement: Statement, action: str) -> Iterator[Statement]:
    for one in statements:
        if one is not statement:
            yield one
        elif kept := tuple(name for name in one.actions if name != action):
            yield Statement(one.place, one.effect, kept, one.resources, one.conditions)


def spare(statements: Collection[Statement], requests: Collection[Request]) -> set[str]:
    """What a role allows and no request needed: actions, and parts of resources and of conditions.

    A statement of which one action is needed may name more resources, or more values in a condition, than
    any request ever had.
    """
    unused = set(given(statements)) - needed(statements, requests)
    found = {f"{statement.place}: {action}" for statement, action in unused}
    for statement in {one for one, _ in given(statements)}:
        covered = [request for request in requests if statement.covers(request)]
        if covered:
            found |= {f"{statement.place}: {part}" for part in _unused_parts(statement, covered)}
    return found


def _unused_parts(statement: Statement, covered: Collection[Request]) -> Iterator[str]:
    for resource in statement.resources:
        if not any(matches(resource, request.resource) for request in covered):
            yield resource
    for _, key, values in statement.conditions:
        used = {value for request in covered for value in dict(request.context).get(key, ())}
        yield from (f"{key} {one}" for one in values if not any(matches(one, value) for value in used))
