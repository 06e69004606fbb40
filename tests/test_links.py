"""Links into AWS's console: what stands in them is what the console reads out of them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from qa_env import links
from qa_env.model import Slug

SLUG = Slug("qa-foo")
TOKYO = "ap-northeast-1"


def unstarred(text: str) -> str:
    """The console's notation read back: `*hh` and `**hhhh` are characters."""
    text = re.sub(r"\*\*([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), text)
    return re.sub(r"\*([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), text)


def test_logs_ask_for_the_environments_streams_of_the_roles_group() -> None:
    """A query over one log group, of the last hours, filtered by the stream's name."""
    url = links.logs(TOKYO, "/qa/shop/app", SLUG, hours=2)
    assert url.startswith(f"https://{TOKYO}.console.aws.amazon.com/cloudwatch/home?region={TOKYO}#logsV2:")
    fragment = urlsplit(url).fragment
    assert fragment.startswith("logsV2:logs-insights$3FqueryDetail$3D~(end~0~start~-7200~timeType~'RELATIVE")
    (query,) = re.findall(r"~editorString~'([^~]*)~", fragment)
    assert unstarred(query).splitlines() == [
        "fields @timestamp, @message",
        r"| filter @logStream like /^qa-foo\//",
        "| sort @timestamp desc",
    ]
    (group,) = re.findall(r"~source~\(~'([^)]*)\)", fragment)
    assert unstarred(group) == "/qa/shop/app"


@pytest.mark.parametrize("group", ["/qa/a b", "/qa/$~'()", "/qa/日本", "/qa/%25#"])
def test_nothing_in_a_name_ends_the_link(group: str) -> None:
    """Whatever a log group is called, it is one quoted text in a legal URL."""
    url = links.logs(TOKYO, group, SLUG)
    (quoted,) = re.findall(r"~source~\(~'([^)~']*)\)\)$", url)
    assert unstarred(quoted) == group
    assert re.fullmatch(r"[!-~]+", url)


def test_a_service_and_a_pipeline_have_their_pages() -> None:
    assert links.service_events(TOKYO, "qa/x", SLUG, "app") == (
        f"https://{TOKYO}.console.aws.amazon.com/ecs/v2/clusters/qa%2Fx/services/qa-foo-app/events?region={TOKYO}"
    )
    assert links.pipeline(TOKYO, SLUG) == (
        f"https://{TOKYO}.console.aws.amazon.com/codesuite/codepipeline/pipelines/qa-foo/view?region={TOKYO}"
    )


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-west-1", "https://eu-west-1.console.aws.amazon.com"),
        ("cn-north-1", "https://cn-north-1.console.amazonaws.cn"),
        ("us-gov-west-1", "https://console.amazonaws-us-gov.com"),
    ],
)
def test_every_partition_has_a_console_of_its_own(region: str, host: str) -> None:
    assert links.console(region) == host
