"""What is deployed: the stack's parameters, functions and what is built into them, queue and alarms."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from typing import Any

from qa_env import blueprint as blueprints
from qa_env.blueprint import Blueprint
from qa_env.doctor import secrets
from qa_env.doctor.finding import Findings, ok, problem, unknown, warning
from qa_env.doctor.world import World

SKEW = 60  # seconds; AWS refuses what is signed five minutes off
GITHUB, SLACK, OIDC, DATA = "GitHubSecretArns", "SlackSecretArns", "OidcSecretArns", "DataSecretArns"


def reachable(world: World) -> None:
    """AWS answers these credentials, or its error says why not; a wrong clock is the check's to say."""
    sts = world.client("sts")
    try:
        sts.get_caller_identity()
    except sts.exceptions.ClientError as error:
        skew = _skew(world, error.response)
        if skew is None or abs(skew) <= SKEW:
            raise


def clock(world: World) -> Findings:
    """This machine's clock against the time that AWS answers with: signatures and tokens depend on it."""
    sts = world.client("sts")
    try:
        answer = sts.get_caller_identity()
    except sts.exceptions.ClientError as error:
        answer = error.response
    skew = _skew(world, answer)
    if skew is None:
        yield unknown("AWS did not say what time it is", "compare this machine's clock with another one")
    elif abs(skew) > SKEW:
        side = "ahead" if skew > 0 else "behind"
        yield problem(
            f"this machine's clock is {abs(skew):.0f} seconds {side}",
            "set it by NTP: AWS and GitHub refuse what is signed at another time",
        )
    else:
        now = datetime.fromtimestamp(world.clock(), UTC)
        yield ok(f"this machine's clock is right: {now:%Y-%m-%d %H:%M:%S} UTC")


def _skew(world: World, answer: Mapping[str, Any]) -> float | None:
    """How many seconds our clock is ahead of an answer; None if that does not say when it was made."""
    said = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return world.clock() - parsedate_to_datetime(said).timestamp() if said else None


def account(world: World, blueprint: Blueprint) -> Findings:
    """The credentials are of the account and region that the blueprint names."""
    _, _, _, region, owner, _ = blueprint.load_balancers[0].arn.split(":", 5)
    mine = world.client("sts").get_caller_identity()["Account"]
    if mine != owner:
        yield problem(
            f"these credentials are of account {mine}, the blueprint names {owner}",
            "use another --profile, or correct the ARNs in the blueprint",
        )
    elif world.region != region:
        yield problem(
            f"we look in {world.region}, the blueprint names {region}",
            f"use --region {region}, or correct the ARNs in the blueprint",
        )
    else:
        yield ok(f"account {owner}, region {region}")


def parameters(world: World, blueprint: Blueprint) -> Findings:
    """The stack's parameters name all that the blueprint needs: the functions may reach nothing else."""
    makes_users = blueprint.database is not None and blueprint.database.accounts == "own"
    if makes_users and world.stack().parameters.get("OwnAccounts") != "true":
        text = "the parameter OwnAccounts is not true, but database.accounts is own"
        yield problem(text, "set it and deploy again: make deploy")
    for parameter, needed in _needed(world, blueprint):
        given = world.stack().listed(parameter)
        missing = [arn for arn in needed if not any(fnmatchcase(arn, one) for one in given)]
        if missing:
            yield problem(
                f"the parameter {parameter} does not name {', '.join(missing)}",
                "add it and deploy again: make deploy",
            )
        elif needed:
            yield ok(f"the parameter {parameter} names what the blueprint needs")


def _needed(world: World, blueprint: Blueprint) -> Iterator[tuple[str, list[str]]]:
    _, partition, _, region, owner, _ = blueprint.load_balancers[0].arn.split(":", 5)
    here = f"{region}:{owner}"
    pipeline = blueprint.pipeline
    projects = [name for name in (pipeline.build_project, pipeline.migrate_project) if name]
    yield "BuildProjectArns", [f"arn:{partition}:codebuild:{here}:project/{name}" for name in projects]
    yield "ImageRepositoryArns", [f"arn:{partition}:ecr:{here}:repository/{blueprint.image_repository}"]
    of: dict[str, list[str]] = {GITHUB: [], SLACK: [], OIDC: [], DATA: []}
    for key, reference, _ in secrets.references(blueprint):
        arn = _arn(world, reference, f"arn:{partition}:ssm:{here}:parameter")
        if arn:
            of[_parameter(key)].append(arn)
    yield from of.items()
    yield "PassRoleArns", [pipeline.role_arn, *_task_roles(world, blueprint)]


def _parameter(key: str) -> str:
    """Which parameter must name the secret that stands at this key of the blueprint."""
    known = {"github.secret": GITHUB, "slack.secret": SLACK, "database.secret": DATA, "redis.secret": DATA}
    return known.get(key, OIDC)


def _arn(world: World, reference: str, parameters: str) -> str | None:
    """The ARN of a secret; None if it is not there, which is another check's to say."""
    kind, _, name = reference.partition(":")
    if kind == "ssm":
        return name if name.startswith("arn:") else f"{parameters}/{name.lstrip('/')}"
    client = world.client("secretsmanager")
    try:
        return str(client.describe_secret(SecretId=name)["ARN"])
    except client.exceptions.ResourceNotFoundException:
        return None


def _task_roles(world: World, blueprint: Blueprint) -> list[str]:
    definitions = [world.task_definition(one["taskDefinition"]) for one in world.stg(blueprint).values()]
    roles = {one.get(key) for one in definitions for key in ("taskRoleArn", "executionRoleArn")}
    return sorted(role for role in roles if role)


def functions(world: World) -> Findings:
    """Each function of the stack exists and can be invoked."""
    client = world.client("lambda")
    for name in world.stack().resources.get("AWS::Lambda::Function", ()):
        try:
            found = client.get_function_configuration(FunctionName=name)
        except client.exceptions.ResourceNotFoundException:
            yield problem(f"function {name} is not there", "somebody deleted it: make deploy")
            continue
        state, update = found.get("State", "Active"), found.get("LastUpdateStatus", "Successful")
        if state not in ("Active", "Inactive"):  # one that nobody called for long is inactive, and wakes
            why = found.get("StateReason", "")
            yield problem(
                f"function {name} is {state}: {why}", "wait if it is Pending, otherwise make deploy"
            )
        elif update == "Failed":
            why = found.get("LastUpdateStatusReason", "")
            yield problem(f"the last update of function {name} failed: {why}", "make deploy")
        else:
            yield ok(f"function {name} is {state}")


def built_in(world: World, blueprint: Blueprint) -> Findings:
    """The blueprint in the sweep function's code is this one: its artefact is fetched and opened."""
    function = f"{world.stack().parameters.get('Installation', 'qa-env')}-sweep"
    found = world.once("built in", lambda: _built_in(world, function)).get(blueprint.repository.lower())
    if found is None:
        yield problem(f"the functions know no blueprint for {blueprint.repository}", "make deploy")
        return
    theirs, ours = found.model_dump(), blueprint.model_dump()
    if differing := [key for key in ours if ours[key] != theirs.get(key)]:
        yield problem(
            f"the blueprint that is deployed differs from this file in {', '.join(differing)}",
            "make deploy, or check out the file that was deployed",
        )
    else:
        yield ok("the blueprint that is deployed is this one")


def _built_in(world: World, function: str) -> dict[str, Blueprint]:
    location = world.client("lambda").get_function(FunctionName=function)["Code"]["Location"]
    known: dict[str, Blueprint] = {}
    with zipfile.ZipFile(io.BytesIO(world.fetch(location))) as artefact:
        for name in artefact.namelist():
            if name.startswith("blueprints/") and name.endswith(".yaml"):
                read = blueprints.parse(artefact.read(name).decode("utf-8"), name)
                known[read.repository.lower()] = read
    return known


def dead_letters(world: World) -> Findings:
    """No message was given up."""
    answer = world.client("sqs").get_queue_attributes(
        QueueUrl=world.stack().output("DeadLetterQueueUrl"),
        AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
    )
    count = sum(int(number) for number in answer["Attributes"].values())
    if count:
        yield problem(
            f"{count} messages were given up", "see why: qa-env redrive --dry-run; then: qa-env redrive"
        )
    else:
        yield ok("the dead-letter queue is empty")


def alarms(world: World) -> Findings:
    """No alarm of the stack rings, and somebody would hear it."""
    stack, client = world.stack(), world.client("cloudwatch")
    names = stack.resources.get("AWS::CloudWatch::Alarm", ())
    found: list[Any] = []
    for start in range(0, len(names), 100):
        found += client.describe_alarms(AlarmNames=list(names[start : start + 100]))["MetricAlarms"]
    for alarm in found:
        if alarm["StateValue"] == "ALARM":
            yield problem(
                f"alarm {alarm['AlarmName']} rings", alarm.get("AlarmDescription") or "see docs/operations.md"
            )
    if missing := sorted(set(names) - {alarm["AlarmName"] for alarm in found}):
        yield problem(f"alarms are not there: {', '.join(missing)}", "somebody deleted them: make deploy")
    if names and not stack.parameters.get("AlarmTopicArn"):
        yield warning(
            "alarms tell nobody: they only change colour",
            "make an SNS topic with your address, and give it as AlarmTopicArn: make deploy",
        )
    if names and not missing and all(alarm["StateValue"] != "ALARM" for alarm in found):
        yield ok(f"none of {len(found)} alarms rings")
