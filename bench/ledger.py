"""What a million consumed statements cost a single-use key: the HSM's start, and each use, beside an empty ledger.

    .venv/bin/python bench/ledger.py

Two stores with one bound single-use key each, one of them with a million statements in its ledger, written as the HSM
writes them. Both HSM processes run at the same time; their uses (one approval with P-256 each, every use of its own,
durable) are measured in short turns, so that what else the machine does meets both alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release import Officer, policy

from keyturn.clock import SystemClock
from keyturn.hsm.client import HsmClient
from keyturn.hsm.records import SegmentRecord
from keyturn.hsm.segments import ENTRY, segment_of
from keyturn.hsm.store import Store
from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.bound_key import BoundKey
from keyturn.ska.messages import ApprovalToken, Authorization, encode_approval, encode_authorization
from keyturn.ska.policy import encode_policy
from keyturn.ska.signatures import wrap_signature
from keyturn.ska.statement import encode_statement

if TYPE_CHECKING:
    from collections.abc import Iterator

STATEMENTS = 1_000_000
USES = 100
"""Uses in one turn; a round has four of each."""
TURNS = 4
AT_ONCE = 16
ECDSA = "SHA256_WITH_ECDSA"
PASSPHRASE = b"only for measuring"


@contextmanager
def hsm(directory: Path, run: Path) -> Iterator[tuple[str, float]]:
    """An HSM process: its address, and the seconds from its start until it was ready."""
    passphrase = run / "passphrase"
    passphrase.write_bytes(PASSPHRASE)
    passphrase.chmod(0o600)
    words = ["--data-dir", str(directory), "--listen", f"unix:{run}/hsm.sock", "--admin-socket", f"{run}/admin.sock"]
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "keyturn", "hsm", "serve", "--json", *words, "--passphrase-file", str(passphrase)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        yield str(ready["address"]), time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(30)


async def make_key(address: str, officer: Officer) -> BoundKey:
    """A bound single-use key under one officer."""
    client = await HsmClient.connect(address)
    blob = encode_policy(policy([officer]))
    attributes = {"sign": True, "boundApprovals": True, "singleUse": True}
    made = await client.create(
        secrets.token_bytes(16), "k", "EC", curve_oid="1.2.840.10045.3.1.7", attributes=attributes, policy=blob
    )
    await client.close()
    attested = parse_attestation(made.xml)
    return BoundKey(attested.uuid, attested.public_key, blob)


def fill(directory: Path, key: BoundKey) -> None:
    """Put a million consumed statements into the ledger of a key whose HSM does not run."""
    segments: dict[bytes, list[bytes]] = {}
    now = int(time.time())
    for number in range(STATEMENTS):
        statement = sha256(b"statement %d" % number).digest()
        entry = statement + now.to_bytes(8, "big") + bytes(8) + statement[:16]
        assert len(entry) == ENTRY
        segments.setdefault(segment_of(statement), []).append(entry)
    store = Store.open(directory, PASSPHRASE, clock=SystemClock())
    # As scattered over the file as they come in life.
    for place in random.Random(1).sample(sorted(segments), len(segments)):
        with store.change() as change:
            change.put_segment(SegmentRecord(key.uuid, place, b"".join(sorted(segments[place]))))
    store.close()


def prepared(key: BoundKey, officer: Officer, count: int) -> list[tuple[str, bytes, bytes]]:
    """Request id, payload and approval of so many uses; signed before the clock starts."""
    uses = []
    for number in range(count):
        request, payload = str(uuid.uuid4()), b"payment %d" % number
        statement = encode_statement(key.sign(request, payload, ECDSA, ""))
        approval = encode_approval(ApprovalToken(Action.USE, b"k", None, None, statement))
        signature = wrap_signature(ECDSA, officer.sign(approval))
        uses.append((request, payload, encode_authorization(Authorization(approval, signature, officer.spki, None))))
    return uses


async def rate(address: str, uses: list[tuple[str, bytes, bytes]]) -> float:
    """Uses per second."""
    client = await HsmClient.connect(address)
    waiting = iter(uses)

    async def work() -> None:
        for request, payload, approval in waiting:
            await client.sign(secrets.token_bytes(16), "k", payload, ECDSA, approvals=[approval], request_id=request)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    seconds = time.perf_counter() - began
    await client.close()
    return len(uses) / seconds


def ledger_figures(scratch: Path, rounds: int) -> dict[str, Any]:
    """What was measured.

    Args:
        scratch: An empty directory, with a short path for sockets.
        rounds: How often the uses are measured.

    Returns:
        Name to figure.
    """
    officer = Officer()
    places = {name: (scratch / name, scratch / f"{name}-run") for name in ("empty", "full")}
    keys: dict[str, BoundKey] = {}
    for name, (directory, run) in places.items():
        run.mkdir(parents=True)
        Store.create(directory, PASSPHRASE, clock=SystemClock()).close()
        with hsm(directory, run) as (address, _):
            keys[name] = asyncio.run(make_key(address, officer))
    fill(places["full"][0], keys["full"])
    starts: dict[str, list[float]] = {"empty": [], "full": []}
    for _ in range(rounds):
        for name, (directory, run) in places.items():
            with hsm(directory, run) as (_, seconds):
                starts[name].append(seconds)
    spent = {"empty": 0.0, "full": 0.0}
    with hsm(*places["empty"]) as (empty, _), hsm(*places["full"]) as (full, _):
        for turn in range(rounds * TURNS):
            both = (("empty", empty), ("full", full))
            for name, address in both if turn % 2 else both[::-1]:
                spent[name] += USES / asyncio.run(rate(address, prepared(keys[name], officer, USES)))
    ready = {name: statistics.median(values) for name, values in starts.items()}
    return {
        "seconds until the HSM is ready (empty ledger)": round(ready["empty"], 2),
        "seconds until the HSM is ready (a million consumed statements)": round(ready["full"], 2),
        "single uses per second (empty ledger)": round(rounds * TURNS * USES / spent["empty"]),
        "single uses, a million consumed statements of an empty ledger": round(spent["empty"] / spent["full"], 3),
        "MB of the store with a million consumed statements": round(
            (places["full"][0] / "hsm.db").stat().st_size / 1e6, 1
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    with tempfile.TemporaryDirectory(prefix="ledger-") as scratch:
        print(json.dumps(ledger_figures(Path(scratch), parser.parse_args().rounds), indent=1))


if __name__ == "__main__":
    main()
