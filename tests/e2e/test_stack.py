"""The main job on the local stack: real template, real functions, real git, MariaDB, Redis and processes.

Asserts on what AWS, MySQL, Redis and HTTP say, never on what qa-env says of itself.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from local import git
from local.iam.guard import access_key
from local.inventory import connect
from local.stack import INSTALLATION
from tests.e2e.conftest import Developer, processes, wait

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_push_builds_update_replaces_delete_removes(dev: Developer) -> None:
    """A push brings an environment up, the next one replaces it, deleting the branch leaves nothing."""
    first = dev.commit(GREETING="one")
    assert "202" in dev.push("qa/foo")
    dev.live("qa/foo", first)
    shared = wait(lambda: _worked(dev, "qa/foo"), "the worker works on the same data")

    assert (
        shared["branch"],
        shared["schema"],
        shared["redis_namespace"],
        shared["threads"],
    ) == ("qa/foo", "qa-foo", "qa_foo", 2)
    assert {key.split(":")[0] for key in shared["redis_keys"]} == {"qa_foo"}
    assert shared["articles"] == ["First article", "Second article"]  # migrated and seeded
    assert {"ECS service qa-foo-web", "ECS service qa-foo-worker", "pipeline qa-foo"} <= dev.left()
    wait(lambda: dev.status("qa/foo").get("state") == "success", "GitHub shows success")

    second = dev.commit(GREETING="two")
    dev.push("qa/foo")
    said = dev.live("qa/foo", second)

    assert said["greeting"] == "two"
    assert said["visits"] > shared["visits"]  # the data stayed

    url = dev.status("qa/foo")["target_url"]
    dev.delete("qa/foo")
    dev.gone()

    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=5)


def test_two_branches_do_not_see_each_other(dev: Developer) -> None:
    """Each has its own port, schema and keys, and deleting one leaves the other as it was."""
    commit = dev.commit()
    dev.push("qa/left")
    dev.push("qa/right")
    left, right = dev.live("qa/left", commit), dev.live("qa/right", commit)
    before = {thing for thing in dev.left() if "qa-right" in thing}

    assert dev.status("qa/left")["target_url"] != dev.status("qa/right")["target_url"]
    assert left["schema"] != right["schema"]
    assert not set(left["redis_keys"]) & set(right["redis_keys"])

    dev.delete("qa/left")
    wait(lambda: not [thing for thing in dev.left() if "qa-left" in thing], "qa/left is gone", dev.left)

    assert before == {thing for thing in dev.left() if "qa-right" in thing}
    assert dev.about("qa/right")["commit"] == commit

    dev.delete("qa/right")
    dev.gone()


@pytest.mark.parametrize("broken", ["FAIL_BUILD", "FAIL_MIGRATE"])
def test_failed_pipeline_keeps_the_last_good_version(dev: Developer, broken: str) -> None:
    """The good version goes on answering, GitHub shows the failure, and the next good push recovers."""
    good = dev.commit()
    dev.push("qa/broken")
    dev.live("qa/broken", good)

    dev.commit(**{broken: "yes"})
    dev.push("qa/broken")
    wait(lambda: dev.status("qa/broken").get("state") == "failure", "GitHub shows the failure")

    assert dev.about("qa/broken")["commit"] == good
    assert (
        broken in dev.status("qa/broken")["description"] or "exited" in dev.status("qa/broken")["description"]
    )

    better = dev.commit(**{broken: None})
    dev.push("qa/broken")
    dev.live("qa/broken", better)
    dev.delete("qa/broken")
    dev.gone()


def test_application_that_does_not_start_is_reported(dev: Developer) -> None:
    """The deployment fails with the exit code that ECS gives; deleting leaves nothing."""
    dev.commit(FAIL_START="yes")
    dev.push("qa/dead")
    wait(lambda: dev.status("qa/dead").get("state") == "failure", "GitHub shows the failure")

    assert "exited with code 1" in dev.status("qa/dead")["description"]

    dev.commit(FAIL_START=None)
    dev.delete("qa/dead")
    dev.gone()


def test_hostile_branch_is_only_data(dev: Developer) -> None:
    """Everything that git allows in a name reaches the application unchanged and nothing else."""
    branch = "qa/`;DROP'\"%s$(id)&<b>é{slug}"
    commit = dev.commit()
    with closing(connect(dev.stack.info["mysql"])) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE `other`")
    dev.push(branch)
    said = dev.live(branch, commit)

    assert said["branch"] == branch
    assert said["schema"] == dev.slug(branch)

    dev.delete(branch)
    wait(lambda: dev.left() == {"schema other"}, "only the other schema is left", dev.left)
    with closing(connect(dev.stack.info["mysql"])) as connection, connection.cursor() as cursor:
        cursor.execute("DROP DATABASE `other`")


def test_push_during_teardown_builds_anew(dev: Developer) -> None:
    """A deleted and at once pushed branch ends with the new commit, on fresh data."""
    old = dev.commit()
    dev.push("qa/again")
    dev.live("qa/again", old)
    dev.delete("qa/again")
    wait(lambda: "ECS service qa-again-web" not in dev.left(), "the teardown has begun")
    new = dev.commit()
    dev.push("qa/again")

    said = dev.live("qa/again", new)

    assert said["visits"] <= 2  # the schema is a new one
    dev.delete("qa/again")
    dev.gone()


def test_other_branches_build_nothing(dev: Developer) -> None:
    """A branch without the prefix is none of our business."""
    dev.commit()

    assert "200" in dev.push("feature/x")
    assert dev.left() == set()


def test_nothing_runs_after_a_deletion(dev: Developer) -> None:
    """The application's processes end with its services."""
    images = dev.stack.directory / "run" / "images"
    commit = dev.commit()
    dev.push("qa/ends")
    dev.live("qa/ends", commit)
    assert len(processes(images)) == 2  # web and worker

    dev.delete("qa/ends")
    dev.gone()

    assert processes(images) == []


def test_forced_push_goes_back(dev: Developer) -> None:
    """What the branch points at counts, not what came last."""
    first = dev.commit()
    second = dev.commit(GREETING="newer")
    dev.push("qa/back")
    dev.live("qa/back", second)

    git.git(dev.clone, "reset", "--quiet", "--hard", first)
    dev.push("qa/back", "--force")

    dev.live("qa/back", first)


def test_functions_may_do_only_what_their_deployed_roles_allow(dev: Developer) -> None:
    """Nobody deletes a listener of the operator; without its right, reconcile does not even look."""
    denials = dev.stack.denials
    assert denials.read() == []
    page, reconcile = (
        dev.stack.cloud.client("elbv2", key=access_key(f"{INSTALLATION}-{function}"))
        for function in ("page", "reconcile")
    )
    (balancer,) = dev.stack.info["load_balancers"]
    (listener,) = reconcile.describe_listeners(LoadBalancerArn=balancer["arn"])["Listeners"]
    for function in (page, reconcile):
        with pytest.raises(ClientError, match="AccessDenied"):
            function.delete_listener(ListenerArn=listener["ListenerArn"])
    assert reconcile.describe_listeners(LoadBalancerArn=balancer["arn"])["Listeners"] == [listener]

    assert reconcile.describe_account_limits()["Limits"]
    missing = "elasticloadbalancing:DescribeAccountLimits"
    with _without(dev, "reconcile", missing), pytest.raises(ClientError, match="AccessDenied"):
        reconcile.describe_account_limits()

    # Taken, or they would fail the run.
    assert [line.partition(": ")[0] for line in denials.take()] == [
        f"{INSTALLATION}-page calls elbv2:DeleteListener",
        f"{INSTALLATION}-reconcile calls elbv2:DeleteListener",
        f"{INSTALLATION}-reconcile calls elbv2:DescribeAccountLimits",
    ]


@contextmanager
def _without(dev: Developer, function: str, action: str) -> Iterator[None]:
    """The function's deployed policies without one action."""
    iam, functions = dev.stack.client("iam"), dev.stack.client("lambda")
    settings = functions.get_function_configuration(FunctionName=f"{INSTALLATION}-{function}")
    role = settings["Role"].rpartition("/")[2]
    policies = {
        name: iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    }
    ((name, document),) = (one for one in policies.items() if action in json.dumps(one[1]))
    put = partial(iam.put_role_policy, RoleName=role, PolicyName=name)
    put(PolicyDocument=json.dumps(document).replace(f'"{action}"', '"iam:GetRole"'))
    try:
        yield
    finally:
        put(PolicyDocument=json.dumps(document))


def test_no_secret_is_shown(dev: Developer) -> None:
    """By logs, table, pages and what people were told, after a life with a failed build.

    Not by dead letters: here a message becomes one after twenty minutes, in `test_canaries` at once.
    """
    commit = dev.commit()
    dev.push("qa/quiet")
    dev.live("qa/quiet", commit)
    dev.commit(FAIL_BUILD="yes")
    dev.push("qa/quiet")
    wait(lambda: dev.status("qa/quiet").get("state") == "failure", "GitHub shows the failure")
    shown, secrets = _shown(dev, "qa/quiet"), _secrets(dev)

    assert all([*shown.values(), *secrets.values()])
    assert "received a delivery" in shown["functions' logs"]
    assert [(where, kind) for where, text in shown.items() for kind in secrets if secrets[kind] in text] == []

    dev.delete("qa/quiet")
    dev.gone()


def _secrets(dev: Developer) -> dict[str, str]:
    info = dev.stack.info
    return {
        "webhook secret": info["webhook_secret"],
        "GitHub token": info["github_token"],
        "Slack token": dev.stack.slack.token,
        "MySQL password": urlsplit(info["mysql"]).password or "",
        "Redis password": urlsplit(info["redis"]).password or "",
        "payload: e-mail address": git.AUTHOR["GIT_AUTHOR_EMAIL"],
    }


def _shown(dev: Developer, branch: str) -> dict[str, str]:
    """All that anybody can read, by where."""
    assert dev.stack.github is not None
    info, hub = dev.stack.info, dev.stack.github
    logs = [file for file in Path(info["logs"]).rglob("*") if file.is_file()]
    pages = ["", "api/v1/environments", f"environments/{dev.slug(branch)}"]
    lists = {
        "table": dev.stack.client("dynamodb").scan(TableName=info["table"])["Items"],
        "GitHub": [*hub.posted, *hub.pulls.comments.values()],
        "Slack": dev.stack.slack.messages,
    }
    shown = {str(file): file.read_text("utf-8", "replace") for file in logs if file.stat().st_size} | {
        "functions' logs": "\n".join(_logged(dev)),
        "pages": "".join(_page(f"{info['page_url']}{path}") for path in pages),
    }
    return shown | {where: "\n".join(map(repr, things)) for where, things in lists.items()}


def _logged(dev: Developer) -> Iterator[str]:
    logs = dev.stack.client("logs")
    for group in logs.describe_log_groups()["logGroups"]:
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"]):
            yield from (event["message"] for event in page["events"])


def _page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def _worked(dev: Developer, branch: str) -> dict[str, object]:
    said = dev.about(branch)
    return said if said.get("rows_written_by_worker") and said.get("jobs_done_by_worker") else {}
