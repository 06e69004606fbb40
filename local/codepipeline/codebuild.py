"""CodeBuild, as far as the builds of pipelines are concerned: what they are doing, and stopping one.

A build begins with its action and ends by itself or by StopBuild; nothing that happens to its execution or
its pipeline ends it (facts B3-13, B3-14: believed of AWS, not documented). StopBuild ends it at once, where
AWS takes some seconds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

from local.codepipeline import views
from local.codepipeline.runner import Runner
from local.codepipeline.values import JSON, ApiError, Build


class CodeBuild:
    """The builds of one engine. `answer(operation, params)` is the whole API."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._operations: dict[str, Callable[[JSON], JSON]] = {
            "BatchGetBuilds": self._batch_get_builds,
            "StopBuild": self._stop_build,
        }

    @property
    def builds(self) -> list[Build]:
        """All that ever were, in the order in which they began."""
        return [action.build for action in self._runner.builds.values() if action.build]

    def answer(self, operation: str, params: JSON) -> JSON:
        """What the service answers; raises `ApiError` where it refuses."""
        if operation not in self._operations:
            raise ApiError("UnknownOperationException", f"This stand-in has no operation {operation}")
        with self._runner.lock:
            return copy.deepcopy(self._operations[operation](params))

    def _batch_get_builds(self, params: JSON) -> JSON:
        """Those that are not there are named, which is no error (BC:codebuild.BatchGetBuilds)."""
        known = {build.id: build for build in self.builds}
        return {
            "builds": [views.build(known[one]) for one in params["ids"] if one in known],
            "buildsNotFound": [one for one in params["ids"] if one not in known],
        }

    def _stop_build(self, params: JSON) -> JSON:
        if params["id"] not in self._runner.builds:
            raise ApiError("ResourceNotFoundException", f"Build {params['id']} does not exist")
        self._runner.stop_build(params["id"])
        (build,) = self._batch_get_builds({"ids": [params["id"]]})["builds"]
        return {"build": build}
