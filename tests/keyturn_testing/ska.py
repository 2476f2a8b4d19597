"""People with approval keys, and the signed things they make, for tests about approvals.

The keys are made once for each test run and remembered, so that stories stay short and fast.
"""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import dataclass
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.crypto.keys import public_spki
from keyturn.crypto.kinds.bls import BlsPrivateKey
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.bls import BlsPublicKey
from keyturn.ska.decision import IntegrityKey
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

PrivateKey = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey | BlsPrivateKey
)

LABEL = "payments"
PAYLOAD = b"pay 100 to the miller"
INTEGRITY = "integrity-key-1"


@dataclass(frozen=True)
class Person:
    """Somebody with an approval key."""

    name: str
    key: PrivateKey

    @property
    def spki(self) -> bytes:
        if isinstance(self.key, BlsPrivateKey):
            return public_spki(BlsPublicKey(self.key.public_bytes))
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def identity(self) -> bytes:
        return load_approver_key(self.spki).identity

    @property
    def listed(self) -> Approver:
        return Approver(self.spki, None, self.name)

    @property
    def certificate(self) -> bytes:
        return _certificate(self.name)

    @property
    def by_certificate(self) -> Approver:
        return Approver.of_certificate(self.certificate)

    def sign(self, data: bytes) -> tuple[str, bytes]:
        """API name of the scheme, and the bare signature."""
        return _signed(self.name, data)

    def approve(
        self,
        payload: bytes | None = PAYLOAD,
        *,
        action: Action = Action.USE,
        label: str = LABEL,
        stamp: tuple[bytes, bytes] | None = None,
        with_certificate: bool = False,
    ) -> bytes:
        """Make the authorization blob of this person's approval."""
        timestamp, signature = stamp or (None, None)
        approval = encode_approval(ApprovalToken(action, label.encode(), timestamp, signature, payload))
        return self.authorize(approval, with_certificate=with_certificate)

    def authorize(self, approval: bytes, *, with_certificate: bool = False) -> bytes:
        """Sign these approval bytes and wrap them up."""
        wrapped = wrap_signature(*self.sign(approval))
        if with_certificate:
            return encode_authorization(Authorization(approval, wrapped, None, self.certificate))
        return encode_authorization(Authorization(approval, wrapped, self.spki, None))


KINDS = {
    "alice": "P-256",
    "bob": "P-256",
    "carol": "Ed25519",
    "dave": "secp256k1",
    "erin": "RSA",
    "frank": "P-384",
    "grace": "DSA",
    "heidi": "BLS",
    "mallory": "P-256",
    "hsm": "P-256",
}


@cache
def person(name: str) -> Person:
    """Find the person of this name; everybody keeps one key for the whole run."""
    key: PrivateKey
    match KINDS.get(name, "P-256"):
        case "Ed25519":
            key = ed25519.Ed25519PrivateKey.generate()
        case "RSA":
            key = rsa.generate_private_key(65537, 2048)
        case "DSA":
            key = dsa.generate_private_key(2048)
        case "BLS":
            key = BlsPrivateKey(secrets.randbits(254).to_bytes(32, "big"))
        case "secp256k1":
            key = ec.generate_private_key(ec.SECP256K1())
        case "P-384":
            key = ec.generate_private_key(ec.SECP384R1())
        case _:
            key = ec.generate_private_key(ec.SECP256R1())
    return Person(name, key)


@cache
def _signed(name: str, data: bytes) -> tuple[str, bytes]:
    key = person(name).key
    if isinstance(key, rsa.RSAPrivateKey):
        return "SHA256_WITH_RSA", key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return "SHA256_WITH_ECDSA", key.sign(data, ec.ECDSA(hashes.SHA256()))
    if isinstance(key, dsa.DSAPrivateKey):
        return "SHA256_WITH_DSA", key.sign(data, hashes.SHA256())
    if isinstance(key, BlsPrivateKey):
        return "BLS", key.sign(data)
    return "EDDSA", key.sign(data)


@cache
def _certificate(name: str) -> bytes:
    key = person(name).key
    assert not isinstance(key, BlsPrivateKey), "no library writes certificates of such keys"
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(4711)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=1))
    )
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.DER)


def stamped(
    seconds: int,
    payload: bytes | None = PAYLOAD,
    *,
    is_policy: bool = False,
    key_name: str = INTEGRITY,
    signer: str = "hsm",
) -> tuple[bytes, bytes]:
    """A signed timestamp: the blob and the DER-wrapped signature."""
    blob = encode_timestamp(Timestamp(seconds, key_name, payload, is_policy))
    return blob, wrap_signature(*person(signer).sign(blob))


def integrity_key(*, name: str = INTEGRITY, retired_at: int | None = None, signer: str = "hsm") -> IntegrityKey:
    """The public side of the key that signs `stamped`."""
    return IntegrityKey(name, person(signer).spki, retired_at)


def group(quorum: int, *names: str, name: str | None = "officers") -> Group:
    """A group of people, by name."""
    return Group(name, quorum, tuple(person(n).listed for n in names))


def token(
    *groups: Group,
    name: str | None = "main",
    timelock: int = 0,
    timeout: int = 0,
    unit: TimeUnit = TimeUnit.MINUTES,
) -> Token:
    """A token of groups."""
    return Token(name, timelock, timeout, unit, groups)


def use_policy(*tokens: Token) -> Policy:
    """A policy that governs use with these tokens, and rules everything else out."""
    return Policy(Rule(tokens), Rule.NEVER, Rule.NEVER, Rule.NEVER)
