"""One process per store: an advisory lock on `hsm.lock` in the store's directory (flock(2)).

The kernel drops it when the process ends, however it ends; there is nothing to clean up after a crash.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Final

from keyturn.hsm.records import store_error

if TYPE_CHECKING:
    from pathlib import Path

LOCK_FILE: Final = "hsm.lock"


class DirectoryLock:
    """The lock, held from construction to `release`.

    Args:
        directory: The store's directory.

    Raises:
        KeyturnError: `store.locked`: another process holds it.
    """

    def __init__(self, directory: Path) -> None:
        # Not inheritable: a child that outlives us must not keep the store locked.
        self._descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise store_error(
                "locked",
                f"Another process (id {holder}) has this store open. Stop that HSM, or give this one another "
                "directory.",
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Let others in. Doing so twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
