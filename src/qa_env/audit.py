"""The audit: compares what there is with what is known, in both directions, and asks the loop to repair.

Things without a record, records without things, branches without records, records whose branch is elsewhere
or gone. It writes nothing but its own memory: what is to be done goes onto the queue, like everything else.
What has no record becomes a tombstone, which the ordinary teardown works off (`Controller.adopt`).

It must never delete what is alive (`docs/decisions/0016-the-audit.md`). The world is listed before the table,
because a record is written before its first thing is made and forgotten after its last one is gone. What was
not there an hour ago as well is left alone. A name without a tag counts only where a claim or the history
says that it was ours. Where a listing failed or the brake says no, nothing is adopted and a person is told.
One environment that cannot be looked at, adopted or woken stops no other.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from qa_env import brake, census
from qa_env.blueprint import present_name
from qa_env.branches import Branches
from qa_env.census import Census, Found, Watched
from qa_env.errors import Blocked, NotReady
from qa_env.model import Change, Desired, Environment, Orphan, Ref, Slug, State
from qa_env.store import Store, Suspect
from qa_env.tagged import Thing

logger = logging.getLogger(__name__)

GRACE = 3600  # seconds that something must have been without a record
BY = "audit"
NEEDS_A_PERSON = "the audit needs a person"  # an alarm counts these words
ALWAYS_THERE = ("target_group", "listener", "service", "pipeline", "schema")
"""Kinds that every settled environment has in the world, if it has their condition."""


class ByTag(Protocol):
    """What carries our tag."""

    def things(self) -> Iterable[Thing]: ...

    def is_there(self, arn: str) -> bool: ...


class Redelivering(Protocol):
    """Finds deliveries that GitHub could not make, and has them made again."""

    def run(self, *, dry_run: bool = False) -> list[str]: ...


@dataclass
class Report:
    """What an audit did, or would have done: slugs and deliveries.

    `unknown` is what is named like ours and left alone, `refused` what a person must decide.
    """

    adopted: list[str] = field(default_factory=list)
    young: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    woken: list[str] = field(default_factory=list)
    redelivered: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Audit:
    """`send` puts a message about an environment on the queue; `clock` is seconds since the epoch."""

    store: Store
    watched: Sequence[Watched]
    tagged: ByTag
    redeliveries: Sequence[Redelivering]
    send: Callable[[Slug, Mapping[str, Any]], None]
    clock: Callable[[], float] = field(default=time.time)

    def run(self, *, world: bool = True, dry_run: bool = False, share: float | None = None) -> Report:
        """Compare and repair: with GitHub always, with AWS and the data if `world`.

        `dry_run` neither does nor remembers anything and rings no alarm; `share` replaces the blueprints'
        brake this once.
        """
        seen = census.take(self.store, self.watched, self.tagged.things) if world else Census()
        run = _Run(self, self._records(), self.store.dismissals(), dry_run, share)
        for one in self.watched:
            if one.branches and not run.attempt("comparing with GitHub", run.branches, one, one.branches):
                run.blind.add(one.blueprint.repository)
        for redelivery in self.redeliveries:
            run.attempt("looking for lost deliveries", run.redeliver, redelivery)
        if world:
            run.attempt("looking for what has no record", run.orphans, seen)
            run.attempt("looking for what is missing", run.incomplete, seen)
        return run.report

    def _records(self) -> dict[Slug, Environment]:
        """Every record, under its repository's present name: a pass may not have written that yet."""
        blueprints = [one.blueprint for one in self.watched]
        return {
            env.slug: replace(env, repository=present_name(blueprints, env.repository))
            for env in self.store.all()
        }


@dataclass(frozen=True)
class _Orphans:
    """What has no record, by slug: `nobodys` is only named like ours, `doubtful` could not be looked at."""

    ours: dict[Slug, Found] = field(default_factory=dict)
    nobodys: dict[Slug, Found] = field(default_factory=dict)
    doubtful: dict[Slug, Found] = field(default_factory=dict)

    @property
    def there(self) -> dict[Slug, Found]:
        return self.ours | self.nobodys


@dataclass(frozen=True)
class _Run:
    """One audit on its way. `records` were read after the world; GitHub says nothing of the `blind`."""

    audit: Audit
    records: Mapping[Slug, Environment]
    dismissed: Mapping[Slug, str]
    dry_run: bool
    share: float | None
    report: Report = field(default_factory=Report)
    blind: set[str] = field(default_factory=set)

    def attempt(
        self,
        what: str,
        act: Callable[..., None],
        *arguments: Any,
        quiet: tuple[type[Exception], ...] = (NotReady,),
    ) -> bool:
        """Did it work? Whatever stops this stops nothing else, and a person is told unless it is `quiet`."""
        try:
            act(*arguments)
        except quiet as error:
            logger.info("%s: %s", what, error)
            return False
        except Exception as error:
            logger.exception("%s failed", what)
            self.refuse(f"{what} failed: {type(error).__name__}")
            return False
        return True

    def refuse(self, why: str) -> None:
        """Leave it to a person, and see that one is told: who asked for a dry run reads the report."""
        if not self.dry_run:
            logger.error(NEEDS_A_PERSON, extra={"why": why})
        self.report.refused.append(why)

    def _send(self, slug: Slug, message: Mapping[str, Any], done: list[str]) -> None:
        if not self.dry_run:
            self.audit.send(slug, message)
        done.append(str(slug))

    def _wake(self, slug: Slug, why: str) -> None:
        if slug not in self.report.woken:
            message = {"why": f"audit: {why}"}
            self.attempt(f"waking {slug}", self._send, slug, message, self.report.woken)

    # --- branches and records -------------------------------------------------------------------------------

    def branches(self, one: Watched, branches: Branches) -> None:
        """Ask for what a lost webhook should have asked for; let the others look for themselves.

        Raises if GitHub does not show the default branch: then it proves nothing about the others.
        """
        repository = one.blueprint.repository
        if not branches.shows(repository):
            raise Blocked(f"GitHub shows not even the default branch of {repository}")
        shown = branches.under(repository, one.blueprint.branch_prefix)
        by_slug = {one.blueprint.slug(branch): (branch, head) for branch, head in shown.items()}
        self._undismiss(one, by_slug)
        for slug, (branch, head) in by_slug.items():
            if slug not in self.records or not self.records[slug].branch:
                self.attempt(f"asking for {slug}", self._create, slug, repository, branch, head)
        for slug, env in self.records.items():
            _, head = by_slug.get(slug, ("", ""))
            if env.repository == repository and env.desired is Desired.PRESENT and head != env.commit:
                self._wake(slug, "GitHub shows another commit, or none")

    def _create(self, slug: Slug, repository: str, branch: str, head: str) -> None:
        if self.dismissed.get(slug) == head:
            return
        self._require_no_record(slug)
        change = Change(slug, repository, branch, Ref.PRESENT, head, by=BY, event=BY)
        self._send(slug, {"change": change.to_dict()}, self.report.created)

    def _require_no_record(self, slug: Slug) -> None:
        """What cannot be read was left out of `records`, and is no reason to write another."""
        env = self.audit.store.get(slug)
        if env is not None and env.branch:
            raise NotReady(f"{slug} has a record by now")

    def _undismiss(self, one: Watched, by_slug: Mapping[Slug, tuple[str, str]]) -> None:
        """A dismissal means one commit of one branch: it ends when the branch moves or goes."""
        for slug, commit in self.dismissed.items():
            moved = by_slug.get(slug, ("", ""))[1] != commit
            if one.covers(slug) and moved and not self.dry_run:
                self.attempt(f"ending the dismissal of {slug}", self.audit.store.undismiss, slug)

    def redeliver(self, redelivery: Redelivering) -> None:
        self.report.redelivered.extend(redelivery.run(dry_run=self.dry_run))

    # --- things and records ---------------------------------------------------------------------------------

    def orphans(self, seen: Census) -> None:
        """Adopt what has had no record for long enough, unless something speaks against it."""
        for why in seen.failed:
            self.refuse(why)
        self.report.unknown.extend(sorted(seen.nobodys))
        known, now = self.audit.store.suspects(), int(self.audit.clock())
        orphans = self._without_record(seen)
        suspects = {slug: known.get(slug, Suspect(now)) for slug in orphans.there}
        due = [slug for slug, suspect in suspects.items() if now - suspect.since >= GRACE]
        self.report.young.extend(sorted(set(suspects) - set(due)))
        for slug in self._allowed(due, orphans, suspects, seen):
            if self.attempt(f"adopting {slug}", self._adopt, slug, orphans.ours[slug]):
                suspects[slug] = Suspect(now, adopted=True)
        if not self.dry_run:
            remembered = self._kept(known, orphans, seen) | suspects
            self.attempt("remembering what has no record", self.audit.store.suspect, remembered)

    def _without_record(self, seen: Census) -> _Orphans:
        """Each is looked at by itself: one that cannot be is doubtful, and stops no other."""
        orphans, coming = _Orphans(), self._coming
        for slug, found in seen.found.items():
            if slug in coming:
                continue
            what = f"looking at what is left of {slug}"
            if not self.attempt(what, self._look, slug, found, orphans, quiet=()):
                orphans.doubtful[slug] = found
        return orphans

    def _look(self, slug: Slug, found: Found, orphans: _Orphans) -> None:
        """Put it where it belongs, if it is there; raises what AWS or the table answers instead."""
        if found.confirm(self.audit.tagged.is_there):
            (orphans.ours if self._is_ours(slug, found) else orphans.nobodys)[slug] = found

    @property
    def _coming(self) -> set[str]:
        """What has a record, or gets one from this audit."""
        return {*self.records, *self.report.created}

    def _kept(self, known: Mapping[Slug, Suspect], orphans: _Orphans, seen: Census) -> dict[Slug, Suspect]:
        """Suspicions that stay: of what is being torn down, and of what this audit could not look at."""
        going = {slug for slug, env in self.records.items() if not env.branch}
        unseen = set(known) - self._coming if seen.failed else set(orphans.doubtful)
        return {slug: one for slug, one in known.items() if slug in unseen or (one.adopted and slug in going)}

    def _allowed(
        self, due: Sequence[Slug], orphans: _Orphans, suspects: Mapping[Slug, Suspect], seen: Census
    ) -> list[Slug]:
        """Those that may be adopted; of the others a person is told why not."""
        allowed = []
        for slug in sorted(due):
            found = orphans.there[slug]
            if suspects[slug].adopted:
                self.refuse(f"{slug} was removed, and is still there; again: {_things(found)}")
            if slug in orphans.nobodys:
                self.report.unknown.append(f"{slug} is nobody's: {_things(found)}")
            elif found.repository in self.blind:
                self.refuse(
                    f"{slug} has no record, but stays: GitHub cannot be asked about {found.repository}."
                    " The next audit asks again; if it goes on, see the log for GitHub's answer"
                )
            else:
                allowed.append(slug)
        return self._braked(allowed, orphans) if allowed and not seen.failed else []

    def _is_ours(self, slug: Slug, found: Found) -> bool:
        return found.is_proven or bool(self.audit.store.history(slug))

    def _braked(self, due: Sequence[Slug], orphans: _Orphans) -> list[Slug]:
        """Nothing if too many would go at once, else all but those of repositories that lose too many.

        Counted are also those that are not due yet, as a table that was lost loses all at once and one of
        them may have been suspected long before, and those that nobody could look at.
        """
        lost = orphans.ours | orphans.doubtful
        shares = {one.blueprint.repository: one.blueprint.bulk_brake for one in self.audit.watched}
        if self._too_many("", len(lost), len(self.records), max(shares.values(), default=0.0)):
            return []
        wanted = Counter(found.repository for found in lost.values())
        totals = Counter(env.repository for env in self.records.values())
        stopped = {
            repository
            for repository, number in wanted.items()
            if self._too_many(repository, number, totals[repository], shares.get(repository, 0.0))
        }
        return [slug for slug in due if lost[slug].repository not in stopped]

    def _too_many(self, repository: str, number: int, recorded: int, share: float) -> bool:
        """Would more go than the brake allows? Then a person is told."""
        total = recorded + number
        too_many = number > brake.allowed(share if self.share is None else self.share, total)
        if too_many:
            of = f" of {repository}" if repository else ""
            self.refuse(
                f"{number} of {total} environments{of} have no record: nothing is adopted."
                " Was the table lost? Restore it, or see docs/operations.md"
            )
        return too_many

    def _adopt(self, slug: Slug, found: Found) -> None:
        self._require_no_record(slug)
        orphan = Orphan(slug, found.repository, tuple(sorted(found.all)), found.claims)
        if not self.dry_run:
            logger.warning("adopting %s: %s", slug, _things(found))
        self._send(slug, {"orphan": orphan.to_dict()}, self.report.adopted)

    def incomplete(self, seen: Census) -> None:
        """Wake what is settled and lacks something, unless a listing failed: then that says nothing."""
        if seen.failed:
            return
        for slug, env in self.records.items():
            lost = _lost(env, seen.found.get(slug, Found(env.repository)))
            if env.settled and lost:
                self._wake(slug, f"{', '.join(lost)} missing")


def _lost(env: Environment, found: Found) -> list[str]:
    """What is ready and not there, by name where the tagging API tells which it is, else by number.

    Numbers decide: what was deleted is shown with its role for hours, and what is new may not be yet.
    """
    lost = []
    for kind in ALWAYS_THERE:
        ready = {name for name, c in env.conditions.items() if c.state is State.READY and _kind(name) == kind}
        number = len(ready) - found.things[kind]
        hidden = ready.difference(found.tagged.values())
        if number > 0:
            lost += sorted(hidden) if len(hidden) == number else [f"{number} of {len(ready)} {kind}"]
    return lost


def _kind(name: str) -> str:
    """Of a condition's key."""
    return name.partition("/")[0]


def _things(found: Found) -> str:
    names = sorted(found.all) + sorted(str(claim) for claim in found.claims.values())
    return ", ".join(names)
