"""What all environments of one repository share: YAML in, frozen values out. Read once per sandbox.

Unknown keys are errors, so that a typo is found before a push needs it. Secrets are references
(`secretsmanager:<id>` or `ssm:<name>`), never values. `python -m qa_env.blueprint schema` prints the JSON
Schema for editors, `… check FILE…` validates, `… index DIR` prints what the receiver needs to know.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from qa_env import naming
from qa_env.model import Slug
from qa_env.naming import is_ours

THREADS = 5  # connections of a task whose role does not say: the default of Rails' pool
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
Variable = Annotated[str, StringConstraints(pattern=VARIABLE)]
SecretRef = Annotated[str, StringConstraints(pattern=r"^(secretsmanager|ssm):[A-Za-z0-9/_+=.@:-]+$")]
RoleName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{0,11}$")]
RepositoryName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")]


def _template(text: str) -> str:
    (found, *more) = re.findall(r"\{[^}]*\}", text) or [""]
    if more or found not in ("{slug}", "{slug_}", "{branch_}"):
        raise ValueError("needs exactly one of {slug}, {slug_} or {branch_} and no other placeholder")
    return text


NameTemplate = Annotated[str, AfterValidator(_template)]


class BlueprintError(Exception):
    """A blueprint that cannot be used: names the file, the key and what would be right."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Oidc(_Model):
    """A log-in in front of every environment, done by the load balancer. The secret holds JSON with client_id
    and client_secret; the identity provider must know `https://<host>:<port>/oauth2/idpresponse`."""

    secret: SecretRef
    issuer: str = Field(pattern=r"^https://[^\s?#]+$")
    authorization_endpoint: str = Field(pattern=r"^https://[^\s#]+$")
    token_endpoint: str = Field(pattern=r"^https://[^\s#]+$")
    user_info_endpoint: str = Field(pattern=r"^https://[^\s#]+$")
    scope: str = Field(default="openid email", pattern=r"^openid( [a-z_:.-]+)*$")
    session_timeout: int = Field(default=604800, ge=1, le=604800, description="Seconds.")


class LoadBalancer(_Model):
    """A load balancer for QA and the ports that environments may claim on it."""

    arn: str = Field(pattern=r"^arn:[a-z-]+:elasticloadbalancing:[a-z0-9-]+:\d{12}:loadbalancer/app/.+$")
    host: str = Field(pattern=r"^[A-Za-z0-9.{}-]+$", description="Name in URLs; may contain {slug}.")
    ports: str = Field(pattern=r"^\d{1,5}-\d{1,5}$", description="Inclusive range, e.g. 10001-10049.")
    protocol: Literal["HTTP", "HTTPS"] = "HTTP"
    certificate_arn: str | None = None
    ssl_policy: str = "ELBSecurityPolicy-TLS13-1-2-2021-06"
    oidc: Oidc | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        first, last = self.port_range.start, self.port_range.stop - 1
        if not 1 <= first <= last <= 65535:
            raise ValueError("ports must be first-last with 1 <= first <= last <= 65535")
        if self.oidc and self.protocol != "HTTPS":
            raise ValueError("oidc needs protocol HTTPS: the load balancer logs nobody in without")
        if (self.protocol == "HTTPS") != (self.certificate_arn is not None):
            raise ValueError("HTTPS needs certificate_arn, HTTP must not have one")
        return self

    @property
    def port_range(self) -> range:
        """The ports that may be claimed, in order of preference."""
        first, last = (int(part) for part in self.ports.split("-"))
        return range(first, last + 1)


class HealthCheck(_Model):
    """Short by default: AWS's own 30 s × 5 keeps every deployment waiting for 150 s."""

    path: str = Field(default="/", pattern=r"^/")
    interval: int = Field(default=5, ge=5, le=300, description="Seconds.")
    timeout: int = Field(default=4, ge=2, le=120, description="Seconds; less than interval.")
    healthy: int = Field(default=2, ge=2, le=10)
    unhealthy: int = Field(default=2, ge=2, le=10)
    codes: str = "200-399"

    @model_validator(mode="after")
    def _timeout_within_interval(self) -> Self:
        if self.timeout >= self.interval:
            raise ValueError("timeout must be less than interval")
        return self


class Capacity(_Model):
    """Where tasks run: a launch type, or a capacity provider such as FARGATE_SPOT."""

    launch_type: Literal["EC2", "FARGATE"] | None = None
    provider: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.launch_type is None) == (self.provider is None):
            raise ValueError("give either launch_type or provider")
        return self

    @property
    def fargate(self) -> bool:
        """Fargate or Fargate Spot, not EC2: the task definition must say where it fits."""
        return "FARGATE" in (self.launch_type or self.provider or "")


class Deployment(_Model):
    """How a new commit replaces the old one. `replace` stops first: no spare capacity, never two versions."""

    strategy: Literal["replace", "rolling"] = "replace"
    failures: int = Field(default=2, ge=1, le=10, description="Failed tasks until the deployment fails.")
    grace: int = Field(default=60, ge=0, le=7200, description="Seconds a booting web task may be unhealthy.")


class Role(_Model):
    """One process of the application with its own ECS service, copied from a STG service."""

    copy_of: str = Field(description="The STG service in `cluster` whose task definition is copied.")
    container: str = Field(description="The container that runs the branch's image.")
    port: int | None = Field(default=None, ge=1, le=65535, description="Container port; web roles only.")
    target_type: Literal["ip", "instance"] = Field(default="ip", description="instance: bridge networking.")
    health_check: HealthCheck = HealthCheck()
    deregistration_delay: int = Field(default=5, ge=0, le=3600, description="Seconds; AWS's default is 300.")
    count: int = Field(default=1, ge=1, le=10)
    cpu: int | None = Field(default=None, ge=128)
    memory: int | None = Field(default=None, ge=128, description="MiB.")
    capacity: Capacity | None = Field(default=None, description="As the STG service where absent.")
    command: tuple[str, ...] | None = None
    environment: dict[Variable, str] = {}
    threads: int | None = Field(default=None, ge=1, le=64, description="RAILS_MAX_THREADS of this role.")
    log_group: str = Field(pattern=r"^[A-Za-z0-9._/#-]{1,512}$")
    exec: bool = Field(default=True, description="ECS Exec; the task role needs ssmmessages.")
    deployment: Deployment = Deployment()

    @property
    def web(self) -> bool:
        """Does this role have a port, and so a listener and a URL?"""
        return self.port is not None


class Pipeline(_Model):
    """The CodePipeline that every branch gets, and when it starts."""

    connection_arn: str = Field(pattern=r"^arn:[a-z-]+:code(star-)?connections:.+:connection/.+$")
    role_arn: str = Field(pattern=r"^arn:[a-z-]+:iam::\d{12}:role/.+$")
    artifact_bucket: str = Field(pattern=r"^[a-z0-9.-]{3,63}$")
    build_project: str
    migrate_project: str | None = Field(default=None, description="CodeBuild in the VPC; absent: no Migrate.")
    environment: dict[Variable, str] = {}
    start: Literal["push", "checks"] = "push"
    required_checks: tuple[str, ...] = Field(default=(), description="Names of checks or statuses.")

    @model_validator(mode="after")
    def _checks(self) -> Self:
        if (self.start == "checks") != bool(self.required_checks):
            raise ValueError("start: checks needs required_checks, start: push must not have them")
        return self


class Database(_Model):
    """The shared STG MySQL server. The secret holds JSON with host, port, username and password."""

    secret: SecretRef
    schema_name: NameTemplate = Field(default="{slug}", alias="schema")
    prefix: str = Field(default="qa", pattern=r"^[a-z][a-z0-9]{1,9}[-_]?$")
    variable: Variable = "DB_NAME"
    charset: str = Field(default="utf8mb4", pattern=r"^[a-z0-9]+$")
    collation: str | None = Field(default=None, pattern=r"^[a-z0-9_]+$")
    connections: int | None = Field(
        default=None,
        ge=1,
        description="That all environments may have at once; absent: 80 % of the server's max_connections.",
    )
    accounts: Literal["shared", "own"] = Field(
        default="shared", description="own: a user per environment, whose password is in Secrets Manager."
    )
    accounts_trust: bool = Field(
        default=False, description="own: also where the secret's account could take over an administrator."
    )
    user_variable: Variable = "DB_USER"
    password_variable: Variable = "DB_PASSWORD"  # noqa: S105 - the name of a variable

    @model_validator(mode="after")
    def _trusts_for_something(self) -> Self:
        if self.accounts_trust and self.accounts != "own":
            raise ValueError("accounts_trust needs accounts: own")
        return self

    @property
    def variables(self) -> list[str]:
        """The names of all variables that tell the application about its schema."""
        own = [self.user_variable, self.password_variable] if self.accounts == "own" else []
        return [self.variable, *own]


class Redis(_Model):
    """How environments share Redis. The secret holds JSON with url (redis:// or rediss://)."""

    mode: Literal["namespace", "database", "none"] = "none"
    secret: SecretRef | None = None
    namespace: NameTemplate = "{slug_}"
    prefix: str = Field(default="qa", pattern=r"^[a-z][a-z0-9]{1,9}[-_]?$")
    database: int = Field(default=0, ge=0, le=1023, description="namespace mode: the database all share.")
    databases: str | None = Field(default=None, pattern=r"^\d{1,4}-\d{1,4}$", description="database mode.")
    variables: dict[Variable, str] = Field(
        default={},
        description="Variables for the application; {namespace}, {database} are filled in.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for name, template in self.variables.items():
            if set(re.findall(r"\{[^}]*\}", template)) - {"{namespace}", "{database}"}:
                raise ValueError(f"variables.{name}: only {{namespace}} and {{database}} are filled in")
        if (self.mode == "none") != (self.secret is None):
            raise ValueError("namespace and database modes need secret, none must not have one")
        if (self.mode == "database") != (self.databases is not None):
            raise ValueError("database mode needs databases (e.g. 1-15), other modes must not have it")
        if self.databases is not None and (not self.numbers or self.numbers.start == 0):
            raise ValueError("databases must be first-last with 1 <= first <= last: everybody else uses 0")
        return self

    @property
    def numbers(self) -> range:
        """The numbered databases that environments may claim."""
        first, last = (int(part) for part in (self.databases or "1-0").split("-"))
        return range(first, last + 1)


class GitHub(_Model):
    """Credentials for asking where a branch is and for reporting. The secret holds JSON:
    `{"token": …}` for a fine-grained token, `{"app_id", "installation_id", "private_key"}` for an App."""

    secret: SecretRef
    api_url: str = Field(default="https://api.github.com", pattern=r"^https?://[^?#\s]+$")
    report: tuple[Literal["commit_status", "deployment", "pull_request"], ...] = Field(
        default=("commit_status", "deployment", "pull_request"),
        description="Where to tell people; each needs its permission.",
    )

    @property
    def web_url(self) -> str:
        """Where people look at what the API is about; GitHub Enterprise Server has the API under /api/v3."""
        return self.api_url.rstrip("/").removesuffix("/api/v3").replace("://api.", "://")


class Slack(_Model):
    """Where to tell people in Slack. The secret holds JSON: `{"token": …}` of a bot, whose messages are
    edited in place, or `{"webhook_url": …}`, which can only add messages."""

    secret: SecretRef
    channel: str | None = Field(
        default=None, pattern=r"^[#A-Za-z0-9_.-]{1,80}$", description="Needed with a token: its id is best."
    )
    api_url: str = Field(default="https://slack.com/api", pattern=r"^https?://[^?#\s]+$")


class Page(_Model):
    """The list of all environments: where it is, and what it may be asked for."""

    url: str | None = Field(
        default=None, pattern=r"^https?://[^\s?#/]+/?$", description="Of the list; reports link to it."
    )
    buttons: tuple[Literal["redeploy", "reset", "delete"], ...] = Field(
        default=(), description="What visitors of the page may do."
    )


class Blueprint(_Model):
    """Everything that is not the branch's own. `file` is where it was read from, for messages."""

    version: Literal[1]
    repository: RepositoryName
    formerly: tuple[RepositoryName, ...] = Field(
        default=(), description="Names that the repository had before, the oldest first."
    )
    branch_prefix: str = Field(default="qa/", pattern=r"^[a-z][a-z0-9]{0,9}/$")
    slug_prefix: str = Field(default="", pattern=r"^([a-z][a-z0-9]{0,9})?$")
    cluster: str
    image_repository: str = Field(pattern=r"^[a-z0-9._/-]{2,256}$", description="The ECR repository.")
    load_balancers: tuple[LoadBalancer, ...] = Field(min_length=1)
    roles: dict[RoleName, Role] = Field(min_length=1, max_length=10)
    branch_variable: Variable = "BRANCH"
    threads_variable: Variable = "RAILS_MAX_THREADS"
    pipeline: Pipeline
    database: Database | None = None
    redis: Redis = Redis()
    github: GitHub | None = None
    slack: Slack | None = None
    sleep_after: int | None = Field(default=None, ge=1, le=720, description="Hours without a visit.")
    bulk_brake: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="Share of the environments that may go at once without a webhook.",
    )
    events: bool = Field(default=True, description="Tell EventBridge's default bus (docs/events.md).")
    page: Page = Page()
    language: Literal["en", "ja"] = Field(default="en", description="Of what is posted.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._refuse_wrong_names()
        if self.slug_prefix and f"{self.slug_prefix}/" == self.branch_prefix:
            raise ValueError("slug_prefix must differ from branch_prefix: their slugs would be confused")
        branch = f"{self.branch_prefix}x"
        slug = self.slug(branch)
        for key, template, prefix in self._data():
            name = naming.expand(template, slug, branch)
            if not is_ours(name, prefix):
                raise ValueError(f"{key}.prefix: the name for branch {branch} is {name}, not {prefix}…")
        self._refuse_shared_variables()
        if len({lb.arn for lb in self.load_balancers}) < len(self.load_balancers):
            raise ValueError("load_balancers: each may be listed once; give it one range of ports")
        if self.pipeline.start == "checks" and self.github is None:
            raise ValueError(
                "pipeline.start: checks needs github: one webhook cannot tell that all are green"
            )
        return self

    def _refuse_wrong_names(self) -> None:
        """One that was given back may be the first and the present one."""
        if len(set(self.formerly)) < len(self.formerly):
            raise ValueError("formerly: each name may be listed once")
        if self.formerly[-1:] == (self.repository,):
            raise ValueError(
                f"formerly: {self.repository} is the present name; list those that it had before"
            )

    def _refuse_shared_variables(self) -> None:
        """A variable that is set twice would take one environment to another's data, or nowhere."""
        ours = [self.branch_variable, self.threads_variable, "COMMIT", "IMAGE", "QA_ENV_SLUG"]
        ours += self.database.variables if self.database else []
        ours += list(self.redis.variables)
        if twice := sorted({name for name in ours if ours.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)}: the name of two variables; give one of them another")
        given = [("pipeline.environment", self.pipeline.environment)]
        given += [(f"roles.{name}.environment", role.environment) for name, role in self.roles.items()]
        for where, variables in given:
            if taken := sorted(set(variables) & set(ours)):
                raise ValueError(
                    f"{where}: {', '.join(taken)} is set for each environment; leave it out here"
                )

    def _data(self) -> Iterable[tuple[str, str, str]]:
        """(key, name template, prefix) of everything that bears no tags."""
        if self.database:
            yield "database", self.database.schema_name, self.database.prefix
        if self.redis.mode == "namespace":
            yield "redis", self.redis.namespace, self.redis.prefix

    @property
    def names(self) -> tuple[str, ...]:
        """The repository's present name, then those that it had before."""
        return (self.repository, *self.formerly)

    @property
    def first_name(self) -> str:
        """What hashed slugs are made of: an environment keeps its own when the repository is renamed."""
        return self.formerly[0] if self.formerly else self.repository

    def slug(self, branch: str) -> Slug:
        """The name of the branch's environment."""
        return naming.slug(self.slug_prefix, self.first_name, branch)

    @property
    def connections(self) -> int:
        """How many connections to the database one environment may have at once."""
        return sum(role.count * (role.threads or THREADS) for role in self.roles.values())

    @property
    def web_roles(self) -> dict[str, Role]:
        """The roles that have a listener and a URL."""
        return {name: role for name, role in self.roles.items() if role.web}

    @property
    def registry(self) -> str:
        """The host of the ECR registry, in the account and region of the load balancers."""
        _, partition, _, region, account, _ = self.load_balancers[0].arn.split(":", 5)
        suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
        return f"{account}.dkr.ecr.{region}.{suffix}"

    def load_balancer(self, arn: str) -> LoadBalancer | None:
        """The entry of a load balancer; None if the blueprint no longer has it."""
        return next((lb for lb in self.load_balancers if lb.arn == arn), None)


class _Loader(yaml.SafeLoader):
    """PyYAML silently keeps the last of two equal keys; a role that vanishes that way is found too late."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} stands twice", problem_mark=node.start_mark
                )
        return super().construct_mapping(node, deep)


def parse(text: str, file: str) -> Blueprint:
    """Read one blueprint; BlueprintError lists every mistake with its key."""
    try:
        return Blueprint.model_validate(yaml.load(text, Loader=_Loader))  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise BlueprintError(f"{file}: not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise BlueprintError("\n".join(f"{file}: {line}" for line in _mistakes(error))) from error


def load(directory: Path) -> dict[str, Blueprint]:
    """Every `*.yaml` of the directory by repository. Files called `example*` are documentation.

    Raises BlueprintError also where two files would give environments the same names.
    """
    files = sorted(path for path in directory.glob("*.yaml") if not path.name.startswith("example"))
    read = {path.name: read_file(path, path.name) for path in files}
    _refuse_shared(read)
    return {blueprint.repository: blueprint for blueprint in read.values()}


@functools.cache
def built_in() -> dict[str, Blueprint]:
    """The blueprints that were built into the function."""
    return load(Path(__file__).parents[1] / "blueprints")


def read_file(path: Path, name: str) -> Blueprint:
    """One blueprint from its file, which must be UTF-8; `name` is what messages call it."""
    try:
        return parse(path.read_text("utf-8"), name)
    except UnicodeDecodeError as error:
        raise BlueprintError(f"{name}: not UTF-8 (byte {error.start}): save it as UTF-8") from error


def _refuse_shared(read: Mapping[str, Blueprint]) -> None:
    for (file, one), (other_file, other) in itertools.combinations(read.items(), 2):
        if one.repository.lower() == other.repository.lower():
            raise BlueprintError(f"{other_file}: repository is the same as in {file}; give this one another")
        if shared := sorted(_without_case(one) & _without_case(other)):
            raise BlueprintError(
                f"{other_file}: {shared[0]} is, or was, the repository of {file} as well;"
                " a name may stand in one blueprint only"
            )
        if _may_share_slugs(one, other):
            raise BlueprintError(
                f"{other_file}: slug_prefix and branch_prefix make names that {file} makes as well;"
                " give this one another slug_prefix"
            )


def _without_case(blueprint: Blueprint) -> set[str]:
    """The repository's names as GitHub compares them."""
    return {name.lower() for name in blueprint.names}


def of_repository(blueprints: Iterable[Blueprint], name: str) -> Blueprint | None:
    """The blueprint of the repository that has this name, or had it before."""
    return next((one for one in blueprints if name in one.names), None)


def present_name(blueprints: Iterable[Blueprint], name: str) -> str:
    """What the repository is called today; the name as it is where no blueprint knows it."""
    found = of_repository(blueprints, name)
    return found.repository if found else name


def index(blueprints: Iterable[Blueprint]) -> dict[str, dict[str, Any]]:
    """What the receiver must know of each repository, so that it need not read YAML.

    By every name that it ever had: a delivery from before it was renamed may be made again.
    """
    return {
        name: {
            "repository": b.repository,
            "first_name": b.first_name,
            "branch_prefix": b.branch_prefix,
            "slug_prefix": b.slug_prefix,
            "checks": b.pipeline.start == "checks",
        }
        for b in blueprints
        for name in sorted(_without_case(b))
    }


def data_name(template: str, prefix: str, slug: Slug, branch: str) -> str:
    """A schema or namespace name that is certainly ours; ValueError says why it cannot be."""
    name = naming.expand(template, slug, branch)
    if not is_ours(name, prefix):
        raise ValueError(f"{name!r} is not a name of 3-64 letters, digits, '_', '.' and '-' after {prefix!r}")
    return name


def _mistakes(error: ValidationError) -> Iterable[str]:
    """Each with its key. What stands at an unknown key or a secret is not repeated: it may be a secret.

    A list whose only item is wrong is also "too short" to pydantic: that is left out.
    """
    places = [mistake["loc"] for mistake in error.errors()]
    for mistake in error.errors():
        size = len(mistake["loc"])
        if mistake["type"] == "too_short" and any(
            len(place) > size and place[:size] == mistake["loc"] for place in places
        ):
            continue
        key = str(mistake["loc"][-1]) if mistake["loc"] else ""
        where = ".".join(str(part) for part in mistake["loc"]) or "the file"
        if mistake["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, _keys(), 1)
            yield f"{where}: there is no such key{f'; did you mean {near[0]}?' if near else ''}"
        elif mistake["type"] == "missing":
            yield f"{where}: this key is missing"
        else:
            silent = key == "secret" or isinstance(mistake["input"], dict)
            given = "" if silent else f" (found {_short(mistake['input'])})"
            yield f"{where}: {mistake['msg'].removeprefix('Value error, ')}{given}"


def _keys() -> list[str]:
    """Every key that may stand somewhere in a blueprint."""
    schema = Blueprint.model_json_schema()
    return sorted({key for model in (schema, *schema["$defs"].values()) for key in model["properties"]})


def _short(value: object) -> str:
    scalar = isinstance(value, str | int | float)
    text = str(value) if scalar else type(value).__name__
    return repr(text if len(text) <= 60 else text[:57] + "…")


def _may_share_slugs(one: Blueprint, other: Blueprint) -> bool:
    """`shop` before qa/ and a bare shop/ both make shop-qa-foo: one begins as all of the other's names do."""
    first, second = (f"{b.slug_prefix}/{b.branch_prefix}".lstrip("/") for b in (one, other))
    return first.startswith(second) or second.startswith(first)


def check(files: list[str]) -> tuple[list[str], list[str]]:
    """(the files that can be read, every mistake of each and then of what they share)."""
    read: dict[str, Blueprint] = {}
    mistakes = []
    for file in files:
        try:
            read[file] = read_file(Path(file), file)
        except BlueprintError as error:
            mistakes.append(str(error))
    try:
        _refuse_shared(read)
    except BlueprintError as error:
        mistakes.append(str(error))
    return list(read), mistakes


def _check(files: list[str]) -> int:
    read, mistakes = check(files)
    print("\n".join(mistakes), file=sys.stderr, end="\n" if mistakes else "")
    print("".join(f"{file}: fine\n" for file in read if not mistakes), end="")
    return 1 if mistakes else 0


def main(arguments: list[str]) -> int:
    """`schema`, `check FILE…` or `index DIR`."""
    try:
        match arguments:
            case ["schema"]:
                print(json.dumps(Blueprint.model_json_schema(), indent=2))
            case ["check", *files] if files:
                return _check(files)
            case ["index", directory]:
                print(json.dumps(index(load(Path(directory)).values()), indent=2))
            case _:
                print("usage: python -m qa_env.blueprint schema | check FILE… | index DIR", file=sys.stderr)
                return 2
    except (BlueprintError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
