"""What an unwrap approval says about the new key: attributes to flags, and flags to words for people.

The HSM builds the approved bytes itself from the call (R16), the broker builds them to ask for approvals, the
approver's client reads them: all three through this one mapping.

The values of `sensitive`, `extractable`, `modifiable`, `copyable`, stored, indestructible, `decrypt`, `sign` and
`derive` are documented; the four capability bits between them (0x7F has been seen) follow the order of the PKCS#11
attributes. Whatever a bit means to others, here it means this, and the new key gets exactly what was approved.

Source: ska-wire-format.md section 7; PKCS#11 v3.1 section 4.9; docs/security/rules.md R16; docs/adr/0051.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.key_attributes import filled_in
from keyturn.ska.messages import UnwrapPayload, encode_unwrap_payload

if TYPE_CHECKING:
    from collections.abc import Mapping

CAPABILITIES: Final = {
    "encrypt": 1,
    "decrypt": 2,
    "sign": 4,
    "verify": 8,
    "wrap": 16,
    "unwrap": 32,
    "derive": 64,
}
"""Attributes in element 0x001C."""
ACCESS: Final = {"sensitive": 1, "extractable": 2, "modifiable": 4, "copyable": 8}
"""Attributes in element 0x001B."""
STORED: Final = 32
"""Access flag: the key stays in the HSM's store; every key here does."""
INDESTRUCTIBLE: Final = 64
"""Access flag: the opposite of `destroyable`."""
_WITHOUT_FLAG: Final = ("bip32", "slip10", "boundApprovals", "singleUse")
"""Attributes for which an approval in the documented form has no place; a bound one has (R7)."""
_OTHER_ACCESS: Final = {
    STORED: "stays in the HSM",
    INDESTRUCTIBLE: "cannot be deleted",
    512: "starts blocked",
    2048: "without a public key",
    4096: "was always sensitive",
    8192: "kept outside the HSM",
}
_OTHER_CAPABILITIES: Final = {128: "signs for the HSM itself (integrity)"}


def unwrap_payload_for(attributes: Mapping[str, bool], wrapped_key: bytes, label: str) -> bytes:
    """The bytes that approvals for an unwrap cover.

    Args:
        attributes: Attributes of the new key by their API names; those left out have their defaults.
        wrapped_key: The wrapped key.
        label: Label of the new key.

    Returns:
        The unwrap payload, a blob.

    Raises:
        KeyturnError: 606 `attribute.no-flag`: an attribute is true that an approval cannot carry.
        FormatError: The wrapped key or the label is too large.
    """
    complete = filled_in(attributes)
    for name in _WITHOUT_FLAG:
        if complete[name]:
            raise KeyturnError(
                ErrorCode.KEY_ATTRIBUTES_INVALID,
                f"attributes: `{name}` has no place in an approval for an unwrap; leave it out",
                refusal="attribute.no-flag",
            )
    capability = sum(flag for name, flag in CAPABILITIES.items() if complete[name])
    access = STORED + sum(flag for name, flag in ACCESS.items() if complete[name])
    if not complete["destroyable"]:
        access += INDESTRUCTIBLE
    return encode_unwrap_payload(UnwrapPayload(capability, access, wrapped_key, label.encode()))


def capability_words(flags: int) -> tuple[str, ...]:
    """What the new key may do, in the API's words; unknown bits by their number."""
    return _words(flags, {flag: name for name, flag in CAPABILITIES.items()} | _OTHER_CAPABILITIES)


def access_words(flags: int) -> tuple[str, ...]:
    """How the new key is kept, in the API's words where it has one; unknown bits by their number."""
    words = _words(flags, {flag: name for name, flag in ACCESS.items()} | _OTHER_ACCESS)
    return words if flags & INDESTRUCTIBLE else (*words, "destroyable")


def _words(flags: int, known: Mapping[int, str]) -> tuple[str, ...]:
    bits = [1 << place for place in range(flags.bit_length()) if flags >> place & 1]
    return tuple(known.get(bit, f"unknown flag {bit}") for bit in bits)
