"""Stores that are there before an HSM process starts: made in the test's own process, as the HSM would have made them.

A first start makes an RSA key of 3072 bits and stretches the passphrase as production does; both take longer than most
tests. Here the key comes from `attestation_keys`, and the passphrase is stretched with the bounded minimum. First
starts have tests of their own (tests/hsm/test_embedded.py, tests/api/test_serve.py, tests/hsm/test_administration.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.clock import SystemClock
from keyturn.hsm.sealing import MIN_MEMORY_KIB, KdfParameters
from keyturn.hsm.store import Store
from keyturn.hsm.system_keys import SystemKeys

if TYPE_CHECKING:
    from pathlib import Path

EMBEDDED_PASSPHRASE: Final = b"made beforehand for an embedded HSM"


def make_store(directory: Path, passphrase: bytes) -> None:
    """Make a store, unless there is one.

    Args:
        directory: Data directory of the HSM; it is made, with mode 0700.
        passphrase: Of the store.
    """
    if Store.exists(directory):
        return
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    clock = SystemClock()
    store = Store.create(directory, passphrase, clock=clock, kdf=KdfParameters(memory_kib=MIN_MEMORY_KIB))
    try:
        SystemKeys.open(store, now=int(clock.now()))
    finally:
        store.close()


def make_embedded_store(directory: Path) -> None:
    """Make the store of an HSM that a server starts beside itself, with the passphrase where that looks for it.

    Args:
        directory: Data directory of the HSM.
    """
    make_store(directory, EMBEDDED_PASSPHRASE)
    file = directory / "passphrase"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_bytes(EMBEDDED_PASSPHRASE + b"\n")
