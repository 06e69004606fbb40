"""The whole loop: `request` writes down what Git wants, `reconcile` makes it so.

A pass ensures (or, when the branch is gone, deletes) every resource in waves, the members of a wave side by
side, and saves all conditions once. Waves are an optimisation: whatever comes too early says NotReady and is
tried again in the next pass. Nothing sleeps: a pass that changed something asks for another one, and what
waits for the outside is woken by its event or by the tick.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from qa_env import brake
from qa_env.blueprint import Blueprint, of_repository
from qa_env.branches import Branches
from qa_env.errors import Blocked, Failed, Rejected, Stale, Unfinished
from qa_env.looking import THREADS, at_once, both
from qa_env.model import (
    DATA,
    SHOWN,
    Asked,
    Change,
    Condition,
    Desired,
    Environment,
    Orphan,
    Outputs,
    Ref,
    Resource,
    Slug,
    State,
    is_report,
    key,
)
from qa_env.ordering import is_late
from qa_env.store import Store, Taken

logger = logging.getLogger(__name__)

CLAIMS = "claims"
BRANCH = "branch"
NOTHING_LEFT = "looked twice, nothing is left"
ATTEMPTS = 4
BELIEF = 60  # seconds that GitHub's refs may lag behind its webhooks
MISSING = "GitHub shows no such branch"
SOON = 60  # seconds in which a teardown looks again by itself; for more the tick is good enough
FAREWELL = 600  # seconds that the record waits, with nothing left, for the news of it to be told


class Claiming(Protocol):
    """Takes what an environment must hold before anything of it is made, and holds it to the end."""

    def ensure(self, env: Environment) -> tuple[Environment, Outputs]: ...

    def keep(self, env: Environment) -> Environment: ...


@dataclass(frozen=True)
class Plan:
    """One repository's resources: `build` and `tear_down` are waves, each role's things among them.

    `retired(env)` gives the resources of what the environment has and the blueprint no longer does. `reports`
    tell people: they speak when everything else is written down, and hold nothing up.
    """

    claims: Claiming
    build: Sequence[Sequence[Resource]]
    tear_down: Sequence[Sequence[Resource]]
    retired: Callable[[Environment], Sequence[Sequence[Resource]]]
    reports: Sequence[Resource] = ()
    branches: Branches | None = None


@dataclass(frozen=True)
class Controller:
    """Everything the handlers call. `wake` puts a slug on the queue; `clock` is seconds since the epoch."""

    store: Store
    blueprints: Mapping[str, Blueprint]
    plan: Callable[[Blueprint], Plan]
    wake: Callable[[Slug, str], None]
    threads: int = THREADS
    apart: float = 20  # seconds between the two looks that end a teardown
    clock: Callable[[], float] = field(default=time.time)

    # --- what Git wants ---------------------------------------------------------------------------------

    def request(self, change: Change) -> Slug:
        """Write down what a webhook said. Rejected if no blueprint covers it; late news is ignored."""
        blueprint = self._blueprint(change.repository)
        slug = blueprint.slug(change.branch)
        if slug != change.slug:
            raise Rejected(400, f"{change.branch!r} is environment {slug}, not {change.slug!r}")
        for _ in range(ATTEMPTS):
            try:
                self._request(slug, blueprint, change)
            except Stale:
                continue
            return slug
        raise RuntimeError(f"{slug}: the record kept moving under {ATTEMPTS} attempts to write a wish")

    def adopt(self, orphan: Orphan) -> None:
        """Write a tombstone for what has no record, so that the ordinary teardown removes it.

        Whoever has a record by now is not touched, and a push turns a tombstone into an environment.
        """
        seen = self.store.get(Slug(orphan.slug))
        if seen and (seen.branch or seen.begun):
            return
        env = seen or self._bury(orphan)
        for name, claim in orphan.claims.items():
            with suppress(Taken):  # by another environment, meanwhile: then it is not ours to remove
                env = self.store.claim(env, {name: claim})
        found = self._condition(env, "", State.WAITING, "found without a record")
        self.store.save(env.with_conditions(dict.fromkeys(orphan.things, found)))

    def _bury(self, orphan: Orphan) -> Environment:
        tombstone = Environment(
            slug=Slug(orphan.slug),
            repository=orphan.repository,
            branch="",
            desired=Desired.ABSENT,
            commit="",
            generation=self._generation(None),
            by="audit",
            at=self._now(),
        )
        self.store.desire(tombstone, None, ", ".join(orphan.things), kind="found")
        return tombstone

    def _request(self, slug: Slug, blueprint: Blueprint, change: Change) -> None:
        seen, deleted_at = self._known_of(slug, blueprint)
        if seen and seen.branch and seen.branch != change.branch:
            raise Rejected(
                409, f"{change.branch!r}: {slug} is the name of {seen.branch!r}; rename one of them"
            )
        is_known = seen is not None and seen.branch
        if change.ref is Ref.CHECKED or (not is_known and self._is_over(slug, change, deleted_at)):
            return
        if seen and self._asks(blueprint) is None and is_late(seen, change):
            said = f"ignored a late {change.event} of {change.commit or 'no commit'}"
            self.store.note(slug, change.by, said, kind="late")
            return
        wish = Environment(
            slug=slug,
            repository=blueprint.repository,
            branch=change.branch,
            desired=Desired.ABSENT if change.ref is Ref.ABSENT else Desired.PRESENT,
            commit=change.commit or _known_commit(seen),
            before=change.before,
            pushed_at=change.pushed_at,
            generation=0,
            by=change.by,
        )
        self._desire(seen, wish)

    def _known_of(self, slug: Slug, blueprint: Blueprint) -> tuple[Environment | None, int]:
        """The record, and when its branch was last deleted: GitHub, where it is asked, knows that better."""
        if self._asks(blueprint):
            return self.store.get(slug), 0
        return both(partial(self.store.get, slug), partial(self.store.deleted_at, slug))

    def _is_over(self, slug: Slug, change: Change, deleted_at: int) -> bool:
        """Is there nothing to do for this branch, of which no record knows? Its deletion is remembered."""
        if change.ref is Ref.ABSENT:
            if change.pushed_at > deleted_at:
                self.store.remember_deletion(slug, change.pushed_at)
            return True
        is_late = 0 < change.pushed_at < deleted_at
        if is_late:
            logger.warning("ignored a late %s: the branch is gone", change.event, extra={"environment": slug})
        return is_late

    def _desire(self, seen: Environment | None, wish: Environment) -> Environment:
        """Write a wish under a new generation, if it is one; milliseconds, so that no life repeats another's.

        A teardown that has begun is finished first: the wish for a commit then waits as `next_commit`.
        """
        wish = _after_teardown(seen, wish)
        if seen and _wants(seen) == _wants(wish):
            return self._remember_order(seen, wish)
        wish = replace(wish, generation=self._generation(seen), at=self._now())
        self.store.desire(wish, seen, _says(wish), kind=_kind(wish))
        return wish

    def _remember_order(self, seen: Environment, wish: Environment) -> Environment:
        """The same wish said later: whatever came between the two is late from now on. No new generation."""
        if wish.pushed_at <= seen.pushed_at:
            return seen
        later = replace(seen, pushed_at=wish.pushed_at, before=wish.before or seen.before)
        self.store.desire(later, seen)
        return later

    # --- one pass ---------------------------------------------------------------------------------------

    def reconcile(self, slug: Slug) -> Environment | None:
        """One pass over one environment; the record afterwards, None if there is none (any more).

        Unexpected errors of resources are raised together after the conditions are saved.
        """
        env = self.store.get(slug)
        if env is None:
            return None
        try:
            return self._pass(env)
        except Stale:
            logger.info("the record moved on", extra={"environment": slug})
            current = self.store.get(slug)
            if current and current.begun and not env.begun:
                self._look_anew(current)
            self.wake(slug, "the record moved on during a pass")
            return self.store.get(slug)

    def _look_anew(self, env: Environment) -> None:
        """Let a teardown forget what it saw gone: a pass of an earlier wish may have made it since.

        A new generation makes the looks so far void, that of a pass which is under way as well.
        """
        with suppress(Stale):  # then there is one
            self.store.desire(replace(env, generation=self._generation(env)), env)

    def _pass(self, env: Environment) -> Environment | None:
        blueprint = of_repository(self.blueprints.values(), env.repository)
        if blueprint is None:
            return self._finish(env, env.with_conditions({BRANCH: self._no_blueprint(env)}), None)
        env = self._renamed(env, blueprint.repository)
        plan = self.plan(blueprint)
        if not env.branch:  # nobody was ever told of it
            plan = replace(plan, reports=())
        env, branch, error = self._look(self._dismiss(env), plan)
        seen = env.with_conditions({BRANCH: branch})
        if branch.state is not State.READY and not _was_confirmed(env, branch):
            return self._finish(env, seen, plan, [error] if error else [])
        if env.desired is Desired.PRESENT:
            after, errors = self._build(seen, plan)
            return self._finish(env, after, plan, errors)
        if not env.begun:
            self.store.begin(env)  # before anything goes: a pass that dies must not leave this unknown
        if self.again_in(seen):  # what appears until then is seen then
            return self._finish(env, seen, plan)
        after, errors = self._tear_down(replace(seen, begun=True), plan)
        if not errors and self._gone_twice(env, after):
            return self._farewell(env, after, plan)
        return self._finish(env, after, plan, errors)

    def _renamed(self, env: Environment, repository: str) -> Environment:
        """Write down what the repository is called today. No new generation: nothing else is wanted."""
        if env.repository == repository:
            return env
        renamed = replace(env, repository=repository)
        self.store.desire(renamed, env)
        return renamed

    def _dismiss(self, env: Environment) -> Environment:
        """Somebody asked the page to remove this commit's environment, though the branch stays."""
        if env.desired is Desired.PRESENT and env.asked.dismissed_in == env.generation:
            return self._desire(env, replace(env, desired=Desired.ABSENT, by=env.asked.by))
        return env

    def _look(self, env: Environment, plan: Plan) -> tuple[Environment, Condition, Exception | None]:
        """Ask GitHub where the branch is before acting; without credentials the last webhook counts."""
        if plan.branches is None:
            return env, self._last_word(env), None
        if not env.branch:
            return env, self._condition(env, BRANCH, State.READY, "found without a record or a branch"), None
        try:
            head = plan.branches.head(env.repository, env.branch)
            desired = Desired.PRESENT if head else Desired.ABSENT
            wish = replace(env, desired=desired, commit=head or env.commit, next_commit="")
            doubt = self._doubt(env, _after_teardown(env, wish))
            braked = "" if doubt else self._brake(env, wish, plan.branches)
        except Unfinished as error:
            return env, self._unasked(env, error), None
        except Exception as error:
            return env, self._unexpected(env, BRANCH, error, {}), error
        if head and _is_dismissed(env, head):
            return env, self._condition(env, BRANCH, State.READY, "nobody wants this commit any more"), None
        if doubt or braked:
            state = State.WAITING if doubt else State.BLOCKED
            return env, self._condition(env, BRANCH, state, doubt or f"{MISSING}, {braked}"), None
        env = self._desire(env, wish)
        confirmed = {"confirmed": env.commit}
        return env, self._condition(env, BRANCH, State.READY, "GitHub was asked", confirmed), None

    def _unasked(self, env: Environment, error: Unfinished) -> Condition:
        """GitHub cannot be asked: nothing is concluded. What a person wants gone goes, branch or not."""
        if env.commit and _is_dismissed(env, env.commit):
            return self._condition(env, BRANCH, State.READY, "somebody asked to delete it")
        return self._condition(env, BRANCH, _state(error), str(error), env.remembered(BRANCH))

    def _last_word(self, env: Environment) -> Condition:
        deaf = _deaf(env, self.blueprints[env.repository])
        if deaf and env.desired is Desired.PRESENT:
            return self._condition(env, BRANCH, State.BLOCKED, deaf)
        if env.commit or env.desired is Desired.ABSENT:
            return self._condition(env, BRANCH, State.READY, "as the last webhook said")
        return self._condition(env, BRANCH, State.WAITING, "waiting for the push that names the commit")

    def _doubt(self, env: Environment, wish: Environment) -> str:
        """Why GitHub's answer is not believed yet, empty if it is.

        Its refs lag behind its webhooks by seconds, so an answer that contradicts a young wish is asked for
        again, and a branch that vanished without a webhook must be seen missing twice, well apart.
        """
        names_the_commit = wish.desired is env.desired is Desired.PRESENT and not env.commit
        if _wants(wish) == _wants(env) or names_the_commit:
            return ""
        if self.clock() - env.generation / 1000 < BELIEF:
            return "GitHub does not show what the webhook said yet; looking again"
        missing = f"{MISSING}; looking again"
        if wish.desired is Desired.ABSENT and not wish.next_commit:
            last = env.conditions.get(BRANCH)
            if last is None or last.generation != env.generation or not last.message.startswith(MISSING):
                return missing
            stopped = last.state is State.BLOCKED
            return "" if stopped or last.age(self.clock()) >= BELIEF / 2 else missing
        return ""

    def _brake(self, env: Environment, wish: Environment, branches: Branches) -> str:
        """Why a branch that vanished without a webhook is not given up, empty if it may be."""
        unasked = env.desired is Desired.PRESENT and wish.desired is Desired.ABSENT
        if not unasked:
            return ""
        return brake.on_branches(self.blueprints[env.repository], branches, self.store.all())

    def _build(self, env: Environment, plan: Plan) -> tuple[Environment, list[Exception]]:
        """Ensure everything, wave by wave; what nothing spoke of in this pass is no longer said."""
        env, claims, error = self._claim(env, plan)
        if claims.state is not State.READY:
            return env.with_conditions({CLAIMS: claims}), [error] if error else []
        said = {BRANCH: env.conditions[BRANCH], CLAIMS: claims}
        env = env.with_conditions(said)
        errors: list[Exception] = []
        for wave in plan.build:
            env = self._wave(env, wave, _ensure, said, errors)
        said |= {name: c for name, c in env.conditions.items() if env.is_gone(c)}
        for wave in plan.retired(env):
            left = [r for r in wave if key(r.kind, r.name) not in said]
            env = self._wave(env, left, _delete, said, errors)
        return replace(env, conditions=said), errors

    def _claim(self, env: Environment, plan: Plan) -> tuple[Environment, Condition, Exception | None]:
        try:
            env, held = plan.claims.ensure(env)
        except Stale:
            raise
        except Unfinished as error:
            return env, self._condition(env, CLAIMS, _state(error), str(error)), None
        except Exception as error:
            return env, self._unexpected(env, CLAIMS, error, {}), error
        return env, self._condition(env, CLAIMS, State.READY, "", held), None

    def _report(
        self,
        env: Environment,
        plan: Plan,
        reports: Sequence[Resource],
        act: Callable[[Resource, Environment], Outputs | None],
    ) -> Environment:
        """Let these reports speak and write down at once what they said: the next pass must not repeat it.

        Whatever stops one is its condition, and reason enough for the tick to come back; nothing is raised.
        """
        names = {key(report.kind, report.name) for report in plan.reports}
        kept = {n: c for n, c in env.conditions.items() if not is_report(n) or n in names}
        said: dict[str, Condition] = {}
        after = self._wave(replace(env, conditions=kept), reports, act, said, [])
        if after.conditions != env.conditions:
            self.store.save(after)
        return after

    def _farewell(self, before: Environment, after: Environment, plan: Plan) -> Environment | None:
        """Nothing is left: say so, then forget. Who cannot be told delays that, but not for long."""
        after = _with_reports(before, after)
        silent = [r for r in plan.reports if not _is_told(after, r)]
        after = self._report(after, plan, silent, _delete) if silent else after
        ages = [c.age(self.clock()) for name, c in after.conditions.items() if not is_report(name)]
        waiting = [r for r in silent if not _is_told(after, r) and not _is_hopeless(after, r)]
        if waiting and min(ages) < FAREWELL and not after.next_commit:
            return after
        return self._end(after)

    def _tear_down(self, env: Environment, plan: Plan) -> tuple[Environment, list[Exception]]:
        env = plan.claims.keep(env)
        said = {BRANCH: env.conditions[BRANCH]}
        errors: list[Exception] = []
        for wave in [*plan.retired(env), *plan.tear_down]:
            env = self._wave(env, wave, _delete, said, errors)
        for claim, kind in DATA.items():
            if claim in env.claims and kind not in said:
                lost = f"the blueprint no longer has the {kind}: put it back so that it can be removed"
                said[kind] = self._condition(env, kind, State.BLOCKED, lost)
        return replace(env, conditions=said), errors

    def _wave(
        self,
        env: Environment,
        wave: Sequence[Resource],
        act: Callable[[Resource, Environment], Outputs | None],
        conditions: dict[str, Condition],
        errors: list[Exception],
    ) -> Environment:
        """Try every member side by side; each ends as a condition, whatever it raised."""
        tries = at_once([partial(self._try, resource, env, act) for resource in wave], self.threads)
        for resource, (condition, error) in zip(wave, tries, strict=True):
            conditions[key(resource.kind, resource.name)] = condition
            if error:
                errors.append(error)
        return env.with_conditions(conditions)

    def _try(
        self, resource: Resource, env: Environment, act: Callable[[Resource, Environment], Outputs | None]
    ) -> tuple[Condition, Exception | None]:
        name = key(resource.kind, resource.name)
        known = env.remembered(resource.kind, resource.name)
        try:
            outputs = act(resource, env)
        except Unfinished as error:
            found = {**known, **error.outputs}
            return self._condition(env, name, _state(error), str(error), found), None
        except Exception as error:  # the contract: anything else is kept as a condition, then raised
            return self._unexpected(env, name, error, known), error
        if outputs is None:  # what is known stays: the second look must be where the first one was
            return self._condition(env, name, State.GONE, "gone", known), None
        return self._condition(env, name, State.READY, "", outputs), None

    def _unexpected(self, env: Environment, name: str, error: Exception, known: Outputs) -> Condition:
        """People see the type only: the text of an unknown error may hold anything."""
        logger.error("unexpected", exc_info=error, extra={"environment": env.slug, "resource": name})
        said = f"{type(error).__name__} with the {name}; it is tried again"
        return replace(self._condition(env, name, State.FAILED, said, known), unexpected=True)

    def _finish(
        self,
        before: Environment,
        after: Environment,
        plan: Plan | None,
        errors: Sequence[Exception] = (),
    ) -> Environment:
        """Save once; then note what changed and ask for another pass if something did, and tell people."""
        after = _with_reports(before, after)
        if after.conditions != before.conditions:
            self.store.save(after)
        _, told = both(partial(self._note, before, after), partial(self._tell, after, plan))
        if errors:
            raise errors[0] if len(errors) == 1 else ExceptionGroup(f"{after.slug}: unexpected", list(errors))
        return told

    def _note(self, before: Environment, after: Environment) -> None:
        """Write what is news into the history, and wake the environment for it."""
        changed = [name for name, c in after.conditions.items() if _news(before.conditions.get(name), c)]
        if changed:
            said = "; ".join(_told(name, after.conditions[name]) for name in changed)
            self.store.note(after.slug, "qa-env", said, kind="pass", phase=after.phase)
            self.wake(after.slug, f"{len(changed)} conditions changed")
        self._remember_duration(before, after)

    def _tell(self, env: Environment, plan: Plan | None) -> Environment:
        """Whoever was told of the end already is not to hear again that it is going away."""
        silent = [r for r in plan.reports if not _is_told(env, r)] if plan else []
        return self._report(env, plan, silent, _ensure) if plan else env

    def _remember_duration(self, before: Environment, after: Environment) -> None:
        """A build that has just come to its end tells others how long to expect theirs."""
        took = after.remembered("pipeline").get("seconds")
        if took and took != before.remembered("pipeline").get("seconds"):
            self.store.took(after.repository, int(took))

    def _gone_twice(self, before: Environment, after: Environment) -> bool:
        """Gone now, and already gone when an earlier pass of this wish looked, well apart from this one.

        What was made a moment ago may not be shown yet: two looks within milliseconds would be one.
        """
        things = [name for name in after.conditions if name != BRANCH and not is_report(name)]
        return all(
            after.is_gone(after.conditions[name])
            and name in before.conditions
            and before.is_gone(before.conditions[name])
            and before.conditions[name].age(self.clock()) >= self.apart
            for name in things
        )

    def again_in(self, env: Environment) -> float:
        """Seconds until the second look at what was seen gone; 0 if nothing waits for that, or too long."""
        things = [c for name, c in env.conditions.items() if name != BRANCH and not is_report(name)]
        if not things or not env.begun or not all(env.is_gone(one) for one in things):
            return 0.0
        wait = self.apart - min(one.age(self.clock()) for one in things)
        return wait if 0 < wait <= SOON else 0.0

    def _end(self, env: Environment) -> Environment | None:
        """Nothing is left: forget the environment, or begin anew if a push came during the teardown."""
        if not env.next_commit:
            self.store.forget(env)
            self.store.note(env.slug, "qa-env", NOTHING_LEFT, kind="deleted")
            return None
        fresh = replace(
            env,
            desired=Desired.PRESENT,
            commit=env.next_commit,
            next_commit="",
            begun=False,
            generation=self._generation(env),
            at=self._now(),
            built=None,
            asked=Asked(),
            visited=0,
            conditions={name: c for name, c in env.conditions.items() if _outlives(env, name, c)},
        )
        self.store.renew(fresh, env)
        self.store.note(env.slug, "qa-env", NOTHING_LEFT, kind="deleted")
        self.store.note(env.slug, env.by, _says(fresh), kind=_kind(fresh))
        self.wake(env.slug, "begins anew")
        return fresh

    # --- small things -----------------------------------------------------------------------------------

    def _blueprint(self, repository: str) -> Blueprint:
        blueprint = of_repository(self.blueprints.values(), repository)
        if blueprint is None:
            raise Rejected(404, f"no blueprint for repository {repository}")
        return blueprint

    def _asks(self, blueprint: Blueprint) -> Branches | None:
        return self.plan(blueprint).branches

    def _no_blueprint(self, env: Environment) -> Condition:
        said = (
            f"no blueprint for {env.repository}: if the repository was renamed, add this name to formerly in"
            " its blueprint; if not, put the blueprint back so that this environment can be cleaned up"
        )
        return self._condition(env, BRANCH, State.BLOCKED, said)

    def _condition(
        self, env: Environment, name: str, state: State, message: str, outputs: Outputs | None = None
    ) -> Condition:
        """`since` is when this state began, so that its age can be shown and alarmed on.

        For what GitHub says of the branch it is when this very answer began: `_doubt` counts on it.
        """
        last = env.conditions.get(name)
        same = last is not None and (last.state, last.generation) == (state, env.generation)
        same = same and last is not None and (name != BRANCH or last.message == message)
        since = last.since if last and same else self._now()
        return Condition(state, message, dict(outputs or {}), env.generation, since)

    def _generation(self, seen: Environment | None) -> int:
        return max(seen.generation + 1 if seen else 0, int(self.clock() * 1000))

    def _now(self) -> str:
        return datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec="milliseconds")


def _ensure(resource: Resource, env: Environment) -> Outputs:
    return resource.ensure(env)


def _delete(resource: Resource, env: Environment) -> None:
    resource.delete(env)


def _wants(env: Environment) -> tuple[Desired, str, str]:
    return env.desired, env.commit if env.desired is Desired.PRESENT else "", env.next_commit


def _says(wish: Environment) -> str:
    if wish.desired is Desired.PRESENT:
        return f"wants commit {wish.commit or 'unknown'}"
    return f"wants commit {wish.next_commit} after the teardown" if wish.next_commit else "wants it gone"


def _kind(wish: Environment) -> str:
    """The same as a kind of event in the history."""
    return "wanted" if wish.desired is Desired.PRESENT or wish.next_commit else "unwanted"


def _after_teardown(seen: Environment | None, wish: Environment) -> Environment:
    """The wish as it can be written: what comes while a teardown is under way waits for its end."""
    if seen and seen.begun and wish.desired is Desired.PRESENT:
        return replace(wish, desired=Desired.ABSENT, next_commit=wish.commit, commit=seen.commit)
    return wish


def _known_commit(seen: Environment | None) -> str:
    """What a webhook without a commit leaves as it was: a `create` must not undo the push beside it."""
    if seen is None:
        return ""
    return seen.commit if seen.desired is Desired.PRESENT else seen.next_commit


def _deaf(env: Environment, blueprint: Blueprint) -> str:
    """Why no webhook leads to it any more, empty if one does."""
    if not env.branch.startswith(blueprint.branch_prefix):
        why, changed = f"branches begin with {blueprint.branch_prefix} now", "branch_prefix"
    elif (slug := blueprint.slug(env.branch)) != env.slug:
        why, changed = f"its branch belongs to environment {slug} now", "slug_prefix"
    else:
        return ""
    return (
        f"{why}, so nobody will say when {env.branch!r} is deleted: put {changed} back, or delete it on the"
        " page"
    )


def _is_dismissed(env: Environment, commit: str) -> bool:
    """Did somebody ask to remove this commit's environment, though the branch stays?"""
    return env.desired is Desired.ABSENT and env.asked.dismissed == commit


def _was_confirmed(env: Environment, branch: Condition) -> bool:
    """Has GitHub, which cannot be asked for a moment, shown exactly the wanted commit before?"""
    waits = branch.state is State.WAITING and env.desired is Desired.PRESENT
    return waits and bool(env.commit) and branch.outputs.get("confirmed") == env.commit


def _state(error: Unfinished) -> State:
    if isinstance(error, Failed):
        return State.FAILED
    return State.BLOCKED if isinstance(error, Blocked) else State.WAITING


def _news(before: Condition | None, now: Condition) -> bool:
    """Is there a reason for another pass? A message that counts tasks up and down is none."""
    if before is None or (before.state, before.generation) != (now.state, now.generation):
        return True
    return _acted_on(before) != _acted_on(now)


def _acted_on(condition: Condition) -> Outputs:
    return {name: value for name, value in condition.outputs.items() if name not in SHOWN}


def _with_reports(before: Environment, after: Environment) -> Environment:
    """Reports are asked last, so what they said last time must get that far."""
    last = {name: c for name, c in before.conditions.items() if is_report(name)}
    return replace(after, conditions=last | dict(after.conditions))


def _outlives(env: Environment, name: str, condition: Condition) -> bool:
    """Does a new life begin with this memory?

    One comment belongs to the pull request, whatever comes and goes; and who could not say that the last
    life ended must find what it had said of it.
    """
    untold = is_report(name) and not env.is_gone(condition) and condition.outputs
    return name == "pull_request" or bool(untold)


def _is_told(env: Environment, report: Resource) -> bool:
    condition = env.conditions.get(key(report.kind, report.name))
    return condition is not None and env.is_gone(condition)


def _is_hopeless(env: Environment, report: Resource) -> bool:
    """Only a person could make it speak: nobody waits for that."""
    return env.conditions[key(report.kind, report.name)].state is State.BLOCKED


def _told(name: str, condition: Condition) -> str:
    return f"{name}: {condition.state}{f', {condition.message}' if condition.message else ''}"
