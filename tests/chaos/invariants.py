"""What must hold after every step, and what must be true of the world once everything is calm.

After `architecture.md` 8 and `reliability.md` 1.6. The world is read from behind the stand-ins, so that
neither a stale answer nor the product's own view decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from qa_env.model import Desired, Environment, Phase, Slug, State
from tests.chaos import hands
from tests.chaos.machine import BRANCHES, FOREIGN_KEYS, FOREIGN_SCHEMA, Chaos


def after_a_step(chaos: Chaos) -> Iterator[str]:
    """What is wrong now, whatever is under way."""
    yield from chaos.violations
    yield from _claims(chaos)
    yield from _foreign(chaos)
    yield from (f"neither a tag nor a record leads to {one}" for one in chaos.unmarked())


def _claims(chaos: Chaos) -> Iterator[str]:
    """No claim is held by two records, and none by a record that the table does not say so of.

    Whose items somebody deleted believes it still, until its next pass.
    """
    believers = [env for env in chaos.records.values() if env.slug not in chaos.unclaimed]
    held = Counter(str(claim) for env in believers for claim in env.claims.values())
    yield from (f"{claim} is held {times} times" for claim, times in held.items() if times > 1)
    claims = chaos.store._fake.claims
    for env in believers:
        for claim in env.claims.values():
            if claims.get(claim) != env.slug:
                yield f"{env.slug} believes to hold {claim}, which {claims.get(claim)} does"


def _foreign(chaos: Chaos) -> Iterator[str]:
    if FOREIGN_SCHEMA not in chaos.datastores.schemas or chaos.datastores.keys.get(FOREIGN_KEYS) != 1:
        yield "data that is not ours was touched"
    if chaos.foreign() != chaos.foreign_at_first:
        yield f"what is not ours was touched: {chaos.foreign()}, not {chaos.foreign_at_first}"


def in_the_end(chaos: Chaos) -> Iterator[str]:
    """Every branch has its environment at its head, and nothing else is left."""
    for branch in BRANCHES:
        slug = chaos.slug_of(branch)
        env = chaos.records.get(slug)
        if branch in chaos.heads:
            yield from _lives(chaos, slug, env, chaos.heads[branch])
        else:
            yield from _is_gone(chaos, slug, env)
    if (others := chaos.others_of_aws()) != chaos.others_at_first:
        yield f"what is not ours was touched: {others}, not {chaos.others_at_first}"
    if chaos.dead:
        yield f"dead letters: {[one.body for one in chaos.dead]}"


def _lives(chaos: Chaos, slug: Slug, env: Environment | None, commit: str) -> Iterator[str]:
    if env is None:
        yield f"{slug} has no record"
        return
    if (env.phase, env.commit) != (Phase.READY, commit):
        said = {n: f"{c.state} {c.message}" for n, c in env.conditions.items() if c.state is not State.READY}
        yield f"{slug} is {env.phase} at {env.commit[-6:]}, not ready at {commit[-6:]}: {said}"
        return
    for role in ("app", "worker"):
        yield from _serves(chaos, f"{slug}-{role}", commit)
    things = Counter(kind for kind, _ in chaos.things_of(slug))
    wanted = {"target group": 1, "listener": 1, "service": 2, "pipeline": 1}
    if things != wanted:
        yield f"{slug} has {dict(things)}, not {wanted}"
    if changed := hands.left(chaos, slug):
        yield f"{slug} is still as somebody left it: {changed}"
    if commit not in chaos.datastores.migrated.get(slug, []):
        yield f"the schema of {slug} is not migrated: {chaos.datastores.migrated.get(slug)}"


def _serves(chaos: Chaos, name: str, commit: str) -> Iterator[str]:
    """The service runs this commit, in one revision of its task definition."""
    services = [s for s in chaos.aws.ecs._services.values() if s.name == name and s.status == "ACTIVE"]
    if len(services) != 1:
        yield f"service {name} is there {len(services)} times"
        return
    (service,) = services
    definition = chaos.client("ecs").describe_task_definition(taskDefinition=service.primary.task_definition)
    images = [one["image"] for one in definition["taskDefinition"]["containerDefinitions"]]
    if not images[0].endswith(commit) or len(service.running()) != 1:
        yield f"service {name} runs {len(service.running())} × {images[0]}, not {commit}"
    active = chaos.client("ecs").list_task_definitions(familyPrefix=name, status="ACTIVE")[
        "taskDefinitionArns"
    ]
    mine = [arn for arn in active if arn.rsplit("/", 1)[1].rsplit(":", 1)[0] == name]
    if len(mine) != 1:
        yield f"{name} has {len(mine)} active revisions"


def _is_gone(chaos: Chaos, slug: Slug, env: Environment | None) -> Iterator[str]:
    if env is not None:
        said = {n: f"{c.state} {c.message}" for n, c in env.conditions.items() if c.state is not State.GONE}
        yield f"{slug} is still {env.phase}: {said}"
    if left := chaos.left_of(slug):
        yield f"of {slug} there is still {left}"
    held = [str(claim) for claim, holder in chaos.store._fake.claims.items() if holder == slug]
    if held:
        yield f"{slug} still holds {held}"
    if images := chaos.images_of(slug):
        yield f"of {slug} there are still images {images}"


def wants_nothing(chaos: Chaos) -> Iterator[str]:
    """One more pass over what is settled changes nothing."""
    for slug, env in list(chaos.records.items()):
        if env.desired is Desired.PRESENT and (changes := chaos.pass_over_once(slug)):
            yield f"one more pass over {slug} makes {changes}"
