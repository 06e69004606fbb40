"""In MiniStack's process: every function has a key of its own, and no service answers what its role forbids.

What MiniStack holds is read where it holds it: roles as CloudFormation made them, tags as they are when the
call arrives.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ministack import app
from ministack.core import lambda_runtime
from ministack.core.iam_actions import access_denied_response
from ministack.services import alb, ecs, iam, lambda_svc, secretsmanager

from local.iam import guard, needs, wire
from local.iam.guard import Denials, Guard, Role

Response = tuple[int, dict[str, str], bytes]
Handler = Callable[[str, str, Mapping[str, str], bytes, Mapping[str, Any]], Awaitable[Response]]


def install(account: str, region: str, denials: Denials) -> None:
    """Sign functions' calls with their own keys, and put the guard before every handler there is."""
    lambda_runtime.execution_credentials = lambda_svc.execution_credentials = _credentials

    def secret(name: str) -> str:
        """A secret that is not there is named without the six characters that AWS draws."""
        _, found = secretsmanager._resolve(name)
        missing = (
            name if name.startswith("arn:") else f"arn:aws:secretsmanager:{region}:{account}:secret:{name}"
        )
        return str(found["ARN"]) if found else missing

    decides = Guard(account, region, _role, _tags, secret, denials)
    for service, handler in app.SERVICE_HANDLERS.items():
        app.SERVICE_HANDLERS[service] = guarded(service, handler, decides)


def guarded(service: str, original: Handler, decides: Guard) -> Handler:
    """A handler that refuses as its service does, before anything has happened."""

    async def handle(method: str, path: str, headers: Any, body: bytes, query: Any) -> Response:
        key = wire.access_key(headers.get("authorization", ""))
        if key.startswith(guard.PREFIX):
            operation, params = wire.read(service, method, path, headers, body)
            if denial := decides.refusal(key, operation, params):
                answer: Response = access_denied_response(
                    service,
                    denial.action,
                    denial.who,
                    str(uuid.uuid4()),
                    message=denial.message,
                    headers=headers,
                    resource_arn=denial.resource,
                )
                return answer
        return await original(method, path, headers, body, query)

    return handle


def _credentials(config: Mapping[str, Any]) -> dict[str, str]:
    key = guard.access_key(config["FunctionName"])
    return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "local", "AWS_SESSION_TOKEN": ""}


def _role(key: str) -> Role | None:
    for name, function in lambda_svc._functions.items():
        if guard.access_key(name) == key:
            arn = function["config"]["Role"]
            return Role.of(name, arn, iam._roles[arn.rpartition("/")[2]]["InlinePolicies"])
    return None


def _tags(arn: str) -> needs.Tags | None:
    if ":elasticloadbalancing:" in arn:
        there = any(arn in kind for kind in (alb._lbs, alb._tgs, alb._listeners, alb._rules))
        return needs.tag_dict(alb._tags.get(arn)) if there else None
    if ":secret:" in arn:
        _, secret = secretsmanager._resolve(arn)
        return needs.tag_dict(secret["Tags"]) if secret else None
    return needs.tag_dict(ecs._tags.get(arn))
