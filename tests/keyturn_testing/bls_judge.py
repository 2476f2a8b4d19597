"""py-ecc as judge of BLS signatures, without what its import does to the interpreter.

It raises the limit of recursion to 100 000, with which a deeply nested JSON text ends the process, not the reading.
"""

from __future__ import annotations

import sys

_LIMIT = sys.getrecursionlimit()

from py_ecc.bls.ciphersuites import G2Basic  # noqa: E402 - The limit must be known before.

sys.setrecursionlimit(_LIMIT)

__all__ = ["G2Basic"]
