"""Attested attributes: what the HSM holds of a key, as XML signed with the attestation key.

Source: rest-api.md section 3.1; docs/security/rules.md R10, R12, R18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.crypto.addresses import address_of
from keyturn.crypto.derivation import derivation_name
from keyturn.crypto.keys import SECRET_KEY_TYPES, describe_spki
from keyturn.hsm.authority import parse_policy
from keyturn.hsm.protocol import Attested
from keyturn.hsm.stateful import remaining
from keyturn.ska.attestation import KeyAttestation, render_attestation
from keyturn.ska.policy_rules import open_modify, open_unblock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.hsm.records import KeyRecord
    from keyturn.hsm.store import Store
    from keyturn.hsm.system_keys import SystemKeys


class Attester:
    """Renders and signs attestations.

    Args:
        store: For instance, restore epoch and numbers of uses.
        system_keys: For the attestation key, and the integrity key that is shown (R12).
        isolation: `none`, `user` or `machine` (R1).
        switches: Names of the active weakening switches.
    """

    def __init__(self, store: Store, system_keys: SystemKeys, *, isolation: str, switches: tuple[str, ...]) -> None:
        self._store = store
        self._system_keys = system_keys
        self._isolation = isolation
        self._switches = switches

    def attest(self, record: KeyRecord, now: int) -> Attested:
        """Attest a key.

        Args:
            record: The key, as stored or as it is being stored in an open change.
            now: Seconds since the epoch, by the HSM's clock.

        Returns:
            XML, signature and name of the attestation key.
        """
        if record.public_key:
            algorithm, algorithm_oid, curve_oid, key_size = describe_spki(record.public_key)
        else:
            kind = SECRET_KEY_TYPES[record.algorithm]
            algorithm, algorithm_oid, curve_oid = kind.reported or kind.name, kind.oid, None
            key_size = record.key_size or None
        policy = parse_policy(record.policy) if record.policy else None
        integrity = self._system_keys.integrity
        attributes: Mapping[str, bool | None] = {
            # Keys from before these attributes have neither, and are told so.
            "boundApprovals": False,
            "singleUse": False,
            **record.attributes,
            "ekaSign": None,
        }
        xml = render_attestation(
            KeyAttestation(
                label=record.label,
                uuid=record.uuid,
                generation=record.generation,
                creation=record.creation,  # type: ignore[arg-type]  # The store holds nothing but the three words.
                create_time=record.created,
                attest_time=now,
                key_use_count=self._store.uses(record.uuid),
                algorithm=algorithm,
                algorithm_oid=algorithm_oid,
                curve_oid=curve_oid,
                key_size=key_size,
                public_key=record.public_key,
                public_only=bool(record.public_key) and not record.private_key and not record.master,
                key_id=record.key_id,
                attributes=attributes,
                policy=policy,
                blocked=record.blocked,
                instance_id=self._store.instance_id,
                restore_epoch=self._store.restore_epoch,
                state_counter=record.changed_at,
                isolation=self._isolation,
                switches=self._switches,
                open_modify=policy is not None and open_modify(policy),
                open_unblock=policy is not None and open_unblock(policy),
                integrity_key_name=integrity.name,
                integrity_key=integrity.spki,
                receipt_key=self._system_keys.receipt.spki,
                # A key that is being stored carries the counter that the store is about to have.
                store_counter=max(self._store.state_counter, record.changed_at),
                accepted_rollbacks=self._store.accepted_rollbacks,
                allowed_operations=record.allowed_operations,
                allowed_algorithms=record.allowed_algorithms,
                derivation=(derivation_name(record.algorithm), record.path) if record.path else None,
                address=(record.address_format, address_of(record.address_format, record.public_key))
                if record.address_format
                else None,
                certificate=record.certificate,
                remaining_signatures=remaining(self._store, record),
            )
        )
        key = self._system_keys.attestation
        return Attested(xml, key.sign_xml(xml), key.name)
