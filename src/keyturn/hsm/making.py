"""Making and deleting keys.

The only act of the HSM that takes its time is the making of a slow key; its label is reserved meanwhile, and the
effect is applied in one turn at the end.

Source: rest-api.md section 3.1; docs/security/rules.md R4, R18.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.creation import plan_creation
from keyturn.hsm.records import KeyRecord
from keyturn.hsm.worker import make_key_pair

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from keyturn.hsm.context import EngineContext
    from keyturn.hsm.creation import CreationPlan
    from keyturn.hsm.worker import KeyPair


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
        return self._put(call, plan, digest, make_key_pair(plan.spec))

    def _create_slowly(self, call: protocol.CreateKey, plan: CreationPlan, digest: bytes) -> Awaitable[protocol.Answer]:
        """Reserve label and operation id at once; make the key in a worker."""
        context = self._context

        async def make() -> protocol.Answer:
            try:
                pair = await context.workers.generate(plan.spec, allow_weak=context.settings.allow_weak_keys)
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
        record = KeyRecord(
            uuid=str(uuid4()),
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
        )
        with context.store.change() as change:
            stored = context.put_new_key(change, record, pair.private_key)
            answer = context.finish(change, call, digest, context.attester.attest(stored, now), stored, now)
        context.journal.grant(call, stored, None, payload=call.policy)
        return answer

    def delete(self, call: protocol.DeleteKey, digest: bytes) -> protocol.Answer:
        """Delete a key; what the ledger holds of it goes with it."""
        context = self._context
        record = context.key(call.label)
        if not record.attributes.get("destroyable"):
            raise KeyturnError(
                ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
                f"the key {record.label!r} was created with `destroyable` false and cannot be deleted",
                refusal="key.not-destroyable",
            )
        with context.store.change() as change:
            change.remove_key(record.uuid)
            answer = context.finish(change, call, digest, protocol.Done(), record, context.journal.now())
        context.door.forget(record.uuid)
        context.journal.grant(call, record, None)
        return answer
