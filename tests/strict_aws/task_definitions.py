"""Task definitions: moto's, but revisions never repeat and a deletion waits (facts B2-10, D2-13)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from moto.ecs.models import EC2ContainerServiceBackend, TaskDefinition

from tests.strict_aws.call import Answer, Call, Rule, as_tags, page
from tests.strict_aws.services import Clock


class TaskDefinitions:
    def __init__(
        self, backend: EC2ContainerServiceBackend, used: Callable[[], set[str]], clock: Clock
    ) -> None:
        self._backend = backend
        self._used = used
        self._clock = clock
        self._last_revision: dict[str, int] = {}
        self._registered_at: dict[str, datetime] = {}
        self._described: dict[tuple[str, ...], Answer] = {}  # moto is slow, and a revision never changes
        self.rules: dict[str, Rule] = {
            "RegisterTaskDefinition": self._register,
            "DescribeTaskDefinition": self._describe,
            "ListTaskDefinitions": self._list,
            "DeleteTaskDefinitions": self._delete,
        }

    def get(self, arn: str) -> TaskDefinition:
        return self._backend.describe_task_definition(arn)

    def resolve(self, call: Call, name: str, keep: str | None = None) -> TaskDefinition:
        """The ACTIVE one of a family, family:revision or ARN; a service may `keep` its own. Facts D2-10."""
        found = self._find(name)
        if found is None:
            raise call.error("ClientException", "TaskDefinition not found.")
        if found.status != "ACTIVE" and found.arn != keep:
            raise call.error("ClientException", "TaskDefinition is inactive")
        return found

    def sweep(self) -> None:
        """Those marked for deletion go when no task or service uses them. BC:ecs.DeleteTaskDefinitions."""
        used = self._used()
        for revisions in self._backend.task_definitions.values():
            for number, definition in list(revisions.items()):
                if definition.status == "DELETE_IN_PROGRESS" and definition.arn not in used:
                    del revisions[number]

    def tagged(self) -> Iterator[tuple[str, dict[str, str]]]:
        """All of them, INACTIVE ones as well, with their tags."""
        for revisions in self._backend.task_definitions.values():
            for definition in revisions.values():
                yield definition.arn, dict(as_tags(definition.tags))

    def _find(self, name: str) -> TaskDefinition | None:
        """A bare family is its newest ACTIVE revision; moto takes the newest of any status."""
        family, _, revision = name.split("/")[-1].partition(":")
        revisions = self._backend.task_definitions.get(family, {})
        if revision:
            return revisions.get(int(revision)) if revision.isdigit() else None
        active = [number for number, each in revisions.items() if each.status == "ACTIVE"]
        return revisions[max(active)] if active else None

    def _register(self, call: Call) -> Answer:
        """Revision numbers keep increasing after a deletion. Facts B2-10."""
        answer = call.proceed()
        shown = answer["taskDefinition"]
        family = shown["family"]
        revision = max(shown["revision"], self._last_revision.get(family, 0) + 1)
        if revision != shown["revision"]:
            definition = self._backend.task_definitions[family].pop(shown["revision"])
            definition.revision = revision
            definition.arn = definition.arn.rsplit(":", 1)[0] + f":{revision}"
            self._backend.task_definitions[family][revision] = definition
            answer = call.ask("DescribeTaskDefinition", taskDefinition=definition.arn)
        self._last_revision[family] = revision
        self._registered_at[answer["taskDefinition"]["taskDefinitionArn"]] = self._clock.now()
        return self._complete(
            {"taskDefinition": answer["taskDefinition"], "tags": call.params.get("tags", [])}
        )

    def _describe(self, call: Call) -> Answer:
        found = self._find(call.params["taskDefinition"])
        if found is None:
            raise call.error("ClientException", "Unable to describe task definition.")
        asked = found.arn, found.status, repr(found.tags), repr(call.params.get("include"))
        if asked not in self._described:
            answer = call.proceed(taskDefinition=found.arn)
            answer.pop("failures", None)
            self._described[asked] = self._complete(answer)
        return self._described[asked]

    def _complete(self, answer: Answer) -> Answer:
        """With what only AWS writes, and RegisterTaskDefinition does not take back."""
        shown = answer["taskDefinition"]
        shown["registeredAt"] = self._registered_at[shown["taskDefinitionArn"]]
        shown["registeredBy"] = f"arn:aws:iam::{self._backend.account_id}:root"
        shown["requiresAttributes"] = [{"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"}]
        return answer

    def _list(self, call: Call) -> Answer:
        """By revision, in the order asked for, a hundred at a time. BC:ecs.ListTaskDefinitions."""
        family, status = call.params.get("familyPrefix"), call.params.get("status", "ACTIVE")
        arns = [
            definition.arn
            for name, revisions in self._backend.task_definitions.items()
            if family in (None, name)
            for definition in revisions.values()
            if definition.status == status
        ]
        arns.sort(key=_family_and_revision, reverse=call.params.get("sort") == "DESC")
        return page(arns, call, key="taskDefinitionArns", default=100)

    def _delete(self, call: Call) -> Answer:
        """DELETE_IN_PROGRESS while a task or service uses it. Facts B2-10."""
        answer: Answer = {"taskDefinitions": [], "failures": []}
        for name in call.params["taskDefinitions"]:
            found = self._find(name) if ":" in name else None
            if found and found.status != "ACTIVE" and found.arn in self._used():
                found.status = "DELETE_IN_PROGRESS"
                shown = call.ask("DescribeTaskDefinition", taskDefinition=found.arn)["taskDefinition"]
                answer["taskDefinitions"].append(shown)
            else:
                outcome = call.proceed(taskDefinitions=[name])
                answer["taskDefinitions"] += outcome["taskDefinitions"]
                answer["failures"] += outcome["failures"]
        return answer


def _family_and_revision(arn: str) -> tuple[str, int]:
    family, _, revision = arn.rpartition(":")
    return family, int(revision)
