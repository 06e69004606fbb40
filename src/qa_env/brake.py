"""The bulk brake: what would remove many environments at once needs a person.

A listing that is cut short, a token that sees less than yesterday or a lost table look exactly like branches
that were deleted. A webhook is signed and says so of one branch; without one, only so many may go.
"""

from __future__ import annotations

from collections.abc import Iterable

from qa_env.blueprint import Blueprint
from qa_env.branches import Branches
from qa_env.model import Desired, Environment

ALWAYS = 2  # environments that may go, however few there are


def allowed(share: float, total: int) -> int:
    """How many of `total` environments may go at once."""
    return max(ALWAYS, int(share * total))


def on_branches(blueprint: Blueprint, branches: Branches, environments: Iterable[Environment]) -> str:
    """Why it is not believed that a branch is gone, empty if it is; raises if GitHub cannot be asked.

    Only for a branch that vanished without a webhook. Not even the default branch is shown, or too many of
    the repository's environments have no branch.
    """
    repository = blueprint.repository
    if not branches.shows(repository):
        return "nor the default branch: GitHub's answer proves nothing; looking again"
    ours = (env for env in environments if env.repository in blueprint.names)
    mine = [env for env in ours if env.desired is Desired.PRESENT]
    prefixes = {blueprint.branch_prefix, *(_beginning(blueprint, env.branch) for env in mine)}
    shown = {branch for prefix in sorted(prefixes) for branch in branches.under(repository, prefix)}
    gone = [env for env in mine if env.branch not in shown]
    if len(gone) <= allowed(blueprint.bulk_brake, len(mine)):
        return ""
    return (
        f"nor those of {len(gone) - 1} more of {len(mine)} environments, and no webhook said so: nothing is"
        " deleted. If they are meant to go, delete them on the page, or raise bulk_brake in the blueprint"
    )


def _beginning(blueprint: Blueprint, branch: str) -> str:
    """What to list to see the branch: it may have begun before `branch_prefix` was another one."""
    prefix = blueprint.branch_prefix
    return prefix if branch.startswith(prefix) else branch.partition("/")[0]
