"""The HSM's own keys: a class apart, with a name space that no label reaches (rule R5).

* The attestation key (RSA-3072, PKCS#1 v1.5 with SHA-256) signs attestation XML and nothing else. Its self-signed
  device certificate, whose subject names the instance, is what people pin.
* The integrity key (EC P-256, ECDSA with SHA-256) signs timestamps and nothing else. Configuring another name makes
  another key and retires the one before: what that signed counts only up to its retirement.
* The receipt key (EC P-256, ECDSA with SHA-256) signs receipts and nothing else (rule R24). Configuring another name
  makes another key; what the one before signed is verified with attestations from before.

* The transport key (EC P-256, ECDH) opens passwords that were sealed for keys of this HSM, and nothing else (rule R27).
  Configuring another name makes another key; what was sealed to the one before opens no more.

* The timestamping key (EC P-256, ECDSA with SHA-256) signs timestamps of RFC 3161 and nothing else. Its self-signed
  certificate, which says so, travels with each. Configuring another name makes another key and certificate.

There is no method that signs bytes of the caller's choice (`keyturn.hsm.system_signers`). Audit keys join this
class when something needs them. The backup key has a policy, and stands elsewhere (`keyturn.hsm.backup_key`).

Sources: ska-wire-format.md section 5 (who signs what), RFC 5280 (certificate; section 4.1.2.5 for the date without an
end).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from msgspec.structs import replace

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.records import SystemKeyRecord, store_error
from keyturn.hsm.system_signers import (
    AttestationSigner,
    IntegritySigner,
    ReceiptSigner,
    RfcTimestampSigner,
    TransportOpener,
)
from keyturn.ska.decision import IntegrityKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.hsm.store import Store

DEFAULT_ATTESTATION_NAME: Final = "attestation-key"
DEFAULT_INTEGRITY_NAME: Final = "timestamp-key"
DEFAULT_RECEIPT_NAME: Final = "receipt-key"
DEFAULT_TRANSPORT_NAME: Final = "transport-key"
DEFAULT_RFC_TIMESTAMP_NAME: Final = "rfc-timestamp-key"
ATTESTATION: Final = "attestation"
INTEGRITY: Final = "integrity"
RECEIPT: Final = "receipt"
TRANSPORT: Final = "transport"
RFC_TIMESTAMP: Final = "rfc-timestamp"
ATTESTATION_ALGORITHM: Final = "SHA256_WITH_RSA"
INTEGRITY_ALGORITHM: Final = "SHA256_WITH_ECDSA"
RECEIPT_ALGORITHM: Final = INTEGRITY_ALGORITHM
TRANSPORT_ALGORITHM: Final = "ECDH"
RFC_TIMESTAMP_ALGORITHM: Final = INTEGRITY_ALGORITHM

_EC_ALGORITHMS: Final = {
    INTEGRITY: INTEGRITY_ALGORITHM,
    RECEIPT: RECEIPT_ALGORITHM,
    TRANSPORT: TRANSPORT_ALGORITHM,
    RFC_TIMESTAMP: RFC_TIMESTAMP_ALGORITHM,
}
_MAX_NAME: Final = 128
_NO_END: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


class SystemKeys:
    """The system keys of an open store, made on first start.

    Args:
        attestation: Signs attestations.
        integrity: Signs timestamps.
        receipt: Signs receipts.
        transport: Opens sealed passwords.
        rfc_timestamp: Signs timestamps of RFC 3161.
        integrity_keys: Every integrity key there ever was, for `decide`.
        names: Names of all system keys, retired ones included.
        receipt_spkis: Public keys of every receipt key there ever was, DER.
    """

    def __init__(
        self,
        attestation: AttestationSigner,
        integrity: IntegritySigner,
        receipt: ReceiptSigner,
        transport: TransportOpener,
        rfc_timestamp: RfcTimestampSigner,
        integrity_keys: list[IntegrityKey],
        names: frozenset[str],
        receipt_spkis: tuple[bytes, ...],
    ) -> None:
        self.attestation = attestation
        self.integrity = integrity
        self.receipt = receipt
        self.transport = transport
        self.rfc_timestamp = rfc_timestamp
        self._integrity_keys = integrity_keys
        self._names = names
        self.receipt_spkis = receipt_spkis

    @classmethod
    def open(
        cls,
        store: Store,
        *,
        now: int,
        clock_is_good: bool = True,
        attestation_name: str = DEFAULT_ATTESTATION_NAME,
        integrity_name: str = DEFAULT_INTEGRITY_NAME,
        receipt_name: str = DEFAULT_RECEIPT_NAME,
        transport_name: str = DEFAULT_TRANSPORT_NAME,
        rfc_timestamp_name: str = DEFAULT_RFC_TIMESTAMP_NAME,
    ) -> SystemKeys:
        """Load the system keys; make those that are missing, durably.

        Args:
            store: The open store.
            now: Seconds since the epoch, from the clock guard.
            clock_is_good: Whether the clock guard believes `now`.
            attestation_name: The configuration's `attestationKeyName`.
            integrity_name: The configuration's `timestampKeyName`. A name not seen before makes a key and retires the
                one in use.
            receipt_name: The configuration's `receiptKeyName`; likewise.
            transport_name: The configuration's `transportKeyName`; likewise.
            rfc_timestamp_name: The configuration's `rfcTimestampKeyName`; likewise.

        Returns:
            The keys.

        Raises:
            KeyturnError: `system-key.name-taken`, `system-key.retired`, `system-key.bad-name`,
            `system-key.attestation-fixed`, `system-key.clock`.
        """
        names = {
            ATTESTATION: attestation_name,
            INTEGRITY: integrity_name,
            RECEIPT: receipt_name,
            TRANSPORT: transport_name,
            RFC_TIMESTAMP: rfc_timestamp_name,
        }
        _check_names(names)
        found = {purpose: _find(store, purpose, name) for purpose, name in names.items()}
        in_use = [one for one in store.system_keys() if one.retired_at is None]
        others = [one.name for one in in_use if one.purpose == ATTESTATION and one.name != attestation_name]
        if others:
            # Whoever pinned the device certificate would be left without a word; that takes more than a setting.
            raise _refusal(
                "attestation-fixed",
                f"The attestation key of this store is called {others[0]!r} and its certificate is pinned by others. "
                "Configure that name.",
            )
        for purpose, record in found.items():
            if record is not None and record.retired_at is not None:
                raise _refusal(
                    "retired", f"The {purpose} key {record.name!r} is retired for good. Configure a name that is new."
                )
        missing = [purpose for purpose, record in found.items() if record is None]
        retiring = [one for one in in_use if one.purpose in missing]
        if retiring and not clock_is_good:
            # A retirement in the far future would be none, and cannot be taken back.
            raise KeyturnError(
                ErrorCode.CREATION_INTEGRITY_KEY,
                f"A new {retiring[0].purpose} key retires the one in use from now on, and the clock cannot be "
                "believed. Configure the name so far, confirm the clock, then change the name.",
                refusal="system-key.clock",
            )
        for purpose in missing:
            if store.key(names[purpose]) is not None:
                # Found out before it is made: made, its name would be in the way of that key for ever.
                raise _refusal(
                    "name-taken",
                    f"A key with the label {names[purpose]!r} exists. Configure another name for the {purpose} key.",
                )
        if missing:
            with store.change() as change:
                for old in retiring:
                    change.put_system_key(replace(old, retired_at=now))
                for purpose in missing:
                    found[purpose] = change.put_system_key(*_make(purpose, names[purpose], store.instance_id, now))
            store.commit_now()
        made = {purpose: record for purpose, record in found.items() if record is not None}
        return cls(
            _attestation_signer(store, made[ATTESTATION]),
            _integrity_signer(store, made[INTEGRITY]),
            _receipt_signer(store, made[RECEIPT]),
            _transport_opener(store, made[TRANSPORT]),
            _rfc_timestamp_signer(store, made[RFC_TIMESTAMP]),
            [
                IntegrityKey(one.name, one.public_key, one.retired_at)
                for one in store.system_keys()
                if one.purpose == INTEGRITY
            ],
            frozenset(one.name for one in store.system_keys()),
            tuple(one.public_key for one in store.system_keys() if one.purpose == RECEIPT),
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


def _check_names(names: Mapping[str, str]) -> None:
    for name in names.values():
        if not 1 <= len(name.encode()) <= _MAX_NAME or not name.isprintable():
            raise _refusal(
                "bad-name", f"A system key's name has 1 to {_MAX_NAME} printable characters; {name!r} does not."
            )
    for purpose, name in names.items():
        twin = next((other for other, same in names.items() if same == name and other != purpose), None)
        if twin is not None:
            raise _refusal(
                "name-taken", f"The {purpose} and {twin} keys cannot both be called {name!r}. Configure two names."
            )


def _find(store: Store, purpose: str, name: str) -> SystemKeyRecord | None:
    record = next((one for one in store.system_keys() if one.name == name), None)
    if record is not None and record.purpose != purpose:
        raise _refusal(
            "name-taken", f"{name!r} is the name of this store's {record.purpose} key. Configure another name."
        )
    return record


def _make_attestation(name: str, instance_id: str, now: int) -> tuple[SystemKeyRecord, bytes]:
    key = _new_rsa_key()
    certificate = _self_signed(key, f"keyturn HSM {instance_id}", now)
    return _record(name, ATTESTATION, ATTESTATION_ALGORITHM, now, key, certificate)


def _new_rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=3072)


def _make_timestamping(name: str, instance_id: str, now: int) -> tuple[SystemKeyRecord, bytes]:
    """A key for timestamps of RFC 3161 with its certificate, whose one extended usage is critical (section 2.3)."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
    certificate = _self_signed(key, f"keyturn timestamps {instance_id}", now, usage)
    return _record(name, RFC_TIMESTAMP, RFC_TIMESTAMP_ALGORITHM, now, key, certificate)


def _self_signed(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, name: str, now: int, *critical: x509.ExtensionType
) -> bytes:
    """A certificate without end for a key that signs and is no authority, in DER."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(now, tz=UTC))
        .not_valid_after(_NO_END)
    )
    for extension in (x509.BasicConstraints(ca=False, path_length=None), _signature_only(), *critical):
        builder = builder.add_extension(extension, critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def _make(purpose: str, name: str, instance_id: str, now: int) -> tuple[SystemKeyRecord, bytes]:
    if purpose == ATTESTATION:
        return _make_attestation(name, instance_id, now)
    if purpose == RFC_TIMESTAMP:
        return _make_timestamping(name, instance_id, now)
    return _record(name, purpose, _EC_ALGORITHMS[purpose], now, ec.generate_private_key(ec.SECP256R1()), b"")


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
    # What was sealed was made here and has not been changed since: its primes need no proof at every start.
    key = load_der_private_key(store.open_system_key(record), None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey) or record.signature_algorithm != ATTESTATION_ALGORITHM:
        raise store_error(
            "record-damaged",
            f"The system key {record.name} is not an attestation key. Restore the store from a backup.",
        )
    return AttestationSigner(record.name, record.public_key, record.certificate, record.signature_algorithm, key)


def _integrity_signer(store: Store, record: SystemKeyRecord) -> IntegritySigner:
    return IntegritySigner(record.name, record.public_key, record.signature_algorithm, _ec_key(store, record))


def _receipt_signer(store: Store, record: SystemKeyRecord) -> ReceiptSigner:
    return ReceiptSigner(record.name, record.public_key, record.signature_algorithm, _ec_key(store, record))


def _rfc_timestamp_signer(store: Store, record: SystemKeyRecord) -> RfcTimestampSigner:
    return RfcTimestampSigner(record.name, record.certificate, record.signature_algorithm, _ec_key(store, record))


def _transport_opener(store: Store, record: SystemKeyRecord) -> TransportOpener:
    return TransportOpener(record.name, record.public_key, _ec_key(store, record))


def _ec_key(store: Store, record: SystemKeyRecord) -> ec.EllipticCurvePrivateKey:
    key = load_der_private_key(store.open_system_key(record), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or record.signature_algorithm != _EC_ALGORITHMS[record.purpose]:
        raise store_error(
            "record-damaged",
            f"The system key {record.name} is not the {record.purpose} key it should be. Restore the store from a "
            "backup.",
        )
    return key


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
