"""ECR: moto lists all images at once."""

from __future__ import annotations

from tests.strict_aws.call import Answer, Call, Pages, Rule


class Ecr:
    """Controls: `page_size`."""

    def __init__(self) -> None:
        self.page_size = 100
        """BC:ecr.ListImages: "If this parameter is not used, then ListImages returns up to 100 results"."""
        self._pages = Pages()
        self.rules: dict[str, Rule] = {"ListImages": self._list_images}

    def _list_images(self, call: Call) -> Answer:
        """By nextToken and maxResults. BC:ecr.ListImages."""
        asked = {key: value for key, value in call.params.items() if key not in ("nextToken", "maxResults")}
        items = call.send(call.operation, asked)["imageIds"]
        size, token = call.params.get("maxResults", self.page_size), call.params.get("nextToken")
        try:
            page, following = self._pages.cut(
                items, lambda item: (item["imageDigest"], item.get("imageTag")), size, token
            )
        except KeyError as error:
            raise call.error("InvalidParameterException", f"Invalid parameter nextToken: {token}") from error
        return {"imageIds": page} | ({"nextToken": following} if following else {})
