"""EventBridge: moto takes events that AWS does not."""

from __future__ import annotations

import json
from typing import Any

from tests.strict_aws.call import Answer, Call, Rule

SIZE_MAX = 1024 * 1024  # bytes of all entries together; BC:events.PutEvents


class Events:
    def __init__(self) -> None:
        self.rules: dict[str, Rule] = {"PutEvents": self._put}

    def _put(self, call: Call) -> Answer:
        """Entries fail one by one. BC:events.PutEvents; `aws.` is AWS's own, facts D2-18."""
        entries = call.params["Entries"]
        if sum(_size(entry) for entry in entries) >= SIZE_MAX:
            raise call.error(
                "ValidationException", "Total size of the entries in the request is over the limit."
            )
        good = [entry for entry in entries if not _complaint(entry)]
        taken = iter(call.proceed(Entries=good)["Entries"] if good else [])
        answers = [_complaint(entry) or next(taken) for entry in entries]
        return {"FailedEntryCount": sum("ErrorCode" in one for one in answers), "Entries": answers}


def _complaint(entry: dict[str, Any]) -> dict[str, str]:
    for name in ("Source", "DetailType", "Detail"):
        if not entry.get(name):
            said = f"Parameter {name} is not valid. Reason: {name} is a required argument."
            return {"ErrorCode": "InvalidArgument", "ErrorMessage": said}
    if entry["Source"].startswith("aws."):
        said = f"Not authorized for the source {entry['Source']}."
        return {"ErrorCode": "NotAuthorizedForSourceException", "ErrorMessage": said}
    if not _is_object(entry["Detail"]):
        return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
    return {}


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _size(entry: dict[str, Any]) -> int:
    texts = [entry.get(name, "") for name in ("Source", "DetailType", "Detail")]
    return sum(len(text.encode()) for text in [*texts, *entry.get("Resources", [])])
