"""Fakes of our own protocols; `test_store.py` runs the same suite against the real store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from qa_env import naming
from qa_env.datastores import guard
from qa_env.errors import Blocked, Stale
from qa_env.model import Asked, Built, Claim, Desired, Environment, Outputs, Slug
from qa_env.rounds import Rounds
from qa_env.store import Event, Suspect, Taken


class MemoryStore:
    """The store's contract in a dictionary."""

    def __init__(self) -> None:
        self.records: dict[Slug, Environment] = {}
        self.claims: dict[Claim, Slug] = {}
        self.claim_keys: dict[Claim, str] = {}
        self.events: dict[Slug, list[Event]] = {}
        self.builds: dict[str, list[int]] = {}
        self.dismissed: dict[Slug, str] = {}
        self.deletions: dict[Slug, int] = {}
        self.suspected: dict[Slug, Suspect] = {}
        self.scans: dict[str, Rounds] = {}

    def get(self, slug: Slug) -> Environment | None:
        return self.records.get(slug)

    def all(self, *, consistent: bool = True) -> Iterator[Environment]:
        return iter(list(self.records.values()))

    def desire(self, wish: Environment, seen: Environment | None, said: str = "", *, kind: str = "") -> None:
        current = self.records.get(wish.slug)
        if (current.generation if current else None) != (seen.generation if seen else None):
            raise Stale(wish.slug)
        if current:
            others = ("claims", "conditions", "built", "begun", "asked", "visited")
            kept = {name: getattr(current, name) for name in others}
            self.records[wish.slug] = replace(wish, **kept)
        else:
            self.records[wish.slug] = replace(wish, claims={}, conditions={}, built=None, begun=False)
        if said:
            self.note(wish.slug, wish.by, said, kind=kind)

    def begin(self, env: Environment) -> None:
        current = self._current(env.slug, env.generation)
        if current.desired is not Desired.ABSENT:
            raise Stale(env.slug)
        self.records[env.slug] = replace(current, begun=True)

    def renew(self, fresh: Environment, seen: Environment) -> None:
        current = self._current(fresh.slug, seen.generation)
        if current.desired is not Desired.ABSENT:
            raise Stale(fresh.slug)
        fresh = replace(fresh, built=None, begun=False, asked=Asked(), visited=0)
        self.records[fresh.slug] = fresh

    def claim(self, env: Environment, claims: Mapping[str, Claim]) -> Environment:
        current = self._current(env.slug, env.generation)
        if dict(current.claims) != dict(env.claims):
            raise Stale(env.slug)
        lost = [c for c in claims.values() if self.claims.get(c, env.slug) != env.slug]
        if lost:
            raise Taken(lost)
        self.claims.update(dict.fromkeys(claims.values(), env.slug))
        self.claim_keys.update((claim, name) for name, claim in claims.items())
        self.records[env.slug] = replace(current, claims={**env.claims, **claims})
        return replace(env, claims={**env.claims, **claims})

    def save(self, env: Environment) -> None:
        current = self._current(env.slug, env.generation)
        self.records[env.slug] = replace(current, conditions=env.conditions)

    def record_built(self, slug: Slug, built: Built) -> None:
        current = self.records.get(slug)
        if current is None or current.desired is Desired.ABSENT or current.commit != built.commit:
            raise Stale(slug)
        self.records[slug] = replace(current, built=built)

    def forget(self, env: Environment) -> None:
        if self._current(env.slug, env.generation).desired is not Desired.ABSENT:
            raise Stale(env.slug)
        del self.records[env.slug]
        if env.commit and env.asked.dismissed == env.commit:
            self.dismissed[env.slug] = env.commit
        self.remember_deletion(env.slug, env.pushed_at)
        self.claims = {claim: slug for claim, slug in self.claims.items() if slug != env.slug}

    def ask(self, env: Environment, asked: Asked) -> None:
        current = self._current(env.slug, env.generation)
        news = {name: value for name, value in asdict(asked).items() if value != getattr(env.asked, name)}
        self.records[env.slug] = replace(current, asked=replace(current.asked, **news))

    def visit(self, slug: Slug, at: int) -> None:
        if slug in self.records:
            self.records[slug] = replace(self.records[slug], visited=at)

    def took(self, repository: str, seconds: int) -> None:
        self.builds[repository] = [*self.durations(repository), seconds][-10:]

    def durations(self, repository: str) -> list[int]:
        return self.builds.get(repository, [])

    def note(self, slug: Slug, by: str, text: str, *, kind: str = "", phase: str = "") -> None:
        events = self.events.setdefault(slug, [])
        events.insert(0, Event(f"{len(events):06}", by, text, kind, phase))

    def history(self, slug: Slug) -> list[Event]:
        return self.events.get(slug, [])[:200]

    def deleted_at(self, slug: Slug) -> int:
        return self.deletions.get(slug, 0)

    def remember_deletion(self, slug: Slug, pushed_at: int) -> None:
        self.deletions[slug] = max(pushed_at, self.deleted_at(slug))

    def dismissals(self) -> dict[Slug, str]:
        return dict(self.dismissed)

    def undismiss(self, slug: Slug) -> None:
        self.dismissed.pop(slug, None)

    def suspects(self) -> dict[Slug, Suspect]:
        return dict(self.suspected)

    def suspect(self, suspects: Mapping[Slug, Suspect]) -> None:
        self.suspected = dict(suspects)

    def holder(self, claim: Claim) -> Slug | None:
        return self.claims.get(claim)

    def taken(self, scope: str) -> dict[str, Slug]:
        return {claim.name: slug for claim, slug in self.claims.items() if claim.scope == scope}

    def is_current(self, env: Environment) -> bool:
        current = self.records.get(env.slug)
        return (
            current is not None
            and current.generation == env.generation
            and current.reset_due == env.reset_due
        )

    def generations(self) -> dict[Slug, int]:
        return {slug: env.generation for slug, env in self.records.items()}

    def rounds(self, place: str) -> Rounds:
        return self.scans.get(place, Rounds())

    def save_rounds(self, place: str, rounds: Rounds) -> None:
        if self.rounds(place).revision != rounds.revision:
            raise Stale(place)
        self.scans[place] = replace(rounds, revision=rounds.revision + 1)

    def held(self, scope: str) -> list[tuple[Slug, str, Claim]]:
        return [(slug, self.claim_keys[c], c) for c, slug in self.claims.items() if c.scope == scope]

    def _current(self, slug: Slug, generation: int) -> Environment:
        current = self.records.get(slug)
        if current is None or current.generation != generation:
            raise Stale(slug)
        return current


class NothingToClaim:
    """For environments that need to hold nothing."""

    def ensure(self, env: Environment) -> tuple[Environment, Outputs]:
        return env, {}

    def keep(self, env: Environment) -> Environment:
        return env


class FakeBranches:
    """GitHub as a dictionary: (repository, branch) → commit, commit → checks."""

    def __init__(self) -> None:
        self.heads: dict[tuple[str, str], str] = {}
        self.found: dict[str, dict[str, str]] = {}
        self.visible = True
        self.error: Exception | None = None

    def head(self, repository: str, branch: str) -> str | None:
        if self.error:
            raise self.error
        return self.heads.get((repository, branch))

    def under(self, repository: str, prefix: str) -> dict[str, str]:
        if self.error:
            raise self.error
        return {b: c for (r, b), c in self.heads.items() if r == repository and b.startswith(prefix)}

    def shows(self, repository: str) -> bool:
        if self.error:
            raise self.error
        return self.visible

    def checks(self, repository: str, commit: str, wanted: Iterable[str]) -> dict[str, str]:
        return self.found.get(commit, {})


class FakeDatastores:
    """The datastores function as two sets: the tests of the function itself use real servers."""

    def __init__(self) -> None:
        self.schemas: set[str] = set()
        self.accounts: dict[str, str] = {}
        """User → its schema."""
        self.foreign_accounts: set[str] = set()
        """Users that people have made: the function touches none, unless it is told that they are ours."""
        self.migrated: dict[str, list[str]] = {}
        """Schema → the commits whose migrations ran in it since it was created."""
        self.keys: dict[str, int] = {}
        self.owners: dict[str, str] = {}
        """Number of a database → the mark in it."""
        self.server = "Redis at one:6379"
        self.error: dict[str, Any] | None = None
        self.requests: list[Mapping[str, Any]] = []

    def __call__(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self.requests.append(request)
        if self.error:
            return self.error
        try:
            for name in (request.get("name"), request.get("namespace")):
                if name is not None:
                    guard.require_ours(name, request["prefix"])
        except Blocked as error:
            return {"error": "blocked", "message": str(error)}
        return self._mysql(request) if request["store"] == "mysql" else self._redis(request)

    def migrate(self, schema: str, commit: str) -> None:
        """What the pipeline's Migrate stage does."""
        self.migrated.setdefault(schema, []).append(commit)

    def _mysql(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        match request["action"]:
            case "ensure":
                self.schemas.add(request["name"])
                return {"name": request["name"]}
            case "delete":
                self.schemas.discard(request["name"])
                self.migrated.pop(request["name"], None)
                return {"gone": "yes"}
            case "ensure_account" | "delete_account":
                return self._account(request, naming.account(request["name"]))
            case "list_accounts":
                return {"names": sorted({*self.accounts, *self.foreign_accounts})}
            case _:
                return {"names": sorted(self.schemas)}

    def _account(self, request: Mapping[str, Any], user: str) -> Mapping[str, Any]:
        if request["action"] == "delete_account":
            if request["login"] or request["known"]:
                self.accounts.pop(user, None)
            if request["known"]:  # whose it is, the function cannot tell then
                self.foreign_accounts.discard(user)
            return {"gone": "yes"}
        if user in self.foreign_accounts:
            return {"error": "blocked", "message": f"user {user} is there, but is not ours"}
        self.accounts[user] = request["name"]
        return {"user": user}

    def _had(self, request: Mapping[str, Any]) -> bool:
        return request.get("server", "") in ("", self.server)

    def _redis(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        place = request.get("namespace") or str(request.get("database"))
        match request["action"]:
            case "delete" if "namespaces" in request:
                removed = {name: self.keys.pop(name, 0) for name in request["namespaces"]}
                return {"gone": "yes", "removed": removed, "refused": {}}
            case "ensure" if request["mode"] == "database":
                if place not in self.owners and place in self.keys and not self._had(request):
                    return {"error": "blocked", "message": f"database {place} holds keys without our mark"}
                if self.owners.setdefault(place, request["owner"]) != request["owner"]:
                    return {"error": "blocked", "message": f"database {place} is marked as another's"}
                self.keys.setdefault(place, 0)
                return {"database": place, "server": self.server}
            case "ensure":
                self.keys.setdefault(place, 0)
                return {"namespace": place, "database": str(request["database"])}
            case "delete" if place not in self.owners and not self._had(request):
                return {"gone": "yes", "removed": "0"}
            case "delete":
                self.keys.pop(place, None)
                self.owners.pop(place, None)
                return {"gone": "yes", "removed": "0"}
            case "list" if request["mode"] == "database":
                return {"names": sorted(filter(str.isdecimal, self.keys)), "owners": dict(self.owners)}
            case _:
                return {"names": sorted(self.keys), "cursor": "0"}
