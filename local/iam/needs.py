"""What IAM decides about when an API is called: the actions, on what, under which circumstances.

The Service Authorization Reference (SAR) says which resources an action is about (`reference.py` holds it
against this table). What an operation needs beside the action of its name is from:

* tags while creating: SAR, operations CreateListener, CreateRule, CreateTargetGroup
  (`elasticloadbalancing:AddTags`); ECS Developer Guide, "Grant permission to tag resources on creation"
  (`ecs:TagResource`); both say `CreateAction`, the key that tells this from tagging what there is;
* CreatePipeline: CloudFormation's handler of AWS::CodePipeline::Pipeline asks for `iam:PassRole`,
  `codepipeline:TagResource` and `codestar-connections:PassConnection`;
* RegisterTaskDefinition: CloudFormation's handler asks for `iam:PassRole`; to ecs-tasks.amazonaws.com, which
  the roles trust. CreateService passes none: the task definition's roles are not its own;
* Describe… with `include: [TAGS]`: nothing more, CloudFormation's read handlers of AWS::ECS::Service and
  AWS::ECS::TaskDefinition ask for `ecs:DescribeServices` and `ecs:DescribeTaskDefinition` alone;
* CreateSecret with tags: Secrets Manager's API reference, "you must also have `secretsmanager:TagResource`";
* TransactWriteItems: DynamoDB Developer Guide, "Using IAM with transactions": the actions of its items;
  `dynamodb:LeadingKeys` and `dynamodb:Attributes`: "Using IAM policy conditions for fine-grained access".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from local.iam import reference
from local.iam.policy import Request

ALL = "*"
ANY_RESOURCE = {"ecs:ListTasks", "cloudwatch:GetMetricData"}
"""What the SAR names for these is optional, and is not what is asked for here: lists of no container
instance, and metrics of AWS's own namespaces."""
NEW = "0123456789abcdef"  # the part of an ARN that AWS is about to draw
PREFIXES = {"elbv2": "elasticloadbalancing", "resourcegroupstaggingapi": "tag"}
ACTIONS = {"lambda:Invoke": "lambda:InvokeFunction", "sqs:SendMessageBatch": "sqs:SendMessage"}
NOT_ATTRIBUTES = {"SET", "REMOVE", "AND", "OR", "NOT", "attribute_exists", "attribute_not_exists"}

Tags = Mapping[str, str]
Keys = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Call:
    """One API call. `tags` knows the tags of what there is, `secret` a secret's ARN by its name."""

    operation: str  # as boto3 names it: `elbv2:CreateRule`
    params: Mapping[str, Any]
    region: str
    account: str
    tags: Callable[[str], Tags]
    secret: Callable[[str], str]

    def arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"

    @property
    def action(self) -> str:
        service, _, name = self.operation.partition(":")
        return ACTIONS.get(self.operation, f"{PREFIXES.get(service, service)}:{name}")

    def on(self, *resources: str, action: str = "", **keys: tuple[str, ...]) -> Iterator[Request]:
        """A request for each resource, with its tags where IAM looks at them."""
        action = action or self.action
        known = {name.replace("__", ":").replace("_", "-"): values for name, values in keys.items()}
        for resource in resources:
            tagged = reference.knows_tags(action, resource)
            tags = _tag_keys("ResourceTag", self.tags(resource)) if tagged else {}
            yield Request.of(action, resource, {**tags, **known})

    def bringing(self, tags: Tags, *resources: str) -> Iterator[Request]:
        """The same with the tags that the call brings."""
        for request in self.on(*resources):
            yield Request.of(request.action, request.resource, {**dict(request.context), **_brought(tags)})

    def making(self, tags: Tags, *resources: str, action: str = "", creates: str = "") -> Iterator[Request]:
        """A request for each resource that does not exist yet; `creates` where tagging it has such a key."""
        action = action or self.action
        key = {f"{action.partition(':')[0]}:CreateAction": (creates,)} if creates else {}
        for resource in resources:
            yield Request.of(action, resource, {**_brought(tags), **key})


def of(call: Call) -> list[Request]:
    """Every request that IAM decides about for one call; a KeyError says what is missing here."""
    if call.operation not in TABLE:
        where = "the Service Authorization Reference says what it needs"
        raise KeyError(f"local/iam/needs.py does not know {call.operation}: {where}")
    return list(TABLE[call.operation](call))


def _brought(tags: Tags) -> Keys:
    return _tag_keys("RequestTag", tags) | {"aws:TagKeys": tuple(sorted(tags))}


def _tag_keys(kind: str, tags: Tags) -> Keys:
    return {f"aws:{kind}/{name}": (value,) for name, value in tags.items()}


def tag_dict(listed: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    return {one.get("key") or one["Key"]: one.get("value", one.get("Value", "")) for one in listed or ()}


def _pass_role(call: Call, role: str | None, service: str) -> Iterator[Request]:
    if role:
        yield from call.on(role, action="iam:PassRole", iam__PassedToService=(service,))


def _everything(call: Call) -> Iterator[Request]:
    yield from call.on(ALL)


def _parameter(name: str) -> Callable[[Call], Iterator[Request]]:
    """The parameter is an ARN, or a list of them."""

    def needs(call: Call) -> Iterator[Request]:
        value = call.params[name]
        yield from call.on(*(value if isinstance(value, list) else [value]))

    return needs


# --- CodePipeline and CodeBuild -----------------------------------------------------------------------------


def _pipeline(parameter: str) -> Callable[[Call], Iterator[Request]]:
    return lambda call: call.on(call.arn("codepipeline", call.params[parameter]))


def _declared_pipeline(call: Call) -> Iterator[Request]:
    declared, tags = call.params["pipeline"], tag_dict(call.params.get("tags"))
    arn = call.arn("codepipeline", declared["name"])
    if tags:
        yield from call.making(tags, arn)
        yield from call.making(tags, arn, action="codepipeline:TagResource")
    else:
        yield from call.on(arn)
    yield from _pass_role(call, declared["roleArn"], "codepipeline.amazonaws.com")
    for action in (action for stage in declared["stages"] for action in stage["actions"]):
        if connection := action.get("configuration", {}).get("ConnectionArn"):
            service = connection.split(":")[2]
            key = {f"{service}:PassedToService": ("codepipeline.amazonaws.com",)}
            yield Request.of(f"{service}:PassConnection", connection, key)


def _tag(arn: str, tags: str) -> Callable[[Call], Iterator[Request]]:
    def needs(call: Call) -> Iterator[Request]:
        tagged = call.params[arn]
        brought = tag_dict(call.params[tags])
        yield from call.bringing(brought, *(tagged if isinstance(tagged, list) else [tagged]))

    return needs


def _builds(call: Call) -> Iterator[Request]:
    """A build is named `project:id`."""
    for build in call.params.get("ids") or [call.params["id"]]:
        yield from call.on(call.arn("codebuild", f"project/{build.partition(':')[0]}"))


# --- Load balancers -----------------------------------------------------------------------------------------


def _create_target_group(call: Call) -> Iterator[Request]:
    arn = call.arn("elasticloadbalancing", f"targetgroup/{call.params['Name']}/{NEW}")
    yield from _create_balancing(call, arn, arn)


def _create_listener(call: Call) -> Iterator[Request]:
    balancer = call.params["LoadBalancerArn"]
    yield from _create_balancing(call, balancer, f"{balancer.replace(':loadbalancer/', ':listener/')}/{NEW}")


def _create_rule(call: Call) -> Iterator[Request]:
    listener = call.params["ListenerArn"]
    yield from _create_balancing(call, listener, f"{listener.replace(':listener/', ':listener-rule/')}/{NEW}")


def _create_balancing(call: Call, on: str, made: str) -> Iterator[Request]:
    tags, name = tag_dict(call.params.get("Tags")), call.operation.partition(":")[2]
    yield from call.bringing(tags, on)
    if tags:
        yield from call.making(tags, made, action="elasticloadbalancing:AddTags", creates=name)


# --- ECS ----------------------------------------------------------------------------------------------------


def _service_arn(call: Call, name: str) -> str:
    cluster = call.params["cluster"].rpartition("/")[2]
    return name if name.startswith("arn:") else call.arn("ecs", f"service/{cluster}/{name}")


def _create_service(call: Call) -> Iterator[Request]:
    arn, tags = _service_arn(call, call.params["serviceName"]), tag_dict(call.params["tags"])
    assert "role" not in call.params, "then it would be passed"
    yield from call.making(tags, arn)
    yield from call.making(tags, arn, action="ecs:TagResource", creates="CreateService")


def _register_task_definition(call: Call) -> Iterator[Request]:
    arn = call.arn("ecs", f"task-definition/{call.params['family']}:1")
    tags = tag_dict(call.params["tags"])
    yield from call.making(tags, arn)
    yield from call.making(tags, arn, action="ecs:TagResource", creates="RegisterTaskDefinition")
    for role in ("taskRoleArn", "executionRoleArn"):
        yield from _pass_role(call, call.params.get(role), "ecs-tasks.amazonaws.com")


def _service(call: Call) -> Iterator[Request]:
    yield from call.on(_service_arn(call, call.params["service"]))


def _services(call: Call) -> Iterator[Request]:
    yield from call.on(*(_service_arn(call, name) for name in call.params["services"]))


# --- DynamoDB -----------------------------------------------------------------------------------------------


def _on_table(call: Call, params: Mapping[str, Any], action: str = "") -> Iterator[Request]:
    table = call.arn("dynamodb", f"table/{params['TableName']}")
    keys = {"dynamodb:LeadingKeys": (_leading_key(params),), "dynamodb:Attributes": _attributes(params)}
    yield Request.of(action or call.action, table, keys)


def _leading_key(params: Mapping[str, Any]) -> str:
    if "KeyConditionExpression" in params:
        assert params["KeyConditionExpression"].startswith("pk = :pk"), "so that the key is known"
        return str(params["ExpressionAttributeValues"][":pk"])
    return str((params.get("Key") or params["Item"])["pk"])


def _attributes(params: Mapping[str, Any]) -> tuple[str, ...]:
    """The top-level attributes that a request names, in its key, its item and its expressions."""
    names = params.get("ExpressionAttributeNames", {})
    text = " ".join(value for key, value in params.items() if key.endswith("Expression"))
    named = set(re.findall(r"(?<![:#\w])[A-Za-z]\w*", text)) - NOT_ATTRIBUTES
    aliases = {names[one] for one in re.findall(r"#\w+", text)}
    return tuple(sorted({*named, *aliases, *params.get("Key", {}), *params.get("Item", {})}))


def _item(call: Call) -> Iterator[Request]:
    yield from _on_table(call, call.params)


def _transaction(call: Call) -> Iterator[Request]:
    for item in call.params["TransactItems"]:
        ((kind, params),) = item.items()
        action = {"ConditionCheck": "ConditionCheckItem"}.get(kind, f"{kind}Item")
        yield from _on_table(call, params, f"dynamodb:{action}")


# --- The rest -----------------------------------------------------------------------------------------------


def _queue(call: Call) -> Iterator[Request]:
    yield from call.on(call.arn("sqs", call.params["QueueUrl"].rpartition("/")[2]))


def _put_events(call: Call) -> Iterator[Request]:
    for entry in call.params["Entries"]:
        bus = call.arn("events", f"event-bus/{entry.get('EventBusName', 'default')}")
        keys = {"events:source": (entry["Source"],), "events:detail-type": (entry["DetailType"],)}
        yield Request.of(call.action, bus, keys)


def _secret(call: Call) -> Iterator[Request]:
    yield from call.on(call.secret(call.params["SecretId"]))


def _create_secret(call: Call) -> Iterator[Request]:
    arn, tags = call.secret(call.params["Name"]), tag_dict(call.params["Tags"])
    yield from call.making(tags, arn)
    yield from call.making(tags, arn, action="secretsmanager:TagResource")


def _ssm_parameter(call: Call) -> Iterator[Request]:
    yield from call.on(call.arn("ssm", f"parameter/{call.params['Name'].lstrip('/')}"))


def _function(call: Call) -> Iterator[Request]:
    yield from call.on(call.arn("lambda", f"function:{call.params['FunctionName']}"))


def _repository(call: Call) -> Iterator[Request]:
    yield from call.on(call.arn("ecr", f"repository/{call.params['repositoryName']}"))


TABLE: dict[str, Callable[[Call], Iterator[Request]]] = {
    "cloudwatch:GetMetricData": _everything,
    "codebuild:BatchGetBuilds": _builds,
    "codebuild:StopBuild": _builds,
    "codepipeline:CreatePipeline": _declared_pipeline,
    "codepipeline:DeletePipeline": _pipeline("name"),
    "codepipeline:GetPipeline": _pipeline("name"),
    "codepipeline:GetPipelineState": _pipeline("name"),
    "codepipeline:ListPipelineExecutions": _pipeline("pipelineName"),
    "codepipeline:ListPipelines": _everything,
    "codepipeline:ListTagsForResource": _parameter("resourceArn"),
    "codepipeline:PutJobFailureResult": _everything,
    "codepipeline:PutJobSuccessResult": _everything,
    "codepipeline:StartPipelineExecution": _pipeline("name"),
    "codepipeline:StopPipelineExecution": _pipeline("pipelineName"),
    "codepipeline:TagResource": _tag("resourceArn", "tags"),
    "codepipeline:UpdatePipeline": _declared_pipeline,
    "dynamodb:DeleteItem": _item,
    "dynamodb:GetItem": _item,
    "dynamodb:PutItem": _item,
    "dynamodb:Query": _item,
    "dynamodb:TransactWriteItems": _transaction,
    "dynamodb:UpdateItem": _item,
    "ecr:BatchDeleteImage": _repository,
    "ecr:ListImages": _repository,
    "ecs:CreateService": _create_service,
    "ecs:DeleteService": _service,
    "ecs:DeleteTaskDefinitions": _parameter("taskDefinitions"),
    "ecs:DeregisterTaskDefinition": _everything,
    "ecs:DescribeServices": _services,
    "ecs:DescribeTaskDefinition": _everything,
    "ecs:DescribeTasks": _parameter("tasks"),
    "ecs:ListServices": _everything,
    "ecs:ListTaskDefinitions": _everything,
    "ecs:ListTasks": _everything,
    "ecs:RegisterTaskDefinition": _register_task_definition,
    "ecs:TagResource": _tag("resourceArn", "tags"),
    "ecs:UpdateService": _service,
    "elbv2:AddTags": _tag("ResourceArns", "Tags"),
    "elbv2:CreateListener": _create_listener,
    "elbv2:CreateRule": _create_rule,
    "elbv2:CreateTargetGroup": _create_target_group,
    "elbv2:DeleteListener": _parameter("ListenerArn"),
    "elbv2:DeleteRule": _parameter("RuleArn"),
    "elbv2:DeleteTargetGroup": _parameter("TargetGroupArn"),
    "elbv2:DescribeAccountLimits": _everything,
    "elbv2:DescribeListeners": _everything,
    "elbv2:DescribeLoadBalancers": _everything,
    "elbv2:DescribeRules": _everything,
    "elbv2:DescribeTags": _everything,
    "elbv2:DescribeTargetGroupAttributes": _everything,
    "elbv2:DescribeTargetGroups": _everything,
    "elbv2:DescribeTargetHealth": _everything,
    "elbv2:ModifyListener": _parameter("ListenerArn"),
    "elbv2:ModifyTargetGroup": _parameter("TargetGroupArn"),
    "elbv2:ModifyTargetGroupAttributes": _parameter("TargetGroupArn"),
    "elbv2:RegisterTargets": _parameter("TargetGroupArn"),
    "events:PutEvents": _put_events,
    "lambda:Invoke": _function,
    "resourcegroupstaggingapi:GetResources": _everything,
    "secretsmanager:CreateSecret": _create_secret,
    "secretsmanager:DeleteSecret": _secret,
    "secretsmanager:DescribeSecret": _secret,
    "secretsmanager:GetSecretValue": _secret,
    "sqs:ChangeMessageVisibility": _queue,
    "sqs:DeleteMessage": _queue,
    "sqs:ReceiveMessage": _queue,
    "sqs:SendMessage": _queue,
    "sqs:SendMessageBatch": _queue,
    "ssm:GetParameter": _ssm_parameter,
}
