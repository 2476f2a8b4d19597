"""The one place where a cipher is one entry, and the functions that use it by its API name.

An entry says for which kind of key it is, which initialization vectors it takes, whether it authenticates, and which
scheme does the work. Nothing else in keyturn compares cipher names.

Whatever a decryption fails at, it fails with one code and one text (R31): a caller who could tell a broken padding
from a broken tag or a wrong length could decrypt with that (Bleichenbacher 1998, Manger 2001, Vaudenay 2002).

Source: rest-api.md sections 1.3, 1.4, 3.3 and 4.4, decisions 28, docs/security/rules.md R8 and R31, docs/adr/0049.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.modes import CBC, CTR, ECB
from cryptography.hazmat.primitives.hashes import SHA1, SHA224, SHA256, SHA384, SHA512

from keyturn.crypto.cipher_schemes import (
    BLOCK,
    TDEA_BLOCK,
    AesGcm,
    Blocks,
    ChaCha20Stream,
    ChaCha20WithPoly1305,
    CipherParameters,
    RsaOaep,
    RsaPkcs1Encryption,
    RsaWithoutPadding,
    Stream,
    TooLargeError,
)
from keyturn.crypto.kem import MlKem
from keyturn.crypto.kinds.ml_kem import ML_KEM
from keyturn.crypto.schemes import key_kind
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.messages import looks_like_own_structure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keyturn.crypto.cipher_schemes import CipherScheme
    from keyturn.crypto.keys import PrivateKey, PublicKey, SecretKey

__all__ = [
    "CIPHER_ALGORITHMS",
    "MAX_CIPHER_PAYLOAD",
    "TAG_LENGTHS",
    "CipherAlgorithm",
    "CipherParameters",
    "Encrypted",
    "cipher_algorithm",
    "ciphers_for",
    "decrypt",
    "encrypt",
    "require_single_meaning_decrypt",
]

MAX_CIPHER_PAYLOAD: Final = 64 * 1024
"""Largest plaintext or ciphertext in bytes, tag included (rest-api.md section 1.3)."""

TAG_LENGTHS: Final = frozenset({0, 64, 96, 104, 112, 120, 128})
"""Lengths in bits that an authentication tag may have; 0 means `DEFAULT_TAG_LENGTH`."""
DEFAULT_TAG_LENGTH: Final = 128
GCM_IV: Final = 12
"""Bytes of the initialization vector that `encrypt` makes for AES-GCM (NIST SP 800-38D section 8.2.1)."""
GCM_IV_LENGTHS: Final = frozenset(range(8, 129))
"""Lengths in bytes that `decrypt` takes for AES-GCM, since other programs make others; the library's own bounds."""
CHACHA20_IV: Final = 16
"""Counter and nonce: four bytes, little endian, and twelve (decisions 33)."""
CHACHA20_NONCE: Final = 12
NO_IV: Final[frozenset[int]] = frozenset()
DECAPSULATION: Final = "ML_KEM"
"""What decapsulation is called among the ciphers: a ciphertext goes in, the shared secret comes out."""


@dataclass(frozen=True, slots=True)
class CipherAlgorithm:
    """A cipher.

    Args:
        name: Its API name.
        key_types: Kinds of keys it is for, by their API names.
        scheme: What does the work.
        aead: Whether it authenticates: takes additional data and a tag length.
        iv_size: Bytes of the initialization vector that `encrypt` makes, 0 for none.
        iv_lengths: Lengths in bytes that `decrypt` takes; empty where there is none.
        whole_blocks: Whether plaintexts are whole blocks, because nothing fills them up.
        ciphertext_blocks: Whether ciphertexts are.
        raw: Whether it is the bare private-key operation, which also makes signatures (R8).
        block: Bytes of a block.
        tag_lengths: Lengths in bits that its authentication tag may have, where it has one; 0 for the default.
        encapsulates: Whether what comes out was chosen with the ciphertext, so that nothing can be encrypted with it.
    """

    name: str
    key_types: tuple[str, ...]
    scheme: CipherScheme
    aead: bool = False
    iv_size: int = 0
    iv_lengths: frozenset[int] = NO_IV
    whole_blocks: bool = False
    ciphertext_blocks: bool = False
    raw: bool = False
    encapsulates: bool = False
    block: int = BLOCK
    tag_lengths: frozenset[int] = TAG_LENGTHS

    @property
    def needs_iv(self) -> bool:
        """Whether it takes an initialization vector."""
        return bool(self.iv_lengths)


@dataclass(frozen=True, slots=True)
class Encrypted:
    """What `encrypt` returns.

    Args:
        ciphertext: With the authentication tag at its end where there is one: what `decrypt` takes.
        iv: The initialization vector that was made, None where none is used.
        mac: The authentication tag, None where there is none.
    """

    ciphertext: bytes
    iv: bytes | None = None
    mac: bytes | None = None


def _ecb(name: str, key_type: str, block: int = BLOCK) -> CipherAlgorithm:
    scheme = Blocks(lambda _: ECB(), padded=False, block=block)  # noqa: S305 - Documented.
    return CipherAlgorithm(name, (key_type,), scheme, whole_blocks=True, ciphertext_blocks=True, block=block)


def _cbc(name: str, key_type: str, block: int = BLOCK, *, padded: bool = True) -> CipherAlgorithm:
    return CipherAlgorithm(
        name,
        (key_type,),
        Blocks(CBC, padded=padded, block=block),
        iv_size=block,
        iv_lengths=frozenset({block}),
        whole_blocks=not padded,
        ciphertext_blocks=True,
        block=block,
    )


def _entries() -> Iterator[CipherAlgorithm]:
    # The documented default is that of the Java library: SHA-1 twice. OAEP does not need a hash without collisions.
    oaep = RsaOaep(SHA1())  # noqa: S303 - Documented; no collision of SHA-1 helps against OAEP.
    yield CipherAlgorithm("RSA_PADDING_OAEP", ("RSA",), oaep)
    yield CipherAlgorithm("RSA_PADDING_OAEP_WITH_SHA1", ("RSA",), oaep)
    for function in (SHA224(), SHA256(), SHA384(), SHA512()):
        bits = 8 * function.digest_size
        yield CipherAlgorithm(f"RSA_PADDING_OAEP_WITH_SHA{bits}", ("RSA",), RsaOaep(function))
    yield CipherAlgorithm("RSA", ("RSA",), RsaPkcs1Encryption())
    yield CipherAlgorithm("RSA_PADDING_PKCS", ("RSA",), RsaPkcs1Encryption())
    yield CipherAlgorithm("RSA_NO_PADDING", ("RSA",), RsaWithoutPadding(), raw=True)

    yield CipherAlgorithm("AES_GCM", ("AES",), AesGcm(), aead=True, iv_size=GCM_IV, iv_lengths=GCM_IV_LENGTHS)
    yield CipherAlgorithm("AES_CTR", ("AES",), Stream(CTR), iv_size=BLOCK, iv_lengths=frozenset({BLOCK}))
    yield _ecb("AES_ECB", "AES")
    yield _cbc("AES_CBC_NO_PADDING", "AES", padded=False)
    yield _cbc("AES", "AES")
    yield _ecb("CAMELLIA_ECB", "Camellia")
    yield _cbc("CAMELLIA_CBC_NO_PADDING", "Camellia", padded=False)
    yield _cbc("CAMELLIA", "Camellia")
    yield _ecb("TDEA_ECB", "TDEA", TDEA_BLOCK)
    yield _cbc("TDEA_CBC_NO_PADDING", "TDEA", TDEA_BLOCK, padded=False)
    yield _cbc("TDEA_CBC", "TDEA", TDEA_BLOCK)
    yield CipherAlgorithm(
        "CHACHA20", ("ChaCha20",), ChaCha20Stream(), iv_size=CHACHA20_IV, iv_lengths=frozenset({CHACHA20_IV})
    )
    yield CipherAlgorithm(
        "CHACHA20_AEAD",
        ("ChaCha20",),
        ChaCha20WithPoly1305(),
        aead=True,
        iv_size=CHACHA20_NONCE,
        iv_lengths=frozenset({CHACHA20_NONCE}),
        tag_lengths=frozenset({0, DEFAULT_TAG_LENGTH}),
    )
    yield CipherAlgorithm(DECAPSULATION, tuple(kind.name for kind in ML_KEM), MlKem(), encapsulates=True)


CIPHER_ALGORITHMS: Final = {entry.name: entry for entry in _entries()}
"""All ciphers by their API name."""


def ciphers_for(key_type: str) -> tuple[str, ...]:
    """API names of the ciphers for a kind of key, sorted."""
    return tuple(sorted(name for name, entry in CIPHER_ALGORITHMS.items() if key_type in entry.key_types))


def cipher_algorithm(name: str) -> CipherAlgorithm:
    """Find a cipher.

    Args:
        name: Its API name.

    Returns:
        Its entry.

    Raises:
        KeyturnError: 629 `cipher.algorithm` when there is none of that name here; the message lists those there are.
    """
    entry = CIPHER_ALGORITHMS.get(name)
    if entry is None:
        raise KeyturnError(
            ErrorCode.UNSUPPORTED_CIPHER,
            f"cipherAlgorithm: {name[:64]!a} is not available here; available are "
            f"{', '.join(sorted(CIPHER_ALGORITHMS))}.",
            refusal="cipher.algorithm",
        )
    return entry


def decrypt(
    key: PrivateKey | SecretKey,
    algorithm: str,
    ciphertext: bytes,
    parameters: CipherParameters,
    *,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> bytes:
    """Decrypt.

    With `RSA` and `RSA_PADDING_PKCS` a broken padding is no error: the result is then as random as it is repeatable
    (implicit rejection), so that no answer tells about the padding. Who needs to know takes OAEP.

    Args:
        key: The key.
        algorithm: API name of the cipher.
        ciphertext: The ciphertext, followed by the authentication tag where there is one; at most 64 KiB.
        parameters: Initialization vector, additional data and tag length, where the cipher has them.
        random: Returns that many random bytes; blinds the key where the library does not (`RSA_NO_PADDING`).

    Returns:
        The plaintext; for `RSA_NO_PADDING` as long as the modulus, filled with zeros on the left.

    Raises:
        KeyturnError: 410 `decrypt.failed` when it does not decrypt, whatever the reason. Before anything is decrypted:
            629 `cipher.algorithm`, 607 `cipher.wrong-key-type`, 612 `payload.too-large` or `payload.length`, 624
            `cipher.tag-length`, 600 `cipher.iv` or `cipher.aad`, 701 `cipher.iv-missing`.
    """
    entry = cipher_algorithm(algorithm)
    _require_kind(entry, key)
    _check_size(ciphertext)
    parameters = _checked(entry, parameters)
    if entry.ciphertext_blocks:
        _check_blocks(entry, ciphertext, "ciphertext")
    try:
        return entry.scheme.decrypt(key, ciphertext, parameters, random)
    except (ValueError, InvalidTag):
        raise KeyturnError(ErrorCode.DECRYPT_FAILED, DECRYPT_FAILED, refusal="decrypt.failed") from None


DECRYPT_FAILED: Final = (
    "The ciphertext does not decrypt. It must have been made for this key, with this cipher and the same parameters, "
    "and arrive complete and unchanged; an RSA ciphertext is as long as the modulus."
)
"""The one text, whatever the reason (R31); it names neither key nor cipher."""


def encrypt(
    key: PrivateKey | PublicKey | SecretKey,
    algorithm: str,
    plaintext: bytes,
    parameters: CipherParameters,
    *,
    random: Callable[[int], bytes],
) -> Encrypted:
    """Encrypt.

    Args:
        key: The key; for RSA either side of it.
        algorithm: API name of the cipher.
        plaintext: At most 64 KiB.
        parameters: Additional data and tag length, where the cipher has them; `iv` is always None.
        random: Returns that many random bytes, for the initialization vector. RSA paddings use the library's own.

    Returns:
        The ciphertext, and the initialization vector and tag where there are such.

    Raises:
        KeyturnError: 612 `payload.too-large` or `payload.length` when the plaintext does not fit; 600 `cipher.iv` when
            an initialization vector is given, which would invite its reuse; else as `decrypt`.
    """
    entry = cipher_algorithm(algorithm)
    _require_kind(entry, key)
    if entry.encapsulates:
        raise KeyturnError(
            ErrorCode.UNSUPPORTED_CIPHER,
            f"{entry.name} encrypts nothing that is given to it: POST /v1/encapsulate makes a secret and its "
            "ciphertext.",
            refusal="cipher.encapsulates",
        )
    if parameters.iv:
        raise _parameter("initializationVector: it is made here for each encryption; leave it out.", "cipher.iv")
    _check_size(plaintext)
    if entry.whole_blocks:
        _check_blocks(entry, plaintext, "payload")
    iv = _new_iv(entry, random) if entry.needs_iv else None
    parameters = _checked(entry, CipherParameters(iv, parameters.aad, parameters.tag_length))
    try:
        ciphertext = entry.scheme.encrypt(key, plaintext, parameters)
    except TooLargeError as limit:
        raise KeyturnError(
            ErrorCode.INVALID_PAYLOAD,
            f"{entry.name} with this key takes at most {limit.size} bytes of payload, and a number below the modulus, "
            f"not {len(plaintext)} bytes: encrypt a symmetric key instead, and the data with that.",
            refusal="payload.too-large",
        ) from None
    mac = ciphertext[-(parameters.tag_length // 8) :] if entry.aead else None
    return Encrypted(ciphertext, iv, mac)


def _new_iv(entry: CipherAlgorithm, random: Callable[[int], bytes]) -> bytes:
    if isinstance(entry.scheme, ChaCha20Stream):
        return bytes(CHACHA20_IV - CHACHA20_NONCE) + random(CHACHA20_NONCE)  # The counter starts at zero.
    return random(entry.iv_size)


def require_single_meaning_decrypt(algorithm: str, payload: bytes, *, may_sign: bool) -> None:
    """Refuse what a protected key must not decrypt even with approvals (R8).

    Without a padding, decrypting and signing are one operation: an approved "ciphertext" would be a signature. And a
    payload that is itself an approval, a policy or the like could have been approved as that.

    Args:
        algorithm: API name of the cipher.
        payload: The ciphertext.
        may_sign: Whether the key's attributes allow signing.

    Raises:
        KeyturnError: 607 `cipher.double-meaning`, 612 `payload.double-meaning`, 629 `cipher.algorithm`.

    Source: docs/security/rules.md R8.
    """
    entry = cipher_algorithm(algorithm)
    if entry.raw and may_sign:
        raise KeyturnError(
            ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
            f"{entry.name} is not available for a protected key that may sign: what was approved as a decryption would "
            "be a signature. Use a padding, or a key of its own for decryption.",
            refusal="cipher.double-meaning",
        )
    structure = looks_like_own_structure(payload)
    if structure is not None:
        raise KeyturnError(
            ErrorCode.INVALID_PAYLOAD,
            "The payload could be taken for something else than what was approved: it is also a well-formed "
            f"{structure}, which a protected key never decrypts.",
            refusal="payload.double-meaning",
        )


def _require_kind(entry: CipherAlgorithm, key: PrivateKey | PublicKey | SecretKey) -> None:
    kind = key_kind(key)
    if kind in entry.key_types:
        return
    available = ciphers_for(kind)
    hint = f"choose one of {', '.join(available)}" if available else "such keys cannot decrypt"
    raise KeyturnError(
        ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
        f"A key of type {kind} cannot be used with {entry.name}; {hint}.",
        refusal="cipher.wrong-key-type",
    )


def _check_size(payload: bytes) -> None:
    if len(payload) > MAX_CIPHER_PAYLOAD:
        raise KeyturnError(
            ErrorCode.INVALID_PAYLOAD,
            f"At most {MAX_CIPHER_PAYLOAD} bytes are encrypted or decrypted at once, not {len(payload)}.",
            refusal="payload.too-large",
        )


def _check_blocks(entry: CipherAlgorithm, payload: bytes, what: str) -> None:
    if not payload or len(payload) % entry.block:
        raise KeyturnError(
            ErrorCode.INVALID_PAYLOAD,
            f"{entry.name} takes a {what} of whole blocks of {entry.block} bytes, at least one, not "
            f"{len(payload)} bytes.",
            refusal="payload.length",
        )


def _checked(entry: CipherAlgorithm, parameters: CipherParameters) -> CipherParameters:
    """The parameters with their defaults filled in; an empty value is an absent one."""
    tag_length = parameters.tag_length
    if tag_length not in entry.tag_lengths or (tag_length and not entry.aead):
        allowed = (
            f"one of {', '.join(map(str, sorted(entry.tag_lengths)))}" if entry.aead else "0: this cipher has no tag"
        )
        raise KeyturnError(
            ErrorCode.INVALID_TAG_LENGTH,
            f"tagLength: for {entry.name} it is {allowed}.",
            refusal="cipher.tag-length",
        )
    if parameters.aad and not entry.aead:
        # Passing over it would look as if it had been authenticated.
        raise _parameter(
            f"additionalAuthenticationData: {entry.name} does not authenticate; leave it out, or take AES_GCM or "
            "CHACHA20_AEAD.",
            "cipher.aad",
        )
    iv = parameters.iv or None
    if iv is None:
        if entry.needs_iv:
            raise KeyturnError(
                ErrorCode.IN_HSM,
                f"initializationVector: {entry.name} needs the one that encryption returned.",
                refusal="cipher.iv-missing",
            )
    elif len(iv) not in entry.iv_lengths:
        lengths = sorted(entry.iv_lengths)
        wanted = {0: "uses none; leave it out", 1: f"takes exactly {lengths[0]} bytes" if lengths else ""}.get(
            len(lengths)
        )
        raise _parameter(
            f"initializationVector: {entry.name} {wanted or f'takes {lengths[0]} to {lengths[-1]} bytes'}, "
            f"not {len(iv)} bytes.",
            "cipher.iv",
        )
    return CipherParameters(iv, parameters.aad or None, (tag_length or DEFAULT_TAG_LENGTH) if entry.aead else 0)


def _parameter(message: str, refusal: str) -> KeyturnError:
    return KeyturnError(ErrorCode.VALIDATION_FAILED, message, refusal=refusal)
