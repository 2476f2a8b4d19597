"""How the HSM comes by its passphrase: a file that only it can read, a terminal, or the development default."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Final

from keyturn.errors import ErrorCode, KeyturnError

MAX_PASSPHRASE: Final = 1024
"""Longest passphrase in bytes."""
MIN_PASSPHRASE: Final = 8
"""Shortest passphrase in bytes; a guard against an empty file, not a measure of strength."""

DEVELOPMENT_NOTICE: Final = (
    "The key store's passphrase lies beside the store, in {file} (development default). For anything that matters give "
    "`keyturn hsm serve --passphrase-file` a file on other storage, or start sealed and use `keyturn hsm unseal`."
)


def check_passphrase(passphrase: bytes) -> bytes:
    """Refuse what can only be a mistake.

    Args:
        passphrase: The passphrase, 8 to 1024 bytes.

    Returns:
        The same.

    Raises:
        KeyturnError: `passphrase.length`.
    """
    if not MIN_PASSPHRASE <= len(passphrase) <= MAX_PASSPHRASE:
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            f"a passphrase has {MIN_PASSPHRASE} to {MAX_PASSPHRASE} bytes",
            refusal="passphrase.length",
        )
    return passphrase


def read_passphrase_file(file: Path) -> bytes:
    """Read a passphrase from a file.

    Args:
        file: A regular file of the HSM's user with no rights for others; one final newline is not part of it.

    Returns:
        The passphrase.

    Raises:
        KeyturnError: `passphrase.file-mode` when others could read it, `passphrase.file` when it cannot be read,
            `passphrase.length`.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            f"cannot read the passphrase file {file}: {error.strerror}",
            refusal="passphrase.file",
        ) from None
    # Checked on the open descriptor, so that the file judged is the file read.
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077 or status.st_uid != os.getuid():
            raise KeyturnError(
                ErrorCode.CONFIG_NOT_VALID,
                f"the passphrase file {file} must be a regular file of the HSM's user that nobody else can read "
                f"(chmod 600)",
                refusal="passphrase.file-mode",
            )
        content = stream.read(MAX_PASSPHRASE + 3)
    return check_passphrase(content.removesuffix(b"\n").removesuffix(b"\r"))


def development_passphrase(directory: Path) -> tuple[bytes, str]:
    """Read the development default's passphrase, making it on the first start (decisions 25).

    Args:
        directory: Data directory of the HSM, mode 0700.

    Returns:
        The passphrase, and the notice that must be shown at start.

    Raises:
        KeyturnError: As `read_passphrase_file`.
    """
    file = directory / "passphrase"
    if not file.exists():
        word = base64.b32encode(secrets.token_bytes(20))
        # Under its name only when it is whole: a crash must not leave half a passphrase.
        descriptor, made = tempfile.mkstemp(prefix=".passphrase-", dir=directory)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(word + b"\n")
                stream.flush()
                os.fsync(descriptor)
            with contextlib.suppress(FileExistsError):  # Another start was faster: its passphrase it is.
                os.link(made, file)
        finally:
            Path(made).unlink()
    return read_passphrase_file(file), DEVELOPMENT_NOTICE.format(file=file)
