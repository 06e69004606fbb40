"""What pipelines are made of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qa_env.doctor.finding import Level
from tests.doctor.sound import OWNER, Sound


def pipeline(world: Sound, **changes: Any) -> None:
    """Change the blueprint's pipeline."""
    world.changes["pipeline"] = world.values["pipeline"] | changes


def trust(world: Sound, *statements: dict[str, Any]) -> None:
    """Whom the pipeline role trusts."""
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    world.aws.client("iam").update_assume_role_policy(RoleName="pipeline", PolicyDocument=document)


PIPELINES = {
    "Effect": "Allow",
    "Principal": {"Service": ["codebuild.amazonaws.com", "codepipeline.amazonaws.com"]},
    "Action": ["sts:AssumeRole"],
}


def test_a_role_that_is_missing_is_said(world: Sound) -> None:
    pipeline(world, role_arn=f"arn:aws:iam::{OWNER}:role/gone")

    assert "role/gone is not there" in world.worst("pipeline-role").text


def test_a_role_of_another_path_is_said(world: Sound) -> None:
    pipeline(world, role_arn=f"arn:aws:iam::{OWNER}:role/ci/pipeline")

    assert f"arn:aws:iam::{OWNER}:role/pipeline, not" in world.worst("pipeline-role").text


@pytest.mark.parametrize(
    "changes",
    [
        {"Principal": {"Service": "codebuild.amazonaws.com"}},
        {"Principal": {"AWS": OWNER}},
        {"Effect": "Deny"},
        {"Action": "sts:TagSession"},
    ],
)
def test_a_role_that_codepipeline_may_not_assume_is_said(world: Sound, changes: dict[str, Any]) -> None:
    trust(world, PIPELINES | changes)

    found = world.worst("pipeline-role")
    assert found.level == Level.PROBLEM
    assert "does not trust codepipeline.amazonaws.com" in found.text


def test_trust_may_be_written_as_a_list(world: Sound) -> None:
    trust(world, {"Effect": "Allow", "Principal": {"AWS": OWNER}, "Action": "sts:AssumeRole"}, PIPELINES)

    assert [one.level for one in world.findings("pipeline-role")] == [Level.OK]


@pytest.mark.parametrize(
    "denied", ["s3:PutObject", "codebuild:StartBuild", "lambda:InvokeFunction", "codebuild:BatchGetBuilds"]
)
def test_what_the_role_may_not_is_said(world: Sound, denied: str) -> None:
    world.said["iam:SimulatePrincipalPolicy"] = {denied}

    found = world.worst("pipeline-permissions")
    assert found.level == Level.WARNING
    assert f"{denied} on arn:" in found.text


def test_one_spelling_of_the_connections_permission_is_enough(world: Sound) -> None:
    world.said["iam:SimulatePrincipalPolicy"] = {"codestar-connections:UseConnection"}
    assert [one.level for one in world.findings("pipeline-permissions")] == [Level.OK]
    world.said["iam:SimulatePrincipalPolicy"] |= {"codeconnections:UseConnection"}
    assert "UseConnection" in world.worst("pipeline-permissions").text


@pytest.mark.parametrize(("name", "key"), [("build", "build_project"), ("migrate", "migrate_project")])
def test_a_project_that_is_missing_is_said(world: Sound, name: str, key: str) -> None:
    del world.said["codebuild:BatchGetProjects"][name]

    found = world.worst("build-projects")
    assert found.text == f"CodeBuild project {name} is not there"
    assert f"pipeline.{key}" in found.fix


@pytest.mark.parametrize(
    ("name", "changes", "text"),
    [
        ("build", {"source": {"type": "GITHUB"}}, "source type GITHUB, not CODEPIPELINE"),
        ("build", {"artifacts": {"type": "NO_ARTIFACTS"}}, "artifacts type NO_ARTIFACTS"),
        ("build", {"environment": {"privilegedMode": False}}, "cannot run Docker"),
        ("migrate", {"vpcConfig": {}}, "is in no VPC"),
        ("migrate", {"vpcConfig": {"vpcId": "vpc-other"}}, "is in vpc-other, the STG tasks are in"),
    ],
)
def test_a_project_that_will_not_do_is_said(
    world: Sound, name: str, changes: dict[str, Any], text: str
) -> None:
    world.said["codebuild:BatchGetProjects"][name] |= changes

    assert text in world.worst("build-projects").text


def test_without_a_migrate_project_none_is_looked_for(world: Sound) -> None:
    pipeline(world, migrate_project=None)
    del world.said["codebuild:BatchGetProjects"]["migrate"]

    assert [one.level for one in world.findings("build-projects")] == [Level.OK]


def test_a_connection_without_its_handshake_is_said(world: Sound) -> None:
    world.said["codeconnections:GetConnection"]["ConnectionStatus"] = "PENDING"

    found = world.worst("connection")
    assert found.text == "connection github is PENDING"
    assert "Update pending connection" in found.fix


def test_a_connection_that_is_missing_is_said(world: Sound) -> None:
    world.said["codeconnections:GetConnection"] = None

    assert world.worst("connection").text.endswith("connection/1 is not there")


def test_a_bucket_that_is_missing_is_said(world: Sound) -> None:
    pipeline(world, artifact_bucket="gone")

    assert world.worst("artifact-bucket").text == "the artifact bucket gone is not there"


def test_a_bucket_elsewhere_is_said(world: Sound) -> None:
    world.aws.serve("s3:GetBucketLocation", lambda *_: {"LocationConstraint": "EU"})

    assert "is in eu-west-1, the load balancers are in ap-northeast-1" in world.worst("artifact-bucket").text


@pytest.mark.parametrize("status", ["", "Disabled"])
def test_a_bucket_that_keeps_everything_is_said(world: Sound, status: str) -> None:
    s3 = world.aws.client("s3")
    s3.delete_bucket_lifecycle(Bucket="artifacts")
    if status:
        rule = {"ID": "old", "Status": status, "Filter": {"Prefix": ""}, "Expiration": {"Days": 7}}
        s3.put_bucket_lifecycle_configuration(Bucket="artifacts", LifecycleConfiguration={"Rules": [rule]})

    found = world.worst("artifact-bucket")
    assert found.level == Level.WARNING
    assert "for ever" in found.text


def test_a_repository_that_is_missing_is_said(world: Sound) -> None:
    world.changes["image_repository"] = "gone"

    found = world.worst("image-repository")
    assert found.text == "ECR repository gone is not there"
    assert "create-repository --repository-name gone" in found.fix


def test_tags_that_may_not_move_are_said(world: Sound) -> None:
    world.aws.client("ecr").put_image_tag_mutability(repositoryName="shop", imageTagMutability="IMMUTABLE")

    found = world.worst("image-repository")
    assert found.level == Level.PROBLEM
    assert "put-image-tag-mutability --repository-name shop" in found.fix


def test_a_repository_that_keeps_everything_is_said(world: Sound) -> None:
    world.aws.client("ecr").delete_lifecycle_policy(repositoryName="shop")

    assert "has no lifecycle policy" in world.worst("image-repository").text


def test_a_log_group_that_is_missing_is_said(world: Sound) -> None:
    logs = world.aws.client("logs")
    logs.delete_log_group(logGroupName="/qa/app")
    logs.create_log_group(logGroupName="/qa/app2")  # begins like it

    found = world.worst("log-groups")
    assert found.level == Level.PROBLEM
    assert found.fix == "aws logs create-log-group --log-group-name /qa/app"


def test_a_log_group_that_keeps_everything_is_said(world: Sound) -> None:
    world.aws.client("logs").delete_retention_policy(logGroupName="/qa/worker")

    found = world.worst("log-groups")
    assert found.level == Level.WARNING
    assert "put-retention-policy --log-group-name /qa/worker" in found.fix
