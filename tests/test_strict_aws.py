"""Every rule of the strict layer holds, and every control does what it says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from uuid import uuid4

import boto3
import botocore.session
import pytest
from boto3.dynamodb.conditions import Key
from botocore import xform_name
from botocore.exceptions import ClientError, ParamValidationError, ReadTimeoutError
from botocore.retries.standard import ThrottledRetryableChecker

from tests.strict_aws import Event, Refused, StrictAWS, World, names, strict_aws
from tests.strict_aws.faults import BUSY

FUNCTION = "arn:aws:lambda:ap-northeast-1:123456789012:function:page"


@pytest.fixture
def aws() -> Iterator[StrictAWS]:
    with strict_aws() as account:
        yield account


@pytest.fixture
def world(aws: StrictAWS) -> World:
    return aws.world(load_balancers=2)


@contextmanager
def refused(code: str, message: str = "") -> Iterator[None]:
    """AWS answers this error code, with this in its message."""
    with pytest.raises(ClientError) as caught:
        yield
    assert code == caught.value.response["Error"]["Code"]
    assert message in caught.value.response["Error"]["Message"]


# How a test makes things


def group(aws: StrictAWS, world: World, name: str = "qa-foo", **changed: Any) -> str:
    settings = {
        "Name": name,
        "Protocol": "HTTP",
        "Port": 3000,
        "VpcId": world.vpc,
        "TargetType": "ip",
    } | changed
    return aws.client("elbv2").create_target_group(**settings)["TargetGroups"][0]["TargetGroupArn"]


def listener(aws: StrictAWS, balancer: str, target_group: str, port: int = 10001, **changed: Any) -> str:
    settings = {
        "LoadBalancerArn": balancer,
        "Protocol": "HTTP",
        "Port": port,
        "DefaultActions": [{"Type": "forward", "TargetGroupArn": target_group}],
    } | changed
    return aws.client("elbv2").create_listener(**settings)["Listeners"][0]["ListenerArn"]


def rule(aws: StrictAWS, listener_arn: str, target_group: str, priority: int = 1) -> str:
    return aws.client("elbv2").create_rule(
        ListenerArn=listener_arn,
        Priority=priority,
        Conditions=[{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}}],
        Actions=[{"Type": "forward", "TargetGroupArn": target_group}],
    )["Rules"][0]["RuleArn"]


def service(aws: StrictAWS, world: World, name: str = "qa-foo-worker", **changed: Any) -> dict[str, Any]:
    settings = {
        "cluster": world.cluster,
        "serviceName": name,
        "taskDefinition": world.stg_worker,
        "desiredCount": 1,
        "launchType": "FARGATE",
        "networkConfiguration": world.network,
        "tags": [{"key": "qa-env", "value": "qa-foo"}],
    } | changed
    return aws.client("ecs").create_service(**settings)["service"]


def web(aws: StrictAWS, world: World, name: str = "qa-foo-web", **changed: Any) -> tuple[dict[str, Any], str]:
    """A web service behind a listener, and its target group."""
    arn = group(aws, world)
    listener(aws, world.load_balancer.arn, arn)
    target = {"targetGroupArn": arn, "containerName": "web", "containerPort": 3000}
    return service(aws, world, name, taskDefinition=world.stg_web, loadBalancers=[target], **changed), arn


def describe(aws: StrictAWS, world: World, *services: str, **options: Any) -> dict[str, Any]:
    return aws.client("ecs").describe_services(cluster=world.cluster, services=list(services), **options)


def shown(aws: StrictAWS, world: World, name: str) -> dict[str, Any]:
    return describe(aws, world, name)["services"][0]


def definition(aws: StrictAWS, family: str = "qa-foo") -> str:
    container = {"name": "app", "image": "shop:1", "memory": 128}
    made = aws.client("ecs").register_task_definition(family=family, containerDefinitions=[container])
    return made["taskDefinition"]["taskDefinitionArn"]


LOG_IN = {
    "Issuer": "https://id.example.com",
    "AuthorizationEndpoint": "https://id.example.com/authorize",
    "TokenEndpoint": "https://id.example.com/token",
    "UserInfoEndpoint": "https://id.example.com/user",
    "ClientId": "qa",
}
BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}


class TestTargetGroups:
    def test_same_settings_return_the_existing_one_whoever_owns_it(
        self, aws: StrictAWS, world: World
    ) -> None:
        mine = group(aws, world, Tags=[{"Key": "qa-env", "Value": "qa-foo"}])

        assert mine == group(aws, world, Tags=[{"Key": "qa-env", "Value": "qa-bar"}])

    def test_other_settings_are_a_duplicate(self, aws: StrictAWS, world: World) -> None:
        group(aws, world)

        with refused("DuplicateTargetGroupName"):
            group(aws, world, HealthCheckPath="/healthz")

    def test_a_modified_one_has_the_settings_it_was_given_last(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world)
        aws.client("elbv2").modify_target_group(TargetGroupArn=arn, HealthCheckPath="/healthz")

        assert arn == group(aws, world, HealthCheckPath="/healthz")

    @pytest.mark.parametrize("name", ["-foo", "foo-", "foo--bar", "foo_bar", "f" * 33])
    def test_names(self, aws: StrictAWS, world: World, name: str) -> None:
        with refused("ValidationError"):
            group(aws, world, name)

    def test_port_protocol_and_vpc_are_needed(self, aws: StrictAWS) -> None:
        with refused("ValidationError", "A protocol must be specified"):
            aws.client("elbv2").create_target_group(Name="qa-foo")

    def test_quota_of_the_region(self, aws: StrictAWS, world: World) -> None:
        aws.elbv2.quotas["target-groups"] = 2  # STG has one
        group(aws, world, "qa-1")

        with refused("TooManyTargetGroups"):
            group(aws, world, "qa-2")

    def test_in_use_until_the_listener_is_gone_and_a_little_longer(
        self, aws: StrictAWS, world: World
    ) -> None:
        aws.elbv2.in_use_lag = 2
        arn = group(aws, world)
        at = listener(aws, world.load_balancer.arn, arn)
        elbv2 = aws.client("elbv2")

        with refused("ResourceInUse"):
            elbv2.delete_target_group(TargetGroupArn=arn)
        elbv2.delete_listener(ListenerArn=at)
        for _ in range(2):
            with refused("ResourceInUse"):
                elbv2.delete_target_group(TargetGroupArn=arn)
        elbv2.delete_target_group(TargetGroupArn=arn)
        with refused("TargetGroupNotFound"):
            elbv2.describe_target_groups(TargetGroupArns=[arn])

    def test_its_load_balancer_is_forgotten_with_the_listener(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world)
        at = listener(aws, world.load_balancer.arn, arn)
        elbv2 = aws.client("elbv2")
        found = elbv2.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"][0]
        assert [world.load_balancer.arn] == found["LoadBalancerArns"]
        elbv2.delete_listener(ListenerArn=at)
        found = elbv2.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"][0]

        assert found["LoadBalancerArns"] == []

    def test_lambda_has_no_port_and_takes_one_function(self, aws: StrictAWS, world: World) -> None:
        elbv2 = aws.client("elbv2")
        with refused("ValidationError"):
            elbv2.create_target_group(Name="qa-page", TargetType="lambda", Protocol="HTTP", Port=80)
        arn = elbv2.create_target_group(Name="qa-page", TargetType="lambda")["TargetGroups"][0][
            "TargetGroupArn"
        ]
        with refused("ValidationError"):
            elbv2.register_targets(TargetGroupArn=arn, Targets=[{"Id": "10.0.0.1"}])
        elbv2.register_targets(TargetGroupArn=arn, Targets=[{"Id": FUNCTION}])
        with refused("TooManyTargets"):
            elbv2.register_targets(TargetGroupArn=arn, Targets=[{"Id": FUNCTION + "2"}])

    def test_deregistering_what_is_not_there_succeeds(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world)

        aws.client("elbv2").deregister_targets(TargetGroupArn=arn, Targets=[{"Id": "10.0.0.1"}])


class TestListeners:
    def test_same_port_and_settings_return_the_existing_one(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world)

        first = listener(aws, world.load_balancer.arn, arn)
        assert first == listener(aws, world.load_balancer.arn, arn)

    def test_same_port_and_other_settings_are_a_duplicate(self, aws: StrictAWS, world: World) -> None:
        listener(aws, world.load_balancer.arn, group(aws, world, "qa-foo"))

        with refused("DuplicateListener"):
            listener(aws, world.load_balancer.arn, group(aws, world, "qa-bar"))

    def test_the_same_port_of_another_load_balancer_is_free(self, aws: StrictAWS, world: World) -> None:
        for number, balancer in enumerate(world.load_balancers):
            listener(aws, balancer.arn, group(aws, world, f"qa-{number}"))

    def test_cannot_move_to_a_taken_port(self, aws: StrictAWS, world: World) -> None:
        listener(aws, world.load_balancer.arn, group(aws, world, "qa-foo"), 10001)
        other = listener(aws, world.load_balancer.arn, group(aws, world, "qa-bar"), 10002)

        with refused("DuplicateListener"):
            aws.client("elbv2").modify_listener(ListenerArn=other, Port=10001)

    def test_quota(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world)
        for port in range(10001, 10051):
            listener(aws, world.load_balancer.arn, arn, port)

        with refused("TooManyListeners"):
            listener(aws, world.load_balancer.arn, arn, 10051)

    @pytest.mark.parametrize("port", [65536, 70000])
    def test_ports(self, aws: StrictAWS, world: World, port: int) -> None:
        with refused("ValidationError", "less than or equal to 65535"):
            listener(aws, world.load_balancer.arn, group(aws, world), port)

    def test_port_zero_is_refused_by_botocore_already(self, aws: StrictAWS, world: World) -> None:
        with pytest.raises(ParamValidationError):
            listener(aws, world.load_balancer.arn, group(aws, world), 0)

    def test_needs_a_target_group_that_exists(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world)
        aws.client("elbv2").delete_target_group(TargetGroupArn=arn)

        with refused("TargetGroupNotFound"):
            listener(aws, world.load_balancer.arn, arn)

    def test_a_target_group_belongs_to_one_load_balancer(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world)
        at = listener(aws, world.load_balancers[0].arn, arn)
        with refused("TargetGroupAssociationLimit"):
            listener(aws, world.load_balancers[1].arn, arn)
        aws.client("elbv2").delete_listener(ListenerArn=at)

        listener(aws, world.load_balancers[1].arn, arn)

    def test_target_groups_of_a_load_balancer_are_counted_once_each(
        self, aws: StrictAWS, world: World
    ) -> None:
        aws.elbv2.quotas["target-groups-per-application-load-balancer"] = 2
        first, second, third = (group(aws, world, f"qa-{number}") for number in range(3))
        at = listener(aws, world.load_balancer.arn, first, 10001)
        listener(aws, world.load_balancer.arn, first, 10002)
        listener(aws, world.load_balancer.arn, second, 10003)

        with refused("TooManyUniqueTargetGroupsPerLoadBalancer"):
            listener(aws, world.load_balancer.arn, third, 10004)
        with refused("TooManyUniqueTargetGroupsPerLoadBalancer"):
            rule(aws, at, third)

    def test_deleting_twice_is_not_found(self, aws: StrictAWS, world: World) -> None:
        at = listener(aws, world.load_balancer.arn, group(aws, world))
        aws.client("elbv2").delete_listener(ListenerArn=at)

        with refused("ListenerNotFound"):
            aws.client("elbv2").delete_listener(ListenerArn=at)

    def test_limits_are_described(self, aws: StrictAWS) -> None:
        aws.elbv2.quotas["listeners-per-application-load-balancer"] = 75
        limits = {
            each["Name"]: each["Max"] for each in aws.client("elbv2").describe_account_limits()["Limits"]
        }

        assert limits["listeners-per-application-load-balancer"] == "75"
        assert limits["target-groups-per-application-load-balancer"] == "100"
        assert limits["rules-per-application-load-balancer"] == "100"
        assert limits["target-groups"] == "3000"


class TestRules:
    def test_priority_is_unique_and_in_range(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world)
        at = listener(aws, world.load_balancer.arn, arn)
        rule(aws, at, arn, 50000)

        with refused("PriorityInUse"):
            rule(aws, at, arn, 50000)
        with refused("ValidationError", "less than or equal to 50000"):
            rule(aws, at, arn, 50001)

    def test_quota_counts_all_listeners_without_default_rules(self, aws: StrictAWS, world: World) -> None:
        aws.elbv2.quotas["rules-per-application-load-balancer"] = 2
        arn = group(aws, world)
        first, second = (listener(aws, world.load_balancer.arn, arn, port) for port in (10001, 10002))
        rule(aws, first, arn)
        rule(aws, second, arn)

        with refused("TooManyRules"):
            rule(aws, first, arn, 2)

    def test_deleting_twice_is_not_found(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world)
        made = rule(aws, listener(aws, world.load_balancer.arn, arn), arn)
        aws.client("elbv2").delete_rule(RuleArn=made)

        with refused("RuleNotFound"):
            aws.client("elbv2").delete_rule(RuleArn=made)

    def test_a_rule_keeps_its_target_group_in_use(self, aws: StrictAWS, world: World) -> None:
        page = group(aws, world, "qa-page")
        made = rule(aws, listener(aws, world.load_balancer.arn, group(aws, world)), page)
        with refused("ResourceInUse"):
            aws.client("elbv2").delete_target_group(TargetGroupArn=page)
        aws.client("elbv2").delete_rule(RuleArn=made)

        aws.client("elbv2").delete_target_group(TargetGroupArn=page)


class TestActions:
    """What a listener or a rule does, one thing after the other."""

    def actions(self, target_group: str, **config: Any) -> list[dict[str, Any]]:
        log_in = {"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": LOG_IN | config}
        return [log_in, {"Type": "forward", "Order": 2, "TargetGroupArn": target_group}]

    def https(self, aws: StrictAWS, world: World, actions: list[dict[str, Any]]) -> str:
        certificate = aws.client("acm").request_certificate(DomainName="*.example.com")["CertificateArn"]
        secure = {"Protocol": "HTTPS", "Certificates": [{"CertificateArn": certificate}]}
        return listener(aws, world.load_balancer.arn, "", 443, DefaultActions=actions, **secure)

    def test_a_log_in_and_what_comes_after_it(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world)
        at = self.https(aws, world, self.actions(arn, ClientSecret="hush"))
        made = aws.client("elbv2").create_rule(
            ListenerArn=at,
            Priority=1,
            Conditions=[{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}}],
            Actions=self.actions(arn, ClientSecret="hush"),
        )
        (shown,) = aws.client("elbv2").describe_listeners(ListenerArns=[at])["Listeners"]
        rules = aws.client("elbv2").describe_rules(ListenerArn=at)["Rules"]

        assert [one["Type"] for one in shown["DefaultActions"]] == ["authenticate-oidc", "forward"]
        assert shown["DefaultActions"][0]["AuthenticateOidcConfig"] == LOG_IN
        assert "hush" not in f"{made}{shown}{rules}"

    def test_a_log_in_needs_https(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world)
        with refused("InvalidLoadBalancerAction", "HTTPS"):
            listener(aws, world.load_balancer.arn, arn, DefaultActions=self.actions(arn, ClientSecret="hush"))

    def test_a_log_in_is_not_the_last(self, aws: StrictAWS, world: World) -> None:
        log_in, forward = self.actions(group(aws, world), ClientSecret="hush")
        for actions in ([log_in], [log_in | {"Order": 3}, forward], [forward, forward | {"Order": 1}]):
            with refused("InvalidLoadBalancerAction", "last"):
                self.https(aws, world, actions)

    def test_several_actions_have_an_order(self, aws: StrictAWS, world: World) -> None:
        actions = self.actions(group(aws, world), ClientSecret="hush")
        del actions[1]["Order"]
        with refused("InvalidLoadBalancerAction", "order"):
            self.https(aws, world, actions)

    def test_a_new_log_in_needs_its_secret(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world)
        for config in ({}, {"UseExistingClientSecret": True}):
            with refused("InvalidLoadBalancerAction", "secret"):
                self.https(aws, world, self.actions(arn, **config))

    def test_a_changed_log_in_may_keep_its_secret(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world)
        at = self.https(aws, world, self.actions(arn, ClientSecret="hush"))
        elbv2 = aws.client("elbv2")
        elbv2.modify_listener(ListenerArn=at, DefaultActions=self.actions(arn, UseExistingClientSecret=True))
        with refused("InvalidLoadBalancerAction", "secret"):
            elbv2.modify_listener(ListenerArn=at, DefaultActions=self.actions(arn))
        both = self.actions(arn, ClientSecret="hush", UseExistingClientSecret=True)
        with refused("InvalidLoadBalancerAction", "both"):
            elbv2.modify_listener(ListenerArn=at, DefaultActions=both)


class TestTags:
    def test_of_nothing_are_an_error(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world)
        at = listener(aws, world.load_balancer.arn, arn)
        made = rule(aws, at, arn)
        elbv2 = aws.client("elbv2")
        assert len(elbv2.describe_tags(ResourceArns=[arn, at, made])["TagDescriptions"]) == 3

        for missing, code in ((arn, "TargetGroup"), (at, "Listener"), (made, "Rule")):
            with refused(f"{code}NotFound"):
                elbv2.describe_tags(ResourceArns=[missing + "0"])

    def test_twenty_at_a_time(self, aws: StrictAWS, world: World) -> None:
        with refused("ValidationError"):
            aws.client("elbv2").describe_tags(ResourceArns=[group(aws, world)] * 21)


class TestTargetHealth:
    def health(self, aws: StrictAWS, arn: str) -> list[str]:
        described = aws.client("elbv2").describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        return [each["TargetHealth"]["State"] for each in described]

    def test_unused_without_a_listener_then_initial_then_what_the_test_says(
        self, aws: StrictAWS, world: World
    ) -> None:
        arn = group(aws, world)
        aws.client("elbv2").register_targets(TargetGroupArn=arn, Targets=[{"Id": "10.0.1.9"}])
        states = [self.health(aws, arn)]
        listener(aws, world.load_balancer.arn, arn)
        states.append(self.health(aws, arn))
        aws.elbv2.set_health(arn, "10.0.1.9", "unhealthy", "Target.FailedHealthChecks")
        states.append(self.health(aws, arn))

        assert states == [["unused"], ["initial"], ["unhealthy"]]

    def test_follows_the_tasks_of_a_service(self, aws: StrictAWS, world: World) -> None:
        _, arn = web(aws, world)
        states = [self.health(aws, arn)]
        aws.ecs.start("qa-foo-web")
        states.append(self.health(aws, arn))
        aws.ecs.settle("qa-foo-web")
        states.append(self.health(aws, arn))
        aws.ecs.stop_task("qa-foo-web", "Essential container in task exited")
        states.append(self.health(aws, arn))

        assert states == [[], ["initial"], ["healthy"], []]


class TestCreatingServices:
    def test_the_same_again_is_the_same_service(self, aws: StrictAWS, world: World) -> None:
        first = service(aws, world, clientToken="a")
        second = service(aws, world, clientToken="b", taskDefinition=f"{world.stg_worker}:1")

        assert first["serviceArn"] == second["serviceArn"]
        assert len(shown(aws, world, "qa-foo-worker")["deployments"]) == 1

    @pytest.mark.parametrize("change", [{"desiredCount": 2}, {"tags": []}, {"enableExecuteCommand": True}])
    def test_anything_else_under_the_name_is_not_idempotent(
        self, aws: StrictAWS, world: World, change: dict[str, Any]
    ) -> None:
        service(aws, world)

        with refused("InvalidParameterException", "Creation of service was not idempotent."):
            service(aws, world, **change)
        assert shown(aws, world, "qa-foo-worker")["desiredCount"] == 1

    def test_what_it_was_created_with_is_another_thing_once_it_was_updated(
        self, aws: StrictAWS, world: World
    ) -> None:
        service(aws, world)
        aws.client("ecs").update_service(cluster=world.cluster, service="qa-foo-worker", desiredCount=0)

        with refused("InvalidParameterException", "not idempotent"):
            service(aws, world)

    @pytest.mark.parametrize("name", ["s 1", "é", "a/b", "a" * 256])
    def test_names(self, aws: StrictAWS, world: World, name: str) -> None:
        with refused("InvalidParameterException"):
            service(aws, world, name)

    @pytest.mark.parametrize("token", ["a" * 37, "a b", "ü"])
    def test_tokens(self, aws: StrictAWS, world: World, token: str) -> None:
        with refused("InvalidParameterException"):
            service(aws, world, clientToken=token)

    def test_needs_its_cluster(self, aws: StrictAWS, world: World) -> None:
        with refused("ClusterNotFoundException"):
            service(aws, world, cluster="nowhere")

    def test_needs_an_active_task_definition(self, aws: StrictAWS, world: World) -> None:
        with refused("ClientException", "not found"):
            service(aws, world, taskDefinition="nothing")
        arn = definition(aws)
        aws.client("ecs").deregister_task_definition(taskDefinition=arn)
        with refused("ClientException", "inactive"):
            service(aws, world, taskDefinition=arn)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"containerName": "app"}, "The container app does not exist in the task definition."),
            ({"containerPort": 80}, "The container web did not have a container port 80 defined."),
        ],
    )
    def test_needs_a_container_with_that_port(
        self, aws: StrictAWS, world: World, change: dict[str, Any], message: str
    ) -> None:
        arn = group(aws, world)
        listener(aws, world.load_balancer.arn, arn)
        target = {"targetGroupArn": arn, "containerName": "web", "containerPort": 3000} | change

        with refused("InvalidParameterException", message):
            service(aws, world, taskDefinition=world.stg_web, loadBalancers=[target])

    def test_needs_a_target_group_with_a_load_balancer(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world)
        target = {"targetGroupArn": arn, "containerName": "web", "containerPort": 3000}
        with refused("InvalidParameterException", "does not have an associated load balancer."):
            service(aws, world, taskDefinition=world.stg_web, loadBalancers=[target])
        aws.elbv2.association_lag = 1
        listener(aws, world.load_balancer.arn, arn)
        with refused("InvalidParameterException", "does not have an associated load balancer."):
            service(aws, world, taskDefinition=world.stg_web, loadBalancers=[target])

        service(aws, world, taskDefinition=world.stg_web, loadBalancers=[target])

    def test_a_rule_associates_a_target_group_too(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world)
        rule(aws, listener(aws, world.load_balancer.arn, group(aws, world, "qa-page")), arn)
        target = {"targetGroupArn": arn, "containerName": "web", "containerPort": 3000}

        service(aws, world, taskDefinition=world.stg_web, loadBalancers=[target])

    def test_needs_a_target_group_that_exists_and_fits(self, aws: StrictAWS, world: World) -> None:
        instances = group(aws, world, "qa-instances", TargetType="instance")
        listener(aws, world.load_balancer.arn, instances)
        target = {"targetGroupArn": instances, "containerName": "web", "containerPort": 3000}

        with refused("InvalidParameterException", "target type instance, which is incompatible"):
            service(aws, world, taskDefinition=world.stg_web, loadBalancers=[target])
        with refused("InvalidParameterException", "does not exist"):
            missing = target | {"targetGroupArn": instances + "0"}
            service(aws, world, taskDefinition=world.stg_web, loadBalancers=[missing])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"networkConfiguration": None}, "Network Configuration must be provided"),
            ({"healthCheckGracePeriodSeconds": 60}, "Health check grace period"),
            (
                {"deploymentConfiguration": {"minimumHealthyPercent": 100, "maximumPercent": 100}},
                "cannot be 100 as this will block deployments",
            ),
            (
                {"capacityProviderStrategy": [{"capacityProvider": "FARGATE"}]},
                "both a launch type and capacity",
            ),
        ],
    )
    def test_settings_that_cannot_work(
        self, aws: StrictAWS, world: World, change: dict[str, Any], message: str
    ) -> None:
        settings = {"networkConfiguration": world.network} | change
        settings = {key: value for key, value in settings.items() if value is not None}

        with refused("InvalidParameterException", message):
            aws.client("ecs").create_service(
                cluster=world.cluster,
                serviceName="qa-foo",
                taskDefinition=world.stg_worker,
                launchType="FARGATE",
                **settings,
            )

    def test_fargate_needs_a_task_definition_for_it(self, aws: StrictAWS, world: World) -> None:
        with refused("InvalidParameterException", "does not support launch_type FARGATE"):
            aws.client("ecs").create_service(
                cluster=world.cluster,
                serviceName="qa-foo",
                taskDefinition=definition(aws),
                launchType="FARGATE",
            )

    def test_a_strategy_needs_providers_that_exist(self, aws: StrictAWS, world: World) -> None:
        with refused("InvalidParameterException", "'gpu' was not found"):
            aws.client("ecs").create_service(
                cluster=world.cluster,
                serviceName="qa-foo",
                taskDefinition=world.stg_worker,
                networkConfiguration=world.network,
                capacityProviderStrategy=[{"capacityProvider": "gpu"}],
            )

    def test_keeps_what_it_was_given(self, aws: StrictAWS, world: World) -> None:
        given: dict[str, Any] = {
            "deploymentConfiguration": BREAKER | {"minimumHealthyPercent": 0, "maximumPercent": 100},
            "enableExecuteCommand": True,
            "healthCheckGracePeriodSeconds": 90,
            "propagateTags": "SERVICE",
        }
        _, arn = web(aws, world, **given)
        kept = shown(aws, world, "qa-foo-web")

        assert given == {key: kept[key] for key in given}
        assert world.network == kept["networkConfiguration"]
        assert [{"targetGroupArn": arn, "containerName": "web", "containerPort": 3000}] == kept[
            "loadBalancers"
        ]
        assert kept["launchType"] == "FARGATE"

    def test_keeps_its_strategy(self, aws: StrictAWS, world: World) -> None:
        strategy: Any = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
        aws.client("ecs").create_service(
            cluster=world.cluster,
            serviceName="qa-foo",
            taskDefinition=world.stg_worker,
            networkConfiguration=world.network,
            capacityProviderStrategy=strategy,
        )
        kept = shown(aws, world, "qa-foo")

        in_full = [{"capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 0}]
        assert in_full == kept["capacityProviderStrategy"]
        assert in_full == kept["deployments"][0]["capacityProviderStrategy"]
        assert "launchType" not in kept
        aws.client("ecs").update_service(
            cluster=world.cluster, service="qa-foo", capacityProviderStrategy=strategy
        )
        assert len(shown(aws, world, "qa-foo")["deployments"]) == 1


class TestUpdatingServices:
    def update(self, aws: StrictAWS, world: World, **changes: Any) -> dict[str, Any]:
        changes = {"cluster": world.cluster, "service": "qa-foo-worker"} | changes
        return aws.client("ecs").update_service(**changes)["service"]

    def test_a_missing_one_is_not_found(self, aws: StrictAWS, world: World) -> None:
        with refused("ServiceNotFoundException"):
            self.update(aws, world, desiredCount=0)

    def test_one_that_is_going_or_gone_is_not_active(self, aws: StrictAWS, world: World) -> None:
        service(aws, world)
        aws.client("ecs").delete_service(cluster=world.cluster, service="qa-foo-worker", force=True)
        with refused("ServiceNotActiveException"):
            self.update(aws, world, desiredCount=0)
        aws.ecs.drain("qa-foo-worker")
        with refused("ServiceNotActiveException"):
            self.update(aws, world, desiredCount=0)

    def test_a_new_task_definition_is_a_new_deployment(self, aws: StrictAWS, world: World) -> None:
        service(aws, world)
        aws.ecs.settle("qa-foo-worker")
        after = self.update(aws, world, taskDefinition=world.stg_web)

        states = [
            (each["status"], each["rolloutState"], each["runningCount"]) for each in after["deployments"]
        ]
        assert states == [("PRIMARY", "IN_PROGRESS", 0), ("ACTIVE", "COMPLETED", 1)]
        assert after["taskDefinition"].endswith("/stg-web:1")
        aws.ecs.settle("qa-foo-worker")
        states = [
            (each["status"], each["rolloutState"])
            for each in shown(aws, world, "qa-foo-worker")["deployments"]
        ]
        assert states == [("PRIMARY", "COMPLETED")]

    @pytest.mark.parametrize(
        ("changes", "deployments"),
        [
            ({"desiredCount": 0}, 1),
            ({"enableExecuteCommand": True}, 1),
            ({"taskDefinition": "stg-worker"}, 1),
            ({"forceNewDeployment": True}, 2),
        ],
    )
    def test_what_starts_a_deployment(
        self, aws: StrictAWS, world: World, changes: dict[str, Any], deployments: int
    ) -> None:
        service(aws, world)
        aws.ecs.settle("qa-foo-worker")

        assert deployments == len(self.update(aws, world, **changes)["deployments"])

    def test_scaling_takes_its_time_though_the_rollout_stays_completed(
        self, aws: StrictAWS, world: World
    ) -> None:
        service(aws, world)
        aws.ecs.settle("qa-foo-worker")
        counts = []
        for desired in (0, 1):
            scaled = self.update(aws, world, desiredCount=desired)
            aws.ecs.settle("qa-foo-worker")
            settled = shown(aws, world, "qa-foo-worker")
            assert scaled["deployments"][0]["rolloutState"] == "COMPLETED"
            counts += [scaled["runningCount"], settled["runningCount"]]

        assert counts == [1, 0, 0, 1]

    def test_refuses_what_creation_refuses(self, aws: StrictAWS, world: World) -> None:
        service(aws, world)

        with refused("InvalidParameterException", "does not exist in the task definition"):
            target = {"targetGroupArn": group(aws, world), "containerName": "web", "containerPort": 3000}
            self.update(aws, world, loadBalancers=[target])


class TestDeletingServices:
    def delete(self, aws: StrictAWS, world: World, name: str = "qa-foo-worker", force: bool = True) -> str:
        gone = aws.client("ecs").delete_service(cluster=world.cluster, service=name, force=force)
        return gone["service"]["status"]

    def test_draining_then_inactive_then_missing(self, aws: StrictAWS, world: World) -> None:
        service(aws, world)
        aws.ecs.settle("qa-foo-worker")
        states = [self.delete(aws, world), shown(aws, world, "qa-foo-worker")["status"]]
        aws.ecs.drain("qa-foo-worker")
        states.append(shown(aws, world, "qa-foo-worker")["status"])
        aws.ecs.purge("qa-foo-worker")

        assert states == ["DRAINING", "DRAINING", "INACTIVE"]
        assert describe(aws, world, "qa-foo-worker")["failures"][0]["reason"] == "MISSING"

    def test_inactive_after_so_many_describes(self, aws: StrictAWS, world: World) -> None:
        aws.ecs.drain_after(describes=2)
        service(aws, world)
        self.delete(aws, world)

        states = [shown(aws, world, "qa-foo-worker")["status"] for _ in range(3)]
        assert states == ["DRAINING", "DRAINING", "INACTIVE"]

    def test_the_name_is_free_when_it_is_inactive(self, aws: StrictAWS, world: World) -> None:
        service(aws, world)
        self.delete(aws, world)
        with refused("InvalidParameterException", "Unable to Start a service that is still Draining."):
            service(aws, world)
        aws.ecs.drain("qa-foo-worker")

        assert service(aws, world, desiredCount=2)["status"] == "ACTIVE"

    def test_needs_no_tasks_or_force(self, aws: StrictAWS, world: World) -> None:
        service(aws, world)

        with refused("InvalidParameterException", "scaled above 0"):
            self.delete(aws, world, force=False)

    def test_again_succeeds_and_never_existed_does_not(self, aws: StrictAWS, world: World) -> None:
        service(aws, world)
        self.delete(aws, world)
        self.delete(aws, world)
        aws.ecs.drain("qa-foo-worker")
        assert self.delete(aws, world) == "INACTIVE"

        with refused("ServiceNotFoundException"):
            self.delete(aws, world, "nothing")

    def test_its_tasks_leave_the_load_balancer(self, aws: StrictAWS, world: World) -> None:
        _, arn = web(aws, world)
        aws.ecs.settle("qa-foo-web")
        self.delete(aws, world, "qa-foo-web")
        aws.ecs.drain_all()

        assert (
            aws.client("elbv2").describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"] == []
        )
        stopped = aws.client("ecs").list_tasks(
            cluster=world.cluster, serviceName="qa-foo-web", desiredStatus="STOPPED"
        )
        assert len(stopped["taskArns"]) == 1


class TestReadingServices:
    def test_lists_only_active_ones_ten_at_a_time(self, aws: StrictAWS, world: World) -> None:
        for number in range(12):
            service(aws, world, f"qa-{number}")
        aws.client("ecs").delete_service(cluster=world.cluster, service="qa-0", force=True)
        first = aws.client("ecs").list_services(cluster=world.cluster)
        pages = aws.client("ecs").get_paginator("list_services").paginate(cluster=world.cluster)

        assert len(first["serviceArns"]) == 10
        listed = {arn.split("/")[-1] for each in pages for arn in each["serviceArns"]}
        assert {f"qa-{number}" for number in range(1, 12)} | {"stg-web", "stg-worker"} == listed

    def test_describes_ten_at_most(self, aws: StrictAWS, world: World) -> None:
        with refused("InvalidParameterException"):
            describe(aws, world, *(f"qa-{number}" for number in range(11)))

    def test_tags_only_when_asked_for(self, aws: StrictAWS, world: World) -> None:
        service(aws, world)
        without = describe(aws, world, "qa-foo-worker")["services"][0]
        with_tags = describe(aws, world, "qa-foo-worker", include=["TAGS"])["services"][0]

        assert "tags" not in without
        assert with_tags["tags"] == [{"key": "qa-env", "value": "qa-foo"}]

    def test_tags_can_change_and_the_tagging_api_sees_them(self, aws: StrictAWS, world: World) -> None:
        arn = service(aws, world)["serviceArn"]
        aws.client("ecs").tag_resource(resourceArn=arn, tags=[{"key": "qa-env", "value": "qa-bar"}])
        found = aws.client("resourcegroupstaggingapi").get_resources(
            TagFilters=[{"Key": "qa-env", "Values": ["qa-bar"]}]
        )

        assert [arn] == [each["ResourceARN"] for each in found["ResourceTagMappingList"]]
        assert describe(aws, world, arn, include=["TAGS"])["services"][0]["tags"] == [
            {"key": "qa-env", "value": "qa-bar"}
        ]


class TestDeployments:
    def test_in_progress_until_settled(self, aws: StrictAWS, world: World) -> None:
        made = service(aws, world)
        assert (
            made["deployments"][0]["rolloutState"],
            made["runningCount"],
            made["pendingCount"],
        ) == ("IN_PROGRESS", 0, 1)
        aws.ecs.settle("qa-foo-worker")
        after = shown(aws, world, "qa-foo-worker")

        assert (
            after["deployments"][0]["rolloutState"],
            after["runningCount"],
            after["pendingCount"],
        ) == ("COMPLETED", 1, 0)
        assert after["events"][0]["message"] == "(service qa-foo-worker) has reached a steady state."

    def test_fails_with_a_breaker(self, aws: StrictAWS, world: World) -> None:
        service(aws, world, deploymentConfiguration=BREAKER)
        aws.ecs.fail(
            "qa-foo-worker",
            "was unable to place a task because no container instance met all of its requirements.",
        )
        after = shown(aws, world, "qa-foo-worker")
        deployment = after["deployments"][0]

        assert (
            deployment["rolloutState"],
            deployment["failedTasks"],
            deployment["pendingCount"],
        ) == ("FAILED", 3, 0)
        assert "tasks failed to start" in deployment["rolloutStateReason"]
        assert any("was unable to place a task because" in event["message"] for event in after["events"])

    def test_the_event_log_is_newest_first(self, aws: StrictAWS, world: World) -> None:
        service(aws, world)
        aws.ecs.event("qa-foo-worker", "has started 1 tasks.")
        aws.ecs.settle_all()
        messages = [event["message"] for event in shown(aws, world, "qa-foo-worker")["events"]]

        assert [
            f"(service qa-foo-worker) has {what}" for what in ("reached a steady state.", "started 1 tasks.")
        ] == (messages)

    def test_never_fails_without_a_breaker(self, aws: StrictAWS, world: World) -> None:
        service(aws, world)
        aws.ecs.fail("qa-foo-worker", "was unable to place a task.")
        deployment = shown(aws, world, "qa-foo-worker")["deployments"][0]

        assert (deployment["rolloutState"], deployment["failedTasks"]) == ("IN_PROGRESS", 3)

    def test_rolls_back_to_the_last_completed_one(self, aws: StrictAWS, world: World) -> None:
        breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
        service(aws, world, deploymentConfiguration=breaker)
        aws.ecs.settle("qa-foo-worker")
        aws.client("ecs").update_service(
            cluster=world.cluster, service="qa-foo-worker", taskDefinition=world.stg_web
        )
        aws.ecs.fail("qa-foo-worker", "was unable to place a task.")
        after = shown(aws, world, "qa-foo-worker")

        assert after["taskDefinition"].endswith("/stg-worker:1")
        assert [each["rolloutState"] for each in after["deployments"]] == [
            "IN_PROGRESS",
            "FAILED",
            "COMPLETED",
        ]
        assert "rolling back to deploymentId" in after["deployments"][0]["rolloutStateReason"]

    def test_a_first_deployment_has_nothing_to_roll_back_to(self, aws: StrictAWS, world: World) -> None:
        service(
            aws,
            world,
            deploymentConfiguration={"deploymentCircuitBreaker": {"enable": True, "rollback": True}},
        )
        aws.ecs.fail("qa-foo-worker", "was unable to place a task.")

        assert [each["rolloutState"] for each in shown(aws, world, "qa-foo-worker")["deployments"]] == [
            "FAILED"
        ]


class TestTasks:
    def test_a_stopped_task_tells_why(self, aws: StrictAWS, world: World) -> None:
        service(aws, world)
        arn = aws.ecs.stop_task(
            "qa-foo-worker",
            "CannotPullContainerError: image not found",
            reason="CannotPullContainerError: image not found",
            stop_code="TaskFailedToStart",
        )
        ecs = aws.client("ecs")
        listed = ecs.list_tasks(cluster=world.cluster, serviceName="qa-foo-worker", desiredStatus="STOPPED")
        task = ecs.describe_tasks(cluster=world.cluster, tasks=listed["taskArns"])["tasks"][0]

        assert [arn] == listed["taskArns"]
        assert (task["lastStatus"], task["stopCode"]) == ("STOPPED", "TaskFailedToStart")
        assert task["stoppedReason"].startswith("CannotPullContainerError")
        assert task["containers"][0]["reason"].startswith("CannotPullContainerError")
        assert shown(aws, world, "qa-foo-worker")["deployments"][0]["failedTasks"] == 1

    def test_an_exit_code_belongs_to_a_container(self, aws: StrictAWS, world: World) -> None:
        service(aws, world)
        aws.ecs.settle("qa-foo-worker")
        arn = aws.ecs.stop_task("qa-foo-worker", "Essential container in task exited", exit_code=137)
        task = aws.client("ecs").describe_tasks(cluster=world.cluster, tasks=[arn])["tasks"][0]

        assert [(each["name"], each["exitCode"]) for each in task["containers"]] == [("worker", 137)]
        assert shown(aws, world, "qa-foo-worker")["runningCount"] == 0

    def test_running_ones_are_listed_by_default(self, aws: StrictAWS, world: World) -> None:
        service(aws, world, desiredCount=2, propagateTags="SERVICE")
        aws.ecs.settle("qa-foo-worker")
        ecs = aws.client("ecs")
        arns = ecs.list_tasks(cluster=world.cluster, serviceName="qa-foo-worker")["taskArns"]
        tasks = ecs.describe_tasks(cluster=world.cluster, tasks=[*arns, "gone"], include=["TAGS"])

        assert len(arns) == 2
        assert [each["reason"] for each in tasks["failures"]] == ["MISSING"]
        assert tasks["tasks"][0]["tags"] == [{"key": "qa-env", "value": "qa-foo"}]

    def test_of_no_service(self, aws: StrictAWS, world: World) -> None:
        with refused("ServiceNotFoundException"):
            aws.client("ecs").list_tasks(cluster=world.cluster, serviceName="nothing")

    def test_can_be_stopped_by_a_person(self, aws: StrictAWS, world: World) -> None:
        ecs = aws.client("ecs")
        arn = ecs.list_tasks(cluster=world.cluster, serviceName=world.stg_web)["taskArns"][0]
        stopped = ecs.stop_task(cluster=world.cluster, task=arn, reason="restart")["task"]

        assert (stopped["lastStatus"], stopped["stoppedReason"]) == ("STOPPED", "restart")

    def test_outside_services_are_not_covered(self, aws: StrictAWS, world: World) -> None:
        with pytest.raises(Refused):
            aws.client("ecs").run_task(cluster=world.cluster, taskDefinition=world.stg_worker)


class TestTaskDefinitions:
    def test_revisions_keep_counting_after_deletion(self, aws: StrictAWS) -> None:
        ecs = aws.client("ecs")
        first, second = definition(aws), definition(aws)
        for arn in (first, second):
            ecs.deregister_task_definition(taskDefinition=arn)
        ecs.delete_task_definitions(taskDefinitions=[first, second])

        assert definition(aws).endswith("/qa-foo:3")
        assert ecs.describe_task_definition(taskDefinition="qa-foo")["taskDefinition"]["revision"] == 3
        assert definition(aws).endswith("/qa-foo:4")

    def test_a_family_is_its_newest_active_revision(self, aws: StrictAWS) -> None:
        definition(aws)
        ecs = aws.client("ecs")
        ecs.deregister_task_definition(taskDefinition=definition(aws))
        assert ecs.describe_task_definition(taskDefinition="qa-foo")["taskDefinition"]["revision"] == 1
        ecs.deregister_task_definition(taskDefinition="qa-foo:1")

        with refused("ClientException", "Unable to describe task definition."):
            ecs.describe_task_definition(taskDefinition="qa-foo")
        assert (
            ecs.describe_task_definition(taskDefinition="qa-foo:1")["taskDefinition"]["status"] == "INACTIVE"
        )

    def test_deleting_waits_for_whoever_uses_it(self, aws: StrictAWS, world: World) -> None:
        service(aws, world)
        aws.ecs.settle("qa-foo-worker")
        ecs = aws.client("ecs")
        ecs.deregister_task_definition(taskDefinition="stg-worker:1")
        aws.client("ecs").delete_service(cluster=world.cluster, service=world.stg_worker, force=True)
        aws.ecs.drain(world.stg_worker)
        deleted = ecs.delete_task_definitions(taskDefinitions=["stg-worker:1"])
        waiting = ecs.list_task_definitions(familyPrefix="stg-worker", status="DELETE_IN_PROGRESS")
        ecs.delete_service(cluster=world.cluster, service="qa-foo-worker", force=True)
        aws.ecs.drain("qa-foo-worker")
        gone = ecs.list_task_definitions(familyPrefix="stg-worker", status="DELETE_IN_PROGRESS")

        assert deleted["taskDefinitions"][0]["status"] == "DELETE_IN_PROGRESS"
        assert len(waiting["taskDefinitionArns"]) == 1
        assert gone["taskDefinitionArns"] == []

    def test_an_active_one_is_a_failure_not_an_error(self, aws: StrictAWS) -> None:
        outcome = aws.client("ecs").delete_task_definitions(taskDefinitions=[definition(aws)])

        assert (outcome["taskDefinitions"], len(outcome["failures"])) == ([], 1)

    def test_ten_at_a_time(self, aws: StrictAWS) -> None:
        with refused("InvalidParameterException"):
            aws.client("ecs").delete_task_definitions(taskDefinitions=["qa-foo:1"] * 11)

    @pytest.mark.parametrize("family", ["qa/foo", "qa foo", "é", "a" * 256])
    def test_families(self, aws: StrictAWS, family: str) -> None:
        with refused("InvalidParameterException"):
            definition(aws, family)

    def test_a_copy_must_leave_out_what_aws_writes(self, aws: StrictAWS, world: World) -> None:
        described = aws.client("ecs").describe_task_definition(taskDefinition=world.stg_web, include=["TAGS"])
        copy = described["taskDefinition"] | {"family": "qa-foo-web"}

        assert described["tags"] == [{"key": "env", "value": "stg"}]
        with pytest.raises(ParamValidationError, match="registeredAt"):
            aws.client("ecs").register_task_definition(**copy)

    def test_lists_in_the_order_asked_for(self, aws: StrictAWS) -> None:
        for _ in range(11):
            definition(aws)
        ecs = aws.client("ecs")
        newest = ecs.list_task_definitions(familyPrefix="qa-foo", sort="DESC", maxResults=2)

        assert [arn.rpartition(":")[2] for arn in newest["taskDefinitionArns"]] == ["11", "10"]
        assert "nextToken" in newest


class TestNames:
    @pytest.mark.parametrize("service_name", names.COVERED)
    def test_every_pattern_of_the_models_is_understood(self, service_name: str) -> None:
        model = botocore.session.get_session().get_service_model(service_name)
        patterns = {model.shape_for(name).metadata.get("pattern") for name in model.shape_names}

        for pattern in patterns - {None}:
            names.compiled(pattern)

    @pytest.mark.parametrize(
        ("service_name", "operation", "params", "code"),
        [
            ("codepipeline", "get_pipeline", {"name": "qa/foo é"}, "ValidationException"),
            ("codepipeline", "get_pipeline", {"name": "a" * 101}, "ValidationException"),
            ("ecr", "create_repository", {"repositoryName": "Qa/Foo"}, "InvalidParameterException"),
            (
                "ecr",
                "list_images",
                {"repositoryName": "shop", "maxResults": 1001},
                "InvalidParameterException",
            ),
            ("sqs", "create_queue", {"QueueName": "qa env"}, "InvalidParameterValue"),
            ("dynamodb", "list_tables", {"Limit": 101}, "ValidationException"),
            ("elbv2", "describe_target_groups", {"PageSize": 401}, "ValidationError"),
            ("ecs", "list_services", {"maxResults": 101}, "InvalidParameterException"),
            ("ecs", "create_cluster", {"clusterName": "qa env"}, "InvalidParameterException"),
            (
                "ecs",
                "register_task_definition",
                {"family": "app", "containerDefinitions": [{"name": "a"}] * 11},
                "InvalidParameterException",
            ),
            (
                "ecs",
                "create_service",
                {"serviceName": "app", "loadBalancers": [{"targetGroupArn": "a"}] * 6},
                "InvalidParameterException",
            ),
        ],
    )
    def test_refused_before_the_call(
        self, aws: StrictAWS, service_name: str, operation: str, params: dict[str, Any], code: str
    ) -> None:
        with refused(code, "validation error"):
            getattr(aws.client(service_name), operation)(**params)

    @pytest.mark.parametrize("identifier", ["a" * 129, "qa/é", "a b"])
    def test_message_groups(self, aws: StrictAWS, world: World, identifier: str) -> None:
        sqs = aws.client("sqs")
        message = {"MessageBody": "{}", "MessageDeduplicationId": "1"}

        with refused("InvalidParameterValue"):
            sqs.send_message(QueueUrl=world.queue_url, MessageGroupId=identifier, **message)
        with refused("InvalidParameterValue"):
            entries = [{"Id": "1", "MessageGroupId": identifier, **message}]
            sqs.send_message_batch(QueueUrl=world.queue_url, Entries=entries)

    def test_tags_are_letters_of_any_language_but_not_emoji(self, aws: StrictAWS, world: World) -> None:
        group(aws, world, Tags=[{"Key": "branch", "Value": "qa/日本語 é_1.:/=+-@"}])

        with refused("ValidationError"):
            group(aws, world, "qa-bar", Tags=[{"Key": "branch", "Value": "qa/🚀"}])
        with refused("ValidationError"):
            group(aws, world, "qa-bar", Tags=[{"Key": "branch", "Value": "qa/a;b"}])

    def test_what_botocore_checks_is_still_its_own_error(self, aws: StrictAWS) -> None:
        with pytest.raises(ParamValidationError):
            aws.client("ecs").create_service(desiredCount=1)


class TestDynamoDB:
    def test_a_repeated_token_changes_nothing(self, aws: StrictAWS, world: World) -> None:
        dynamodb = aws.client("dynamodb")
        key = {"pk": {"S": "env"}, "sk": {"S": "qa-foo"}}

        def add(amount: str) -> None:
            update = {
                "TableName": world.table,
                "Key": key,
                "UpdateExpression": "ADD n :n",
                "ExpressionAttributeValues": {":n": {"N": amount}},
            }
            dynamodb.transact_write_items(TransactItems=[{"Update": update}], ClientRequestToken="once")

        add("1")
        add("1")
        assert dynamodb.get_item(TableName=world.table, Key=key)["Item"]["n"]["N"] == "1"
        with refused("IdempotentParameterMismatchException"):
            add("2")

    def test_a_page_can_be_small(self, aws: StrictAWS, world: World) -> None:
        table = boto3.resource("dynamodb", region_name=aws.region).Table(world.table)
        for number in range(3):
            table.put_item(Item={"pk": "env", "sk": f"qa-{number}"})
        everything: dict[str, Any] = {"KeyConditionExpression": Key("pk").eq("env")}
        whole = table.query(**everything)
        aws.dynamodb.page_size = 2
        first = table.query(**everything)
        second = table.query(ExclusiveStartKey=first["LastEvaluatedKey"], **everything)
        counts = [page["Count"] for page in (whole, first, second, table.scan(), table.scan(Limit=1))]

        assert counts == [3, 2, 1, 2, 1]
        assert "LastEvaluatedKey" not in whole
        assert "LastEvaluatedKey" not in second

    def test_a_transaction_that_meets_another_is_cancelled_because_of_its_item(
        self, aws: StrictAWS, world: World
    ) -> None:
        dynamodb = aws.client("dynamodb")
        keys = [{"pk": {"S": "env"}, "sk": {"S": name}} for name in ("a", "b")]
        puts: Any = [{"Put": {"TableName": world.table, "Item": key}} for key in keys]
        aws.conflict("TransactWriteItems", item=1)
        with pytest.raises(dynamodb.exceptions.TransactionCanceledException) as caught:
            dynamodb.transact_write_items(TransactItems=puts)
        nothing = dynamodb.scan(TableName=world.table)["Count"]
        dynamodb.transact_write_items(TransactItems=puts)

        reasons = caught.value.response["CancellationReasons"]
        assert [reason["Code"] for reason in reasons] == ["None", "TransactionConflict"]
        assert "[None, TransactionConflict]" in str(caught.value)
        assert [nothing, dynamodb.scan(TableName=world.table)["Count"]] == [0, 2]

    def test_a_single_write_that_meets_a_transaction_has_an_error_of_its_own(
        self, aws: StrictAWS, world: World
    ) -> None:
        table = boto3.resource("dynamodb", region_name=aws.region).Table(world.table)
        key = {"pk": "env", "sk": "qa-foo"}
        writes = {
            "PutItem": lambda: table.put_item(Item=key),
            "UpdateItem": lambda: table.update_item(Key=key, UpdateExpression="REMOVE n"),
            "DeleteItem": lambda: table.delete_item(Key=key),
        }
        for operation, write in writes.items():
            aws.conflict(operation)
            with refused("TransactionConflictException"):
                write()
            write()

        with pytest.raises(ValueError, match="can meet a transaction"):
            aws.conflict("GetItem")


class TestEcr:
    def push(self, aws: StrictAWS, world: World, *tags: str) -> None:
        """One image under all of these tags."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"digest": "sha256:1"},
        }
        for tag in tags:
            aws.client("ecr").put_image(
                repositoryName=world.repository,
                imageManifest=json.dumps(manifest),
                imageTag=tag,
            )

    def listed(self, aws: StrictAWS, world: World, **asked: Any) -> dict[str, Any]:
        return aws.client("ecr").list_images(repositoryName=world.repository, **asked)

    def test_lists_a_hundred_at_a_time(self, aws: StrictAWS, world: World) -> None:
        tags = [f"qa-foo-{number:03}" for number in range(101)]
        self.push(aws, world, *tags)
        pages = aws.client("ecr").get_paginator("list_images").paginate(repositoryName=world.repository)
        shown = [[image["imageTag"] for image in page["imageIds"]] for page in pages]

        assert [len(page) for page in shown] == [100, 1]
        assert sorted(tag for page in shown for tag in page) == tags
        assert len(self.listed(aws, world, maxResults=7)["imageIds"]) == 7
        aws.ecr.page_size = 2
        assert len(self.listed(aws, world)["imageIds"]) == 2

    def test_deleting_between_two_pages_leaves_nothing_out(self, aws: StrictAWS, world: World) -> None:
        self.push(aws, world, "a", "b", "c", "d")
        first = self.listed(aws, world, maxResults=2)
        gone = [{"imageTag": image["imageTag"]} for image in first["imageIds"]]
        aws.client("ecr").batch_delete_image(repositoryName=world.repository, imageIds=gone)
        second = self.listed(aws, world, maxResults=2, nextToken=first["nextToken"])

        assert len({image["imageTag"] for page in (first, second) for image in page["imageIds"]}) == 4

    def test_a_token_of_no_list(self, aws: StrictAWS, world: World) -> None:
        with refused("InvalidParameterException", "nextToken"):
            self.listed(aws, world, nextToken="page-9")

    def test_an_image_goes_with_its_last_tag_and_a_missing_one_is_no_error(
        self, aws: StrictAWS, world: World
    ) -> None:
        self.push(aws, world, "a", "b")

        def delete(*tags: str) -> list[str]:
            answer = aws.client("ecr").batch_delete_image(
                repositoryName=world.repository, imageIds=[{"imageTag": tag} for tag in tags]
            )
            return [failure["failureCode"] for failure in answer["failures"]]

        assert delete("a", "nothing") == ["ImageNotFound"]
        assert [image["imageTag"] for image in self.listed(aws, world)["imageIds"]] == ["b"]
        assert delete("b") == []
        assert self.listed(aws, world)["imageIds"] == []

    def test_deletes_a_hundred_at_most(self, aws: StrictAWS, world: World) -> None:
        with refused("InvalidParameterException"):
            aws.client("ecr").batch_delete_image(
                repositoryName=world.repository, imageIds=[{"imageTag": str(n)} for n in range(101)]
            )


class TestPages:
    """Lists of ELBv2 come in pages."""

    @pytest.fixture
    def lists(self, aws: StrictAWS, world: World) -> dict[str, dict[str, Any]]:
        """Lists of at least three things, and how to ask for them."""
        arns = [group(aws, world, f"qa-{number}") for number in range(3)]
        at = [listener(aws, world.load_balancer.arn, arn, 10001 + n) for n, arn in enumerate(arns)]
        for priority in (1, 2):
            rule(aws, at[0], arns[0], priority)
        return {
            "describe_load_balancers": {},
            "describe_target_groups": {},
            "describe_listeners": {"LoadBalancerArn": world.load_balancer.arn},
            "describe_rules": {"ListenerArn": at[0]},
        }

    @pytest.mark.parametrize(
        "operation",
        ["describe_load_balancers", "describe_target_groups", "describe_listeners", "describe_rules"],
    )
    def test_a_paginator_sees_each_thing_once(
        self, aws: StrictAWS, lists: dict[str, dict[str, Any]], operation: str
    ) -> None:
        elbv2, asked = aws.client("elbv2"), lists[operation]
        (key,) = set(getattr(elbv2, operation)(**asked)) - {"ResponseMetadata"}
        whole = getattr(elbv2, operation)(**asked)[key]
        aws.elbv2.page_size = 2
        by_default = [page[key] for page in elbv2.get_paginator(operation).paginate(**asked)]
        one_by_one = elbv2.get_paginator(operation).paginate(**asked, PaginationConfig={"PageSize": 1})

        assert [thing for page in by_default for thing in page] == whole
        assert len(by_default) == 2
        assert [page[key] for page in one_by_one] == [[thing] for thing in whole]

    def test_fifty_where_nobody_says(self, aws: StrictAWS, world: World) -> None:
        for number in range(50):  # with that of STG they are 51
            group(aws, world, f"qa-{number}")
        elbv2 = aws.client("elbv2")

        assert len(elbv2.describe_target_groups()["TargetGroups"]) == 50
        assert len(elbv2.describe_target_groups(PageSize=400)["TargetGroups"]) == 51

    def test_deleting_between_two_pages_leaves_nothing_out(self, aws: StrictAWS, world: World) -> None:
        for number in range(3):
            group(aws, world, f"qa-{number}")
        elbv2 = aws.client("elbv2")
        first = elbv2.describe_target_groups(PageSize=2)
        elbv2.delete_target_group(TargetGroupArn=first["TargetGroups"][0]["TargetGroupArn"])
        second = elbv2.describe_target_groups(PageSize=2, Marker=first["NextMarker"])

        found = [one["TargetGroupName"] for page in (first, second) for one in page["TargetGroups"]]
        assert sorted(found) == ["qa-0", "qa-1", "qa-2", world.stg_web]
        assert "NextMarker" not in second

    def test_a_marker_of_no_list(self, aws: StrictAWS, world: World) -> None:
        with refused("ValidationError", "marker"):
            aws.client("elbv2").describe_target_groups(Marker="page-9")

    @pytest.mark.parametrize(
        "asked", [{"Names": [str(n) for n in range(21)]}, {"TargetGroupArns": ["a"] * 21}]
    )
    def test_twenty_target_groups_can_be_named(self, aws: StrictAWS, asked: dict[str, Any]) -> None:
        with refused("ValidationError"):
            aws.client("elbv2").describe_target_groups(**asked)


class TestFaults:
    @pytest.mark.parametrize(
        ("service_name", "operation", "code"),
        [
            ("elbv2", "describe_account_limits", "Throttling"),
            ("ecs", "list_clusters", "ThrottlingException"),
            ("codepipeline", "list_pipelines", "ThrottlingException"),
            ("dynamodb", "list_tables", "ThrottlingException"),
            ("ecr", "describe_repositories", "ThrottlingException"),
            ("events", "list_rules", "ThrottlingException"),
            ("lambda", "list_functions", "TooManyRequestsException"),
            ("sqs", "list_queues", "RequestThrottled"),
            ("resourcegroupstaggingapi", "get_resources", "ThrottledException"),
        ],
    )
    def test_every_service_throttles_by_a_name_that_botocore_tries_again(
        self, aws: StrictAWS, service_name: str, operation: str, code: str
    ) -> None:
        aws.throttle(f"{service_name}:*")
        with refused(code, "Rate exceeded"):
            getattr(aws.client(service_name), operation)()

        assert code in ThrottledRetryableChecker._THROTTLED_ERROR_CODES

    def test_throttles_so_many_calls_without_effect(self, aws: StrictAWS, world: World) -> None:
        aws.throttle("CreateTargetGroup", times=2)
        for _ in range(2):
            with refused("Throttling", "Rate exceeded"):
                group(aws, world)
        assert len(aws.client("elbv2").describe_target_groups()["TargetGroups"]) == 1

        group(aws, world)

    def test_ecs_throttles_with_an_exception_it_does_not_declare(self, aws: StrictAWS) -> None:
        aws.throttle("ecs:*")

        with refused("ThrottlingException"):
            aws.client("ecs").list_clusters()

    def test_fails_with_what_the_test_wants(self, aws: StrictAWS) -> None:
        ecs = aws.client("ecs")
        aws.fail("ListClusters", 1, "AccessDeniedException")
        with pytest.raises(ecs.exceptions.AccessDeniedException):
            ecs.list_clusters()
        aws.fail("ListClusters", 1, ("ServerException", "down"))
        with refused("ServerException", "down"):
            ecs.list_clusters()
        aws.fail("ListClusters", 1, ConnectionError("no route"))
        with pytest.raises(ConnectionError):
            ecs.list_clusters()

        ecs.list_clusters()

    def test_a_lost_response_has_had_its_effect(self, aws: StrictAWS, world: World) -> None:
        aws.lose_response("CreateTargetGroup")
        with pytest.raises(ReadTimeoutError):
            group(aws, world)

        assert "qa-foo" in {
            each["TargetGroupName"] for each in aws.client("elbv2").describe_target_groups()["TargetGroups"]
        }

    def test_hides_what_is_new(self, aws: StrictAWS, world: World) -> None:
        aws.hide_new("CreateTargetGroup", describes=2)
        arn = group(aws, world)
        elbv2 = aws.client("elbv2")
        with refused("TargetGroupNotFound"):
            elbv2.describe_target_groups(Names=["qa-foo"])
        assert [each["TargetGroupName"] for each in elbv2.describe_target_groups()["TargetGroups"]] == [
            "stg-web"
        ]

        assert arn == elbv2.describe_target_groups(Names=["qa-foo"])["TargetGroups"][0]["TargetGroupArn"]

    def test_hides_new_services(self, aws: StrictAWS, world: World) -> None:
        aws.hide_new("ecs:CreateService", describes=2)
        service(aws, world)
        hidden = describe(aws, world, "qa-foo-worker")
        listed = aws.client("ecs").list_services(cluster=world.cluster)["serviceArns"]

        assert (hidden["services"], hidden["failures"][0]["reason"]) == ([], "MISSING")
        assert not any("qa-foo" in arn for arn in listed)
        assert shown(aws, world, "qa-foo-worker")["status"] == "ACTIVE"

    def test_hides_new_listeners_and_rules(self, aws: StrictAWS, world: World) -> None:
        aws.hide_new("CreateListener", describes=1)
        aws.hide_new("CreateRule", describes=1)
        arn = group(aws, world)
        at = listener(aws, world.load_balancer.arn, arn)
        rule(aws, at, arn)
        elbv2 = aws.client("elbv2")
        counts = []
        for _ in range(2):
            counts.append(len(elbv2.describe_listeners(LoadBalancerArn=world.load_balancer.arn)["Listeners"]))
            counts.append(len(elbv2.describe_rules(ListenerArn=at)["Rules"]))

        assert counts == [0, 1, 1, 2]

    def test_hides_new_pipelines(self, aws: StrictAWS) -> None:
        arn = "arn:aws:codepipeline:ap-northeast-1:123456789012:qa-foo"
        name = {"name": "qa-foo"}
        answers: dict[str, dict[str, Any]] = {
            "CreatePipeline": {"pipeline": name},
            "GetPipeline": {"pipeline": name},
            "ListPipelines": {"pipelines": [name]},
        }
        aws.serve("codepipeline:*", lambda operation, params: answers[operation])
        aws.tagging.offer(lambda: [(arn, {"qa-env": "qa-foo"})])
        aws.hide_new("codepipeline:CreatePipeline", describes=3)
        codepipeline = aws.client("codepipeline")
        stage: Any = {"name": "Source", "actions": []}
        codepipeline.create_pipeline(
            pipeline=name | {"roleArn": "arn:aws:iam::123456789012:role/p", "stages": [stage]}
        )

        with refused("PipelineNotFoundException"):
            codepipeline.get_pipeline(name="qa-foo")
        assert codepipeline.list_pipelines()["pipelines"] == []
        assert tagged(aws, **OURS) == []
        assert codepipeline.get_pipeline(name="qa-foo")["pipeline"] == name
        assert codepipeline.list_pipelines()["pipelines"] == [name]
        assert tagged(aws, **OURS) == [arn]

    def test_hides_new_task_definitions(self, aws: StrictAWS) -> None:
        aws.hide_new("RegisterTaskDefinition", describes=1)
        arn = definition(aws)
        ecs = aws.client("ecs")

        assert ecs.list_task_definitions(familyPrefix="qa-foo")["taskDefinitionArns"] == []
        assert ecs.list_task_definitions(familyPrefix="qa-foo")["taskDefinitionArns"] == [arn]

    def test_only_known_creates_can_be_hidden(self, aws: StrictAWS) -> None:
        with pytest.raises(ValueError, match="can be hidden"):
            aws.hide_new("CreateQueue", describes=1)

    def test_a_stale_read_repeats_itself(self, aws: StrictAWS, world: World) -> None:
        service(aws, world)
        before = shown(aws, world, "qa-foo-worker")
        aws.ecs.settle("qa-foo-worker")
        aws.stale("DescribeServices")

        assert before == shown(aws, world, "qa-foo-worker")
        assert before != shown(aws, world, "qa-foo-worker")

    def test_clears(self, aws: StrictAWS) -> None:
        aws.throttle("*", times=99)
        aws.clear_faults()

        aws.client("ecs").list_clusters()


class Killed(BaseException):
    """What a Lambda timeout looks like from inside."""


class TestWatching:
    def test_records_calls_and_their_outcome(self, aws: StrictAWS, world: World) -> None:
        with refused("ServiceNotFoundException"):
            aws.client("ecs").delete_service(cluster=world.cluster, service="nothing")
        group(aws, world)
        aws.client("elbv2").describe_target_groups()

        assert [event.name for event in aws.calls] == [
            "ecs:DeleteService",
            "elbv2:CreateTargetGroup",
            "elbv2:DescribeTargetGroups",
        ]
        assert [event.done for event in aws.writes()] == [False, True]
        assert aws.calls_to("CreateTargetGroup")[0].params["Name"] == "qa-foo"

    @pytest.mark.parametrize(("moment", "effect"), [("before", 1), ("after", 2)])
    def test_a_callback_can_kill(self, aws: StrictAWS, world: World, moment: str, effect: int) -> None:
        seen: list[str] = []

        def kill(event: Event) -> None:
            seen.append(event.moment)
            if event.operation == "CreateTargetGroup" and event.moment == moment:
                raise Killed

        aws.on_call(kill)
        with pytest.raises(Killed):
            group(aws, world)

        assert effect == len(aws.client("elbv2").describe_target_groups()["TargetGroups"])
        assert seen[0] == "before"

    def test_a_callback_can_act_in_between(self, aws: StrictAWS, world: World) -> None:
        def preempt(event: Event) -> None:
            if event.operation == "CreateTargetGroup" and event.moment == "before":
                group(aws, world, HealthCheckPath="/other")

        aws.on_call(preempt)
        with refused("DuplicateTargetGroupName"):
            group(aws, world)

    def test_clients_made_by_anybody_meet_the_rules(self, aws: StrictAWS) -> None:
        with refused("InvalidParameterException"):
            boto3.client("ecs").create_cluster(clusterName="qa env")

    def test_threads_take_turns(self, aws: StrictAWS, world: World) -> None:
        outcomes: list[str] = []

        def race(name: str) -> None:
            arn = group(aws, world, name)
            try:
                listener(aws, world.load_balancer.arn, arn)
                outcomes.append("won")
            except ClientError as error:
                outcomes.append(error.response["Error"]["Code"])

        threads = [threading.Thread(target=race, args=(f"qa-{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(outcomes) == ["DuplicateListener"] * 3 + ["won"]

    def test_another_region_is_refused(self, aws: StrictAWS) -> None:
        with pytest.raises(Refused):
            boto3.client("ecs", region_name="us-east-1").list_services()

    def test_accounts_are_empty_and_apart(self) -> None:
        for _ in range(2):
            with strict_aws() as account:
                assert account.client("ecs").list_clusters()["clusterArns"] == []
                account.client("ecs").create_cluster(clusterName="qa")


class TestCodePipeline:
    def test_never_reaches_moto(self, aws: StrictAWS) -> None:
        with pytest.raises(Refused, match="stand-in"):
            aws.client("codepipeline").list_pipelines()

    def test_can_be_served_in_process(self, aws: StrictAWS) -> None:
        aws.serve("codepipeline:*", lambda operation, params: {"pipelines": [{"name": operation}]})

        assert aws.client("codepipeline").list_pipelines()["pipelines"][0]["name"] == "ListPipelines"
        with refused("ValidationException"):
            aws.client("codepipeline").get_pipeline(name="qa/foo")

    def test_of_two_that_fit_the_one_served_last_answers(self, aws: StrictAWS) -> None:
        aws.serve("codepipeline:*", lambda operation, params: {"pipelines": [{"name": "first"}]})
        aws.serve("codepipeline:ListPipelines", lambda operation, params: {"pipelines": [{"name": "last"}]})
        codepipeline = aws.client("codepipeline")
        last = codepipeline.list_pipelines()["pipelines"][0]["name"]
        aws.serve_no_more("codepipeline:ListPipelines")

        assert [last, codepipeline.list_pipelines()["pipelines"][0]["name"]] == ["last", "first"]

    @pytest.mark.parametrize("operation", BUSY)
    def test_a_busy_pipeline_answers_what_this_operation_declares(
        self, aws: StrictAWS, operation: str
    ) -> None:
        """Facts B3-13 to B3-15: without effect, and by a name of its own for each."""
        effects: list[str] = []
        aws.serve("codepipeline:*", lambda operation, params: {"done": effects.append(operation)})
        codepipeline = aws.client("codepipeline")
        model = codepipeline.meta.service_model.operation_model(operation)
        params: dict[str, Any] = {
            "StartPipelineExecution": {"name": "qa-foo"},
            "StopPipelineExecution": {"pipelineName": "qa-foo", "pipelineExecutionId": str(uuid4())},
            "CreatePipeline": {
                "pipeline": {"name": "qa-foo", "roleArn": f"arn:aws:iam::{'1' * 12}:role/x", "stages": []}
            },
            "DeletePipeline": {"name": "qa-foo"},
            "TagResource": {"resourceArn": f"arn:aws:codepipeline:eu-west-1:{'1' * 12}:qa-foo", "tags": []},
        }[operation]
        call = getattr(codepipeline, xform_name(operation))
        aws.busy(operation)
        with refused(BUSY[operation][0]):
            call(**params)
        before = list(effects)
        call(**params)

        assert BUSY[operation][0] in {shape.name for shape in model.error_shapes}
        assert [before, effects] == [[], [operation]]

    def test_what_no_pipeline_is_too_busy_for(self, aws: StrictAWS) -> None:
        with pytest.raises(ValueError, match="can find a pipeline busy"):
            aws.busy("GetPipeline")

    def test_can_be_served_at_an_endpoint(self, aws: StrictAWS, monkeypatch: pytest.MonkeyPatch) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = b'{"pipelines": [{"name": "qa-foo"}]}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        with HTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            monkeypatch.setenv("AWS_ENDPOINT_URL_CODEPIPELINE", f"http://127.0.0.1:{server.server_port}")
            listed = aws.client("codepipeline").list_pipelines()["pipelines"]
            server.shutdown()

        assert [each["name"] for each in listed] == ["qa-foo"]


class TestWorld:
    def test_stg_is_running_and_nothing_was_recorded(self, aws: StrictAWS, world: World) -> None:
        assert aws.calls == []
        services = describe(aws, world, world.stg_web, world.stg_worker)["services"]

        assert [(each["runningCount"], each["deployments"][0]["rolloutState"]) for each in services] == [
            (1, "COMPLETED")
        ] * 2

    def test_has_a_table_and_queues(self, aws: StrictAWS, world: World) -> None:
        table = aws.client("dynamodb").describe_table(TableName=world.table)["Table"]
        queue = aws.client("sqs").get_queue_attributes(QueueUrl=world.queue_url, AttributeNames=["All"])[
            "Attributes"
        ]

        assert [key["AttributeName"] for key in table["KeySchema"]] == ["pk", "sk"]
        assert queue["FifoQueue"] == "true"
        assert world.dlq_arn in queue["RedrivePolicy"]


GOOD = {"Source": "qa-env", "DetailType": "environment.ready", "Detail": "{}"}


class TestEvents:
    """What EventBridge takes."""

    @pytest.mark.parametrize(
        ("changed", "code"),
        [
            ({"Source": "aws.codepipeline"}, "NotAuthorizedForSourceException"),
            ({"Detail": "{"}, "MalformedDetail"),
            ({"Detail": "[]"}, "MalformedDetail"),
            ({"Detail": ""}, "InvalidArgument"),
            ({"DetailType": ""}, "InvalidArgument"),
        ],
    )
    def test_entries_fail_one_by_one(self, aws: StrictAWS, changed: dict[str, str], code: str) -> None:
        entries = [GOOD, GOOD | changed, GOOD]
        answer = aws.client("events").put_events(Entries=entries)
        assert answer["FailedEntryCount"] == 1
        assert [one.get("ErrorCode") for one in answer["Entries"]] == [None, code, None]

    def test_there_are_ten_at_most(self, aws: StrictAWS) -> None:
        assert aws.client("events").put_events(Entries=[GOOD] * 10)["FailedEntryCount"] == 0
        with refused("ValidationException"):
            aws.client("events").put_events(Entries=[GOOD] * 11)

    def test_they_are_less_than_a_megabyte(self, aws: StrictAWS) -> None:
        half = GOOD | {"Detail": json.dumps({"text": "x" * 524_280})}
        assert aws.client("events").put_events(Entries=[half])["FailedEntryCount"] == 0
        with refused("ValidationException", "over the limit"):
            aws.client("events").put_events(Entries=[half, half])


class TestSecrets:
    """What Secrets Manager does with what is deleted, and for how long."""

    @pytest.fixture
    def secrets(self, aws: StrictAWS) -> Any:
        client = aws.client("secretsmanager")
        client.create_secret(Name="qa-foo", SecretString="1")
        return client

    @pytest.mark.parametrize("lingers", [1, 3])
    def test_what_was_deleted_without_recovery_is_shown_for_a_while(
        self, aws: StrictAWS, secrets: Any, lingers: int
    ) -> None:
        aws.secretsmanager.lingers = lingers
        secrets.delete_secret(SecretId="qa-foo", ForceDeleteWithoutRecovery=True)

        for _ in range(lingers):
            assert "DeletedDate" in secrets.describe_secret(SecretId="qa-foo")
        with refused("ResourceNotFoundException"):
            secrets.describe_secret(SecretId="qa-foo")

    def test_it_cannot_be_read_by_name_or_arn(self, secrets: Any) -> None:
        arn = secrets.describe_secret(SecretId="qa-foo")["ARN"]
        secrets.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)

        for asked in ("qa-foo", arn):
            with refused("InvalidRequestException", "marked for deletion"):
                secrets.get_secret_value(SecretId=asked)

    def test_its_name_is_free_when_it_is_gone(self, secrets: Any) -> None:
        secrets.delete_secret(SecretId="qa-foo", ForceDeleteWithoutRecovery=True)

        with refused("InvalidRequestException", "already scheduled for deletion"):
            secrets.create_secret(Name="qa-foo", SecretString="2")
        secrets.create_secret(Name="qa-foo", SecretString="2")
        assert secrets.get_secret_value(SecretId="qa-foo")["SecretString"] == "2"

    def test_a_name_with_a_recovery_window_is_in_use(self, secrets: Any) -> None:
        secrets.delete_secret(SecretId="qa-foo")

        for _ in range(3):
            with refused("InvalidRequestException", "already scheduled for deletion"):
                secrets.create_secret(Name="qa-foo", SecretString="2")

    def test_one_that_is_there_exists(self, secrets: Any) -> None:
        with refused("ResourceExistsException"):
            secrets.create_secret(Name="qa-foo", SecretString="2")

    def test_deleting_again_and_what_never_was_succeeds_without_recovery(self, secrets: Any) -> None:
        for name in ("qa-foo", "qa-foo", "nothing"):
            secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)


def tagged(aws: StrictAWS, **asked: Any) -> list[str]:
    """ARNs of one page of what the tagging API shows."""
    answer = aws.client("resourcegroupstaggingapi").get_resources(**asked)
    return [one["ResourceARN"] for one in answer["ResourceTagMappingList"]]


OURS = {"TagFilters": [{"Key": "qa-env", "Values": ["qa-foo"]}]}
MARK = [{"Key": "qa-env", "Value": "qa-foo"}]


class TestTagging:
    """What GetResources shows, and for how long."""

    def test_shows_what_moto_does_not(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world, Tags=MARK)
        at = listener(aws, world.load_balancer.arn, arn, Tags=MARK)
        ruled = aws.client("elbv2").create_rule(
            ListenerArn=at,
            Priority=1,
            Conditions=[{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}}],
            Actions=[{"Type": "forward", "TargetGroupArn": arn}],
            Tags=MARK,
        )["Rules"][0]["RuleArn"]
        made = aws.client("ecs").register_task_definition(
            family="qa-foo",
            containerDefinitions=[{"name": "app", "image": "shop:1", "memory": 128}],
            tags=[{"key": "qa-env", "value": "qa-foo"}],
        )["taskDefinition"]["taskDefinitionArn"]
        pipeline = "arn:aws:codepipeline:ap-northeast-1:123456789012:qa-foo"
        aws.tagging.offer(lambda: [(pipeline, {"qa-env": "qa-foo"})])

        everything = sorted([arn, at, ruled, made, service(aws, world)["serviceArn"], pipeline])
        assert everything == tagged(aws, **OURS)

    @pytest.mark.parametrize(
        ("filters", "found"),
        [
            ([{"Key": "env"}], ["b", "c"]),
            ([{"Key": "env", "Values": []}], ["b", "c"]),
            ([{"Key": "env", "Values": ["1"]}], ["b"]),
            ([{"Key": "env", "Values": ["1", "2"]}], ["b", "c"]),
            ([{"Key": "env", "Values": ["1"]}, {"Key": "role"}], []),
            ([{"Key": "env"}, {"Key": "role", "Values": ["web"]}], ["c"]),
            ([], ["a", "b", "c"]),
        ],
    )
    def test_filters_are_joined_by_and_their_values_by_or(
        self, aws: StrictAWS, filters: list[dict[str, Any]], found: list[str]
    ) -> None:
        prefix = "arn:aws:codepipeline:ap-northeast-1:123456789012:"
        tags = {"a": {"role": "web"}, "b": {"env": "1"}, "c": {"env": "2", "role": "web"}, "d": {}}
        aws.tagging.offer(lambda: [(prefix + name, values) for name, values in tags.items()])

        assert [prefix + name for name in found] == tagged(aws, TagFilters=filters)

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            (["elasticloadbalancing"], {"targetgroup", "listener"}),
            (["elasticloadbalancing:listener"], {"listener"}),
            (["elasticloadbalancing:listener-rule"], set()),
            (["ecs:service", "elasticloadbalancing:targetgroup"], {"service", "targetgroup"}),
            (["codepipeline"], set()),
        ],
    )
    def test_types_are_those_of_the_arn(
        self, aws: StrictAWS, world: World, wanted: list[str], found: set[str]
    ) -> None:
        listener(aws, world.load_balancer.arn, group(aws, world, Tags=MARK), Tags=MARK)
        service(aws, world)

        shown = tagged(aws, ResourceTypeFilters=wanted, **OURS)
        assert found == {arn.split(":", 5)[5].split("/")[0] for arn in shown}

    def test_comes_in_pages_the_last_of_which_has_an_empty_token(self, aws: StrictAWS) -> None:
        arns = [f"arn:aws:codepipeline:ap-northeast-1:123456789012:qa-{n:03}" for n in range(201)]
        aws.tagging.offer(lambda: [(arn, {"qa-env": "qa-foo"}) for arn in arns])
        tagging = aws.client("resourcegroupstaggingapi")
        pages = list(tagging.get_paginator("get_resources").paginate(**OURS))

        assert [len(page["ResourceTagMappingList"]) for page in pages] == [100, 100, 1]
        assert pages[-1]["PaginationToken"] == ""
        assert arns == [one["ResourceARN"] for page in pages for one in page["ResourceTagMappingList"]]
        assert tagged(aws, ResourcesPerPage=2, **OURS) == arns[:2]
        aws.tagging.page_size = 7
        assert len(tagged(aws, **OURS)) == 7

    def test_a_token_of_no_listing_has_expired(self, aws: StrictAWS) -> None:
        with refused("PaginationTokenExpiredException"):
            tagged(aws, PaginationToken="page-9")

    def test_shows_services_until_they_are_purged(self, aws: StrictAWS, world: World) -> None:
        arn = service(aws, world)["serviceArn"]
        aws.client("ecs").delete_service(cluster=world.cluster, service=arn, force=True)
        aws.ecs.drain(arn)
        inactive = tagged(aws, **OURS)
        aws.ecs.purge(arn)

        assert (inactive, tagged(aws, **OURS)) == ([arn], [])

    def test_shows_what_is_gone_for_a_while(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world, Tags=MARK)
        aws.tagging.lag = 2
        aws.client("elbv2").delete_target_group(TargetGroupArn=arn)

        assert [tagged(aws, **OURS) for _ in range(3)] == [[arn], [arn], []]

    def test_what_was_tagged_once_is_shown_where_no_tag_is_asked_for(
        self, aws: StrictAWS, world: World
    ) -> None:
        arn = group(aws, world, Tags=MARK)
        untouched = group(aws, world, "qa-bar")
        aws.client("elbv2").remove_tags(ResourceArns=[arn], TagKeys=["qa-env"])
        answer = aws.client("resourcegroupstaggingapi").get_resources()["ResourceTagMappingList"]

        assert {"ResourceARN": arn, "Tags": []} in answer
        assert untouched not in [one["ResourceARN"] for one in answer]
        assert tagged(aws, **OURS) == []

    def test_an_unknown_arn_is_left_out(self, aws: StrictAWS, world: World) -> None:
        arn = group(aws, world, Tags=MARK)

        assert tagged(aws, ResourceARNList=[arn, arn + "0"]) == [arn]
        with refused("InvalidParameterException"):
            tagged(aws, ResourceARNList=[arn], **OURS)

    def test_what_is_new_can_be_hidden(self, aws: StrictAWS, world: World) -> None:
        aws.hide_new("CreateTargetGroup", describes=1)
        arn = group(aws, world, Tags=MARK)

        assert [tagged(aws, **OURS) for _ in range(2)] == [[], [arn]]

    @pytest.mark.parametrize(
        "asked", [{"ResourcesPerPage": 101}, {"ResourcesPerPage": 0}, {"TagFilters": [{"Values": ["a"]}]}]
    )
    def test_refuses_what_is_out_of_range(self, aws: StrictAWS, asked: dict[str, Any]) -> None:
        with refused("InvalidParameterException"):
            tagged(aws, **asked)

    @pytest.mark.parametrize("asked", [{"TagsPerPage": 100}, {"ResourceTypeFilters": ["s3:bucket"]}])
    def test_what_it_cannot_know_is_no_answer(self, aws: StrictAWS, asked: dict[str, Any]) -> None:
        with pytest.raises(Refused):
            tagged(aws, **asked)
        with pytest.raises(Refused):
            aws.client("resourcegroupstaggingapi").get_tag_keys()

    def test_throttles_by_a_name_of_its_own(self, aws: StrictAWS) -> None:
        aws.throttle("GetResources")
        with refused("ThrottledException"):
            tagged(aws)
