"""Receipts for tests: one ordinary example, varied by what a test is about."""

from __future__ import annotations

import dataclasses
from typing import Any

from keyturn.ska.receipt import Receipt
from keyturn.ska.receipt_hashes import Statement, result_hash_of, statement_hash_of

STATEMENT = Statement.sign("treasury", b"pay 10 to Ben", "SHA256_WITH_ECDSA", "DER")


def example_receipt(**changes: Any) -> Receipt:
    """A receipt for `STATEMENT`, executed with the result `signature`, with some fields changed."""
    receipt = Receipt(
        version=1,
        instance_id="6a1d3f60-93a4-4c9f-b0c1-7d5f2f0a1b2c",
        request_id="3f0e9c1a-77aa-4a0f-9a52-0f4f7b6f2f10",
        action="sign",
        statement_hash=statement_hash_of(STATEMENT),
        result_hash=result_hash_of(b"signature"),
        key_uuid="0b9f3a52-5f0c-4a0e-8f5c-1d2e3f405162",
        time=1_723_658_579,
        state_counter=17,
        outcome="executed",
        restore_epoch=0,
    )
    return dataclasses.replace(receipt, **changes)
