"""Queue → one pass per environment. A failed environment fails alone; the others of the batch go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers
from aws_lambda_powertools.utilities.batch import SqsFifoPartialProcessor, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from qa_env import app
from qa_env.controller import Controller
from qa_env.errors import Rejected
from qa_env.model import Change, Slug

logger = Logger()
copy_config_to_registered_loggers(logger, include={"qa_env"})


LONGEST_WAIT = 300  # seconds


def handler(
    event: dict[str, Any],
    context: Any,
    *,
    controller: Controller | None = None,
    postpone: Callable[[str, int], None] = app.postpone,
) -> Any:
    """Answers with the messages that must come again (`ReportBatchItemFailures`)."""
    processor = SqsFifoPartialProcessor(skip_group_on_error=True)
    processor.raise_on_entire_batch_failure = False  # the dead-letter queue has the alarm (facts C5)
    return process_partial_response(
        event=event,
        record_handler=partial(_handle_or_postpone, controller or app.controller(), postpone),
        processor=processor,
        context=context,
    )


def _handle_or_postpone(
    controller: Controller, postpone: Callable[[str, int], None], record: SQSRecord
) -> None:
    """A failed message comes back after 2, 4, 8 … seconds, not after the queue's long visibility timeout.

    A FIFO queue knows no delay per message (facts B4), and all of the group waits for this one.
    """
    try:
        _handle(controller, record)
    except Exception:
        attempts = int(record.attributes.approximate_receive_count)
        postpone(record.receipt_handle, min(2**attempts, LONGEST_WAIT))
        raise


def _handle(controller: Controller, record: SQSRecord) -> None:
    message = json.loads(record.body)
    slug = Slug(message["slug"])
    logger.append_keys(environment=slug)
    if "change" in message:
        change = Change.from_dict(message["change"])
        logger.info("a change", delivery=change.delivery, github_event=change.event)
        try:
            controller.request(change)
        except Rejected as error:
            logger.warning("a change that nothing covers: %s", error)
            return
    env = controller.reconcile(slug)
    logger.info("a pass", phase=env.phase if env else "gone", why=message.get("why", "change"))
