"""Two ways in: a boto3 client answered in process, and HTTP. Both speak AWS JSON 1.1 through `respond`.

In process, a handler on botocore's `before-send` event answers instead of the network: the real client
serialises and parses. It is registered first, so it wins over moto, which hooks into the same event.
"""

from __future__ import annotations

import functools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import TYPE_CHECKING, Any, Self

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from local.codepipeline.values import ApiError

if TYPE_CHECKING:
    from mypy_boto3_codepipeline import CodePipelineClient

    from local.codepipeline.engine import Engine

LOG = logging.getLogger(__name__)
TARGET = "CodePipeline_20150709."
HEADERS = {"Content-Type": "application/x-amz-json-1.1"}

Seen = Callable[[str, str, float], None]
"""Told of every answer over HTTP: its Authorization header and operation, and when the request came."""
Refuse = Callable[[str, str, Mapping[str, Any]], str]
"""Why IAM refuses a request, by its Authorization header, operation and parameters; empty if it does not."""


def allow(_authorization: str, _operation: str, _params: Mapping[str, Any]) -> str:
    """Everybody may do everything."""
    return ""


def unseen(_authorization: str, _operation: str, _at: float) -> None:
    """Nobody is told."""


def respond(
    engine: Engine, target: str, body: bytes, authorization: str = "", refuse: Refuse = allow
) -> tuple[int, bytes]:
    """Status and body for one request of the protocol."""
    operation = target.removeprefix(TARGET)
    try:
        params = _parse(body)
        if why := refuse(authorization, operation, params):
            raise ApiError("AccessDeniedException", why)
        answer, status = engine.answer(operation, params), 200
    except ApiError as error:
        answer, status = {"__type": error.code, "message": error.message}, 400
    return status, json.dumps(answer).encode()


def _parse(body: bytes) -> dict[str, Any]:
    try:
        params = json.loads(body or b"{}")
    except ValueError as error:
        raise ApiError("SerializationException", "The request is not JSON") from error
    if not isinstance(params, dict):
        raise ApiError("SerializationException", "The request must be an object")
    return params


# --- In process ---------------------------------------------------------------------------------


class _Body(BytesIO):
    """The raw response botocore expects of its HTTP library."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def attach(client: CodePipelineClient, engine: Engine) -> None:
    """Let `engine` answer everything this client sends."""

    def answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        target = request.headers["X-Amz-Target"]
        text = target.decode() if isinstance(target, bytes) else str(target)
        body = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
        status, content = respond(engine, text, body)
        # _Body has the part of urllib3's response that botocore reads.
        return AWSResponse(request.url, status, HEADERS, _Body(content))  # type: ignore[arg-type]

    # The stubs know the handlers of other events only.
    client.meta.events.register_first("before-send.codepipeline.*", answer)  # type: ignore[arg-type]


@functools.cache
def _session(region: str) -> boto3.Session:
    return boto3.Session(
        "stand-in", "stand-in", region_name=region
    )  # reading the service model takes its time


def client(engine: Engine) -> CodePipelineClient:
    """A new boto3 client for this engine; credentials are made up and never leave the process."""
    made: CodePipelineClient = _session(engine.settings.region).client("codepipeline")
    attach(made, engine)
    return made


# --- Over HTTP ----------------------------------------------------------------------------------


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = False  # so that closing the server waits for the requests it is answering


class Server:
    """Serves an engine on 127.0.0.1 and runs its tasks in threads, from `start()` to `stop()`.

    `workers` is how many builds and invocations run at once. `stop()` waits for them: end their processes
    first. `refuse` is IAM, `seen` is told of what was answered.
    """

    def __init__(
        self, engine: Engine, port: int = 0, workers: int = 8, refuse: Refuse = allow, seen: Seen = unseen
    ) -> None:
        self._engine = engine
        self._http = _HTTPServer(("127.0.0.1", port), _handler(engine, refuse, seen))
        self._stopping = threading.Event()
        loops: list[Callable[[], None]] = [
            functools.partial(self._http.serve_forever, 0.05),
            *[self._work] * workers,
        ]
        self._threads = [threading.Thread(target=loop, name="codepipeline", daemon=True) for loop in loops]
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def start(self) -> None:
        """Begin to answer and to work."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 30) -> None:
        """End every thread; raise if one still runs a build or a function after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        started = [thread for thread in self._threads if thread.is_alive()]
        self._stopping.set()
        self._engine.wake()
        if started:
            self._http.shutdown()
        self._http.server_close()
        for thread in started:
            thread.join(max(0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in started):
            raise TimeoutError("stopping the CodePipeline stand-in: a build or function is still running")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                worked = self._engine.step()
            except Exception:  # one broken event target must not end the service
                LOG.exception("A step of the CodePipeline stand-in failed")
                worked = True
            if not worked:
                self._engine.wait(self._stopping)


def _handler(engine: Engine, refuse: Refuse, seen: Seen) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """One request per connection (HTTP/1.0): stopping leaves no idle connection's thread behind."""

        timeout = 5

        def do_POST(self) -> None:
            at = time.time()
            length = int(self.headers.get("Content-Length") or 0)
            target, authorization = (self.headers.get(name, "") for name in ("X-Amz-Target", "Authorization"))
            status, content = respond(engine, target, self.rfile.read(length), authorization, refuse)
            self.send_response(status)
            for name, value in {**HEADERS, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            seen(authorization, target.removeprefix(TARGET), at)

        def log_message(self, format: str, *args: object) -> None:
            LOG.debug(format, *args)

    return Handler
