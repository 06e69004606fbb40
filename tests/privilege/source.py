"""Which API operations the code names: what is called by no test is found here as well."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import botocore.session

SOURCE = Path(__file__).parents[2] / "src"
SERVICES = (
    *("cloudwatch", "codebuild", "codepipeline", "dynamodb", "ecr", "ecs", "elbv2", "events", "lambda"),
    *("resourcegroupstaggingapi", "secretsmanager", "sqs", "ssm"),
)
NOT_IN_A_ROLE = {"datastores", "cli", "doctor"}
"""SQL and Redis; and what people run by hand, with their own rights."""


def _files() -> list[Path]:
    return [path for path in SOURCE.rglob("*.py") if path.parent.name not in NOT_IN_A_ROLE]


def services() -> set[str]:
    """Those that the code makes clients of."""
    made = re.compile(r"""\b(?:client|resource)\(["'](\w+)["']""")
    return {name for path in _files() for name in made.findall(path.read_text("utf-8"))}


def operations() -> dict[str, set[str]]:
    """Method of a client that the code calls → the operations that it may be, one for each service."""
    known = _operations()
    called = {name for path in _files() for name in _called(path)}
    return {name: known[name] for name in called & set(known)}


def _operations() -> Mapping[str, set[str]]:
    """`create_rule` → {`elbv2:CreateRule`}, of all services."""
    session = botocore.session.get_session()
    found: dict[str, set[str]] = {}
    for service in SERVICES:
        for operation in session.get_service_model(service).operation_names:
            found.setdefault(botocore.xform_name(operation), set()).add(f"{service}:{operation}")
    return found


def _called(path: Path) -> Iterator[str]:
    """Names of methods that are called, and of paginated operations."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(attr="get_paginator"), args=[ast.Constant(value=str(name))]):
                yield name
            case ast.Call(func=ast.Attribute(attr=name)):
                yield name
