"""Passwords of keys, sealed to the HSM, as long as a request is open (R27)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column."""
    op.add_column("request", sa.Column("sealed_password", sa.LargeBinary))
