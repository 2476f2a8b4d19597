"""Private keys that were made elsewhere: read and checked before they are believed.

A key that comes out of a wrapping is authentic at best; that its numbers belong together, its size is one that keyturn
would make and its file holds no surprise has to be checked. Everything is bounded: the size is looked at before
anything is computed, no number is searched for primes (the largest key takes tens of milliseconds), and a key under a
password (PBES2, whose work factor the sender chooses) is not PKCS#8 as it is meant here.

Source: RFC 5958 section 2 (OneAsymmetricKey), RFC 8017 section 3.2 (what RSA private keys must satisfy),
NIST SP 800-56B section 6.4.1 (checks of RSA keys), docs/adr/0050.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from keyturn.crypto.keys import kind_of, private_key_from_der
from keyturn.crypto.kinds.raw import OCTET_STRING
from keyturn.errors import ErrorCode, FormatError
from keyturn.ska.der import INTEGER, SEQUENCE, encode, encode_oid, sequence_of

if TYPE_CHECKING:
    from keyturn.crypto.keys import PrivateKey

MAX_PKCS8: Final = 8192
"""Largest PKCS#8 in bytes; RSA 8192 takes about 4 700."""
_RSA: Final = b"\x02\x01\x00" + encode(SEQUENCE, encode_oid("1.2.840.113549.1.1.1") + b"\x05\x00")
"""Version and algorithm of an RSA key in PKCS#8."""


def checked_private_key(der: bytes, *, allow_weak: bool = False) -> PrivateKey:
    """Read a private key that was made elsewhere.

    Args:
        der: PKCS#8, unencrypted, nothing behind it.
        allow_weak: Whether RSA 1024 and DSA 1024 are taken too (`hsm.allowWeakKeys`).

    Returns:
        The key.

    Raises:
        FormatError: 407 `key.unreadable` when it is no such PKCS#8 or no kind of key that is available here,
            `key.curve` when its curve is not, `key.inconsistent` when its numbers do not belong together.
        KeyturnError: 603 `key.size` or `key.weak` when keyturn would not make a key of that size.
    """
    if len(der) > MAX_PKCS8:
        _unreadable()
    _require_plain_pkcs8(der)
    key = private_key_from_der(der)
    kind_of(key).check_imported(key, allow_weak=allow_weak)
    return key


def as_pkcs8(der: bytes) -> bytes:
    """Put a bare RSA key (RFC 8017 appendix A.1.2) into PKCS#8.

    Args:
        der: A private key of some form.

    Returns:
        PKCS#8 for such a key; everything else as it is, for `checked_private_key` to judge.
    """
    if len(der) > MAX_PKCS8:
        return der  # Refused with the reader's words.
    try:
        reader = sequence_of(der, "private key")
        bare = reader.take(INTEGER) == b"\0" and reader.peek() == INTEGER
    except FormatError:
        return der
    # Not by the library: reading a bare key it searches its numbers for primes, which stops the HSM for ten seconds.
    return encode(SEQUENCE, _RSA + encode(OCTET_STRING, der)) if bare else der


def _require_plain_pkcs8(der: bytes) -> None:
    """Version, algorithm, key: what tells it from RSA and EC keys of older forms and from a key under a password."""
    try:
        reader = sequence_of(der, "PKCS#8")
        version = reader.take(INTEGER)
        reader.take(SEQUENCE)
        reader.take(OCTET_STRING)
    except FormatError:
        _unreadable()
    if version not in (b"\0", b"\1"):
        _unreadable()


def _unreadable() -> NoReturn:
    raise FormatError(
        f"A private key arrives as PKCS#8 without a password, nothing behind it, at most {MAX_PKCS8} bytes; "
        "this is none.",
        code=ErrorCode.PARSING_KEY,
        refusal="key.unreadable",
    )
