"""A store that was put back to an older state, seen from outside by what the HSM once signed (R6).

The real HSM process; its whole data directory is copied, used, and put back.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from keyturn.clock import SystemClock
from keyturn.hsm import admin, protocol
from keyturn.hsm.store import Store
from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation, verify_attestation
from keyturn.ska.messages import decode_authorization
from keyturn.ska.receipt import decode_receipt
from keyturn.ska.signatures import wrap_signature
from keyturn_testing.house import ADA, ECDSA, POLICY, House, bare_token, issue, sign
from keyturn_testing.hsm_process import PASSPHRASE, HsmProcess
from keyturn_testing.keys import P256, operation_id
from keyturn_testing.raw_line import RawLine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.hsm.client import HsmClient

pytestmark = pytest.mark.rule("R6")

ROLLED_BACK: Final = "store.rolled-back"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with HsmProcess(tmp_path / "hsm") as process:
        yield House(process, tmp_path)


def test_r6_a_store_that_was_put_back_is_found_out_stopped_and_accepted(house: House) -> None:
    house.create("vault")
    house.create("ordinary", b"")
    house.copy()
    witness = house.receipted_block("vault")
    assert house.refused(sign("vault")) == "key.blocked"

    # The block is undone by putting the store back; nothing inside can tell.
    house.put_back()
    assert isinstance(house.ask(sign("vault")), protocol.Signed)
    assert not house.info().rolled_back

    assert house.ask(witness) == protocol.Done()
    assert house.info().rolled_back
    for call in (
        sign("vault"),
        protocol.Stamp("vault", Action.USE, b"pay"),
        protocol.Modify(operation_id(), "vault", POLICY, []),
        protocol.Unblock(operation_id(), "vault", []),
        protocol.CreateKey(operation_id(), "new", "EC", P256, 0, {"sign": True}, POLICY, blocked=False),
        protocol.Unwrap(operation_id(), "ordinary", b"x", "AES_WRAP", "other", {}, [], POLICY),
        issue("ordinary", attach_to="vault"),
    ):
        answer = house.ask(call)
        assert isinstance(answer, protocol.Refused)
        assert (answer.code, answer.refusal) == ("IN_HSM", ROLLED_BACK)
        assert "keyturn hsm rollback accept" in answer.message
    assert house.refused(issue("ordinary", attach_to="ordinary")) == "certificate.form"  # It is looked at.
    # What only takes away, and what no policy governs, is served.
    assert isinstance(house.ask(sign("ordinary", approved=False)), protocol.Signed)
    assert isinstance(house.ask(protocol.Attest("vault")), protocol.Attested)
    blocking = protocol.Block(operation_id(), "vault", [ADA.approve(bare_token("vault", Action.BLOCK))])
    assert isinstance(house.ask(blocking), protocol.Attested)

    # A restart, killed or not, does not forget it; nor does the counter growing past the witness.
    house.process.kill()
    house.process.start()
    for number in range(3):
        house.create(f"ordinary-{number}", b"")
    assert house.refused(protocol.Stamp("vault", Action.USE, b"pay")) == ROLLED_BACK
    told = house.administer("status")
    assert "ROLLED BACK" in told.stdout
    found = json.loads(house.administer("status", "--json").stdout)
    assert found["rolled_back"] is True
    assert found["state_counter"] > found["witnessed_counter"] > 0

    accepted = house.administer("rollback", "accept", "--yes", "--json")
    assert accepted.returncode == 0, accepted.stderr
    assert json.loads(accepted.stdout) == {
        "done": "rollback accept",
        "restoreEpoch": 1,
        "stateCounter": found["state_counter"],
        "acceptedRollbacks": 1,
    }
    info = house.info()
    assert (info.rolled_back, info.accepted_rollbacks, info.restore_epoch) == (False, 1, 1)
    unblock = protocol.Unblock(operation_id(), "vault", [ADA.approve(bare_token("vault", Action.UNBLOCK))])
    assert isinstance(house.ask(unblock), protocol.Attested)
    assert isinstance(house.ask(sign("vault")), protocol.Signed)
    # Attested for ever, and what was signed in the lost time compares with nothing any more.
    attested = parse_attestation(house.attest("vault").evidence)
    assert (attested.accepted_rollbacks, attested.restore_epoch) == (1, 1)
    assert house.ask(witness) == protocol.Done()
    assert not house.info().rolled_back
    house.process.restart()
    assert house.info().accepted_rollbacks == 1

    house.process.stop()
    lines = house.log()
    noted = next(line for line in lines if line["kind"] == "rollback-found")
    assert (noted["outcome"], noted["refusal"]) == ("noted", ROLLED_BACK)
    assert any(line["refusal"] == ROLLED_BACK and line["kind"] == "stamp" for line in lines)
    assert any(line["kind"] == "rollback-accept" and line["outcome"] == "granted" for line in lines)


def test_r6_attested_attributes_of_any_key_are_a_witness_for_the_whole_store(house: House) -> None:
    house.create("quiet")
    house.create("vault")
    house.copy()
    current = house.attest("quiet")
    house.receipted_block("vault")
    witness = house.attest("quiet")
    # The quiet key itself has not changed; the store has.
    before, after = parse_attestation(current.evidence), parse_attestation(witness.evidence)
    assert before.state_counter == after.state_counter
    assert after.store_counter == (before.store_counter or 0) + 1

    house.put_back()
    assert house.ask(current) == protocol.Done()
    assert not house.info().rolled_back
    assert house.ask(witness) == protocol.Done()
    assert house.info().rolled_back


@pytest.mark.rule("R21")
@pytest.mark.parametrize("stored", [False, True])
def test_r6_the_children_of_a_key_with_a_policy_stop_with_it(house: House, stored: bool) -> None:
    master = {"sign": True, "derive": True, "slip10": True}
    for label, policy in (("treasury", POLICY), ("plain", b"")):
        house.ask(protocol.CreateKey(operation_id(), label, "EC", P256, 0, master, policy, blocked=False))
        if stored:
            house.ask(protocol.DeriveKey(operation_id(), label, "0'", {}))
    house.copy()
    witness = house.receipted_block("treasury")
    house.put_back()
    # The store does not know of the block; until it is shown, it serves.
    assert isinstance(house.ask(sign("treasury/0'")), protocol.Signed)
    house.ask(witness)
    assert house.refused(sign("treasury/0'")) == house.refused(sign("treasury")) == ROLLED_BACK
    seed = protocol.ImportSeed(operation_id(), "new", bytes(32), P256, master, POLICY, blocked=False)
    assert house.refused(seed) == ROLLED_BACK
    # A lost modify may have closed ruleModify, by which these go (R28).
    public_key = house.ask(protocol.Lookup("treasury")).public_key
    for change in (
        protocol.ChangePassword(operation_id(), "treasury", b"", b""),
        protocol.AttachCertificate(operation_id(), "treasury", b""),
        protocol.ImportKey(operation_id(), "treasury", "", b"", public_key, b"", b"", None),
    ):
        assert house.refused(change) == ROLLED_BACK
    assert isinstance(house.ask(sign("plain/0'", approved=False)), protocol.Signed)


@pytest.mark.rule("R15")
def test_r15_a_replayed_unblock_from_lost_time_stops_at_the_witness(house: House) -> None:
    house.create("vault")
    house.receipted_block("vault")
    house.copy()
    approval = ADA.approve(bare_token("vault", Action.UNBLOCK))
    done = house.ask(protocol.Unblock(operation_id(), "vault", [approval], "request-2"))
    assert isinstance(done, protocol.Attested)
    witness = protocol.Witness("receipt", done.receipt, done.receipt_signature)
    house.receipted_block("vault")
    assert house.refused(protocol.Unblock(operation_id(), "vault", [approval])) != ROLLED_BACK  # It is spent.

    house.put_back()
    assert house.ask(witness) == protocol.Done()
    assert house.refused(protocol.Unblock(operation_id(), "vault", [approval])) == ROLLED_BACK


def test_r6_every_change_that_matters_makes_the_counter_grow(house: House) -> None:
    def counter() -> int:
        return int(json.loads(house.administer("status", "--json").stdout)["state_counter"])

    counters = [counter()]
    assert counters[0] > 0  # The HSM's own keys.
    house.create("vault")
    counters.append(counter())
    house.receipted_block("vault")
    counters.append(counter())
    approval = ADA.approve(bare_token("vault", Action.UNBLOCK))
    assert isinstance(house.ask(protocol.Unblock(operation_id(), "vault", [approval])), protocol.Attested)
    counters.append(counter())
    withdrawn = ADA.approve_use("vault", b"pay")
    withdrawal = _withdrawal("vault", withdrawn)
    assert house.ask(withdrawal) == protocol.Done()
    counters.append(counter())
    house.process.stop()
    house.process.options = ("--receipt-key-name", "receipt-2")
    house.process.start()
    counters.append(counter())
    assert counters == sorted(set(counters))


def _withdrawal(label: str, approval: bytes) -> protocol.Withdraw:
    statement = decode_authorization(approval).approval
    signature = wrap_signature(ECDSA, ADA.sign(b"WITHDRAW:" + statement + b"task-1"))
    return protocol.Withdraw(label, statement, "task-1", signature, ADA.spki, None)


def test_r6_what_the_hsm_did_not_sign_stops_nothing(house: House, tmp_path: Path) -> None:
    house.create("vault")
    house.copy()
    genuine = house.receipted_block("vault")
    house.put_back()
    # Numbers that somebody made up, or another HSM signed.
    receipt = decode_receipt(genuine.evidence)
    assert receipt.state_counter > 0
    flipped = bytearray(genuine.evidence)
    flipped[-1] ^= 1
    attested = house.attest("vault")
    forged = attested.evidence.replace(b"<store_counter>", b"<store_counter>9")
    with HsmProcess(tmp_path / "foreign") as other:
        foreign = House(other, tmp_path)
        for number in range(4):
            foreign.create(f"key-{number}")
        foreign_attestation = foreign.attest("key-0")
        foreign_receipt = foreign.receipted_block("key-1")
    for witness, word in (
        (protocol.Witness("receipt", bytes(flipped), genuine.signature), "witness.not-genuine"),
        (protocol.Witness("receipt", genuine.evidence, genuine.signature[:-1]), "witness.not-genuine"),
        (protocol.Witness("receipt", b"", b""), "witness.not-genuine"),
        (protocol.Witness("receipt", attested.evidence[:1000], attested.signature), "witness.not-genuine"),
        (protocol.Witness("receipt", attested.evidence, attested.signature), "receipt.size"),
        (protocol.Witness("attestation", forged, attested.signature), "witness.not-genuine"),
        (protocol.Witness("attestation", b"\xff" * 40, attested.signature), "witness.not-genuine"),
        (protocol.Witness("attestation", b"a" * 300_000, attested.signature), "xml.size"),
        (protocol.Witness("attestation", genuine.evidence, genuine.signature), "witness.not-genuine"),
        (protocol.Witness("rumour", genuine.evidence, genuine.signature), "witness.kind"),
        (foreign_attestation, "witness.not-genuine"),
        (foreign_receipt, "witness.not-genuine"),
    ):
        assert house.refused(witness) == word
        assert not house.info().rolled_back
    assert isinstance(house.ask(sign("vault")), protocol.Signed)
    assert isinstance(house.ask(protocol.Stamp("vault", Action.USE, b"pay")), protocol.Stamped)
    # Each refusal is a line of the log; the same evidence without the defect counts.
    assert house.ask(genuine) == protocol.Done()
    assert house.info().rolled_back
    house.process.stop()
    words = [line["refusal"] for line in house.log() if line["kind"] == "witness"]
    assert words.count("witness.not-genuine") == 9


def test_r6_counters_of_different_epochs_do_not_compare(house: House) -> None:
    house.create("vault")
    backup = house.aside / "today.ktbackup"
    assert house.administer("backup", str(backup)).returncode == 0
    house.receipted_block("vault")
    house.copy("before the restore")
    high = house.attest("vault")

    house.process.stop()
    Store.restore(backup, house.process.directory, PASSPHRASE, clock=SystemClock(), overwrite=True)
    house.process.start()
    # The counter of epoch 0 is higher, and says nothing about epoch 1: somebody restored the store on purpose.
    assert house.ask(high) == protocol.Done()
    assert not house.info().rolled_back
    later = house.attest("vault")
    assert parse_attestation(later.evidence).restore_epoch == 1
    assert isinstance(house.ask(sign("vault")), protocol.Signed)

    # But a store from before the restore is older than what was signed after it, whatever the counters say.
    house.put_back("before the restore")
    assert house.ask(high) == protocol.Done()
    assert not house.info().rolled_back
    assert house.ask(later) == protocol.Done()
    assert house.info().rolled_back
    assert house.administer("rollback", "accept", "--yes").returncode == 0
    info = house.info()
    assert (info.rolled_back, info.restore_epoch) == (False, 2)  # Above both.


def test_r6_restoring_a_backup_settles_the_question(house: House) -> None:
    house.create("vault")
    house.copy()
    backup = house.aside / "later.ktbackup"
    witness = house.receipted_block("vault")
    assert house.administer("backup", str(backup)).returncode == 0
    house.put_back()
    assert house.ask(witness) == protocol.Done()
    assert house.info().rolled_back
    # The cure that loses nothing: a backup that is newer than the store that was put back.
    house.process.stop()
    Store.restore(backup, house.process.directory, PASSPHRASE, clock=SystemClock(), overwrite=True)
    house.process.start()
    assert not house.info().rolled_back
    assert house.refused(sign("vault")) == "key.blocked"


def test_r2_r6_only_the_administrator_accepts_and_only_what_was_shown(house: House) -> None:
    house.create("vault")
    nothing = house.administer("rollback", "accept", "--yes")
    assert nothing.returncode == 1
    assert "rollback.none" in nothing.stderr
    house.copy()
    first = house.receipted_block("vault")
    house.create("another")
    second = house.attest("vault")
    house.put_back()
    assert house.ask(first) == protocol.Done()
    shown = json.loads(house.administer("status", "--json").stdout)
    assert house.ask(second) == protocol.Done()
    with house.process.admin_line() as line:
        stale = line.ask(admin.AcceptRollback(shown["witnessed_epoch"], shown["witnessed_counter"]))
    assert isinstance(stale, protocol.Refused)
    assert stale.refusal == "rollback.changed"
    # Older evidence does not take newer evidence back.
    assert house.ask(first) == protocol.Done()
    with RawLine(house.process.address) as broker:
        broker_side = broker.ask(admin.AcceptRollback(0, shown["witnessed_counter"] + 1))
    assert isinstance(broker_side, protocol.Refused)
    assert house.info().rolled_back
    assert house.administer("rollback", "accept", "--yes").returncode == 0
    assert not house.info().rolled_back


def test_r6_an_operator_shows_a_file(house: House) -> None:
    house.create("vault")
    house.copy()
    old = house.ask(protocol.Attest("vault"))
    answer = house.ask(
        protocol.Block(operation_id(), "vault", [ADA.approve(bare_token("vault", Action.BLOCK))], "request-1")
    )
    files = house.aside
    (files / "old.json").write_text(json.dumps(_attributes(old)))
    (files / "block.json").write_text(json.dumps({"id": "request-1", "keyAttributes": _attributes(answer)}))
    receipt = {
        "signature": "",
        "receipt": base64.b64encode(answer.receipt).decode(),
        "receiptSignature": base64.b64encode(answer.receipt_signature).decode(),
    }
    (files / "receipt.json").write_text(json.dumps(receipt))
    (files / "nothing.json").write_text("{}")
    (files / "bad.json").write_text(json.dumps({**receipt, "receiptSignature": "?"}))
    (files / "forged.json").write_text(json.dumps({**receipt, "receiptSignature": "AAAA"}))
    (files / "text.json").write_text("no JSON")
    house.put_back()
    fine = house.administer("witness", str(files / "old.json"))
    assert (fine.returncode, fine.stdout) == (0, "the store is as new as what it was shown\n")
    for name, word in (
        ("nothing", "witness.missing"),
        ("bad", "witness.encoding"),
        ("forged", "witness.not-genuine"),
        ("text", "witness.json"),
    ):
        done = house.administer("witness", str(files / f"{name}.json"))
        assert done.returncode == 1
        assert word in done.stderr
        assert not house.info().rolled_back
    older = house.administer("witness", str(files / "receipt.json"), "--json")
    assert older.returncode == 3
    assert json.loads(older.stdout)["rolledBack"] is True
    assert house.administer("witness", str(files / "block.json")).stdout.startswith("ROLLED BACK")
    asked = subprocess.run(
        [
            *(sys.executable, "-m", "keyturn", "hsm", "rollback", "accept"),
            *("--admin-socket", str(house.process.admin_socket)),
        ],
        capture_output=True,
        text=True,
        input="n\n",
        check=False,
    )
    assert asked.returncode == 1
    assert "counter" in asked.stdout
    assert house.info().rolled_back


def _attributes(answer: protocol.Attested) -> dict[str, str]:
    return {"xml": answer.xml, "xmlSignature": base64.b64encode(answer.signature).decode()}


def test_r6_what_is_attested_verifies_under_the_pinned_certificate(house: House) -> None:
    made = house.create("vault")
    device = x509.load_pem_x509_certificate(house.info().device_chain[0].encode()).public_bytes(Encoding.DER)
    attested = verify_attestation(made.xml, made.signature, device)
    # The key that is being made carries the counter that the store has once it is there.
    assert attested.store_counter == attested.state_counter
    assert attested.accepted_rollbacks == 0


async def test_r6_a_sealed_hsm_takes_no_witness(client: HsmClient, hsm: HsmProcess) -> None:
    del client
    with RawLine(hsm.address) as line:
        # Open, it takes one; the message itself is well formed.
        answer = line.ask(protocol.Witness("receipt", b"x", b"y"))
    assert isinstance(answer, protocol.Refused)
    assert answer.refusal == "witness.not-genuine"


@pytest.mark.rule("R14")
def test_r14_a_consumed_statement_makes_the_counter_grow_and_its_receipt_stops_the_store_without_it(
    house: House,
) -> None:
    made = house.ask(
        protocol.CreateKey(
            operation_id(), "once", "EC", P256, 0, {"sign": True, "singleUse": True}, POLICY, blocked=False
        )
    )
    assert isinstance(made, protocol.Attested), made
    approval = house.approval("once", Action.USE, b"pay")

    def pay(request_id: str) -> Any:
        return house.ask(protocol.Sign(operation_id(), "once", b"pay", ECDSA, "", [approval], request_id))

    house.copy()
    first = pay("request-1")
    assert isinstance(first, protocol.Signed), first
    assert decode_receipt(first.receipt).state_counter > parse_attestation(made.xml.encode()).state_counter
    again = pay("request-1")
    assert isinstance(again, protocol.Signed)
    assert again.signature == first.signature  # The stored result, not another signature.

    house.put_back()
    assert house.ask(protocol.Witness("receipt", first.receipt, first.receipt_signature)) == protocol.Done()
    stopped = pay("request-2")
    assert isinstance(stopped, protocol.Refused)
    assert stopped.refusal == ROLLED_BACK
    assert house.refused(protocol.Stamp("once", Action.USE, b"pay")) == ROLLED_BACK
    # Whoever accepts it accepts this, too: what was lost can be done once more.
    assert house.administer("rollback", "accept", "--yes").returncode == 0
    assert isinstance(pay("request-2"), protocol.Signed)
