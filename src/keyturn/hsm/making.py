"""Making and deleting keys.

The making of a slow key takes its time. Its label is reserved meanwhile, so that nobody else takes it; the effect is
applied in one turn at the end, unless the store has turned out to be an older one since the key was asked for (R6).

Source: rest-api.md section 3.1; docs/security/rules.md R4, R6, R18.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING
from uuid import uuid4

from keyturn.crypto.derivation import GENERATED_SEED, encode_extended, master_from_seed
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.creation import plan_creation
from keyturn.hsm.records import KeyRecord
from keyturn.hsm.worker import KeyPair, make_key_pair

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from keyturn.crypto.derivation import DerivationCurve
    from keyturn.hsm.context import EngineContext
    from keyturn.hsm.creation import CreationPlan


class Making:
    """Handles `CreateKey` and `DeleteKey`.

    Args:
        context: What the parts of the engine share.
    """

    def __init__(self, context: EngineContext) -> None:
        self._context = context

    def create(self, call: protocol.CreateKey, digest: bytes) -> protocol.Answer | Awaitable[protocol.Answer]:
        """Create a key."""
        plan = plan_creation(call, self._context.settings, self._context.system_names)
        self._context.require_free(call.label)
        if plan.spec.slow:
            return self._create_slowly(call, plan, digest)
        pair = make_key_pair(plan.spec) if plan.derivation is None else _make_master(plan.derivation)
        return self._put(call, plan, digest, pair)

    def _create_slowly(self, call: protocol.CreateKey, plan: CreationPlan, digest: bytes) -> Awaitable[protocol.Answer]:
        """Reserve label and operation id at once; make the key in a worker."""
        context = self._context

        async def make() -> protocol.Answer:
            try:
                pair = await context.workers.generate(plan.spec, allow_weak=context.settings.allow_weak_keys)
                # From here to the end nothing waits. What `plan_creation` checked cannot have changed.
                context.rollback.require_current(call)
                return self._put(call, plan, digest, pair)
            except Exception as error:
                return context.journal.refuse(call, error, "")
            finally:
                context.reserved.discard(call.label)

        context.reserved.add(call.label)
        task = asyncio.get_running_loop().create_task(make())
        context.operations.begin(call.operation_id, digest, task)
        return asyncio.shield(task)

    def _put(self, call: protocol.CreateKey, plan: CreationPlan, digest: bytes, pair: KeyPair) -> protocol.Answer:
        context = self._context
        now = context.clock_guard.now()
        uuid = str(uuid4())
        record = KeyRecord(
            uuid=uuid,
            label=call.label,
            generation=context.store.next_generation(call.label),
            algorithm=plan.spec.algorithm,
            curve_oid=plan.spec.curve_oid,
            key_size=plan.spec.key_size,
            creation="generated",
            created=now,
            attributes=plan.attributes,
            policy=call.policy,
            blocked=call.blocked,
            key_id=call.key_id,
            public_key=pair.public_key,
            allowed_operations=plan.limits.operations,
            allowed_algorithms=plan.limits.algorithms,
            address_format=call.address_format,
            password=context.passwords.verifier(uuid, call.label, call.sealed_password),
        )
        with context.store.change() as change:
            stored = context.put_new_key(change, record, pair.private_key)
            answer = context.finish(change, call, digest, context.attester.attest(stored, now), stored, now)
        context.journal.grant(call, stored, None, payload=call.policy)
        return answer

    def delete(self, call: protocol.DeleteKey, digest: bytes) -> protocol.Answer:
        """Delete a key. It lies sealed, with what the ledger holds of it, for as long as the settings say (R28)."""
        context = self._context
        # A derived key that is stored is deleted by its own record; one that is not, has none.
        record = context.store.key(call.label) or context.key(call.label)
        if record.temporary:
            raise KeyturnError(
                ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
                f"the derived key {record.label!r} is not stored: it is there as long as its master is",
                refusal="key.derived",
            )
        if not record.attributes.get("destroyable"):
            raise KeyturnError(
                ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
                f"the key {record.label!r} was created with `destroyable` false and cannot be deleted",
                refusal="key.not-destroyable",
            )
        # The password of a derived key is its master's, stored or not.
        context.check_password(context.key(call.label), call.sealed_password)
        children = context.store.children(record.uuid)
        for child in children:
            if not child.attributes.get("destroyable"):
                raise KeyturnError(
                    ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
                    f"the key {child.label!r} is derived from {record.label!r}, would end with it, and was stored with "
                    "`destroyable` false; so this one cannot be deleted either",
                    refusal="key.child-not-destroyable",
                )
        retained, now = context.settings.deleted_key_retention_days > 0, context.clock_guard.latest()
        with context.store.change() as change:
            for gone in (*children, record):
                if retained:
                    change.put_deleted(gone.uuid, now)
                else:
                    change.remove_key(gone.uuid)
            answer = context.finish(change, call, digest, protocol.Done(), record, context.journal.now())
        context.door.forget(record.uuid)
        context.derived.forget(record.uuid)
        context.passwords.forget(record.uuid)
        context.journal.grant(call, record, None)
        return answer


def _make_master(curve: DerivationCurve) -> KeyPair:
    """A key from which others are derived: both its halves come from one seed, which is not kept (SLIP-0010)."""
    master = master_from_seed(curve, secrets.token_bytes(GENERATED_SEED))
    return KeyPair(encode_extended(master), master.public_key)
