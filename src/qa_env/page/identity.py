"""Who is it? The load balancer that logged a visitor in says so in a signed header (`x-amzn-oidc-data`).

The header is a JWT of the load balancer's own making: ES256, base64url *with* padding, `signer` in its header
is the load balancer's ARN. Everybody can send such a header where no log-in is in front, and one that another
account's load balancer has signed is as genuine as ours, so the signer must be one of ours.
"""

from __future__ import annotations

import base64
import json
import re
import time
import urllib.request
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

HEADER = "x-amzn-oidc-data"
TIMEOUT = 3  # seconds
KEY_MAX = 4096  # bytes of a public key in PEM
NAME_MAX = 80
NAMES = ("email", "preferred_username", "name", "sub")
HALF = 32  # bytes of r and of s in a signature of ES256
KEY_ID = re.compile(r"[0-9a-zA-Z-]{1,64}")


class Unverified(Exception):
    """The header does not prove who it is."""


def fetch(url: str) -> bytes:
    """The public key at an address of AWS's."""
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310 - always https, see `_url`
        return bytes(answer.read(KEY_MAX))


@dataclass(frozen=True)
class Identity:
    """Checks what load balancers say. `signers` are their ARNs; keys that were fetched are kept."""

    signers: Collection[str]
    fetch: Callable[[str], bytes] = fetch
    clock: Callable[[], float] = time.time
    _keys: dict[str, bytes] = field(default_factory=dict, repr=False)

    def name(self, header: str) -> str:
        """The visitor's name, at most 80 characters; Unverified says why there is none."""
        try:
            signed, claims, signature, head = _parse(header)
        except (ValueError, KeyError, TypeError) as error:
            raise Unverified("the log-in cannot be read") from error
        if head.get("alg") != "ES256" or head.get("signer") not in self.signers:
            raise Unverified("the log-in is not from a load balancer of ours")
        if not _is_number(claims.get("exp")) or claims["exp"] <= self.clock():
            raise Unverified("the log-in has expired")
        self._verify(signed, signature, self._key(str(head["signer"]), str(head.get("kid"))))
        for one in NAMES:
            if text := str(claims.get(one) or "").strip():
                return text[:NAME_MAX]
        raise Unverified("the log-in says no name")

    def _key(self, signer: str, kid: str) -> bytes:
        if not KEY_ID.fullmatch(kid):
            raise Unverified("the log-in names no key")
        url = _url(signer, kid)
        if url not in self._keys:
            try:
                self._keys[url] = self.fetch(url)
            except OSError as error:
                raise Unverified("the key of the log-in cannot be read") from error
        return self._keys[url]

    def _verify(self, signed: bytes, signature: bytes, pem: bytes) -> None:
        # Imported here: it takes its time, and most sandboxes never meet a form.
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec, utils
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            key = load_pem_public_key(pem)
        except ValueError as error:
            raise Unverified("the key of the log-in cannot be read") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or len(signature) != 2 * HALF:
            raise Unverified("the log-in is not signed as it should be")
        halves = (int.from_bytes(part, "big") for part in (signature[:HALF], signature[HALF:]))
        try:
            key.verify(utils.encode_dss_signature(*halves), signed, ec.ECDSA(SHA256()))
        except InvalidSignature as error:
            raise Unverified("the log-in's signature is wrong") from error


def _url(signer: str, kid: str) -> str:
    """`signer` is an ARN of ours, `kid` harmless: nobody can send us elsewhere."""
    return f"https://public-keys.auth.elb.{signer.split(':')[3]}.amazonaws.com/{kid}"


def _parse(header: str) -> tuple[bytes, Mapping[str, Any], bytes, Mapping[str, Any]]:
    """(what is signed, claims, signature, head); ValueError, KeyError or TypeError if it is no such thing."""
    head, claims, signature = header.split(".")
    read = json.loads(_decoded(head)), json.loads(_decoded(claims))
    if not all(isinstance(one, dict) for one in read):
        raise ValueError("not objects")
    return f"{head}.{claims}".encode("ascii"), read[1], _decoded(signature), read[0]


def _decoded(text: str) -> bytes:
    """base64url with its padding, or without as everybody else's."""
    bare = text.rstrip("=")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
