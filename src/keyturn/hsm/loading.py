"""From a file and a passphrase to the state of a store: the checks that come before anything is believed, in order.

A key that was used a million times has more than a hundred thousand rows, and each start reads and hashes all of them
(docs/adr/0086). So the passphrase is stretched in a second thread while the rows are read; neither depends on the
other. Nothing that was read is looked at before the sealed root record vouches for it.
"""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from keyturn.hsm.migrations import STORE_VERSION, migrate
from keyturn.hsm.sealing import open_header
from keyturn.hsm.state import load_state, read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.hsm.audit import LogHead
    from keyturn.hsm.container import Container
    from keyturn.hsm.state import Row, StoreState


def load_store(container: Container, passphrase: bytes) -> tuple[StoreState, LogHead]:
    """Check a store, bring it to this program's version if it is older, and load it.

    Args:
        container: The open file.
        passphrase: As at creation, or as changed since.

    Returns:
        The state, and the head of the decision log that its last commit covers.

    Raises:
        KeyturnError: `store.…`, as `Container`, `open_header`, `migrate` and `load_state` say.
    """
    container.check_sound()
    version, header = container.read_header()
    with _collector_paused():
        with ThreadPoolExecutor(1, thread_name_prefix="passphrase") as second:
            opening = second.submit(open_header, header, passphrase)
            rows = _rows(container) if version == STORE_VERSION else None
            sealing = opening.result()
        migrate(container, sealing, version)
        return load_state(container, sealing, STORE_VERSION, _rows(container) if rows is None else rows)


def _rows(container: Container) -> dict[str, list[Row]]:
    container.check_schema()
    return read_rows(container)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Do not look for garbage: rows by the hundred thousand come to stay, and would make the collector look often."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
