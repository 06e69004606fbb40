"""Takes deliveries as the webhook function does, or as barely as boto3 allows, and says how long it took.

    receive.py ours|bare|bare-with-secret DIRECTORY

Begins with DIRECTORY/cold.json, then one batch per line read, `NAME COUNT`, of DIRECTORY/NAME.json.
"""

import os
import sys
import time

ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where the function's log goes


def ours():
    from handlers.webhook import handler

    return lambda event: handler(event, None)["statusCode"]


def bare(reads_secret):
    import hashlib
    import hmac
    import json
    from functools import cache

    import boto3

    @cache
    def secret():
        if not reads_secret:
            return os.environ["BENCH_SECRET"].encode()
        client = boto3.client("secretsmanager")
        return client.get_secret_value(SecretId=os.environ["QA_ENV_WEBHOOK_SECRET"])["SecretString"].encode()

    sqs = cache(lambda: boto3.client("sqs"))

    def receive(event):
        body = event["body"].encode()
        digest = "sha256=" + hmac.new(secret(), body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(digest, event["headers"]["x-hub-signature-256"]):
            return 401
        payload = json.loads(body)
        change = {"repository": payload["repository"]["full_name"], "ref": payload["ref"]}
        sqs().send_message(
            QueueUrl=os.environ["QA_ENV_QUEUE_URL"],
            MessageBody=json.dumps(change | {"commit": payload["after"]}),
            MessageGroupId="qa-foo",
            MessageDeduplicationId=hashlib.sha256(os.urandom(8)).hexdigest(),
        )
        return 202

    return receive


side, directory = sys.argv[1:]
receive = ours() if side == "ours" else bare(side == "bare-with-secret")
imported = time.process_time()

import json  # noqa: E402 - after what is timed
from pathlib import Path  # noqa: E402 - the same


def peak():
    with Path("/proc/self/status").open(encoding="ascii") as status:  # getrusage would count the parent's
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def read(name):
    return Path(directory, f"{name}.json").read_text("utf-8")


status = receive(json.loads(read("cold")))
used = time.process_time()
print(
    json.dumps({"status": status, "init": imported * 1000, "cpu": used * 1000, "peak": peak()}), file=ANSWERS
)
for line in sys.stdin:
    name, count = line.split()
    text, times, used = read(name), [], []
    for _ in range(int(count)):
        event = json.loads(text)  # Lambda's runtime does this
        started, busy = time.perf_counter(), time.process_time()
        status = receive(event)
        times.append((time.perf_counter() - started) * 1000)
        used.append((time.process_time() - busy) * 1000)
    print(json.dumps({"status": status, "times": times, "used": used, "peak": peak()}), file=ANSWERS)
