"""What people are told, end to end: GitHub, Slack and EventBridge while one environment comes and goes."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from tests.e2e.conftest import Developer, wait

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_everybody_is_told_from_the_push_to_the_end(dev: Developer) -> None:
    """Each in its own way, once."""
    assert dev.stack.github is not None
    hub = dev.stack.github
    before = len(dev.stack.slack.messages)
    events(dev)  # other tests'
    first = dev.commit(GREETING="one\n")
    dev.push("qa/told")
    dev.live("qa/told", first)
    wait(lambda: shown(dev) == [(first, "success")], "the deployment is a success")
    wait(lambda: slack(dev, before) == ["qa/told is ready"], "Slack says that it is ready")
    assert buttons(dev.stack.slack.messages[before])[0] == ("Open web", dev.url("qa/told"))

    open_pull(dev, "qa/told")
    wait(lambda: len(hub.pulls.comments) == 1, "the pull request has its comment")
    second = dev.commit(GREETING="two\n")
    dev.push("qa/told")
    dev.live("qa/told", second)
    expected = [(first, "inactive"), (second, "success")]
    wait(lambda: shown(dev) == expected, "the second deployment follows the first")
    wait(lambda: "– Ready" in comment(dev), "the comment is about the second commit")
    assert second[:7] in comment(dev)
    wait(lambda: slack(dev, before)[-1] == "qa/told is ready", "Slack says that the second one is ready")
    assert len(slack(dev, before)) == 2

    dev.delete("qa/told")
    dev.gone()
    assert shown(dev) == [(first, "inactive"), (second, "inactive")]
    assert slack(dev, before)[1:] == ["qa/told is gone"]
    assert "– Deleted" in comment(dev)
    types = [event["detail-type"].removeprefix("environment.") for event in events(dev)]
    assert (types[0], types[-1]) == ("building", "deleted")
    assert types.count("deleted") == 1
    assert "ready" in types


def test_a_failed_build_says_where_to_look(dev: Developer) -> None:
    dev.commit(FAIL_BUILD="yes\n")
    dev.push("qa/fails")
    wait(lambda: dev.status("qa/fails").get("state") == "failure", "the commit status is a failure")
    wait(lambda: dev.stack.slack.messages[-1]["text"].startswith("qa/fails failed"), "Slack says so")
    links = dict(buttons(dev.stack.slack.messages[-1]))
    assert links["Log"] == dev.status("qa/fails")["target_url"]
    assert links["Details"].endswith("/environments/qa-fails")
    with urllib.request.urlopen(links["Log"], timeout=10) as answer:
        assert b"FAIL_BUILD is in the repository" in answer.read()


def shown(dev: Developer) -> list[tuple[str, str]]:
    """(commit, state) of the deployments of qa/told."""
    assert dev.stack.github is not None
    return [
        (commit, state) for name, commit, state in dev.stack.github.deployments.shown() if name == "qa/told"
    ]


def slack(dev: Developer, before: int) -> list[str]:
    """What the messages say that came after so many."""
    return [one["text"] for one in dev.stack.slack.messages[before:]]


def comment(dev: Developer) -> str:
    assert dev.stack.github is not None
    (only,) = dev.stack.github.pulls.comments.values()
    return str(only["body"])


def buttons(message: dict[str, Any]) -> list[tuple[str, str]]:
    actions = [block for block in message["blocks"] if block["type"] == "actions"]
    return [(one["text"]["text"], one["url"]) for block in actions for one in block["elements"]]


def open_pull(dev: Developer, branch: str) -> None:
    info = dev.stack.info
    body = json.dumps({"title": "x", "head": branch, "base": "main"}).encode()
    headers = {"Authorization": f"Bearer {info['github_token']}"}
    request = urllib.request.Request(f"{info['github_url']}/repos/{info['repository']}/pulls", body, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 201


def events(dev: Developer) -> list[dict[str, Any]]:
    """What a team's rule has put into its queue, oldest first."""
    sqs, url, found = dev.stack.client("sqs"), dev.stack.info["events_queue_url"], []
    while more := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in more:
            found.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return sorted(found, key=lambda event: str(event["time"]))
