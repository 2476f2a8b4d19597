"""The tables, as SQLAlchemy Core sees them. The migrations make them; a test holds both together.

Only types that travel to the driver as they are (text, bytes, whole and floating numbers) are used, so that hot
statements can be run without SQLAlchemy's result processing.

Times: REAL seconds since the epoch where the broker's clock wrote them, INTEGER where the HSM did.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

metadata: Final = MetaData()

requests: Final = Table(
    "request",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("action", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    # The key as it was when the request was opened: a label is not an identity (R18, R19).
    Column("key_label", Text, nullable=False),
    Column("key_uuid", Text, nullable=False),
    Column("key_generation", Integer, nullable=False),
    Column("key_created", BigInteger, nullable=False),
    Column("key_public", LargeBinary, nullable=False),
    Column("key_counter", BigInteger, nullable=False),
    # The policy predictions are made with; empty for an ordinary key.
    Column("policy", LargeBinary, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("payload_type", Text, nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("signature_type", Text, nullable=False),
    Column("meta_data", LargeBinary),
    Column("meta_data_signature", LargeBinary),
    Column("original", LargeBinary, nullable=False),
    # `approvalToBeSigned`: the same bytes for every approver; empty for an ordinary key.
    Column("statement", LargeBinary, nullable=False),
    Column("stamp", LargeBinary),
    Column("stamp_signature", LargeBinary),
    Column("stamp_algorithm", Text),
    # When the scheduler has to look at the request next; NULL when only people can move it.
    Column("due_at", Float),
    # Ids of the tasks whose approvals went to the HSM (JSON), from before the call until its outcome is stored.
    Column("sent", Text),
    Column("attempts", Integer, nullable=False),
    Column("executed_at", BigInteger),
    Column("result", LargeBinary),
    Column("failure", Text),
    # What the call says beside payload and algorithm, as JSON; `parameters.py` reads and writes it.
    Column("parameters", Text),
    # The HSM's receipt for the outcome (R24).
    Column("receipt", LargeBinary),
    Column("receipt_signature", LargeBinary),
    # What approvals cover where it is not the payload: the statement of a key with bound approvals (R7).
    Column("bound_statement", LargeBinary),
    # The key's password, sealed to the HSM; NULL once the request has ended (R27).
    Column("sealed_password", LargeBinary),
    # The migration makes it partial on PostgreSQL too; naming that dialect here would load it at every start.
    Index("request_due", "due_at", sqlite_where=text("due_at IS NOT NULL")),
    Index("request_key", "key_label", "status"),
    Index("request_status", "status", "created_at"),
)

tasks: Final = Table(
    "task",
    metadata,
    Column("id", Text, primary_key=True),
    Column("request_id", Text, ForeignKey("request.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    # SHA-256 of the approver's identity: identities of RSA keys are too long for an index.
    Column("signer", LargeBinary, nullable=False),
    Column("spki", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("fetched_at", Float, nullable=False),
    Column("decided_at", Float),
    # The approval as an authorization blob, ready for the HSM.
    Column("authorization", LargeBinary),
    # The word with which the HSM refused an earlier approval of this task (R25).
    Column("marked", Text, nullable=False),
    Index("task_signer", "signer", "state", "created_at"),
    Index("task_request", "request_id", "position"),
)

evidence: Final = Table(
    "evidence",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("task_id", Text, nullable=False),
    Column("signer", LargeBinary, nullable=False),
    Column("kind", Text, nullable=False),
    Column("statement", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("digest", Text, nullable=False),
    Column("recorded_at", Float, nullable=False),
    Index("evidence_request", "request_id"),
)

spent_timestamps: Final = Table(
    "spent_timestamp",
    metadata,
    Column("signer", LargeBinary, nullable=False),
    Column("timestamp", Text, nullable=False),
    Column("used_at", Float, nullable=False),
    PrimaryKeyConstraint("signer", "timestamp"),
    Index("spent_timestamp_used", "used_at"),
    sqlite_with_rowid=False,
)

offline_keys: Final = Table(
    "offline_key",
    metadata,
    Column("label", Text, primary_key=True),
    Column("xml", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("attestation_key_name", Text, nullable=False),
    Column("registered_at", Float, nullable=False),
)

approvers: Final = Table(
    "approver",
    metadata,
    Column("name", Text, primary_key=True),
    Column("certificate", LargeBinary, nullable=False),
    Column("added_at", Float, nullable=False),
)

withdrawals: Final = Table(
    "withdrawal",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key_label", Text, nullable=False),
    Column("task_id", Text, nullable=False),
    Column("statement", LargeBinary, nullable=False),
    # DER-wrapped, as the HSM takes it.
    Column("signature", LargeBinary, nullable=False),
    Column("spki", LargeBinary),
    Column("certificate", LargeBinary),
    Column("recorded_at", Float, nullable=False),
)
