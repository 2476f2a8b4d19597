"""The bytes that a certificate signs, in words: all of it, and from these bytes alone (R11).

Source: RFC 5280; docs/security/rules.md R11, R17.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from keyturn.errors import FormatError
from keyturn.ska import der
from keyturn.ska.iso_time import format_time
from keyturn.ska.to_be_signed import read_to_be_signed

if TYPE_CHECKING:
    from keyturn.ska.to_be_signed import ToBeSigned

_DAY: Final = 86_400
_ALGORITHMS: Final = {
    der.encode_oid(oid): words
    for oid, words in (
        ("1.2.840.113549.1.1.10", "RSA-PSS"),
        ("1.2.840.113549.1.1.11", "SHA-256 with RSA"),
        ("1.2.840.113549.1.1.12", "SHA-384 with RSA"),
        ("1.2.840.113549.1.1.13", "SHA-512 with RSA"),
        ("1.2.840.113549.1.1.14", "SHA-224 with RSA"),
        ("1.2.840.10045.4.3.1", "SHA-224 with ECDSA"),
        ("1.2.840.10045.4.3.2", "SHA-256 with ECDSA"),
        ("1.2.840.10045.4.3.3", "SHA-384 with ECDSA"),
        ("1.2.840.10045.4.3.4", "SHA-512 with ECDSA"),
        ("1.3.101.112", "Ed25519"),
    )
}


def certificate_in(payload: bytes | None) -> ToBeSigned | None:
    """What a payload says if a signature over it makes a certificate, or a request for one.

    Args:
        payload: What a key is to sign, None for nothing.

    Returns:
        What it says, None if it is anything else.
    """
    if not payload or payload[0] != der.SEQUENCE:
        return None
    try:
        return read_to_be_signed(payload)
    except FormatError:
        return None


def describe_certificate(told: ToBeSigned) -> tuple[tuple[str, str], ...]:
    """Say in words what a signature would make.

    Args:
        told: The bytes to be signed.

    Returns:
        Words and values, all that the bytes say. Values hold foreign text; whoever shows them escapes it.
    """
    rows = [("makes", _what(told)), ("subject", told.subject_text or "no name")]
    if not told.is_request:
        days = (told.not_after - told.not_before + 1) / _DAY
        rows += [
            ("issuer", told.issuer_text or "no name"),
            ("valid from", format_time(told.not_before)),
            ("valid until", f"{format_time(told.not_after)} ({days:g} days)"),
            ("authority", _authority(told)),
        ]
    rows += [
        ("key usages", ", ".join(told.key_usages) or "not limited"),
        ("purposes", ", ".join(told.extended_key_usages) or "not limited"),
        ("other names", ", ".join(told.names) or "none"),
        ("fingerprint of the subject's key (SHA-256)", sha256(told.spki).hexdigest()),
    ]
    if not told.is_request:
        rows += [("serial number", f"{told.serial:x}"), ("signed with", algorithm_words(told.algorithm))]
    if told.subject_key_id:
        rows.append(("identifier of the subject's key", told.subject_key_id.hex()))
    if told.authority_key_id:
        rows.append(("identifier of the issuer's key", told.authority_key_id.hex()))
    for other in told.others:
        critical = ", critical" if other.critical else ""
        rows.append((f"extension {other.oid}{critical}", other.value.hex()))
    return tuple(rows)


def algorithm_words(identifier: bytes) -> str:
    """An AlgorithmIdentifier in words; its bytes where there are none.

    Args:
        identifier: DER.
    """
    oid = der.sequence_of(identifier, "algorithm").take_any()[2]
    return _ALGORITHMS.get(oid, f"algorithm {identifier.hex()}")


def certificate_cautions(told: ToBeSigned) -> tuple[str, ...]:
    """What a person must know before they approve.

    Args:
        told: The bytes to be signed.
    """
    found = []
    if told.certificate_authority:
        below = "" if told.path_length is None else f", with at most {told.path_length} authorities below it"
        found.append(
            f"The certificate makes an AUTHORITY of its subject{below}: whoever holds the subject's key can issue "
            "certificates that are trusted as far as this issuer is."
        )
    if "ANY_EXTENDED_KEY_USAGE" in told.extended_key_usages:
        found.append("The certificate is good for any purpose.")
    return tuple(found)


def _what(told: ToBeSigned) -> str:
    if told.is_request:
        return "a request for a certificate, signed by the key that it is for"
    if told.issuer == told.subject:
        return "a self-signed certificate"
    return "a certificate"


def _authority(told: ToBeSigned) -> str:
    if not told.certificate_authority:
        return "no: the subject may not issue certificates"
    if told.path_length is None:
        return "YES: the subject may issue certificates, of authorities, too"
    return f"YES: the subject may issue certificates, with at most {told.path_length} authorities below it"
