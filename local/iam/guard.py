"""Refuses calls of functions that their roles do not allow, and writes every refusal down."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from local.iam import needs
from local.iam.policy import Request, Statement, is_allowed

PREFIX = "ASIA"  # of a session's keys, as AWS draws them


def access_key(function: str) -> str:
    """The key that a function's calls are signed with. Nobody verifies signatures here: it only names it."""
    return PREFIX + hashlib.sha256(function.encode()).hexdigest()[:16].upper()


@dataclass(frozen=True)
class Role:
    """A function, and what its role's inline policies say at the moment. Managed ones allow nothing here."""

    function: str
    arn: str
    policies: tuple[tuple[str, str], ...]
    """Name and JSON of each."""

    @classmethod
    def of(cls, function: str, arn: str, documents: Mapping[str, Any]) -> Role:
        """Documents are JSON, or what it says."""
        texts = {name: one if isinstance(one, str) else json.dumps(one) for name, one in documents.items()}
        return cls(function, arn, tuple(sorted(texts.items())))

    @property
    def statements(self) -> tuple[Statement, ...]:
        return _statements(self.function, self.policies)


@dataclass(frozen=True)
class Denial:
    """Why a call is refused: the request that nothing allows, or what is wrong with the call itself."""

    action: str
    resource: str
    who: str
    line: str

    @property
    def message(self) -> str:
        """As AWS words it."""
        return (
            f"User: {self.who} is not authorized to perform: {self.action} on resource: {self.resource} "
            f"because no identity-based policy allows the {self.action} action"
        )


@dataclass(frozen=True)
class Denials:
    """The file with a line for every refusal."""

    path: Path

    @classmethod
    def among(cls, logs: Path) -> Denials:
        """Where a stack with this directory of logs has them."""
        return cls(logs / "denied.log")

    def add(self, denial: Denial) -> None:
        """One write at the end of the file, so that processes may share it."""
        with self.path.open("a", encoding="utf-8") as log:
            log.write(f"{denial.line}\n")

    def read(self) -> list[str]:
        """All lines so far."""
        return self.path.read_text("utf-8").splitlines() if self.path.exists() else []

    def take(self) -> list[str]:
        """The same, and forget them: for who wanted them."""
        lines = self.read()
        self.path.unlink(missing_ok=True)
        return lines


@dataclass(frozen=True)
class Guard:
    """Decides for one account and region. `role` finds a function's role by its access key, `tags` and
    `secret` know what there is at the moment; no tags at all (None) are of what is not there."""

    account: str
    region: str
    role: Callable[[str], Role | None]
    tags: Callable[[str], needs.Tags | None]
    secret: Callable[[str], str]
    denials: Denials

    def refusal(self, key: str, operation: str, params: Mapping[str, Any]) -> Denial | None:
        """None if the call may go on. Who is no function is the stack itself or its operator, who may all."""
        if not key.startswith(PREFIX):
            return None
        role = self.role(key)
        if role is None:
            denial = _unknown(key, operation)
        else:
            found = self._first_denied(role, operation, params)
            if found is None:
                return None
            denial = _denied(role, operation, *found)
            if self._went_meanwhile(role, found[0], params):
                return denial
        self.denials.add(denial)
        return denial

    def _first_denied(
        self, role: Role, operation: str, params: Mapping[str, Any]
    ) -> tuple[Request, str] | None:
        """The first request that the role does not allow, and what to say of it."""
        call = needs.Call(
            operation, params, self.region, self.account, lambda arn: self.tags(arn) or {}, self.secret
        )
        try:
            denied = (one for one in needs.of(call) if not is_allowed(role.statements, one))
            return next(((one, str(one)) for one in denied), None)
        except Exception as error:  # a call that cannot be judged must not pass, nor end in silence
            return Request.of(call.action, needs.ALL), repr(error)

    def _went_meanwhile(self, role: Role, request: Request, params: Mapping[str, Any]) -> bool:
        """Was it only the tags that lacked, as what the call names was deleted by somebody else just now?

        No policy that looks at tags could allow it, so it is refused but nobody's fault.
        """
        if request.resource not in params.values() or self.tags(request.resource) is not None:
            return False
        return is_allowed([replace(one, conditions=()) for one in role.statements], request)


def _denied(role: Role, operation: str, request: Request, why: str) -> Denial:
    who = f"{role.arn.replace(':iam:', ':sts:').replace(':role/', ':assumed-role/')}/{role.function}"
    return Denial(request.action, request.resource, who, f"{role.function} calls {operation}: {why}")


def _unknown(key: str, operation: str) -> Denial:
    return Denial(operation, needs.ALL, key, f"{key}, which is no function's key, calls {operation}")


@cache
def _statements(function: str, policies: tuple[tuple[str, str], ...]) -> tuple[Statement, ...]:
    return tuple(
        Statement.of(f"{function}/{name}/{written.get('Sid', number)}", written)
        for name, text in policies
        for number, written in enumerate(json.loads(text)["Statement"], 1)
    )
