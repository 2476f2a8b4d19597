"""A bundle brings something that the offline HSM signed itself; so a store that was put back is found out (R6)."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.broker.witness import WITNESS_FILE
from keyturn.client.connection import ServerRefusedError
from keyturn.errors import ErrorCode, FormatError
from keyturn.transport.bundle import REQUEST, Bundle
from keyturn.transport.contents import RequestContents, read_contents
from keyturn_testing.courier_world import ADA, BEN, LABEL, World, courier_world, ok, run
from keyturn_testing.rest_server import create_ec_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.rule("R6")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with courier_world(tmp_path / "gap") as made:
        yield made


def carry_key(world: World, tmp_path: Path, label: str) -> None:
    file = tmp_path / f"{label}.ktb"
    ok("export", "--url", world.vault.url, "--key", label, "--out", file, "--data-dir", world.vault.directory)
    ok("import", *world.at_office(file))


def test_r6_the_office_knows_more_than_the_vaults_store(world: World, tmp_path: Path) -> None:
    store, aside = world.vault.directory / "hsm", tmp_path / "copy"
    world.vault.end(signal.SIGTERM)
    shutil.copytree(store, aside)
    world.vault.start()
    with world.vault.client() as rest:
        create_ec_key(rest, "later", None)
    carry_key(world, tmp_path, "later")
    # Somebody puts the whole vault back: the HSM's store, and what the vault's broker remembers.
    world.vault.end(signal.SIGTERM)
    shutil.rmtree(store)
    shutil.copytree(aside, store)
    (world.vault.directory / WITNESS_FILE).unlink()
    world.vault.start()
    with world.vault.client() as rest:
        assert rest.version_info()["rolledBack"] is False

    request_id = world.request(ADA, BEN)
    world.export(request_id, "--out", tmp_path / "request.ktb")
    for _ in range(2):  # It stays usable.
        stopped = run("import", *world.at_vault(tmp_path / "request.ktb", "--out", tmp_path / "back.ktb"))
        assert stopped.status == 4
        assert "STORE WAS PUT BACK" in stopped.err
        assert "store.rolled-back" in stopped.err
        assert "import it again" in stopped.err
    assert not (tmp_path / "back.ktb").exists()
    accepted = subprocess.run(
        [*(sys.executable, "-m", "keyturn", "hsm", "rollback", "accept", "--yes"), "--data-dir", str(store)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert accepted.returncode == 0, accepted.stderr
    done = run("import", *world.at_vault(tmp_path / "request.ktb", "--out", tmp_path / "back.ktb"))
    assert done.status == 0, done.err
    # The signature itself still counts: its key is the registered one, and its receipt names the request.
    assert ok("import", *world.at_office(tmp_path / "back.ktb"))["status"] == "EXECUTED"


def test_r6_the_newest_that_is_known_travels_and_an_honest_store_takes_it(world: World, tmp_path: Path) -> None:
    with world.office.client() as rest:
        before = rest.hsm_witness(LABEL)
        assert set(before) == {"xml", "xmlSignature"}
    request_id = world.request(ADA, BEN)
    world.export(request_id, "--out", tmp_path / "request.ktb")
    done = ok("import", *world.at_vault(tmp_path / "request.ktb", "--out", tmp_path / "back.ktb"))
    assert done["said"].startswith("The HSM has done it")
    ok("import", *world.at_office(tmp_path / "back.ktb"))
    with world.office.client() as rest, world.vault.client() as vault:
        after = rest.hsm_witness(LABEL)
        assert set(after) == {"receipt", "receiptSignature"}  # As new, and smaller.
        assert vault.show_hsm_witness(after) is False
        assert vault.show_hsm_witness(before) is False
        assert vault.show_hsm_witness(vault.hsm_witness(LABEL)) is False
        for wrong, code, word in (
            ({**after, "receiptSignature": "AAAA"}, ErrorCode.INVALID_SIGNATURE, "witness.not-genuine"),
            ({**after, **before}, ErrorCode.VALIDATION_FAILED, "witness.ambiguous"),
            ({"xml": before["xml"]}, ErrorCode.VALIDATION_FAILED, "witness.ambiguous"),
            ({}, ErrorCode.VALIDATION_FAILED, "witness.ambiguous"),
        ):
            with pytest.raises(ServerRefusedError) as refused:
                vault.show_hsm_witness(wrong)
            assert (refused.value.code, refused.value.refusal) == (code, word)
        with pytest.raises(ServerRefusedError) as refused:
            rest.show_hsm_witness(after)
        assert refused.value.refusal == "profile.air-gapped"
        with pytest.raises(ServerRefusedError) as refused:
            rest.hsm_witness("unknown")
        assert refused.value.code is ErrorCode.KEY_NOT_EXISTENT


def test_a_witness_is_no_part_of_what_is_executed() -> None:
    inner = {"signKeyName": "treasury", "payload": "cGF5", "signatureAlgorithm": "SHA256_WITH_ECDSA"}

    def contents(**more: Any) -> RequestContents:
        body = json.dumps({"signRequest": inner, **more}).encode()
        bundle = Bundle(kind=REQUEST, request_id="4f0e", sender=b"", recipient=None, sequence=1, body=body)
        found = read_contents(bundle)
        assert isinstance(found, RequestContents)
        return found

    carried = contents(hsmWitness={"receipt": "AAAA", "receiptSignature": "AAAA"})
    assert carried.body == {"signRequest": inner} == contents().body
    assert carried.witness == {"receipt": "AAAA", "receiptSignature": "AAAA"}
    assert contents().witness is None
    wrongs: list[dict[str, Any]] = [{"hsmWitness": "text"}, {"other": {}}]
    for wrong in wrongs:
        with pytest.raises(FormatError):
            contents(**wrong)
