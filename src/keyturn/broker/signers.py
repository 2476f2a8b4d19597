"""Who is asking: approvers prove possession of their key by signing the text of a fresh timestamp.

Source: rest-api.md sections 3.7 and 6.4; ska-wire-format.md section 5 (the signature covers the ASCII characters of
the timestamp exactly as sent); docs/security/rules.md R26.
"""

from __future__ import annotations

import re
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.approver_keys import ApproverKey, certificate_spki, load_approver_certificate, read_approver_key
from keyturn.ska.signatures import SignatureScheme, scheme_for, verify

if TYPE_CHECKING:
    from keyturn.broker.approver_calls import Signer
    from keyturn.broker.settings import BrokerSettings

_ISO_8601: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", flags=re.ASCII)
_FRACTION: Final = re.compile(r"\.\d+")


def load_signer(signer: Signer) -> ApproverKey:
    """Read an approver's key from what they sent.

    It is not judged: only listed keys matter, and those were; judging one that was made for it takes seconds (R13).

    Args:
        signer: Public key or certificate.

    Returns:
        The key with its identity.

    Raises:
        KeyturnError: 600 `signer.missing` unless exactly one of the two is there; 601, 407, 409 for keys that
            cannot be approvers' keys.
    """
    if (signer.spki is None) == (signer.certificate is None):
        raise no_signer()
    if signer.certificate is not None:
        return read_approver_key(certificate_spki(signer.certificate))
    return read_approver_key(signer.spki or b"")


def no_signer() -> KeyturnError:
    """The refusal of a call that does not name its approver."""
    return KeyturnError(
        ErrorCode.VALIDATION_FAILED,
        "Name the approver by approverPublicKey or by approverCertificate, one of the two.",
        refusal="signer.missing",
    )


def require_service(certificate: bytes, settings: BrokerSettings) -> ApproverKey:
    """Load the key of a service that may read the tasks of all approvers.

    Args:
        certificate: Its certificate, DER, as sent.
        settings: Which services there are.

    Returns:
        The key.

    Raises:
        KeyturnError: 405 `timestamp.signer-not-allowed` when it is none of them.
    """
    if sha256(certificate).digest() not in settings.timestamp_services:
        raise KeyturnError(
            ErrorCode.TIMESTAMP_SIGNER_NOT_ALLOWED,
            "Field 'timestampSigningCertificate' is none of the certificates of "
            "general.allowedTimestampSigningCertificates; sign the timestamp with the approver's own key.",
            refusal="timestamp.signer-not-allowed",
        )
    return load_approver_certificate(certificate)


def digest_of(key: ApproverKey) -> bytes:
    """SHA-256 of an approver's identity, 32 bytes: how the store knows them."""
    return bytes.fromhex(key.fingerprint)


def parse_timestamp(text: str) -> float:
    """Read an ISO-8601 timestamp with full date, time and zone.

    Args:
        text: As sent.

    Returns:
        Seconds since the epoch.

    Raises:
        KeyturnError: 600 `timestamp.malformed` for any other form.
    """
    moment: datetime | None = None
    if _ISO_8601.fullmatch(text):
        try:
            # A fraction of nanoseconds does not matter to a window of minutes.
            moment = datetime.fromisoformat(_FRACTION.sub("", text))
        except ValueError:
            moment = None
    if moment is None:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            "timestamp is not a valid ISO-8601 timestamp; write it as 2026-01-31T12:00:00Z or with an offset.",
            refusal="timestamp.malformed",
        )
    return moment.timestamp()


def require_fresh(text: str, now: float, settings: BrokerSettings) -> None:
    """Refuse a timestamp outside the window.

    Args:
        text: The timestamp as sent.
        now: Seconds since the epoch.
        settings: How old it may be and how far ahead.

    Raises:
        KeyturnError: 404 `timestamp.stale` or `timestamp.ahead`; 600 when it cannot be read.
    """
    age = now - parse_timestamp(text)
    if age > settings.max_timestamp_age:
        raise KeyturnError(
            ErrorCode.TIMESTAMP_OFF,
            f"The timestamp is {age:.0f} seconds old; at most {settings.max_timestamp_age} are allowed. Sign the "
            "present time again.",
            refusal="timestamp.stale",
        )
    if -age > settings.max_timestamp_ahead:
        raise KeyturnError(
            ErrorCode.TIMESTAMP_OFF,
            f"The timestamp lies {-age:.0f} seconds ahead of the broker's clock; at most "
            f"{settings.max_timestamp_ahead} are allowed. Check the clock of your machine.",
            refusal="timestamp.ahead",
        )


def require_signature(key: ApproverKey, digest: str, signature: bytes, data: bytes) -> SignatureScheme:
    """Verify an approver's signature.

    Args:
        key: Their key.
        digest: Digest name of rest-api.md section 4.5.
        signature: Bare signature.
        data: What was signed.

    Returns:
        The scheme it was made with.

    Raises:
        KeyturnError: 403 for a bad signature, 600 for a digest that does not go with the key.
    """
    scheme = scheme_for(key, digest)
    verify(key, scheme, signature, data)
    return scheme
