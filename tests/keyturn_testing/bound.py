"""A key with bound approvals, or one without, as officers know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.bound_key import BoundKey
from keyturn.ska.policy import encode_policy
from keyturn.ska.statement import encode_statement
from keyturn_testing.hsm_actions import approve
from keyturn_testing.keys import P256, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.hsm.client import HsmClient
    from keyturn.ska.statement import Statement

ADA, BEN, EVE = Officer("ada"), Officer("ben", "ED"), Officer("eve", "RSA")
POLICY = make_policy(quorum(2, ADA, BEN, EVE))
OTHER_POLICY = make_policy(quorum(2, ADA, BEN))
OAEP = "RSA_PADDING_OAEP_WITH_SHA256"
OAEP_SHA256 = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256")
OAEP_SHA1 = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha1", "rsa_mgf1_md:sha1")
AES = bytes(range(32))


@dataclass(frozen=True)
class Key:
    """A key of a test, as officers know it.

    Args:
        label: Its label.
        bound: Whether its approvals are.
        identity: Uuid, public key and policy that they have seen.
    """

    label: str
    bound: bool
    identity: BoundKey

    def covered(self, documented: bytes | None, meant: Callable[[BoundKey], Statement]) -> bytes | None:
        """The bytes that officers approve: as documented, or the statement of what they mean."""
        return encode_statement(meant(self.identity)) if self.bound else documented

    def approved(
        self,
        documented: bytes | None,
        meant: Callable[[BoundKey], Statement],
        *,
        action: Action = Action.USE,
        timestamp: tuple[bytes, bytes] | None = None,
    ) -> list[bytes]:
        """Two officers approve, knowingly."""
        covered = self.covered(documented, meant)
        return [approve(officer, self.label, action, covered, timestamp) for officer in (ADA, BEN)]

    def to_sign(self, request: str, payload: bytes, algorithm: str) -> list[bytes]:
        """Two officers approve a signature."""
        return self.approved(payload, lambda key: key.sign(request, payload, algorithm, ""))


async def make(client: HsmClient, label: str, *, bound: bool, **attributes: bool) -> Key:
    """Make a key under `POLICY`: EC to sign, or RSA with other attributes."""
    algorithm, curve, size = ("RSA", "", 2048) if attributes.keys() & {"decrypt", "unwrap"} else ("EC", P256, 0)
    made = await client.create(
        operation_id(),
        label,
        algorithm,
        curve_oid=curve,
        key_size=size,
        attributes={"sign": True, "boundApprovals": bound, **attributes},
        policy=encode_policy(POLICY),
    )
    found = parse_attestation(made.xml)
    assert found.attributes["boundApprovals"] is bound
    return Key(label, bound, BoundKey(found.uuid, found.public_key, encode_policy(POLICY)))


def request_id() -> str:
    return str(uuid4())
