"""What there is in the world, per environment: by tag, by kind, by claim and by the names of data.

Listing by kind finds what the tagging API does not show (data, images, what it has not indexed yet), listing
by tag finds what the blueprint no longer knows. Both together cost few calls: whose a listed thing is, the
tagging API has said a hundred at a time, and only the rest is asked for its tags.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, runtime_checkable

from qa_env import naming
from qa_env.blueprint import Blueprint, present_name
from qa_env.branches import Branches
from qa_env.model import (
    REDIS,
    REDIS_DATABASES,
    REDIS_NAMESPACES,
    SCHEMA,
    Claim,
    Resource,
    Slug,
    port_scope,
)
from qa_env.store import Store
from qa_env.tagged import Thing

CLAIM_KEYS = {SCHEMA: SCHEMA, REDIS_NAMESPACES: REDIS, REDIS_DATABASES: REDIS}
"""Scope → the claim's key in a record. Ports have a key per role."""
NAMED = frozenset({"schema", "keyspace", "image", "account"})
"""Kinds that are found by name: it alone does not prove that a thing was ours. (A secret's tag does.)"""


@runtime_checkable
class Named(Protocol):
    """A resource whose things are listed by ARN or name, and asked for their tags by further calls."""

    def whose(self, known: Mapping[str, Slug]) -> Iterator[Slug]:
        """As `owners`, without asking for the tags of what is `known`: ARN → whose it is."""


class Data(Resource, Protocol):
    """A resource whose things are known by claim and name only."""

    def found(self) -> Iterator[tuple[Claim, Slug | None]]:
        """Everything with our prefix as what would be claimed, and whose it is if that can be told."""


@dataclass(frozen=True)
class Watched:
    """One repository: a resource of each kind that is no data, those that are, and where its branches are."""

    blueprint: Blueprint
    things: Sequence[Resource]
    data: Sequence[Data]
    branches: Branches | None

    def covers(self, slug: Slug) -> bool:
        """Is this the name of one of the repository's environments?"""
        return naming.covers(self.blueprint.slug_prefix, self.blueprint.branch_prefix, slug)


@dataclass
class Found:
    """What there is of one environment: `things` counted by kind, claims, and `tagged`, ARN → its condition.

    A kind is listed whole and without roles. Those only the tagging API tells, which also shows what is gone.
    """

    repository: str
    things: Counter[str] = field(default_factory=Counter)
    claims: dict[str, Claim] = field(default_factory=dict)
    tagged: dict[str, str] = field(default_factory=dict)
    is_claimed: bool = False

    @property
    def is_proven(self) -> bool:
        """Does something of it bear our tag, or does a claim name its owner?"""
        return self.is_claimed or bool(self.tagged) or any(kind not in NAMED for kind in self.things)

    @property
    def all(self) -> set[str]:
        """Everything as keys of conditions."""
        return {*self.things, *self.tagged.values()}

    def confirm(self, is_there: Callable[[str], bool]) -> bool:
        """Forget what the tagging API shows and is no more; is there anything left?"""
        self.tagged = {arn: name for arn, name in self.tagged.items() if is_there(arn)}
        return bool(self.all or self.claims)


@dataclass
class Census:
    """`found` by slug; `nobodys`, data with our prefix that leads to no slug; `failed`, why a listing did."""

    found: dict[Slug, Found] = field(default_factory=dict)
    nobodys: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def of(self, slug: Slug, repository: str) -> Found:
        return self.found.setdefault(slug, Found(repository))

    @property
    def tagged(self) -> dict[str, Slug]:
        """What the tagging API shows: ARN → whose it is."""
        return {arn: slug for slug, found in self.found.items() for arn in found.tagged}


def take(store: Store, watched: Sequence[Watched], tagged: Callable[[], Iterable[Thing]]) -> Census:
    """List everything. What cannot be listed is said in `failed` and stops no other listing."""
    census = Census()
    _try(census, "things by tag", partial(_by_tag, census, watched, tagged))
    known = census.tagged
    for one in watched:
        repository = one.blueprint.repository
        _try(census, f"the claims of {repository}", partial(_by_claim, census, store, one))
        for thing in one.things:
            what = f"the {thing.kind.replace('_', ' ')}s of {repository}"
            _try(census, what, partial(_by_kind, census, one, thing, known))
        for data in one.data:
            what = f"the names ({data.kind}) of {repository}"
            _try(census, what, partial(_by_name, census, store, one, data))
    return census


def _try(census: Census, what: str, listing: Callable[[], None]) -> None:
    try:
        listing()
    except Exception as error:  # the contract: one listing that fails stops no other
        census.failed.append(f"{what} cannot be listed: {type(error).__name__}")


def _by_tag(census: Census, watched: Sequence[Watched], tagged: Callable[[], Iterable[Thing]]) -> None:
    """Tags keep the name that the repository had when the thing was made."""
    blueprints = [one.blueprint for one in watched]
    for thing in tagged():
        repository = present_name(blueprints, thing.repository)
        census.of(thing.slug, repository).tagged[thing.arn] = thing.key


def _by_claim(census: Census, store: Store, one: Watched) -> None:
    """Claims are the whole installation's; ports are those of this blueprint's load balancers."""
    ports = [port_scope(lb.arn) for lb in one.blueprint.load_balancers]
    for scope in (*ports, *CLAIM_KEYS):
        for slug, name, claim in store.held(scope):
            if one.covers(slug):
                mine = census.of(slug, one.blueprint.repository)
                mine.claims[name] = claim
                mine.is_claimed = True


def _by_kind(census: Census, one: Watched, thing: Resource, known: Mapping[str, Slug]) -> None:
    for slug in thing.whose(known) if isinstance(thing, Named) else thing.owners():
        if one.covers(slug):
            census.of(slug, one.blueprint.repository).things[thing.kind] += 1


def _by_name(census: Census, store: Store, one: Watched, data: Data) -> None:
    """Claims are read after the data: what is there by then was claimed before it was made."""
    found = list(data.found())
    taken = {scope: store.taken(scope) for scope in {claim.scope for claim, _ in found}}
    for claim, slug in found:
        is_claimed = claim.name in taken[claim.scope]
        if slug and one.covers(slug):
            mine = census.of(slug, one.blueprint.repository)
            mine.things[data.kind] += 1
            if not is_claimed:
                mine.claims.setdefault(CLAIM_KEYS[claim.scope], claim)
        elif not is_claimed:
            census.nobodys.append(f"{claim} is nobody's")
