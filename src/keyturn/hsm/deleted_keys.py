"""Deleted keys: sealed for a time, brought back by an administrator, erased by the HSM's clock (R28).

What was deleted can be used by nobody: it bears no label, and no call of the broker reaches it. An administrator may
bring it back, under a label that is free. It is the same key, with the same uuid and its lines of the ledger, and the
next generation of its label; what was approved before does not count for it, since approvals for a later generation
need a timestamp from after it took its label (R18). Passwords and blocks stay as they were. A derived key comes back as
`master/path`, whatever its master is called by then.

Source: docs/security/rules.md R2, R18, R28; docs/adr/0101.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.admin import DeletedAre, DeletedKey
from keyturn.hsm.audit import LogEntry
from keyturn.hsm.creation import check_name
from keyturn.ska.key_names import SEPARATOR

if TYPE_CHECKING:
    from keyturn.hsm.context import EngineContext
    from keyturn.hsm.records import KeyRecord

DAY: Final = 86_400
"""Seconds."""
PAGE: Final = 1000
"""Deleted keys in one answer."""


class DeletedKeys:
    """What lies sealed after its deletion.

    Args:
        context: What the parts of the engine share.
    """

    def __init__(self, context: EngineContext) -> None:
        self._context = context

    def listed(self, after: str) -> DeletedAre:
        """A page of the deleted keys, by UUID.

        Args:
            after: The UUID with which the page before ended; empty for the first page.
        """
        found = self._context.store.deleted_keys()
        page = sorted(uuid for uuid in found if uuid > after)[: PAGE + 1]
        keys = [
            DeletedKey(
                label=record.label,
                uuid=record.uuid,
                algorithm=record.algorithm,
                governed=bool(record.policy),
                deleted=record.deleted,
                erased=self._end(record),
            )
            for record in (found[uuid] for uuid in page[:PAGE])
        ]
        return DeletedAre(keys, page[PAGE - 1] if len(page) > PAGE else "")

    def restore(self, uuid: str, label: str) -> None:
        """Bring a key back.

        Args:
            uuid: The key.
            label: The label it is to bear; empty for the one it had. A derived key is called after its master.

        Raises:
            KeyturnError: 650 `deleted.unknown`, `deleted.master-gone`; 651 `key.exists`; 610, `deleted.derived-name`;
                `clock.…`.
        """
        context = self._context
        record = self._record(uuid)
        if record.master:
            wanted = self._name_of_child(record, label)
        else:
            wanted = label or record.label
            check_name(wanted, None, context.system_names)
        context.require_free(wanted)
        now = context.clock_guard.now()
        with context.store.change() as change:
            change.restore_key(uuid, wanted, context.store.next_generation(wanted), now)
        self._note("restore", record, f"as {wanted!r}")

    def _name_of_child(self, record: KeyRecord, label: str) -> str:
        """What a derived key is called now: approvals for it name its master and the path, and nothing else (R21).

        Under a label of its own it would take over what was approved for the keys that had this label before.
        """
        master = self._context.store.key_by_uuid(record.master)
        if master is None:
            raise KeyturnError(
                ErrorCode.KEY_NOT_EXISTENT,
                f"{record.label!r} is derived from a key that is not there; restore {record.master} first",
                refusal="deleted.master-gone",
            )
        name = f"{master.label}{SEPARATOR}{record.path}"
        if label not in ("", name):
            raise KeyturnError(
                ErrorCode.INVALID_KEY_NAME,
                f"a derived key is called after its master, this one {name!r}; restore it without another label",
                refusal="deleted.derived-name",
            )
        return name

    def erase(self, uuid: str) -> None:
        """Erase a key for good, before its time.

        Raises:
            KeyturnError: 650 `deleted.unknown`.
        """
        self._erase(self._record(uuid), "by an administrator")

    def sweep(self) -> None:
        """Erase every key whose time is over; none while the clock is not believed or the store is an older one."""
        context = self._context
        if not context.store.deleted_keys() or context.store.witnessed is not None:
            return
        try:
            now = context.clock_guard.now()
        except KeyturnError:
            return
        for record in [one for one in context.store.deleted_keys().values() if self._end(one) <= now]:
            self._erase(record, "its time was over")

    def _erase(self, record: KeyRecord, why: str) -> None:
        with self._context.store.change() as change:
            change.erase_key(record.uuid)
        self._note("erase", record, why)

    def _end(self, record: KeyRecord) -> int:
        return record.deleted + self._context.settings.deleted_key_retention_days * DAY

    def _record(self, uuid: str) -> KeyRecord:
        record = self._context.store.deleted_keys().get(uuid)
        if record is None:
            raise KeyturnError(
                ErrorCode.KEY_NOT_EXISTENT,
                f"a deleted key with the uuid {uuid[:64]!a} does not exist; those that do are shown by "
                "`keyturn hsm deleted list`",
                refusal="deleted.unknown",
            )
        return record

    def _note(self, kind: str, record: KeyRecord, note: str) -> None:
        time = self._context.journal.now()
        self._context.store.log.append(
            LogEntry(time=time, kind=kind, outcome="granted", label=record.label, uuid=record.uuid, note=note)
        )
