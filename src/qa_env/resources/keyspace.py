"""The environment's place in the shared Redis: a namespace, or a numbered database of its own.

Redis has no tags either: claim and prefix are the mark, as for the schema. A numbered database has no name
that says whose it is, so it also holds a key that does. Removing a namespace is a scan of
everybody's keys (`reliability.md` 2b), so all that are to be removed at the same time share one (`rounds`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qa_env import datacall, naming
from qa_env.blueprint import Redis
from qa_env.errors import Blocked, NotReady, Unfinished
from qa_env.holding import LOST, held, prefix
from qa_env.model import REDIS, REDIS_DATABASES, REDIS_NAMESPACES, Claim, Environment, Outputs, Slug
from qa_env.rounds import Member, Progress, Removal, Result, Table

USERS = ("service", "pipeline")
KEEP_APPEARING = "redis keys keep appearing; something still writes them"


@dataclass(frozen=True)
class Keyspace:
    """One namespace or numbered database, shared by all roles of the environment. `wake` wakes many."""

    call: datacall.Datastores
    table: Table
    redis: Redis
    installation: str
    wake: Callable[[Sequence[tuple[Slug, str]]], None]
    clock: Callable[[], float] = time.time
    name: str = ""
    kind = "keyspace"

    def ensure(self, env: Environment) -> Outputs:
        """See that Redis can be reached, return the namespace and the database."""
        claim = held(self.table, env, REDIS)
        if claim is None:
            if self.redis.mode == "database":
                self.filled()  # what keeps Redis from answering keeps it from a number, and is said here
            raise NotReady("waiting for a place in redis", **LOST)
        self._require_same_place(env, claim)
        answer = self._ask("ensure", env, **self._place(env, claim))
        return {**answer, "prefix": self._prefix(env)}

    def delete(self, env: Environment) -> None:
        """Remove the environment's keys once nothing can write new ones."""
        env.require_gone(*USERS)
        claim = held(self.table, env, REDIS)
        if claim is None:
            return
        if not self.table.is_current(env):
            raise NotReady("the record moved on: the keys stay")
        if claim.scope == REDIS_DATABASES:
            removed = int(self._ask("delete", env, **self._place(env, claim))["removed"])
            if removed and self._seen_gone(env):
                raise NotReady(KEEP_APPEARING)
        else:
            self._remove_namespace(env, claim.name)

    def owners(self) -> Iterator[Slug]:
        """Slugs of every namespace or database that holds keys and is claimed or named like ours."""
        return (slug for _, slug in self.found() if slug)

    def found(self) -> Iterator[tuple[Claim, Slug | None]]:
        """What holds keys, as what would be claimed, and whose it is if that can be told."""
        if self.redis.mode == "database":
            claimed = self.table.taken(REDIS_DATABASES)
            for number, owner in self.filled().items():
                if number in claimed or owner or int(number) in self.redis.numbers:
                    yield Claim(REDIS_DATABASES, number), claimed.get(number, owner)
            return
        claimed = self.table.taken(REDIS_NAMESPACES)
        for name in sorted(self._namespaces()):
            slug = claimed.get(name) or naming.slug_of(self.redis.namespace, name)
            yield Claim(REDIS_NAMESPACES, name), slug

    def filled(self) -> dict[str, Slug | None]:
        """The numbered databases that hold keys, anybody's, and whose mark they bear: None without ours."""
        answer = self._ask("list")
        return {n: self._owner(answer["owners"].get(n, "")) for n in answer["names"]}

    def _mark(self, env: Environment) -> str:
        return f"{self.installation}/{env.slug}"

    def _owner(self, mark: str) -> Slug | None:
        installation, _, slug = mark.rpartition("/")
        return Slug(slug) if installation == self.installation and naming.is_slug(slug) else None

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

    def _remove_namespace(self, env: Environment, name: str) -> None:
        """The first look removes, the second must find nothing; each is a whole round begun after it."""
        first, look = _looks(env, self._seen_gone(env), env.remembered(self.kind).get("look", ""))
        member = Member(name, env.slug, env.generation, look, self._prefix(env))
        try:
            result = self._in_a_round(env, member)
        except Unfinished as error:
            error.outputs = {**error.outputs, "look": look}
            raise
        if result.refusal:
            raise Blocked(result.refusal)
        if result.removed and look != first:
            raise NotReady(KEEP_APPEARING, look="")

    def _in_a_round(self, env: Environment, member: Member) -> Result:
        # the blueprint's number may be another one by now
        database = int(env.remembered(self.kind).get("database", self.redis.database))

        def request(members: Sequence[Member], cursor: str) -> Progress:
            namespaces = {one.name: one.prefix for one in members}
            place = {"mode": "namespace", "database": database}
            answer = self._ask("delete", env, **place, namespaces=namespaces, cursor=cursor)
            return Progress(answer["removed"], answer["refused"], answer.get("cursor", ""))

        place = f"{self.redis.secret} {database}"
        removal = Removal(self.table, place, REDIS_NAMESPACES, self.wake, self.clock)
        return removal.result(member, request)

    def _seen_gone(self, env: Environment) -> bool:
        """Did an earlier pass of this wish see the keys gone?"""
        last = env.conditions.get(self.kind)
        return last is not None and env.is_gone(last)

    def _require_same_place(self, env: Environment, claim: Claim) -> None:
        """Blocked if the blueprint would move it: its keys would stay behind, in exchange for somebody's."""
        numbered = claim.scope == REDIS_DATABASES
        number = str(self.redis.database)
        if numbered != (self.redis.mode == "database"):
            changed = "mode"
        elif not numbered and env.remembered(self.kind).get("database", number) != number:
            changed = "database"
        else:
            return
        raise Blocked(
            f"the keys of {env.slug} are where redis.{changed} said before: put that back, or delete the"
            " branch and push it again once the environment is gone"
        )

    def _place(self, env: Environment, claim: Claim) -> dict[str, Any]:
        """The claim says which kind of place it is: the blueprint's mode may have changed since.

        `server` is where it had the number before: "" before that was written down, None if it had none.
        """
        if claim.scope == REDIS_DATABASES:
            last = env.remembered(self.kind)
            server = last.get("server", "") if last.get("database") == claim.name else None
            place = {"mode": "database", "database": int(claim.name)}
            return {**place, "owner": self._mark(env), "server": server}
        return {"mode": "namespace", "namespace": claim.name, "database": self.redis.database}

    def _prefix(self, env: Environment) -> str:
        return prefix(env, self.kind, self.redis.prefix)

    def _ask(self, action: str, env: Environment | None = None, **details: object) -> datacall.Answer:
        request = {"store": "redis", "action": action, "secret": self.redis.secret, "mode": self.redis.mode}
        ours = self._prefix(env) if env else self.redis.prefix
        return datacall.ask(self.call, {**request, "prefix": ours, **details})


def _looks(env: Environment, seen_gone: bool, remembered: str) -> tuple[str, str]:
    """The name of the first look since the keys' users are gone, and of the one that is due.

    A name says since when that was seen on which it relies, so that no result outlives this: when users come
    back, or keys do, the next look has another name. One that waits for its round is remembered, because it
    is no longer seen gone meanwhile.
    """
    users = [c.since for name, c in env.conditions.items() if name.partition("/")[0] in USERS]
    first = f"{env.generation}/{max(users, default='')}"
    if remembered.startswith(f"{first}/"):
        return first, remembered
    return first, f"{first}/{env.conditions[Keyspace.kind].since}" if seen_gone else first
