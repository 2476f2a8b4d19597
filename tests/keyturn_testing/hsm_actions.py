"""Short ways to ask a real HSM for every action, and to approve it, for tests that take the broker's place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.hsm.client import HsmRefusedError
from keyturn.ska.messages import ApprovalToken, decode_timestamp, encode_approval
from keyturn.ska.policy import encode_policy
from keyturn.ska.signatures import wrap_signature
from keyturn_testing.keys import operation_id

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from keyturn.hsm.client import HsmClient
    from keyturn.hsm.protocol import Attested
    from keyturn.ska.actions import Action
    from keyturn.ska.policy import Policy
    from keyturn_testing.officers import Officer


async def create_rsa(client: HsmClient, label: str, policy: Policy | None = None, **attributes: bool) -> Attested:
    """Create an RSA-2048 key, under a policy or without one."""
    return await client.create(
        operation_id(),
        label,
        "RSA",
        key_size=2048,
        attributes=attributes,
        policy=b"" if policy is None else encode_policy(policy),
    )


async def refused(act: Awaitable[object]) -> HsmRefusedError:
    """The refusal of a call."""
    with pytest.raises(HsmRefusedError) as caught:
        await act
    return caught.value


async def stamp(client: HsmClient, label: str, action: Action, payload: bytes = b"") -> tuple[bytes, bytes]:
    """A timestamp blob of the HSM and its wrapped signature."""
    stamped = await client.stamp(label, action, payload)
    return stamped.timestamp, wrap_signature(stamped.algorithm, stamped.signature)


def seconds_of(timestamp: tuple[bytes, bytes]) -> int:
    """The seconds in a timestamp."""
    return decode_timestamp(timestamp[0]).seconds


def statement(
    label: str, action: Action, payload: bytes | None = None, timestamp: tuple[bytes, bytes] | None = None
) -> bytes:
    """The bytes that are approved."""
    blob, signature = timestamp or (None, None)
    return encode_approval(ApprovalToken(action, label.encode(), blob, signature, payload))


def approve(
    officer: Officer,
    label: str,
    action: Action,
    payload: bytes | None = None,
    timestamp: tuple[bytes, bytes] | None = None,
) -> bytes:
    """An officer's approval, with a timestamp or without."""
    return officer.approve(statement(label, action, payload, timestamp))
