"""Addresses of AWS's console, where the reason of something can be read. Pure text, nothing is called."""

from __future__ import annotations

import re
from urllib.parse import quote

from qa_env import naming
from qa_env.model import Slug

HOUR = 3600
_SAFE = re.compile(r"[A-Za-z0-9_.-]")


def console(region: str) -> str:
    """The console's host in the region's partition."""
    if region.startswith("cn-"):
        return f"https://{region}.console.amazonaws.cn"
    if region.startswith("us-gov-"):
        return "https://console.amazonaws-us-gov.com"
    return f"https://{region}.console.aws.amazon.com"


def pipeline(region: str, slug: Slug) -> str:
    """The pipeline with its stages."""
    name = quote(naming.pipeline(slug), safe="")
    return f"{console(region)}/codesuite/codepipeline/pipelines/{name}/view?region={region}"


def service_events(region: str, cluster: str, slug: Slug, role: str) -> str:
    """What ECS says of the service: placements, failed health checks, circuit breaker."""
    name = quote(naming.service(slug, role), safe="")
    place = f"clusters/{quote(cluster, safe='')}/services/{name}/events"
    return f"{console(region)}/ecs/v2/{place}?region={region}"


def logs(region: str, log_group: str, slug: Slug, hours: int = 3) -> str:
    """A Logs Insights query over the role's log group, filtered to the environment.

    The console reads the query out of the fragment, in a notation of its own: `~(name~'text…)` with
    `*hh` for what is not plain, and the whole URL-encoded with `$` for `%`.
    """
    streams = naming.log_stream_prefix(slug)
    query = f"fields @timestamp, @message\n| filter @logStream like /^{streams}\\//\n| sort @timestamp desc"
    detail = (
        f"~(end~0~start~-{hours * HOUR}~timeType~'RELATIVE~unit~'seconds"
        f"~editorString~'{_starred(query)}~source~(~'{_starred(log_group)}))"
    )
    fragment = quote(f"?queryDetail={detail}", safe="~()*'").replace("%", "$")
    return f"{console(region)}/cloudwatch/home?region={region}#logsV2:logs-insights{fragment}"


def _starred(text: str) -> str:
    return "".join(c if _SAFE.match(c) else _code(c) for c in text)


def _code(character: str) -> str:
    code = ord(character)
    return f"*{code:02x}" if code < 256 else f"**{code:04x}"
