"""What approver management's secrets are sealed for on their way to the HSM (R23, R27).

A backup password, a transport password and a one-time code travel as passwords of keys do: sealed where they arrive,
opened in the HSM only (`keyturn.ska.sealed_password`). What takes the place of the key's label names secret and
approver, so that none opens as another, or for somebody else. It begins with a character that no label has.
"""

from __future__ import annotations

from typing import Final

BACKUP_PASSWORD: Final = "backup-password"  # noqa: S105 - What it is called.
TRANSPORT_PASSWORD: Final = "transport-password"  # noqa: S105 - The same.
ONE_TIME_CODE: Final = "one-time-code"


def sealed_for(secret: str, approver: str) -> str:
    """What stands for a key's label when a secret is sealed.

    Args:
        secret: `BACKUP_PASSWORD`, `TRANSPORT_PASSWORD` or `ONE_TIME_CODE`.
        approver: The approver's name.
    """
    # Names of derived keys end at a stroke; names of approvers have none, and one that has opens nothing.
    return f"\x00{secret}\x00{approver.replace('/', chr(0))}"
