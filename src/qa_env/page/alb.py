"""A load balancer's events ↔ requests and pages.

Query parameters arrive as the browser encoded them, header names in any case; with multi-value headers
switched on in the target group all of them are lists, and so must be those of the answer. An answer may have
1 MB of JSON, and load balancers compress nothing: that is done here.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, unquote_plus

from qa_env.page.web import Page, Request

WORTHWHILE = 1400  # bytes: less is one packet either way


def request(event: Mapping[str, Any]) -> Request:
    """What was asked; what came twice counts as it came last."""
    return Request(
        method=event.get("httpMethod") or "GET",
        path=unquote(event.get("path") or "/", errors="replace"),
        query={
            unquote_plus(name): unquote_plus(value) for name, value in _pairs(event, "queryStringParameters")
        },
        headers={name.lower(): value for name, value in _pairs(event, "headers")},
        target_group=event["requestContext"]["elb"]["targetGroupArn"],
    )


def answer(event: Mapping[str, Any], asked: Request, page: Page) -> dict[str, Any]:
    """What the load balancer is given. An answer to HEAD has no body."""
    headers, body, encoded = dict(page.headers), page.body, False
    if asked.method == "HEAD":
        body = ""
    elif len(body) > WORTHWHILE and "gzip" in asked.header("accept-encoding").lower():
        headers["Content-Encoding"] = "gzip"
        packed = gzip.compress(body.encode("utf-8", "replace"), compresslevel=6, mtime=0)
        body, encoded = base64.b64encode(packed).decode(), True
    return {
        "statusCode": page.status,
        "statusDescription": f"{page.status} {HTTPStatus(page.status).phrase}",
        **_headers(event, headers),
        "body": body,
        "isBase64Encoded": encoded,
    }


def _headers(event: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    if event.get("multiValueHeaders") is not None:
        return {"multiValueHeaders": {name: [value] for name, value in headers.items()}}
    return {"headers": dict(headers)}


def _pairs(event: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    """`headers` or `multiValueHeaders`, whichever there is; the same for the query."""
    many = event.get(f"multiValue{name[0].upper()}{name[1:]}")
    if many is not None:
        return [(key, values[-1]) for key, values in many.items() if values]
    return [(key, value) for key, value in (event.get(name) or {}).items() if value is not None]
