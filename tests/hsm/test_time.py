"""The HSM's time in the real process: who signs it, and what happens when the machine's clock cannot be believed.

The machine's clock is not moved; the store's mark (the highest time used) is, between two runs, which is the same to
the HSM.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from keyturn.errors import ErrorCode
from keyturn.hsm import admin
from keyturn.hsm.client import HsmClient, HsmRefusedError
from keyturn.ska.actions import Action
from keyturn.ska.messages import ApprovalToken, decode_timestamp
from keyturn.ska.signatures import wrap_signature
from keyturn_testing.hsm_process import PASSPHRASE, HsmProcess
from keyturn_testing.hsm_time import move_mark
from keyturn_testing.keys import create_ec, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.hsm.protocol import Info, Stamped

ADA = Officer("ada")
WITHIN_AN_HOUR = make_policy(quorum(1, ADA, timeout=3600))
DAY = 86_400.0
ECDSA = "SHA256_WITH_ECDSA"


async def stamp(hsm: HsmProcess, label: str = "timed") -> Stamped:
    """A timestamp for `pay`."""
    client = await HsmClient.connect(hsm.address)
    try:
        return await client.stamp(label, Action.USE, b"pay")
    finally:
        await client.close()


async def sign(hsm: HsmProcess, stamped: Stamped | None, label: str = "timed") -> bytes:
    """Sign `pay` with ADA's approval."""
    client = await HsmClient.connect(hsm.address)
    approvals = []
    if stamped is not None:
        signature = wrap_signature(stamped.algorithm, stamped.signature)
        approvals = [ADA.approve(ApprovalToken(Action.USE, label.encode(), stamped.timestamp, signature, b"pay"))]
    try:
        return await client.sign(operation_id(), label, b"pay", ECDSA, approvals=approvals)
    finally:
        await client.close()


async def make_keys(hsm: HsmProcess) -> None:
    """`timed`, whose use has a time limit, and `plain` without a policy."""
    client = await HsmClient.connect(hsm.address)
    await create_ec(client, "timed", WITHIN_AN_HOUR)
    await create_ec(client, "plain")
    await client.close()


def keyturn(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "keyturn", *words], capture_output=True, text=True, check=False)


async def test_without_a_root_key_store_there_is_no_integrity_key_and_no_timestamp(tmp_path: Path) -> None:
    """The documented error 702, with the cure; and after the cure it works."""
    with HsmProcess(tmp_path / "hsm", passphrase=None, options=("--sealed",)) as hsm:
        with pytest.raises(HsmRefusedError, match="keyturn hsm unseal --create") as refused:
            await stamp(hsm)
        assert (refused.value.code, refused.value.refusal) == (
            ErrorCode.CREATION_INTEGRITY_KEY,
            "integrity-key.no-root-key-store",
        )
        assert (ErrorCode.CREATION_INTEGRITY_KEY.number, ErrorCode.CREATION_INTEGRITY_KEY.reason) == (
            702,
            "res.error.creation.integrity.key",
        )
        await _unseal(hsm)
        await make_keys(hsm)
        stamped = await stamp(hsm)
        assert decode_timestamp(stamped.timestamp).key_name == stamped.key_name == "timestamp-key"
        assert await sign(hsm, stamped)
        # Sealed again it is there, and only sealed.
        hsm.restart()
        with pytest.raises(HsmRefusedError) as refused:
            await stamp(hsm)
        assert (refused.value.code, refused.value.refusal) == (ErrorCode.HSM_FAILURE, "hsm.sealed")


async def _unseal(hsm: HsmProcess) -> None:
    administrator = await admin.AdminClient.connect(hsm.admin_socket)
    await administrator.call(admin.Unseal(PASSPHRASE, create=True), admin.AdminDone)
    await administrator.close()


@pytest.mark.parametrize(
    ("moved", "condition", "confirmed_with"),
    [(3600.0, "behind", ("--backwards",)), (-91 * DAY, "ahead", ())],
    ids=["clock behind", "clock ahead"],
)
async def test_time_bound_work_waits_for_a_clock_that_can_be_believed(
    tmp_path: Path, moved: float, condition: str, confirmed_with: tuple[str, ...]
) -> None:
    with HsmProcess(tmp_path / "hsm") as hsm:
        await make_keys(hsm)
        early = await stamp(hsm)
        assert await sign(hsm, early)
        move_mark(hsm, moved)
        hsm.start()
        for refused_call in (lambda: stamp(hsm), lambda: sign(hsm, early)):
            with pytest.raises(HsmRefusedError) as refused:
                await refused_call()
            assert (refused.value.code, refused.value.refusal) == (ErrorCode.HSM_FAILURE, f"clock.{condition}")
            assert hsm.last_refusal()["refusal"] == f"clock.{condition}"
        # What no clock decides goes on.
        assert await sign(hsm, None, "plain")

        socket = ("--admin-socket", str(hsm.admin_socket))
        said = await asyncio.to_thread(keyturn, "hsm", "status", *socket)
        assert f"clock {condition}: " in said.stdout
        assert "highest time used" in said.stdout
        assert "keyturn hsm clock confirm" in said.stdout
        found = json.loads((await asyncio.to_thread(keyturn, "hsm", "status", "--json", *socket)).stdout)
        assert found["clock_mark"] - found["clock_reading"] == pytest.approx(moved, abs=30)

        # Going back must be said; a leap forward is confirmed as it is.
        if confirmed_with:
            plainly = await asyncio.to_thread(keyturn, "hsm", "clock", "confirm", "--yes", *socket)
            assert (plainly.returncode, "clock.behind" in plainly.stderr) == (1, True)
        done = await asyncio.to_thread(keyturn, "hsm", "clock", "confirm", "--yes", *confirmed_with, *socket)
        assert done.returncode == 0, done.stderr
        assert hsm.decisions()[-1]["kind"] == "clock-confirm"
        assert await sign(hsm, await stamp(hsm))


@pytest.mark.parametrize(
    ("moved", "strict", "wide"),
    [
        (1800.0, (), ("--clock-tolerance", "3600")),
        (-2 * DAY, ("--clock-bound", "86400"), ()),
        (-91 * DAY, (), ("--clock-bound", str(92 * DAY))),
    ],
    ids=["tolerance", "a day as advised", "bound"],
)
async def test_what_the_clock_may_be_off_is_a_setting(
    tmp_path: Path, moved: float, strict: tuple[str, ...], wide: tuple[str, ...]
) -> None:
    with HsmProcess(tmp_path / "hsm") as hsm:
        await make_keys(hsm)
        move_mark(hsm, moved)
        hsm.options = strict
        hsm.start()
        with pytest.raises(HsmRefusedError, match="clock"):
            await stamp(hsm)
        hsm.options = wide
        hsm.restart()
        assert await sign(hsm, await stamp(hsm))


async def test_the_broker_is_told_both_times_and_all_integrity_keys(tmp_path: Path) -> None:
    with HsmProcess(tmp_path / "hsm") as hsm:
        before = await _info(hsm)
        assert before.clock == pytest.approx(time.time(), abs=30)
        assert before.clock_mark <= before.clock
        assert [(name, spki, retired) for name, spki, retired in before.integrity_keys] == [
            ("timestamp-key", before.integrity_key, None)
        ]
        hsm.options = ("--timestamp-key-name", "timestamp-key-2")
        hsm.restart()
        after = await _info(hsm)
        (old, new) = after.integrity_keys
        assert (old[:2], new) == (
            ("timestamp-key", before.integrity_key),
            ("timestamp-key-2", after.integrity_key, None),
        )
        assert old[2] == pytest.approx(time.time(), abs=60)
        assert after.receipt_key == before.receipt_key != b""


async def _info(hsm: HsmProcess) -> Info:
    client = await HsmClient.connect(hsm.address)
    try:
        return await client.info()
    finally:
        await client.close()
