"""Certificates for mutual TLS in tests: a CA and what it issues."""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from keyturn.hsm.addresses import TlsFiles

if TYPE_CHECKING:
    from pathlib import Path


class CertificateAuthority:
    """A CA whose files lie in a directory.

    Args:
        directory: Where PEM files are written.
        name: Common name.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._build(name, self._key, ca=True)
        self.file = directory / f"{name}.ca.pem"
        self.file.write_bytes(self._certificate.public_bytes(Encoding.PEM))

    def _build(self, name: str, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        now = dt.datetime.now(tz=dt.UTC)
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)])
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
                ),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )

    def issue(self, name: str, *, trusting: CertificateAuthority) -> TlsFiles:
        """Issue a certificate for one end of a connection.

        Args:
            name: Common name and file name.
            trusting: CA that this end trusts.

        Returns:
            Its files.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, key_file = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        certificate.write_bytes(self._build(name, key, ca=False).public_bytes(Encoding.PEM))
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key_file.chmod(0o600)
        return TlsFiles(certificate, key_file, trusting.file)
