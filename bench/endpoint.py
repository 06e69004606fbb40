"""As much of AWS as the receiver calls: SendMessage of SQS and GetSecretValue of Secrets Manager."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer leaves in one piece

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, answer = self._answer(self.headers["X-Amz-Target"].rpartition(".")[2], asked)
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self, operation: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if operation == "SendMessage":
            digest = hashlib.md5(asked["MessageBody"].encode(), usedforsecurity=False).hexdigest()
            return 200, {"MessageId": digest, "MD5OfMessageBody": digest, "SequenceNumber": "1"}
        if asked.get("VersionStage", "AWSCURRENT") == "AWSCURRENT":
            return 200, {"SecretString": self.server.secret}  # type: ignore[attr-defined] # set below
        return 400, {"__type": "ResourceNotFoundException", "Message": "there was no rotation"}

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""


@contextmanager
def endpoint(secret: str) -> Iterator[str]:
    """Its address; it answers on threads of this process."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.secret = secret  # type: ignore[attr-defined] # read above
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
