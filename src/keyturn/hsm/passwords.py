"""Passwords of keys: a second lock, checked after the approvals and never instead of them (R27).

A password comes sealed to the transport key and for one label (`keyturn.ska.sealed_password`); its clear text exists in
this process only, for as long as a check takes. What it is checked against is a salted scrypt hash, which rests sealed
in the key's record: whoever has the files without the store's passphrase has nothing to try passwords on, and whoever
has the passphrase has the keys. So the hash need not hold off the owner of a computing centre; it is there for people
who use a password twice. scrypt with these parameters takes about ten milliseconds and fits into one turn of the loop.
After a success a MAC under a key that lives as long as the process is remembered, so that ten thousand signatures cost
one hash.

Wrong tries are counted for each key: `TRIES` at once, then one each `SECONDS_PER_TRY`. While none is left the right
password is refused, too, or guessing would go on.

Source: docs/security/rules.md R27; rest-api.md section 1.4 (620); RFC 7914; docs/adr/0100.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.hsm.records import KeyRecord
    from keyturn.hsm.store import Store
    from keyturn.hsm.system_signers import TransportOpener

TRIES: Final = 10
"""Wrong passwords for one key that are looked at without a pause."""
SECONDS_PER_TRY: Final = 30.0
"""Seconds after which another one is looked at."""
MAX_REMEMBERED: Final = 4096
"""Keys whose right password is remembered; the oldest goes first and costs a hash again."""

_SALT: Final = 16
_N, _R, _P = 1 << 13, 8, 1
_SIZE: Final = 32


@dataclass(slots=True)
class _Tries:
    """How many wrong passwords of one key are still looked at."""

    left: float
    seen: float


class Passwords:
    """Checks the passwords of an open store's keys.

    Args:
        store: Seals what passwords are checked against.
        transport: Opens them.
        monotonic: Clock of the limit on wrong tries.
    """

    def __init__(self, store: Store, transport: TransportOpener, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._transport = transport
        self._monotonic = monotonic
        self._memory_key = os.urandom(_SIZE)
        self._remembered: dict[str, bytes] = {}
        self._tries: dict[str, _Tries] = {}

    def __repr__(self) -> str:
        return "<Passwords>"

    def verifier(self, uuid: str, label: str, sealed_password: bytes) -> bytes:
        """What a key's record keeps of its password.

        Args:
            uuid: The key.
            label: Its label.
            sealed_password: The password, sealed for this label; empty for none.

        Returns:
            The field `password` of the record; empty for none.

        Raises:
            FormatError: 620 `password.seal`.
        """
        if not sealed_password:
            return b""
        password = self._transport.open_password(label, sealed_password)
        salt = os.urandom(_SALT)
        return self._store.seal_verifier(uuid, salt + slow_hash(password, salt))

    def check(self, record: KeyRecord, sealed_password: bytes) -> None:
        """Return only if the password that came with a call is the key's.

        Args:
            record: The key, as the store holds it now; of a derived key the temporary record with its master's fields.
            sealed_password: What came; empty for none.

        Raises:
            KeyturnError: 620 `key.password`; `key.password-tries` after too many wrong ones.
            FormatError: 620 `password.seal`: it was sealed for another key or another HSM.
        """
        if not record.password and not sealed_password:
            return
        if not record.password:
            raise _mismatch(f"the key {record.label!r} has no password; leave it out", "key.password")
        if not sealed_password:
            raise _mismatch(f"the key {record.label!r} has a password, and none was given", "key.password")
        tries = self._tries.get(record.uuid)
        if tries is not None and not self._refilled(tries):
            raise _mismatch(
                f"too many wrong ones were tried on the key {record.label!r}; one more is looked at every "
                f"{SECONDS_PER_TRY:g} seconds",
                "key.password-tries",
            )
        password = self._transport.open_password(record.label, sealed_password)
        if not self._is_right(record, password):
            tries = self._tries.setdefault(record.uuid, _Tries(float(TRIES), self._monotonic()))
            tries.left -= 1
            raise _mismatch(f"this is not the password of the key {record.label!r}", "key.password")

    def forget(self, uuid: str) -> None:
        """Drop what is remembered of a key that was deleted or got another password."""
        self._remembered.pop(uuid, None)
        self._tries.pop(uuid, None)

    def _refilled(self, tries: _Tries) -> bool:
        now = self._monotonic()
        tries.left = min(float(TRIES), tries.left + (now - tries.seen) / SECONDS_PER_TRY)
        tries.seen = now
        return tries.left >= 1

    def _is_right(self, record: KeyRecord, password: bytes) -> bool:
        # The verifier stands in the MAC, so that nothing is right any more once the password has changed.
        mac = hmac.digest(
            self._memory_key, b"%b\x00%b\x00%b" % (record.uuid.encode(), record.password, password), "sha256"
        )
        if hmac.compare_digest(self._remembered.get(record.uuid, b""), mac):
            return True
        kept = self._store.open_verifier(record.uuid, record.password)
        if not hmac.compare_digest(slow_hash(password, kept[:_SALT]), kept[_SALT:]):
            return False
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[record.uuid] = mac
        return True


def slow_hash(password: bytes, salt: bytes) -> bytes:
    """What a short secret is compared by; 8 MiB and about ten milliseconds.

    Args:
        password: The secret.
        salt: 16 random bytes.
    """
    return hashlib.scrypt(password, salt=salt, n=_N, r=_R, p=_P, maxmem=32 << 20, dklen=_SIZE)


def _mismatch(why: str, word: str) -> KeyturnError:
    return KeyturnError(ErrorCode.KEY_PASSWORD_MISMATCH, f"password mismatch: {why}", refusal=word)
