"""AWS's Service Authorization Reference, in the copy that cfn-lint brings: actions and their resource types.

It says which types of resources an action is about and which condition keys a type has. It does not say
which other actions an operation needs, nor which keys a request brings: `needs.py` has its sources for those.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@cache
def _services() -> dict[str, Any]:
    spec = find_spec("cfnlint")
    assert spec
    assert spec.origin
    text = (Path(spec.origin).parent / "data" / "AdditionalSpecs" / "Policies.json").read_text("utf-8")
    return dict(json.loads(text))


@cache
def actions(service: str) -> frozenset[str]:
    """All actions of a service, in lower case."""
    return frozenset(f"{service}:{name}".lower() for name in _services()[service]["Actions"])


@cache
def types(action: str) -> tuple[str, ...]:
    """The types of resources that an action is about; none if it can only be allowed for `*`."""
    service, _, name = action.partition(":")
    named = _services()[service]["Actions"][name.lower()].get("Resources", ())
    return tuple(kind.lower() for kind in named)


def type_of(action: str, arn: str) -> str | None:
    """Which of an action's types of resources this ARN is, if any."""
    for kind in types(action):
        formats = _resource(action.partition(":")[0], kind)["ARNFormats"]
        if any(_format(one).fullmatch(arn) for one in formats):
            return kind
    return None


def knows_tags(action: str, arn: str) -> bool:
    """Does IAM look at this resource's tags when it decides about the action?"""
    kind = type_of(action, arn)
    if kind is None:
        return False
    keys = _resource(action.partition(":")[0], kind).get("ConditionKeys", ())
    return "aws:ResourceTag/${TagKey}" in keys


def _resource(service: str, kind: str) -> dict[str, Any]:
    """cfn-lint's copy spells a type now with capitals, now without."""
    known = _services()[service]["Resources"]
    return dict(next(one for name, one in known.items() if name.lower() == kind))


@cache
def _format(written: str) -> re.Pattern[str]:
    """The formats are patterns already, but for the names in braces."""
    return re.compile(re.sub(r"\$\{\w+\}", "[^:]*", written))
