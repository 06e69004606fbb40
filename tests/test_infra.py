"""infra/example and examples/rails: what they promise, and what of it can be tried without AWS."""

from __future__ import annotations

import json
import re
import string
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pymysql
import pytest
import yaml
from botocore.exceptions import ClientError
from pymysql.constants import ER
from pymysql.cursors import Cursor
from samtranslator.yaml_helper import yaml_parse

from local import ministack
from local.ministack import MiniStack
from local.servers import MariaDB
from qa_env.blueprint import Blueprint, parse
from qa_env.errors import NotReady
from qa_env.model import Built, Environment, State
from qa_env.resources.service import Service
from qa_env.resources.task_definition import TaskDefinition
from tests import canaries
from tests.datastores.asking import ask
from tests.making import A, environment, example, said

ROOT = Path(__file__).parents[1]
INFRA = ROOT / "infra" / "example"
RAILS = ROOT / "examples" / "rails"
BUILDSPECS = sorted((ROOT / "examples").glob("*/buildspec.*.yml"))
CONNECTION = (
    "arn:aws:codeconnections:ap-northeast-1:111122223333:connection/01234567-89ab-cdef-0123-456789abcdef"
)
ADMINISTRATOR = "arn:aws:secretsmanager:ap-northeast-1:111122223333:secret:administrator"
PARAMETERS = {"Repository": "example/shop", "VisitorCidr": "203.0.113.0/24"}
# What MiniStack does not know, and what stands for it where something refers to it.
UNKNOWN = {
    "Accounts": "",
    "Connection": CONNECTION,
    "NatAddress": "eipalloc-0123456789abcdef0",
    "Nat": "nat-0123456789abcdef0",
}
UNKNOWN_ATTRIBUTES = {("Database", "MasterUserSecret.SecretArn"): ADMINISTRATOR}
REFUSED = (ER.DBACCESS_DENIED_ERROR, ER.TABLEACCESS_DENIED_ERROR, ER.SPECIFIC_ACCESS_DENIED_ERROR)
KINDS = {
    "STG on ECS": ["AWS::ECS::Cluster", "AWS::ECS::Service", "AWS::ECS::Service"],
    "Load balancer for QA": ["AWS::ElasticLoadBalancingV2::LoadBalancer"],
    "ECR repository": ["AWS::ECR::Repository"],
    "CodeBuild project *build*": ["AWS::CodeBuild::Project"],
    "CodeBuild project *migrate*": ["AWS::CodeBuild::Project"],
    "Connection to GitHub": ["AWS::CodeConnections::Connection"],
    "Artifact bucket": ["AWS::S3::Bucket"],
    "Pipeline role": ["AWS::IAM::Role"],
    "Log groups": ["AWS::Logs::LogGroup", "AWS::Logs::LogGroup"],
    "Secret: MySQL": ["AWS::SecretsManager::Secret", "Custom::MySqlAccounts"],
    "A MySQL user per environment": [],
    "Secret: Redis": ["AWS::SecretsManager::Secret"],
    "Secret: GitHub": [],
    "Secret: Slack": [],
    "Secret: log-in": [],
}


@cache
def template(name: str = "template.yaml") -> dict[str, Any]:
    return dict(yaml_parse((INFRA / name).read_text("utf-8")))


def resource(name: str) -> dict[str, Any]:
    return dict(template()["Resources"][name]["Properties"])


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {n: one["Properties"] for n, one in template()["Resources"].items() if one["Type"] == kind}


def section(document: Path, heading: str) -> str:
    """The text below a heading, as far as the next one."""
    return re.split(r"^#+ ", document.read_text("utf-8").split(f"# {heading}\n")[1], flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a table without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_templates_are_small_enough_for_a_call_without_a_bucket() -> None:
    """`aws cloudformation deploy` of the guide names none, and may send 51,200 bytes."""
    for name in ("template.yaml", "list-page.yaml"):
        assert (INFRA / name).stat().st_size <= 51_200


def test_the_guide_gives_parameters_that_there_are_and_all_that_are_required() -> None:
    guide = (ROOT / "docs" / "from-nothing.md").read_text("utf-8")
    calls = re.findall(r"--template-file (\S+)((?:.*\\\n)*.*)", guide)

    given = {Path(file).name: set(re.findall(r"(\w+)=", rest)) for file, rest in calls}

    for name, parameters in given.items():
        known = template(name)["Parameters"]
        assert {one for one in known if "Default" not in known[one]} <= parameters <= set(known)
    assert set(given) == {"template.yaml", "list-page.yaml"}


def test_the_readme_says_what_the_local_stack_does_not_know() -> None:
    tried = section(INFRA / "README.md", "What was tried, and what was not")
    types = {template()["Resources"][name]["Type"] for name in UNKNOWN} - {"Custom::MySqlAccounts"}
    assert set(re.findall(r"`(AWS::\w+::\w+)`", tried)) == types


# --- what must be there -----------------------------------------------------------------------------------


def test_everything_that_must_be_there_is_there() -> None:
    """Row by row of the README's table; what only people can make has no resource."""
    asked = [row[0] for row in rows(section(ROOT / "README.md", "What must be there"))]
    given = {
        row[0]: re.findall(r"`(\w+)`", row[1]) for row in rows(section(INFRA / "README.md", "What is made"))
    }

    found = {what: [template()["Resources"][name]["Type"] for name in names] for what, names in given.items()}

    assert list(KINDS) == asked
    assert {what: found[what] for what in asked} == KINDS


def test_outputs_are_the_parameters_and_placeholders_and_nothing_else() -> None:
    parameters = set(yaml_parse((ROOT / "template.yaml").read_text("utf-8"))["Parameters"])
    placeholders = set(string.Template((INFRA / "blueprint.yaml").read_text("utf-8")).get_identifiers())

    outputs = set(template()["Outputs"])

    assert outputs & parameters == {
        *("PassRoleArns", "BuildProjectArns", "ImageRepositoryArns", "DataSecretArns"),
        *("VpcSubnetIds", "VpcSecurityGroupIds"),
    }
    assert outputs - parameters == placeholders
    guide = section(ROOT / "docs" / "from-nothing.md", "5. qa-env")
    assert outputs & parameters <= set(re.findall(r"`(\w+)`", guide))


def test_the_environments_are_copies_of_stg_on_fargate_spot_without_tasks() -> None:
    for service in of_type("AWS::ECS::Service").values():
        assert service["CapacityProviderStrategy"] == [{"CapacityProvider": "FARGATE_SPOT", "Weight": 1}]
        assert service["DesiredCount"] == {"Ref": "StgTasks"}
        assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["SecurityGroups"] == [
            {"Ref": "TaskGroup"}
        ]
    assert template()["Parameters"]["StgTasks"]["Default"] == 0


def test_images_are_pushed_again_under_their_tags() -> None:
    assert resource("Images")["ImageTagMutability"] == "MUTABLE"
    (rule,) = json.loads(resource("Images")["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    assert rule["selection"]["tagStatus"] == "untagged"


def test_redis_is_not_in_cluster_mode_and_speaks_tls() -> None:
    cache_ = resource("Cache")
    assert cache_["TransitEncryptionEnabled"] is True
    assert {"NumNodeGroups", "ClusterMode"}.isdisjoint(cache_)
    assert "rediss://" in resource("RedisSecret")["SecretString"]["Fn::Sub"]


def test_the_load_balancer_has_listeners_enough_for_its_ports() -> None:
    """50 by default; STG's own and the list's are two of them."""
    ports = {name: template()["Parameters"][name]["Default"] for name in ("FirstPort", "LastPort")}
    made = of_type("AWS::ElasticLoadBalancingV2::Listener")
    listing = template("list-page.yaml")["Resources"]["Listener"]["Properties"]

    assert ports["LastPort"] - ports["FirstPort"] + 1 + len(made) + 1 == 50
    assert {one["Port"] for one in made.values()} | {listing["Port"]} == {80, 8080}


def test_the_list_pages_target_group_is_one_that_the_function_admits() -> None:
    permission = yaml_parse((ROOT / "template.yaml").read_text("utf-8"))["Resources"]["PagePermission"]
    admitted = permission["Properties"]["SourceArn"]["Fn::Sub"].split(":targetgroup/")[1].split("*")[0]
    name = template("list-page.yaml")["Resources"]["TargetGroup"]["Properties"]["Name"]["Fn::Sub"]
    assert name.startswith(admitted)


# --- who may what -----------------------------------------------------------------------------------------


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of every role and shared policy, with whose it is."""
    for name, role in of_type("AWS::IAM::Role").items():
        for policy in role.get("Policies", ()):
            yield from ((name, one) for one in policy["PolicyDocument"]["Statement"])
    for name, policy in of_type("AWS::IAM::ManagedPolicy").items():
        yield from ((name, one) for one in policy["PolicyDocument"]["Statement"])


def flat(value: Any) -> list[Any]:
    """A list where one value may stand for itself."""
    return value if isinstance(value, list) else [value]


def actions(statement: Mapping[str, Any]) -> list[str]:
    return flat(statement["Action"])


def allowed(role: str) -> dict[str, list[Any]]:
    """A role's actions and the resources of each."""
    found: dict[str, list[Any]] = {}
    for name, statement in statements():
        if name == role:
            for action in actions(statement):
                found.setdefault(action, []).extend(flat(statement["Resource"]))
    return found


def test_no_action_is_a_pattern() -> None:
    listed = [action for _, statement in statements() for action in actions(statement)]
    assert len(listed) > 40, "the test finds them"
    assert [action for action in listed if "*" in action] == []


def test_every_star_has_its_reason_beside_it() -> None:
    lines = (INFRA / "template.yaml").read_text("utf-8").splitlines()
    stars = [line for line in lines if re.search(r"""(Resource|Principal): ["']?\*""", line)]
    assert len(stars) > 4, "the test finds them"
    assert [line for line in stars if not re.search(r"# \w.{5,}", line)] == []


def test_only_aws_services_assume_the_roles() -> None:
    for role in of_type("AWS::IAM::Role").values():
        (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
        (kind,) = trust["Principal"]
        assert kind == "Service"
        assert trust["Principal"]["Service"].endswith(".amazonaws.com")


def test_the_pipeline_role_reaches_one_bucket_one_connection_two_projects_and_one_function() -> None:
    may = allowed("PipelineRole")

    objects, bucket = {"Fn::Sub": "${Artifacts.Arn}/*"}, {"Fn::GetAtt": ["Artifacts", "Arn"]}
    (function,) = may.pop("lambda:InvokeFunction")
    assert function["Fn::Sub"].endswith(":function:${Installation}-deploy")
    connection, projects = (
        {"Ref": "Connection"},
        [{"Fn::GetAtt": [one, "Arn"]} for one in ("Build", "Migrate")],
    )
    assert may == {
        "s3:GetObject": [objects],
        "s3:GetObjectVersion": [objects],
        "s3:PutObject": [objects],
        "s3:GetBucketAcl": [bucket],
        "s3:GetBucketLocation": [bucket],
        "s3:GetBucketVersioning": [bucket],
        "codeconnections:UseConnection": [connection],
        "codestar-connections:UseConnection": [connection],
        "codebuild:BatchGetBuilds": projects,
        "codebuild:StartBuild": projects,
    }
    uses = [one for _, one in statements() if actions(one)[0].endswith(":UseConnection")]
    for use in uses:
        ((name, repository),) = use["Condition"]["ForAllValues:StringEquals"].items()
        assert (name.split(":")[1], repository) == ("FullRepositoryId", {"Ref": "Repository"})


def test_the_build_pushes_to_its_repository_and_reads_no_secret() -> None:
    may = allowed("BuildRole")
    assert {action for action in may if action.startswith("secretsmanager:")} == set()
    assert may["ecr:PutImage"] == [{"Fn::GetAtt": ["Images", "Arn"]}]
    assert may["logs:PutLogEvents"] == [{"Fn::GetAtt": ["BuildLogs", "Arn"]}]


def test_the_migration_reads_the_applications_secrets_and_pushes_nothing() -> None:
    may = allowed("MigrateRole")
    assert may["secretsmanager:GetSecretValue"] == [{"Ref": "ApplicationSecret"}, {"Ref": "RedisSecret"}]
    assert "ecr:PutImage" not in may


def test_only_the_custom_resource_knows_the_administrator() -> None:
    administrator = {"Fn::GetAtt": ["Database", "MasterUserSecret.SecretArn"]}
    knows = {name for name, statement in statements() if administrator in flat(statement["Resource"])}
    assert knows == {"AccountsRole"}


def test_projects_run_docker_in_the_vpc_and_only_migrations_reach_data() -> None:
    for name, group in (("Build", "BuildGroup"), ("Migrate", "MigrateGroup")):
        project = resource(name)
        assert project["Source"]["Type"] == project["Artifacts"]["Type"] == "CODEPIPELINE"
        assert (ROOT / "examples" / "sample-app" / project["Source"]["BuildSpec"]).exists()
        assert project["Environment"]["PrivilegedMode"] is True
        assert project["VpcConfig"]["SecurityGroupIds"] == [{"Ref": group}]


# --- who reaches whom -------------------------------------------------------------------------------------


def admitted(group: str) -> set[tuple[str, int, int]]:
    """Who is let in, and to which ports; a parameter as its default."""
    defaults = {name: one.get("Default") for name, one in template()["Parameters"].items()}
    found = set()
    for rule in resource(group).get("SecurityGroupIngress", ()):
        ends = [
            end if isinstance(end, int) else defaults[end["Ref"]]
            for end in (rule["FromPort"], rule["ToPort"])
        ]
        who = rule.get("SourceSecurityGroupId") or rule["CidrIp"]
        found.add((who["Ref"], *ends))
    return found


def test_the_load_balancer_is_open_to_visitors_only_and_tasks_to_the_load_balancer_only() -> None:
    assert admitted("LoadBalancerGroup") == {
        ("VisitorCidr", 10001, 10048),
        ("VisitorCidr", 80, 80),
        ("VisitorCidr", 8080, 8080),
    }
    assert admitted("TaskGroup") == {("LoadBalancerGroup", 8080, 8080)}


@pytest.mark.parametrize(("group", "port"), [("DatabaseGroup", 3306), ("CacheGroup", 6379)])
def test_data_admits_tasks_migrations_and_qa_env(group: str, port: int) -> None:
    who = ("TaskGroup", "MigrateGroup", "DatastoresGroup")
    assert admitted(group) == {(one, port, port) for one in who}


@pytest.mark.parametrize("group", ["BuildGroup", "MigrateGroup", "DatastoresGroup"])
def test_nobody_reaches_builds_and_functions(group: str) -> None:
    assert admitted(group) == set()


def test_visitors_must_be_said_and_cannot_be_everybody() -> None:
    cidr = template()["Parameters"]["VisitorCidr"]
    assert "Default" not in cidr
    assert re.fullmatch(cidr["AllowedPattern"], "203.0.113.0/24")
    assert re.fullmatch(cidr["AllowedPattern"], "203.0.113.7/32")
    assert not re.fullmatch(cidr["AllowedPattern"], "0.0.0.0/0")


# --- the accounts -----------------------------------------------------------------------------------------


class DataApi:
    """RDS's Data API in front of a MariaDB, which is paused at first. It repeats statements in its errors."""

    def __init__(self, server: MariaDB, paused: int = 1) -> None:
        client = boto3.client("rds-data", region_name="ap-northeast-1")
        self.exceptions = client.exceptions
        self.paused = paused
        self.connection = server.connect()

    def execute_statement(self, **request: str) -> None:
        if self.paused:
            self.paused -= 1
            said = {"Error": {"Code": "DatabaseResumingException", "Message": "resuming"}}
            raise self.exceptions.DatabaseResumingException(said, "ExecuteStatement")
        statement = request["sql"].replace("CONNECTION_ADMIN", "CONNECTION ADMIN")  # MariaDB spells it so
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(statement)
        except pymysql.MySQLError as error:
            said = {"Error": {"Code": "DatabaseErrorException", "Message": f"{error} near {statement}"}}
            raise ClientError(said, "ExecuteStatement") from error


class Secrets:
    """Secrets Manager with the secrets of this stack."""

    def __init__(self, server: MariaDB, password: str = canaries.MYSQL_PASSWORD.replace("-", "")) -> None:
        self.password = password
        self.where = {"host": server.host, "port": str(server.port)}

    def connect(self, user: str, schema: str | None = None) -> pymysql.Connection[Cursor]:
        """A session of one of the accounts."""
        host, port = self.where["host"], int(self.where["port"])
        return pymysql.connect(
            host=host, port=port, user=user, password=self.password, database=schema, autocommit=True
        )

    def get_secret_value(self, SecretId: str) -> dict[str, str]:  # noqa: N803 - AWS's spelling
        text = resource(SecretId)["GenerateSecretString"]["SecretStringTemplate"]["Fn::Sub"]
        value = {**json.loads(text), **self.where, "password": self.password}
        return {"SecretString": json.dumps(value)}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """What the function told CloudFormation: status and reason. Lambda brings cfnresponse along."""
    told: list[tuple[str, str | None]] = []
    module = ModuleType("cfnresponse")
    module.SUCCESS, module.FAILED = "SUCCESS", "FAILED"
    module.send = lambda *a, reason=None: told.append((a[2], reason))
    monkeypatch.setitem(sys.modules, "cfnresponse", module)
    return told


def make_accounts(
    data: DataApi, secrets: Secrets, grants: list[str] | None = None, kind: str = "Create"
) -> None:
    """Run the function as it stands in the template."""
    code = compile(resource("AccountsFunction")["Code"]["ZipFile"], "index.py", "exec")
    module: dict[str, Any] = {}
    exec(code, module)  # noqa: S102 - our own template
    module["RESUME_SECONDS"] = 0
    properties = resource("Accounts") | {"Cluster": "cluster", "Administrator": ADMINISTRATOR}
    wanted = [
        {"Secret": one["Secret"]["Ref"], "Grants": grants or one["Grants"]} for one in properties["Accounts"]
    ]
    event = {"RequestType": kind, "ResourceProperties": properties | {"Accounts": wanted}}
    clients = {"rds-data": data, "secretsmanager": secrets}
    module["handler"](event, None, clients.__getitem__)


@pytest.fixture
def data(mariadb: MariaDB) -> Iterator[DataApi]:
    """The Data API; afterwards the accounts and their schemas are gone."""
    api = DataApi(mariadb)
    yield api
    with api.connection.cursor() as cursor:
        for name in ("qa-provisioner", "stg"):
            cursor.execute(f"DROP USER IF EXISTS '{name}'@'%'")
        for name in ("qa-foo", "stg", "other", "qaxfoo"):
            cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")
    api.connection.close()


def answers(secrets: Secrets, user: str, *texts: str) -> list[str]:
    """What an account hears of each statement: done, refused for want of a right, or another error."""
    heard = []
    with secrets.connect(user) as connection:
        for text in texts:
            try:
                connection.cursor().execute(text)
                heard.append("done")
            except pymysql.MySQLError as error:
                heard.append("refused" if error.args[0] in REFUSED else str(error))
    return heard


def test_the_accounts_may_what_they_need_and_no_more(
    mariadb: MariaDB, data: DataApi, sent: list[tuple[str, str | None]]
) -> None:
    """Twice, as an update does; on a server that has to be woken first."""
    secrets = Secrets(mariadb)
    make_accounts(data, secrets)
    make_accounts(data, secrets, kind="Update")
    with data.connection.cursor() as cursor:
        for name in ("stg", "other"):
            cursor.execute(f"CREATE DATABASE `{name}`")

    assert sent == [("SUCCESS", None)] * 2
    create, drop = "CREATE DATABASE `{}`", "DROP DATABASE `{}`"
    foreign = [text.format(name) for text in (create, drop) for name in ("other", "stg", "qaxfoo")]
    tables = [f"CREATE TABLE `{name}`.t (id INT)" for name in ("qa-foo", "stg", "other", "mysql")]
    others = ["CREATE USER 'another'@'%'", "SELECT COUNT(*) FROM mysql.db"]

    assert answers(secrets, "qa-provisioner", create.format("qa-foo")) == ["done"]
    assert answers(secrets, "qa-provisioner", *foreign, *others) == ["refused"] * 8
    assert answers(secrets, "stg", *tables) == ["done", "done", "refused", "refused"]


def test_qa_env_drops_a_schema_in_use_with_the_account_it_is_given(
    mariadb: MariaDB, data: DataApi, sent: list[tuple[str, str | None]]
) -> None:
    """The application holds a transaction open: only who sees its session and may end it gets further."""
    secrets = Secrets(mariadb)
    make_accounts(data, secrets)
    given = secrets.get_secret_value("ProvisionerSecret")["SecretString"]
    schema = {"store": "mysql", "prefix": "qa", "name": "qa-foo"}
    assert ask(given, action="ensure", charset="utf8mb4", collation=None, **schema) == {"name": "qa-foo"}
    with secrets.connect("stg", "qa-foo") as application:
        application.cursor().execute("CREATE TABLE t (id INT)")
        application.begin()
        application.cursor().execute("INSERT INTO t VALUES (1)")

        assert ask(given, action="delete", **schema) == {"gone": "yes"}


def test_a_deleted_stack_asks_the_database_nothing(
    mariadb: MariaDB, data: DataApi, sent: list[tuple[str, str | None]]
) -> None:
    make_accounts(data, Secrets(mariadb), kind="Delete")

    assert sent == [("SUCCESS", None)]
    assert data.paused == 1


def test_an_error_that_repeats_the_statement_does_not_tell_the_password(
    mariadb: MariaDB, data: DataApi, sent: list[tuple[str, str | None]]
) -> None:
    secrets = Secrets(mariadb)
    make_accounts(data, secrets, grants=[f"ALL ON `qa-%`.* /* {secrets.password} */ nonsense"])

    ((status, reason),) = sent
    assert status == "FAILED"
    assert reason is not None
    assert "nonsense" in reason
    assert secrets.password not in reason


def test_a_password_that_would_need_quoting_is_refused(
    mariadb: MariaDB, data: DataApi, sent: list[tuple[str, str | None]]
) -> None:
    make_accounts(data, Secrets(mariadb, password="x' IDENTIFIED BY 'y"))

    ((status, reason),) = sent
    assert (status, reason) == ("FAILED", "ValueError: a name or password that would need quoting")


# --- on the local stack -----------------------------------------------------------------------------------


def known_here() -> str:
    """The template without what MiniStack does not know; containers' secrets spelled as ECS spells them."""
    resources = {name: one for name, one in template()["Resources"].items() if name not in UNKNOWN}
    return json.dumps(_replaced({**template(), "Resources": resources}))


def _replaced(value: Any) -> Any:
    if isinstance(value, list):
        return [_replaced(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get("Ref") in UNKNOWN:
        return UNKNOWN[value["Ref"]]
    name, attribute = value.get("Fn::GetAtt", ("", ""))
    if name in UNKNOWN:
        return UNKNOWN[name]
    if set(value) == {"Name", "ValueFrom"}:
        return {"name": value["Name"], "valueFrom": value["ValueFrom"]}
    return UNKNOWN_ATTRIBUTES.get((name, attribute)) or {key: _replaced(one) for key, one in value.items()}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    """A MiniStack without qa-env."""
    directory = tmp_path_factory.mktemp("infra")
    (directory / "logs").mkdir()
    started = ministack.start(directory, directory / "logs", "token", {})
    yield started
    started.stop()


@pytest.fixture(scope="module")
def outputs(stack: MiniStack) -> dict[str, str]:
    """What the stack says when it is deployed."""
    s3 = stack.client("s3")
    s3.create_bucket(Bucket="templates", CreateBucketConfiguration={"LocationConstraint": ministack.REGION})
    s3.put_object(Bucket="templates", Key="stg.json", Body=known_here().encode())
    return ministack.deploy(
        stack, "stg", f"https://s3.{ministack.REGION}.amazonaws.com/templates/stg.json", PARAMETERS
    )


@pytest.fixture
def blueprint(outputs: dict[str, str]) -> Blueprint:
    """The example blueprint, filled as the guide says."""
    described = {"Stacks": [{"StackName": "stg", "Outputs": _listed(outputs)}]}
    return parse(_fill(described).stdout, "sample-app.yaml")


def _listed(outputs: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]


def _fill(described: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(INFRA / "fill.py")]
    return subprocess.run(command, input=json.dumps(described), capture_output=True, text=True, check=False)


def test_the_filled_blueprint_passes_its_check(outputs: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "sample-app.yaml"
    file.write_text(_fill({"Stacks": [{"StackName": "stg", "Outputs": _listed(outputs)}]}).stdout, "utf-8")

    command = [sys.executable, "-m", "qa_env.blueprint", "check", str(file)]
    environ = {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == (f"{file}: fine\n", "")


def test_a_stack_without_an_output_is_named() -> None:
    done = _fill({"Stacks": [{"StackName": "other", "Outputs": []}]})

    assert done.returncode == 1
    assert done.stderr == "stack other has no output 'Repository'\n"
    assert done.stdout == ""


def test_the_outputs_are_what_the_parameters_of_qa_env_accept(outputs: dict[str, str]) -> None:
    """But the secrets', where MiniStack answers with names instead of ARNs."""
    parameters = yaml_parse((ROOT / "template.yaml").read_text("utf-8"))["Parameters"]
    for name in set(outputs) & set(parameters) - {"DataSecretArns"}:
        for value in outputs[name].split(","):
            assert re.fullmatch(parameters[name]["AllowedPattern"], value), name


def an_environment(blueprint: Blueprint) -> Environment:
    """One whose commit is built and whose data is there."""
    image = f"{blueprint.registry}/{blueprint.image_repository}:qa-foo-{A}"
    conditions = {
        "schema": said(State.READY, name="qa-foo"),
        "keyspace": said(State.READY, namespace="qa_foo", database="9"),
    }
    built = Built(commit=A, image=image, execution="execution-1")
    return environment(repository=blueprint.repository, built=built, conditions=conditions)


@pytest.mark.parametrize("role", ["web", "worker"])
def test_an_environment_is_a_copy_of_the_deployed_stg(
    stack: MiniStack, blueprint: Blueprint, role: str
) -> None:
    """Image and data are the branch's; size, roles and secrets are STG's."""
    ecs, env = stack.client("ecs"), an_environment(blueprint)

    registered = TaskDefinition(ecs, blueprint, "qa-env", role).ensure(env)

    def described(task: str) -> dict[str, Any]:
        return dict(ecs.describe_task_definition(taskDefinition=task)["taskDefinition"])

    stg, made = described(f"stg-{role}"), described(registered["arn"])
    for same in ("cpu", "memory", "networkMode", "executionRoleArn", "taskRoleArn"):
        assert made[same] == stg[same]
    (original,), (container,) = stg["containerDefinitions"], made["containerDefinitions"]
    assert env.built is not None
    assert container["image"] == env.built.image
    assert container["command"] == original["command"]
    assert container["secrets"] == original["secrets"]
    variables = {one["name"]: one["value"] for one in container["environment"]}
    assert variables == {
        "BRANCH": "qa/foo",
        "COMMIT": A,
        "DB_NAME": "qa-foo",
        "REDIS_NAMESPACE": "qa_foo",
        "REDIS_DB": "9",
        "RAILS_MAX_THREADS": "2",
    }
    assert container["logConfiguration"]["options"]["awslogs-group"] == f"/qa/sample-app/{role}"


def test_an_environments_service_runs_where_stgs_would(stack: MiniStack, blueprint: Blueprint) -> None:
    ecs, env = stack.client("ecs"), an_environment(blueprint)
    registered = TaskDefinition(ecs, blueprint, "qa-env", "worker").ensure(env)
    env = env.with_conditions({"task_definition/worker": said(State.READY, **registered)})

    with pytest.raises(NotReady, match="worker is starting"):
        Service(ecs, blueprint, "qa-env", "worker").ensure(env)

    services = ecs.describe_services(cluster="stg", services=["stg-worker", "qa-foo-worker"])["services"]
    stg, made = sorted(services, key=lambda one: one["serviceName"], reverse=True)
    for same in ("networkConfiguration", "capacityProviderStrategy"):
        assert made[same] == stg[same]
    ecs.delete_service(cluster="stg", service="qa-foo-worker", force=True)


# --- what it costs ----------------------------------------------------------------------------------------


def test_the_costs_are_what_their_formulas_say_and_add_up() -> None:
    table = rows(section(INFRA / "README.md", "What it costs"))
    total = next(number for number, row in enumerate(table) if row[0].startswith("**"))

    computed = {row[0]: _sum(row[1]) for row in table if row[1]}

    assert len(computed) > 10
    shown = {row[0]: float(row[2]) for row in table if row[1]}
    assert {what: round(price, 2) for what, price in computed.items()} == shown
    monthly = sum(shown[row[0]] for row in table[:total])
    assert table[total][2] == f"**{monthly:.2f}**"


def _sum(formula: str) -> float:
    """`a × b + c × d`."""
    total = 0.0
    for term in formula.split("+"):
        product = 1.0
        for factor in term.split("×"):
            product *= float(factor)
        total += product
    return total


# --- Rails, and buildspecs --------------------------------------------------------------------------------


def commands(buildspec: Path) -> str:
    phases = yaml.safe_load(buildspec.read_text("utf-8"))["phases"]
    return "\n".join(one for phase in phases.values() for one in phase["commands"])


def provided(stage: str) -> set[str]:
    """The variables that a stage gets, by the README's table; redis.variables as our blueprints call them."""
    text = section(ROOT / "README.md", "What the application does")
    column = {"build": 1, "migrate": 2}[stage]
    given = {name for row in rows(text) if row[column] for name in re.findall(r"`([^`]+)`", row[0])}
    places = {"redis.variables", "pipeline.environment"}
    assert places & given
    return given - places | ({"REDIS_NAMESPACE", "REDIS_DB"} if "redis.variables" in given else set())


@pytest.mark.parametrize("buildspec", BUILDSPECS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_buildspec_uses_only_variables_that_it_gets(buildspec: Path) -> None:
    document = yaml.safe_load(buildspec.read_text("utf-8"))
    stage = buildspec.name.split(".")[1]
    known = provided(stage) | set(document.get("env", {}).get("secrets-manager", {}))

    text = commands(buildspec)
    used = set(re.findall(r"\$\{?(\w+)|--env (\w+)", text))

    names = {name for pair in used for name in pair if name and not name.startswith("CODEBUILD_")}
    assert document["version"] == 0.2
    assert set(document["phases"]) <= {"install", "pre_build", "build", "post_build"}
    assert "IMAGE" in names
    assert names <= known
    assert "BRANCH" not in re.findall(r"\$\{?(\w+)", text), "the branch is anybody's text"


def unquoted(command: str) -> list[str]:
    """Expansions that the shell would split: those outside of double quotes. Single quotes expand nothing."""
    found, quote = [], ""
    for position, letter in enumerate(command):
        if letter in "\"'" and quote in ("", letter):
            quote = "" if quote else letter
        elif letter == "$" and not quote:
            found.append(command[position : position + 20])
    return found


@pytest.mark.parametrize("buildspec", BUILDSPECS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_buildspec_quotes_what_it_expands(buildspec: Path) -> None:
    assert unquoted("echo $HOME '$HOME' \"$HOME\"") == ["$HOME '$HOME' \"$HOME"]
    assert unquoted(commands(buildspec)) == []


def test_both_applications_have_both_buildspecs() -> None:
    assert [(one.parent.name, one.name) for one in BUILDSPECS] == [
        (application, f"buildspec.{stage}.yml")
        for application in ("rails", "sample-app")
        for stage in ("build", "migrate")
    ]


def rendered(file: str, **environ: str) -> Any:
    """The YAML with `ENV.fetch("NAME", "default")` filled in: all the Ruby there may be in it."""

    def value(found: re.Match[str]) -> str:
        given = environ.get(found[1], found[2])
        return json.dumps(given) if found[3] else given

    pattern = r"""<%= ENV\.fetch\("(\w+)", "([^"]*)"\)(\.to_json)? %>"""
    text = re.sub(pattern, value, (RAILS / file).read_text("utf-8"))
    assert "<%" not in text
    return yaml.safe_load(text)


def test_database_yml_takes_the_schema_and_the_threads() -> None:
    staging = rendered("config/database.yml", DB_NAME="qa-foo", RAILS_MAX_THREADS="3")["staging"]
    assert (staging["database"], staging["pool"]) == ("qa-foo", 3)
    assert rendered("config/database.yml")["staging"]["database"] == "shop_staging"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, {"db": 0, "namespace": ""}),
        ({"REDIS_NAMESPACE": "qa_foo", "REDIS_DB": "9"}, {"db": 9, "namespace": "qa_foo"}),
        ({"REDIS_DB": "3"}, {"db": 3, "namespace": ""}),
    ],
    ids=["stg", "namespace", "database"],
)
def test_redis_yml_knows_both_modes(environ: dict[str, str], expected: dict[str, Any]) -> None:
    url = "rediss://redis.internal:6379"
    assert rendered("config/redis.yml", REDIS_URL=url, **environ)["shared"] == {"url": url, **expected}


def test_cable_yml_keeps_channels_apart_in_both_modes() -> None:
    one, other = (rendered("config/cable.yml", DB_NAME=name)["staging"] for name in ("qa-foo", "qa-bar"))
    assert one["channel_prefix"] != other["channel_prefix"]


def rails_blueprints() -> list[dict[str, Any]]:
    blocks = re.findall(
        r"^```yaml\n(.*?)^```$", (RAILS / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return [yaml.safe_load(block) for block in blocks]


def test_the_blueprint_of_rails_is_valid_in_both_modes() -> None:
    namespace, database = rails_blueprints()
    pipeline = {**example()["pipeline"], **namespace["pipeline"]}

    read = [
        Blueprint.model_validate({**example(), **part, "pipeline": pipeline})
        for part in (namespace, {**namespace, **database})
    ]

    assert [one.redis.mode for one in read] == ["namespace", "database"]
    assert {name for one in read for name in one.redis.variables} == {"REDIS_NAMESPACE", "REDIS_DB"}


def test_ruby_reads_only_variables_that_somebody_sets() -> None:
    """qa-env's table, STG's secrets as the README lists them, and the blueprint's own."""
    readme = (RAILS / "README.md").read_text("utf-8")
    stg = {"DATABASE_URL", "REDIS_URL", "RAILS_MASTER_KEY"}
    assert all(f"`{name}`" in readme for name in stg)
    roles = rails_blueprints()[0]["roles"].values()
    own = {name for role in roles for name in role.get("environment", {})}
    files = [path for path in (RAILS / "config").rglob("*") if path.is_file()]

    read = {
        name
        for path in files
        for name in re.findall(r"""ENV(?:\.fetch\(|\[)"(\w+)""", path.read_text("utf-8"))
    }

    assert "DB_NAME" in read
    assert read <= provided("migrate") | {"RAILS_MAX_THREADS", "APP_HOST"} | stg | own


def test_no_base_image_comes_from_docker_hub() -> None:
    for dockerfile in (ROOT / "examples").glob("*/Dockerfile"):
        sources = re.findall(r"^FROM (\S+)(?: AS (\w+))?", dockerfile.read_text("utf-8"), re.MULTILINE)
        stages = {name for _, name in sources}
        assert all(image in stages or image.startswith("public.ecr.aws/") for image, _ in sources)
        assert "syntax=" not in dockerfile.read_text("utf-8").splitlines()[0]


def test_every_file_of_rails_is_explained() -> None:
    linked = set(re.findall(r"\]\(([^)#]+)\)", (RAILS / "README.md").read_text("utf-8")))
    files = {str(path.relative_to(RAILS)) for path in RAILS.rglob("*") if path.is_file()}
    assert files - {"README.md"} <= linked
