"""The tagging API: moto's knows neither listeners nor rules nor pipelines (facts D2-19), and forgets at once.

Sources: BC:resourcegroupstaggingapi.GetResources; "Services that support the Resource Groups Tagging API"
("The GetResources … operations support all resource types"). What was deleted is shown for hours, listeners
and rules among it: facts B4-6, aws/aws-sdk #676.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.strict_aws.call import Answer, Call, Refused, Rule

Source = Callable[[], Iterable[tuple[str, Mapping[str, str]]]]

SERVICES = ("codepipeline", "ecs", "elasticloadbalancing", "secretsmanager")
NOT_COVERED = {"TagsPerPage", "IncludeComplianceDetails", "ExcludeCompliantResources"}
UNTAGS = ("RemoveTags", "UntagResource")


class Tagging:
    """Controls: `lag`, `page_size`, and `offer` for whoever keeps tagged things outside this layer."""

    def __init__(self, *sources: Source) -> None:
        self.lag = 0
        """So many listings still show what was deleted, with the tags it had. Facts B4-6."""
        self.page_size = 100
        """BC: at most a hundred; a page may have fewer "even if there are more results still to return"."""
        self._sources = list(sources)
        self._known: dict[str, dict[str, str]] = {}  # every ARN ever seen with tags, and the last of them
        self._seen_gone: Counter[str] = Counter()
        self._rests: dict[str, list[Answer]] = {}  # what the page after each token begins with
        others = ("GetTagKeys", "GetTagValues", "TagResources", "UntagResources")
        self.rules: dict[str, Rule] = {"GetResources": self._get_resources}
        self.rules |= dict.fromkeys(others, self._not_covered)

    def offer(self, source: Source) -> None:
        """Show these as well: ARN and tags of all there are, asked for at every listing."""
        self._sources.append(source)

    def before(self, call: Call) -> None:
        """Note what there is, where this call could take something from it that is shown afterwards."""
        if not call.is_read and (self.lag or call.operation in UNTAGS):
            self._look()

    def _look(self) -> dict[str, dict[str, str]]:
        """Everything there is, and remember what of it is tagged."""
        now = {arn: dict(tags) for source in self._sources for arn, tags in source()}
        self._known |= {arn: tags for arn, tags in now.items() if tags}
        return now

    def _get_resources(self, call: Call) -> Answer:
        if wrong := NOT_COVERED & set(call.params):
            raise Refused(f"{call.name}: {', '.join(sorted(wrong))} is not covered by this layer")
        _check(call)
        if token := call.params.get("PaginationToken"):
            if token not in self._rests:
                raise call.error("PaginationTokenExpiredException", "The PaginationToken has expired")
            found = self._rests[token]
        else:
            found = [one for one in self._list() if _is_wanted(one, call.params)]
        size = min(call.params.get("ResourcesPerPage", self.page_size), self.page_size)
        following = ""
        if len(found) > size:
            following = f"page-{len(self._rests) + 1}"
            self._rests[following] = found[size:]
        return {"ResourceTagMappingList": found[:size], "PaginationToken": following}

    def _list(self) -> list[Answer]:
        """What is or was tagged, and what is gone only since a while."""
        now, shown = self._look(), {}
        for arn, tags in self._known.items():
            if arn in now:
                shown[arn] = now[arn]
            elif self._seen_gone[arn] < self.lag:
                self._seen_gone[arn] += 1
                shown[arn] = tags
        return [
            {"ResourceARN": arn, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            for arn, tags in sorted(shown.items())
        ]

    @staticmethod
    def _not_covered(call: Call) -> Answer:
        raise Refused(f"{call.name} is not covered by this layer")


def _check(call: Call) -> None:
    """What cannot be asked for together, and what this layer does not know at all."""
    if "ResourceARNList" in call.params and len(call.params) > 1:
        message = "You cannot specify ResourceARNList together with filters or pagination parameters"
        raise call.error("InvalidParameterException", message)
    if any(not each.get("Key") for each in call.params.get("TagFilters", [])):
        raise call.error("InvalidParameterException", "Each TagFilter must contain a key")
    asked = {each.partition(":")[0] for each in call.params.get("ResourceTypeFilters", [])}
    if unknown := asked - set(SERVICES):
        raise Refused(f"{call.name}: this layer does not know what of {sorted(unknown)} is tagged")


def _is_wanted(one: dict[str, Any], params: dict[str, Any]) -> bool:
    tags = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
    types, arns = params.get("ResourceTypeFilters"), params.get("ResourceARNList")
    return (
        all(_has(tags, each["Key"], each.get("Values", [])) for each in params.get("TagFilters", []))
        and (not types or any(_is_of(one["ResourceARN"], each) for each in types))
        and (not arns or one["ResourceARN"] in arns)
    )


def _has(tags: dict[str, str], key: str, values: list[str]) -> bool:
    return key in tags and (not values or tags[key] in values)


def _is_of(arn: str, wanted: str) -> bool:
    """`service[:resourceType]`, both as in the ARN."""
    service, _, kind = wanted.partition(":")
    _, _, its_service, _, _, resource = arn.split(":", 5)
    return service == its_service and (not kind or resource.startswith(f"{kind}/"))
