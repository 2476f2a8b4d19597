"""Asks @ngraveio/bc-ur, the UR implementation of others, in a node process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[1] / "judges" / "ur.mjs"


def ask(**command: Any) -> dict[str, Any]:
    """Run one command of tests/judges/ur.mjs and return its answer."""
    done = subprocess.run(
        ["node", str(SCRIPT)], input=json.dumps(command), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, f"is tests/judges installed (make setup)? {done.stderr}"
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer
