"""What an environment must hold before anything of it is made: ports, its schema name, its redis place.

The unit of a port is (load balancer, port); the blueprint lists load balancers, and the live limits of the
account decide how many fit (facts B1-1, B1-2). An environment keeps what it holds, so its URL is stable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from zlib import crc32

from qa_env import aws, elbv2, naming
from qa_env.blueprint import Blueprint, LoadBalancer, data_name
from qa_env.errors import Blocked, NotReady
from qa_env.model import (
    REDIS,
    REDIS_DATABASES,
    REDIS_NAMESPACES,
    SCHEMA,
    Claim,
    Environment,
    Outputs,
    Slug,
    port_key,
    port_scope,
)
from qa_env.store import Store, Taken

if TYPE_CHECKING:
    from mypy_boto3_elbv2 import ElasticLoadBalancingv2Client

KIND = "claims"
ATTEMPTS = 5


@dataclass(frozen=True)
class Claims:
    """Claims what is missing, all or nothing, in one transaction with the record."""

    elbv2: ElasticLoadBalancingv2Client
    store: Store
    blueprint: Blueprint
    installation: str

    def ensure(self, env: Environment) -> tuple[Environment, Outputs]:
        """The environment with everything it must hold; Blocked if something cannot be had.

        The first free numbers are tried first; who lost a race looks elsewhere, so that not all run it again.
        """
        for attempt in range(ATTEMPTS):
            missing = dict(self._missing(env, crc32(env.slug.encode()) * attempt))
            if missing:
                try:
                    env = self.store.claim(env, missing)
                except Taken as error:
                    self._refuse_names(env, error.claims)
                    continue
            return env, {name: str(claim) for name, claim in env.claims.items()}
        raise NotReady(
            f"claiming for {env.slug}: lost the race for a port {ATTEMPTS} times; trying again soon"
        )

    def _missing(self, env: Environment, turn: int) -> Iterator[tuple[str, Claim]]:
        roles = [role for role in self.blueprint.web_roles if port_key(role) not in env.claims]
        numbered = self.blueprint.redis.mode == "database" and REDIS not in env.claims
        regained = self._regained(env) if roles or numbered else {}
        yield from regained.items()
        yield from self._names(replace(env, claims={**env.claims, **regained}), turn)
        roles = [role for role in roles if port_key(role) not in regained]
        if roles:
            yield from zip(map(port_key, roles), self._ports(roles, turn), strict=True)

    def _regained(self, env: Environment) -> dict[str, Claim]:
        """What it still holds though its record was lost: so its address stays, and no place is lost."""
        scopes = [*(port_scope(lb.arn) for lb in self.blueprint.load_balancers), REDIS_DATABASES]
        held = [one for scope in scopes for one in self.store.held(scope)]
        kept = {name: claim for slug, name, claim in held if slug == env.slug and name not in env.claims}
        for role in self.blueprint.web_roles:
            if port_key(role) not in kept and port_key(role) not in env.claims:
                kept |= {port_key(role): claim for claim in self._listening(env, role)}
        return kept

    def _listening(self, env: Environment, role: str) -> Iterator[Claim]:
        """The port of a listener that stands for the role already: the table was lost, the world was not."""
        with aws.doing(f"looking for an earlier listener of {env.slug} {role}"):
            try:
                name = naming.target_group(env.slug, role)
                (group,) = self.elbv2.describe_target_groups(Names=[name])["TargetGroups"]
            except self.elbv2.exceptions.TargetGroupNotFoundException:
                return
            for lb in set(group["LoadBalancerArns"]) & {one.arn for one in self.blueprint.load_balancers}:
                listeners = {one["ListenerArn"]: one["Port"] for one in elbv2.listeners(self.elbv2, lb)}
                for arn, tags in elbv2.tags(self.elbv2, listeners).items():
                    is_mine = naming.owner_of(tags, self.installation) == env.slug
                    if is_mine and tags.get(naming.TAG_ROLE) == role:
                        yield Claim(port_scope(lb), str(listeners[arn]))

    def _names(self, env: Environment, turn: int) -> Iterator[tuple[str, Claim]]:
        """Names are unique in the whole installation: two secrets may well lead to one server."""
        database, redis = self.blueprint.database, self.blueprint.redis
        try:
            if database and SCHEMA not in env.claims:
                name = data_name(database.schema_name, database.prefix, env.slug, env.branch)
                yield SCHEMA, Claim("schema", name)
            if redis.mode == "namespace" and REDIS not in env.claims:
                name = data_name(redis.namespace, redis.prefix, env.slug, env.branch)
                yield REDIS, Claim(REDIS_NAMESPACES, name)
        except ValueError as error:
            raise Blocked(f"naming the data of {env.branch!r}: {error}; rename the branch") from error
        if redis.mode == "database" and REDIS not in env.claims:
            yield REDIS, self._database(REDIS_DATABASES, turn)

    def _database(self, scope: str, turn: int) -> Claim:
        taken = self.store.taken(scope)
        free = _turned([n for n in self.blueprint.redis.numbers if str(n) not in taken], turn)
        if not free:
            raise Blocked(
                f"no free redis database: all of {self.blueprint.redis.databases} are held by"
                f" {_some(taken.values())}; delete an environment or raise redis.databases"
            )
        return Claim(scope, str(free[0]))

    def _ports(self, roles: list[str], turn: int) -> list[Claim]:
        """Free ports, on one load balancer if one has room for all; those behind it are not asked."""
        limits = self._limits()
        spread: list[Claim] = []
        for lb in self.blueprint.load_balancers:
            ports = [Claim(port_scope(lb.arn), str(port)) for port in self._free(lb, limits, turn)]
            if len(ports) >= len(roles):
                return ports[: len(roles)]
            spread += ports
        if len(spread) >= len(roles):
            return spread[: len(roles)]
        raise Blocked(self._full(len(roles), len(spread)))

    def _free(self, lb: LoadBalancer, limits: Mapping[str, int], turn: int) -> list[int]:
        taken = self.store.taken(port_scope(lb.arn))
        if all(str(port) in taken for port in lb.port_range):
            return []
        with aws.doing(f"reading the listeners of {lb.host}"):
            pages = self.elbv2.get_paginator("describe_listeners").paginate(LoadBalancerArn=lb.arn)
            used = {listener["Port"] for page in pages for listener in page["Listeners"]}
            groups = self._target_groups(lb.arn)
        pending = {int(port) for port in taken} - used
        room = min(
            limits["listeners-per-application-load-balancer"] - len(used) - len(pending),
            limits["target-groups-per-application-load-balancer"] - max(groups, 1) - len(pending),
        )
        free = [port for port in lb.port_range if port not in used and port not in pending]
        return _turned(free, turn)[: max(room, 0)]

    def _target_groups(self, arn: str) -> int:
        pages = self.elbv2.get_paginator("describe_target_groups").paginate(LoadBalancerArn=arn)
        try:
            return sum(len(page["TargetGroups"]) for page in pages)
        except self.elbv2.exceptions.TargetGroupNotFoundException:
            return 0

    def _limits(self) -> dict[str, int]:
        """The account's own numbers, the documented defaults where it names none."""
        limits = {
            "listeners-per-application-load-balancer": 50,
            "target-groups-per-application-load-balancer": 100,
        }
        with aws.doing("reading the limits of load balancers"):
            for limit in self.elbv2.describe_account_limits()["Limits"]:
                if limit["Name"] in limits:
                    limits[limit["Name"]] = int(limit["Max"])
        return limits

    def _full(self, wanted: int, free: int) -> str:
        hosts = ", ".join(f"{lb.host} ({lb.ports})" for lb in self.blueprint.load_balancers)
        holders = {slug for lb in self.blueprint.load_balancers for slug in self._holders(lb).values()}
        return (
            f"{wanted} ports wanted, {free} free: {hosts} full with {len(holders)} environments"
            f" ({_some(holders)}); delete one, or add a load balancer to the blueprint"
        )

    def _holders(self, lb: LoadBalancer) -> Mapping[str, Slug]:
        return self.store.taken(port_scope(lb.arn))

    def _refuse_names(self, env: Environment, claims: Iterable[Claim]) -> None:
        """A lost port is tried again with another; a name has no other."""
        for claim in claims:
            if not claim.scope.startswith(("port ", REDIS_DATABASES)):
                raise Blocked(
                    f"{claim} is held by {self.store.holder(claim)}: two branches would share it;"
                    f" rename the branch {env.branch!r}"
                )


def _turned(numbers: list[int], turn: int) -> list[int]:
    start = turn % len(numbers) if numbers else 0
    return numbers[start:] + numbers[:start]


def _some(slugs: Iterable[Slug]) -> str:
    names = sorted(set(slugs))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (", ".join(names[:5]) or "nothing of ours") + more
