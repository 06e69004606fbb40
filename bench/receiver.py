"""What a person waits for first: a signed delivery → 202, by the webhook function as it is deployed.

    make bench        (PYTHONPATH=src:. python -m bench.receiver [--json])

Cold is from the start of the process until the answer. The bound is a program with bare boto3 clients, with
the same interpreter, packages and byte code of the same kind, and the same endpoint: it verifies, parses and
sends one message. It reads the secret once, as any receiver must; the row without shows what that costs. Ours
reads it twice, because a rotation leaves two versions, logs a line and answers 202 with the environment.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import statistics
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from bench import built, report
from bench.built import Started
from bench.endpoint import endpoint
from bench.report import Goal, Result
from tests.making import event

SECRET = "only-for-the-bench"  # noqa: S105 - of a throw-away endpoint
SIZES = {"7 KB": 7_000, "30 KB": 30_000, "3 MB": 3_000_000}
COLD_ROUNDS = 15
WARM = {"7 KB": (200, 5), "30 KB": (200, 5), "3 MB": (80, 1)}  # rounds, and how many in each
SIDES = ("ours", "bare-with-secret", "bare")
COLUMNS = ("side", "measured", "body", "p50 ms", "p99 ms", "CPU ms", "CPU p99", "of it before", "peak MB")


def measure() -> Result:
    """Cold, then warm, ours and bare in turns."""
    with ExitStack() as stack:
        shop = stack.enter_context(built.workshop())
        artefact = shop.artefact("Webhook")
        sources = shop.without_byte_code(artefact)
        packages = shop.packages({"boto3"}, {"sqs", "secretsmanager"})
        places = {"ours": artefact, "bare-with-secret": packages, "bare": packages}
        written = shop.directory / "deliveries"
        write_deliveries(written)
        environment = {
            "AWS_ENDPOINT_URL": stack.enter_context(endpoint(SECRET)),
            "BENCH_SECRET": SECRET,
            "QA_ENV_QUEUE_URL": f"https://sqs.{built.REGION}.amazonaws.com/123456789012/qa-env.fifo",
            "QA_ENV_WEBHOOK_SECRET": "qa-env-webhook",
            "POWERTOOLS_SERVICE_NAME": "qa-env",
        }

        def receiving(where: Path, side: str) -> Any:
            return built.started(shop.interpreter, where, "receive", [side, str(written)], environment)

        sides = {side: partial(receiving, places[side], side) for side in SIDES}
        sides["ours, no byte code"] = partial(receiving, sources, "ours")
        cold = built.interleaved({name: partial(_cold, begin) for name, begin in sides.items()}, COLD_ROUNDS)
        running = {side: stack.enter_context(receiving(places[side], side)) for side in SIDES[:2]}
        warm = _warm(running)
    return _result(cold, warm, shop.notes)


def write_deliveries(directory: Path) -> None:
    """A push of each size, as the Function URL hands it on; the cold one has the usual 7 KB."""
    directory.mkdir()
    for name, size in {"cold": 7_000, **{_file(name): size for name, size in SIZES.items()}}.items():
        directory.joinpath(f"{name}.json").write_text(json.dumps(delivery(size)), "utf-8")


def delivery(size: int) -> dict[str, Any]:
    """A signed push with so many commits that its body has about `size` bytes."""
    written = event("push-create")
    one = {
        "id": "e222c55103b27498bcf2076a9a063988e4fec6b4",
        "message": "Show the price with tax\n\nAsked for by the shop in Ōsaka.",
        "author": {"name": "花子", "email": "hanako@example.com", "username": "hanako"},
        "added": [f"app/models/price_{number}.rb" for number in range(4)],
        "modified": [f"app/views/prices/{number}.html.erb" for number in range(8)],
    }
    payload = written["body"] | {"commits": []}
    missing = size - len(json.dumps(payload))
    payload["commits"] = [one] * max(0, round(missing / len(json.dumps([one]))))
    body = json.dumps(payload)
    signature = hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()
    headers = {name.lower(): value for name, value in written["headers"].items()}
    return {
        "version": "2.0",
        "headers": headers | {"x-hub-signature-256": f"sha256={signature}"},
        "requestContext": {"http": {"method": "POST", "path": "/"}},
        "body": body,
        "isBase64Encoded": False,
    }


def _file(name: str) -> str:
    return name.replace(" ", "")


def _cold(begin: Any) -> dict[str, float]:
    with begin() as running:
        _taken(running.first)
        values = ((key, float(value)) for key, value in running.first.items())
        return {"ms": running.milliseconds, **dict(values)}


def _warm(running: Mapping[str, Started]) -> dict[tuple[str, str], dict[str, Any]]:
    """(side, body) → times and peak; the sizes in ascending order, so that a peak is that size's."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for body, (rounds, count) in WARM.items():
        for round_ in range(rounds + 1):
            for side, one in running.items():
                answer = one.ask(f"{_file(body)} {count}")
                _taken(answer)
                kept = found.setdefault((side, body), {"times": [], "used": []})
                kept["peak"] = answer["peak"]
                if round_:
                    kept["times"] += answer["times"]
                    kept["used"] += answer["used"]
    return found


def _taken(answer: Mapping[str, Any]) -> None:
    if answer["status"] != 202:
        raise RuntimeError(f"a delivery was answered with {answer['status']}")


def _result(
    cold: Mapping[str, list[dict[str, float]]],
    warm: Mapping[tuple[str, str], dict[str, Any]],
    notes: list[str],
) -> Result:
    rows = [*_cold_rows(cold), *_warm_rows(warm)]
    by = {(row["side"], row["measured"], row["body"]): row for row in rows}

    def goal(figure: str, key: str, unit: str, reach: float, measured: str, body: str) -> Goal:
        ours, bound = (by[side, measured, body][key] for side in SIDES[:2])
        return Goal(figure, ours, bound, unit, reach)

    return Result(
        "The receiver: a signed push → 202",
        COLUMNS,
        rows,
        [
            goal("cold", "p50 ms", "ms", 1.15, "cold", "7 KB"),
            *(goal(f"warm, {body}, p50", "p50 ms", "ms", 1.3, "warm", body) for body in SIZES),
            *(goal(f"warm, {body}, p99", "p99 ms", "ms", 1.3, "warm", body) for body in SIZES),
            *(goal(f"warm, {body}, p99 of the CPU", "CPU p99", "ms", 1.3, "warm", body) for body in SIZES),
            goal("memory after the first delivery", "peak MB", "MB", 1.2, "cold", "7 KB"),
            goal("memory after 3 MB", "peak MB", "MB", 1.2, "warm", "3 MB"),
        ],
        [
            *notes,
            "“Of it before” is the processor's time before the delivery: what Lambda calls Init.",
            "On a busy machine p99 is how long a process waits for a processor; that of the CPU is ours.",
        ],
    )


def _cold_rows(cold: Mapping[str, list[dict[str, float]]]) -> Iterator[report.Row]:
    for side, taken in cold.items():
        median = {key: statistics.median(one[key] for one in taken) for key in taken[0]}
        times, used = _centiles([one["ms"] for one in taken]), _centiles([one["cpu"] for one in taken])
        row = (side, "cold", "7 KB", *times, *used, median["init"], median["peak"])
        yield dict(zip(COLUMNS, row, strict=True))


def _warm_rows(warm: Mapping[tuple[str, str], dict[str, Any]]) -> Iterator[report.Row]:
    for (side, body), one in warm.items():
        row = (side, "warm", body, *_centiles(one["times"]), *_centiles(one["used"]), "", one["peak"])
        yield dict(zip(COLUMNS, row, strict=True))


def _centiles(values: list[float]) -> tuple[float, float]:
    """The fiftieth and the ninety-ninth."""
    cut = statistics.quantiles(values, n=100, method="inclusive")
    return cut[49], cut[98]


if __name__ == "__main__":
    sys.exit(report.main(measure))
