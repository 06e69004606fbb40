"""docs/permissions.md: its tables, and what they must say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from scripts import expand

OURS = re.compile(r"arn:\$\{AWS::Partition\}:([a-z-]+):\$\{AWS::Region\}:\$\{AWS::AccountId\}:")
TELEMETRY = "telemetry"  # the same for all functions, and said once


def rows(function: str) -> list[str]:
    """One row for each statement of the function's role, but for the reason in its last column."""
    resources = expand.expanded()["Resources"]
    name, _ = resources[f"{function.capitalize()}Function"]["Properties"]["Role"]["Fn::GetAtt"]
    policies = [_either(one) for one in resources[name]["Properties"]["Policies"]]
    return [
        _row(f"{policy['PolicyName']}/{statement['Sid']}", statement, condition or conditional)
        for policy, conditional in policies
        if policy["PolicyName"] != TELEMETRY
        for statement, condition in map(_either, policy["PolicyDocument"]["Statement"])
    ]


def written(text: str) -> dict[str, list[tuple[str, str]]]:
    """Function → the rows of its table and their reasons."""
    found: dict[str, list[tuple[str, str]]] = {}
    function = ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"## `(\w+)`.*", line):
            function = heading[1]
            found[function] = []
        elif function and line.startswith("| `"):
            row, _, reason = line.strip().removesuffix("|").rpartition("|")
            found[function].append((f"{row}|", reason.strip()))
    return found


def _either(value: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The value, and the condition of the template that it depends on."""
    if "Fn::If" in value:
        condition, then, _ = value["Fn::If"]
        return then, condition
    return value, ""


def _row(place: str, statement: Mapping[str, Any], condition: str) -> str:
    actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
    service = actions[0].partition(":")[0]
    same = all(action.startswith(f"{service}:") for action in actions)
    names = [action.removeprefix(f"{service}:") for action in actions] if same else actions
    what = f"{'**denied** ' if statement['Effect'] == 'Deny' else ''}{service + ': ' if same else ''}"
    limits = [
        f"{key}: {_text(values)}"
        for keys in statement.get("Condition", {}).values()
        for key, values in keys.items()
    ]
    limits += [f"if the parameters say so ({condition})"] if condition else []
    cells = (f"`{place}`", what + ", ".join(names), _text(statement["Resource"]), "; ".join(limits))
    return "| " + " | ".join(cells) + " |"


def _text(value: Any) -> str:
    """A reference by its name, an ARN of this account and region by its end."""
    match value:
        case list():
            return ", ".join(map(_text, value))
        case {"Ref": str(name)}:
            return name
        case {"Fn::GetAtt": [str(name), "Arn"]}:
            return name
        case {"Fn::Sub": str(text)}:
            return OURS.sub(r"\1 ", text).replace("*", r"\*")
        case {"Fn::If": [_, one, other]}:
            return f"{_text(one)} or {_text(other)}"
    return str(value).replace("*", r"\*")
