"""What goes wrong because a test said so.

Faults are injected in front of botocore, so its retries do not hide them: `times` counts what the product
sees.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ReadTimeoutError

from tests.strict_aws.call import Answer, Call
from tests.strict_aws.names import COVERED

Error = str | tuple[str, str] | BaseException

# ECS does not declare it, and throws it all the same: facts B2-6.
THROTTLE_CODES = {"elbv2": "Throttling", "sqs": "RequestThrottled"}


@dataclass
class Fault:
    pattern: str
    left: int
    error: Callable[[Call], BaseException]
    after: bool = False


@dataclass(frozen=True)
class Reading:
    """Where a read shows the things a create made."""

    items: str  # the list in the answer
    identity: str | None  # the key of the identity in an item; None when the items are the identities
    asked_by: tuple[
        str, ...
    ] = ()  # parameters that name things: a hidden one is then "not found", not "left out"
    not_found: str = ""


# What `hide_new` can hide: where the identity is in the answer of the create …
CREATES: dict[str, Callable[[Answer], str]] = {
    "elbv2:CreateTargetGroup": lambda answer: answer["TargetGroups"][0]["TargetGroupArn"],
    "elbv2:CreateListener": lambda answer: answer["Listeners"][0]["ListenerArn"],
    "elbv2:CreateRule": lambda answer: answer["Rules"][0]["RuleArn"],
    "ecs:CreateService": lambda answer: answer["service"]["serviceArn"],
}

# … and which reads would show it.
READINGS = {
    "elbv2:DescribeTargetGroups": Reading(
        "TargetGroups", "TargetGroupArn", ("Names", "TargetGroupArns"), "TargetGroupNotFound"
    ),
    "elbv2:DescribeListeners": Reading("Listeners", "ListenerArn", ("ListenerArns",), "ListenerNotFound"),
    "elbv2:DescribeRules": Reading("Rules", "RuleArn", ("RuleArns",), "RuleNotFound"),
    "ecs:DescribeServices": Reading("services", "serviceArn"),
    "ecs:ListServices": Reading("serviceArns", None),
    "resourcegroupstaggingapi:GetResources": Reading("ResourceTagMappingList", "ResourceARN"),
}


@dataclass
class Faults:
    _faults: list[Fault] = field(default_factory=list)
    _stale: dict[str, int] = field(default_factory=dict)
    _last_answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    _hiding: dict[str, int] = field(default_factory=dict)
    _hidden: dict[str, int] = field(default_factory=dict)

    def throttle(self, operation: str, times: int = 1) -> None:
        """The next calls answer `ThrottlingException: Rate exceeded` without effect. Facts B2-6."""
        self._faults.append(Fault(operation, times, _throttled))

    def fail(
        self, operation: str, times: int = 1, error: Error = "InternalFailure", *, after: bool = False
    ) -> None:
        """The next calls raise a code, a (code, message) or an exception; `after` they took effect."""
        self._faults.append(Fault(operation, times, lambda call: _as_error(call, error), after))

    def lose_response(self, operation: str, times: int = 1) -> None:
        """The next calls take effect, and the caller sees a timeout."""
        self._faults.append(Fault(operation, times, _timed_out, after=True))

    def hide_new(self, operation: str, describes: int) -> None:
        """What this create makes from now on is not visible to the next `describes` reads."""
        known = [name for name in CREATES if operation in (name, name.split(":")[1])]
        if not known:
            raise ValueError(f"hiding {operation}: only {', '.join(CREATES)} can be hidden")
        self._hiding |= dict.fromkeys(known, describes)

    def stale(self, operation: str, times: int = 1) -> None:
        """The next reads repeat their previous answer (same operation, same parameters), if there is one."""
        self._stale[operation] = times

    def clear(self) -> None:
        """Everything works from now on."""
        for control in (self._faults, self._stale, self._hiding, self._hidden):
            control.clear()

    def strike(self, call: Call, *, after: bool) -> None:
        """Raise what was ordered for this call."""
        for fault in self._faults:
            if fault.left > 0 and fault.after is after and call.matches(fault.pattern):
                fault.left -= 1
                raise fault.error(call)

    def old_answer(self, call: Call) -> Answer | None:
        """The previous answer, when a stale read was ordered."""
        previous = self._last_answers.get((call.name, repr(call.params)))
        for pattern, left in self._stale.items():
            if left > 0 and previous is not None and call.matches(pattern):
                self._stale[pattern] -= 1
                return deepcopy(previous)
        return None

    def show(self, call: Call, answer: Answer) -> Answer:
        """The answer without what is not visible yet."""
        if hidden_for := self._hiding.get(call.name):
            self._hidden.setdefault(CREATES[call.name](answer), hidden_for)
        if reading := READINGS.get(call.name):
            answer = self._without_hidden(call, reading, answer)
        if call.is_read and call.service in COVERED:
            self._last_answers[call.name, repr(call.params)] = deepcopy(answer)
        return answer

    def _without_hidden(self, call: Call, reading: Reading, answer: Answer) -> Answer:
        def identity(item: Any) -> str:
            return str(item[reading.identity] if reading.identity else item)

        hidden = [identity(item) for item in answer[reading.items] if self._hidden.get(identity(item), 0) > 0]
        for name in hidden:
            self._hidden[name] -= 1
        if hidden and any(call.params.get(parameter) for parameter in reading.asked_by):
            raise call.error(reading.not_found, "One or more items not found")
        answer[reading.items] = [item for item in answer[reading.items] if identity(item) not in hidden]
        if call.name == "ecs:DescribeServices":
            answer["failures"] += [{"arn": name, "reason": "MISSING"} for name in hidden]
        return answer


def _throttled(call: Call) -> BaseException:
    return call.error(THROTTLE_CODES.get(call.service, "ThrottlingException"), "Rate exceeded")


def _timed_out(call: Call) -> BaseException:
    return ReadTimeoutError(endpoint_url=call.client.meta.endpoint_url)


def _as_error(call: Call, error: Error) -> BaseException:
    if isinstance(error, BaseException):
        return error
    code, message = (error, f"{error}, by order of the test") if isinstance(error, str) else error
    return call.error(code, message, status=500 if code.startswith(("Internal", "Service")) else 400)
