"""What CodePipeline refuses: requests against the botocore model, pipelines against their structure.

botocore checks types, required members and minimum lengths before it sends; maxima, patterns and enumerations
only the service does (facts D2-15). So the stand-in does, from the same model, for every operation at once.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StringShape, StructureShape

from local.codepipeline.values import JSON, ActionFailed, ApiError

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "timestamp": (int, float, str),
    "list": (list,),
    "map": (dict,),
    "structure": (dict,),
}
VARIABLE = re.compile(r"#\{([^{}]*)\}")


@functools.cache
def model() -> ServiceModel:
    """The service model of the installed botocore: the authority on shapes (facts, header)."""
    return ServiceModel(Loader().load_service_model("codepipeline", "service-2"), "codepipeline")


def check_request(operation: str, params: JSON) -> None:
    """Raise `ValidationException` naming everything the model forbids."""
    shape = model().operation_model(operation).input_shape
    problems = list(_problems(shape, params, "")) if shape else []
    if problems:
        plural = "error" if len(problems) == 1 else "errors"
        text = f"{len(problems)} validation {plural} detected: {'; '.join(problems)}"
        raise ApiError("ValidationException", text)


def _problems(shape: Shape, value: Any, path: str) -> Iterator[str]:
    _check_type(shape, value, path)
    for rule in _broken(shape, value):
        yield f"Value {value!r} at '{path}' failed to satisfy constraint: {rule}"
    if isinstance(shape, StructureShape):
        yield from _member_problems(shape, value, path)
    elif isinstance(shape, ListShape):
        for number, item in enumerate(value, 1):
            yield from _problems(shape.member, item, f"{path}.{number}.member")
    elif isinstance(shape, MapShape):
        for key, item in value.items():
            yield from _problems(shape.key, key, f"{path}.key")
            yield from _problems(shape.value, item, f"{path}.{key}.member")


def _check_type(shape: Shape, value: Any, path: str) -> None:
    expected = TYPES.get(shape.type_name, (object,))
    if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
        raise ApiError("SerializationException", f"{path or 'The request'} must be a {shape.type_name}")


def _member_problems(shape: StructureShape, value: JSON, path: str) -> Iterator[str]:
    for name, member in shape.members.items():
        inner = f"{path}.{name}".lstrip(".")
        if value.get(name) is not None:
            yield from _problems(member, value[name], inner)
        elif name in shape.required_members:
            yield f"Value null at '{inner}' failed to satisfy constraint: Member must not be null"


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    """The constraints of one shape that a value breaks."""
    rules = shape.metadata
    size = value if shape.type_name == "integer" else len(value) if hasattr(value, "__len__") else None
    what = "have value" if shape.type_name == "integer" else "have length"
    if size is not None and size < rules.get("min", size):
        yield f"Member must {what} greater than or equal to {rules['min']}"
    if size is not None and size > rules.get("max", size):
        yield f"Member must {what} less than or equal to {rules['max']}"
    if "pattern" in rules and not re.fullmatch(rules["pattern"], value):
        yield f"Member must satisfy regular expression pattern: {rules['pattern']}"
    if isinstance(shape, StringShape) and shape.enum and value not in shape.enum:
        yield f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"


# --- The structure of a pipeline ----------------------------------------------------------------

PROVIDERS: dict[tuple[str, str], tuple[set[str], set[str], tuple[int, int], tuple[int, int]]] = {
    # (category, provider): required keys, further keys, input artifacts, output artifacts
    ("Source", "CodeStarSourceConnection"): (
        {"ConnectionArn", "FullRepositoryId", "BranchName"},
        {"DetectChanges", "OutputArtifactFormat"},
        (0, 0),
        (1, 1),
    ),
    ("Build", "CodeBuild"): (
        {"ProjectName"},
        {"EnvironmentVariables", "PrimarySource", "BatchEnabled", "CombineArtifacts"},
        (1, 5),
        (0, 5),
    ),
    ("Invoke", "Lambda"): ({"FunctionName"}, {"UserParameters"}, (0, 5), (0, 5)),
}
PROVIDERS["Test", "CodeBuild"] = PROVIDERS["Build", "CodeBuild"]


def normalise(declaration: JSON) -> JSON:
    """The declaration as GetPipeline gives it back: with the defaults AWS writes into it.

    Who compares what it wants with what GetPipeline says meets them (facts B3-10: diff before updating).
    """
    stages = [
        {**stage, "actions": [_with_defaults(a) for a in stage["actions"]]} for stage in declaration["stages"]
    ]
    kind = declaration.get("pipelineType") or ("V2" if declaration.get("variables") else "V1")  # facts B3-4
    mode = declaration.get("executionMode", "SUPERSEDED")  # facts B3-9
    return {**declaration, "stages": stages, "pipelineType": kind, "executionMode": mode}


def _with_defaults(action: JSON) -> JSON:
    return {"runOrder": 1, "configuration": {}, "inputArtifacts": [], "outputArtifacts": [], **action}


def check_pipeline(declaration: JSON) -> None:
    """Refuse what AWS refuses, and what this stand-in cannot run. Expects a normalised declaration."""
    if ("artifactStore" in declaration) == ("artifactStores" in declaration):
        raise _structure("Pipeline must have either artifactStore or artifactStores, and not both")
    if declaration["executionMode"] != "SUPERSEDED":
        raise ApiError("ValidationException", "This stand-in runs executionMode SUPERSEDED only")
    if declaration["pipelineType"] == "V1" and declaration.get("variables"):
        raise _structure("Pipeline variables need pipelineType V2")  # facts B3-4
    _check_stages(declaration["stages"])
    _check_unique(declaration["stages"])
    available: set[str] = set()
    for stage in declaration["stages"]:
        for group in _groups(stage["actions"]):
            for action in group:
                _check_action(action, available)
            available |= {artifact["name"] for action in group for artifact in action["outputArtifacts"]}


def _check_stages(stages: list[JSON]) -> None:
    actions = [action for stage in stages for action in stage["actions"]]
    if not 2 <= len(stages) <= 50:  # facts B3-3
        raise _structure(
            f"Pipeline has {len(stages)} stage(s). There should be between 2 and 50 stages in a pipeline"
        )
    if len(actions) > 500:  # facts B3-3
        raise _structure(f"Pipeline has {len(actions)} actions. The maximum is 500")
    for number, stage in enumerate(stages):
        if not stage["actions"]:
            raise ApiError("InvalidStageDeclarationException", f"Stage '{stage['name']}' has no actions")
        if any((each["actionTypeId"]["category"] == "Source") != (number == 0) for each in stage["actions"]):
            raise _structure("Pipeline should start with a stage that only contains source actions")


def _check_unique(stages: list[JSON]) -> None:
    actions = [action for stage in stages for action in stage["actions"]]
    if twice := _twice(stage["name"] for stage in stages):
        raise ApiError("InvalidStageDeclarationException", f"Stage name '{twice}' is not unique")
    for stage in stages:
        if twice := _twice(action["name"] for action in stage["actions"]):
            raise _action(twice, "has a name that is not unique in its stage")
    if twice := _twice(artifact["name"] for action in actions for artifact in action["outputArtifacts"]):
        raise _structure(f"Output artifact '{twice}' is not unique")
    if twice := _twice(action["namespace"] for action in actions if "namespace" in action):
        raise _structure(f"Namespace '{twice}' is not unique")


def _check_action(action: JSON, available: set[str]) -> None:
    kind = action["actionTypeId"]
    rule = PROVIDERS.get((kind["category"], kind["provider"]))
    if rule is None or (kind["owner"], kind["version"]) != ("AWS", "1"):
        raise _action(action["name"], f"has a type this stand-in cannot run: {json.dumps(kind)}")
    required, further, inputs, outputs = rule
    given = set(action["configuration"])
    if missing := sorted(required - given):
        raise _action(action["name"], f"is missing required configuration {missing}")
    if unknown := sorted(given - required - further):
        raise _action(action["name"], f"contains unknown configuration {unknown}")
    for key, (low, high) in (("inputArtifacts", inputs), ("outputArtifacts", outputs)):
        if not low <= len(action[key]) <= high:
            raise _action(action["name"], f"must have between {low} and {high} {key}")
    if lost := sorted({artifact["name"] for artifact in action["inputArtifacts"]} - available):
        raise _action(action["name"], f"needs input artifacts no earlier action produces: {lost}")
    if kind["provider"] == "CodeBuild" and len(action["inputArtifacts"]) > 1 and "PrimarySource" not in given:
        raise _action(action["name"], "has several input artifacts and no PrimarySource")


def _groups(actions: list[JSON]) -> Iterator[list[JSON]]:
    for order in sorted({action["runOrder"] for action in actions}):
        yield [action for action in actions if action["runOrder"] == order]


def _twice(names: Iterable[str]) -> str | None:
    return next((name for name, times in Counter(names).items() if times > 1), None)


def _structure(message: str) -> ApiError:
    return ApiError("InvalidStructureException", message)


def _action(name: str, message: str) -> ApiError:
    return ApiError("InvalidActionDeclarationException", f"Action '{name}' {message}")


# --- Starting and running -----------------------------------------------------------------------


def check_start(declaration: JSON, params: JSON) -> None:
    """Overrides need a V2 pipeline and must fit what it declares (facts B3-4, B3-6)."""
    pins, variables = params.get("sourceRevisions") or [], params.get("variables") or []
    if (pins or variables) and declaration["pipelineType"] != "V2":
        raise ApiError("ValidationException", "Source revision and variable overrides need pipelineType V2")
    sources = {action["name"] for action in declaration["stages"][0]["actions"]}
    for pin in pins:
        if pin["actionName"] not in sources:
            raise ApiError("ValidationException", f"There is no source action '{pin['actionName']}'")
        if pin["revisionType"] != "COMMIT_ID":
            raise ApiError("ValidationException", "CodeStarSourceConnection takes revisionType COMMIT_ID")
    declared = {variable["name"] for variable in declaration.get("variables", [])}
    if unknown := sorted({variable["name"] for variable in variables} - declared):
        raise ApiError("ValidationException", f"The pipeline declares no variables {unknown}")


def resolve(configuration: Mapping[str, str], namespaces: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Replace `#{namespace.name}` textually: quotes in a value break the JSON around it (facts B3-7).

    The 1000 characters limit a value as declared; the model's `ResolvedActionConfigurationMap` has no
    maximum.
    """

    def value(match: re.Match[str]) -> str:
        namespace, _, name = match[1].partition(".")
        if name not in namespaces.get(namespace, {}):
            raise ActionFailed("ConfigurationError", f"The variable {match[0]} cannot be resolved")
        return namespaces[namespace][name]

    return {key: VARIABLE.sub(value, text) for key, text in configuration.items()}


def environment(configuration: Mapping[str, str], read_secret: Callable[[str], str]) -> dict[str, str]:
    """CodeBuild's `EnvironmentVariables`: a JSON array of name, value and type (facts B3-8)."""
    try:
        variables = json.loads(configuration.get("EnvironmentVariables", "[]"))
        types = {variable.get("type", "PLAINTEXT") for variable in variables}
        values = {str(variable["name"]): str(variable["value"]) for variable in variables}
        secret = [str(one["name"]) for one in variables if one.get("type") == "SECRETS_MANAGER"]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ActionFailed(
            "ConfigurationError", f"EnvironmentVariables is no array of variables: {error}"
        ) from error
    if types - {"PLAINTEXT", "SECRETS_MANAGER"}:
        raise ActionFailed(
            "ConfigurationError", "This stand-in resolves no variables of type PARAMETER_STORE"
        )
    return values | {name: _field(values[name], read_secret) for name in secret}


def _field(reference: str, read_secret: Callable[[str], str]) -> str:
    """`secret:field`, the secret by name or ARN: "Build specification reference" of CodeBuild."""
    head, *rest = reference.split(":")
    secret, field = (":".join([head, *rest[:6]]), rest[6:7]) if head == "arn" else (head, rest[:1])
    try:
        text = read_secret(secret)
        return str(json.loads(text)[field[0]]) if field else text
    except (LookupError, ValueError) as error:
        raise ActionFailed("JobFailed", f"Secrets Manager can't find {reference}") from error
