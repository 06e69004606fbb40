"""Load balancer → page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handlers import page
from qa_env import naming
from qa_env.model import Claim, Slug, State, port_scope
from qa_env.page.lookup import Places
from tests.fakes import MemoryStore
from tests.making import environment, event, said

ARN = "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:loadbalancer/app/qa/0123456789abcdef"
PLACES = Places("qa-env", (ARN,))


def request(**headers: str | None) -> dict[str, Any]:
    """The example, from our load balancer's page, with other headers (None: without)."""
    sent = event("alb-page")
    name = naming.curtain_target_group("qa-env", ARN)
    arn = sent["requestContext"]["elb"]["targetGroupArn"].replace("qa-env-page-1a2b3c", name)
    sent["requestContext"]["elb"]["targetGroupArn"] = arn
    wanted = sent["headers"] | {key.replace("_", "-"): value for key, value in headers.items()}
    return sent | {"headers": {key: value for key, value in wanted.items() if value is not None}}


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    env = environment(branch="qa/<b>foo</b>")
    made.desire(env, None)
    env = made.claim(env, {"port/app": Claim(port_scope(ARN), "10001")})
    made.save(env.with_conditions({"service/app": said(State.WAITING, "app is starting")}))
    return made


def answer(store: MemoryStore, sent: dict[str, Any]) -> dict[str, Any]:
    """What a load balancer accepts: a status with its phrase, texts as headers, a text as body."""
    made = page.handler(sent, None, store=store, places=PLACES)
    assert made["statusDescription"].startswith(f"{made['statusCode']} ")
    assert made["isBase64Encoded"] is False
    assert isinstance(made["body"], str)
    assert all(isinstance(value, str) for value in made["headers"].values())
    assert json.loads(json.dumps(made)) == made
    return made


def test_a_browser_sees_the_environment_of_its_port(store: MemoryStore) -> None:
    """503 with the branch, escaped, and what is missing."""
    made = answer(store, request())
    assert (made["statusCode"], made["statusDescription"]) == (503, "503 Service Unavailable")
    assert made["headers"]["Content-Type"] == "text/html; charset=utf-8"
    assert "qa/&lt;b&gt;foo&lt;/b&gt;" in made["body"]
    assert "<b>" not in made["body"]
    assert "app is starting" in made["body"]


def test_headers_have_no_case(store: MemoryStore) -> None:
    """A load balancer may spell them either way."""
    sent = request()
    sent["headers"] = {key.title(): value for key, value in sent["headers"].items()}
    assert "app is starting" in answer(store, sent)["body"]


@pytest.mark.parametrize("port", ["10002", "", "x", None, "-1", "1e4"])
def test_an_unknown_port_is_a_404(store: MemoryStore, port: str | None) -> None:
    """Nobody's environment is shown."""
    made = answer(store, request(x_forwarded_port=port))
    assert (made["statusCode"], made["statusDescription"]) == (404, "404 Not Found")
    assert "foo" not in made["body"]


def test_what_is_no_page_view_gets_json(store: MemoryStore) -> None:
    """An application's `fetch` from another tab."""
    made = answer(store, request(accept="application/json"))
    assert made["statusCode"] == 503
    assert json.loads(made["body"])["state"] == "building"
    made = answer(store, request(x_forwarded_port="10002") | {"httpMethod": "POST"})
    assert made["statusCode"] == 404
    assert json.loads(made["body"])["state"] == "gone"


@pytest.mark.parametrize("headers", [None, {}])
def test_a_request_without_headers(store: MemoryStore, headers: Any) -> None:
    """A health check has next to none."""
    assert answer(store, request() | {"headers": headers})["statusCode"] == 404


def test_any_other_target_group_shows_the_list(store: MemoryStore) -> None:
    """The operator's own, on whatever port."""
    made = answer(store, event("alb-page"))
    assert (made["statusCode"], made["statusDescription"]) == (200, "200 OK")
    assert "qa/&lt;b&gt;foo&lt;/b&gt;" in made["body"]
    assert "<b>" not in made["body"]


def test_looking_changes_nothing(store: MemoryStore) -> None:
    """A page view writes nothing."""
    before = store.get(Slug("qa-foo"))
    answer(store, request())
    answer(store, event("alb-page"))
    assert store.get(Slug("qa-foo")) == before
    assert store.history(Slug("qa-foo")) == []
