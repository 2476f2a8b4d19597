"""The embedded default: a process of its own, said to be no isolation, gone when its broker is gone."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keyturn.errors import KeyturnError
from keyturn.hsm.client import HsmClient
from keyturn.hsm.embedded import start_embedded
from keyturn_testing.keys import create_ec

CHEAP = ("--kdf-memory", "8192")

BROKER = """
import asyncio, json, sys
from pathlib import Path
from keyturn.hsm.embedded import start_embedded

async def main():
    hsm = await start_embedded(Path(sys.argv[1]), options=("--kdf-memory", "8192"))
    print(json.dumps({"pid": hsm.process.pid, "address": hsm.address}), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.rule("R1")
async def test_an_embedded_hsm_serves_and_says_that_it_is_not_isolated(tmp_path: Path) -> None:
    hsm = await start_embedded(tmp_path / "hsm", options=CHEAP)
    try:
        assert hsm.process.pid != os.getpid()
        assert hsm.isolation == "none"
        assert any("development default" in notice for notice in hsm.notices)
        assert any("isolation=none" in notice for notice in hsm.notices)
        client = await HsmClient.connect(hsm.address)
        assert (await client.info()).isolation == "none"
        assert "<isolation>none</isolation>" in (await create_ec(client, "k")).xml
        await client.close()
    finally:
        await hsm.stop()
    assert hsm.process.returncode == 0


async def test_its_passphrase_file_is_random_private_and_kept(tmp_path: Path) -> None:
    words = []
    for name in ("one", "two", "one"):
        hsm = await start_embedded(tmp_path / name, options=CHEAP)
        await hsm.stop()
        file = tmp_path / name / "passphrase"
        assert file.stat().st_mode & 0o777 == 0o600
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700
        words.append(file.read_bytes())
    assert words[0] == words[2] != words[1]
    assert len(words[0].strip()) >= 32


async def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(KeyturnError) as caught:
        await start_embedded(tmp_path / "hsm", options=("--kdf-memory", "1"))
    assert caught.value.refusal == "embedded.failed"
    hsm = await start_embedded(tmp_path / "hsm", options=CHEAP)
    await hsm.stop()


def test_a_broker_killed_takes_its_hsm_along_and_a_restart_works_at_once(tmp_path: Path) -> None:
    said: dict[str, int] = {}
    for _ in range(2):
        broker = subprocess.Popen(
            [sys.executable, "-c", BROKER, str(tmp_path / "hsm")], stdout=subprocess.PIPE, start_new_session=True
        )
        assert broker.stdout is not None
        said = json.loads(broker.stdout.readline())
        os.kill(broker.pid, signal.SIGKILL)
        broker.wait(10)
        broker.stdout.close()
    deadline = 100
    while Path(f"/proc/{said['pid']}").exists() and deadline:
        select.select([], [], [], 0.05)
        deadline -= 1
    assert deadline, "the HSM outlived its broker"
