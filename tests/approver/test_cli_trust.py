"""`keyturn trust show | confirm`: two sides, one comparison of words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.approver.first_trust import certificate_pem
from keyturn.errors import ErrorCode
from keyturn_testing.approval_tasks import PaperHsm, b64
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from approver.conftest import Officers, TaskServer

HSM = PaperHsm()


@pytest.fixture
def offline(task_server: TaskServer) -> TaskServer:
    """The HSM's side, with one key."""
    xml, signature = HSM.attest(make_policy(quorum(1, Officer("ada"))))
    task_server.answers |= {
        "/v1/attestation": {"attestationCertificateChain": [certificate_pem(HSM.certificate).decode()]},
        "/v1/key": ["treasury"],
        "/v1/key/attributes": {"xml": xml, "json": {}, "xmlSignature": b64(signature), "attestationKeyName": "a-1"},
    }
    return task_server


def shown(officers: Officers, offline: TaskServer) -> dict[str, Any]:
    """What the offline side prints, with the files it writes to be carried over."""
    views = officers.run(
        "trust", "show", "--url", offline.url, "--out", officers.home / "device.pem",
        "--attributes-out", officers.home / "attributes.json", "--json",
    ).json()  # fmt: skip
    return {view["what"]: " ".join(view["words"]) for view in views}


def test_both_sides_compare_and_the_certificate_is_pinned(officers: Officers, offline: TaskServer) -> None:
    words = shown(officers, offline)
    pinned = officers.home / "pinned.pem"
    outcome = officers.run(
        "trust", "confirm", "--cert", officers.home / "device.pem", "--attributes", officers.home / "attributes.json",
        "--out", pinned, typed=f"{words['device certificate']}\n{words['integrity key'].upper()}\n",
    )  # fmt: skip
    assert outcome.code == 0
    assert "same on both sides" in outcome.out
    assert pinned.read_bytes() == certificate_pem(HSM.certificate)
    # Nothing is given away before it is typed: comparing must not become a nod.
    assert words["device certificate"] not in outcome.err.split(":")[0]


def test_words_on_the_command_line_serve_as_well(officers: Officers, offline: TaskServer) -> None:
    words = shown(officers, offline)
    described = officers.run(
        "trust", "confirm", "--cert", officers.home / "device.pem", "--attributes", officers.home / "attributes.json",
        "--words", words["device certificate"], "--integrity-words", words["integrity key"],
        "--out", officers.home / "pinned.pem", "--json",
    ).json()  # fmt: skip
    assert [view["what"] for view in described["compared"]] == ["device certificate", "integrity key"]


def test_a_certificate_swapped_on_the_way_is_refused_and_nothing_is_pinned(
    officers: Officers, offline: TaskServer
) -> None:
    words = shown(officers, offline)
    (officers.home / "swapped.pem").write_bytes(certificate_pem(PaperHsm().certificate))
    pinned = officers.home / "pinned.pem"
    confirm = ("--words", words["device certificate"], "--out", pinned)
    outcome = officers.run("trust", "confirm", "--cert", officers.home / "swapped.pem", *confirm)
    assert outcome.refusal == "first-trust.words-differ"
    assert not pinned.exists()
    assert officers.run("trust", "confirm", "--cert", officers.home / "device.pem", *confirm).code == 0
    assert officers.run("trust", "confirm", "--cert", officers.home / "device.pem", *confirm).refusal == "file.exists"


def test_an_integrity_key_swapped_on_the_way_is_refused(officers: Officers, offline: TaskServer) -> None:
    words = shown(officers, offline)
    attributes = json.loads((officers.home / "attributes.json").read_text())
    other_xml, other_signature = PaperHsm().attest(None)
    swapped = officers.home / "swapped.json"
    # The device signed this too, for another integrity key: only the words tell.
    swapped.write_text(json.dumps(attributes | {"xml": other_xml, "xmlSignature": b64(other_signature)}))
    confirm = (
        "--words", words["device certificate"], "--integrity-words", words["integrity key"],
        "--cert", officers.home / "device.pem", "--out", officers.home / "pinned.pem",
    )  # fmt: skip
    assert officers.run("trust", "confirm", *confirm, "--attributes", swapped).refusal == "first-trust.words-differ"
    assert not (officers.home / "pinned.pem").exists()
    assert officers.run("trust", "confirm", *confirm, "--attributes", officers.home / "attributes.json").code == 0


def test_the_carried_files_show_the_same_words_on_the_online_side(officers: Officers, offline: TaskServer) -> None:
    words = shown(officers, offline)
    text = officers.run(
        "trust", "show", "--cert", officers.home / "device.pem", "--attributes", officers.home / "attributes.json"
    ).out
    for number, word in enumerate(words["device certificate"].split(), 1):
        assert f"{number:2} {word}" in text
    assert "integrity key: integrity-1" in text


def test_attributes_that_are_no_json_are_refused_by_name(officers: Officers, offline: TaskServer) -> None:
    shown(officers, offline)
    broken = officers.home / "broken.json"
    broken.write_text((officers.home / "attributes.json").read_text()[:-1])
    show = ("trust", "show", "--cert", officers.home / "device.pem", "--attributes")
    outcome = officers.run(*show, broken)
    assert outcome.refusal == "first-trust.attributes"
    assert outcome.error is not None
    assert outcome.error.code is ErrorCode.INVALID_JSON
    assert officers.run(*show, officers.home / "attributes.json").code == 0


def test_an_hsm_without_keys_shows_its_certificate_and_says_what_is_missing(
    officers: Officers, offline: TaskServer
) -> None:
    offline.answers["/v1/key"] = []
    text = officers.run("trust", "show", "--url", offline.url).out
    assert "device certificate" in text
    assert "once a key exists" in text


@pytest.mark.parametrize(
    "words",
    [
        ("show",),
        ("show", "--url", "http://127.0.0.1:1", "--cert", "x"),
        ("confirm", "--cert", "x", "--integrity-words", "able", "--out", "y"),
    ],
)
def test_unfitting_options_are_told_so(officers: Officers, words: tuple[str, ...]) -> None:
    assert officers.run("trust", *words).code == 2


def test_a_damaged_attributes_file_is_refused(officers: Officers, offline: TaskServer) -> None:
    shown(officers, offline)
    (officers.home / "broken.json").write_text("{")
    files = ("--cert", officers.home / "device.pem", "--attributes", officers.home / "broken.json")
    assert officers.run("trust", "show", *files).refusal == "first-trust.attributes"
