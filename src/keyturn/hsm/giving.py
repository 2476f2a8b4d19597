"""What the HSM gives to whoever may call it, within rate limits (R31): randomness, its decision log, dated hashes.

Source: rest-api.md section 3.9; docs/security/rules.md R31; docs/formats/rfc3161.md.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from keyturn.crypto.rfc3161 import imprint_of
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.context import check_payload

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.hsm.context import EngineContext
    from keyturn.hsm.rate_limit import RateLimit

MAX_RANDOM: Final = 64 * 1024
"""Most random bytes of one call (rest-api.md section 1.3)."""
LOG_TAIL: Final = 256 * 1024
"""Octets of the decision log, from its end, that are shown at most."""
LOG_LINES: Final = 500
"""Lines of it that are shown at most."""


class Giving:
    """Handles `GetRandom`, `GetLog` and `DateWithRfc3161`.

    Args:
        context: What the parts of the engine share.
        random: How often random bytes may be asked for.
        logs: How often the log may be asked for.
        dates: How many timestamps of RFC 3161 may be given.
    """

    def __init__(self, context: EngineContext, *, random: RateLimit, logs: RateLimit, dates: RateLimit) -> None:
        self._context = context
        self._random = random
        self._logs = logs
        self._dates = dates

    def random(self, call: protocol.GetRandom) -> protocol.Answer:
        """Give random bytes."""
        if not 1 <= call.length <= MAX_RANDOM:
            raise KeyturnError(
                ErrorCode.INVALID_NUMBER_RANGE,
                f"{call.length} random bytes cannot be given: ask for 1 to {MAX_RANDOM}",
                refusal="random.length",
            )
        self._random.take()
        return protocol.Random(os.urandom(call.length))

    def log(self, _: protocol.GetLog) -> protocol.Answer:
        """Show the end of the decision log. Its lines hold hashes, labels and words, never payloads or keys."""
        self._logs.take()
        log = self._context.store.log
        log.flush()
        return protocol.LogLines(_last_lines(log.path))

    def date(self, call: protocol.DateWithRfc3161) -> protocol.Answer:
        """Date a hash."""
        context = self._context
        check_payload(call.payload)
        imprint = imprint_of(call.payload, call.hash_algorithm)
        self._dates.take()
        now = context.clock_guard.now()
        response = context.system_keys.rfc_timestamp.date(imprint, now)
        with context.store.change() as change:
            # A time that leaves is durable first: after a crash the clock may not stand before it.
            change.advance_clock(now)
        context.journal.serve(call, payload=call.payload)
        return protocol.Dated(response)


def _last_lines(path: Path) -> list[str]:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - LOG_TAIL)
        file.seek(start)
        lines = file.read().split(b"\n")
    # The first one was cut, unless the log begins there; behind the last line end stands nothing.
    whole = lines[1 if start else 0 : -1]
    return [line.decode("utf-8", "replace") for line in whole[-LOG_LINES:]]
