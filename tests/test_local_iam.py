"""IAM of the local stack: what is asked is read off the wire, and what a role does not allow is refused.

That the decisions are right is `test_privilege.py`'s business; here it is that they are made, with the role
as it is deployed, and that no refusal is missed.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from ministack.core.router import detect_service

from local import codepipeline, demo, ministack
from local.iam import guard, needs, outside, wire
from local.iam.guard import Denials, Guard, Role
from tests import canaries

REGION, ACCOUNT = ministack.REGION, ministack.ACCOUNT
BALANCER = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/app/qa/0123456789abcdef"
LISTENER = f"{BALANCER.replace(':loadbalancer/', ':listener/')}/0123456789abcdef"
GROUP = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/g/0123456789abcdef"
SERVICE = f"arn:aws:ecs:{REGION}:{ACCOUNT}:service/c/s"
OURS = {"qa-env:installation": "qa-env"}


# --- the wire ---------------------------------------------------------------------------------------------


class Sent(Exception):
    """What botocore was about to send."""

    def __init__(self, request: Any) -> None:
        super().__init__()
        self.request = request


def sent(service: str, operation: str, params: dict[str, Any]) -> Any:
    """The request of a real client."""
    config = Config(region_name=REGION)
    client: Any = boto3.client(
        service,
        config=config,
        aws_access_key_id=guard.access_key("f"),
        aws_secret_access_key=canaries.AWS_SECRET_KEY,
    )

    def stop(request: Any, **_: Any) -> None:
        raise Sent(request)

    client.meta.events.register("before-send", stop)
    with pytest.raises(Sent) as caught:
        client._make_api_call(operation, params)
    return caught.value.request


TAGS = [{"Key": name, "Value": value} for name, value in OURS.items()]
LOWER = [{"key": name, "value": value} for name, value in OURS.items()]
CALLS: list[tuple[str, dict[str, Any]]] = [
    (
        "elbv2:CreateListener",
        {
            "LoadBalancerArn": BALANCER,
            "Port": 80,
            "Protocol": "HTTP",
            "DefaultActions": [{"Type": "forward", "TargetGroupArn": GROUP}],
            "Tags": TAGS * 11,
        },
    ),
    ("elbv2:CreateTargetGroup", {"Name": "g"}),
    ("elbv2:AddTags", {"ResourceArns": [LISTENER, GROUP], "Tags": TAGS}),
    ("elbv2:DescribeRules", {"ListenerArn": LISTENER}),
    ("ecs:CreateService", {"cluster": "c", "serviceName": "s", "tags": LOWER}),
    (
        "ecs:RegisterTaskDefinition",
        {
            "family": "f",
            "containerDefinitions": [{"name": "app", "image": "i"}],
            "executionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/execution",
            "tags": LOWER,
        },
    ),
    ("events:PutEvents", {"Entries": [{"Source": "qa-env", "DetailType": "Ready", "Detail": "{}"}]}),
    ("secretsmanager:GetSecretValue", {"SecretId": "stg/é"}),
    ("ssm:GetParameter", {"Name": "/qa/github"}),
    ("sqs:SendMessage", {"QueueUrl": f"https://sqs.example.com/{ACCOUNT}/q.fifo", "MessageBody": "&=%"}),
    (
        "sqs:SendMessageBatch",
        {
            "QueueUrl": f"https://sqs.example.com/{ACCOUNT}/q.fifo",
            "Entries": [{"Id": "0", "MessageBody": "&=%", "MessageGroupId": "qa-foo"}],
        },
    ),
    ("lambda:Invoke", {"FunctionName": "qa-env-datastores", "Payload": b"{}"}),
    ("ecr:ListImages", {"repositoryName": "sample-app"}),
    ("codepipeline:GetPipeline", {"name": "qa-foo"}),
    ("codebuild:BatchGetBuilds", {"ids": ["build:1"]}),
    ("resourcegroupstaggingapi:GetResources", {}),
    ("cloudwatch:GetMetricData", {"MetricDataQueries": [], "StartTime": 0, "EndTime": 1}),
]


def asked(operation: str, params: dict[str, Any]) -> list[str]:
    """What IAM is asked for one call."""
    call = needs.Call(operation, params, REGION, ACCOUNT, lambda arn: OURS, lambda name: f"arn:{name}")
    return [str(request) for request in needs.of(call)]


@pytest.mark.parametrize(("operation", "params"), CALLS, ids=[name for name, _ in CALLS])
def test_a_call_is_read_off_the_wire_as_it_was_made(operation: str, params: dict[str, Any]) -> None:
    """Whatever protocol the service speaks, IAM is asked the same."""
    assert asked(*received(operation, params)) == asked(operation, params)


def received(operation: str, params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The call as MiniStack gets it."""
    request = sent(*operation.split(":"), params)
    headers = {
        name.lower(): value.decode() if isinstance(value, bytes) else str(value)
        for name, value in request.headers.items()
    }
    body = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
    path = "/" + request.url.split("://")[1].partition("/")[2]
    assert wire.access_key(headers["authorization"]) == guard.access_key("f")
    service = detect_service(request.method, path, headers, {})
    return wire.read(service, request.method, path, headers, body)


def test_dynamodbs_typed_values_become_plain_ones() -> None:
    """Keys decide who may write a record; the attributes are those that the request names."""
    put = {"TableName": "t", "Item": {"pk": {"S": "claim#port"}, "sk": {"S": "1"}, "n": {"N": "1"}}}
    update = {
        "TableName": "t",
        "Key": {"pk": {"S": "environment"}, "sk": {"S": "qa-foo"}},
        "UpdateExpression": "SET claims = :claims",
        "ExpressionAttributeValues": {":claims": {"L": [{"S": "x"}]}},
    }
    both = {"TransactItems": [{"Put": put}, {"Update": update}]}
    table = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/t"
    keys, attributes = "dynamodb:leadingkeys", "dynamodb:attributes"
    assert asked(*received("dynamodb:TransactWriteItems", both)) == [
        f"dynamodb:PutItem on {table} ({attributes}=n|pk|sk, {keys}=claim#port)",
        f"dynamodb:UpdateItem on {table} ({attributes}=claims|pk|sk, {keys}=environment)",
    ]


def test_what_is_not_signed_has_no_key() -> None:
    assert wire.access_key("") == wire.access_key("Bearer x") == ""


# --- the guard --------------------------------------------------------------------------------------------


def allow(action: str, resource: str = "*", **conditions: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": [action], "Resource": resource, "Condition": conditions}


IF_OURS = {"StringEquals": {f"aws:ResourceTag/{name}": value for name, value in OURS.items()}}
KEY = guard.access_key("f")


@pytest.fixture
def denials(tmp_path: Path) -> Denials:
    return Denials.among(tmp_path)


def guarding(
    denials: Denials, *statements: dict[str, Any], tags: Callable[[str], Any] = lambda arn: OURS
) -> Guard:
    """Of one function `f` with one policy `work`."""
    role = Role.of("f", f"arn:aws:iam::{ACCOUNT}:role/r", {"work": {"Statement": list(statements)}})
    return Guard(ACCOUNT, REGION, {KEY: role}.get, tags, lambda name: name, denials)


def test_what_the_role_allows_goes_on(denials: Denials) -> None:
    one = guarding(denials, allow("ecs:UpdateService", **IF_OURS))
    assert one.refusal(KEY, "ecs:UpdateService", {"cluster": "c", "service": "s"}) is None
    assert denials.read() == []


def test_what_it_does_not_allow_is_refused_and_written_down(denials: Denials) -> None:
    one = guarding(denials, allow("ecs:UpdateService", **IF_OURS), tags=lambda arn: {})
    denial = one.refusal(KEY, "ecs:UpdateService", {"cluster": "c", "service": "s"})
    assert denial
    assert denial.message == (
        f"User: arn:aws:sts::{ACCOUNT}:assumed-role/r/f is not authorized to perform: ecs:UpdateService on "
        f"resource: {SERVICE} because no identity-based policy allows the ecs:UpdateService action"
    )
    assert denials.read() == [f"f calls ecs:UpdateService: ecs:UpdateService on {SERVICE}"]


def test_every_request_of_a_call_must_be_allowed(denials: Denials) -> None:
    """Creating with tags is creating and tagging."""
    call = {"cluster": "c", "serviceName": "s", "tags": LOWER}
    one = guarding(denials, allow("ecs:CreateService"))
    denial = one.refusal(KEY, "ecs:CreateService", call)
    assert denial
    assert denial.action == "ecs:TagResource"
    both = guarding(denials, allow("ecs:CreateService"), allow("ecs:TagResource"))
    assert both.refusal(KEY, "ecs:CreateService", call) is None


@pytest.mark.parametrize(
    ("operation", "params", "why"),
    [
        ("ecs:RunTask", {}, "needs.py does not know ecs:RunTask"),
        ("ecs:CreateService", {"cluster": "c", "serviceName": "s"}, "tags"),
        ("s3:GET /bucket", {}, "needs.py does not know s3:GET /bucket"),
    ],
)
def test_a_call_that_cannot_be_judged_does_not_pass(
    denials: Denials, operation: str, params: dict[str, Any], why: str
) -> None:
    assert guarding(denials, allow("*")).refusal(KEY, operation, params)
    (line,) = denials.read()
    assert line.startswith(f"f calls {operation}: ")
    assert why in line


def test_only_functions_are_asked_for_rights(denials: Denials) -> None:
    """The operator may all; a key that looks like a function's and is none may nothing."""
    one = guarding(denials)
    assert one.refusal(ACCOUNT, "ecs:ListTasks", {}) is None
    assert one.refusal(guard.access_key("other"), "ecs:ListTasks", {})
    assert len(denials.read()) == 1


def test_what_somebody_else_deleted_meanwhile_is_refused_but_no_fault(denials: Denials) -> None:
    """Its tags went with it, and no role that looks at tags could allow it."""
    deletes = allow("elasticloadbalancing:DeleteListener", **IF_OURS)
    gone = guarding(denials, deletes, tags=lambda arn: None)
    assert gone.refusal(KEY, "elbv2:DeleteListener", {"ListenerArn": LISTENER})
    assert denials.read() == []

    others = guarding(denials, deletes, tags=lambda arn: {})
    assert others.refusal(KEY, "elbv2:DeleteListener", {"ListenerArn": LISTENER})
    may_not = guarding(denials, tags=lambda arn: None)
    assert may_not.refusal(KEY, "elbv2:DeleteListener", {"ListenerArn": LISTENER})
    assert len(denials.read()) == 2


def test_the_demo_fails_over_a_denied_call(denials: Denials) -> None:
    stack: Any = SimpleNamespace(denials=denials)
    demo.check_rights(stack)
    guarding(denials).refusal(KEY, "ecs:ListTasks", {})
    with pytest.raises(demo.Unexpected, match="f calls ecs:ListTasks"):
        demo.check_rights(stack)


# --- in MiniStack -----------------------------------------------------------------------------------------

CODE = """
import os
def handler(event, context):
    return os.environ["AWS_ACCESS_KEY_ID"]
"""


@dataclass
class Cloud:
    """MiniStack with a function `f`, whose rights a test may choose."""

    stack: ministack.MiniStack
    role: str = field(init=False)

    def __post_init__(self) -> None:
        self.role = self.stack.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"][
            "Arn"
        ]
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("f.py", CODE)
        self.stack.client("lambda").create_function(
            FunctionName="f",
            Runtime="python3.11",
            Role=self.role,
            Handler="f.handler",
            Code={"ZipFile": archive.getvalue()},
        )

    def may(self, *actions: str) -> None:
        """The function's role allows these, and nothing else."""
        document = {"Version": "2012-10-17", "Statement": [allow(action) for action in actions]}
        self.stack.client("iam").put_role_policy(
            RoleName="r", PolicyName="work", PolicyDocument=json.dumps(document)
        )

    def client(self, service: str, endpoint: str | None = None) -> Any:
        """With the function's key."""
        return self.stack.client(service, endpoint, KEY)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    directory = tmp_path_factory.mktemp("cloud")
    stack = ministack.start(directory, directory / "logs", "token", {})
    try:
        yield Cloud(stack)
    finally:
        stack.stop()


@pytest.fixture
def cloud(started: Cloud) -> Cloud:
    started.may("ecs:ListServices")
    started.stack.denials.take()
    return started


def test_a_function_signs_with_its_own_key(cloud: Cloud) -> None:
    answer = cloud.stack.client("lambda").invoke(FunctionName="f")
    assert json.load(answer["Payload"]) == guard.access_key("f")


def test_without_the_one_right_the_same_call_is_denied(cloud: Cloud) -> None:
    """The role counts as it is deployed at the moment of the call."""
    cloud.may("ecs:ListTaskDefinitions", "ecs:ListServices")
    assert cloud.client("ecs").list_task_definitions()["taskDefinitionArns"] == []
    assert cloud.stack.denials.read() == []

    cloud.may("ecs:ListServices")
    with pytest.raises(ClientError, match="not authorized to perform: ecs:ListTaskDefinitions"):
        cloud.client("ecs").list_task_definitions()
    assert cloud.stack.denials.read() == ["f calls ecs:ListTaskDefinitions: ecs:ListTaskDefinitions on *"]


REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    (*operation.split(":"), params)
    for operation, params in [*CALLS, ("dynamodb:GetItem", {"TableName": "t", "Key": {"pk": {"S": "a"}}})]
    if not operation.startswith("codepipeline:")
]


@pytest.mark.parametrize(("service", "operation", "params"), REFUSED, ids=[f"{a}:{b}" for a, b, _ in REFUSED])
def test_each_service_refuses_in_its_own_words(
    cloud: Cloud, service: str, operation: str, params: dict[str, Any]
) -> None:
    """boto3 finds the code that the product knows, wherever the service puts it."""
    with pytest.raises(ClientError) as caught:
        cloud.client(service)._make_api_call(operation, params)
    assert caught.value.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")
    (line,) = cloud.stack.denials.read()
    assert line.startswith(f"f calls {service}:{operation}: ")


def test_nothing_has_happened_when_a_call_is_refused(cloud: Cloud) -> None:
    elbv2 = cloud.stack.client("elbv2")
    group = elbv2.create_target_group(Name="mine", TargetType="lambda", Tags=TAGS)["TargetGroups"][0]
    with pytest.raises(ClientError, match="AccessDenied"):
        cloud.client("elbv2").delete_target_group(TargetGroupArn=group["TargetGroupArn"])
    assert elbv2.describe_target_groups(Names=["mine"])["TargetGroups"]


def test_services_that_no_function_uses_are_closed(cloud: Cloud) -> None:
    with pytest.raises(ClientError):
        cloud.client("sts").get_caller_identity()
    (line,) = cloud.stack.denials.read()
    assert line.startswith("f calls sts:GetCallerIdentity: ")


def test_tags_count_as_they_are_at_the_moment(cloud: Cloud) -> None:
    """Of the load balancer's things, which MiniStack's own IAM does not look at."""
    elbv2 = cloud.stack.client("elbv2")
    group = elbv2.create_target_group(Name="whose", TargetType="lambda")["TargetGroups"][0]["TargetGroupArn"]
    statement = allow("elasticloadbalancing:DeleteTargetGroup", **IF_OURS)
    cloud.stack.client("iam").put_role_policy(
        RoleName="r",
        PolicyName="work",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        cloud.client("elbv2").delete_target_group(TargetGroupArn=group)
    elbv2.add_tags(ResourceArns=[group], Tags=TAGS)
    cloud.client("elbv2").delete_target_group(TargetGroupArn=group)
    with pytest.raises(elbv2.exceptions.TargetGroupNotFoundException):
        elbv2.describe_target_groups(Names=["whose"])


def test_the_codepipeline_stand_in_asks_for_the_same_roles(cloud: Cloud) -> None:
    cloud.may("codepipeline:ListPipelines")
    settings = codepipeline.Settings(account=ACCOUNT, region=REGION)
    engine = codepipeline.Engine(codepipeline.World(lambda repository, branch: None), settings)
    refuse = outside.codepipeline(settings, cloud.stack.client, lambda arn: None, cloud.stack.denials)
    with codepipeline.Server(engine, refuse=refuse) as server:
        function = cloud.client("codepipeline", server.url)
        assert function.list_pipelines()["pipelines"] == []
        with pytest.raises(ClientError, match=r"AccessDenied.*codepipeline:GetPipeline"):
            function.get_pipeline(name="qa-foo")
        operator = cloud.stack.client("codepipeline", server.url)
        with pytest.raises(operator.exceptions.PipelineNotFoundException):
            operator.get_pipeline(name="qa-foo")
    arn = f"arn:aws:codepipeline:{REGION}:{ACCOUNT}:qa-foo"
    assert cloud.stack.denials.read() == [
        f"f calls codepipeline:GetPipeline: codepipeline:GetPipeline on {arn}"
    ]
