"""The log-in that a load balancer asks for in front of an environment (OIDC), and knowing it again.

The load balancer never shows the client secret, and reading the secret in every pass would be a call for
nothing. So it is read only when something must be written, and whether something must be is seen from what
the load balancer shows and from a mark, kept in a tag, of the blueprint's settings: the *reference* of the
secret is among them, the secret is not. A secret that changes under the same reference is therefore noticed
by nobody: give it another reference in the blueprint.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qa_env import aws
from qa_env.blueprint import Oidc
from qa_env.errors import Blocked

OIDC = "authenticate-oidc"


def mark(oidc: Oidc | None) -> str:
    """What tells these settings from others; empty without a log-in."""
    return aws.fingerprint(oidc.model_dump()) if oidc else ""


def actions(oidc: Oidc | None, read_secret: Callable[[str], str], target_group: str) -> list[Any]:
    """Forward to the target group, after a log-in if there is one; this reads the secret.

    Blocked if the secret is not what it should be.
    """
    forward = {"Type": "forward", "TargetGroupArn": target_group}
    if oidc is None:
        return [forward]
    config = {**_config(oidc), **_client(oidc, read_secret)}
    return [{"Type": OIDC, "Order": 1, "AuthenticateOidcConfig": config}, {**forward, "Order": 2}]


def is_as_wanted(oidc: Oidc | None, found: Sequence[Mapping[str, Any]], target_group: str) -> bool:
    """Is this what was asked for? AWS adds `ForwardConfig`, `Order` and more, so that is not compared."""
    ordered = sorted(found, key=lambda action: action.get("Order", 0))
    if [one["Type"] for one in ordered] != ([OIDC] if oidc else []) + ["forward"]:
        return False
    if ordered[-1].get("TargetGroupArn") != target_group:
        return False
    shown = ordered[0].get("AuthenticateOidcConfig", {})
    return oidc is None or all(shown.get(name) == value for name, value in _config(oidc).items())


def _config(oidc: Oidc) -> dict[str, Any]:
    return {
        "Issuer": oidc.issuer,
        "AuthorizationEndpoint": oidc.authorization_endpoint,
        "TokenEndpoint": oidc.token_endpoint,
        "UserInfoEndpoint": oidc.user_info_endpoint,
        "Scope": oidc.scope,
        "SessionTimeout": oidc.session_timeout,
        "OnUnauthenticatedRequest": "authenticate",
    }


def _client(oidc: Oidc, read_secret: Callable[[str], str]) -> dict[str, str]:
    """The text of what goes wrong here may hold the secret, so it is not told."""
    text = read_secret(oidc.secret)
    try:
        secret = json.loads(text)
        return {"ClientId": str(secret["client_id"]), "ClientSecret": str(secret["client_secret"])}
    except (ValueError, KeyError, TypeError):
        raise Blocked(f"{oidc.secret} must be JSON with client_id and client_secret") from None
