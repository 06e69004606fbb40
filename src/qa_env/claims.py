"""What an environment must hold before anything of it is made: ports, its schema name, its redis place.

The unit of a port is (load balancer, port); the blueprint lists load balancers, and the live limits of the
account decide how many fit (facts B1-1, B1-2). An environment keeps what it holds, so its URL is stable.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from zlib import crc32

from qa_env import aws, elbv2, naming
from qa_env.blueprint import Blueprint, LoadBalancer, data_name
from qa_env.errors import Blocked, NotReady
from qa_env.looking import Once, afresh, at_once, both
from qa_env.model import (
    REDIS,
    REDIS_DATABASES,
    REDIS_NAMESPACES,
    SCHEMA,
    UNCLAIMED,
    Claim,
    Desired,
    Environment,
    Outputs,
    Slug,
    State,
    key,
    port_key,
    port_scope,
)
from qa_env.store import Store, Taken

if TYPE_CHECKING:
    from mypy_boto3_elbv2 import ElasticLoadBalancingv2Client
    from mypy_boto3_elbv2.type_defs import ListenerTypeDef, TargetGroupTypeDef

logger = logging.getLogger(__name__)

KIND = "claims"
ATTEMPTS = 5

Held = dict[str, list[tuple[Slug, str, Claim]]]
"""Scope → who holds what of it."""


@dataclass(frozen=True)
class Claims:
    """Claims what is missing, all or nothing, in one transaction with the record.

    `filled` tells which numbered databases of Redis hold keys, and whose mark they bear.
    """

    elbv2: ElasticLoadBalancingv2Client
    store: Store
    blueprint: Blueprint
    installation: str
    once: Once = afresh
    filled: Callable[[], Mapping[str, Slug | None]] = dict

    def ensure(self, env: Environment) -> tuple[Environment, Outputs]:
        """The environment with everything it must hold; Blocked if something cannot be had.

        The first free numbers are tried first; who lost a race looks elsewhere, so that not all run it again.
        """
        for attempt in range(ATTEMPTS):
            held, lost = self._still_held(env)
            known = replace(env, claims={**held, **lost})
            missing = lost | dict(self._missing(known, crc32(env.slug.encode()) * attempt))
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

    def keep(self, env: Environment) -> Environment:
        """Claim again what a teardown needs and nobody holds; what another holds by now stays its."""
        _, lost = self._still_held(env)
        with suppress(Taken):
            return self.store.claim(env, lost) if lost else env
        return env

    def _still_held(self, env: Environment) -> tuple[dict[str, Claim], dict[str, Claim]]:
        """What the record holds and nothing speaks against, and what nobody holds: its item was deleted.

        What another holds by now is neither: it is not this environment's any more.
        """
        doubted = _doubted(env)
        holders = at_once([partial(self.store.holder, env.claims[name]) for name in doubted])
        by = dict.fromkeys(env.claims, env.slug) | dict(zip(doubted, holders, strict=True))
        return (
            {name: claim for name, claim in env.claims.items() if by[name] == env.slug},
            {name: claim for name, claim in env.claims.items() if by[name] is None},
        )

    def _missing(self, env: Environment, turn: int) -> Iterator[tuple[str, Claim]]:
        roles = [role for role in self.blueprint.web_roles if port_key(role) not in env.claims]
        numbered = self.blueprint.redis.mode == "database" and REDIS not in env.claims
        held = self._held(env, roles) if roles or numbered else {}
        regained = dict(self._regained(env, roles, held))
        yield from regained.items()
        yield from self._names(replace(env, claims={**env.claims, **regained}), turn, held)
        roles = [role for role in roles if port_key(role) not in regained]
        if roles:
            yield from zip(map(port_key, roles), self._ports(roles, turn, held), strict=True)

    def _held(self, env: Environment, roles: list[str]) -> Held:
        """Who holds which numbers by now; what else is needed for ports in any case is read meanwhile."""
        scopes = [*(port_scope(lb.arn) for lb in self.blueprint.load_balancers), REDIS_DATABASES]
        held: Held = {scope: [] for scope in scopes}
        reads: list[Callable[[], object]] = [partial(self._read_held, env, held, scope) for scope in scopes]
        reads += [partial(self._groups, env, role) for role in roles]
        at_once([*reads, self._limits] if roles else reads)
        return held

    def _read_held(self, env: Environment, held: Held, scope: str) -> None:
        """Of numbered databases also those of which only a record speaks."""
        held[scope] = self.store.held(scope)
        if scope == REDIS_DATABASES and self.blueprint.redis.mode == "database":
            for other in self.store.all():
                claim = other.claims.get(REDIS)
                if claim and claim.scope == scope and other.slug != env.slug:
                    held[scope].append((other.slug, REDIS, claim))

    def _regained(self, env: Environment, roles: list[str], held: Held) -> Iterator[tuple[str, Claim]]:
        """What it still holds though its record was lost: so its address stays, and no place is lost."""
        mine = [one for found in held.values() for one in found if one[0] == env.slug]
        kept = {name: claim for _, name, claim in mine if name not in env.claims}
        yield from kept.items()
        for role in roles:
            if port_key(role) not in kept:
                found = self._listening(env, role)
                yield from ((port_key(role), c) for c in found if c.name not in _taken(held, c.scope))

    def _listening(self, env: Environment, role: str) -> Iterator[Claim]:
        """The port of a listener that stands for the role already: the table was lost, the world was not.

        Its target group tells the load balancer, unless somebody has made the listener answer otherwise.
        """
        known = {one.arn for one in self.blueprint.load_balancers}
        with aws.doing(f"looking for an earlier listener of {env.slug} {role}"):
            groups = self._groups(env, role).values()
            used_by = {arn for group in groups for arn in group["LoadBalancerArns"]}
            anywhere = known if groups and not used_by else set()
            for lb in sorted(used_by & known or anywhere):
                listeners = {one["ListenerArn"]: one["Port"] for one in self._listeners(lb)}
                for arn, tags in elbv2.tags(self.elbv2, listeners).items():
                    is_mine = naming.owner_of(tags, self.installation) == env.slug
                    if is_mine and tags.get(naming.TAG_ROLE) == role:
                        yield Claim(port_scope(lb), str(listeners[arn]))

    def _groups(self, env: Environment, role: str) -> dict[str, TargetGroupTypeDef]:
        """The target group of an earlier life, if there is one, by its name."""
        names = frozenset({naming.target_group(env.slug, role)})
        with aws.doing(f"looking for an earlier target group of {env.slug} {role}"):
            return self.once(("target groups", names), partial(elbv2.target_groups, self.elbv2, names))

    def _listeners(self, load_balancer: str) -> list[ListenerTypeDef]:
        read = partial(elbv2.listeners, self.elbv2, load_balancer)
        return self.once(("listeners", load_balancer), read)

    def _names(self, env: Environment, turn: int, held: Held) -> Iterator[tuple[str, Claim]]:
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
            yield from self._database(env, turn, _taken(held, REDIS_DATABASES))

    def _database(
        self, env: Environment, turn: int, taken: Mapping[str, Slug]
    ) -> Iterator[tuple[str, Claim]]:
        """The number that bears its mark, else a free one that is empty.

        None while Redis does not say which are: that stops nothing else, and the keyspace says why.
        """
        try:
            filled = self.filled()
        except Exception as error:
            logger.info("no redis database is claimed for %s yet: %s", env.slug, error)
            return
        own = [number for number, owner in filled.items() if owner == env.slug and number not in taken]
        unclaimed = [n for n in self.blueprint.redis.numbers if str(n) not in taken]
        free = [str(n) for n in _turned(unclaimed, turn) if str(n) not in filled]
        if not own and not free:
            raise Blocked(self._no_database(taken, [n for n in unclaimed if filled[str(n)] is None]))
        yield REDIS, Claim(REDIS_DATABASES, [*own, *free][0])

    def _no_database(self, taken: Mapping[str, Slug], unmarked: Collection[int]) -> str:
        """Only what bears no mark may be flushed: another environment may be about to claim its own again."""
        flush = f"flush what is nobody's ({', '.join(map(str, unmarked))}), " if unmarked else ""
        return (
            f"no free redis database: all of {self.blueprint.redis.databases} are held by"
            f" {_some(taken.values())}; {flush}delete an environment or raise redis.databases"
        )

    def _ports(self, roles: list[str], turn: int, held: Held) -> list[Claim]:
        """Free ports, on one load balancer if one has room for all.

        Claims say which may have room: the others are asked only if those have none, and as few as will do.
        """
        unclaimed = {lb.arn: _unclaimed(lb, held) for lb in self.blueprint.load_balancers}
        roomy = [lb for lb in self.blueprint.load_balancers if unclaimed[lb.arn] >= len(roles)]
        cramped = [lb for lb in self.blueprint.load_balancers if 0 < unclaimed[lb.arn] < len(roles)]
        spread: list[Claim] = []
        for lb in roomy:
            ports = self._free(lb, turn, held)
            if len(ports) >= len(roles):
                return ports[: len(roles)]
            spread += ports
        for lb in cramped:
            if len(spread) < len(roles):
                spread += self._free(lb, turn, held)
        if len(spread) >= len(roles):
            return spread[: len(roles)]
        raise Blocked(self._full(len(roles), len(spread), held))

    def _free(self, lb: LoadBalancer, turn: int, held: Held) -> list[Claim]:
        scope = port_scope(lb.arn)
        taken = _taken(held, scope)
        (used, groups), limits = self._used(lb), self._limits()
        pending = {int(port) for port in taken} - used
        room = min(
            limits["listeners-per-application-load-balancer"] - len(used) - len(pending),
            limits["target-groups-per-application-load-balancer"] - max(groups, 1) - len(pending),
        )
        free = [port for port in lb.port_range if port not in used and port not in pending]
        return [Claim(scope, str(port)) for port in _turned(free, turn)[: max(room, 0)]]

    def _used(self, lb: LoadBalancer) -> tuple[set[int], int]:
        """(ports with a listener, number of target groups) of a load balancer."""
        listeners = partial(self._listeners, lb.arn)
        groups = partial(self.once, ("target groups of", lb.arn), partial(self._count_groups, lb.arn))
        with aws.doing(f"reading the listeners of {lb.host}"):
            found, count = both(listeners, groups)
        return {listener["Port"] for listener in found}, count

    def _count_groups(self, load_balancer: str) -> int:
        pages = self.elbv2.get_paginator("describe_target_groups").paginate(LoadBalancerArn=load_balancer)
        try:
            return sum(len(page["TargetGroups"]) for page in pages)
        except self.elbv2.exceptions.TargetGroupNotFoundException:
            return 0

    def _limits(self) -> dict[str, int]:
        """The account's own numbers, the documented defaults where it names none."""
        return self.once("limits of load balancers", self._read_limits)

    def _read_limits(self) -> dict[str, int]:
        limits = {
            "listeners-per-application-load-balancer": 50,
            "target-groups-per-application-load-balancer": 100,
        }
        with aws.doing("reading the limits of load balancers"):
            for limit in self.elbv2.describe_account_limits()["Limits"]:
                if limit["Name"] in limits:
                    limits[limit["Name"]] = int(limit["Max"])
        return limits

    def _full(self, wanted: int, free: int, held: Held) -> str:
        hosts = ", ".join(f"{lb.host} ({lb.ports})" for lb in self.blueprint.load_balancers)
        scopes = [port_scope(lb.arn) for lb in self.blueprint.load_balancers]
        holders = {slug for scope in scopes for slug in _taken(held, scope).values()}
        return (
            f"{wanted} ports wanted, {free} free: {hosts} full with {len(holders)} environments"
            f" ({_some(holders)}); delete one, or add a load balancer to the blueprint"
        )

    def _refuse_names(self, env: Environment, claims: Iterable[Claim]) -> None:
        """A lost port is tried again with another; a name has no other."""
        for claim in claims:
            if not claim.scope.startswith(("port ", REDIS_DATABASES)):
                raise Blocked(
                    f"{claim} is held by {self.store.holder(claim)}: two branches would share it;"
                    f" rename the branch {env.branch!r}"
                )


def _doubted(env: Environment) -> list[str]:
    """Which claims only the record may know: all if data has found none, a port that has no listener.

    Ports need no more: as long as a listener stands nobody else is given its port. A new life begins without
    one, so it asks for all that the last one has left it.
    """
    if any(condition.outputs.get(UNCLAIMED) for condition in env.conditions.values()):
        return list(env.claims)
    if env.desired is Desired.ABSENT:
        return []
    if KIND not in env.conditions:
        return list(env.claims)
    listeners = {port_key(role): env.conditions.get(key("listener", role)) for role in env.roles}
    broken = {name for name, said in listeners.items() if said and said.state is not State.READY}
    return [name for name in env.claims if name in broken]


def _taken(held: Held, scope: str) -> dict[str, Slug]:
    return {claim.name: slug for slug, _, claim in held.get(scope, [])}


def _unclaimed(lb: LoadBalancer, held: Held) -> int:
    taken = _taken(held, port_scope(lb.arn))
    return sum(str(port) not in taken for port in lb.port_range)


def _turned(numbers: list[int], turn: int) -> list[int]:
    start = turn % len(numbers) if numbers else 0
    return numbers[start:] + numbers[:start]


def _some(slugs: Iterable[Slug]) -> str:
    names = sorted(set(slugs))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (", ".join(names[:5]) or "nothing of ours") + more
