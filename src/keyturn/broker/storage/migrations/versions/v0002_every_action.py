"""Every action: parameters and receipts of requests, the approver directory, withdrawals on their way to the HSM."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns and tables."""
    op.add_column("request", sa.Column("parameters", sa.Text))
    op.add_column("request", sa.Column("receipt", sa.LargeBinary))
    op.add_column("request", sa.Column("receipt_signature", sa.LargeBinary))
    op.create_table(
        "approver",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("certificate", sa.LargeBinary, nullable=False),
        sa.Column("added_at", sa.Float, nullable=False),
    )
    op.create_table(
        "withdrawal",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key_label", sa.Text, nullable=False),
        sa.Column("task_id", sa.Text, nullable=False),
        sa.Column("statement", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("spki", sa.LargeBinary),
        sa.Column("certificate", sa.LargeBinary),
        sa.Column("recorded_at", sa.Float, nullable=False),
    )
