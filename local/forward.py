"""A port of this machine for every listener of a load balancer.

MiniStack serves all load balancers on its own port and tells them apart by the Host header (`<load
balancer>.alb.localhost:<listener port>`). Here each port of a load balancer's range is reserved as long as
the stack is up, open while there is a listener, and passes requests on with that header, so that
`http://localhost:10001/` works in any browser.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

HEAD_MAX = 65536
LOOK_AGAIN = 0.3  # seconds between two looks at the listeners
TIMEOUT = 120  # seconds without a byte


class PortsTaken(Exception):
    """No free range of ports."""


@dataclass
class Range:
    """Ports that are ours as long as this is open."""

    ports: range
    _lock: socket.socket

    def close(self) -> None:
        """Let others have them."""
        self._lock.close()


def reserve(size: int, first: int = 10001, step: int = 100, last: int = 32000) -> Range:
    """A range of ports that are all free and that no other stack of this machine has reserved.

    The reservation is a name in Linux's abstract socket namespace, which ends with its process.
    """
    for start in range(first, last, step):
        ports = range(start, start + size)
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(f"\0qa-env-ports-{start}")
            for port in ports:
                _bind(port).close()
        except OSError:
            lock.close()
        else:
            return Range(ports, lock)
    raise PortsTaken(f"no {size} free ports in a row between {first} and {last}")


class Forwarder:
    """Opens the reserved ports that have a listener. `listeners` says which do now."""

    def __init__(self, reserved: Range, name: str, upstream: str, listeners: Callable[[], set[int]]) -> None:
        self._range = reserved
        self._host = f"{name}.alb.localhost"
        address = urlsplit(upstream)
        self._upstream = (address.hostname or "127.0.0.1", address.port or 80)
        self._listeners = listeners
        self._open: dict[int, socket.socket] = {}
        self._ended = threading.Event()

    def start(self) -> None:
        """Look at the listeners until `stop`."""
        threading.Thread(target=self._watch, daemon=True, name="forward").start()

    def stop(self) -> None:
        """Give all ports back."""
        self._ended.set()
        for port in list(self._open):
            self._close(port)
        self._range.close()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_AGAIN):
            try:
                wanted = self._listeners() & set(self._range.ports)
            except Exception:  # noqa: S112 - MiniStack is starting, stopping or busy: look again
                continue
            for port in set(self._open) - wanted:
                self._close(port)
            for port in wanted - set(self._open):
                with contextlib.suppress(OSError):  # somebody else's just now: look again
                    self._listen(port)

    def _listen(self, port: int) -> None:
        listener = _bind(port)
        listener.listen(64)
        self._open[port] = listener
        threading.Thread(target=self._accept, args=(listener, port), daemon=True, name=f"port-{port}").start()

    def _close(self, port: int) -> None:
        listener = self._open.pop(port)
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()

    def _accept(self, listener: socket.socket, port: int) -> None:
        while True:
            try:
                visitor, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(visitor, port), daemon=True).start()

    def _serve(self, visitor: socket.socket, port: int) -> None:
        """One request per connection: the head is rewritten, the rest passed on."""
        with visitor, contextlib.suppress(OSError):
            visitor.settimeout(TIMEOUT)
            head, rest = _read_head(visitor)
            if not head:
                return
            with socket.create_connection(self._upstream, timeout=TIMEOUT) as upstream:
                upstream.sendall(rewrite(head, f"{self._host}:{port}") + rest)
                threading.Thread(target=_copy, args=(visitor, upstream), daemon=True).start()
                _copy(upstream, visitor)


def rewrite(head: bytes, host: str) -> bytes:
    """The same request for the load balancer, and no second one on this connection."""
    lines = head.split(b"\r\n")
    drop = re.compile(rb"(host|connection|keep-alive|proxy-connection)\s*:", re.IGNORECASE)
    kept = [line for line in lines[1:] if not drop.match(line)]
    return b"\r\n".join([lines[0], b"Host: " + host.encode(), b"Connection: close", *kept]) + b"\r\n\r\n"


def _read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(HEAD_MAX)
        received += more
        if not more or len(received) > HEAD_MAX:
            return b"", b""
    head, _, rest = received.partition(b"\r\n\r\n")
    return head, rest


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _bind(port: int) -> socket.socket:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind(("127.0.0.1", port))
    except OSError:
        one.close()
        raise
    return one
