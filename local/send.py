"""Sign an example payload as GitHub would and send it: `python -m local.send events/push-create.json`.

Address and secret come from the running stack (`.local/stack.json`) unless given.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import http.client
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

STACK = Path(__file__).parents[1] / ".local" / "stack.json"


def signed(headers: dict[str, str], body: bytes, secret: str) -> dict[str, str]:
    """The headers with GitHub's signature over exactly these bytes."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {**headers, "X-Hub-Signature-256": f"sha256={digest}"}


def for_repository(payload: dict[str, Any], full_name: str) -> dict[str, Any]:
    """The same payload as if it were about another repository; an organisation's has none."""
    if "repository" not in payload:
        return payload
    owner, _, name = full_name.partition("/")
    there = payload["repository"]
    there = {**there, "full_name": full_name, "name": name, "owner": {**there["owner"], "login": owner}}
    payload = {**payload, "repository": there}
    run = payload.get("workflow_run")
    return {**payload, "workflow_run": {**run, "head_repository": there}} if run else payload


def post(url: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
    """POST and return status and answer. Names under .localhost are this machine even without DNS."""
    address = urlsplit(url)
    host = address.hostname or ""
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind("127.0.0.1" if host.endswith(".localhost") else host, address.port, timeout=30)
    try:
        connection.request("POST", address.path or "/", body, {**headers, "Host": address.netloc})
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    finally:
        connection.close()


def main(arguments: list[str] | None = None) -> int:
    """0 only if the webhook took the payload."""
    parser = argparse.ArgumentParser(prog="python -m local.send", description=__doc__)
    parser.add_argument("event", type=Path, help="a payload of GitHub, e.g. events/push-create.json")
    parser.add_argument("--url", help="the webhook; the running stack's by default")
    parser.add_argument("--secret", help="its secret; the running stack's by default")
    parser.add_argument("--repository", metavar="OWNER/NAME", help="send it as if about this repository")
    given = parser.parse_args(arguments)
    try:
        stack = json.loads(STACK.read_text("utf-8")) if not (given.url and given.secret) else {}
        url, secret = given.url or stack["webhook_url"], given.secret or stack["webhook_secret"]
        event = json.loads(given.event.read_text("utf-8"))
        headers, payload = event["headers"], event["body"]
        headers["X-GitHub-Event"]  # an event of AWS has headers and a body, too, but not this one
        if given.repository:
            payload = for_repository(payload, given.repository)
        body = json.dumps(payload).encode()
        status, answer = post(url, signed(headers, body, secret), body)
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        print(f"not sent: {_why(error)}", file=sys.stderr)
        return 1
    print(status, answer)
    return 0 if 200 <= status < 300 else 1


def _why(error: Exception) -> str:
    match error:
        case FileNotFoundError() if str(error.filename) == str(STACK):
            return "no stack is running here; start it with `make run`, or give --url and --secret"
        case ConnectionRefusedError():
            return "the stack does not answer (any more); start it with `make run`"
        case json.JSONDecodeError():
            return f"not JSON: {error}"
        case KeyError():
            return f"{error} is missing in the event or the stack's file; is it a payload of GitHub?"
        case _:
            return str(error)


if __name__ == "__main__":
    sys.exit(main())
