"""template.yaml, as written and as SAM expands it: what it gives to each function, and that this is all."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from handlers import audit
from qa_env import gauges, store
from qa_env.audit import NEEDS_A_PERSON
from qa_env.model import Asked, Phase
from scripts import build, expand
from tests.making import blueprint

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
FUNCTIONS = {name.lower(): f"{name}Function" for name in build.FUNCTIONS}
VARIABLES = {
    "webhook": {"QUEUE_URL", "WEBHOOK_SECRET"},
    "reconcile": {
        *("INSTALLATION", "TABLE", "QUEUE_URL"),
        *("DATASTORES_FUNCTION", "DEPLOY_FUNCTION", "PAGE_FUNCTION_ARN", "SECOND_LOOK_SECONDS"),
    },
    "signals": {"TABLE", "QUEUE_URL"},
    "sweep": {"TABLE", "QUEUE_URL"},
    "audit": {"INSTALLATION", "TABLE", "QUEUE_URL", "DATASTORES_FUNCTION", "WEBHOOK_URL"},
    "deploy": {"TABLE", "QUEUE_URL"},
    "datastores": set(),
    "page": {"INSTALLATION", "TABLE", "QUEUE_URL"},
}
OVERRIDES = {"QA_ENV_REPOSITORIES"}  # have a default beside the code; tests set them
OUTPUTS = {
    *("WebhookUrl", "WebhookSecretArn", "QueueUrl", "DeadLetterQueueUrl", "TableName"),
    *("PageFunctionArn", "DeployFunctionArn", "DeployFunctionName", "DatastoresFunctionName"),
    "AuditFunctionName",
}


@cache
def expanded() -> dict[str, Any]:
    return expand.expanded()


def resource(name: str) -> dict[str, Any]:
    return dict(expanded()["Resources"][name]["Properties"])


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {n: one["Properties"] for n, one in expanded()["Resources"].items() if one["Type"] == kind}


def role_of(function: str) -> dict[str, Any]:
    """The role that a function names."""
    name, attribute = resource(FUNCTIONS[function])["Role"]["Fn::GetAtt"]
    assert attribute == "Arn"
    return resource(name)


def chosen(items: list[Any]) -> Iterator[Any]:
    """A list's items with every condition true."""
    return (item["Fn::If"][1] if "Fn::If" in item else item for item in items)


def statements(function: str, policy: str = "") -> list[dict[str, Any]]:
    """The statements of a function's policies, or of one of them."""
    policies = [
        one
        for one in chosen(role_of(function)["Policies"])
        if one["PolicyName"] == (policy or one["PolicyName"])
    ]
    return [one for p in policies for one in chosen(p["PolicyDocument"]["Statement"])]


def actions(function: str) -> set[str]:
    allowed: set[str] = set()
    for statement in statements(function):
        if statement["Effect"] == "Allow":
            listed = statement["Action"]
            allowed |= {listed} if isinstance(listed, str) else set(listed)
    return allowed


# --- functions --------------------------------------------------------------------------------------------


def test_there_is_a_function_for_every_handler() -> None:
    assert set(of_type("AWS::Lambda::Function")) == set(FUNCTIONS.values())
    assert {path.stem for path in (SOURCE / "handlers").glob("[!_]*.py")} == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_handler_exists(name: str) -> None:
    package, module, function = resource(FUNCTIONS[name])["Handler"].split(".")
    tree = ast.parse((SOURCE / package / f"{module}.py").read_text("utf-8"))
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert module == name == build.handler_of(FUNCTIONS[name])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_what_it_runs_with(name: str) -> None:
    function = resource(FUNCTIONS[name])
    assert function["Runtime"] == "python3.13"
    assert function["Architectures"] == [{"Ref": "Architecture"}]
    assert function["TracingConfig"] == {"Mode": "Active"}
    logs = resource(function["LoggingConfig"]["LogGroup"]["Ref"])
    assert logs["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    assert logs["LogGroupName"]["Fn::Sub"] == f"/aws/lambda/{function['FunctionName']['Fn::Sub']}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_its_own_variables_only(name: str) -> None:
    variables = resource(FUNCTIONS[name])["Environment"]["Variables"]
    ours = {key.removeprefix("QA_ENV_") for key in variables if key.startswith("QA_ENV_")}
    assert ours == VARIABLES[name]
    assert set(variables) - {f"QA_ENV_{key}" for key in ours} == {
        "POWERTOOLS_SERVICE_NAME",
        "POWERTOOLS_LOG_LEVEL",
        "POWERTOOLS_METRICS_NAMESPACE",
    }


def test_every_variable_that_is_read_is_set_and_every_one_set_is_read() -> None:
    """test_layers.py sees to it that nobody else reads any."""
    readers = ("app", "runtime", "receiver")
    source = "".join((SOURCE / "qa_env" / f"{name}.py").read_text("utf-8") for name in readers)
    read = set(re.findall(r"""environ(?:\.get\(|\[)["'](QA_ENV_\w+)""", source))
    assert read - OVERRIDES == {f"QA_ENV_{key}" for keys in VARIABLES.values() for key in keys}


def test_every_function_is_built_by_make() -> None:
    for name, one in expand.sam()["Resources"].items():
        if one["Type"] == "AWS::Serverless::Function":
            assert one["Metadata"] == {"BuildMethod": "makefile", "WorkingDirectory": "."}, name


# --- rights -----------------------------------------------------------------------------------------------


def test_no_two_functions_share_a_role_and_none_has_a_managed_policy() -> None:
    roles = [resource(function)["Role"]["Fn::GetAtt"][0] for function in FUNCTIONS.values()]
    assert len(set(roles)) == len(roles)
    assert all("ManagedPolicyArns" not in role for role in of_type("AWS::IAM::Role").values())


def test_the_webhook_may_send_to_the_queue_and_read_one_secret() -> None:
    queue, secret = statements("webhook", "work")
    assert queue == {
        "Sid": "Queue",
        "Effect": "Allow",
        "Action": "sqs:SendMessage",
        "Resource": {"Fn::GetAtt": ["Queue", "Arn"]},
    }
    assert secret["Action"] == "secretsmanager:GetSecretValue"
    assert secret["Resource"]["Fn::If"][1:] == [{"Ref": "WebhookSecret"}, {"Ref": "WebhookSecretArn"}]
    assert [one["PolicyName"] for one in role_of("webhook")["Policies"]] == ["work", "telemetry"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_telemetry_is_the_functions_own_logs_and_traces(name: str) -> None:
    logs, traces = statements(name, "telemetry")
    group = resource(FUNCTIONS[name])["LoggingConfig"]["LogGroup"]["Ref"]
    assert logs["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    assert logs["Resource"] == {"Fn::GetAtt": [group, "Arn"]}
    assert traces["Action"] == ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]


def test_datastores_can_do_nothing_in_aws_but_read_its_secrets() -> None:
    work = {action for action in actions("datastores") if not action.startswith(("logs:", "xray:", "ec2:"))}
    assert work == {"secretsmanager:GetSecretValue", "ssm:GetParameter"}
    (secrets,) = statements("datastores", "work")
    assert secrets["Resource"] == {"Ref": "DataSecretArns"}
    network, denied = statements("datastores", "network")
    assert (denied["Effect"], denied["Action"]) == ("Deny", network["Action"])
    own = denied["Condition"]["ArnEquals"]["lambda:SourceFunctionArn"]["Fn::Sub"]
    assert own.endswith(f"function:{resource('DatastoresFunction')['FunctionName']['Fn::Sub']}")


def test_reconcile_cannot_reach_data_and_others_cannot_reconcile() -> None:
    assert "VpcConfig" not in resource("ReconcileFunction")
    assert "VpcConfig" in resource("DatastoresFunction")
    writing = re.compile(r":(Create|Update|Delete|Register|Modify|Start|Stop|Batch|Pass|Invoke|Add)")
    for name in set(FUNCTIONS) - {"reconcile"}:
        changing = {action for action in actions(name) if writing.search(action)}
        asks = {"lambda:InvokeFunction"} if name == "audit" else set()  # datastores, for lists
        assert {a for a in changing if not a.startswith(("dynamodb:", "logs:", "ec2:"))} == asks, name


def test_page_signals_and_sweep_decide_nothing() -> None:
    """They read; the page may write what people ask for, and the sweep when somebody came."""
    rights = {
        "page": {"dynamodb:GetItem", "dynamodb:Query", "dynamodb:UpdateItem", "dynamodb:PutItem"},
        "signals": {"dynamodb:GetItem"},
        "sweep": {"dynamodb:Query", "dynamodb:UpdateItem"},
    }
    for name, expected in rights.items():
        assert {a for a in actions(name) if a.startswith("dynamodb:")} == expected
    asked = {f"{store.ASKED}{field.name}" for field in fields(Asked)}
    written = {"page": {"pk", "sk", "generation", *asked}, "sweep": {"pk", "sk", "visited"}}
    for name, attributes in written.items():
        (update,) = (one for one in statements(name, "work") if one["Action"] == "dynamodb:UpdateItem")
        limits = update["Condition"]["ForAllValues:StringEquals"]
        assert set(limits["dynamodb:Attributes"]) == attributes
        assert limits["dynamodb:LeadingKeys"] == ["environment"]
    (note,) = (one for one in statements("page", "work") if one["Action"] == "dynamodb:PutItem")
    assert note["Condition"] == {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["history#*"]}}


def test_the_audit_writes_only_what_it_remembers() -> None:
    """Whatever it finds, the record is reconcile's to write."""
    (memory,) = (one for one in statements("audit") if "dynamodb:PutItem" in one["Action"])
    assert memory["Condition"] == {
        "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [store.SUSPECTS["pk"], "dismissed"]}
    }
    assert {a for a in actions("audit") if a.startswith("dynamodb:")} == {
        *("dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:DeleteItem"),
    }


def test_alarms_count_the_words_that_are_logged() -> None:
    patterns = {one["FilterPattern"] for one in of_type("AWS::Logs::MetricFilter").values()}
    assert {f'{{ $.message = "{words}" }}' for words in (NEEDS_A_PERSON, store.UNREADABLE)} <= patterns


def test_reconcile_can_send_events_only_in_its_own_name() -> None:
    (events,) = (one for one in statements("reconcile") if one["Action"] == "events:PutEvents")
    assert events["Condition"] == {"StringEquals": {"events:source": "qa-env"}}
    assert events["Resource"]["Fn::Sub"].endswith(":event-bus/default")


def test_no_action_is_a_pattern() -> None:
    assert not {action for name in FUNCTIONS for action in actions(name) if "*" in action}


def test_every_star_has_its_reason_beside_it() -> None:
    lines = (ROOT / "template.yaml").read_text("utf-8").splitlines()
    stars = [line for line in lines if re.match(r"""\s*(- )?(Resource: )?["']?\*["']?\s*(#|$)""", line)]
    assert len(stars) > 10, "the test finds them"
    assert [line for line in stars if not re.search(r"\* ?[\"']? +# \w.{5,}", line)] == []


def test_what_reconcile_makes_bears_our_tag_and_what_it_changes_does() -> None:
    """One who has another installation's or nobody's tag is never touched, whatever the code says."""
    untagged = {
        *("iam:PassRole", "lambda:InvokeFunction", "codeconnections:PassConnection"),
        *("codestar-connections:PassConnection", "codebuild:StopBuild", "codebuild:BatchGetBuilds"),
        *("ecr:BatchDeleteImage", "ecs:DeregisterTaskDefinition"),
    }
    changing = re.compile(r"^(codepipeline|ecs|elasticloadbalancing):(?!Get|List|Describe)")
    for statement in statements("reconcile"):
        listed = statement["Action"]
        names = {listed} if isinstance(listed, str) else set(listed)
        guarded = {name for name in names if changing.search(name)} - untagged
        if guarded:
            condition = statement["Condition"]["StringEquals"]
            tags = [value for key, value in condition.items() if key.endswith("Tag/qa-env:installation")]
            assert tags, statement.get("Sid")
            assert all(value == {"Ref": "Installation"} for value in tags), statement.get("Sid")


def test_roles_are_handed_on_only_as_the_parameter_says() -> None:
    (handed,) = (one for one in statements("reconcile") if one["Action"] == "iam:PassRole")
    assert handed["Resource"] == {"Ref": "PassRoleArns"}
    assert handed["Condition"]["StringEquals"]["iam:PassedToService"] == [
        "codepipeline.amazonaws.com",
        "ecs-tasks.amazonaws.com",
    ]


# --- queue, table, triggers -------------------------------------------------------------------------------


def test_the_queue_outlives_a_pass_and_gives_up_into_a_fifo_queue() -> None:
    queue, mapping = resource("Queue"), resource("ReconcileSource")
    assert queue["FifoQueue"] is True
    assert queue["ContentBasedDeduplication"] is False
    assert queue["VisibilityTimeout"] >= 6 * resource("ReconcileFunction")["Timeout"]
    assert queue["RedrivePolicy"]["maxReceiveCount"] == 10
    dead, _ = queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"]
    assert resource(dead)["FifoQueue"] is True
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert 1 <= mapping["BatchSize"] <= 10
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "ReconcileConcurrency"}}


def test_the_table_is_kept_and_forgets_what_expires() -> None:
    table = expanded()["Resources"]["Table"]
    assert (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == ("Retain", "Retain")
    properties = table["Properties"]
    assert properties["KeySchema"] == [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ]
    assert properties["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert properties["BillingMode"] == "PAY_PER_REQUEST"


def test_signals_hears_pipelines_builds_and_services() -> None:
    patterns = [rule["EventPattern"] for rule in of_type("AWS::Events::Rule").values()]
    heard = {(p["source"][0], kind) for p in patterns for kind in p["detail-type"]}
    assert heard == {
        ("aws.codepipeline", "CodePipeline Pipeline Execution State Change"),
        ("aws.codepipeline", "CodePipeline Stage Execution State Change"),
        ("aws.codebuild", "CodeBuild Build State Change"),
        ("aws.ecs", "ECS Deployment State Change"),
        ("aws.ecs", "ECS Service Action"),
        ("aws.ecs", "ECS Task State Change"),
    }
    (tasks,) = (p for p in patterns if "ECS Task State Change" in p["detail-type"])
    assert tasks["detail"] == {"lastStatus": ["STOPPED"]}
    (builds,) = (p for p in patterns if p["source"] == ["aws.codebuild"])
    assert builds["detail"] == {"build-status": ["STOPPED"]}
    (stages,) = (p for p in patterns if "CodePipeline Stage Execution State Change" in p["detail-type"])
    assert stages["detail"] == {"state": ["STARTED"]}


def test_the_sweep_runs_every_minute_and_the_audit_every_ten() -> None:
    schedules = of_type("AWS::Scheduler::Schedule").values()
    rates = {one["Target"]["Arn"]["Fn::GetAtt"][0]: one["ScheduleExpression"] for one in schedules}
    assert rates == {
        "SweepFunction": "rate(1 minute)",
        "AuditFunction": f"rate({audit.EVERY_MINUTES} minutes)",
    }
    assert resource("SweepFunction")["Timeout"] <= 60


def test_only_the_webhook_is_public() -> None:
    ((name, url),) = of_type("AWS::Lambda::Url").items()
    assert (name, url["AuthType"]) == ("WebhookFunctionUrl", "NONE")
    public = [one for one in of_type("AWS::Lambda::Permission").values() if one["Principal"] == "*"]
    assert {one["FunctionName"]["Ref"] for one in public} == {"WebhookFunction"}
    needed = {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}  # both, or it answers 403 (facts B6-2)
    assert {one["Action"] for one in public} == needed


def test_load_balancers_of_this_account_may_invoke_the_page() -> None:
    permission = resource("PagePermission")
    assert permission["Principal"] == "elasticloadbalancing.amazonaws.com"
    assert permission["SourceAccount"] == {"Ref": "AWS::AccountId"}
    assert permission["FunctionName"] == {"Ref": "PageFunction"}


def test_no_name_would_be_another_installations_as_well() -> None:
    """AWS refuses a second thing of the same name in an account and region; SAM names schedules by itself."""
    names = ("Name", "AlarmName", "DashboardName", "FunctionName", "LogGroupName", "QueueName", "RoleName")
    fixed = {
        (logical, kind): one["Properties"][kind]
        for logical, one in expanded()["Resources"].items()
        for kind in names
        if isinstance(one.get("Properties", {}).get(kind), str)
    }

    assert fixed == {}
    assert resource("SweepFunctionEveryMinute")["Name"] == {"Fn::Sub": "${Installation}-sweep"}


def test_a_secret_is_made_only_if_none_is_given() -> None:
    secret = expanded()["Resources"]["WebhookSecret"]
    assert secret["Condition"] == "MakesWebhookSecret"
    assert secret["Properties"]["GenerateSecretString"]["PasswordLength"] == 40


def test_alarms_watch_what_is_lost_and_what_waits() -> None:
    watched = {alarm.get("MetricName") for alarm in of_type("AWS::CloudWatch::Alarm").values()}
    assert {"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage", "Url5xxCount"} <= watched
    for name, alarm in of_type("AWS::CloudWatch::Alarm").items():
        assert alarm["AlarmDescription"], name
        assert alarm["AlarmActions"]["Fn::If"][0] == "ReportsAlarms", name


def test_the_dashboard_draws_what_there_is() -> None:
    """JSON with names that the template, the functions or AWS know."""
    body = resource("Dashboard")["DashboardBody"]["Fn::Sub"]
    filled = re.sub(r"\$\{([A-Za-z:.]+)\}", lambda found: found[1], body)
    widgets = json.loads(filled)["widgets"]
    drawn = {
        metric[1]
        for widget in widgets
        for metric in widget["properties"].get("metrics", [])
        if metric[0] == "Installation" and len(metric) > 1
    }
    counted = {gauge.name for gauge in gauges.of([], [blueprint()], 0)}
    filtered = {
        one["MetricTransformations"][0]["MetricName"] for one in of_type("AWS::Logs::MetricFilter").values()
    }
    assert drawn <= counted | filtered
    assert counted <= drawn
    named = {name.partition(".")[0] for name in re.findall(r"\$\{([A-Za-z.]+)\}", body)}
    assert named <= {*expanded()["Resources"], *expanded()["Parameters"]}
    shown = re.findall(r'"phase", "(\w+)"|\["\.\.\.", "(\w+)"\]', filled.split("For a person")[0])
    assert {first or second for first, second in shown} == {str(phase) for phase in Phase}


# --- parameters and outputs -------------------------------------------------------------------------------


def test_every_parameter_is_described_checked_and_grouped() -> None:
    template = expand.sam()
    parameters = template["Parameters"]
    for name, one in parameters.items():
        assert one["Description"], name
        assert {"AllowedPattern", "AllowedValues", "MinValue"} & set(one), name
        assert "AllowedPattern" not in one or one["ConstraintDescription"] or "Default" in one, name
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(parameters)


def test_defaults_are_allowed() -> None:
    for name, one in expand.sam()["Parameters"].items():
        if "AllowedPattern" in one and "Default" in one:
            assert re.fullmatch(one["AllowedPattern"], str(one["Default"])), name


def test_outputs() -> None:
    outputs = expanded()["Outputs"]
    assert set(outputs) == OUTPUTS
    assert all(one["Description"] for one in outputs.values())
