"""How these suites ask: through `Datastores.handle`, as the handler does, with secrets from a dictionary."""

from __future__ import annotations

import datetime
import ipaddress
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from qa_env.datastores import Datastores

SECRET = "secretsmanager:stg/store"

HOSTILE = [
    *("", "q", "qa", "qa-", "qa_", "prod", "stg_main", "mysql", "information_schema", "QA-foo", " qa-foo"),
    *("qa-foo ", "qa-foo\n", "qafoo", "xqa-foo", "qa-foo;bar", "qa-`x`", "qa-foo`; DROP DATABASE x; --"),
    *("qa-foo' OR 1=1", "qa-foo/bar", "qa-*", "qa-[f]oo", "qa-f?o", "qa-foo:bar", "qa-%", "qa-füü"),
    *("qa-foo\x00", "qa-" + "x" * 62, "qa-foo\\", "../qa-foo", 7, None, ["qa-foo"]),
]
"""Names that are not ours under the prefix `qa`, or could do harm inside a statement or a pattern."""

BAD_PREFIXES = ["", "q", "Q_", "qa*", "qa:", "%", "-", "abcdefghijkl", None, 1]


def minutes() -> float:
    """A function with all the time in the world."""
    return 300.0


def ask(secret: str, remaining: Callable[[], float] = minutes, **request: Any) -> dict[str, Any]:
    """One request; fails if an error's text gives away anything of the secret but its host."""
    answer = Datastores({SECRET: secret}.__getitem__).handle({"secret": SECRET, **request}, remaining)
    assert json.loads(json.dumps(answer)) == answer
    assert not [word for word in _sensitive(secret) if word in answer.get("message", "")]
    return answer


def _sensitive(secret: str) -> list[str]:
    try:
        values = json.loads(secret)
    except ValueError:
        return [secret] if secret else []
    if not isinstance(values, dict):
        return []
    words = [values.get(name) for name in ("password", "username", "user", "url")]
    return [str(word) for word in words if word]


@contextmanager
def silent_server() -> Iterator[tuple[int, socket.socket]]:
    """A port where connections are accepted and nothing is ever said, and its socket."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        yield listening.getsockname()[1], listening


def certificate(path: Path) -> str:
    """A self-signed certificate for 127.0.0.1: `path`.pem and `path`.key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, path.name)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path.with_suffix(".pem").write_bytes(pem)
    path.with_suffix(".key").write_bytes(private)
    return pem.decode()
