"""Symmetric keys: AES, Camellia, ChaCha20, TDEA and HMAC-SHA-256.

Source: FIPS 197, RFC 3713 (Camellia), RFC 8439 (ChaCha20), NIST SP 800-67 (TDEA), RFC 2104 and FIPS 198-1 (HMAC);
rest-api.md section 4.1.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from keyturn.crypto.kinds.base import (
    KeySpec,
    SecretKeyType,
    named_alone,
    refuse,
    refuse_size,
    require_no_curve,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK_CIPHER_BITS: Final = (128, 192, 256)
AES_BITS: Final = BLOCK_CIPHER_BITS
CHACHA20_BITS: Final = (256,)
TDEA_BYTES: Final = 24
HMAC_BYTES: Final = 32
"""Bytes of an HMAC key that is made here: as many as the digest has (RFC 2104 section 3)."""
MAX_HMAC_BYTES: Final = 64
"""Longest HMAC key: the block of SHA-256, beyond which a key is hashed first and so has two spellings."""


def _any_of(numbers: tuple[int, ...]) -> str:
    *others, last = map(str, numbers)
    return f"{', '.join(others)} or {last}" if others else last


def _sized(name: str, oid: str, sizes: tuple[int, ...]) -> SecretKeyType:
    article = "an" if name == "AES" else "a"

    def check(curve_oid: str, key_size: int, *, allow_weak: bool) -> KeySpec:
        require_no_curve(name, curve_oid)
        if key_size not in sizes:
            shown_sizes = ", ".join(map(str, sizes))
            refuse_size(f"keySize: {article} {name} key has {shown_sizes} bits, not {key_size}.")
        return KeySpec(name, "", key_size)

    def check_value(value: bytes) -> None:
        if 8 * len(value) not in sizes:
            lengths = _any_of(tuple(size // 8 for size in sizes))
            refuse_size(f"{article.capitalize()} {name} key has {lengths} bytes, not {len(value)}.")

    return SecretKeyType(
        name=name,
        oid=oid,
        check=check,
        generate=lambda spec: secrets.token_bytes(spec.key_size // 8),
        check_value=check_value,
        spec_of=lambda value: KeySpec(name, "", 8 * len(value)),
    )


def _unsized(
    name: str, oid: str, generate: Callable[[KeySpec], bytes], check_value: Callable[[bytes], None]
) -> SecretKeyType:
    return SecretKeyType(
        name=name,
        oid=oid,
        check=named_alone(name),
        generate=generate,
        check_value=check_value,
        spec_of=lambda _: KeySpec(name),
    )


def _odd_parity(byte: int) -> int:
    return byte & 0xFE | (bin(byte >> 1).count("1") + 1) & 1


def _make_tdea(_: KeySpec) -> bytes:
    while True:
        value = bytes(map(_odd_parity, secrets.token_bytes(TDEA_BYTES)))
        if _three_keys(value):
            return value


def _three_keys(value: bytes) -> bool:
    """Whether the three DES keys differ, parity aside; two equal ones leave single DES or half the strength."""
    bare = bytes(byte & 0xFE for byte in value)
    return len({bare[:8], bare[8:16], bare[16:]}) == 3


def _check_tdea(value: bytes) -> None:
    if len(value) != TDEA_BYTES:
        refuse_size(f"A TDEA key has {TDEA_BYTES} bytes, three keys of DES, not {len(value)}.")
    if not _three_keys(value):
        refuse_size(
            "The three parts of this TDEA key are not different (NIST SP 800-67 section 3.3.1): it is as weak as two "
            "keys or one. Make another key.",
            "key.weak",
        )


def _check_hmac(value: bytes) -> None:
    if not HMAC_BYTES <= len(value) <= MAX_HMAC_BYTES:
        refuse_size(f"An HMACSHA256 key has {HMAC_BYTES} to {MAX_HMAC_BYTES} bytes, not {len(value)}.")


SECRET_KEY_TYPES: Final = {
    kind.name: kind
    for kind in (
        _sized("AES", "1.0.18033.3.2.1", BLOCK_CIPHER_BITS),
        _sized("Camellia", "1.0.18033.3.2.2", BLOCK_CIPHER_BITS),
        _sized("ChaCha20", "1.2.840.113549.1.9.16.3.18", CHACHA20_BITS),
        _unsized("TDEA", "1.0.18033.3.1.1", _make_tdea, _check_tdea),
        # Not documented; this is id-hmacWithSHA256 of RFC 8018.
        _unsized("HMACSHA256", "1.2.840.113549.2.9", lambda _: secrets.token_bytes(HMAC_BYTES), _check_hmac),
    )
}
"""Kinds of keys that have no public part, by their API name."""


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A symmetric key.

    Args:
        algorithm: Name in `SECRET_KEY_TYPES`.
        value: The key's bytes: 16, 24 or 32 for AES. They never appear in its `repr`.

    Raises:
        KeyturnError: 600 `key.algorithm` when the kind is not available, 603 `key.size` when the length does not fit,
            603 `key.weak` for a TDEA key that is weaker than its length.
    """

    algorithm: str
    value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Check kind and length, so that no later step has to."""
        kind = SECRET_KEY_TYPES.get(self.algorithm)
        if kind is None:
            refuse(
                f"algorithm: {shown(self.algorithm)} is no kind of symmetric key here; available are "
                f"{', '.join(SECRET_KEY_TYPES)}.",
                "key.algorithm",
            )
        kind.check_value(self.value)

    @property
    def key_size(self) -> int:
        """Size in bits, parity bits of TDEA included."""
        return 8 * len(self.value)

    @property
    def spec(self) -> KeySpec:
        """Its description, as at creation."""
        return SECRET_KEY_TYPES[self.algorithm].spec_of(self.value)
