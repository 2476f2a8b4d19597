"""Start of the HSM process: harden, find the passphrase, serve, say so, end.

The order matters: nothing secret is read before the process is hardened, and nothing is served before the sockets'
directories are closed to others.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from keyturn.clock import SystemClock
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.console import note
from keyturn.hsm.hardening import die_with_parent, harden_process
from keyturn.hsm.passphrase import development_passphrase, read_passphrase_file
from keyturn.hsm.service import HsmService
from keyturn.hsm.store import Store

if TYPE_CHECKING:
    from keyturn.hsm.settings import HsmSettings

_ISOLATION_NOTICE = (
    "isolation=none: a broker under this user (or root) on this machine can reach the HSM's files. Run the HSM under a "
    "user of its own (--allow-uid) or on a machine of its own (--listen tcp://…) before its promises are relied on."
)


def run_hsm(settings: HsmSettings, *, embedded: int = 0, sealed: bool = False, as_json: bool = False) -> int:
    """Be the HSM process until it is told to end.

    Args:
        settings: Its settings.
        embedded: Process id of the broker that started it beside itself, 0 for an HSM of its own.
        sealed: Start sealed without asking for a passphrase.
        as_json: Say that it is ready as one line of JSON on standard output.

    Returns:
        Exit status.

    Raises:
        KeyturnError: It cannot start; the word says why.
    """
    if embedded:
        die_with_parent(embedded)
    harden_process()
    directory = settings.directory
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            f"the data directory {directory} cannot be made: {error.strerror}; give another with --data-dir",
            refusal="config.data-directory",
        ) from None
    notices: list[str] = []
    passphrase: bytes | None = None
    if settings.passphrase_file:
        passphrase = read_passphrase_file(Path(settings.passphrase_file))
    elif embedded:
        passphrase, notice = development_passphrase(directory)
        notices.append(notice)
    elif not sealed and sys.stdin.isatty():
        passphrase = ask_passphrase("Passphrase of the key store", confirm=not Store.exists(directory))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, passphrase, notices, embedded=bool(embedded), as_json=as_json))


def ask_passphrase(prompt: str, *, confirm: bool) -> bytes:
    """Ask for a passphrase on the terminal, twice where a slip would lock the store for ever."""
    while True:
        word = getpass.getpass(f"{prompt}: ")
        if not confirm or word == getpass.getpass("Once more: "):
            return word.encode()
        note("the two differ, try again")


async def _serve(
    settings: HsmSettings, passphrase: bytes | None, notices: list[str], *, embedded: bool, as_json: bool
) -> int:
    service = HsmService(settings, SystemClock(), notices)
    if service.isolation == "none":
        notices.append(_ISOLATION_NOTICE)
    if settings.weakening_switches:
        notices.append(f"active switches that weaken this HSM: {', '.join(settings.weakening_switches)}")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.end)
    if embedded:
        loop.add_reader(0, _watch_parent, service)
    try:
        if passphrase is not None:
            service.unseal(passphrase, create=True)
            del passphrase
        service.serve()
        _say_ready(service, as_json=as_json)
        return await service.ended
    finally:
        try:
            await service.close()
        except KeyturnError as error:
            note(error.message)


def _watch_parent(service: HsmService) -> None:
    """Standard input of an embedded HSM ends with its broker."""
    if not os.read(0, 4096):
        asyncio.get_running_loop().remove_reader(0)
        service.end()


def _say_ready(service: HsmService, *, as_json: bool) -> None:
    if as_json:
        ready = {
            "event": "ready",
            "address": str(service.address),
            "adminSocket": str(service.settings.admin_path),
            "isolation": service.isolation,
            "sealed": service.sealed,
            "pid": os.getpid(),
            "notices": service.notices,
        }
        print(json.dumps(ready), flush=True)  # noqa: T201 - The program's output.
        return
    state = "sealed; open it with `keyturn hsm unseal`" if service.sealed else "open"
    print(f"HSM ready at {service.address}, {state}, isolation={service.isolation}", flush=True)  # noqa: T201 - As above.
    for notice in service.notices:
        note(notice)
