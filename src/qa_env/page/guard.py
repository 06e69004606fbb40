"""Is it our own page that asks for something, sent by a visitor of ours?

Applications of environments live on the same host name under other ports. Cookies, `SameSite` included, do
not know ports, so nothing that is kept in one would tell our form from theirs. `Origin` does: browsers send
it with every POST, and no page can set it. It must be the list's address as the blueprints say it; `Host` is
believed only where they do not, because a stranger's name that leads to the load balancer (DNS rebinding)
would then do as well.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from qa_env.page.web import Request

PORTS = {"http": 80, "https": 443}
Origin = tuple[str, str, int]


def is_own(request: Request, addresses: Collection[str]) -> bool:
    """Was this sent by a page of ours? `addresses` are those of the list, as far as they are known."""
    sent = origin(request.header("origin"))
    if sent is None or request.header("sec-fetch-site") not in ("", "same-origin"):
        return False
    scheme = request.header("x-forwarded-proto") or "http"
    here = origin(f"{scheme}://{request.header('host')}")
    return sent in ({origin(address) for address in addresses} or {here})


def origin(address: str) -> Origin | None:
    """(scheme, host, port) of an address; None if it is none, as `null` is."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in PORTS or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, port or PORTS[parts.scheme]
