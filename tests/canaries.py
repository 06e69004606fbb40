"""One secret of each kind that the product meets, of a shape that nothing else has, and a search for them.

Suites that need a secret take it from here. `conftest.py` searches the output of every test for all of them.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

WEBHOOK_SECRET = "canary-webhook-secret"
PREVIOUS_WEBHOOK_SECRET = "canary-previous-webhook-secret"
GITHUB_TOKEN = "github_pat_canary_GitHubToken"
INSTALLATION_TOKEN = "ghs_canaryInstallationToken"
SLACK_TOKEN = "xoxb-canary-slack-token"
SLACK_HOOK = "/services/T0CANARY/B0CANARY/hook"
OIDC_SECRET = "canary-oidc-client-secret"
MYSQL_PASSWORD = "canary-mysql-password"
ACCOUNT_PASSWORD = "canary-password-of-a-mysql-user"
REDIS_PASSWORD = "canary-redis-password"
AWS_SECRET_KEY = "canary/AWS+secret+access+key"
AWS_SESSION_TOKEN = "canary/AWS+session+token"
COMMIT_MESSAGE = "canary-commit-message"
EMAIL = "canary-author@example.com"

KINDS = {
    "webhook secret": WEBHOOK_SECRET,
    "previous webhook secret": PREVIOUS_WEBHOOK_SECRET,
    "GitHub token": GITHUB_TOKEN,
    "GitHub installation token": INSTALLATION_TOKEN,
    "GitHub App's JWT": "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.",  # the header of each that we make
    "Slack token": SLACK_TOKEN,
    "Slack webhook": SLACK_HOOK,
    "log-in client secret": OIDC_SECRET,
    "MySQL password": MYSQL_PASSWORD,
    "environment's MySQL password": ACCOUNT_PASSWORD,
    "Redis password": REDIS_PASSWORD,
    "AWS secret key": AWS_SECRET_KEY,
    "AWS session token": AWS_SESSION_TOKEN,
    "payload: commit message": COMMIT_MESSAGE,
    "payload: e-mail address": EMAIL,
}
_keys: dict[str, str] = {}


def found_in(text: str) -> list[str]:
    """The kinds of the secrets that a text holds."""
    return [kind for kind, secret in (KINDS | _keys).items() if secret in text]


def masked(text: str) -> str:
    """The text with the kinds in the secrets' places."""
    for kind, secret in (KINDS | _keys).items():
        text = text.replace(secret, f"<{kind}>")
    return text


@functools.cache
def app_key() -> rsa.RSAPrivateKey:
    """A GitHub App's key; a line from the middle of its PEM is searched for from now on."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    lines = pem(key).splitlines()
    _keys["GitHub App's private key"] = lines[len(lines) // 2]
    return key


def pem(key: rsa.RSAPrivateKey) -> str:
    """As GitHub gives it to people."""
    plain = serialization.NoEncryption()
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain
    ).decode()


def secrets(**given: Any) -> dict[str, str]:
    """What a blueprint's references lead to; `given` replaces some by something else."""
    app = {"app_id": "12345", "installation_id": "678", "private_key": pem(app_key())}
    known: dict[str, Any] = {
        "github": {"token": GITHUB_TOKEN},
        "app": app,
        "slack": {"token": SLACK_TOKEN},
        "oidc": {"client_id": "qa", "client_secret": OIDC_SECRET},
        "mysql": {"host": "127.0.0.1", "username": "admin", "password": MYSQL_PASSWORD},
        "redis": {"url": f"redis://:{REDIS_PASSWORD}@127.0.0.1:6379"},
    }
    return {f"secretsmanager:{name}": json.dumps(value) for name, value in (known | given).items()}
