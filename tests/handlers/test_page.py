"""Load balancer → page."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

import pytest

from handlers import page
from qa_env import naming
from qa_env.model import Slug, State
from qa_env.page.lookup import Places
from tests.fakes import MemoryStore
from tests.making import blueprint, environment, event, said
from tests.pages import ALL, ARN, store_with

PLACES = Places("qa-env", (ARN,))
BLUEPRINTS = {"example/shop": blueprint(**ALL)}
HOST = {"host": "qa.example.com", "x-forwarded-proto": "https", "origin": "https://qa.example.com"}


def curtain(**headers: str | None) -> dict[str, Any]:
    """The example, from our load balancer's page, with other headers (None: without)."""
    sent = event("alb-page")
    name = naming.curtain_target_group("qa-env", ARN)
    arn = sent["requestContext"]["elb"]["targetGroupArn"].replace("qa-env-page-1a2b3c", name)
    sent["requestContext"]["elb"]["targetGroupArn"] = arn
    wanted = sent["headers"] | {key.replace("_", "-"): value for key, value in headers.items()}
    return sent | {"headers": {key: value for key, value in wanted.items() if value is not None}}


def own(path: str = "/", method: str = "GET", **changes: Any) -> dict[str, Any]:
    """The same through the operator's own target group."""
    sent = event("alb-page")
    sent["headers"] |= HOST
    return sent | {"path": path, "httpMethod": method} | changes


@pytest.fixture
def store() -> MemoryStore:
    conditions = {"service/app": said(State.WAITING, "app is starting")}
    return store_with(environment(branch="qa/<b>foo</b>", conditions=conditions))


@pytest.fixture
def woken() -> list[str]:
    return []


class Answer:
    """What a load balancer makes of an answer, which must be one that it accepts."""

    def __init__(self, made: Mapping[str, Any]) -> None:
        assert json.loads(json.dumps(made)) == made
        self.status = made["statusCode"]
        assert made["statusDescription"].startswith(f"{self.status} ")
        self.headers = dict(made["headers"])
        assert all(isinstance(value, str) for value in self.headers.values())
        body = base64.b64decode(made["body"]) if made["isBase64Encoded"] else made["body"].encode()
        packed = self.headers.get("Content-Encoding") == "gzip"
        self.body = (gzip.decompress(body) if packed else body).decode()


def answer(store: Any, sent: dict[str, Any], woken: list[str] | None = None) -> Answer:
    noted: list[str] = [] if woken is None else woken
    made = page.handler(
        sent,
        None,
        store=store,
        places=PLACES,
        blueprints=BLUEPRINTS,
        wake=lambda slug, why: noted.append(slug),
    )
    return Answer(made)


def test_a_browser_sees_the_environment_of_its_port(store: MemoryStore) -> None:
    """503 with the branch, escaped, and what is missing; in its own language."""
    made = answer(store, curtain())
    assert made.status == 503
    assert made.headers["Content-Type"] == "text/html; charset=utf-8"
    assert '<html lang="ja">' in made.body
    assert "qa/&lt;b&gt;foo&lt;/b&gt;" in made.body
    assert "<b>" not in made.body
    assert "app is starting" in made.body


def test_headers_have_no_case(store: MemoryStore) -> None:
    """A load balancer may spell them either way."""
    sent = curtain()
    sent["headers"] = {key.title(): value for key, value in sent["headers"].items()}
    assert "app is starting" in answer(store, sent).body


@pytest.mark.parametrize("port", ["10002", "", "x", None, "-1", "1e4"])
def test_an_unknown_port_is_a_404(store: MemoryStore, port: str | None) -> None:
    """Nobody's environment is shown."""
    made = answer(store, curtain(x_forwarded_port=port))
    assert made.status == 404
    assert "foo" not in made.body


def test_what_is_no_page_view_gets_json(store: MemoryStore) -> None:
    """An application's `fetch` from another tab."""
    made = answer(store, curtain(accept="application/json"))
    assert made.status == 503
    assert json.loads(made.body)["state"] == "building"
    made = answer(store, curtain(x_forwarded_port="10002") | {"httpMethod": "POST"})
    assert made.status == 404
    assert json.loads(made.body)["state"] == "gone"


@pytest.mark.parametrize("headers", [None, {}])
def test_a_request_without_headers(store: MemoryStore, headers: Any) -> None:
    """A health check has next to none."""
    assert answer(store, curtain() | {"headers": headers}).status == 404
    assert answer(store, own() | {"headers": headers}).status == 200


def test_any_other_target_group_shows_the_list(store: MemoryStore) -> None:
    """The operator's own, on whatever port."""
    made = answer(store, own())
    assert made.status == 200
    assert "qa/&lt;b&gt;foo&lt;/b&gt;" in made.body
    assert "<b>" not in made.body


class TestEncoding:
    def test_pages_are_compressed_for_who_takes_it(self, store: MemoryStore) -> None:
        assert answer(store, own()).headers["Content-Encoding"] == "gzip"
        sent = own()
        sent["headers"]["accept-encoding"] = "br"
        made = answer(store, sent)
        assert "Content-Encoding" not in made.headers
        assert "Accept-Encoding" in made.headers["Vary"]
        assert made.body == answer(store, own()).body

    @pytest.mark.parametrize("sent", [own(method="HEAD"), curtain() | {"httpMethod": "HEAD"}])
    def test_head_has_headers_only(self, store: MemoryStore, sent: dict[str, Any]) -> None:
        made = answer(store, sent)
        assert made.body == ""
        assert made.headers["Content-Type"] == "text/html; charset=utf-8"

    def test_multi_value_headers_are_answered_in_kind(self, store: MemoryStore) -> None:
        """A target group may be set so; what comes twice counts as it came last."""
        sent = own(multiValueQueryStringParameters={"q": ["nothing", "%3Cb%3Efoo"], "empty": []})
        headers = sent.pop("headers")
        del sent["queryStringParameters"]
        sent["multiValueHeaders"] = {name: [value] for name, value in headers.items()} | {"none": []}
        made = page.handler(sent, None, store=store, places=PLACES, blueprints=BLUEPRINTS)
        assert made["multiValueHeaders"]["Content-Type"] == ["text/html; charset=utf-8"]
        assert "headers" not in made
        assert b'id="env-qa-foo"' in gzip.decompress(base64.b64decode(made["body"]))

    @pytest.mark.parametrize("text", ["%3Cb%3Efoo", "%3cB%3e+".strip("+"), "QA%2F%3Cb"])
    def test_query_parameters_arrive_encoded(self, store: MemoryStore, text: str) -> None:
        assert 'id="env-qa-foo"' in answer(store, own(queryStringParameters={"q": text})).body
        assert 'id="env-qa-foo"' not in answer(store, own(queryStringParameters={"q": f"{text}+x"})).body

    def test_a_plus_is_a_blank(self, store: MemoryStore) -> None:
        made = answer(store, own(queryStringParameters={"q": "a+b%2Bc"}))
        assert 'value="a b+c"' in made.body

    @pytest.mark.parametrize("path", ["/%ff", "/%", "/%00", "/%2e%2e/", "/environments/%E0%A4%A", None, ""])
    def test_paths_that_cannot_be_decoded(self, store: MemoryStore, path: Any) -> None:
        assert answer(store, own(path)).status == (404 if path else 200)

    def test_a_path_may_be_encoded(self, store: MemoryStore) -> None:
        assert answer(store, own("/environments/qa%2Dfoo")).status == 200


def test_looking_changes_nothing(store: MemoryStore, woken: list[str]) -> None:
    """A page view writes nothing."""
    before = store.get(Slug("qa-foo"))
    for sent in (curtain(), own(), own("/environments/qa-foo"), own("/environments/qa-foo/delete")):
        answer(store, sent, woken)
    assert store.get(Slug("qa-foo")) == before
    assert store.history(Slug("qa-foo")) == woken == []


@pytest.mark.parametrize("body", ["", "x" * 1_000_000, None])
def test_a_wish_is_written_down(store: MemoryStore, woken: list[str], body: Any) -> None:
    """Whatever the form holds: its address says everything."""
    made = answer(store, own("/environments/qa-foo/redeploy", "POST", body=body), woken)
    assert (made.status, made.headers["Location"]) == (303, "/environments/qa-foo?done=redeploy")
    assert store.records[Slug("qa-foo")].asked.redeploy
    assert woken == ["qa-foo"]


class Broken:
    """A table that cannot be reached."""

    def __getattr__(self, name: str) -> Any:
        raise OSError("a secret address")


@pytest.mark.parametrize("sent", [curtain(), own(), own("/environments/qa-foo")])
def test_a_table_that_cannot_be_reached_is_said(sent: dict[str, Any]) -> None:
    """500, in the visitor's language, without the error's text."""
    made = answer(Broken(), sent)
    assert made.status == 500
    assert made.headers["X-Qa-Env"] == "error"
    assert "現在、状態を表示できません" in made.body
    assert "secret" not in made.body


def test_a_program_is_told_in_json() -> None:
    sent = own("/api/v1/environments")
    sent["headers"]["accept"] = "*/*"
    assert json.loads(answer(Broken(), sent).body)["error"]["status"] == 500


def test_keys_of_log_ins_are_kept_between_requests() -> None:
    assert page._identity((ARN,)) is page._identity((ARN,))
