"""The layer itself: the way every call takes, and the controls a test has."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from fnmatch import fnmatchcase
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # four times faster; read when moto is imported

import boto3
from botocore import UNSIGNED
from botocore.client import BaseClient
from botocore.config import Config
from botocore.validate import ParamValidator
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ecs.models import ecs_backends
from moto.elbv2.models import elbv2_backends
from moto.secretsmanager.models import secretsmanager_backends

from tests import canaries
from tests.strict_aws import names
from tests.strict_aws.call import Answer, Call, Event, Params, Refused, Rule, copied
from tests.strict_aws.dynamodb import DynamoDB
from tests.strict_aws.ecr import Ecr
from tests.strict_aws.ecs import Ecs
from tests.strict_aws.elbv2 import Elbv2
from tests.strict_aws.events import Events
from tests.strict_aws.faults import Error, Faults
from tests.strict_aws.secretsmanager import SecretsManager
from tests.strict_aws.tagging import Tagging

if TYPE_CHECKING:
    from tests.strict_aws.world import World

StandIn = Callable[[str, Params], Answer]


class StrictAWS:
    """A whole AWS account in memory.

    `client`, `world`, `ecs`, `elbv2`, `ecr`, `dynamodb`, `secretsmanager` and `tagging` build and steer it;
    the rest observes and disturbs it.
    """

    def __init__(self, region: str) -> None:
        self.region = region
        self.account = DEFAULT_ACCOUNT_ID
        self.calls: list[Event] = []
        self.elbv2 = Elbv2(elbv2_backends[self.account][region])
        self.ecs = Ecs(ecs_backends[self.account][region], self.elbv2)
        self.secretsmanager = SecretsManager(secretsmanager_backends[self.account][region])
        self.tagging = Tagging(self.elbv2.tagged, self.ecs.tagged, self.secretsmanager.tagged)
        self.dynamodb = DynamoDB()
        self.ecr = Ecr()
        self.faults = Faults()
        self.throttle = self.faults.throttle
        self.hide_new = self.faults.hide_new
        self.conflict = self.faults.conflict
        self.busy = self.faults.busy
        self.lose_response = self.faults.lose_response
        self.stale = self.faults.stale
        self.clear_faults = self.faults.clear
        self._rules: dict[str, dict[str, Rule]] = {
            "elbv2": self.elbv2.rules,
            "ecs": self.ecs.rules,
            "dynamodb": self.dynamodb.rules,
            "ecr": self.ecr.rules,
            "events": Events().rules,
            "resourcegroupstaggingapi": self.tagging.rules,
            "secretsmanager": self.secretsmanager.rules,
        }
        self._stand_ins: dict[str, StandIn] = {}
        self._callbacks: list[Callable[[Event], None]] = []
        self._lock = threading.RLock()  # one call at a time: moto has no locks of its own
        self._inside_callback = threading.local()

    # For the test

    def client(self, service: str) -> Any:
        """A boto3 client. Clients made by anybody else inside the layer behave the same."""
        return self._codepipeline if service == "codepipeline" else _client(service, self.region)

    def table(self, name: str) -> Any:
        """A table of DynamoDB as boto3's resources have it."""
        return _dynamodb(self.region).Table(name)

    @cached_property
    def _codepipeline(self) -> Any:
        """Its endpoint is the stand-in's, and that is another one in every test."""
        return _session().client("codepipeline", region_name=self.region)

    def world(self, load_balancers: int = 1) -> World:
        """What every environment finds already there. The calls that build it are not recorded."""
        from tests.strict_aws.world import build

        world = build(self, load_balancers)
        self.calls.clear()
        return world

    def fail(
        self, operation: str, times: int = 1, error: Error = "InternalFailure", *, after: bool = False
    ) -> None:
        """The next calls raise a code, a (code, message) or an exception; `after` they took effect."""
        self.faults.fail(operation, times, error, after=after)

    def on_call(self, callback: Callable[[Event], None]) -> None:
        """Show every call to `callback`, before and after its effect; it may raise, and call unseen."""
        self._callbacks.append(callback)

    def serve(self, pattern: str, answer: StandIn) -> None:
        """Let `answer(operation, params)` answer in place of moto: `lambda:Invoke`, `codepipeline:*`.

        Of two that fit a call the one that was served last answers.
        """
        self._stand_ins = {pattern: answer} | self._without(pattern)

    def serve_no_more(self, pattern: str) -> None:
        """Whoever answered before this one was served answers again."""
        self._stand_ins = self._without(pattern)

    def _without(self, pattern: str) -> dict[str, StandIn]:
        return {known: answer for known, answer in self._stand_ins.items() if known != pattern}

    def calls_to(self, pattern: str) -> list[Event]:
        """The recorded calls, by `CreateService`, `ecs:CreateService` or `ecs:*`."""
        full = pattern if ":" in pattern else f"*:{pattern}"
        return [event for event in self.calls if fnmatchcase(event.name, full)]

    def writes(self) -> list[Event]:
        """The recorded calls that change something, in order."""
        return [event for event in self.calls if not event.is_read]

    # The way of a call

    def handle(self, call: Call) -> Answer:
        """Record, check, disturb, apply the rules, and show it to the callbacks."""
        event = Event(len(self.calls) + 1, call.service, call.operation, call.params, is_read=call.is_read)
        self.calls.append(event)
        self._tell(event)
        try:
            with self._lock:
                event.answer = self._answer(call)
        except BaseException as error:
            event.error = error
            raise
        finally:
            event.moment = "after"
        self._tell(event)
        self.faults.strike(call, after=True)
        return event.answer

    def _tell(self, event: Event) -> None:
        if getattr(self._inside_callback, "now", False):
            return
        self._inside_callback.now = True
        try:
            for callback in self._callbacks:
                callback(event)
        finally:
            self._inside_callback.now = False

    def _answer(self, call: Call) -> Answer:
        operation = call.client.meta.service_model.operation_model(call.operation)
        shape = operation.input_shape
        fits = shape is None or not ParamValidator().validate(call.params, shape).has_errors()
        if not fits and call.service != "dynamodb":  # a table takes Python's values and translates them later
            return call.proceed()  # botocore says what is wrong
        if complaints := names.complaints(call.service, operation, call.params) if fits else []:
            many = f"{len(complaints)} validation error{'s' if len(complaints) > 1 else ''} detected: "
            raise call.error(names.CODES[call.service], many + "; ".join(complaints))
        self.faults.strike(call, after=False)
        if old := self.faults.old_answer(call):
            return old
        answer = self.faults.show(call, self._effect(call))
        answer.setdefault(
            "ResponseMetadata", {"RequestId": "strict-aws", "HTTPStatusCode": 200, "RetryAttempts": 0}
        )
        return answer

    def _effect(self, call: Call) -> Answer:
        self.tagging.before(call)
        for pattern, stand_in in self._stand_ins.items():
            if call.matches(pattern):
                return stand_in(call.operation, deepcopy(call.params))
        if call.service == "codepipeline" and call.client.meta.endpoint_url.endswith("amazonaws.com"):
            raise Refused(f"{call.name}: moto's CodePipeline is not AWS's (facts D2-14); use the stand-in")
        rule = self._rules.get(call.service, {}).get(call.operation)
        if rule is None:
            return call.proceed()
        if call.client.meta.region_name != self.region:
            raise Refused(
                f"{call.name} in {call.client.meta.region_name}: this layer holds {self.region} only"
            )
        answer = copied(rule(call))
        _must_fit_the_model(call, answer)
        return answer


def _must_fit_the_model(call: Call, answer: Answer) -> None:
    """The layer's own answers have the shape AWS documents: no invented keys, no wrong types."""
    if call.service == "dynamodb":  # a table's answers are translated already
        return
    shape = call.client.meta.service_model.operation_model(call.operation).output_shape
    body = {key: value for key, value in answer.items() if key != "ResponseMetadata"}
    if shape is not None:
        report = ParamValidator().validate(body, shape).generate_report()
        wrong = [line for line in report.splitlines() if not line.startswith("Invalid length")]
        if wrong:
            raise Refused(f"{call.name}: the layer's own answer is wrong: {wrong}")


def _snapshot(params: Params) -> Params:
    """The parameters as they are now, whatever the caller does to them later."""
    try:
        return deepcopy(params)
    except TypeError:  # an open file
        return dict(params)


@cache
def _session() -> boto3.Session:
    """One session for all tests: reading the service models is most of the cost of a client."""
    return boto3.Session("strict", canaries.AWS_SECRET_KEY, canaries.AWS_SESSION_TOKEN)


@cache
def _client(service: str, region: str) -> Any:
    """Unsigned, which saves time; but moto reads the region of a queue from the signature."""
    config = None if service == "sqs" else Config(signature_version=UNSIGNED)
    return _session().client(service, region_name=region, config=config)


@cache
def _dynamodb(region: str) -> Any:
    return _session().resource("dynamodb", region_name=region)


@contextmanager
def strict_aws(region: str = "ap-northeast-1") -> Iterator[StrictAWS]:
    """An empty account in one region; every boto3 client made inside meets the rules."""
    original = BaseClient._make_api_call
    environment = {"AWS_DEFAULT_REGION": region, "AWS_REGION": region}
    with patch.dict(os.environ, environment), mock_aws():
        aws = StrictAWS(region)

        def strict(client: BaseClient, operation: str, params: Params) -> Answer:
            return aws.handle(Call(client, operation, _snapshot(params), partial(original, client)))

        boto3.DEFAULT_SESSION = None
        with patch.object(BaseClient, "_make_api_call", strict):
            yield aws
    boto3.DEFAULT_SESSION = None
