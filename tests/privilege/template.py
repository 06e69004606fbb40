"""The roles of the expanded template, with an installation's parameters put in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.iam.policy import Statement

NO_VALUE = object()


@dataclass(frozen=True)
class Stack:
    """A template and what its references lead to: `Name` for Ref, `Name.Attribute` for GetAtt."""

    template: Mapping[str, Any]
    values: Mapping[str, Any]

    def role(self, function: str) -> list[Statement]:
        """What the role of a function says; statements without a name are counted."""
        name, _ = self._properties(f"{function.capitalize()}Function")["Role"]["Fn::GetAtt"]
        policies = self.resolve(self._properties(name)["Policies"])
        return [
            Statement.of(f"{function}/{policy['PolicyName']}/{written.get('Sid', number)}", written)
            for policy in policies
            for number, written in enumerate(policy["PolicyDocument"]["Statement"], 1)
        ]

    def variables(self, function: str) -> dict[str, str]:
        """What a function finds in its environment."""
        written = self._properties(f"{function.capitalize()}Function")["Environment"]["Variables"]
        return {name: str(value) for name, value in self.resolve(written).items()}

    def _properties(self, resource: str) -> dict[str, Any]:
        return dict(self.template["Resources"][resource]["Properties"])

    def resolve(self, value: Any) -> Any:
        """The value with its intrinsic functions carried out; what is NoValue is left out."""
        if isinstance(value, list):
            return [one for one in map(self.resolve, value) if one is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref" or name.startswith("Fn::"):
                return self._carry_out(name, argument)
        resolved = {key: self.resolve(one) for key, one in value.items()}
        return {key: one for key, one in resolved.items() if one is not NO_VALUE}

    def _carry_out(self, name: str, argument: Any) -> Any:
        match name:
            case "Ref":
                return self._value(argument)
            case "Fn::GetAtt":
                return self._value(".".join(argument))
            case "Fn::Sub":
                return re.sub(r"\$\{([\w:.]+)\}", lambda found: str(self._value(found[1])), argument)
            case "Fn::Join":
                return argument[0].join(self.resolve(argument[1]))
            case "Fn::If":
                condition, then, otherwise = argument
                return self.resolve(then if self._holds(condition) else otherwise)
        raise ValueError(f"{name} is not covered")

    def _value(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self.values:
            return self.values[name]
        parameter = self.template["Parameters"][name]
        default = parameter["Default"]
        return str(default).split(",") if parameter["Type"] == "CommaDelimitedList" else default

    def _holds(self, condition: str) -> bool:
        return self._is_true(self.template["Conditions"][condition])

    def _is_true(self, written: Mapping[str, Any]) -> bool:
        ((name, argument),) = written.items()
        match name:
            case "Fn::Equals":
                one, other = self.resolve(argument)
                return str(one) == str(other)
            case "Fn::Not":
                return not self._is_true(argument[0])
        raise ValueError(f"{name} is not covered")
