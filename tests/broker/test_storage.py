"""The store: units of work share a commit, fail alone, and survive."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, text

from keyturn.broker.storage import statements
from keyturn.broker.storage.schema import HEAD
from keyturn.broker.storage.sqlite import SqliteDatabase as Database
from keyturn.broker.storage.tables import metadata
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keyturn.broker.storage.database import Transaction


def spend(signer: bytes, timestamp: str = "2026-01-01T00:00:00Z") -> dict[str, object]:
    return {"signer": signer, "timestamp": timestamp, "used_at": 1.0}


def spending(signer: bytes) -> Callable[[Transaction], int]:
    return lambda tx: tx.run(statements.SPEND_TIMESTAMP, spend(signer))


def count(tx: Transaction, signer: bytes, timestamp: str = "2026-01-01T00:00:00Z") -> int:
    return len(tx.all(tuple, statements.SPENT_TIMESTAMP, {"w_signer": signer, "w_timestamp": timestamp}))


async def test_units_of_one_turn_share_one_commit(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    commits: list[str] = []
    database._writer.set_trace_callback(commits.append)
    await asyncio.gather(*(database.write(spending(bytes([n]))) for n in range(20)))
    assert commits.count("COMMIT") == 1
    assert await database.read(lambda tx: sum(count(tx, bytes([n])) for n in range(20))) == 20
    await database.close()


async def test_a_unit_that_raises_is_undone_alone_and_its_neighbours_are_stored(tmp_path: Path) -> None:
    database = Database.open(tmp_path)

    def good(tx: Transaction) -> str:
        tx.run(statements.SPEND_TIMESTAMP, spend(b"good"))
        return "stored"

    def bad(tx: Transaction) -> None:
        tx.run(statements.SPEND_TIMESTAMP, spend(b"bad"))
        raise ValueError

    results = await asyncio.gather(database.write(good), database.write(bad), return_exceptions=True)
    assert results[0] == "stored"
    assert isinstance(results[1], ValueError)
    assert await database.read(lambda tx: (count(tx, b"good"), count(tx, b"bad"))) == (1, 0)
    await database.close()


async def test_a_failed_commit_stores_nothing_and_the_writer_goes_on(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    # A deferred constraint is checked at the commit, so that the commit itself fails.
    task = {
        "id": "t", "request_id": "no such request", "position": 0, "signer": b"", "spki": b"", "state": "OPEN",
        "created_at": 0.0, "fetched_at": 0.0, "decided_at": None, "authorization": None, "marked": "",
    }  # fmt: skip

    def orphan(tx: Transaction) -> None:
        tx._connection.execute("PRAGMA defer_foreign_keys=ON", {})
        tx.run(statements.INSERT_TASK, task)

    with pytest.raises(KeyturnError) as caught:
        await database.write(orphan)
    assert caught.value.refusal == "storage.commit"
    await database.write(lambda tx: tx.run(statements.SPEND_TIMESTAMP, spend(b"later")))
    assert await database.read(lambda tx: count(tx, b"later")) == 1
    await database.close()


class _BrokenDisk:
    """A driver's connection whose next commits, and with them the undoing, fail."""

    def __init__(self, connection: sqlite3.Connection, failures: int) -> None:
        self._connection = connection
        self._left = failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        if statement in {"COMMIT", "ROLLBACK"} and self._left:
            self._left -= 1
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(statement, *parameters)


async def test_nobody_is_left_waiting_when_even_the_undoing_of_a_commit_fails(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    database._writer = _BrokenDisk(database._writer, 2)  # type: ignore[assignment]  # Stands in for it.
    for signer in (b"first", b"second"):
        with pytest.raises(KeyturnError) as caught:
            async with asyncio.timeout(5):
                await database.write(spending(signer))
        assert caught.value.refusal == "storage.commit"
    # The disk is well again, and nothing of what was refused is stored.
    await database.write(spending(b"third"))
    assert await database.read(lambda tx: [count(tx, each) for each in (b"first", b"second", b"third")]) == [0, 0, 1]
    await database.close()


async def test_commits_are_durable_and_files_are_private(tmp_path: Path) -> None:
    directory = tmp_path / "broker"
    database = Database.open(directory)
    pragma = database._writer.execute
    assert pragma("PRAGMA journal_mode").fetchone() == ("wal",)
    assert pragma("PRAGMA synchronous").fetchone() == (2,)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "broker.db").stat().st_mode & 0o777 == 0o600
    await database.close()


async def test_a_second_broker_on_the_same_file_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    first = Database.open(tmp_path)
    with pytest.raises(KeyturnError) as caught:
        Database.open(tmp_path)
    assert (caught.value.code, caught.value.refusal) == (ErrorCode.CONFIG_NOT_VALID, "storage.in-use")
    await first.close()
    await Database.open(tmp_path).close()


async def test_a_database_of_a_newer_version_is_refused_with_its_number(tmp_path: Path) -> None:
    await Database.open(tmp_path).close()
    engine = create_engine(f"sqlite:///{tmp_path}/broker.db")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(KeyturnError, match="9999") as caught:
        Database.open(tmp_path)
    assert caught.value.refusal == "storage.newer"
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": HEAD})
    engine.dispose()
    await Database.open(tmp_path).close()


def test_an_address_that_is_not_an_sqlite_file_is_refused(tmp_path: Path) -> None:
    for url in ("mysql://host/db", "nonsense", "sqlite://", "sqlite:///:memory:"):
        with pytest.raises(KeyturnError) as caught:
            Database.open(tmp_path, url)
        assert caught.value.refusal == "storage.url"


async def test_migrations_make_exactly_the_tables_the_code_knows(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from keyturn.broker.storage.migrate import configuration

    await Database.open(tmp_path).close()
    engine = create_engine(f"sqlite:///{tmp_path}/broker.db")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert ScriptDirectory.from_config(configuration(connection)).get_heads() == [HEAD]
    engine.dispose()


def test_opening_an_up_to_date_database_does_not_load_alembic(tmp_path: Path) -> None:
    script = (
        "import asyncio, pathlib, sys; from keyturn.broker.storage.database import Database; "
        "asyncio.run(Database.open(pathlib.Path(sys.argv[1])).close()); print('alembic' in sys.modules)"
    )
    answers = [
        subprocess.run([sys.executable, "-c", script, tmp_path], check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert answers == ["True\n", "False\n"]
