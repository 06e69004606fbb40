"""Names, lengths and ranges, checked before a call leaves.

botocore ships the constraints of every parameter (`pattern`, `min`, `max`, `enum`) and checks only the
minimum and the type (facts D2-15); AWS checks them all. ECS and SQS keep theirs in prose: see `EXTRA`.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from botocore.model import OperationModel, Shape

COVERED = (
    "elbv2",
    "ecs",
    "codepipeline",
    "ecr",
    "sqs",
    "dynamodb",
    "events",
    "resourcegroupstaggingapi",
    "secretsmanager",
)

# What each service calls a parameter it does not like.
CODES = {
    "elbv2": "ValidationError",
    "ecs": "InvalidParameterException",
    "codepipeline": "ValidationException",
    "ecr": "InvalidParameterException",
    "sqs": "InvalidParameterValue",
    "dynamodb": "ValidationException",
    "events": "ValidationException",
    "resourcegroupstaggingapi": "InvalidParameterException",
    "secretsmanager": "ValidationException",
}


class Text:
    """A pattern for a string the model leaves open."""

    def __init__(self, pattern: str) -> None:
        self.pattern = re.compile(pattern)

    def complaint(self, value: str) -> str | None:
        return (
            None
            if self.pattern.fullmatch(value)
            else f"satisfy regular expression pattern: {self.pattern.pattern}"
        )


class Between:
    """A range for a number or for the length of a list."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def complaint(self, value: int | list[Any]) -> str | None:
        size = len(value) if isinstance(value, list) else value
        return (
            None
            if self.low <= size <= self.high
            else f"have a value or a length between {self.low} and {self.high}"
        )


ECS_NAME = Text(r"[A-Za-z0-9_-]{1,255}")  # facts B2-1
ECS_TOKEN = Text(r"[!-~]{1,36}")  # facts B2-5
SQS_TOKEN = Text(r"[!-~]{1,128}")  # facts B6-5: alphanumeric and punctuation, at most 128
SQS_BATCH_ID = Text(r"[A-Za-z0-9_-]{1,80}")  # API reference of SendMessageBatch
SECRET_NAME = Text(r"[A-Za-z0-9/_+=.@-]{1,512}")  # BC:secretsmanager.CreateSecret, in prose
SQS_QUEUE = Text(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo")  # API reference of CreateQueue

EXTRA: dict[str, dict[str, Text | Between]] = {
    "ecs:CreateCluster": {"clusterName": ECS_NAME},
    "ecs:CreateService": {
        "serviceName": ECS_NAME,
        "clientToken": ECS_TOKEN,
        "loadBalancers": Between(0, 5),
    },  # B2-7
    "ecs:UpdateService": {"loadBalancers": Between(0, 5)},
    "ecs:RegisterTaskDefinition": {
        "family": ECS_NAME,
        "containerDefinitions": Between(1, 10),  # facts B2-7
        "containerDefinitions.name": ECS_NAME,
    },
    "ecs:DescribeServices": {"services": Between(1, 10)},  # facts B2-8
    "ecs:ListServices": {"maxResults": Between(1, 100)},  # facts B2-8
    "ecs:ListTasks": {"maxResults": Between(1, 100)},
    "ecs:ListTaskDefinitions": {"maxResults": Between(1, 100)},
    "ecs:DescribeTasks": {"tasks": Between(1, 100)},
    "ecs:DeleteTaskDefinitions": {"taskDefinitions": Between(1, 10)},  # facts B2-10
    # "You cannot describe more than '20' target groups at a time": ansible-collections/amazon.aws #1593
    "elbv2:DescribeTargetGroups": {"TargetGroupArns": Between(0, 20), "Names": Between(0, 20)},
    "elbv2:DescribeLoadBalancers": {"LoadBalancerArns": Between(0, 20)},  # BC, in prose
    "elbv2:DescribeTags": {
        "ResourceArns": Between(1, 20)
    },  # API reference: up to 20 resources in a single call
    "resourcegroupstaggingapi:GetResources": {"ResourcesPerPage": Between(1, 100)},  # BC, in prose
    "secretsmanager:CreateSecret": {"Name": SECRET_NAME},
    "sqs:CreateQueue": {"QueueName": SQS_QUEUE},
    "sqs:SendMessage": {
        "MessageGroupId": SQS_TOKEN,
        "MessageDeduplicationId": SQS_TOKEN,
        "DelaySeconds": Between(0, 900),
    },
    "sqs:SendMessageBatch": {
        "Entries.Id": SQS_BATCH_ID,
        "Entries.MessageGroupId": SQS_TOKEN,
        "Entries.MessageDeduplicationId": SQS_TOKEN,
        "Entries.DelaySeconds": Between(0, 900),
    },
    "sqs:ChangeMessageVisibility": {"VisibilityTimeout": Between(0, 43200)},  # facts B6-4: 0–12 h
}


def complaints(service: str, operation: OperationModel, params: dict[str, Any]) -> list[str]:
    """Every constraint the parameters break, in AWS's words."""
    if service not in COVERED or operation.input_shape is None:
        return []
    extra = EXTRA.get(f"{service}:{operation.name}", {})
    return list(_walk(operation.input_shape, params, "", extra))


def _walk(shape: Shape, value: Any, path: str, extra: dict[str, Text | Between]) -> Iterator[str]:
    if value is None:
        return
    for must in _constraints(shape, value, extra.get(path)):
        yield f"Value '{value}' at '{path}' failed to satisfy constraint: Member must {must}"
    if shape.type_name == "structure":
        for name, member in shape.members.items():  # type: ignore[attr-defined]
            yield from _walk(member, value.get(name), f"{path}.{name}".lstrip("."), extra)
    elif shape.type_name == "list":
        for item in value:
            yield from _walk(shape.member, item, path, {p: c for p, c in extra.items() if p != path})  # type: ignore[attr-defined]
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from _walk(shape.key, key, path, {})  # type: ignore[attr-defined]
            yield from _walk(shape.value, item, f"{path}.{key}", {})  # type: ignore[attr-defined]


def _constraints(shape: Shape, value: Any, extra: Text | Between | None) -> Iterator[str]:
    checks: dict[str, Callable[[Shape, Any], str | None]] = {
        "string": _text,
        "integer": _number,
        "long": _number,
    }
    checks |= {"float": _number, "double": _number, "list": _length, "map": _length}
    check = checks.get(shape.type_name)
    for complaint in (check(shape, value) if check else None, extra.complaint(value) if extra else None):
        if complaint:
            yield complaint


def _text(shape: Shape, value: str) -> str | None:
    pattern, enum = shape.metadata.get("pattern"), shape.metadata.get("enum")
    if too_long := _length(shape, value):
        return too_long
    if enum and value not in enum:
        return f"satisfy enum value set: [{', '.join(enum)}]"
    if pattern and not compiled(pattern).fullmatch(value):
        return f"satisfy regular expression pattern: {pattern}"
    return None


def _length(shape: Shape, value: Any) -> str | None:
    if len(value) > shape.metadata.get("max", sys.maxsize):
        return f"have length less than or equal to {shape.metadata['max']}"
    return None


def _number(shape: Shape, value: float) -> str | None:
    if value > shape.metadata.get("max", sys.maxsize):
        return f"have value less than or equal to {shape.metadata['max']}"
    return None


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """A Java pattern of a botocore model as a Python one."""
    pattern = pattern.replace(r"\p{Print}", r"[\x20-\x7e]")
    pattern = pattern.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")
    return re.compile(re.sub(r"\\p\{(\w)\}", lambda match: _category(match[1]), pattern))


@cache
def _category(category: str) -> str:
    r"""The characters of \p{L}, \p{N} … within the basic plane, as the inside of a character class."""
    members = [code for code in range(0x10000) if unicodedata.category(chr(code)).startswith(category)]
    ranges: list[list[int]] = []
    for code in members:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\u{low:04x}-\\u{high:04x}" for low, high in ranges)
