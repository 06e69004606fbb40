"""The whole way of a webhook, with environments that cost next to nothing.

Signed bytes → the webhook's handler → the queue → the event source mapping → reconcile's handler → the
controller: all of that is real, and so are table and claims, over strict AWS. What an environment consists of
is one small `Resource` of our own, so that hundreds of them take seconds.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import boto3
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table

from handlers import reconcile, webhook
from local import send
from qa_env import naming, runtime
from qa_env.blueprint import Blueprint, index
from qa_env.claims import Claims
from qa_env.controller import Controller, Plan
from qa_env.errors import NotReady
from qa_env.looking import Seen
from qa_env.model import Environment, Outputs, Slug
from qa_env.receiver import Queue, Receiver
from qa_env.store import DynamoStore
from qa_env.watch import Watch
from tests.event_source import Clock, EventSource, make_queues, properties, ticking, until_next, waiting
from tests.fakes import FakeBranches
from tests.making import REPOSITORY, blueprint, event
from tests.strict_aws import StrictAWS, World, strict_aws

SECRET = b"It's a Secret to Everybody"
NOTHING = "0" * 40
SENDERS = 20
PATIENCE = 30  # minutes until everything must have come to rest


class Died(BaseException):
    """The function ran into its timeout, or out of memory."""


@dataclass
class Release:
    """What an environment consists of: its commit, which takes a second look to come and to go."""

    kind: str = "release"
    name: str = ""
    commits: dict[Slug, str] = field(default_factory=dict)
    asked: set[tuple[Slug, str]] = field(default_factory=set)
    broken: set[Slug] = field(default_factory=set)
    """Environments of which every pass meets a bug."""
    deadly: set[Slug] = field(default_factory=set)
    """Environments of which every pass kills its function."""

    def ensure(self, env: Environment) -> Outputs:
        self._look(env)
        self.commits[env.slug] = env.commit
        self._twice(env, env.commit)
        return {"commit": env.commit}

    def delete(self, env: Environment) -> None:
        self._look(env)
        if env.slug in self.commits:
            self._twice(env, "gone")
            del self.commits[env.slug]

    def owners(self) -> Iterator[Slug]:
        return iter(list(self.commits))

    def _look(self, env: Environment) -> None:
        if env.slug in self.deadly:
            raise Died
        if env.slug in self.broken:
            raise RuntimeError("a bug")

    def _twice(self, env: Environment, what: str) -> None:
        if (env.slug, what) not in self.asked:
            self.asked = {one for one in self.asked if one[0] != env.slug} | {(env.slug, what)}
            raise NotReady("takes a moment")


@dataclass
class Installation:
    """One installation, and the hands of GitHub and of time. `heads` is what was last said of each branch."""

    aws: StrictAWS
    world: World
    blueprint: Blueprint
    queue: str
    dead: str
    clock: Clock
    branches: FakeBranches | None
    release: Release = field(default_factory=Release)
    heads: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sqs = self.aws.client("sqs")
        self.table = boto3.resource("dynamodb", region_name=self.aws.region).Table(self.world.table)
        self.store = DynamoStore(self.table)
        self.watch = Watch(self.store, runtime.wake, self.clock)
        self.controller = Controller(
            self.store, {REPOSITORY: self.blueprint}, self._plan, runtime.wake, clock=self.clock
        )
        self.source = EventSource(self.sqs, self.queue, self._reconcile)
        self.receiver = Receiver([SECRET], index([self.blueprint]), Queue(self.queue, lambda: self.sqs).put)
        self._requests = itertools.count(1)

    def _plan(self, blueprint: Blueprint) -> Plan:
        claims = Claims(self.aws.client("elbv2"), self.store, blueprint, "qa-env", Seen())
        waves = [[self.release]]
        return Plan(claims, waves, waves, lambda env: [], branches=self.branches)

    def _reconcile(self, records: dict[str, Any]) -> Mapping[str, Any]:
        """Who dies answers nothing, and the message comes again when its visibility timeout is over."""
        try:
            return dict(reconcile.handler(records, None, controller=self.controller))
        except Died:
            self.clock.advance(properties("ReconcileFunction")["Timeout"])
            return {"batchItemFailures": [{"itemIdentifier": records["Records"][0]["messageId"]}]}

    # --- GitHub's hands ---------------------------------------------------------------------------------

    def push(self, branch: str, commit: str) -> None:
        """The branch is at this commit, empty for gone, and the webhook has been taken."""
        self.deliver(self.delivery(branch, commit))

    def delivery(self, branch: str, commit: str) -> dict[str, Any]:
        """The same, but the signed request is still on its way."""
        before = self.heads.get(branch, "")
        self.heads[branch] = commit
        if self.branches:
            self.branches.heads = {(REPOSITORY, name): head for name, head in self.heads.items() if head}
        envelope = event("push-update" if commit else "push-delete")
        payload = envelope["body"] | {
            "ref": f"refs/heads/{branch}",
            "before": before or NOTHING,
            "after": commit or NOTHING,
            "created": not before,
            "deleted": not commit,
        }
        payload["repository"] |= {"pushed_at": int(self.clock())}
        return envelope["headers"] | {"body": json.dumps(payload).encode()}

    def deliver(self, delivery: Mapping[str, Any]) -> None:
        """GitHub sends it, and is told 202."""
        body = delivery["body"]
        headers = {name: value for name, value in delivery.items() if name != "body"}
        request = {
            "headers": send.signed(headers, body, SECRET.decode()),
            "requestContext": {"http": {"method": "POST"}},
            "body": body.decode(),
        }
        context = SimpleNamespace(aws_request_id=f"request-{next(self._requests)}")
        answer = webhook.handler(request, context, receiver=self.receiver)
        assert answer["statusCode"] == 202, answer

    def burst(self, said: Iterable[tuple[str, str]]) -> None:
        """Deliver all of these at once, each branch's in order."""
        self.send(self.written(said))

    def written(self, said: Iterable[tuple[str, str]]) -> list[list[dict[str, Any]]]:
        """The deliveries of each branch."""
        each: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for branch, commit in said:
            each[branch].append(self.delivery(branch, commit))
        return list(each.values())

    def send(self, deliveries: Iterable[list[dict[str, Any]]]) -> None:
        """Deliver lists side by side."""
        with ThreadPoolExecutor(SENDERS) as pool:
            for sent in [pool.submit(lambda of: [*map(self.deliver, of)], of) for of in deliveries]:
                sent.result()

    def put(self, body: str, group: str) -> str:
        """A message that nobody of ours would send; returns its id."""
        number = f"by-hand-{next(self._requests)}"
        sent = self.sqs.send_message(
            QueueUrl=self.queue, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=number
        )
        return str(sent["MessageId"])

    # --- the hands of time ------------------------------------------------------------------------------

    def skip(self) -> float:
        """Let time pass until the next postponed message comes back, and deliver it; returns the seconds."""
        pause = until_next(self.queue, self.clock)
        self.clock.advance(pause + 0.01)
        self.source.drain()
        return pause

    def minute(self) -> None:
        """A minute passes; the sweep wakes what it must, and all of it is worked off."""
        self.clock.advance(60)
        self.watch.sweep(int(self.clock() // 60))
        self.source.drain()

    def settle(self, until: Callable[[], bool] | None = None) -> int:
        """Let minutes pass until everything is at rest (or `until`); returns how many."""
        self.source.drain()
        for minutes in range(PATIENCE):
            if (until or self.at_rest)():
                return minutes
            self.minute()
        raise AssertionError(f"not at rest after {PATIENCE} minutes: {self.complaints()}")

    def at_rest(self) -> bool:
        return waiting(self.sqs, self.queue) == 0 and all(env.settled for env in self.store.all())

    # --- what a test looks at -----------------------------------------------------------------------------

    def complaints(self) -> list[str]:
        """Everything that is not as the last webhook of its branch said, was lost or is held twice."""
        wanted = {slug_of(branch): head for branch, head in self.heads.items() if head}
        found = {env.slug: env for env in self.store.all()}
        wrong = [f"{slug}: lost" for slug in wanted.keys() - found.keys()]
        wrong += [f"{slug}: not gone" for slug in found.keys() - wanted.keys()]
        for slug in wanted.keys() & found.keys():
            runs = found[slug].remembered("release").get("commit")
            if not found[slug].settled or {runs, self.release.commits.get(slug)} != {wanted[slug]}:
                wrong.append(f"{slug}: {found[slug].phase} at {runs}, wanted {wanted[slug]}")
        wrong += [f"{slug}: release left" for slug in self.release.commits.keys() - wanted.keys()]
        wrong += self._ports(found.values())
        for name, url in (("queue", self.queue), ("dead-letter queue", self.dead)):
            if left := waiting(self.sqs, url):
                wrong.append(f"{left} messages on the {name}")
        if self.source.together > 1:
            wrong.append(f"{self.source.together} messages of one environment at once")
        return sorted(wrong)

    def dead_letters(self) -> list[str]:
        """The bodies of the dead letters, which stay where they are."""
        answer = self.sqs.receive_message(QueueUrl=self.dead, MaxNumberOfMessages=10, VisibilityTimeout=0)
        return [message["Body"] for message in answer.get("Messages", [])]

    def env(self, branch: str) -> Environment:
        """The record, which must be there."""
        env = self.store.get(slug_of(branch))
        assert env is not None
        return env

    def _ports(self, environments: Iterable[Environment]) -> Iterator[str]:
        """Ports that two records hold, and claims that no record knows of."""
        held: dict[str, list[Slug]] = defaultdict(list)
        for env in environments:
            for claim in env.claims.values():
                held[str(claim)].append(env.slug)
        yield from (f"{claim}: held by {slugs}" for claim, slugs in held.items() if len(slugs) > 1)
        for lb in self.blueprint.load_balancers:
            for port, slug in self.store.taken(f"port {lb.arn}").items():
                if held.get(f"port {lb.arn} {port}") != [slug]:
                    yield f"port {lb.arn} {port}: claimed by {slug}, whose record does not know"


def slug_of(branch: str) -> Slug:
    """The environment of a branch."""
    return naming.slug("", REPOSITORY, branch)


@contextmanager
def quick_table() -> Iterator[None]:
    """Where there are hundreds of records, moto takes minutes.

    It copies the whole table for every transaction, though only what is updated changes in place, and a Query
    looks at every item, though only one partition can hold the answer.
    """
    update, query = DynamoDBBackend.update_item, Table.query

    def copied(table: Table, memo: dict[int, Any]) -> Table:
        made = copy.copy(table)
        made.items = defaultdict(dict, {name: dict(partition) for name, partition in table.items.items()})
        return made

    def update_a_copy(backend: DynamoDBBackend, table_name: str, key: Any, *rest: Any, **named: Any) -> Any:
        partition = backend.get_table(table_name).items[DynamoType(key["pk"])]
        if (place := DynamoType(key["sk"])) in partition:
            partition[place] = copy.deepcopy(partition[place])
        return update(backend, table_name, key, *rest, **named)

    def query_partition(table: Table, hash_key: Any, *rest: Any, **named: Any) -> Any:
        whole = table.items
        table.items = {hash_key: whole.get(hash_key, {})}
        try:
            return query(table, hash_key, *rest, **named)
        finally:
            table.items = whole

    with (
        patch.object(Table, "__deepcopy__", copied, create=True),
        patch.object(Table, "query", query_partition),
        patch.object(DynamoDBBackend, "update_item", update_a_copy),
    ):
        yield


def one_role(world: World, ports: str = "10001-10050") -> Blueprint:
    """One web role, so one port per environment, and no data."""
    web = {"copy_of": world.stg_web, "container": "web", "port": 3000, "log_group": "/qa"}
    balancers = [
        {"arn": lb.arn, "host": f"{lb.name}.example.com", "ports": ports} for lb in world.load_balancers
    ]
    pipeline = blueprint().pipeline.model_dump() | {"start": "push", "required_checks": ()}
    return blueprint(
        load_balancers=balancers,
        roles={"app": web},
        database=None,
        redis={"mode": "none"},
        pipeline=pipeline,
        github=None,
        slack=None,
        events=False,
        page={},
    )


@contextmanager
def installed(
    load_balancers: int = 1, asks_github: bool = False, ports: str = "10001-10050"
) -> Iterator[Installation]:
    """An installation in an account of its own, with the template's queues."""
    clock = Clock()
    with strict_aws() as aws, ticking(clock), quick_table():
        world = aws.world(load_balancers=load_balancers)
        queue, dead = make_queues(aws.client("sqs"))
        aws.calls.clear()
        branches = FakeBranches() if asks_github else None
        with patch.dict(os.environ, {"QA_ENV_QUEUE_URL": queue}), patch.object(runtime, "client", aws.client):
            yield Installation(aws, world, one_role(world, ports), queue, dead, clock, branches)
