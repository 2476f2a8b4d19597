"""The data formats of the API's fields: base64, PEM armour, hex, passwords.

Source: rest-api.md section 1.2.
"""

from __future__ import annotations

import base64
import binascii
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from keyturn.crypto.ciphers import TAG_LENGTHS
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.receipt import MAX_REQUEST_ID, is_request_id

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PAYLOAD: Final = 64 * 1024
"""Most bytes of one payload (rest-api.md section 1.3)."""
MAX_BLOB: Final = 64 * 1024
"""Most bytes of one approval, key, certificate or metadata; no SKA structure is larger (decisions 21)."""
MAX_XML: Final = 256 * 1024
"""Most bytes of an attestation XML (R19)."""

_ARMOUR: Final = re.compile(r"-----(?:BEGIN|END) (?:[A-Z]+ )?(?:PRIVATE KEY|PUBLIC KEY|CERTIFICATE)-----")


def from_base64(name: str, text: str, *, limit: int = MAX_BLOB) -> bytes:
    """Decode a base64 field: standard alphabet, padding, no line breaks.

    Args:
        name: The field's dotted path, for the message.
        text: What was sent.
        limit: Most bytes it may hold.

    Raises:
        FormatError: If it is not base64, or holds more.
    """
    data = _decoded(name, text)
    if len(data) > limit:
        raise FormatError(
            f"Field '{name}' holds {len(data)} bytes; at most {limit} are allowed.",
            code=ErrorCode.INVALID_PAYLOAD,
            refusal="field.too-large",
        )
    return data


def _decoded(name: str, text: str) -> bytes:
    # The library forgives any number of `=`; the documented form has groups of four and at most two.
    if len(text) % 4 == 0 and not text.endswith("==="):
        with suppress(binascii.Error, ValueError):
            return base64.b64decode(text, validate=True)
    raise FormatError(f"Field '{name}' is not a valid base64 encoded value", refusal="base64.invalid")


def optional_base64(name: str, text: str | None) -> bytes | None:
    """Decode a base64 field that may be absent or null."""
    return None if text is None else from_base64(name, text)


def keyed_base64(name: str, text: str | None) -> bytes | None:
    """Decode a base64 field that holds a key or a certificate; PEM armour around it is removed first.

    Args:
        name: The field's dotted path, for the message.
        text: base64 of DER, or a PEM block; None or empty if absent.

    Returns:
        The DER bytes, None if absent.
    """
    if not text:
        return None
    if "-----" in text:
        text = "".join(_ARMOUR.sub("", text).split())
    return from_base64(name, text)


def payload_bytes(name: str, text: str, payload_type: str) -> bytes:
    """Decode a payload: base64, or hex text where its type is `HEX`.

    Args:
        name: The field's dotted path, for the message.
        text: What was sent.
        payload_type: The request's `payloadType`.

    Raises:
        FormatError: With 635 for bad hex, 600 for bad base64, 612 for more than `MAX_PAYLOAD` bytes.
    """
    if payload_type == "HEX":
        try:
            # `fromhex` would forgive blanks; the documented form has none.
            data = bytes.fromhex(text) if not any(letter.isspace() for letter in text) else None
        except ValueError:
            data = None
        if data is None:
            raise FormatError(
                f"Field '{name}' is not hexadecimal text, as payloadType HEX demands.",
                code=ErrorCode.ENCODING,
                refusal="payload.not-hex",
            )
    else:
        data = _decoded(name, text)
    if len(data) > MAX_PAYLOAD:
        raise FormatError(
            f"Field '{name}' holds {len(data)} bytes; at most {MAX_PAYLOAD} (64 KiB) can be processed in one call. "
            "Hash the data first and use a NONE… signature algorithm.",
            code=ErrorCode.INVALID_PAYLOAD,
            refusal="payload.too-large",
        )
    return data


def base64_list(name: str, texts: Sequence[str] | None, *, most: int) -> list[bytes]:
    """Decode a list of base64 values.

    Args:
        name: The field's dotted path, for the message.
        texts: What was sent; None means none.
        most: Longest list allowed.
    """
    if texts is None:
        return []
    if len(texts) > most:
        raise FormatError(f"Field '{name}' holds {len(texts)} entries; at most {most} are allowed.")
    return [from_base64(f"{name}[{position}]", text) for position, text in enumerate(texts)]


def not_available(name: str, value: object) -> None:
    """Refuse a documented field whose function this version does not have, instead of ignoring it.

    Args:
        name: The field's dotted path, for the message.
        value: What was sent; None and empty mean absent.

    Raises:
        KeyturnError: With 611, if the field carries something.
    """
    if value:
        raise KeyturnError(
            ErrorCode.UNSUPPORTED_OPERATION,
            f"Field '{name}' is not available in this version; leave it out or send null.",
            refusal="field.not-available",
        )


def receipt_for(name: str, request_id: str | None) -> str:
    """Check the id for which a receipt is asked.

    Args:
        name: The field's dotted path, for the message.
        request_id: What was sent; None and empty mean that no receipt is wanted.

    Returns:
        The id, empty for none.

    Raises:
        FormatError: If it has other characters than visible ASCII, which a receipt cannot hold.
    """
    if not request_id:
        return ""
    if not is_request_id(request_id):
        raise FormatError(
            f"Field '{name}' must have 1 to {MAX_REQUEST_ID} visible ASCII characters.", refusal="request-id.form"
        )
    return request_id


def tag_length(name: str, bits: int | None) -> int:
    """Check the length of a message authentication code.

    Args:
        name: The field's dotted path, for the message.
        bits: What was sent; None means 0, the cipher's own.

    Raises:
        KeyturnError: With 624, for a length that no cipher has.
    """
    if not bits:
        return 0
    if bits not in TAG_LENGTHS:
        known = ", ".join(map(str, sorted(TAG_LENGTHS)))
        raise KeyturnError(
            ErrorCode.INVALID_TAG_LENGTH,
            f"Field '{name}' is {bits}; possible: {known} (bits, 0 for the cipher's own).",
            refusal="cipher.tag-length",
        )
    return bits
