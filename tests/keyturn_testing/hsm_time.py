"""The highest time that an HSM has used, moved between two runs: to the HSM the same as a clock that was moved."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from keyturn.clock import SystemClock
from keyturn.hsm.store import Store
from keyturn_testing.hsm_process import PASSPHRASE

if TYPE_CHECKING:
    from keyturn_testing.hsm_process import HsmProcess


def move_mark(hsm: HsmProcess, seconds: float) -> float:
    """Stop the HSM, and let it have used a time this far from now; that time, in seconds since the epoch."""
    hsm.stop()
    mark = time.time() + seconds
    store = Store.open(hsm.directory, PASSPHRASE, clock=SystemClock())
    with store.change() as change:
        change.turn_clock_back(mark)
    store.close()
    return mark
