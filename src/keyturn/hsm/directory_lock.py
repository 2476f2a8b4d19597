"""One process per store: advisory locks (flock(2)) on the store's directory and on `hsm.lock` in it.

The file tells who holds them; the directory is what cannot be deleted by somebody who tidies up.
The kernel drops it when the process ends, however it ends; there is nothing to clean up after a crash.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Final

from keyturn.hsm.records import store_error
from keyturn.hsm.regular_file import open_regular

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
        self._descriptor = open_regular(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT)
        try:
            self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            os.close(self._descriptor)
            raise
        try:
            for descriptor in (self._directory, self._descriptor):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            self.release()
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
            os.close(self._directory)
            self._descriptor = -1
