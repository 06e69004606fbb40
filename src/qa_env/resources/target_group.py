"""The target group that a web role's listener forwards to.

Named from the slug (32 characters at most, the tightest name we have). ELBv2 refuses to delete a group that
a listener still points at, also for a while after the listener is gone (facts B1-7): that is NotReady.
Creating one with the name and settings of an existing one succeeds silently (B1-4), so tags decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from qa_env import aws, elbv2, naming
from qa_env.blueprint import Blueprint, Role
from qa_env.errors import Blocked
from qa_env.looking import Once, afresh
from qa_env.model import Environment, Outputs, Slug, State, key

if TYPE_CHECKING:
    from mypy_boto3_elbv2 import ElasticLoadBalancingv2Client
    from mypy_boto3_elbv2.type_defs import TargetGroupTypeDef

FIXED = ("Protocol", "Port", "VpcId", "TargetType")
DELAY = "deregistration_delay.timeout_seconds"
GROUPS_PER_PAGE = 400  # the service model's maximum


@dataclass(frozen=True)
class TargetGroup:
    """One web role's target group."""

    client: ElasticLoadBalancingv2Client
    blueprint: Blueprint
    installation: str
    name: str
    once: Once = afresh
    kind = "target_group"

    def ensure(self, env: Environment) -> Outputs:
        """Find or create the group, correct its health check and delay, return its ARN.

        Of a new one the next pass looks at what it was not made with: its delay, and whether it is ours, for
        somebody may have made the same between our look and our call (facts B1-4). Then it is Blocked, with
        our listener in front of it, and not touched.
        """
        name = naming.target_group(env.slug, self.name)
        wanted = self._wanted(env)
        with aws.doing(f"ensuring target group {name}"):
            group = self._find(env)
            if group is None:
                return {"arn": self._create(env, name, wanted), "name": name}
            changed = [key for key in FIXED if group.get(key) != wanted[key]]
            if changed:
                raise Blocked(
                    f"target group {name} has another {', '.join(changed)} than the blueprint, and that"
                    " cannot be changed; delete the branch and push it again"
                )
            self._correct(group, wanted)
        return {"arn": group["TargetGroupArn"], "name": name}

    def delete(self, env: Environment) -> None:
        """Delete the group if it is there and ours."""
        with aws.doing(f"deleting target group {naming.target_group(env.slug, self.name)}"):
            try:
                group = self._find(env)
            except Blocked:
                return
            if group:
                self.client.delete_target_group(TargetGroupArn=group["TargetGroupArn"])

    def owners(self) -> Iterator[Slug]:
        """Slugs of every target group carrying our owner tag."""
        return self.whose({})

    def whose(self, known: Mapping[str, Slug]) -> Iterator[Slug]:
        """The same, without asking for the tags of what is `known`: ARN → whose it is."""
        pages = self.client.get_paginator("describe_target_groups").paginate(
            PaginationConfig={"PageSize": GROUPS_PER_PAGE}
        )
        arns = [group["TargetGroupArn"] for page in pages for group in page["TargetGroups"]]
        return elbv2.owners(self.client, arns, self.installation, known)

    def _find(self, env: Environment) -> TargetGroupTypeDef | None:
        """The group with our name: None if missing, Blocked if someone else's."""
        name = naming.target_group(env.slug, self.name)
        known = frozenset(self._known(env))
        names = known if name in known else frozenset({name})
        groups = self.once(("target groups", names), partial(elbv2.target_groups, self.client, names))
        if name not in groups:
            return None
        arns = frozenset(group["TargetGroupArn"] for group in groups.values())
        tags = self.once(("tags", arns), partial(elbv2.tags, self.client, arns))
        arn = groups[name]["TargetGroupArn"]
        if naming.owner_of(tags.get(arn, {}), self.installation) != env.slug:
            raise Blocked(f"target group {arn} has our name but is not ours; rename or delete it")
        return groups[name]

    def _known(self, env: Environment) -> Iterator[str]:
        """The names of the groups that were there the last time: they are looked for in one call."""
        for role in self.blueprint.web_roles:
            condition = env.conditions.get(key(self.kind, role))
            if condition and condition.outputs and condition.state is not State.GONE:
                yield naming.target_group(env.slug, role)

    def _create(self, env: Environment, name: str, wanted: dict[str, Any]) -> str:
        tags = aws.tag_list(naming.tags(self.installation, env, self.name))
        (group,) = self.client.create_target_group(Name=name, Tags=tags, **wanted)["TargetGroups"]
        return group["TargetGroupArn"]

    def _correct(self, group: TargetGroupTypeDef, wanted: dict[str, Any]) -> None:
        arn = group["TargetGroupArn"]
        changes = {k: v for k, v in wanted.items() if k not in FIXED and group.get(k) != v}
        if changes:
            self.client.modify_target_group(TargetGroupArn=arn, **changes)
        delay = str(self._role.deregistration_delay)
        attributes = self.client.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
        if {"Key": DELAY, "Value": delay} not in attributes:
            self.client.modify_target_group_attributes(
                TargetGroupArn=arn, Attributes=[{"Key": DELAY, "Value": delay}]
            )

    def _wanted(self, env: Environment) -> dict[str, Any]:
        load_balancer, _ = env.port_of(self.name)
        check = self._role.health_check
        return {
            "Protocol": "HTTP",
            "Port": self._role.port,
            "VpcId": self.once(("vpc", load_balancer), partial(self._vpc, load_balancer)),
            "TargetType": self._role.target_type,
            "HealthCheckPath": check.path,
            "HealthCheckIntervalSeconds": check.interval,
            "HealthCheckTimeoutSeconds": check.timeout,
            "HealthyThresholdCount": check.healthy,
            "UnhealthyThresholdCount": check.unhealthy,
            "Matcher": {"HttpCode": check.codes},
        }

    def _vpc(self, load_balancer: str) -> str:
        with aws.doing(f"reading load balancer {load_balancer}"):
            (described,) = self.client.describe_load_balancers(LoadBalancerArns=[load_balancer])[
                "LoadBalancers"
            ]
            return described["VpcId"]

    @property
    def _role(self) -> Role:
        return self.blueprint.roles[self.name]
