"""What is written into the decision log can be read again at the next start, whoever chose the words."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

import msgspec
import pytest

from keyturn.errors import KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.audit import CLIPPED, MAX_LINE, LogEntry, verify
from keyturn.hsm.framing import FrameDecoder, UnknownMessageError
from keyturn_testing.hsm_store import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.hsm.store import Store

pytestmark = pytest.mark.rule("R6")


def reopen(store: Store, directory: Path) -> None:
    """Close and open, as at the next start."""
    store.persist()
    store.close()
    verify(directory / "decisions.log")
    open_store(directory).close()


def test_r6_a_broker_cannot_write_a_line_that_nobody_reads_again(directory: Path, store: Store) -> None:
    """A message kind of a million control characters took six times as many in the log, and the HSM never started."""
    body = msgspec.msgpack.encode((1, ["\x01" * 900_000]))
    with pytest.raises(UnknownMessageError) as malformed:
        FrameDecoder(protocol.Call).decode(body)
    store.log.append(LogEntry(1, "frame", "refused", note=f"peer: {malformed.value.message}"))
    store.log.append(LogEntry(2, "sign", "granted", note="a short one"))
    reopen(store, directory)
    first, second = (json.loads(line) for line in (directory / "decisions.log").read_bytes().splitlines())
    assert len(first["note"]) == CLIPPED + 1
    assert first["note"].startswith("peer: this is no message of the protocol")
    assert second["note"] == "a short one"


def test_r6_a_line_may_be_long_and_is_whole_then(directory: Path, store: Store) -> None:
    approvers = ("f" * 64,) * 1024
    store.log.append(LogEntry(1, "sign", "granted", approvers=approvers, note="n" * 10_000))
    store.log.append(LogEntry(1, "sign", "granted", approvers=approvers * 100, note="\x01" * MAX_LINE))
    reopen(store, directory)
    first, second = (json.loads(line) for line in (directory / "decisions.log").read_bytes().splitlines())
    assert len(first["approvers"]) == 1024
    assert len(first["note"]) == 10_000
    assert len(second["approvers"]) == CLIPPED


def test_r6_an_entry_that_cannot_be_written_leaves_no_gap(directory: Path, store: Store) -> None:
    store.log.append(LogEntry(1, "sign", "granted"))
    with pytest.raises(UnicodeEncodeError):
        store.log.append(LogEntry(1, "sign", "granted", note="\udc80"))
    assert store.log.append(LogEntry(1, "sign", "granted", note="\u0080")) == 2
    reopen(store, directory)


def test_r6_no_commit_goes_on_without_lines_that_were_lost(
    directory: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk lost the lines when they were flushed; the commit at the end covered them, and no start succeeded."""
    store.log.append(LogEntry(1, "sign", "granted"))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(KeyturnError) as refused:
            store.log.flush()
    assert refused.value.refusal == "store.log-write"
    with store.change() as change:
        change.advance_clock(2e9)
    with pytest.raises(KeyturnError) as failed:
        store.close()
    assert failed.value.refusal == "store.commit-failed"
    again = open_store(directory)
    assert again.clock_mark < 2e9
    with again.change() as change:
        change.advance_clock(2e9)
    again.close()
    open_store(directory).close()
