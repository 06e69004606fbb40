"""What goes wrong because a test said so.

Faults are injected in front of botocore, so its retries do not hide them: `times` counts what the product
sees.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, cast

from botocore.exceptions import ReadTimeoutError

from tests.strict_aws.call import Answer, Call
from tests.strict_aws.names import COVERED

Error = str | tuple[str, str] | BaseException

# All others answer ThrottlingException: CodePipeline, ECR, EventBridge; ECS, which does not declare it (facts
# B2-6); DynamoDB for a table on demand (ProvisionedThroughputExceededException is for the other mode).
THROTTLE_CODES = {
    "elbv2": "Throttling",
    "cloudwatch": "Throttling",
    "sqs": "RequestThrottled",  # BC
    "lambda": "TooManyRequestsException",  # BC
    "resourcegroupstaggingapi": "ThrottledException",  # BC
}

# What CodePipeline answers while something else happens to the same pipeline. Which of them may answer which
# code, and in which words: BC, the errors of each operation and their documentation; facts B3-13 to B3-15.
# What makes a pipeline busy AWS does not say, so a test does.
ONGOING = (
    "Your request cannot be handled because the pipeline is busy handling ongoing activities."
    " Try again later."
)
SIMULTANEOUS = "Unable to modify the tag due to a simultaneous update request."
BUSY = {
    "StartPipelineExecution": ("ConflictException", ONGOING),
    "StopPipelineExecution": ("ConflictException", ONGOING),
    "CreatePipeline": ("ConcurrentModificationException", SIMULTANEOUS),
    "DeletePipeline": ("ConcurrentModificationException", SIMULTANEOUS),
    "TagResource": ("ConcurrentModificationException", SIMULTANEOUS),
}

CONFLICTING = ("TransactWriteItems", "PutItem", "UpdateItem", "DeleteItem")


@dataclass
class Fault:
    pattern: str
    left: int
    error: Callable[[Call], BaseException]
    after: bool = False


@dataclass(frozen=True)
class Reading:
    """Where a read shows the things a create made."""

    items: str  # the list in the answer, or the one thing
    identity: Callable[[Any], str]
    asked_by: tuple[str, ...] = ()
    """Parameters that name things: a hidden one is then "not found", not "left out"."""
    not_found: str = ""


def _resource(mapping: dict[str, Any]) -> str:
    """A pipeline by its name, as CreatePipeline tells no ARN; all else by its ARN."""
    arn = str(mapping["ResourceARN"])
    return arn.rpartition(":")[2] if ":codepipeline:" in arn else arn


# What `hide_new` can hide: where the identity is in the answer of the create … "The Amazon ECS API follows an
# eventual consistency model" (BC:ecs.RunTask); that of ELBv2 propagates, too: facts B1-7, B2-4.
CREATES: dict[str, Callable[[Answer], str]] = {
    "elbv2:CreateTargetGroup": lambda answer: answer["TargetGroups"][0]["TargetGroupArn"],
    "elbv2:CreateListener": lambda answer: answer["Listeners"][0]["ListenerArn"],
    "elbv2:CreateRule": lambda answer: answer["Rules"][0]["RuleArn"],
    "ecs:CreateService": lambda answer: answer["service"]["serviceArn"],
    "ecs:RegisterTaskDefinition": lambda answer: answer["taskDefinition"]["taskDefinitionArn"],
    "secretsmanager:CreateSecret": lambda answer: answer["ARN"],
    "codepipeline:CreatePipeline": lambda answer: answer["pipeline"]["name"],
}

# … and which reads would show it.
READINGS = {
    "elbv2:DescribeTargetGroups": Reading(
        "TargetGroups", itemgetter("TargetGroupArn"), ("Names", "TargetGroupArns"), "TargetGroupNotFound"
    ),
    "elbv2:DescribeListeners": Reading(
        "Listeners", itemgetter("ListenerArn"), ("ListenerArns",), "ListenerNotFound"
    ),
    "elbv2:DescribeRules": Reading("Rules", itemgetter("RuleArn"), ("RuleArns",), "RuleNotFound"),
    "ecs:DescribeServices": Reading("services", itemgetter("serviceArn")),
    "ecs:ListServices": Reading("serviceArns", str),
    "ecs:ListTaskDefinitions": Reading("taskDefinitionArns", str),
    # "All Secrets Manager operations are eventually consistent": BC:secretsmanager.ListSecrets.
    "secretsmanager:ListSecrets": Reading("SecretList", itemgetter("ARN")),
    "secretsmanager:DescribeSecret": Reading("ARN", str, ("SecretId",), "ResourceNotFoundException"),
    "codepipeline:GetPipeline": Reading(
        "pipeline", itemgetter("name"), ("name",), "PipelineNotFoundException"
    ),
    "codepipeline:ListPipelines": Reading("pipelines", itemgetter("name")),
    "resourcegroupstaggingapi:GetResources": Reading("ResourceTagMappingList", _resource),
}


@dataclass
class Faults:
    _faults: list[Fault] = field(default_factory=list)
    _stale: dict[str, int] = field(default_factory=dict)
    _last_answers: dict[tuple[str, str], bytes] = field(default_factory=dict)  # pickled: faster than a copy
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

    def conflict(self, operation: str, times: int = 1, *, item: int = 0) -> None:
        """The next writes of the table meet somebody else's transaction on the same item. Facts B5-1.

        A transaction is cancelled because of its `item`; a single write, by its own name.
        """
        if operation not in CONFLICTING:
            raise ValueError(f"{operation}: only {', '.join(CONFLICTING)} can meet a transaction")
        self._faults.append(Fault(f"dynamodb:{operation}", times, lambda call: _conflict(call, item)))

    def busy(self, operation: str, times: int = 1) -> None:
        """The next calls find their pipeline busy, and have no effect. Facts B3-13 to B3-15."""
        if operation not in BUSY:
            raise ValueError(f"{operation}: only {', '.join(BUSY)} can find a pipeline busy")
        self._faults.append(Fault(f"codepipeline:{operation}", times, _busy))

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
                return cast(Answer, pickle.loads(previous))  # noqa: S301 our own answers
        return None

    def show(self, call: Call, answer: Answer) -> Answer:
        """The answer without what is not visible yet."""
        if hidden_for := self._hiding.get(call.name):
            self._hidden.setdefault(CREATES[call.name](answer), hidden_for)
        if reading := READINGS.get(call.name):
            answer = self._without_hidden(call, reading, answer)
        if call.is_read and call.service in COVERED:
            self._last_answers[call.name, repr(call.params)] = pickle.dumps(answer)
        return answer

    def _without_hidden(self, call: Call, reading: Reading, answer: Answer) -> Answer:
        shown = answer[reading.items]
        names = [reading.identity(item) for item in (shown if isinstance(shown, list) else [shown])]
        hidden = [name for name in names if self._hidden.get(name, 0) > 0]
        if not hidden:
            return answer
        for name in hidden:
            self._hidden[name] -= 1
        if any(call.params.get(parameter) for parameter in reading.asked_by):
            raise call.error(reading.not_found, "One or more items not found")
        answer = answer | {reading.items: [item for item in shown if reading.identity(item) not in hidden]}
        if call.name == "ecs:DescribeServices":
            answer["failures"] += [{"arn": name, "reason": "MISSING"} for name in hidden]
        return answer


def _throttled(call: Call) -> BaseException:
    return call.error(THROTTLE_CODES.get(call.service, "ThrottlingException"), "Rate exceeded")


def _busy(call: Call) -> BaseException:
    return call.error(*BUSY[call.operation])


def _conflict(call: Call, item: int) -> BaseException:
    """BC:dynamodb.TransactionConflictException, BC:dynamodb.TransactionCanceledException."""
    if call.operation != "TransactWriteItems":
        return call.error("TransactionConflictException", "Transaction is ongoing for the item")
    reasons = [{"Code": "None"} for _ in call.params["TransactItems"]]
    reasons[item] = {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}
    codes = ", ".join(reason["Code"] for reason in reasons)
    said = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
    error = call.error("TransactionCanceledException", said)
    response: Answer = error.response
    response["CancellationReasons"] = reasons
    return error


def _timed_out(call: Call) -> BaseException:
    return ReadTimeoutError(endpoint_url=call.client.meta.endpoint_url)


def _as_error(call: Call, error: Error) -> BaseException:
    if isinstance(error, BaseException):
        return error
    code, message = (error, f"{error}, by order of the test") if isinstance(error, str) else error
    return call.error(code, message, status=500 if code.startswith(("Internal", "Service")) else 400)
