"""What the HSM tells its operator: lines on standard error."""

from __future__ import annotations

import contextlib
import sys


def note(text: str) -> None:
    """Say one line; never fails, because a full disk behind standard error must not keep the HSM from ending.

    Args:
        text: The line, without secrets.
    """
    with contextlib.suppress(OSError, ValueError):
        print(f"keyturn hsm: {text}", file=sys.stderr, flush=True)  # noqa: T201 - A server's own messages.
