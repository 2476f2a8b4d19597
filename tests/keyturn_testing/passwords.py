"""Passwords of keys, sealed as the API's edge seals them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from keyturn.ska.sealed_password import seal_password

if TYPE_CHECKING:
    from keyturn.hsm.client import HsmClient


def seal(transport_key: bytes, label: str, password: str) -> bytes:
    """Seal a password for a key, with a new ephemeral key."""
    return seal_password(transport_key, label, password, ec.generate_private_key(ec.SECP256R1()))


async def sealed(client: HsmClient, label: str, password: str) -> bytes:
    """Seal a password for a key of the HSM that a client talks to."""
    return seal((await client.info()).transport_key, label, password)
