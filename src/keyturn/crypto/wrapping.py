"""The one place where a method of wrapping is one entry, and the functions that use it by its API name.

The name says what the wrapping key is (`AES_…`, `RSA_…`) and what is wrapped: a suffix names a kind of private key, as
PKCS#8; without one it is an AES key, as its bytes.

Whatever fails under an RSA key fails with one code and one text, and `RSA_WRAP_PAD` does not fail at all: what has a
broken padding unwraps to a key that nobody knows (R31). AES wrappings prove their content's origin, so what is wrong
with it is said.

Source: rest-api.md sections 3.3 and 4.11, decisions 33, RFC 3394 and RFC 5649 (AES key wrap), RFC 8017 section 7,
docs/security/rules.md R31, docs/adr/0050.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap,
    aes_key_wrap_with_padding,
)

from keyturn.crypto.cipher_schemes import rsa_private, rsa_public, secret_value
from keyturn.crypto.imported_keys import MAX_PKCS8, checked_private_key
from keyturn.crypto.keys import (
    AES_BITS,
    SecretKey,
    describe_private,
    private_key_from_der,
    private_key_to_stored,
    public_spki,
)
from keyturn.crypto.schemes import key_kind
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.der import DERReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from keyturn.crypto.cipher_schemes import AnyKey
    from keyturn.crypto.keys import PrivateKey, PublicKey

MAX_WRAPPED_KEY: Final = MAX_PKCS8 + 16
"""Largest wrapped key in bytes: the wrapping adds 8, the filling up to 7."""
_SEMIBLOCK: Final = 8
"""AES key wrap works on blocks of this many bytes (RFC 3394 section 2)."""


@dataclass(frozen=True, slots=True)
class WrapMethod:
    """A method of wrapping.

    Args:
        name: Its API name.
        wrapping_key_type: Kind of the key that wraps: `AES` or `RSA`.
        wrapped_key_type: Kind of the key that is wrapped: `AES`, `BLS`, `DSA`, `EC`, `ED` or `RSA`.
        wrap: What wraps: key, content.
        unwrap: What unwraps; raises `ValueError` or `InvalidUnwrap` when it fails.
        filled: Whether a PKCS#8 is filled up with zero octets (decisions 33).
    """

    name: str
    wrapping_key_type: str
    wrapped_key_type: str
    wrap: Callable[[AnyKey, bytes], bytes] = field(repr=False)
    unwrap: Callable[[AnyKey, bytes], bytes] = field(repr=False)
    filled: bool = False


@dataclass(frozen=True, slots=True)
class UnwrappedKey:
    """A key that came out of a wrapping, checked.

    Args:
        algorithm: One of the kinds that `WrapMethod.wrapped_key_type` names.
        curve_oid: Dotted OID for EC and ED, else "".
        key_size: Bits for RSA, DSA and AES, else 0.
        public_key: DER SubjectPublicKeyInfo; empty for AES.
        private_key: As the key store holds it: PKCS#8, or the bytes of an AES key.
    """

    algorithm: str
    curve_oid: str
    key_size: int
    public_key: bytes
    private_key: bytes = field(repr=False)


# OAEP does not need a hash without collisions.
_OAEP: Final = OAEP(MGF1(SHA1()), SHA1(), None)  # noqa: S303 - The documented default (rest-api.md section 4.4).
_PKCS1: Final = PKCS1v15()


def _unwrap_pkcs1(key: AnyKey, wrapped: bytes) -> bytes:
    """Implicit rejection, carried to its end.

    The library gives a broken padding a content of any length, and only three lengths are AES keys. If the others were
    an error, that error would tell about the padding. So they unwrap to a key as well: one that depends on wrapping
    key and wrapped key alone, and that nobody can know.
    """
    private = rsa_private(key)
    substitute = _substitute_key(private, wrapped)
    content = private.decrypt(wrapped, _PKCS1)
    return content if 8 * len(content) in AES_BITS else substitute


def _substitute_key(key: RSAPrivateKey, wrapped: bytes) -> bytes:
    numbers = key.private_numbers()
    secret = numbers.d.to_bytes((key.key_size + 7) // 8, "big")
    stream = hmac.digest(hashlib.sha512(secret).digest(), b"keyturn RSA_WRAP_PAD\0" + wrapped, "sha512")
    size = AES_BITS[int.from_bytes(stream[32:], "big") % len(AES_BITS)] // 8
    return stream[:size]


def _entries() -> Iterator[WrapMethod]:
    def wrap(key: AnyKey, content: bytes) -> bytes:
        return aes_key_wrap(secret_value(key), content)

    def unwrap(key: AnyKey, wrapped: bytes) -> bytes:
        return aes_key_unwrap(secret_value(key), wrapped)

    def wrap_padded(key: AnyKey, content: bytes) -> bytes:
        return aes_key_wrap_with_padding(secret_value(key), content)

    def unwrap_padded(key: AnyKey, wrapped: bytes) -> bytes:
        return aes_key_unwrap_with_padding(secret_value(key), wrapped)

    yield WrapMethod("AES_WRAP", "AES", "AES", wrap, unwrap)
    yield WrapMethod("AES_WRAP_PAD", "AES", "AES", wrap_padded, unwrap_padded)
    for kind in ("BLS", "DSA", "EC", "ED", "RSA"):
        yield WrapMethod(f"AES_WRAP_{kind}", "AES", kind, wrap, unwrap, filled=True)
        yield WrapMethod(f"AES_WRAP_PAD_{kind}", "AES", kind, wrap_padded, unwrap_padded)
    yield WrapMethod(
        "RSA_WRAP_OAEP",
        "RSA",
        "AES",
        lambda key, content: rsa_public(key).encrypt(content, _OAEP),
        lambda key, wrapped: rsa_private(key).decrypt(wrapped, _OAEP),
    )
    yield WrapMethod(
        "RSA_WRAP_PAD", "RSA", "AES", lambda key, content: rsa_public(key).encrypt(content, _PKCS1), _unwrap_pkcs1
    )


WRAP_METHODS: Final = {method.name: method for method in _entries()}
"""All methods of wrapping by their API name."""


def wrap_method(name: str) -> WrapMethod:
    """Find a method of wrapping.

    Args:
        name: Its API name.

    Returns:
        Its entry.

    Raises:
        KeyturnError: 600 `wrap.method` when there is none of that name here; the message lists those there are.
    """
    method = WRAP_METHODS.get(name)
    if method is None:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"wrapMethod: {name[:64]!a} is not available here; available are {', '.join(sorted(WRAP_METHODS))}.",
            refusal="wrap.method",
        )
    return method


def unwrap(key: PrivateKey | SecretKey, method: str, wrapped: bytes, *, allow_weak: bool = False) -> UnwrappedKey:
    """Unwrap a key and check it.

    Args:
        key: The wrapping key.
        method: API name of the method.
        wrapped: The wrapped key, at most `MAX_WRAPPED_KEY` bytes.
        allow_weak: Whether RSA 1024 and DSA 1024 are taken too (`hsm.allowWeakKeys`).

    Returns:
        The key. With `RSA_WRAP_PAD` always one: a broken padding gives a key that nobody knows.

    Raises:
        KeyturnError: 410 `unwrap.failed` when it does not unwrap; under an RSA key nothing else is said. Before
            anything is unwrapped: 600 `wrap.method`, 607 `wrap.wrong-key-type`, 612 `payload.too-large`. About the
            content of an AES wrapping: 603 `key.size` or `key.weak`, 613 `key.wrong-type`.
        FormatError: 407 about the content of an AES wrapping, see `checked_private_key`.
    """
    entry = wrap_method(method)
    _require_wrapping_key(entry, key)
    if len(wrapped) > MAX_WRAPPED_KEY:
        raise KeyturnError(
            ErrorCode.INVALID_PAYLOAD,
            f"wrappedKey: a wrapped key has at most {MAX_WRAPPED_KEY} bytes, not {len(wrapped)}.",
            refusal="payload.too-large",
        )
    try:
        content = entry.unwrap(key, wrapped)
    except (ValueError, InvalidUnwrap):
        _failed()
    if entry.wrapping_key_type == "RSA" and 8 * len(content) not in AES_BITS:
        _failed()
    return _read(entry, content, allow_weak=allow_weak)


def wrap(key: PrivateKey | PublicKey | SecretKey, method: str, content: bytes, *, kind: str = "AES") -> bytes:
    """Wrap a key.

    Args:
        key: The wrapping key; for RSA either side of it.
        method: API name of the method.
        content: The key to be wrapped: PKCS#8, or the bytes of a symmetric key.
        kind: Kind of the symmetric key. Unwrapped here it is an AES key, because the method says nothing else.

    Returns:
        The wrapped key.

    Raises:
        KeyturnError: 600 `wrap.method`, 607 `wrap.wrong-key-type`; 613 `key.wrong-type` when the method wraps another
            kind of key; 603 `key.size` when a symmetric key has an odd length.
        FormatError: 407 when `content` is no key.
    """
    entry = wrap_method(method)
    _require_wrapping_key(entry, key)
    if entry.wrapped_key_type == "AES":
        if entry.name == "AES_WRAP" and len(content) % _SEMIBLOCK:
            raise KeyturnError(
                ErrorCode.KEY_SIZE,
                f"AES_WRAP takes keys of whole blocks of 8 bytes, not {len(content)} bytes; take AES_WRAP_PAD.",
                refusal="key.size",
            )
        SecretKey(kind, content)
    else:
        inner = private_key_from_der(content)
        _require_kind(entry, inner)
        if entry.filled:
            # The DER knows its own length (decisions 33).
            content = content + bytes(-len(content) % _SEMIBLOCK)
    return entry.wrap(key, content)


def _require_wrapping_key(entry: WrapMethod, key: AnyKey) -> None:
    kind = key_kind(key)
    if kind != entry.wrapping_key_type:
        methods = ", ".join(sorted(name for name, other in WRAP_METHODS.items() if other.wrapping_key_type == kind))
        raise KeyturnError(
            ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
            f"A key of type {kind} cannot be used with {entry.name}; "
            + (f"choose one of {methods}." if methods else "such keys do not wrap."),
            refusal="wrap.wrong-key-type",
        )


def _require_kind(entry: WrapMethod, key: AnyKey) -> None:
    kind = key_kind(key)
    if kind != entry.wrapped_key_type:
        raise KeyturnError(
            ErrorCode.INVALID_KEY_TYPE,
            f"{entry.name} is for wrapped keys of type {entry.wrapped_key_type}; this one is of type {kind}.",
            refusal="key.wrong-type",
        )


def _read(entry: WrapMethod, content: bytes, *, allow_weak: bool) -> UnwrappedKey:
    if entry.wrapped_key_type == "AES":
        secret = SecretKey("AES", content)
        return UnwrappedKey("AES", "", secret.key_size, b"", secret.value)
    key = checked_private_key(_without_filling(content) if entry.filled else content, allow_weak=allow_weak)
    _require_kind(entry, key)
    spec = describe_private(key)
    # Written anew: attributes and whatever else came along stays outside.
    return UnwrappedKey(spec.algorithm, spec.curve_oid, spec.key_size, public_spki(key), private_key_to_stored(key))


def _without_filling(content: bytes) -> bytes:
    """The DER without the zero octets behind it; fewer than eight, or it is left as it is, to be refused."""
    try:
        _, _, der = DERReader(content, "wrapped key").take_any()
    except FormatError:
        return content
    filling = content[len(der) :]
    return der if len(filling) < _SEMIBLOCK and not any(filling) else content


def _failed() -> NoReturn:
    raise KeyturnError(ErrorCode.DECRYPT_FAILED, UNWRAP_FAILED, refusal="unwrap.failed") from None


UNWRAP_FAILED: Final = (
    "The wrapped key does not unwrap. It must have been wrapped for this key with this method, and arrive complete and "
    "unchanged."
)
"""The one text, whatever the reason (R31)."""
