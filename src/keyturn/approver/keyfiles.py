"""Files that hold an approval key: encrypted PKCS#8, or PKCS#12 with a self-signed certificate.

A file is created with mode 0600 and never written over; an unencrypted private key is neither written nor read.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from keyturn.approver.pbes2 import IV_SIZE, ROUNDS, SALT_SIZE, encrypt_pkcs8
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.plain import counted

if TYPE_CHECKING:
    from pathlib import Path

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey

MIN_PASSPHRASE: Final = 12
"""Shortest passphrase in bytes for a new file: a few random words or twelve random characters resist guessing at
600 000 rounds."""
MIN_DISTINCT: Final = 5
"""Fewer different bytes are a pattern, not a passphrase."""
MAX_KEY_FILE: Final = 1 << 20
"""Largest key file in bytes; the largest honest one (RSA 8192 with certificates) has a few KiB."""
MAX_PASSPHRASE: Final = 1024
_NO_PASSPHRASE: Final = b"in the place of one that no file has"  # What comes of it is refused.
MAX_COMMON_NAME: Final = 64
"""Characters of a common name (RFC 5280 appendix A, ub-common-name)."""
CERTIFICATE_DAYS: Final = 3650
"""Validity of the self-signed certificate. The HSM compares keys and ignores dates (ska-wire-format.md 9.13)."""


def read_passphrase_file(path: Path) -> bytes:
    """Read a passphrase: the file's bytes without one final line break.

    Args:
        path: The file.

    Raises:
        KeyturnError: `passphrase.file` when it cannot be read, is empty or is too long.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_PASSPHRASE + 3)
    except OSError as error:
        raise _refusal("passphrase.file", f"Passphrase file {path} cannot be read: {error.strerror}.") from None
    passphrase = content.removesuffix(b"\n").removesuffix(b"\r")
    if not passphrase or len(passphrase) > MAX_PASSPHRASE:
        raise _refusal("passphrase.file", f"Passphrase file {path} must hold 1 to {MAX_PASSPHRASE} bytes.")
    return passphrase


def check_passphrase(passphrase: bytes) -> None:
    """Refuse a passphrase that could be guessed from a stolen file.

    Args:
        passphrase: For a new file.

    Raises:
        KeyturnError: `passphrase.short` or `passphrase.simple`.
    """
    if len(passphrase) < MIN_PASSPHRASE:
        raise _refusal(
            "passphrase.short",
            f"The passphrase has {counted(len(passphrase), 'byte')}; whoever steals the file could guess it. Take at "
            f"least {MIN_PASSPHRASE}, for example four words drawn at random.",
        )
    if len(set(passphrase)) < MIN_DISTINCT:
        raise _refusal("passphrase.simple", "The passphrase repeats very few characters; take words drawn at random.")


def self_signed_certificate(private_key: PrivateKey, common_name: str, now: float, serial: int) -> bytes:
    """A certificate over the key by itself, so that policies can list it by certificate and programs can name it.

    Args:
        private_key: The approval key.
        common_name: Subject and issuer common name, 1 to 64 characters.
        now: Begin of validity, seconds since the epoch.
        serial: Positive serial number below 2**159.

    Returns:
        DER.

    Raises:
        KeyturnError: `approver-key.name` when the name is empty, too long or not printable.
    """
    if not common_name.strip() or len(common_name) > MAX_COMMON_NAME or not common_name.isprintable():
        raise _refusal("approver-key.name", f"--name must be 1 to {MAX_COMMON_NAME} printable characters.")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    begin = datetime.fromtimestamp(int(now), tz=UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(serial)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    algorithm = None if isinstance(private_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(private_key, algorithm).public_bytes(Encoding.DER)


def pkcs8_file(private_key: PrivateKey, passphrase: bytes, *, rounds: int = ROUNDS) -> bytes:
    """The key as encrypted PKCS#8, PEM.

    Args:
        private_key: The approval key.
        passphrase: Already checked.
        rounds: Iterations of the key derivation.
    """
    plain = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return encrypt_pkcs8(plain, passphrase, salt=os.urandom(SALT_SIZE), iv=os.urandom(IV_SIZE), rounds=rounds)


def pkcs12_file(private_key: PrivateKey, certificate: bytes, passphrase: bytes, *, rounds: int = ROUNDS) -> bytes:
    """The key and its certificate as PKCS#12 (RFC 7292), AES-256 and HMAC-SHA-256.

    Args:
        private_key: The approval key.
        certificate: DER.
        passphrase: Already checked.
        rounds: Iterations of the key derivation.
    """
    parsed = x509.load_der_x509_certificate(certificate)
    names = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(rounds)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(passphrase)
    )
    friendly = str(names[0].value).encode() if names else None
    return pkcs12.serialize_key_and_certificates(friendly, private_key, parsed, None, encryption)


def write_new_file(path: Path, content: bytes) -> None:
    """Create a file with mode 0600 and make it durable; never write over an existing one.

    Args:
        path: The new file.
        content: Its bytes.

    Raises:
        KeyturnError: `file.exists` when something stands there, `file.unwritable` otherwise.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise _refusal("file.exists", f"{path} exists and is never written over; name another file.") from None
    except OSError as error:
        raise _refusal("file.unwritable", f"{path} cannot be created: {error.strerror}.") from None
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_key_file(path: Path, passphrase: bytes) -> tuple[PrivateKey, bytes | None]:
    """Open an approval key file.

    Args:
        path: Encrypted PKCS#8 (PEM or DER) or PKCS#12.
        passphrase: Its passphrase.

    Returns:
        The private key and the certificate stored beside it (DER), if any.

    Raises:
        KeyturnError: `approver-key.unreadable`, `approver-key.unencrypted`, `approver-key.wrong-passphrase`,
            `approver-key.type`.
    """
    content = key_file_content(path)
    if content.lstrip().startswith(b"-----BEGIN"):
        return _decrypt(path, content, passphrase, pem=True), None
    possible = _can_open(passphrase)
    try:
        # Given another one, the library ends the process, and prints the passphrase.
        bundle = pkcs12.load_pkcs12(content, passphrase if possible else _NO_PASSPHRASE)
    except ValueError as error:
        if "password" in str(error).lower():
            raise _wrong_passphrase(path) from None
        return _decrypt(path, content, passphrase, pem=False), None
    except UnsupportedAlgorithm:
        raise _refusal("approver-key.unreadable", f"{path} uses an encryption that is not supported.") from None
    if not possible:
        raise _wrong_passphrase(path)
    if bundle.key is None:
        raise _refusal("approver-key.unreadable", f"{path} holds no private key.")
    certificate = None if bundle.cert is None else bundle.cert.certificate.public_bytes(Encoding.DER)
    return _supported(path, bundle.key), certificate


def _can_open(passphrase: bytes) -> bool:
    """Whether a PKCS#12 file can have this passphrase: UTF-8 without U+0000, at which programs take it to end."""
    try:
        passphrase.decode()
    except UnicodeDecodeError:
        return False
    return b"\x00" not in passphrase


def key_file_content(path: Path) -> bytes:
    """The bytes of a file that can be an encrypted key, so that nobody is asked for the passphrase of another file.

    Args:
        path: Encrypted PKCS#8 (PEM or DER) or PKCS#12.

    Raises:
        KeyturnError: `approver-key.unreadable` when it cannot be read or begins like no key file,
            `approver-key.unencrypted`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_KEY_FILE + 1)
    except OSError as error:
        raise _refusal("approver-key.unreadable", f"Key file {path} cannot be read: {error.strerror}.") from None
    if not content or len(content) > MAX_KEY_FILE:
        raise _refusal("approver-key.unreadable", f"{path} is no key file: it has no or too many bytes.")
    _refuse_unencrypted(path, content)
    if not _begins_like_a_key(content):
        raise _refusal(
            "approver-key.unreadable",
            f"{path} is no key file: it is neither encrypted PKCS#8 (`-----BEGIN ENCRYPTED PRIVATE KEY-----` or DER) "
            "nor PKCS#12. Name the file that `keyturn approver keygen` made.",
        )
    return content


def _begins_like_a_key(content: bytes) -> bool:
    """Whether it is PEM of a private key, or DER that begins as RFC 5958 or RFC 7292 say."""
    if content.lstrip().startswith(b"-----BEGIN"):
        return b"ENCRYPTED" in content
    outer = _inside(content)
    if outer is None:
        return False
    if outer.startswith(b"\x02\x01\x03"):
        return True  # PFX: version 3.
    # EncryptedPrivateKeyInfo: an algorithm, which begins with its identifier.
    algorithm = _inside(outer)
    return algorithm is not None and algorithm.startswith(b"\x06")


def _inside(content: bytes) -> bytes | None:
    """What follows the header of a SEQUENCE, whose length may be indefinite (BER, as some write PKCS#12)."""
    if len(content) < 2 or content[0] != 0x30:
        return None
    more = content[1] & 0x7F if content[1] & 0x80 else 0
    return content[2 + more :]


def _refuse_unencrypted(path: Path, content: bytes) -> None:
    """Refuse a private key that lies in the open."""
    try:
        if content.lstrip().startswith(b"-----BEGIN"):
            load_pem_private_key(content, None)
        else:
            load_der_private_key(content, None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return
    raise _refusal(
        "approver-key.unencrypted",
        f"{path} holds an approval key without encryption; anyone who reads the file approves in your name. "
        "Encrypt it: openssl pkcs8 -topk8 -v2 aes256 -iter 600000 -in FILE -out NEW.",
    )


def _decrypt(path: Path, content: bytes, passphrase: bytes, *, pem: bool) -> PrivateKey:
    """Open encrypted PKCS#8."""
    load = load_pem_private_key if pem else load_der_private_key
    try:
        key = load(content, passphrase)
    except TypeError:  # An empty passphrase; an unencrypted key was refused before.
        raise _wrong_passphrase(path) from None
    except UnsupportedAlgorithm:
        raise _refusal("approver-key.unreadable", f"{path} uses an encryption that is not supported.") from None
    except ValueError as error:
        # CBC has no integrity of its own: a wrong passphrase shows as broken padding or as a broken key inside.
        if pem and b"ENCRYPTED" not in content:
            raise _refusal("approver-key.unreadable", f"{path} is no private key file.") from error
        raise _wrong_passphrase(path) from None
    return _supported(path, key)


def _supported(path: Path, key: object) -> PrivateKey:
    """The key when it is of a kind that approves; the strength is judged by `ska` (R13)."""
    if isinstance(key, PrivateKey):
        return key
    raise KeyturnError(
        ErrorCode.UNSUPPORTED_APPROVER_KEY_TYPE,
        f"{path} holds a key of a kind that cannot approve; RSA, EC, Ed25519 and DSA can.",
        refusal="approver-key.type",
    )


def _wrong_passphrase(path: Path) -> KeyturnError:
    return _refusal(
        "approver-key.wrong-passphrase", f"{path} does not open with this passphrase, or the file is damaged."
    )


def _refusal(word: str, message: str) -> KeyturnError:
    return KeyturnError(ErrorCode.PARSING_KEY, message, refusal=word)
