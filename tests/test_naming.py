"""Names: stable for ever, legal everywhere, and never two branches' at once."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any

import botocore.session
import pytest
from botocore.model import ServiceModel
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qa_env import naming
from qa_env.github import is_legal_branch
from qa_env.model import Slug
from tests.making import A, environment
from tests.strict_aws import names

REPOSITORY = "example/shop"
TARGET_GROUP = re.compile(r"(?!.*--)(?!-)(?!.*-$)[A-Za-z0-9-]{1,32}")  # facts B1-3
REPEATABLE = settings(derandomize=True, deadline=None, max_examples=200)
LONG = "x" * 200

# branch → slug, target group of the role `app`. Whoever changes a line here orphans what exists in the world.
GOLDEN = [
    ("qa/foo", "qa-foo", "qa-foo-app"),
    ("qa/foo-bar", "qa-foo-bar", "qa-foo-bar-app"),
    ("qa/1234-checkout", "qa-1234-checkout", "qa-1234-checkout-app"),
    ("qa/a-b", "qa-a-b", "qa-a-b-app"),
    ("qa/a_b", "qa-a-b-ecc370", "qa-a-b-ecc370-app"),
    ("qa/A-B", "qa-a-b-79a32b", "qa-a-b-79a32b-app"),
    ("qa/a/b", "qa-a-b-e2e27e", "qa-a-b-e2e27e-app"),
    ("qa/Foo", "qa-foo-673c3d", "qa-foo-673c3d-app"),
    ("qa/foo--bar", "qa-foo-bar-f74898", "qa-foo-bar-f74898-app"),
    ("qa/release-deadbe", "qa-release-deadbe-938caa", "qa-release-deadbe-938caa-app"),
    ("qa/日本語", "qa-b58a13", "qa-b58a13-app"),
    ("qa/`;DROP", "qa-drop-c04aa7", "qa-drop-c04aa7-app"),
    (
        "qa/a-name-of-forty-characters-altogether-x",
        "qa-a-name-of-forty-characters-alt-037197",
        "qa-a-name-of-forty-ch-a66162-app",
    ),
    (f"qa/{LONG}", "qa-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-3870fb", "qa-xxxxxxxxxxxxxxxxxx-1a507d-app"),
]

PEERS = [
    *("qa/a-b", "qa/a_b", "qa/A-B", "qa/a/b", "qa/a.b", "qa/a--b", "qa/a-b-", "qa/-a-b", "qa/a%b", "qa/a`b"),
    *(f"qa/{LONG}1", f"qa/{LONG}2", f"qa/{LONG}", "qa/日本語", "qa/日本", "qa/テスト", "qa/にほんご"),
    *(unicodedata.normalize(form, f"qa/{word}") for form in ("NFC", "NFD") for word in ("café", "がぎ")),
]
"""Names that a careless rule would give the same environment."""

anything = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=" ~^:?*[\\"), min_size=1)
alike = st.text("aAbB1-_/.%é日`'", min_size=1, max_size=12) | st.text("ab-", min_size=30, max_size=60)
branches = st.one_of(anything, alike).map("qa/{}".format).filter(is_legal_branch)
slugs = branches.map(lambda branch: naming.slug("", REPOSITORY, branch))
roles = st.from_regex(r"[a-z][a-z0-9]{0,11}", fullmatch=True)


def slug(branch: str, prefix: str = "") -> Slug:
    return naming.slug(prefix, REPOSITORY, branch)


@cache
def _model(service: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(service)


def complaints(service: str, operation: str, **params: Any) -> list[str]:
    """What AWS would not like, by botocore's own models."""
    return names.complaints(service, _model(service).operation_model(operation), params)


@pytest.mark.parametrize(("branch", "expected", "group"), GOLDEN)
def test_names_are_stable_for_ever(branch: str, expected: str, group: str) -> None:
    """A branch has the names that it had when this list was written."""
    made = slug(branch)
    assert made == expected
    assert naming.target_group(made, "app") == group
    assert naming.service(made, "app") == f"{expected}-app"
    assert naming.pipeline(made) == expected
    assert naming.image_tag(made, A) == f"{expected}-{A}"
    assert naming.log_stream_prefix(made) == expected


def test_names_with_a_slug_prefix_are_stable_for_ever() -> None:
    """Repositories of one installation are told apart by their prefix, in clean and in hashed names."""
    assert slug("qa/foo", "shop") == "shop-qa-foo"
    assert slug("qa/Foo", "shop") == "shop-qa-foo-673c3d"


def test_the_pages_target_group_is_stable_for_ever() -> None:
    """One name for each load balancer."""
    arn = "arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:loadbalancer/app/qa/0123456789abcdef"
    assert naming.curtain_target_group("qa-env", arn) == "qa-env-page-27fce8"
    assert naming.curtain_target_group("qa-env", arn + "0") != "qa-env-page-27fce8"


def test_names_that_look_alike_stay_apart() -> None:
    """Everything that a careless rule would throw together has names of its own."""
    assert len(set(PEERS)) == len(PEERS)
    assert len({slug(branch) for branch in PEERS}) == len(PEERS)
    assert len({naming.target_group(slug(branch), "app") for branch in PEERS}) == len(PEERS)


def test_repositories_keep_apart_what_is_hashed() -> None:
    """The same odd branch of two repositories has two names, even without a prefix."""
    assert naming.slug("", "example/shop", "qa/Foo") != naming.slug("", "example/blog", "qa/Foo")


@REPEATABLE
@given(branches)
def test_every_slug_is_legal(branch: str) -> None:
    """Whatever git allows becomes a slug, and the same one each time."""
    made = slug(branch)
    assert naming.is_slug(made)
    assert len(made) <= naming.SLUG_MAX
    assert made.startswith("qa-")
    assert slug(branch) == made


@REPEATABLE
@given(st.lists(branches, unique=True, min_size=2, max_size=20))
def test_distinct_branches_have_distinct_slugs(some: list[str]) -> None:
    """No two branches of a repository share an environment."""
    assert len({slug(branch) for branch in some}) == len(some)


@REPEATABLE
@given(branches)
def test_nobody_can_push_a_branch_named_like_anothers_hash(branch: str) -> None:
    """A branch spelled exactly like another's hashed slug gets another one."""
    made = slug(branch)
    mimic = f"qa/{made.removeprefix('qa-')}"
    assume(mimic != branch)
    assert slug(mimic) != made


@REPEATABLE
@given(slugs, roles)
def test_every_name_is_legal_where_it_is_used(slug_: Slug, role: str) -> None:
    """AWS's own patterns and lengths admit every name and every tag."""
    group = naming.target_group(slug_, role)
    assert TARGET_GROUP.fullmatch(group)
    tags = naming.tags("qa-env", environment(slug_), role)
    capital = [{"Key": key, "Value": value} for key, value in tags.items()]
    small = [{"key": key, "value": value} for key, value in tags.items()]
    service = naming.service(slug_, role)
    assert not complaints("elbv2", "CreateTargetGroup", Name=group, Tags=capital)
    assert not complaints("ecs", "CreateService", serviceName=service, tags=small)
    assert not complaints("ecs", "RegisterTaskDefinition", family=service, tags=small)
    pipeline = {"name": naming.pipeline(slug_)}
    assert not complaints("codepipeline", "CreatePipeline", pipeline=pipeline, tags=small)
    assert not complaints("ecr", "PutImage", imageTag=naming.image_tag(slug_, "a" * 64))
    assert not complaints("sqs", "SendMessage", MessageGroupId=slug_)


def test_the_patterns_are_looked_at() -> None:
    """The check above can fail: an illegal name is a complaint."""
    assert complaints("codepipeline", "CreatePipeline", pipeline={"name": "qa/foo"})
    assert complaints("ecs", "CreateService", serviceName="qa/foo")
    assert not TARGET_GROUP.fullmatch("qa--foo")


@REPEATABLE
@given(st.lists(st.tuples(slugs, roles), unique=True, min_size=2, max_size=20))
def test_target_groups_are_unique(pairs: list[tuple[Slug, str]]) -> None:
    """Each role of each environment has a target group of its own, however short names must be."""
    assert len({naming.target_group(*pair) for pair in pairs}) == len(pairs)


def test_a_role_is_no_part_of_an_environments_name() -> None:
    """Where one name could be split in two ways, the roles' names keep them apart."""
    assert naming.target_group(Slug("qa-foo"), "app") != naming.target_group(Slug("qa"), "fooapp")
    assert naming.service(Slug("qa-foo"), "app") == "qa-foo-app"


def test_is_slug_refuses_what_is_none() -> None:
    """The last check before something is destroyed admits nothing but slugs."""
    for text in (
        "",
        "-",
        "qa--foo",
        "qa-",
        "-qa",
        "qa_foo",
        "QA-foo",
        "qa-foo\n",
        "qa-föö",
        "q" * 41,
        "*",
        "qa/foo",
    ):
        assert not naming.is_slug(text), text
    assert naming.is_slug("q" * 40)


def test_images_of_a_longer_name_are_not_ours() -> None:
    """qa-foo recognises its own images, never those of qa-foo-bar or anything that only begins alike."""
    tag = naming.image_tag(Slug("qa-foo"), A)
    assert naming.is_image_of(Slug("qa-foo"), tag)
    assert naming.is_image_of(Slug("qa-foo"), naming.image_tag(Slug("qa-foo"), "0" * 64))
    for other in (
        naming.image_tag(Slug("qa-foo-bar"), A),
        naming.image_tag(Slug("xqa-foo"), A),
        *(
            "qa-foo",
            "qa-foo-",
            "qa-foo-latest",
            f"qa-foo-{'a' * 39}",
            f"qa-foo-{'a' * 41}",
            f"{tag}-{A}",
            f"{tag}\n",
        ),
    ):
        assert not naming.is_image_of(Slug("qa-foo"), other), other


@REPEATABLE
@given(slugs, slugs)
def test_images_have_one_owner(one: Slug, other: Slug) -> None:
    """An image is recognised by exactly the environment that it was built for."""
    assert naming.is_image_of(one, naming.image_tag(other, A)) == (one == other)


@REPEATABLE
@given(slugs, st.sampled_from(["{slug}", "{slug_}", "shop_{slug_}", "x.{slug}-y", "qa+{slug}"]))
def test_slug_of_inverts_the_templates(slug_: Slug, template: str) -> None:
    """The name of a schema or namespace leads back to its environment."""
    name = naming.expand(template, slug_, "qa/whatever")
    assert naming.slug_of(template, name) == slug_


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{slug}", "qa_foo"),
        ("{slug_}", "qa-foo"),
        ("{slug_}", "qa__foo"),
        ("{slug}", "QA-foo"),
        ("{slug}", "q" * 41),
        ("shop_{slug_}", "qa_foo"),
        ("x.{slug}", "xxqa-foo"),
        ("{branch_}", "qa_foo"),
        ("{slug}", ""),
        ("{slug}", "qa-foo\n"),
    ],
)
def test_slug_of_says_nothing_where_it_cannot_be_told(template: str, name: str) -> None:
    """A name that the template did not make belongs to no environment."""
    assert naming.slug_of(template, name) is None


def test_expand_fills_the_templates() -> None:
    """Names that people's applications already compute can be made."""
    slug_ = slug("qa/a/b")
    assert naming.expand("{slug}", slug_, "qa/a/b") == "qa-a-b-e2e27e"
    assert naming.expand("shop_{slug_}", slug_, "qa/a/b") == "shop_qa_a_b_e2e27e"
    assert naming.expand("{branch_}", slug_, "qa/a/b") == "qa_a_b"


@REPEATABLE
@given(branches)
def test_only_plain_branches_get_into_names(branch: str) -> None:
    """`{branch_}` carries letters, digits, dots, hyphens and underscores into a name, or nothing at all."""
    try:
        name = naming.expand("{branch_}", slug(branch), branch)
    except ValueError:
        assert re.search(r"[^A-Za-z0-9._/-]", branch)
    else:
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)


@pytest.mark.parametrize(
    "branch", ["qa/`;DROP", "qa/{slug}", "qa/a'b", "qa/日本", "qa/a b", "qa/a\n", "qa/$(id)"]
)
def test_hostile_branches_are_refused_by_name(branch: str) -> None:
    """The refusal says which template needs what; the branch's own text is not in it."""
    with pytest.raises(ValueError, match=r"'\{branch_\}' needs a branch of letters, digits"):
        naming.expand("{branch_}", slug(branch), branch)


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {naming.TAG_ENVIRONMENT: "qa-foo"},
        {naming.TAG_INSTALLATION: "qa-env"},
        {naming.TAG_INSTALLATION: "other", naming.TAG_ENVIRONMENT: "qa-foo"},
        {naming.TAG_INSTALLATION: "qa-env", naming.TAG_ENVIRONMENT: "stg*"},
        {naming.TAG_INSTALLATION: "qa-env", naming.TAG_ENVIRONMENT: ""},
    ],
)
def test_owner_of_is_nobody_without_our_tags(tags: dict[str, str]) -> None:
    """Only a thing with both our tags, and a slug in them, has an owner."""
    assert naming.owner_of(tags, "qa-env") is None


@REPEATABLE
@given(slugs, roles)
def test_owner_of_reads_what_tags_wrote(slug_: Slug, role: str) -> None:
    """The tags of a thing lead back to its environment, in its own installation only."""
    tags = naming.tags("qa-env", environment(slug_), role)
    assert naming.owner_of(tags, "qa-env") == slug_
    assert naming.owner_of(tags, "qa-env-2") is None
    assert tags[naming.TAG_ROLE] == role
    assert naming.TAG_ROLE not in naming.tags("qa-env", environment(slug_))
