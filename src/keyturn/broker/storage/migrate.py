"""Runs the migrations. Imported only when the schema differs: alembic is slow to load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from alembic import command
from alembic.config import Config
from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

MIGRATING: Final = 0x6B657974_75726E00
"""Key of the advisory lock that one of several starting brokers holds on PostgreSQL: "keyturn" in ASCII."""


def configuration(connection: Connection) -> Config:
    """Alembic's configuration for the migrations in this package, on an open connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine, revision: str) -> None:
    """Bring the database to a revision, all steps in one transaction.

    Args:
        engine: The database.
        revision: Target, such as `0001`.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # The driver begins no transactions by itself here (`sqlite._prepare_connection`).
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            # Who comes second waits here, and then finds nothing left to do. The lock goes with the transaction.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATING})
        command.upgrade(configuration(connection), revision)
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("COMMIT")
        else:
            connection.commit()
