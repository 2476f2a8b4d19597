"""Attested key attributes for tests: one ordinary example, varied by what a test is about."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.ska.attestation import KeyAttestation
from keyturn.ska.policy import Approver, Group, Policy, Rule, TimeUnit, Token

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes


def spki(key: PublicKeyTypes) -> bytes:
    """DER SubjectPublicKeyInfo of a key."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@lru_cache
def officer(number: int) -> bytes:
    """Public key of officer `number`, always the same."""
    if number % 2:
        return spki(ed25519.Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32).public_key())
    return spki(ec.derive_private_key(number + 1, ec.SECP256R1()).public_key())


def two_of_three(unit: TimeUnit = TimeUnit.MINUTES, timelock: int = 0, timeout: int = 0) -> Rule:
    """A rule that two of three officers fulfil."""
    approvers = tuple(Approver(officer(n), None, f"Officer {n}") for n in (1, 2, 3))
    return Rule((Token("main", timelock, timeout, unit, (Group("officers", 2, approvers),)),))


def example_attestation(**changes: Any) -> KeyAttestation:
    """Attributes of a P-256 key with a two-of-three policy, with some fields changed."""
    rule = two_of_three()
    attestation = KeyAttestation(
        label="treasury",
        uuid="0b9f3a52-5f0c-4a0e-8f5c-1d2e3f405162",
        generation=1,
        creation="generated",
        create_time=1_723_658_570,
        attest_time=1_723_658_579,
        key_use_count=1,
        algorithm="EC",
        algorithm_oid="1.2.840.10045.2.1",
        curve_oid="1.2.840.10045.3.1.7",
        key_size=None,
        public_key=officer(100),
        key_id=None,
        attributes={"decrypt": False, "sign": True, "unwrap": False, "extractable": False, "destroyable": True},
        policy=Policy(rule, rule, rule, rule),
        blocked=False,
        instance_id="6a1d3f60-93a4-4c9f-b0c1-7d5f2f0a1b2c",
        restore_epoch=0,
        state_counter=17,
        isolation="machine",
        switches=(),
        open_modify=False,
        open_unblock=False,
        integrity_key_name="integrity-1",
        integrity_key=officer(102),
    )
    return dataclasses.replace(attestation, **changes)
