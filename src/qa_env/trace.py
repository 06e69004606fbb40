"""Traces that know which environment they are about.

Lambda makes the segment of an invocation and botocore hands its trace on; neither knows slugs. So each piece
of work adds a subsegment with the slug as an annotation (`annotation.environment = "qa-foo"` finds it and all
that hangs together with it), and each call to AWS one of its own. A subsegment is one datagram to the daemon
that Lambda runs beside a sampled invocation (X-Ray developer guide, "Sending trace data to X-Ray"): nothing
waits for it, and nothing fails with it.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

HEADER = b'{"format": "json", "version": 1}\n'


@contextmanager
def about(name: str, **annotations: str) -> Iterator[None]:
    """What happens inside is a subsegment of this name."""
    began = time.time()
    try:
        yield
    finally:
        record(name, began, annotations=annotations)


def record(name: str, began: float, **fields: Any) -> None:
    """A subsegment from then (seconds since the epoch) until now; nothing where nobody traces."""
    said = os.environ.get("_X_AMZN_TRACE_ID", "")
    context = dict(part.partition("=")[::2] for part in said.split(";"))
    host, _, port = os.environ.get("AWS_XRAY_DAEMON_ADDRESS", "").rpartition(":")
    if not host or context.get("Sampled") != "1":
        return
    document = {
        "type": "subsegment",
        "name": name,
        "id": os.urandom(8).hex(),
        "trace_id": context.get("Root"),
        "parent_id": context.get("Parent"),
        "start_time": began,
        "end_time": time.time(),
        **fields,
    }
    with suppress(OSError, ValueError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.sendto(HEADER + json.dumps(document).encode(), (host, int(port)))
