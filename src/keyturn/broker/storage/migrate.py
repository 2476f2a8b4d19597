"""Runs the migrations. Imported only when the schema differs: alembic is slow to load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine


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
        # The driver begins no transactions by itself here (`database._prepare_connection`).
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        command.upgrade(configuration(connection), revision)
        connection.exec_driver_sql("COMMIT")
