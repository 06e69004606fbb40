"""Which actions of a listener or rule ELBv2 takes, and what it shows of them again.

Sources: BC:elbv2.Action ("Each rule must include exactly one of … forward, fixed-response, or redirect, and
it must be the last action to be performed"; authenticate actions: "[HTTPS listeners]"; Order: "required for
rules with multiple actions") and BC:elbv2.AuthenticateOidcActionConfig (ClientSecret and
UseExistingClientSecret). The code InvalidLoadBalancerAction is quoted in ansible-collections/amazon.aws
#1877; it is documented for all calls that take actions.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from tests.strict_aws.call import Answer, Call

LOG_IN = ("authenticate-oidc", "authenticate-cognito")
LAST = ("forward", "fixed-response", "redirect")


def check_actions(call: Call, actions: list[dict[str, Any]], protocol: str, *, is_new: bool) -> None:
    """Refuse what AWS refuses; `is_new`: there is no log-in yet whose secret could be kept."""
    if len(actions) > 1 and any("Order" not in action for action in actions):
        raise _refused(call, "An order is required for every action where there are several")
    kinds = [action["Type"] for action in sorted(actions, key=lambda one: one.get("Order", 0))]
    if [kind in LAST for kind in kinds] != [False] * (len(kinds) - 1) + [True]:
        raise _refused(call, "The last action, and no other, must be a forward, fixed-response or redirect")
    if protocol != "HTTPS" and set(kinds) & set(LOG_IN):
        raise _refused(call, f"Actions of type '{kinds[0]}' are supported only on HTTPS listeners")
    for action in actions:
        if action["Type"] == "authenticate-oidc":
            _check_secret(call, action.get("AuthenticateOidcConfig", {}), is_new)


def _check_secret(call: Call, config: dict[str, Any], is_new: bool) -> None:
    kept = config.get("UseExistingClientSecret", False)
    if kept and "ClientSecret" in config:
        raise _refused(
            call, "You cannot both specify a client secret and set UseExistingClientSecret to true"
        )
    if "ClientSecret" not in config and (is_new or not kept):
        raise _refused(call, "You must specify a client secret")


def _refused(call: Call, message: str) -> Exception:
    return call.error("InvalidLoadBalancerAction", message)


def without_secrets(answer: Answer) -> Answer:
    """The client secret goes in and never comes out."""
    shown = deepcopy(answer)
    for thing in [*shown.get("Listeners", []), *shown.get("Rules", [])]:
        for action in [*thing.get("DefaultActions", []), *thing.get("Actions", [])]:
            config = action.get("AuthenticateOidcConfig", {})
            for key in ("ClientSecret", "UseExistingClientSecret"):
                config.pop(key, None)
    return shown
