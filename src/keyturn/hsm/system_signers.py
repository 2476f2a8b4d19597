"""What signs with the HSM's own keys: one class for each purpose, none for bytes of the caller's choice (rule R5).

Each looks at what it signs and refuses everything but its own form. The forms cannot be taken for one another: a
timestamp blob begins with its length, at most 64 KiB as little-endian u32; attestations begin with `<?xml` and what is
signed for a receipt with `keyturn/`, and `<?xm` or `keyt` read as a length is more than a gigabyte.

Source: ska-wire-format.md section 5 (who signs what); docs/formats/receipts.md.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from keyturn.crypto.rfc3161 import timestamp_response
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.messages import decode_timestamp
from keyturn.ska.receipt import bytes_to_sign, decode_receipt
from keyturn.ska.sealed_password import open_password

if TYPE_CHECKING:
    from keyturn.crypto.rfc3161 import Imprint

MAX_ATTESTATION: Final = 256 * 1024
"""Longest attestation text in bytes; readers take no longer one (rule R19)."""

_ATTESTATION_START: Final = re.compile(
    r'<\?xml version="1\.0" encoding="UTF-8"\?>\n?<(?:private|secret|public)_key[ >]'
)


@dataclass(frozen=True, slots=True)
class IntegritySigner:
    """The integrity key in use.

    Args:
        name: Its name, as it stands in every timestamp.
        spki: Public key, DER.
        algorithm: API name of its signature algorithm.
    """

    name: str
    spki: bytes
    algorithm: str
    _key: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"<IntegritySigner {self.name}>"

    def sign_timestamp(self, blob: bytes) -> bytes:
        """Sign a timestamp that this HSM made.

        Args:
            blob: Timestamp blob with its header (ska-wire-format.md section 4), naming this key.

        Returns:
            Bare signature, DER `SEQUENCE{r,s}`, over the whole blob.

        Raises:
            KeyturnError: `system-key.wrong-purpose`: it is anything else.
        """
        try:
            name = decode_timestamp(blob).key_name
        except FormatError as error:
            raise _wrong_purpose("The integrity key signs timestamps and nothing else.") from error
        if name != self.name:
            raise _wrong_purpose(f"This timestamp names the key {name!r}; the integrity key is {self.name!r}.")
        return self._key.sign(blob, ec.ECDSA(hashes.SHA256()))


@dataclass(frozen=True, slots=True)
class AttestationSigner:
    """The attestation key.

    Args:
        name: Its name.
        spki: Public key, DER.
        certificate: Device certificate, DER.
        algorithm: API name of its signature algorithm.
    """

    name: str
    spki: bytes
    certificate: bytes
    algorithm: str
    _key: rsa.RSAPrivateKey

    def __repr__(self) -> str:
        return f"<AttestationSigner {self.name}>"

    def sign_xml(self, xml: str) -> bytes:
        """Sign an attestation.

        Args:
            xml: The text, as it is handed out.

        Returns:
            Bare signature over its UTF-8 bytes.

        Raises:
            KeyturnError: `system-key.wrong-purpose`: it does not begin as an attestation does, or is too long.
        """
        content = xml.encode()
        if not _ATTESTATION_START.match(xml) or len(content) > MAX_ATTESTATION:
            raise _wrong_purpose("The attestation key signs attested key attributes and nothing else.")
        return self._key.sign(content, padding.PKCS1v15(), hashes.SHA256())


@dataclass(frozen=True, slots=True)
class ReceiptSigner:
    """The receipt key in use.

    Args:
        name: Its name.
        spki: Public key, DER; it stands in every attestation.
        algorithm: API name of its signature algorithm.
    """

    name: str
    spki: bytes
    algorithm: str
    _key: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"<ReceiptSigner {self.name}>"

    def sign_receipt(self, receipt: bytes) -> bytes:
        """Sign a receipt that this HSM made.

        Args:
            receipt: Its bytes (docs/formats/receipts.md).

        Returns:
            Bare signature, DER `SEQUENCE{r,s}`, over the domain tag and the receipt.

        Raises:
            KeyturnError: `system-key.wrong-purpose`: it is anything else.
        """
        try:
            decode_receipt(receipt)
        except FormatError as error:
            raise _wrong_purpose("The receipt key signs receipts and nothing else.") from error
        return self._key.sign(bytes_to_sign(receipt), ec.ECDSA(hashes.SHA256()))


@dataclass(frozen=True, slots=True)
class TransportOpener:
    """The transport key in use, which opens passwords and does nothing else (rule R27).

    Args:
        name: Its name.
        spki: Public key, DER; passwords are sealed to it.
    """

    name: str
    spki: bytes
    _key: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"<TransportOpener {self.name}>"

    def open_password(self, label: str, sealed: bytes) -> bytes:
        """Open a password that was sealed for a key.

        Args:
            label: Label of the key that it is presented for.
            sealed: The sealed password.

        Returns:
            The password in UTF-8.

        Raises:
            FormatError: 620 `password.seal`: it was not sealed to this key for this label.
        """
        return open_password(self._key, self.spki, label, sealed)


@dataclass(frozen=True, slots=True)
class RfcTimestampSigner:
    """The key for timestamps of RFC 3161 in use. It signs a digest with a time, in the form that it makes itself.

    Args:
        name: Its name.
        certificate: Its certificate, DER; it travels with each timestamp.
        algorithm: API name of its signature algorithm.
    """

    name: str
    certificate: bytes
    algorithm: str
    _key: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"<RfcTimestampSigner {self.name}>"

    def date(self, imprint: Imprint, moment: int) -> bytes:
        """Date a digest.

        Args:
            imprint: What is dated.
            moment: Seconds since the epoch, from the clock guard.

        Returns:
            TimeStampResp, DER.
        """
        return timestamp_response(
            imprint,
            serial=secrets.randbits(127) + 1,
            moment=moment,
            certificate=self.certificate,
            sign=lambda attributes: self._key.sign(attributes, ec.ECDSA(hashes.SHA256())),
        )


def _wrong_purpose(message: str) -> KeyturnError:
    return KeyturnError(ErrorCode.OPERATION_FORBIDDEN_FOR_KEY, message, refusal="system-key.wrong-purpose")
