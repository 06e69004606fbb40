"""The commit's required checks: what a pipeline with `start: checks` waits for.

One green suite does not make a commit green (facts A27), so the blueprint names the checks and statuses, and
GitHub is asked for each; a webhook about a check is only a reason to ask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qa_env.branches import GREEN, UNFINISHED, Branches
from qa_env.errors import Failed, NotReady
from qa_env.model import Environment, Outputs, Slug


@dataclass(frozen=True)
class Checks:
    """The required checks of the wanted commit; nothing of them is ours to make or remove."""

    branches: Branches
    required: tuple[str, ...]
    name: str = ""
    kind = "checks"

    def ensure(self, env: Environment) -> Outputs:
        """Returns once every required check of the commit is green."""
        if env.remembered(self.kind).get("green") == env.commit:
            return {"green": env.commit}
        found = self.branches.checks(env.repository, env.commit, self.required)
        red = {n: found[n] for n in self.required if found.get(n, "") not in (*GREEN, *UNFINISHED)}
        if red:
            raise Failed(f"not built: {', '.join(f'{name} is {state}' for name, state in red.items())}")
        missing = [name for name in self.required if found.get(name) not in GREEN]
        if missing:
            raise NotReady(f"waiting for {', '.join(missing)}")
        return {"green": env.commit}

    def delete(self, env: Environment) -> None:
        """Nothing to remove."""

    def owners(self) -> Iterator[Slug]:
        """Nothing of ours is in the world."""
        return iter(())
