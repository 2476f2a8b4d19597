"""The officer's own address book: which fingerprint is whom, and which keys were accepted.

Names inside a policy are written by whoever wrote the policy. The officer's own book is the only place where a name
means something, because the officer put it there after comparing words with that person.
"""

from __future__ import annotations

import json
import os
import tempfile
import unicodedata
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keyturn.approver.accepted_keys import keys_from_json, keys_to_json
from keyturn.approver.terminal import visible
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.approver.accepted_keys import AcceptedKey

FORMAT_VERSION: Final = 1
MAX_FILE: Final = 4 << 20
MAX_NAME: Final = 100
FINGERPRINT_DIGITS: Final = 64
_OUR_WORDS: Final = frozenset({"you", "not in your address book"})
"""What `policy_words` says in the place of a name."""


def default_path() -> Path:
    """`keyturn/addressbook.json` below the user's configuration directory (XDG base directory specification)."""
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(configured) if configured.startswith("/") else Path.home() / ".config"
    return base / "keyturn" / "addressbook.json"


def clean_fingerprint(text: str) -> str:
    """A fingerprint as people write it (spaces, colons, capitals) in its one form.

    Args:
        text: 64 hex digits with separators.

    Raises:
        KeyturnError: `address-book.fingerprint`.
    """
    digits = text.replace(" ", "").replace(":", "").lower()
    if len(digits) != FINGERPRINT_DIGITS or not set(digits) <= set("0123456789abcdef"):
        raise _refusal("address-book.fingerprint", f"A fingerprint has {FINGERPRINT_DIGITS} hexadecimal digits.")
    return digits


@dataclass(frozen=True, slots=True)
class AddressBook:
    """Fingerprints and the names their owner goes by.

    Args:
        contacts: Fingerprint (64 lower-case hex digits) to name.
        keys: Keys that their owner has accepted (R20), by UUID.
    """

    contacts: Mapping[str, str]
    keys: Mapping[str, AcceptedKey] = field(default_factory=dict)

    @classmethod
    def empty(cls) -> AddressBook:
        """A book in which nobody stands."""
        return cls({})

    @classmethod
    def load(cls, path: Path) -> AddressBook:
        """Read a book; a missing file is an empty book.

        Args:
            path: JSON file.

        Raises:
            KeyturnError: `address-book.unreadable` when it is damaged.
        """
        try:
            with path.open("rb") as file:
                content = file.read(MAX_FILE + 1)
        except FileNotFoundError:
            return cls.empty()
        except OSError as error:
            raise _refusal("address-book.unreadable", f"Address book {path}: {error.strerror}.") from None
        try:
            document = json.loads(content) if len(content) <= MAX_FILE else None
        except (ValueError, RecursionError):
            document = None
        contacts = document.get("contacts") if isinstance(document, dict) else None
        if (
            not isinstance(document, dict)
            or document.get("version") != FORMAT_VERSION
            or not isinstance(contacts, dict)
        ):
            raise _refusal(
                "address-book.unreadable",
                f"Address book {path} is damaged: it must hold version 1 and contacts. Repair it or move it away.",
            )
        known = {clean_fingerprint(digits): _clean_name(name) for digits, name in contacts.items()}
        if len({_compared(name) for name in known.values()}) < len(contacts):
            raise _refusal("address-book.unreadable", f"Address book {path} is damaged: a name or key stands twice.")
        return cls(known, keys_from_json(document.get("keys")))

    def save(self, path: Path) -> None:
        """Write the book in place of the old one, whole or not at all, readable by its owner only.

        Args:
            path: JSON file; its directory is created with mode 0700.

        Raises:
            KeyturnError: `address-book.unwritable`.
        """
        document = {
            "version": FORMAT_VERSION,
            "contacts": dict(self.contacts),
            "keys": keys_to_json(self.keys),
        }
        text = json.dumps(document, indent=2, ensure_ascii=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, fresh = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            Path(fresh).replace(path)
        except OSError as error:
            raise _refusal("address-book.unwritable", f"Address book {path}: {error.strerror}.") from None

    def name(self, fingerprint: str) -> str | None:
        """The name under which a fingerprint is known, or None.

        Args:
            fingerprint: 64 lower-case hex digits.
        """
        return self.contacts.get(fingerprint)

    def with_contact(self, fingerprint: str, name: str) -> AddressBook:
        """A book in which `name` stands for the fingerprint.

        Args:
            fingerprint: Hex digits, separators allowed.
            name: 1 to 100 printable characters, not yet used for another fingerprint.

        Raises:
            KeyturnError: `address-book.fingerprint`, `address-book.name`, `address-book.name-taken`.
        """
        digits, cleaned = clean_fingerprint(fingerprint), _clean_name(name)
        for known, known_name in self.contacts.items():
            if _compared(known_name) == _compared(cleaned) and known != digits:
                raise _refusal(
                    "address-book.name-taken",
                    f"'{cleaned}' already stands for {known}; remove that contact first or take another name.",
                )
        return replace(self, contacts={**self.contacts, digits: cleaned})

    def without(self, who: str) -> AddressBook:
        """A book without one contact.

        Args:
            who: Its name or fingerprint.

        Raises:
            KeyturnError: `address-book.unknown`.
        """
        digits = who.replace(" ", "").replace(":", "").lower()
        remaining = {known: name for known, name in self.contacts.items() if known != digits and name != who}
        if len(remaining) == len(self.contacts):
            raise _refusal("address-book.unknown", "No contact has this name or fingerprint.")
        return replace(self, contacts=remaining)

    def with_key(self, key: AcceptedKey) -> AddressBook:
        """A book in which a key is accepted, in the place of the one that bore its label or identity.

        Args:
            key: The key.
        """
        others = {uuid: known for uuid, known in self.keys.items() if known.label != key.label}
        return replace(self, keys={**others, key.place: key})

    def without_key(self, which: str) -> AddressBook:
        """A book in which a key is accepted no more.

        Args:
            which: Its label or UUID.

        Raises:
            KeyturnError: `address-book.unknown-key`.
        """
        remaining = {uuid: key for uuid, key in self.keys.items() if which not in {uuid, key.uuid, key.label}}
        if len(remaining) == len(self.keys):
            raise _refusal("address-book.unknown-key", "No accepted key has this name or UUID.")
        return replace(self, keys=remaining)


def _clean_name(name: object) -> str:
    """A name that looks like what it is."""
    if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME or visible(name) != name:
        raise _refusal("address-book.name", f"A contact's name is 1 to {MAX_NAME} characters that can be seen.")
    if _compared(name.strip()) in _OUR_WORDS:
        raise _refusal("address-book.name", f"'{name.strip()}' is what keyturn itself says about a key; take another.")
    return name.strip()


def _compared(name: str) -> str:
    """A name in the form in which two names that look the same are the same."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _refusal(word: str, message: str) -> KeyturnError:
    return KeyturnError(ErrorCode.VALIDATION_FAILED, message, refusal=word)
