"""The raw limits: the library called in a loop in one process, and the disk's own durable commits."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from kinds import KINDS, PAYLOAD

if TYPE_CHECKING:
    from pathlib import Path


def loop_rate(kind: str, seconds: float) -> float:
    """Signatures per second of the library alone with a key of a kind of `KINDS`."""
    sign = KINDS[kind].signer()
    start = time.perf_counter()
    count = 0
    while time.perf_counter() - start < seconds:
        sign(PAYLOAD)
        count += 1
    return count / (time.perf_counter() - start)


def durable_commit_rate(folder: Path, seconds: float) -> float:
    """Appends of 512 bytes per second, each followed by fdatasync."""
    path = folder / "probe"
    handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    start = time.perf_counter()
    count = 0
    while time.perf_counter() - start < seconds:
        os.write(handle, b"x" * 512)
        os.fdatasync(handle)
        count += 1
    os.close(handle)
    path.unlink()
    return count / (time.perf_counter() - start)
