"""Opening the store's own files, and only files.

Who could write into the directory while the HSM was off may have left a link, so that we truncate or lengthen a file
elsewhere, or a pipe, at which an open would wait for ever.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def open_regular(path: Path, flags: int) -> int:
    """Open a file of the store.

    Args:
        path: The file.
        flags: As for open(2); a file made by `O_CREAT` has mode 0600.

    Returns:
        Its descriptor, closed in programs that are started.

    Raises:
        OSError: It cannot be opened, or it is a link, a pipe, a socket or a device.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor
