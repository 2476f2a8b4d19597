"""Policies as documentation; the real reader is `keyturn.ska.policy_json`.

Source: rest-api.md section 5.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from keyturn.api.schemas.common import Base64


class PolicyApproval(msgspec.Struct, frozen=True):
    """One approver of a group.

    `public_key`: `value` is base64 of a SubjectPublicKeyInfo, `name` is free. `certificate`: `value` is base64 of a
    DER certificate, whose subject's common name is the name.
    """

    type: Literal["public_key", "certificate", "onboarded_approver_certificate"]
    name: str | None = None
    value: Base64 | None = None


class PolicyGroup(msgspec.Struct, frozen=True):
    """`quorum` approvers out of `approvals` must approve."""

    name: str
    quorum: Annotated[int, Meta(ge=1)]
    approvals: list[PolicyApproval]


class PolicyToken(msgspec.Struct, frozen=True):
    """All groups must be satisfied, not before `timelock` and not after `timeout` seconds (0: never ends)."""

    name: str | None = None
    timelock: Annotated[int, Meta(ge=0)] = 0
    timeout: Annotated[int, Meta(ge=0)] = 0
    groups: list[PolicyGroup] | None = None


class PolicyRule(msgspec.Struct, frozen=True):
    """One complete token is enough; `tokens: null` means that the rule can never be satisfied."""

    tokens: list[PolicyToken] | None = None


class KeyStatus(msgspec.Struct, frozen=True):
    """Whether the key is blocked."""

    blocked: bool


class ModifiedPolicy(msgspec.Struct, frozen=True, rename="camel"):
    """The four rules; a rule that is null needs no approval. All four must be written out."""

    rule_use: PolicyRule | None
    rule_block: PolicyRule | None
    rule_unblock: PolicyRule | None
    rule_modify: PolicyRule | None


class Policy(ModifiedPolicy, frozen=True, rename="camel"):
    """The policy of a new key: the four rules and whether the key starts blocked."""

    key_status: KeyStatus


def _documented_as(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


NewPolicy = Annotated[dict[str, Any], Meta(extra_json_schema=_documented_as("Policy"))]
OtherPolicy = Annotated[dict[str, Any], Meta(extra_json_schema=_documented_as("ModifiedPolicy"))]
