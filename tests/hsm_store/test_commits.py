"""How changes of the store reach the disk: together, before anybody hears of them, and no more after a failure."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from keyturn.errors import KeyturnError
from keyturn.hsm.audit import LogEntry
from keyturn.hsm.container import Container
from keyturn_testing.hsm_store import (
    PRIVATE_KEY,
    add_key,
    behind_its_back,
    create_store,
    input_digest,
    new_key,
    open_store,
    operation_id,
)

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.hsm.store import Store


async def test_durable_waits_for_the_disk(directory: Path, store: Store) -> None:
    await store.durable()  # Nothing waits.
    with store.change() as change:
        change.put_key(new_key(), PRIVATE_KEY)
    with behind_its_back(directory) as disk:
        assert disk.execute("SELECT count(*) FROM keys").fetchone() == (0,)
    await store.durable()
    with behind_its_back(directory) as disk:
        assert disk.execute("SELECT count(*) FROM keys").fetchone() == (1,)


async def test_a_change_reaches_the_disk_though_nobody_waits(store: Store) -> None:
    with store.change() as change:
        change.put_key(new_key(), PRIVATE_KEY)
    for _ in range(1000):
        if not store.pending:
            break
        await asyncio.sleep(0.001)
    assert not store.pending


async def test_many_changes_share_a_commit(directory: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[object] = []
    real = Container.commit

    def counted(container: Container, *arguments: Any) -> None:
        commits.append(arguments)
        real(container, *arguments)

    monkeypatch.setattr(Container, "commit", counted)

    async def work(number: int) -> None:
        with store.change() as change:
            change.put_operation(operation_id(number), input_digest(number), b"result", time=1)
        await store.durable()
        assert store.operation(operation_id(number)) is not None

    await asyncio.gather(*(work(number) for number in range(200)))
    assert not store.pending
    assert 0 < len(commits) < 20
    store.close()
    again = open_store(directory)
    assert again.operation_count == 200
    again.close()


async def test_a_waiter_that_gives_up_harms_nobody(store: Store) -> None:
    with store.change() as change:
        change.put_key(new_key(), PRIVATE_KEY)
    impatient, patient = asyncio.create_task(store.durable()), asyncio.create_task(store.durable())
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    assert not store.pending


async def test_commit_now_within_a_loop(store: Store) -> None:
    with store.change() as change:
        change.put_key(new_key(), PRIVATE_KEY)
    waiter = asyncio.create_task(store.durable())
    await asyncio.sleep(0)
    with store.change() as change:
        change.put_key(new_key("bank"), PRIVATE_KEY)
    store.commit_now()
    assert not store.pending
    await waiter


def test_it_works_under_uvloop_as_well(directory: Path) -> None:
    store = create_store(directory)

    async def work() -> None:
        for number in range(20):
            with store.change() as change:
                change.put_operation(operation_id(number), input_digest(number), b"result", time=1)
            await store.durable()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())
    assert not store.pending
    store.close()
    again = open_store(directory)
    assert again.operation_count == 20
    again.close()


async def test_commit_failed_is_the_end(directory: Path, store: Store) -> None:
    add_key(store)
    causes: list[BaseException] = []
    store.on_fatal = causes.append
    with behind_its_back(directory) as disk:
        disk.execute("DROP TABLE operations")
    with store.change() as change:
        change.put_operation(operation_id(1), input_digest(1), b"result", time=1)
    waiters = [asyncio.create_task(store.durable()) for _ in range(3)]
    for waiter in waiters:
        with pytest.raises(KeyturnError) as refused:
            await waiter
        assert refused.value.refusal == "store.commit-failed"
    assert len(causes) == 1
    for attempt in (store.change, store.commit_now):
        with pytest.raises(KeyturnError) as refused:
            attempt()
        assert refused.value.refusal == "store.commit-failed"
    with pytest.raises(KeyturnError):
        await store.durable()


def test_commit_failed_because_the_log_cannot_be_written(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    store = create_store(directory)
    store.log.append(LogEntry(1, "sign", "granted"))
    with monkeypatch.context() as patched:
        patched.setattr("keyturn.hsm.audit.os.write", full)
        with store.change() as change:
            change.put_key(new_key(), PRIVATE_KEY)
        with pytest.raises(KeyturnError, match="No space left") as refused:
            store.commit_now()
    assert refused.value.refusal == "store.commit-failed"
    store.close()
    again = open_store(directory)
    assert again.key("treasury") is None
    add_key(again)
    again.close()


def test_commit_failed_whatever_the_reason(directory: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """When taking changes for a commit failed by a defect, the next commit went on without what had been taken."""
    add_key(store)
    with monkeypatch.context() as patched:
        patched.setattr("keyturn.hsm.state.StoreState.root_record", lambda *_: 1 / 0)
        with store.change() as change:
            change.put_operation(operation_id(1), input_digest(1), b"result", time=1)
        with pytest.raises(KeyturnError) as refused:
            store.commit_now()
    assert refused.value.refusal == "store.commit-failed"
    with pytest.raises(KeyturnError) as refused:
        store.change()
    assert refused.value.refusal == "store.commit-failed"
    store.close()
    again = open_store(directory)
    assert again.operation(operation_id(1)) is None
    assert again.key("treasury") is not None
    again.close()


async def test_closed(directory: Path, store: Store) -> None:
    add_key(store)
    store.close()
    store.close()
    with pytest.raises(KeyturnError) as refused:
        store.change()
    assert refused.value.refusal == "store.closed"
    with pytest.raises(KeyturnError):
        await store.durable()
    open_store(directory).close()


async def test_closing_writes_what_waits(directory: Path, store: Store) -> None:
    with store.change() as change:
        change.put_key(new_key(), PRIVATE_KEY)
    store.close()
    again = open_store(directory)
    assert again.labels() == ["treasury"]
    again.close()
