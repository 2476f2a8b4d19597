"""The backup key: what approver management makes is kept under its policy (R23).

It is no system key, which would have no policy, and no key that anybody uses: its form is fixed, no call but ours
unwraps with it, and its policy decides like any other (R3). Its label stands in the HSM's settings only. People make
it, under its label and with their policy, by `POST /v1/key`, and accept it as they accept other keys (R20). With the
switch `allowOpenBackupKey`, which is attested, the HSM makes one with an empty policy at its start, as is documented.

Source: rest-api.md section 3.8; decisions 27; docs/security/rules.md R3, R5, R23; docs/adr/0113.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import uuid4

from keyturn.crypto.keys import make_spec
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.authority import parse_policy, protects
from keyturn.hsm.creation import complete_attributes
from keyturn.hsm.journal import MAX_SHOWN
from keyturn.hsm.records import KeyRecord
from keyturn.hsm.worker import make_key_pair
from keyturn.ska.policy import EMPTY_POLICY, encode_policy
from keyturn.ska.policy_rules import open_modify

if TYPE_CHECKING:
    from keyturn.hsm.context import EngineContext

METHOD: Final = "RSA_WRAP_OAEP"
"""How content keys of backups are wrapped."""
BITS: Final = 3072
"""Of the key, at least."""

_FORM: Final = (
    f"RSA with {BITS} or 4096 bits, generated here, with a policy, `unwrap` true, `sign`, `decrypt`, `destroyable` and "
    "`singleUse` false, without a password"
)
_SERVED: Final = (
    protocol.Lookup,
    protocol.Attest,
    protocol.Stamp,
    protocol.Modify,
    protocol.Block,
    protocol.Unblock,
    protocol.Withdraw,
)
"""Calls about the backup key that are served as for any key."""


class BackupKey:
    """The backup key of an engine.

    Args:
        context: What the parts of the engine share.
    """

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._name = context.settings.backup_key_name

    def make_where_open_is_allowed(self) -> None:
        """Make the key with an empty policy, if the settings allow that and there is none."""
        context = self._context
        if not context.settings.allow_open_backup_key or not self._name or context.store.key(self._name) is not None:
            return
        pair = make_key_pair(make_spec("RSA", "", BITS))
        record = KeyRecord(
            uuid=str(uuid4()),
            label=self._name,
            generation=context.store.next_generation(self._name),
            algorithm="RSA",
            curve_oid="",
            key_size=BITS,
            creation="generated",
            created=context.clock_guard.latest(),
            attributes=complete_attributes({"unwrap": True, "modifiable": False}),
            policy=encode_policy(EMPTY_POLICY),
            blocked=False,
            key_id=None,
            public_key=pair.public_key,
        )
        with context.store.change() as change:
            context.put_new_key(change, record, pair.private_key)

    def require_reserved(self, call: protocol.Call) -> None:
        """Keep everything from the backup key but what changes or shows its state, and restorations (decisions 27).

        Args:
            call: Any call.

        Raises:
            KeyturnError: 614 `backup-key.reserved`; `backup-key.form`, if it would be made in another form.
        """
        if not self._name:
            return
        if isinstance(call, protocol.CreateKey) and call.label == self._name:
            self._check_creation(call)
            return
        if isinstance(call, protocol.Unwrap) and call.approver and call.label == self._name:
            return
        named = getattr(call, "label", "").partition("/")[0], getattr(call, "new_label", "").partition("/")[0]
        if self._name in named and not isinstance(call, _SERVED):
            raise KeyturnError(
                ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
                f"the key {self._name!r} keeps what approver management makes and serves for nothing else; take "
                "another key, or another label",
                refusal="backup-key.reserved",
            )

    def require(self) -> KeyRecord:
        """The backup key, if approver management may rely on it.

        Raises:
            KeyturnError: 611 `approver-management.hsm-off`; 701 `backup-key.missing`, `backup-key.form`,
                `backup-key.open`.
        """
        self.require_on()
        record = self._context.store.key(self._name)
        if record is None:
            raise _unfit(
                f"there is no backup key {self._name!r}. Create it with POST /v1/key: {_FORM}. Its policy says who "
                "must approve before an approver's key is restored",
                "backup-key.missing",
            )
        if not _fits(record):
            raise _unfit(
                f"the key {self._name!r} cannot be the backup key, which is {_FORM}. Give another backupKeyName",
                "backup-key.form",
            )
        is_open = not protects(record.policy) or open_modify(parse_policy(record.policy))
        if is_open and not self._context.settings.allow_open_backup_key:
            raise _unfit(
                f"the policy of the backup key {self._name!r} is open: whoever reaches this API could restore every "
                "approver's key with a password of their own. Give it a policy whose ruleUse needs approvals and whose "
                "ruleModify no fewer (POST /v1/modify), or start the HSM with allowOpenBackupKey, which is attested",
                "backup-key.open",
            )
        return record

    def require_on(self) -> None:
        """Make sure that this HSM does approver management at all.

        Raises:
            KeyturnError: 611 `approver-management.hsm-off`.
        """
        if not self._name:
            raise KeyturnError(
                ErrorCode.UNSUPPORTED_OPERATION,
                "this HSM makes no keys for approvers: it has no backup key. Its administrator gives it one with "
                "backupKeyName (--backup-key-name)",
                refusal="approver-management.hsm-off",
            )

    def _check_creation(self, call: protocol.CreateKey) -> None:
        wanted = call.attributes
        bad = any(wanted.get(name) for name in ("sign", "decrypt", "destroyable", "singleUse"))
        fit = call.algorithm == "RSA" and call.key_size >= BITS and wanted.get("unwrap") and call.policy
        if bad or not fit or call.sealed_password:
            raise KeyturnError(
                ErrorCode.KEY_ATTRIBUTES_INVALID,
                f"{self._name[:MAX_SHOWN]!r} is the label of the backup key, which is {_FORM}",
                refusal="backup-key.form",
            )


def _fits(record: KeyRecord) -> bool:
    attributes = record.attributes
    return (
        record.algorithm == "RSA"
        and record.key_size >= BITS
        and record.creation == "generated"
        and bool(record.policy)
        and not record.password
        and bool(attributes.get("unwrap"))
        and not any(attributes.get(name) for name in ("sign", "decrypt", "destroyable", "singleUse"))
    )


def _unfit(why: str, word: str) -> KeyturnError:
    return KeyturnError(ErrorCode.IN_HSM, why, refusal=word)
