"""Signed requests: where signers are configured, a request without a signature of one of them is refused.

Some documented calls use a private key and have no place for a signature. Where requests must be signed those are
refused, too: left open, they would be the way around it. Calls that manage keys are left to their role (ADR 0121).

The signature covers the text of the inner object (`signRequest`, …) with the insignificant white space taken out, in
the order in which it was sent; so it is verified over what arrived and never over what was parsed.

Source: rest-api.md section 1.6 (415).
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.approver_keys import load_approver_key, read_approver_key
from keyturn.ska.signatures import scheme_for, verify

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.x509 import Certificate

    from keyturn.api.schemas.common import RequestSignature

_TOKENS: Final = re.compile(rb'("(?:[^"\\]|\\.)*")|[ \t\r\n]+', re.DOTALL)
_MEMBER: Final = "requestSignature"


class RequestSigners:
    """Those who may sign requests.

    Args:
        certificates: Theirs.
    """

    def __init__(self, certificates: Iterable[Certificate]) -> None:
        keys = (one.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for one in certificates)
        self._fingerprints = {load_approver_key(key).fingerprint for key in keys}

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
            signer = read_approver_key(base64.b64decode(signature.public_key, validate=True))
            bare = base64.b64decode(signature.signature, validate=True)
        except ValueError:
            raise FormatError(
                f"Field '{_MEMBER}' is not a valid base64 encoded value.", refusal="base64.malformed"
            ) from None
        if signer.fingerprint not in self._fingerprints:
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

    def refuse_unsigned_use(self, path: str) -> NoReturn:
        """Refuse a call that uses a private key and cannot be signed.

        Args:
            path: The route's.

        Raises:
            KeyturnError: 415 `request.cannot-be-signed`, always.
        """
        raise KeyturnError(
            ErrorCode.REQUEST_SIGNER_NOT_ALLOWED,
            f"{path} uses a private key and its body has no place for a signature, which this server asks for "
            "(general.allowedRequestCertificates). Take the call that has one: /v1/certificate/request, /sign or "
            "/selfsign in place of /v1/certificate/synchronous/..., /v1/wrap in place of an export.",
            refusal="request.cannot-be-signed",
        )


def compacted(text: bytes) -> bytes:
    """JSON text without the white space between its parts; nothing else changes."""
    return _TOKENS.sub(lambda token: token[1] or b"", text)


def _not_allowed(what: str) -> KeyturnError:
    return KeyturnError(
        ErrorCode.REQUEST_SIGNER_NOT_ALLOWED,
        f"{what} that stands in none of the certificates of general.allowedRequestCertificates; sign it with the key "
        "of one of them.",
        refusal="request.signer-not-allowed",
    )
