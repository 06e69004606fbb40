"""The words of the design as frozen values. No I/O, standard library only.

The receiver imports this module on every cold start, so it stays that way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType, Protocol

from qa_env.errors import NotReady

Slug = NewType("Slug", str)
"""An environment's one name: `[a-z0-9-]`, at most 40 characters (`naming.slug`)."""

Outputs = Mapping[str, str]
"""What a resource tells the others: ARNs, names, numbers, all as strings."""


class Ref(StrEnum):
    """What a webhook says about a branch."""

    PRESENT = "present"
    ABSENT = "absent"
    CHECKED = "checked"  # a check finished, a pull request opened: a reason to look, no news of the branch


@dataclass(frozen=True)
class Change:
    """“Branch B of repository R is now at commit C / is gone”, signature verified.

    `commit` is empty where GitHub does not say (`create`, `delete`), `before` likewise. `pushed_at` is the
    repository's last push in epoch seconds, 0 if unknown: a hint about order, never more.
    """

    slug: str
    repository: str
    branch: str
    ref: Ref
    commit: str = ""
    before: str = ""
    pushed_at: int = 0
    by: str = ""
    event: str = ""
    delivery: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The message on the queue."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Change:
        """Read a message; fields this build does not know are ignored."""
        known = {f.name for f in fields(cls)}
        kept = {name: value for name, value in values.items() if name in known}
        return cls(**{**kept, "ref": Ref(kept["ref"])})


class Desired(StrEnum):
    """What Git wants of an environment."""

    PRESENT = "present"
    ABSENT = "absent"


class State(StrEnum):
    """What a resource last said of itself."""

    READY = "ready"
    WAITING = "waiting"
    BLOCKED = "blocked"
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True)
class Condition:
    """What one resource last said: a state, one sentence, and its outputs.

    `unexpected` marks a failure that is nobody's verdict: an error that the next pass may well not meet.
    """

    state: State
    message: str = ""
    outputs: Outputs = field(default_factory=dict)
    generation: int = 0
    since: str = ""
    unexpected: bool = False

    def age(self, now: float) -> float:
        """Seconds since this state began; 0 where that cannot be read, so that one record stops nobody."""
        return _age(self.since, now)


@dataclass(frozen=True)
class Claim:
    """Something only one environment may hold: a name within a scope, e.g. a port of a load balancer."""

    scope: str
    name: str

    def __str__(self) -> str:
        return f"{self.scope} {self.name}"


@dataclass(frozen=True)
class Built:
    """What the pipeline produced last: written by the `deploy` function, read by everybody else."""

    commit: str
    image: str
    execution: str


@dataclass(frozen=True)
class Orphan:
    """What the audit found of an environment without a record: a message that asks for its tombstone.

    `things` are keys of conditions (`service/app`), `claims` what its record held or must hold to be removed.
    """

    slug: str
    repository: str
    things: tuple[str, ...] = ()
    claims: Mapping[str, Claim] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The message on the queue."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Orphan:
        """Read a message."""
        claims = {name: Claim(**one) for name, one in values["claims"].items()}
        return cls(values["slug"], values["repository"], tuple(values["things"]), claims)


class Phase(StrEnum):
    """An environment's state for people. Derived, never stored."""

    QUEUED = "queued"
    BUILDING = "building"
    DEPLOYING = "deploying"
    READY = "ready"
    ASLEEP = "asleep"
    FAILED = "failed"
    BLOCKED = "blocked"
    DELETING = "deleting"


UNDER_WAY = frozenset({Phase.QUEUED, Phase.BUILDING, Phase.DEPLOYING, Phase.DELETING})
"""Neither at rest nor stopped: it goes on by itself, or should."""


class Wish(StrEnum):
    """What a person may ask of the page."""

    REDEPLOY = "redeploy"  # build and deploy the commit again
    RESET = "reset"  # the same, on an empty schema
    DELETE = "delete"  # remove the environment, though its branch stays


@dataclass(frozen=True)
class Asked:
    """What people want beyond Git: written by the page, fulfilled by the loop.

    `redeploy`, `reset` and `awake`: when that was last asked for, in milliseconds since the epoch, or 0.
    `dismissed` is the commit that nobody wants to see any more, `dismissed_in` the generation that wanted it:
    a wish that came after that is not meant.
    """

    redeploy: int = 0
    reset: int = 0
    awake: int = 0
    dismissed: str = ""
    dismissed_in: int = 0
    by: str = ""


SCHEMA = "schema"
REDIS = "redis"
DATA = {SCHEMA: "schema", REDIS: "keyspace"}
"""Key among the claims → kind of what it is the mark of."""
UNCLAIMED = "unclaimed"
"""An output of data whose claim the table does not have any more: the next pass claims it again."""
REDIS_NAMESPACES = "redis namespace"
REDIS_DATABASES = "redis database"
"""The scope of numbers: one for the whole installation, as two secrets may well lead to one server."""


def port_key(role: str) -> str:
    """The key of a role's port among an environment's claims; `SCHEMA` and `REDIS` are the other two."""
    return f"port/{role}"


def port_scope(load_balancer: str) -> str:
    """The scope of a load balancer's ports."""
    return f"port {load_balancer}"


NOT_WANTED = "not wanted"
"""How the Deploy action's refusal of a commit begins: it is no deployment that failed."""

REPORTS = frozenset({"commit_status", "deployment", "pull_request", "slack", "event"})
"""Kinds that tell people about an environment; they never decide its phase."""

SHOWN = frozenset({"stages", "started", "seconds", "status", "tasks", "log_url", "alone"})
"""Outputs that are there to be looked at or spare a look: their change is no reason for another pass."""


@dataclass(frozen=True)
class Environment:
    """The record: what is wanted and what was last seen; not the truth about AWS.

    `generation` changes with every wish and is the fence of every write. `begun` is set before a teardown
    removes anything; `next_commit` is what a push after that wants built. `visited` is when somebody last
    came, in milliseconds since the epoch, 0 if that is not known. `claims` maps what is claimed
    (`port/app`, `schema`, `redis`) to the claimed thing; `conditions` is keyed `kind/name` or `kind`.
    """

    slug: Slug
    repository: str
    branch: str
    desired: Desired
    commit: str
    generation: int
    by: str = ""
    at: str = ""
    before: str = ""
    pushed_at: int = 0
    next_commit: str = ""
    begun: bool = False
    built: Built | None = None
    asked: Asked = Asked()
    visited: int = 0
    claims: Mapping[str, Claim] = field(default_factory=dict)
    conditions: Mapping[str, Condition] = field(default_factory=dict)

    def output(self, kind: str, name: str = "") -> Outputs:
        """What a resource of this environment said when it was ready; NotReady until it is."""
        condition = self.conditions.get(key(kind, name))
        if condition is None or condition.state is not State.READY:
            raise NotReady(f"waiting for the {label(kind, name)}")
        return condition.outputs

    def remembered(self, kind: str, name: str = "") -> Outputs:
        """What a resource last said in any state; a hint only, empty if it never spoke."""
        condition = self.conditions.get(key(kind, name))
        return condition.outputs if condition else {}

    @property
    def roles(self) -> set[str]:
        """The roles that something of this environment was ever made for."""
        return {name.split("/")[1] for name in (*self.conditions, *self.claims) if "/" in name}

    def port_of(self, role: str) -> tuple[str, int]:
        """(load balancer ARN, port) that the role holds; NotReady until it holds one."""
        claim = self.claims.get(port_key(role))
        if claim is None:
            raise NotReady(f"waiting for the port of {role}")
        return claim.scope.removeprefix(port_scope("")), int(claim.name)

    def load_balancers(self, role: str) -> set[str]:
        """The load balancer that the role holds a port on, if it holds one."""
        return {self.port_of(role)[0]} if port_key(role) in self.claims else set()

    def require_gone(self, *kinds: str, role: str = "") -> None:
        """NotReady while something of these kinds (of this role) may run: data goes after its users."""
        for name, condition in self.conditions.items():
            kind, _, of = name.partition("/")
            if kind in kinds and of in (role or of,) and not self.is_gone(condition):
                raise NotReady(f"waiting until the {label(kind, of)} is gone")

    def is_gone(self, condition: Condition) -> bool:
        """Was this seen gone under the present wish?"""
        return condition.state is State.GONE and condition.generation == self.generation

    def with_conditions(self, conditions: Mapping[str, Condition]) -> Environment:
        """The same environment with these conditions laid over its own."""
        return replace(self, conditions={**self.conditions, **conditions})

    @property
    def phase(self) -> Phase:
        """The one word that people see."""
        if self.desired is Desired.ABSENT:
            return Phase.DELETING
        mine = {k: c for k, c in self.conditions.items() if not is_report(k)}
        if len(mine) > 1:  # a doubt about where the branch is says nothing of what runs
            mine = {k: c for k, c in mine.items() if (k, c.state) != ("branch", State.WAITING)}
        states = {c.state for c in mine.values() if c.generation == self.generation}
        for state, phase in ((State.BLOCKED, Phase.BLOCKED), (State.FAILED, Phase.FAILED)):
            if state in states:
                return phase
        if not states:
            return Phase.QUEUED
        if State.WAITING not in states and all(c.generation == self.generation for c in mine.values()):
            return Phase.ASLEEP if self._asleep else Phase.READY
        return Phase.DEPLOYING if self._is_built else Phase.BUILDING

    @property
    def needs_a_person(self) -> bool:
        """Is something blocked, whatever the phase? A teardown that is stuck is still called deleting."""
        return any(
            c.state is State.BLOCKED and c.generation == self.generation and not is_report(name)
            for name, c in self.conditions.items()
        )

    def unmoved(self, now: float) -> float:
        """Seconds for which it has been under way and got no further; 0 if it is at rest or needs a person.

        Counted is from the newest change of any resource's state under this wish, and from the wish where
        there is none. A teardown counts from its wish: what comes back each time that it is removed changes
        its state for ever. `branch` and reports say nothing of how far it is.
        """
        if self.phase not in UNDER_WAY or self.needs_a_person:
            return 0.0
        steps = [
            condition.age(now)
            for name, condition in self.conditions.items()
            if condition.generation == self.generation and name != "branch" and not is_report(name)
        ]
        if not steps or self.desired is Desired.ABSENT:
            return _age(self.at, now)
        return min(steps)

    @property
    def interest(self) -> int:
        """The last push, button or visit that wants it to run; milliseconds since the epoch."""
        return max(self.generation, self.asked.awake, self.asked.redeploy, self.visited)

    @property
    def sleeps(self) -> bool:
        """Does a part of it sleep, and has nobody shown interest since?

        Whatever its phase is: where one role does not start, the others may sleep, and it is called failed.
        """
        return self.desired is Desired.PRESENT and str(self.interest) in self._asleep

    @property
    def _asleep(self) -> set[str]:
        """Since which signs of interest its services sleep; empty while none does."""
        services = [c for n, c in self.conditions.items() if n.startswith("service/")]
        return {c.outputs.get("asleep", "") for c in services if c.state is not State.GONE} - {""}

    @property
    def _is_built(self) -> bool:
        pipeline = self.conditions.get("pipeline")
        building = pipeline is not None and pipeline.state is State.WAITING
        return self.built is not None and self.built.commit == self.commit and not building

    @property
    def resetting(self) -> bool:
        """Has the schema been asked to be reset, and is it not migrated and seeded again yet?"""
        return self.asked.reset > int(self.remembered("pipeline").get("fulfilled") or 0)

    @property
    def reset_due(self) -> bool:
        """Is the schema still to be dropped for that? Nothing may be built before."""
        return self.resetting and self.asked.reset > int(self.remembered("schema").get("reset") or 0)

    @property
    def unanswered(self) -> bool:
        """Has somebody pressed a button that no pass has answered yet? Its wake-up may have been lost."""
        dismissed = self.desired is Desired.PRESENT and self.asked.dismissed_in == self.generation
        return dismissed or self.asked.redeploy > int(self.remembered("pipeline").get("asked") or 0)

    @property
    def settled(self) -> bool:
        """Nothing left to do until somebody wishes for something else, and everybody has been told."""
        told = (c for name, c in self.conditions.items() if is_report(name))
        at_rest = self.phase in (Phase.READY, Phase.ASLEEP)
        waits = any(c.state is State.WAITING for c in self.conditions.values())
        all_told = all(c.state is State.READY and c.generation == self.generation for c in told)
        oversleeps = bool(self._asleep - {str(self.interest)})  # the message that should wake it may be lost
        return at_rest and all_told and not waits and not oversleeps and not self.unanswered

    @property
    def urls(self) -> dict[str, str]:
        """Role → URL, of every web role whose listener has been seen."""
        return {
            name.split("/")[1]: condition.outputs["url"]
            for name, condition in sorted(self.conditions.items())
            if name.startswith("listener/")
            and condition.state is not State.GONE
            and "url" in condition.outputs
        }


def key(kind: str, name: str = "") -> str:
    """A condition's key in the record."""
    return f"{kind}/{name}" if name else kind


def is_report(key_: str) -> bool:
    """Does this condition only tell people?"""
    return key_.split("/")[0] in REPORTS


def _age(at: str, now: float) -> float:
    """Seconds since then; 0 if that cannot be read."""
    try:
        return now - datetime.fromisoformat(at).timestamp()
    except ValueError:
        return 0.0


def label(kind: str, name: str = "") -> str:
    """The same for people: `target group of app`."""
    words = kind.replace("_", " ")
    return f"{words} of {name}" if name else words


class Ledger(Protocol):
    """Who holds what; the part of the store that resources whose things bear no tags may read."""

    def holder(self, claim: Claim) -> Slug | None:
        """Who holds this claim."""

    def taken(self, scope: str) -> dict[str, Slug]:
        """Every claimed name of a scope and who holds it."""

    def is_current(self, env: Environment) -> bool:
        """Is the record still of this generation, and no further with a reset that was asked for?

        The last question before data is destroyed: a pass that hung must not repeat what another has done.
        """


class Resource(Protocol):
    """One kind of thing per environment and, where it has a `name`, per role. The contract:

    `ensure` finds first and changes only on difference; `delete` finds by derived name. Both raise
    NotReady instead of waiting, Blocked when only a person can help, and let anything else escape. A
    thing with our name but without our owner tag is not ours: `ensure` is Blocked, `delete` leaves it.
    A crash after any single call is repaired by calling again.
    """

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...

    def ensure(self, env: Environment) -> Outputs:
        """Returns ⇒ usable now, with the same outputs when called again."""

    def delete(self, env: Environment) -> None:
        """Returns ⇒ it is gone, or never was."""

    def owners(self) -> Iterator[Slug]:
        """Every environment that has this kind in the world."""
