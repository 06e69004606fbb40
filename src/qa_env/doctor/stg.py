"""STG, which every environment copies: cluster, services, task definitions, and the way to their tasks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from qa_env.blueprint import Blueprint, Role
from qa_env.doctor.finding import Findings, ok, problem, unknown, warning
from qa_env.doctor.load_balancers import covers
from qa_env.doctor.world import World, network


def cluster(world: World, blueprint: Blueprint) -> Findings:
    """The cluster is active and has the capacity providers that roles name."""
    name = blueprint.cluster
    found = world.client("ecs").describe_clusters(clusters=[name])["clusters"]
    if not found or found[0]["status"] != "ACTIVE":
        state = found[0]["status"] if found else "not there"
        yield problem(
            f"cluster {name} is {state}", f"correct cluster in the blueprint; we look in {world.region}"
        )
        return
    has = set(found[0].get("capacityProviders", ()))
    wanted = {r.capacity.provider for r in blueprint.roles.values() if r.capacity and r.capacity.provider}
    if missing := sorted(wanted - has):
        yield problem(
            f"cluster {name} has no capacity provider {', '.join(missing)}",
            f"aws ecs put-cluster-capacity-providers --cluster {name} --capacity-providers"
            f" {' '.join(sorted(has | wanted))} --default-capacity-provider-strategy …",
        )
    else:
        using = f" and has {', '.join(sorted(wanted))}" if wanted else ""
        yield ok(f"cluster {name} is active{using}")


def services(world: World, blueprint: Blueprint) -> Findings:
    """The STG service of each role is active, and its task definition has what the role needs."""
    found = world.stg(blueprint)
    for name, role in blueprint.roles.items():
        if name not in found:
            yield problem(
                f"{name}: service {role.copy_of} is not active in cluster {blueprint.cluster}",
                f"correct roles.{name}.copy_of in the blueprint, or start the service",
            )
            continue
        definition = world.task_definition(found[name]["taskDefinition"])
        faults = list(_faults(name, role, blueprint, definition))
        yield from faults
        if not faults:
            revision = definition["taskDefinitionArn"].rsplit("/", 1)[-1]
            yield ok(f"{name}: service {role.copy_of} runs {revision}, container {role.container} is there")


def _faults(name: str, role: Role, blueprint: Blueprint, definition: Mapping[str, Any]) -> Findings:
    containers = {one["name"]: one for one in definition["containerDefinitions"]}
    container = containers.get(role.container)
    if container is None:
        yield problem(
            f"{name}: service {role.copy_of} has no container {role.container} but {', '.join(containers)}",
            f"correct roles.{name}.container in the blueprint",
        )
        return
    yield from _image(name, role, blueprint, str(container.get("image", "")))
    yield from _logging(name, role, container.get("logConfiguration") or {})
    yield from _networking(name, role, definition.get("networkMode", "bridge"), container)
    if role.exec and not definition.get("taskRoleArn"):
        yield warning(
            f"{name}: the task definition has no task role, so ECS Exec cannot work",
            f"give it one with the four ssmmessages actions, or set roles.{name}.exec to false",
        )


def _image(name: str, role: Role, blueprint: Blueprint, image: str) -> Findings:
    repository = f"{blueprint.registry}/{blueprint.image_repository}"
    if image.partition("@")[0].rpartition(":")[0] != repository and image.partition("@")[0] != repository:
        yield warning(
            f"{name}: container {role.container} of STG runs {image}, branches will run {repository}:…",
            f"make sure that roles.{name}.container and image_repository mean the same application",
        )


def _logging(name: str, role: Role, log: Mapping[str, Any]) -> Findings:
    driver = log.get("logDriver", "none")
    if driver != "awslogs":
        yield warning(
            f"{name}: container {role.container} logs by {driver}, so links to its logs lead nowhere",
            f"let the STG service log by awslogs; {role.log_group} is then used for environments",
        )


def _networking(name: str, role: Role, mode: str, container: Mapping[str, Any]) -> Findings:
    if not role.web:
        return
    needed = "ip" if mode == "awsvpc" else "instance"
    if role.target_type != needed:
        yield problem(
            f"{name}: the task definition uses the network mode {mode}, which needs target_type {needed}",
            f"set roles.{name}.target_type to {needed}",
        )
    mapped = [one.get("containerPort") for one in container.get("portMappings", ())]
    if role.port not in mapped:
        shown = ", ".join(map(str, mapped)) or "none"
        yield problem(
            f"{name}: container {role.container} maps the ports {shown}, not {role.port}: ECS refuses that",
            f"correct roles.{name}.port, or add the port mapping to STG's task definition",
        )


def ingress(world: World, blueprint: Blueprint) -> Findings:
    """The tasks' security groups admit the load balancers on the container port."""
    found = world.stg(blueprint)
    balancers = [lb for one in blueprint.load_balancers if (lb := world.load_balancer(one.arn))]
    for name, role in blueprint.web_roles.items():
        if name not in found or role.port is None:
            continue
        groups = network(found[name], "securityGroups")
        if not groups:
            yield unknown(
                f"{name}: its tasks use their instances' network",
                "see that the instances admit the load balancer on ports 32768-65535",
            )
            continue
        rules = [rule for rule in world.security_group_rules(groups) if covers(rule, role.port)]
        for balancer in balancers:
            if _admits(rules, balancer.get("SecurityGroups", ()), _addresses(world, balancer)):
                yield ok(f"{name}: its tasks admit {balancer['LoadBalancerName']} on port {role.port}")
            else:
                source = next(iter(balancer.get("SecurityGroups", ())), "sg-…")
                yield problem(
                    f"{name}: its tasks do not admit {balancer['LoadBalancerName']} on port {role.port}",
                    f"aws ec2 authorize-security-group-ingress --group-id {groups[0]} --protocol tcp"
                    f" --port {role.port} --source-group {source}",
                )


def _addresses(world: World, balancer: Mapping[str, Any]) -> list[str]:
    """The subnets that the load balancer's own addresses are of."""
    subnets = [zone["SubnetId"] for zone in balancer["AvailabilityZones"]]
    found = world.client("ec2").describe_subnets(SubnetIds=subnets)["Subnets"]
    return [subnet["CidrBlock"] for subnet in found]


def _admits(rules: Iterable[Mapping[str, Any]], groups: Iterable[str], addresses: Iterable[str]) -> bool:
    """By security group, or by every address that the load balancer may have."""
    rules = list(rules)
    named = {pair["GroupId"] for rule in rules for pair in rule.get("UserIdGroupPairs", ())}
    if named & set(groups):
        return True
    ranges = [ipaddress.IPv4Network(one["CidrIp"]) for rule in rules for one in rule.get("IpRanges", ())]
    wanted = [ipaddress.IPv4Network(address) for address in addresses]
    return bool(wanted) and all(any(one.subnet_of(given) for given in ranges) for one in wanted)
