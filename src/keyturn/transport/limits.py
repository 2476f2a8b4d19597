"""Bounds on everything that crosses the gap (R29).

What arrives on a stick or in a picture was in other hands. Each parser of this room stops at one of these numbers
before it spends memory or time.
"""

from __future__ import annotations

from typing import Final

MAX_BUNDLE: Final = 1 << 20
"""Largest bundle, in bytes, as carried and again after inflating: sixteen times the largest payload (64 KiB) with its
approvals, and still readable from paper. R29."""

MAX_PARTS: Final = 4096
"""Most parts into which a message may be split, and most parts read for one message. R29."""

MAX_MESSAGES: Final = 16
"""Most messages of which parts are kept side by side; a sheet mixed from more is a pile, not a sheet."""

MAX_PIXELS: Final = 40_000_000
"""Largest image, width times height: an A4 page at 600 dots per inch has 35 million. R29."""

MAX_IMAGE_FILE: Final = 64 << 20
"""Largest image file in bytes, read before its header can say how large the picture is."""

MAX_IMAGES: Final = MAX_PARTS
"""Most images read in one import: one per part."""
