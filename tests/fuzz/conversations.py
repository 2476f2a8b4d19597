"""`make fuzz`, its last part: calls made of docs/openapi.json, said to a real server with its HSM until time is up.

    PYTHONPATH=tests python -m fuzz.conversations [OPERATION …]

`FUZZ_SECONDS` says for how long, ten minutes unless it is set; 0 is without end. An operation is named as in the
document, such as "POST /v1/key". What is found is printed with how to repeat it, and the run ends with 1.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from keyturn_testing.conversation import OPERATIONS, converse, ways
from keyturn_testing.plain_client import PlainClient
from keyturn_testing.rest_server import ServeProcess

DEFAULT_SECONDS: Final = 600
EXAMPLES: Final = 20


def main(labels: list[str]) -> int:
    """Talk.

    Args:
        labels: Which operations; all if empty.

    Returns:
        0 when every answer was a documented one, 1 when one was not, 2 when there is no such operation.
    """
    if unknown := [label for label in labels if label not in OPERATIONS]:
        print(f"There is no operation {', '.join(unknown)} in docs/openapi.json.", file=sys.stderr)
        return 2
    seconds = int(os.environ.get("FUZZ_SECONDS") or DEFAULT_SECONDS)
    end = time.monotonic() + (seconds or float("inf"))
    wrong: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory(prefix="keyturn-fuzz-") as scratch,
        ServeProcess(Path(scratch) / "vault") as server,
        PlainClient(server.url) as api,
    ):
        for turn in itertools.count(1):
            for label in labels or OPERATIONS:
                if time.monotonic() >= end:
                    break
                wrong |= _talk(api, label, turn)
            print(f"turn {turn}: {len(wrong)} operations answered wrongly", flush=True)
            if time.monotonic() >= end:
                break
    for why in wrong.values():
        print(why)
    return 1 if wrong else 0


def _talk(api: PlainClient, label: str, turn: int) -> dict[str, str]:
    found = {}
    for way in ways(label):
        try:
            converse(api, label, way, EXAMPLES, turn)
        except (AssertionError, ExceptionGroup) as error:
            reasons = error.exceptions if isinstance(error, ExceptionGroup) else [error]
            found[label] = f"{label} ({way}, start {turn})\n" + "\n".join(map(str, reasons))
            print(f"{label}: FOUND SOMETHING", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
