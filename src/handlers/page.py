"""Load balancer → the page behind the curtain of the environment on that port."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger

from qa_env import app
from qa_env.page import lookup
from qa_env.page.curtain import render
from qa_env.store import Store

logger = Logger()


def handler(
    event: dict[str, Any], context: Any, *, store: Store | None = None, places: lookup.Places | None = None
) -> dict[str, Any]:
    """Answers an ALB target request."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    group = event["requestContext"]["elb"]["targetGroupArn"]
    known = places or lookup.Places(app.installation(), app.load_balancers())
    env = lookup.environment(store or app.store(), known, group, headers.get("x-forwarded-port", ""))
    page = render(env, event.get("httpMethod", "GET"), headers)
    return {
        "statusCode": page.status,
        "statusDescription": {503: "503 Service Unavailable", 404: "404 Not Found"}[page.status],
        "headers": dict(page.headers),
        "body": page.body,
        "isBase64Encoded": False,
    }
