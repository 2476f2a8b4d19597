"""Restoring an approver's file from the backup: an unwrap with the backup key, under that key's policy (R3, R23).

`GetRestoration` says what has to be unwrapped; people approve exactly that, in the documented form of an unwrap or, for
a backup key with `boundApprovals`, as a statement; `Unwrap` with `approver` does it. The wrapped content key stands for
one approver's backup, and the label in the approval says whose it is and what is done: the same password, or another
one by a hash of how it arrived. So an approval serves for nobody else and for no other password. Each restoration wraps
anew, under another content key, so an approval serves once.

What takes a worker is decided twice, as slow signatures are (docs/adr/0095): before the backup is opened, and again in
the turn in which the new file is kept.

Source: rest-api.md section 3.8; docs/security/rules.md R3, R16, R23; docs/adr/0114.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from keyturn.crypto import wrapping
from keyturn.crypto.approver_files import require_password_form
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.approver_state import Backup, decrypt_backup, make_code
from keyturn.hsm.approvers import approver, backed_up, open_secret, put_approver
from keyturn.hsm.backup_key import METHOD
from keyturn.hsm.bound import statement_for
from keyturn.hsm.derived_keys import identity_of
from keyturn.hsm.door import Act, Kind
from keyturn.hsm.worker import MakeApproverFile
from keyturn.ska.approver_secrets import BACKUP_PASSWORD
from keyturn.ska.restorations import CHANGE, FORGOT, PURPOSES, RESTORE
from keyturn.ska.unwrap_flags import unwrap_payload_for

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from keyturn.hsm.approver_state import ApproverState
    from keyturn.hsm.backup_key import BackupKey
    from keyturn.hsm.context import EngineContext
    from keyturn.hsm.rate_limit import RateLimit
    from keyturn.hsm.records import KeyRecord
    from keyturn.ska.decision import Decision

TRIES: Final = 10
"""Backup passwords that are looked at without a pause, for all approvers together."""
TRIES_PER_SECOND: Final = 1 / 30
ATTRIBUTES: Final = {"decrypt": True, "extractable": True, "destroyable": True}
"""What approvals say of the content key: it opens a backup, and what is in that leaves."""

_HASH: Final = 32
"""Hexadecimal digits of a hash in a label: 128 bits, which nobody finds another password for."""


class Restoring:
    """Handles `GetRestoration`, `GetRestoredCode` and the `Unwrap` of a restoration.

    Args:
        context: What the parts of the engine share.
        backup_key: Under which backups are kept.
        tries: Limit on backup passwords that are tried.
    """

    def __init__(self, context: EngineContext, backup_key: BackupKey, tries: RateLimit) -> None:
        self._context = context
        self._backup_key = backup_key
        self._tries = tries

    def described(self, call: protocol.GetRestoration) -> protocol.Restoration:
        """What has to be unwrapped, and is approved."""
        key = self._backup_key.require()
        restoration = self._restoration(key, call.name, call.purpose, call.backup_password)
        if call.purpose != RESTORE:
            # Before people approve what could not be done.
            require_password_form(open_secret(self._context, BACKUP_PASSWORD, call.name, call.backup_password))
        return restoration

    def code(self, call: protocol.GetRestoredCode) -> protocol.ApproverCode:
        """The code that a restoration made, while it is good."""
        self._backup_key.require_on()
        code = approver(self._context, call.name).code
        good = (
            code is not None
            and code.operation == call.operation_id
            and code.tries > 0
            and code.epoch == self._context.store.restore_epoch
            and self._context.clock_guard.now() < code.expires
        )
        self._context.journal.serve(call, note=f"approver {call.name!r}")
        return protocol.ApproverCode(code.shown if code is not None and good else "")

    def restore(self, call: protocol.Unwrap, digest: bytes) -> protocol.Answer | Awaitable[protocol.Answer]:
        """Open a backup and keep its file, under the same or another password, for a code."""
        key, backup, decision = self._open(call)
        if call.purpose == RESTORE:
            return self._finish(call, digest, key, backup, decision)
        password = open_secret(self._context, BACKUP_PASSWORD, call.approver, call.backup_password)
        state = approver(self._context, call.approver)
        job = MakeApproverFile(call.approver, password, private_key=backup.private_key, certificate=state.certificate)
        if call.purpose == CHANGE:
            self._tries.take()
            old = open_secret(self._context, BACKUP_PASSWORD, call.approver, call.old_backup_password)
            job = msgspec.structs.replace(job, file=backup.file, file_password=old)
        task = asyncio.get_running_loop().create_task(self._make(call, digest, job))
        self._context.operations.begin(call.operation_id, digest, task)
        return asyncio.shield(task)

    async def _make(self, call: protocol.Unwrap, digest: bytes, job: MakeApproverFile) -> protocol.Answer:
        context = self._context
        try:
            made = await context.workers.approver_file(job)
            # From here to the end nothing waits.
            context.rollback.require_current(call)
            key, backup, decision = self._open(call)
            return self._finish(call, digest, key, msgspec.structs.replace(backup, file=made.file), decision)
        except Exception as error:
            refused = context.journal.refuse(call, error, "")
            try:
                return context.receipts.answered(call, refused, identity_of(context.store, call.label))
            except KeyturnError:
                # No receipt where the store takes nothing any more; the refusal stands.
                return refused

    def _open(self, call: protocol.Unwrap) -> tuple[KeyRecord, Backup, Decision | None]:
        """Ask the door, and decrypt the backup."""
        context = self._context
        key = self._backup_key.require()
        wanted = self._restoration(key, call.approver, call.purpose, call.backup_password)
        asked = protocol.Restoration(call.label, call.wrapped_key, call.method, call.new_label, call.attributes)
        if asked != wanted or call.policy or call.key_id is not None or call.blocked:
            raise KeyturnError(
                ErrorCode.IN_HSM,
                f"the file of the approver {call.approver!r} was restored since this was asked for, or the call says "
                "something else than what restores it; open a new request",
                refusal="approver.restoration-differs",
            )
        approved = statement_for(call, key)
        if approved is None:
            approved = unwrap_payload_for(call.attributes, call.wrapped_key, call.new_label)
        act = Act(Kind.UNWRAP, call.wrapped_key, call.method, approved, sealed_password=call.sealed_password)
        private_key, decision = context.door.open(key, act, call.approvals)
        content_key = wrapping.unwrap(private_key, call.method, call.wrapped_key).private_key
        return key, decrypt_backup(content_key, call.approver, approver(context, call.approver)), decision

    def _finish(
        self, call: protocol.Unwrap, digest: bytes, key: KeyRecord, backup: Backup, decision: Decision | None
    ) -> protocol.Answer:
        context = self._context
        now = context.clock_guard.now()
        before = approver(context, call.approver)
        state = backed_up(key, call.approver, before.certificate, backup)
        waiting, code = (backup.file if before.waiting else b""), before.code
        if call.purpose != CHANGE:
            waiting = backup.file
            code, _ = make_code(now, context.store.restore_epoch, call.operation_id)
        state = msgspec.structs.replace(state, onboarded=before.onboarded, waiting=waiting, code=code)
        with context.store.change() as change:
            change.count_use(key.uuid)
            put_approver(context, change, call.approver, state)
            answer = context.finish(change, call, digest, context.attester.attest(key, now), key, now, decision)
        approved = unwrap_payload_for(call.attributes, call.wrapped_key, call.new_label)
        context.journal.grant(call, key, decision, payload=approved, note=f"approver {call.new_label!r}")
        return answer

    def _restoration(self, key: KeyRecord, name: str, purpose: str, password: bytes) -> protocol.Restoration:
        state = approver(self._context, name)
        _check(name, purpose, password, state)
        if state.backup_key != key.uuid:
            raise KeyturnError(
                ErrorCode.IN_HSM,
                f"the backup of the approver {name!r} is kept under another key (uuid {state.backup_key}) than the "
                f"backup key {key.label!r} of now; give that one's label as backupKeyName",
                refusal="backup-key.other",
            )
        label = name
        if purpose != RESTORE:
            word = "new backup password" if purpose == FORGOT else "changed backup password"
            label = f"{name}: {word} {sha256(password).hexdigest()[:_HASH]}"
        return protocol.Restoration(key.label, state.wrapped_key, METHOD, label, dict(ATTRIBUTES))


def _check(name: str, purpose: str, password: bytes, state: ApproverState) -> None:
    if purpose not in PURPOSES or bool(password) != (purpose != RESTORE):
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"a restoration is for {', '.join(PURPOSES)}, and brings a backup password for the last two",
            refusal="approver.purpose",
        )
    if not state.onboarded and purpose != CHANGE:
        raise KeyturnError(
            ErrorCode.APPROVER_NOT_ONBOARDED,
            f"the approver {name!r} is not onboarded yet, so there is nothing to restore; for another code use "
            "/v1/approverManagement/renewOneTimeCode",
            refusal="approver.not-onboarded",
        )
