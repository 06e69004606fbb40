"""A GitHub on 127.0.0.1 that says what a test wrote down, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests import canaries

TOKEN = canaries.GITHUB_TOKEN


@dataclass
class Answer:
    """What is said to one request. Text is sent as it is, anything else as JSON."""

    content: Any = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return self.content.encode() if isinstance(self.content, str) else json.dumps(self.content).encode()


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: Message
    body: Any


class Server:
    """`answers` maps `GET /path` or `/path` (with its query, as it came) to an Answer; 404 for the rest."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, Answer] = {}
        self.asked: list[Asked] = []

    def answer(self, method: str, path: str) -> Answer:
        fallback = self.answers.get("*", Answer({"message": "Not Found"}, 404))
        return self.answers.get(f"{method} {path}", self.answers.get(path, fallback))

    @property
    def authorizations(self) -> list[str]:
        return [one.headers["Authorization"] for one in self.asked]


@contextmanager
def serve() -> Iterator[Server]:
    """One server on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server.asked.append(
                Asked(self.command, self.path, self.headers, json.loads(body) if body else None)
            )
            answer = server.answer(self.command, self.path)
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_POST = do_PATCH = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, format: str, *args: Any) -> None:
            """A test's output is not a server's log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        server = Server(f"http://127.0.0.1:{listening.server_address[1]}")
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        listening.shutdown()
        thread.join()
