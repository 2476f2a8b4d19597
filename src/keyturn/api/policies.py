"""Policies in request bodies: what the REST layer demands before the policy's own reader looks at it.

Source: rest-api.md section 5; security rule R10 (all four rules in a modify request); decisions 19.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyturn.errors import FormatError
from keyturn.ska.policy_json import policy_from_json

if TYPE_CHECKING:
    from keyturn.ska.policy import Policy


def new_policy(name: str, value: dict[str, Any], *, allow_seconds: bool) -> tuple[Policy, bool]:
    """Read the policy of a key that is being created.

    Args:
        name: The field's dotted path, for messages.
        value: The policy as JSON values.
        allow_seconds: Whether times may be no whole minutes.

    Returns:
        The policy, and whether the key starts blocked.

    Raises:
        FormatError: If `keyStatus` is missing, or the policy is malformed.
    """
    if value.get("keyStatus") is None:
        raise FormatError(f"Field '{name}.keyStatus' must be given.", refusal="policy.key-status")
    return policy_from_json(value, allow_seconds=allow_seconds)


def other_policy(name: str, value: dict[str, Any], *, allow_seconds: bool) -> Policy:
    """Read the policy that shall replace a key's policy.

    Args:
        name: The field's dotted path, for messages.
        value: The policy as JSON values.
        allow_seconds: Whether times may be no whole minutes.

    Raises:
        FormatError: If one of the four rules is not written out, `keyStatus` is present, or the policy is malformed.
    """
    if "keyStatus" in value:
        raise FormatError(
            f"Field '{name}.keyStatus' is not known here: blocking is not changed with the policy.",
            refusal="policy.key-status",
        )
    return policy_from_json(value, allow_seconds=allow_seconds, require_all_rules=True)[0]
