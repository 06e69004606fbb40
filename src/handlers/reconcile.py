"""Queue → one pass per environment. A failed environment fails alone; the others of the batch go on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers
from aws_lambda_powertools.utilities.batch import SqsFifoPartialProcessor, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from qa_env import app, runtime, trace
from qa_env.controller import BRANCH, Controller
from qa_env.errors import Rejected
from qa_env.model import Change, Orphan, Slug, State
from qa_env.watch import NOT_SETTLED

logger = Logger()
copy_config_to_registered_loggers(logger, include={"qa_env"})


LONGEST_WAIT = 300  # seconds
PASSES = 3  # tries of a pass that breaks, before the tick takes over
HOLD = 150  # seconds until a message comes again whose function died: a little more than its timeout
TICKS = 120  # seconds after which a tick's message says nothing new: younger ones stand behind it

Looked = dict[Slug, int]
"""Environment → when the message of its last whole pass was received: milliseconds, by the queue's clock."""

_looked: Looked = {}  # by this sandbox


class LookAgain(Exception):
    """This message comes again: nothing else would wake a teardown for its second look but the tick.

    Whoever pushes meanwhile waits behind it for what must end first anyway.
    """


def handler(
    event: dict[str, Any],
    context: Any,
    *,
    controller: Controller | None = None,
    postpone: Callable[[str, int], None] = runtime.postpone,
    looked: Looked | None = None,
) -> Any:
    """Answers with the messages that must come again (`ReportBatchItemFailures`)."""
    if controller is None:
        controller, looked = app.controller(), _looked
    handle = partial(_handle_or_postpone, controller, postpone, {} if looked is None else looked)
    processor = SqsFifoPartialProcessor(skip_group_on_error=True)
    processor.raise_on_entire_batch_failure = False  # the dead-letter queue has the alarm (facts C5)
    return process_partial_response(
        event=event,
        record_handler=handle,
        processor=processor,
        context=context,
    )


def _handle_or_postpone(
    controller: Controller, postpone: Callable[[str, int], None], looked: Looked, record: SQSRecord
) -> None:
    """A failed message comes back after 2, 4, 8 … seconds, not after the queue's long visibility timeout.

    A FIFO queue knows no delay per message (facts B4), and all of the group waits for this one. So a
    change comes again until it is written down or in the dead-letter queue, but a pass only a few times:
    the tick makes another one anyway, and the push that repairs the branch must not stand behind them,
    nor behind all the ticks of the time in which passes broke or killed their function.

    Events come in bursts: a wake-up that was sent before a pass began which is over now says nothing new.
    """
    logger.append_keys(environment=record.attributes.message_group_id)  # known before the body is read
    attempts = int(record.attributes.approximate_receive_count)
    hold = partial(_is_held, postpone, record.receipt_handle)
    hold(HOLD)
    try:
        message = json.loads(record.body)
        slug = Slug(message["slug"])
        wanted = _request(controller, message)
    except Exception:
        logger.exception("a message that cannot be written down")
        hold(min(2**attempts, LONGEST_WAIT))
        raise
    sent = int(record.attributes.sent_timestamp)
    age = controller.clock() - sent / 1000
    if not wanted or (message.get("why") == NOT_SETTLED and age > TICKS):
        return
    if _is_wake(message) and sent < looked.get(slug, 0):
        logger.info("looked at since", why=message.get("why"))
        return
    if attempts > PASSES:
        logger.warning("left to the tick")  # its function died, or the change was long not to be written
        return
    with trace.about("pass", environment=slug):
        is_whole = _reconcile(controller, hold, attempts, slug, message)
    if is_whole:
        looked[slug] = int(record.attributes.approximate_first_receive_timestamp)


def _is_held(postpone: Callable[[str, int], None], receipt: str, seconds: int) -> bool:
    """Let the message come back after so many seconds if it fails; False if SQS does not take that.

    Nothing fails with it: a message that failed now would come back after the queue's visibility timeout.
    """
    try:
        postpone(receipt, seconds)
    except Exception:
        logger.warning("a message that cannot be held", exc_info=True, seconds=seconds)
        return False
    return True


def _is_wake(message: dict[str, Any]) -> bool:
    """Is it a reason to look and nothing else?"""
    return "change" not in message and "orphan" not in message


def _request(controller: Controller, message: dict[str, Any]) -> bool:
    """Write down the change or the find, if the message has one; False if nothing covers it."""
    if "orphan" in message:
        controller.adopt(Orphan.from_dict(message["orphan"]))
    if "change" not in message:
        return True
    change = Change.from_dict(message["change"])
    logger.info("a change", delivery=change.delivery, github_event=change.event)
    try:
        controller.request(change)
    except Rejected as error:
        logger.warning("a change that nothing covers: %s", error)
        return False
    return True


def _reconcile(
    controller: Controller,
    hold: Callable[[int], bool],
    attempts: int,
    slug: Slug,
    message: dict[str, Any],
) -> bool:
    """One pass; False if it looked at nothing, or broke and does not come again.

    A message that could not come again soon is left to the tick: its group would wait for it for minutes.
    """
    try:
        env = controller.reconcile(slug)
    except Exception:
        if attempts < PASSES and hold(2**attempts):
            raise
        logger.exception("a pass keeps failing")  # an alarm counts these words
        return False
    logger.info(
        "a pass",
        phase=env.phase if env else "gone",
        blocked=env is not None and env.needs_a_person,  # an alarm counts this
        why=message.get("why", "change"),
    )
    wait = controller.again_in(env) if env and attempts < PASSES else 0
    if wait and hold(math.ceil(wait)):
        raise LookAgain(f"looked once: again in {math.ceil(wait)} s")
    branch = env.conditions.get(BRANCH) if env else None
    return env is None or (branch is not None and branch.state is State.READY)
