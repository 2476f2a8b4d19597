"""Approvers that a policy lists by name only (`onboarded_approver_certificate`).

The broker looks such a name up in its directory and puts the certificate in its place; the HSM knows keys and no names
(R22). So what a name became is checked by people: by fingerprint, against their own address book.

Source: rest-api.md section 5; docs/security/rules.md R11, R22.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from keyturn.approver.tasks import disagrees
from keyturn.errors import FormatError, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import certificate_spki, read_approver_key
from keyturn.ska.policy import decode_policy, encode_policy
from keyturn.ska.policy_json import policy_from_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from keyturn.ska.policy import Policy

MAX_NAME: Final = 64
"""Bytes of a common name as the library takes it (RFC 5280 appendix A, ub-common-name, counts characters)."""
_YEAR: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


def same_policy(place: str, word: str, asked: object, approved: bytes) -> Mapping[str, str]:
    """Refuse unless the policy of a request is the policy that would be approved.

    Where the request lists approvers by name, each name stands for the certificate in the same place of the approved
    policy; all else must be equal.

    Args:
        place: The task's field that holds the request, for the refusal.
        word: The refusal word's part after `review.`.
        asked: The request's policy, decoded JSON.
        approved: The policy blob inside the approval.

    Returns:
        Names with the fingerprints of the keys that they became; empty where the request lists keys.

    Raises:
        KeyturnError: `review.<word>` when the policies differ, or one name became two keys.
    """
    became: dict[str, str] = {}
    try:
        listed = _certificates(decode_policy(approved))

        def resolve(name: str) -> bytes:
            certificate = next(listed, None)
            if certificate is None:
                raise FormatError("the approval lists no certificate in its place")
            fingerprint = read_approver_key(certificate_spki(certificate)).fingerprint
            if became.setdefault(name, fingerprint) != fingerprint:
                raise FormatError("the approval has two keys for this name")
            return certificate

        policy, _ = policy_from_json(asked, allow_seconds=True, resolve=resolve)
        same = encode_policy(policy) == approved
    except KeyturnError as error:
        raise disagrees(place, word, f"Its `policy` cannot be read: {error.message}") from None
    if not same:
        raise disagrees(place, word, "Its `policy` is not the policy in the approval.")
    return became


class Unresolved:
    """Looks names up in no directory: every name gets a stand-in, so that the rest of a policy can be looked at.

    A stand-in is a certificate that bears the name, with a key that nobody has. The same name gets the same one, so
    that a name that is listed twice counts as one person. Its fingerprint says nothing and is never shown.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def __call__(self, name: str) -> bytes:
        """A stand-in for a name.

        Args:
            name: As it stands in the policy.

        Returns:
            DER.
        """
        key = ed25519.Ed25519PrivateKey.from_private_bytes(
            hashlib.sha256(b"keyturn/stand-in\0" + name.encode()).digest()
        )
        encoded = name.encode()
        shown = name if len(encoded) <= MAX_NAME else encoded[: MAX_NAME - 3].decode(errors="ignore") + "…"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, shown)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(_YEAR)
            .not_valid_after(_YEAR)
            .sign(key, None)
            .public_bytes(Encoding.DER)
        )
        self._names[read_approver_key(certificate_spki(certificate)).fingerprint] = name
        return certificate

    @property
    def names(self) -> tuple[str, ...]:
        """The names that were asked for, in the order of the policy."""
        return tuple(self._names.values())

    def name(self, fingerprint: str) -> str | None:
        """The name for which a fingerprint stands in, or None when it is a real key's.

        Args:
            fingerprint: 64 hex digits.
        """
        return self._names.get(fingerprint)


def _certificates(policy: Policy) -> Iterator[bytes | None]:
    """Approvers' certificates in the order in which the policy's JSON names them; None for one listed by key."""
    for action in Action:
        for token in policy.rule(action).tokens:
            for group in token.groups:
                for approver in group.approvers:
                    yield approver.certificate
