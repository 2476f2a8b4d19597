"""A second judge, slow and simple, held against `decide()`.

Written from ska-wire-format.md section 8, decisions 18 to 20 and 29, and rules R15 and R26 alone: its own reading of
the bytes, its own verification, no shared code with the decision but the model of a policy. It tries out instead of
calculating.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509 import load_der_x509_certificate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.ska.policy import Policy, Token

BLS = bytes.fromhex("3043 300e 060c 2b0601040182dc7c05030101 0331 00".replace(" ", ""))
"""What stands in front of the 48 bytes of a BLS key."""
OPERATIONS = {1: "use", 2: "block", 3: "unblock", 4: "modify"}


@dataclass(frozen=True)
class Ballot:
    """An approval that is good in itself."""

    who: bytes
    stamp: int | None


@dataclass(frozen=True)
class Case:
    """What is to be judged; times in seconds, `integrity` from key name to public key."""

    policy: Policy
    action: int
    label: str
    payload: bytes | None
    approvals: Sequence[bytes]
    integrity: dict[str, bytes]
    not_before: int | None = None
    allow_unlabelled: bool = False
    stamps_from: int | None = None
    spent: Sequence[bytes] = ()
    withdrawn: Sequence[tuple[bytes, bytes]] = ()


def elements(blob: bytes) -> list[tuple[int, bytes]]:
    """Cut a blob into its elements."""
    if struct.unpack("<I", blob[:4])[0] != len(blob) - 4:
        raise ValueError("length")
    found, rest = [], blob[4:]
    while rest:
        tag, size = struct.unpack("<HH", rest[:4])
        padded = (size + 3) // 4 * 4
        if len(rest) < 4 + padded or any(rest[4 + size : 4 + padded]):
            raise ValueError("element")
        found.append((tag, rest[4 : 4 + size]))
        rest = rest[4 + padded :]
    return found


def signature_holds(spki: bytes, wrapped: bytes, data: bytes) -> bool:
    """Verify; the samples' algorithms with SHA-256 are enough here."""
    # SEQUENCE, length, SEQUENCE { OID, NULL }, BIT STRING: the last is found by its header, from the algorithm's end.
    start = 4 if wrapped[1] == 0x82 else 3 if wrapped[1] == 0x81 else 2
    bits = wrapped[start + 2 + wrapped[start + 1] :]
    bare = bits[{0x81: 4, 0x82: 5}.get(bits[1], 3) :]
    if spki.startswith(BLS):
        return bls_signature_holds(spki[len(BLS) :], data, bare)
    key = load_der_public_key(spki)
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(bare, data, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(bare, data, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(key, dsa.DSAPublicKey):
            key.verify(bare, data, hashes.SHA256())
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(bare, data)
        else:
            return False
    except InvalidSignature:
        return False
    return True


@cache
def bls_signature_holds(public: bytes, data: bytes, bare: bytes) -> bool:
    """Verify with py-ecc, which takes about half a second and is imported only when it is needed."""
    from keyturn_testing.bls_judge import verifies

    return verifies(public, data, bare)


def read_ballot(case: Case, data: bytes) -> Ballot | None:
    """Decide whether one approval is good in itself, at no particular time."""
    try:
        (_, approval), (_, signature), (signer_tag, signer) = elements(data)
        if signer_tag == 0x1009:
            signer = (
                load_der_x509_certificate(signer)
                .public_key()
                .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            )
        fields = dict(elements(approval))
        # Rule 1: the operation. Rule 2 and decisions 29: the label.
        if struct.unpack("<I", fields[0x003B])[0] != case.action:
            return None
        label = fields[0x1002].decode()
        if label != case.label and not (label == "" and case.allow_unlabelled):
            return None
        # Rule 4: the payload, byte for byte.
        tag = {1: 0x1057, 4: 0x1058}.get(case.action)
        if tag is not None and fields.get(tag) != case.payload:
            return None
        # Rule 5: the signature.
        if not signature_holds(signer, signature, approval):
            return None
        # Rules 11 to 13: the timestamp, wherever there is one.
        stamp = None
        if 0x1054 in fields:
            inner = dict(elements(fields[0x1054]))
            stamp = struct.unpack("<Q", inner[0x0107])[0]
            key = case.integrity.get(inner[0x1002].decode())
            if key is None or not signature_holds(key, fields[0x1056], fields[0x1054]):
                return None
            if tag is not None and inner.get(tag) != case.payload:
                return None
        # R18: a name that had an owner before.
        if case.not_before is not None and (stamp is None or stamp < case.not_before):
            return None
        # R15: what has served, and what was stamped before the last change of its kind.
        if hashlib.sha256(approval).digest() in case.spent:
            return None
        if case.stamps_from is not None and stamp is not None and stamp < case.stamps_from:
            return None
        # R26: what its signer took back.
        if (hashlib.sha256(signer).digest(), hashlib.sha256(approval).digest()) in case.withdrawn:
            return None
    except (ValueError, KeyError, struct.error):
        return None
    return Ballot(signer, stamp)


def counts_now(ballot: Ballot, token: Token, now: int) -> bool:
    """Rules 10, 14, 15 and decisions 18: whole units, truncated, must be within timelock and timeout."""
    if ballot.stamp is not None and ballot.stamp > now:
        return False
    if token.timelock == 0 and token.timeout == 0:
        return True
    if ballot.stamp is None:
        return False
    unit = 60 if token.unit.name == "MINUTES" else 1
    elapsed = (now - ballot.stamp) // unit * unit
    return elapsed >= token.timelock and (token.timeout == 0 or elapsed <= token.timeout)


def token_holds(token: Token, ballots: list[Ballot], now: int) -> bool:
    """Rules 6 to 8 and decisions 20: all groups, each by different people."""
    present = {ballot.who for ballot in ballots if counts_now(ballot, token, now)}
    return all(len(present & {a.spki for a in group.approvers}) >= group.quorum for group in token.groups)


def judge(case: Case, now: int) -> list[bool]:
    """For each token of the rule: does it hold at this moment?"""
    ballots = [ballot for data in case.approvals if (ballot := read_ballot(case, data)) is not None]
    rule = getattr(case.policy, OPERATIONS[case.action])
    return [token_holds(token, ballots, now) for token in rule.tokens]


def judge_ever(case: Case) -> list[bool]:
    """For each token of the rule: is there a moment at which it holds? Windows begin where some approval's does."""
    ballots = [ballot for data in case.approvals if (ballot := read_ballot(case, data)) is not None]
    rule = getattr(case.policy, OPERATIONS[case.action])
    latest = max((ballot.stamp for ballot in ballots if ballot.stamp is not None), default=0)
    return [
        any(
            token_holds(token, ballots, moment)
            for moment in [latest, *(b.stamp + token.timelock for b in ballots if b.stamp is not None)]
        )
        for token in rule.tokens
    ]
