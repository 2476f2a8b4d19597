"""People with fixed approval keys: an input must mean the same tomorrow."""

from __future__ import annotations

import datetime as dt
from functools import cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.ska.actions import Action
from keyturn.ska.messages import (
    ApprovalToken,
    Authorization,
    Timestamp,
    encode_approval,
    encode_authorization,
    encode_timestamp,
)
from keyturn.ska.policy import Approver, Group, Policy, Rule, TimeUnit, Token
from keyturn.ska.signatures import wrap_signature

LABEL: Final = "payments"
PAYLOAD: Final = b"pay 5 to Ben"
INTEGRITY: Final = "integrity-1"
NOW: Final = 1_700_000_000
PEOPLE: Final = ("ada", "ben", "eve")
HSM: Final = "hsm"


@cache
def key(name: str) -> ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    """The private key of somebody; Eve's is an Ed25519 key."""
    if name == "eve":
        return ed25519.Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
    return ec.derive_private_key(1 + int.from_bytes(name.encode(), "big"), ec.SECP256R1())


def spki(name: str) -> bytes:
    """Their public key."""
    return key(name).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def signature(name: str, data: bytes) -> bytes:
    """Their wrapped signature, always the same."""
    own = key(name)
    if isinstance(own, ed25519.Ed25519PrivateKey):
        return wrap_signature("EDDSA", own.sign(data))
    return wrap_signature("SHA256_WITH_ECDSA", own.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))


@cache
def certificate(name: str) -> bytes:
    """A self-signed certificate, always the same."""
    own = key(name)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(subject, subject, own.public_key(), 4711, start, start + dt.timedelta(days=1))
    if isinstance(own, ed25519.Ed25519PrivateKey):
        return builder.sign(own, None).public_bytes(Encoding.DER)
    return builder.sign(own, hashes.SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER)


def stamp(seconds: int = NOW, payload: bytes | None = PAYLOAD, *, is_policy: bool = False) -> tuple[bytes, bytes]:
    """A timestamp of the HSM and its wrapped signature."""
    blob = encode_timestamp(Timestamp(seconds, INTEGRITY, payload, is_policy))
    return blob, signature(HSM, blob)


def approve(
    name: str,
    payload: bytes | None = PAYLOAD,
    *,
    action: Action = Action.USE,
    label: str = LABEL,
    with_stamp: tuple[bytes, bytes] | None = None,
    with_certificate: bool = False,
) -> bytes:
    """Somebody's approval: the whole authorization."""
    timestamp, stamp_signature = with_stamp or (None, None)
    blob = encode_approval(ApprovalToken(action, label.encode(), timestamp, stamp_signature, payload))
    if with_certificate:
        return encode_authorization(Authorization(blob, signature(name, blob), None, certificate(name)))
    return encode_authorization(Authorization(blob, signature(name, blob), spki(name), None))


def listed(*names: str, by_certificate: bool = False) -> tuple[Approver, ...]:
    """People as a policy lists them."""
    if by_certificate:
        return tuple(Approver.of_certificate(certificate(name)) for name in names)
    return tuple(Approver(spki(name), None, name) for name in names)


def rule(
    quorum: int, *names: str, timelock: int = 0, timeout: int = 0, unit: TimeUnit = TimeUnit.MINUTES, **how: bool
) -> Rule:
    """A rule of one group."""
    return Rule((Token("main", timelock, timeout, unit, (Group("officers", quorum, listed(*names, **how)),)),))


def policy() -> Policy:
    """A policy with a bit of everything."""
    return Policy(
        rule(2, *PEOPLE),
        rule(1, *PEOPLE, timelock=60, timeout=3600),
        rule(2, "ada", "ben", timelock=5, timeout=7, unit=TimeUnit.SECONDS),
        Rule.NEVER,
    )
