"""Keeping the corpus small: an input stays while it reaches steps between lines that no smaller one reaches.

Steps are counted by the interpreter's own tracing, so that it takes no engine, and the result is the same everywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import keyturn
from fuzz.catalogue import CORPUS, stored
from fuzz.harness import Finding, check
from keyturn.ska import approver_keys

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    from fuzz.harness import AnyTarget

Steps = set[tuple[str, int, int]]
"""File, line, and the line before it in the same call."""
OURS: Final = str(Path(keyturn.__file__).parent)
SLOW: Final = 60.0
"""Seconds allowed to one input here: tracing is slow, and time is not the subject."""


def steps_of(target: AnyTarget, data: bytes) -> Steps:
    """Which steps through our code an input causes."""
    found: Steps = set()

    def begin(frame: FrameType, _event: str, _argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(OURS):
            return None
        last = 0

        def line(inner: FrameType, event: str, _argument: Any) -> Any:
            nonlocal last
            if event == "line":
                found.add((name, inner.f_lineno, last))
                last = inner.f_lineno
            return line

        return line

    _forget()
    before = sys.gettrace()
    sys.settrace(begin)
    try:
        with contextlib.suppress(Finding):
            check(target, data, seconds=SLOW)
    finally:
        sys.settrace(before)
    return found


def smallest(target: AnyTarget, inputs: Iterable[bytes]) -> list[bytes]:
    """Those inputs that reach something which the seeds and the smaller ones do not."""
    reached: Steps = set()
    for seed in target.seeds():
        reached |= steps_of(target, seed)
    kept = []
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        steps = steps_of(target, data)
        if not steps <= reached:
            reached |= steps
            kept.append(data)
    return kept


def store(target: AnyTarget, discovered: Iterable[bytes]) -> None:
    """Put what was discovered into the corpus, and take out what is not needed any more."""
    folder = CORPUS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    kept = smallest(target, [*stored(CORPUS, target), *discovered])
    for path in folder.iterdir():
        path.unlink()
    for data in kept:
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def _forget() -> None:
    """Empty the memories of keys that were read, so that an input does not profit from the one before."""
    for name in ("identity_of", "read_approver_key", "load_approver_key", "certificate_spki", "certificate_name"):
        getattr(approver_keys, name).cache_clear()
