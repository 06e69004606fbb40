"""What is deployed, and the clock and account of whoever looks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qa_env.doctor.finding import Level, Unchecked
from qa_env.doctor.world import download
from tests import github_server
from tests.doctor.sound import NOW, ROLE, Sound


@pytest.mark.parametrize(
    ("shift", "level", "text"),
    [
        (59, Level.OK, "is right: 2026-11-18"),
        (61, Level.PROBLEM, "61 seconds ahead"),
        (-400, Level.PROBLEM, "400 seconds behind"),
    ],
)
def test_a_clock_that_is_wrong_is_said(world: Sound, shift: int, level: Level, text: str) -> None:
    world.now = NOW + shift

    (found,) = world.findings("clock")
    assert (found.level, text in found.text) == (level, True)


def test_an_error_of_aws_says_the_time_as_well(world: Sound) -> None:
    """A clock that is far off is refused, with the date in the refusal."""
    world.now = NOW + 3600
    sts = world.aws.client("sts")

    def refuse(*_: object) -> dict[str, Any]:
        metadata = {"HTTPHeaders": {"date": "Wed, 18 Nov 2026 01:46:40 GMT"}}
        error = {"Error": {"Code": "SignatureDoesNotMatch"}, "ResponseMetadata": metadata}
        raise sts.exceptions.ClientError(error, "GetCallerIdentity")

    world.aws.serve("sts:GetCallerIdentity", refuse)
    assert world.worst("clock").level == Level.PROBLEM


def test_an_answer_without_a_date_leaves_the_clock_unknown(world: Sound) -> None:
    world.aws.serve("sts:GetCallerIdentity", lambda *_: {"Account": "1"})

    assert world.worst("clock").level == Level.UNKNOWN


def test_another_account_is_said(world: Sound) -> None:
    world.said["sts:GetCallerIdentity"] = {"Account": "999999999999"}

    assert "of account 999999999999, the blueprint names 123456789012" in world.worst("account").text


def test_another_region_is_said(world: Sound) -> None:
    (lb,) = world.values["load_balancers"]
    world.changes["load_balancers"] = [lb | {"arn": lb["arn"].replace("ap-northeast-1", "eu-west-1")}]

    found = world.worst("account")
    assert "we look in ap-northeast-1, the blueprint names eu-west-1" in found.text
    assert "--region eu-west-1" in found.fix


@pytest.mark.parametrize(
    ("parameter", "missing"),
    [
        ("PassRoleArns", ROLE),
        ("PassRoleArns", "role/stg-task"),
        ("PassRoleArns", "role/stg-execution"),
        ("BuildProjectArns", "project/build"),
        ("ImageRepositoryArns", "repository/shop"),
        ("GitHubSecretArns", "secret:github-"),
        ("SlackSecretArns", "secret:slack-"),
        ("OidcSecretArns", "secret:oidc-"),
        ("DataSecretArns", "secret:redis-"),
    ],
)
def test_a_parameter_that_does_not_name_enough_is_said(world: Sound, parameter: str, missing: str) -> None:
    named = world.parameters[parameter].split(",")
    kept = [arn for arn in named if missing not in arn and not arn.endswith("*")]
    world.parameters[parameter] = ",".join(kept)

    found = world.worst("parameters")
    assert found.level == Level.PROBLEM
    assert f"the parameter {parameter} does not name" in found.text
    assert missing in found.text


def test_users_of_their_own_need_their_parameter(world: Sound) -> None:
    world.changes["database"] = {"secret": "secretsmanager:mysql", "accounts": "own"}
    assert "OwnAccounts is not true" in world.worst("parameters").text
    world.parameters["OwnAccounts"] = "true"
    assert {one.level for one in world.findings("parameters")} == {Level.OK}


def test_a_secret_that_is_not_there_is_left_to_its_own_check(world: Sound) -> None:
    world.changes["slack"] = {"secret": "secretsmanager:gone", "channel": "qa"}

    assert {one.level for one in world.findings("parameters")} == {Level.OK}


def test_a_parameter_of_ssm_is_named_by_its_arn(world: Sound) -> None:
    world.changes["slack"] = {"secret": "ssm:/qa/slack", "channel": "qa"}
    assert "arn:aws:ssm:ap-northeast-1:123456789012:parameter/qa/slack" in world.worst("parameters").text
    world.parameters["SlackSecretArns"] = "arn:aws:ssm:ap-northeast-1:123456789012:parameter/qa/*"
    assert {one.level for one in world.findings("parameters")} == {Level.OK}


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (None, "is not there"),
        ({"State": "Failed", "StateReason": "no subnet"}, "is Failed: no subnet"),
        ({"LastUpdateStatus": "Failed", "LastUpdateStatusReason": "too large"}, "failed: too large"),
    ],
)
def test_a_function_that_cannot_run_is_said(world: Sound, said: dict[str, str] | None, text: str) -> None:
    world.said["lambda:GetFunctionConfiguration"] = said
    world.resources["AWS::Lambda::Function"] = ("qa-env-audit",)

    found = world.worst("functions")
    assert found.level == Level.PROBLEM
    assert "qa-env-audit" in found.text
    assert text in found.text


def test_a_blueprint_that_was_not_deployed_is_said(world: Sound) -> None:
    world.deployed = None

    assert "know no blueprint for example/shop" in world.worst("built-in").text


def test_what_differs_from_the_deployed_blueprint_is_said(world: Sound) -> None:
    world.changes = {"sleep_after": 5, "language": "ja"}

    found = world.worst("built-in")
    assert found.level == Level.PROBLEM
    assert found.text.endswith("differs from this file in sleep_after, language")


def test_defaults_that_are_written_down_make_no_difference(world: Sound) -> None:
    world.changes = {"language": "en", "bulk_brake": 0.25}

    assert [one.level for one in world.findings("built-in")] == [Level.OK]


@pytest.mark.parametrize("address", ["ftp://example.com/code", "http://example.com/code"])
def test_code_is_fetched_over_an_encrypted_way_only(address: str) -> None:
    with pytest.raises(Unchecked, match="not behind https"):
        download(address)


def test_code_is_fetched_and_its_signed_address_is_not_told() -> None:
    with github_server.serve() as server:
        server.answers["/code?signature=x"] = github_server.Answer("the code")
        assert download(f"{server.url}/code?signature=x") == b"the code"
        with pytest.raises(Unchecked, match="cannot be fetched") as caught:
            download(f"{server.url}/gone?signature=x")
    assert "signature" not in str(caught.value)


def test_messages_that_were_given_up_are_said(world: Sound) -> None:
    world.aws.client("sqs").send_message(
        QueueUrl=world.account.dlq_url,
        MessageBody=json.dumps({"slug": "qa-foo"}),
        MessageGroupId="qa-foo",
        MessageDeduplicationId="1",
    )

    found = world.worst("dead-letters")
    assert found.text == "1 messages were given up"
    assert "qa-env redrive" in found.fix


def test_an_alarm_that_rings_is_said_with_what_it_means(world: Sound) -> None:
    cloudwatch = world.aws.client("cloudwatch")
    cloudwatch.set_alarm_state(AlarmName="qa-env-age", StateValue="ALARM", StateReason="x")

    found = world.worst("alarms")
    assert found.level == Level.PROBLEM
    assert found.text == "alarm qa-env-age rings"
    assert found.fix == "qa-env-age: see the log of reconcile."


def test_an_alarm_that_was_deleted_is_said(world: Sound) -> None:
    world.aws.client("cloudwatch").delete_alarms(AlarmNames=["qa-env-age"])

    assert "alarms are not there: qa-env-age" in world.worst("alarms").text


def test_alarms_that_tell_nobody_are_said(world: Sound) -> None:
    del world.parameters["AlarmTopicArn"]

    found = world.worst("alarms")
    assert found.level == Level.WARNING
    assert "AlarmTopicArn" in found.fix


def test_a_stack_of_an_older_version_leaves_a_check_unknown(world: Sound) -> None:
    del world.outputs["DeadLetterQueueUrl"]

    found = world.worst("dead-letters")
    assert found.level == Level.UNKNOWN
    assert "has no output DeadLetterQueueUrl" in found.text
