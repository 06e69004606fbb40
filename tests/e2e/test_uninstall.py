"""docs/operations.md, "Uninstalling": its steps leave what it says and nothing else.

`sam delete` is DeleteStack here. What AWS does and the local stack cannot show: network interfaces of a
function in a VPC go late, and a deleted table leaves a backup of the system's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.stack import INSTALLATION, Options
from qa_env.cli.main import main
from tests.e2e.conftest import Developer, developer, wait
from tests.test_docs import text

STEPS = (
    "qa-env list",
    "qa-env sweep --dry-run",
    ".venv-sam/bin/sam delete --stack-name …",
    "aws dynamodb delete-table --table-name …",
    "aws resourcegroupstaggingapi get-resources --tag-filters Key=qa-env:installation,Values=<Installation>",
)
KINDS = {
    "AWS::CloudWatch::Alarm": ("cloudwatch", "describe_alarms", "MetricAlarms[].AlarmName"),
    "AWS::CloudWatch::Dashboard": ("cloudwatch", "list_dashboards", "DashboardEntries[].DashboardName"),
    "AWS::DynamoDB::Table": ("dynamodb", "list_tables", "TableNames[]"),
    "AWS::Events::Rule": ("events", "list_rules", "Rules[].Name"),
    "AWS::IAM::Role": ("iam", "list_roles", "Roles[].RoleName"),
    "AWS::Lambda::EventSourceMapping": (
        "lambda",
        "list_event_source_mappings",
        "EventSourceMappings[].UUID",
    ),
    "AWS::Lambda::Function": ("lambda", "list_functions", "Functions[].FunctionName"),
    "AWS::Logs::LogGroup": ("logs", "describe_log_groups", "logGroups[].logGroupName"),
    "AWS::Logs::MetricFilter": ("logs", "describe_metric_filters", "metricFilters[].filterName"),
    "AWS::SQS::Queue": ("sqs", "list_queues", "QueueUrls[]"),
    "AWS::Scheduler::Schedule": ("scheduler", "list_schedules", "Schedules[].Name"),
    "AWS::SecretsManager::Secret": ("secretsmanager", "list_secrets", "SecretList[].Name"),
}
"""How everything in the account of a type that the template makes is listed, by the name that is its Ref."""
PARTS = {"AWS::Lambda::EventInvokeConfig", "AWS::Lambda::Permission", "AWS::Lambda::Url"}  # of functions


def test_the_document_has_the_steps_that_are_taken_here() -> None:
    section = text("docs/operations.md").partition("## Uninstalling")[2].partition("\nA stack that")[0]
    lines = re.findall(r"`((?:qa-env|aws|\.venv-sam/bin/sam) [^`]+)`|^ {4}(aws .+)$", section, re.MULTILINE)

    assert tuple(inline or block for inline, block in lines) == STEPS


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Developer]:
    """The developer of a stack that makes all it can: with users of environments and their secrets.

    Its functions bring their packages: a module that was left out of one is not found anywhere else.
    """
    yield from developer(Options(name="e2e-uninstall", accounts="own", packages=True), tmp_path)


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_uninstalling_leaves_nothing(
    dev: Developer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = stack_resources(dev)
    before = account(dev)
    assert installed <= before
    operators = before - installed
    table = ("AWS::DynamoDB::Table", dev.stack.info["table"])
    as_operator(dev, monkeypatch)
    commit = dev.commit()
    dev.push("qa/last")
    dev.live("qa/last", commit)
    assert tagged(dev)

    dev.delete("qa/last")
    dev.gone()
    (dev.stack.remote.path / "hooks" / "post-receive").unlink()  # GitHub's webhook
    assert json.loads(typed("qa-env list --json", capsys))["total"] == 0
    assert typed("qa-env sweep --dry-run", capsys) == "Everything is as it is known.\n"
    delete_stack(dev)

    assert account(dev) - operators == {table}
    dev.stack.client("dynamodb").delete_table(TableName=table[1])
    assert account(dev) == operators
    assert tagged(dev) == []


def account(dev: Developer) -> set[tuple[str, str]]:
    """Everything there is of the types that the template makes, whoever made it."""
    found = set()
    for kind, (service, operation, names) in KINDS.items():
        pages = dev.stack.client(service).get_paginator(operation).paginate()
        found |= {(kind, _without_host(name)) for name in pages.search(names) if name}
    return found


def stack_resources(dev: Developer) -> set[tuple[str, str]]:
    """What CloudFormation made."""
    pages = dev.stack.client("cloudformation").get_paginator("list_stack_resources")
    resources = pages.paginate(StackName=INSTALLATION).search("StackResourceSummaries[]")
    made = {(one["ResourceType"], _without_host(one["PhysicalResourceId"])) for one in resources}
    return {one for one in made if one[0] not in PARTS}


def _without_host(name: str) -> str:
    """A queue's URL has the name by which it was asked for."""
    return urlsplit(name).path if "://" in name else name


def tagged(dev: Developer) -> list[str]:
    """Everything that an environment brought along, by its tag."""
    found = dev.stack.client("resourcegroupstaggingapi").get_resources(
        TagFilters=[{"Key": "qa-env:installation", "Values": [INSTALLATION]}]
    )
    return [one["ResourceARN"] for one in found["ResourceTagMappingList"]]


def as_operator(dev: Developer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is typed from now on reaches this stack as it would reach AWS."""
    info = dev.stack.info
    settings = {
        "AWS_ENDPOINT_URL": info["aws_endpoint_url"],
        "AWS_ACCESS_KEY_ID": info["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": info["aws_secret_access_key"],
        "AWS_DEFAULT_REGION": info["region"],
        "QA_ENV_STACK": INSTALLATION,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)


def typed(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says; it must succeed."""
    capsys.readouterr()
    code = main(line.split()[1:])
    said = capsys.readouterr()
    assert code == 0, said
    return said.out


def delete_stack(dev: Developer) -> None:
    cloudformation = dev.stack.client("cloudformation")
    identifier = cloudformation.describe_stacks(StackName=INSTALLATION)["Stacks"][0]["StackId"]
    cloudformation.delete_stack(StackName=INSTALLATION)
    wait(
        lambda: _status(cloudformation, identifier) == "DELETE_COMPLETE",
        "the stack is deleted",
        lambda: _status(cloudformation, identifier),
    )


def _status(cloudformation: Any, identifier: str) -> str:
    return str(cloudformation.describe_stacks(StackName=identifier)["Stacks"][0]["StackStatus"])
