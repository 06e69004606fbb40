"""Reading pages as a browser does, and a site to ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

from qa_env import naming
from qa_env.blueprint import Blueprint
from qa_env.model import Built, Claim, Desired, Environment, Phase, Slug, State, port_scope
from qa_env.page.identity import Identity
from qa_env.page.lookup import Places
from qa_env.page.routes import Site
from qa_env.page.web import Page, Request
from qa_env.watch import Watch
from tests.fakes import MemoryStore
from tests.making import blueprint, environment, said

ARN = "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:loadbalancer/app/qa/0123456789abcdef"
OTHER = ARN.replace("app/qa", "app/qa-2")
OWN_GROUP = "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:targetgroup/list/6d0ecf831eec9f09"
NOW = 1793600000.0  # 2026-11-02T06:13:20Z
HOST = "qa.example.com"
BROWSER = {"accept": "text/html,application/xhtml+xml", "sec-fetch-dest": "document"}
SENT = {"host": HOST, "x-forwarded-proto": "https", "origin": f"https://{HOST}"}
ALL = {"page": {"url": f"https://{HOST}/", "buttons": ["redeploy", "reset", "delete"]}}
HOSTILE = [
    "qa/<script>alert(1)</script>",
    'qa/"><img/src=x/onerror=alert(1)>',
    "qa/'-alert(1)-'",
    "qa/</title></style></body>",
    "qa/&lt;b&gt;",
    "qa/日本語",
    "qa/{0}{title}%s",
    "qa/\u202egnp.exe",
]
VOID = {"meta", "link", "input"}


class Reader(HTMLParser):
    """What a browser would make of a page: its elements in order, their attributes, and its text."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.unclosed: list[str] = []
        self.feed(page.body)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.unclosed.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.unclosed.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.unclosed):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.texts)

    @property
    def links(self) -> list[str]:
        return [str(value) for name, value in self.attributes if name == "href"]

    def those(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        """The attributes of all such elements."""
        return [
            attributes
            for name, attributes in self.found
            if name == tag and all(attributes.get(key) == value for key, value in wanted.items())
        ]


def store_with(*environments: Environment, load_balancer: str = ARN, first: int = 10001) -> MemoryStore:
    """A store that holds these; each with a port of its own."""
    store = MemoryStore()
    for port, env in enumerate(environments, first):
        claim = Claim(port_scope(load_balancer), str(port))
        store.records[env.slug] = env
        store.claims[claim] = env.slug
    return store


class Visit:
    """A site, and what came of visiting it."""

    def __init__(self, *environments: Environment, **changes: Any) -> None:
        self.store = store_with(*environments)
        self.woken: list[Slug] = []
        self.blueprint: Blueprint = blueprint(**ALL | changes)
        self.identity = Identity((ARN,), clock=lambda: NOW)
        self.now = NOW

    @property
    def site(self) -> Site:
        watch = Watch(self.store, lambda slug, why: self.woken.append(slug), clock=lambda: self.now)
        blueprints = {self.blueprint.repository: self.blueprint}
        places = Places("qa-env", (ARN, OTHER))
        return Site(self.store, watch, places, blueprints, self.identity, clock=lambda: self.now)

    def ask(
        self,
        path: str = "/",
        method: str = "GET",
        query: Mapping[str, str] | None = None,
        **headers: str | None,
    ) -> Page:
        """Through the list's own target group; headers with `_` for `-`, None leaves one out."""
        return self.site.answer(asked(path, method, query, OWN_GROUP, **headers))

    def see(self, port: int = 10001, path: str = "/", method: str = "GET", **headers: str | None) -> Page:
        """Through a curtain, on a port."""
        group = curtain_group(ARN)
        return self.site.answer(asked(path, method, None, group, x_forwarded_port=str(port), **headers))


def asked(
    path: str, method: str, query: Mapping[str, str] | None, group: str, **headers: str | None
) -> Request:
    """A browser's request."""
    given = BROWSER | SENT | {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {name: value for name, value in given.items() if value is not None}
    return Request(method, path, query or {}, sent, group)


def curtain_group(load_balancer: str, installation: str = "qa-env") -> str:
    """The page's target group of a load balancer."""
    name = naming.curtain_target_group(installation, load_balancer)
    return f"arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:targetgroup/{name}/6d0ecf831eec9f09"


def in_phase(phase: Phase, **changes: Any) -> Environment:
    """An environment of which people would be told this."""
    state = {
        Phase.READY: State.READY,
        Phase.ASLEEP: State.READY,
        Phase.FAILED: State.FAILED,
        Phase.BLOCKED: State.BLOCKED,
        Phase.BUILDING: State.WAITING,
        Phase.DEPLOYING: State.WAITING,
    }.get(phase)
    outputs = {"asleep": str(environment(**changes).interest)} if phase is Phase.ASLEEP else {}
    values: dict[str, Any] = {
        "conditions": {"service/app": said(state, **outputs)} if state else {},
        "desired": Desired.ABSENT if phase is Phase.DELETING else Desired.PRESENT,
        "built": Built("a" * 40, "image", "1") if phase is Phase.DEPLOYING else None,
    }
    env = environment(**values | changes)
    assert env.phase is phase
    return env
