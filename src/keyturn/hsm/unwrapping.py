"""Unwrapping a key with another: it comes in as a new key with the creation `imported`.

Under a key with a policy, what approvals cover is built here from the call: the new key's attributes, the wrapped key
and the new label (R16). So flags and label are exactly what was approved, and the new key may leave only if the
approved flags say so. A policy for the new key and its limits are not part of these bytes; a protected key therefore
takes none, unless its approvals are bound: then they cover everything (R7).

All of it happens in one turn of the event loop, the checking of the imported key included.

Source: rest-api.md section 3.3; ska-wire-format.md section 7; docs/security/rules.md R3, R4, R16; docs/adr/0054.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from keyturn.crypto import wrapping
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.authority import protects
from keyturn.hsm.bound import statement_for
from keyturn.hsm.creation import check_new_key
from keyturn.hsm.door import Act, Kind
from keyturn.hsm.limits import check_limits
from keyturn.hsm.records import KeyRecord
from keyturn.ska.unwrap_flags import unwrap_payload_for

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from keyturn.hsm import protocol
    from keyturn.hsm.context import EngineContext
    from keyturn.hsm.restoring import Restoring


class Unwrapping:
    """Handles `Unwrap`.

    Args:
        context: What the parts of the engine share.
        restoring: Takes the calls that restore an approver's file.
    """

    def __init__(self, context: EngineContext, restoring: Restoring) -> None:
        self._context = context
        self._restoring = restoring

    def unwrap(self, call: protocol.Unwrap, digest: bytes) -> protocol.Answer | Awaitable[protocol.Answer]:
        """Unwrap a key and keep it."""
        if call.approver:
            return self._restoring.restore(call, digest)
        context = self._context
        record = context.key(call.label)
        method = wrapping.wrap_method(call.method)
        attributes = check_new_key(
            call.new_label,
            call.key_id,
            call.attributes,
            call.policy,
            context.settings,
            context.system_names,
            algorithm=method.wrapped_key_type,
            blocked=call.blocked,
            imported=True,
        )
        limits = check_limits(
            call.allowed_operations, call.allowed_algorithms, key_type=method.wrapped_key_type, attributes=attributes
        )
        statement = statement_for(call, record)
        if (limits.operations or limits.algorithms) and protects(record.policy) and statement is None:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                "approvals for an unwrap do not cover allowedOperations and allowedAlgorithms: leave them out, or "
                f"unwrap with a key that has bound approvals, which {record.label!r} has not",
                refusal="unwrap.unapproved-limits",
            )
        if call.policy and protects(record.policy) and statement is None:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                f"approvals for an unwrap do not cover a policy: what the protected key {record.label!r} unwraps gets "
                "none; leave `policy` out, or unwrap with a key that has no policy or bound approvals",
                refusal="unwrap.unapproved-policy",
            )
        if call.key_id is not None and protects(record.policy) and statement is None:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                f"approvals for an unwrap do not cover an id: what the protected key {record.label!r} unwraps gets "
                "none; leave `id` out, or unwrap with a key that has no policy or bound approvals",
                refusal="unwrap.unapproved-id",
            )
        approved = statement
        if statement is None and record.policy:
            approved = unwrap_payload_for(call.attributes, call.wrapped_key, call.new_label)
        act = Act(Kind.UNWRAP, call.wrapped_key, call.method, approved, sealed_password=call.sealed_password)
        private_key, decision = context.door.open(record, act, call.approvals)
        # Not earlier: a repeated call on a single-use key is answered with what was unwrapped under this label then.
        context.require_free(call.new_label)
        unwrapped = wrapping.unwrap(
            private_key, call.method, call.wrapped_key, allow_weak=context.settings.allow_weak_keys
        )
        now = context.clock_guard.now()
        new = KeyRecord(
            uuid=str(uuid4()),
            label=call.new_label,
            generation=context.store.next_generation(call.new_label),
            algorithm=unwrapped.algorithm,
            curve_oid=unwrapped.curve_oid,
            key_size=unwrapped.key_size,
            creation="imported",
            created=now,
            attributes=attributes,
            policy=call.policy,
            blocked=call.blocked,
            key_id=call.key_id,
            public_key=unwrapped.public_key,
            allowed_operations=limits.operations,
            allowed_algorithms=limits.algorithms,
        )
        with context.store.change() as change:
            change.count_use(record.uuid)
            stored = context.put_new_key(change, new, unwrapped.private_key)
            answer = context.finish(change, call, digest, context.attester.attest(stored, now), record, now, decision)
        context.journal.grant(
            call, record, decision, payload=approved or call.wrapped_key, note=f"new key {stored.label!r} {stored.uuid}"
        )
        return answer
