"""Which API call an HTTP request is: the operation, and its parameters as boto3's caller gave them.

Only what `needs.py` asks of a call is read: of the query protocol numbers stay texts, of requests in CBOR
(CloudWatch, where IAM decides about no parameter) there is the operation alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from boto3.dynamodb.types import TypeDeserializer

CLIENTS = {
    "elasticloadbalancing": "elbv2",
    "monitoring": "cloudwatch",
    "tagging": "resourcegroupstaggingapi",
}
"""MiniStack's names of services, where boto3 has others."""
CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/(?:\d+/[^/]+/([^/]+)/)?")
CBOR = re.compile(r"/service/[^/]+/operation/(\w+)")
INVOCATION = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")
ITEMS = {"Key", "Item", "ExpressionAttributeValues"}

Params = dict[str, Any]


def access_key(authorization: str) -> str:
    """The key that a request with this header is signed with; empty if it is not signed."""
    found = CREDENTIAL.search(authorization)
    return found[1] if found else ""


def service(authorization: str) -> str:
    """The service that a request is signed for, by MiniStack's name; empty if it is not signed."""
    found = CREDENTIAL.search(authorization)
    return (found[2] or "") if found else ""


def read(service: str, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[str, Params]:
    """The operation as boto3 names it (`elbv2:CreateRule`), or the request line if it is none we know."""
    client = CLIENTS.get(service, service)
    if target := headers.get("x-amz-target"):
        params = json.loads(body or b"{}")
        return f"{client}:{target.rpartition('.')[2]}", _items(params) if client == "dynamodb" else params
    if service == "lambda" and (invoked := INVOCATION.fullmatch(path)):
        return "lambda:Invoke", {"FunctionName": unquote(invoked[1])}
    if found := CBOR.fullmatch(path):
        return f"{client}:{found[1]}", {}
    if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        params = _query(body.decode())
        return f"{client}:{params.get('Action', '')}", params
    return f"{client}:{method} {path}", {}


def _query(text: str) -> Params:
    """`Tags.member.1.Key=a` → `{"Tags": [{"Key": "a"}]}`."""
    found: Params = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        *way, last = name.split(".")
        place = found
        for step in way:
            place = place.setdefault(step, {})
        place[last] = value
    return {name: _listed(value) for name, value in found.items()}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if set(value) == {"member"}:
        return [_listed(one) for _, one in sorted(value["member"].items(), key=lambda item: int(item[0]))]
    return {name: _listed(one) for name, one in value.items()}


def _items(value: Any) -> Any:
    """DynamoDB's typed values as plain ones, wherever there are items and keys."""
    if isinstance(value, list):
        return [_items(one) for one in value]
    if not isinstance(value, dict):
        return value
    plain = TypeDeserializer().deserialize
    return {
        name: {key: plain(typed) for key, typed in one.items()} if name in ITEMS else _items(one)
        for name, one in value.items()
    }
