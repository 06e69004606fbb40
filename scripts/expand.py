"""Expand template.yaml as AWS would: linters that see only the SAM form overlook mistakes in what it becomes.

python -m scripts.expand > expanded.json
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

TEMPLATE = Path(__file__).resolve().parents[1] / "template.yaml"


def sam() -> dict[str, Any]:
    """The template as written, intrinsic functions in their long form."""
    return dict(yaml_parse(TEMPLATE.read_text("utf-8")))


def expanded(region: str = "eu-west-1") -> dict[str, Any]:
    """The template as CloudFormation executes it, as if the code had been uploaded."""
    template = sam()
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    session = boto3.Session(region_name=region)
    translator = Translator({}, Parser(), boto_session=session)
    return dict(translator.translate(sam_template=template, parameter_values={}))


if __name__ == "__main__":
    json.dump(expanded(), sys.stdout, indent=2)
