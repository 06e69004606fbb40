"""Webhook bytes → Changes: every event, every refusal, and bytes that nobody sends."""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qa_env import github
from qa_env.errors import Rejected
from qa_env.github import Reception
from qa_env.model import Change, Ref

EVENTS = Path(__file__).parents[1] / "events"
ENTRY = {
    "repository": "example/shop",
    "first_name": "example/shop",
    "branch_prefix": "qa/",
    "slug_prefix": "",
    "checks": True,
}
INDEX = {"example/shop": ENTRY}
PAYLOADS = sorted(path.stem for path in EVENTS.glob("*.json") if '"_comment"' in path.read_text("utf-8"))
COMMIT, OTHER, ZEROS = "a" * 40, "b" * 40, "0" * 40

Edit = Callable[[dict[str, Any]], object]


def example_of(name: str) -> tuple[dict[str, str], dict[str, Any]]:
    envelope = json.loads((EVENTS / f"{name}.json").read_text("utf-8"))
    return {key.lower(): value for key, value in envelope["headers"].items()}, envelope["body"]


def received(name: str, edit: Edit | None = None, index: github.Index = INDEX) -> Reception:
    headers, body = example_of(name)
    if edit:
        edit(body)
    return github.receive(headers, json.dumps(body).encode(), index)


def change_of(name: str, edit: Edit | None = None) -> Change:
    (change,) = received(name, edit).changes
    return change


def refusal(name: str, edit: Edit) -> Rejected:
    with pytest.raises(Rejected) as caught:
        received(name, edit)
    return caught.value


def of_branch(branch: Any) -> Edit:
    return lambda body: body.update(ref=f"refs/heads/{branch}" if isinstance(branch, str) else branch)


class TestSignature:
    SECRET, BODY = b"It's a Secret to Everybody", b"Hello, World!"
    PUBLISHED = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    def test_githubs_published_example(self) -> None:
        github.verify([self.SECRET], self.BODY, self.PUBLISHED)

    def test_any_of_the_secrets_will_do(self) -> None:
        github.verify([b"new", self.SECRET], self.BODY, self.PUBLISHED)

    @pytest.mark.parametrize(
        "signature",
        [
            None,
            "",
            "sha256=",
            "sha256=" + "0" * 64,
            "sha1=" + "0" * 40,
            PUBLISHED.removeprefix("sha256="),
            PUBLISHED[:-1],
            PUBLISHED + "0",
            PUBLISHED + "\n",
            " " + PUBLISHED,
            "sha256=" + "é" * 64,
            "sha256=" + "７" * 64,
        ],
    )
    def test_anything_else_is_401(self, signature: str | None) -> None:
        with pytest.raises(Rejected) as caught:
            github.verify([self.SECRET], self.BODY, signature)
        assert caught.value.status == 401

    def test_another_body_is_401(self) -> None:
        with pytest.raises(Rejected) as caught:
            github.verify([self.SECRET], self.BODY + b" ", self.PUBLISHED)
        assert caught.value.status == 401

    @pytest.mark.parametrize("secrets", [[], [b""], [b"", b""]])
    def test_without_a_secret_everything_is_refused(self, secrets: list[bytes]) -> None:
        anybody = "sha256=" + hmac.new(b"", self.BODY, hashlib.sha256).hexdigest()
        with pytest.raises(Rejected) as caught:
            github.verify(secrets, self.BODY, anybody)
        assert caught.value.status == 503

    def test_no_secret_is_asked_for_without_a_well_formed_signature(self) -> None:
        def costly() -> Iterator[bytes]:
            pytest.fail("asked for a secret")
            yield b""

        with pytest.raises(Rejected):
            github.verify(costly(), self.BODY, "sha1=00")

    def test_a_body_larger_than_lambda_passes_on_is_413(self) -> None:
        body = b" " * github.BODY_MAX
        signature = "sha256=" + hmac.new(self.SECRET, body, hashlib.sha256).hexdigest()
        github.verify([self.SECRET], body, signature)
        with pytest.raises(Rejected) as caught:
            github.verify([self.SECRET], body + b" ", signature)
        assert caught.value.status == 413

    @given(st.binary(), st.text())
    def test_no_forgery_is_anything_but_401(self, body: bytes, signature: str) -> None:
        with pytest.raises(Rejected) as caught:
            github.verify([self.SECRET], body, signature)
        assert caught.value.status == 401


class TestPush:
    def test_a_new_branch(self) -> None:
        headers, body = example_of("push-create")
        assert change_of("push-create") == Change(
            slug="qa-foo",
            repository="example/shop",
            branch="qa/foo",
            ref=Ref.PRESENT,
            commit=body["after"],
            before="",
            pushed_at=1793585730,
            by="hanako",
            event="push",
            delivery=headers["x-github-delivery"],
        )

    @pytest.mark.parametrize("name", ["push-update", "push-force"])
    def test_a_moved_branch(self, name: str) -> None:
        body = example_of(name)[1]
        change = change_of(name)
        assert (change.ref, change.commit, change.before) == (Ref.PRESENT, body["after"], body["before"])

    def test_a_deleted_branch(self) -> None:
        change = change_of("push-delete")
        assert (change.ref, change.commit) == (Ref.ABSENT, "")
        assert change.before == example_of("push-delete")[1]["before"]

    @pytest.mark.parametrize("edit", [{"deleted": False}, {"after": COMMIT}, {"after": None}])
    def test_either_sign_of_deletion_is_enough(self, edit: dict[str, Any]) -> None:
        assert change_of("push-delete", lambda body: body.update(edit)).ref is Ref.ABSENT

    def test_the_examples_follow_each_other(self) -> None:
        steps = [change_of(f"push-{name}") for name in ("create", "update", "force", "delete")]
        assert [step.before for step in steps[1:]] == [step.commit for step in steps[:-1]]
        assert sorted(step.pushed_at for step in steps) == [step.pushed_at for step in steps]

    @pytest.mark.parametrize("name", ["push-tag", "push-other-branch"])
    def test_none_of_our_business(self, name: str) -> None:
        assert received(name).status == 200

    @pytest.mark.parametrize("branch", ["main", "feature/qa/foo", "qa", "qafoo", "QA/foo", "qa-foo/x"])
    def test_other_branches(self, branch: str) -> None:
        assert received("push-create", of_branch(branch)).status == 200

    @pytest.mark.parametrize("ref", ["refs/tags/qa/foo", "refs/notes/qa/foo", "qa/foo", "", "refs/heads"])
    def test_other_refs(self, ref: str) -> None:
        assert received("push-create", lambda body: body.update(ref=ref)).status == 200

    def test_a_sha256_repository(self) -> None:
        assert change_of("push-create", lambda body: body.update(after="c" * 64)).commit == "c" * 64

    @pytest.mark.parametrize("after", ["abc", "A" * 40, "g" * 40, COMMIT + "\n", "a" * 41, 7, None])
    def test_a_commit_that_is_none(self, after: Any) -> None:
        assert refusal("push-create", lambda body: body.update(after=after)).status == 400

    def test_who(self) -> None:
        assert change_of("push-create", lambda body: body.pop("sender")).by == "hanako"
        assert change_of("push-create", lambda b: (b.pop("sender"), b.pop("pusher"))).by == ""

    def test_the_repository_is_matched_in_any_case_and_spelt_as_in_the_blueprint(self) -> None:
        change = change_of("push-create", lambda body: body["repository"].update(full_name="Example/SHOP"))
        assert (change.repository, change.slug) == ("example/shop", "qa-foo")

    def test_the_second_repository_of_an_installation_has_its_own_slugs(self) -> None:
        reception = received("push-create", index={"example/shop": {**ENTRY, "slug_prefix": "shop"}})
        assert [change.slug for change in reception.changes] == ["shop-qa-foo"]


class TestCreateAndDelete:
    @pytest.mark.parametrize(("name", "ref"), [("create", Ref.PRESENT), ("delete", Ref.ABSENT)])
    def test_a_branch(self, name: str, ref: Ref) -> None:
        change = change_of(name)
        assert (change.branch, change.slug, change.ref) == ("qa/foo", "qa-foo", ref)
        assert (change.commit, change.before, change.pushed_at) == ("", "", 1793585730)

    @pytest.mark.parametrize("name", ["create", "delete"])
    def test_a_tag(self, name: str) -> None:
        assert received(name, lambda body: body.update(ref_type="tag")).status == 200

    def test_an_empty_name(self) -> None:
        assert refusal("delete", lambda body: body.update(ref="")).status == 400


class TestChecks:
    NAMES = ("check_suite-completed", "check_run-completed", "workflow_run-completed")

    @pytest.mark.parametrize("name", NAMES)
    def test_a_finished_check(self, name: str) -> None:
        change = change_of(name)
        assert (change.branch, change.ref) == ("qa/foo", Ref.CHECKED)
        assert change.commit == example_of("push-create")[1]["after"]

    @pytest.mark.parametrize("name", NAMES)
    def test_an_unfinished_check(self, name: str) -> None:
        assert received(name, lambda body: body.update(action="created")).status == 200

    @pytest.mark.parametrize("name", [*NAMES, "status-success"])
    def test_a_blueprint_that_does_not_wait(self, name: str) -> None:
        reception = received(name, index={"example/shop": {**ENTRY, "checks": False}})
        assert (reception.status, reception.changes) == (200, ())

    @pytest.mark.parametrize("name", NAMES)
    def test_a_forks_check_names_no_branch(self, name: str) -> None:
        def fork(body: dict[str, Any]) -> None:
            check = body[name.removesuffix("-completed")]
            check.get("check_suite", check)["head_branch"] = None

        assert received(name, fork).status == 200

    @pytest.mark.parametrize("head", [None, {"full_name": "stranger/shop"}])
    def test_a_forks_run_names_the_forks_branch(self, head: Any) -> None:
        run = received(
            "workflow_run-completed", lambda body: body["workflow_run"].update(head_repository=head)
        )
        assert run.status == 200

    def test_a_status_of_several_branches(self) -> None:
        changes = received("status-success").changes
        assert [change.slug for change in changes] == ["qa-foo", "qa-bar"]
        assert {change.ref for change in changes} == {Ref.CHECKED}

    @pytest.mark.parametrize(("state", "status"), [("pending", 200), ("failure", 202), ("error", 202)])
    def test_the_states_of_a_status(self, state: str, status: int) -> None:
        assert received("status-success", lambda body: body.update(state=state)).status == status

    @pytest.mark.parametrize("branches", [None, "qa/foo", [None], [{}], ["qa/foo"]])
    def test_branches_that_are_none(self, branches: Any) -> None:
        assert refusal("status-success", lambda body: body.update(branches=branches)).status == 400


class TestPullRequests:
    NAME = "pull_request-opened"

    @pytest.mark.parametrize("checks", [True, False])
    @pytest.mark.parametrize("action", ["opened", "reopened"])
    def test_one_that_is_open_is_a_reason_to_look(self, action: str, checks: bool) -> None:
        """Also where the blueprint does not wait for checks: it may want a comment."""
        index = {"example/shop": {**ENTRY, "checks": checks}}
        (change,) = received(self.NAME, lambda body: body.update(action=action), index=index).changes
        assert (change.branch, change.ref) == ("qa/foo", Ref.CHECKED)
        assert change.commit == example_of("push-create")[1]["after"]

    @pytest.mark.parametrize("action", ["closed", "synchronize", "edited", "labeled"])
    def test_what_else_happens_to_it_is_none_of_our_business(self, action: str) -> None:
        assert received(self.NAME, lambda body: body.update(action=action)).status == 200

    @pytest.mark.parametrize("repo", [None, {}, {"full_name": "stranger/shop"}, {"full_name": None}])
    def test_a_forks_branch_is_not_ours(self, repo: Any) -> None:
        """A stranger may call it as ours is called."""
        assert received(self.NAME, lambda body: body["pull_request"]["head"].update(repo=repo)).status == 200

    def test_what_it_would_go_into_does_not_count(self) -> None:
        def backwards(body: dict[str, Any]) -> None:
            pull = body["pull_request"]
            pull["head"], pull["base"] = pull["base"], pull["head"]

        assert received(self.NAME, backwards).status == 200

    @pytest.mark.parametrize("ref", [None, 7, "", "qa/..", "qa/a b"])
    def test_a_branch_that_is_none(self, ref: Any) -> None:
        edit = refusal(self.NAME, lambda body: body["pull_request"]["head"].update(ref=ref))
        assert edit.status == 400


class TestOtherEvents:
    @pytest.mark.parametrize("name", ["ping", "ping-organization"])
    def test_ping_needs_no_blueprint(self, name: str) -> None:
        assert received(name, index={}).status == 200

    @pytest.mark.parametrize("event", ["issues", "installation", "workflow_job", "../push"])
    def test_events_that_are_none_of_our_business(self, event: str) -> None:
        assert github.receive({"x-github-event": event}, b"{}", INDEX).status == 200

    def test_no_event_at_all(self) -> None:
        with pytest.raises(Rejected) as caught:
            github.receive({}, b"{}", INDEX)
        assert caught.value.status == 400

    @pytest.mark.parametrize("name", ["push-create", "push-tag", "delete", "status-success"])
    def test_a_repository_without_a_blueprint(self, name: str) -> None:
        with pytest.raises(Rejected, match="example/shop") as caught:
            received(name, index={})
        assert caught.value.status == 404


class TestBranchNames:
    LEGAL = (
        "qa/`;DROP_DATABASE_stg;--",
        "qa/日本語",
        "qa/$(id)",
        "qa/'\"%<b>&|#{}]!",
        "qa/a/b/c",
        "qa/-x",
        "qa/a.b",
        "qa/a.lock.b",
        "qa/@",
        "qa/a@b",
        "qa/{",
        "qa/" + "x" * 252,
        "qa/" + "語" * 84,
        "qa/😀",
        "qa/\u0085\u200b\u202e",
    )
    ILLEGAL = (
        "",
        "@",
        "qa/",
        "qa//x",
        "/qa/x",
        "qa/a b",
        "qa/a\tb",
        "qa/a\nb",
        "qa/a\x00b",
        "qa/a\x7f",
        *(f"qa/a{mark}b" for mark in "~^:?*[\\"),
        "qa/..",
        "qa/a..b",
        "qa/a@{b",
        "qa/.a",
        "qa/a/.b",
        "qa/a.lock",
        "qa/a.lock/b",
        "qa/a.",
        "qa/a/",
        "qa/" + "x" * 253,
        "qa/" + "語" * 85,
        "qa/\ud800",
    )

    @pytest.mark.parametrize("branch", LEGAL)
    def test_what_git_allows_is_received_as_it_is(self, branch: str) -> None:
        change = change_of("push-create", of_branch(branch))
        assert change.branch == branch
        assert Change.from_dict(json.loads(json.dumps(change.to_dict()))) == change

    @pytest.mark.parametrize("branch", ILLEGAL)
    def test_what_git_forbids_is_400(self, branch: str) -> None:
        refused = refusal("push-create", of_branch(branch))
        assert refused.status == 400
        assert str(refused).isascii()
        assert len(str(refused)) < 500

    @pytest.mark.skipif(not shutil.which("git"), reason="compares with git itself")
    @pytest.mark.parametrize("branch", sorted({*LEGAL, *ILLEGAL} - {"", "@"}))
    def test_git_says_the_same(self, branch: str) -> None:
        if "\x00" in branch or "\ud800" in branch or len(branch.encode()) > github.BRANCH_MAX:
            pytest.skip("not a question that git can be asked, or GitHub's own limit")
        command = ["git", "check-ref-format", f"refs/heads/{branch}"]
        assert (subprocess.run(command).returncode == 0) is github.is_legal_branch(branch)

    def test_distinct_branches_have_distinct_slugs(self) -> None:
        slugs = {change_of("push-create", of_branch(branch)).slug for branch in self.LEGAL}
        assert len(slugs) == len(self.LEGAL)


class TestBytes:
    def read(self, body: bytes, content_type: str = "application/json") -> Reception:
        return github.receive({"x-github-event": "push", "content-type": content_type}, body, INDEX)

    def test_a_form(self) -> None:
        form = urlencode({"payload": json.dumps(example_of("push-create")[1])}).encode()
        reception = self.read(form, "application/x-www-form-urlencoded")
        assert [change.slug for change in reception.changes] == ["qa-foo"]

    @pytest.mark.parametrize(
        "form", [b"", b"payload=", b"x=1", b"payload={}&payload={}", b"payload=%FF", b"\xff"]
    )
    def test_a_form_without_json(self, form: bytes) -> None:
        with pytest.raises(Rejected) as caught:
            self.read(form, "application/x-www-form-urlencoded; charset=utf-8")
        assert caught.value.status == 400

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b'"push"',
            b"\xff\xfe",
            b"{}",
            b'{"repository": null}',
            b'{"repository": {"full_name": 7}}',
            b'{"repository": {"full_name": "example/shop"}}',
            b'{"repository": {"full_name": "example/shop"}, "ref": null}',
            b"[" * 100_000,
            b"9" * 10_000,
        ],
    )
    def test_no_json_or_missing_fields(self, body: bytes) -> None:
        with pytest.raises(Rejected) as caught:
            self.read(body)
        assert caught.value.status == 400

    @pytest.mark.parametrize(
        ("pushed_at", "epoch"),
        [
            (1793585730, 1793585730),
            ("2026-11-02T02:15:30Z", 1793585730),
            ("2026-11-02T11:15:30+09:00", 1793585730),
            ("2026-11-02T02:15:30", 1793585730),
            *((nothing, 0) for nothing in (None, "", "now", True, -1, 1.5, 1e400, 10**1000, [], {})),
            ("0001-01-01T00:00:00+14:00", 0),
        ],
    )
    def test_the_time_of_the_push(self, pushed_at: Any, epoch: int) -> None:
        change = change_of("push-create", lambda body: body["repository"].update(pushed_at=pushed_at))
        assert change.pushed_at == epoch

    def test_the_message_stays_small(self) -> None:
        def swell(body: dict[str, Any]) -> None:
            body.update(ref="refs/heads/qa/" + "😀" * 63, before="b" * 64, after="a" * 64)
            body["sender"]["login"] = "😀" * 100_000
            body["commits"] *= 2048

        repository = f"{'o' * 39}/{'r' * 100}"
        headers, body = example_of("push-update")
        swell(body)
        body["repository"]["full_name"] = repository
        headers |= {"x-github-delivery": "d" * 10_000}
        index = {repository: {**ENTRY, "repository": repository}}
        (change,) = github.receive(headers, json.dumps(body).encode(), index).changes
        assert len(json.dumps({"slug": change.slug, "change": change.to_dict()}).encode()) < 2048

    def test_half_a_character_in_a_name_does_not_reach_the_queue(self) -> None:
        change = change_of("push-create", lambda body: body["sender"].update(login="\ud800"))
        assert change.by.encode("utf-8") == b"?"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ANY_EVENT = st.sampled_from(
    ["push", "create", "delete", "check_suite", "check_run", "status", "workflow_run", "pull_request"]
)


def outcome(headers: dict[str, str], body: bytes) -> int:
    try:
        return github.receive(headers, body, INDEX).status
    except Rejected as refused:
        return refused.status


class TestNobodySendsThis:
    @given(
        st.text() | ANY_EVENT,
        st.sampled_from(["application/json", "application/x-www-form-urlencoded"]),
        st.binary(),
    )
    @example("push", "application/x-www-form-urlencoded", b"payload=" + b"&" * 100)
    def test_any_bytes(self, event: str, content_type: str, body: bytes) -> None:
        assert outcome({"x-github-event": event, "content-type": content_type}, body) in {200, 202, 400, 404}

    @given(st.sampled_from(PAYLOADS), st.data())
    def test_any_field_replaced_by_anything(self, name: str, data: st.DataObject) -> None:
        headers, body = example_of(name)
        where = body
        while True:
            key = data.draw(st.sampled_from(sorted(where)))
            if not isinstance(where[key], dict) or not where[key] or data.draw(st.booleans()):
                break
            where = where[key]
        where[key] = data.draw(JSON)
        assert outcome(headers, json.dumps(body).encode()) in {200, 202, 400, 404}

    @given(st.text())
    def test_any_branch(self, branch: str) -> None:
        headers, body = example_of("push-create")
        body["ref"] = f"refs/heads/qa/{branch}"
        legal = github.is_legal_branch(f"qa/{branch}")
        assert outcome(headers, json.dumps(body).encode()) == (202 if legal else 400)
