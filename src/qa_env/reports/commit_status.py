"""The commit status on GitHub: the URL where a developer looks first.

One context per environment, posted only when what it would say has changed: GitHub keeps at most a thousand
per commit and context (facts A37). A failure to report never holds an environment up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qa_env.errors import Blocked, NotReady
from qa_env.github_api import GitHub
from qa_env.model import REPORTS, Environment, Outputs, Phase, Slug

DESCRIPTION_MAX = 140  # facts A34
STATES = {Phase.READY: "success", Phase.FAILED: "failure", Phase.BLOCKED: "error"}
WORDS = {
    Phase.QUEUED: "Queued",
    Phase.BUILDING: "Building",
    Phase.DEPLOYING: "Starting",
    Phase.READY: "Ready",
    Phase.FAILED: "Failed",
    Phase.BLOCKED: "Needs a person",
}


@dataclass(frozen=True)
class CommitStatus:
    """The status of the wanted commit says the phase and links to the first web role."""

    github: GitHub
    name: str = ""
    kind = "commit_status"

    def ensure(self, env: Environment) -> Outputs:
        """Post the status if the last one said something else."""
        if not env.commit:
            raise NotReady("waiting for the commit")
        body = {
            "state": _state(env),
            "description": _description(env),
            "context": f"qa-env/{env.slug}",
            **({"target_url": next(iter(env.urls.values()))} if env.urls else {}),
        }
        said = " ".join((env.commit, *body.values()))
        if env.remembered(self.kind).get("said") != said:
            try:
                self.github.post(f"/repos/{env.repository}/statuses/{env.commit}", body)
            except LookupError as error:
                raise Blocked(f"GitHub shows no commit {env.commit} to these credentials") from error
        return {"said": said}

    def delete(self, env: Environment) -> None:
        """A status cannot be removed, and a past commit's may stand."""

    def owners(self) -> Iterator[Slug]:
        """Nothing of ours is in the world."""
        return iter(())


def _state(env: Environment) -> str:
    """An error that is nobody's verdict is `error`, as what needs a person is: not the commit's `failure`."""
    unexpected = any(c.unexpected and c.generation == env.generation for c in env.conditions.values())
    return "error" if unexpected and env.phase is Phase.FAILED else STATES.get(env.phase, "pending")


def _description(env: Environment) -> str:
    trouble = {Phase.FAILED: "failed", Phase.BLOCKED: "blocked"}.get(env.phase)
    messages = [
        c.message
        for name, c in env.conditions.items()
        if c.state == trouble and c.generation == env.generation and name not in REPORTS
    ]
    text = ": ".join([WORDS.get(env.phase, "Deleting"), *messages[:1]])
    return text if len(text) <= DESCRIPTION_MAX else text[: DESCRIPTION_MAX - 1] + "…"
