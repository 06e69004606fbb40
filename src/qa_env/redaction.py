"""What AWS says of an error is written into logs and shown to people: no credentials may be in it.

A request with a wrong signature is answered with the request that AWS would have signed, the token of the
function's session included. Apart from `aws.py`, because the receiver needs it and imports little.
"""

from __future__ import annotations

import re
from typing import Any

_TOKEN = re.compile(r"(x-amz-security-token[:=]\s*)[^\s&'\"]+", re.IGNORECASE)


def redacting(client: Any) -> Any:
    """The boto3 client; its errors do not repeat the session's token from now on."""
    client.meta.events.register("after-call", _redact)
    return client


def _redact(parsed: Any, **_: Any) -> None:
    """botocore makes its exception of this afterwards."""
    error = parsed.get("Error") if isinstance(parsed, dict) else None
    if error and error.get("Message"):
        error["Message"] = _TOKEN.sub(r"\1…", str(error["Message"]))
