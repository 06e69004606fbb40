"""HTTP on a free port of 127.0.0.1, for the stand-ins of GitHub and Slack and for the logs of builds."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

Reply = tuple[int, Any, Mapping[str, str]]
"""Status, body (text as it is, anything else as JSON) and headers."""

Answering = Callable[[str, str, Message, bytes], Reply]
"""From method, path with query, headers and body."""

Seen = Callable[[str, float], None]
"""Told of every answer: the method, and when the request came. Not the path, which may hold a secret."""


def unseen(_method: str, _at: float) -> None:
    """Nobody is told."""


def files(directory: Path) -> Answering:
    """Shows the files that are directly in a directory, as text."""

    def answer(_method: str, target: str, _headers: Message, _body: bytes) -> Reply:
        file = directory / unquote(urlsplit(target).path).removeprefix("/")
        if file.parent != directory or not file.is_file():
            return 404, "There is no such file.", {}
        return 200, file.read_text("utf-8", "replace"), {}

    return answer


class Server:
    """Serves from `start` to `stop`; `url` has no slash at its end. `seen` is told of what was answered."""

    def __init__(self, answer: Answering, port: int = 0, seen: Seen = unseen) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                at = time.time()
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, said, headers = answer(self.command, self.path, self.headers, body)
                is_text = isinstance(said, str)
                text = said.encode() if is_text else json.dumps(said).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                kind = "text/plain" if is_text else "application/json"
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
                seen(self.command, at)

            do_GET = do_POST = do_PATCH = _serve  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def start(self) -> None:
        """Serve until `stop`."""
        loop = {"poll_interval": 0.02}
        threading.Thread(target=self._http.serve_forever, kwargs=loop, daemon=True, name="serving").start()

    def stop(self) -> None:
        """Close the port."""
        self._http.shutdown()
        self._http.server_close()
