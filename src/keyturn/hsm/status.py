"""What a key's policy governs beside use: block, unblock, modify.

* Only keys with a policy know these acts.
* A block is never refused because the key is blocked already: it is the later one, and what was stamped for an unblock
  before it counts no more.
* An unblock of a key that is not blocked is refused before anything is decided, so that it uses up no approval.
* Approvals of a bound key for block and unblock cover a statement; for modify the new policy, as documented (R7).
* Executed statements for unblock and modify are used up in the commit that carries their effect (R15).

Source: rest-api.md section 3.4; ska-wire-format.md sections 3 and 8; docs/security/rules.md R10, R15, R31; ADR 52, 53.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.authority import unstamped_statements
from keyturn.hsm.bound import statement_for
from keyturn.hsm.creation import check_new_policy
from keyturn.hsm.derived_keys import require_not_derived
from keyturn.hsm.ledger import LAST, SPENT, happened
from keyturn.hsm.records import LedgerRecord
from keyturn.hsm.stateful import require_single_use
from keyturn.ska.actions import Action

if TYPE_CHECKING:
    from keyturn.hsm import protocol
    from keyturn.hsm.context import EngineContext
    from keyturn.hsm.records import KeyRecord
    from keyturn.ska.decision import Decision


class Status:
    """Handles `Block`, `Unblock` and `Modify`.

    Args:
        context: What the parts of the engine share.
    """

    def __init__(self, context: EngineContext) -> None:
        self._context = context

    def block(self, call: protocol.Block, digest: bytes) -> protocol.Answer:
        """Block a key."""
        record = self._key(call.label)
        statement = statement_for(call, record)
        decision = self._context.authority.require(record, Action.BLOCK, statement, call.approvals)
        self._context.check_password(record, call.sealed_password)
        return self._change(call, digest, record, replace(record, blocked=True), decision, Action.BLOCK)

    def unblock(self, call: protocol.Unblock, digest: bytes) -> protocol.Answer:
        """Lift a block."""
        record = self._key(call.label)
        if not record.blocked:
            raise KeyturnError(
                ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
                f"the key {record.label!r} is not blocked, so that there is nothing to unblock",
                refusal="key.not-blocked",
            )
        statement = statement_for(call, record)
        decision = self._context.authority.require(record, Action.UNBLOCK, statement, call.approvals)
        self._context.check_password(record, call.sealed_password)
        return self._change(call, digest, record, replace(record, blocked=False), decision, Action.UNBLOCK)

    def modify(self, call: protocol.Modify, digest: bytes) -> protocol.Answer:
        """Replace a policy."""
        record = self._key(call.label)
        check_new_policy(
            call.policy,
            blocked=record.blocked,
            settings=self._context.settings,
            single_use=record.attributes.get("singleUse", False),
        )
        require_single_use(record, call.policy)
        decision = self._context.authority.require(record, Action.MODIFY, call.policy, call.approvals)
        self._context.check_password(record, call.sealed_password)
        changed = replace(record, policy=call.policy)
        return self._change(call, digest, record, changed, decision, Action.MODIFY)

    def _key(self, label: str) -> KeyRecord:
        record = self._context.key(label)
        require_not_derived(record, "modified, blocked or unblocked")
        if not record.policy:
            raise KeyturnError(
                ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
                f"the key {record.label!r} was created without a policy and can never get one; it cannot be modified, "
                "blocked or unblocked",
                refusal="policy.none",
            )
        return record

    def _change(
        self,
        call: protocol.Block | protocol.Unblock | protocol.Modify,
        digest: bytes,
        before: KeyRecord,
        after: KeyRecord,
        decision: Decision,
        action: Action,
    ) -> protocol.Answer:
        context = self._context
        now = context.clock_guard.now()
        with context.store.change() as change:
            changed = change.put_key(after)
            change.put_ledger(happened(context.store, before.uuid, LAST[action], now))
            if action in SPENT:
                # Those with a timestamp are as good as used up: it is not later than the line just put.
                for statement in unstamped_statements(decision, call.approvals):
                    change.put_ledger(
                        LedgerRecord(before.uuid, SPENT[action], statement, b"", now, operation=call.operation_id)
                    )
            answer = context.finish(change, call, digest, context.attester.attest(changed, now), changed, now)
        context.journal.grant(call, before, decision, payload=after.policy if action is Action.MODIFY else b"")
        return answer
