"""The connected broker remembers the newest thing that its HSM signed, and shows it at every connection (R6)."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.broker.witness import WITNESS_FILE, Seen, WitnessBook, seen
from keyturn.client.connection import ServerRefusedError
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.client import HsmClient
from keyturn.ska.attestation import render_attestation
from keyturn.ska.receipt import encode_receipt
from keyturn_testing.attested import example_attestation, officer
from keyturn_testing.keys import create_ec
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.receipts import example_receipt
from keyturn_testing.rest_server import ServeProcess, approve, b64, create_ec_key, fetch

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.client import RestClient
    from keyturn_testing.hsm_process import HsmProcess

pytestmark = pytest.mark.rule("R6")

ADA = Officer("ada")
PATIENCE = 60.0
"""Seconds after which a test gives up on a loaded machine; nothing is measured by it."""


def ask(rest: RestClient, label: str) -> str:
    return rest.sign({"payload": b64(b"pay"), "signKeyName": label, "signatureAlgorithm": "SHA256_WITH_ECDSA"})


def signed(**changes: Any) -> protocol.Signed:
    return protocol.Signed(b"signature", encode_receipt(example_receipt(**changes)), b"its signature")


def test_r6_requests_wait_while_the_store_is_an_older_one_and_go_on_when_it_is_accepted(tmp_path: Path) -> None:
    store, aside = tmp_path / "data" / "hsm", tmp_path / "copy"
    with ServeProcess(tmp_path / "data") as server:
        with server.client() as rest:
            create_ec_key(rest, "vault", make_policy(quorum(1, ADA)))
        server.end(signal.SIGTERM)
        shutil.copytree(store, aside)
        server.start()
        with server.client() as rest:
            create_ec_key(rest, "later", None)
            assert rest.version_info()["rolledBack"] is False
        server.end(signal.SIGTERM)
        # Of all that the broker and the HSM know, only the HSM's store is put back.
        shutil.rmtree(store)
        shutil.copytree(aside, store)
        server.start()
        assert "put back to an older state" in server.errors
        with server.client() as rest:
            assert rest.version_info()["rolledBack"] is True
            request = ask(rest, "vault")
            approve(rest, ADA, fetch(rest, ADA)[0])
            waiting = rest.request(request)
            assert waiting["status"] not in {"EXECUTED", "FAILED"}
            body = {"payload": b64(b"x"), "signKeyName": "vault", "signatureAlgorithm": "SHA256_WITH_ECDSA"}
            with pytest.raises(ServerRefusedError) as refused:
                rest.execute_offline_input({"signRequest": body})
            assert (refused.value.code, refused.value.refusal) == (ErrorCode.IN_HSM, "store.rolled-back")
            accepted = subprocess.run(
                [*(sys.executable, "-m", "keyturn", "hsm", "rollback", "accept", "--yes"), "--data-dir", str(store)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert accepted.returncode == 0, accepted.stderr
            deadline = time.monotonic() + PATIENCE
            while rest.request(request)["status"] != "EXECUTED":
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert rest.version_info()["rolledBack"] is False
            assert rest.version_info()["acceptedRollbacks"] == 1


async def test_r6_the_newest_is_shown_again_on_every_new_line(hsm: HsmProcess, tmp_path: Path) -> None:
    book = WitnessBook.open(tmp_path)
    client = await HsmClient.connect(hsm.address, witnesses=book)
    try:
        await create_ec(client, "first")
        first = book.newest()
        assert first is not None
        assert first.kind == "attestation"
        await create_ec(client, "second")
        assert book.newest() != first
        await client.attest("first")
        assert book.newest() != first  # Attesting an older key does not make anything newer older again.
        hsm.restart()
        with pytest.raises(KeyturnError, match="line to the HSM"):
            await client.labels()
        assert "second" in await client.labels()
        assert not (await client.info()).rolled_back
    finally:
        await client.close()
        book.close()
    again = WitnessBook.open(tmp_path)
    assert again.newest() == book.newest()
    assert (tmp_path / WITNESS_FILE).stat().st_mode & 0o777 == 0o600


async def test_r6_another_hsm_does_not_take_it_and_the_operator_is_told_once(
    hsm: HsmProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    book = WitnessBook(tmp_path / WITNESS_FILE, seen("receipt", *_receipt(state_counter=10**6)))
    client = await HsmClient.connect(hsm.address, witnesses=book)
    assert not (await client.info()).rolled_back
    assert caplog.text.count("another HSM than before") == 1
    await create_ec(client, "for-the-other-hsm")
    newest = book.newest()
    assert newest is not None
    assert newest.kind == "attestation"  # Of the HSM that is there now.
    await client.close()
    book.close()


def _receipt(**changes: Any) -> tuple[bytes, bytes]:
    return encode_receipt(example_receipt(**changes)), b"no signature"


def test_r6_what_is_newer_is_kept() -> None:
    def at(epoch: int, counter: int) -> Seen:
        found = seen("receipt", *_receipt(restore_epoch=epoch, state_counter=counter))
        assert found is not None
        return found

    assert at(0, 5).follows(None)
    assert at(0, 6).follows(at(0, 5))
    assert not at(0, 5).follows(at(0, 5))
    assert not at(0, 5).follows(at(0, 6))
    assert at(1, 0).follows(at(0, 6))
    assert not at(0, 6).follows(at(1, 0))
    other = seen("receipt", *_receipt(instance_id="00000000-0000-4000-8000-000000000000", state_counter=0))
    assert other is not None
    assert other.follows(at(7, 7))
    assert seen("receipt", b"garbage", b"") is None
    assert seen("attestation", b"garbage", b"") is None
    # Texts of each version count, by what they know.
    old = seen("attestation", render_attestation(example_attestation()).encode(), b"")
    new = seen(
        "attestation",
        render_attestation(
            example_attestation(receipt_key=officer(104), store_counter=23, accepted_rollbacks=0)
        ).encode(),
        b"",
    )
    assert old is not None
    assert new is not None
    assert (old.state_counter, new.state_counter) == (17, 23)


async def test_r6_receipts_of_refusals_count_and_a_damaged_file_is_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    book = WitnessBook.open(tmp_path)
    book.note(protocol.Done())
    book.note(protocol.Signed(b"without a receipt"))
    assert book.newest() is None
    book.note(signed(state_counter=4))
    refusal = encode_receipt(example_receipt(state_counter=5))
    book.note(protocol.Refused("IN_HSM", "some.word", "a message", receipt=refusal, receipt_signature=b"s"))
    newest = book.newest()
    assert newest is not None
    assert newest.evidence == refusal
    book.close()
    for damaged in ("", "{", "[]", json.dumps({"kind": "receipt"}), json.dumps({"kind": 1, "evidence": "?"})):
        (tmp_path / WITNESS_FILE).write_text(damaged)
        assert WitnessBook.open(tmp_path).newest() is None
        assert "cannot be read" in caplog.text
        caplog.clear()
