"""Signed requests: where signers are configured, a request without a signature of one of them is refused.

The signature covers the text of the inner object (`signRequest`, …) with the insignificant white space taken out, in
the order in which it was sent; so it is verified over what arrived and never over what was parsed.

Source: rest-api.md section 1.6 (415).
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificates

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.plain import system_reason
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.signatures import scheme_for, verify

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from keyturn.api.schemas.common import RequestSignature

_TOKENS: Final = re.compile(rb'("(?:[^"\\]|\\.)*")|[ \t\r\n]+', re.DOTALL)
_MEMBER: Final = "requestSignature"


class RequestSigners:
    """Those who may sign requests.

    Args:
        keys: Their public keys, SPKI in DER.
    """

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._keys = {load_approver_key(key).fingerprint: key for key in keys}

    def check(self, raw: bytes, signature: RequestSignature | None) -> None:
        """Require that a request is signed by one of them.

        Args:
            raw: The body as received; it was parsed without fault.
            signature: Its member `requestSignature`.

        Raises:
            KeyturnError: 415 `request.signer-not-allowed` without a signature or with a stranger's; 403 when it does
                not verify; 600 for a digest that is not known.
            FormatError: A value is no base64, or the key cannot be read.
        """
        if signature is None:
            raise _not_allowed("The request is not signed")
        try:
            signer = load_approver_key(base64.b64decode(signature.public_key, validate=True))
            bare = base64.b64decode(signature.signature, validate=True)
        except ValueError:
            raise FormatError(
                f"Field '{_MEMBER}' is not a valid base64 encoded value.", refusal="base64.malformed"
            ) from None
        if signer.fingerprint not in self._keys:
            raise _not_allowed("The request is signed by a key")
        members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        inner = [bytes(value) for name, value in members.items() if name != _MEMBER]
        try:
            if len(inner) != 1:  # Which of several would the signature be about?
                raise KeyturnError(ErrorCode.INVALID_SIGNATURE, "", refusal="request.signature")
            verify(signer, scheme_for(signer, signature.digest_algorithm), bare, compacted(inner[0]))
        except KeyturnError as error:
            if error.code is not ErrorCode.INVALID_SIGNATURE:
                raise
            raise KeyturnError(
                ErrorCode.INVALID_SIGNATURE,
                f"Field '{_MEMBER}': the signature does not verify over the one inner object as it was sent, without "
                "white space between its parts.",
                refusal="request.signature",
            ) from None


def compacted(text: bytes) -> bytes:
    """JSON text without the white space between its parts; nothing else changes."""
    return _TOKENS.sub(lambda token: token[1] or b"", text)


def load_certificate_keys(files: Iterable[Path], setting: str) -> list[bytes]:
    """Read the public keys of certificates.

    Args:
        files: PEM files, each with one or more certificates.
        setting: Name of the setting, for messages.

    Returns:
        SPKI in DER of each.

    Raises:
        KeyturnError: 301 `config.certificates`.
    """
    keys: list[bytes] = []
    for file in files:
        try:
            certificates = load_pem_x509_certificates(file.read_bytes())
        except (OSError, ValueError) as error:
            why = system_reason(error) if isinstance(error, OSError) else "it holds no certificate in PEM"
            raise KeyturnError(
                ErrorCode.CONFIG_NOT_VALID, f"{setting}: {file}: {why}.", refusal="config.certificates"
            ) from None
        keys += [one.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for one in certificates]
    return keys


def _not_allowed(what: str) -> KeyturnError:
    return KeyturnError(
        ErrorCode.REQUEST_SIGNER_NOT_ALLOWED,
        f"{what} that stands in none of the certificates of general.allowedRequestCertificates; sign it with the key "
        "of one of them.",
        refusal="request.signer-not-allowed",
    )
