"""Passwords of keys at the API's edge: sealed to the HSM as soon as they are decoded (R27).

Nothing behind an endpoint sees one: what goes on is sealed for one key of one HSM, and what is shown of a request has
null in its place (`keyturn.api.codec.request_text`).

Source: rest-api.md section 1.2 (form), docs/security/rules.md R27, docs/adr/0100.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from keyturn.errors import ErrorCode, FormatError
from keyturn.ska.approver_secrets import sealed_for
from keyturn.ska.sealed_password import MAX_PASSWORD, seal_password

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.api.http import Services


async def sealed_password(services: Services, name: str, key_name: str, value: Sequence[str] | str | None) -> bytes:
    """Seal a password that came with a call.

    Args:
        services: Knows to which key.
        name: The field's dotted path, for messages.
        key_name: Label of the key that it is for, or the name of a key derived from that.
        value: None, a text, or an array of one-character texts; absent, null and empty mean that there is none.

    Returns:
        The sealed password, empty for none.

    Raises:
        FormatError: 600 `password.form` if an entry is not one character; `password.length`.
        KeyturnError: 611 `password.offline` where there is no HSM.
    """
    if not value:
        return b""
    password = _text(name, value)
    transport_key = await services.broker.transfer.transport_key()
    return seal_password(transport_key, key_name, password, ec.generate_private_key(ec.SECP256R1()))


async def sealed_secret(services: Services, name: str, secret: str, approver: str, value: Sequence[str] | str) -> bytes:
    """Seal a secret of approver management.

    Args:
        services: Knows to which key.
        name: The field's name, for messages.
        secret: What it is (`keyturn.ska.approver_secrets`).
        approver: Name of the approver that it is for.
        value: A text, or an array of one-character texts.

    Returns:
        The sealed secret.

    Raises:
        FormatError: As `sealed_password`, and 600 `password.missing` where there is none.
        KeyturnError: 611 `password.offline` where there is no HSM.
    """
    if not value:
        raise FormatError(
            f"Field '{name}' must not be empty.", code=ErrorCode.VALIDATION_FAILED, refusal="password.missing"
        )
    return await sealed_password(services, name, sealed_for(secret, approver), value)


def _text(name: str, value: Sequence[str] | str) -> str:
    if not isinstance(value, str) and any(len(letter) != 1 for letter in value):
        raise FormatError(f"Field '{name}' must be an array of single characters.", refusal="password.form")
    text = "".join(value)
    if len(text.encode(errors="surrogatepass")) > MAX_PASSWORD:
        raise FormatError(
            f"Field '{name}' has more than {MAX_PASSWORD} bytes of UTF-8.",
            code=ErrorCode.VALIDATION_FAILED,
            refusal="password.length",
        )
    return text
