"""Who is it? Only what a load balancer of ours has signed counts."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from qa_env.page.identity import NAME_MAX, Identity, Unverified
from tests.pages import ARN, NOW

KEY = ec.generate_private_key(ec.SECP256R1())
KID = "12345678-1234-1234-1234-123456789012"
URL = f"https://public-keys.auth.elb.ap-northeast-1.amazonaws.com/{KID}"
HEAD = {
    "alg": "ES256",
    "typ": "JWT",
    "kid": KID,
    "signer": ARN,
    "client": "c",
    "iss": "i",
    "exp": int(NOW) + 60,
}
CLAIMS = {"sub": "1234", "email": "hanako@example.com", "exp": int(NOW) + 60}


def pem(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def encoded(value: object, padded: bool = True) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    text = base64.urlsafe_b64encode(data).decode()
    return text if padded else text.rstrip("=")


def token(
    head: Any = None, claims: Any = None, key: ec.EllipticCurvePrivateKey = KEY, padded: bool = True
) -> str:
    """As a load balancer makes one, or nearly."""
    signed = f"{encoded({**HEAD, **(head or {})}, padded)}.{encoded({**CLAIMS, **(claims or {})}, padded)}"
    r, s = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(SHA256())))
    return f"{signed}.{encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'), padded)}"


class Keys:
    """AWS's addresses of keys."""

    def __init__(self, key: bytes = b"") -> None:
        self.known = {URL: key or pem(KEY)}
        self.asked: list[str] = []

    def __call__(self, url: str) -> bytes:
        self.asked.append(url)
        if url not in self.known:
            raise OSError("404")
        return self.known[url]


def identity(keys: Keys | None = None, now: float = NOW) -> Identity:
    return Identity((ARN,), fetch=keys or Keys(), clock=lambda: now)


@pytest.mark.parametrize("padded", [True, False])
def test_what_our_load_balancer_signed_is_believed(padded: bool) -> None:
    """Theirs are padded, which no other JWT is."""
    assert identity().name(token(padded=padded)) == "hanako@example.com"


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"preferred_username": "hanako"}, "hanako@example.com"),
        ({"email": "", "preferred_username": "hanako", "name": "H"}, "hanako"),
        ({"email": None, "name": "Hanako Yamada"}, "Hanako Yamada"),
        ({"email": " "}, "1234"),
        ({"email": "x" * 500}, "x" * NAME_MAX),
    ],
)
def test_the_name_is_the_most_telling_one(claims: dict[str, Any], name: str) -> None:
    assert identity().name(token(claims=claims)) == name


def test_a_key_is_fetched_once() -> None:
    keys = Keys()
    one = identity(keys)
    assert [one.name(token()), one.name(token())] == ["hanako@example.com"] * 2
    assert keys.asked == [URL]


def test_a_key_that_could_not_be_read_is_asked_for_again() -> None:
    keys = Keys()
    one = identity(keys)
    held, keys.known = keys.known, {}
    with pytest.raises(Unverified):
        one.name(token())
    keys.known = held
    assert one.name(token()) == "hanako@example.com"


@pytest.mark.parametrize(
    "head",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "ES384"},
        {"signer": ARN + "0"},
        {"signer": ""},
        {"signer": None},
        {"kid": "../../evil"},
        {"kid": "a/b"},
        {"kid": ""},
        {"kid": None},
        {"kid": "x" * 65},
        {"kid": "unknown"},
    ],
)
def test_another_head_is_not_believed(head: dict[str, Any]) -> None:
    """Though the signature is right; and no address but AWS's is asked."""
    keys = Keys()
    with pytest.raises(Unverified):
        identity(keys).name(token(head=head))
    assert all(url.startswith(URL.removesuffix(KID)) for url in keys.asked)


@pytest.mark.parametrize(
    "claims", [{"exp": int(NOW)}, {"exp": 0}, {"exp": "never"}, {"exp": None}, {"exp": True}, {"exp": []}]
)
def test_what_has_expired_is_not_believed(claims: dict[str, Any]) -> None:
    with pytest.raises(Unverified, match="expired"):
        identity().name(token(claims=claims))


def test_a_name_is_needed() -> None:
    with pytest.raises(Unverified, match="no name"):
        identity().name(token(claims={"email": "", "sub": ""}))


def test_another_signature_is_not_believed() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(Unverified, match="signature is wrong"):
        identity().name(token(key=other))
    head, claims, signature = token().split(".")
    forged = encoded({**CLAIMS, "email": "ceo@example.com"})
    with pytest.raises(Unverified, match="signature is wrong"):
        identity().name(f"{head}.{forged}.{signature}")
    short = encoded(b"x" * 63)
    with pytest.raises(Unverified, match="not signed as it should be"):
        identity().name(f"{head}.{claims}.{short}")


@pytest.mark.parametrize(
    "key",
    [b"not a key", pem(rsa.generate_private_key(65537, 2048)), pem(ec.generate_private_key(ec.SECP384R1()))],
)
def test_another_kind_of_key_is_not_believed(key: bytes) -> None:
    with pytest.raises(Unverified):
        identity(Keys(key)).name(token())


@pytest.mark.parametrize(
    "header",
    [
        "",
        "x",
        "a.b",
        "a.b.c.d",
        "..",
        "e30.e30.",
        "W10=.W10=.W10=",
        "🙂.🙂.🙂",
        "e30=.bnVsbA==.e30=",
        "a" * 100_000,
    ],
)
def test_what_is_no_token_is_not_believed(header: str) -> None:
    with pytest.raises(Unverified):
        identity().name(header)
