"""The environment's MySQL schema on the shared STG server.

MySQL has no tags: the claim in the table and the blueprint's prefix are the mark. The statements run in the
`datastores` function, which checks the prefix again; this side only asks, and only with the claim in hand.

While the branch exists it is dropped in one case only: somebody asked for a reset, and the pipeline has
written down that nothing of it runs (`resources/pipeline.py`). `reset` is the last wish that was met so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qa_env import datacall, naming
from qa_env.blueprint import Database
from qa_env.errors import NotReady
from qa_env.holding import LOST, held, prefix
from qa_env.model import SCHEMA, Claim, Environment, Ledger, Outputs, Slug


@dataclass(frozen=True)
class Schema:
    """One schema, shared by all roles of the environment, which may have so many `connections` at once."""

    call: datacall.Datastores
    ledger: Ledger
    database: Database
    connections: int
    name: str = ""
    kind = "schema"

    def ensure(self, env: Environment) -> Outputs:
        """Create the schema if it is missing, reset it if that is due; return its name."""
        claim = held(self.ledger, env, SCHEMA)
        if claim is None:
            raise NotReady("waiting for the schema's name", **LOST)
        wish = str(env.asked.reset)
        idle = env.remembered("pipeline").get("idle")
        known = {"name": claim.name, "prefix": self._prefix(env)}
        if env.reset_due and idle == wish:
            self._drop(env, claim)
            self._create(env, claim)
            raise NotReady("the schema was reset", reset=wish, **known)
        self._create(env, claim)
        last = env.remembered(self.kind).get("reset", "0")
        return {**known, "reset": last if env.reset_due else wish}

    def delete(self, env: Environment) -> None:
        """Drop the schema once nothing can use it, if the claim still says that it is ours."""
        env.require_gone("pipeline", "service", "account")
        claim = held(self.ledger, env, SCHEMA)
        if claim is not None:
            self._drop(env, claim)

    def owners(self) -> Iterator[Slug]:
        """Slugs of every schema with our prefix, by claim, or by its name where the claim is lost."""
        return (slug for _, slug in self.found() if slug)

    def found(self) -> Iterator[tuple[Claim, Slug | None]]:
        """Every schema with our prefix as what would be claimed, and whose it is if that can be told."""
        claimed = self.ledger.taken(SCHEMA)
        for name in self._ask("list", self.database.prefix)["names"]:
            yield (
                Claim(SCHEMA, name),
                claimed.get(name) or naming.slug_of(self.database.schema_name, name),
            )

    def _drop(self, env: Environment, claim: Claim) -> None:
        """MySQL knows no fence, so what was wanted when this pass began is looked at once more."""
        if not self.ledger.is_current(env):
            raise NotReady("the record moved on: the schema stays")
        self._ask("delete", self._prefix(env), name=claim.name)

    def _create(self, env: Environment, claim: Claim) -> None:
        details = {"charset": self.database.charset, "collation": self.database.collation}
        room = {"each": self.connections, "budget": self.database.connections}
        self._ask("ensure", self._prefix(env), name=claim.name, **details, **room)

    def _prefix(self, env: Environment) -> str:
        return prefix(env, self.kind, self.database.prefix)

    def _ask(self, action: str, ours: str, **details: object) -> datacall.Answer:
        request = {"store": "mysql", "action": action, "secret": self.database.secret}
        return datacall.ask(self.call, {**request, "prefix": ours, **details})
