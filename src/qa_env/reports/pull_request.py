"""One comment on the branch's open pull request, edited in place.

Whether there is a pull request is asked when what would be said has changed, and in passes at rest, of which
there are few: GitHub's `pull_request` event causes one, so a pull request that is opened later gets its
comment within seconds. While nothing is new in a build, nothing is asked. No pull request is no error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from qa_env import comment, telling
from qa_env.blueprint import Blueprint
from qa_env.errors import Blocked, NotReady
from qa_env.github_api import GitHub
from qa_env.model import Environment, Outputs, Phase, Slug
from qa_env.summary import Summary

AT_REST = (Phase.READY, Phase.ASLEEP, Phase.FAILED, Phase.BLOCKED)


@dataclass(frozen=True)
class PullRequest:
    """Outputs: `said`, the number of the pull request in `pull` (empty: none), and the `comment`'s id."""

    github: GitHub
    blueprint: Blueprint
    installation: str
    name: str = ""
    kind = "pull_request"

    def ensure(self, env: Environment) -> Outputs:
        """The comment says what is; if there is a pull request and somebody might look."""
        known = env.remembered(self.kind)
        if not env.commit:
            if env.phase is Phase.DELETING:
                return known
            raise NotReady("waiting for the commit")
        body = comment.render(self._mark(env), Summary(env, self.blueprint))
        said = telling.digest(body)
        if known.get("said") == said and env.phase not in AT_REST:
            return known
        if env.phase is Phase.DELETING:
            return {"said": said, **self._edit_last(env, body)}
        pull = self._open_pull(env)
        if known.get("said") == said and known.get("pull") == pull:
            return known
        number = self._say(env, pull, body) if pull else ""
        return {"said": said, "pull": pull, "comment": number}

    def delete(self, env: Environment) -> None:
        """The comment says that the environment is gone."""
        self._edit_last(env, comment.render_gone(self._mark(env), Summary(env, self.blueprint)))

    def owners(self) -> Iterator[Slug]:
        """Nothing that could be left: a comment is the pull request's history."""
        return iter(())

    def _mark(self, env: Environment) -> str:
        return comment.marker(self.installation, env.slug)

    def _open_pull(self, env: Environment) -> str:
        """The number of this branch's open pull request, of several the oldest; empty if there is none."""
        return min((str(one["number"]) for one in self._pulls(env, "open")), key=int, default="")

    def _pulls(self, env: Environment, state: str) -> list[Any]:
        """This branch's pull requests. GitHub ignores a `head` that it cannot read, so each is looked at."""
        owner = env.repository.partition("/")[0]
        head = quote(f"{owner}:{env.branch}", safe="")
        try:
            found = self.github.get(f"/repos/{env.repository}/pulls?state={state}&head={head}&per_page=100")
        except LookupError as error:
            raise Blocked(
                "GitHub shows no pull requests to these credentials: give them “Pull requests: write”"
            ) from error
        return [one for one in found if _is_of(one, env)]

    def _say(self, env: Environment, pull: str, body: str) -> str:
        """The id of the comment, which then says this: the remembered one, a found one or a new one."""
        known = env.remembered(self.kind)
        if known.get("pull") == pull and known.get("comment") and self._edit(env, known["comment"], body):
            return known["comment"]
        found, shown = self._find(env, pull)
        if found and (shown == body or self._edit(env, found, body)):
            return found
        try:
            made = self.github.post(f"/repos/{env.repository}/issues/{pull}/comments", {"body": body})
        except LookupError as error:
            raise Blocked(
                f"GitHub takes no comment on #{pull} from these credentials: give them “Pull requests: write”"
            ) from error
        return str(made["id"])

    def _edit_last(self, env: Environment, body: str) -> Outputs:
        """Edit the comment that is there; none is made, as GitHub closes pull requests with their branch."""
        known = env.remembered(self.kind)
        pull, number = known.get("pull", ""), known.get("comment", "")
        if not number:
            pull = max((str(one["number"]) for one in self._pulls(env, "all")), key=int, default="")
            number = self._find(env, pull)[0] if pull else ""
        if number:
            self._edit(env, number, body)
        return {"pull": pull, "comment": number}

    def _edit(self, env: Environment, number: str, body: str) -> bool:
        """False if somebody removed it."""
        try:
            self.github.patch(f"/repos/{env.repository}/issues/comments/{number}", {"body": body})
        except LookupError:
            return False
        return True

    def _find(self, env: Environment, pull: str) -> tuple[str, str]:
        """The id and text of our comment on a pull request; empty if there is none."""
        mark = self._mark(env)
        try:
            for page in self.github.pages(f"/repos/{env.repository}/issues/{pull}/comments?per_page=100"):
                for one in page:
                    if (one["body"] or "").startswith(mark):
                        return str(one["id"]), one["body"]
        except LookupError:
            return "", ""
        return "", ""


def _is_of(pull: Any, env: Environment) -> bool:
    home = (pull["head"].get("repo") or {}).get("full_name") or ""  # null: a fork that was deleted
    return pull["head"]["ref"] == env.branch and home.lower() == env.repository.lower()
