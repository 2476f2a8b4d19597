"""The commands of a guide do what the guide says, typed as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from keyturn_testing.rest_server import ServeProcess

UNBLOCK = '"ruleUnblock": {"tokens": [{"timelock": '
GUIDES = Path(__file__).parents[2] / "docs" / "guide"


def commands(page: str) -> str:
    """Every line of a guide that is to be typed, in order."""
    return "\n".join(re.findall(r"^```sh\n(.*?)^```$", (GUIDES / page).read_text(), re.DOTALL | re.MULTILINE))


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.rule("R12")
@pytest.mark.rule("R26")
def test_the_timestamps_workflow_by_hand_r12_r26(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = commands("timestamps.md")
    # Five commands must be through before the waiting period for a use is over, on a busy machine, too.
    typed = script.replace('"timelock": 20', '"timelock": 30').replace(f"{UNBLOCK}30", f"{UNBLOCK}5")
    assert typed.count('"timelock": 30') == 2
    assert f"{UNBLOCK}5," in typed
    monkeypatch.setenv("KEYTURN_GENERAL__ALLOWSECONDSINPOLICIES", "true")
    place = tmp_path / "officers"
    place.mkdir()
    with ServeProcess(tmp_path / "vault") as vault:
        here = f"URL={vault.url}"
        assert "URL=http://127.0.0.1:8080" in typed
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", typed.replace("URL=http://127.0.0.1:8080", here)],
            cwd=place,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "XDG_CONFIG_HOME": str(place),
                "LC_ALL": "C.UTF-8",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=380,
        )
    made = (place / "key.json").read_text() if (place / "key.json").is_file() else "no key was made"
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{made}"
    told = done.stdout
    for milestone in (
        "The policy is accepted, with no warnings.",
        "not later than 2 minutes 59 seconds after the HSM's timestamp",
        "The device certificate is the same on both sides",
        "verified under the pinned device certificate",
        "An approval cannot be recalled, except by withdrawing it",
        '"closesAt"',
        "Verified OK",
        "Withdrawn:",
        "\nPENDING\n",
        "\nAPPROVED\n",
        "it signs, decrypts and unwraps for nobody",
        "the key 'treasury' is blocked",
    ):
        assert milestone in told, f"{milestone}\n{told}"
        told = told[told.index(milestone) :]
    assert told.rstrip().endswith("EXECUTED")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.rule("R18")
@pytest.mark.rule("R20")
def test_a_key_is_accepted_and_its_twin_is_seen_r18_r20(tmp_path: Path) -> None:
    typed = commands("acceptance.md")
    place = tmp_path / "officer"
    place.mkdir()
    with ServeProcess(tmp_path / "vault") as vault:
        assert "URL=http://127.0.0.1:8080" in typed
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", typed.replace("URL=http://127.0.0.1:8080", f"URL={vault.url}")],
            cwd=place,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "XDG_CONFIG_HOME": str(place),
                "LC_ALL": "C.UTF-8",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    told = " ".join(done.stdout.split())
    for milestone in (
        "The device certificate is the same on both sides",
        "generated in this HSM",
        "NOT ACCEPTED",
        "unknown",
        "1 of those who may approve are not in your address book",
        "Accepted. It stands in your address book",
        "approvers: Ada Ben",
        "accepted by you on",
        "ANOTHER KEY than the one that you accepted",
        "exit code 3",
    ):
        assert milestone in told, f"{milestone}\n{done.stdout}{done.stderr}"
        told = told[told.index(milestone) :]
