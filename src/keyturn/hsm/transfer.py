"""Passwords that are changed, and key material that leaves in the clear.

* A password may be changed on a modifiable key only. On a key with a policy that passes `decide` for ruleModify without
  any approvals: where a modify needs approvals, nobody can lock others out with a password of their own (R28).
* What leaves was created to leave: extractable, not sensitive, without a policy (R4), and without a state that a copy
  would use a second time.

Source: rest-api.md sections 3.1 and 4.8; docs/security/rules.md R3, R4, R27, R28; docs/adr/0100.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from keyturn.crypto.keys import SecretKey, private_key_to_der
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.door import Act, Kind, require_not_blocked
from keyturn.hsm.stateful import capacity_of
from keyturn.ska.actions import Action

if TYPE_CHECKING:
    from keyturn.hsm.context import EngineContext
    from keyturn.hsm.records import KeyRecord


class Transfer:
    """Handles `CheckPassword`, `ChangePassword` and `ExportKey`.

    Args:
        context: What the parts of the engine share.
    """

    def __init__(self, context: EngineContext) -> None:
        self._context = context

    def check_password(self, call: protocol.CheckPassword) -> protocol.Answer:
        """Check a password and do nothing."""
        self._context.check_password(self._context.key(call.label), call.sealed_password)
        return protocol.Done()

    def change_password(self, call: protocol.ChangePassword, digest: bytes) -> protocol.Answer:
        """Change a password, give a first one or take it away."""
        context = self._context
        record = context.key(call.label)
        if not record.attributes.get("modifiable"):
            raise KeyturnError(
                ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
                f"the key {record.label!r} was created with `modifiable` false: its password stays as it is",
                refusal="key.not-modifiable",
            )
        decision = None
        if record.policy:
            require_not_blocked(record)
            decision = context.authority.require(record, Action.MODIFY, record.policy, ())
        context.check_password(record, call.sealed_password)
        verifier = context.passwords.verifier(record.uuid, record.label, call.new_sealed_password)
        with context.store.change() as change:
            changed = change.put_key(replace(record, password=verifier))
            answer = context.finish(change, call, digest, protocol.Done(), changed, context.journal.now())
        context.passwords.forget(record.uuid)
        context.journal.grant(call, record, decision, note="set" if verifier else "removed")
        return answer

    def export(self, call: protocol.ExportKey) -> protocol.Answer:
        """Give key material in the clear."""
        context = self._context
        record = context.key(call.label)
        _require_exportable(record)
        act = Act(Kind.EXPORT, b"", "", sealed_password=call.sealed_password)
        key, _ = context.door.open(record, act, ())
        if isinstance(key, SecretKey):
            answer = protocol.Exported(b"", b"", key.value)
        else:
            answer = protocol.Exported(private_key_to_der(key), record.public_key, b"")
        context.journal.grant(call, record, None)
        return answer


def require_not_stateful(record: KeyRecord) -> None:
    """Refuse keys whose copies would use a state twice.

    Raises:
        KeyturnError: 614 `export.stateful`.
    """
    if capacity_of(record.algorithm):
        raise KeyturnError(
            ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
            f"the key {record.label!r} changes with every signature: a copy would use a state twice, so it never "
            "leaves",
            refusal="export.stateful",
        )


def _require_exportable(record: KeyRecord) -> None:
    """Refuse what never leaves, whatever its attributes say.

    Raises:
        KeyturnError: 614 `export.stateful`; 606 `export.sensitive`. `Door.open` looks at policy and `extractable`.
    """
    require_not_stateful(record)
    if record.attributes.get("sensitive", True) and record.attributes.get("extractable"):
        raise KeyturnError(
            ErrorCode.KEY_ATTRIBUTES_INVALID,
            f"the key {record.label!r} is sensitive: it may leave wrapped, and never in the clear",
            refusal="export.sensitive",
        )
