"""First trust: two people compare an HSM's device certificate and integrity key as words.

Everything keyturn verifies about an HSM from afar hangs on its device certificate. The first copy of it travels over
roads nobody vouches for, so its SHA-256 is read aloud as sixteen words (128 bits) on one side and typed on the other.
Only then is it pinned. The integrity key stands in XML that the device signs; its words are compared as well, so that
a person has seen the key under which every time limit is kept.

Source: docs/security/rules.md R11, R12, R19; decisions 11.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from keyturn.approver.tasks import decode_base64
from keyturn.approver.terminal import visible
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.plain import counted
from keyturn.ska.attestation import verify_attestation
from keyturn.ska.words import BYTEWORDS, TRUST_WORDS, checksum_words

if TYPE_CHECKING:
    from keyturn.ska.attestation import KeyAttestation

DEVICE_DOMAIN: Final = "device-certificate"
"""Domain of the words over a device certificate's DER."""
INTEGRITY_DOMAIN: Final = "integrity-key"
"""Domain of the words over an integrity key's SPKI."""
MAX_PEM: Final = 1 << 18

_KNOWN: Final = frozenset(BYTEWORDS)


@dataclass(frozen=True, slots=True)
class TrustView:
    """Something to be compared aloud.

    Args:
        what: `device certificate` or `integrity key`.
        name: Its own name, escaped: a certificate's subject, a key's name.
        data: The bytes that are compared: DER.
        fingerprint: SHA-256 of `data`, hex.
        words: Sixteen words.
    """

    what: str
    name: str
    data: bytes
    fingerprint: str
    words: tuple[str, ...]


def device_certificate(pem: bytes) -> bytes:
    """The device certificate of a chain: the first certificate.

    Args:
        pem: One or more certificates, leaf first, as `GET /v1/attestation` gives them.

    Returns:
        DER.

    Raises:
        KeyturnError: `first-trust.certificate` when there is none, or it is damaged.
    """
    try:
        if len(pem) > MAX_PEM:
            raise ValueError("too long")
        certificate = x509.load_pem_x509_certificates(pem)[0]
        certificate.subject.rfc4514_string()  # The library reads it only now; it is shown later.
        return certificate.public_bytes(Encoding.DER)
    except (ValueError, TypeError, x509.InvalidVersion):
        raise KeyturnError(
            ErrorCode.PARSING_CERTIFICATE,
            "This is no PEM certificate (`-----BEGIN CERTIFICATE-----`); take the file that `keyturn trust show --out` "
            "wrote on the HSM's side.",
            refusal="first-trust.certificate",
        ) from None


def certificate_pem(der: bytes) -> bytes:
    """A certificate as PEM text.

    Args:
        der: DER.
    """
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


def view_device(der: bytes) -> TrustView:
    """A device certificate, ready to be compared.

    Args:
        der: DER.
    """
    subject = x509.load_der_x509_certificate(der).subject.rfc4514_string()
    return _view("device certificate", subject, der, DEVICE_DOMAIN)


def view_integrity_key(attestation: KeyAttestation) -> TrustView:
    """The integrity key that an attested key names, ready to be compared.

    Args:
        attestation: Attributes that were verified under the device certificate.
    """
    return _view("integrity key", attestation.integrity_key_name, attestation.integrity_key, INTEGRITY_DOMAIN)


def verified_attributes(attributes: object, device: bytes) -> KeyAttestation:
    """Verify attested attributes, as `POST /v1/key/attributes` answers them, under a device certificate.

    Args:
        attributes: Decoded JSON with `xml` and `xmlSignature`.
        device: Device certificate, DER.

    Raises:
        KeyturnError: `first-trust.attributes` when the form is wrong, otherwise the verifier's refusal (403).
    """
    xml = attributes.get("xml") if isinstance(attributes, dict) else None
    signature = attributes.get("xmlSignature") if isinstance(attributes, dict) else None
    decoded = decode_base64(signature) if isinstance(signature, str) else None
    if not isinstance(xml, str) or decoded is None:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            "These are no attested key attributes: `xml` and `xmlSignature` (base64) are needed, as "
            "`POST /v1/key/attributes` answers them.",
            refusal="first-trust.attributes",
        )
    return verify_attestation(xml, decoded, device)


def parse_words(text: str) -> tuple[str, ...]:
    """Words as a person types them: any case, separated by spaces, commas or hyphens.

    Args:
        text: What was typed.

    Raises:
        KeyturnError: `first-trust.word-count` or `first-trust.unknown-word` (with its position), so that a slip of the
            finger is told apart from a foreign certificate.
    """
    words = tuple(text.lower().replace(",", " ").replace("-", " ").split())
    for position, word in enumerate(words, 1):
        if word not in _KNOWN:
            raise _refusal(
                "unknown-word", f"Word {position}, '{visible(word[:20])}', is not in the list; type it again."
            )
    if len(words) != TRUST_WORDS:
        raise _refusal(
            "word-count", f"{counted(len(words), 'word was', 'words were')} typed; all {TRUST_WORDS} must be compared."
        )
    return words


def require_same_words(typed: tuple[str, ...], view: TrustView) -> None:
    """Refuse unless the other side's words are this side's words.

    Args:
        typed: What the other side read.
        view: What lies here.

    Raises:
        KeyturnError: `first-trust.words-differ`. Which word differs is not said: nobody should mend a foreign
            certificate's words until they fit.
    """
    if typed != view.words:
        raise _refusal(
            "words-differ",
            f"The words of the {view.what} differ: what lies here is not what the other side has. Nothing was "
            "pinned. Fetch it again from the HSM's side, and find out who changed it on the way.",
        )


def _view(what: str, name: str, data: bytes, domain: str) -> TrustView:
    words = checksum_words(data, domain=domain, count=TRUST_WORDS)
    return TrustView(what, visible(name), data, hashlib.sha256(data).hexdigest(), words)


def _refusal(word: str, message: str) -> KeyturnError:
    return KeyturnError(ErrorCode.INVALID_CERTIFICATE, message, refusal=f"first-trust.{word}")
