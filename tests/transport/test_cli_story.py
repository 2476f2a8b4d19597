"""The courier's day with real servers and the real HSM: out by paper, back by paper, with losses and refusals."""

from __future__ import annotations

import base64
import json
import random
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keyturn.errors import ErrorCode, KeyturnError
from keyturn_testing.courier_world import ADA, BEN, EVE, LABEL, PAYLOAD, World, courier_world, ok, run
from keyturn_testing.officers import make_policy, quorum
from keyturn_testing.rest_server import approve, create_ec_key, fetch, policy_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with courier_world(tmp_path_factory.mktemp("gap")) as made:
        yield made


def test_a_signature_goes_out_and_back_on_paper_with_a_lost_page(world: World, tmp_path: Path) -> None:
    request_id = world.request(ADA, BEN)
    out = world.export(request_id, "--qr", tmp_path / "out", "--max-version", 15)
    drawn = out["written"]["qr"]
    assert drawn["parts"] > 2
    assert drawn["spares"] == 2
    sorted((tmp_path / "out").glob("part-*.png"))[1].unlink()

    done = ok("import", *world.at_vault(tmp_path / "out", "--qr", tmp_path / "back"))
    assert done["requestId"] == request_id
    assert done["words"] == out["words"], "both sides read the same words"
    assert done["request"]["payload"]["shown"] == PAYLOAD.decode()
    assert [approval["problems"] for approval in done["request"]["approvals"]] == [[], []]
    assert world.status(request_id)["status"] == "PENDING"

    back = ok("import", *world.at_office(*sorted((tmp_path / "back").glob("*.png"), reverse=True)))
    assert back["result"] == done["answer"]["result"]
    final = world.status(request_id)
    assert final["status"] == "EXECUTED"
    key = load_der_public_key(world.public_key)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(base64.b64decode(final["result"]), PAYLOAD, ec.ECDSA(hashes.SHA256()))


def test_the_printed_pages_alone_are_enough(world: World, tmp_path: Path) -> None:
    request_id = world.request(BEN, EVE)
    world.export(request_id, "--qr", tmp_path / "out")
    done = ok("import", *world.at_vault(tmp_path / "out" / "print", "--out", tmp_path / "back.ktb"))
    assert done["requestId"] == request_id
    ok("import", *world.at_office(tmp_path / "back.ktb"))
    assert world.status(request_id)["status"] == "EXECUTED"


@pytest.mark.rule("R29")
def test_r29_the_same_stick_twice_is_refused_and_a_new_export_is_not(world: World, tmp_path: Path) -> None:
    request_id = world.request(ADA, EVE)
    stick = tmp_path / "request.ktb"
    world.export(request_id, "--out", stick)
    ok("import", *world.at_vault(stick, "--out", tmp_path / "back.ktb"))
    again = run("import", *world.at_vault(stick, "--out", tmp_path / "twice.ktb"))
    assert again.status == 1
    assert "bundle.seen" in again.err
    assert not (tmp_path / "twice.ktb").exists()
    # The answer was lost on the way: export once more.
    world.export(request_id, "--out", stick)
    ok("import", *world.at_vault(stick, "--out", tmp_path / "back2.ktb"))
    ok("import", *world.at_office(tmp_path / "back2.ktb"))
    assert world.status(request_id)["status"] == "EXECUTED"
    assert "bundle.seen" in run("import", *world.at_office(tmp_path / "back2.ktb")).err


def test_too_few_approvals_are_told_before_the_journey_and_refused_by_the_hsm(world: World, tmp_path: Path) -> None:
    request_id = world.request(ADA)
    words = ("--url", world.office.url, "--request", request_id, "--data-dir", world.office.directory)
    early = run("export", *words, "--out", tmp_path / "early.ktb")
    assert early.status == 1
    assert "export.not-satisfied" in early.err
    out = world.export(request_id, "--out", tmp_path / "anyway.ktb", "--anyway")
    assert "will refuse" in out["notes"][0]

    refused = run("import", *world.at_vault(tmp_path / "anyway.ktb", "--out", tmp_path / "back.ktb"), "--json")
    assert refused.status == 4
    assert refused.json["refused"]["errorCode"] in {401, 701}
    assert refused.json["refused"]["refusal"] == "approvals.missing"
    assert "receipt" in refused.err
    assert refused.json["answer"]["refused"]["refusal"] == "approvals.missing"
    # The refusal travels back with the HSM's receipt; it can be cured, so that the request goes on waiting.
    told = ok("import", *world.at_office(tmp_path / "back.ktb"))
    assert (told["refused"]["refusal"], told["receipt"], told["status"]) == ("approvals.missing", True, "PENDING")
    assert "refused" in world.status(request_id)["failure"]

    # A refusal consumes nothing: with the second approval the journey succeeds.
    with world.office.client() as rest:
        (task,) = fetch(rest, BEN, requestId=request_id)
        approve(rest, BEN, task)
    world.export(request_id, "--out", tmp_path / "full.ktb")
    ok("import", *world.at_vault(tmp_path / "full.ktb", "--out", tmp_path / "back.ktb"))
    ok("import", *world.at_office(tmp_path / "back.ktb"))
    assert world.status(request_id)["status"] == "EXECUTED"


def test_missing_parts_are_told_and_nothing_happens(world: World, tmp_path: Path) -> None:
    request_id = world.request(ADA, BEN)
    out = world.export(request_id, "--qr", tmp_path / "out", "--max-version", 12, "--extra", 0)
    pages = sorted((tmp_path / "out").glob("part-*.png"))
    assert len(pages) == out["written"]["qr"]["parts"] > 3
    for lost in (pages[1], pages[2]):
        lost.rename(tmp_path / lost.name)
    done = run("import", *world.at_vault(tmp_path / "out", "--out", tmp_path / "back.ktb"), "--json")
    assert done.status == 3
    (message,) = done.json["messages"]
    assert message["missing"] == [2, 3]
    assert message["name"] == out["written"]["qr"]["name"]
    assert "missing simple parts: 2, 3" in done.err
    # With the pages found again it goes on.
    ok(
        "import",
        *world.at_vault(
            tmp_path / "out", tmp_path / pages[1].name, tmp_path / pages[2].name, "--out", tmp_path / "back.ktb"
        ),
    )


def test_pages_of_two_requests_in_one_folder_are_both_named(world: World, tmp_path: Path) -> None:
    requests = [world.request(ADA, BEN), world.request(ADA, BEN, payload=b"pay 7 to eve")]
    for at, request_id in enumerate(requests):
        world.export(request_id, "--qr", tmp_path / str(at), "--extra", 0)
        for page in (tmp_path / str(at)).glob("*.png"):
            (tmp_path / "mixed").mkdir(exist_ok=True)
            (tmp_path / "mixed" / f"{at}-{page.name}").write_bytes(page.read_bytes())
    done = run("import", *world.at_vault(tmp_path / "mixed", "--out", tmp_path / "back.ktb"))
    assert done.status == 1
    assert "ur.several-messages" in done.err
    for request_id in requests:
        assert request_id in done.err
    next((tmp_path / "mixed").glob("0-*.png")).unlink()
    shown = ok("show", tmp_path / "mixed", "--data-dir", world.vault.directory)
    assert shown["requestId"] == requests[1]
    assert any("Left aside" in note for note in shown["notes"])


def test_a_foreign_and_a_damaged_bundle_do_nothing(world: World, tmp_path: Path) -> None:
    request_id = world.request(ADA, BEN)
    stick = tmp_path / "request.ktb"
    world.export(request_id, "--out", stick)
    good = stick.read_bytes()
    stick.write_bytes(good[:200] + bytes([good[200] ^ 1]) + good[201:])
    damaged = run("import", *world.at_vault(stick, "--out", tmp_path / "back.ktb"))
    assert (damaged.status, "bundle.bad-signature" in damaged.err) == (1, True)
    stick.write_bytes(good[:-1])
    assert "bundle.malformed" in run("import", *world.at_vault(stick, "--out", tmp_path / "back.ktb")).err

    stranger = tmp_path / "stranger"
    ok(
        "trust",
        "--data-dir",
        stranger,
        "--pin",
        ok("trust", "--data-dir", world.vault.directory)["publicKey"],
        "--name",
        "vault",
        "--yes",
    )
    (tmp_path / "body.json").write_text(json.dumps(world.status(request_id)["inputOfflineHsm"]))
    ok(
        "export",
        "--input",
        tmp_path / "body.json",
        "--kind",
        "request",
        "--request",
        request_id,
        "--out",
        tmp_path / "foreign.ktb",
        "--data-dir",
        stranger,
    )
    foreign = run("import", *world.at_vault(tmp_path / "foreign.ktb", "--out", tmp_path / "back.ktb"))
    assert (foreign.status, "bundle.foreign" in foreign.err) == (1, True)
    assert not (tmp_path / "back.ktb").exists()
    stick.write_bytes(good)
    ok("import", *world.at_vault(stick, "--out", tmp_path / "back.ktb"))


def test_a_person_looks_says_no_and_later_yes(world: World, tmp_path: Path) -> None:
    request_id = world.request(ADA, BEN)
    stick = tmp_path / "request.ktb"
    world.export(request_id, "--out", stick)
    words = ["import", *world.at_vault(stick, "--out", tmp_path / "back.ktb")]
    words.remove("--yes")
    no = run(*words, answer="n\n")
    assert no.status == 5
    for text in (LABEL, PAYLOAD.decode(), request_id, "sign with the key", "office", "Approvals: 2"):
        assert text in no.out
    assert not (tmp_path / "back.ktb").exists()
    yes = run(*words, answer="y\n")
    assert yes.status == 0, yes.err
    assert (tmp_path / "back.ktb").exists()


def test_where_the_answer_goes_must_be_said_before_anything_is_executed(world: World, tmp_path: Path) -> None:
    request_id = world.request(ADA, BEN)
    stick = tmp_path / "request.ktb"
    world.export(request_id, "--out", stick)
    assert run("import", *world.at_vault(stick)).status == 2
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "old.png").write_bytes(b"x")
    assert "export.folder-not-empty" in run("import", *world.at_vault(stick, "--qr", tmp_path / "used")).err
    ok("import", *world.at_vault(stick, "--qr", tmp_path / "fresh"))


def test_a_policy_change_takes_the_same_road(world: World, tmp_path: Path) -> None:
    with world.vault.client() as rest:
        create_ec_key(rest, "second", make_policy(use=quorum(1, ADA), modify=quorum(1, ADA)))
    ok(
        "export",
        "--url",
        world.vault.url,
        "--key",
        "second",
        "--out",
        tmp_path / "key.ktb",
        "--data-dir",
        world.vault.directory,
    )
    ok("import", *world.at_office(tmp_path / "key.ktb"))
    new = make_policy(use=quorum(2, ADA, BEN), modify=quorum(2, ADA, BEN))
    with world.office.client() as rest:
        request_id = rest.modify({"modifyKeyName": "second", "policy": policy_json(new, new=False)})
        (task,) = fetch(rest, ADA, requestId=request_id)
        approve(rest, ADA, task)
    world.export(request_id, "--qr", tmp_path / "out")
    done = ok("import", *world.at_vault(tmp_path / "out", "--out", tmp_path / "back.ktb"))
    assert done["request"]["operation"] == "modifyRequest"
    assert done["request"]["policy"]["ruleUse"]["tokens"][0]["groups"][0]["quorum"] == 2
    assert done["request"]["approvals"][0]["problems"] == []
    back = ok("import", *world.at_office(tmp_path / "back.ktb"))
    assert back["key"]["label"] == "second"
    assert world.status(request_id)["status"] == "EXECUTED"


def test_an_unreachable_server_refuses_nothing_and_the_stick_can_be_used_later(world: World, tmp_path: Path) -> None:
    request_id = world.request(ADA, BEN)
    stick = tmp_path / "request.ktb"
    world.export(request_id, "--out", stick)
    words = ["import", *world.at_vault(stick, "--out", tmp_path / "back.ktb")]
    words[words.index(world.vault.url)] = "http://127.0.0.1:9"
    assert run(*words).status == 1
    ok("import", *world.at_vault(stick, "--out", tmp_path / "back.ktb"))


def test_the_broker_draws_codes_that_the_vault_imports(world: World, tmp_path: Path) -> None:
    request_id = world.request(ADA, BEN)
    with world.office.client() as rest:
        images = rest.qr_codes(request_id, max_version=15, extra=1)
        assert rest.qr_codes(request_id, max_version=15, extra=1) == images, "the same page again"
    del images[1]
    for at, image in enumerate(images):
        (tmp_path / f"{at}.png").write_bytes(image)
    done = ok("import", *world.at_vault(tmp_path, "--out", tmp_path / "back.ktb"))
    assert done["requestId"] == request_id


@pytest.mark.rule("R29")
def test_r29_the_broker_does_not_draw_thousands_of_codes_for_one_question(world: World) -> None:
    payload = random.Random(1).randbytes(48_000)
    request_id = world.request(ADA, payload=payload)
    with world.office.client() as rest:
        with pytest.raises(KeyturnError, match="maxVersion") as refused:
            rest.qr_codes(request_id, max_version=5)
        assert refused.value.code is ErrorCode.VALIDATION_FAILED
        with pytest.raises(KeyturnError):
            rest.qr_codes(request_id, max_version=3)
        small = world.request(ADA)
        assert len(rest.qr_codes(small, max_version=5)) > 10
