"""Load by wrk, on this machine only, keep-alive, no TLS."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any


def wrk_rate(url: str, body: dict[str, Any], connections: int, seconds: float) -> float:
    """Requests answered with 200 per second for `POST url` with `body`; raises if any answer was not 200."""
    script = (
        'wrk.method = "POST"\n'
        'wrk.headers["Content-Type"] = "application/json"\n'
        f"wrk.body = [=====[{json.dumps(body)}]=====]\n"
    )
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "post.lua"
        path.write_text(script)
        done = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", path, url],
            capture_output=True,
            text=True,
            check=True,
        )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"not every answer was 200:\n{done.stdout}")
    found = re.search(r"Requests/sec:\s*([\d.]+)", done.stdout)
    assert found, done.stdout
    return float(found.group(1))
