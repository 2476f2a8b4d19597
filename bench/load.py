"""Load by wrk, on this machine only, keep-alive, no TLS."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


PATIENCE = 30.0
"""Seconds beyond its time after which wrk hangs."""


def wrk_rate(
    url: str, body: dict[str, Any], connections: int, seconds: int, headers: Mapping[str, str] | None = None
) -> float:
    """Requests answered with 200 per second for `POST url` with `body`; raises if any answer was not 200.

    `seconds` is a whole number, because wrk takes no other.
    """
    sent = {"Content-Type": "application/json", **(headers or {})}
    script = 'wrk.method = "POST"\n' + f"wrk.body = [=====[{json.dumps(body)}]=====]\n"
    script += "".join(f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}\n" for name, value in sent.items())
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "post.lua"
        path.write_text(script)
        done = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", path, url],
            capture_output=True,
            text=True,
            check=True,
            timeout=seconds + PATIENCE,
        )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"not every answer was 200:\n{done.stdout}")
    found = re.search(r"Requests/sec:\s*([\d.]+)", done.stdout)
    assert found, done.stdout
    return float(found.group(1))
