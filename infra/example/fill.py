"""Fill blueprint.yaml with the outputs of the stack: `aws cloudformation describe-stacks` on standard input.

aws cloudformation describe-stacks --stack-name stg | python infra/example/fill.py > blueprints/shop.yaml
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template

BLUEPRINT = Path(__file__).with_name("blueprint.yaml")


def filled(outputs: Mapping[str, str]) -> str:
    """The blueprint; KeyError names an output that the stack lacks."""
    return Template(BLUEPRINT.read_text("utf-8")).substitute(outputs)


def main() -> None:
    """The outputs of the one stack that was described."""
    (stack,) = json.load(sys.stdin)["Stacks"]
    outputs = {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])}
    try:
        print(filled(outputs), end="")
    except KeyError as missing:
        sys.exit(f"stack {stack['StackName']} has no output {missing}")


if __name__ == "__main__":
    main()
