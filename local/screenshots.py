"""`make screenshots`: the pictures of the README, of a local stack with environments in several states."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser

from local import git
from local.chromium import chromium
from local.run import TROUBLE, interrupted_by_signal
from local.stack import LOCAL, ROOT, Options, Stack

IMAGES = ROOT / "docs" / "images"
PATIENCE = 90  # seconds for an environment to reach its state
# Branch → (files of its commit, the state it is shown in). The long build goes on while pictures are taken.
STORY: Mapping[str, tuple[Mapping[str, str], str]] = {
    "qa/checkout-redesign": ({"GREETING": "A new checkout"}, "ready"),
    "qa/search-filters": ({"GREETING": "Filters in the search"}, "ready"),
    "qa/point-campaign": ({"FAIL_MIGRATE": "yes"}, "failed"),
    "qa/gift-wrapping": ({"BUILD_SECONDS": "600"}, "building"),
}


@dataclass(frozen=True)
class Picture:
    """One file in docs/images/: which page, in which language, colours and window."""

    name: str
    url: str
    language: str = "en-GB"
    colours: Literal["light", "dark"] = "light"
    width: int = 1200
    height: int = 760


def pictures(stack: Stack) -> list[Picture]:
    """What the README shows."""
    home = stack.info["page_url"]
    curtain = about(stack, "qa/gift-wrapping")["url"]
    return [
        Picture("list", home, height=620),
        Picture("detail", f"{home}environments/qa-point-campaign", height=1100),
        Picture("curtain", curtain, height=700),
        Picture("list-ja-phone", home, "ja-JP", "dark", width=390, height=800),
    ]


def take(browser: Browser, picture: Picture) -> Path:
    """Open, let it come to rest, and save."""
    context = browser.new_context(
        viewport={"width": picture.width, "height": picture.height},
        locale=picture.language,
        color_scheme=picture.colours,
    )
    try:
        page = context.new_page()
        page.goto(picture.url)
        page.locator("main").wait_for()
        file = IMAGES / f"{picture.name}.png"
        page.screenshot(path=file)
        return file
    finally:
        context.close()


def prepare(stack: Stack, clone: Path) -> None:
    """Push everything and wait until each environment is in its state."""
    git.git(clone.parent, "clone", "--quiet", stack.info["git_remote"], str(clone))
    for branch, (files, state) in STORY.items():
        git.git(clone, "checkout", "--quiet", "-B", branch, "origin/main")
        for name, text in files.items():
            (clone / name).write_text(text + "\n", "utf-8")
        git.git(clone, "add", "--all")
        git.git(clone, "commit", "--quiet", "--message", "A change")
        git.git(clone, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
        _wait(stack, branch, state)


def about(stack: Stack, branch: str) -> dict[str, Any]:
    """What the page's API says of an environment; empty while there is none."""
    url = f"{stack.info['page_url']}api/v1/environments/{branch.replace('/', '-')}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return dict(json.loads(answer.read()))
    except OSError:
        return {}


def _wait(stack: Stack, branch: str, state: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while about(stack, branch).get("state") != state:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{branch} is not {state} after {PATIENCE} s; see {stack.info['logs']}")
        time.sleep(0.25)


def main() -> int:
    """0 when all pictures were taken."""
    interrupted_by_signal()
    IMAGES.mkdir(parents=True, exist_ok=True)
    try:
        with Stack.start(Options(name="screenshots")) as stack:
            prepare(stack, stack.directory / "run" / "screenshots")
            with chromium() as browser:
                for picture in pictures(stack):
                    print(take(browser, picture).relative_to(ROOT))
    except KeyboardInterrupt:
        return 130
    except TROUBLE as error:
        print(f"This went wrong: {error}\nlogs are in {LOCAL / 'screenshots' / 'logs'}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
