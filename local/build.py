"""What CodeBuild does in AWS: an image of a commit, and its migration.

A build is `git archive` into a directory, `docker push` is `ecr:PutImage`; so ECR holds the tag and forgets
it when the environment goes. A migration runs the application's own `bin/migrate` with the variables of the
pipeline's action and the servers of STG, and fails when that fails.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.codepipeline import BuildResult, SourceRevision
from local.git import GitError, Remote

BUILD_PROJECT = "sample-app-build"
MIGRATE_PROJECT = "sample-app-migrate"
PATIENCE = 60  # seconds for a migration


@dataclass(frozen=True)
class Builds:
    """The two CodeBuild projects. `servers` are the variables that Migrate gets from its buildspec's secrets,
    `logs_url` is where the files in `logs` can be read; `goes_on` says of a pipeline's execution whether it
    is still wanted.

    `seconds` is how long a build takes at least: real ones take minutes, and some things show only then. A
    commit with a file BUILD_SECONDS says it for itself.
    """

    remote: Remote
    images: Path
    logs: Path
    ecr: Any
    servers: Mapping[str, str]
    logs_url: str
    goes_on: Callable[[str, str], bool]
    seconds: float = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self, project: str, env: dict[str, str], source: SourceRevision, execution: str) -> BuildResult:
        """Run one project; everything it says is in a log file."""
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{project}-{execution[:8]}.log"
        with log.open("a", encoding="utf-8") as output:
            print(f"{project}: {source.branch!r} at {source.commit}", file=output, flush=True)
            if project == BUILD_PROJECT:
                why = self._build(env, source.commit, execution)
            elif project == MIGRATE_PROJECT:
                why = self._migrate(env, output)
            else:
                why = f"Project cannot be found: {project}"
            print(why or "succeeded", file=output)
        return BuildResult(ok=not why, summary=why, log_url=f"{self.logs_url}/{log.name}")

    def _build(self, env: Mapping[str, str], commit: str, execution: str) -> str:
        """Why it failed; empty if it did not."""
        name, tag = name_and_tag(env["IMAGE"])
        directory = self.images / name / tag
        shutil.rmtree(directory, ignore_errors=True)
        try:
            self.remote.extract(commit, directory)
        except GitError as error:
            return f"Build failed: {error}"
        until = time.monotonic() + max(self.seconds, _seconds(directory / "BUILD_SECONDS"))
        while time.monotonic() < until and not self.ended.wait(0.25):
            if not self.goes_on(env["QA_ENV_SLUG"], execution):
                return "Build stopped"  # as StopBuild does: no image comes after its environment is gone
        if (directory / "FAIL_BUILD").exists():
            shutil.rmtree(directory)
            return "Build failed: FAIL_BUILD is in the repository"
        manifest = {"schemaVersion": 2, "annotations": {"tag": tag, "commit": commit}}
        self.ecr.put_image(repositoryName=name, imageTag=tag, imageManifest=json.dumps(manifest))
        return ""

    def _migrate(self, env: Mapping[str, str], output: Any) -> str:
        name, tag = name_and_tag(env["IMAGE"])
        directory = self.images / name / tag
        if not directory.is_dir():
            return f"Migration failed: no image {env['IMAGE']}"
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.servers,
            **env,
        }
        try:
            done = subprocess.run(
                [sys.executable, "bin/migrate"],
                cwd=directory,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"Migration failed: {error}"
        return "" if done.returncode == 0 else f"Migration failed: bin/migrate exited with {done.returncode}"


def _seconds(file: Path) -> float:
    try:
        return float(file.read_text("utf-8"))
    except (OSError, ValueError):
        return 0


def name_and_tag(image: str) -> tuple[str, str]:
    """`sample-app` and `qa-foo-…` of `<registry>/sample-app:qa-foo-…`."""
    name, _, tag = image.split("/", 1)[-1].rpartition(":")
    return name, tag
