"""Policies in request bodies: what the REST layer demands before the policy's own reader looks at it.

Source: rest-api.md section 5; security rules R10 (all four rules in a modify request), R22 (names are looked up here,
once; the HSM knows keys); decisions 19.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyturn.broker.directory import resolver
from keyturn.errors import FormatError
from keyturn.ska.policy_json import policy_from_json

if TYPE_CHECKING:
    from keyturn.api.http import Services
    from keyturn.ska.policy import Policy


async def new_policy(services: Services, name: str, value: dict[str, Any]) -> tuple[Policy, bool]:
    """Read the policy of a key that is being made.

    Args:
        services: Whether times may be no whole minutes, and the directory of approvers.
        name: The field's dotted path, for messages.
        value: The policy as JSON values.

    Returns:
        The policy, and whether the key starts blocked.

    Raises:
        FormatError: If `keyStatus` is missing, or the policy is malformed.
        KeyturnError: 654, if it names an approver who is not in the directory.
    """
    if value.get("keyStatus") is None:
        raise FormatError(f"Field '{name}.keyStatus' must be given.", refusal="policy.key-status")
    return await _read(services, value, require_all_rules=False)


async def other_policy(services: Services, name: str, value: dict[str, Any]) -> Policy:
    """Read the policy that shall replace a key's policy.

    Args:
        services: As for `new_policy`.
        name: The field's dotted path, for messages.
        value: The policy as JSON values.

    Raises:
        FormatError: If one of the four rules is not written out, `keyStatus` is present, or the policy is malformed.
        KeyturnError: 654, if it names an approver who is not in the directory.
    """
    if "keyStatus" in value:
        raise FormatError(
            f"Field '{name}.keyStatus' is not known here: blocking is not changed with the policy.",
            refusal="policy.key-status",
        )
    return (await _read(services, value, require_all_rules=True))[0]


async def _read(services: Services, value: dict[str, Any], *, require_all_rules: bool) -> tuple[Policy, bool]:
    certificates = await services.broker.approver_certificates()
    return policy_from_json(
        value,
        allow_seconds=services.allow_seconds,
        resolve=resolver(certificates),
        require_all_rules=require_all_rules,
    )
