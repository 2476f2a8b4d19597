"""Statements about signed time across the gap; else as in `statements`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, select, update

from keyturn.broker.storage.tables import requests

STAMP_REQUEST: Final = (
    update(requests)
    .where(
        requests.c.id == bindparam("w_id"),
        requests.c.version == bindparam("w_version"),
        # A timestamp is given once: approvers sign it.
        requests.c.stamp.is_(None),
    )
    .values({name: bindparam(name) for name in ("version", "statement", "stamp", "stamp_signature", "stamp_algorithm")})
)
RECEIPTS_OF_KEY: Final = (
    select(requests.c.receipt, requests.c.receipt_signature)
    .where(
        requests.c.key_label == bindparam("w_label"),
        requests.c.key_uuid == bindparam("w_uuid"),
        requests.c.receipt.is_not(None),
    )
    .order_by(requests.c.created_at.desc())
    .limit(64)
)
"""The receipts of a key's newest requests: among them is what its HSM signed last, or nearly."""
GIVEN_OUT: Final = (
    select(requests.c.id)
    .where(
        requests.c.key_label == bindparam("w_label"),
        requests.c.key_uuid == bindparam("w_uuid"),
        requests.c.action == bindparam("w_action"),
        requests.c.statement == bindparam("w_statement"),
    )
    .limit(1)
)
"""A request with exactly these bytes to be approved."""
