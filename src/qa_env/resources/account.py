"""The environment's own MySQL user, and the secret in Secrets Manager that its name and password are in.

Made with `database.accounts: own` only. The password is born here and goes into the secret; tasks, Migrate
and the `datastores` function, which makes the user, read it there. The secret is tagged; the user is marked
by the schema's claim and the prefix, as the schema is, and no user is taken over (`datastores/mysql.py`).

The user is dropped before its secret goes, so that whoever is killed between the two can still prove that it
was ours. DeleteSecret goes on in the background and the name stays in use for a while (facts B4-4).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_env import aws, datacall, naming
from qa_env.blueprint import Database
from qa_env.errors import Blocked, NotReady
from qa_env.holding import held, prefix
from qa_env.model import DATA, SCHEMA, Claim, Desired, Environment, Ledger, Outputs, Slug, State

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_secretsmanager.type_defs import DescribeSecretResponseTypeDef

ROLLING = 2  # while tasks are replaced, old and new ones are connected
STRONG = "-aA1"  # one of each, as servers with a password policy want it


@dataclass(frozen=True)
class Account:
    """One user, who may have twice as many connections as the environment's roles need."""

    client: SecretsManagerClient
    call: datacall.Datastores
    ledger: Ledger
    database: Database
    installation: str
    connections: int
    name: str = ""
    kind = "account"

    def ensure(self, env: Environment) -> Outputs:
        """Find or make the secret, then the user in it with all rights on the environment's schema."""
        schema = env.output("schema")["name"]
        claim = held(self.ledger, env, SCHEMA)
        if claim is None or claim.name != schema:
            raise NotReady("waiting for the schema's name")
        name = naming.account_secret(self.installation, env.slug)
        with aws.doing(f"ensuring secret {name}"):
            found = self._find(env)
            if found is None:
                self._create(env, name, schema)
                raise NotReady("the password is made; the user is next")
            if "DeletedDate" in found:
                self._delete_secret(found)
                raise NotReady(f"secret {name} was deleted by hand; waiting until its name is free")
        limits = {"connections": ROLLING * self.connections, "trust": self.database.accounts_trust}
        user = self._ask("ensure_account", env, claim, login=_reference(found), **limits)["user"]
        return {"user": user, "arn": found["ARN"], "secret": name}

    def delete(self, env: Environment) -> None:
        """Drop the user once nothing logs in with it, then delete the secret."""
        self._require_unused(env)
        name = naming.account_secret(self.installation, env.slug)
        with aws.doing(f"deleting secret {name}"):
            try:
                found = self._find(env)
            except Blocked:
                found = None
            claim = held(self.ledger, env, SCHEMA)
            if claim and (found or self._was_ours(env, claim)):
                if not self.ledger.is_current(env):
                    raise NotReady("the record moved on: the user stays")
                login = _reference(found) if found and "DeletedDate" not in found else None
                self._ask("delete_account", env, claim, login=login)
            if found:
                self._delete_secret(found)
                raise NotReady(f"secret {name} deleted; looking again")

    def owners(self) -> Iterator[Slug]:
        """Slugs of every user that is known to be ours. Its secret goes after it, and bears our tag."""
        return (slug for _, slug in self.found() if slug)

    def found(self) -> Iterator[tuple[Claim, Slug | None]]:
        """Every user with our prefix as its schema's claim, and whose it is if that can be told.

        By its name alone it is nobody's: people may have made one that is called like an environment.
        """
        claimed = {naming.account(name): (name, slug) for name, slug in self.ledger.taken(SCHEMA).items()}
        request = {"store": "mysql", "action": "list_accounts", "secret": self.database.secret}
        for user in datacall.ask(self.call, {**request, "prefix": self.database.prefix})["names"]:
            schema, slug = claimed.get(user, (user, self._owner(user)))
            yield Claim(SCHEMA, schema), slug

    def _owner(self, user: str) -> Slug | None:
        """The environment that a user is named after, if there is a secret of ours that may open it."""
        slug = naming.slug_of(self.database.schema_name, user)
        found = slug and self._secret(naming.account_secret(self.installation, slug))
        tags = aws.tag_dict(found.get("Tags")) if found else {}
        is_ours = naming.owner_of(tags, self.installation) == slug
        return slug if found and is_ours and "DeletedDate" not in found else None

    def _find(self, env: Environment) -> DescribeSecretResponseTypeDef | None:
        """The secret with our name, even one being deleted: None if missing, Blocked if someone else's."""
        name = naming.account_secret(self.installation, env.slug)
        found = self._secret(name)
        if found and naming.owner_of(aws.tag_dict(found.get("Tags")), self.installation) != env.slug:
            raise Blocked(f"secret {name} has our name but is not ours; delete it")
        return found

    def _secret(self, name: str) -> DescribeSecretResponseTypeDef | None:
        try:
            return self.client.describe_secret(SecretId=name)
        except self.client.exceptions.ResourceNotFoundException:
            return None

    def _create(self, env: Environment, name: str, schema: str) -> None:
        login = {"username": naming.account(schema), "password": secrets.token_urlsafe(30) + STRONG}
        exceptions = self.client.exceptions
        try:
            self.client.create_secret(
                Name=name,
                Description=f"The MySQL user of {env.slug}, made and deleted by {self.installation}.",
                SecretString=json.dumps(login),
                Tags=aws.tag_list(naming.tags(self.installation, env)),
            )
        except exceptions.InvalidRequestException as error:
            raise NotReady(f"secret {name}: waiting until a deleted one's name is free") from error
        except exceptions.ResourceExistsException as error:
            raise NotReady(f"secret {name} exists but cannot be read yet") from error

    def _delete_secret(self, found: DescribeSecretResponseTypeDef) -> None:
        self.client.delete_secret(SecretId=found["ARN"], ForceDeleteWithoutRecovery=True)

    def _require_unused(self, env: Environment) -> None:
        """NotReady while something may log in; a present environment was just given the shared user."""
        if env.desired is Desired.ABSENT:
            env.require_gone("pipeline", "service")
            return
        for name, condition in env.conditions.items():
            if name.partition("/")[0] in ("pipeline", "task_definition", "service") and (
                condition.state not in (State.READY, State.GONE) or condition.generation != env.generation
            ):
                raise NotReady("waiting until nothing uses the user any more")

    def _was_ours(self, env: Environment, claim: Claim) -> bool:
        """Does the record say that we made it?"""
        return env.remembered(self.kind).get("user") == naming.account(claim.name)

    def _ask(self, action: str, env: Environment, claim: Claim, **details: object) -> datacall.Answer:
        request = {"store": "mysql", "action": action, "secret": self.database.secret, "name": claim.name}
        ours = prefix(env, DATA[SCHEMA], self.database.prefix)
        known = {"known": self._was_ours(env, claim), "prefix": ours}
        return datacall.ask(self.call, {**request, **known, **details})


def _reference(secret: DescribeSecretResponseTypeDef) -> str:
    return f"secretsmanager:{secret['ARN']}"
