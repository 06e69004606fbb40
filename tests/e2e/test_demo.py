"""What a stranger types first."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.test_docs import ROOT

pytestmark = pytest.mark.e2e


def test_the_demo_ends_well() -> None:
    """`make demo`: from push to delete, and nothing is left."""
    ran = subprocess.run(
        [sys.executable, "-m", "local.demo"],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    assert "what is left: nothing" in ran.stdout
