"""Load balancer → the page behind the curtain of the environment on that port, or the list of all."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from aws_lambda_powertools import Logger

from qa_env import blueprint, runtime
from qa_env.blueprint import Blueprint
from qa_env.model import Slug
from qa_env.page import alb, lookup, routes
from qa_env.page.identity import Identity
from qa_env.store import Store
from qa_env.watch import Watch

logger = Logger()


def handler(
    event: dict[str, Any],
    context: Any,
    *,
    store: Store | None = None,
    places: lookup.Places | None = None,
    blueprints: Mapping[str, Blueprint] | None = None,
    wake: Callable[[Slug, str], None] | None = None,
    identity: Identity | None = None,
) -> dict[str, Any]:
    """Answers an ALB target request; whatever goes wrong is a page as well."""
    request = alb.request(event)
    try:
        records = store or runtime.store()
        known = places or _places()
        site = routes.Site(
            records,
            Watch(records, wake or runtime.wake),
            known,
            blueprint.built_in() if blueprints is None else blueprints,
            identity or _identity(known.load_balancers),
        )
        page = site.answer(request)
    except Exception:
        logger.exception("the page cannot be shown", extra={"path": request.path[:200]})
        page = routes.broken(request)
    return alb.answer(event, request, page)


def _places() -> lookup.Places:
    """Every load balancer of every blueprint."""
    balancers = {lb.arn for one in blueprint.built_in().values() for lb in one.load_balancers}
    return lookup.Places(runtime.installation(), tuple(sorted(balancers)))


@functools.cache
def _identity(signers: tuple[str, ...]) -> Identity:
    """Kept, because it remembers keys."""
    return Identity(signers)
