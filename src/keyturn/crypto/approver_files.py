"""What approver management makes for an officer: a self-signed certificate, and a PKCS#12 file with it and the key.

Called in a worker of the HSM only: it takes and gives private keys in the clear.

Source: rest-api.md section 3.8; RFC 5280; RFC 7292 (PKCS#12); RFC 8018 (PBES2); docs/security/rules.md R23.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, pkcs12

from keyturn.crypto.keys import private_key_from_stored
from keyturn.errors import ErrorCode, FormatError
from keyturn.ska.server_made import SERVER_MADE

MAX_NAME: Final = 64
"""Longest common name, in characters (RFC 5280 appendix A, ub-common-name)."""
ROUNDS: Final = 100_000
"""PBKDF2 iterations. They are run three times for each file, on the server and on the officer's phone."""


def approver_certificate(private_key: bytes, name: str, days: int, now: int) -> bytes:
    """Make the self-signed certificate of a key that was made for an officer; it says so (R23).

    Args:
        private_key: RSA, as the HSM keeps keys.
        name: The approver's name, 1 to 64 characters; the common name.
        days: How long it is valid.
        now: Seconds since the epoch, its beginning.

    Returns:
        DER.
    """
    key = _rsa(private_key)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begin = datetime.fromtimestamp(now, tz=UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.CertificatePolicies([x509.PolicyInformation(SERVER_MADE, None)]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def approver_file(private_key: bytes, certificate: bytes, name: str, password: bytes) -> bytes:
    """Make the PKCS#12 file of an officer: AES-256-CBC by PBES2, HMAC with SHA-256.

    Args:
        private_key: RSA, as the HSM keeps keys.
        certificate: Its certificate, DER.
        name: The alias (friendlyName).
        password: Of store and key, UTF-8.

    Returns:
        DER.

    Raises:
        FormatError: 600 `approver.backup-password-form`: no program could open the file.
    """
    require_password_form(password)
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(ROUNDS)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(password)
    )
    parsed = x509.load_der_x509_certificate(certificate)
    return pkcs12.serialize_key_and_certificates(name.encode(), _rsa(private_key), parsed, None, encryption)


def require_password_form(password: bytes) -> None:
    """Return only if a file can have a password.

    Args:
        password: Of store and key.

    Raises:
        FormatError: 600 `approver.backup-password-form`.
    """
    if not _is_openable(password):
        raise FormatError(
            "a backup password is UTF-8 text without the character U+0000, at which programs that open the file would "
            "take it to end; choose another one",
            code=ErrorCode.VALIDATION_FAILED,
            refusal="approver.backup-password-form",
        )


def require_file_password(file: bytes, password: bytes) -> None:
    """Return only if a password opens an officer's file.

    Args:
        file: PKCS#12, as `approver_file` made it.
        password: UTF-8.

    Raises:
        FormatError: 620 `approver.backup-password`.
    """
    try:
        # No file has another one; and the library, given one, ends the process and prints the password.
        if not _is_openable(password):
            raise ValueError
        pkcs12.load_pkcs12(file, password)
    except (ValueError, UnsupportedAlgorithm):
        raise FormatError(
            "password mismatch: this is not the approver's backup password. Take the right one, or "
            "/v1/approverManagement/restoreFromBackup/forgotPassword.",
            code=ErrorCode.KEY_PASSWORD_MISMATCH,
            refusal="approver.backup-password",
        ) from None


def _is_openable(password: bytes) -> bool:
    try:
        return bool(password.decode()) and b"\x00" not in password
    except UnicodeDecodeError:
        return False


def _rsa(private_key: bytes) -> RSAPrivateKey:
    key = private_key_from_stored("RSA", private_key)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("keys of approvers are RSA keys")
    return key
