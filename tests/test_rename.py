"""A renamed repository: what its environments are called, have and run stays as it is.

`qa` runs both ways of knowing where a branch is. GitHub shows branches under the present name only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from qa_env import brake
from qa_env.audit import GRACE
from qa_env.errors import NotReady
from qa_env.model import Environment, Slug, State
from tests.fakes import FakeBranches
from tests.installation import REPOSITORY, A, B, Installation, blueprint, installed
from tests.making import environment
from tests.pages import Reader, Visit
from tests.test_peers import GitHub, assert_live, builds, deployments

RENAMED = "example/store"
FORMERLY = [REPOSITORY]


@pytest.fixture(params=[False, True], ids=["last-webhook", "github"])
def qa(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """Both ways of knowing where a branch is."""
    with installed(asks_github=request.param) as made:
        yield made


@pytest.fixture
def hub(qa: Installation) -> GitHub:
    return GitHub(qa)


def rename(hub: GitHub, formerly: list[str] = FORMERLY) -> None:
    """The repository is renamed, and the operator deploys the blueprint that says so."""
    hub.use(blueprint(hub.qa.world, repository=RENAMED, formerly=formerly))
    if hub.qa.branches:
        hub.qa.branches.heads = hub.qa.shown()


def live(hub: GitHub, branch: str) -> Environment:
    """The branch was pushed, and is ready at A."""
    hub.deliver(hub.push(branch, A))
    hub.qa.settle()
    (env,) = hub.qa.store.all()
    assert_live(hub.qa, env.slug, A)
    return env


def lose_record(qa: Installation, slug: Slug) -> None:
    """Somebody deleted the item by hand."""
    qa.store.table.delete_item(Key={"pk": "environment", "sk": str(slug)})


def wanted(env: Environment) -> dict[str, Any]:
    """What a new wish, build or place would change in the record."""
    return {
        "generation": env.generation,
        "at": env.at,
        "commit": env.commit,
        "built": env.built,
        "claims": env.claims,
        "urls": env.urls,
        "phase": env.phase,
    }


@pytest.mark.parametrize("branch", ["qa/foo", "qa/JIRA-12"], ids=["clean", "hashed"])
class TestEnvironments:
    def test_stay_as_they_are(self, qa: Installation, hub: GitHub, branch: str) -> None:
        """The next pass writes the new name, and nothing is wanted, built or deployed again."""
        before = live(hub, branch)
        rename(hub)
        qa.run_pass(before.slug)
        assert qa.env(before.slug).repository == RENAMED
        qa.settle()
        assert wanted(qa.env(before.slug)) == wanted(before)
        assert_live(qa, before.slug, A)
        assert builds(qa, before.slug) == [("Succeeded", A)]
        assert deployments(qa, before.slug) == [1, 1, 1]

    def test_come_to_rest(self, qa: Installation, hub: GitHub, branch: str) -> None:
        """Tags keep the old name, which makes no pass write anything."""
        env = live(hub, branch)
        rename(hub)
        qa.run_pass(env.slug)
        qa.settle()
        qa.aws.calls.clear()
        qa.run_pass(env.slug)
        assert [call.name for call in qa.aws.calls if not call.is_read] == []
        assert qa.codepipeline.get_pipeline(name=env.slug)["pipeline"]["version"] == 2

    def test_get_the_pushes_under_the_new_name(self, qa: Installation, hub: GitHub, branch: str) -> None:
        """The same environment, whose builds take the commit from the renamed repository."""
        before = live(hub, branch)
        rename(hub)
        assert hub.deliver(hub.push(branch, B)) == [202]
        qa.settle()
        (env,) = qa.store.all()
        assert (env.slug, env.repository, env.urls) == (before.slug, RENAMED, before.urls)
        assert_live(qa, env.slug, B)
        source = qa.codepipeline.get_pipeline(name=env.slug)["pipeline"]["stages"][0]["actions"][0]
        assert source["configuration"]["FullRepositoryId"] == RENAMED

    def test_go_with_their_branch(self, qa: Installation, hub: GitHub, branch: str) -> None:
        """Nothing is left, whether a pass has written the new name before or not."""
        live(hub, branch)
        rename(hub)
        hub.deliver(hub.delete(branch))
        qa.settle()
        assert qa.left() == []

    def test_that_are_going_go_on_going(self, qa: Installation, hub: GitHub, branch: str) -> None:
        """The rename comes into the teardown."""
        env = live(hub, branch)
        hub.post(hub.delete(branch))
        hub.invoke(hub.receive())
        assert qa.env(env.slug).begun
        rename(hub)
        qa.settle()
        assert qa.left() == []

    def test_that_are_being_built_are_built(self, qa: Installation, hub: GitHub, branch: str) -> None:
        """The pipeline is told the new name, which cancels the build: the next one is of the same commit."""
        qa.builds_take = 90
        hub.deliver(hub.push(branch, A))
        rename(hub)
        (env,) = qa.store.all()
        qa.run_pass(env.slug)
        qa.settle(rounds=20)
        assert qa.env(env.slug).generation == env.generation
        assert_live(qa, env.slug, A)

    @pytest.mark.parametrize("taken", [False, True], ids=["made again", "on the queue"])
    def test_get_deliveries_from_before(
        self, qa: Installation, hub: GitHub, branch: str, taken: bool
    ) -> None:
        """One that is made again has the old name in it, and so has one that the webhook took before."""
        env = live(hub, branch)
        pushed = hub.push(branch, B)
        if taken:
            assert hub.post(pushed) == 202
        rename(hub)
        if not taken:
            assert hub.post(pushed) == 202
        hub.work()
        qa.settle()
        assert [one.slug for one in qa.store.all()] == [env.slug]
        assert_live(qa, env.slug, B)

    def test_without_the_old_name_are_stuck_until_it_is_listed(
        self, qa: Installation, hub: GitHub, branch: str
    ) -> None:
        """Nothing is removed, and the sentence says what to do."""
        before = live(hub, branch)
        rename(hub, formerly=[])
        qa.run_pass(before.slug)
        said = qa.env(before.slug).conditions["branch"]
        assert said.state is State.BLOCKED
        assert f"no blueprint for {REPOSITORY}: if the repository was renamed, add this name" in said.message
        rename(hub)
        qa.run_pass(before.slug)
        qa.settle()
        assert wanted(qa.env(before.slug)) == wanted(before)
        assert builds(qa, before.slug) == [("Succeeded", A)]


class TestAudit:
    def test_removes_what_has_no_record(self, qa: Installation, hub: GitHub) -> None:
        """What says the old name is the blueprint's."""
        env = live(hub, "qa/JIRA-12")
        rename(hub)
        lose_record(qa, env.slug)
        hub.delete("qa/JIRA-12")
        assert qa.audit().young == [env.slug]
        qa.now += GRACE
        report = qa.audit()
        assert (report.adopted, report.refused) == ([env.slug], [])
        assert qa.env(env.slug).repository == RENAMED
        qa.settle()
        assert qa.left() == []

    def test_gives_a_branch_its_record_back(self) -> None:
        """The branch is still there: the record is made again, under the name that it had."""
        with installed(asks_github=True) as qa:
            hub = GitHub(qa)
            env = live(hub, "qa/JIRA-12")
            rename(hub)
            lose_record(qa, env.slug)
            assert qa.audit(world=False).created == [env.slug]
            qa.settle()
            assert [(one.slug, one.repository) for one in qa.store.all()] == [(env.slug, RENAMED)]

    def test_leaves_alone_what_github_cannot_be_asked_about(self) -> None:
        """The tag's name is not known to GitHub any more, and still it is that repository's."""
        with installed(asks_github=True) as qa:
            hub = GitHub(qa)
            env = live(hub, "qa/foo")
            rename(hub)
            lose_record(qa, env.slug)
            assert qa.branches
            qa.branches.error = NotReady("GitHub is away")
            qa.audit()
            qa.now += GRACE
            report = qa.audit()
            assert report.adopted == []
            assert [RENAMED in why for why in report.refused] == [True]

    def test_wakes_a_record_that_no_pass_has_renamed_yet(self) -> None:
        """Its branch moved, and no webhook said so."""
        with installed(asks_github=True) as qa:
            hub = GitHub(qa)
            env = live(hub, "qa/foo")
            rename(hub)
            hub.push("qa/foo", B)
            assert qa.audit(world=False, deliver=False).woken == [env.slug]


def test_the_brake_counts_records_under_every_name() -> None:
    """Those that no pass has renamed yet are no fewer."""
    with installed(repository=RENAMED, formerly=FORMERLY) as qa:
        said = [environment(f"qa-{n}", branch=f"qa/{n}", repository=REPOSITORY) for n in range(4)]
        passed = replace(said[0], repository=RENAMED)
        assert "nor those of 3 more of 4" in brake.on_branches(
            qa.blueprint, FakeBranches(), [passed, *said[1:]]
        )


def test_the_page_knows_the_blueprint_of_a_record_that_no_pass_has_renamed_yet() -> None:
    """Its links and buttons are there."""
    before, after = Visit(environment()), Visit(environment(), repository=RENAMED, formerly=FORMERLY)
    shown = [Reader(one.ask("/environments/qa-foo")).attributes for one in (before, after)]
    assert shown[0] == shown[1]
    assert "redeploy" in str(shown[0])
