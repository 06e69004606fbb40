"""examples/: buildspecs as CodeBuild's shell runs them, and Rails' files as Ruby does where there is one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "examples" / "rails" / "config"
REGISTRY = "111122223333.dkr.ecr.ap-northeast-1.amazonaws.com"
IMAGE = f"{REGISTRY}/shop:qa-foo-0123abcd"
APPLICATIONS = ("rails", "sample-app")
MIGRATIONS = {"rails": "bin/rails db:prepare db:seed", "sample-app": "bin/migrate"}
DOCKER = '#!/bin/sh\nprintf "%s\\n" "$*" >> "$CALLS"\ncat > /dev/null\nexit "${DOCKER_FAILS:-0}"\n'

with_ruby = pytest.mark.skipif(
    shutil.which("ruby") is None, reason="there is no Ruby; tests/test_infra.py fills in the YAML itself"
)


class Shell:
    """What CodeBuild runs a buildspec's commands in, with stand-ins that write down what docker is asked."""

    def __init__(self, directory: Path) -> None:
        self.calls = directory / "calls"
        self.calls.touch()
        self.directory = directory
        for name, script in {"docker": DOCKER, "aws": "#!/bin/sh\necho a-login\n"}.items():
            (directory / name).write_text(script, "utf-8")
            (directory / name).chmod(0o755)

    def run(self, application: str, stage: str, phase: str, **variables: str) -> int:
        """The exit code of one phase, whose first failure ends it."""
        text = (ROOT / "examples" / application / f"buildspec.{stage}.yml").read_text("utf-8")
        commands = yaml.safe_load(text)["phases"][phase]["commands"]
        environment = {
            "PATH": f"{self.directory}{os.pathsep}{os.environ['PATH']}",
            "CALLS": str(self.calls),
            "IMAGE": IMAGE,
            **variables,
        }
        done = subprocess.run(
            ["sh", "-eu", "-c", "\n".join(commands)], env=environment, stdin=subprocess.DEVNULL, check=False
        )
        return done.returncode

    @property
    def asked(self) -> list[str]:
        return self.calls.read_text("utf-8").splitlines()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.parametrize("application", APPLICATIONS)
def test_a_build_pushes_exactly_the_image_that_was_asked_for(shell: Shell, application: str) -> None:
    codes = [
        shell.run(application, "build", phase, CODEBUILD_BUILD_SUCCEEDING="1")
        for phase in ("pre_build", "build", "post_build")
    ]

    assert codes == [0, 0, 0]
    assert shell.asked == [
        f"login --username AWS --password-stdin {REGISTRY}",
        f"build --tag {IMAGE} .",
        f"push {IMAGE}",
    ]


@pytest.mark.parametrize("application", APPLICATIONS)
def test_nothing_is_pushed_after_a_failed_build(shell: Shell, application: str) -> None:
    assert shell.run(application, "build", "post_build", CODEBUILD_BUILD_SUCCEEDING="0") != 0
    assert shell.asked == []


@pytest.mark.parametrize("application", APPLICATIONS)
def test_a_migration_runs_in_the_image_and_fails_with_it(shell: Shell, application: str) -> None:
    assert shell.run(application, "migrate", "pre_build") == 0
    assert shell.run(application, "migrate", "build", DOCKER_FAILS="3") == 3

    login, migration = shell.asked
    assert login.endswith(REGISTRY)
    assert migration.startswith("run --rm --env ")
    assert migration.endswith(f" {IMAGE} {MIGRATIONS[application]}")


def ruby(script: str, **variables: str) -> Any:
    """What a script prints, which is JSON."""
    done = subprocess.run(
        ["ruby", "-rerb", "-rjson", "-ryaml", "-e", script],
        cwd=CONFIG,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def read(file: str, **variables: str) -> Any:
    """A YAML file as Rails reads it."""
    return ruby(
        f'puts YAML.safe_load(ERB.new(File.read("{file}")).result, aliases: true).to_json', **variables
    )


@with_ruby
def test_ruby_reads_the_account_and_the_schema() -> None:
    """Also a password of letters that mean something in YAML; in STG there are none of these variables."""
    own = {"DB_NAME": "qa-foo", "DB_USER": "qa-foo", "DB_PASSWORD": "a\"b\\c: #'{", "RAILS_MAX_THREADS": "3"}
    keys = ("database", "username", "password", "pool")

    staging, stg = read("database.yml", **own)["staging"], read("database.yml")["staging"]

    assert [staging[key] for key in keys] == ["qa-foo", "qa-foo", own["DB_PASSWORD"], 3]
    assert [stg[key] for key in keys] == ["shop_staging", "", "", 5]


@with_ruby
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {"db": 0, "namespace": ""}),
        ({"REDIS_NAMESPACE": "qa_foo", "REDIS_DB": "9"}, {"db": 9, "namespace": "qa_foo"}),
        ({"REDIS_DB": "3"}, {"db": 3, "namespace": ""}),
    ],
    ids=["stg", "namespace", "database"],
)
def test_ruby_reads_both_redis_modes(variables: dict[str, str], expected: dict[str, Any]) -> None:
    url = "rediss://redis.internal:6379"

    assert read("redis.yml", REDIS_URL=url, **variables)["shared"] == {"url": url, **expected}


STANDS_IN = """
class String; def present? = !empty?; end
module Rails
  def self.application = self
  def self.config_for(name)
    YAML.safe_load(ERB.new(File.read("#{name}.yml")).result)["shared"].transform_keys(&:to_sym)
  end
end
class Redis
  def initialize(**given) = @given = given
  def to_json(*) = @given.to_json
  class Namespace
    def initialize(name, redis:) = @given = { namespace: name, redis: redis }
    def to_json(*) = @given.to_json
  end
end
module Sidekiq
  VERSION = ENV.fetch("SIDEKIQ_VERSION")
  Config = Struct.new(:redis)
  class << self
    attr_reader :server, :client
    def configure_server = yield(@server = Config.new)
    def configure_client = yield(@client = Config.new)
  end
end
load "initializers/redis.rb"
begin
  load "initializers/sidekiq.rb"
rescue RuntimeError => error
  refused = error.message
end
puts({ own: REDIS, server: Sidekiq.server&.redis, client: Sidekiq.client&.redis, refused: refused }.to_json)
"""
"""What the initializers use of Rails, Redis and Sidekiq; prints what they made of it."""

NAMESPACE = {"REDIS_NAMESPACE": "qa_foo", "REDIS_DB": "9"}


def initialized(sidekiq: str, **variables: str) -> Any:
    return ruby(STANDS_IN, SIDEKIQ_VERSION=sidekiq, REDIS_URL="redis://redis:6379", **variables)


@with_ruby
def test_redis_and_sidekiq_share_a_namespace() -> None:
    place = {"url": "redis://redis:6379", "db": 9}

    made = initialized("6.5.12", **NAMESPACE)

    assert made["own"] == {"namespace": "qa_foo", "redis": place}
    assert made["server"] == made["client"] == {**place, "namespace": "qa_foo"}


@with_ruby
def test_redis_and_sidekiq_share_a_numbered_database() -> None:
    place = {"url": "redis://redis:6379", "db": 3}

    assert initialized("7.3.0", REDIS_DB="3") == {
        "own": place,
        "server": place,
        "client": place,
        "refused": None,
    }


@with_ruby
def test_a_sidekiq_that_knows_no_namespaces_does_not_start_in_one() -> None:
    """Without it all environments would work on one queue."""
    made = initialized("7.3.0", **NAMESPACE)

    assert made["server"] is None
    assert "use redis.mode: database" in made["refused"]
