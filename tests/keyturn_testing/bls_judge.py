"""py-ecc as judge of BLS signatures, without what its import does to the interpreter.

It raises the limit of recursion to 100 000, with which a deeply nested JSON text ends the process, not the reading.
"""

from __future__ import annotations

import sys

_LIMIT = sys.getrecursionlimit()

from eth_typing import BLSPubkey, BLSSignature  # noqa: E402 - The same, since py-ecc has loaded it.
from py_ecc.bls.ciphersuites import G2Basic  # noqa: E402 - The limit must be known before.

sys.setrecursionlimit(_LIMIT)

__all__ = ["G2Basic", "is_key", "verifies"]


def is_key(point: bytes) -> bool:
    """Whether these bytes are a public key (KeyValidate)."""
    return bool(G2Basic.KeyValidate(BLSPubkey(point)))


def verifies(public: bytes, data: bytes, signature: bytes) -> bool:
    """Whether this is the key's signature of these bytes; takes about half a second."""
    return bool(G2Basic.Verify(BLSPubkey(public), data, BLSSignature(signature)))
