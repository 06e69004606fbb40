"""docs/doctor.md says what there is: every check, every level, and a policy that is enough."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from qa_env.doctor import checks
from qa_env.doctor.finding import Level
from qa_env.doctor.refusal import ACTIONS
from tests.doctor.sound import Sound

DOCUMENT = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text("utf-8")


def section(title: str) -> str:
    return DOCUMENT.partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[str]:
    return re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)


def test_every_check_has_its_row_and_every_row_its_check() -> None:
    assert rows(section("Checks of the installation")) == list(checks.OF_INSTALLATION)
    assert rows(section("Checks of each blueprint")) == [checks.BLUEPRINT, *checks.OF_BLUEPRINT]


def test_every_level_is_explained() -> None:
    assert rows(DOCUMENT.partition("\n## ")[0]) == list(Level)


def test_the_policy_allows_every_call_and_nothing_else(world: Sound) -> None:
    """But for what only the command itself asks, or what another spelling of the blueprint needs."""
    world.listen(10001, team="other")
    world.aws.calls.clear()
    pipeline, redis = world.values["pipeline"], world.values["redis"]
    star = pipeline["connection_arn"].replace("codeconnections", "codestar-connections")
    list(checks.examine(world.world, [world.blueprint]))
    world.aws.serve("codestar-connections:GetConnection", lambda *_: {"Connection": {"ConnectionStatus": ""}})
    world.changes = {"pipeline": pipeline | {"connection_arn": star}, "redis": redis | {"secret": "ssm:x"}}
    list(checks.examine(world.world, [world.blueprint]))

    made = {_action(world, event) for event in world.aws.calls} - {"sts:GetCallerIdentity"}
    stack_and_table = {"cloudformation:DescribeStacks", "cloudformation:ListStackResources", "dynamodb:Query"}

    assert _allowed() - stack_and_table == made


def _action(world: Sound, event: Any) -> str:
    """As a policy calls it."""
    signed_as = world.aws.client(event.service).meta.service_model.signing_name
    action = {"lambda:Invoke": "lambda:InvokeFunction"}.get(f"{signed_as}:{event.operation}")
    action = action or f"{signed_as}:{event.operation}"
    return ACTIONS.get(action, action)


def _allowed() -> set[str]:
    (policy,) = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    found: set[str] = set()
    for statement in json.loads(policy)["Statement"]:
        actions = statement["Action"]
        found |= {actions} if isinstance(actions, str) else set(actions)
    return found
