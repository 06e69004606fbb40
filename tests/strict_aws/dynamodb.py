"""DynamoDB: moto forgets idempotency tokens."""

from __future__ import annotations

from typing import Any

from tests.strict_aws.call import Answer, Call, Rule


class DynamoDB:
    def __init__(self) -> None:
        self._tokens: dict[str, dict[str, Any]] = {}
        self.rules: dict[str, Rule] = {"TransactWriteItems": self._transact}

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
