"""Load balancers: are they there, have they room, who may reach them, and do their certificates hold?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from qa_env import elbv2, naming
from qa_env.blueprint import Blueprint, LoadBalancer
from qa_env.doctor.finding import Finding, Findings, ok, problem, unknown, warning
from qa_env.doctor.world import World

LISTENERS = "listeners-per-application-load-balancer"
TARGET_GROUPS = "target-groups-per-application-load-balancer"
DEFAULTS = {LISTENERS: 50, TARGET_GROUPS: 100}
SOON = timedelta(days=30)
ANYBODY = ("0.0.0.0/0", "::/0")


def title(lb: LoadBalancer) -> str:
    """The load balancer's own name."""
    return f"load balancer {lb.arn.split('/')[2]}"


def load_balancers(world: World, blueprint: Blueprint) -> Findings:
    """Each is there, an application load balancer, active, and in the VPC of the STG tasks."""
    for lb in blueprint.load_balancers:
        found = world.load_balancer(lb.arn)
        if found is None:
            fix = f"correct load_balancers[].arn in the blueprint, or make it in {world.region}"
            yield problem(f"{title(lb)} is not there", fix)
        elif found["Type"] != "application":
            yield problem(
                f"{title(lb)} is a {found['Type']} load balancer", "name an application load balancer"
            )
        elif found["State"]["Code"] != "active":
            state = found["State"]
            yield problem(
                f"{title(lb)} is {state['Code']} {state.get('Reason', '')}".strip(),
                "wait until it is active; if it failed, its reason says what to correct",
            )
        else:
            yield _in_vpc(world, blueprint, lb, found["VpcId"])


def _in_vpc(world: World, blueprint: Blueprint, lb: LoadBalancer, vpc: str) -> Finding:
    vpcs = world.vpcs(blueprint)
    if not vpcs or vpc in vpcs:
        return ok(f"{title(lb)} is active in {vpc}")
    return problem(
        f"{title(lb)} is in {vpc}, the STG tasks are in {', '.join(sorted(vpcs))}: it does not reach them",
        "name a load balancer in the tasks' VPC in the blueprint",
    )


def ports(world: World, blueprint: Blueprint) -> Findings:
    """How many more roles find a port: what the account's limits, the range and others' listeners leave."""
    limits = _limits(world)
    wanted, total = len(blueprint.web_roles), 0
    for lb in blueprint.load_balancers:
        if world.load_balancer(lb.arn) is None:
            continue
        used, foreign = _listeners(world, lb)
        groups = _target_groups(world, lb.arn)
        free = sum(port not in used for port in lb.port_range)
        room = max(0, min(free, limits[LISTENERS] - len(used), limits[TARGET_GROUPS] - max(groups, 1)))
        total += room
        yield ok(
            f"{title(lb)}: room for {room} more; {free} of {len(lb.port_range)} ports free, {len(used)} of"
            f" {limits[LISTENERS]} listeners and {groups} of {limits[TARGET_GROUPS]} target groups used"
        )
        if foreign:
            yield warning(
                f"{title(lb)}: others listen on ports of the range: {', '.join(map(str, foreign))}",
                "leave them out of load_balancers[].ports; they are passed over",
            )
        if len(lb.port_range) > limits[LISTENERS]:
            yield warning(
                f"{title(lb)}: {len(lb.port_range)} ports, the account allows {limits[LISTENERS]}",
                "ask AWS for a higher quota (Listeners per Application Load Balancer), or name another one",
            )
    yield from _enough(total, wanted)


def _enough(total: int, wanted: int) -> Findings:
    if wanted and total < 2 * wanted:
        fix = "delete an environment, raise the quota of listeners, or add a load balancer to the blueprint"
        text = f"{total} free ports are left, an environment needs {wanted}"
        yield warning(text, fix) if total >= wanted else problem(text, fix)


def _limits(world: World) -> dict[str, int]:
    answer = world.client("elbv2").describe_account_limits()["Limits"]
    return DEFAULTS | {one["Name"]: int(one["Max"]) for one in answer if one["Name"] in DEFAULTS}


def _listeners(world: World, lb: LoadBalancer) -> tuple[set[int], list[int]]:
    """Every port in use, and those of the range that nobody of ours listens on."""
    client = world.client("elbv2")
    ports_of = {one["ListenerArn"]: one["Port"] for one in elbv2.listeners(client, lb.arn)}
    ranged = [arn for arn, port in ports_of.items() if port in lb.port_range]
    tagged = elbv2.tags(client, ranged)
    foreign = [ports_of[arn] for arn, tags in tagged.items() if naming.TAG_INSTALLATION not in tags]
    return set(ports_of.values()), sorted(foreign)


def _target_groups(world: World, arn: str) -> int:
    client = world.client("elbv2")
    pages = client.get_paginator("describe_target_groups").paginate(LoadBalancerArn=arn)
    try:
        return sum(len(page["TargetGroups"]) for page in pages)
    except client.exceptions.TargetGroupNotFoundException:
        return 0


def ingress(world: World, blueprint: Blueprint) -> Findings:
    """The load balancer's security groups admit the port range, and whom."""
    for lb in blueprint.load_balancers:
        found = world.load_balancer(lb.arn)
        if found is None:
            continue
        groups = list(found.get("SecurityGroups", ()))
        rules = [rule for rule in world.security_group_rules(groups) if _touches(rule, lb.port_range)]
        closed = [port for port in lb.port_range if not any(covers(rule, port) for rule in rules)]
        if closed:
            shown = str(closed[0]) if len(closed) == 1 else f"{closed[0]}-{closed[-1]}"
            yield problem(
                f"{title(lb)}: its security groups do not admit port {shown}",
                f"aws ec2 authorize-security-group-ingress --group-id {groups[0] if groups else 'sg-…'}"
                f" --protocol tcp --port {shown} --cidr WHO/LOOKS",
            )
        else:
            yield _admitted(lb, sorted(set(sources(rules))), found.get("Scheme", ""))


def _admitted(lb: LoadBalancer, who: list[str], scheme: str) -> Finding:
    text = f"{title(lb)}: ports {lb.ports} are open to {', '.join(who)}"
    if scheme == "internet-facing" and set(who) & set(ANYBODY) and lb.oidc is None:
        return warning(
            f"{text}, which is everybody on the Internet",
            "admit only your offices' and VPN's addresses, or put a log-in in front (load_balancers[].oidc)",
        )
    return ok(text)


def covers(rule: Mapping[str, Any], port: int) -> bool:
    """Does a security group's rule admit this TCP port?"""
    protocol = rule["IpProtocol"]
    return protocol == "-1" or (protocol in ("tcp", "6") and rule["FromPort"] <= port <= rule["ToPort"])


def sources(rules: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Whom rules admit: addresses, prefix lists, security groups."""
    for rule in rules:
        yield from (one["CidrIp"] for one in rule.get("IpRanges", ()))
        yield from (one["CidrIpv6"] for one in rule.get("Ipv6Ranges", ()))
        yield from (one["PrefixListId"] for one in rule.get("PrefixListIds", ()))
        yield from (one["GroupId"] for one in rule.get("UserIdGroupPairs", ()))


def _touches(rule: Mapping[str, Any], ports: range) -> bool:
    return rule["IpProtocol"] == "-1" or (
        rule["IpProtocol"] in ("tcp", "6") and rule["FromPort"] < ports.stop and rule["ToPort"] >= ports.start
    )


def certificates(world: World, blueprint: Blueprint) -> Findings:
    """Each certificate exists, is issued, does not expire soon, and names the host."""
    client = world.client("acm")
    for lb in blueprint.load_balancers:
        if lb.certificate_arn is None:
            continue
        if ":acm:" not in lb.certificate_arn:
            yield unknown(f"{title(lb)}: its certificate is not of ACM", "look yourself when it expires")
            continue
        try:
            found = client.describe_certificate(CertificateArn=lb.certificate_arn)["Certificate"]
        except client.exceptions.ResourceNotFoundException:
            fix = f"correct load_balancers[].certificate_arn; it must be in {world.region}"
            yield problem(f"{title(lb)}: its certificate is not there", fix)
            continue
        yield _certificate(world, lb, found)


def _certificate(world: World, lb: LoadBalancer, found: Mapping[str, Any]) -> Finding:
    if found["Status"] != "ISSUED":
        return problem(
            f"{title(lb)}: its certificate is {found['Status']}",
            "finish its validation in ACM, or name one that is issued",
        )
    names = [found.get("DomainName", ""), *found.get("SubjectAlternativeNames", ())]
    host = lb.host.replace("{slug}", "slug")
    if not any(_names(name, host) for name in names):
        return problem(
            f"{title(lb)}: its certificate is for {', '.join(sorted(set(names)))}, not for {lb.host}",
            f"request one for {_wildcard(lb.host)}, or correct load_balancers[].host",
        )
    ends = found["NotAfter"]
    left = ends - datetime.fromtimestamp(world.clock(), UTC)
    if left < SOON:
        verb = "expires" if left > timedelta() else "expired"
        text = f"{title(lb)}: its certificate {verb} on {ends:%Y-%m-%d}"
        fix = "see in ACM why it is not renewed: the validation record in DNS, or import a new one"
        return warning(text, fix) if left > timedelta() else problem(text, fix)
    return ok(f"{title(lb)}: its certificate is good for {lb.host} until {ends:%Y-%m-%d}")


def _wildcard(host: str) -> str:
    """The name that a certificate needs: its star stands for a whole label."""
    return f"*.{host.partition('.')[2]}" if "{slug}" in host.partition(".")[0] else host


def _names(name: str, host: str) -> bool:
    """Does a name of a certificate cover the host? A star stands for one label."""
    if name.startswith("*."):
        return host.lower().partition(".")[2] == name[2:].lower()
    return name.lower() == host.lower()
