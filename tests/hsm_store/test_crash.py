"""kill -9 at any moment: nothing acknowledged is lost, and the store always fits (law 3, rule R6)."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import pytest

from keyturn.hsm.audit import KIND_RESTORED, LogEntry, verify
from keyturn_testing import store_worker
from keyturn_testing.hsm_store import PRIVATE_KEY, add_key, create_store, input_digest, open_store, operation_id

TESTS: Final = Path(__file__).parent.parent


def run_until_killed(directory: Path, first: int, milliseconds: float) -> list[int]:
    """Let the worker work for a moment, kill it, and return the numbers that it acknowledged."""
    with subprocess.Popen(
        [sys.executable, str(store_worker.__file__), str(directory), str(first)],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(TESTS)},
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
        killer = threading.Timer(milliseconds / 1000, worker.kill)
        killer.start()
        lines = worker.stdout.read().decode().splitlines()
        killer.join()
    assert worker.returncode == -9
    return [int(line.removeprefix("operation ")) for line in lines]


def check(directory: Path, acknowledged: list[int]) -> None:
    """Open the store as after the crash and look for everything acknowledged."""
    store = open_store(directory)
    for number in acknowledged:
        operation = store.operation(operation_id(number))
        assert operation is not None, number
        assert operation.input_digest == input_digest(number)
        assert store.operation_result(operation) == b"result %d" % number
    # What is there is there together: operation, key, counter, uses and clock mark come from the same moment.
    newest = store._state.operation_sequence
    assert store.operation_count == newest
    assert store.state_counter == newest
    if newest:
        key = store.key("treasury")
        assert key is not None
        assert key.changed_at == newest
        assert store.uses(key.uuid) == newest - 1
        assert store.open_private_key(key) == PRIVATE_KEY
        assert store.clock_mark > 1_700_000_000
    # Every operation that is there was logged; lines without an operation may be there, for they are written first.
    logged = {json.loads(line)["operation"] for line in (directory / "decisions.log").read_text().splitlines()}
    assert {identity.hex() for identity in store._state.operations} <= logged
    store.close()
    verify(directory / "decisions.log")


def crash_again_and_again(directory: Path, rounds: int) -> None:
    create_store(directory).close()
    randomness = random.Random(rounds)
    acknowledged: list[int] = []
    for number in range(rounds):
        acknowledged += run_until_killed(directory, number * 1_000_000, randomness.uniform(0, 25))
        check(directory, acknowledged)
    # On a busy machine nothing may have been acknowledged in so short a time.
    for more in range(20):
        if acknowledged:
            break
        acknowledged += run_until_killed(directory, (rounds + more) * 1_000_000, 50.0 * (more + 1))
        check(directory, acknowledged)
    assert acknowledged


@pytest.mark.rule("R6")
def test_r6_nothing_acknowledged_is_lost_by_kill_9(directory: Path) -> None:
    crash_again_and_again(directory, 8)


@pytest.mark.slow
@pytest.mark.rule("R6")
def test_r6_nothing_acknowledged_is_lost_by_kill_9_many_times(directory: Path) -> None:
    crash_again_and_again(directory, 40)


@pytest.mark.rule("R6")
def test_r6_the_log_may_be_torn_at_any_octet_behind_the_last_commit(directory: Path) -> None:
    """A power cut may leave any part of what was not synced yet."""
    store = create_store(directory)
    add_key(store)
    store.log.append(LogEntry(1, "sign", "granted"))
    store.persist()
    store.commit_now()
    committed = store.log.head
    store.close()
    path = directory / "decisions.log"
    base = path.read_bytes()
    store = open_store(directory)
    for number in range(3):
        store.log.append(LogEntry(number, "sign", "refused"))
    store.log.flush()
    whole = path.read_bytes()
    database = (directory / "hsm.db").read_bytes()
    store.close()
    (directory / "hsm.db").write_bytes(database)
    for length in range(len(base), len(whole) + 1, 41):
        path.write_bytes(whole[:length])
        again = open_store(directory)
        assert again.log.head.sequence - committed.sequence == whole[len(base) : length].count(b"\n")
        again.log.append(LogEntry(9, "sign", "granted"))
        again.close()
        verify(path)
        (directory / "hsm.db").write_bytes(database)


def test_a_backup_taken_by_a_process_that_is_killed_leaves_no_half_file(directory: Path, tmp_path: Path) -> None:
    """The file has its name only when it is whole; what a crash leaves is called `.partial` and is replaced."""
    store = create_store(directory)
    add_key(store)
    (tmp_path / "monday.ktbackup.partial").write_bytes(b"half")
    store.backup(tmp_path / "monday.ktbackup")
    store.close()
    type(store).restore(
        tmp_path / "monday.ktbackup", tmp_path / "restored", b"correct horse battery staple", clock=store._clock
    )
    assert KIND_RESTORED in (tmp_path / "restored" / "decisions.log").read_text()
