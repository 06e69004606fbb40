"""Cold starts of all functions from their artefacts: imports, what the handler works with, its clients.

    make bench        (PYTHONPATH=src:. python -m bench.cold [--json])

The bound is the same program with the same modules after pip: byte code that fits its sources. SAM's own
builder ships none, and what is compiled in place does not fit a zip file's times, so it would compile all of
it at each cold start.
"""

from __future__ import annotations

import statistics
import sys
from functools import partial
from pathlib import Path

from bench import built, report
from bench.built import Workshop
from bench.report import Goal, Result
from scripts.build import FUNCTIONS

ROUNDS = 11
OTHERS_ROUNDS = 5
COLUMNS = ("function", "artefact", "ms", "CPU ms", "of it imports", "peak MB")
ENVIRONMENT = {
    "QA_ENV_INSTALLATION": "qa-env",
    "QA_ENV_TABLE": "qa-env",
    "QA_ENV_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/qa-env.fifo",
    "QA_ENV_SECOND_LOOK_SECONDS": "20",
    "QA_ENV_DEPLOY_FUNCTION": "qa-env-deploy",
    "QA_ENV_DATASTORES_FUNCTION": "qa-env-datastores",
    "QA_ENV_PAGE_FUNCTION_ARN": "arn:aws:lambda:eu-west-1:123456789012:function:qa-env-page",
    "QA_ENV_WEBHOOK_URL": "https://webhook.example.com/",
    "QA_ENV_WEBHOOK_SECRET": "qa-env-webhook",
}
Median = dict[str, float]


def measure() -> Result:
    """The worker against its bounds, then the others for comparison."""
    with built.workshop() as shop:
        worker = shop.artefact("Reconcile")
        sides = {
            "as deployed": worker,
            "after pip": shop.installed(worker),
            "as SAM ships it": shop.without_byte_code(worker),
        }
        found = _medians(shop, {name: ("Reconcile", where) for name, where in sides.items()}, ROUNDS)
        others = {name: (name, shop.artefact(name)) for name in FUNCTIONS if name != "Reconcile"}
        rows = [_row("Reconcile", name, one) for name, one in found.items()]
        beside = _medians(shop, others, OTHERS_ROUNDS)
        rows += [_row(name, "as deployed", one) for name, one in beside.items()]
        goal = Goal("worker cold", found["as deployed"]["ms"], found["after pip"]["ms"], "ms", 1.1)
    return Result("Cold starts", COLUMNS, rows, [goal], shop.notes)


def _medians(shop: Workshop, sides: dict[str, tuple[str, Path]], rounds: int) -> dict[str, Median]:
    measures = {name: partial(_start, shop, *side) for name, side in sides.items()}
    taken = built.interleaved(measures, rounds)
    return {
        name: {key: statistics.median(one[key] for one in each) for key in each[0]}
        for name, each in taken.items()
    }


def _start(shop: Workshop, function: str, where: Path) -> Median:
    with built.started(shop.interpreter, where, "start", [function], ENVIRONMENT) as running:
        kept = {key: float(running.first[key]) for key in ("cpu", "init", "peak")}
        return {"ms": running.milliseconds, **kept}


def _row(function: str, artefact: str, one: Median) -> report.Row:
    values = (function, artefact, one["ms"], one["cpu"], one["init"], one["peak"])
    return dict(zip(COLUMNS, values, strict=True))


if __name__ == "__main__":
    sys.exit(report.main(measure))
