r"""The decision log: one line of JSON per decision, chained by hashes, appended and never changed.

A line is `{"seq":…,"commit":…,"previous":"…",<fields of LogEntry>,"hash":"…"}`; `hash` is SHA-256 over a domain tag
and the line without its `hash` member. The sealed root record of the store carries sequence, hash and offset of the
last line at each commit, so that lines up to there cannot be cut off or rewritten unnoticed. Lines behind are held
only by the chain. The other way round every line names the last commit begun before it, so that a store that is older
than its log (its write-ahead log was lost, or only the database was put back) does not start unnoticed.

Durability: `append` only buffers. `flush` hands everything to the operating system in one write, which a crash of the
process survives. `sync` puts it on disk; the store does so before each commit that refers to it.

A file begins with sequence 1, or with a line that says why it does not: a restored store (`store-restored`) or an
accepted loss (`log-loss-accepted`) continues the chain in a new file.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.container import sync_path
from keyturn.hsm.records import store_error
from keyturn.hsm.regular_file import open_regular

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GENESIS: Final = bytes(32)
"""The `previous` of the first line ever."""
KIND_RESTORED: Final = "store-restored"
KIND_LOSS: Final = "log-loss-accepted"
MAX_LINE: Final = 1 << 20
"""Longest line in bytes: 1024 approvers' fingerprints and ample room; longer ones are damage."""
MAX_ENTRY: Final = MAX_LINE // 2
"""Longest entry in bytes as it is written. Texts come from callers: one that made a line nobody reads again would keep
the HSM from starting."""
CLIPPED: Final = 1024
"""Characters that are left of each text of an entry that is too long, and approvers."""
MAX_BUFFERED: Final = 1024
"""Entries held in memory before they are written without being asked."""
MAX_TORN: Final = 64 << 20
"""Longest torn end that is cut off unasked, in octets; the system pads by blocks, not by gigabytes."""
CHECKED_AT_OPEN: Final = 8 << 20
"""Octets before the committed head that are walked at every start (about 0.1 s); `verify` walks them all."""

_DOMAIN: Final = b"keyturn/decision-log/1\x00"
_HASH_KEY: Final = b',"hash":"'
_SUFFIX_SIZE: Final = len(_HASH_KEY) + 64 + len(b'"}')
_CONTINUATIONS: Final = frozenset({KIND_RESTORED, KIND_LOSS})
_ENCODER: Final = msgspec.json.Encoder()


class LogEntry(msgspec.Struct, frozen=True):
    """What was decided. Never contains payloads, keys or passphrases.

    Args:
        time: Seconds since the epoch.
        kind: What was asked for: `sign`, `modify`, `create`, `clock-confirm`, …
        outcome: `granted` or `refused`; `noted` for facts nobody asked for.
        label: Label of the key, or empty.
        uuid: Its UUID, or empty.
        refusal: Stable word of the check that refused, or empty.
        payload: SHA-256 of the payload, hexadecimal, or empty.
        approvers: Fingerprints of the approvers that counted.
        operation: Operation id, hexadecimal, or empty.
        note: Further fact for a person, or empty.
    """

    time: int
    kind: str
    outcome: str
    label: str = ""
    uuid: str = ""
    refusal: str = ""
    payload: str = ""
    approvers: tuple[str, ...] = ()
    operation: str = ""
    note: str = ""


class LogLine(LogEntry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An entry as it stands in the file.

    Args:
        seq: Its number, from 1, without gaps.
        previous: Hash of the line before, hexadecimal.
        hash: Its own hash, hexadecimal.
        commit: Number of the last commit of the store begun before; 0 in lines of programs that did not say.
    """

    seq: int
    previous: str
    hash: str
    commit: int = 0


@dataclass(frozen=True, slots=True)
class LogHead:
    """The end of a log: sequence and hash of its last line, octets up to there."""

    sequence: int = 0
    hash: bytes = GENESIS
    offset: int = 0


class LogBrokenError(KeyturnError):
    """The chain does not hold.

    Args:
        code: `HSM_FAILURE`.
        message: Which line and why.
        refusal: `store.log-broken`.
    """


class DecisionLog:
    """The log of an open store. All methods but `sync` belong to one thread.

    Args:
        path: The file; it is created, mode 0600, if it does not exist.
        head: Where the log ends; what the file holds behind `head.offset` must be gone already (`open_log`).

    Attributes:
        commit: Number of the last commit of the store begun; the store keeps it up to date.
        uncovered: By UUID, how many signatures the lines grant that stood behind the committed head when it was opened.
            The store knows nothing of them.
    """

    def __init__(self, path: Path, head: LogHead, uncovered: Mapping[str, int] | None = None) -> None:
        self.path = path
        self.commit = 0
        self.uncovered: Mapping[str, int] = uncovered or {}
        new = not path.exists()
        self._descriptor = open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._sequence = head.sequence
        self._hash = head.hash.hex()
        self._offset = head.offset
        self._buffer: list[bytes] = []
        self._synced = head.offset
        self._failed = False
        os.fdatasync(self._descriptor)  # What the run before wrote may be in the system's memory only.
        if new:
            sync_path(path.parent)

    def append(self, entry: LogEntry) -> int:
        """Chain an entry to the log, in memory.

        Args:
            entry: What was decided.

        Returns:
            Its sequence number.

        Raises:
            KeyturnError: `store.log-write`: so much was buffered that it had to be written, and could not be.
        """
        # Encoded before anything is counted: an entry that cannot be must leave no gap in the chain.
        content = _ENCODER.encode(entry)
        if len(content) > MAX_ENTRY:
            content = _ENCODER.encode(_clipped(entry))
        self._sequence += 1
        start = b'{"seq":%d,"commit":%d,"previous":"%s",' % (self._sequence, self.commit, self._hash.encode())
        body = start + content[1:]
        self._hash = sha256(_DOMAIN + body).hexdigest()
        self._buffer.append(b'%s,"hash":"%s"}\n' % (body[:-1], self._hash.encode()))
        if len(self._buffer) >= MAX_BUFFERED:
            self.flush()
        return self._sequence

    @property
    def unsynced(self) -> bool:
        """True while there are entries that are not on disk."""
        return bool(self._buffer) or self._synced != self._offset

    @property
    def head(self) -> LogHead:
        """The end of what has been flushed.

        Raises:
            RuntimeError: Something is buffered, so that the offset is not known.
        """
        if self._buffer:
            raise RuntimeError("flush the log before asking for its head")
        return LogHead(self._sequence, bytes.fromhex(self._hash), self._offset)

    def flush(self) -> None:
        """Hand everything buffered to the operating system, in one write.

        Raises:
            KeyturnError: `store.log-write`: it could not be written; the log is unusable from then on.
        """
        if self._failed:  # Also with nothing to write: no commit may refer to lines that never reached the file.
            raise _write_error("an earlier line is incomplete")
        if not self._buffer:
            return
        content = b"".join(self._buffer)
        self._buffer.clear()
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            self._failed = True
            raise _write_error(error.strerror) from error
        self._offset += len(content)

    def sync(self, offset: int) -> None:
        """Put everything flushed on disk. May be called from the commit thread.

        Args:
            offset: How far the log had been flushed when this was asked for.
        """
        if self._synced < offset:
            os.fdatasync(self._descriptor)
            self._synced = offset

    def close(self) -> None:
        """Close the file; what is still buffered is written first."""
        with contextlib.suppress(KeyturnError):
            self.flush()
        os.close(self._descriptor)


def open_log(path: Path, committed: LogHead, commit: int = 0) -> tuple[DecisionLog, int]:
    """Open the log of a store and check that it fits the last commit.

    Walks the last `CHECKED_AT_OPEN` octets before the committed head and everything behind it. What a crash tore off at
    the very end, behind the committed head, is cut away.

    Args:
        path: The file.
        committed: Head in the sealed root record.
        commit: Number of the commit in the sealed root record.

    Returns:
        The log, and how many octets of a torn line were cut away.

    Raises:
        KeyturnError: `store.log-missing`, `store.log-shorter`: lines that were committed are gone.
            `store.older-than-log`: lines were written after commits that the store does not have.
        LogBrokenError: `store.log-broken`: the chain does not hold.
    """
    try:
        descriptor = open_regular(path, os.O_RDONLY)
    except FileNotFoundError:
        if committed.offset:
            raise store_error("log-missing", f"The decision log {path.name} is missing. {_LOSS_CURE}") from None
        return DecisionLog(path, committed), 0
    uncovered: Counter[str] = Counter()
    with os.fdopen(descriptor, "rb") as file:
        head, torn = _check(file, path, committed, commit, uncovered)
    if torn:
        os.truncate(path, head.offset)
    return DecisionLog(path, head, uncovered), torn


def _check(file: BinaryIO, path: Path, committed: LogHead, commit: int, uncovered: Counter[str]) -> tuple[LogHead, int]:
    """Compare a log with the last commit; its head, and how many octets behind that are torn."""
    size = os.fstat(file.fileno()).st_size
    if size < committed.offset:
        raise store_error(
            "log-shorter",
            f"The decision log {path.name} has {size} octets, the last commit covers {committed.offset}. {_LOSS_CURE}",
        )
    if size == 0:
        return committed, 0
    begin = _line_start(file, max(0, committed.offset - CHECKED_AT_OPEN))
    return _walk(file, begin, committed, commit, uncovered)


def continue_log(path: Path, committed: LogHead, entry: LogEntry) -> DecisionLog:
    """Begin a new file that continues the chain of one that is lost or stayed elsewhere.

    Args:
        path: The file; a file of this name is kept beside it as `<name>.lost-<n>`.
        committed: Head in the sealed root record.
        entry: First line; its kind says why there is a new file (`KIND_RESTORED` or `KIND_LOSS`).

    Returns:
        The log, with that line buffered.
    """
    if path.exists():
        number = 1
        while (aside := path.with_name(f"{path.name}.lost-{number}")).exists():
            number += 1
        path.rename(aside)
    log = DecisionLog(path, LogHead(committed.sequence, committed.hash, 0))
    log.append(entry)
    return log


def verify(path: Path) -> LogHead:
    """Walk a whole log, as `keyturn hsm log verify` does.

    Args:
        path: The file.

    Returns:
        Its head; compare it with the store's root record, or with a head noted elsewhere.

    Raises:
        LogBrokenError: `store.log-broken`, with the number of the first line (from 1) that does not fit.
    """
    with path.open("rb") as file:
        head, _ = _walk(file, 0, None)
    return head


_LOSS_CURE: Final = (
    "Bring the file back; if it is lost, an administrator can accept the loss once, which stays visible in the log and "
    "in the store."
)


def _line_start(file: BinaryIO, offset: int) -> int:
    """First beginning of a line at or behind `offset`."""
    if offset == 0:
        return 0
    file.seek(offset - 1)
    file.readline(MAX_LINE)
    return file.tell()


def _walk(
    file: BinaryIO, begin: int, committed: LogHead | None, commit: int = 0, uncovered: Counter[str] | None = None
) -> tuple[LogHead, int]:
    """Follow the chain from `begin` to the end of the file.

    The first line is taken as it is unless the walk begins at the file's beginning: what stands before is not looked
    at. Signatures that are granted behind the committed head are counted in `uncovered`.
    """
    file.seek(begin)
    offset = begin
    number = 0
    head: LogHead | None = None
    while content := file.readline(MAX_LINE):
        number += 1
        if not content.endswith(b"\n"):
            # A write that a crash cut off leaves the beginning of lines, or zeros, and no end of a line; and no more
            # than was written at once.
            rest = file.read(MAX_TORN + 1)
            if committed is None or offset < committed.offset or b"\n" in rest or len(rest) > MAX_TORN:
                raise _broken(number, "it is cut off")
            return head or committed, len(content) + len(rest)
        line = _read_line(content, number)
        if head is not None:
            if line.previous != head.hash.hex() or line.seq != head.sequence + 1:
                raise _broken(number, "it does not follow the line before")
        elif begin == 0 and not (line.seq == 1 and line.previous == GENESIS.hex()) and line.kind not in _CONTINUATIONS:
            raise _broken(number, "a log begins with line 1 or with a note why it does not")
        offset += len(content)
        head = LogHead(line.seq, bytes.fromhex(line.hash), offset)
        if committed is not None and offset == committed.offset and head != committed:
            raise _broken(number, "it is not the line that the last commit covers")
        # One commit may have been under way; those before it were durable when it began.
        if committed is not None and offset > committed.offset and line.commit > commit + 1:
            raise store_error(
                "older-than-log",
                f"Line {number} of the decision log was written when commit {line.commit - 1} was on disk; the store "
                f"has commit {commit}. It was put back to an older state, or its write-ahead log was lost: bring the "
                "newer files back. If they are lost, an administrator can accept that once, as with a lost log; it "
                "stays visible in the log and in the store.",
            )
        if committed is not None and offset > committed.offset > offset - len(content):
            raise _broken(number, "it reaches across the end of what the last commit covers")
        if uncovered is not None and committed is not None and offset > committed.offset and _is_signature(line):
            uncovered[line.uuid] += 1
    return head or LogHead(), 0


def _read_line(content: bytes, number: int) -> LogLine:
    body, suffix = content[: -_SUFFIX_SIZE - 1] + b"}", content[-_SUFFIX_SIZE - 1 : -1]
    digest = sha256(_DOMAIN + body).hexdigest()
    if suffix != b'%s%s"}' % (_HASH_KEY, digest.encode()):
        raise _broken(number, "its hash does not fit its content")
    try:
        return msgspec.json.decode(content, type=LogLine)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _broken(number, "it is not an entry of a decision log") from error


def _is_signature(line: LogLine) -> bool:
    return (line.kind, line.outcome) == ("sign", "granted")


def _clipped(entry: LogEntry) -> LogEntry:
    texts = {
        name: text if len(text) <= CLIPPED else f"{text[:CLIPPED]}…"
        for name in ("kind", "outcome", "label", "uuid", "refusal", "payload", "operation", "note")
        for text in (getattr(entry, name),)
    }
    approvers = tuple(one[:CLIPPED] for one in entry.approvers[:CLIPPED])
    return msgspec.structs.replace(entry, **texts, approvers=approvers)


def _write_error(why: str | None) -> KeyturnError:
    return store_error(
        "log-write", f"The decision log cannot be written ({why}). Make room on its disk, then restart the HSM."
    )


def _broken(number: int, why: str) -> LogBrokenError:
    return LogBrokenError(
        ErrorCode.HSM_FAILURE,
        f"Line {number} of the decision log is broken: {why}. {_LOSS_CURE}",
        refusal="store.log-broken",
    )
