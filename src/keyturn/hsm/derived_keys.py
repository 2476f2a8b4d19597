"""Derived keys: what `master/44'/0'/0'` names, and that it is its master's in everything (R21).

A derived key is known by its master's UUID and its path. Nothing of its private half is stored, neither of one that is
named in a call nor of one that was stored by `DeriveKey`: it is derived behind the door, from the master, after the
decision. What is stored of a stored one is its name, its public key and narrower attributes. So a derived key

* has its master's policy, the one in force, and its master's block: both are read when it is used;
* shares its master's ledger: what was approved for `master/path` serves once, stored or not, and is withdrawn once;
* ends with its master, since nobody else can make it.

Approvals name `master/path`, so that one for another path, or for the master itself, does not count.

Source: rest-api.md sections 3.1 and 3.2; ska-wire-format.md section 8, rule 3; docs/security/rules.md R21; ADR 98.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from keyturn.crypto.derivation import derivation_curve, require_path
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.creation import complete_attributes
from keyturn.ska.key_attributes import DEFAULT_ATTRIBUTES
from keyturn.ska.key_names import SEPARATOR, KeyName, master_label, parse_key_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.hsm.door import Door
    from keyturn.hsm.records import KeyRecord
    from keyturn.hsm.store_reader import StoreReader

MAX_PUBLIC_KEYS: Final = 4096
"""Public keys of derived keys that are kept, so that a repeated use derives once."""
_NARROWING: Final = ("extractable", "copyable")
"""Attributes that no child may have unless its master has."""
_USES: Final = ("decrypt", "sign", "unwrap")
_HOW_APPROVED: Final = ("boundApprovals", "singleUse")


class DerivedKeys:
    """Finds keys by name, derived ones included.

    Args:
        store: Where masters and stored children are.
        door: Derives.
    """

    def __init__(self, store: StoreReader, door: Door) -> None:
        self._store = store
        self._door = door
        self._public: dict[tuple[str, str], bytes] = {}

    def find(self, name: str) -> KeyRecord | None:
        """The key that a name means now.

        Args:
            name: A label, or `master/path`.

        Returns:
            The record; None if there is no such key or no such master. That of a derived key is made for this call: it
            has its master's UUID, policy, block, generation, times and password.

        Raises:
            FormatError: 610 or 606 for a name that is neither.
            KeyturnError: 606 `derive.attribute`, 634 `derive.…`, 606 `path.not-hardened`: the key is no master of such
                a child; 650 `key.master-gone`.
        """
        record = self._store.key(name)
        if record is None:
            if SEPARATOR not in name:
                return None
            parsed = parse_key_name(name)
            master = self._store.key(parsed.label)
            return None if master is None else self.child(master, parsed)
        if not record.master:
            return record
        master = self._store.key_by_uuid(record.master)
        if master is None:
            raise KeyturnError(
                ErrorCode.KEY_NOT_EXISTENT,
                f"the key {name!r} is derived from a key that does not exist any more",
                refusal="key.master-gone",
            )
        return replace(
            self._as_child(master, record.label, record.path, record.public_key),
            attributes=record.attributes,
            certificate=record.certificate,
        )

    def child(self, master: KeyRecord, name: KeyName) -> KeyRecord:
        """A child of a master, whether or not one of that name is stored.

        Args:
            master: The master, as stored; it is no derived key itself.
            name: Its label with the path.

        Returns:
            The record, with the master's attributes.

        Raises:
            KeyturnError: As `find`.
        """
        require_path(derivation_curve(master.algorithm, master.curve_oid, master.attributes), name.path)
        path = name.path_text
        place = master.uuid, path
        public_key = self._public.get(place)
        if public_key is None:
            public_key = self._door.public_child(master, path)
            if len(self._public) >= MAX_PUBLIC_KEYS:
                del self._public[next(iter(self._public))]
            self._public[place] = public_key
        return self._as_child(master, name.text, path, public_key)

    def forget(self, uuid: str) -> None:
        """Drop what is known of the children of a key that was deleted."""
        self._public = {place: key for place, key in self._public.items() if place[0] != uuid}

    @staticmethod
    def _as_child(master: KeyRecord, label: str, path: str, public_key: bytes) -> KeyRecord:
        return replace(
            master,
            label=label,
            creation="derived",
            key_id=None,
            public_key=public_key,
            certificate=b"",
            master=master.uuid,
            path=path,
        )


def identity_of(store: StoreReader, name: str) -> KeyRecord | None:
    """The stored key that a name is about, for log lines and receipts: of a derived key its master.

    Args:
        store: The store.
        name: Whatever a caller wrote.

    Returns:
        The record; None if there is none. Never raises.
    """
    record = store.key(name) or store.key(master_label(name))
    return store.key_by_uuid(record.master) if record is not None and record.master else record


def require_not_derived(record: KeyRecord, what: str) -> None:
    """Refuse to do with a derived key what is done with its master.

    Args:
        record: The key.
        what: Such as `blocked`.

    Raises:
        KeyturnError: 614 `key.derived`.
    """
    if record.master:
        master = master_label(record.label)
        raise KeyturnError(
            ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
            f"the derived key {record.label!r} is not {what} by itself; it follows its master {master!r}",
            refusal="key.derived",
        )


def child_attributes(master: KeyRecord, given: Mapping[str, bool]) -> dict[str, bool]:
    """The attributes of a child that is to be stored.

    Args:
        master: Its master.
        given: Those that are to differ from the master's; unknown names are ignored.

    Returns:
        All attributes.

    Raises:
        KeyturnError: 606 `attribute.no-use`, `attribute.child-…`: one would be wider than the master's.
    """
    names = (*DEFAULT_ATTRIBUTES, "sensitive")
    wanted = {name: master.attributes.get(name, False) for name in names}
    wanted |= {name: value for name, value in given.items() if name in wanted}
    if not wanted["derive"]:
        # Existing clients leave those of the master where they take `derive` away.
        wanted |= {"bip32": False, "slip10": False}
    attributes = complete_attributes(wanted, imported=True)
    attributes["alwaysSensitive"] = attributes["sensitive"] and master.attributes.get("alwaysSensitive", False)
    attributes["neverExtractable"] = not attributes["extractable"] and master.attributes.get("neverExtractable", False)
    for name in _NARROWING + (_USES if master.policy else ()):
        if attributes[name] and not master.attributes.get(name):
            raise _attributes(
                f"`{name}` is false on the master {master.label!r}, and a child is never wider than its master",
                f"child-{name}",
            )
    if master.attributes.get("sensitive") and not attributes["sensitive"]:
        raise _attributes(
            f"`sensitive` is true on the master {master.label!r}, and a child is never wider than its master",
            "child-sensitive",
        )
    for name in _HOW_APPROVED:
        if attributes[name] != master.attributes.get(name, False):
            raise _attributes(
                f"`{name}` of a child is that of its master {master.label!r}, whose policy it follows", f"child-{name}"
            )
    return attributes


def _attributes(message: str, word: str) -> KeyturnError:
    return KeyturnError(ErrorCode.KEY_ATTRIBUTES_INVALID, f"attributes: {message}", refusal=f"attribute.{word}")
