"""What is logged of calls to AWS."""

from __future__ import annotations

import logging

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

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


def test_a_call_that_nobody_answered_is_told_with_the_kind_of_error(lines: pytest.LogCaptureFixture) -> None:
    """Also a read: which call hangs is what somebody looks for. The error itself may say anything."""
    config = Config(connect_timeout=1, retries={"total_max_attempts": 1})
    nobody = {"endpoint_url": "http://127.0.0.1:9", "region_name": "eu-west-1", "config": config}
    sqs = calls.logged(boto3.client("sqs", aws_access_key_id="x", aws_secret_access_key="x", **nobody))
    with pytest.raises(EndpointConnectionError):
        sqs.get_queue_attributes(QueueUrl="http://127.0.0.1:9/1/one")
    (record,) = lines.records
    assert (record.levelname, record.getMessage()) == (
        "INFO",
        "sqs:GetQueueAttributes EndpointConnectionError",
    )
    assert "127.0.0.1" not in str(vars(record))
