"""Decrypt, unwrap, block, unblock, withdraw and names, on the command line, against the real broker and HSM process.

What is decrypted and unwrapped was locked up by openssl.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.approver.keyfiles import pkcs8_file
from keyturn.errors import KeyturnError
from keyturn_testing.actions import OAEP_SHA1, create_rsa_key, decrypt_body, oaep, unwrap_body
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import ServeProcess, b64, create_ec_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from approver.conftest import Officers
    from keyturn.client import RestClient

ADA, BEN, EVE = Officer("ada"), Officer("ben", "ED"), Officer("eve", "P-384")
BOARD = make_policy(quorum(2, ADA, BEN, EVE), block=quorum(1, ADA, BEN, EVE))
PATIENT = make_policy(
    quorum(2, ADA, BEN, EVE, timelock=3600, timeout=7200),
    block=quorum(1, ADA, BEN, EVE),
    modify=quorum(2, ADA, BEN, EVE),
)
SECRET = "Zürich, Freitag, 10 Uhr".encode()


class Desk:
    """Three officers with a pinned device at one server."""

    def __init__(self, officers: Officers, vault: ServeProcess, rest: RestClient) -> None:
        self.officers, self.url, self.rest = officers, vault.url, rest
        for person in (ADA, BEN, EVE):
            passphrase = officers.passphrase_file.read_bytes().strip()
            (officers.home / f"{person.name}.key").write_bytes(pkcs8_file(person.key, passphrase, rounds=1000))
        (officers.home / "pinned.pem").write_text(rest.attestation_chain()[0])

    def at(self, name: str) -> tuple[str | Path, ...]:
        return (*self.officers.at(self.url, name), "--device-cert", self.officers.home / "pinned.pem")

    def show(self, name: str, request: str) -> Any:
        (shown,) = self.officers.run("approver", "show", "--request", request, *self.at(name), "--json").json()
        return shown

    def approve(self, name: str, request: str) -> str:
        done = self.officers.run("approver", "approve", "--request", request, *self.at(name), "--yes", "--json").json()
        task: str = done[0]["taskId"]
        return task

    def state(self, request: str) -> dict[str, Any]:
        return self.rest.request(request)


@pytest.fixture
def desk(officers: Officers, tmp_path: Path) -> Iterator[Desk]:
    with ServeProcess(tmp_path / "vault") as vault, vault.client() as rest:
        yield Desk(officers, vault, rest)


@pytest.mark.rule("R11")
@pytest.mark.rule("R16")
def test_r11_r16_officers_decrypt_and_unwrap_what_they_were_shown(desk: Desk) -> None:
    spki = create_rsa_key(desk.rest, "letters", BOARD)
    ciphertext = oaep(spki, SECRET)
    request = desk.rest.decrypt(decrypt_body("letters", ciphertext, metaData=b64(b"a letter")))
    shown = desk.show("ada", request)
    assert (shown["kind"], shown["payload"]["kind"], shown["payload"]["size"]) == ("decrypt", "ciphertext", 256)
    assert base64.b64decode(shown["payload"]["base64"]) == ciphertext
    assert "Whoever can read the answer will see the plaintext" in shown["payload"]["note"]
    assert (shown["keyAttributesVerified"], shown["warnings"]) == (True, [])
    for name in ("ada", "ben"):
        desk.approve(name, request)
    assert base64.b64decode(desk.state(request)["result"]) == SECRET

    body = unwrap_body("letters", oaep(spki, os.urandom(16), OAEP_SHA1), "guest")
    request = desk.rest.unwrap(body | {"attributes": {**body["attributes"], "extractable": True}})
    shown = desk.show("ada", request)
    assert (shown["kind"], shown["unwrap"]["label"]) == ("unwrap", "guest")
    assert sorted(shown["unwrap"]["capabilities"]) == ["decrypt", "encrypt"]
    assert any(warning.startswith("EXTRACTABLE") for warning in shown["warnings"])
    for name in ("ada", "ben"):
        desk.approve(name, request)
    assert desk.state(request)["status"] == "EXECUTED"
    assert desk.rest.key_attributes("guest")["json"]["attributes"]["extractable"] is True


@pytest.mark.rule("R12")
@pytest.mark.rule("R26")
def test_r12_r26_officers_wait_withdraw_and_block(desk: Desk) -> None:
    create_ec_key(desk.rest, "treasury", PATIENT)
    body = {"payload": b64(b"Pay 10 to Bob."), "signKeyName": "treasury", "signatureAlgorithm": "SHA256_WITH_ECDSA"}
    request = desk.rest.sign(body)
    shown = desk.show("ada", request)
    assert shown["timestamp"]["verified"] is True
    assert shown["counts"][0]["opensAt"] > shown["timestamp"]["time"]
    assert shown["counts"][0]["lastSecond"] > shown["counts"][0]["opensAt"]
    assert desk.rest.preflight(request)["tokens"][0]["opensAt"] == shown["counts"][0]["opensAt"]
    task = desk.approve("ada", request)
    desk.approve("ben", request)
    assert desk.state(request)["status"] == "APPROVED"

    # Ada thinks again; without her it is one of two, and she cannot come back.
    withdrawn = desk.officers.run("approver", "withdraw", task, *desk.at("ada"), "--yes")
    assert withdrawn.code == 0, withdrawn.error
    assert desk.state(request)["status"] == "PENDING"
    again = desk.officers.run("approver", "approve", "--request", request, *desk.at("ada"), "--yes")
    assert again.refusal == "task.withdrawn"
    desk.approve("eve", request)
    assert desk.state(request)["status"] == "APPROVED"

    # One officer stops everything, and two let it go on.
    brake = desk.rest.block({"blockKeyName": "treasury"})
    assert "signs, decrypts and unwraps for nobody" in "\n".join(desk.show("eve", brake)["meaning"])
    executed = desk.approve("eve", brake)
    assert desk.state(brake)["status"] == "EXECUTED"
    assert desk.rest.key_attributes("treasury")["json"]["policy"]["keyStatus"]["blocked"] is True
    late = desk.officers.run("approver", "withdraw", executed, *desk.at("eve"), "--yes")
    assert isinstance(late.error, KeyturnError)
    assert late.refusal == "request.closed"
    shown = desk.show("ada", desk.rest.unblock({"unblockKeyName": "treasury"}))
    assert shown["operation"] == "unblock"
    assert "count again" in "\n".join(shown["meaning"])


@pytest.mark.rule("R22")
def test_r22_a_policy_of_names_is_approved_by_the_keys_that_they_became(desk: Desk) -> None:
    run, home = desk.officers.run, desk.officers.home
    for person in (ADA, BEN, EVE):
        (home / f"{person.name}.crt").write_bytes(person.certificate)
        cert = home / f"{person.name}.crt"
        assert run("approver", "onboard", person.name.title(), "--cert", cert, "--url", desk.url).code == 0
    twice = run("approver", "onboard", "Ada", "--cert", home / "eve.crt", "--url", desk.url)
    assert twice.refusal == "approver.exists"
    listed = run("approver", "list", "--url", desk.url, "--json").json()
    assert [entry["name"] for entry in listed] == ["Ada", "Ben", "Eve"]

    create_ec_key(desk.rest, "treasury", make_policy(quorum(1, ADA, BEN)))
    named = [{"type": "onboarded_approver_certificate", "name": name} for name in ("Ada", "Ben", "Eve")]
    rule = {"tokens": [{"timelock": 0, "timeout": 0, "groups": [{"name": "board", "quorum": 2, "approvals": named}]}]}
    policy = dict.fromkeys(("ruleUse", "ruleBlock", "ruleUnblock", "ruleModify"), rule)
    request = desk.rest.modify({"modifyKeyName": "treasury", "policy": policy})
    (told,) = (one for one in desk.show("ada", request)["warnings"] if "looked their keys up" in one)
    for person in (ADA, BEN, EVE):
        (entry,) = (one for one in listed if one["name"] == person.name.title())
        assert (
            f'"{entry["name"]}" became {" ".join(entry["fingerprint"][at : at + 4] for at in range(0, 64, 4))}' in told
        )
    desk.approve("ada", request)
    assert desk.state(request)["status"] == "EXECUTED"
    assert run("approver", "remove", "Eve", "--url", desk.url).code == 0
    body = {"payload": b64(b"x"), "signKeyName": "treasury", "signatureAlgorithm": "SHA256_WITH_ECDSA"}
    use = desk.rest.sign(body)
    for name in ("ben", "eve"):
        desk.approve(name, use)
    assert desk.state(use)["status"] == "EXECUTED"
