"""ECS and ELBv2 of the local stack answer as AWS does, where MiniStack alone would say that all is well."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local import ministack

SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(os.environ.get("STATUS", "200")))
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


@dataclass
class Cloud:
    """MiniStack with a load balancer, a cluster and one image."""

    stack: ministack.MiniStack
    balancer: str
    port: int = 20000

    def __post_init__(self) -> None:
        self.ecs, self.elbv2 = self.stack.client("ecs"), self.stack.client("elbv2")

    def target_group(self, name: str, listener: bool = True) -> str:
        """A target group, with a listener on a port of its own."""
        made = self.elbv2.create_target_group(
            Name=name, Protocol="HTTP", Port=80, VpcId="vpc-1", TargetType="ip", UnhealthyThresholdCount=2
        )
        arn = str(made["TargetGroups"][0]["TargetGroupArn"])
        if listener:
            self.port += 1
            self.listen(self.port, arn)
        return arn

    def listen(self, port: int, group: str) -> str:
        """A listener that forwards to the group."""
        action = {"Type": "forward", "TargetGroupArn": group}
        made = self.elbv2.create_listener(
            LoadBalancerArn=self.balancer, Protocol="HTTP", Port=port, DefaultActions=[action]
        )
        return str(made["Listeners"][0]["ListenerArn"])

    def define(self, family: str, *command: str, tag: str = "1", memory: int = 128, **variables: str) -> str:
        """A task definition of one container."""
        container = {
            "name": "app",
            "image": f"{ministack.ACCOUNT}.dkr.ecr.{ministack.REGION}.amazonaws.com/app:{tag}",
            "command": list(command or ("python3", "server.py")),
            "memory": memory,
            "environment": [{"name": name, "value": value} for name, value in variables.items()],
        }
        made = self.ecs.register_task_definition(family=family, containerDefinitions=[container])
        return str(made["taskDefinition"]["taskDefinitionArn"])

    def serve(self, name: str, definition: str, group: str | None = None, grace: int = 0) -> None:
        """A service of one task: stop-then-start, two failures are enough."""
        balancers = [{"targetGroupArn": group, "containerName": "app", "containerPort": 80}] if group else []
        self.ecs.create_service(
            cluster="c",
            serviceName=name,
            taskDefinition=definition,
            desiredCount=1,
            loadBalancers=balancers,
            healthCheckGracePeriodSeconds=grace,
            deploymentConfiguration={
                "minimumHealthyPercent": 0,
                "maximumPercent": 100,
                "deploymentCircuitBreaker": {
                    "enable": True,
                    "rollback": False,
                    "thresholdConfiguration": {"type": "COUNT", "value": 2},
                },
            },
        )

    def service(self, name: str) -> dict[str, Any]:
        """What DescribeServices says."""
        (found,) = self.ecs.describe_services(cluster="c", services=[name])["services"]
        return dict(found)

    def rollout(self, name: str) -> str:
        """The state of the primary deployment."""
        return str(self.service(name)["deployments"][0]["rolloutState"])

    def stopped(self, name: str) -> list[dict[str, Any]]:
        """Stopped tasks of a service."""
        arns = self.ecs.list_tasks(cluster="c", serviceName=name, desiredStatus="STOPPED")["taskArns"]
        return list(self.ecs.describe_tasks(cluster="c", tasks=arns)["tasks"]) if arns else []


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """MiniStack alone: no template, no functions."""
    directory = tmp_path_factory.mktemp("cloud")
    stack = ministack.start(directory, directory / "logs", "token", {})
    image = directory / "images" / "app" / "1"
    image.mkdir(parents=True)
    (image / "server.py").write_text(SERVER)
    stack.client("ecr").create_repository(repositoryName="app")
    manifest = json.dumps({"tag": "1"})
    stack.client("ecr").put_image(repositoryName="app", imageTag="1", imageManifest=manifest)
    stack.client("ecs").create_cluster(clusterName="c")
    made = stack.client("elbv2").create_load_balancer(Name="lb", Subnets=[])
    yield Cloud(stack, made["LoadBalancers"][0]["LoadBalancerArn"])
    stack.stop()


def test_deployment_completes_when_the_target_is_healthy(cloud: Cloud) -> None:
    """IN_PROGRESS first; then one running task, which is the target group's only target."""
    group = cloud.target_group("healthy")
    cloud.serve("healthy", cloud.define("healthy"), group)

    assert cloud.rollout("healthy") == "IN_PROGRESS"
    wait(lambda: cloud.rollout("healthy") == "COMPLETED")
    assert cloud.service("healthy")["runningCount"] == 1
    targets = cloud.elbv2.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    assert [target["TargetHealth"]["State"] for target in targets] == ["healthy"]


def test_exit_fails_the_deployment_after_two_tasks(cloud: Cloud) -> None:
    """The circuit breaker counts, and the tasks keep their exit code and reason."""
    cloud.serve("exits", cloud.define("exits", "python3", "-c", "raise SystemExit(3)"))
    wait(lambda: cloud.rollout("exits") == "FAILED")

    assert cloud.service("exits")["deployments"][0]["failedTasks"] == 2
    for task in cloud.stopped("exits"):
        assert task["stopCode"] == "EssentialContainerExited"
        assert task["containers"][0]["exitCode"] == 3


def test_missing_image_cannot_be_pulled(cloud: Cloud) -> None:
    """The reason is ECS's own."""
    cloud.serve("pull", cloud.define("pull", tag="none"))
    wait(lambda: cloud.rollout("pull") == "FAILED")

    assert all("CannotPullContainerError" in task["stoppedReason"] for task in cloud.stopped("pull"))


def test_unhealthy_target_is_replaced_after_the_grace_period(cloud: Cloud) -> None:
    """It runs and answers, but not what the health check wants."""
    group = cloud.target_group("unhealthy")
    cloud.serve("unhealthy", cloud.define("unhealthy", STATUS="500"), group, grace=1)
    wait(lambda: cloud.rollout("unhealthy") == "FAILED")

    reasons = [task["stoppedReason"] for task in cloud.stopped("unhealthy")]
    assert all("failed ELB health checks" in reason and "HTTP 500" in reason for reason in reasons)


def test_no_room_is_said_and_is_no_failure(cloud: Cloud) -> None:
    """A task that fits nowhere stays wanted."""
    cloud.serve("big", cloud.define("big", memory=99999))
    wait(lambda: cloud.service("big")["events"])

    assert "was unable to place a task" in cloud.service("big")["events"][0]["message"]
    assert cloud.rollout("big") == "IN_PROGRESS"


def test_replacement_stops_before_it_starts(cloud: Cloud) -> None:
    """With 0 % and 100 % two versions never run side by side."""
    cloud.serve("replaced", cloud.define("replaced"), cloud.target_group("replaced"))
    wait(lambda: cloud.rollout("replaced") == "COMPLETED")
    cloud.ecs.update_service(cluster="c", service="replaced", taskDefinition=cloud.define("replaced", X="2"))
    most = 0
    while cloud.rollout("replaced") != "COMPLETED":
        most = max(most, cloud.service("replaced")["runningCount"])
        time.sleep(0.05)

    assert most <= 1
    assert len(cloud.service("replaced")["deployments"]) == 1


def test_deleted_service_drains_and_cannot_be_created_meanwhile(cloud: Cloud) -> None:
    """ACTIVE, DRAINING, INACTIVE; then the name is free (facts B2-2, B2-3)."""
    definition, group = cloud.define("drains"), cloud.target_group("drains")
    cloud.serve("drains", definition, group)
    wait(lambda: cloud.rollout("drains") == "COMPLETED")
    cloud.ecs.delete_service(cluster="c", service="drains", force=True)

    assert cloud.service("drains")["status"] == "DRAINING"
    with pytest.raises(ClientError, match="still Draining"):
        cloud.serve("drains", definition, group)
    with pytest.raises(ClientError, match="ServiceNotActiveException"):
        cloud.ecs.update_service(cluster="c", service="drains", desiredCount=1)
    wait(lambda: cloud.service("drains")["status"] == "INACTIVE")
    cloud.serve("drains", definition, group)


def test_service_needs_a_target_group_with_a_listener(cloud: Cloud) -> None:
    """Facts B2-4."""
    with pytest.raises(ClientError, match="does not have an associated load balancer"):
        cloud.serve("alone", cloud.define("alone"), cloud.target_group("alone", listener=False))


def test_load_balancer_refuses_what_aws_refuses(cloud: Cloud) -> None:
    """A taken port, a group in use, a priority twice, a missing group."""
    group = cloud.target_group("strict", listener=False)
    listener = cloud.listen(30000, group)
    rule = {
        "ListenerArn": listener,
        "Priority": 1,
        "Conditions": [{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}}],
        "Actions": [{"Type": "forward", "TargetGroupArn": group}],
    }
    cloud.elbv2.create_rule(**rule)

    for code, call in {
        "DuplicateListener": lambda: cloud.listen(30000, group),
        "ResourceInUse": lambda: cloud.elbv2.delete_target_group(TargetGroupArn=group),
        "PriorityInUse": lambda: cloud.elbv2.create_rule(**rule),
        "TargetGroupNotFound": lambda: cloud.elbv2.describe_target_groups(Names=["none"]),
        "ListenerNotFound": lambda: cloud.elbv2.describe_listeners(ListenerArns=[f"{listener}0"]),
    }.items():
        with pytest.raises(ClientError, match=code):
            call()
    limits = {one["Name"]: one["Max"] for one in cloud.elbv2.describe_account_limits()["Limits"]}
    assert limits["listeners-per-application-load-balancer"] == "50"

    cloud.elbv2.delete_listener(ListenerArn=listener)
    (described,) = cloud.elbv2.describe_target_groups(TargetGroupArns=[group])["TargetGroups"]
    assert described["LoadBalancerArns"] == []
    cloud.elbv2.delete_target_group(TargetGroupArn=group)


def test_only_the_stack_sends_events_of_aws(cloud: Cloud) -> None:
    """A client may not; who has the token may, and the rules get them."""
    event = {"Source": "aws.ecs", "DetailType": "x", "Detail": "{}"}
    refused = cloud.stack.client("events").put_events(Entries=[event])

    assert refused["FailedEntryCount"] == 1

    sqs, events = cloud.stack.client("sqs"), cloud.stack.client("events")
    queue = sqs.create_queue(QueueName="events")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="r", EventPattern=json.dumps({"source": ["aws.ecs"], "detail-type": ["x"]}))
    events.put_targets(Rule="r", Targets=[{"Id": "1", "Arn": arn}])
    cloud.stack.emit(event)

    received = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5)["Messages"]
    assert json.loads(received[0]["Body"])["detail-type"] == "x"


def wait(until: Callable[[], Any], patience: float = 30) -> None:
    """Until it is true; fails after `patience` seconds."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if until():
            return
        time.sleep(0.1)
    pytest.fail(f"not within {patience} s")
