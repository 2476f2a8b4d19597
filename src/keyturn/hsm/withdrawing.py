"""Withdrawals: an approver takes an approval back, and it counts no more, whoever presents it (R26).

What is signed are the ASCII bytes `WITHDRAW:`, the approval as it was signed, and the id of the approval task. A
withdrawal is for one signer and one statement; a new approval with another timestamp is another statement.

Only those listed in the rule that the approval could serve are heard, and each may leave a bounded number of
withdrawals with a key. When there are too many, those go whose approval could not count any more in any case. A modify
may open longer windows later, so the newest timestamp among them is remembered: from then on no approval of this signer
with a timestamp up to it counts for the key. All of these had closed, for a window closes the later the newer the
timestamp is (docs/adr/0087).

Source: docs/security/rules.md R26; decisions 4.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.authority import parse_policy
from keyturn.hsm.ledger import LedgerKind
from keyturn.hsm.records import LedgerRecord
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.messages import Authorization, decode_approval, decode_timestamp
from keyturn.ska.roll_call import roll_call
from keyturn.ska.signatures import unwrap_signature, verify
from keyturn.ska.window import closes_at

if TYPE_CHECKING:
    from keyturn.hsm.change import Change
    from keyturn.hsm.context import EngineContext
    from keyturn.hsm.records import KeyRecord
    from keyturn.ska.messages import ApprovalToken

WITHDRAW: Final = b"WITHDRAW:"
MAX_TASK_ID: Final = 128
"""Longest id of an approval task in characters."""
MAX_WITHDRAWALS: Final = 256
"""Withdrawals of one signer that one key remembers."""


class Withdrawing:
    """Handles `Withdraw`.

    Args:
        context: What the parts of the engine share.
    """

    def __init__(self, context: EngineContext) -> None:
        self._context = context

    def withdraw(self, call: protocol.Withdraw) -> protocol.Done:
        """Take an approval back. The same withdrawal twice is one."""
        context = self._context
        record = context.key(call.label)
        if not record.policy:
            raise KeyturnError(
                ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
                f"the key {record.label!r} has no policy: there are no approvals for it",
                refusal="policy.none",
            )
        token, stamp = self._read(call, record)
        identity = _verified_signer(call, record, token)
        line = LedgerRecord(
            uuid=record.uuid,
            kind=LedgerKind.WITHDRAWN,
            statement=sha256(call.approval).digest(),
            signer=sha256(identity).digest(),
            time=context.clock_guard.now(),
            stamp=stamp,
        )
        lines = context.store.ledger(record.uuid, LedgerKind.WITHDRAWN)
        if line.statement + line.signer not in lines:
            own = [known for known in lines.values() if known.signer == line.signer]
            with context.store.change() as change:
                if len(own) >= MAX_WITHDRAWALS:
                    passed = [known for known in own if _has_passed(known, record, line.time)]
                    if not passed:
                        raise _refused(
                            "too-many",
                            f"{MAX_WITHDRAWALS} approvals of this approver for this key are withdrawn already; block "
                            "the key, or replace its policy",
                        )
                    self._forget(change, passed)
                change.put_ledger(line)
        context.journal.grant(call, record, None, payload=call.approval, note=f"signer {line.signer.hex()}")
        return protocol.Done()

    def _forget(self, change: Change, passed: list[LedgerRecord]) -> None:
        """Drop withdrawals of one signer, and see to it that what they withdrew counts no more all the same."""
        for known in passed:
            change.drop_ledger(known)
        one = passed[0]
        newest = max(known.stamp or 0 for known in passed)
        before = self._context.store.ledger(one.uuid, LedgerKind.FORGOTTEN_WITHDRAWAL).get(one.signer)
        if before is None or newest > before.time:
            change.put_ledger(LedgerRecord(one.uuid, LedgerKind.FORGOTTEN_WITHDRAWAL, b"", one.signer, newest))

    def _read(self, call: protocol.Withdraw, record: KeyRecord) -> tuple[ApprovalToken, int | None]:
        """The approval that is taken back, and the seconds of its timestamp."""
        try:
            token = decode_approval(call.approval)
            stamp = None if token.timestamp is None else decode_timestamp(token.timestamp).seconds
        except FormatError as error:
            raise _refused("no-approval", f"what is to be withdrawn is no approval: {error.message}") from None
        unlabelled = not token.label and self._context.settings.allow_unlabelled_approvals
        if token.label != record.label.encode() and not unlabelled:
            raise _refused("wrong-key", f"the approval to be withdrawn is not for the key {record.label!r}")
        return token, stamp


def _verified_signer(call: protocol.Withdraw, record: KeyRecord, token: ApprovalToken) -> bytes:
    """The identity of the listed approver who signed the withdrawal."""
    if (call.spki is None) == (call.certificate is None):
        raise _refused("signer", "a withdrawal carries either the signer's public key or their certificate")
    if not (1 <= len(call.task_id) <= MAX_TASK_ID and call.task_id.isascii() and call.task_id.isprintable()):
        raise _refused("task-id", f"the id of a task has 1 to {MAX_TASK_ID} printable ASCII characters")
    rule = parse_policy(record.policy).rule(token.action)
    identity = roll_call(rule).identify(Authorization(call.approval, call.signature, call.spki, call.certificate))
    if identity is None:
        raise _refused(
            "unlisted-key",
            "the signer is not listed in the rule that the approval is for, so that it counts for nothing anyway",
        )
    scheme, bare = unwrap_signature(call.signature)
    verify(load_approver_key(identity), scheme, bare, WITHDRAW + call.approval + call.task_id.encode())
    return identity


def _has_passed(line: LedgerRecord, record: KeyRecord, now: int) -> bool:
    """Whether the withdrawn approval could not count any more under the policy in force, whatever it is for."""
    if line.stamp is None:
        return False
    policy = parse_policy(record.policy)
    for action in Action:
        roll = roll_call(policy.rule(action))
        for identity, tokens in roll.tokens_of.items():
            if sha256(identity).digest() != line.signer:
                continue
            ends = [closes_at(line.stamp, token) for token in tokens]
            if any(end is None or now < end for end in ends):
                return False
    return True


def _refused(word: str, message: str) -> KeyturnError:
    return KeyturnError(ErrorCode.VALIDATION_FAILED, message, refusal=f"withdrawal.{word}")
