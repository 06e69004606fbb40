"""Load balancers, their ports, who may reach them, and certificates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from qa_env.doctor.finding import Level
from tests.doctor.sound import CERTIFICATE, HERE, NOW, Sound


def change(world: Sound, **changes: Any) -> None:
    """Change the blueprint's one load balancer."""
    (lb,) = world.values["load_balancers"]
    world.changes["load_balancers"] = [lb | changes]


def test_a_load_balancer_that_is_missing_is_said(world: Sound) -> None:
    change(world, arn=f"arn:aws:elasticloadbalancing:{HERE}:loadbalancer/app/gone/0123456789abcdef")

    found = world.worst("load-balancers")
    assert found.level == Level.PROBLEM
    assert found.text == "load balancer gone is not there"
    assert "load_balancers[].arn" in found.fix
    for other in ("ports", "load-balancer-ingress", "task-ingress"):
        assert not [one for one in world.findings(other) if one.level == Level.UNKNOWN]


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        ({"Type": "network"}, "is a network load balancer"),
        ({"State": {"Code": "failed", "Reason": "no addresses"}}, "is failed no addresses"),
        ({"VpcId": "vpc-other"}, "is in vpc-other, the STG tasks are in vpc-"),
    ],
)
def test_a_load_balancer_that_will_not_do_is_said(world: Sound, shown: dict[str, Any], text: str) -> None:
    answer = world.aws.client("elbv2").describe_load_balancers()
    arn = world.account.load_balancer.arn
    ours = next(one for one in answer["LoadBalancers"] if one["LoadBalancerArn"] == arn)
    world.aws.serve("elbv2:DescribeLoadBalancers", lambda *_: {"LoadBalancers": [ours | shown]})

    found = world.worst("load-balancers")
    assert found.level == Level.PROBLEM
    assert text in found.text


def test_ports_are_counted_against_what_is_used(world: Sound) -> None:
    world.listen(10001, **{"qa-env:installation": "qa-env", "qa-env:environment": "qa-foo"})

    (found,) = world.findings("ports")
    assert found.level == Level.OK
    assert "room for 48 more; 48 of 49 ports free, 1 of 50 listeners" in found.text


def test_a_port_that_others_took_is_said(world: Sound) -> None:
    world.listen(10007, team="other")
    world.listen(80, team="other")

    found = world.worst("ports")
    assert found.level == Level.WARNING
    assert "others listen on ports of the range: 10007" in found.text


@pytest.mark.parametrize(
    ("ports", "taken", "level"),
    [("10001-10002", 1, Level.WARNING), ("10001-10001", 1, Level.PROBLEM)],
)
def test_too_few_free_ports_are_said(world: Sound, ports: str, taken: int, level: Level) -> None:
    change(world, ports=ports)
    for number in range(taken):
        world.listen(10001 + number, **{"qa-env:installation": "qa-env"})

    found = world.worst("ports")
    assert found.level == level
    assert "an environment needs 1" in found.text


def test_a_range_beyond_the_quota_is_said(world: Sound) -> None:
    change(world, ports="10001-10060")

    found = world.worst("ports")
    assert found.level == Level.WARNING
    assert "60 ports, the account allows 50" in found.text
    assert "quota" in found.fix


@pytest.mark.parametrize("kind", ["listeners", "target-groups"])
def test_the_accounts_own_limits_count(world: Sound, kind: str) -> None:
    limit = {"Name": f"{kind}-per-application-load-balancer", "Max": "3"}
    world.aws.serve("elbv2:DescribeAccountLimits", lambda *_: {"Limits": [limit]})
    world.listen(80, team="other")

    assert "room for 2 more" in world.findings("ports")[0].text


def test_a_port_range_that_is_closed_is_said_with_the_command(world: Sound) -> None:
    world.shut(world.lb_group)
    world.admit(world.lb_group, 10001, 10020, IpRanges=[{"CidrIp": "203.0.113.0/24"}])

    found = world.worst("load-balancer-ingress")
    assert found.level == Level.PROBLEM
    assert "do not admit port 10021-10049" in found.text
    assert f"--group-id {world.lb_group} --protocol tcp --port 10021-10049" in found.fix


def test_whom_the_ports_are_open_to_is_said(world: Sound) -> None:
    world.admit(world.lb_group, 0, 65535, UserIdGroupPairs=[{"GroupId": world.account.security_group}])

    (found,) = world.findings("load-balancer-ingress")
    assert found.level == Level.OK
    assert found.text.endswith(f"are open to 203.0.113.0/24, {world.account.security_group}")


def test_a_rule_for_another_protocol_opens_nothing(world: Sound) -> None:
    world.shut(world.lb_group)
    rule = {"IpProtocol": "udp", "FromPort": 1, "ToPort": 65535, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    world.aws.client("ec2").authorize_security_group_ingress(GroupId=world.lb_group, IpPermissions=[rule])

    assert world.worst("load-balancer-ingress").level == Level.PROBLEM


@pytest.mark.parametrize(
    ("scheme", "oidc", "level"),
    [
        ("internet-facing", True, Level.OK),
        ("internet-facing", False, Level.WARNING),
        ("internal", False, Level.OK),
    ],
)
def test_ports_for_the_whole_internet_want_a_log_in(
    world: Sound, scheme: str, oidc: bool, level: Level
) -> None:
    answer = world.aws.client("elbv2").describe_load_balancers()
    arn = world.account.load_balancer.arn
    ours = next(one for one in answer["LoadBalancers"] if one["LoadBalancerArn"] == arn)
    public = {"LoadBalancers": [ours | {"Scheme": scheme}]}
    world.aws.serve("elbv2:DescribeLoadBalancers", lambda *_: public)
    world.admit(world.lb_group, 10001, 10049, IpRanges=[{"CidrIp": "0.0.0.0/0"}])
    if not oidc:
        change(world, oidc=None)

    (found,) = world.findings("load-balancer-ingress")
    assert found.level == level


@pytest.mark.parametrize(
    ("shown", "level", "text"),
    [
        ({"Status": "PENDING_VALIDATION"}, Level.PROBLEM, "is PENDING_VALIDATION"),
        ({"NotAfter": datetime.fromtimestamp(NOW + 86400, UTC)}, Level.WARNING, "expires on 2026-11-19"),
        ({"NotAfter": datetime.fromtimestamp(NOW - 86400, UTC)}, Level.PROBLEM, "expired on 2026-11-17"),
        ({"SubjectAlternativeNames": ["*.example.com"]}, Level.PROBLEM, "not for {slug}.qa.example.com"),
    ],
)
def test_a_certificate_that_will_not_do_is_said(
    world: Sound, shown: dict[str, Any], level: Level, text: str
) -> None:
    world.said["acm:DescribeCertificate"] |= shown

    found = world.worst("certificates")
    assert found.level == level
    assert text in found.text


def test_a_certificate_that_is_missing_is_said(world: Sound) -> None:
    world.said["acm:DescribeCertificate"] = None

    assert world.worst("certificates").text.endswith("its certificate is not there")


@pytest.mark.parametrize(
    ("host", "needed"),
    [("{slug}-qa.example.com", "*.example.com"), ("qa.example.org", "qa.example.org")],
)
def test_the_certificate_that_is_needed_is_named(world: Sound, host: str, needed: str) -> None:
    """A star stands for a whole label."""
    change(world, host=host)

    assert world.worst("certificates").fix.startswith(f"request one for {needed}, ")


def test_a_host_without_a_slug_is_compared_as_it_is(world: Sound) -> None:
    change(world, host="QA.example.com")
    assert [one.level for one in world.findings("certificates")] == [Level.OK]
    change(world, host="other.example.com")
    assert world.worst("certificates").level == Level.PROBLEM


def test_a_certificate_of_iam_cannot_be_checked(world: Sound) -> None:
    change(world, certificate_arn="arn:aws:iam::123456789012:server-certificate/qa")

    assert world.worst("certificates").level == Level.UNKNOWN


def test_plain_http_needs_no_certificate(world: Sound) -> None:
    change(world, protocol="HTTP", certificate_arn=None, oidc=None)

    assert world.findings("certificates") == []
    assert CERTIFICATE not in str(world.blueprint)
