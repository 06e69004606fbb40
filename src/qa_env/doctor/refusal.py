"""What AWS refused, as a finding that names the permission."""

from __future__ import annotations

import re

from botocore.exceptions import ClientError

from qa_env import aws
from qa_env.doctor.finding import Finding, unknown

DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AccessDeniedError", "403")
# Where a permission is not named like the call, or not after the service that botocore names.
ACTIONS = {
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "monitoring:DescribeAlarms": "cloudwatch:DescribeAlarms",
}
_PERMISSION = re.compile(r"not authorized to perform:? ([a-z0-9-]+:[A-Za-z0-9]+)")


def refused(error: ClientError) -> Finding:
    """A check that could not be made."""
    if aws.code(error) in DENIED:
        action = permission(error)
        return unknown(
            f"these credentials do not allow {action}", f"allow {action} (docs/doctor.md has a policy)"
        )
    said = str(error.response.get("Error", {}).get("Message", "")) or aws.code(error)
    return unknown(f"AWS refuses {error.operation_name}: {said}", "correct what it names")


def permission(error: ClientError) -> str:
    """The permission that was missing: AWS names it, or the client does, or it is named like the call."""
    details = error.response.get("Error", {})
    found = _PERMISSION.search(str(details.get("Message", "")))
    action = found[1] if found else str(details.get("Action") or error.operation_name)
    return ACTIONS.get(action, action)
