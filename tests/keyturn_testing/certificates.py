"""Bodies for certificates, and `openssl` as the judge of what came of them."""

from __future__ import annotations

import datetime as dt
import subprocess
from base64 import b64decode
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography.x509 import Certificate

SHA256_ECDSA = "SHA256_WITH_ECDSA"
ROOT_NAME = {"commonName": "Keyturn Root", "country": "CH", "organizationName": "Example AG"}


def named(label: str, common_name: str, **fields: Any) -> dict[str, Any]:
    """The members that every body for certificates has."""
    return {
        "signKeyName": label,
        "signatureAlgorithm": SHA256_ECDSA,
        "standardCertificateAttributes": {"commonName": common_name},
        **fields,
    }


def self_signed(label: str, common_name: str, **fields: Any) -> dict[str, Any]:
    """The body for a self-signed authority."""
    return named(label, common_name, validity=3650, certificateAuthority=True, **fields)


def issued(label: str, request: str, common_name: str | None = None, **fields: Any) -> dict[str, Any]:
    """The body for a certificate that answers a request."""
    body = {
        "signKeyName": label,
        "signatureAlgorithm": SHA256_ECDSA,
        "certificateAuthority": False,
        "certificateSigningRequest": request,
        **fields,
    }
    return body if common_name is None else body | {"standardCertificateAttributes": {"commonName": common_name}}


def der_of(pem: str) -> bytes:
    """The bytes in PEM text of any label."""
    return b64decode("".join(line for line in pem.splitlines() if not line.startswith("-----")))


def certificate(pem: str) -> Certificate:
    """A certificate as the library reads it."""
    return x509.load_der_x509_certificate(der_of(pem))


def openssl(*words: object, stdin: str = "") -> str:
    """What `openssl` says, both channels; it must succeed."""
    done = subprocess.run(["openssl", *map(str, words)], input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def request_is_valid(pem: str) -> str:
    """Have `openssl req` verify a request; its text."""
    said = openssl("req", "-verify", "-noout", "-text", stdin=pem)
    assert "verify OK" in said
    return said


def chain_is_valid(folder: Path, root: str, chain: Sequence[str], leaf: str) -> bool:
    """Ask `openssl verify` whether a leaf leads over a chain to a root, by the strict reading of RFC 5280.

    Args:
        folder: For files.
        root: PEM of the trusted certificate.
        chain: PEM of those between.
        leaf: PEM of the last one.
    """
    files = {"root.pem": root, "chain.pem": "".join(chain), "leaf.pem": leaf}
    for name, text in files.items():
        (folder / name).write_text(text)
    words = ["openssl", "verify", "-x509_strict", "-check_ss_sig", "-CAfile", str(folder / "root.pem")]
    between = ["-untrusted", str(folder / "chain.pem")] if chain else []
    done = subprocess.run([*words, *between, str(folder / "leaf.pem")], capture_output=True, text=True, check=False)
    return done.returncode == 0


def certificate_of(key: Any) -> bytes:
    """A certificate that a private key signs for itself, PEM."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an application")])
    now = dt.datetime.now(tz=dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
