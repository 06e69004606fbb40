"""What pipelines are made of: role, builds, connection, bucket, images, and where tasks write their logs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from qa_env import aws
from qa_env.blueprint import Blueprint
from qa_env.doctor.finding import Finding, Findings, ok, problem, warning
from qa_env.doctor.world import World

TRUSTED = "codepipeline.amazonaws.com"


def role(world: World, blueprint: Blueprint) -> Findings:
    """The pipeline role exists and CodePipeline may assume it."""
    arn = blueprint.pipeline.role_arn
    client = world.client("iam")
    try:
        found = client.get_role(RoleName=arn.rsplit("/", 1)[-1])["Role"]
    except client.exceptions.NoSuchEntityException:
        yield problem(f"the pipeline role {arn} is not there", "make it, or correct pipeline.role_arn")
        return
    if found["Arn"] != arn:
        yield problem(f"the pipeline role is {found['Arn']}, not {arn}", "correct pipeline.role_arn")
    elif TRUSTED not in _trusted(found["AssumeRolePolicyDocument"]):
        yield problem(
            f"the pipeline role does not trust {TRUSTED}",
            "add a statement to its trust policy: Allow, Service codepipeline.amazonaws.com, sts:AssumeRole",
        )
    else:
        yield ok(f"the pipeline role trusts {TRUSTED}")


def _trusted(document: Any) -> set[str]:
    """Which services a trust policy lets assume the role; boto3 has it as a document or as its text."""
    policy = json.loads(document) if isinstance(document, str) else document
    return {
        service
        for statement in _listed(policy.get("Statement"))
        if statement.get("Effect") == "Allow"
        and {"sts:AssumeRole", "sts:*"} & set(_listed(statement.get("Action")))
        for service in _listed(statement.get("Principal", {}).get("Service"))
    }


def _listed(value: Any) -> list[Any]:
    """IAM allows one thing wherever it allows a list."""
    return value if isinstance(value, list) else [] if value is None else [value]


def permissions(world: World, blueprint: Blueprint) -> Findings:
    """The pipeline role may do what the stages need, as IAM simulates it."""
    client, pipeline = world.client("iam"), blueprint.pipeline
    refused = []
    for actions, resource in _needed(world, blueprint):
        answer = client.simulate_principal_policy(
            PolicySourceArn=pipeline.role_arn, ActionNames=actions, ResourceArns=[resource]
        )
        results = [(one["EvalActionName"], one["EvalDecision"]) for one in answer["EvaluationResults"]]
        if "UseConnection" in actions[0]:  # one of its two spellings is enough
            results = results if all(decision != "allowed" for _, decision in results) else []
        refused += [f"{action} on {resource}" for action, decision in results if decision != "allowed"]
    if refused:
        yield warning(
            f"the pipeline role is not allowed {'; '.join(refused)}",
            "add it to the role's policy, unless a policy of the resource itself allows it",
        )
    else:
        yield ok("the pipeline role may do what the stages need")


def _needed(world: World, blueprint: Blueprint) -> Iterable[tuple[list[str], str]]:
    pipeline = blueprint.pipeline
    _, partition, _, region, account, _ = blueprint.load_balancers[0].arn.split(":", 5)
    yield ["s3:GetObject", "s3:PutObject"], f"arn:{partition}:s3:::{pipeline.artifact_bucket}/*"
    yield (
        ["codeconnections:UseConnection", "codestar-connections:UseConnection"],
        pipeline.connection_arn,
    )
    for project in filter(None, (pipeline.build_project, pipeline.migrate_project)):
        builds = ["codebuild:StartBuild", "codebuild:BatchGetBuilds"]
        yield builds, f"arn:{partition}:codebuild:{region}:{account}:project/{project}"
    yield ["lambda:InvokeFunction"], world.stack().output("DeployFunctionArn")


def projects(world: World, blueprint: Blueprint) -> Findings:
    """The CodeBuild projects exist and are made for a pipeline: build with Docker, migrate in the VPC."""
    pipeline = blueprint.pipeline
    names = [name for name in (pipeline.build_project, pipeline.migrate_project) if name]
    found = world.client("codebuild").batch_get_projects(names=names)["projects"]
    by_name = {one["name"]: one for one in found}
    for key, name in (
        ("build_project", pipeline.build_project),
        ("migrate_project", pipeline.migrate_project),
    ):
        if name is None:
            continue
        if name not in by_name:
            yield problem(f"CodeBuild project {name} is not there", f"make it, or correct pipeline.{key}")
            continue
        faults = list(_faults(world, blueprint, key, by_name[name]))
        yield from faults or [ok(f"CodeBuild project {name} takes its source from the pipeline")]


def _faults(world: World, blueprint: Blueprint, key: str, project: Mapping[str, Any]) -> Findings:
    name = project["name"]
    for part in ("source", "artifacts"):
        kind = project.get(part, {}).get("type")
        if kind != "CODEPIPELINE":
            yield problem(
                f"CodeBuild project {name} has the {part} type {kind}, not CODEPIPELINE",
                f"aws codebuild update-project --name {name} --{part} type=CODEPIPELINE",
            )
    if key == "build_project" and not project.get("environment", {}).get("privilegedMode"):
        yield problem(
            f"CodeBuild project {name} is not privileged, so it cannot run Docker",
            "switch on “Privileged” in its environment",
        )
    if key == "migrate_project":
        yield from _in_vpc(world, blueprint, name, project.get("vpcConfig", {}).get("vpcId"))


def _in_vpc(world: World, blueprint: Blueprint, name: str, vpc: str | None) -> Findings:
    vpcs = world.vpcs(blueprint)
    if not vpc:
        yield problem(
            f"CodeBuild project {name} is in no VPC, so it reaches neither MySQL nor Redis there",
            "give it the VPC, private subnets and a security group that the databases admit",
        )
    elif vpcs and vpc not in vpcs:
        yield warning(
            f"CodeBuild project {name} is in {vpc}, the STG tasks are in {', '.join(sorted(vpcs))}",
            "make sure that it reaches MySQL and Redis from there, or move it",
        )


def connection(world: World, blueprint: Blueprint) -> Findings:
    """The connection to GitHub is AVAILABLE."""
    arn = blueprint.pipeline.connection_arn
    client = world.client("codeconnections" if ":codeconnections:" in arn else "codestar-connections")
    try:
        found = client.get_connection(ConnectionArn=arn)["Connection"]
    except client.exceptions.ResourceNotFoundException:
        yield problem(f"the connection {arn} is not there", "make it, or correct pipeline.connection_arn")
        return
    name, status = found.get("ConnectionName", arn), found["ConnectionStatus"]
    if status == "AVAILABLE":
        yield ok(f"connection {name} is AVAILABLE")
    else:
        yield problem(
            f"connection {name} is {status}",
            "finish it in the console: Developer Tools, Settings, Connections, Update pending connection",
        )


def bucket(world: World, blueprint: Blueprint) -> Findings:
    """The artifact bucket exists in this region and has a lifecycle."""
    name, client = blueprint.pipeline.artifact_bucket, world.client("s3")
    region = blueprint.load_balancers[0].arn.split(":")[3]
    try:
        place = client.get_bucket_location(Bucket=name)["LocationConstraint"] or "us-east-1"
    except client.exceptions.ClientError as error:
        if aws.code(error) != "NoSuchBucket":
            raise
        yield problem(
            f"the artifact bucket {name} is not there", "make it, or correct pipeline.artifact_bucket"
        )
        return
    place = {"EU": "eu-west-1"}.get(place, place)
    if place != region:
        yield problem(
            f"the artifact bucket {name} is in {place}, the load balancers are in {region}",
            f"name a bucket in {region}: CodePipeline takes no other",
        )
    yield _lifecycle(client, name)


def _lifecycle(client: Any, name: str) -> Finding:
    try:
        rules = client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    except client.exceptions.ClientError as error:
        if aws.code(error) != "NoSuchLifecycleConfiguration":
            raise
        rules = []
    if any(rule["Status"] == "Enabled" and "Expiration" in rule for rule in rules):
        return ok(f"the artifact bucket {name} removes what is old")
    return warning(
        f"the artifact bucket {name} keeps the artifacts of every build for ever",
        "add a lifecycle rule that expires objects, after 7 days for example",
    )


def images(world: World, blueprint: Blueprint) -> Findings:
    """The ECR repository exists, its tags may be moved, and it does not keep every image."""
    name, client = blueprint.image_repository, world.client("ecr")
    try:
        found = client.describe_repositories(repositoryNames=[name])["repositories"][0]
    except client.exceptions.RepositoryNotFoundException:
        yield problem(
            f"ECR repository {name} is not there",
            f"aws ecr create-repository --repository-name {name}, or correct image_repository",
        )
        return
    mutability = found.get("imageTagMutability", "MUTABLE")
    if mutability == "MUTABLE":
        yield ok(f"ECR repository {name} has mutable tags")
    else:
        say = problem if mutability == "IMMUTABLE" else warning
        yield say(
            f"ECR repository {name} has {mutability} tags: a commit that is built again cannot be pushed",
            f"aws ecr put-image-tag-mutability --repository-name {name} --image-tag-mutability MUTABLE",
        )
    try:
        client.get_lifecycle_policy(repositoryName=name)
    except client.exceptions.LifecyclePolicyNotFoundException:
        yield warning(
            f"ECR repository {name} has no lifecycle policy, so untagged images stay for ever",
            "add a rule that expires untagged images, after a day for example",
        )


def logs(world: World, blueprint: Blueprint) -> Findings:
    """Each role's log group exists and forgets after a while."""
    client = world.client("logs")
    for name, one in blueprint.roles.items():
        pages = client.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=one.log_group)
        groups = {group["logGroupName"]: group for page in pages for group in page["logGroups"]}
        group = groups.get(one.log_group)
        if group is None:
            yield problem(
                f"{name}: log group {one.log_group} is not there, so its tasks cannot start",
                f"aws logs create-log-group --log-group-name {one.log_group}",
            )
        elif not group.get("retentionInDays"):
            yield warning(
                f"{name}: log group {one.log_group} keeps everything for ever",
                f"aws logs put-retention-policy --log-group-name {one.log_group} --retention-in-days 14",
            )
        else:
            yield ok(f"{name}: log group {one.log_group} keeps {group['retentionInDays']} days")
