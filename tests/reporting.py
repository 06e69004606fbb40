"""Places where people are told, over real HTTP: a GitHub with one repository, and what a pass does around a
report. What the report is not told to remember, it must find."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

from local.git import Remote
from local.github import GitHub as LocalGitHub
from local.github import Server
from qa_env.blueprint import Blueprint
from qa_env.controller import Controller, Plan
from qa_env.github_api import GitHub
from qa_env.model import Built, Condition, Desired, Environment, Resource, State
from tests import canaries
from tests.fakes import MemoryStore, NothingToClaim
from tests.making import REPOSITORY, A, blueprint, environment, said

TOKEN = canaries.GITHUB_TOKEN
URL, ADMIN = "http://qa.example.com:10001/", "http://qa.example.com:10002/"
LISTENERS = {"listener/admin": said(State.READY, url=ADMIN), "listener/app": said(State.READY, url=URL)}
HOSTILE = "qa/`|<b>*_@team_#1&\"'![x](y){}<!--$(id);"
LOG = "https://logs.example.com/1"
PAGE = "https://qa.example.com"


@dataclass
class Branches:
    """A repository's branches, instead of a git repository."""

    all: dict[str, str] = field(default_factory=lambda: {"main": "0" * 39 + "1", "qa/foo": A})

    def head(self, branch: str) -> str | None:
        return self.all.get(branch)

    def heads(self) -> list[tuple[str, str]]:
        return list(self.all.items())


class Hub(LocalGitHub):
    """The stand-in, with a list of what it was asked and a way to make it refuse."""

    def __init__(self) -> None:
        self.branches = Branches()
        super().__init__(cast("Remote", self.branches), REPOSITORY, TOKEN)
        self.asked: list[tuple[str, str]] = []
        self.refusing: dict[tuple[str, str], tuple[int, str]] = {}  # (method, part of the path) → answer
        self.api = GitHub("", lambda: {"token": TOKEN})

    def answer(self, method: str, target: str, authorization: str, body: bytes) -> tuple[int, Any, Any]:
        self.asked.append((method, target.removeprefix(f"/repos/{REPOSITORY}")))
        for (verb, part), (status, message) in self.refusing.items():
            if verb == method and part in target:
                return status, {"message": message}, {}
        return super().answer(method, target, authorization, body)

    @property
    def written(self) -> list[tuple[str, str]]:
        """What was asked and was no question."""
        return [one for one in self.asked if one[0] != "GET"]

    def statuses(self, commit: str = A) -> list[dict[str, Any]]:
        """Everything that was said of a commit, oldest first."""
        return self._get_statuses(commit, {})[1][::-1]

    def bodies(self) -> list[str]:
        """The comments that are there."""
        return [one["body"] for one in self.pulls.comments.values()]

    def open_pull(self, branch: str = "qa/foo") -> int:
        status, pull = self.pulls.create({"title": "Foo", "head": branch, "base": "main"}, "now")
        assert status == 201
        return int(pull["number"])


@contextmanager
def github() -> Iterator[Hub]:
    """One GitHub on a free port."""
    hub = Hub()
    server = Server(hub)
    server.start()
    hub.api.api_url = server.url
    try:
        yield hub
    finally:
        server.stop()


def settings(**changes: Any) -> Blueprint:
    """The example's blueprint with a page, in English unless said otherwise."""
    return blueprint(**{"page": {"url": PAGE}, "language": "en"} | changes)


def queued(**changes: Any) -> Environment:
    return environment(**changes)


def building(**changes: Any) -> Environment:
    return _having(State.WAITING, **changes)


def deploying(**changes: Any) -> Environment:
    return building(built=Built(A, "image", "1"), **changes)


def ready(**changes: Any) -> Environment:
    return _having(State.READY, **changes)


def asleep(**changes: Any) -> Environment:
    return _with(ready(**changes), {"service/app": said(State.READY, asleep="7")})


def failed(message: str = "exit code 1", **changes: Any) -> Environment:
    """A build that failed, with its log."""
    stages = '[{"name": "Source", "status": "Succeeded"}, {"name": "Build", "status": "Failed"}]'
    pipeline = said(State.FAILED, message, log_url=LOG, stages=stages)
    return _with(building(**changes), {"pipeline": pipeline})


def blocked(message: str = "no free port", **changes: Any) -> Environment:
    return _having(State.BLOCKED, message, **changes)


def deleting(**changes: Any) -> Environment:
    return ready(desired=Desired.ABSENT, **changes)


def _having(state: State, message: str = "", **changes: Any) -> Environment:
    return environment(**{"conditions": LISTENERS | {"service/app": said(state, message)}} | changes)


def _with(env: Environment, conditions: dict[str, Condition]) -> Environment:
    return env.with_conditions(conditions)


def told(report: Resource, env: Environment, memory: Environment | None = None) -> Environment:
    """A pass: the report speaks of `env` and remembers what it said to `memory`; the record afterwards."""
    last = memory.remembered(report.kind) if memory else {}
    env = env.with_conditions({report.kind: said(State.READY, **last)}) if memory else env
    return env.with_conditions({report.kind: said(State.READY, **report.ensure(env))})


def gone(report: Resource, env: Environment, memory: Environment | None = None) -> None:
    """The last pass."""
    last = memory.remembered(report.kind) if memory else {}
    report.delete(env.with_conditions({report.kind: said(State.READY, **last)}) if memory else env)


@dataclass
class Loop:
    """A controller that has nothing to do but to tell."""

    report: Resource
    now: float = 1_800_000_000.0

    def __post_init__(self) -> None:
        self.store = MemoryStore()
        self.env = environment()
        self.store.desire(self.env, None)
        plan = Plan(NothingToClaim(), build=[], tear_down=[], retired=lambda gone: [], reports=[self.report])
        self.controller = Controller(
            self.store,
            {REPOSITORY: settings()},
            lambda _: plan,
            lambda slug, why: None,
            apart=0,
            clock=lambda: self.now,
        )

    def run(self) -> Environment | None:
        self.now += 1
        return self.controller.reconcile(self.env.slug)

    def remove(self) -> None:
        """The branch is gone."""
        seen = self.store.get(self.env.slug)
        assert seen is not None
        self.store.desire(replace(seen, desired=Desired.ABSENT, generation=seen.generation + 1), seen)

    @property
    def condition(self) -> Condition:
        env = self.store.get(self.env.slug)
        assert env is not None
        return env.conditions[self.report.kind]
