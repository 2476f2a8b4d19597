"""Messages about what the HSM keeps for callers and is no key."""

from __future__ import annotations

from keyturn.hsm.messages.base import Message


class PutObject(Message, frozen=True, tag="object-put"):
    """Keep a data object. Answer: `Done`.

    Args:
        operation_id: 16 bytes.
        name: Its name; the rules of key labels hold for it.
        value: At most 64 KiB.
        attributes: `private`, `modifiable`, `destroyable`, as far as the caller wrote them.
        replace: True to write another value for an object that exists, False for a new one.
    """

    operation_id: bytes
    name: str
    value: bytes
    attributes: dict[str, bool]
    replace: bool = False


class GetObject(Message, frozen=True, tag="object"):
    """Ask for a data object. Answer: `ObjectIs`."""

    name: str


class ObjectIs(Message, frozen=True, tag="object-is"):
    """A data object.

    Args:
        name: Its name.
        value: Its value.
        attributes: All of them.
    """

    name: str
    value: bytes
    attributes: dict[str, bool]


class DeleteObject(Message, frozen=True, tag="object-delete"):
    """Delete a data object. Answer: `Done`."""

    operation_id: bytes
    name: str
