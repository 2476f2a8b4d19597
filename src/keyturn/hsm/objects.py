"""Data objects: values that are kept for callers, sealed in the store, and are no keys.

`private` is kept and told and restricts nothing further: whoever reaches this protocol may read every object. Values
are sealed at rest, whatever it says. Attributes can only become stricter: an object that is not modifiable stays as it
is, and one that is not destroyable stays.

Source: rest-api.md section 3.9; decisions 28; docs/adr/0107.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.framing import encode_message
from keyturn.hsm.journal import MAX_SHOWN
from keyturn.hsm.records import ObjectRecord
from keyturn.ska.labels import check_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.hsm.context import EngineContext

KIND: Final = "data"
"""Of their records."""
MAX_VALUE: Final = 64 * 1024
"""Longest value in bytes (rest-api.md section 1.3)."""
MAX_OBJECTS: Final = 1024
"""Most data objects of one HSM: all of them are held in memory, 64 MiB when full."""
DEFAULTS: Final[Mapping[str, bool]] = {"private": True, "modifiable": True, "destroyable": True}
"""Attributes with the values of PKCS #11 version 3.0, section 4.5, where the caller says nothing."""
_STRICTER: Final = {"private": True, "modifiable": False, "destroyable": False}
"""For each attribute the value that allows less."""


class Objects:
    """Handles `PutObject`, `GetObject` and `DeleteObject`.

    Args:
        context: What the parts of the engine share.
    """

    def __init__(self, context: EngineContext) -> None:
        self._context = context

    def put(self, call: protocol.PutObject, digest: bytes) -> protocol.Answer:
        """Keep an object, or another value of one."""
        context = self._context
        _check(call)
        now = context.journal.now()
        if call.replace:
            before = self._record(call.name)
            _require(before, "modifiable", "its value cannot be replaced")
            record = ObjectRecord(KIND, call.name, before.created, now, _stricter(before, call.attributes))
        else:
            self._require_room(call.name)
            record = ObjectRecord(KIND, call.name, now, now, {**DEFAULTS, **call.attributes})
        with context.store.change() as change:
            change.put_object(record, call.value)
            answer = protocol.Done()
            change.put_operation(call.operation_id, digest, encode_message(answer), time=now)
        # Without a hash of the value: of a short one it would tell everything.
        context.journal.serve(call, note=f"data object {call.name!r}")
        return answer

    def get(self, call: protocol.GetObject) -> protocol.Answer:
        """Read an object."""
        record = self._record(call.name)
        return protocol.ObjectIs(record.name, self._context.store.object_value(record), record.attributes)

    def delete(self, call: protocol.DeleteObject, digest: bytes) -> protocol.Answer:
        """Delete an object."""
        context = self._context
        record = self._record(call.name)
        _require(record, "destroyable", "it cannot be deleted")
        with context.store.change() as change:
            change.remove_object(record)
            answer = protocol.Done()
            change.put_operation(call.operation_id, digest, encode_message(answer), time=context.journal.now())
        context.journal.serve(call, note=f"data object {record.name!r}")
        return answer

    def _record(self, name: str) -> ObjectRecord:
        record = self._context.store.object(KIND, name)
        if record is None:
            raise KeyturnError(
                ErrorCode.DATA_OBJECT_NOT_EXISTENT,
                f"a data object with the name {name[:MAX_SHOWN]!r} does not exist",
                refusal="object.unknown",
            )
        return record

    def _require_room(self, name: str) -> None:
        store = self._context.store
        if store.object(KIND, name) is not None:
            raise KeyturnError(
                ErrorCode.DATA_OBJECT_ALREADY_EXISTING,
                f"a data object with the name {name!r} is already existing; choose another name, or PUT the new value",
                refusal="object.exists",
            )
        if len(store.object_names(KIND)) >= MAX_OBJECTS:
            raise KeyturnError(
                ErrorCode.IN_HSM,
                f"this HSM keeps at most {MAX_OBJECTS} data objects; delete some that are no longer needed",
                refusal="object.too-many",
            )


def _check(call: protocol.PutObject) -> None:
    try:
        check_label(call.name)
    except FormatError as error:
        # The same rules as for labels, but no key's name.
        raise FormatError(
            error.message.replace("The label", "The name", 1),
            refusal=error.refusal.replace("label.", "object.name-", 1),
        ) from None
    if not 1 <= len(call.value) <= MAX_VALUE:
        raise KeyturnError(
            ErrorCode.DATA_OBJECT_INVALID_VALUE,
            f"the value has {len(call.value)} bytes; a data object has 1 to {MAX_VALUE} (64 KiB)",
            refusal="object.value-size",
        )
    unknown = sorted(set(call.attributes) - set(DEFAULTS))
    if unknown:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"{unknown[0][:MAX_SHOWN]!r} is no attribute of data objects; there are {', '.join(DEFAULTS)}",
            refusal="object.attribute-unknown",
        )


def _stricter(before: ObjectRecord, wanted: Mapping[str, bool]) -> dict[str, bool]:
    for name, value in wanted.items():
        if value != before.attributes[name] and value != _STRICTER[name]:
            raise KeyturnError(
                ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
                f"`{name}` of the data object {before.name!r} is {str(before.attributes[name]).lower()} and stays so: "
                "attributes can only become stricter",
                refusal="object.attribute-looser",
            )
    return {**before.attributes, **wanted}


def _require(record: ObjectRecord, attribute: str, why: str) -> None:
    if not record.attributes[attribute]:
        raise KeyturnError(
            ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
            f"the data object {record.name!r} has `{attribute}` false: {why}",
            refusal=f"object.not-{attribute}",
        )
