"""GitHub's deliveries, behind a Function URL: the only public function.

202 with the environments that will be looked at, 200 for what is none of our business, otherwise one line
of JSON that says why not.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
import uuid
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from qa_env import trace
from qa_env.errors import Rejected
from qa_env.receiver import Receiver, build

logger = Logger(service="webhook")
_receiver = cache(build)


def handler(event: dict[str, Any], context: Any, *, receiver: Receiver | None = None) -> dict[str, Any]:
    """Take one delivery (Function URL, payload 2.0)."""
    began = time.time()
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    delivery = headers.get("x-github-delivery", "")[:64]
    keys: dict[str, Any] = {"delivery": delivery, "event": headers.get("x-github-event", "")[:64]}
    receipt = f"{delivery} {getattr(context, 'aws_request_id', None) or uuid.uuid4()}"
    try:
        if _method(event) != "POST":
            raise Rejected(405, "this is the webhook of qa-env: it takes GitHub's deliveries by POST")
        reception = (receiver or _receiver()).receive(headers, _body(event), receipt)
    except Rejected as refusal:
        keys |= {"cause": str(refusal.__cause__)} if refusal.status >= 500 and refusal.__cause__ else {}
        logger.warning("refusing a delivery: %s", refusal, **keys)
        return _answer(refusal.status, {"error": str(refusal)})
    slugs = [change.slug for change in reception.changes]
    for slug in slugs:
        trace.record("delivery", began, annotations={"environment": slug, "delivery": delivery})
    keys |= {"environment": ",".join(slugs)} if slugs else {}
    logger.info("received a delivery: %s", reception.message, **keys)
    return _answer(reception.status, {"message": reception.message} | ({"slugs": slugs} if slugs else {}))


def _method(event: dict[str, Any]) -> str:
    return str(event.get("requestContext", {}).get("http", {}).get("method", ""))


def _body(event: dict[str, Any]) -> bytes:
    """The bytes that GitHub signed; Lambda encodes what is not text, such as a form."""
    text = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(text).encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Rejected(400, "the body is not base64") from error


def _answer(status: int, content: dict[str, Any]) -> dict[str, Any]:
    headers = {"content-type": "application/json"} | ({"allow": "POST"} if status == 405 else {})
    return {"statusCode": status, "headers": headers, "body": json.dumps(content)}
