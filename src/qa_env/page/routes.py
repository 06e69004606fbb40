"""Which page answers a request. Looking changes nothing, except that a visit wakes what sleeps.

Through a curtain's target group every path belongs to the environment on that port; through any other target
group these are the list's own pages. What is asked for is only written down (`Watch.ask`): the loop does it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from qa_env import naming
from qa_env.blueprint import Blueprint, of_repository
from qa_env.errors import Rejected
from qa_env.model import Environment, Phase, Slug, Wish
from qa_env.page import api, confirm, curtain, detail, frame, guard, listing, lookup, parts, query, web
from qa_env.page.identity import HEADER, Identity, Unverified
from qa_env.page.web import Page, Request
from qa_env.store import Store
from qa_env.summary import Summary
from qa_env.watch import Watch
from qa_env.wording import Words, preferred

LOOK = ("GET", "HEAD")
ASK = (*LOOK, "POST")
API = "/api/"
SLUG = r"(?P<slug>[a-z0-9-]{1,40})"
ROBOTS = "User-agent: *\nDisallow: /\n"


@dataclass(frozen=True)
class Site:
    """Everything the pages need. `clock` is seconds since the epoch."""

    store: Store
    watch: Watch
    places: lookup.Places
    blueprints: Mapping[str, Blueprint]
    identity: Identity
    clock: Callable[[], float] = field(default=time.time)

    def answer(self, request: Request) -> Page:
        """The page that was asked for; what is refused is a page, too."""
        load_balancer = self.places.load_balancer(request.target_group)
        if load_balancer:
            return self._curtain(request, load_balancer)
        for pattern, methods, make in ROUTES:
            found = re.fullmatch(pattern, request.path)
            if found and request.method not in methods:
                return _refusal(request, 405, "page.error.method", {"Allow": ", ".join(methods)})
            if found:
                try:
                    return make(self, request, **found.groupdict())
                except Rejected as error:
                    return _problem(request, error.status, str(error))
        return _refusal(request, 404, "page.error.path")

    def summary(self, env: Environment) -> Summary:
        """What people are told of it."""
        return Summary(env, of_repository(self.blueprints.values(), env.repository))

    def summaries(self) -> list[Summary]:
        """Of all environments; who only looks at all of them may do so a second late."""
        return [self.summary(env) for env in self.store.all(consistent=False)]

    def _curtain(self, request: Request, load_balancer: str) -> Page:
        words = preferred(request.header("accept-language"))
        env = lookup.environment(self.store, load_balancer, request.header("x-forwarded-port"))
        if env is None:
            return curtain.nothing(words, request)
        if env.sleeps and curtain.is_visit(request):
            self.watch.awaken(env.slug)
        took = self.store.durations(env.repository) if env.phase in parts.MOVING else []
        return curtain.render(curtain.View(self.summary(env), words, self.clock(), took), request)

    def _find(self, slug: str) -> Summary | None:
        env = self.store.get(Slug(slug)) if naming.is_slug(slug) else None
        return self.summary(env) if env else None


def broken(request: Request) -> Page:
    """500: something that nobody foresaw. The reason is in the log; a page that is open stays as it is."""
    text = _words(request)("page.error.broken")
    if curtain.is_page_view(request):
        return frame.problem(_words(request), 500, text)
    return api.problem(500, text)


def _list(site: Site, request: Request) -> Page:
    asked = query.read(request.query)
    words = _words(request)
    view = listing.View(words, site.summaries(), asked, site.blueprints, site.clock())
    return listing.render(view)


def _detail(site: Site, request: Request, slug: str) -> Page:
    words, found = _words(request), site._find(slug)
    history = site.store.history(Slug(slug)) if naming.is_slug(slug) else []
    if found:
        done = request.query.get("done", "")
        return detail.render(detail.View(words, found, history, site.clock(), done))
    if history:
        return detail.gone(words, slug, history, site.clock())
    return _refusal(request, 404, "page.error.environment")


def _wish(site: Site, request: Request, slug: str, wish: str) -> Page:
    words, found, wanted = _words(request), site._find(slug), Wish(wish)
    if found is None:
        raise Rejected(404, words("page.error.environment"))
    if found.phase is Phase.DELETING:
        raise Rejected(409, words("page.error.deleting"))
    if wanted not in detail.allowed(found):
        raise Rejected(403, words("page.error.button"))
    if request.method != "POST":
        return confirm.render(words, found, wanted)
    by = _asking(site, request, words, found)
    try:
        site.watch.ask(found.env.slug, wanted, by)
    except Rejected as error:
        key = "page.error.changed" if error.status == 409 else "page.error.environment"
        raise Rejected(error.status, words(key)) from error
    where = {"Location": f"/environments/{slug}?done={wanted}", web.MARK: "done"}
    return Page(303, {**web.HEADERS, **where}, "")


def _asking(site: Site, request: Request, words: Words, summary: Summary) -> str:
    """Who asks; Rejected if it is not a page of ours, or nobody known where a log-in is wanted."""
    addresses = {one.page.url for one in site.blueprints.values() if one.page.url}
    if not guard.is_own(request, addresses):
        raise Rejected(403, words("page.error.origin"))
    balancers = summary.blueprint.load_balancers if summary.blueprint else ()
    signed = request.header(HEADER)
    if not signed and any(one.oidc for one in balancers):
        raise Rejected(403, words("page.error.user"))
    try:
        return site.identity.name(signed) if signed else detail.PAGE
    except Unverified as error:
        raise Rejected(403, words("page.error.unverified", why=error)) from error


def _api_list(site: Site, request: Request) -> Page:
    return api.listing(site.summaries(), query.read(request.query))


def _api_detail(site: Site, request: Request, slug: str) -> Page:
    found = site._find(slug)
    history = site.store.history(Slug(slug)) if naming.is_slug(slug) else []
    if found:
        return api.detail(found, history)
    return api.problem(404, _words(request)("page.error.environment"), history=history)


def _robots(site: Site, request: Request) -> Page:
    described = {"Content-Type": "text/plain; charset=utf-8", web.MARK: "robots"}
    return Page(200, {**web.HEADERS, **described}, ROBOTS)


Make = Callable[..., Page]
ROUTES: tuple[tuple[str, tuple[str, ...], Make], ...] = (
    (r"/(environments/?)?", LOOK, _list),
    (rf"/environments/{SLUG}/?", LOOK, _detail),
    (rf"/environments/{SLUG}/(?P<wish>{'|'.join(Wish)})/?", ASK, _wish),
    (rf"{API}v1/environments/?", LOOK, _api_list),
    (rf"{API}v1/environments/{SLUG}/?", LOOK, _api_detail),
    (r"/robots\.txt", LOOK, _robots),
)


def _words(request: Request) -> Words:
    return preferred(request.header("accept-language"))


def _refusal(request: Request, status: int, key: str, headers: Mapping[str, str] | None = None) -> Page:
    return _problem(request, status, _words(request)(key), headers)


def _problem(request: Request, status: int, text: str, headers: Mapping[str, str] | None = None) -> Page:
    """For people or, where scripts ask, for scripts."""
    if request.path.startswith(API):
        return api.problem(status, text, headers)
    return frame.problem(_words(request), status, text, headers)
