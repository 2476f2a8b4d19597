"""The courier fetches the HSM's time, and carries every action: from the command line, with real servers and HSM."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING

import pytest

from keyturn.clock import SystemClock, iso
from keyturn_testing.actions import all_approve, create_rsa_key, decrypt_body, oaep
from keyturn_testing.courier_world import ADA, BEN, EVE, World, courier_world, ok, run
from keyturn_testing.officers import make_policy, quorum
from keyturn_testing.rest_server import create_ec_key, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.ska.policy import Policy

HOUR = 3600
PROMPT = make_policy(use=quorum(1, ADA, BEN, timeout=2 * HOUR))
LOCKED = make_policy(use=quorum(1, ADA, BEN, timelock=HOUR))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with courier_world(tmp_path_factory.mktemp("gap")) as made:
        yield made


def add_key(world: World, tmp_path: Path, label: str, policy: Policy) -> None:
    """A key of the vault that the office knows, too."""
    with world.vault.client() as rest:
        create_ec_key(rest, label, policy)
    carry_key(world, tmp_path, label)


def carry_key(world: World, tmp_path: Path, label: str) -> None:
    file = tmp_path / f"{label}.ktb"
    ok("export", "--url", world.vault.url, "--key", label, "--out", file, "--data-dir", world.vault.directory)
    ok("import", *world.at_office(file))


def ask_signature(world: World, label: str) -> str:
    with world.office.client() as rest:
        return rest.sign({"signKeyName": label, "payload": "cGF5", "signatureAlgorithm": "SHA256_WITH_ECDSA"})


def fetch_the_time(world: World, tmp_path: Path, request_id: str) -> None:
    """There and back for the HSM's time."""
    world.export(request_id, "--out", tmp_path / "question.ktb")
    asked = ok("import", *world.at_vault(tmp_path / "question.ktb", "--out", tmp_path / "time.ktb"))
    assert asked["request"]["operation"] == "timestampRequest"
    told = ok("import", *world.at_office(tmp_path / "time.ktb"))
    assert told["timestamp"]["keyName"]


def test_the_time_is_fetched_then_approvals_then_the_signature(world: World, tmp_path: Path) -> None:
    add_key(world, tmp_path, "timed", PROMPT)
    request_id = ask_signature(world, "timed")
    with world.office.client() as rest:
        assert fetch(rest, ADA, requestId=request_id) == []
    # Out on paper, back on paper: the request for a timestamp.
    out = world.export(request_id, "--qr", tmp_path / "question")
    assert any("HSM's time" in note for note in out["notes"])
    words = ["import", *world.at_vault(tmp_path / "question", "--qr", tmp_path / "time")]
    words.remove("--yes")
    shown = run(*words, answer="y\n")
    assert shown.status == 0, shown.err
    # The ceremony begins with the HSM's clock; what is asked for is said before anything happens.
    assert shown.out.startswith("The HSM's clock: ")
    for text in ("sign the present time", "does nothing with the key", "timed", "Go on?"):
        assert text in shown.out
    told = run("import", *world.at_office(tmp_path / "time"))
    assert told.status == 0, told.err
    assert "have their tasks now" in told.out
    # Now there is something to approve, and the window is known before anybody travels again.
    with world.office.client() as rest:
        all_approve(rest, request_id, [ADA])
    out = world.export(request_id, "--out", tmp_path / "request.ktb")
    assert any("until before" in note for note in out["notes"])
    done = ok("import", *world.at_vault(tmp_path / "request.ktb", "--out", tmp_path / "back.ktb"))
    assert done["clock"][0].startswith("The HSM's clock: ")
    assert done["request"]["approvals"][0]["timestamp"]
    back = ok("import", *world.at_office(tmp_path / "back.ktb"))
    assert (back["receipt"], back["status"]) == (True, "EXECUTED")
    assert world.status(request_id)["receipt"]


def test_a_bundle_that_comes_too_early_is_kept_and_nothing_is_carried_back(world: World, tmp_path: Path) -> None:
    add_key(world, tmp_path, "locked", LOCKED)
    request_id = ask_signature(world, "locked")
    fetch_the_time(world, tmp_path, request_id)
    with world.office.client() as rest:
        all_approve(rest, request_id, [BEN])
    out = world.export(request_id, "--out", tmp_path / "request.ktb")
    assert any("from" in note and "wait in the vault" in note for note in out["notes"])
    for _ in range(2):  # It stays usable.
        early = run("import", *world.at_vault(tmp_path / "request.ktb", "--out", tmp_path / "back.ktb"))
        assert early.status == 4
        assert "approvals.too-early" in early.err
        assert "import it again when its time has come" in early.err
    assert not (tmp_path / "back.ktb").exists()


def test_the_server_draws_the_question_for_the_time_too(world: World, tmp_path: Path) -> None:
    add_key(world, tmp_path, "drawn", PROMPT)
    request_id = ask_signature(world, "drawn")
    codes = tmp_path / "codes"
    codes.mkdir()
    with world.office.client() as rest:
        for place, image in enumerate(rest.qr_codes(request_id)):
            (codes / f"{place}.png").write_bytes(image)
    shown = run("show", codes, "--data-dir", world.vault.directory)
    assert "sign the present time" in shown.out
    asked = ok("import", *world.at_vault(codes, "--out", tmp_path / "time.ktb"))
    assert asked["request"]["action"] == "use"
    assert asked["answer"]["timestampAnswer"]["timestampSignatureAlgorithm"] == "SHA256_WITH_ECDSA"


def test_an_answer_that_was_imported_is_not_taken_twice_and_a_later_one_not_at_all(
    world: World, tmp_path: Path
) -> None:
    add_key(world, tmp_path, "twice", PROMPT)
    request_id = ask_signature(world, "twice")
    world.export(request_id, "--out", tmp_path / "first.ktb")
    world.export(request_id, "--out", tmp_path / "second.ktb")
    for name in ("first", "second"):
        ok("import", *world.at_vault(tmp_path / f"{name}.ktb", "--out", tmp_path / f"{name}-time.ktb"))
        time.sleep(1.02 - time.time() % 1)  # Timestamps count in whole seconds.
    ok("import", *world.at_office(tmp_path / "first-time.ktb"))
    assert "bundle.seen" in run("import", *world.at_office(tmp_path / "first-time.ktb")).err
    later = run("import", *world.at_office(tmp_path / "second-time.ktb"))
    assert later.status == 4
    assert "timestamp.other" in later.err


def test_decrypted_data_comes_back_with_the_receipt_and_a_blocked_key_is_told_as_final(
    world: World, tmp_path: Path
) -> None:
    with world.vault.client() as rest:
        spki = create_rsa_key(rest, "opener", make_policy(use=quorum(1, ADA, EVE)))
    carry_key(world, tmp_path, "opener")
    inner = decrypt_body("opener", oaep(spki, b"the secret"))
    with world.office.client() as rest:
        request_id, late = rest.decrypt(inner), rest.decrypt(inner)
        all_approve(rest, request_id, [EVE])
        all_approve(rest, late, [EVE])
        block = rest.block({"blockKeyName": "opener"})
        all_approve(rest, block, [ADA])
    for name, each in (("decrypt", request_id), ("block", block)):
        world.export(each, "--out", tmp_path / f"{name}.ktb")
        ok("import", *world.at_vault(tmp_path / f"{name}.ktb", "--out", tmp_path / f"{name}-back.ktb"))
    world.export(late, "--out", tmp_path / "late.ktb")
    for name, each in (("decrypt", request_id), ("block", block)):
        assert ok("import", *world.at_office(tmp_path / f"{name}-back.ktb"))["status"] == "EXECUTED"
        assert world.status(each)["receipt"]
    assert base64.b64decode(world.status(request_id)["result"]) == b"the secret"

    refused = run("import", *world.at_vault(tmp_path / "late.ktb", "--out", tmp_path / "refusal.ktb"), "--json")
    assert (refused.status, refused.json["refused"]["refusal"]) == (4, "key.blocked")
    told = run("import", *world.at_office(tmp_path / "refusal.ktb"))
    assert told.status == 0, told.err
    assert "is FAILED" in told.out
    assert world.status(late)["status"] == "FAILED"
    assert iso(SystemClock().now())[:10] in world.status(late)["failure"]
