"""A process that changes a store in a loop and tells its parent what has become durable; made to be killed.

    python store_worker.py DIRECTORY FIRST

Every acknowledgement is one line on standard output, `operation N`, written after `durable()`: the result of the
operation, a change of the key, a use, a clock mark and a log line belong to it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from keyturn.clock import ManualClock
from keyturn.hsm.audit import LogEntry
from keyturn_testing.hsm_store import PRIVATE_KEY, input_digest, new_key, open_store, operation_id

if TYPE_CHECKING:
    from keyturn.hsm.store import Store

WORKERS = 4


def acknowledge(text: str) -> None:
    """One line, in one write, past all buffers: it leaves or it does not."""
    os.write(1, f"{text}\n".encode())


async def work(store: Store, numbers: list[int]) -> None:
    """Do operations; each changes the shared key, counts a use, and logs."""
    while True:
        number = numbers[0]
        numbers[0] += 1
        with store.change() as change:
            key = store.key("treasury")
            if key is None:
                change.put_key(new_key(), PRIVATE_KEY)
            else:
                change.put_key(replace(key, policy=b"policy %d" % number))
                change.count_use(key.uuid)
            change.put_operation(operation_id(number), input_digest(number), b"result %d" % number, time=number)
            change.advance_clock(1_700_000_000 + number)
        store.log.append(LogEntry(number, "sign", "granted", operation=operation_id(number).hex()))
        await store.durable()
        acknowledge(f"operation {number}")


async def main(directory: Path, first: int) -> None:
    """Work until killed."""
    store = open_store(directory, ManualClock())
    acknowledge("ready")
    numbers = [first]
    await asyncio.gather(*(work(store, numbers) for _ in range(WORKERS)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
