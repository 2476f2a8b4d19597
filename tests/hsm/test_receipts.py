"""Receipts of the real HSM process: one for every execution and refusal of a call with a request id (R24)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from keyturn.errors import ErrorCode
from keyturn.hsm import protocol
from keyturn.hsm.framing import encode_frame
from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.messages import ApprovalToken
from keyturn.ska.policy import encode_policy
from keyturn.ska.receipt import Expected, Receipt, decode_receipt, require_receipt_about, verify_receipt
from keyturn.ska.receipt_hashes import Statement, refusal_hash_of, result_hash_of
from keyturn.ska.signatures import wrap_signature
from keyturn.ska.unwrap_flags import unwrap_payload_for
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.hsm_time import move_mark
from keyturn_testing.keys import P256, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.raw_line import RawLine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.ska.receipt import Outcome

ADA: Final = Officer("ada")
POLICY: Final = encode_policy(make_policy(quorum(1, ADA)))
ECDSA: Final = "SHA256_WITH_ECDSA"
OAEP: Final = "RSA_PADDING_OAEP_WITH_SHA256"
REQUEST: Final = "2a6a7e0e-6f0b-4f4c-9a77-8f0f6a1b2c3d"

pytestmark = pytest.mark.rule("R24")


@pytest.fixture
def line(hsm: HsmProcess) -> Iterator[RawLine]:
    with RawLine(hsm.address) as line:
        yield line


def create(line: RawLine, label: str, policy: bytes = POLICY, *, algorithm: str = "EC", **attributes: bool) -> None:
    """Make a key."""
    curve, size = (P256, 0) if algorithm == "EC" else ("", 2048 if algorithm == "RSA" else 256)
    call = protocol.CreateKey(
        operation_id(), label, algorithm, curve, size, attributes or {"sign": True}, policy, blocked=False
    )
    answer = line.ask(call)
    assert isinstance(answer, protocol.Attested), answer


def approval(line: RawLine, label: str, action: Action, payload: bytes | None = None) -> bytes:
    """ADA's approval with a timestamp of the HSM."""
    stamped = line.ask(protocol.Stamp(label, action, payload or b""))
    token = ApprovalToken(
        action, label.encode(), stamped.timestamp, wrap_signature(stamped.algorithm, stamped.signature), payload
    )
    return ADA.approve(token)


def sign(label: str, payload: bytes = b"pay", request_id: str = REQUEST, *, approved: bool = True) -> protocol.Sign:
    """A call to sign."""
    approvals = [ADA.approve_use(label, payload)] if approved else []
    return protocol.Sign(operation_id(), label, payload, ECDSA, "", approvals, request_id)


def receipt_of(line: RawLine, answer: Any) -> Receipt:
    """The receipt in an answer, verified with the receipt key that the HSM attests."""
    if isinstance(answer, protocol.Attested):
        key = parse_attestation(answer.xml).receipt_key
    else:
        key = line.ask(protocol.GetInfo()).receipt_key
    assert key is not None
    return verify_receipt(answer.receipt, answer.receipt_signature, receipt_key_spki=key)


def expect(
    line: RawLine, answer: Any, label: str, statement: Statement, result: bytes, *, outcome: Outcome = "executed"
) -> Receipt:
    """The verified receipt, which is about exactly this."""
    receipt = receipt_of(line, answer)
    info = line.ask(protocol.GetInfo())
    key = line.ask(protocol.Lookup(label))
    require_receipt_about(
        receipt,
        Expected(
            instance_id=info.instance_id,
            request_id=REQUEST,
            key_uuid="" if isinstance(key, protocol.Refused) else key.uuid,
            statement=statement,
            outcome=outcome,
            result_hash=result,
        ),
    )
    assert receipt.time == pytest.approx(time.time(), abs=60)
    assert receipt.restore_epoch == info.restore_epoch
    return receipt


def test_r24_a_signature(line: RawLine, label: str) -> None:
    create(line, label)
    answer = line.ask(sign(label))
    receipt = expect(line, answer, label, Statement.sign(label, b"pay", ECDSA, ""), result_hash_of(answer.signature))
    assert receipt.state_counter == line.ask(protocol.GetStatistics()).figures["stateCounter"]
    # Without a request id there is none.
    plain = line.ask(sign(label, request_id=""))
    assert (plain.receipt, plain.receipt_signature) == (b"", b"")


def test_r24_an_ordinary_key_without_an_operation_id(line: RawLine, label: str) -> None:
    create(line, label, b"")
    answer = line.ask(protocol.Sign(b"", label, b"pay", ECDSA, "RAW", [], REQUEST))
    expect(line, answer, label, Statement.sign(label, b"pay", ECDSA, "RAW"), result_hash_of(answer.signature))


def test_r24_decrypted_data(line: RawLine, label: str) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    create(line, label, algorithm="RSA", decrypt=True)
    public = load_der_public_key(line.ask(protocol.Lookup(label)).public_key)
    assert isinstance(public, rsa.RSAPublicKey)
    sealed = public.encrypt(b"secret", padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))
    approvals = [ADA.approve_use(label, sealed)]
    answer = line.ask(protocol.Decrypt(operation_id(), label, sealed, OAEP, None, None, 0, approvals, REQUEST))
    assert answer.data == b"secret"
    statement = Statement.decrypt(label, sealed, OAEP, iv=None, aad=None, tag_length=0)
    expect(line, answer, label, statement, result_hash_of(b"secret"))


def test_r24_an_unwrapped_key(line: RawLine, label: str) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    create(line, label, algorithm="RSA", unwrap=True)
    public = load_der_public_key(line.ask(protocol.Lookup(label)).public_key)
    assert isinstance(public, rsa.RSAPublicKey)
    wrapped = public.encrypt(bytes(range(32)), padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))  # noqa: S303 - The documented method.
    attributes = {"decrypt": True}
    new = f"{label}-new"
    approvals = [ADA.approve_use(label, unwrap_payload_for(attributes, wrapped, new))]
    call = protocol.Unwrap(
        operation_id(), label, wrapped, "RSA_WRAP_OAEP", new, attributes, approvals, request_id=REQUEST
    )
    answer = line.ask(call)
    assert isinstance(answer, protocol.Attested), answer
    statement = Statement.unwrap(label, wrapped, "RSA_WRAP_OAEP", new, attributes)
    receipt = expect(line, answer, label, statement, result_hash_of(answer.xml.encode()))
    # It names the key that unwrapped; the new one is in what it vouches for, with the same counter.
    attested = parse_attestation(answer.xml)
    assert (attested.label, attested.state_counter) == (new, receipt.state_counter)
    assert attested.uuid != receipt.key_uuid


def test_r24_modify_block_and_unblock_count_on(line: RawLine, label: str) -> None:
    create(line, label)
    policy = encode_policy(make_policy(quorum(1, ADA), block=quorum(1, ADA, Officer("ben"))))
    counters = [line.ask(protocol.Lookup(label)).state_counter]
    for action in (Action.MODIFY, Action.BLOCK, Action.UNBLOCK):
        # A timestamp counts from the second after the last change on, and is given then.
        approvals = [approval(line, label, action, policy if action is Action.MODIFY else None)]
        match action:
            case Action.MODIFY:
                call: Any = protocol.Modify(operation_id(), label, policy, approvals, REQUEST)
                statement = Statement.modify(label, policy)
            case Action.BLOCK:
                call = protocol.Block(operation_id(), label, approvals, REQUEST)
                statement = Statement.block(label)
            case _:
                call = protocol.Unblock(operation_id(), label, approvals, REQUEST)
                statement = Statement.unblock(label)
        answer = line.ask(call)
        assert isinstance(answer, protocol.Attested), answer
        receipt = expect(line, answer, label, statement, result_hash_of(answer.xml.encode()))
        assert receipt.state_counter == parse_attestation(answer.xml).state_counter > counters[-1]
        counters.append(receipt.state_counter)


def test_r24_a_refusal(line: RawLine, label: str, hsm: HsmProcess) -> None:
    create(line, label)
    answer = line.ask(sign(label, approved=False))
    assert isinstance(answer, protocol.Refused)
    statement = Statement.sign(label, b"pay", ECDSA, "")
    refusal = refusal_hash_of(ErrorCode[answer.code].number, answer.refusal)
    expect(line, answer, label, statement, refusal, outcome="refused")
    assert hsm.last_refusal()["refusal"] == answer.refusal == "approvals.missing"
    # Nothing is stored of it, so the complete call is executed, and its receipt says so.
    done = line.ask(sign(label))
    expect(line, done, label, statement, result_hash_of(done.signature))
    assert line.ask(sign(label, request_id="", approved=False)).receipt == b""


def test_r24_a_refusal_without_a_key(line: RawLine, label: str) -> None:
    answer = line.ask(sign(label))
    assert answer.refusal == "key.unknown"
    statement = Statement.sign(label, b"pay", ECDSA, "")
    expect(line, answer, label, statement, refusal_hash_of(650, "key.unknown"), outcome="refused")


@pytest.mark.parametrize("bad", ["x" * 129, "with space", "Zeile\n", "\u00fc", "\x00"])
def test_r24_a_request_id_that_no_receipt_can_name_is_refused_before_anything_is_done(
    line: RawLine, label: str, bad: str
) -> None:
    create(line, label)
    answer = line.ask(sign(label, request_id=bad))
    assert (answer.code, answer.refusal, answer.receipt) == ("VALIDATION_FAILED", "receipt.request-id", b"")
    assert parse_attestation(line.ask(protocol.Attest(label)).xml).key_use_count == 0
    assert isinstance(line.ask(sign(label, request_id="x" * 128)), protocol.Signed)


def test_r24_a_repeated_call_gets_its_receipt_again(line: RawLine, label: str) -> None:
    """ECDSA signatures and times differ each time; equal ones come out of the store."""
    create(line, label)
    call = sign(label)
    first = line.ask(call)
    assert line.ask(call) == first
    assert receipt_of(line, first).outcome == "executed"


@pytest.mark.parametrize("round_", range(2))
def test_r24_receipts_survive_a_kill(tmp_path: Path, round_: int) -> None:
    """What left is stored; what was not answered is executed once, with one receipt (law 3)."""
    hsm = HsmProcess(tmp_path / "hsm")
    with hsm:
        with RawLine(hsm.address) as line:
            create(line, "k")
        calls = [sign("k", b"payment %d" % number, f"request-{number}") for number in range(20)]
        before: dict[int, Any] = {}
        with RawLine(hsm.address) as line:
            line.send(b"".join(encode_frame(number, call) for number, call in enumerate(calls)))
            time.sleep(0.003 * round_)
            hsm.kill()
            try:
                while True:
                    number, answer = line.read()
                    before[number] = answer
            except EOFError:
                pass
        hsm.start()
        with RawLine(hsm.address) as line:
            for number, call in enumerate(calls):
                again = line.ask(call)
                assert number not in before or again == before[number]
                receipt = receipt_of(line, again)
                assert (receipt.request_id, receipt.outcome) == (f"request-{number}", "executed")
                assert receipt.result_hash == result_hash_of(again.signature)
                assert line.ask(call) == again
            assert parse_attestation(line.ask(protocol.Attest("k")).xml).key_use_count == len(calls)


def test_r24_a_time_in_a_receipt_is_durable_before_it_leaves(tmp_path: Path) -> None:
    hsm = HsmProcess(tmp_path / "hsm")
    with hsm:
        with RawLine(hsm.address) as line:
            create(line, "k")
            made = int(line.ask(protocol.GetInfo()).clock_mark)
            # Later than what the making of the key has written.
            while (refused := decode_receipt(line.ask(sign("k", approved=False)).receipt)).time <= made:
                time.sleep(0.05)
            hsm.kill()
        hsm.start()
        with RawLine(hsm.address) as line:
            assert line.ask(protocol.GetInfo()).clock_mark >= refused.time


def test_r24_while_the_clock_is_not_believed_a_refusal_states_the_highest_time_used(tmp_path: Path) -> None:
    with HsmProcess(tmp_path / "hsm") as hsm:
        with RawLine(hsm.address) as line:
            create(line, "k")
        mark = move_mark(hsm, 3600)
        hsm.start()
        with RawLine(hsm.address) as line:
            answer = line.ask(sign("k"))
            assert (answer.code, answer.refusal) == ("HSM_FAILURE", "clock.behind")
            receipt = receipt_of(line, answer)
            assert (receipt.outcome, receipt.time) == ("refused", int(mark))
            assert receipt.result_hash == refusal_hash_of(700, "clock.behind")


def test_r24_what_is_wrong_with_the_operation_id_says_nothing_about_the_request(line: RawLine, label: str) -> None:
    create(line, label)
    done = sign(label)
    assert receipt_of(line, line.ask(done)).outcome == "executed"
    for operation, word in (
        (b"", "operation.id-missing"),
        (b"short", "operation.id-size"),
        (done.operation_id, "operation.input-differs"),
    ):
        call = protocol.Sign(operation, label, b"pay", ECDSA, "", [], REQUEST)
        answer = line.ask(call)
        assert (answer.refusal, answer.receipt, answer.receipt_signature) == (word, b"", b"")
    # What is asked is refused with a receipt, under an operation id that is in order.
    answer = line.ask(sign(label, approved=False))
    assert receipt_of(line, answer).outcome == "refused"
