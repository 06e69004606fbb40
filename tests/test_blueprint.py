"""Blueprints: what is right, and what a person reads who wrote something wrong."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from qa_env import blueprint as blueprints
from qa_env import naming
from qa_env.blueprint import (
    Blueprint,
    BlueprintError,
    data_name,
    index,
    load,
    main,
    of_repository,
    parse,
    present_name,
)
from qa_env.model import Slug
from tests.making import ROOT, example

FILE = ROOT / "blueprints" / "example.yaml"
REPEATABLE = settings(derandomize=True, deadline=None, max_examples=300)
LB = "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:loadbalancer/app/qa/0123456789abcdef"
MISSING = object()

MINIMAL: dict[str, Any] = {
    "version": 1,
    "repository": "example/shop",
    "cluster": "stg",
    "image_repository": "shop",
    "load_balancers": [{"arn": LB, "host": "qa.example.com", "ports": "10001-10049"}],
    "roles": {"app": {"copy_of": "stg-app", "container": "app", "port": 3000, "log_group": "/qa/app"}},
    "pipeline": {
        "connection_arn": "arn:aws:codeconnections:ap-northeast-1:123456789012:connection/1",
        "role_arn": "arn:aws:iam::123456789012:role/pipeline",
        "artifact_bucket": "artifacts",
        "build_project": "build",
    },
}


def changed(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with the value at `a.b.0.c` replaced, added or (MISSING) taken away."""
    values = copy.deepcopy(values)
    *way, last = (int(part) if part.isdigit() else part for part in path.split("."))
    here: Any = values
    for part in way:
        here = here[part] if isinstance(part, int) else here.setdefault(part, {})
    if value is MISSING:
        del here[last]
    else:
        here[last] = value
    return values


def mistakes(values: dict[str, Any]) -> list[str]:
    """What is said about a blueprint, one line each."""
    with pytest.raises(BlueprintError) as caught:
        parse(yaml.safe_dump(values), "shop.yaml")
    return str(caught.value).splitlines()


def write(directory: Path, name: str, **changes: Any) -> None:
    (directory / name).write_text(yaml.safe_dump(MINIMAL | changes), "utf-8")


class TestExample:
    def test_it_is_valid(self) -> None:
        """What people copy first works as it is."""
        made = parse(FILE.read_text("utf-8"), FILE.name)
        assert list(made.web_roles) == ["app", "admin"]
        assert made.registry == "123456789012.dkr.ecr.ap-northeast-1.amazonaws.com"
        assert made.load_balancers[0].port_range == range(10001, 10050)
        assert made.database
        assert made.database.schema_name == "{slug}"

    def test_an_environment_needs_connections_for_the_threads_of_all_its_tasks(self) -> None:
        """Where a role does not say how many threads it has, Rails' default counts."""
        role = {"copy_of": "stg", "container": "web", "log_group": "/qa/app"}
        roles = {"app": {**role, "threads": 3, "count": 2}, "worker": role}
        assert parse(yaml.safe_dump(MINIMAL | {"roles": roles}), "shop.yaml").connections == 3 * 2 + 5

    def test_it_is_complete(self) -> None:
        """Every key of every model appears in it, at least in a comment."""
        text = FILE.read_text("utf-8")
        missing = [key for key in keys_of(Blueprint) if not re.search(rf"(^|[\s#]){key}:", text)]
        assert missing == []

    def test_the_minimal_one_is_valid(self) -> None:
        """Without database, redis and GitHub an environment is still one."""
        made = parse(yaml.safe_dump(MINIMAL), "shop.yaml")
        assert made.database is None
        assert made.redis.mode == "none"
        assert made.github is None


def keys_of(model: type[BaseModel], seen: tuple[type[BaseModel], ...] = ()) -> Iterator[str]:
    """Every key that a model and the models in it know, as YAML spells them."""
    for name, field in model.model_fields.items():
        yield field.alias or name
        for part in models_in(field.annotation):
            if part not in seen:
                yield from keys_of(part, (*seen, part))


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


class TestMessages:
    @pytest.mark.parametrize(
        ("path", "value", "said"),
        [
            ("pipeline.role_arn", MISSING, "pipeline.role_arn: this key is missing"),
            ("roles.app.log_group", MISSING, "roles.app.log_group: this key is missing"),
            ("roles.app.contaner", "x", "roles.app.contaner: there is no such key; did you mean container?"),
            ("qwertz", 1, "qwertz: there is no such key"),
            (
                "load_balancers.0.ports",
                "10049-10001",
                "load_balancers.0: ports must be first-last with 1 <= first",
            ),
            ("load_balancers.0.ports", "1-70000", "1 <= first <= last <= 65535"),
            ("load_balancers.0.ports", "0-9", "1 <= first <= last <= 65535"),
            ("load_balancers.0.ports", "all", "load_balancers.0.ports: String should match pattern"),
            ("load_balancers.0.protocol", "HTTPS", "load_balancers.0: HTTPS needs certificate_arn"),
            (
                "load_balancers.0.certificate_arn",
                "arn:x",
                "load_balancers.0: HTTPS needs certificate_arn, HTTP must",
            ),
            (
                "load_balancers.0.protocol",
                "TCP",
                "load_balancers.0.protocol: Input should be 'HTTP' or 'HTTPS'",
            ),
            (
                "load_balancers.0.oidc",
                {
                    "secret": "ssm:/oidc",
                    "issuer": "https://login.example.com",
                    "authorization_endpoint": "https://login.example.com/a",
                    "token_endpoint": "https://login.example.com/t",
                    "user_info_endpoint": "https://login.example.com/u",
                },
                "load_balancers.0: oidc needs protocol HTTPS",
            ),
            (
                "page",
                {"buttons": ["drop"]},
                "page.buttons.0: Input should be 'redeploy', 'reset' or 'delete'",
            ),
            ("page", {"url": "javascript:alert(1)"}, "page.url: String should match pattern"),
            ("slack", {"secret": "xoxb-1"}, "slack.secret: String should match pattern"),
            ("slack", {"secret": "ssm:/slack", "channel": "#a b"}, "slack.channel: String should match"),
            ("sleep_after", 0, "sleep_after: Input should be greater than or equal to 1"),
            ("language", "fr", "language: Input should be 'en' or 'ja'"),
            ("load_balancers", [], "load_balancers: Tuple should have at least 1 item"),
            ("roles", {}, "roles: Dictionary should have at least 1 item"),
            (
                "roles.Web-1",
                MINIMAL["roles"]["app"],
                "roles.Web-1.[key]: String should match pattern '^[a-z]",
            ),
            (
                "roles.app.capacity",
                {"launch_type": "EC2", "provider": "X"},
                "give either launch_type or provider",
            ),
            ("roles.app.capacity", {}, "roles.app.capacity: give either launch_type or provider"),
            ("roles.app.port", 0, "roles.app.port: Input should be greater than or equal to 1"),
            ("roles.app.port", "http", "roles.app.port: Input should be a valid integer"),
            (
                "roles.app.health_check.timeout",
                5,
                "roles.app.health_check: timeout must be less than interval",
            ),
            ("roles.app.environment", {"A-B": "1"}, "roles.app.environment.A-B.[key]: String should match"),
            ("repository", "shop", "repository: String should match pattern"),
            ("branch_prefix", "qa", "branch_prefix: String should match pattern"),
            ("slug_prefix", "qa", "slug_prefix must differ from branch_prefix"),
            ("version", 2, "version: Input should be 1"),
            ("pipeline.start", "checks", "pipeline: start: checks needs required_checks"),
            ("pipeline.required_checks", ["test"], "start: push must not have them"),
            (
                "database",
                {"secret": "secretsmanager:x", "schema": "shop"},
                "database.schema: needs exactly one of {slug}",
            ),
            ("database", {"secret": "secretsmanager:x", "schema": "{branch}"}, "and no other placeholder"),
            ("database", {"secret": "secretsmanager:x", "schema": "{slug}{slug_}"}, "needs exactly one of"),
            (
                "database",
                {"secret": "secretsmanager:x", "prefix": "q"},
                "database.prefix: String should match",
            ),
            ("redis", {"mode": "namespace"}, "redis: namespace and database modes need secret"),
            ("redis", {"secret": "ssm:/x"}, "redis: namespace and database modes need secret, none must not"),
            (
                "redis",
                {"mode": "database", "secret": "ssm:/x"},
                "redis: database mode needs databases (e.g. 1-15)",
            ),
            (
                "redis",
                {"mode": "database", "secret": "ssm:/x", "databases": "15-1"},
                "redis: databases must be first-last with 1 <= first <= last",
            ),
            ("github", {"secret": "ssm:/x", "api_url": "file:///etc"}, "github.api_url: String should match"),
            ("formerly", ["store"], "formerly.0: String should match pattern"),
            ("formerly", ["example/store"] * 2, "formerly: each name may be listed once"),
            ("formerly", ["example/shop"], "formerly: example/shop is the present name; list those"),
        ],
    )
    def test_a_mistake_names_file_key_and_what_is_right(self, path: str, value: Any, said: str) -> None:
        """One line for the one mistake, and it leads to the place."""
        (line,) = mistakes(changed(MINIMAL, path, value))
        assert line.startswith("shop.yaml: ")
        assert said in line

    def test_checks_without_github_are_refused(self) -> None:
        """One webhook cannot tell that all checks are green, so somebody must be able to ask."""
        values = changed(changed(MINIMAL, "pipeline.start", "checks"), "pipeline.required_checks", ["test"])
        (line,) = mistakes(values)
        assert "pipeline.start: checks needs github" in line

    @pytest.mark.parametrize("numbers", ["15-1", "0-15", "0-0"])
    def test_database_zero_is_everybodys(self, numbers: str) -> None:
        """Numbers go upwards and begin with one."""
        redis = {"mode": "database", "secret": "ssm:/x", "databases": numbers}
        (line,) = mistakes(changed(MINIMAL, "redis", redis))
        assert "databases must be first-last with 1 <= first <= last" in line

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("database", {"secret": "ssm:/x", "prefix": "shop"}),
            ("redis", {"mode": "namespace", "secret": "ssm:/x", "prefix": "shop"}),
        ],
    )
    def test_a_prefix_that_no_name_would_have_is_refused(self, key: str, value: dict[str, str]) -> None:
        """Before a push is blocked by it; the name that a branch would get is shown."""
        (line,) = mistakes(changed(MINIMAL, key, value))
        assert f"{key}.prefix: the name for branch qa/x is qa" in line

    def test_all_mistakes_are_listed(self) -> None:
        """Three mistakes are three lines: nobody likes to correct one at a time."""
        values = changed(changed(MINIMAL, "cluster", MISSING), "roles.app.port", 70000)
        lines = mistakes(changed(values, "repositry", "x"))
        assert [line.split(": ")[1] for line in lines] == ["cluster", "roles.app.port", "repositry"]

    @pytest.mark.parametrize("text", ["", "[]", "shop", "1"])
    def test_what_is_no_mapping_is_no_blueprint(self, text: str) -> None:
        """An empty file says so under its own name."""
        with pytest.raises(BlueprintError, match=r"^shop\.yaml: the file: Input should be"):
            parse(text, "shop.yaml")

    def test_broken_yaml_is_named(self) -> None:
        """One line with the file and the place."""
        with pytest.raises(BlueprintError, match=r"^shop\.yaml: not YAML: .*line 2") as caught:
            parse("a: [1,\nb: }", "shop.yaml")
        assert "\n" not in str(caught.value)

    def test_yaml_makes_no_objects(self) -> None:
        """A blueprint is data: a tag that would run something is a mistake."""
        with pytest.raises(BlueprintError, match="not YAML"):
            parse("!!python/object/apply:os.system [true]", "shop.yaml")

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("github", {"secret": "ghp_t0ps3cret"}),
            ("database", {"secret": "mysql://root:ghp_t0ps3cret@db"}),
            ("database", {"secret": "ssm:/x", "password": "ghp_t0ps3cret"}),
        ],
    )
    def test_a_secret_in_the_wrong_place_is_not_repeated(self, path: str, value: Any) -> None:
        """Whoever pastes a password sees the key that is wrong, and the log does not see the password."""
        (line,) = mistakes(changed(MINIMAL, path, value))
        assert "ghp_t0ps3cret" not in line
        assert path in line

    def test_what_was_found_is_shown_shortly(self) -> None:
        """A long value does not bury the message."""
        (line,) = mistakes(changed(MINIMAL, "repository", "x" * 1000))
        assert "found 'xxx" in line
        assert len(line) < 250

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"branch_variable": "DB_NAME"}, "DB_NAME: the name of two variables"),
            ({"pipeline.environment": {"IMAGE": "x"}}, "pipeline.environment: IMAGE is set for each"),
            ({"roles.app.environment": {"DB_NAME": "stg"}}, "roles.app.environment: DB_NAME is set for each"),
            ({"redis.variables": {"REDIS_DB": "x{db}y"}}, "only {namespace} and {database} are filled in"),
        ],
    )
    def test_a_variable_has_one_meaning(self, changes: dict[str, Any], said: str) -> None:
        """What keeps environments apart cannot be overridden by mistake."""
        values = example()
        for path, value in changes.items():
            *parents, last = path.split(".")
            part = values
            for parent in parents:
                part = part[parent]
            part[last] = value
        with pytest.raises(BlueprintError, match=re.escape(said)):
            parse(yaml.safe_dump(values), "shop.yaml")

    def test_a_key_that_stands_twice_is_refused(self) -> None:
        """The first of two equal roles would vanish without a word."""
        with pytest.raises(BlueprintError, match="the key 'cluster' stands twice"):
            parse("version: 1\ncluster: one\ncluster: two\n", "shop.yaml")

    def test_a_load_balancer_that_stands_twice_is_refused(self) -> None:
        """Its ports would be counted twice."""
        values = example()
        values["load_balancers"] = values["load_balancers"] * 2
        with pytest.raises(BlueprintError, match="each may be listed once"):
            parse(yaml.safe_dump(values), "shop.yaml")


class TestSeveral:
    def test_files_are_read_by_repository(self, tmp_path: Path) -> None:
        """Every YAML file is a repository; examples and other files are none."""
        write(tmp_path, "shop.yaml")
        write(tmp_path, "blog.yaml", repository="example/blog", slug_prefix="blog")
        write(tmp_path, "example.yaml", repository="example/other", slug_prefix="other")
        (tmp_path / "README.md").write_text("no blueprint", "utf-8")
        assert list(load(tmp_path)) == ["example/blog", "example/shop"]

    def test_a_repository_has_one_blueprint(self, tmp_path: Path) -> None:
        """GitHub's names have no case, so neither has the check."""
        write(tmp_path, "a.yaml")
        write(tmp_path, "b.yaml", repository="Example/Shop", slug_prefix="b")
        with pytest.raises(BlueprintError, match=r"^b\.yaml: repository is the same as in a\.yaml"):
            load(tmp_path)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"formerly": ["example/old"]}, {"repository": "Example/Old"}),
            ({}, {"repository": "example/blog", "formerly": ["example/log", "Example/Shop"]}),
            ({"formerly": ["example/old"]}, {"repository": "example/blog", "formerly": ["Example/OLD"]}),
        ],
    )
    def test_a_name_belongs_to_one_repository(
        self, tmp_path: Path, one: dict[str, Any], other: dict[str, Any]
    ) -> None:
        """A former name leads to one blueprint; GitHub's names have no case here, either."""
        write(tmp_path, "a.yaml", **one)
        write(tmp_path, "b.yaml", slug_prefix="b", **other)
        said = r"^b\.yaml: example/(old|shop) is, or was, the repository of a\.yaml as well; a name may stand"
        with pytest.raises(BlueprintError, match=said):
            load(tmp_path)

    def test_former_names_lead_to_the_one_blueprint(self, tmp_path: Path) -> None:
        """It is listed once, under its present name."""
        write(tmp_path, "blog.yaml", repository="example/blog", slug_prefix="blog")
        write(tmp_path, "shop.yaml", repository="example/shop", formerly=["example/a", "example/b"])
        made = load(tmp_path)
        assert list(made) == ["example/blog", "example/shop"]
        for name in ("example/shop", "example/a", "example/b"):
            assert of_repository(made.values(), name) is made["example/shop"]
            assert present_name(made.values(), name) == "example/shop"
        assert of_repository(made.values(), "example/c") is None
        assert present_name(made.values(), "example/c") == "example/c"

    @pytest.mark.parametrize(
        ("repository", "formerly"),
        [
            ("example/b", ["example/a"]),
            ("example/c", ["example/a", "example/b"]),
            ("example/a", ["example/a", "example/b"]),
            ("Example/A", ["example/a"]),
        ],
        ids=["once", "twice", "and back", "in case only"],
    )
    def test_slugs_outlive_every_rename(self, repository: str, formerly: list[str]) -> None:
        """They are made of the first name, as it was spelled."""
        renamed = Blueprint.model_validate(MINIMAL | {"repository": repository, "formerly": formerly})
        for branch in ("qa/foo", "qa/JIRA-12", "qa/a_b", "qa/" + "x" * 60):
            assert renamed.slug(branch) == naming.slug("", "example/a", branch)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({}, {}),
            ({"slug_prefix": "shop"}, {"slug_prefix": "shop"}),
            ({"slug_prefix": "shop"}, {"branch_prefix": "shop/"}),
            ({"branch_prefix": "shop/"}, {"slug_prefix": "shop", "branch_prefix": "dev/"}),
        ],
    )
    def test_repositories_never_share_a_slug(
        self, tmp_path: Path, one: dict[str, str], other: dict[str, str]
    ) -> None:
        """qa/foo of one and shop/qa-foo of the other must not be one environment."""
        write(tmp_path, "a.yaml", **one)
        write(tmp_path, "b.yaml", repository="example/blog", **other)
        with pytest.raises(BlueprintError, match=r"^b\.yaml: slug_prefix .* a\.yaml .* another slug_prefix$"):
            load(tmp_path)

    @REPEATABLE
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["", "a", "ab", "qa", "b"]), st.sampled_from(["a/", "ab/", "qa/", "b/"])
            ),
            min_size=2,
            max_size=2,
        ),
        st.text("ab-/q", min_size=1, max_size=8),
        st.text("ab-/q", min_size=1, max_size=8),
    )
    def test_what_is_admitted_side_by_side_shares_nothing(
        self, prefixes: list[tuple[str, str]], first: str, second: str
    ) -> None:
        """Whatever two admitted repositories push, their slugs differ."""
        one, other = (
            Blueprint.model_construct(slug_prefix=slug, branch_prefix=branch) for slug, branch in prefixes
        )
        if not blueprints._may_share_slugs(one, other):
            slugs = [
                naming.slug(b.slug_prefix, repository, b.branch_prefix + rest)
                for b, repository, rest in ((one, "example/one", first), (other, "example/two", second))
            ]
            assert slugs[0] != slugs[1]

    def test_the_index_is_what_the_receiver_needs(self) -> None:
        """Repository in lower case → spellings, prefixes and whether it waits for checks; nothing else."""
        made = parse(FILE.read_text("utf-8").replace("example/shop", "Example/Shop"), "shop.yaml")
        assert index([made]) == {
            "example/shop": {
                "repository": "Example/Shop",
                "first_name": "Example/Shop",
                "branch_prefix": "qa/",
                "slug_prefix": "",
                "checks": True,
            }
        }

    def test_the_index_knows_former_names(self) -> None:
        """A delivery may be made again that was first made before the repository was renamed."""
        made = index([Blueprint.model_validate(MINIMAL | {"formerly": ["Example/Old", "example/newer"]})])
        assert sorted(made) == ["example/newer", "example/old", "example/shop"]
        assert {(one["repository"], one["first_name"]) for one in made.values()} == {
            ("example/shop", "Example/Old")
        }


class TestDataNames:
    prefixes = st.from_regex(r"[a-z][a-z0-9]{1,9}[-_]?", fullmatch=True)
    names = st.text("abqstg-_.019A;`*% é/", max_size=12) | st.text(max_size=70)

    @REPEATABLE
    @given(prefixes, names, st.sampled_from(["", "-", "_"]))
    def test_what_is_ours_has_prefix_separator_and_something_more(
        self, prefix: str, rest: str, separator: str
    ) -> None:
        """Nothing shorter, nothing with a letter that means something to a statement or a pattern."""
        name = prefix + separator + rest
        if naming.is_ours(name, prefix):
            word = prefix.rstrip("-_")
            assert re.fullmatch(re.escape(word) + r"[-_][A-Za-z0-9_.-]+", name)
            assert len(name) <= 64

    @REPEATABLE
    @given(prefixes, names)
    def test_other_peoples_names_are_never_ours(self, prefix: str, name: str) -> None:
        """Without the whole prefix at its beginning, a name is somebody else's."""
        if not name.startswith(prefix):
            assert not naming.is_ours(name, prefix)

    @pytest.mark.parametrize("prefix", ["qa", "qa-", "qa_"])
    def test_staging_is_never_ours(self, prefix: str) -> None:
        """The names that must survive everything."""
        for name in (
            "stg",
            "stg_main",
            "mysql",
            "qa",
            "qa-",
            "qa_",
            "qaz",
            "qash-op",
            "information_schema",
            "QA-foo",
            "",
        ):
            assert not naming.is_ours(name, prefix), name

    @pytest.mark.parametrize(
        ("name", "prefix"), [("qa-x", "qa"), ("qa-x", "qa-"), ("qa_x", "qa_"), ("qa_x", "qa")]
    )
    def test_the_shortest_name_is_ours(self, name: str, prefix: str) -> None:
        """A branch of one letter is a branch, whether the prefix has its separator or not."""
        assert naming.is_ours(name, prefix)

    def test_a_name_for_a_branch(self) -> None:
        """Templates give the names that applications expect."""
        assert data_name("{slug}", "qa", Slug("qa-foo"), "qa/foo") == "qa-foo"
        assert data_name("{slug_}", "qa_", Slug("qa-foo"), "qa/foo") == "qa_foo"

    @pytest.mark.parametrize(
        ("template", "prefix", "branch"),
        [
            ("{slug}", "shop", "qa/foo"),
            ("{branch_}", "qa", "qa/" + "x" * 70),
            ("{branch_}", "qa", "qa/`;DROP"),
            ("stg_{slug_}", "qa", "qa/foo"),
        ],
    )
    def test_a_name_that_would_not_be_ours_is_refused(self, template: str, prefix: str, branch: str) -> None:
        """Better no environment than one whose data nobody may remove."""
        with pytest.raises(ValueError, match=r"is not a name of|needs a branch of"):
            data_name(template, prefix, Slug("qa-foo"), branch)


class TestCommandLine:
    def test_schema_is_the_committed_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        """docs/blueprint.schema.json is what `schema` prints; `make schema` writes it anew."""
        assert main(["schema"]) == 0
        assert capsys.readouterr().out == (ROOT / "docs" / "blueprint.schema.json").read_text("utf-8")

    def test_the_schema_knows_every_key(self) -> None:
        """An editor that has the schema admits what parse admits, and no other key."""
        schema = json.loads((ROOT / "docs" / "blueprint.schema.json").read_text("utf-8"))
        assert schema["additionalProperties"] is False
        assert set(example()) <= set(schema["properties"])
        assert "schema" in schema["$defs"]["Database"]["properties"]

    def test_check_says_fine(self, capsys: pytest.CaptureFixture[str]) -> None:
        """One line for each file."""
        assert main(["check", str(FILE)]) == 0
        assert capsys.readouterr().out == f"{FILE}: fine\n"

    def test_check_names_every_file_and_what_they_share(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Also one that is not UTF-8; nothing is fine while something is wrong."""
        files = [tmp_path / name for name in ("a.yaml", "b.yaml", "sjis.yaml", "bad.yaml")]
        for file in files[:2]:
            file.write_text(FILE.read_text("utf-8"), "utf-8")
        files[2].write_bytes("# 日本語\nversion: 1\n".encode("shift-jis"))
        files[3].write_text("version: 1\n", "utf-8")
        assert main(["check", *map(str, files)]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert f"{files[1]}: repository is the same as in {files[0]}" in said.err
        assert f"{files[2]}: not UTF-8" in said.err
        assert f"{files[3]}: cluster: this key is missing" in said.err

    def test_check_says_what_is_wrong(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """On stderr, and with an exit status that stops a script."""
        path = tmp_path / "shop.yaml"
        path.write_text("version: 1\n", "utf-8")
        assert main(["check", str(path)]) == 1
        assert f"{path}: repository: this key is missing" in capsys.readouterr().err

    def test_check_of_no_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A path that leads nowhere is named, without a traceback."""
        assert main(["check", str(tmp_path / "none.yaml")]) == 1
        assert "none.yaml" in capsys.readouterr().err

    def test_index_prints_json(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """What the build puts beside the receiver."""
        write(tmp_path, "shop.yaml")
        assert main(["index", str(tmp_path)]) == 0
        assert list(json.loads(capsys.readouterr().out)) == ["example/shop"]

    @pytest.mark.parametrize("arguments", [[], ["check"], ["index"], ["schema", "x"], ["help"]])
    def test_anything_else_prints_the_usage(
        self, arguments: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """With the exit status of a usage error."""
        assert main(arguments) == 2
        assert capsys.readouterr().err.startswith("usage: ")
