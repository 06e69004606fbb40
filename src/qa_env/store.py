"""The state of every environment, its claims and its history, in one DynamoDB table.

| pk | sk | is |
|---|---|---|
| `environment` | slug | the record |
| `claim#<scope>` | name | the claim; `slug` says whose, `key` what for |
| `history#<slug>` | time and a random part | one event; removed by TTL (`expires`) |
| `repository` | owner/name | how many seconds its last builds took |
| `dismissed` | slug | the commit that somebody removed by button while its branch stayed |
| `deletion` | slug | `pushed_at` of a branch without a record when it was deleted; removed by TTL |
| `audit` | `suspects` | what the audit found without a record, and since when |
| `rounds` | secret and number of a Redis database | who waits for a scan, the one under way, results |

Every write of state is conditional on the generation one has read, and on the record existing: `<>` and
`=` alone would let a late worker write a ghost onto a deleted key (`reliability.md` 1.3).
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError

from qa_env import aws
from qa_env.errors import Stale
from qa_env.model import Asked, Built, Claim, Condition, Desired, Environment, Slug, State
from qa_env.rounds import Rounds

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

logger = logging.getLogger(__name__)

HISTORY_DAYS = 90
LATE_DAYS = 30  # that a webhook may be late: GitHub makes it again for 3 days, GHES for 7 (facts A3)
BUILDS = 10  # whose durations are remembered
SUSPECTS = {"pk": "audit", "sk": "suspects"}
LAYOUT = 1
"""Of records: raised when an earlier version must not read what this one writes (decision 0007)."""
_STATES = {str(state): state for state in State}
UNREADABLE = "a record that cannot be read"  # an alarm counts these words
ASKED = "asked_"  # what the attributes begin with that the page may write (template.yaml lists them)


@dataclass(frozen=True)
class Event:
    """One line of an environment's history: when, who, what.

    `kind` says what sort of thing it was (`wording` has words for each), `phase` what people saw after it.
    """

    at: str
    by: str
    text: str
    kind: str = ""
    phase: str = ""


@dataclass(frozen=True)
class Suspect:
    """Things of one environment that have no record: since when, and whether they were adopted before.

    `since` is in seconds since the epoch.
    """

    since: int
    adopted: bool = False


class Taken(Exception):
    """Claims that others hold, none if somebody is at one at this moment; nothing was claimed."""

    def __init__(self, claims: Iterable[Claim]) -> None:
        self.claims = tuple(claims)
        super().__init__(f"held by others: {', '.join(map(str, self.claims))}")


class Store(Protocol):
    """What the controller needs of its memory. Each attribute of a record has one writer."""

    def get(self, slug: Slug) -> Environment | None:
        """The record as it is now (consistent), None if there is none."""

    def all(self, *, consistent: bool = True) -> Iterator[Environment]:
        """Every record that can be read. Who only looks may do so for half the price, a second late."""

    def desire(self, wish: Environment, seen: Environment | None, said: str = "", *, kind: str = "") -> None:
        """Write what Git wants, if the record is still the one that was seen; otherwise Stale.

        Its line in the history, `said` by who wishes it, is written with it or not at all.
        """

    def begin(self, env: Environment) -> None:
        """Write that the teardown begins, if the wish still is the one that was seen; otherwise Stale."""

    def renew(self, fresh: Environment, seen: Environment) -> None:
        """Replace a torn-down record by a fresh one that keeps its claims, conditions as they are given.

        Stale if it moved on.
        """

    def claim(self, env: Environment, claims: Mapping[str, Claim]) -> Environment:
        """Take all of these or none (Taken); Stale if the record moved on or holds other claims by now."""

    def save(self, env: Environment) -> None:
        """Write the conditions, if the generation still is the one worked on; otherwise Stale."""

    def record_built(self, slug: Slug, built: Built) -> None:
        """Write what the pipeline produced, if exactly this commit is still wanted; otherwise Stale."""

    def forget(self, env: Environment) -> None:
        """Remove record and claims together, if it still is to be absent; otherwise Stale.

        What the record believes to hold and another does by now stays that one's. When the branch was
        deleted is remembered.
        """

    def ask(self, env: Environment, asked: Asked) -> None:
        """Write what is asked for now and was not in `env`; Stale if the wish is another one by now."""

    def visit(self, slug: Slug, at: int) -> None:
        """Write when somebody was last seen to come; nothing if there is no such record any more."""

    def note(self, slug: Slug, by: str, text: str, *, kind: str = "", phase: str = "") -> None:
        """Append to the history."""

    def history(self, slug: Slug) -> list[Event]:
        """The newest events first, at most 200."""

    def took(self, repository: str, seconds: int) -> None:
        """Remember how long a build of the repository took, from its start until it was live."""

    def durations(self, repository: str) -> list[int]:
        """Seconds of the repository's last builds, at most ten, the newest last."""

    def dismissals(self) -> dict[Slug, str]:
        """Forgotten environments that somebody dismissed, and the commit: nobody wants it back."""

    def undismiss(self, slug: Slug) -> None:
        """Remove a dismissal that has no meaning any more."""

    def deleted_at(self, slug: Slug) -> int:
        """`pushed_at` of the last deletion of a branch that has no record (any more), 0 if none is known."""

    def remember_deletion(self, slug: Slug, pushed_at: int) -> None:
        """A branch without a record was deleted: what was pushed before that is late."""

    def suspects(self) -> dict[Slug, Suspect]:
        """What the last audit remembered of things without a record."""

    def suspect(self, suspects: Mapping[Slug, Suspect]) -> None:
        """Replace what the audit remembers."""

    def holder(self, claim: Claim) -> Slug | None:
        """Who holds this claim."""

    def taken(self, scope: str) -> dict[str, Slug]:
        """Every claimed name of a scope and who holds it."""

    def is_current(self, env: Environment) -> bool:
        """Is the record still of this generation, and no further with a reset that was asked for?"""

    def held(self, scope: str) -> list[tuple[Slug, str, Claim]]:
        """The same with the key that the claim has in its holder's record."""

    def generations(self) -> dict[Slug, int]:
        """Every record's generation as it is now (consistent), also of records that cannot be read."""

    def rounds(self, place: str) -> Rounds:
        """The rounds of a place as they are now (consistent); empty ones if it has none."""

    def save_rounds(self, place: str, rounds: Rounds) -> None:
        """Replace those of the same revision; Stale if somebody else did."""


@dataclass(frozen=True)
class DynamoStore:
    """The table. Reads are consistent; expressions name their clauses before joining them."""

    table: Table

    def get(self, slug: Slug) -> Environment | None:
        item = self.table.get_item(Key=_record_key(slug), ConsistentRead=True).get("Item")
        return _from_item(item) if item else None

    def all(self, *, consistent: bool = True) -> Iterator[Environment]:
        for item in self._query("environment", consistent=consistent):
            try:
                env = _from_item(item)
            except Exception:  # whatever is wrong with it, all others must still be looked at
                logger.exception(UNREADABLE, extra={"environment": str(item["sk"])})
                continue
            yield env

    def desire(self, wish: Environment, seen: Environment | None, said: str = "", *, kind: str = "") -> None:
        values = _wish(wish)
        is_new = "attribute_not_exists(pk)"
        is_as_seen = "attribute_exists(pk) AND generation = :seen"
        update = {
            "TableName": self.table.name,
            "Key": _record_key(wish.slug),
            "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in values),
            "ConditionExpression": is_as_seen if seen else is_new,
            "ExpressionAttributeNames": {f"#{name}": name for name in values},
            "ExpressionAttributeValues": {f":{name}": value for name, value in values.items()}
            | ({":seen": seen.generation} if seen else {}),
        }
        items: list[Any] = [{"Update": update}]
        if said:
            line = _event(wish.slug, wish.by, said, kind, "")
            items.append({"Put": {"TableName": self.table.name, "Item": line}})
        with _stale_if_refused(wish.slug):
            self._transact(items)

    def begin(self, env: Environment) -> None:
        is_to_go = "desired = :absent AND generation = :generation"
        with _stale_if_refused(env.slug):
            self.table.update_item(
                Key=_record_key(env.slug),
                UpdateExpression="SET begun = :true",
                ConditionExpression=f"attribute_exists(pk) AND {is_to_go}",
                ExpressionAttributeValues={
                    ":true": True,
                    ":absent": str(Desired.ABSENT),
                    ":generation": env.generation,
                },
            )

    def renew(self, fresh: Environment, seen: Environment) -> None:
        is_torn_down = "desired = :absent AND generation = :seen"
        with _stale_if_refused(fresh.slug):
            self.table.put_item(
                Item=_record_key(fresh.slug)
                | _wish(fresh)
                | {
                    "claims": _claims_text(fresh.claims),
                    "conditions": _conditions_text(fresh.conditions),
                },
                ConditionExpression=f"attribute_exists(pk) AND {is_torn_down}",
                ExpressionAttributeValues={":absent": str(Desired.ABSENT), ":seen": seen.generation},
            )

    def claim(self, env: Environment, claims: Mapping[str, Claim]) -> Environment:
        claimed = replace(env, claims={**env.claims, **claims})
        puts = [self._put_claim(env.slug, name, claim) for name, claim in claims.items()]
        # Two workers must not each claim a port for the same role, of which the record would know one.
        is_as_seen = "claims = :seen" if env.claims else "(attribute_not_exists(claims) OR claims = :seen)"
        update = {
            "TableName": self.table.name,
            "Key": _record_key(env.slug),
            "UpdateExpression": "SET claims = :claims",
            "ConditionExpression": f"attribute_exists(pk) AND generation = :generation AND {is_as_seen}",
            "ExpressionAttributeValues": {
                ":claims": _claims_text(claimed.claims),
                ":generation": env.generation,
                ":seen": _claims_text(env.claims),
            },
        }
        try:
            self._transact([{"Update": update}, *puts])
        except ClientError as error:
            self._explain_claim(error, env, list(claims.values()))
            raise
        return claimed

    def save(self, env: Environment) -> None:
        with _stale_if_refused(env.slug):
            self.table.update_item(
                Key=_record_key(env.slug),
                UpdateExpression="SET conditions = :conditions",
                ConditionExpression="attribute_exists(pk) AND generation = :generation",
                ExpressionAttributeValues={
                    ":conditions": _conditions_text(env.conditions),
                    ":generation": env.generation,
                },
            )

    def record_built(self, slug: Slug, built: Built) -> None:
        exists = "attribute_exists(pk)"
        is_wanted = "desired = :present AND #commit = :commit"
        with _stale_if_refused(slug):
            self.table.update_item(
                Key=_record_key(slug),
                UpdateExpression="SET built = :built",
                ConditionExpression=f"{exists} AND {is_wanted}",
                ExpressionAttributeNames={"#commit": "commit"},
                ExpressionAttributeValues={
                    ":built": json.dumps(asdict(built)),
                    ":present": str(Desired.PRESENT),
                    ":commit": built.commit,
                },
            )

    def forget(self, env: Environment) -> None:
        if env.pushed_at:
            self.remember_deletion(env.slug, env.pushed_at)
        claims = list(env.claims.values())
        with _stale_if_refused(env.slug):
            try:
                self._forget(env, claims)
            except ClientError as error:
                if not aws.is_condition_failed(error):
                    raise
                mine = [claim for claim in claims if self.holder(claim) in (env.slug, None)]
                if mine == claims:
                    raise
                self._forget(env, mine)

    def _forget(self, env: Environment, claims: Iterable[Claim]) -> None:
        record = {
            "TableName": self.table.name,
            "Key": _record_key(env.slug),
            "ConditionExpression": "desired = :absent AND generation = :generation",
            "ExpressionAttributeValues": {":absent": str(Desired.ABSENT), ":generation": env.generation},
        }
        held = self._held(env.slug, claims)
        self._transact([{"Delete": record}, *held, *self._dismissal(env)])

    def _dismissal(self, env: Environment) -> Iterator[Any]:
        """Without the record only this says that the branch, which may well stay, is wanted by nobody."""
        if env.commit and env.asked.dismissed == env.commit:
            item = {"pk": "dismissed", "sk": str(env.slug), "commit": env.commit}
            yield {"Put": {"TableName": self.table.name, "Item": item}}

    def deleted_at(self, slug: Slug) -> int:
        item: Any = self.table.get_item(Key=_deletion_key(slug), ConsistentRead=True).get("Item", {})
        return int(item.get("pushed_at", 0))

    def remember_deletion(self, slug: Slug, pushed_at: int) -> None:
        with suppress(Stale), _stale_if_refused(slug):
            self.table.update_item(
                Key=_deletion_key(slug),
                UpdateExpression="SET pushed_at = :at, expires = :expires",
                ConditionExpression="attribute_not_exists(pk) OR pushed_at < :at",
                ExpressionAttributeValues={":at": pushed_at, ":expires": _expires(LATE_DAYS)},
            )

    def dismissals(self) -> dict[Slug, str]:
        return {Slug(str(item["sk"])): str(item["commit"]) for item in self._query("dismissed")}

    def undismiss(self, slug: Slug) -> None:
        self.table.delete_item(Key={"pk": "dismissed", "sk": str(slug)})

    def suspects(self) -> dict[Slug, Suspect]:
        item = self.table.get_item(Key=SUSPECTS, ConsistentRead=True).get("Item", {})
        return {Slug(slug): Suspect(**one) for slug, one in json.loads(str(item.get("all", "{}"))).items()}

    def suspect(self, suspects: Mapping[Slug, Suspect]) -> None:
        text = json.dumps({slug: asdict(one) for slug, one in suspects.items()})
        self.table.put_item(Item={**SUSPECTS, "all": text})

    def ask(self, env: Environment, asked: Asked) -> None:
        seen = asdict(env.asked)
        news = {name: value for name, value in asdict(asked).items() if value != seen[name]}
        if not news:
            return
        with _stale_if_refused(env.slug):
            self.table.update_item(
                Key=_record_key(env.slug),
                UpdateExpression="SET " + ", ".join(f"{ASKED}{name} = :{name}" for name in news),
                ConditionExpression="attribute_exists(pk) AND generation = :generation",
                ExpressionAttributeValues={
                    **{f":{name}": value for name, value in news.items()},
                    ":generation": env.generation,
                },
            )

    def visit(self, slug: Slug, at: int) -> None:
        with suppress(Stale), _stale_if_refused(slug):
            self.table.update_item(
                Key=_record_key(slug),
                UpdateExpression="SET visited = :at",
                ConditionExpression="attribute_exists(pk)",
                ExpressionAttributeValues={":at": at},
            )

    def took(self, repository: str, seconds: int) -> None:
        known = [*self.durations(repository), seconds][-BUILDS:]
        self.table.put_item(Item={"pk": "repository", "sk": repository, "durations": known})

    def durations(self, repository: str) -> list[int]:
        item = self.table.get_item(Key={"pk": "repository", "sk": repository}).get("Item", {})
        stored: Any = item.get("durations", [])
        return [int(seconds) for seconds in stored]

    def note(self, slug: Slug, by: str, text: str, *, kind: str = "", phase: str = "") -> None:
        self.table.put_item(Item=_event(slug, by, text, kind, phase))

    def history(self, slug: Slug) -> list[Event]:
        answer = self.table.query(
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": f"history#{slug}"},
            ScanIndexForward=False,
            Limit=200,
        )
        return [
            Event(
                str(item["sk"]).split("#")[0],
                str(item["by"]),
                str(item["text"]),
                str(item.get("kind", "")),
                str(item.get("phase", "")),
            )
            for item in answer["Items"]
        ]

    def holder(self, claim: Claim) -> Slug | None:
        item = self.table.get_item(Key=_claim_key(claim), ConsistentRead=True).get("Item")
        return Slug(str(item["slug"])) if item else None

    def taken(self, scope: str) -> dict[str, Slug]:
        return {str(item["sk"]): Slug(str(item["slug"])) for item in self._query(f"claim#{scope}")}

    def is_current(self, env: Environment) -> bool:
        current = self.get(env.slug)
        return (
            current is not None
            and current.generation == env.generation
            and current.reset_due == env.reset_due
        )

    def held(self, scope: str) -> list[tuple[Slug, str, Claim]]:
        return [
            (Slug(str(item["slug"])), str(item.get("key") or item["sk"]), Claim(scope, str(item["sk"])))
            for item in self._query(f"claim#{scope}")
        ]

    def generations(self) -> dict[Slug, int]:
        return {Slug(str(item["sk"])): int(item.get("generation", 0)) for item in self._query("environment")}

    def rounds(self, place: str) -> Rounds:
        item: Any = self.table.get_item(Key=_rounds_key(place), ConsistentRead=True).get("Item")
        return Rounds.from_dict(json.loads(item["rounds"]), int(item["revision"])) if item else Rounds()

    def save_rounds(self, place: str, rounds: Rounds) -> None:
        is_as_seen = "revision = :seen" if rounds.revision else "attribute_not_exists(pk)"
        values: dict[str, Any] = {":rounds": json.dumps(asdict(rounds)), ":next": rounds.revision + 1}
        with _stale_if_refused(place):
            self.table.update_item(
                Key=_rounds_key(place),
                UpdateExpression="SET rounds = :rounds, revision = :next",
                ConditionExpression=is_as_seen,
                ExpressionAttributeValues=values | ({":seen": rounds.revision} if rounds.revision else {}),
            )

    def _query(self, pk: str, *, consistent: bool = True) -> Iterator[Mapping[str, Any]]:
        start: dict[str, Any] = {}
        while True:
            answer = self.table.query(
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": pk},
                ConsistentRead=consistent,
                **start,
            )
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _transact(self, items: list[Any]) -> None:
        self.table.meta.client.transact_write_items(TransactItems=items)

    def _put_claim(self, slug: Slug, name: str, claim: Claim) -> Any:
        is_free = "attribute_not_exists(pk)"
        is_mine = "slug = :slug"
        return {
            "Put": {
                "TableName": self.table.name,
                "Item": _claim_key(claim) | {"slug": str(slug), "key": name},
                "ConditionExpression": f"{is_free} OR {is_mine}",
                "ExpressionAttributeValues": {":slug": str(slug)},
            }
        }

    def _held(self, slug: Slug, claims: Iterable[Claim]) -> Iterator[Any]:
        is_gone = "attribute_not_exists(pk)"
        is_mine = "slug = :slug"
        for claim in claims:
            yield {
                "Delete": {
                    "TableName": self.table.name,
                    "Key": _claim_key(claim),
                    "ConditionExpression": f"{is_gone} OR {is_mine}",
                    "ExpressionAttributeValues": {":slug": str(slug)},
                }
            }

    def _explain_claim(self, error: ClientError, env: Environment, claims: list[Claim]) -> None:
        """Reasons come in the order of the items: the record first, then each claim (facts B5-1)."""
        if aws.code(error) != "TransactionCanceledException":
            return
        reasons: list[Any] = list(error.response.get("CancellationReasons", ()))
        failed = [reason.get("Code") == "ConditionalCheckFailed" for reason in reasons]
        if any(failed[1:]):
            raise Taken(c for c, lost in zip(claims, failed[1:], strict=True) if lost) from error
        if failed and failed[0]:
            raise Stale(f"{env.slug}: the record moved on") from error
        if any(reason.get("Code") == "TransactionConflict" for reason in reasons):
            raise Taken(()) from error


@contextmanager
def _stale_if_refused(what: str) -> Iterator[None]:
    """A refused condition means that the record moved on; a mere conflict of transactions is retried."""
    try:
        yield
    except ClientError as error:
        reasons: Any = error.response.get("CancellationReasons", ())
        passing = any(reason.get("Code") in ("TransactionConflict", "ThrottlingError") for reason in reasons)
        if aws.is_condition_failed(error) and not passing:
            raise Stale(f"{what}: the record moved on") from error
        raise


def _record_key(slug: Slug) -> dict[str, Any]:
    return {"pk": "environment", "sk": str(slug)}


def _claim_key(claim: Claim) -> dict[str, Any]:
    return {"pk": f"claim#{claim.scope}", "sk": claim.name}


def _deletion_key(slug: Slug) -> dict[str, Any]:
    return {"pk": "deletion", "sk": str(slug)}


def _rounds_key(place: str) -> dict[str, Any]:
    return {"pk": "rounds", "sk": place}


def _event(slug: Slug, by: str, text: str, kind: str, phase: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "pk": f"history#{slug}",
        "sk": f"{now.isoformat(timespec='milliseconds')}#{uuid.uuid4().hex[:8]}",
        "by": by,
        "text": text[:1000],
        "kind": kind,
        "phase": phase,
        "expires": _expires(HISTORY_DAYS),
    }


def _expires(days: int) -> int:
    """The attribute that TTL looks at (template.yaml), in seconds since the epoch."""
    return int(datetime.now(UTC).timestamp()) + days * 86400


def _wish(env: Environment) -> dict[str, Any]:
    return {
        "repository": env.repository,
        "branch": env.branch,
        "desired": str(env.desired),
        "commit": env.commit,
        "before": env.before,
        "pushed_at": env.pushed_at,
        "next_commit": env.next_commit,
        "generation": env.generation,
        "by": env.by,
        "at": env.at,
        "layout": LAYOUT,
    }


def _from_item(item: Mapping[str, Any]) -> Environment:
    """What an earlier layout did not have is absent and has its default; a later one is not guessed at."""
    if (layout := int(item.get("layout", 0))) > LAYOUT:
        raise ValueError(f"layout {layout} is of a newer version, this one knows {LAYOUT}: deploy that again")
    built = json.loads(item["built"]) if item.get("built") else None
    return Environment(
        slug=Slug(item["sk"]),
        repository=item["repository"],
        branch=item["branch"],
        desired=Desired(item["desired"]),
        commit=item["commit"],
        before=item.get("before", ""),
        pushed_at=int(item.get("pushed_at", 0)),
        next_commit=item.get("next_commit", ""),
        begun=bool(item.get("begun", False)),
        generation=int(item["generation"]),
        by=item.get("by", ""),
        at=item.get("at", ""),
        built=Built(**{name: built[name] for name in ("commit", "image", "execution")}) if built else None,
        asked=_asked(item),
        visited=int(item.get("visited", 0)),
        claims={name: Claim(*pair) for name, pair in json.loads(item.get("claims", "{}")).items()},
        conditions=_conditions(json.loads(item.get("conditions", "{}"))),
    )


def _asked(item: Mapping[str, Any]) -> Asked:
    """Each field is an attribute of its own, so that two people who ask at once overwrite nothing."""

    def number(name: str) -> int:
        return int(item.get(f"{ASKED}{name}", 0))

    def text(name: str) -> str:
        return str(item.get(f"{ASKED}{name}", ""))

    return Asked(
        redeploy=number("redeploy"),
        reset=number("reset"),
        awake=number("awake"),
        dismissed=text("dismissed"),
        dismissed_in=number("dismissed_in"),
        by=text("by"),
    )


def _claims_text(claims: Mapping[str, Claim]) -> str:
    return json.dumps({name: [claim.scope, claim.name] for name, claim in claims.items()})


def _conditions_text(conditions: Mapping[str, Condition]) -> str:
    return json.dumps({name: asdict(condition) for name, condition in conditions.items()})


def _conditions(stored: Mapping[str, Any]) -> dict[str, Condition]:
    return {
        name: Condition(
            state=_state(values["state"]),
            message=str(values.get("message", "")),
            outputs={output: str(value) for output, value in dict(values.get("outputs", {})).items()},
            generation=int(values.get("generation", 0)),
            since=str(values.get("since", "")),
            unexpected=bool(values.get("unexpected")),
        )
        for name, values in stored.items()
    }


def _state(text: str) -> State:
    """A state that only a newer build knows is one to look at again."""
    return _STATES.get(text, State.WAITING)
