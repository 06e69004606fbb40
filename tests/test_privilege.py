"""Least privilege: what each function did in a whole life is what its role allows, and nothing else is.

docs/decisions/0017-least-privilege.md says what this proves and what not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from local.iam import needs, reference
from local.iam.policy import Request, Statement, given, is_allowed
from scripts import build
from tests.privilege import document, life, source
from tests.privilege.account import Use, running
from tests.privilege.rights import denied, spare, without
from tests.privilege.template import Stack

ROOT = Path(__file__).parents[1]
FUNCTIONS = tuple(name.lower() for name in build.FUNCTIONS)
ATTACH = (
    *("AssignPrivateIpAddresses", "CreateNetworkInterface", "DeleteNetworkInterface"),
    *("DescribeNetworkInterfaces", "DescribeSubnets", "UnassignPrivateIpAddresses"),
)
READS = re.compile(":(Describe|Get|List)")
USED_BY_AWS = {
    **{
        f"{name}/telemetry/1: logs:{action}": "Lambda writes the logs"
        for name in FUNCTIONS
        for action in ("CreateLogStream", "PutLogEvents")
    },
    **{
        f"{name}/telemetry/2: xray:{action}": "Lambda writes the traces"
        for name in FUNCTIONS
        for action in ("PutTraceSegments", "PutTelemetryRecords")
    },
    **{
        f"datastores/network/Attach: ec2:{action}": "Lambda attaches the function to the VPC"
        for action in ATTACH
    },
    "reconcile/work/Queue: sqs:GetQueueAttributes": "the event source mapping asks for it before it polls",
}
"""Rights that no call of a function needs, and why they are there."""


class Lived:
    """What came of a whole life: the roles, and what was asked of them."""

    def __init__(self, stack: Stack, uses: Iterable[Use], unknown: list[str]) -> None:
        self.stack, self.uses, self.unknown = stack, list(uses), unknown
        self.roles = {name: stack.role(name) for name in FUNCTIONS}
        self.requests = {
            name: list(dict.fromkeys(use.request for use in self.uses if use.function == name))
            for name in FUNCTIONS
        }


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """It takes twenty seconds, so it is lived once for all tests."""
    with running(tmp_path_factory.mktemp("built")) as account:
        life.live(account)
        return Lived(account.stack, account.recorder.uses, account.recorder.unknown)


# --- a whole life -----------------------------------------------------------------------------------------


def test_every_call_is_allowed_by_its_own_functions_role(lived: Lived) -> None:
    assert lived.unknown == []
    refused = [str(use) for use in lived.uses if not is_allowed(lived.roles[use.function], use.request)]
    assert refused == []
    assert min(len(requests) for requests in lived.requests.values()) > 1, "every function did something"


def test_no_role_allows_anything_that_was_not_needed(lived: Lived) -> None:
    """Nor is an exception kept that is none any more."""
    found = {one for name in FUNCTIONS for one in spare(lived.roles[name], lived.requests[name])}
    assert found == set(USED_BY_AWS)


def test_without_any_one_right_a_call_is_denied(lived: Lived) -> None:
    tried = 0
    for name in FUNCTIONS:
        for statement, action in given(lived.roles[name]):
            if f"{statement.place}: {action}" in USED_BY_AWS:
                continue
            tried += 1
            asked = [request for request in lived.requests[name] if request.action == action]
            assert denied(without(lived.roles[name], statement, action), asked), (statement.place, action)
    assert tried > 80


def test_any_right_more_is_spare(lived: Lived) -> None:
    """Of all actions of all services that the product knows, on everything."""
    services = {request.action.partition(":")[0] for use in lived.uses for request in [use.request]}
    actions = [action for service in sorted(services) for action in sorted(reference.actions(service))]
    assert len(actions) > 1000
    for name in FUNCTIONS:
        for action in actions:
            more = Statement("more", "Allow", (action,), ("*",))
            asked = [one for one in lived.requests[name] if one.action.lower() == action]
            assert f"more: {action}" in spare([*lived.roles[name], more], asked), (name, action)


def test_every_resource_is_of_a_type_that_the_action_is_about(lived: Lived) -> None:
    """AWS's own list against the table; what it knows no resource for is asked of everything."""
    wrong = {
        str(use.request) for use in lived.uses if not _is_about(use.request.action, use.request.resource)
    }
    assert wrong == set()


def _is_about(action: str, resource: str) -> bool:
    if resource == needs.ALL:
        return not reference.types(action) or action in needs.ANY_RESOURCE
    return reference.type_of(action, resource) is not None


def test_everything_that_the_product_can_call_was_called(lived: Lived) -> None:
    """What the life did not reach would be proven by nothing."""
    called = {use.operation for use in lived.uses}
    assert {name for name in needs.TABLE if name not in called} == set()


def test_tags_decide_about_what_is_ours(lived: Lived) -> None:
    """What changes something is denied on things of others, of nobody and of another installation."""
    tag = "aws:resourcetag/qa-env:installation"
    guarded = {
        request
        for request in lived.requests["reconcile"]
        if dict(request.context).get(tag) == ("qa-env",) and not READS.search(request.action)
    }
    conditional = {
        one for one, _ in given(lived.roles["reconcile"]) if tag in {key for _, key, _ in one.conditions}
    }
    assert {request.action for request in guarded} == {name for one in conditional for name in one.actions}
    for request in guarded:
        for value in ((), ("other",)):
            others = changed(request, tag, value)
            assert not is_allowed(lived.roles["reconcile"], others), str(others)


def test_nothing_is_made_without_our_tag(lived: Lived) -> None:
    tag = "aws:requesttag/qa-env:installation"
    made = {request for request in lived.requests["reconcile"] if tag in dict(request.context)}
    assert {request.action for request in made} == {
        *("codepipeline:CreatePipeline", "codepipeline:TagResource"),
        *("ecs:CreateService", "ecs:RegisterTaskDefinition", "ecs:TagResource"),
        *("elasticloadbalancing:CreateTargetGroup", "elasticloadbalancing:CreateListener"),
        *("elasticloadbalancing:CreateRule", "elasticloadbalancing:AddTags"),
        *("secretsmanager:CreateSecret", "secretsmanager:TagResource"),
    }
    for request in made:
        untagged = changed(request, tag, ())
        assert not is_allowed(lived.roles["reconcile"], untagged), str(untagged)


def changed(request: Request, key: str, values: tuple[str, ...]) -> Request:
    """The same request with another value of a condition key, or without it."""
    context = {name: one for name, one in request.context if name != key}
    return Request.of(request.action, request.resource, context | ({key: values} if values else {}))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_document_says_what_each_function_may_do_and_why(function: str) -> None:
    said = document.written((ROOT / "docs" / "permissions.md").read_text("utf-8"))[function]
    assert [row for row, _ in said] == document.rows(function)
    assert all(len(reason) > 5 for _, reason in said)


def test_every_operation_that_the_code_names_is_in_the_table() -> None:
    """So the life, which calls all of the table, leaves out nothing that the product can do."""
    assert source.services() == set(source.SERVICES)
    named = source.operations()
    assert len(named) > 60, "the test finds them"
    assert {name for name, ones in named.items() if not ones & set(needs.TABLE)} == set()


# --- what an API call needs -------------------------------------------------------------------------------


def call(operation: str, **params: Any) -> needs.Call:
    return needs.Call(operation, params, "eu-west-1", "123456789012", lambda arn: {}, lambda name: name)


def test_an_operation_that_is_not_in_the_table_says_what_to_add() -> None:
    with pytest.raises(
        KeyError, match=r"needs.py does not know ecs:RunTask.*Service Authorization Reference"
    ):
        needs.of(call("ecs:RunTask"))


def test_a_pipeline_hands_on_its_role_and_its_connection() -> None:
    source = {"configuration": {"ConnectionArn": "arn:aws:codestar-connections:eu-west-1:1:connection/1"}}
    declared = {"name": "qa-foo", "roleArn": "arn:aws:iam::1:role/p", "stages": [{"actions": [source]}]}
    asked = needs.of(
        call("codepipeline:CreatePipeline", pipeline=declared, tags=[{"key": "a", "value": "b"}])
    )
    assert [(one.action, one.resource.rpartition(":")[2]) for one in asked] == [
        ("codepipeline:CreatePipeline", "qa-foo"),
        ("codepipeline:TagResource", "qa-foo"),
        ("iam:PassRole", "role/p"),
        ("codestar-connections:PassConnection", "connection/1"),
    ]
    assert dict(asked[0].context) == {"aws:requesttag/a": ("b",), "aws:tagkeys": ("a",)}
    assert dict(asked[2].context) == {"iam:passedtoservice": ("codepipeline.amazonaws.com",)}


def test_a_transaction_needs_what_its_items_need() -> None:
    put = {"TableName": "t", "Item": {"pk": "claim#port", "sk": "1"}, "ConditionExpression": "slug = :slug"}
    update = {
        "TableName": "t",
        "Key": {"pk": "environment", "sk": "qa-foo"},
        "UpdateExpression": "SET claims = :claims",
        "ConditionExpression": "attribute_exists(pk) AND #g = :g",
        "ExpressionAttributeNames": {"#g": "generation"},
    }
    asked = needs.of(call("dynamodb:TransactWriteItems", TransactItems=[{"Put": put}, {"Update": update}]))
    assert [one.action for one in asked] == ["dynamodb:PutItem", "dynamodb:UpdateItem"]
    assert [dict(one.context)["dynamodb:leadingkeys"] for one in asked] == [("claim#port",), ("environment",)]
    assert [dict(one.context)["dynamodb:attributes"] for one in asked] == [
        ("pk", "sk", "slug"),
        ("claims", "generation", "pk", "sk"),
    ]


# --- how IAM decides --------------------------------------------------------------------------------------


def statement(effect: str = "Allow", action: Any = "ecs:TagResource", **more: Any) -> Statement:
    return Statement.of("a role", {"Effect": effect, "Action": action, "Resource": "*"} | more)


def is_covered(written: Statement, **context: tuple[str, ...]) -> bool:
    keys = {name.replace("__", ":"): values for name, values in context.items()}
    return written.covers(Request.of("ecs:TagResource", "arn:aws:ecs:eu-west-1:1:service/qa/foo", keys))


def test_what_nothing_allows_is_denied_and_a_denial_wins() -> None:
    request = Request.of("ecs:TagResource", "x")
    assert not is_allowed([], request)
    assert is_allowed([statement()], request)
    assert not is_allowed([statement(), statement("Deny")], request)
    assert not is_allowed([statement("Deny", "ecs:UpdateService")], request)


@pytest.mark.parametrize(
    ("pattern", "covers"),
    [
        ("arn:aws:ecs:eu-west-1:1:service/*", True),
        ("arn:aws:ecs:*:service/qa/fo?", True),
        ("arn:aws:ecs:eu-west-1:1:service/QA/*", False),
        ("arn:aws:ecs:eu-west-1:1:service", False),
        ("arn:aws:ecs:eu-west-1:1:service/.*", False),
    ],
)
def test_a_star_is_any_text_and_nothing_else_is_special(pattern: str, covers: bool) -> None:
    assert is_covered(statement(Resource=["arn:aws:sqs:::no", pattern])) is covers


def test_actions_have_no_case() -> None:
    assert is_covered(statement(action=["ECS:tagresource"]))
    assert not is_covered(statement(action="ecs:Tag"))


def test_a_condition_on_a_key_that_is_missing_does_not_hold() -> None:
    wanted = statement(Condition={"StringEquals": {"aws:ResourceTag/a": ["1", "2"]}})
    assert is_covered(wanted, **{"aws__resourcetag/A": ("2",)})
    assert not is_covered(wanted, **{"aws__resourcetag/a": ("3",)})
    assert not is_covered(wanted)


def test_every_condition_must_hold() -> None:
    wanted = statement(Condition={"StringEquals": {"a": "1", "b": "1"}, "StringLike": {"c": "x*"}})
    assert is_covered(wanted, a=("1",), b=("1",), c=("xyz",))
    assert not is_covered(wanted, a=("1",), b=("2",), c=("xyz",))
    assert not is_covered(wanted, a=("1",), b=("1",), c=("yz",))


def test_for_all_values_looks_at_each_and_holds_of_none() -> None:
    wanted = statement(Condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}})
    assert is_covered(wanted, aws__TagKeys=("b", "a"))
    assert not is_covered(wanted, aws__TagKeys=("a", "c"))
    assert is_covered(wanted)


@pytest.mark.parametrize(
    ("written", "what"),
    [
        ({"NotAction": "x"}, "NotAction"),
        ({"Condition": {"NumericLessThan": {"a": "1"}}}, "NumericLessThan"),
        ({"Resource": "arn:${aws:username}"}, "variables"),
    ],
)
def test_what_the_template_does_not_use_is_an_error(written: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        is_covered(statement(**written), a=("1",))


def test_references_lead_to_the_values_of_the_installation() -> None:
    template = {
        "Parameters": {
            "Arns": {"Type": "CommaDelimitedList", "Default": "a,b"},
            "Empty": {"Type": "String", "Default": ""},
        },
        "Conditions": {"Has": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Empty"}, ""]}]}},
    }
    stack = Stack(template, {"Table.Arn": "arn:table", "AWS::Region": "eu-west-1"})
    no_value = {"Ref": "AWS::NoValue"}
    assert stack.resolve([{"Ref": "Arns"}, {"Fn::If": ["Has", "yes", no_value]}]) == [["a", "b"]]
    assert stack.resolve({"x": {"Fn::GetAtt": ["Table", "Arn"]}, "y": no_value}) == {"x": "arn:table"}
    assert stack.resolve({"Fn::Sub": "at:${AWS::Region}:${Table.Arn}"}) == "at:eu-west-1:arn:table"
    with pytest.raises(ValueError, match="Fn::Select"):
        stack.resolve({"Fn::Select": [0, {"Ref": "Arns"}]})
