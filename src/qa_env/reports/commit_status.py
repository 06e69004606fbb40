"""The commit status on GitHub: the URL where a developer looks first.

One context per environment, posted only when what it would say has changed: GitHub keeps at most a thousand
per commit and context (facts A37). A past commit's status stands: it cannot be removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qa_env import telling
from qa_env.blueprint import Blueprint
from qa_env.errors import Blocked, NotReady
from qa_env.github_api import GitHub
from qa_env.model import Environment, Outputs, Phase, Slug
from qa_env.summary import Summary

DESCRIPTION_MAX = 140  # facts A34
STATES = {
    Phase.READY: "success",
    Phase.ASLEEP: "success",
    Phase.FAILED: "failure",
    Phase.BLOCKED: "error",
}


@dataclass(frozen=True)
class CommitStatus:
    """The status of the wanted commit says the phase and links to the main role, or to why it failed."""

    github: GitHub
    blueprint: Blueprint
    name: str = ""
    kind = "commit_status"

    def ensure(self, env: Environment) -> Outputs:
        """Post the status unless GitHub shows it already; nothing is said of what is being deleted."""
        known = env.remembered(self.kind)
        if env.phase is Phase.DELETING:
            return known
        if not env.commit:
            raise NotReady("waiting for the commit")
        status = _status(Summary(env, self.blueprint))
        said = " ".join((env.commit, *status.values()))
        if known.get("said") != said:
            self._show(env, status)
        return {"said": said}

    def delete(self, env: Environment) -> None:
        """A status cannot be removed, and a past commit's may stand."""

    def owners(self) -> Iterator[Slug]:
        """Nothing of ours is in the world."""
        return iter(())

    def _show(self, env: Environment, status: dict[str, str]) -> None:
        try:
            if self._shown(env, status["context"]) != status:
                self.github.post(f"/repos/{env.repository}/statuses/{env.commit}", status)
        except LookupError as error:
            raise Blocked(
                f"GitHub shows no commit {env.commit} to these credentials: is it there,"
                " and may they write commit statuses?"
            ) from error

    def _shown(self, env: Environment, context: str) -> dict[str, str]:
        """The newest status in our context, empty if there is none."""
        for page in self.github.pages(f"/repos/{env.repository}/commits/{env.commit}/status?per_page=100"):
            for one in page["statuses"]:
                if one["context"].lower() == context:
                    shown = {key: one.get(key) for key in ("state", "description", "target_url")}
                    return {"context": context, **{key: value for key, value in shown.items() if value}}
        return {}


def _status(summary: Summary) -> dict[str, str]:
    """A mishap is `error`, as what needs a person is: not the commit's `failure`."""
    mishap = telling.is_mishap(summary.env)
    target = summary.log_url or summary.url or summary.page_url
    return {
        "state": "error" if mishap else STATES.get(summary.phase, "pending"),
        "description": telling.cut(telling.headline(summary), DESCRIPTION_MAX),
        "context": f"qa-env/{summary.env.slug}",
        **({"target_url": target} if target else {}),
    }
