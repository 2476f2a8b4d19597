"""The demo is a promise of the README: it runs by itself and ends with a verified signature."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_tells_the_whole_story_and_openssl_agrees(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "demo.py", "--out", out], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = " ".join(done.stdout.split())
    for milestone in (
        "device certificate pinned",
        "pre-flight: green, 2 of 2 approvals",
        "part-02.png of",
        "Verified OK, says openssl",
        "BOUND to exactly this",
        "1 of 2 approvals in group 'officers' is missing",
        "2 of 2 approvals in group 'officers' are missing",
        "bound to SHA256_WITH_ECDSA: for NONE_WITH_ECDSA there is none",
        "the office's register now says 2 of 2, attested",
        "the chain holds",
    ):
        assert milestone in told, told
    verdict = subprocess.run(
        ["openssl", "dgst", "-sha256", "-verify", "public-key.pem", "-signature", "signature.der", "payload.txt"],
        cwd=out / "verified",
        capture_output=True,
        text=True,
        check=False,
    )
    assert verdict.stdout.strip() == "Verified OK"
    assert list((out / "courier" / "request-sheet" / "print").glob("*.png"))
