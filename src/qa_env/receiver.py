"""The webhook's own composition root: secret, queue and the list of repositories, and nothing else.

Apart from `app.py` because the only public function should start fast and be able to do little: it reads
one secret and sends to one queue. Its clients are botocore's own: boto3 around them would only start later.
botocore is imported before the first delivery needs it: while a function starts it has a whole processor,
and afterwards only what belongs to its memory.

Environment: `QA_ENV_QUEUE_URL`, `QA_ENV_WEBHOOK_SECRET` (ARN), `QA_ENV_REPOSITORIES` (a file, by default
`repositories.json` beside the packages, written by `python -m qa_env.blueprint index`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from qa_env import github
from qa_env.calls import logged
from qa_env.errors import Rejected
from qa_env.model import Change
from qa_env.redaction import redacting

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient

MAX_AGE = 300.0  # seconds after which a withdrawn secret is refused
REFILL = 10.0  # seconds: one reading of the secret for mismatches …
BURST = 5  # … of which so many may come at once

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Receiver:
    """Takes deliveries: verifies, reads, and puts what is ours on the queue."""

    secrets: Iterable[bytes]
    index: github.Index
    put: Callable[[Change, str], None]

    def receive(self, headers: Mapping[str, str], body: bytes, receipt: str) -> github.Reception:
        """Take one delivery. `receipt` differs for each, also for a redelivery; Rejected if refused."""
        github.verify(self.secrets, body, headers.get("x-hub-signature-256"))
        reception = github.receive(headers, body, self.index)
        for change in reception.changes:
            self.put(change, receipt)
        return reception


class Secrets:
    """The current and the previous webhook secret, cached for a while and read again when neither fits.

    Iterating gives the cached ones first. Whoever goes on has a delivery that none of them signed: a
    forgery, or the first delivery after a rotation, which GitHub would not repeat (facts A2). So they are
    read again at once, but within a budget: one reading per 10 seconds and a reserve of five, so that
    forgeries cannot make us call Secrets Manager for each. Under a flood that has used up the reserve the
    cache is still never older than 10 seconds. All that can be refused wrongly then is a delivery signed
    with a secret stored less than 10 seconds before, and the order of a rotation — store the new secret,
    then tell GitHub — has a person in between. It is a failed delivery that can be redelivered. While they
    cannot be read nobody can tell a forgery: what the cached ones did not sign is put off, not refused.

    The previous secret is good until the next rotation: rotating twice withdraws a leaked one.
    """

    def __init__(
        self, read: Callable[[], tuple[bytes, ...]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._clock = clock
        self._known: tuple[bytes, ...] = ()
        self._failed = False
        self._read_at = clock()
        self._budget_used_until = clock()

    def __iter__(self) -> Iterator[bytes]:
        expired = not self._known or self._clock() - self._read_at > MAX_AGE
        just_read = expired and self._read_again()
        yield from self._known
        if not just_read and self._read_again():
            yield from self._known
        if self._failed and self._known:
            raise Rejected(503, "the webhook secret cannot be read: deliver again")

    def _read_again(self) -> bool:
        """Read if the budget allows. Where that fails, what is known stays known."""
        if not self._spend():
            return False
        try:
            self._known = self._read()
        except Exception as error:  # whatever it is: it may refuse deliveries, never let one in
            logger.warning("reading the webhook secret: %s", error)
            self._failed = True
            return False
        self._failed = False
        self._read_at = self._clock()
        return True

    def _spend(self) -> bool:
        """Take one reading from the budget; each is paid back after `REFILL` seconds."""
        now = self._clock()
        if self._budget_used_until - now > (BURST - 1) * REFILL:
            return False
        self._budget_used_until = max(now, self._budget_used_until) + REFILL
        return True


@dataclass(frozen=True)
class Queue:
    """The FIFO queue: one message group per environment, so one environment's Changes stay in order."""

    url: str
    client: Callable[[], SQSClient]

    def put(self, change: Change, receipt: str) -> None:
        """Send the Change; Rejected 503 makes GitHub record a failed delivery that can be redelivered.

        A redelivery keeps its delivery id (facts A4) and must not be taken for a duplicate of the first,
        so the receipt decides what a duplicate is: only the SDK's own second attempt.
        """
        once = f"{receipt} {change.slug}".encode("utf-8", "replace")
        try:
            self.client().send_message(
                QueueUrl=self.url,
                MessageBody=json.dumps({"slug": change.slug, "change": change.to_dict()}),
                MessageGroupId=change.slug,
                MessageDeduplicationId=hashlib.sha256(once).hexdigest(),
            )
        except (BotoCoreError, ClientError) as error:
            raise Rejected(503, "the queue did not take this delivery; redeliver it") from error


def build(environ: Mapping[str, str] = os.environ) -> Receiver:
    """The receiver that the process environment describes. Without a secret it refuses everything."""
    beside_the_packages = Path(__file__).parents[1] / "repositories.json"
    repositories = Path(environ.get("QA_ENV_REPOSITORIES") or beside_the_packages)
    secret = environ.get("QA_ENV_WEBHOOK_SECRET", "")
    session = cache(Session)
    secrets_manager = cache(lambda: _secrets_manager(session()))
    return Receiver(
        secrets=Secrets(lambda: read_secret(secrets_manager(), secret)) if secret else (),
        index=json.loads(repositories.read_text("utf-8")),
        put=Queue(environ["QA_ENV_QUEUE_URL"], cache(lambda: _sqs(session()))).put,
    )


def read_secret(client: SecretsManagerClient, secret: str) -> tuple[bytes, ...]:
    """The current version and, if there was a rotation, the previous one."""
    current = client.get_secret_value(SecretId=secret, VersionStage="AWSCURRENT")
    try:
        previous = [client.get_secret_value(SecretId=secret, VersionStage="AWSPREVIOUS")]
    except client.exceptions.ResourceNotFoundException:
        previous = []
    return tuple(_plain(answer.get("SecretString", "")) for answer in (current, *previous))


def _plain(text: str) -> bytes:
    """The secret itself, out of `{"secret": …}` or plain; without the newline that editors add."""
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, dict):
        text = str(value.get("secret") or "")
    return text.rstrip("\r\n").encode("utf-8")


def _sqs(session: Session) -> SQSClient:
    return cast("SQSClient", logged(redacting(session.create_client("sqs", config=_config()))))


def _secrets_manager(session: Session) -> SecretsManagerClient:
    client = session.create_client("secretsmanager", config=_config())
    return cast("SecretsManagerClient", logged(redacting(client)))


def _config() -> Config:
    """GitHub waits 10 seconds (facts A1), so a call gets two short attempts and not botocore's minutes."""
    from botocore.config import Config

    return Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2})
