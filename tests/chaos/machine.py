"""An installation with several repositories and branches, in the hands of chance.

Each method that begins with `do_` is one step: Git moves, a webhook arrives, a function runs and may die,
AWS works, somebody deletes a thing by hand, a record or the whole table is lost, GitHub shows nothing. The
machine keeps the truth (`heads`) beside what the product was told, and watches what must never happen while
it happens (`tests/chaos/invariants.py` has what must hold after every step and in the end).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any
from unittest.mock import patch

from qa_env import app, naming
from qa_env.audit import Audit, Report
from qa_env.blueprint import Blueprint
from qa_env.errors import NotReady, Rejected
from qa_env.model import (
    REDIS,
    REDIS_DATABASES,
    REDIS_NAMESPACES,
    SCHEMA,
    Change,
    Claim,
    Desired,
    Environment,
    Ref,
    Slug,
    State,
    Wish,
)
from qa_env.tagged import Tagged
from qa_env.watch import RECHECK_MINUTES
from tests.chaos import hands
from tests.chaos.gate import Call, Fault, gated
from tests.chaos.life import MAKES, REPEATED, Life, Message, add_foreign_things
from tests.chaos.mutants import SOUND, Mutant
from tests.fakes import FakeBranches, FakeDatastores
from tests.installation import REPOSITORY, blueprint
from tests.strict_aws import strict_aws
from tests.strict_aws.call import as_tags

OTHER = "example/other"
BRANCHES = {"qa/a": REPOSITORY, "qa/b": REPOSITORY, "qa/x": OTHER, "qa/y": OTHER}
PREFIXES = {REPOSITORY: "", OTHER: "other"}
SERVICES = ("elbv2", "ecs", "codepipeline", "dynamodb", "mysql", "redis", "github", "ecr", "sqs")
KINDS = (*(fault for fault in Fault), "another worker")
AN_HOUR = 3600
UNFENCED = ("mysql:delete",)  # nobody comes between the last look at the record and this
LOOKS = 2  # that end a teardown
MANY = 3  # environments that no brake lets go at once
FOREIGN_SCHEMA, FOREIGN_KEYS = "qa-foo-other", "qa_foo_other"
NUMBERED = {"mode": "database", "databases": "1-3", "variables": {"REDIS_DATABASE": "{database}"}}
"""How the other repository's environments share Redis."""


@dataclass
class Trouble:
    """What goes wrong in the next invocation, and at which of its calls."""

    kind: str
    at: int


@dataclass(frozen=True)
class Meeting:
    """At this call a second worker comes, who has just heard that a branch was pushed or deleted."""

    call: str
    act: str
    branch: str


class Guarded(FakeDatastores):
    """Data that shows every drop to a watcher before it happens."""

    def __init__(self) -> None:
        super().__init__()
        self.watch: Callable[[str], None] = lambda schema: None
        self.watch_keys: Callable[[Claim], None] = lambda place: None

    def __call__(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        match request["store"], request["action"]:
            case "mysql", "delete":
                self.watch(request["name"])
            case "redis", "delete" if "namespaces" in request:
                for namespace in request["namespaces"]:
                    self.watch_keys(Claim(REDIS_NAMESPACES, namespace))
            case "redis", "delete":
                self.watch_keys(Claim(REDIS_DATABASES, str(request["database"])))
        return super().__call__(request)


@dataclass
class Chaos(Life):
    """`heads` is Git's truth, `webhooks` what GitHub has not delivered yet."""

    datastores: Guarded = field(default_factory=Guarded)
    others: Blueprint | None = None
    mutant: Mutant = SOUND
    webhooks: list[Change] = field(default_factory=list)
    dismissed: dict[str, str] = field(default_factory=dict)
    trouble: Trouble | None = None
    meeting: Meeting | None = None
    down: set[str] = field(default_factory=set)
    blind: bool = False
    said_gone: dict[str, float] = field(default_factory=dict)
    """When a webhook last said that a branch is gone: who sees nothing else may believe it."""
    emptied: set[Slug] = field(default_factory=set)
    """Whose schema somebody dropped: it is made again, and only a build fills it."""
    lost: set[Slug] = field(default_factory=set)
    excused: set[Slug] = field(default_factory=set)
    """Of these the record was lost by hand, or both looks were misled: no wonder if the audit finds them."""
    unclaimed: set[Slug] = field(default_factory=set)
    """Whose claims were lost: until their next pass another may take one."""
    unattended: set[Slug] = field(default_factory=set)
    """Whose build went on when the environment was forgotten, and pushed an image that nobody can know of.

    Its pipeline was deleted by hand, or it had pushed by the time that it was asked to stop.
    """
    misled: Counter[Slug] = field(default_factory=Counter)
    commits: int = 0
    passes: dict[Slug, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    foreign_at_first: list[str] = field(default_factory=list)
    others_at_first: list[str] = field(default_factory=list)
    _under_way: Slug | None = None
    _overtaken: bool = False
    """Has a second worker come by since the pass that is under way began?"""

    # --- what the machine is made of ----------------------------------------------------------------------

    def begin(self) -> None:
        """Once everything stands behind the gate."""
        assert self.others
        self.gate.decide = self._decide
        self.datastores.watch = self._watch_drop
        self.datastores.watch_keys = self._watch_keys
        self.foreign_at_first, self.others_at_first = self.foreign(), self.others_of_aws()
        sound = replace(
            self.controller,
            blueprints={b.repository: b for b in (self.blueprint, self.others)},
            plan=self.plan,
        )
        self.controller = self.mutant.controller(sound)
        self.watched = [
            replace(app.watched(self.clients, self.store, one), branches=self.branches)
            for one in (self.blueprint, self.others)
        ]

    def slug_of(self, branch: str) -> Slug:
        return naming.slug(PREFIXES[BRANCHES[branch]], BRANCHES[branch], branch)

    @property
    def records(self) -> dict[Slug, Environment]:
        """The table as it is, unseen by the gate."""
        return self.store._fake.records

    def _decide(self, call: Call) -> Fault | None:
        self._watch_making(call)
        if call.service in self.down:
            return Fault.ERROR
        if self.meeting and call.name == self.meeting.call:
            self._meet(self.meeting, call)
        trouble = self.trouble
        if trouble is None:
            return None
        trouble.at -= 1
        waits = trouble.kind == Fault.STALE and not (call.can_be_stale and call.service != "github")
        if trouble.at > 0 or waits:
            return None
        self.trouble = None
        if trouble.kind == "another worker":
            self._work_beside(call)
            return None
        if trouble.kind == Fault.STALE and self._under_way:
            self.misled[self._under_way] += 1
        return Fault(trouble.kind)

    def _meet(self, meeting: Meeting, call: Call) -> None:
        self.meeting = None
        getattr(self, f"do_{meeting.act}")(meeting.branch)
        self.hear(self.webhooks.pop())
        self._work_beside(call)

    def _work_beside(self, call: Call) -> None:
        """A second function sees the message too, and does the next one as well before the first goes on."""
        slug = self._under_way
        if call.function != "reconcile" or slug is None or call.name in UNFENCED:
            return
        self._overtaken = True
        news = [one for one in self.queue if one.slug == slug and "change" in one.body and not one.received]
        with self._survive(), self.gate.invocation("reconcile"):
            if news:
                self.controller.request(Change.from_dict(news[0].body["change"]))
                self.queue.remove(news[0])
            self.controller.reconcile(slug)

    def _push_image(self, image: str, execution: str) -> None:
        slug = Slug(image.rpartition(":")[2].rpartition("-")[0])
        if slug not in self.records:
            self.unattended.add(slug)
        super()._push_image(image, execution)

    def _receive(self, message: Message) -> None:
        if "orphan" in message.body or "why" in message.body or "change" in message.body:
            self.passes[message.slug] = self.passes.get(message.slug, 0) + 1
        self._under_way, self._overtaken = message.slug, False
        if message.body.get("change", {}).get("ref") == Ref.ABSENT:
            self.said_gone[message.body["change"]["branch"]] = self.now  # it may have lain there for hours
        try:
            super()._receive(message)
        finally:
            self._under_way = None

    def _watch_drop(self, schema: str) -> None:
        """A schema is dropped only for a record that is to be absent or whose reset is due."""
        holders = [env for env in self.records.values() if _holds(env, SCHEMA, schema)]
        if not holders and schema in self.datastores.schemas:
            self.violations.append(f"schema {schema} is dropped though no record holds it")
        for env in holders:
            if env.desired is Desired.PRESENT and not env.reset_due:
                self.violations.append(f"schema {schema} is dropped though {env.slug} is wanted")

    def _watch_keys(self, place: Claim) -> None:
        """Keys are removed only for a record that holds their place and is to be absent."""
        holders = [env for env in self.records.values() if _holds(env, place.scope, place.name)]
        if not holders and place.name in self.datastores.keys:
            self.violations.append(f"the keys of {place}, which no record holds, are removed")
        for env in holders:
            if env.desired is Desired.PRESENT:
                self.violations.append(f"the keys of {place} are removed though {env.slug} is wanted")

    def _watch_making(self, call: Call) -> None:
        """Nothing is made for what is to be gone, but by who does not know it yet."""
        if call.function != "reconcile" or self._overtaken or not MAKES.search(call.name):
            return
        env = self.records.get(self._under_way) if self._under_way else None
        if env is None or env.desired is Desired.ABSENT:
            self.violations.append(f"{call.name} for {self._under_way}, which nobody wants")

    def watch_begin(self, env: Environment) -> None:
        """A teardown begins: not of what lives, as far as anybody could know."""
        alive = env.branch in self.heads and env.asked.dismissed != env.commit
        was_said = self.blind and self._was_just_said(env)
        if alive and self.branches and not was_said:
            self.violations.append(f"{env.slug} is torn down though GitHub has {env.branch}")
        orphaned = {slug for slug in self.lost if slug not in self.records or not self.records[slug].branch}
        if not env.branch and env.slug in self.lost and len(orphaned) >= MANY:
            self.violations.append(f"{env.slug} is torn down because the table was lost")

    def _was_just_said(self, env: Environment) -> bool:
        """Has a webhook said that the branch is gone, within an hour or with nobody's look since?"""
        branch = env.conditions.get("branch")
        unseen = branch is not None and branch.state is State.WAITING
        said = self.said_gone.get(env.branch)
        return said is not None and (unseen or self.now - said < AN_HOUR)

    def watch_forget(self, env: Environment) -> None:
        """Forgotten means that nothing is left, unless both looks were given an old answer.

        Images are nobody's proof of life, but the audit finds one that a misled teardown has left.
        """
        misled = self.misled.pop(env.slug, 0) >= LOOKS
        if misled:
            self.excused.add(env.slug)
        left = self.left_of(env.slug) + self._keys_left(env)
        if not left and not self.images_of(env.slug):
            self.excused.discard(env.slug)
        elif left and env.slug not in self.excused:
            self.violations.append(f"{env.slug} is forgotten, and there is still {left}")

    def things_of(self, slug: Slug) -> list[tuple[str, str]]:
        return [(kind, name) for kind, name in self.things() if _is_of(slug, name)]

    def foreign(self) -> list[str]:
        """What is not ours, as names and settings."""
        ours = {self.slug_of(branch) for branch in BRANCHES}
        found = [f"{kind} {name}" for kind, name in self.things() if not any(_is_of(s, name) for s in ours)]
        stg = [repr(one.settings) for one in self.aws.ecs._services.values() if one.name.startswith("stg")]
        return sorted(one for one in found + stg if "-page-" not in one)

    def unmarked(self) -> list[str]:
        """What bears a name of ours, but neither our tag nor a record leads to it."""
        ours = {self.slug_of(branch) for branch in BRANCHES} - self.records.keys()
        definitions = (("task definition", family, owner) for family, _, owner in self._definitions())
        return [
            f"{kind} {name}"
            for kind, name, owner in chain(self._owned_things(), definitions)
            if (slug := name.rpartition("-")[0]) in ours and owner != slug
        ]

    def others_of_aws(self) -> list[str]:
        """Images and task definitions that are not ours: read where it need not be quick."""
        ours = tuple(f"{self.slug_of(branch)}-" for branch in BRANCHES)
        images = self.client("ecr").list_images(repositoryName=self.world.repository)["imageIds"]
        families = self.client("ecs").list_task_definitions(status="ACTIVE")["taskDefinitionArns"]
        names = [one["imageTag"] for one in images] + [arn.rsplit("/", 1)[1] for arn in families]
        return sorted(name for name in names if not name.startswith(ours))

    def images_of(self, slug: Slug) -> list[str]:
        images = self.client("ecr").list_images(repositoryName=self.world.repository)["imageIds"]
        return [one["imageTag"] for one in images if naming.is_image_of(slug, one["imageTag"])]

    def client(self, service: str) -> Any:
        """The test's own eyes: outside of an invocation the gate does not look."""
        return self.aws.client(service)

    def pass_over_once(self, slug: Slug) -> list[str]:
        """One more pass; the names of the calls that changed something."""
        seen = len(self.gate.calls)
        with self.gate.invocation("reconcile"):
            self.controller.reconcile(slug)
        changes = [call.name for call in self.gate.calls[seen:] if not call.is_read]
        return [name for name in changes if name not in REPEATED]

    def left_of(self, slug: Slug) -> list[str]:
        """What the world holds of one environment, apart from the table."""
        found = [f"{kind} {name}" for kind, name in self.things_of(slug)]
        data = {f"schema {name}" for name in self.datastores.schemas if name == slug}
        data |= {f"keys {name}" for name in self.datastores.keys if name == slug.replace("-", "_")}
        data |= {f"keys {n}" for n, mark in self.datastores.owners.items() if mark.rpartition("/")[2] == slug}
        return sorted({*found, *data})

    def _keys_left(self, env: Environment) -> list[str]:
        """Of a numbered database, which has no name of ours."""
        claim = env.claims.get(REDIS)
        free = claim is not None and claim.scope == REDIS_DATABASES and self.store._fake.holder(claim) is None
        return [f"keys {claim}"] if claim and free and claim.name in self.datastores.keys else []

    def things(self) -> Iterator[tuple[str, str]]:
        """(kind, name) of everything in AWS that bears a name of ours, and of all listeners."""
        return ((kind, name) for kind, name, _ in self._owned_things())

    def _owned_things(self) -> Iterator[tuple[str, str, str]]:
        """The same with whose tag it bears, from behind the stand-ins. A listener is named after that."""
        elbv2 = self.aws.elbv2._backend
        for group in elbv2.target_groups.values():
            yield "target group", group.name, self._owner(group.arn)
        for balancer in elbv2.load_balancers.values():
            for listener in balancer.listeners.values():
                slug = self._owner(listener.arn)
                yield "listener", f"{slug}-{listener.port}", slug
        for (_, name), service in self.aws.ecs._services.items():
            if service.status != "INACTIVE":
                tags = dict(as_tags(self.aws.ecs._tags(service)))
                yield "service", name, tags.get(naming.TAG_ENVIRONMENT, "")
        for name, pipeline in self.engine.pipelines.items():
            yield "pipeline", f"{name}-", pipeline.tags.get(naming.TAG_ENVIRONMENT, "")

    def listeners_of(self, slug: Slug) -> list[tuple[str, Any]]:
        """By its tag: (ARN, moto's listener)."""
        return [
            (arn, listener)
            for balancer in self.aws.elbv2._backend.load_balancers.values()
            for arn, listener in balancer.listeners.items()
            if self._owner(arn) == slug
        ]

    def groups_of(self, slug: Slug) -> list[str]:
        """The ARNs of its target groups, by its tag."""
        return [arn for arn in self.aws.elbv2._backend.target_groups if self._owner(arn) == slug]

    def services_of(self, slug: Slug) -> list[tuple[str, str]]:
        """(cluster, name) of those that run."""
        services = self.aws.ecs._services.items()
        return [place for place, one in services if _is_of(slug, place[1]) and one.status == "ACTIVE"]

    def definitions_of(self, slug: Slug) -> list[str]:
        """The ARNs of its active revisions."""
        return [arn for family, arn, _ in self._definitions() if _is_of(slug, family)]

    def _definitions(self) -> Iterator[tuple[str, str, str]]:
        """(family, ARN, whose tag it bears) of every active revision."""
        for family, revisions in self.aws.ecs._backend.task_definitions.items():
            for one in revisions.values():
                if one.status == "ACTIVE":
                    yield family, one.arn, dict(as_tags(one.tags)).get(naming.TAG_ENVIRONMENT, "")

    def _owner(self, arn: str) -> str:
        tags = self.aws.elbv2._backend.tagging_service.get_tag_dict_for_resource(arn)
        return str(tags.get(naming.TAG_ENVIRONMENT, ""))

    # --- Git and GitHub -----------------------------------------------------------------------------------

    def do_push(self, branch: str) -> None:
        """A commit; GitHub will say so sometime."""
        self.commits += 1
        commit = f"{self.commits:040x}"
        before, self.heads[branch] = self.heads.get(branch, "0" * 40), commit
        self._show_heads()
        if before == "0" * 40:
            self.webhooks.append(self._change(branch, Ref.PRESENT, "", "", "create"))
        self.webhooks.append(self._change(branch, Ref.PRESENT, commit, before, "push"))

    def do_delete(self, branch: str) -> None:
        """The branch goes; GitHub will say so twice."""
        if branch not in self.heads:
            return
        before = self.heads.pop(branch)
        self._show_heads()
        self.webhooks.append(self._change(branch, Ref.ABSENT, "", before, "push"))
        self.webhooks.append(self._change(branch, Ref.ABSENT, "", "", "delete"))

    def do_hurry(self, branch: str, back_and_forth: bool) -> None:
        """Somebody pushes and deletes, or deletes and pushes, and GitHub says both at once."""
        for act in (self.do_delete, self.do_push) if back_and_forth else (self.do_push, self.do_delete):
            known = len(self.webhooks)
            act(branch)
            for change in self.webhooks[known:]:
                self.hear(change)
            del self.webhooks[known:]

    def do_bad_push(self, branch: str, stage: str) -> None:
        """A commit that cannot be built or migrated."""
        self.do_push(branch)
        self.failing.add((stage, self.heads[branch]))

    def do_hear(self, which: int, again: bool) -> None:
        """One of the webhooks arrives, whichever; perhaps it will do so again."""
        if self.webhooks:
            change = self.webhooks[which % len(self.webhooks)]
            self.hear(change)
            if not again:
                self.webhooks.remove(change)

    def do_lose_webhook(self, which: int) -> None:
        if self.webhooks:
            self.webhooks.pop(which % len(self.webhooks))

    def do_github_goes_blind(self) -> None:
        """It answers, and shows no branch at all."""
        self.blind = True
        self._show_heads()

    def do_github_errs(self) -> None:
        if self.branches:
            self.branches.error = NotReady("GitHub answers 500")

    def do_github_recovers(self) -> None:
        self.blind = False
        if self.branches:
            self.branches.error = None
        self._show_heads()

    def hear(self, change: Change) -> None:
        """The webhook's message is on the queue."""
        if change.commit and self.dismissed.get(change.branch):
            self.dismissed.pop(change.branch)
        if change.ref is Ref.ABSENT:
            self.said_gone[change.branch] = self.now
        self.lost.discard(Slug(change.slug))
        self.queue.append(
            Message(Slug(change.slug), {"slug": change.slug, "change": change.to_dict()}, self.now)
        )

    def _change(self, branch: str, ref: Ref, commit: str, before: str, event: str) -> Change:
        return Change(
            self.slug_of(branch),
            BRANCHES[branch],
            branch,
            ref,
            commit,
            before=before,
            pushed_at=int(self.now),
            by="dev",
            event=event,
        )

    def _show_heads(self) -> None:
        if self.branches:
            shown = {} if self.blind else self.heads
            self.branches.heads = {(BRANCHES[branch], branch): head for branch, head in shown.items()}
            self.branches.visible = not self.blind

    # --- the product's functions --------------------------------------------------------------------------

    def do_receive(self, kind: str, at: int) -> None:
        """One message is handed to `reconcile`; at its call number `at` something goes wrong."""
        self.trouble = Trouble(kind, at)
        if message := self._next():
            self._receive(message)
        self.trouble = None

    def do_strike(self, act: str, kind: str, at: int) -> None:
        """The same in the other functions: those of the tick, of the audit, or of what builds and tells."""
        self.trouble = Trouble(kind, at)
        {"tick": self.do_tick, "audit": self.do_audit, "pipelines": self.do_pipelines}[act]()
        self.trouble = None

    def do_receive_well(self, times: int) -> None:
        for _ in range(times):
            if message := self._next():
                self._receive(message)

    def do_meet(self, call: str, act: str, branch: str) -> None:
        """Whoever next comes to this call does not come alone."""
        self.meeting = Meeting(call, act, branch)

    def do_hear_all(self) -> None:
        """Everything that GitHub has to say arrives, in its order."""
        for change in self.webhooks:
            self.hear(change)
        self.webhooks.clear()

    def do_lose_event(self, which: int) -> None:
        """A wake-up that was never sent."""
        wakes = [one for one in self.queue if "why" in one.body]
        if wakes:
            self.queue.remove(wakes[which % len(wakes)])

    def do_tick(self) -> None:
        self.now += 60
        self._sweep()

    def do_audit(self, world: bool = True) -> None:
        self.audit_now(world=world)

    def audit_now(self, **how: Any) -> Report | None:
        tagged = Tagged(self.aws.client, self.clients.installation)
        audit = Audit(self.store, self.watched, tagged, [], self._send, clock=self._tick)
        with self._survive(), self.gate.invocation("audit"):
            return audit.run(**how)
        return None

    def operate(self, report: Report | None) -> None:
        """What the brake holds back wants a person, who sees that these branches are gone."""
        if report and any("nothing is adopted" in why for why in report.refused):
            self.lost.clear()
            self.audit_now(share=1.0)

    def _send(self, slug: Slug, message: Mapping[str, Any]) -> None:
        things = message["orphan"]["things"] if "orphan" in message else ()
        if slug in self.unattended:
            things = [one for one in things if one != "image"]
        if things and slug not in self.excused:
            self.violations.append(f"{slug} was forgotten, and the audit finds {things}")
        self.queue.append(Message(slug, {"slug": slug, **message}, self.now))

    def do_ask(self, branch: str, wish: Wish) -> None:
        """A button of the page."""
        env = self.records.get(self.slug_of(branch))
        try:
            self.watch.ask(self.slug_of(branch), wish, "hanako")
        except Rejected:
            return
        if wish is Wish.DELETE and env and env.branch:
            self.dismissed[branch] = env.commit

    # --- AWS and people -----------------------------------------------------------------------------------

    def do_pipelines(self, steps: int = 6) -> None:
        for _ in range(steps):
            self.engine.step()

    def do_tasks(self) -> None:
        """Services start and drain."""
        self.aws.ecs.settle_all()
        self.aws.ecs.drain_all()
        self.memory.forget("tasks")

    def do_wait(self, seconds: int) -> None:
        self.now += seconds

    def do_settle(self, minutes: int = 90) -> None:
        """Minute by minute until nothing changes."""
        quiet = 0
        for _ in range(minutes):
            before = self.changes()
            self.deliver()
            self.engine.run_until_idle()
            self.do_tasks()
            self.now += 60
            self.engine.run_until_idle()
            self._sweep()
            self.deliver()
            quiet = quiet + 1 if self.changes() == before and not self.queue else 0
            if quiet == 2:
                return

    def do_watch(self) -> None:
        """As many ticks as it takes until each settled environment was looked at.

        What was changed by hand is put back then, and the end of a build seen of which no event told.
        """
        for _ in range(RECHECK_MINUTES):
            self.do_tick()
            self.deliver()

    def do_break(self, service: str) -> None:
        """A service that answers nothing but errors until it is repaired."""
        self.down.add(service)

    def do_repair(self) -> None:
        self.down.clear()

    def redrive(self) -> None:
        """The operator puts what was given up back onto the queue."""
        for message in self.dead:
            self.queue.append(Message(message.slug, message.body, self.now))
        self.dead.clear()

    def do_delete_by_hand(self, kind: str, branch: str) -> None:
        """Somebody tidies up in the console."""
        hands.DELETES[kind](self, self.slug_of(branch))

    def do_change_by_hand(self, kind: str, branch: str) -> None:
        """Somebody tries something in the console and leaves it so."""
        hands.CHANGES[kind](self, self.slug_of(branch))

    def do_lose_record(self, branch: str, claims: bool) -> None:
        self._lose(self.slug_of(branch), claims)

    def do_lose_claims(self, branch: str) -> None:
        """Somebody tidies up in the table; the record itself stays."""
        slug = self.slug_of(branch)
        if slug in self.records:
            store = self.store._fake
            store.claims = {claim: holder for claim, holder in store.claims.items() if holder != slug}
            self.unclaimed.add(slug)

    def do_lose_table(self, claims: bool) -> None:
        """All records, perhaps with their claims and with the history."""
        gone = list(self.records)
        for slug in gone:
            self._lose(slug, claims)
        self.lost = {slug for slug in gone if self.left_of(slug)}

    def do_disaster(self, claims: bool) -> None:
        """The table is lost, and nobody notices for longer than the audit waits."""
        self.do_lose_table(claims)
        for _ in range(2):
            self.audit_now()
            self.now += AN_HOUR
        self.deliver()

    def _lose(self, slug: Slug, claims: bool) -> None:
        self.records.pop(slug, None)
        self.excused.add(slug)
        store = self.store._fake
        store.claims = {c: s for c, s in store.claims.items() if s != slug or not claims}


def _holds(env: Environment, scope: str, name: str) -> bool:
    return Claim(scope, name) in env.claims.values()


def _is_of(slug: Slug, name: str) -> bool:
    return name.rpartition("-")[0] == slug


@contextmanager
def chaotic(*, asks_github: bool, mutant: Mutant = SOUND) -> Iterator[Chaos]:
    """An account with STG, things of others and nothing of ours."""
    with strict_aws() as aws:
        world = aws.world()
        web = {"copy_of": world.stg_web, "container": "web", "port": 3000, "log_group": "/qa/app"}
        roles = {
            "app": web,
            "worker": {"copy_of": world.stg_worker, "container": "worker", "log_group": "/qa/worker"},
        }
        first = blueprint(world, roles=roles)
        second = first.model_copy(
            update={
                "repository": OTHER,
                "slug_prefix": PREFIXES[OTHER],
                "database": first.database.model_copy(update={"prefix": PREFIXES[OTHER]}),
                "redis": first.redis.model_copy(update=NUMBERED),
            }
        )
        branches = FakeBranches() if asks_github else None
        chaos = Chaos(aws, world, first, branches, reports=False, others=second, mutant=mutant)
        with ExitStack() as stack:
            stack.enter_context(patch.object(aws, "handle", chaos.memory))
            stack.enter_context(gated(chaos, "memory", gate=chaos.gate))
            stack.enter_context(mutant.patched())
            add_foreign_things(chaos)
            _watched(chaos)
            chaos.begin()
            yield chaos


def _watched(chaos: Chaos) -> None:
    """The two writes that decide about life and death are looked at before they are made."""
    store = chaos.store._fake
    begin, forget = chaos.mutant.begin(store), chaos.mutant.forget(store)

    def watched_begin(env: Environment) -> None:
        begin(env)
        chaos.watch_begin(chaos.records[env.slug])

    def watched_forget(env: Environment) -> None:
        wanted = chaos.records.get(env.slug)
        forget(env)
        chaos.watch_forget(env)
        if wanted and (wanted.desired is Desired.PRESENT or wanted.next_commit):
            chaos.violations.append(f"{env.slug} is forgotten though a push was heard")

    store.begin, store.forget = watched_begin, watched_forget
