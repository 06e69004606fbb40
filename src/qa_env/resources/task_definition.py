"""The task definition of one role: the STG service's own, with only the branch's differences.

What makes it ours — the build, variables, the role's settings — is kept as a fingerprint in a tag, and a
new revision is registered when that changes: so STG is copied as it is when something was built, a
deployment of STG restarts nobody's environment, and building the same commit again starts it again.
Revisions are assigned by the server, so two workers may register two: the newest is used and the others
are deregistered, except the one that the service still runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_env import aws, ecs, naming
from qa_env.blueprint import Blueprint, Role
from qa_env.errors import Blocked, NotReady
from qa_env.looking import Once, afresh
from qa_env.model import Built, Environment, Outputs, Slug
from qa_env.variables import data_secrets, data_variables

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient

COPIED = (
    "taskRoleArn",
    "executionRoleArn",
    "networkMode",
    "volumes",
    "placementConstraints",
    "requiresCompatibilities",
    "cpu",
    "memory",
    "pidMode",
    "ipcMode",
    "proxyConfiguration",
    "ephemeralStorage",
    "runtimePlatform",
)
DELETE_PER_CALL = 10


@dataclass(frozen=True)
class TaskDefinition:
    """One role's task definition family."""

    client: ECSClient
    blueprint: Blueprint
    installation: str
    name: str
    once: Once = afresh
    kind = "task_definition"

    def ensure(self, env: Environment) -> Outputs:
        """Find or register the revision that runs the built commit, return its ARN and which build it is."""
        if env.built is None:
            role = self.blueprint.roles[self.name]
            ecs.original(self.client, self.once, self.blueprint, role)  # a wrong name is said at once
            raise NotReady("waiting for the first build")
        with aws.doing(f"ensuring task definition {naming.service(env.slug, self.name)}"):
            mark = self._mark(env, env.built)
            arn = self._known(env, mark) or self._find(env, mark) or self._register(env, env.built, mark)
            alone = self._is_alone(env, arn)
        return {"arn": arn, "commit": env.built.commit, "execution": env.built.execution, "alone": alone}

    def delete(self, env: Environment) -> None:
        """Deregister and delete every revision of ours."""
        env.require_gone("service", role=self.name)
        with aws.doing(f"deleting task definition {naming.service(env.slug, self.name)}"):
            refused, found = self._prune(env, keep=set())
        if refused:
            raise Blocked(f"ECS keeps a task definition: {refused[0]}")
        if found:
            raise NotReady(f"{found} task definitions deleted; looking again")

    def owners(self) -> Iterator[Slug]:
        """Slugs of every active task definition carrying our owner tag."""
        pages = self.client.get_paginator("list_task_definitions").paginate(status="ACTIVE")
        for arn in (arn for page in pages for arn in page["taskDefinitionArns"]):
            if slug := naming.owner_of(self._tags(arn), self.installation):
                yield slug

    def _known(self, env: Environment, mark: str) -> str | None:
        """The revision that was registered last, if it is as wanted: lists may not show it yet."""
        arn = env.remembered(self.kind, self.name).get("arn")
        if arn is None:
            return None
        try:
            found = self.client.describe_task_definition(taskDefinition=arn, include=["TAGS"])
        except self.client.exceptions.ClientException:
            return None
        tags = aws.tag_dict(found.get("tags"))
        is_ours = naming.owner_of(tags, self.installation) == env.slug
        is_wanted = tags.get(naming.TAG_SETTINGS) == mark
        return arn if is_ours and is_wanted and found["taskDefinition"]["status"] == "ACTIVE" else None

    def _find(self, env: Environment, mark: str) -> str | None:
        """The newest revision that bears the mark; the family may hold others."""
        for arn in self._revisions(env, "ACTIVE"):
            tags = self._tags(arn)
            if naming.owner_of(tags, self.installation) != env.slug:
                raise Blocked(f"task definition {arn} has our family but is not ours; deregister it")
            if tags.get(naming.TAG_SETTINGS) == mark:
                return arn
        return None

    def _is_alone(self, env: Environment, arn: str) -> str:
        """ "yes" once a look has found no revision but this one; until the next, nobody need look again."""
        last = env.remembered(self.kind, self.name)
        if last.get("alone") == "yes" and last.get("arn") == arn:
            return "yes"
        running = env.remembered("service", self.name).get("task_definition", "")
        _, others = self._prune(env, keep={arn, running})
        return "no" if others or running not in ("", arn) else "yes"

    def _register(self, env: Environment, built: Built, mark: str) -> str:
        tags = naming.tags(self.installation, env, self.name) | {naming.TAG_SETTINGS: mark}
        made = self.client.register_task_definition(
            **self._wanted(env, built), tags=aws.tag_list(tags, "key", "value")
        )
        return made["taskDefinition"]["taskDefinitionArn"]

    def _mark(self, env: Environment, built: Built) -> str:
        role = self.blueprint.roles[self.name]
        made_of = [built.execution, built.image, self._variables(env, built, role), role.model_dump()]
        secrets = data_secrets(self.blueprint, env, "arn")
        return aws.fingerprint([*made_of, secrets] if secrets else made_of)

    def _prune(self, env: Environment, keep: set[str]) -> tuple[list[str], int]:
        """Deregister and delete all other revisions of ours: (why some were refused, how many there were).

        ECS refuses by an answer, not by an error (facts B2-10).
        """
        active = [arn for arn in self._revisions(env, "ACTIVE") if arn not in keep]
        dead = self._revisions(env, "INACTIVE")
        doomed = [
            arn for arn in active + dead if naming.owner_of(self._tags(arn), self.installation) == env.slug
        ]
        for arn in doomed:
            if arn in active:
                self.client.deregister_task_definition(taskDefinition=arn)
        refused: list[str] = []
        for start in range(0, len(doomed), DELETE_PER_CALL):
            answer = self.client.delete_task_definitions(
                taskDefinitions=doomed[start : start + DELETE_PER_CALL]
            )
            refused += [str(one.get("detail") or one.get("reason")) for one in answer.get("failures", [])]
        return refused, len(doomed)

    def _revisions(self, env: Environment, status: Any) -> list[str]:
        """ARNs of the family's revisions, newest first."""
        family = naming.service(env.slug, self.name)
        pages = self.client.get_paginator("list_task_definitions").paginate(
            familyPrefix=family, status=status, sort="DESC"
        )
        arns = [arn for page in pages for arn in page["taskDefinitionArns"]]
        return [arn for arn in arns if arn.rsplit("/", 1)[-1].rsplit(":", 1)[0] == family]

    def _tags(self, arn: str) -> dict[str, str]:
        described = self.client.describe_task_definition(taskDefinition=arn, include=["TAGS"])
        return aws.tag_dict(described.get("tags"))

    def _wanted(self, env: Environment, built: Built) -> dict[str, Any]:
        role = self.blueprint.roles[self.name]
        service = ecs.original(self.client, self.once, self.blueprint, role)
        described = self.client.describe_task_definition(taskDefinition=service["taskDefinition"])
        stg: Mapping[str, Any] = described["taskDefinition"]
        wanted = {key: stg[key] for key in COPIED if stg.get(key)}
        wanted["family"] = naming.service(env.slug, self.name)
        wanted |= {key: str(size) for key, size in (("cpu", role.cpu), ("memory", role.memory)) if size}
        if role.capacity:  # STG's own may name the other one only
            wanted["requiresCompatibilities"] = ["FARGATE" if role.capacity.fargate else "EC2"]
        wanted["containerDefinitions"] = self._containers(env, built, stg["containerDefinitions"])
        return wanted

    def _containers(
        self, env: Environment, built: Built, stg: list[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        role = self.blueprint.roles[self.name]
        if role.container not in [one["name"] for one in stg]:
            raise Blocked(
                f"service {role.copy_of} has no container {role.container}, it has"
                f" {', '.join(one['name'] for one in stg)}: correct roles.{self.name}.container"
            )
        return [self._container(env, built, role, one) for one in stg]

    def _container(
        self, env: Environment, built: Built, role: Role, stg: Mapping[str, Any]
    ) -> dict[str, Any]:
        container = {key: value for key, value in stg.items() if value not in (None, [], {})}
        if log := container.get("logConfiguration"):
            container["logConfiguration"] = _logging(log, role, env.slug)
        if stg["name"] != role.container:
            return container
        container["image"] = built.image
        # The container's own share of STG's size may not fit into ours.
        unfit = (("cpu",) if role.cpu else ()) + (("memory", "memoryReservation") if role.memory else ())
        container = {key: value for key, value in container.items() if key not in unfit}
        if role.command is not None:
            container["command"] = list(role.command)
        ours = self._variables(env, built, role)
        # A value is `<ARN>:<field>:<version stage>:<version id>`, the last two empty for the newest.
        secrets = {k: f"{v}::" for k, v in data_secrets(self.blueprint, env, "arn").items()}
        stgs = {one["name"]: one["value"] for one in stg.get("environment", [])}
        kept = {name: value for name, value in stgs.items() if name not in secrets}
        container["environment"] = aws.tag_list(kept | ours, "name", "value")
        # ECS refuses a name that is both a variable and a secret, or twice a secret.
        others = [one for one in stg.get("secrets", []) if one["name"] not in ours | secrets]
        container["secrets"] = [*others, *aws.tag_list(secrets, "name", "valueFrom")]
        return container

    def _variables(self, env: Environment, built: Built, role: Role) -> dict[str, str]:
        variables = {self.blueprint.branch_variable: env.branch, "COMMIT": built.commit}
        if role.threads:
            variables[self.blueprint.threads_variable] = str(role.threads)
        return variables | data_variables(self.blueprint, env) | role.environment


def _logging(stg: Mapping[str, Any], role: Role, slug: Slug) -> dict[str, Any]:
    """One log group per role, the environment in front of the stream's name (facts B4-3)."""
    options = dict(stg.get("options", {}))
    if stg["logDriver"] == "awslogs":
        options |= {
            "awslogs-group": role.log_group,
            "awslogs-stream-prefix": naming.log_stream_prefix(slug),
        }
    return {**stg, "options": options}
