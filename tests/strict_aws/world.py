"""What every environment finds already there: load balancers, cluster, STG, table, queues, repository."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.strict_aws.layer import StrictAWS

STG_WEB = "stg-web"
STG_WORKER = "stg-worker"


@dataclass(frozen=True)
class LoadBalancer:
    name: str
    arn: str
    dns_name: str


@dataclass(frozen=True)
class World:
    vpc: str
    subnets: tuple[str, str]
    security_group: str
    load_balancers: tuple[LoadBalancer, ...]  # for QA, without listeners
    stg_load_balancer: LoadBalancer
    cluster: str
    stg_web: str  # the service and the family have this name; its container `web` listens on port 3000
    stg_worker: str  # the same without a port
    table: str
    queue_url: str
    queue_arn: str
    dlq_url: str
    dlq_arn: str
    repository: str
    repository_uri: str

    @property
    def load_balancer(self) -> LoadBalancer:
        return self.load_balancers[0]

    @property
    def network(self) -> dict[str, Any]:
        """The networkConfiguration of the STG services."""
        return _network(self.subnets, self.security_group)


def build(aws: StrictAWS, load_balancers: int = 1) -> World:
    """Build it all; STG is running and healthy."""
    vpc, subnets, security_group = _build_network(aws)
    balancers = tuple(
        _build_load_balancer(aws, f"qa-{number}", subnets, security_group)
        for number in range(1, load_balancers + 1)
    )
    stg = _build_load_balancer(aws, "stg", subnets, security_group)
    repository = aws.client("ecr").create_repository(repositoryName="shop")["repository"]
    cluster = aws.client("ecs").create_cluster(clusterName="qa")["cluster"]["clusterName"]
    _build_stg(aws, cluster, vpc, _network(subnets, security_group), stg, repository["repositoryUri"])
    dlq_url, dlq_arn = _build_queue(aws, "qa-env-dead.fifo")
    redrive = json.dumps({"deadLetterTargetArn": dlq_arn, "maxReceiveCount": 5})
    queue_url, queue_arn = _build_queue(aws, "qa-env.fifo", RedrivePolicy=redrive, VisibilityTimeout="90")
    return World(
        vpc=vpc,
        subnets=subnets,
        security_group=security_group,
        load_balancers=balancers,
        stg_load_balancer=stg,
        cluster=cluster,
        stg_web=STG_WEB,
        stg_worker=STG_WORKER,
        table=_build_table(aws),
        queue_url=queue_url,
        queue_arn=queue_arn,
        dlq_url=dlq_url,
        dlq_arn=dlq_arn,
        repository=repository["repositoryName"],
        repository_uri=repository["repositoryUri"],
    )


def _build_network(aws: StrictAWS) -> tuple[str, tuple[str, str], str]:
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    first, second = (
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{aws.region}{zone}")[
            "Subnet"
        ]
        for n, zone in ((1, "a"), (2, "c"))
    )
    group = ec2.create_security_group(GroupName="app", Description="application tasks", VpcId=vpc)["GroupId"]
    return vpc, (first["SubnetId"], second["SubnetId"]), group


def _build_load_balancer(
    aws: StrictAWS, name: str, subnets: tuple[str, str], security_group: str
) -> LoadBalancer:
    made = aws.client("elbv2").create_load_balancer(
        Name=name,
        Subnets=list(subnets),
        SecurityGroups=[security_group],
        Scheme="internal",
        Type="application",
    )["LoadBalancers"][0]
    return LoadBalancer(name, made["LoadBalancerArn"], made["DNSName"])


def _build_stg(
    aws: StrictAWS, cluster: str, vpc: str, network: dict[str, Any], balancer: LoadBalancer, image: str
) -> None:
    elbv2, ecs = aws.client("elbv2"), aws.client("ecs")
    group = elbv2.create_target_group(
        Name=STG_WEB, Protocol="HTTP", Port=3000, VpcId=vpc, TargetType="ip", HealthCheckPath="/healthz"
    )["TargetGroups"][0]["TargetGroupArn"]
    elbv2.create_listener(
        LoadBalancerArn=balancer.arn,
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )
    web = _container(aws, "web", image, ["bundle", "exec", "puma"]) | {
        "portMappings": [{"containerPort": 3000, "protocol": "tcp"}]
    }
    worker = _container(aws, "worker", image, ["bundle", "exec", "sidekiq"])
    target = {"targetGroupArn": group, "containerName": "web", "containerPort": 3000}
    behind: dict[str, Any] = {"loadBalancers": [target], "healthCheckGracePeriodSeconds": 60}
    for name, container, extra in ((STG_WEB, web, behind), (STG_WORKER, worker, {})):
        _register(aws, name, container)
        ecs.create_service(
            cluster=cluster,
            serviceName=name,
            taskDefinition=name,
            desiredCount=1,
            launchType="FARGATE",
            networkConfiguration=network,
            enableExecuteCommand=True,
            propagateTags="SERVICE",
            tags=[{"key": "env", "value": "stg"}],
            **extra,
        )
        aws.ecs.settle(name)


def _register(aws: StrictAWS, family: str, container: dict[str, Any]) -> None:
    aws.client("ecs").register_task_definition(
        family=family,
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="512",
        memory="1024",
        executionRoleArn=f"arn:aws:iam::{aws.account}:role/stg-execution",
        taskRoleArn=f"arn:aws:iam::{aws.account}:role/stg-task",
        containerDefinitions=[container],
        tags=[{"key": "env", "value": "stg"}],
    )


def _container(aws: StrictAWS, name: str, image: str, command: list[str]) -> dict[str, Any]:
    secret = f"arn:aws:secretsmanager:{aws.region}:{aws.account}:secret:stg/rails-AbCdEf"
    return {
        "name": name,
        "image": f"{image}:stg",
        "essential": True,
        "command": command,
        "environment": [
            {"name": "RAILS_ENV", "value": "staging"},
            {"name": "BRANCH", "value": "staging"},
            {"name": "DB_NAME", "value": "stg"},
            {"name": "REDIS_URL", "value": "redis://redis.internal:6379/0"},
            {"name": "RAILS_MAX_THREADS", "value": "16"},
        ],
        "secrets": [{"name": "SECRET_KEY_BASE", "valueFrom": f"{secret}:SECRET_KEY_BASE::"}],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {"awslogs-group": "/stg", "awslogs-region": aws.region, "awslogs-stream-prefix": name},
        },
        "stopTimeout": 30,
    }


def _build_table(aws: StrictAWS) -> str:
    aws.client("dynamodb").create_table(
        TableName="qa-env",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
    )
    return "qa-env"


def _build_queue(aws: StrictAWS, name: str, **attributes: str) -> tuple[str, str]:
    sqs = aws.client("sqs")
    url = sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true", **attributes})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return url, arn


def _network(subnets: tuple[str, str], security_group: str) -> dict[str, Any]:
    configuration = {
        "subnets": list(subnets),
        "securityGroups": [security_group],
        "assignPublicIp": "DISABLED",
    }
    return {"awsvpcConfiguration": configuration}
