"""The only table of AWS error codes, and their translation into the four errors.

Codes are compared, never messages, except for ECS, which says three different things with
`InvalidParameterException` (facts B2-3, B2-4).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from qa_env.errors import Blocked, NotReady

_NOT_FOUND = frozenset(
    {
        "TargetGroupNotFound",
        "ListenerNotFound",
        "RuleNotFound",
        "LoadBalancerNotFound",
        "PipelineNotFoundException",
        "PipelineExecutionNotFoundException",
        "ServiceNotFoundException",
        "ServiceNotActiveException",
        "RepositoryNotFoundException",
        "ResourceNotFoundException",
    }
)
_IN_USE = frozenset({"ResourceInUse", "ConflictException", "ConcurrentModificationException"})
_QUOTA = frozenset(
    {
        "TooManyListeners",
        "TooManyTargetGroups",
        "TooManyRules",
        "TooManyTargets",
        "TooManyRegistrationsForTargetId",
        "TooManyUniqueTargetGroupsPerLoadBalancer",
        "LimitExceededException",
        "ConcurrentPipelineExecutionsLimitExceededException",
        "ServiceQuotaExceededException",
        "TargetGroupAssociationLimit",
        "TooManyTags",
        "TooManyTagsException",
    }
)
_DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
        "NotAuthorized",
        "OperationNotPermitted",
    }
)
_REFUSED = frozenset(
    {
        "ValidationError",
        "ValidationException",
        "InvalidConfigurationRequest",
        "InvalidLoadBalancerAction",
        "InvalidStructureException",
        "InvalidActionDeclarationException",
        "InvalidStageDeclarationException",
        "InvalidBlockerDeclarationException",
        "CertificateNotFound",
        "ParameterNotFound",
        "SSLPolicyNotFound",
        "ClusterNotFoundException",
        "DuplicateListener",
        "DuplicateTargetGroupName",
        "PriorityInUse",
        "PipelineNameInUseException",
        "PlatformTaskDefinitionIncompatibilityException",
        "PlatformUnknownException",
        "UnsupportedFeatureException",
        "IncompatibleProtocols",
        "UnsupportedProtocol",
        "InvalidTagsException",
    }
)
_PASSING = (
    "is still draining",
    "does not have an associated load balancer",
    "was not idempotent",
    "too many concurrent attempts",
)


def code(error: ClientError) -> str:
    """The error's code; ELBv2 appends `Exception` to some of them, the model does not."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_condition_failed(error: ClientError) -> bool:
    """DynamoDB: the record is not what the writer had read."""
    return code(error) in ("ConditionalCheckFailedException", "TransactionCanceledException")


def is_denied(error: ClientError) -> bool:
    """The role may not do this, or not to this thing."""
    return _listed(error, _DENIED)


def is_refused(error: Exception) -> bool:
    """AWS answered that it does not do this (4xx): the call has had no effect and will have none."""
    if not isinstance(error, ClientError):
        return False
    return 400 <= error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) < 500


@contextmanager
def doing(what: str, **outputs: str) -> Iterator[None]:
    """Turn AWS's refusals into NotReady or Blocked, saying what was being done; let the rest escape.

    `outputs` go along with either, for whoever must know what the refusal was about.
    """
    try:
        yield
    except ClientError as error:
        reason = f"{what}: {_message(error)}"
        if _listed(error, _IN_USE) or _passes(error):
            raise NotReady(reason, **outputs) from error
        if any(_listed(error, codes) for codes in (_QUOTA, _DENIED, _REFUSED, _NOT_FOUND)):
            raise Blocked(reason, **outputs) from error
        if code(error) in ("InvalidParameterException", "ClientException", "InvalidParameterValue"):
            raise Blocked(reason, **outputs) from error
        error.add_note(f"while {what}")
        raise


def tag_list(tags: Mapping[str, str], key: str = "Key", value: str = "Value") -> list[Any]:
    """`Key`/`Value` pairs as ELBv2 spells them; ECS and CodePipeline use lower case."""
    return [{key: name, value: text} for name, text in sorted(tags.items())]


def tag_dict(tags: Any) -> dict[str, str]:
    """Any of AWS's tag lists as a mapping."""
    return {tag.get("Key", tag.get("key")): tag.get("Value", tag.get("value", "")) for tag in tags or ()}


def fingerprint(settings: Any) -> str:
    """A short digest of the settings we asked for: kept as a tag, because AWS answers with defaults added."""
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def _listed(error: ClientError, codes: frozenset[str]) -> bool:
    return code(error) in codes or code(error).removesuffix("Exception") in codes


def _passes(error: ClientError) -> bool:
    return any(words in _message(error).lower() for words in _PASSING)


def _message(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message", "")) or code(error)
