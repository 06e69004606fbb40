"""One gate through which every external call of an installation passes, and may be made to go wrong there.

Calls count only inside an *invocation*, which is one run of one Lambda function; what the test and AWS itself
do passes unseen:

    with gated(installation) as gate:
        gate.decide = lambda call: Fault.LOST_ANSWER if call.name == "elbv2:CreateListener" else None
        with gate.invocation("reconcile"):
            installation.controller.reconcile(slug)

A crash raises `Killed` and ends the invocation: nothing of it reaches the world any more, neither from
`finally` nor from other threads. The next `invocation` begins anew.
"""

from __future__ import annotations

import contextvars
import http.client
import io
import json
import pickle
import re
import threading
import urllib.error
import urllib.request
import urllib.response
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from email.message import Message
from enum import StrEnum
from functools import partial
from typing import Any, Literal, Self
from unittest.mock import patch
from urllib.parse import urlsplit

from botocore.exceptions import ClientError, ReadTimeoutError

from qa_env import http_json, looking
from qa_env.datacall import FunctionError
from qa_env.errors import NotReady
from qa_env.model import Slug
from qa_env.watch import Watch
from tests.fakes import MemoryStore
from tests.installation import Installation
from tests.strict_aws import Call as AwsCall
from tests.strict_aws.faults import THROTTLE_CODES

STORE_READS = (
    "get",
    "all",
    "history",
    "durations",
    "dismissals",
    "deleted_at",
    "suspects",
    "holder",
    "taken",
    "held",
    "is_current",
    "generations",
    "rounds",
)
BRANCH_READS = ("head", "under", "shows", "checks")
LIVE_SERVICES = ("mysql", "redis")  # there is no replica that could be behind
PAUSE = 30  # seconds that GitHub and Slack ask for when they throttle

Reply = tuple[int, Any, Mapping[str, str]]
Answering = Callable[[str, str, Message, bytes], Reply]
"""A stand-in of `local/`: status, body and headers from method, path with query, headers and body."""


class Killed(BaseException):
    """The sandbox died: no `except Exception` catches this, and no `finally` of it does anything."""


class Fault(StrEnum):
    """What happens to a call instead of what should."""

    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    ERROR = "error"  # the service's own 500: no effect
    LOST_ANSWER = "lost answer"  # it took effect, the caller sees a time-out
    THROTTLED = "throttled"
    STALE = "stale"  # the answer before the last change, if the call was made before: reads only


@dataclass
class Invocation:
    """One run of a function."""

    function: str
    killed: bool = False


@dataclass(frozen=True)
class Call:
    """One external call. `can_be_stale`: its last answer was another one than it would get now."""

    number: int
    name: str  # e.g. `elbv2:CreateListener`, `mysql:ensure`, `github:GET /repos/example/shop/pulls`
    is_read: bool
    function: str
    params: Any = field(repr=False)
    can_be_stale: bool = False

    @property
    def service(self) -> str:
        return self.name.partition(":")[0]


@dataclass(frozen=True)
class Outcome:
    """An answer or what was raised in its place."""

    answer: Any = None
    error: Exception | None = None

    @classmethod
    def of(cls, effect: Callable[[], Any]) -> Self:
        """What comes of it; a failed test is no outcome."""
        try:
            return cls(effect())
        except AssertionError:
            raise
        except Exception as error:
            return cls(error=error)

    def give(self) -> Any:
        if self.error:
            raise self.error
        return self.answer

    @property
    def text(self) -> str:
        """Comparable: ids of requests and times of answers left out."""
        if isinstance(self.answer, dict):
            return repr({key: value for key, value in self.answer.items() if key != "ResponseMetadata"})
        return repr(self.error or self.answer)


@dataclass(frozen=True)
class Errors:
    """How one service says these things."""

    refusal: Callable[[], BaseException]
    timeout: Callable[[], BaseException]
    throttling: Callable[[], BaseException]


class Gate:
    """Counts the calls and asks `decide` what happens to each."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.writes: Counter[str] = Counter()
        self.decide: Callable[[Call], Fault | None] = lambda call: None
        self.servers: dict[str, tuple[str, Answering]] = {}
        """Host → service and stand-in, for what is asked over HTTP."""
        self._current: contextvars.ContextVar[Invocation | None] = contextvars.ContextVar(
            "invocation", default=None
        )
        self._lock = threading.RLock()
        self._seen: dict[tuple[str, str], Outcome] = {}

    @contextmanager
    def invocation(self, function: str) -> Iterator[Invocation]:
        """A run of this function; what is called inside is its doing."""
        run = Invocation(function)
        token = self._current.set(run)
        try:
            yield run
        finally:
            self._current.reset(token)

    def forget(self) -> None:
        """Count from the beginning; what was answered stays known."""
        self.calls.clear()
        self.writes.clear()

    def catch_up(self) -> None:
        """Every replica knows the newest: what was answered before is answered no more."""
        self._seen.clear()

    def through(
        self, name: str, params: Any, effect: Callable[[], Any], errors: Errors, *, is_read: bool
    ) -> Any:
        """Let one call pass, or let happen to it what `decide` says."""
        run = self._current.get()
        if run is None:
            return effect()
        if run.killed:
            raise Killed
        # A read changes nothing, so it may be made before it is decided whether anybody hears the answer.
        outcome = Outcome.of(effect) if is_read else None
        place = name, repr(params)
        last = self._seen.get(place)
        can_be_stale = bool(outcome and last and last.text != outcome.text)
        with self._lock:
            if run.killed:  # another thread's call was the last one
                raise Killed
            call = Call(len(self.calls) + 1, name, is_read, run.function, params, can_be_stale)
            self.calls.append(call)
            self.writes[name] += not is_read
            fault = self.decide(call)
            run.killed = fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)
        self._strike(fault, errors)
        outcome = outcome or Outcome.of(effect)
        if is_read and _may_lag(name, params):
            self._seen[place] = Outcome(_copy(outcome.answer), outcome.error)
        return self._answer(outcome, last if can_be_stale else None, fault, errors)

    def _strike(self, fault: Fault | None, errors: Errors) -> None:
        """Before the effect."""
        if fault is Fault.CRASH_BEFORE:
            raise Killed
        if fault is Fault.ERROR:
            raise errors.refusal()
        if fault is Fault.THROTTLED:
            raise errors.throttling()

    def _answer(self, outcome: Outcome, last: Outcome | None, fault: Fault | None, errors: Errors) -> Any:
        """After the effect."""
        if fault is Fault.CRASH_AFTER:
            raise Killed
        if fault is Fault.LOST_ANSWER:
            raise errors.timeout()
        if fault is Fault.STALE and last:
            return last.give()
        return outcome.give()

    # --- the places where calls pass ----------------------------------------------------------------------

    def aws(self, handle: Callable[[AwsCall], Any], call: AwsCall) -> Any:
        """In place of `StrictAWS.handle`."""
        params = {name: value for name, value in call.params.items() if name != "ClientRequestToken"}
        return self.through(call.name, params, partial(handle, call), _aws_errors(call), is_read=call.is_read)

    def datastores(self, ask: Callable[[Any], Any], request: Mapping[str, Any]) -> Any:
        """In place of the datastores function."""
        is_read = request["action"] not in ("ensure", "delete", "drop")
        name = f"{request['store']}:{request['action']}"
        return self.through(name, request, partial(ask, request), LAMBDA_ERRORS, is_read=is_read)

    def method(self, service: str, of: Any, name: str, is_read: bool, *args: Any, **named: Any) -> Any:
        """In place of a method of a fake."""
        effect = partial(getattr(of, name), *args, **named)
        errors = STORE_ERRORS if service == "dynamodb" else GITHUB_ERRORS
        return self.through(f"{service}:{name}", (args, named), effect, errors, is_read=is_read)

    def open(self, request: urllib.request.Request, timeout: float) -> urllib.response.addinfourl:
        """In place of urllib's opener: the stand-in answers, no socket is opened."""
        url = urlsplit(request.full_url)
        service, answer = self.servers[url.netloc]
        path = url.path.rsplit("/", 1)[-1] if service == "slack" else url.path
        headers = Message()
        for name, value in request.header_items():
            headers[name] = value
        method, target = request.get_method(), f"{url.path}?{url.query}"
        body = bytes(request.data or b"")

        def effect() -> Reply:
            status, said, given = answer(method, target, headers, body)
            return status, _copy(said), given

        try:
            reply = self.through(
                f"{service}:{method} {path}", (target, body), effect, HTTP_ERRORS, is_read=method == "GET"
            )
        except _Instead as instead:
            reply = instead.reply
        return _as_urllib(request.full_url, reply)

    def wake(self, wake: Callable[[Slug, str], None], slug: Slug, why: str) -> None:
        """In place of SendMessage."""
        self.through("sqs:SendMessage", (slug, why), partial(wake, slug, why), SQS_ERRORS, is_read=False)

    def postpone(self, hold: Callable[[], None], slug: Slug, seconds: int) -> None:
        """In place of ChangeMessageVisibility."""
        self.through("sqs:ChangeMessageVisibility", (slug, seconds), hold, SQS_ERRORS, is_read=False)


class Gated:
    """A fake behind the gate: everything it has, its methods as calls of a service."""

    def __init__(self, gate: Gate, service: str, fake: Any, reads: tuple[str, ...]) -> None:
        self.__dict__.update(_gate=gate, _service=service, _fake=fake, _reads=reads)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._fake, name)
        if not callable(found) or name.startswith("_"):
            return found
        return partial(self._gate.method, self._service, self._fake, name, name in self._reads)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._fake, name, value)


class InTurn:
    """An executor that does at once, in the caller, what it is given: no threads, always the same order."""

    def __init__(self, max_workers: int = 1) -> None:
        self.max_workers = max_workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: Callable[..., Any], *args: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*args))
        except BaseException as error:
            done.set_exception(error)
        return done


class SideBySide(ThreadPoolExecutor):
    """Threads that know whose invocation they are."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        return super().submit(contextvars.copy_context().run, partial(work, *args, **named))


@contextmanager
def gated(
    installation: Installation,
    store: Literal["dynamo", "memory"] = "dynamo",
    *,
    threads: bool = False,
    gate: Gate | None = None,
) -> Iterator[Gate]:
    """The installation behind a gate; without `threads` a pass does one thing after the other.

    For reports put their stand-ins into `gate.servers` and let the installation plan them (`life.Life`).
    """
    gate = gate or Gate()
    if store == "memory":
        installation.store = Gated(gate, "dynamodb", MemoryStore(), STORE_READS)
    if installation.branches and hasattr(installation.branches, "heads"):
        installation.branches = Gated(gate, "github", installation.branches, BRANCH_READS)
    wake = partial(gate.wake, installation._wake)
    installation.watch = Watch(installation.store, wake)
    installation.controller = replace(installation.controller, store=installation.store, wake=wake)
    installation.clients = replace(
        installation.clients,
        datastores=partial(gate.datastores, installation.datastores),
        wake=lambda calls: [wake(*call) for call in calls],
    )
    with ExitStack() as patches:
        aws = installation.aws
        patches.enter_context(patch.object(aws, "handle", partial(gate.aws, aws.handle)))
        patches.enter_context(patch.object(http_json, "_opener", lambda: gate))
        pool = SideBySide if threads else InTurn
        patches.enter_context(patch.object(looking, "ThreadPoolExecutor", pool))
        yield gate


# --- how services say that something is wrong ---------------------------------------------------------------


class _Instead(Exception):
    """A server's answer in place of the stand-in's."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(status)
        self.reply: Reply = (status, {"message": "by order of the test"}, headers)


def _client_error(code: str, status: int = 400, **more: Any) -> ClientError:
    said = {"Error": {"Code": code, "Message": "by order of the test"}, **more}
    return ClientError({**said, "ResponseMetadata": {"HTTPStatusCode": status}}, "Invoke")


def _time_out() -> BaseException:
    return ReadTimeoutError(endpoint_url="https://aws.example.com")


def _aws_errors(call: AwsCall) -> Errors:
    broken = "InternalServerError" if call.service == "dynamodb" else "InternalFailure"
    slow = THROTTLE_CODES.get(call.service, "ThrottlingException")
    if call.operation == "TransactWriteItems":  # facts B5: it is cancelled, for one reason per item
        reasons = [{"Code": "ThrottlingError"}, *({"Code": "None"} for _ in call.params["TransactItems"][1:])]
        throttling = partial(_client_error, "TransactionCanceledException", CancellationReasons=reasons)
    else:
        throttling = partial(call.error, slow, "Rate exceeded")
    return Errors(partial(call.error, broken, "by order of the test", 500), _time_out, throttling)


LAMBDA_ERRORS = Errors(
    lambda: FunctionError("the datastores function failed, by order of the test"),
    _time_out,
    lambda: _client_error("TooManyRequestsException", 429),
)
STORE_ERRORS = Errors(
    lambda: _client_error("InternalServerError", 500),
    _time_out,
    lambda: _client_error("ThrottlingException"),
)
SQS_ERRORS = Errors(
    lambda: _client_error("InternalFailure", 500), _time_out, lambda: _client_error("RequestThrottled")
)
GITHUB_ERRORS = Errors(
    lambda: NotReady("GitHub answers 500"),
    lambda: NotReady("GitHub cannot be asked: TimeoutError"),
    lambda: NotReady("GitHub limits how often it is asked"),
)
HTTP_ERRORS = Errors(
    lambda: _Instead(500), TimeoutError, lambda: _Instead(429, **{"Retry-After": str(PAUSE)})
)


def _may_lag(name: str, params: Any) -> bool:
    """May this read answer what was? Not where it was asked to be consistent, or where there is one copy."""
    service = name.partition(":")[0]
    if service in LIVE_SERVICES:
        return False
    if service == "dynamodb":
        return isinstance(params, dict) and not params.get("ConsistentRead")
    return True


def _copy(answer: Any) -> Any:
    """Several times as fast as `deepcopy`."""
    return pickle.loads(pickle.dumps(answer))  # noqa: S301 - it is our own


def _as_urllib(url: str, reply: Reply) -> urllib.response.addinfourl:
    status, said, given = reply
    body = said.encode() if isinstance(said, str) else json.dumps(said).encode()
    headers = http.client.HTTPMessage()
    for name, value in given.items():
        headers[name] = value
    if not re.match("2", str(status)):
        raise urllib.error.HTTPError(url, status, "refused", headers, io.BytesIO(body))
    return urllib.response.addinfourl(io.BytesIO(body), headers, url, status)
