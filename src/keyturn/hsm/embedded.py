"""The embedded default: the broker starts an HSM process of its own beside itself.

Convenience, called by its name: `isolation=none`. The HSM is a process of its own also here, never in the broker's
address space; but it runs as the broker's user, so whoever takes over the broker's user reaches its files. What the
HSM decides it decides all the same.

The child dies with its parent, however that ends: its standard input is a pipe that ends with the broker, and the
kernel kills it (PR_SET_PDEATHSIG).

Source: docs/security/rules.md R1; decisions 25; ARCHITECTURE.md, processes 2.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

START_TIMEOUT: Final = 60.0
"""Seconds until a child that is not ready counts as failed; the first start makes an RSA-3072 key."""
STOP_TIMEOUT: Final = 10.0
"""Seconds for a good end before it is killed."""
_MAX_LINE: Final = 64 * 1024


@dataclass(slots=True)
class EmbeddedHsm:
    """A running embedded HSM; made by `start_embedded`.

    Args:
        address: For `HsmClient.connect`.
        admin_socket: Path of its administration socket.
        isolation: Always `none`.
        notices: Sentences that whoever starts it must show.
        process: The child.
    """

    address: str
    admin_socket: str
    isolation: str
    notices: tuple[str, ...]
    process: asyncio.subprocess.Process = field(repr=False)

    async def stop(self) -> None:
        """End it in good order: the end of its standard input asks for that."""
        if self.process.returncode is not None:
            return
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


async def start_embedded(
    data_dir: Path, *, options: Sequence[str] = (), passphrase_file: Path | None = None
) -> EmbeddedHsm:
    """Start an HSM beside this process and wait until it serves.

    Args:
        data_dir: Its data directory, made with mode 0700; two processes cannot share one.
        options: Further words for `keyturn hsm serve`, such as `--require-protected-modify`.
        passphrase_file: Its passphrase file; None makes the development default (a file in `data_dir`).

    Returns:
        The running HSM.

    Raises:
        KeyturnError: `embedded.failed` with what the child said, when it ends or is silent instead of serving.
    """
    words = [
        *(sys.executable, "-I", "-m", "keyturn", "hsm", "serve", "--json"),
        *("--embedded", str(os.getpid()), "--data-dir", str(data_dir)),
    ]
    if passphrase_file is not None:
        words += ["--passphrase-file", str(passphrase_file)]
    process = await asyncio.create_subprocess_exec(
        *words,
        *options,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_MAX_LINE,
    )
    try:
        async with asyncio.timeout(START_TIMEOUT):
            ready = await _read_ready(process)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if isinstance(error, TimeoutError):
            raise _failed(f"was not ready after {START_TIMEOUT:.0f} seconds") from None
        raise
    return EmbeddedHsm(
        address=str(ready["address"]),
        admin_socket=str(ready["adminSocket"]),
        isolation=str(ready["isolation"]),
        notices=tuple(map(str, ready["notices"])),
        process=process,
    )


async def _read_ready(process: asyncio.subprocess.Process) -> dict[str, list[str] | str]:
    assert process.stdout is not None  # noqa: S101 - Asked for above.
    line = await process.stdout.readline()
    if not line:
        raise _failed(f"ended with status {await process.wait()}; its standard error says why")
    try:
        value = json.loads(line)
    except ValueError:
        raise _failed("said something else than that it is ready") from None
    if not isinstance(value, dict) or value.get("event") != "ready":
        raise _failed("said something else than that it is ready")
    return value


def _failed(what: str) -> KeyturnError:
    return KeyturnError(ErrorCode.CONNECTIVITY, f"the embedded HSM {what}", refusal="embedded.failed")
