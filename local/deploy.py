"""`template.yaml` for MiniStack: each function's artefact is built, uploaded, and named in the template.

What `sam build` and `sam package` do for AWS, except that packages are usually left out of the artefacts:
MiniStack runs functions with the interpreter of this virtual environment, which has them. What an artefact
has comes first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

from scripts import build

TEMPLATE = Path(__file__).parent.parent / "template.yaml"
BUCKET = "qa-env-code"


def package(s3: Any, region: str, blueprints: Path, workspace: Path, *, packages: bool) -> str:
    """The URL of the template with every function's code, all of it in S3.

    CloudFormation takes 51,200 bytes in the call itself and a megabyte from a bucket.
    """
    runtime = build.Runtime.here() if packages else None
    template: dict[str, Any] = yaml_parse(TEMPLATE.read_text("utf-8"))
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": region})
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            target = workspace / name
            build.assemble(name, target, blueprints, runtime)
            archive = build.zipped(target, workspace / f"{name}.zip")
            s3.put_object(Bucket=BUCKET, Key=archive.name, Body=archive.read_bytes())
            resource["Properties"]["CodeUri"] = f"s3://{BUCKET}/{archive.name}"
    s3.put_object(Bucket=BUCKET, Key=TEMPLATE.name, Body=json.dumps(template, default=str).encode())
    return f"https://s3.{region}.amazonaws.com/{BUCKET}/{TEMPLATE.name}"
