"""The HSM's own keys: a class apart, with a name space that no label reaches (rule R5).

* The attestation key (RSA-3072, PKCS#1 v1.5 with SHA-256) signs attestation XML and nothing else. Its self-signed
  device certificate, whose subject names the instance, is what people pin.
* The integrity key (EC P-256, ECDSA with SHA-256) signs timestamps and nothing else. Configuring another name makes
  another key and retires the one before: what that signed counts only up to its retirement.

There is no method that signs bytes of the caller's choice, and no private half leaves this module. Receipt, audit,
backup and transport keys join this class when something needs them.

The two forms that are signed cannot be taken for one another: a timestamp blob begins with its length, at most 64 KiB
as little-endian u32, and `<?xm` read so is more than a gigabyte.

Sources: ska-wire-format.md section 5 (who signs what), RFC 5280 (certificate; section 4.1.2.5 for the date without an
end).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from msgspec.structs import replace

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.hsm.records import SystemKeyRecord, store_error
from keyturn.ska.decision import IntegrityKey
from keyturn.ska.messages import decode_timestamp

if TYPE_CHECKING:
    from keyturn.hsm.store import Store

DEFAULT_ATTESTATION_NAME: Final = "attestation-key"
DEFAULT_INTEGRITY_NAME: Final = "timestamp-key"
ATTESTATION: Final = "attestation"
INTEGRITY: Final = "integrity"
ATTESTATION_ALGORITHM: Final = "SHA256_WITH_RSA"
INTEGRITY_ALGORITHM: Final = "SHA256_WITH_ECDSA"
MAX_ATTESTATION: Final = 256 * 1024
"""Longest attestation text in bytes; readers take no longer one (rule R19)."""

_ATTESTATION_START: Final = re.compile(r'<\?xml version="1\.0" encoding="UTF-8"\?>\n?<private_key[ >]')
_MAX_NAME: Final = 128
_NO_END: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class IntegritySigner:
    """The integrity key in use.

    Args:
        name: Its name, as it stands in every timestamp.
        spki: Public key, DER.
        algorithm: API name of its signature algorithm.
    """

    name: str
    spki: bytes
    algorithm: str
    _key: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"<IntegritySigner {self.name}>"

    def sign_timestamp(self, blob: bytes) -> bytes:
        """Sign a timestamp that this HSM made.

        Args:
            blob: Timestamp blob with its header (ska-wire-format.md section 4), naming this key.

        Returns:
            Bare signature, DER `SEQUENCE{r,s}`, over the whole blob.

        Raises:
            KeyturnError: `system-key.wrong-purpose`: it is anything else.
        """
        try:
            name = decode_timestamp(blob).key_name
        except FormatError as error:
            raise _wrong_purpose("The integrity key signs timestamps and nothing else.") from error
        if name != self.name:
            raise _wrong_purpose(f"This timestamp names the key {name!r}; the integrity key is {self.name!r}.")
        return self._key.sign(blob, ec.ECDSA(hashes.SHA256()))


@dataclass(frozen=True, slots=True)
class AttestationSigner:
    """The attestation key.

    Args:
        name: Its name.
        spki: Public key, DER.
        certificate: Device certificate, DER.
        algorithm: API name of its signature algorithm.
    """

    name: str
    spki: bytes
    certificate: bytes
    algorithm: str
    _key: rsa.RSAPrivateKey

    def __repr__(self) -> str:
        return f"<AttestationSigner {self.name}>"

    def sign_xml(self, xml: str) -> bytes:
        """Sign an attestation.

        Args:
            xml: The text, as it is handed out.

        Returns:
            Bare signature over its UTF-8 bytes.

        Raises:
            KeyturnError: `system-key.wrong-purpose`: it does not begin as an attestation does, or is too long.
        """
        content = xml.encode()
        if not _ATTESTATION_START.match(xml) or len(content) > MAX_ATTESTATION:
            raise _wrong_purpose("The attestation key signs attested key attributes and nothing else.")
        return self._key.sign(content, padding.PKCS1v15(), hashes.SHA256())


class SystemKeys:
    """The system keys of an open store, made on first start.

    Args:
        attestation: Signs attestations.
        integrity: Signs timestamps.
        integrity_keys: Every integrity key there ever was, for `decide`.
        names: Names of all system keys, retired ones included.
    """

    def __init__(
        self,
        attestation: AttestationSigner,
        integrity: IntegritySigner,
        integrity_keys: list[IntegrityKey],
        names: frozenset[str],
    ) -> None:
        self.attestation = attestation
        self.integrity = integrity
        self._integrity_keys = integrity_keys
        self._names = names

    @classmethod
    def open(
        cls,
        store: Store,
        *,
        now: int,
        clock_is_good: bool = True,
        attestation_name: str = DEFAULT_ATTESTATION_NAME,
        integrity_name: str = DEFAULT_INTEGRITY_NAME,
    ) -> SystemKeys:
        """Load the system keys; make those that are missing, durably.

        Args:
            store: The open store.
            now: Seconds since the epoch, from the clock guard.
            clock_is_good: Whether the clock guard believes `now`.
            attestation_name: The configuration's `attestationKeyName`.
            integrity_name: The configuration's `timestampKeyName`. A name not seen before makes a key and retires the
                one in use.

        Returns:
            The keys.

        Raises:
            KeyturnError: `system-key.name-taken`, `system-key.retired`, `system-key.bad-name`,
            `system-key.attestation-fixed`, `system-key.clock`.
        """
        for name in (attestation_name, integrity_name):
            if not 1 <= len(name.encode()) <= _MAX_NAME or not name.isprintable():
                raise _refusal(
                    "bad-name", f"A system key's name has 1 to {_MAX_NAME} printable characters; {name!r} does not."
                )
        if attestation_name == integrity_name:
            raise _refusal(
                "name-taken",
                f"Attestation and integrity key cannot both be called {integrity_name!r}. Configure two names.",
            )
        attestation = _find(store, ATTESTATION, attestation_name)
        integrity = _find(store, INTEGRITY, integrity_name)
        in_use = [one for one in store.system_keys() if one.retired_at is None]
        others = [one.name for one in in_use if one.purpose == ATTESTATION and one.name != attestation_name]
        if others:
            # Whoever pinned the device certificate would be left without a word; that takes more than a setting.
            raise _refusal(
                "attestation-fixed",
                f"The attestation key of this store is called {others[0]!r} and its certificate is pinned by others. "
                "Configure that name.",
            )
        if integrity is not None and integrity.retired_at is not None:
            raise _refusal(
                "retired", f"The integrity key {integrity_name!r} is retired for good. Configure a name that is new."
            )
        if integrity is None and in_use and not clock_is_good:
            # A retirement in the far future would be none, and cannot be taken back.
            raise _refusal(
                "clock",
                "A new integrity key retires the one in use from now on, and the clock cannot be believed. Configure "
                "the name so far, confirm the clock, then change the name.",
            )
        if attestation is None or integrity is None:
            with store.change() as change:
                if attestation is None:
                    attestation = change.put_system_key(*_make_attestation(attestation_name, store.instance_id, now))
                if integrity is None:
                    for old in in_use:
                        if old.purpose == INTEGRITY:
                            change.put_system_key(replace(old, retired_at=now))
                    integrity = change.put_system_key(*_make_integrity(integrity_name, now))
            store.commit_now()
        return cls(
            _attestation_signer(store, attestation),
            _integrity_signer(store, integrity),
            [
                IntegrityKey(one.name, one.public_key, one.retired_at)
                for one in store.system_keys()
                if one.purpose == INTEGRITY
            ],
            frozenset(one.name for one in store.system_keys()),
        )

    def integrity_keys(self) -> list[IntegrityKey]:
        """Every integrity key there ever was, with its retirement."""
        return self._integrity_keys

    @property
    def names(self) -> frozenset[str]:
        """Names of all system keys, retired ones included; ordinary keys may not be created under them."""
        return self._names

    @property
    def device_chain(self) -> list[str]:
        """PEM certificates, device certificate first."""
        return [x509.load_der_x509_certificate(self.attestation.certificate).public_bytes(Encoding.PEM).decode("ascii")]


def _find(store: Store, purpose: str, name: str) -> SystemKeyRecord | None:
    record = next((one for one in store.system_keys() if one.name == name), None)
    if record is not None and record.purpose != purpose:
        raise _refusal(
            "name-taken", f"{name!r} is the name of this store's {record.purpose} key. Configure another name."
        )
    return record


def _make_attestation(name: str, instance_id: str, now: int) -> tuple[SystemKeyRecord, bytes]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"keyturn HSM {instance_id}")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(now, tz=UTC))
        .not_valid_after(_NO_END)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_signature_only(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _record(name, ATTESTATION, ATTESTATION_ALGORITHM, now, key, certificate.public_bytes(Encoding.DER))


def _make_integrity(name: str, now: int) -> tuple[SystemKeyRecord, bytes]:
    return _record(name, INTEGRITY, INTEGRITY_ALGORITHM, now, ec.generate_private_key(ec.SECP256R1()), b"")


def _record(
    name: str,
    purpose: str,
    algorithm: str,
    now: int,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    certificate: bytes,
) -> tuple[SystemKeyRecord, bytes]:
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return SystemKeyRecord(name, purpose, algorithm, now, None, public, certificate), private


def _attestation_signer(store: Store, record: SystemKeyRecord) -> AttestationSigner:
    key = load_der_private_key(store.open_system_key(record), None)
    if not isinstance(key, rsa.RSAPrivateKey) or record.signature_algorithm != ATTESTATION_ALGORITHM:
        raise store_error(
            "record-damaged",
            f"The system key {record.name} is not an attestation key. Restore the store from a backup.",
        )
    return AttestationSigner(record.name, record.public_key, record.certificate, record.signature_algorithm, key)


def _integrity_signer(store: Store, record: SystemKeyRecord) -> IntegritySigner:
    key = load_der_private_key(store.open_system_key(record), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or record.signature_algorithm != INTEGRITY_ALGORITHM:
        raise store_error(
            "record-damaged", f"The system key {record.name} is not an integrity key. Restore the store from a backup."
        )
    return IntegritySigner(record.name, record.public_key, record.signature_algorithm, key)


def _signature_only() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _refusal(word: str, message: str) -> KeyturnError:
    return KeyturnError(ErrorCode.CONFIG_NOT_VALID, message, refusal=f"system-key.{word}")


def _wrong_purpose(message: str) -> KeyturnError:
    return KeyturnError(ErrorCode.OPERATION_FORBIDDEN_FOR_KEY, message, refusal="system-key.wrong-purpose")
