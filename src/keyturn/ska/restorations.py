"""For what an approver's file is restored from the backup, in the words of the HSM's protocol (R23).

Source: rest-api.md section 3.8; docs/adr/0114.
"""

from __future__ import annotations

from typing import Final

RESTORE: Final = "restore"
"""Another code for the same file; the backup password stays."""
FORGOT: Final = "forgot"
"""Another backup password, and nobody knows the one so far."""
CHANGE: Final = "change"
"""Another backup password, by who knows the one so far; no code is made."""
PURPOSES: Final = (RESTORE, FORGOT, CHANGE)
