"""Secrets Manager: moto deletes at once and forgets the name, AWS does not (facts B4-4).

"Secrets Manager performs the actual deletion with an asynchronous background process, so there might be a
short delay before the secret is permanently deleted" (BC:secretsmanager.DeleteSecret). Until then it is shown
with its DeletedDate, cannot be read, and its name cannot be had: hashicorp/terraform-provider-aws #5583
retries for two minutes; the code InvalidRequestException is in localstack/localstack #6530, where moto's
ResourceExistsException was the bug.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tests.strict_aws.call import Answer, Call, Rule

MARKED = "You can't perform this operation on the secret because it was marked for deletion."
SCHEDULED = "You can't create this secret because a secret with this name is already scheduled for deletion."


class SecretsManager:
    """Controls: `lingers`."""

    def __init__(self, backend: Any) -> None:
        self.lingers = 1
        """So many looks still see what was deleted without recovery."""
        self._backend = backend
        self._going: dict[str, tuple[Answer, int]] = {}  # by name: as it is shown, and looks left
        self.rules: dict[str, Rule] = {
            "CreateSecret": self._create,
            "DeleteSecret": self._delete,
            "DescribeSecret": self._describe,
            "GetSecretValue": self._get,
        }

    def tagged(self) -> Iterator[tuple[str, dict[str, str]]]:
        """ARN and tags of all there are."""
        for secret in self._backend.secrets.values():
            yield secret.arn, {tag["Key"]: tag["Value"] for tag in secret.tags or []}

    def _create(self, call: Call) -> Answer:
        """A name that is going is in use; one that is there is, too, unless token and value are the same."""
        if self._look(call.params["Name"]) or self._is_scheduled(call):
            raise call.error("InvalidRequestException", SCHEDULED)
        return call.proceed()

    def _is_scheduled(self, call: Call) -> bool:
        secret = self._backend.secrets.get(call.params["Name"])
        return secret is not None and secret.is_deleted()

    def _delete(self, call: Call) -> Answer:
        """Without recovery also what is going already, or never was: BC:secretsmanager.DeleteSecret."""
        force, asked = call.params.get("ForceDeleteWithoutRecovery"), call.params["SecretId"]
        if force and self._name_of(asked) is None and asked in self._backend.secrets:
            shown = call.ask("DescribeSecret", SecretId=asked)
            shown.pop("ResponseMetadata", None)
            going = {**shown, "DeletedDate": datetime.now(UTC)}
            if self.lingers:
                self._going[str(shown["Name"])] = going, self.lingers
        return call.proceed()

    def _describe(self, call: Call) -> Answer:
        name = self._name_of(call.params["SecretId"])
        return (self._look(name) if name else None) or call.proceed()

    def _get(self, call: Call) -> Answer:
        if self._name_of(call.params["SecretId"]):
            raise call.error("InvalidRequestException", MARKED)
        return call.proceed()

    def _name_of(self, asked: str) -> str | None:
        """The name of what is going, by its name or ARN."""
        return next((n for n, (shown, _) in self._going.items() if asked in (n, shown["ARN"])), None)

    def _look(self, name: str) -> Answer | None:
        """What is going, as long as it is shown; each look brings its end nearer."""
        shown, left = self._going.pop(name, ({}, 0))
        if left > 1:
            self._going[name] = shown, left - 1
        return shown or None
