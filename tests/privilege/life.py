"""Everything that happens to an installation, once: each act needs rights that the others do not."""

from __future__ import annotations

import time
from unittest.mock import patch

from handlers import signals
from local.github_hooks import Webhook
from qa_env import audit, sleep
from qa_env.model import Phase, Slug, State
from tests.installation import REPOSITORY, A, B, C
from tests.making import event
from tests.privilege.account import WEBHOOK, Account

FOO, BAR, BAZ = Slug("qa-foo"), Slug("qa-bar"), Slug("qa-baz")
D, E = "d" * 40, "e" * 40


def live(account: Account) -> None:
    """From the first push to the last trace."""
    for act in (
        come_up,
        be_looked_at,
        be_asked_for_more,
        fall_asleep_and_wake,
        fail_and_be_repaired,
        change_the_blueprint,
        lose_a_role,
        go_while_it_builds,
        be_dismissed,
        be_found_without_a_record,
        move_behind_a_log_in,
        leave,
    ):
        act(account)


def come_up(account: Account) -> None:
    account.push("qa/foo", A)
    account.hub.open_pull("qa/foo")
    account.settle()
    assert account.env(FOO).phase is Phase.READY


def be_looked_at(account: Account) -> None:
    """The list, the details, the API; and the load balancers' counts say that somebody came."""
    paths = ("/", f"/environments/{FOO}", "/api/v1/environments", f"/api/v1/environments/{FOO}")
    assert [account.visit(path) for path in paths] == [200] * 4
    for _ in range(15):
        account.sweep()
    assert account.env(FOO).visited
    for name in ("codepipeline-execution-succeeded", "ecs-deployment-failed", "ecs-task-stopped"):
        account.run("signals", signals.handler, event(name))
    account.look()
    account.settle()


def be_asked_for_more(account: Account) -> None:
    for wish in ("redeploy", "reset"):
        assert account.visit(f"/environments/{FOO}/{wish}", "POST") == 303
        account.settle()
        assert account.env(FOO).phase is Phase.READY


def fall_asleep_and_wake(account: Account) -> None:
    """Nobody comes, the curtain hangs; somebody opens the address."""
    account.change(sleep_after=1)
    with patch.object(sleep, "HOUR", 0):
        account.settle_as(FOO, Phase.ASLEEP)
    assert account.open_at(10001) == 503
    account.settle_as(FOO, Phase.READY)
    account.change(sleep_after=None)


def fail_and_be_repaired(account: Account) -> None:
    """A build fails; the next one is overtaken by a push before it is deployed."""
    account.failing.add(("migrate", B))
    account.push("qa/foo", B)
    account.settle_as(FOO, Phase.FAILED)
    for commit in (C, D):
        account.push("qa/foo", commit)
        account.deliver()
    account.settle_as(FOO, Phase.READY)
    account.failing.clear()


def change_the_blueprint(account: Account) -> None:
    """Other settings of everything, the connection in its old spelling, secrets in the other store."""
    roles = account.blueprint.model_dump(by_alias=True)["roles"]
    roles["app"] |= {"deregistration_delay": 45, "count": 2, "health_check": {"path": "/up"}}
    pipeline = account.blueprint.model_dump(by_alias=True)["pipeline"]
    pipeline["connection_arn"] = pipeline["connection_arn"].replace("codeconnections", "codestar-connections")
    account.change(roles=roles, pipeline=pipeline, **account.secrets_in("ssm"))
    account.push("qa/foo", E)
    account.settle_as(FOO, Phase.READY)


def lose_a_role(account: Account) -> None:
    roles = account.blueprint.model_dump(by_alias=True)["roles"]
    kept = {name: role for name, role in roles.items() if name != "admin"}
    account.change(roles=kept)
    account.push("qa/foo", A)
    account.settle_as(FOO, Phase.READY)
    assert account.env(FOO).conditions["service/admin"].state is State.GONE


def move_behind_a_log_in(account: Account) -> None:
    """The log-in's secret is in one store and then in the other, while a curtain hangs."""
    account.change(**account.guarded("secretsmanager"))
    account.push("qa/bar", A)
    account.settle_as(BAR, Phase.READY)
    account.change(**account.guarded("ssm", session_timeout=60))
    account.push("qa/bar", B)
    account.settle_as(BAR, Phase.READY)


def go_while_it_builds(account: Account) -> None:
    """What runs is stopped."""
    account.push("qa/bar", C)
    account.deliver()
    account.engine.step()
    account.builds.add("build:1")
    account.delete("qa/bar")
    account.deliver()
    assert account.builds == set()
    account.settle()
    assert account.store.get(BAR) is None


def be_dismissed(account: Account) -> None:
    """Deleted by a button though the branch stays, until it is pushed again or is gone as well."""
    account.push("qa/bar", A)
    account.settle_as(BAR, Phase.READY)
    for slug in (FOO, BAR):
        assert account.visit(f"/environments/{slug}/delete", "POST") == 303
    account.settle()
    assert set(account.store.dismissals()) == {FOO, BAR}
    account.push("qa/foo", E)
    account.settle_as(FOO, Phase.READY)
    lose_branch(account, "qa/bar")
    account.look()
    assert BAR not in account.store.dismissals()


def be_found_without_a_record(account: Account) -> None:
    """The audit removes what nobody knows, brings back what GitHub shows, and asks for lost deliveries."""
    account.push("qa/bar", A)
    account.settle_as(BAR, Phase.READY)
    account.store.table.delete_item(Key={"pk": "environment", "sk": str(BAR)})
    lose_branch(account, "qa/bar")
    account.heads["qa/baz"] = account.hub.branches.all["qa/baz"] = A
    hook = Webhook(WEBHOOK)
    hook.record("lost", 503, time.time() - 600)
    account.hub.hooks.of[f"/repos/{REPOSITORY}"] = [hook]
    theirs = account.codepipeline.get_pipeline(name=str(FOO))["pipeline"] | {"name": "theirs"}
    account.codepipeline.create_pipeline(pipeline=theirs)  # the tagging API knows nothing of it
    with patch.object(audit, "GRACE", 0):
        account.look()
        account.look()
    account.codepipeline.delete_pipeline(name="theirs")
    assert hook.deliveries[0]["redelivery"]
    account.settle_as(BAZ, Phase.READY)
    account.settle()
    assert {env.slug for env in account.store.all()} == {FOO, BAZ}


def lose_branch(account: Account, branch: str) -> None:
    """The branch is gone and no webhook says so."""
    account.heads.pop(branch)
    account.hub.branches.all.pop(branch)


def leave(account: Account) -> None:
    for branch in list(account.heads):
        account.delete(branch)
    account.settle()
    left = set(account.left()) - {f"secret {name}" for name in account.arns}  # those are the operator's
    assert left == set(), left
