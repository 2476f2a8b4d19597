"""The register of offline keys: what the air-gapped broker knows, all of it attested (R19).

A key enters with the attested answer of its HSM. The signature is checked first, over the exact bytes, under a
pinned device certificate; only the signed text is read; the `json` beside it must say the same or is refused. What
a later registration of the same label must satisfy stands in `_require_successor`.

Source: decisions 11; docs/security/rules.md R6, R18, R19.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from keyturn.broker import progress
from keyturn.broker.answers import AttestedKey
from keyturn.broker.executor import KeyRecord
from keyturn.broker.storage import gap_statements, statements
from keyturn.broker.storage.rows import OfflineKeyRow
from keyturn.broker.witness import ATTESTATION, RECEIPT, Seen, seen
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.attestation import KeyAttestation, attestation_to_json, parse_attestation, verify_attestation
from keyturn.ska.decision import IntegrityKey
from keyturn.ska.policy import encode_policy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keyturn.broker.storage.database import Database, Transaction
    from keyturn.broker.storage.rows import RequestRow


@lru_cache(maxsize=256)
def parsed(xml: str) -> KeyAttestation:
    """Parse an attested text that was verified when it was registered; the same text is parsed once."""
    return parse_attestation(xml)


class Register:
    """Registered offline keys.

    Args:
        chains: One PEM text per offline HSM, its chain as `GET /v1/attestation` gives it; the first certificate of
            each, the device certificate, is what gets pinned.

    Raises:
        KeyturnError: 301 `attestation.certificate` when a text holds no certificate.
    """

    def __init__(self, chains: Sequence[str]) -> None:
        self.chain_pems: list[str] = []
        self._pinned: list[bytes] = []
        for chain in chains:
            try:
                certificates = x509.load_pem_x509_certificates(chain.encode())
            except (ValueError, x509.InvalidVersion):
                raise KeyturnError(
                    ErrorCode.CONFIG_NOT_VALID,
                    "An attestation certificate file holds no PEM certificate; save there what the offline side's "
                    "GET /v1/attestation gave.",
                    refusal="attestation.certificate",
                ) from None
            self._pinned.append(certificates[0].public_bytes(Encoding.DER))
            self.chain_pems += [each.public_bytes(Encoding.PEM).decode() for each in certificates]
        self._database: Database | None = None

    def bind(self, database: Database) -> None:
        """Take the store, once the broker has opened it."""
        self._database = database

    @property
    def _store(self) -> Database:
        if self._database is None:
            raise KeyturnError(ErrorCode.TECHNICAL, "The register is used before the broker is open.")
        return self._database

    # --- reading ---

    async def row(self, label: str) -> OfflineKeyRow:
        """The registration of a label. Raises 650 when there is none."""
        return await self._store.read(lambda tx: registered(tx, label))

    async def labels(self) -> list[str]:
        """All labels, sorted."""
        rows: list[tuple[Any, ...]] = await self._store.read(lambda tx: tx.all(tuple, statements.OFFLINE_LABELS, {}))
        return [label for (label,) in rows]

    async def listed(self) -> list[dict[str, Any]]:
        """All registrations, ready for JSON."""
        rows = await self._store.read(lambda tx: tx.all(OfflineKeyRow._make, statements.OFFLINE_KEYS, {}))
        return [_shown(row) for row in rows]

    async def integrity_keys(self, label: str) -> tuple[IntegrityKey, ...]:
        """The key whose timestamps count for a registered key, for predictions."""
        attestation = parsed((await self.row(label)).xml)
        return (IntegrityKey(name=attestation.integrity_key_name, spki=attestation.integrity_key),)

    async def witness(self, label: str) -> Seen:
        """The newest thing that the HSM of a registered key signed, as far as this side has verified it (R6).

        Args:
            label: Label of the key.

        Returns:
            The registration of one of that HSM's keys, or the receipt of one of the newest requests for this one.
        """
        row = await self.row(label)
        newest = seen(ATTESTATION, row.xml.encode(), row.signature)
        assert newest is not None  # noqa: S101 - What is registered was verified and read.
        for other in await self._store.read(lambda tx: tx.all(OfflineKeyRow._make, statements.OFFLINE_KEYS, {})):
            found = seen(ATTESTATION, other.xml.encode(), other.signature)
            if found is not None and found.instance_id == newest.instance_id and found.follows(newest):
                newest = found
        values = {"w_label": label, "w_uuid": parsed(row.xml).uuid}
        receipts: list[tuple[Any, ...]] = await self._store.read(
            lambda tx: tx.all(tuple, gap_statements.RECEIPTS_OF_KEY, values)
        )
        for blob, signature in receipts:
            found = seen(RECEIPT, bytes(blob), bytes(signature))
            # A receipt is smaller, so it serves as well where it is as new.
            if found is not None and found.instance_id == newest.instance_id and not newest.follows(found):
                newest = found
        return newest

    # --- writing ---

    def verified(self, xml: str, signature: bytes, json: Mapping[str, Any] | None) -> KeyAttestation:
        """Check an attested answer.

        Args:
            xml: The signed text.
            signature: Bare signature over it.
            json: The `json` object beside it, or None if there is none.

        Returns:
            What the text says.

        Raises:
            KeyturnError: 402 `attestation.not-pinned` when no certificate is pinned; 403 when the signature verifies
                under none; 600 when `json` says something else or the text breaks the schema.
        """
        if not self._pinned:
            raise KeyturnError(
                ErrorCode.INVALID_CERTIFICATE,
                "No device certificate is pinned, so that no attestation can be trusted. Compare the offline side's "
                "certificate with its people, then start with --attestation-cert FILE.",
                refusal="attestation.not-pinned",
            )
        attestation = self._verify(xml, signature)
        if json is not None and dict(json) != attestation_to_json(attestation):
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                "json does not say what the signed xml says. Send the answer of the offline POST /v1/key/attributes "
                "unchanged.",
                refusal="attestation.json-differs",
            )
        return attestation

    def _verify(self, xml: str, signature: bytes) -> KeyAttestation:
        *others, last = self._pinned
        for certificate in others:
            try:
                return verify_attestation(xml, signature, certificate)
            except FormatError:
                raise
            except KeyturnError:
                continue
        return verify_attestation(xml, signature, last)

    async def register(
        self, xml: str, signature: bytes, json: Mapping[str, Any], attestation_key_name: str, now: float
    ) -> list[str]:
        """Register a key, or a newer state of one.

        Args:
            xml: The signed text.
            signature: Bare signature over it.
            json: The `json` object beside it.
            attestation_key_name: Name of the attestation key, as given beside it.
            now: Seconds since the epoch.

        Returns:
            Ids of open requests that follow a changed policy.
        """
        attestation = self.verified(xml, signature, json)
        row = OfflineKeyRow(attestation.label, xml, signature, attestation_key_name, now)

        if attestation.public_only:
            raise KeyturnError(
                ErrorCode.INVALID_KEY_TYPE,
                f"The HSM holds only the public part of {attestation.label!r}, so that nothing can be asked of it.",
                refusal="offline-key.public-only",
            )

        def store(tx: Transaction) -> list[str]:
            present = registered_or_none(tx, attestation.label)
            if present is None:
                tx.run(statements.INSERT_OFFLINE_KEY, row._asdict())
                return []
            require_successor(parsed(present.xml), attestation)
            return replace(tx, row, now)

        return await self._store.write(store)

    async def forget(self, label: str) -> list[str]:
        """Forget a key and cancel its open requests; returns their ids. Raises 650 for an unknown label."""

        def store(tx: Transaction) -> list[str]:
            if tx.run(statements.DELETE_OFFLINE_KEY, {"w_label": label}) == 0:
                raise _unknown(label)
            return progress.cancel_open_requests(tx, label)

        return await self._store.write(store)


def registered(tx: Transaction, label: str) -> OfflineKeyRow:
    """The registration of a label, within a unit. Raises 650 when there is none."""
    row = registered_or_none(tx, label)
    if row is None:
        raise _unknown(label)
    return row


def registered_or_none(tx: Transaction, label: str) -> OfflineKeyRow | None:
    """The registration of a label, within a unit; None when there is none."""
    return tx.one(OfflineKeyRow._make, statements.OFFLINE_KEY, {"w_label": label})


def registration_of(tx: Transaction, request: RequestRow) -> KeyAttestation:
    """What is attested of the very key that a request was opened for.

    Args:
        tx: The unit's transaction.
        request: The request.

    Raises:
        KeyturnError: 650 when the label is not registered; 611 `offline-key.other-key` when it is another key's now.
    """
    attestation = parsed(registered(tx, request.key_label).xml)
    if attestation.uuid != request.key_uuid:
        raise KeyturnError(
            ErrorCode.UNSUPPORTED_OPERATION,
            f"The label {request.key_label!r} is registered for another key now than the one this request was opened "
            "for. Open a new request.",
            refusal="offline-key.other-key",
        )
    return attestation


def replace(tx: Transaction, row: OfflineKeyRow, now: float) -> list[str]:
    """Write a newer state of a registered key; its open requests follow. Returns their ids."""
    values = row._asdict()
    values["w_label"] = values.pop("label")
    tx.run(statements.UPDATE_OFFLINE_KEY, values)
    return progress.follow_key(tx, record_of(row), now)


def policy_bytes(attestation: KeyAttestation) -> bytes:
    """The attested policy as the blob the HSM stores; empty for an ordinary key."""
    return b"" if attestation.policy is None else encode_policy(attestation.policy)


def record_of(row: OfflineKeyRow) -> KeyRecord:
    """A registration as the broker's record of a key."""
    attestation = parsed(row.xml)
    return KeyRecord(
        label=attestation.label,
        uuid=attestation.uuid,
        generation=attestation.generation,
        algorithm=attestation.algorithm,
        public_key=attestation.public_key,
        policy=policy_bytes(attestation),
        blocked=attestation.blocked,
        created=attestation.create_time,
        state_counter=attestation.state_counter,
        attested_at=attestation.attest_time,
        attributes=attestation.attributes,
        allowed_operations=attestation.allowed_operations,
        allowed_algorithms=attestation.allowed_algorithms,
        certificate=attestation.certificate,
    )


def attested_of(row: OfflineKeyRow) -> AttestedKey:
    """A registration as it was attested."""
    return AttestedKey(xml=row.xml, signature=row.signature, attestation_key_name=row.attestation_key_name)


def require_same_key(present: KeyAttestation, new: KeyAttestation) -> None:
    """Refuse an attestation of another key, or from another life of the store.

    Counters compare only within one instance and restore epoch (R6).

    Raises:
        KeyturnError: 611 `offline-key.other-key` or `offline-key.other-store`.
    """
    if (present.uuid, present.public_key) != (new.uuid, new.public_key):
        raise KeyturnError(
            ErrorCode.UNSUPPORTED_OPERATION,
            f"This is another key than the one registered as {present.label!r} (uuid {present.uuid}). If the change is "
            f"meant, DELETE /v1/offlineKey/{present.label} first; that cancels its open requests.",
            refusal="offline-key.other-key",
        )
    if (present.instance_id, present.restore_epoch) != (new.instance_id, new.restore_epoch):
        raise KeyturnError(
            ErrorCode.UNSUPPORTED_OPERATION,
            f"The key {present.label!r} comes from a restored or another HSM, whose state counter does not compare. "
            f"If that is meant, DELETE /v1/offlineKey/{present.label} first; that cancels its open requests.",
            refusal="offline-key.other-store",
        )


def require_successor(present: KeyAttestation, new: KeyAttestation) -> None:
    """Refuse an attestation that does not follow the registered one (R19).

    A key's state counter tells its own changes apart. What belongs to the whole HSM (its integrity and receipt keys,
    its switches) changes without it; there the later attestation counts.

    Args:
        present: What is registered.
        new: What is to be registered.

    Raises:
        KeyturnError: As `require_same_key`; 611 `offline-key.older`.
    """
    require_same_key(present, new)
    if new.state_counter > present.state_counter:
        return
    if new.state_counter == present.state_counter and _of_the_key(present) == _of_the_key(new):
        same_hsm = _lasting(present) == _lasting(new)
        if same_hsm or new.attest_time > present.attest_time:
            return
    raise KeyturnError(
        ErrorCode.UNSUPPORTED_OPERATION,
        f"The state counter {new.state_counter} is not above the registered {present.state_counter}: this attestation "
        "is an older one. Fetch a new one from the offline side.",
        refusal="offline-key.older",
    )


def _lasting(attestation: KeyAttestation) -> KeyAttestation:
    """Everything but what two attestations of one unchanged key differ in."""
    return dataclasses.replace(attestation, attest_time=0, key_use_count=0, store_counter=None, accepted_rollbacks=None)


def _of_the_key(attestation: KeyAttestation) -> KeyAttestation:
    """What the key's own state counter covers."""
    return dataclasses.replace(
        _lasting(attestation), integrity_key_name="", integrity_key=b"", receipt_key=None, isolation="", switches=()
    )


def _shown(row: OfflineKeyRow) -> dict[str, Any]:
    attestation = parsed(row.xml)
    return {
        "label": row.label,
        "uuid": attestation.uuid,
        "generation": attestation.generation,
        "instanceId": attestation.instance_id,
        "stateCounter": attestation.state_counter,
        "openModify": attestation.open_modify,
        "openUnblock": attestation.open_unblock,
        "isolation": attestation.isolation,
        "registeredAt": int(row.registered_at),
        "json": attestation_to_json(attestation),
    }


def _unknown(label: str) -> KeyturnError:
    return KeyturnError(
        ErrorCode.KEY_NOT_EXISTENT,
        f"Key with name {label} not found in the register; it does not exist here until it is registered with "
        "POST /v1/offlineKey.",
        refusal="key.unknown",
    )
