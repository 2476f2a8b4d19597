"""Approvers whose keys are made here: created, onboarded once for a one-time code, listed, deleted (R23).

A worker makes key, certificate and PKCS#12 file. What the store keeps of them says `keyturn.hsm.approver_state`; how
a file is restored from the backup, `keyturn.hsm.restoring`. In the clear a private key exists in this process group
only: a file leaves encrypted by the transport password, and is itself encrypted by the backup password. Both come
sealed (R27), as the code does.

A wrong code costs a try, durably and before it is refused: of all refusals the only one that changes anything. Who
reaches this protocol may ask for another code, as who manages approvers may; the limit is for those who may only bring
codes.

Source: rest-api.md section 3.8; docs/security/rules.md R23, R27; docs/adr/0113, 0114.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyturn.crypto import wrapping
from keyturn.crypto.keys import load_public_key
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.approver_state import (
    CONTENT_KEY,
    ApproverState,
    Backup,
    encrypt_backup,
    is_right,
    make_code,
    require_good,
    wrong_code,
)
from keyturn.hsm.backup_key import METHOD, BackupKey
from keyturn.hsm.framing import encode_message
from keyturn.hsm.journal import MAX_SHOWN
from keyturn.hsm.records import ObjectRecord, decode_record
from keyturn.hsm.worker import MakeApproverFile
from keyturn.ska.approver_secrets import BACKUP_PASSWORD, ONE_TIME_CODE, TRANSPORT_PASSWORD, sealed_for
from keyturn.ska.labels import check_label

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from keyturn.hsm.change import Change
    from keyturn.hsm.context import EngineContext
    from keyturn.hsm.records import KeyRecord

KIND: Final = "approver"
"""Of their records."""
MAX_APPROVERS: Final = 512
"""Most approvers of one HSM: all are held in memory, and all certificates go into one answer."""
MAX_NAME: Final = 64
"""Longest name in characters and bytes: it is a common name, and stands with more words in a label."""
KEY_SIZES: Final = (2048, 3072, 4096)
MAX_DAYS: Final = 7305
"""Longest validity of a certificate: twenty years."""
TRANSPORT_SIZES: Final = (16, 32)
"""Bytes of a transport password: it is an AES key."""
IV_SIZE: Final = 12


class Approvers:
    """Handles `CreateApprover`, `RenewApproverCode`, `OnboardApprover`, `ListApprovers` and `DeleteApprover`.

    Args:
        context: What the parts of the engine share.
        backup_key: Under which backups are kept.
    """

    def __init__(self, context: EngineContext, backup_key: BackupKey) -> None:
        self._context = context
        self._backup_key = backup_key
        self._reserved: set[str] = set()

    def create(self, call: protocol.CreateApprover, digest: bytes) -> Awaitable[protocol.Answer]:
        """Make an approver's key in a worker; the name is reserved meanwhile."""
        self._backup_key.require()
        _check(call)
        self._require_room(call.name)
        password = open_secret(self._context, BACKUP_PASSWORD, call.name, call.backup_password)
        job = MakeApproverFile(call.name, password, call.key_size, call.days, self._context.clock_guard.now())
        self._reserved.add(call.name)
        task = asyncio.get_running_loop().create_task(self._make(call, digest, job))
        self._context.operations.begin(call.operation_id, digest, task)
        return asyncio.shield(task)

    async def _make(self, call: protocol.CreateApprover, digest: bytes, job: MakeApproverFile) -> protocol.Answer:
        context = self._context
        try:
            made = await context.workers.approver_file(job)
            # From here to the end nothing waits.
            context.rollback.require_current(call)
            key = self._backup_key.require()
            state = backed_up(key, call.name, made.certificate, Backup(made.private_key, made.file))
            code, digits = make_code(context.clock_guard.now(), context.store.restore_epoch)
            state = msgspec.structs.replace(state, waiting=made.file, code=code)
            with context.store.change() as change:
                put_approver(context, change, call.name, state)
                self._remember(change, call, digest)
            context.journal.serve(call, note=f"approver {call.name!r}, backup under {key.label!r} {key.uuid}")
            return protocol.ApproverCode(digits)
        except Exception as error:
            return context.journal.refuse(call, error, "")
        finally:
            self._reserved.discard(call.name)

    def renew(self, call: protocol.RenewApproverCode, digest: bytes) -> protocol.Answer:
        """Make another code for a file that waits."""
        self._backup_key.require_on()
        context = self._context
        state = approver(context, call.name)
        if not state.waiting:
            raise KeyturnError(
                ErrorCode.UNSUPPORTED_OPERATION,
                f"the approver {call.name!r} is onboarded and no file waits for a code; restore it from the backup "
                "first: /v1/approverManagement/restoreFromBackup",
                refusal="approver.nothing-waits",
            )
        code, digits = make_code(context.clock_guard.now(), context.store.restore_epoch)
        with context.store.change() as change:
            put_approver(context, change, call.name, msgspec.structs.replace(state, code=code))
            self._remember(change, call, digest)
        context.journal.serve(call, note=f"approver {call.name!r}")
        return protocol.ApproverCode(digits)

    def onboard(self, call: protocol.OnboardApprover, digest: bytes) -> protocol.Answer:
        """Give a file that waits, for its code, once."""
        self._backup_key.require_on()
        context = self._context
        state = approver(context, call.name)
        now = context.clock_guard.now()
        code = require_good(call.name, state.code, now, context.store.restore_epoch)
        transport = open_secret(context, TRANSPORT_PASSWORD, call.name, call.transport_password)
        if len(transport) not in TRANSPORT_SIZES:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                f"transportPassword has 16 or 32 bytes of UTF-8, not {len(transport)}: it is an AES key",
                refusal="approver.transport-password",
            )
        if not is_right(code, open_secret(context, ONE_TIME_CODE, call.name, call.code)):
            left = msgspec.structs.replace(code, tries=code.tries - 1)
            with context.store.change() as change:
                put_approver(context, change, call.name, msgspec.structs.replace(state, code=left))
            raise wrong_code(call.name, f"it is another one; tries left: {left.tries}", "approver.code-wrong")
        vector = os.urandom(IV_SIZE)
        answer = protocol.ApproverPackage(vector, AESGCM(transport).encrypt(vector, state.waiting, None))
        given = msgspec.structs.replace(state, waiting=b"", code=None, onboarded=state.onboarded or now)
        with context.store.change() as change:
            put_approver(context, change, call.name, given)
            change.put_operation(call.operation_id, digest, encode_message(answer), time=context.journal.now())
        context.journal.serve(call, note=f"approver {call.name!r} was given their file")
        return answer

    def listed(self, _: protocol.ListApprovers) -> protocol.Approvers:
        """All approvers, by name."""
        self._backup_key.require_on()
        entries = []
        for name in self._context.store.object_names(KIND):
            state = approver(self._context, name)
            entries.append((name, state.certificate, bool(state.onboarded)))
        return protocol.Approvers(entries)

    def delete(self, call: protocol.DeleteApprover, digest: bytes) -> protocol.Answer:
        """Forget an approver: key, file and code."""
        self._backup_key.require_on()
        context = self._context
        record = _record(context, call.name)
        answer = protocol.Done()
        with context.store.change() as change:
            change.remove_object(record)
            change.put_operation(call.operation_id, digest, encode_message(answer), time=context.journal.now())
        context.journal.serve(call, note=f"approver {call.name!r}")
        return answer

    def _remember(
        self, change: Change, call: protocol.CreateApprover | protocol.RenewApproverCode, digest: bytes
    ) -> None:
        # Without the code, which would rest here in the clear: who lost an answer asks for another code.
        nothing = encode_message(protocol.ApproverCode(""))
        change.put_operation(call.operation_id, digest, nothing, time=self._context.journal.now())

    def _require_room(self, name: str) -> None:
        store = self._context.store
        if store.object(KIND, name) is not None or name in self._reserved:
            raise KeyturnError(
                ErrorCode.APPROVER_ALREADY_EXISTING,
                f"an approver with the name {name!r} is already existing; choose another name, or delete that one",
                refusal="approver.exists",
            )
        if len(store.object_names(KIND)) + len(self._reserved) >= MAX_APPROVERS:
            raise KeyturnError(
                ErrorCode.IN_HSM,
                f"this HSM keeps at most {MAX_APPROVERS} approvers; delete some that are no longer needed",
                refusal="approver.too-many",
            )


def approver(context: EngineContext, name: str) -> ApproverState:
    """What is kept of an approver.

    Raises:
        KeyturnError: 654 `approver.unknown`.
    """
    return decode_record(ApproverState, context.store.object_value(_record(context, name)))


def put_approver(context: EngineContext, change: Change, name: str, state: ApproverState) -> None:
    """Keep what is known of an approver, in a change."""
    before = context.store.object(KIND, name)
    now = context.journal.now()
    record = ObjectRecord(KIND, name, now if before is None else before.created, now, {})
    change.put_object(record, msgspec.msgpack.encode(state))


def backed_up(key: KeyRecord, name: str, certificate: bytes, backup: Backup) -> ApproverState:
    """A backup under a content key of its own, wrapped under the backup key; that takes its public part only.

    Args:
        key: The backup key.
        name: The approver's name.
        certificate: Theirs, DER.
        backup: What is kept.
    """
    content_key = os.urandom(CONTENT_KEY)
    return ApproverState(
        certificate=certificate,
        backup_key=key.uuid,
        wrapped_key=wrapping.wrap(load_public_key(key.public_key), METHOD, content_key),
        backup=encrypt_backup(content_key, name, certificate, backup),
    )


def open_secret(context: EngineContext, secret: str, name: str, sealed: bytes) -> bytes:
    """Open a secret that came for an approver.

    Raises:
        FormatError: 620 `password.seal`.
    """
    return context.system_keys.transport.open_password(sealed_for(secret, name), sealed)


def _record(context: EngineContext, name: str) -> ObjectRecord:
    record = context.store.object(KIND, name)
    if record is None:
        raise KeyturnError(
            ErrorCode.APPROVER_NOT_EXISTENT,
            f"an approver with the name {name[:MAX_SHOWN]!r} does not exist; create one with "
            "/v1/approverManagement/create",
            refusal="approver.unknown",
        )
    return record


def _check(call: protocol.CreateApprover) -> None:
    try:
        check_label(call.name)
    except FormatError as error:
        # The same rules as for labels, but no key's name.
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            "approverName: " + error.message.replace("The label", "the name", 1),
            refusal="approver.name",
        ) from None
    if len(call.name.encode()) > MAX_NAME:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"approverName: a name has at most {MAX_NAME} bytes of UTF-8",
            refusal="approver.name",
        )
    if call.key_size not in KEY_SIZES:
        raise KeyturnError(
            ErrorCode.KEY_SIZE,
            f"keySize: keys of approvers have {', '.join(map(str, KEY_SIZES))} bits, not {call.key_size}",
            refusal="approver.key-size",
        )
    if not 1 <= call.days <= MAX_DAYS:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"validity: a certificate is valid for 1 to {MAX_DAYS} days, not {call.days}",
            refusal="approver.validity",
        )
