"""One scan for all whose data is to be removed from one place, in rounds of which one is under way at a time.

Finding somebody's keys costs a look at everybody's, so a teardown joins the waiting list of its place. The
pass that finds the lease free takes it and scans for all who wait at that moment, one request in each pass:
a round that outlasts it goes on at its cursor in the next pass of whomever. When the round ends, its results
are written down, its members leave it in the same write, and they are woken.

Why no new life loses keys to a scan for the old one: a round removes for its own members only, a member
believes only a round that ended and had it (`Rounds.result_of`), and a request under way has a lease that
outlasts it. Whoever is in the list or in a round is therefore not gone yet (decision 0021).
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

from qa_env import aws
from qa_env.datacall import FunctionError
from qa_env.errors import NotReady, Stale, Unfinished
from qa_env.model import Ledger, Slug

logger = logging.getLogger(__name__)

LEASE = 210
"""Seconds: more than a pass and the request that it makes last at most together (template.yaml)."""
ATTEMPTS = 20  # at writing what others write at the same time
BEGINNING = "0"
SHARED = "removed together with others' keys, for which a scan is under way"


@dataclass(frozen=True)
class Member:
    """What one environment wants removed. `look` tells its looks apart: each has a result of its own."""

    name: str
    slug: Slug
    generation: int
    look: str
    prefix: str


@dataclass(frozen=True)
class Result:
    """How many keys of a member a round has removed so far, or why it may not remove any."""

    member: Member
    removed: int = 0
    refusal: str = ""


@dataclass(frozen=True)
class Progress:
    """What came of one request: keys by name, refusals by name, and where it stopped; empty at the end."""

    removed: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    cursor: str = ""


@dataclass(frozen=True)
class Rounds:
    """One place: who waits, the round under way, who holds the lease until when, and the last results."""

    waiting: Mapping[str, Member] = field(default_factory=dict)
    running: Mapping[str, Result] = field(default_factory=dict)
    results: Mapping[str, Result] = field(default_factory=dict)
    cursor: str = BEGINNING
    holder: str = ""
    until: float = 0.0
    revision: int = 0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], revision: int) -> Rounds:
        """Read what was stored; fields that this build does not know are ignored."""

        def results(name: str) -> dict[str, Result]:
            stored: Mapping[str, Any] = values.get(name, {})
            return {
                key: replace(_made(Result, one), member=_made(Member, one["member"]))
                for key, one in stored.items()
            }

        waiting = {key: _made(Member, one) for key, one in values.get("waiting", {}).items()}
        nested = {"waiting": waiting, "running": results("running"), "results": results("results")}
        read: Rounds = replace(_made(cls, values), **nested, revision=revision)
        return read

    def result_of(self, member: Member) -> Result | None:
        """What a round that began after it had joined came to, once that has ended."""
        if member.name in self.waiting or member.name in self.running:
            return None
        found = self.results.get(member.name)
        return found if found and found.member == member else None

    @property
    def members(self) -> Iterator[Member]:
        """Everybody of whom something is known here."""
        yield from self.waiting.values()
        yield from (one.member for one in (*self.running.values(), *self.results.values()))

    def joined(self, member: Member) -> Rounds:
        """With this member on the waiting list, unless the round under way is for it already."""
        under_way = self.running.get(member.name)
        if under_way and under_way.member == member:
            return self
        return replace(self, waiting={**self.waiting, member.name: member})

    def led_by(self, holder: str, now: float) -> Rounds:
        """With the lease, if it is free: of the round under way, or of a new one for all who wait."""
        if self.holder == holder or (self.holder and now < self.until):
            return self
        leased = replace(self, holder=holder, until=now + LEASE)
        if self.running:
            return leased
        running = {name: Result(member) for name, member in self.waiting.items()}
        return replace(leased, waiting={}, running=running, cursor=BEGINNING)

    def without(self, left_out: AbstractSet[Member]) -> Rounds:
        """Without those whose record has moved on or is no more."""
        return replace(
            self,
            waiting={name: one for name, one in self.waiting.items() if one not in left_out},
            running={name: one for name, one in self.running.items() if one.member not in left_out},
            results={name: one for name, one in self.results.items() if one.member not in left_out},
        )

    def released(self, holder: str) -> Rounds:
        """Without the lease, if it is still this one's."""
        return replace(self, holder="", until=0.0) if self.holder == holder else self

    def advanced(self, holder: str, progress: Progress) -> Rounds:
        """After a request: the round goes on at its cursor, or has ended; somebody else's is left alone."""
        if self.holder != holder:
            return self
        running = {
            name: replace(
                one,
                removed=one.removed + progress.removed.get(name, 0),
                refusal=progress.refused.get(name, one.refusal),
            )
            for name, one in self.running.items()
        }
        rest = self.released(holder)
        if progress.cursor:
            return replace(rest, running=running, cursor=progress.cursor)
        return replace(rest, running={}, cursor=BEGINNING, results={**self.results, **running})


class Table(Ledger, Protocol):
    """What the table knows of claims and records, and the item that holds a place's rounds."""

    def generations(self) -> dict[Slug, int]:
        """Every record's generation as it is now (consistent)."""

    def rounds(self, place: str) -> Rounds:
        """The rounds of a place as they are now (consistent); empty ones if it has none."""

    def save_rounds(self, place: str, rounds: Rounds) -> None:
        """Replace those of the same revision; Stale if somebody else did."""


Request = Callable[[Sequence[Member], str], Progress]
"""Removes what these members have, from this cursor on, as far as it gets."""


@dataclass(frozen=True)
class Removal:
    """Takes part in the rounds of one place. `scope` is that of the claims on names; `wake` wakes many."""

    table: Table
    place: str
    scope: str
    wake: Callable[[Sequence[tuple[Slug, str]]], None]
    clock: Callable[[], float] = time.time

    def result(self, member: Member, request: Request) -> Result:
        """What a whole round found of this member; NotReady until one has ended that it was in."""
        holder = uuid.uuid4().hex
        seen = self._change(lambda rounds: self._take_part(rounds, member, holder))
        if known := seen.result_of(member):
            return known
        if seen.holder != holder:
            raise NotReady(SHARED)
        after = self._go_on(seen, member, holder, request)
        if known := after.result_of(member):
            return known
        mine = after.running.get(member.name)
        raise NotReady(f"removing redis keys: {mine.removed} so far" if mine else SHARED)

    def _take_part(self, rounds: Rounds, member: Member, holder: str) -> Rounds:
        """A refusal is asked for again: the next build of the function that refused may not."""
        known = rounds.result_of(member)
        if known and not known.refusal:
            return rounds
        return rounds.joined(member).led_by(holder, self.clock())

    def _go_on(self, seen: Rounds, member: Member, holder: str, request: Request) -> Rounds:
        """One request for the round under way. If it failed and is over for certain, the lease is free."""
        left_out = self._left_out(seen.members)
        current = seen.without(left_out)
        members = [one.member for one in current.running.values()]
        try:
            progress = request(members, current.cursor) if members else Progress()
        except Exception as error:
            if isinstance(error, Unfinished | FunctionError) or aws.is_refused(error):
                self._change(lambda rounds: rounds.released(holder))
            raise
        after = self._change(lambda rounds: rounds.without(left_out).advanced(holder, progress))
        logger.info("a scan", extra={"members": len(members), "ended": not progress.cursor})
        if progress.cursor:
            self.wake([(member.slug, "its scan goes on")])
        else:
            self._wake_after(members, after, member.slug)
        return after

    def _left_out(self, members: Iterable[Member]) -> frozenset[Member]:
        """Those whose record or claim says something else by now: nothing is removed for them."""
        taken, generations = self.table.taken(self.scope), self.table.generations()
        return frozenset(
            one
            for one in members
            if (taken.get(one.name), generations.get(one.slug)) != (one.slug, one.generation)
        )

    def _wake_after(self, members: Sequence[Member], after: Rounds, leader: Slug) -> None:
        """The members for their results, and the first who waits: its pass scans for all of them."""
        calls = {one.slug: "its keys were removed with others'" for one in members if one.slug != leader}
        for waits in list(after.waiting.values())[:1]:
            calls[waits.slug] = "the scan that it waited for has ended"
        if calls:
            self.wake(list(calls.items()))

    def _change(self, change: Callable[[Rounds], Rounds]) -> Rounds:
        """The rounds after this change, which is tried again on what others have made of them meanwhile."""
        for _ in range(ATTEMPTS):
            seen = self.table.rounds(self.place)
            changed = change(seen)
            if changed == seen:
                return seen
            with suppress(Stale):
                self.table.save_rounds(self.place, changed)
                return changed
        raise RuntimeError(f"{self.place}: its rounds kept moving under {ATTEMPTS} attempts to write them")


def _made(cls: Any, values: Mapping[str, Any]) -> Any:
    known = {one.name for one in fields(cls)}
    return cls(**{name: value for name, value in values.items() if name in known})
