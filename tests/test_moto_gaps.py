"""What plain moto 5.2.5 does where AWS does something else.

None of this is wanted: each test pins one gap that `tests/strict_aws` closes (facts D2), so that a moto
upgrade that closes it is noticed and the rule of the layer can go.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # four times faster; read when moto is imported

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.codepipeline.models import codepipeline_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.elbv2.models import elbv2_backends

REGION = "ap-northeast-1"


@pytest.fixture
def moto() -> Iterator[Moto]:
    with mock_aws():
        yield Moto()


@cache
def session() -> boto3.Session:
    """One for all tests: reading the service models is most of the cost of a client."""
    return boto3.Session("moto", "moto", region_name=REGION)


class Moto:
    """moto without the strict layer, and the few things it needs to be asked about the gaps."""

    def __init__(self) -> None:
        self.session = session()
        self.elbv2 = self.session.client("elbv2")
        self.ecs = self.session.client("ecs")

    def balancer(self) -> Balancer:
        ec2 = self.session.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
        made = self.elbv2.create_load_balancer(Name="qa", Subnets=[subnet])["LoadBalancers"][0]
        return Balancer(made["LoadBalancerArn"], vpc)

    def group(self, vpc: str, name: str = "qa-foo", **changed: Any) -> str:
        settings = {"Name": name, "Protocol": "HTTP", "Port": 80, "VpcId": vpc, "TargetType": "ip"} | changed
        return self.elbv2.create_target_group(**settings)["TargetGroups"][0]["TargetGroupArn"]

    def listener(self, balancer: str, group: str, port: int) -> str:
        made = self.elbv2.create_listener(
            LoadBalancerArn=balancer,
            Protocol="HTTP",
            Port=port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        )
        return made["Listeners"][0]["ListenerArn"]

    def definition(self, family: str = "app") -> str:
        container = {"name": "app", "image": "shop:1", "memory": 128}
        made = self.ecs.register_task_definition(family=family, containerDefinitions=[container])
        return made["taskDefinition"]["taskDefinitionArn"]

    def service(self, name: str = "qa-foo", **changed: Any) -> dict[str, Any]:
        self.ecs.create_cluster(clusterName="qa")
        settings = {
            "cluster": "qa",
            "serviceName": name,
            "taskDefinition": "app",
            "desiredCount": 1,
        } | changed
        return self.ecs.create_service(**settings)["service"]

    def shown(self, name: str = "qa-foo") -> dict[str, Any]:
        return self.ecs.describe_services(cluster="qa", services=[name])["services"][0]


@dataclass(frozen=True)
class Balancer:
    arn: str
    vpc: str


class TestElbv2:
    """Closed by tests/strict_aws/elbv2.py."""

    def test_any_number_of_listeners_share_a_port(self, moto: Moto) -> None:
        """D2-5. AWS: DuplicateListener."""
        balancer = moto.balancer()
        arns = {moto.listener(balancer.arn, moto.group(balancer.vpc, f"qa-{n}"), 20001) for n in range(3)}

        assert len(arns) == 3

    def test_creating_a_listener_again_makes_a_second_one(self, moto: Moto) -> None:
        """B1-4. AWS: success, with the existing one."""
        balancer = moto.balancer()
        group = moto.group(balancer.vpc)

        assert moto.listener(balancer.arn, group, 80) != moto.listener(balancer.arn, group, 80)

    def test_a_listener_moves_onto_a_taken_port(self, moto: Moto) -> None:
        """BC:elbv2.ModifyListener. AWS: DuplicateListener."""
        balancer = moto.balancer()
        group = moto.group(balancer.vpc)
        moto.listener(balancer.arn, group, 80)
        moto.elbv2.modify_listener(ListenerArn=moto.listener(balancer.arn, group, 81), Port=80)

        listeners = moto.elbv2.describe_listeners(LoadBalancerArn=balancer.arn)["Listeners"]
        assert [each["Port"] for each in listeners] == [80, 80]

    def test_creating_a_target_group_again_is_an_error(self, moto: Moto) -> None:
        """D2-6. AWS: success, with the existing one."""
        vpc = moto.balancer().vpc
        moto.group(vpc)

        with pytest.raises(ClientError, match="DuplicateTargetGroupName"):
            moto.group(vpc)

    def test_no_quota_of_listeners_or_target_groups(self, moto: Moto) -> None:
        """D2-7. AWS: TooManyListeners at 51, TooManyUniqueTargetGroupsPerLoadBalancer at 101."""
        balancer = moto.balancer()
        for number in range(101):
            moto.listener(balancer.arn, moto.group(balancer.vpc, f"qa-{number}"), 10001 + number)

        described = moto.elbv2.describe_listeners(LoadBalancerArn=balancer.arn)["Listeners"]
        assert len(described) == 101

    def test_no_quota_of_target_groups_in_a_region(self, moto: Moto) -> None:
        """B1-1. AWS: TooManyTargetGroups at 3001. One group stands for all: making them takes minutes."""
        vpc = moto.balancer().vpc
        groups = elbv2_backends[DEFAULT_ACCOUNT_ID][REGION].target_groups
        one = groups[moto.group(vpc)]
        groups.update({f"{one.arn}{number}": one for number in range(3000)})

        moto.group(vpc, "qa-bar")

    def test_no_quota_of_rules(self, moto: Moto) -> None:
        """B1-1. AWS: TooManyRules at 101."""
        balancer = moto.balancer()
        group = moto.group(balancer.vpc)
        at = moto.listener(balancer.arn, group, 80)
        for priority in range(1, 102):
            moto.elbv2.create_rule(
                ListenerArn=at,
                Priority=priority,
                Conditions=[{"Field": "path-pattern", "Values": ["/*"]}],
                Actions=[{"Type": "forward", "TargetGroupArn": group}],
            )

        rules = moto.elbv2.describe_rules(ListenerArn=at, PageSize=400)["Rules"]
        assert len(rules) == 102  # with the default rule

    def test_ports_have_no_upper_limit(self, moto: Moto) -> None:
        """D2-7. AWS: ValidationError."""
        balancer = moto.balancer()

        moto.listener(balancer.arn, moto.group(balancer.vpc), 70000)

    def test_rule_priorities_have_no_upper_limit(self, moto: Moto) -> None:
        """D2-15. AWS: ValidationError above 50000."""
        balancer = moto.balancer()
        group = moto.group(balancer.vpc)

        moto.elbv2.create_rule(
            ListenerArn=moto.listener(balancer.arn, group, 80),
            Priority=50001,
            Conditions=[{"Field": "path-pattern", "Values": ["/*"]}],
            Actions=[{"Type": "forward", "TargetGroupArn": group}],
        )

    def test_actions_are_taken_and_shown_as_they_are(self, moto: Moto) -> None:
        """AWS: a log-in on HTTPS only, never last; the secret is not shown. BC:elbv2.Action."""
        balancer = moto.balancer()
        endpoints = ("Issuer", "AuthorizationEndpoint", "TokenEndpoint", "UserInfoEndpoint")
        config: dict[str, Any] = dict.fromkeys(endpoints, "https://id.example.com")
        config |= {"ClientId": "qa", "ClientSecret": "hush"}
        log_in: Any = {"Type": "authenticate-oidc", "AuthenticateOidcConfig": config}

        moto.elbv2.create_listener(
            LoadBalancerArn=balancer.arn, Protocol="HTTP", Port=80, DefaultActions=[log_in]
        )

        (shown,) = moto.elbv2.describe_listeners(LoadBalancerArn=balancer.arn)["Listeners"]
        assert shown["DefaultActions"][0]["AuthenticateOidcConfig"]["ClientSecret"] == "hush"

    def test_limits_do_not_tell_the_target_groups_of_a_load_balancer(self, moto: Moto) -> None:
        """D2-7. AWS: `target-groups-per-application-load-balancer` and more."""
        limits = {each["Name"] for each in moto.elbv2.describe_account_limits()["Limits"]}

        assert len(limits) == 9
        assert "target-groups-per-application-load-balancer" not in limits

    def test_a_target_group_serves_many_load_balancers_and_never_forgets_one(self, moto: Moto) -> None:
        """B1-1. AWS: TargetGroupAssociationLimit; and without the listener no load balancer is shown."""
        balancer = moto.balancer()
        group = moto.group(balancer.vpc)
        subnet = moto.session.client("ec2").create_subnet(VpcId=balancer.vpc, CidrBlock="10.0.2.0/24")
        other = moto.elbv2.create_load_balancer(Name="qa-2", Subnets=[subnet["Subnet"]["SubnetId"]])
        first = moto.listener(balancer.arn, group, 80)
        moto.listener(other["LoadBalancers"][0]["LoadBalancerArn"], group, 80)
        moto.elbv2.delete_listener(ListenerArn=first)

        found = moto.elbv2.describe_target_groups(TargetGroupArns=[group])["TargetGroups"][0]
        assert len(found["LoadBalancerArns"]) == 2

    def test_targets_are_healthy_at_once(self, moto: Moto) -> None:
        """BC:elbv2.TargetHealth. AWS: unused without a listener, then initial."""
        group = moto.group(moto.balancer().vpc)
        moto.elbv2.register_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.1.9"}])

        described = moto.elbv2.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        assert [each["TargetHealth"]["State"] for each in described] == ["healthy"]

    def test_a_lambda_target_group_takes_anything(self, moto: Moto) -> None:
        """BC:elbv2.RegisterTargets. AWS: one function ARN."""
        made = moto.elbv2.create_target_group(Name="qa-page", TargetType="lambda")
        arn = made["TargetGroups"][0]["TargetGroupArn"]

        moto.elbv2.register_targets(TargetGroupArn=arn, Targets=[{"Id": "a"}, {"Id": "b", "Port": 80}])

    def test_deregistering_what_is_not_there_is_an_error(self, moto: Moto) -> None:
        """BC:elbv2.DeregisterTargets. AWS: "the action returns successfully"."""
        group = moto.group(moto.balancer().vpc)

        with pytest.raises(ClientError, match="InvalidTarget"):
            moto.elbv2.deregister_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.1.9"}])

    def test_deleting_a_rule_that_is_not_there_succeeds(self, moto: Moto) -> None:
        """BC:elbv2.DeleteRule. AWS: RuleNotFound."""
        moto.elbv2.delete_rule(RuleArn="arn:aws:elasticloadbalancing:x:1:listener-rule/app/qa/1/2/3")

    def test_what_is_not_there_has_no_tags(self, moto: Moto) -> None:
        """BC:elbv2.DescribeTags. AWS: TargetGroupNotFound."""
        arn = moto.group(moto.balancer().vpc) + "0"

        described = moto.elbv2.describe_tags(ResourceArns=[arn])["TagDescriptions"]
        assert described == [{"ResourceArn": arn, "Tags": []}]

    def test_tags_of_any_number_are_described(self, moto: Moto) -> None:
        """BC:elbv2.DescribeTags. AWS: "up to 20 resources in a single call"."""
        vpc = moto.balancer().vpc
        arns = [moto.group(vpc, f"qa-{number}") for number in range(21)]

        assert len(moto.elbv2.describe_tags(ResourceArns=arns)["TagDescriptions"]) == 21

    def test_a_target_group_is_free_the_moment_its_listener_is_gone(self, moto: Moto) -> None:
        """D2-8. AWS: ResourceInUse for a while."""
        balancer = moto.balancer()
        group = moto.group(balancer.vpc)
        moto.elbv2.delete_listener(ListenerArn=moto.listener(balancer.arn, group, 80))

        moto.elbv2.delete_target_group(TargetGroupArn=group)

    def test_target_groups_and_listeners_come_all_at_once(self, moto: Moto) -> None:
        """BC:elbv2.PageSize. AWS: in pages."""
        balancer = moto.balancer()
        for number in range(2):
            moto.listener(balancer.arn, moto.group(balancer.vpc, f"qa-{number}"), 10001 + number)

        assert len(moto.elbv2.describe_target_groups(PageSize=1)["TargetGroups"]) == 2
        listeners = moto.elbv2.describe_listeners(LoadBalancerArn=balancer.arn, PageSize=1)["Listeners"]
        assert len(listeners) == 2

    def test_any_number_of_target_groups_can_be_named(self, moto: Moto) -> None:
        """ansible-collections/amazon.aws #1593. AWS: 20."""
        vpc = moto.balancer().vpc
        names = [f"qa-{number}" for number in range(21)]
        for name in names:
            moto.group(vpc, name)

        assert len(moto.elbv2.describe_target_groups(Names=names)["TargetGroups"]) == 21


class TestEcr:
    """Closed by tests/strict_aws/ecr.py."""

    def test_images_come_all_at_once(self, moto: Moto) -> None:
        """BC:ecr.ListImages. AWS: in pages."""
        ecr = moto.session.client("ecr")
        ecr.create_repository(repositoryName="shop")
        media = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = json.dumps({"schemaVersion": 2, "mediaType": media, "config": {"digest": "sha256:1"}})
        for tag in ("a", "b"):
            ecr.put_image(repositoryName="shop", imageManifest=manifest, imageTag=tag)

        assert len(ecr.list_images(repositoryName="shop", maxResults=1)["imageIds"]) == 2


class TestEcs:
    """Closed by tests/strict_aws/ecs.py, ecs_rules.py and task_definitions.py."""

    def test_creating_overwrites_an_active_service(self, moto: Moto) -> None:
        """D2-9. AWS: "Creation of service was not idempotent."."""
        moto.definition()
        moto.service(desiredCount=1)
        moto.service(desiredCount=3)

        assert moto.shown()["desiredCount"] == 3

    def test_accepts_what_cannot_work(self, moto: Moto) -> None:
        """D2-10. AWS: InvalidParameterException, InvalidParameterException, ClientException."""
        inactive = moto.definition()
        moto.ecs.deregister_task_definition(taskDefinition=inactive)
        group = moto.group(moto.balancer().vpc)

        for number, arn in enumerate((group, group + "0")):  # without a load balancer; without existing
            target = {"targetGroupArn": arn, "containerName": "nothing", "containerPort": 1}
            moto.service(f"qa-{number}", taskDefinition=inactive, loadBalancers=[target])

    @pytest.mark.parametrize(
        "settings",
        [
            {"deploymentConfiguration": {"minimumHealthyPercent": 100, "maximumPercent": 100}},
            {"healthCheckGracePeriodSeconds": 60},
            {"launchType": "EC2", "capacityProviderStrategy": [{"capacityProvider": "FARGATE"}]},
            {"capacityProviderStrategy": [{"capacityProvider": "nothing"}]},
            {"launchType": "FARGATE"},
        ],
        ids=[
            "no room for a deployment",
            "a grace period without a load balancer",
            "a launch type and a strategy",
            "an unknown provider",
            "Fargate for a task definition without it",
        ],
    )
    def test_accepts_settings_that_cannot_work(self, moto: Moto, settings: dict[str, Any]) -> None:
        """BC:ecs.CreateService. AWS: InvalidParameterException."""
        moto.definition()

        assert moto.service(**settings)["status"] == "ACTIVE"

    def test_a_network_need_not_fit_the_task_definition(self, moto: Moto) -> None:
        """BC:ecs.CreateService. AWS: InvalidParameterException without one for awsvpc, and with one else."""
        moto.balancer()
        subnet = moto.session.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
        network = {"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": []}}
        container: Any = {"name": "app", "image": "shop:1", "memory": 128}
        moto.ecs.register_task_definition(
            family="awsvpc", networkMode="awsvpc", containerDefinitions=[container]
        )
        moto.definition()

        assert moto.service("qa-1", networkConfiguration=network)["status"] == "ACTIVE"
        assert moto.service("qa-2", taskDefinition="awsvpc")["status"] == "ACTIVE"

    def test_a_strategy_takes_the_place_of_a_launch_type_unforced(self, moto: Moto) -> None:
        """BC:ecs.UpdateService, pipecd #6385. AWS: "you must force a new deployment"."""
        moto.definition()
        moto.service(launchType="EC2")
        strategy: Any = [{"capacityProvider": "FARGATE"}]
        updated = moto.ecs.update_service(cluster="qa", service="qa-foo", capacityProviderStrategy=strategy)[
            "service"
        ]

        assert updated["capacityProviderStrategy"] == strategy

    def test_a_task_definition_takes_any_number_of_containers(self, moto: Moto) -> None:
        """B2-7. AWS: ten."""
        containers: Any = [{"name": f"c{number}", "image": "shop:1", "memory": 128} for number in range(11)]
        made = moto.ecs.register_task_definition(family="app", containerDefinitions=containers)

        assert len(made["taskDefinition"]["containerDefinitions"]) == 11

    def test_a_task_definition_is_shown_as_it_was_asked_for(self, moto: Moto) -> None:
        """D2-12. AWS: its ARN."""
        moto.definition()
        moto.service()
        moto.ecs.update_service(cluster="qa", service="qa-foo", taskDefinition="app:1")

        assert moto.shown()["taskDefinition"] == "app:1"

    @pytest.mark.parametrize("name", ["s 1/é", "a" * 256])
    def test_accepts_any_name(self, moto: Moto, name: str) -> None:
        """D2-10, D2-15. AWS: InvalidParameterException."""
        moto.definition()

        assert moto.service(name)["serviceName"] == name

    def test_deleting_does_not_drain(self, moto: Moto) -> None:
        """D2-11. AWS: DRAINING, and out of ListServices; an INACTIVE one cannot be updated."""
        moto.definition()
        moto.service()
        gone = moto.ecs.delete_service(cluster="qa", service="qa-foo", force=True)["service"]
        listed = moto.ecs.list_services(cluster="qa")["serviceArns"]
        moto.ecs.update_service(cluster="qa", service="qa-foo", desiredCount=2)

        assert gone["status"] == "INACTIVE"
        assert len(listed) == 1

    def test_an_inactive_service_is_shown_for_ever(self, moto: Moto) -> None:
        """D2-11, B2-2. AWS purges it: then it is MISSING. moto forgets it at no look and at no time."""
        moto.definition()
        moto.service()
        moto.ecs.delete_service(cluster="qa", service="qa-foo", force=True)

        assert [moto.shown()["status"] for _ in range(20)] == ["INACTIVE"] * 20

    def test_lists_and_describes_any_number(self, moto: Moto) -> None:
        """B2-8. AWS: ten names at most, ten per page."""
        moto.definition()
        for number in range(11):
            moto.service(f"qa-{number}")
        described = moto.ecs.describe_services(cluster="qa", services=[f"qa-{n}" for n in range(11)])

        assert len(described["services"]) == 11
        assert len(moto.ecs.list_services(cluster="qa")["serviceArns"]) == 11

    def test_drops_settings(self, moto: Moto) -> None:
        """D2-12. AWS keeps and shows them."""
        moto.definition()
        moto.service(
            deploymentConfiguration={"minimumHealthyPercent": 0, "maximumPercent": 100},
            enableExecuteCommand=True,
            healthCheckGracePeriodSeconds=60,
            capacityProviderStrategy=[{"capacityProvider": "FARGATE"}],
        )
        dropped = {"deploymentConfiguration", "healthCheckGracePeriodSeconds", "capacityProviderStrategy"}

        assert dropped.isdisjoint(moto.shown())
        assert "enableExecuteCommand" not in moto.shown()

    def test_a_deployment_never_moves(self, moto: Moto) -> None:
        """D2-12. AWS: a new deployment per task definition, COMPLETED when its tasks run."""
        moto.definition()
        moto.service()
        second = moto.definition()
        moto.ecs.update_service(cluster="qa", service="qa-foo", taskDefinition=second, desiredCount=2)
        deployments = moto.shown()["deployments"]

        assert [each["rolloutState"] for each in deployments] == ["IN_PROGRESS"]
        assert moto.shown()["runningCount"] == 2  # at once, and without a task
        assert moto.ecs.list_tasks(cluster="qa", serviceName="qa-foo")["taskArns"] == []

    def test_lacks_the_deployments_of_a_service(self, moto: Moto) -> None:
        """B2-15, D1-2. In process, a missing action is a NotImplementedError."""
        moto.definition()
        moto.service()

        with pytest.raises(NotImplementedError):
            moto.ecs.list_service_deployments(cluster="qa", service="qa-foo")

    def test_revisions_start_again_after_deletion(self, moto: Moto) -> None:
        """D2-13. AWS: they keep counting."""
        first = moto.definition()
        moto.ecs.deregister_task_definition(taskDefinition=first)
        moto.ecs.delete_task_definitions(taskDefinitions=[first])

        assert moto.definition() == first

    def test_deletes_a_task_definition_in_use(self, moto: Moto) -> None:
        """B2-10. AWS: DELETE_IN_PROGRESS until no task or service uses it."""
        arn = moto.definition()
        moto.service()
        moto.ecs.deregister_task_definition(taskDefinition=arn)
        moto.ecs.delete_task_definitions(taskDefinitions=[arn])

        with pytest.raises(ClientError, match="Unable to describe task definition"):
            moto.ecs.describe_task_definition(taskDefinition=arn)

    def test_a_family_is_its_newest_revision_of_any_status(self, moto: Moto) -> None:
        """BC:ecs.DescribeTaskDefinition. AWS: the newest ACTIVE one."""
        moto.definition()
        moto.ecs.deregister_task_definition(taskDefinition=moto.definition())

        assert moto.ecs.describe_task_definition(taskDefinition="app")["taskDefinition"]["revision"] == 2

    def test_task_definitions_have_nothing_that_only_aws_writes(self, moto: Moto) -> None:
        """BC:ecs.TaskDefinition. AWS writes these, and a copy must leave them out."""
        moto.definition()
        shown = moto.ecs.describe_task_definition(taskDefinition="app")["taskDefinition"]

        assert {"registeredAt", "registeredBy", "requiresAttributes"}.isdisjoint(shown)

    def test_lists_task_definitions_oldest_first_whatever_is_asked(self, moto: Moto) -> None:
        """BC:ecs.ListTaskDefinitions. AWS: sort and pages."""
        first, second = moto.definition(), moto.definition()
        listed = moto.ecs.list_task_definitions(familyPrefix="app", sort="DESC", maxResults=1)

        assert listed["taskDefinitionArns"] == [first, second]


class TestNames:
    """Closed by tests/strict_aws/names.py."""

    @pytest.mark.parametrize("group", ["a" * 129, "qa/é"])
    def test_message_groups_can_be_anything(self, moto: Moto, group: str) -> None:
        """D2-17. AWS: at most 128 alphanumeric characters and punctuation."""
        sqs = moto.session.client("sqs")
        url = sqs.create_queue(QueueName="qa.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]

        sqs.send_message(QueueUrl=url, MessageBody="{}", MessageGroupId=group, MessageDeduplicationId="1")

    def test_tags_can_be_anything(self, moto: Moto) -> None:
        """D2-15. AWS: letters, digits, spaces and _.:/=+-@."""
        moto.group(moto.balancer().vpc, Tags=[{"Key": "branch", "Value": "qa/🚀;"}])


class TestDynamoDB:
    """Closed by tests/strict_aws/dynamodb.py."""

    def test_a_token_is_not_idempotent(self, moto: Moto) -> None:
        """D2-16. AWS: the second transaction changes nothing."""
        dynamodb = moto.session.client("dynamodb")
        dynamodb.create_table(
            TableName="t",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        )
        key = {"pk": {"S": "a"}}
        update = {"TableName": "t", "Key": key, "UpdateExpression": "ADD n :n"}
        update["ExpressionAttributeValues"] = {":n": {"N": "1"}}
        for _ in range(2):
            dynamodb.transact_write_items(TransactItems=[{"Update": update}], ClientRequestToken="once")

        assert dynamodb.get_item(TableName="t", Key=key)["Item"]["n"]["N"] == "2"


class TestSecretsManager:
    """Closed by tests/strict_aws/secretsmanager.py."""

    def test_what_is_deleted_without_recovery_is_gone_at_once(self, moto: Moto) -> None:
        """B4-4. AWS: shown with its DeletedDate, unreadable, and its name in use, for a while."""
        secrets = moto.session.client("secretsmanager")
        secrets.create_secret(Name="a", SecretString="1")
        secrets.delete_secret(SecretId="a", ForceDeleteWithoutRecovery=True)

        with pytest.raises(secrets.exceptions.ResourceNotFoundException):
            secrets.describe_secret(SecretId="a")
        with pytest.raises(secrets.exceptions.ResourceNotFoundException):
            secrets.get_secret_value(SecretId="a")
        secrets.create_secret(Name="a", SecretString="2")

    def test_a_name_that_is_scheduled_for_deletion_exists(self, moto: Moto) -> None:
        """localstack/localstack #6530. AWS: InvalidRequestException."""
        secrets = moto.session.client("secretsmanager")
        secrets.create_secret(Name="a", SecretString="1")
        secrets.delete_secret(SecretId="a")

        with pytest.raises(secrets.exceptions.ResourceExistsException):
            secrets.create_secret(Name="a", SecretString="2")


class TestTagging:
    """Closed by tests/strict_aws/tagging.py."""

    def test_listeners_and_rules_are_not_shown(self, moto: Moto) -> None:
        """D2-19. AWS shows them, and pipelines."""
        balancer = moto.balancer()
        mark: Any = [{"Key": "qa-env", "Value": "qa-foo"}]
        group = moto.group(balancer.vpc, Tags=mark)
        at = moto.listener(balancer.arn, group, 80)
        ruled = moto.elbv2.create_rule(
            ListenerArn=at,
            Priority=1,
            Conditions=[{"Field": "path-pattern", "Values": ["/*"]}],
            Actions=[{"Type": "forward", "TargetGroupArn": group}],
        )["Rules"][0]["RuleArn"]
        moto.elbv2.add_tags(ResourceArns=[at, ruled], Tags=mark)

        tagging = moto.session.client("resourcegroupstaggingapi")
        shown = tagging.get_resources(TagFilters=[{"Key": "qa-env"}])["ResourceTagMappingList"]
        assert [one["ResourceARN"] for one in shown] == [group]

    def test_pipelines_are_not_shown(self, moto: Moto) -> None:
        """D2-19. AWS shows them."""
        TestCodePipeline().create(moto)
        codepipeline = moto.session.client("codepipeline")
        arn = codepipeline.get_pipeline(name="qa-foo")["metadata"]["pipelineArn"]
        mark: Any = [{"key": "qa-env", "value": "qa-foo"}]
        codepipeline.tag_resource(resourceArn=arn, tags=mark)

        tagging = moto.session.client("resourcegroupstaggingapi")
        assert tagging.get_resources()["ResourceTagMappingList"] == []
        assert codepipeline.list_tags_for_resource(resourceArn=arn)["tags"] == mark

    def test_what_is_deleted_is_not_shown_for_a_moment_longer(self, moto: Moto) -> None:
        """B4-6. AWS: for hours."""
        group = moto.group(moto.balancer().vpc, Tags=[{"Key": "qa-env", "Value": "qa-foo"}])
        moto.elbv2.delete_target_group(TargetGroupArn=group)

        tagging = moto.session.client("resourcegroupstaggingapi")
        assert tagging.get_resources(TagFilters=[{"Key": "qa-env"}])["ResourceTagMappingList"] == []


class TestCodePipeline:
    """Why the layer lets no CodePipeline call reach moto: local/codepipeline takes its place."""

    def create(self, moto: Moto, name: str = "qa-foo") -> None:
        trust = {"Effect": "Allow", "Principal": {"Service": "codepipeline.amazonaws.com"}}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [trust | {"Action": "sts:AssumeRole"}]})
        iam = moto.session.client("iam")
        with suppress(iam.exceptions.EntityAlreadyExistsException):
            iam.create_role(RoleName="pipeline", AssumeRolePolicyDocument=policy)
        moto.session.client("codepipeline").create_pipeline(pipeline=self.declaration(name))

    @staticmethod
    def declaration(name: str) -> Any:
        def stage(name: str, category: str, provider: str) -> dict[str, Any]:
            kind = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
            return {"name": name, "actions": [{"name": name, "actionTypeId": kind}]}

        return {
            "name": name,
            "roleArn": "arn:aws:iam::123456789012:role/pipeline",
            "artifactStore": {"type": "S3", "location": "artifacts"},
            "stages": [stage("Source", "Source", "S3"), stage("Build", "Build", "CodeBuild")],
        }

    def test_a_new_pipeline_does_not_start(self, moto: Moto) -> None:
        """B3-1, D2-14. AWS: an execution with the trigger CreatePipeline."""
        self.create(moto)

        listed = moto.session.client("codepipeline").list_pipeline_executions(pipelineName="qa-foo")
        assert listed["pipelineExecutionSummaries"] == []

    def test_an_execution_has_succeeded_at_once_and_a_token_starts_it_again(self, moto: Moto) -> None:
        """B3-6, D2-14. AWS: InProgress, and the same one again."""
        self.create(moto)
        codepipeline = moto.session.client("codepipeline")
        started = [
            codepipeline.start_pipeline_execution(name="qa-foo", clientRequestToken="once") for _ in range(2)
        ]
        listed = codepipeline.list_pipeline_executions(pipelineName="qa-foo")["pipelineExecutionSummaries"]

        assert len({one["pipelineExecutionId"] for one in started}) == 2
        assert {one["status"] for one in listed} == {"Succeeded"}

    def test_an_execution_does_not_take_the_commit_it_was_started_with(self, moto: Moto) -> None:
        """B3-6, D2-14. AWS: the revisions that were asked for."""
        self.create(moto)
        codepipeline = moto.session.client("codepipeline")
        pinned: Any = [{"actionName": "Source", "revisionType": "COMMIT_ID", "revisionValue": "a" * 40}]
        codepipeline.start_pipeline_execution(name="qa-foo", sourceRevisions=pinned)

        (one,) = codepipeline.list_pipeline_executions(pipelineName="qa-foo")["pipelineExecutionSummaries"]
        assert one["sourceRevisions"] == []

    def test_an_update_takes_what_it_is_given_and_cancels_nothing(self, moto: Moto) -> None:
        """B3-4, B3-7, B3-10. AWS: V1 where no type is named, values of 1000 characters; runs are cancelled.

        moto's have succeeded at once, so the one that runs is made to.
        """
        self.create(moto)
        codepipeline = moto.session.client("codepipeline")
        codepipeline.start_pipeline_execution(name="qa-foo")
        made = codepipeline_backends[DEFAULT_ACCOUNT_ID][REGION].pipelines["qa-foo"]
        for execution in made.executions.values():
            execution.status = "InProgress"
        declared = self.declaration("qa-foo")
        declared["stages"][1]["actions"][0]["configuration"] = {"EnvironmentVariables": "x" * 1001}
        updated = codepipeline.update_pipeline(pipeline=declared)["pipeline"]

        (one,) = codepipeline.list_pipeline_executions(pipelineName="qa-foo")["pipelineExecutionSummaries"]
        assert one["status"] == "InProgress"
        assert len(updated["stages"][1]["actions"][0]["configuration"]["EnvironmentVariables"]) == 1001
        assert "pipelineType" not in updated

    def test_pipelines_come_all_at_once(self, moto: Moto) -> None:
        """BC:codepipeline.ListPipelines. AWS: in pages."""
        for number in range(2):
            self.create(moto, f"qa-{number}")

        assert len(moto.session.client("codepipeline").list_pipelines(maxResults=1)["pipelines"]) == 2

    def test_no_quota_of_pipelines(self, moto: Moto) -> None:
        """B3-3. AWS: LimitExceededException at 1001. One stands for all: making them takes minutes."""
        self.create(moto)
        pipelines = codepipeline_backends[DEFAULT_ACCOUNT_ID][REGION].pipelines
        pipelines.update({f"qa-{number}": pipelines["qa-foo"] for number in range(1000)})

        self.create(moto, "qa-bar")

    def test_an_execution_says_nothing_to_eventbridge(self, moto: Moto) -> None:
        """B3-12, D2-14. AWS: an event for every change of state."""
        events, sqs = moto.session.client("events"), moto.session.client("sqs")
        url = sqs.create_queue(QueueName="heard")["QueueUrl"]
        queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        events.put_rule(Name="all", EventPattern=json.dumps({"source": ["aws.codepipeline"]}))
        events.put_targets(Rule="all", Targets=[{"Id": "1", "Arn": queue}])
        self.create(moto)
        moto.session.client("codepipeline").start_pipeline_execution(name="qa-foo")
        heard = sqs.receive_message(QueueUrl=url).get("Messages", [])
        events.put_events(Entries=[{"Source": "aws.codepipeline", "DetailType": "x", "Detail": "{}"}])

        assert heard == []
        assert len(sqs.receive_message(QueueUrl=url)["Messages"]) == 1  # the rule does hear

    def test_a_taken_name_and_a_missing_pipeline_are_called_differently(self, moto: Moto) -> None:
        """B3-15, D2-14. AWS: PipelineNameInUseException and PipelineNotFoundException."""
        self.create(moto)
        with pytest.raises(ClientError, match="InvalidStructureException"):
            self.create(moto)
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            moto.session.client("codepipeline").update_pipeline(pipeline=self.declaration("qa-bar"))

    @pytest.mark.parametrize("name", ["qa/foo é", "a" * 101])
    def test_accepts_any_name(self, moto: Moto, name: str) -> None:
        """B3-3, D2-14. AWS: ValidationException."""
        self.create(moto, name)

        listed = moto.session.client("codepipeline").list_pipelines()["pipelines"]
        assert [one["name"] for one in listed] == [name]

    def test_lacks_what_an_environment_needs(self, moto: Moto) -> None:
        """D1-1, D1-4. In process, a missing action is a NotImplementedError."""
        codepipeline = moto.session.client("codepipeline")

        for call in (
            lambda: codepipeline.stop_pipeline_execution(pipelineName="qa", pipelineExecutionId="1"),
            lambda: codepipeline.get_pipeline_state(name="qa"),
            lambda: codepipeline.put_job_success_result(jobId="00000000-0000-0000-0000-000000000000"),
            lambda: codepipeline.put_job_failure_result(
                jobId="00000000-0000-0000-0000-000000000000",
                failureDetails={"type": "JobFailed", "message": "no"},
            ),
        ):
            with pytest.raises(NotImplementedError):
                call()


def test_events_of_aws_and_details_that_are_no_object_are_taken(moto: Moto) -> None:
    """AWS fails both entries. Facts D2-18, BC:events.PutEvents."""
    entries = [
        {"Source": "aws.codepipeline", "DetailType": "x", "Detail": "{}"},
        {"Source": "qa-env", "DetailType": "x", "Detail": "[]"},
    ]
    with pytest.warns(UserWarning, match="should be of type dict"):
        answer = moto.session.client("events").put_events(Entries=entries)
    assert answer["FailedEntryCount"] == 0
