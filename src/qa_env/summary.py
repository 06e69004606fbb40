"""What people are told of an environment, from its record and its blueprint: the same facts for every report
and every page. Pure; how it is said is the business of `wording`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from qa_env import links
from qa_env.blueprint import Blueprint
from qa_env.model import Condition, Environment, Phase, State, is_report

PIPELINE = "pipeline"
TROUBLE = (State.BLOCKED, State.FAILED)


@dataclass(frozen=True)
class Stage:
    """One stage of the running or last execution; `status` in CodePipeline's words, empty if not begun."""

    name: str
    status: str = ""
    url: str = ""


@dataclass(frozen=True)
class Task:
    """One role's tasks as ECS last said; `stopped` is why the last one ended, empty if none did."""

    role: str
    running: int
    desired: int
    stopped: str = ""


@dataclass(frozen=True)
class Summary:
    """One environment for people. `blueprint` is None if its repository has none any more."""

    env: Environment
    blueprint: Blueprint | None

    @property
    def phase(self) -> Phase:
        """The one word."""
        return self.env.phase

    @property
    def urls(self) -> dict[str, str]:
        """Role → URL in the blueprint's order: the first is the main one."""
        known = self.env.urls
        order = list(self.blueprint.web_roles) if self.blueprint else []
        return {role: known[role] for role in sorted(known, key=lambda r: _place(order, r))}

    @property
    def url(self) -> str:
        """The main role's URL, empty while there is none."""
        return next(iter(self.urls.values()), "")

    @property
    def page_url(self) -> str:
        """The environment's own page, empty where the list's address is not known."""
        base = self.blueprint.page.url if self.blueprint else None
        return f"{base.rstrip('/')}/environments/{self.env.slug}" if base else ""

    @property
    def commit_url(self) -> str:
        """The commit on GitHub, empty without one."""
        if not self.env.commit:
            return ""
        return f"{self._github}/{self.env.repository}/commit/{self.env.commit}"

    @property
    def branch_url(self) -> str:
        """The branch on GitHub."""
        return f"{self._github}/{self.env.repository}/tree/{quote(self.env.branch, safe='/')}"

    @property
    def reasons(self) -> list[str]:
        """What blocks or failed if anything did, each sentence once; otherwise what the rest waits for."""
        now = [c for _, c in self._conditions() if c.message and c.generation == self.env.generation]
        trouble = [c.message for state in TROUBLE for c in now if c.state is state]
        waiting = [c.message for c in now if c.state is State.WAITING]
        return list(dict.fromkeys(trouble)) or waiting[:1]

    @property
    def failed_stage(self) -> str:
        """The pipeline's stage that failed, empty if none did."""
        failed = self.phase is Phase.FAILED and self._pipeline.state is State.FAILED
        names = [stage.name for stage in self.stages if stage.status in ("Failed", "Stopped")]
        return names[0] if failed and names else ""

    @property
    def log_url(self) -> str:
        """Where the reason of a failure can be read: the build's log, or what ECS says of the service."""
        if self.phase not in (Phase.FAILED, Phase.BLOCKED) or self.blueprint is None:
            return ""
        if self._pipeline.state in TROUBLE:
            return self._pipeline.outputs.get("log_url") or links.pipeline(self._region, self.env.slug)
        for name, condition in self._conditions():
            kind, _, role = name.partition("/")
            if kind == "service" and condition.state in TROUBLE:
                return links.service_events(self._region, self._cluster(role), self.env.slug, role)
        return ""

    @property
    def stage(self) -> str:
        """The stage that is running, empty if none is."""
        return next((s.name for s in self.stages if s.status == "InProgress"), "")

    @property
    def stages(self) -> list[Stage]:
        """The pipeline's stages as they were last seen; none where they cannot be read: the list goes on."""
        try:
            known = json.loads(self._pipeline.outputs.get("stages") or "[]")
            return [Stage(one["name"], one.get("status", ""), one.get("url", "")) for one in known]
        except (ValueError, TypeError, KeyError, AttributeError):
            return []

    @property
    def tasks(self) -> list[Task]:
        """Every role's tasks as they were last seen, in the blueprint's order."""
        order = list(self.blueprint.roles) if self.blueprint else []
        found = [
            Task(role, int(known["running"]), int(known["desired"]), str(known.get("stopped", "")))
            for role, known in self._tasks()
        ]
        return sorted(found, key=lambda task: _place(order, task.role))

    def log_links(self) -> dict[str, str]:
        """Role → Logs Insights over what the role's tasks wrote for this environment."""
        if self.blueprint is None:
            return {}
        groups = {name: role.log_group for name, role in self.blueprint.roles.items()}
        return {role: links.logs(self._region, group, self.env.slug) for role, group in groups.items()}

    def event_links(self) -> dict[str, str]:
        """Role → what ECS says of its service."""
        if self.blueprint is None:
            return {}
        return {
            role: links.service_events(self._region, self._cluster(role), self.env.slug, role)
            for role in self.blueprint.roles
        }

    @property
    def pipeline_link(self) -> str:
        """The pipeline in AWS's console, empty without a blueprint."""
        return links.pipeline(self._region, self.env.slug) if self.blueprint else ""

    @property
    def _region(self) -> str:
        return self.blueprint.load_balancers[0].arn.split(":")[3] if self.blueprint else ""

    @property
    def _github(self) -> str:
        return (
            self.blueprint.github.web_url
            if self.blueprint and self.blueprint.github
            else "https://github.com"
        )

    @property
    def _pipeline(self) -> Condition:
        return self.env.conditions.get(PIPELINE, Condition(State.WAITING))

    def _cluster(self, role: str) -> str:
        known = self.env.remembered("service", role).get("cluster", "")
        return known or (self.blueprint.cluster if self.blueprint else "")

    def _conditions(self) -> Iterator[tuple[str, Condition]]:
        return ((name, c) for name, c in self.env.conditions.items() if not is_report(name))

    def _tasks(self) -> Iterator[tuple[str, Mapping[str, int | str]]]:
        for name, condition in self._conditions():
            kind, _, role = name.partition("/")
            if kind == "service" and condition.state is not State.GONE and "tasks" in condition.outputs:
                yield role, json.loads(condition.outputs["tasks"])


def _place(order: list[str], role: str) -> tuple[int, str]:
    return (order.index(role) if role in order else len(order), role)
