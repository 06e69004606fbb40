"""CloudWatch Logs where they are read: prefixes, streams, terms and pages, of which moto knows only some."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

PAGE = 3


@dataclass
class Logs:
    """Log groups in memory; `answer` stands in for `logs:FilterLogEvents`."""

    groups: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def write(self, group: str, stream: str, message: str, at: float) -> None:
        """A line, at a time in seconds since the epoch."""
        lines = self.groups[group]
        event = {"logStreamName": stream, "message": message, "timestamp": int(at * 1000)}
        lines.append({**event, "eventId": f"{group}-{len(lines)}"})

    def answer(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        assert not {"logStreamNames", "logStreamNamePrefix"} <= params.keys(), "AWS refuses both"
        if params["logGroupName"] not in self.groups:
            said = {"Code": "ResourceNotFoundException", "Message": "The specified log group does not exist."}
            raise ClientError({"Error": said}, operation)
        found = [one for one in self.groups[params["logGroupName"]] if _is_wanted(one, params)]
        start = int(params.get("nextToken", 0))
        more = {"nextToken": str(start + PAGE)} if len(found) > start + PAGE else {}
        return {"events": found[start : start + PAGE], **more}


def _is_wanted(event: dict[str, Any], params: dict[str, Any]) -> bool:
    term = params.get("filterPattern", '""')
    assert term[0] == term[-1] == '"', "other patterns are not known here"
    return (
        event["timestamp"] >= params["startTime"]
        and event["logStreamName"].startswith(params.get("logStreamNamePrefix", ""))
        and event["logStreamName"] in params.get("logStreamNames", [event["logStreamName"]])
        and term.strip('"') in event["message"]
    )
