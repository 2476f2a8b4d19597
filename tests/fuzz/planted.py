"""A target with a planted bug, to see that the engine finds what it is there for. It is in no catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fuzz.harness import Target

if TYPE_CHECKING:
    from fuzz.harness import AnyTarget

WORD: Final = b"BUG!"


def guarded(data: bytes) -> int:
    """Five branches inside each other: blind chance would need thousands of millions of inputs to pass them all."""
    depth = 0
    if len(data) > 4:
        depth = 1
        if data[0] == 0x42:
            depth = 2
            if data[1] == 0x55:
                depth = 3
                if data[2] == 0x47:
                    depth = 4
                    if data[3] == 0x21:
                        raise ZeroDivisionError("planted")
    return depth


TARGETS: Final[tuple[AnyTarget, ...]] = (Target("planted.bug", guarded, lambda _, __: None, lambda: [b"hello"]),)
