"""The STG world that qa-env copies from, made in MiniStack through the ordinary APIs: what an operator has
already.

A network, a load balancer for STG and one for QA, a cluster with two STG services, a repository for images,
roles, secrets, a bucket for artifacts and two CodeBuild projects; and the blueprint that names them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import yaml

from local.build import BUILD_PROJECT, MIGRATE_PROJECT
from local.ministack import ACCOUNT, REGION

REPOSITORY = "example/shop"
CLUSTER = "stg"
BALANCER = "qa"
IMAGES = "sample-app"
BUCKET = "sample-app-artifacts"
SLACK_CHANNEL = "qa"
EVENTS = "sample-app-events"
PORT = 8080
ARN = f"{REGION}:{ACCOUNT}"
REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
CONNECTION = f"arn:aws:codeconnections:{ARN}:connection/00000000-0000-4000-8000-000000000000"
COMMANDS = {
    "web": ["python3", "-m", "sample_app.web"],
    "worker": ["python3", "-m", "sample_app.worker"],
}

Client = Callable[[str], Any]


@dataclass(frozen=True)
class World:
    """ARNs and ids of what was made."""

    balancer: str
    subnets: list[str]
    security_group: str
    roles: Mapping[str, str]
    secrets: Mapping[str, str]
    servers: Mapping[str, str] = field(repr=False, default_factory=dict)

    def parameters(self) -> dict[str, str]:
        """What an operator would answer to `sam deploy --guided`."""
        return {
            "PassRoleArns": ",".join(self.roles.values()),
            "BuildProjectArns": ",".join(
                f"arn:aws:codebuild:{ARN}:project/{name}" for name in (BUILD_PROJECT, MIGRATE_PROJECT)
            ),
            "ImageRepositoryArns": f"arn:aws:ecr:{ARN}:repository/{IMAGES}",
            "SecondLookSeconds": "0",  # nothing is shown late here
            "DataSecretArns": ",".join([self.secrets["mysql"], self.secrets["redis"]]),
            "GitHubSecretArns": self.secrets.get("github", ""),
            "SlackSecretArns": self.secrets["slack"],
            # Given, not generated: MiniStack's Ref of a secret is its name, which no policy can allow.
            "WebhookSecretArn": self.secrets["webhook"],
            "VpcSubnetIds": ",".join(self.subnets),
            "VpcSecurityGroupIds": self.security_group,
        }


def create(client: Client, mysql: str, redis: str, given: Mapping[str, Mapping[str, str]]) -> World:
    """Make everything. `mysql` and `redis` are URLs of the servers that STG uses, `given` more secrets."""
    subnets, group = _network(client("ec2"))
    roles = {
        name: _role(client("iam"), name) for name in ("stg-execution", "stg-task", "sample-app-pipeline")
    }
    servers = _servers(mysql, redis)
    secrets = _secrets(client("secretsmanager"), servers, given)
    elbv2 = client("elbv2")
    stg, balancer = (_balancer(elbv2, name, subnets, group) for name in ("stg", BALANCER))
    client("ecr").create_repository(repositoryName=IMAGES)
    client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    for project in (BUILD_PROJECT, MIGRATE_PROJECT):
        _project(client("codebuild"), project, roles["sample-app-pipeline"])
    for role in COMMANDS:
        client("logs").create_log_group(logGroupName=f"/sample-app/qa-{role}")
    ecs = client("ecs")
    ecs.create_cluster(clusterName=CLUSTER)
    target = _stg_target(elbv2, stg)
    for role in COMMANDS:
        _stg_service(ecs, role, roles, secrets, subnets, group, target)
    return World(balancer, subnets, group, roles, secrets, servers)


@dataclass(frozen=True)
class Places:
    """Where the blueprint finds things on this machine; `github` is None where it is not asked."""

    ports: range
    host: str
    page: str
    slack: str
    github: str | None


def blueprint(world: World, places: Places, redis_mode: str, accounts: str = "shared") -> str:
    """The blueprint of the sample application, as YAML."""
    ports = f"{places.ports.start}-{places.ports.stop - 1}"
    redis: dict[str, Any] = {"mode": redis_mode, "secret": f"secretsmanager:{world.secrets['redis']}"}
    if redis_mode == "namespace":
        redis["variables"] = {"REDIS_NAMESPACE": "{namespace}"}
    else:
        redis |= {"databases": "1-15", "variables": {"REDIS_DB": "{database}"}}
    database = {"secret": f"secretsmanager:{world.secrets['mysql']}", "accounts": accounts}
    if accounts == "own":
        # The server is MariaDB, which protects no administrator (docs/data.md).
        database |= {
            "accounts_trust": True,
            "user_variable": "MYSQL_USER",
            "password_variable": "MYSQL_PASSWORD",
        }
    text: dict[str, Any] = {
        "version": 1,
        "repository": REPOSITORY,
        "cluster": CLUSTER,
        "image_repository": IMAGES,
        "load_balancers": [{"arn": world.balancer, "host": places.host, "ports": ports}],
        "roles": {"web": _blueprint_role("web"), "worker": _blueprint_role("worker")},
        "pipeline": {
            "connection_arn": CONNECTION,
            "role_arn": world.roles["sample-app-pipeline"],
            "artifact_bucket": BUCKET,
            "build_project": BUILD_PROJECT,
            "migrate_project": MIGRATE_PROJECT,
        },
        "database": database,
        "redis": redis,
        "slack": {
            "secret": f"secretsmanager:{world.secrets['slack']}",
            "channel": f"#{SLACK_CHANNEL}",
            "api_url": places.slack,
        },
        "page": {"url": places.page, "buttons": ["redeploy", "reset", "delete"]},
    }
    text["roles"]["web"] |= {"port": PORT, "health_check": {"path": "/health"}, "deregistration_delay": 1}
    if places.github:
        text["github"] = {"secret": f"secretsmanager:{world.secrets['github']}", "api_url": places.github}
    return str(yaml.safe_dump(text, sort_keys=False, allow_unicode=True))


def _blueprint_role(role: str) -> dict[str, Any]:
    return {
        "copy_of": f"stg-{role}",
        "container": "app",
        "threads": 2,
        "log_group": f"/sample-app/qa-{role}",
        "deployment": {"grace": 20},
    }


def _network(ec2: Any) -> tuple[list[str], str]:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")[
            "Subnet"
        ]["SubnetId"]
        for number, zone in enumerate("ac")
    ]
    group = ec2.create_security_group(GroupName="stg", Description="STG", VpcId=vpc)["GroupId"]
    return subnets, group


def _role(iam: Any, name: str) -> str:
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {
                    "Service": [
                        "ecs-tasks.amazonaws.com",
                        "codepipeline.amazonaws.com",
                        "codebuild.amazonaws.com",
                    ]
                },
                "Action": "sts:AssumeRole",
            }
        ],
    }
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    return str(made["Role"]["Arn"])


def _servers(mysql: str, redis: str) -> dict[str, str]:
    """What the application reads, whoever starts it."""
    url = urlsplit(mysql)
    return {
        "MYSQL_HOST": url.hostname or "127.0.0.1",
        "MYSQL_PORT": str(url.port or 3306),
        "MYSQL_USER": url.username or "root",
        "MYSQL_PASSWORD": url.password or "",
        "REDIS_URL": redis,
    }


def _secrets(
    manager: Any, servers: Mapping[str, str], given: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    values: dict[str, Mapping[str, str]] = {
        "mysql": {
            "host": servers["MYSQL_HOST"],
            "port": servers["MYSQL_PORT"],
            "username": servers["MYSQL_USER"],
            "password": servers["MYSQL_PASSWORD"],
        },
        "redis": {"url": servers["REDIS_URL"]},
        **given,
    }
    return {
        name: manager.create_secret(Name=f"stg/{name}", SecretString=json.dumps(value))["ARN"]
        for name, value in values.items()
    }


def _balancer(elbv2: Any, name: str, subnets: list[str], group: str) -> str:
    made = elbv2.create_load_balancer(
        Name=name, Subnets=subnets, SecurityGroups=[group], Scheme="internal", Type="application"
    )
    return str(made["LoadBalancers"][0]["LoadBalancerArn"])


def _stg_target(elbv2: Any, balancer: str) -> str:
    vpc = elbv2.describe_load_balancers(LoadBalancerArns=[balancer])["LoadBalancers"][0]["VpcId"]
    made = elbv2.create_target_group(
        Name="stg-web", Protocol="HTTP", Port=PORT, VpcId=vpc, TargetType="ip", HealthCheckPath="/health"
    )
    arn = str(made["TargetGroups"][0]["TargetGroupArn"])
    elbv2.create_listener(
        LoadBalancerArn=balancer,
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": arn}],
    )
    return arn


def _project(codebuild: Any, name: str, role: str) -> None:
    codebuild.create_project(
        name=name,
        source={"type": "CODEPIPELINE", "buildspec": f"buildspec.{name.rsplit('-', 1)[-1]}.yml"},
        artifacts={"type": "CODEPIPELINE"},
        environment={
            "type": "LINUX_CONTAINER",
            "image": "aws/codebuild/standard:7.0",
            "computeType": "BUILD_GENERAL1_SMALL",
        },
        serviceRole=role,
    )


def _stg_service(
    ecs: Any,
    role: str,
    roles: Mapping[str, str],
    secrets: Mapping[str, str],
    subnets: list[str],
    group: str,
    target: str,
) -> None:
    """A STG service. It wants no task: STG itself is not what is shown here."""
    mysql = {
        "MYSQL_HOST": "host",
        "MYSQL_PORT": "port",
        "MYSQL_USER": "username",
        "MYSQL_PASSWORD": "password",
    }
    container = {
        "name": "app",
        "image": f"{REGISTRY}/{IMAGES}:stg",
        "command": COMMANDS[role],
        "environment": [
            {"name": "DB_NAME", "value": "stg"},
            {"name": "BRANCH", "value": "main"},
            {"name": "PORT", "value": str(PORT)},
        ],
        "secrets": [
            *({"name": name, "valueFrom": f"{secrets['mysql']}:{field}::"} for name, field in mysql.items()),
            {"name": "REDIS_URL", "valueFrom": f"{secrets['redis']}:url::"},
        ],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": f"/sample-app/stg-{role}",
                "awslogs-region": REGION,
                "awslogs-stream-prefix": "stg",
            },
        },
        **({"portMappings": [{"containerPort": PORT, "protocol": "tcp"}]} if role == "web" else {}),
    }
    made = ecs.register_task_definition(
        family=f"stg-{role}",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        executionRoleArn=roles["stg-execution"],
        taskRoleArn=roles["stg-task"],
        containerDefinitions=[container],
    )
    balancers = [{"targetGroupArn": target, "containerName": "app", "containerPort": PORT}]
    ecs.create_service(
        cluster=CLUSTER,
        serviceName=f"stg-{role}",
        taskDefinition=made["taskDefinition"]["taskDefinitionArn"],
        desiredCount=0,
        launchType="FARGATE",
        loadBalancers=balancers if role == "web" else [],
        networkConfiguration={
            "awsvpcConfiguration": {
                "subnets": subnets,
                "securityGroups": [group],
                "assignPublicIp": "DISABLED",
            }
        },
    )


def events_queue(client: Client) -> str:
    """A queue that gets every event of qa-env, as a team's rule would do it; its URL."""
    url = str(client("sqs").create_queue(QueueName=EVENTS)["QueueUrl"])
    events = client("events")
    events.put_rule(Name=EVENTS, EventPattern=json.dumps({"source": ["qa-env"]}))
    events.put_targets(Rule=EVENTS, Targets=[{"Id": "queue", "Arn": f"arn:aws:sqs:{ARN}:{EVENTS}"}])
    return url


def page_listener(
    elbv2: Any, installation: str, balancer: str, port: int, outputs: Mapping[str, str]
) -> None:
    """A listener for the page itself, as an operator makes one: the list of environments."""
    made = elbv2.create_target_group(Name=f"{installation}-page-list", TargetType="lambda")
    arn = made["TargetGroups"][0]["TargetGroupArn"]
    elbv2.register_targets(TargetGroupArn=arn, Targets=[{"Id": outputs["PageFunctionArn"]}])
    elbv2.create_listener(
        LoadBalancerArn=balancer,
        Protocol="HTTP",
        Port=port,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": arn}],
    )
