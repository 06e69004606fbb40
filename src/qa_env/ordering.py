"""Is this webhook older than what we know? Needed only where GitHub cannot be asked.

GitHub promises no order (facts A6) and push payloads carry no time of their own (A7); there are
`before`/`after`, which chain, and the repository's `pushed_at`, which hints.
"""

from __future__ import annotations

from qa_env.model import Change, Desired, Environment, Ref


def is_late(env: Environment, change: Change) -> bool:
    """True if acting on `change` would take the environment back in time."""
    known = env.pushed_at and change.pushed_at
    if known and change.pushed_at < env.pushed_at:
        return True
    lives = env.desired is Desired.PRESENT or bool(env.next_commit)
    head = env.next_commit or env.commit
    follows = bool(change.before) and change.before == head
    if change.ref is Ref.PRESENT and change.commit and lives:
        return change.commit == env.before and not follows
    if change.ref is Ref.PRESENT and change.commit:  # only a push that creates brings a branch back
        return bool(change.before) and change.commit in (head, env.before)
    same_second = bool(known) and change.pushed_at == env.pushed_at
    if change.ref is Ref.ABSENT and change.before:
        return same_second and not follows and lives
    return False
