"""What both stores check before they touch anything: is the name ours, is the secret what it should be?

Data carries no owner tag, so the prefix is the mark, and it is looked at again before every statement.
"""

from __future__ import annotations

import json
import re
import ssl
from typing import Any
from urllib.parse import unquote, urlsplit

from qa_env import naming
from qa_env.errors import Blocked

_NO_SECRETS = ("host", "port", "username", "user", "engine", "dbname", "tls", "ssl_ca")
_PREFIX = re.compile(r"[a-z][a-z0-9]{1,9}[-_]?")


def require_ours(name: object, prefix: object) -> str:
    """The name, or Blocked if it is not certainly ours. Trusts nothing about its arguments."""
    if isinstance(name, str) and naming.is_ours(name, require_prefix(prefix)):
        return name
    raise Blocked(f"{_shown(name)} is not a name of ours (prefix {_shown(prefix)}); nothing was touched")


def require_prefix(prefix: object) -> str:
    """The prefix, or Blocked: an empty or short one would make other people's data ours."""
    if isinstance(prefix, str) and _PREFIX.fullmatch(prefix):
        return prefix
    raise Blocked(f"{_shown(prefix)} is not a prefix of 2-10 lower-case letters and digits")


def fields(secret: str, reference: object, needed: tuple[str, ...]) -> dict[str, Any]:
    """The secret's JSON object; Blocked names the secret and what it should hold, never what it holds."""
    try:
        values = json.loads(secret)
    except ValueError:
        values = None
    if not isinstance(values, dict) or not all(values.get(name) for name in needed):
        raise Blocked(f"secret {reference} must be JSON with {', '.join(needed)}")
    return values


def authority(values: dict[str, Any], reference: object) -> str | None:
    """`ssl_ca`, the PEM text of whoever vouches for the server; read here, where an error can say so."""
    ca = values.get("ssl_ca")
    try:
        if ca:
            ssl.create_default_context(cadata=ca)
    except (ssl.SSLError, TypeError, ValueError):
        raise Blocked(f"ssl_ca of secret {reference} must be certificates in PEM") from None
    return ca or None


def hidden(text: str, secret: str) -> str:
    """The text without what is secret in the secret: a server or a library may repeat what it was given."""
    for value in sorted(_values(secret), key=len, reverse=True):
        text = text.replace(value, "…")
    return text


def _values(secret: str) -> set[str]:
    try:
        fields = json.loads(secret)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        return {secret} - {""}
    values = {str(value) for name, value in fields.items() if name not in _NO_SECRETS and value}
    for value in list(values):
        values |= _passwords(value)
    return values - {"", "True"}


def _passwords(url: str) -> set[str]:
    """As the address has it, and as a server is told."""
    try:
        password = urlsplit(url).password or ""
    except ValueError:
        return set()
    return {password, unquote(password)}


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
