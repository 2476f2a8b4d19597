"""Bound approvals: the statement that approvals of a request cover where they do not cover its payload."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    op.add_column("request", sa.Column("bound_statement", sa.LargeBinary))
