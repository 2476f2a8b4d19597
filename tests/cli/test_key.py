"""`keyturn key`: a person accepts a key by its attestation, and is told when a key is not what they accepted (R20)."""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from cli.conftest import Done
from keyturn.approver.address_book import AddressBook
from keyturn.approver.first_trust import certificate_pem
from keyturn.cli.main import root
from keyturn.errors import KeyturnError
from keyturn.ska.approver_keys import load_approver_key
from keyturn_testing.approval_tasks import PaperHsm, b64
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import ServeProcess, create_ec_key, policy_json

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.ska.policy import Policy

pytestmark = pytest.mark.rule("R20")

ADA, BEN = Officer("ada"), Officer("ben", "ED")
POLICY = make_policy(quorum(2, ADA, BEN))


@cache
def paper() -> PaperHsm:
    return PaperHsm()


def fingerprint(officer: Officer) -> str:
    return load_approver_key(officer.spki).fingerprint


class Desk:
    """A person's directory: pinned certificate, address book, files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.book = directory / "book.json"
        (directory / "pinned.pem").write_bytes(certificate_pem(paper().certificate))
        AddressBook.empty().with_contact(fingerprint(ADA), "Ada").save(self.book)

    def run(self, *words: str, answer: str | None = None) -> Done:
        call = ["key", *words, "--address-book", str(self.book)]
        done = CliRunner().invoke(root, call, input=answer)
        if isinstance(done.exception, KeyturnError):
            return Done(1, done.exception.refusal, done.stdout, done.stderr)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Done(done.exit_code, "", done.stdout, done.stderr)

    def accept(self, content: object, *words: str, answer: str | None = None) -> Done:
        file = self.directory / "attributes.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        pinned = str(self.directory / "pinned.pem")
        return self.run("accept", str(file), "--device-cert", pinned, *words, answer=answer)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def attributes(policy: Policy | None = POLICY, **changes: Any) -> dict[str, Any]:
    xml, signature = paper().attest(policy, **changes)
    return {"xml": xml, "xmlSignature": b64(signature), "attestationKeyName": "attestation-key", "json": {}}


def test_r20_everything_is_shown_and_accepted_only_after_a_yes(desk: Desk) -> None:
    said_no = desk.accept(attributes(), answer="n\n")
    assert said_no.code == 5
    assert AddressBook.load(desk.book).keys == {}

    done = desk.accept(attributes(), answer="y\n")
    assert done.code == 0
    text = " ".join(done.out.split())
    for words in (
        "treasury",
        "6f1c1d6e-4a3b-4c8e-9a54-0f8f7b0c1d2e",
        "generated in this HSM",
        "Extractable no",
        "Destroyable YES",
        "Open modify no",
        "Open unblock no",
        "Bound approvals unknown",
        "Single use unknown",
        "Allowed operations no limit",
        "Allowed algorithms no limit",
        "Isolation machine",
        "Weakened by nothing",
        "NOT ACCEPTED",
        "Ada",
        "unknown",
    ):
        assert words in text, words
    spki = paper().operational_spki
    assert sha256(spki).hexdigest()[:4] in text
    (key,) = AddressBook.load(desk.book).keys.values()
    assert (key.label, key.fingerprint) == ("treasury", sha256(spki).hexdigest())
    # People stay where they were.
    assert AddressBook.load(desk.book).name(fingerprint(ADA)) == "Ada"
    again = desk.accept(attributes(), "--yes")
    assert "accepted by you on" in " ".join(again.out.split())


def test_r20_json_says_the_same(desk: Desk) -> None:
    done = desk.accept(attributes(), "--yes", "--json")
    said = json.loads(done.out)
    assert said["accepted"] is True
    assert len(said["words"]) == 16
    assert {(one["name"], tuple(one["rules"])) for one in said["approvers"]} == {
        ("Ada", ("use", "block", "unblock", "modify")),
        (None, ("use", "block", "unblock", "modify")),
    }
    assert any("not in your address book" in caution for caution in said["cautions"])
    listed = json.loads(desk.run("list", "--json").out)
    assert [one["label"] for one in listed] == ["treasury"]
    assert desk.run("forget", "treasury").code == 0
    assert json.loads(desk.run("list", "--json").out) == []
    assert desk.run("forget", "treasury").refusal == "address-book.unknown-key"


@pytest.mark.parametrize(
    ("changes", "caution"),
    [
        ({"attributes": {"sign": True, "extractable": True}}, "taken out of the HSM"),
        ({"creation": "imported"}, "was imported"),
        ({"open_modify": True}, "can be replaced without approvals"),
        ({"open_unblock": True}, "can be lifted without"),
        ({"generation": 3}, "2 other key(s) bore this name"),
        ({"isolation": "none"}, "within reach of the server"),
        ({"switches": ("allowWeakKeys",)}, "weakened by: allowWeakKeys"),
        (
            {"receipt_key": paper().integrity_spki, "store_counter": 9, "accepted_rollbacks": 2},
            "put back to an older state 2 time(s)",
        ),
        ({"policy": None}, "has no policy"),
        ({"attributes": {"sign": True, "unwrap": True}}, "may sign and unwrap"),
    ],
)
def test_r20_what_to_be_careful_about_is_said(desk: Desk, changes: dict[str, Any], caution: str) -> None:
    policy = changes.pop("policy") if "policy" in changes else POLICY
    said = json.loads(desk.accept(attributes(policy, **changes), "--yes", "--json").out)
    assert any(caution in words for words in said["cautions"]), said["cautions"]
    plain = json.loads(desk.accept(attributes(), "--yes", "--json").out)
    assert not any(caution in words for words in plain["cautions"])


@pytest.mark.rule("R9")
def test_r9_r20_what_an_unbound_key_leaves_open_is_said_and_what_a_bound_one_does_not_is_not(desk: Desk) -> None:
    digests = "signs data and digests"
    promises = {"receipt_key": paper().integrity_spki, "store_counter": 9, "accepted_rollbacks": 0}

    def cautions(**changes: Any) -> list[str]:
        said: list[str] = json.loads(desk.accept(attributes(POLICY, **changes), "--yes", "--json").out)["cautions"]
        return said

    assert any(digests in words for words in cautions())
    assert any("not bound" in words for words in cautions())
    limited = cautions(**promises, allowed_algorithms=("SHA256_WITH_ECDSA",))
    assert not any(digests in words for words in limited)
    assert any("not bound" in words for words in limited)
    bound = cautions(**promises, attributes={"sign": True, "boundApprovals": True})
    assert not any(digests in words or "not bound" in words for words in bound)


def test_r20_only_the_pinned_hsms_word_is_taken(desk: Desk) -> None:
    good = attributes()
    forged = {**good, "xml": good["xml"].replace("<extractable>false", "<extractable>true")}
    assert forged != good
    assert desk.accept(forged, "--yes").refusal == "attestation.bad-signature"
    assert desk.accept("no JSON", "--yes").refusal == "key-accept.json"
    assert desk.accept({"xml": good["xml"]}, "--yes").refusal == "first-trust.attributes"
    (desk.directory / "pinned.pem").write_bytes(certificate_pem(ADA.certificate))
    assert desk.accept(good, "--yes").refusal == "attestation.device-certificate"
    (desk.directory / "pinned.pem").write_bytes(certificate_pem(paper().certificate))
    assert AddressBook.load(desk.book).keys == {}
    assert desk.accept(good, "--yes").code == 0


@pytest.mark.parametrize("words", [(), ("file", "--url", "http://x", "--label", "k"), ("--url", "http://x")])
def test_which_key_must_be_said(desk: Desk, words: tuple[str, ...]) -> None:
    done = desk.run("accept", *words, "--device-cert", str(desk.directory / "pinned.pem"))
    assert done.code == 2
    assert "Which key?" in done.err
    assert desk.run("list", "--device-cert", str(desk.directory / "pinned.pem")).code == 2


@pytest.mark.rule("R18")
def test_r18_r20_another_key_or_policy_under_the_accepted_name_is_seen(desk: Desk, tmp_path: Path) -> None:
    with ServeProcess(tmp_path / "vault") as vault, vault.client() as rest:
        create_ec_key(rest, "treasury", POLICY, destroyable=True)
        create_ec_key(rest, "other", POLICY)
        pinned = desk.directory / "pinned.pem"
        pinned.write_text(rest.attestation_chain()[0])
        there = ("--url", vault.url, "--device-cert", str(pinned))
        before = desk.run("list", *there, "--json")
        assert before.code == 0
        assert {row["standing"] for row in json.loads(before.out)} == {"not-accepted"}

        assert desk.run("accept", *there, "--label", "treasury", "--yes").code == 0
        listed = desk.run("list", *there, "--json")
        assert {row["label"]: row["standing"] for row in json.loads(listed.out)} == {
            "other": "not-accepted",
            "treasury": "accepted",
        }
        # Without the pinned certificate nothing says which key it is.
        unproven = json.loads(desk.run("list", "--url", vault.url, "--json").out)
        assert {row["standing"] for row in unproven} == {"unproven", "not-accepted"}

        rest.delete_key("treasury")
        missing = desk.run("list", *there, "--json")
        assert missing.code == 3
        assert {row["standing"] for row in json.loads(missing.out)} == {"missing", "not-accepted"}
        create_ec_key(rest, "treasury", POLICY)
        other = desk.run("list", *there)
        assert other.code == 3
        assert "ANOTHER KEY" in " ".join(other.out.split())


@pytest.mark.rule("R21")
def test_r20_r21_an_accepted_derived_key_is_there_as_long_as_its_master_is(desk: Desk, tmp_path: Path) -> None:
    with ServeProcess(tmp_path / "vault") as vault, vault.client() as rest:
        uses = {"sign": True, "decrypt": False, "unwrap": False, "derive": True, "slip10": True, "destroyable": True}
        policy = policy_json(POLICY, new=True)
        rest.create_key("master", "EC", curve_oid="1.3.132.0.10", attributes=uses, policy=policy)
        pinned = desk.directory / "pinned.pem"
        pinned.write_text(rest.attestation_chain()[0])
        there = ("--url", vault.url, "--device-cert", str(pinned))
        # Nobody has stored it, so that the server does not list it.
        assert desk.run("accept", *there, "--label", "master/44'", "--yes").code == 0
        assert "master/44'" not in rest.list_keys()
        listed = desk.run("list", *there, "--json")
        assert listed.code == 0, listed.out
        assert {row["label"]: row["standing"] for row in json.loads(listed.out)} == {
            "master": "not-accepted",
            "master/44'": "accepted",
        }
        unproven = desk.run("list", "--url", vault.url, "--json")
        assert {row["label"]: row["standing"] for row in json.loads(unproven.out)}["master/44'"] == "unproven"

        rest.delete_key("master")
        gone = desk.run("list", *there, "--json")
        assert gone.code == 3
        assert [(row["label"], row["standing"]) for row in json.loads(gone.out)] == [("master/44'", "missing")]
        # A new key of the master's name that derives nothing has no such child either.
        create_ec_key(rest, "master", POLICY)
        barren = desk.run("list", *there, "--json")
        assert barren.code == 3
        assert {row["label"]: row["standing"] for row in json.loads(barren.out)}["master/44'"] == "missing"
