"""The first schema: requests, tasks, evidence, spent timestamps, registered offline keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "request",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("action", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("key_label", sa.Text, nullable=False),
        sa.Column("key_uuid", sa.Text, nullable=False),
        sa.Column("key_generation", sa.Integer, nullable=False),
        sa.Column("key_created", sa.BigInteger, nullable=False),
        sa.Column("key_public", sa.LargeBinary, nullable=False),
        sa.Column("key_counter", sa.BigInteger, nullable=False),
        sa.Column("policy", sa.LargeBinary, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("payload_type", sa.Text, nullable=False),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("signature_type", sa.Text, nullable=False),
        sa.Column("meta_data", sa.LargeBinary),
        sa.Column("meta_data_signature", sa.LargeBinary),
        sa.Column("original", sa.LargeBinary, nullable=False),
        sa.Column("statement", sa.LargeBinary, nullable=False),
        sa.Column("stamp", sa.LargeBinary),
        sa.Column("stamp_signature", sa.LargeBinary),
        sa.Column("stamp_algorithm", sa.Text),
        sa.Column("due_at", sa.Float),
        sa.Column("sent", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("executed_at", sa.BigInteger),
        sa.Column("result", sa.LargeBinary),
        sa.Column("failure", sa.Text),
    )
    op.create_index(
        "request_due",
        "request",
        ["due_at"],
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index("request_key", "request", ["key_label", "status"])
    op.create_index("request_status", "request", ["status", "created_at"])
    op.create_table(
        "task",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("request_id", sa.Text, sa.ForeignKey("request.id", ondelete="CASCADE"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("signer", sa.LargeBinary, nullable=False),
        sa.Column("spki", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("fetched_at", sa.Float, nullable=False),
        sa.Column("decided_at", sa.Float),
        sa.Column("authorization", sa.LargeBinary),
        sa.Column("marked", sa.Text, nullable=False),
    )
    op.create_index("task_signer", "task", ["signer", "state", "created_at"])
    op.create_index("task_request", "task", ["request_id", "position"])
    op.create_table(
        "evidence",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("task_id", sa.Text, nullable=False),
        sa.Column("signer", sa.LargeBinary, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("statement", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.Float, nullable=False),
    )
    op.create_index("evidence_request", "evidence", ["request_id"])
    op.create_table(
        "spent_timestamp",
        sa.Column("signer", sa.LargeBinary, nullable=False),
        sa.Column("timestamp", sa.Text, nullable=False),
        sa.Column("used_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("signer", "timestamp"),
        sqlite_with_rowid=False,
    )
    op.create_index("spent_timestamp_used", "spent_timestamp", ["used_at"])
    op.create_table(
        "offline_key",
        sa.Column("label", sa.Text, primary_key=True),
        sa.Column("xml", sa.Text, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("attestation_key_name", sa.Text, nullable=False),
        sa.Column("registered_at", sa.Float, nullable=False),
    )
