"""The four things a policy governs.

Source: ska-wire-format.md section 3 (element 0x003B).
"""

from __future__ import annotations

from enum import IntEnum


class Action(IntEnum):
    """Operation code of an approval; it selects the rule that the approval can serve."""

    USE = 1
    """Sign, decrypt, unwrap, certificate operations: one code for all."""
    BLOCK = 2
    UNBLOCK = 3
    MODIFY = 4
    """Replace the policy."""
