"""DynamoDB: moto forgets idempotency tokens, and its pages are as large as AWS's: 1 MB."""

from __future__ import annotations

from typing import Any

from tests.strict_aws.call import Answer, Call, Rule


class DynamoDB:
    """Controls: `page_size`."""

    def __init__(self) -> None:
        self.page_size: int | None = None
        """Items after which a page is full, for tests that cannot make 1 MB of them. BC:dynamodb.Query."""
        self._tokens: dict[str, dict[str, Any]] = {}
        self.rules: dict[str, Rule] = {
            "TransactWriteItems": self._transact,
            "Query": self._read,
            "Scan": self._read,
        }

    def _transact(self, call: Call) -> Answer:
        """A repeated token changes nothing; with other items it is refused. Facts B5-1, D2-16."""
        token = call.params.get("ClientRequestToken")
        if token is None:
            return call.proceed()
        earlier = self._tokens.get(token)
        if earlier is not None and earlier != call.params:
            raise call.error(
                "IdempotentParameterMismatchException", "The token was used with other parameters"
            )
        if earlier is not None:
            return {}
        answer = call.proceed()
        self._tokens[token] = call.params
        return answer

    def _read(self, call: Call) -> Answer:
        """As large a page as fits, whatever the limit asked for."""
        if self.page_size is None:
            return call.proceed()
        return call.proceed(Limit=min(self.page_size, call.params.get("Limit", self.page_size)))
