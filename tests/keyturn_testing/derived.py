"""Masters and their children in an HSM: how they are made, found, and used with approvals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.crypto.derivation import DERIVATION_CURVES, derive, master_from_seed
from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.key_names import parse_path
from keyturn.ska.policy import encode_policy
from keyturn_testing.hsm_actions import approve
from keyturn_testing.keys import SECP256K1, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from keyturn.hsm.client import HsmClient
    from keyturn.ska.attestation import KeyAttestation
    from keyturn.ska.policy import Policy

SHA = "SHA256_WITH_ECDSA"
ADA, BEN = Officer("ada"), Officer("ben", "ED")
POLICY = make_policy(quorum(2, ADA, BEN), block=quorum(1, ADA), unblock=quorum(2, ADA, BEN), modify=quorum(2, ADA, BEN))
SEED = bytes(range(32))
MASTER = {"sign": True, "derive": True, "slip10": True, "destroyable": True}


async def make_master(
    client: HsmClient, label: str, policy: Policy | None = POLICY, *, curve: str = SECP256K1, **attributes: bool
) -> KeyAttestation:
    """A master whose seed everybody knows; what is attested of it."""
    made = await client.import_seed(
        operation_id(),
        label,
        SEED,
        curve,
        attributes=MASTER | attributes,
        policy=b"" if policy is None else encode_policy(policy),
    )
    return parse_attestation(made.xml)


def expected_child(path: str, curve: str = SECP256K1) -> bytes:
    """The public key that everybody who has the seed would find."""
    return derive(master_from_seed(DERIVATION_CURVES[curve], SEED), parse_path(path)).public_key


def approved(name: str, payload: bytes, *officers: Officer) -> list[bytes]:
    """Approvals of a signature, of the two officers if none are named."""
    return [approve(officer, name, Action.USE, payload) for officer in officers or (ADA, BEN)]


def sign(client: HsmClient, name: str, payload: bytes, approvals: list[bytes]) -> Awaitable[bytes]:
    """Sign with a key or a child."""
    return client.sign(operation_id(), name, payload, SHA, approvals=approvals)
