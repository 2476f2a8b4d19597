"""What an officer's client remembers between two calls: what it has seen, and what it has approved.

A server can ask for a timestamp long before it asks the officers (R12). Only the officer's own side can know when it
was asked first. And an approval can be withdrawn only over the exact bytes that were signed (R26), which nobody but
the signer needs to have kept.

The memory is bounded: what is oldest goes first. Forgetting is safe, because a request that was forgotten counts as
seen for the first time.

Source: docs/security/rules.md R12, R26; docs/adr/0069-an-officers-memory.md.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import tempfile
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

from keyturn.approver.stamps import LAST_SECOND
from keyturn.approver.tasks import decode_base64
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

FORMAT_VERSION: Final = 1
MAX_SEEN: Final = 4096
"""Approvals whose first sight is remembered."""
MAX_SENT: Final = 512
"""Approvals that can be withdrawn."""
MAX_SENT_BYTES: Final = 4 << 20
"""Bytes of all approvals that can be withdrawn; one has at most 64 KiB."""
MAX_FILE: Final = 8 << 20
"""Largest memory that is read, in bytes; the largest honest one stays below it."""
SUFFIX: Final = ".memory"
"""What a key file's name is followed by in the name of its memory."""
_DIGEST: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class SentApproval:
    """An approval that went out.

    Args:
        task_id: UUID of the task.
        approval: The bytes that were signed.
        server: Address of the server it was sent to.
        sent_at: Seconds since the epoch.
        withdrawn_at: Seconds since the epoch of its last withdrawal, None while it stands. It is kept all the same: a
            server that is not honest can keep the withdrawal to itself, and then it is taken to another one.
    """

    task_id: str
    approval: bytes
    server: str
    sent_at: int
    withdrawn_at: int | None = None


@dataclass(frozen=True, slots=True)
class _Memory:
    """Args: see `OfficerMemory`."""

    seen: Mapping[str, int]
    sent: tuple[SentApproval, ...]


_NOTHING: Final = _Memory({}, ())


class OfficerMemory:
    """The memory of one approval key, in a file that only its owner can read, or for one call only.

    Args:
        path: The file; None keeps everything in this object.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._kept = _NOTHING

    def first_seen(self, approval: bytes, now: int) -> int:
        """When an approval's bytes were first seen; now, if never before, which is then remembered.

        Args:
            approval: The exact bytes to be signed.
            now: Seconds since the epoch.

        Raises:
            KeyturnError: `officer-memory.unreadable`, `officer-memory.unwritable`.
        """
        digest = hashlib.sha256(approval).hexdigest()
        with self._locked():
            memory = self._read()
            if digest in memory.seen:
                return memory.seen[digest]
            newest_first = sorted({**memory.seen, digest: now}.items(), key=lambda entry: entry[1], reverse=True)
            self._write(_Memory(dict(newest_first[:MAX_SEEN]), memory.sent))
        return now

    def remember(self, sent: SentApproval) -> None:
        """Remember an approval, before it goes out: what was sent and forgotten could not be withdrawn.

        Args:
            sent: The approval.

        Raises:
            KeyturnError: As `first_seen`.
        """
        with self._locked():
            memory = self._read()
            room = [MAX_SENT_BYTES]

            def fits(one: SentApproval) -> bool:
                room[0] -= len(one.approval)
                return room[0] >= 0

            kept = _standing_first((sent, *(one for one in memory.sent if not _same(one, sent))))
            self._write(_Memory(memory.seen, tuple(takewhile(fits, kept[:MAX_SENT]))))

    def mark_withdrawn(self, withdrawn: SentApproval, now: int) -> None:
        """Mark an approval as withdrawn. Its bytes stay, so that the withdrawal can be taken elsewhere, too.

        Args:
            withdrawn: The approval. Another one under the same task id is not marked: ids are given by the server.
            now: Seconds since the epoch.

        Raises:
            KeyturnError: As `first_seen`.
        """
        with self._locked():
            memory = self._read()
            marked = (replace(one, withdrawn_at=now) if _same(one, withdrawn) else one for one in memory.sent)
            self._write(_Memory(memory.seen, _standing_first(marked)))

    def sent(self) -> tuple[SentApproval, ...]:
        """Every approval that is remembered: those that stand, then those that were withdrawn, the newest first.

        Raises:
            KeyturnError: `officer-memory.unreadable`.
        """
        return self._read().sent

    def approvals(self, task_id: str) -> tuple[SentApproval, ...]:
        """What was approved under a task id, the newest first: one approval, unless the server gave the id twice.

        Args:
            task_id: UUID of the task.

        Raises:
            KeyturnError: 652 `withdraw.unknown` when there is none.
        """
        found = tuple(one for one in self.sent() if one.task_id.lower() == task_id.lower())
        if found:
            return found
        raise KeyturnError(
            ErrorCode.TASK_NOT_EXISTENT,
            "No approval of this task is remembered here, so the bytes that a withdrawal names are not at hand. "
            "`keyturn approver approvals` lists those that are. Approved on another machine? Withdraw it there. "
            "Otherwise only blocking the key or changing its policy stops it.",
            refusal="withdraw.unknown",
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Two commands of one officer at a time must not forget what the other one noted."""
        if self._path is None:
            yield
            return
        lock = self._path.with_name(self._path.name + ".lock")
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _unwritable(self._path, error) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> _Memory:
        if self._path is None:
            return self._kept
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_FILE + 1)
        except FileNotFoundError:
            return _NOTHING
        except OSError as error:
            raise _refusal("unreadable", f"{self._path}, what your client remembers: {error.strerror}.") from None
        memory = _decode(content) if len(content) <= MAX_FILE else None
        if memory is None:
            raise _refusal(
                "unreadable",
                f"{self._path}, what your client remembers, is damaged. Move it away: every waiting request is then "
                "seen for the first time again, and what you approved before can be withdrawn no longer.",
            )
        return memory

    def _write(self, memory: _Memory) -> None:
        """Put the memory in the place of the old one, whole or not at all; the file is made with mode 0600."""
        if self._path is None:
            self._kept = memory
            return
        try:
            handle, fresh = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(_encode(memory))
                file.flush()
                os.fsync(file.fileno())
            self._path.parent.joinpath(fresh).replace(self._path)
        except OSError as error:
            raise _unwritable(self._path, error) from None


def _standing_first(approvals: Iterable[SentApproval]) -> tuple[SentApproval, ...]:
    """Put what was withdrawn last, in the order it has: where there is no more room, it is forgotten first."""
    return tuple(sorted(approvals, key=lambda one: one.withdrawn_at is not None))


def _same(one: SentApproval, other: SentApproval) -> bool:
    return (one.task_id, one.approval) == (other.task_id, other.approval)


def _encode(memory: _Memory) -> bytes:
    sent = [
        {
            "taskId": one.task_id,
            "approval": b64encode(one.approval).decode("ascii"),
            "server": one.server,
            "sentAt": one.sent_at,
            **({} if one.withdrawn_at is None else {"withdrawnAt": one.withdrawn_at}),
        }
        for one in memory.sent
    ]
    return json.dumps({"version": FORMAT_VERSION, "seen": memory.seen, "sent": sent}, indent=1).encode()


def _decode(content: bytes) -> _Memory | None:
    """The memory, or None when it is not in the form in which it is written."""
    try:
        document: Any = json.loads(content)
        if document["version"] != FORMAT_VERSION:
            return None
        seen = {_digest(name): _seconds(value) for name, value in document["seen"].items()}
        sent = tuple(
            SentApproval(
                _text(one["taskId"]),
                _bytes(one["approval"]),
                _text(one["server"]),
                _seconds(one["sentAt"]),
                _seconds(one["withdrawnAt"]) if "withdrawnAt" in one else None,
            )
            for one in document["sent"]
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return _Memory(seen, sent)


def _digest(value: str) -> str:
    if not _DIGEST.fullmatch(value):
        raise ValueError("no digest")
    return value


def _seconds(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LAST_SECOND:
        raise ValueError("no time")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _bytes(value: object) -> bytes:
    decoded = decode_base64(_text(value))
    if not decoded:
        raise ValueError("no base64")
    return decoded


def _unwritable(path: Path, error: OSError) -> KeyturnError:
    return _refusal(
        "unwritable",
        f"{path}, what your client remembers, cannot be written: {error.strerror}. Name another file with --memory.",
    )


def _refusal(word: str, message: str) -> KeyturnError:
    return KeyturnError(ErrorCode.VALIDATION_FAILED, message, refusal=f"officer-memory.{word}")
