"""Where a branch is, by GitHub's answers: gone only if GitHub says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest

from qa_env.branches import GitHubBranches
from qa_env.errors import Blocked, NotReady
from qa_env.github_api import GitHub
from tests.github_server import TOKEN, Answer, Server, serve
from tests.making import REPOSITORY, A, B

REFS = f"/repos/{REPOSITORY}/git/matching-refs/heads"
STATUS = f"/repos/{REPOSITORY}/commits/{A}/status?per_page=100"
RUNS = f"/repos/{REPOSITORY}/commits/{A}/check-runs?per_page=100"


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as made:
        yield made


def branches(server: Server) -> GitHubBranches:
    return GitHubBranches(GitHub(server.url, lambda: {"token": TOKEN}))


def ref(branch: str, commit: str) -> dict[str, Any]:
    return {"ref": f"refs/heads/{branch}", "object": {"type": "commit", "sha": commit}}


def head(server: Server, branch: str, *refs: dict[str, Any]) -> str | None:
    server.answers["*"] = Answer(list(refs))
    return branches(server).head(REPOSITORY, branch)


class TestHead:
    def test_the_commit_of_the_branch(self, server: Server) -> None:
        """Asked for by its name."""
        assert head(server, "qa/foo", ref("qa/foo", A)) == A
        assert [one.path for one in server.asked] == [f"{REFS}/qa/foo?per_page=100"]

    def test_an_empty_list_means_gone(self, server: Server) -> None:
        """GitHub saw the repository and no such branch in it."""
        assert head(server, "qa/foo") is None

    def test_branches_that_only_begin_alike_are_others(self, server: Server) -> None:
        """`matching-refs` gives every branch with that beginning."""
        others = [ref("qa/foo-bar", B), ref("qa/foobar", B), ref("qa/foo/bar", B), ref("qa/Foo", B)]
        assert head(server, "qa/foo", *others) is None
        assert head(server, "qa/foo", *others, ref("qa/foo", A)) == A

    def test_a_repository_that_cannot_be_seen_is_not_a_branch_that_is_gone(self, server: Server) -> None:
        """404: the credentials do not reach it. Nothing may be deleted for that."""
        with pytest.raises(Blocked) as caught:
            branches(server).head(REPOSITORY, "qa/foo")
        assert str(caught.value) == (
            "GitHub shows no repository example/shop to these credentials: give them access to it"
        )

    @pytest.mark.parametrize("status", [500, 502, 503, 429])
    def test_an_outage_says_nothing_about_the_branch(self, server: Server, status: int) -> None:
        """It is asked again."""
        server.answers["*"] = Answer("<html>Unicorn!</html>", status)
        with pytest.raises(NotReady):
            branches(server).head(REPOSITORY, "qa/foo")

    @pytest.mark.parametrize("status", [301, 401, 403, 409, 422])
    def test_a_refusal_says_nothing_about_the_branch(self, server: Server, status: int) -> None:
        """A person is asked."""
        server.answers["*"] = Answer({"message": "no"}, status)
        with pytest.raises(Blocked):
            branches(server).head(REPOSITORY, "qa/foo")

    @pytest.mark.parametrize(
        "content", ["", "{}", "null", '""', "0", "<html></html>", '{"message": "hello"}']
    )
    def test_an_answer_that_is_no_list_says_nothing_about_the_branch(
        self, server: Server, content: str
    ) -> None:
        """A proxy that answers 200 with something else deletes nobody's environment."""
        server.answers["*"] = Answer(content)
        with pytest.raises(NotReady):
            branches(server).head(REPOSITORY, "qa/foo")

    @pytest.mark.parametrize("refs", [[{}], [{"ref": "refs/heads/qa/foo"}], [{"message": "hello"}]])
    def test_a_list_of_something_else_says_nothing_about_the_branch(self, server: Server, refs: Any) -> None:
        """Nor does a list without references."""
        server.answers["*"] = Answer(refs)
        with pytest.raises(Blocked):
            branches(server).head(REPOSITORY, "qa/foo")

    def test_a_listing_that_cannot_be_read_to_its_end_says_nothing(self, server: Server) -> None:
        """The branch may stand on the page that is missing."""
        link = {"Link": f'<{server.url}/next>; rel="next"'}
        server.answers["*"] = Answer([ref("qa/foo-bar", B)], headers=link)
        server.answers["/next"] = Answer("", 502)
        with pytest.raises(NotReady):
            branches(server).head(REPOSITORY, "qa/foo")

    def test_it_is_found_on_a_later_page(self, server: Server) -> None:
        """GitHub does not promise an order."""
        server.answers["*"] = Answer(
            [ref("qa/foo-bar", B)], headers={"Link": f'<{server.url}/next>; rel="next"'}
        )
        server.answers["/next"] = Answer([ref("qa/foo", A)])
        assert branches(server).head(REPOSITORY, "qa/foo") == A

    @pytest.mark.parametrize(
        "branch",
        [
            "qa/`;DROP",
            "qa/日本語",
            "qa/a?per_page=1",
            "qa/a#b",
            "qa/%2e%2e",
            "qa/a&b=c",
            "qa/a b",
            "qa/é{}|<>\"'$",
        ],
    )
    def test_hostile_branches_stay_one_part_of_the_address(self, server: Server, branch: str) -> None:
        """Whatever a branch is called, exactly that branch is asked for."""
        assert head(server, branch, ref(branch, A)) == A
        (asked,) = server.asked
        path, _, query = asked.path.partition("?")
        assert query == "per_page=100"
        assert unquote(path) == f"{REFS}/{branch}"
        assert path.isascii()


class TestChecks:
    def ask(self, server: Server, statuses: list[Any], runs: list[Any], *wanted: str) -> dict[str, str]:
        server.answers[STATUS] = Answer({"state": "pending", "statuses": statuses})
        server.answers[RUNS] = Answer({"total_count": len(runs), "check_runs": runs})
        return branches(server).checks(REPOSITORY, A, wanted)

    def test_statuses_and_check_runs_are_one_list(self, server: Server) -> None:
        """Name → conclusion; a run that has not completed is pending."""
        found = self.ask(
            server,
            [{"context": "ci/circleci: test", "state": "success"}, {"context": "lint", "state": "failure"}],
            [
                {"name": "build", "status": "completed", "conclusion": "success"},
                {"name": "e2e", "status": "in_progress", "conclusion": None},
            ],
            "build",
            "e2e",
        )
        assert found == {
            "ci/circleci: test": "success",
            "lint": "failure",
            "build": "success",
            "e2e": "pending",
        }

    def test_nothing_reported_yet(self, server: Server) -> None:
        """Right after a push."""
        assert self.ask(server, [], [], "build") == {}

    def test_runs_are_read_over_many_pages(self, server: Server) -> None:
        """A big repository has hundreds."""
        run = {"status": "completed", "conclusion": "success"}
        server.answers[STATUS] = Answer({"statuses": []})
        server.answers[RUNS] = Answer(
            {"check_runs": [run | {"name": "one"}]}, headers={"Link": f'<{server.url}/next>; rel="next"'}
        )
        server.answers["/next"] = Answer({"check_runs": [run | {"name": "two"}]})
        assert branches(server).checks(REPOSITORY, A, ["two"]) == {"one": "success", "two": "success"}

    def test_runs_are_asked_for_only_where_needed(self, server: Server) -> None:
        """A fine-grained token may see statuses and no check runs."""
        server.answers[STATUS] = Answer({"statuses": [{"context": "ci", "state": "success"}]})
        server.answers[RUNS] = Answer({"message": "Resource not accessible"}, 403)
        assert branches(server).checks(REPOSITORY, A, ["ci"]) == {"ci": "success"}
        with pytest.raises(Blocked, match="check the credentials' permissions"):
            branches(server).checks(REPOSITORY, A, ["ci", "build"])

    def test_a_commit_that_cannot_be_seen(self, server: Server) -> None:
        """Neither green nor red."""
        with pytest.raises(Blocked, match=f"^GitHub shows no commit {A} of example/shop"):
            branches(server).checks(REPOSITORY, A, ["ci"])

    @pytest.mark.parametrize("path", [STATUS, RUNS])
    def test_an_outage_says_nothing_about_the_checks(self, server: Server, path: str) -> None:
        """It is asked again."""
        server.answers[STATUS] = Answer({"statuses": []})
        server.answers[path] = Answer("", 503)
        with pytest.raises(NotReady):
            branches(server).checks(REPOSITORY, A, ["ci"])
