"""Files written whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from keyturn.errors import ErrorCode, FormatError, KeyturnError

PRIVATE_DIRECTORY: Final = 0o700
PRIVATE_FILE: Final = 0o600
PUBLIC_FILE: Final = 0o644


def make_private_directory(directory: Path) -> None:
    """Create `directory` (mode 0700) with its parents; leave an existing one as it is.

    Raises:
        KeyturnError: If it cannot be created.
    """
    try:
        directory.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    except OSError as error:
        raise _failed("create the directory", directory, error) from error


def write_atomically(path: Path, content: bytes, *, mode: int = PUBLIC_FILE, replace: bool = True) -> bool:
    """Write a file so that readers see the old content or the whole new one, also after a power cut.

    Args:
        path: Where; its directory exists.
        content: What.
        mode: Permission bits of the file.
        replace: Whether an existing file may be replaced.

    Returns:
        False if the file existed and `replace` is False; nothing is written then.

    Raises:
        KeyturnError: If the system refuses.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, mode)
                file.write(content)
                file.flush()
                os.fsync(handle)
            if replace:
                Path(name).replace(path)
            else:
                # A hard link is the one way to put a complete file under a name only if the name is free.
                os.link(name, path)
        except FileExistsError:
            return False
        finally:
            Path(name).unlink(missing_ok=True)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise _failed("write", path, error) from error
    return True


def read_bounded(path: Path, limit: int, *, whole: bool = True) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Args:
        path: The file; a link to one will do, a pipe or device will not.
        limit: Most bytes.
        whole: Refuse a larger file; otherwise give its first `limit` bytes.

    Raises:
        FormatError: `file.too-large` if it is larger, `file.unreadable` if it cannot be read.
    """
    try:
        # Not waiting: a pipe without a writer would hold the program for ever. Regular files know no waiting.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FormatError(f"{path} is not a regular file.", refusal="file.unreadable")
            content = file.read(limit + 1 if whole else limit)
    except OSError as error:
        raise FormatError(f"Cannot read {path}: {error.strerror or error}.", refusal="file.unreadable") from error
    if len(content) > limit:  # Only a whole one can be.
        raise FormatError(f"{path} is larger than {limit} bytes; no file of ours is.", refusal="file.too-large")
    return content


def _failed(action: str, path: Path, error: OSError) -> KeyturnError:
    return KeyturnError(
        ErrorCode.TECHNICAL, f"Cannot {action} {path}: {error.strerror or error}.", refusal="file.unwritable"
    )
