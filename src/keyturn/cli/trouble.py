"""What the operating system refuses, as a sentence with the path and what can be done about it."""

from __future__ import annotations

import errno
import os
from typing import Final

from keyturn.plain import system_reason

_CURES: Final = {
    errno.ENOENT: "Look whether the name is right.",
    errno.EACCES: "Be the user to whom it belongs, or name another place.",
    errno.EPERM: "Be the user to whom it belongs, or name another place.",
    errno.EEXIST: "Name another one.",
    errno.ENOTDIR: "Look whether the name is right.",
    errno.EISDIR: "Name a file.",
    errno.EROFS: "Name a place that can be written.",
    errno.ENOSPC: "Make room on that disk, then do it again.",
    errno.EDQUOT: "Make room for this user, then do it again.",
    errno.EFBIG: "Name a place that takes files as large.",
    errno.EMFILE: "Allow this process more open files (ulimit -n).",
    errno.ENAMETOOLONG: "Name a shorter path.",
    errno.EIO: "Look after the disk; what it holds may be damaged.",
}
_DEFAULT: Final = "Look after the machine, then do it again."
_REASONS: Final = {
    errno.EEXIST: "it exists already",
    errno.ENOTDIR: "a part of the path is no folder",
    errno.EISDIR: "it is a folder",
    errno.EROFS: "it lies where nothing can be written",
    errno.ENOSPC: "the disk is full",
}


def in_words(error: OSError) -> str:
    """Say what the system refused.

    Args:
        error: As it was raised, with its number.

    Returns:
        Sentences: where, why, and what to do.
    """
    number = error.errno or 0
    reason = _REASONS.get(number) or system_reason(error)
    places = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    where = f"{' and '.join(places)}: " if places else "The system says: "
    return f"{where}{reason}. {_CURES.get(number, _DEFAULT)}"
