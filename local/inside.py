"""Runs in MiniStack's own process: `python -m local.inside` starts MiniStack with what it lacks.

Services get wrappers around MiniStack's handlers (the one seam, `SERVICE_HANDLERS`):

* `ecs`: tasks are processes of this machine and the answers are true (`local/ecs.py`);
* `elasticloadbalancing`: the refusals of AWS that MiniStack does not know (a taken port, a target group in
  use, account limits);
* `events`: AWS's own events (`aws.ecs`, `aws.codepipeline`) go through the deployed rules, which a client may
  not send; only the stack's own processes know the header that allows it;
* all of them: what a function calls is refused where its role does not allow it (`local/iam/`).

What was called and run, and when, is written down (`local/journal.py`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from ministack import app
from ministack.core import lambda_runtime
from ministack.services import alb, eventbridge

from local import ecs
from local.iam import inside as iam
from local.iam.guard import Denials
from local.iam.inside import Handler, Response
from local.journal import Journal, observed
from local.ministack import ACCOUNT, AWS_EVENTS_HEADER, REGION

LIMITS = {
    "target-groups": 3000,
    "targets-per-application-load-balancer": 1000,
    "listeners-per-application-load-balancer": 50,
    "rules-per-application-load-balancer": 100,
    "target-groups-per-application-load-balancer": 100,
    "target-groups-per-action-on-application-load-balancer": 5,
    "condition-values-per-alb-rule": 5,
}


def main() -> None:
    """Install the wrappers, start the task runner, then be MiniStack."""
    handlers = app.SERVICE_HANDLERS
    runner = ecs.Runner.from_environment()
    handlers["ecs"] = ecs.handler(handlers["ecs"], runner)
    handlers["elasticloadbalancing"] = load_balancing(handlers["elasticloadbalancing"])
    handlers["events"] = aws_events(handlers["events"], os.environ["LOCAL_TOKEN"])
    iam.install(ACCOUNT, REGION, Denials(Path(os.environ["LOCAL_DENIED"])))
    write_down(Journal(Path(os.environ["LOCAL_JOURNAL"])))
    runner.start()
    app.main()


def write_down(journal: Journal) -> None:
    """Every request's answer and every function's run, with their times."""
    app.app = observed(app.app, journal)
    run = lambda_runtime.Worker.invoke

    def invoke(worker: Any, event: Any, request_id: str, **more: Any) -> Any:
        at = time.time()
        answer = run(worker, event, request_id, **more)
        journal.write("run", at, function=worker.func_name, cold=answer["cold_start"], about=_about(event))
        return answer

    lambda_runtime.Worker.invoke = invoke


def _about(event: Mapping[str, Any]) -> Any:
    """What a run was given, where that is a message of the queue or an event of AWS."""
    if records := event.get("Records"):
        sent = int(records[0]["attributes"]["SentTimestamp"]) / 1000
        return {"message": json.loads(records[0]["body"]), "sent": sent}
    return {name: event[name] for name in ("detail-type", "detail") if name in event}


def aws_events(original: Handler, token: str) -> Handler:
    """PutEvents with `aws.` sources for who has the token."""

    async def handle(method: str, path: str, headers: Any, body: bytes, query: Any) -> Response:
        if headers.get(AWS_EVENTS_HEADER) == token and headers.get("x-amz-target", "").endswith(".PutEvents"):
            answer: Response = eventbridge._put_events(json.loads(body), allow_aws_source=True)
            return answer
        return await original(method, path, headers, body, query)

    return handle


def load_balancing(original: Handler) -> Handler:
    """ELBv2 with the refusals that matter to somebody who allocates ports."""

    async def handle(method: str, path: str, headers: Any, body: bytes, query: Any) -> Response:
        parameters = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        rule = _RULES.get(parameters.get("Action", ""))
        answer = rule(parameters) if rule else None
        return answer or await original(method, path, headers, body, query)

    return handle


def _create_listener(parameters: Mapping[str, str]) -> Response | None:
    balancer, port = parameters.get("LoadBalancerArn"), parameters.get("Port")
    taken = [
        listener
        for listener in alb._listeners.values()
        if listener["LoadBalancerArn"] == balancer and str(listener["Port"]) == port
    ]
    if taken:
        text = f"A listener already exists on this port for this load balancer '{balancer}'"
        return _refuse("DuplicateListener", text)
    if parameters.get("DefaultActions.member.1.TargetGroupArn", "") not in ("", *alb._tgs):
        return _refuse("TargetGroupNotFound", "One or more target groups not found")
    return None


def _delete_target_group(parameters: Mapping[str, str]) -> Response | None:
    arn = parameters.get("TargetGroupArn", "")
    if ecs.uses_target_group(arn):
        return _refuse("ResourceInUse", f"Target group '{arn}' is currently in use by a listener or a rule")
    return None


def _describe_target_groups(parameters: Mapping[str, str]) -> Response | None:
    for group in alb._tgs.values():
        group["LoadBalancerArns"] = sorted(_balancers_of(group["TargetGroupArn"]))
    names = {value for name, value in parameters.items() if name.startswith("Names.member.")}
    if names - {group["TargetGroupName"] for group in alb._tgs.values()}:
        return _refuse("TargetGroupNotFound", "One or more target groups not found")
    return None


def _describe_listeners(parameters: Mapping[str, str]) -> Response | None:
    arns = {value for name, value in parameters.items() if name.startswith("ListenerArns.member.")}
    if arns - set(alb._listeners):
        return _refuse("ListenerNotFound", "One or more listeners not found")
    return None


def _create_rule(parameters: Mapping[str, str]) -> Response | None:
    listener, priority = parameters.get("ListenerArn"), parameters.get("Priority")
    for rule in alb._rules.values():
        if rule["ListenerArn"] == listener and str(rule["Priority"]) == priority:
            return _refuse("PriorityInUse", f"Priority '{priority}' is currently in use")
    if parameters.get("Actions.member.1.TargetGroupArn", "") not in ("", *alb._tgs):
        return _refuse("TargetGroupNotFound", "One or more target groups not found")
    return None


def _balancers_of(group: str) -> set[str]:
    """The load balancers that send requests to a target group; MiniStack only ever adds to its list."""
    users = [*alb._listeners.values(), *alb._rules.values()]
    listeners = {user["ListenerArn"] for user in users if ecs.forwards_to(user, group)}
    return {one["LoadBalancerArn"] for arn, one in alb._listeners.items() if arn in listeners}


def _describe_account_limits(parameters: Mapping[str, str]) -> Response:
    members = "".join(f"<member><Name>{n}</Name><Max>{m}</Max></member>" for n, m in LIMITS.items())
    answer: Response = alb._xml(200, "DescribeAccountLimits", f"<Limits>{members}</Limits>")
    return answer


def _refuse(code: str, message: str) -> Response:
    answer: Response = alb._error(code, message)
    return answer


_RULES: dict[str, Callable[[Mapping[str, str]], Response | None]] = {
    "CreateListener": _create_listener,
    "DeleteTargetGroup": _delete_target_group,
    "DescribeTargetGroups": _describe_target_groups,
    "DescribeListeners": _describe_listeners,
    "CreateRule": _create_rule,
    "DescribeAccountLimits": _describe_account_limits,
}


if __name__ == "__main__":
    main()
