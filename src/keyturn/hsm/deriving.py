"""Making master keys of seeds, storing derived keys, telling addresses.

Storing a derived key needs no approvals: it gives nobody a use of the key that they had not, since whatever is done
with it is decided by its master's policy (R21).

Source: rest-api.md sections 3.1 (importedKey, derivedKey, address) and 3.2; docs/security/rules.md R4, R21.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from msgspec.structs import replace

from keyturn.crypto.addresses import address_of
from keyturn.crypto.derivation import derivation_curve, encode_extended, master_from_seed
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.creation import check_new_address, check_new_key
from keyturn.hsm.derived_keys import child_attributes
from keyturn.hsm.limits import check_limits
from keyturn.hsm.records import KeyRecord
from keyturn.ska.key_names import SEPARATOR, parse_key_name, parse_path

if TYPE_CHECKING:
    from keyturn.hsm.context import EngineContext


class Deriving:
    """Handles `ImportSeed`, `DeriveKey` and `GetAddress`.

    Args:
        context: What the parts of the engine share.
    """

    def __init__(self, context: EngineContext) -> None:
        self._context = context

    def import_seed(self, call: protocol.ImportSeed, digest: bytes) -> protocol.Answer:
        """Make a master key of a seed."""
        context = self._context
        algorithm = "ED" if call.curve_oid == "1.3.101.112" else "EC"
        curve = derivation_curve(algorithm, call.curve_oid, {**call.attributes, "derive": True, "slip10": True})
        attributes = check_new_key(
            call.label,
            None,
            call.attributes,
            call.policy,
            context.settings,
            context.system_names,
            algorithm=algorithm,
            blocked=call.blocked,
            imported=True,
            seed=True,
        )
        if attributes["bip32"] or attributes["slip10"]:
            # Refuses the schemes that there are not.
            derivation_curve(algorithm, call.curve_oid, attributes)
        limits = check_limits(
            call.allowed_operations, call.allowed_algorithms, key_type=algorithm, attributes=attributes
        )
        check_new_address(call.address_format, call.curve_oid, call.policy)
        context.require_free(call.label)
        master = master_from_seed(curve, call.seed)
        now = context.clock_guard.now()
        record = KeyRecord(
            uuid=str(uuid4()),
            label=call.label,
            generation=context.store.next_generation(call.label),
            algorithm=algorithm,
            curve_oid=call.curve_oid,
            key_size=0,
            creation="imported",
            created=now,
            attributes=attributes,
            policy=call.policy,
            blocked=call.blocked,
            key_id=None,
            public_key=master.public_key,
            allowed_operations=limits.operations,
            allowed_algorithms=limits.algorithms,
            address_format=call.address_format,
        )
        with context.store.change() as change:
            stored = context.put_new_key(change, record, encode_extended(master))
            answer = context.finish(change, call, digest, context.attester.attest(stored, now), stored, now)
        context.journal.grant(call, stored, None, payload=call.policy)
        return answer

    def derive_key(self, call: protocol.DeriveKey, digest: bytes) -> protocol.Answer:
        """Store a derived key."""
        context = self._context
        parse_path(call.path)
        named = context.key(call.label)
        context.check_password(named, call.sealed_password)
        # A child of a child is one of the master itself; the whole path has the depth limit.
        name = parse_key_name(f"{call.label}{SEPARATOR}{call.path}")
        master = context.key(name.label)
        child = context.derived.child(master, name)
        attributes = child_attributes(master, call.attributes)
        context.require_free(child.label)
        now = context.clock_guard.now()
        record = replace(
            child,
            uuid=str(uuid4()),
            generation=context.store.next_generation(child.label),
            created=now,
            attributes=attributes,
            # What follows the master is read from the master; here stands only that there is a policy.
            blocked=False,
            password=b"",
            restored=0,
            private_key=b"",
        )
        shown = replace(child, attributes=attributes)
        with context.store.change() as change:
            change.put_key(record)
            answer = context.finish(change, call, digest, context.attester.attest(shown, now), master, now)
        context.journal.grant(call, shown, None)
        return answer

    def address(self, call: protocol.GetAddress) -> protocol.Address:
        """Tell the address of a key."""
        context = self._context
        record = context.key(call.label)
        context.check_password(record, call.sealed_password)
        if not record.policy or not record.address_format:
            lacks = "an addressFormat" if record.policy else "a policy"
            raise KeyturnError(
                ErrorCode.INVALID_ADDRESS_ON_NON_SKA_KEY,
                f"the key {record.label!r} was created without {lacks}; only keys with a policy that were created with "
                "an addressFormat have addresses",
                refusal="address.none",
            )
        return protocol.Address(address_of(record.address_format, record.public_key), record.address_format)
