"""Examples below the help of a command."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """The end of a help text with lines to be typed; they are shown as they are, not filled up.

    Args:
        lines: Commands; a line that goes on ends with a backslash.
    """
    return "\n".join(("\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)))
