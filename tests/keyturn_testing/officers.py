"""Officers for tests: people with an approval key, and short ways to write policies that list them.

    ada, ben, eve = Officer("ada", "P-256"), Officer("ben", "RSA"), Officer("eve", "ED")
    policy = make_policy(use=quorum(2, ada, ben, eve))
    approval = ada.approve(ApprovalToken(Action.USE, b"invoice", None, None, payload))

Keys are real. Making them costs time for RSA and DSA only, so those are made once per kind and name and kept.
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.messages import ApprovalToken, Authorization, encode_approval, encode_authorization
from keyturn.ska.policy import Approver, Group, Policy, Rule, TimeUnit, Token
from keyturn.ska.signatures import api_signature_algorithm, scheme_for, wrap_signature

if TYPE_CHECKING:
    from collections.abc import Iterable

OfficerKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey

KINDS = ("P-256", "P-384", "P-521", "secp256k1", "ED", "RSA", "DSA")
"""Kinds of approval keys that an `Officer` can have."""

_CURVES: dict[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
    "secp256k1": ec.SECP256K1(),
}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "SHA-224": hashes.SHA224(),
    "SHA-256": hashes.SHA256(),
    "SHA-384": hashes.SHA384(),
    "SHA-512": hashes.SHA512(),
    "SHA3-224": hashes.SHA3_224(),
    "SHA3-256": hashes.SHA3_256(),
    "SHA3-384": hashes.SHA3_384(),
    "SHA3-512": hashes.SHA3_512(),
}


@lru_cache(maxsize=256)
def make_key(kind: str, name: str = "") -> OfficerKey:
    """Make an approval key; the same `kind` and `name` give the same key within one test process."""
    if kind in _CURVES:
        return ec.generate_private_key(_CURVES[kind])
    if kind == "ED":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "DSA":
        return dsa.generate_private_key(2048)
    assert kind == "RSA", kind
    return rsa.generate_private_key(65537, 2048)


class Officer:
    """A person with an approval key.

    Args:
        name: What people call them; the name in policies and the subject CN of their certificate.
        kind: One of `KINDS`.
    """

    def __init__(self, name: str, kind: str = "P-256") -> None:
        self.name = name
        self.kind = kind
        self.key = make_key(kind, name)
        self.spki = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.digest = "EdDSA" if kind == "ED" else "SHA-256"
        """Digest name as in the API's `approvalDigestAlgorithm`."""

    def __repr__(self) -> str:
        return f"Officer({self.name!r}, {self.kind!r})"

    @property
    def certificate(self) -> bytes:
        """A self-signed certificate of this officer's key, DER. The same one at every call."""
        return _certificate(self.name, self.kind)

    def as_approver(self, *, certificate: bool = False) -> Approver:
        """The entry of a policy that lists this officer, by key or by certificate."""
        if certificate:
            return Approver(spki=self.spki, certificate=self.certificate, name=None)
        return Approver(spki=self.spki, certificate=None, name=self.name)

    def sign(self, data: bytes, *, digest: str | None = None) -> bytes:
        """Sign bytes as the approver's tools do; the bare signature (RSA PKCS#1 v1.5, ECDSA and DSA in DER)."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(data)
        algorithm = _HASHES[digest or self.digest]
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(data, padding.PKCS1v15(), algorithm)
        if isinstance(self.key, dsa.DSAPrivateKey):
            return self.key.sign(data, algorithm)
        return self.key.sign(data, ec.ECDSA(algorithm))

    def approve(
        self,
        token: ApprovalToken | bytes,
        *,
        digest: str | None = None,
        certificate: bool = False,
        signature: bytes | None = None,
    ) -> bytes:
        """Approve a token.

        Args:
            token: The token, or the bytes of `approvalToBeSigned`.
            digest: Digest to be used, the officer's own if None.
            certificate: Whether the authorization carries the certificate and not the bare key.
            signature: A bare signature to be put in instead of the right one.

        Returns:
            The authorization blob, as it stands in `signedApprovals`.
        """
        data = token if isinstance(token, bytes) else encode_approval(token)
        scheme = scheme_for(load_approver_key(self.spki), digest or self.digest)
        bare = self.sign(data, digest=digest) if signature is None else signature
        return encode_authorization(
            Authorization(
                approval=data,
                signature=wrap_signature(api_signature_algorithm(scheme), bare),
                spki=None if certificate else self.spki,
                certificate=self.certificate if certificate else None,
            )
        )

    def approve_use(self, label: str, payload: bytes) -> bytes:
        """Approve the use of key `label` for `payload`, without a timestamp."""
        return self.approve(ApprovalToken(Action.USE, label.encode(), None, None, payload))

    def approve_modify(self, label: str, policy: bytes) -> bytes:
        """Approve that key `label` gets the policy blob `policy`, without a timestamp."""
        return self.approve(ApprovalToken(Action.MODIFY, label.encode(), None, None, policy))


@lru_cache(maxsize=256)
def _certificate(name: str, kind: str) -> bytes:
    key = make_key(kind, name)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=20 * 365))
    )
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.DER)


def token(
    *groups: Group, name: str | None = None, timelock: int = 0, timeout: int = 0, unit: TimeUnit = TimeUnit.MINUTES
) -> Token:
    """A token of the given groups; times in seconds."""
    return Token(name=name, timelock=timelock, timeout=timeout, unit=unit, groups=groups)


def group(needed: int, *officers: Officer | Approver, name: str | None = None) -> Group:
    """A group of which `needed` must approve."""
    approvers = tuple(one.as_approver() if isinstance(one, Officer) else one for one in officers)
    return Group(name=name, quorum=needed, approvers=approvers)


def quorum(
    needed: int,
    *officers: Officer | Approver,
    timelock: int = 0,
    timeout: int = 0,
    unit: TimeUnit = TimeUnit.MINUTES,
) -> Rule:
    """The rule "`needed` of these": one token with one group; times in seconds."""
    return Rule(tokens=(token(group(needed, *officers), timelock=timelock, timeout=timeout, unit=unit),))


def make_policy(
    use: Rule, *, modify: Rule | None = None, block: Rule | None = None, unblock: Rule | None = None
) -> Policy:
    """A policy; rules left out are the use rule, so that nothing can be changed by fewer people than may sign."""
    return Policy(use=use, block=block or use, unblock=unblock or use, modify=modify or use)


def approvals_of(officers: Iterable[Officer], what: ApprovalToken | bytes) -> list[bytes]:
    """One authorization blob per officer for the same token."""
    return [officer.approve(what) for officer in officers]
