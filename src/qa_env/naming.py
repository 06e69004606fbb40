"""Branch → slug → every name, tag and template in the outside world.

A clean short branch keeps its clean name: `qa/foo` is `qa-foo`. Whatever is lossy, too long, or merely
looks like one of ours with a hash gets six hex digits of SHA-256 over repository and branch, so distinct
branches have distinct slugs (git is case-sensitive and allows almost any byte: facts A40, A41). Names are
stable for ever: `tests/test_naming.py` keeps a golden list.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from qa_env.model import Environment, Slug

SLUG_MAX = 40
TARGET_GROUP_MAX = 32  # facts B1-3
ACCOUNT_MAX = 32  # facts B9-3; MariaDB takes more
DATA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,63}")
TAG_ENVIRONMENT = "qa-env:environment"
TAG_INSTALLATION = "qa-env:installation"
TAG_REPOSITORY = "qa-env:repository"
TAG_ROLE = "qa-env:role"
TAG_SETTINGS = "qa-env:settings"

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_OF_A_COMMIT = re.compile(r"-([0-9a-f]{40}|[0-9a-f]{64})")
_HASHED = re.compile(r".*-[0-9a-f]{6}")
_PLAIN_BRANCH = re.compile(r"[A-Za-z0-9._/-]+")


def slug(prefix: str, repository: str, branch: str) -> Slug:
    """The environment's name. `prefix` tells repositories of one installation apart; empty for the first."""
    wanted = f"{prefix}-{branch}" if prefix else branch
    clean = wanted.replace("/", "-")
    lossless = (
        _SLUG.fullmatch(clean)
        and wanted.count("/") == 1
        and len(clean) <= SLUG_MAX
        and not _HASHED.fullmatch(clean)
    )
    if lossless:
        return Slug(clean)
    return Slug(_shortened(_squashed(wanted), f"{repository}\n{branch}", SLUG_MAX))


def covers(prefix: str, branch_prefix: str, slug_: Slug) -> bool:
    """Could this be the slug of a branch that begins so? Of several blueprints only one covers it."""
    return slug_.startswith(_squashed(f"{prefix}/{branch_prefix}") + "-")


def is_slug(text: str) -> bool:
    """Could this be a slug? Checked again wherever a name is about to be destroyed."""
    return len(text) <= SLUG_MAX and _SLUG.fullmatch(text) is not None


def target_group(slug_: Slug, role: str) -> str:
    """At most 32 characters, the tightest limit we have. Roles have no hyphen, so this splits uniquely."""
    name = f"{slug_}-{role}"
    if len(name) <= TARGET_GROUP_MAX:
        return name
    return f"{_shortened(slug_, slug_, TARGET_GROUP_MAX - len(role) - 1)}-{role}"


def curtain_target_group(installation: str, load_balancer_arn: str) -> str:
    """The one Lambda target group per load balancer: a target group cannot serve two (facts B1-1)."""
    return f"{installation[:20]}-page-{_digest(load_balancer_arn)}"


def service(slug_: Slug, role: str) -> str:
    """ECS service and task definition family."""
    return f"{slug_}-{role}"


def pipeline(slug_: Slug) -> str:
    """The CodePipeline of the branch."""
    return str(slug_)


def image_tag(slug_: Slug, commit: str) -> str:
    """The image of one commit; `is_image_of` recognises exactly these."""
    return f"{slug_}-{commit}"


def is_image_of(slug_: Slug, tag: str) -> bool:
    """Is this tag one of the environment's? `qa-foo` must not recognise the images of `qa-foo-bar`."""
    return tag.startswith(slug_) and _OF_A_COMMIT.fullmatch(tag, len(slug_)) is not None


def log_stream_prefix(slug_: Slug) -> str:
    """Streams are `<prefix>/<container>/<task>`: one log group per role, the environment in front."""
    return str(slug_)


def account(schema: str) -> str:
    """The MySQL user of one schema. What is cut has a hash, and so has what merely looks like that."""
    if len(schema) <= ACCOUNT_MAX and not _HASHED.fullmatch(schema):
        return schema
    return _shortened(schema, schema, ACCOUNT_MAX)


def account_secret(installation: str, slug_: Slug) -> str:
    """Where the user's password is. A name must not end like an ARN does, in `-` and six characters."""
    return f"{account_secrets(installation)}{slug_}/mysql"


def account_secrets(installation: str) -> str:
    """How the names of all these secrets begin; people's own secrets must not begin so."""
    return f"{installation}/environment/"


def expand(template: str, slug_: Slug, branch: str) -> str:
    """Fill `{slug}`, `{slug_}` (hyphens as underscores) or `{branch_}` (slashes as underscores).

    Raises ValueError where `{branch_}` would carry more than `A-Za-z0-9._-` into a name.
    """
    if "{branch_}" in template and not _PLAIN_BRANCH.fullmatch(branch):
        raise ValueError(f"{template!r} needs a branch of letters, digits, '.', '_', '-' and '/'")
    return (
        template.replace("{slug_}", slug_.replace("-", "_"))
        .replace("{slug}", slug_)
        .replace("{branch_}", branch.replace("/", "_"))
    )


def slug_of(template: str, name: str) -> Slug | None:
    """The slug that `template` made `name` from; None where that cannot be told (`{branch_}`)."""
    pattern = re.escape(template).replace(r"\{slug\}", "(?P<slug>[a-z0-9-]+)")
    pattern = pattern.replace(r"\{slug_\}", "(?P<under>[a-z0-9_]+)")
    found = re.fullmatch(pattern, name)
    parts = found.groupdict() if found else {}
    text = parts.get("slug") or (parts.get("under") or "").replace("_", "-")
    return Slug(text) if is_slug(text) else None


def is_ours(name: str, prefix: str) -> bool:
    """The mark of data that has no tags: our prefix, then something, in harmless characters only."""
    start = prefix if prefix[-1] in "-_" else prefix + name[len(prefix) : len(prefix) + 1]
    return (
        DATA_NAME.fullmatch(name) is not None
        and name.startswith(start)
        and start[-1] in "-_"
        and len(name) > len(start)
    )


def database_mark(prefix: str) -> str:
    """The key in a numbered database of Redis that says whose it is."""
    return f"{prefix.rstrip('-_')}-env-owner"


def tags(installation: str, env: Environment, role: str = "") -> dict[str, str]:
    """The owner tags of everything we create. The raw branch is not a legal tag value, so it is not here."""
    owner = {
        TAG_INSTALLATION: installation,
        TAG_ENVIRONMENT: str(env.slug),
        TAG_REPOSITORY: env.repository,
    }
    return owner | ({TAG_ROLE: role} if role else {})


def owner_of(tags_: Mapping[str, str], installation: str) -> Slug | None:
    """The environment that a thing with these tags belongs to; None if it is not ours."""
    slug_ = tags_.get(TAG_ENVIRONMENT, "")
    return Slug(slug_) if tags_.get(TAG_INSTALLATION) == installation and is_slug(slug_) else None


def _squashed(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _shortened(text: str, identity: str, limit: int) -> str:
    digest = _digest(identity)
    return f"{text[: limit - len(digest) - 1].rstrip('-')}-{digest}"


def _digest(identity: str) -> str:
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:6]
