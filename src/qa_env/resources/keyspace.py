"""The environment's place in the shared Redis: a namespace, or a numbered database of its own.

Redis has no tags either: claim and prefix are the mark, as for the schema. Removing a namespace is a scan of
everybody's keys, so it goes on from a cursor where it outlasts one call (`reliability.md` 2b).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qa_env import datacall, naming
from qa_env.blueprint import Redis
from qa_env.errors import NotReady
from qa_env.model import REDIS, REDIS_DATABASES, REDIS_NAMESPACES, Claim, Environment, Ledger, Outputs, Slug


@dataclass(frozen=True)
class Keyspace:
    """One namespace or numbered database, shared by all roles of the environment."""

    call: datacall.Datastores
    ledger: Ledger
    redis: Redis
    name: str = ""
    kind = "keyspace"

    def ensure(self, env: Environment) -> Outputs:
        """See that Redis can be reached, return the namespace and the database."""
        claim = self._held(env)
        if claim is None:
            raise NotReady("waiting for a place in redis")
        place = self._place(claim)
        self._ask("ensure", **place)
        return {name: str(value) for name, value in place.items() if name != "mode"}

    def delete(self, env: Environment) -> None:
        """Remove the environment's keys once nothing can write new ones."""
        env.require_gone("service", "pipeline")
        claim = self._held(env)
        if claim is None:
            return
        known = env.remembered(self.kind)
        place = self._place(claim)
        if place["mode"] == "namespace":  # the blueprint's may be another one by now
            place["database"] = int(known.get("database", self.redis.database))
        if not self.ledger.is_current(env):
            raise NotReady("the record moved on: the keys stay")
        last = env.conditions.get(self.kind)
        looked = last is not None and env.is_gone(last)
        answer = self._ask("delete", **place, cursor=_resumed(known.get("cursor", "0"), looked))
        if "gone" not in answer:
            raise NotReady(f"removing redis keys: {answer['removed']} so far", cursor=answer["cursor"])
        if looked and answer["removed"] != "0":
            raise NotReady("redis keys keep appearing; something still writes them", cursor="0")

    def owners(self) -> Iterator[Slug]:
        """Slugs of every namespace or database that holds keys and is claimed or named like ours."""
        return (slug for _, slug in self.found() if slug)

    def found(self) -> Iterator[tuple[Claim, Slug | None]]:
        """What holds keys, as what would be claimed, and whose it is if that can be told.

        A numbered database that nobody claims is left out: its number says nothing about who filled it.
        """
        if self.redis.mode == "database":
            claimed = self.ledger.taken(REDIS_DATABASES)
            held = self._ask("list", databases=self.redis.databases)["names"]
            yield from ((Claim(REDIS_DATABASES, n), claimed[n]) for n in held if n in claimed)
            return
        claimed = self.ledger.taken(REDIS_NAMESPACES)
        for name in sorted(self._namespaces()):
            slug = claimed.get(name) or naming.slug_of(self.redis.namespace, name)
            yield Claim(REDIS_NAMESPACES, name), slug

    def _namespaces(self) -> set[str]:
        """Every namespace that holds keys; a large server takes several calls."""
        found: set[str] = set()
        cursor = "0"
        while True:
            answer = self._ask("list", database=self.redis.database, cursor=cursor)
            found.update(answer["names"])
            cursor = answer["cursor"]
            if cursor == "0":
                return found

    def _held(self, env: Environment) -> Claim | None:
        claim = env.claims.get(REDIS)
        return claim if claim and self.ledger.holder(claim) == env.slug else None

    def _place(self, claim: Claim) -> dict[str, Any]:
        """The claim says which kind of place it is: the blueprint's mode may have changed since."""
        if claim.scope == REDIS_DATABASES:
            return {"mode": "database", "database": int(claim.name)}
        return {"mode": "namespace", "namespace": claim.name, "database": self.redis.database}

    def _ask(self, action: str, **details: object) -> datacall.Answer:
        request = {"store": "redis", "action": action, "secret": self.redis.secret, "mode": self.redis.mode}
        return datacall.ask(self.call, {**request, "prefix": self.redis.prefix, **details})


def _resumed(cursor: str, looked: bool) -> str:
    """Where the last call stopped. Once the keys were seen gone, everything is looked at again, but only once
    where that takes several calls (`clean:`): two looks without an interruption would never come."""
    return "0" if looked and not cursor.startswith("clean:") else cursor
