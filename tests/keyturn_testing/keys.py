"""Operational keys for tests: what to ask the HSM for, and fresh operation ids."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from keyturn.ska.policy import encode_policy

if TYPE_CHECKING:
    from keyturn.hsm.client import HsmClient
    from keyturn.hsm.protocol import Attested
    from keyturn.ska.policy import Policy

P256 = "1.2.840.10045.3.1.7"
P384 = "1.3.132.0.34"
P521 = "1.3.132.0.35"
SECP256K1 = "1.3.132.0.10"
ED25519 = "1.3.101.112"


def operation_id() -> bytes:
    """Sixteen bytes that were never used."""
    return os.urandom(16)


async def create_ec(
    client: HsmClient,
    label: str,
    policy: Policy | None = None,
    *,
    curve: str = P256,
    blocked: bool = False,
    **attributes: bool,
) -> Attested:
    """Create an EC key that may sign, under a policy or without one; further attributes by name."""
    return await client.create(
        operation_id(),
        label,
        "EC",
        curve_oid=curve,
        attributes={"sign": True, **attributes},
        policy=b"" if policy is None else encode_policy(policy),
        blocked=blocked,
    )
