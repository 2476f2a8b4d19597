"""Brings a database to the schema this version needs; alembic is loaded only when there is something to do.

Loading alembic takes longer than the rest of the broker's start; a database that is up to date, which is every start
but the first, is recognised by one SELECT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError

from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

HEAD: Final = "0004"
"""Revision this version works with; a test holds it to the newest file in `migrations/versions`."""


def ensure_schema(engine: Engine) -> None:
    """Make or migrate the schema.

    Args:
        engine: The database.

    Raises:
        KeyturnError: 301 `storage.newer` when the database was made by a newer version.
    """
    with engine.connect() as connection:
        present = _revision(connection)
    if present == HEAD:
        return
    if present is not None and present > HEAD:
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            f"The database has schema {present}, made by a newer keyturn; this one knows {HEAD}. Install the newer "
            "version, or give this one another data directory.",
            refusal="storage.newer",
        )
    from keyturn.broker.storage.migrate import upgrade

    upgrade(engine, HEAD)


def _revision(connection: Connection) -> str | None:
    try:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except (OperationalError, ProgrammingError):  # SQLite's and PostgreSQL's word for a table that does not exist.
        return None
