"""What is logged of calls to AWS."""

from __future__ import annotations

import logging

import pytest
from botocore.exceptions import ClientError

from qa_env import calls
from tests.strict_aws import strict_aws


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "qa_env.calls")
    return caplog


def test_changes_are_information_and_reads_for_debugging(lines: pytest.LogCaptureFixture) -> None:
    with strict_aws() as aws:
        sqs = calls.logged(aws.client("sqs"))
        url = sqs.create_queue(QueueName="one")["QueueUrl"]
        sqs.get_queue_attributes(QueueUrl=url)
    said = [(record.levelname, record.getMessage()) for record in lines.records]
    assert said == [("INFO", "sqs:CreateQueue done"), ("DEBUG", "sqs:GetQueueAttributes done")]


def test_an_error_is_its_code_and_nothing_that_was_given(lines: pytest.LogCaptureFixture) -> None:
    """A name, a password, a payload: what was sent may be anything."""
    with strict_aws() as aws:
        sqs = calls.logged(aws.client("sqs"))
        with pytest.raises(ClientError):
            sqs.send_message(QueueUrl="https://queue.amazonaws.com/1/none", MessageBody="what was sent")
    (record,) = lines.records
    assert "NonExistentQueue" in record.getMessage()
    assert "what was sent" not in str(vars(record))
