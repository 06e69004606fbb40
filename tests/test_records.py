"""What earlier versions wrote into the table: today's reads it, and changes nothing because of it.

`tests/records/` are the items of real tables: four environments at rest, one failed and one going.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from qa_env import store
from qa_env.model import Environment, Phase, Slug
from qa_env.store import LAYOUT, DynamoStore
from tests.installation import A, Installation, installed
from tests.strict_aws import strict_aws
from tests.strict_aws.world import _build_table

RECORDS = Path(__file__).parent / "records"
VERSIONS = sorted(path.stem for path in RECORDS.glob("*.json"))


def items(version: str) -> list[dict[str, Any]]:
    return list(json.loads((RECORDS / f"{version}.json").read_text("utf-8")))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_record_is_read(version: str) -> None:
    """Phases, claims and history mean what they meant."""
    with strict_aws() as aws:
        _build_table(aws)
        table = boto3.resource("dynamodb", region_name=aws.region).Table("qa-env")
        for item in items(version):
            table.put_item(Item=item)
        dynamo = DynamoStore(table)
        found = {env.slug: env for env in dynamo.all()}
        assert {slug: env.phase for slug, env in found.items()} == {
            "qa-foo": Phase.READY,
            "qa-bar": Phase.READY,
            "qa-bad": Phase.FAILED,
            "qa-gone": Phase.DELETING,
        }
        for env in found.values():
            assert {dynamo.holder(claim) for claim in env.claims.values()} == {env.slug}
            assert dynamo.history(env.slug)
        assert found[Slug("qa-foo")].settled
        assert not found[Slug("qa-foo")].needs_a_person


@pytest.mark.parametrize("version", VERSIONS)
def test_a_pass_over_an_older_record_changes_nothing_in_the_world(version: str) -> None:
    """An upgrade restarts nobody's environment."""
    with installed() as qa:
        qa.push("qa/foo", A)
        qa.settle()
        older = next(item for item in items(version) if item["sk"] == "qa-foo" and "branch" in item)
        current = qa.store.table.get_item(Key={"pk": "environment", "sk": "qa-foo"})["Item"]
        qa.store.table.put_item(Item=as_it_was(current, older))
        changed = changes_of_a_pass(qa)
        assert changed == []
        env = qa.store.get(Slug("qa-foo"))
        assert env
        assert env.phase is Phase.READY


def as_it_was(current: Mapping[str, Any], older: Mapping[str, Any]) -> dict[str, Any]:
    """Today's item without what the older version did not write."""
    conditions, known = json.loads(current["conditions"]), json.loads(older["conditions"])
    for name, condition in conditions.items():
        outputs = {key: value for key, value in condition["outputs"].items() if key in known[name]["outputs"]}
        conditions[name] = {key: value for key, value in condition.items() if key in known[name]}
        conditions[name]["outputs"] = outputs
    kept = {key: value for key, value in current.items() if key in older}
    assert "layout" not in kept
    return kept | {"conditions": json.dumps(conditions)}


def changes_of_a_pass(qa: Installation) -> list[str]:
    """What a pass and those that it asks for change in AWS, apart from the record."""
    changed: list[str] = []

    def look(call: Any) -> None:
        reads = ("Describe", "List", "Get", "BatchGet", "Query")
        if call.moment == "before" and call.service != "dynamodb" and not call.operation.startswith(reads):
            changed.append(f"{call.service}:{call.operation}")

    qa.aws.on_call(look)
    qa.controller.reconcile(Slug("qa-foo"))
    qa.deliver()
    return changed


def test_a_newer_layout_is_passed_over_and_named(caplog: pytest.LogCaptureFixture) -> None:
    """Half of what a newer version meant may be the wrong half."""
    caplog.set_level(logging.ERROR)
    with installed() as qa:
        qa.push("qa/foo", A)
        qa.settle()
        qa.store.table.update_item(
            Key={"pk": "environment", "sk": "qa-foo"},
            UpdateExpression="SET layout = :newer",
            ExpressionAttributeValues={":newer": LAYOUT + 1},
        )
        before = qa.store.table.get_item(Key={"pk": "environment", "sk": "qa-foo"})["Item"]
        assert list(qa.store.all()) == []
        with pytest.raises(ValueError, match="is of a newer version"):
            qa.controller.reconcile(Slug("qa-foo"))
        assert qa.store.table.get_item(Key={"pk": "environment", "sk": "qa-foo"})["Item"] == before
    assert [record.getMessage() for record in caplog.records].count(store.UNREADABLE) == 1


def test_a_wish_brings_the_record_up_to_date() -> None:
    with installed() as qa:
        qa.push("qa/foo", A)
        env: Environment | None = qa.store.get(Slug("qa-foo"))
        assert env
        item = qa.store.table.get_item(Key={"pk": "environment", "sk": "qa-foo"})["Item"]
        assert item["layout"] == LAYOUT
