"""Load balancer → the page behind the curtain of the environment on that port, or the list of all."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from aws_lambda_powertools import Logger

from qa_env import app
from qa_env.page import curtain, listing, lookup
from qa_env.store import Store

logger = Logger()


def handler(
    event: dict[str, Any], context: Any, *, store: Store | None = None, places: lookup.Places | None = None
) -> dict[str, Any]:
    """Answers an ALB target request."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    known = places or lookup.Places(app.installation(), app.load_balancers())
    load_balancer = known.load_balancer(event["requestContext"]["elb"]["targetGroupArn"])
    records = store or app.store()
    if load_balancer is None:
        page = listing.render(records.all())
    else:
        env = lookup.environment(records, load_balancer, headers.get("x-forwarded-port", ""))
        page = curtain.render(env, event.get("httpMethod", "GET"), headers)
    return {
        "statusCode": page.status,
        "statusDescription": f"{page.status} {HTTPStatus(page.status).phrase}",
        "headers": dict(page.headers),
        "body": page.body,
        "isBase64Encoded": False,
    }
