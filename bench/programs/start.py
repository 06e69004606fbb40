"""Starts a function as its first event does: imports its handler, makes what that works with and its clients.

start.py FUNCTION
"""

import importlib
import sys
import time

name = sys.argv[1].lower()
importlib.import_module(f"handlers.{name}")
imported = time.process_time()

match name:
    case "webhook":
        from botocore.session import Session

        from qa_env import receiver

        receiver.build()
        session = Session()
        receiver._secrets_manager(session)
        receiver._sqs(session)
    case "reconcile" | "audit":
        from qa_env import app, runtime

        app.controller() if name == "reconcile" else app.audit()
        runtime.client("sqs")
    case "datastores":
        from qa_env import datastores, runtime

        datastores.Datastores(runtime.secret_reader())
        runtime.client("secretsmanager")
    case _:
        from qa_env import runtime

        runtime.watch()
        extra = {"deploy": ["codepipeline"], "sweep": ["cloudwatch"]}
        for service in ["sqs", *extra.get(name, [])]:
            runtime.client(service)
        if name in ("sweep", "page"):
            from qa_env import blueprint

            blueprint.built_in()

used = time.process_time()

import json  # noqa: E402 - after what is timed
from pathlib import Path  # noqa: E402 - the same

with Path("/proc/self/status").open(encoding="ascii") as status:  # getrusage would count the parent's
    peak = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
loaded = sorted(name for name in sys.modules if "." not in name)
print(json.dumps({"init": imported * 1000, "cpu": used * 1000, "peak": peak, "loaded": loaded}))
