"""The decision log: what was written stays, in its order; what a crash tore off is told from what somebody cut off."""

from __future__ import annotations

import json
import time
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyturn.clock import ManualClock
from keyturn.errors import KeyturnError
from keyturn.hsm.audit import (
    GENESIS,
    KIND_LOSS,
    MAX_BUFFERED,
    MAX_LINE,
    DecisionLog,
    LogBrokenError,
    LogEntry,
    LogHead,
    open_log,
    verify,
)
from keyturn.hsm.store import Store
from keyturn_testing.hsm_store import PASSPHRASE, add_key, create_store, open_store

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = LogEntry(
    1_700_000_000,
    "sign",
    "refused",
    label="Tresor „Süd“\n",
    uuid="5e5a3b52-5f2e-5d0c-8d35-0d0a5a4b1c3d",
    refusal="approvals.missing",
    payload=sha256(b"payload").hexdigest(),
    approvers=(sha256(b"anna").hexdigest(), sha256(b"ben").hexdigest()),
    operation="00" * 16,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.log"


def write(path: Path, count: int) -> LogHead:
    log = DecisionLog(path, LogHead())
    for number in range(count):
        assert log.append(ENTRY) == number + 1
    log.flush()
    head = log.head
    log.close()
    return head


def test_a_line_says_who_was_refused_and_why(path: Path) -> None:
    write(path, 2)
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert first["seq"] == 1
    assert first["previous"] == GENESIS.hex()
    assert (first["label"], first["refusal"], first["outcome"]) == (ENTRY.label, "approvals.missing", "refused")
    assert first["approvers"] == list(ENTRY.approvers)
    assert second["previous"] == first["hash"]


def test_the_hash_can_be_recomputed_by_anybody(path: Path) -> None:
    write(path, 1)
    line = path.read_bytes().rstrip(b"\n")
    body, _, rest = line.rpartition(b',"hash":"')
    assert sha256(b"keyturn/decision-log/1\x00" + body + b"}").hexdigest() == rest[:-2].decode()


def test_verify_walks_the_whole_chain(path: Path) -> None:
    head = write(path, 50)
    assert verify(path) == head
    assert head.sequence == 50
    assert head.offset == path.stat().st_size


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(bit=st.integers(0))
def test_log_broken_by_one_bit_anywhere(path: Path, bit: int) -> None:
    path.unlink(missing_ok=True)
    head = write(path, 5)
    content = bytearray(path.read_bytes())
    place, mask = divmod(bit % (8 * len(content)), 8)
    content[place] ^= 1 << mask
    path.write_bytes(content)
    with pytest.raises(LogBrokenError) as refused:
        verify(path)
    assert refused.value.refusal == "store.log-broken"
    content[place] ^= 1 << mask
    path.write_bytes(content)
    assert verify(path) == head


@pytest.mark.parametrize(
    ("line", "order"),
    [(3, (0, 1, 3, 4)), (2, (0, 2, 1, 3, 4)), (4, (0, 1, 2, 2, 3, 4)), (1, (1, 2, 3, 4))],
    ids=["removed", "swapped", "doubled", "beginning-cut"],
)
def test_log_broken_names_the_first_line_that_does_not_fit(path: Path, line: int, order: tuple[int, ...]) -> None:
    write(path, 5)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[number] for number in order))
    with pytest.raises(LogBrokenError, match=f"Line {line} "):
        verify(path)
    path.write_bytes(b"".join(lines))
    verify(path)


def test_log_broken_by_lines_of_any_form(path: Path) -> None:
    write(path, 1)
    good = path.read_bytes()
    for bad in (b"\n", b"{}\n", b"\xff\n", good, b"no end of line", b"x" * (MAX_LINE + 1) + b"\n"):
        path.write_bytes(good + bad)
        with pytest.raises(LogBrokenError, match="Line 2 "):
            verify(path)
    path.write_bytes(good)
    verify(path)


def test_appending_is_fast_enough_for_ten_thousand_signatures_a_second(path: Path) -> None:
    log = DecisionLog(path, LogHead())
    best = 1.0
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(500):
            log.append(ENTRY)
        best = min(best, (time.perf_counter() - begin) / 500)
    log.close()
    assert best < 30e-6  # Measured: 3 µs; the limit only catches a change of kind.


def test_the_buffer_is_bounded(path: Path) -> None:
    log = DecisionLog(path, LogHead())
    for _ in range(MAX_BUFFERED + 1):
        log.append(ENTRY)
    assert path.stat().st_size > 0
    with pytest.raises(RuntimeError):
        _ = log.head
    log.flush()
    assert log.head.sequence == MAX_BUFFERED + 1
    log.close()
    verify(path)


def test_a_log_that_could_not_be_written_is_written_no_more(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = DecisionLog(path, LogHead())
    log.append(ENTRY)

    def full(descriptor: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("keyturn.hsm.audit.os.write", full)
        with pytest.raises(KeyturnError, match="No space left") as refused:
            log.flush()
        assert refused.value.refusal == "store.log-write"
    log.append(ENTRY)
    with pytest.raises(KeyturnError):
        log.flush()
    log.close()
    assert path.read_bytes() == b""


# --- at the start of the HSM --------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 10, 200])
def test_a_torn_last_line_behind_the_commit_is_cut_away(path: Path, cut: int) -> None:
    committed = write(path, 3)
    log = DecisionLog(path, committed)
    log.append(ENTRY)
    log.append(ENTRY)
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    log, torn = open_log(path, committed)
    assert log.head.sequence == 4
    assert torn > 0
    assert path.stat().st_size == log.head.offset
    log.append(ENTRY)
    log.flush()
    assert verify(path) == log.head
    log.close()


def test_zeros_that_a_power_cut_left_are_cut_away(path: Path) -> None:
    committed = write(path, 3)
    with path.open("ab") as file:
        file.write(bytes(4096))
    log, torn = open_log(path, committed)
    assert torn == 4096
    assert log.head == committed
    log.close()
    verify(path)


def test_everything_torn_before_the_first_commit(path: Path) -> None:
    path.write_bytes(b'{"seq":1,"prev')
    log, torn = open_log(path, LogHead())
    assert torn == 14
    assert log.head == LogHead()
    log.close()


def test_log_broken_behind_the_commit_by_more_than_a_torn_line(path: Path) -> None:
    committed = write(path, 3)
    good = path.read_bytes()
    for bad in (b"{}\n", b'{"seq":4}\nx', bytes(10) + b"\n", good[-100:]):
        path.write_bytes(good + bad)
        with pytest.raises(LogBrokenError):
            open_log(path, committed)
    path.write_bytes(good)
    open_log(path, committed)[0].close()


def test_log_shorter(path: Path) -> None:
    committed = write(path, 3)
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    with pytest.raises(KeyturnError) as refused:
        open_log(path, committed)
    assert refused.value.refusal == "store.log-shorter"
    path.write_bytes(whole)
    open_log(path, committed)[0].close()


def test_log_missing(path: Path) -> None:
    committed = write(path, 3)
    path.rename(path.with_suffix(".away"))
    with pytest.raises(KeyturnError) as refused:
        open_log(path, committed)
    assert refused.value.refusal == "store.log-missing"
    path.with_suffix(".away").rename(path)
    open_log(path, committed)[0].close()


def test_another_log_that_is_whole_in_itself_is_refused(path: Path, tmp_path: Path) -> None:
    committed = write(path, 3)
    other = tmp_path / "other.log"
    log = DecisionLog(other, LogHead())
    for _ in range(10):
        log.append(LogEntry(1, "nothing", "granted"))
    log.close()
    verify(other)
    with pytest.raises(LogBrokenError):
        open_log(other, committed)
    open_log(path, committed)[0].close()


def test_a_long_log_is_not_walked_from_its_beginning(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    committed = write(path, 200)
    monkeypatch.setattr("keyturn.hsm.audit.CHECKED_AT_OPEN", 10_000)
    content = path.read_bytes()
    path.write_bytes(b"?" + content[1:])
    open_log(path, committed)[0].close()
    with pytest.raises(LogBrokenError, match="Line 1 "):
        verify(path)
    for place in (len(content) - 5000, len(content) - 9000):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(LogBrokenError):
            open_log(path, committed)


@pytest.mark.rule("R6")
def test_r6_a_store_does_not_start_without_its_log_and_an_accepted_loss_stays_visible(directory: Path) -> None:
    clock = ManualClock()
    store = create_store(directory, clock)
    key = add_key(store)
    store.log.append(ENTRY)
    store.log.append(ENTRY)
    store.close()
    path = directory / "decisions.log"
    whole = path.read_bytes()
    path.write_bytes(whole.splitlines(keepends=True)[0])

    with pytest.raises(KeyturnError, match="accept the loss") as refused:
        open_store(directory, clock)
    assert refused.value.refusal == "store.log-shorter"

    again = Store.open(directory, PASSPHRASE, clock=clock, accept_log_loss=True)
    assert again.key("treasury") == key
    assert again.log_losses == 1
    again.log.append(ENTRY)
    again.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["seq"] for line in lines] == [3, 4]
    assert lines[0]["kind"] == KIND_LOSS
    assert lines[0]["refusal"] == "store.log-shorter"
    assert lines[0]["previous"] == json.loads(whole.splitlines()[1])["hash"]
    assert (directory / "decisions.log.lost-1").exists()
    verify(path)

    third = open_store(directory, clock)
    assert third.log_losses == 1
    third.close()
    path.write_bytes(whole)  # The lost log turns up again: it is not the one that was committed.
    with pytest.raises(KeyturnError):
        open_store(directory, clock)


def test_accepting_a_loss_changes_nothing_where_nothing_is_lost(directory: Path) -> None:
    create_store(directory).close()
    store = Store.open(directory, PASSPHRASE, clock=ManualClock(), accept_log_loss=True)
    assert store.log_losses == 0
    store.close()


def test_lines_without_a_commit_are_kept_after_a_restart(directory: Path) -> None:
    store = create_store(directory)
    store.log.append(ENTRY)
    store.close()
    again = open_store(directory)
    assert again.log.head.sequence == 1
    assert not again.log.unsynced
    again.close()
