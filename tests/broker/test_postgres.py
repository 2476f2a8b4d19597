"""The store in a real PostgreSQL: units happen together, as if alone, and again where others came in between."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine, select

from keyturn.broker.settings import BrokerSettings
from keyturn.broker.storage import postgres as module
from keyturn.broker.storage import statements
from keyturn.broker.storage.database import Database, StaleError
from keyturn.broker.storage.postgres import CONNECTIONS, PostgresDatabase, connection_arguments
from keyturn.broker.storage.schema import HEAD
from keyturn.broker.storage.tables import metadata, spent_timestamps
from keyturn.errors import ErrorCode, KeyturnError
from keyturn_testing.postgres import PASSWORD, PostgresServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from keyturn.broker.storage.database import Transaction

MOMENT = "2026-01-01T00:00:00Z"


def spending(signer: bytes, used_at: float = 1.0) -> Callable[[Transaction], int]:
    values = {"signer": signer, "timestamp": MOMENT, "used_at": used_at}
    return lambda tx: tx.run(statements.SPEND_TIMESTAMP, values)


def used_at(tx: Transaction, signer: bytes) -> float | None:
    row = tx.one(tuple, statements.SPENT_TIMESTAMP, {"w_signer": signer, "w_timestamp": MOMENT})
    return None if row is None else row[0]


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.new_schema()


@pytest.fixture
async def two(url: str, tmp_path: Path) -> AsyncIterator[tuple[Database, Database]]:
    """Two brokers' views of one database."""
    first, second = Database.open(tmp_path / "1", url), Database.open(tmp_path / "2", url)
    yield first, second
    await first.close()
    await second.close()


async def test_what_one_broker_stores_the_other_reads(two: tuple[Database, Database]) -> None:
    first, second = two
    assert (first.shared, second.shared) == (True, True)
    assert await first.write(spending(b"ada")) == 1
    assert await second.read(lambda tx: used_at(tx, b"ada")) == 1.0
    # The same pair again is renewed.
    await second.write(spending(b"ada", 2.0))
    assert await first.read(lambda tx: used_at(tx, b"ada")) == 2.0


async def test_a_unit_that_raises_is_undone_alone(two: tuple[Database, Database]) -> None:
    def bad(tx: Transaction) -> None:
        spending(b"bad")(tx)
        raise ValueError("of the unit")

    results = await asyncio.gather(two[0].write(spending(b"good")), two[0].write(bad), return_exceptions=True)
    assert results[0] == 1
    assert isinstance(results[1], ValueError)
    assert await two[1].read(lambda tx: (used_at(tx, b"good"), used_at(tx, b"bad"))) == (1.0, None)


async def test_units_that_read_and_write_the_same_row_happen_one_after_the_other(
    two: tuple[Database, Database],
) -> None:
    """Forty times "read it, add one, write it", from two brokers at once: nothing is lost."""
    await two[0].write(spending(b"count", 0.0))

    def add_one(tx: Transaction) -> None:
        before = used_at(tx, b"count")
        assert before is not None
        spending(b"count", before + 1)(tx)

    left = 40

    async def work(database: Database) -> None:
        nonlocal left
        while left:
            left -= 1
            while True:
                try:
                    await database.write(add_one)
                except StaleError:
                    continue
                break

    await asyncio.gather(*(work(database) for database in two for _ in range(3)))
    assert await two[1].read(lambda tx: used_at(tx, b"count")) == 40.0


async def test_two_that_find_nothing_and_insert_do_not_both_believe_to_be_the_first(
    two: tuple[Database, Database],
) -> None:
    """As two brokers with one timestamp that may reject once (R26)."""
    both_have_looked = threading.Barrier(2)
    looks = []

    def reject(tx: Transaction) -> bool:
        looks.append(1)
        if used_at(tx, b"ada") is not None:
            return False
        if len(looks) <= 2:
            both_have_looked.wait(5)
        spending(b"ada")(tx)
        return True

    assert sorted(await asyncio.gather(*(database.write(reject) for database in two))) == [False, True]
    assert len(looks) == 3


async def test_who_is_always_late_learns_it(two: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRIES", 3)
    runs = []

    def always_late(_: Transaction) -> None:
        runs.append(1)
        raise psycopg.errors.SerializationFailure

    with pytest.raises(StaleError):
        await two[0].write(always_late)
    assert len(runs) == 3


async def test_waiting_for_another_brokers_lock_does_not_hold_up_the_event_loop(
    two: tuple[Database, Database],
) -> None:
    await two[0].write(spending(b"ada"))
    held, release = threading.Event(), threading.Event()

    def hold(tx: Transaction) -> None:
        spending(b"ada", 2.0)(tx)
        held.set()
        assert release.wait(5)

    holding = asyncio.create_task(two[0].write(hold))
    await asyncio.to_thread(held.wait, 5)
    waiting = asyncio.create_task(two[1].write(spending(b"ada", 3.0)))
    # The loop goes on, and so do others.
    await two[1].write(spending(b"ben"))
    assert not waiting.done()
    release.set()
    await asyncio.gather(holding, waiting)
    assert await two[0].read(lambda tx: used_at(tx, b"ada")) == 3.0


async def test_reads_see_one_moment(two: tuple[Database, Database]) -> None:
    looked, written = threading.Event(), threading.Event()

    def twice(tx: Transaction) -> tuple[float | None, float | None]:
        before = used_at(tx, b"ada")
        looked.set()
        assert written.wait(5)
        return before, used_at(tx, b"ada")

    reading = asyncio.create_task(two[0].read(twice))
    await asyncio.to_thread(looked.wait, 5)
    await two[1].write(spending(b"ada"))
    written.set()
    assert await reading == (None, None)


async def test_a_server_that_restarts_costs_no_change_and_no_answer(postgres: PostgresServer, tmp_path: Path) -> None:
    with PostgresServer() as server:
        database = Database.open(tmp_path, server.new_database())
        await asyncio.gather(*(database.write(spending(bytes([number]))) for number in range(2 * CONNECTIONS)))
        server.stop()
        with pytest.raises(KeyturnError) as caught:
            await database.write(spending(b"while it is away"))
        assert (caught.value.code, caught.value.refusal) == (ErrorCode.TECHNICAL, "storage.unreachable")
        assert PASSWORD not in caught.value.message
        await asyncio.to_thread(server.start)
        await database.write(spending(b"later"))
        for signer, stored in ((b"\x00", 1.0), (b"while it is away", None), (b"later", 1.0)):
            assert await database.read(lambda tx, signer=signer: used_at(tx, signer)) == stored  # type: ignore[misc]
        await database.close()


@pytest.mark.parametrize("when", ["before-commit", "at-commit"])
async def test_a_connection_that_breaks_before_the_commit_is_tried_again_and_at_the_commit_nobody_knows(
    postgres: PostgresServer, url: str, tmp_path: Path, when: str
) -> None:
    database = Database.open(tmp_path, url)
    runs = []

    def cut(tx: Transaction) -> None:
        spending(b"ada")(tx)
        runs.append(1)
        if len(runs) == 1:
            connection = tx._connection
            assert isinstance(connection, psycopg.Connection)
            with postgres.connect() as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))
            if when == "before-commit":
                spending(b"ben")(tx)

    if when == "before-commit":
        await database.write(cut)
        assert len(runs) == 2
        assert await database.read(lambda tx: used_at(tx, b"ada")) == 1.0
    else:
        with pytest.raises(KeyturnError) as caught:
            await database.write(cut)
        assert caught.value.refusal == "storage.commit-unknown"
        assert len(runs) == 1
    await database.close()


async def test_a_text_with_a_null_character_equals_nothing_and_cannot_be_stored(
    two: tuple[Database, Database],
) -> None:
    database = two[0]
    assert await database.read(lambda tx: tx.one(tuple, statements.REQUEST, {"w_id": "a\0b"})) is None
    assert await database.read(lambda tx: tx.all(tuple, statements.TASKS_OF_REQUEST, {"w_request": "\0"})) == []
    assert await database.write(lambda tx: tx.run(statements.DELETE_OFFLINE_KEY, {"w_label": "\0"})) == 0
    with pytest.raises(KeyturnError) as caught:
        await database.write(
            lambda tx: tx.run(statements.SPEND_TIMESTAMP, {"signer": b"", "timestamp": "\0", "used_at": 1.0})
        )
    assert (caught.value.code, caught.value.refusal) == (ErrorCode.VALIDATION_FAILED, "storage.null-character")


async def test_a_number_that_is_too_large_is_refused_and_the_largest_page_is_not(
    two: tuple[Database, Database],
) -> None:
    database = two[0]
    page = statements.fetch(
        level=1, by_signer=True, by_task=False, by_request=False, by_kind=False, order="CREATION_DATE_ASC", paged=True
    )
    largest = (1 << 31) - 1
    query = {"w_signer": b"", "w_limit": largest, "w_offset": largest * largest}
    assert await database.read(lambda tx: tx.all(tuple, page, query)) == []
    with pytest.raises(KeyturnError) as caught:
        await database.read(lambda tx: tx.all(tuple, page, {**query, "w_offset": 1 << 64}))
    assert (caught.value.code, caught.value.refusal) == (ErrorCode.VALIDATION_FAILED, "storage.value")


async def test_a_fault_of_the_database_is_told_without_its_values(two: tuple[Database, Database]) -> None:
    missing = select(spent_timestamps.c.used_at.label("x")).with_only_columns(spent_timestamps.c.used_at / 0)
    await two[0].write(spending(b"ada"))
    with pytest.raises(KeyturnError) as caught:
        await two[0].read(lambda tx: tx.all(tuple, missing, {}))
    assert caught.value.refusal == "storage.value"


async def test_migrations_make_exactly_the_tables_the_code_knows(url: str, tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    await Database.open(tmp_path, url).close()
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        due = connection.exec_driver_sql(
            "SELECT indexdef FROM pg_indexes WHERE indexname = 'request_due' AND schemaname = current_schema()"
        ).scalar()
        assert str(due).endswith("(due_at) WHERE (due_at IS NOT NULL)")
    engine.dispose()


async def test_brokers_that_start_at_once_on_an_empty_database_make_its_schema_once(url: str, tmp_path: Path) -> None:
    opened = await asyncio.gather(
        *(asyncio.to_thread(Database.open, tmp_path / str(number), url) for number in range(4))
    )
    for database in opened:
        await database.close()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]


async def test_a_database_of_a_newer_version_is_refused_with_its_number(url: str, tmp_path: Path) -> None:
    await Database.open(tmp_path, url).close()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(KeyturnError, match="9999") as caught:
        Database.open(tmp_path, url)
    assert caught.value.refusal == "storage.newer"


def test_what_is_overdue_is_found_by_a_range_of_the_index_not_by_reading_the_table(url: str, tmp_path: Path) -> None:
    asyncio.run(Database.open(tmp_path, url).close())
    text = str(statements.OVERDUE_REQUESTS.compile(dialect=module._dialect()))
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO request (id, kind, action, status, version, created_at, key_label, key_uuid, key_generation, "
            "key_created, key_public, key_counter, policy, payload, payload_type, algorithm, signature_type, original, "
            "statement, due_at, attempts) SELECT n::text, 'sign', 1, 'APPROVED', 1, 0, 'k', 'u', 1, 0, '', 1, '', '', "
            "'', '', '', '', '', 1000 + n, 0 FROM generate_series(1, 10000) AS n"
        )
        connection.execute("ANALYZE request")
        plan = "\n".join(
            row[0]
            for row in connection.execute(
                "EXPLAIN " + text, {"w_due": 1010.0, "w_sent_due": 1008.0, "w_limit": 256}
            ).fetchall()
        )
    assert "Index Scan using request_due" in plan
    assert "Seq Scan" not in plan


# --- addresses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"password": "hidden-word"}, "storage.unreachable"),
        ({"dbname": "nowhere"}, "storage.unreachable"),
        ({"host": "/nowhere"}, "storage.unreachable"),
    ],
    ids=["wrong-password", "no-database", "no-server"],
)
def test_a_database_that_does_not_let_us_in_is_named_without_its_password(
    url: str, tmp_path: Path, change: dict[str, str], refusal: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    words = psycopg.conninfo.make_conninfo(
        **{name: str(value) for name, value in {**conninfo_to_dict(url), **change}.items()}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "conninfo_to_dict", lambda _: conninfo_to_dict(words))
        with pytest.raises(KeyturnError) as caught:
            Database.open(tmp_path, url)
    assert (caught.value.code, caught.value.refusal) == (ErrorCode.CONFIG_NOT_VALID, refusal)
    for secret in (PASSWORD, "hidden-word"):
        assert secret not in caught.value.message + repr(caught.value) + caplog.text
    asyncio.run(Database.open(tmp_path, url).close())


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://broker:secret@host:hidden-word/name",
        "postgresql://broker:hidden-word%ZZ@/name",
        "postgresql://broker:a@hidden-word@host/name",
        "postgresql://broker:a@hidden-word/b@host/name",
        "postgresql://broker:hidden-word/a@host/name",
        "postgresql://broker:5432/hidden-word@host/name",
        "postgres://[::1",
    ],
    ids=["port", "percent", "at", "at-slash", "slash", "number-slash", "bracket"],
)
def test_an_address_that_libpq_does_not_understand_is_refused_without_repeating_it(
    tmp_path: Path, address: str
) -> None:
    with pytest.raises(KeyturnError) as caught:
        Database.open(tmp_path, address)
    assert caught.value.refusal == "storage.url"
    assert "hidden-word" not in caught.value.message
    assert caught.value.__cause__ is None
    assert connection_arguments("postgresql://broker:hidden-word@/name")["dbname"] == "name"


def test_to_another_machine_the_certificate_is_checked_unless_the_address_says_otherwise() -> None:
    for local in ("postgresql:///name", "postgresql://127.0.0.1/name", "postgresql:///name?host=/run/postgresql"):
        assert "sslmode" not in connection_arguments(local)
    for remote in ("postgresql://db.example.org/name", "postgresql://localhost,db.example.org/name"):
        assert connection_arguments(remote)["sslmode"] == "verify-full"
    assert connection_arguments("postgresql://db.example.org/name?sslmode=disable")["sslmode"] == "disable"


def test_a_server_that_would_lose_what_it_acknowledged_is_refused(tmp_path: Path) -> None:
    with PostgresServer({"fsync": "off"}) as server, pytest.raises(KeyturnError) as caught:
        Database.open(tmp_path, server.new_database())
    assert caught.value.refusal == "storage.not-durable"


def test_a_database_that_cannot_hold_every_label_is_refused(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.new_database("ENCODING 'SQL_ASCII' TEMPLATE template0")
    with pytest.raises(KeyturnError) as caught:
        Database.open(tmp_path, url)
    assert caught.value.refusal == "storage.encoding"


async def test_commits_are_synced_whatever_the_server_says(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.new_database()
    name = conninfo_to_dict(url)["dbname"]
    with postgres.connect() as connection:
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    database = Database.open(tmp_path, url)

    def setting(tx: Transaction) -> str:
        assert isinstance(tx._connection, psycopg.Connection)
        row = tx._connection.execute("SHOW synchronous_commit").fetchone()
        assert row is not None
        return str(row[0])

    assert await database.write(setting) == "on"
    await database.close()


def test_nothing_that_is_printed_has_the_password(url: str, tmp_path: Path) -> None:
    database = PostgresDatabase.open(tmp_path, url)
    settings = BrokerSettings(data_dir=tmp_path, database_url=url)
    for shown in (repr(database), repr(settings), str(database)):
        assert PASSWORD not in shown
        assert "pass%2F" not in shown
    asyncio.run(database.close())
