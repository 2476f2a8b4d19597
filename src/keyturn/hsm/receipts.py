"""Receipts for what the engine does: one for every execution and refusal whose call carries a request id (R24).

Only refusals of an operation id (`operation.…`) have none: they are about the call and not about what it asks for.

A receipt is part of the answer, and the answer of an execution is stored in the commit of its effect; so a repeated
call gets the receipt that was signed then. Of a refusal nothing is stored but the time: a time that the HSM has signed
is durable before it leaves, so the answer waits behind that commit at the gate.

Source: docs/formats/receipts.md; decisions 14; docs/security/rules.md R24.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.bound import sign_options
from keyturn.ska.receipt import MAX_REQUEST_ID, RECEIPT_VERSION, Receipt, encode_receipt, is_request_id
from keyturn.ska.receipt_hashes import Statement, refusal_hash_of, result_hash_of, statement_hash_of

if TYPE_CHECKING:
    from keyturn.hsm.change import Change
    from keyturn.hsm.clock_guard import ClockGuard
    from keyturn.hsm.records import KeyRecord
    from keyturn.hsm.store import Store
    from keyturn.hsm.system_keys import SystemKeys
    from keyturn.ska.receipt import Outcome

ReceiptedCall = (
    protocol.Sign
    | protocol.SignCertificate
    | protocol.Decrypt
    | protocol.Unwrap
    | protocol.Modify
    | protocol.Block
    | protocol.Unblock
)
"""Calls that receipts are about: what a policy governs."""
ReceiptedAnswer = protocol.Signed | protocol.Certified | protocol.Decrypted | protocol.Attested | protocol.Refused
"""Answers that carry them."""

AnswerT = TypeVar("AnswerT", bound=protocol.Answer)

_CALLS: Final = ReceiptedCall.__args__
_ANSWERS: Final = ReceiptedAnswer.__args__
_ABOUT_THE_CALL: Final = "operation."
"""How the words of refusals begin that are about the operation id, which is no part of the statement."""


class Receipts:
    """Issues the receipts of one engine.

    Args:
        store: Whose instance and counters they name.
        system_keys: For the receipt key.
        clock_guard: The time they state.
    """

    def __init__(self, store: Store, system_keys: SystemKeys, clock_guard: ClockGuard) -> None:
        self._store = store
        self._signer = system_keys.receipt
        self._clock_guard = clock_guard

    def executed(self, call: protocol.Call, answer: AnswerT, record: KeyRecord, change: Change) -> AnswerT:
        """Put the receipt of an execution into its answer, before the answer is stored.

        Args:
            call: The call.
            answer: Its answer.
            record: The key that the call names.
            change: The open change-set with the whole effect; it also takes the time that is signed.

        Returns:
            The answer, with a receipt if the call carries a request id.
        """
        if not _request_id(call):
            return answer
        now = self._clock_guard.latest()
        change.advance_clock(now)
        return self._with_receipt(call, answer, record.uuid, now, change.state_counter)

    def answered(self, call: protocol.Call, answer: AnswerT, record: KeyRecord | None) -> AnswerT:
        """Put a receipt into an answer that is not stored: a refusal, or the use of a key without an operation id.

        Args:
            call: The call.
            answer: Its answer.
            record: The key that the call names, None if there is none.

        Returns:
            The answer, with a receipt if the call carries a request id that a receipt can name and it is about what is
            asked.
        """
        if not is_request_id(_request_id(call)):
            return answer
        if isinstance(answer, protocol.Refused) and answer.refusal.startswith(_ABOUT_THE_CALL):
            # It says nothing about what is asked: with a wrong operation id anybody could have it refused.
            return answer
        now = self._clock_guard.latest()
        with self._store.change() as change:
            change.advance_clock(now)
        return self._with_receipt(call, answer, "" if record is None else record.uuid, now, self._store.state_counter)

    def _with_receipt(
        self, call: protocol.Call, answer: AnswerT, key_uuid: str, now: int, state_counter: int
    ) -> AnswerT:
        if not isinstance(call, _CALLS) or not isinstance(answer, _ANSWERS):
            return answer
        statement = statement_of(call)
        outcome, result_hash = _outcome(answer)
        receipt = encode_receipt(
            Receipt(
                version=RECEIPT_VERSION,
                instance_id=self._store.instance_id,
                request_id=call.request_id,
                action=statement.action,
                statement_hash=statement_hash_of(statement),
                result_hash=result_hash,
                key_uuid=key_uuid,
                time=now,
                state_counter=state_counter,
                outcome=outcome,
                restore_epoch=self._store.restore_epoch,
            )
        )
        return msgspec.structs.replace(answer, receipt=receipt, receipt_signature=self._signer.sign_receipt(receipt))


def check_request_id(call: protocol.Call) -> None:
    """Refuse a request id that no receipt can name, before anything is done for it.

    Args:
        call: Any call.

    Raises:
        KeyturnError: 600 `receipt.request-id`.
    """
    request_id = _request_id(call)
    if request_id and not is_request_id(request_id):
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"a request id has 1 to {MAX_REQUEST_ID} visible ASCII characters: a receipt could not name this one",
            refusal="receipt.request-id",
        )


def statement_of(call: ReceiptedCall) -> Statement:
    """What a call asks for, as receipts state it.

    Args:
        call: The call.

    Returns:
        Its statement.
    """
    match call:
        case protocol.Sign():
            return Statement.sign(
                call.label, call.payload, call.algorithm, call.signature_type, sign_options(call).given
            )
        case protocol.Decrypt():
            return Statement.decrypt(
                call.label, call.payload, call.algorithm, iv=call.iv, aad=call.aad, tag_length=call.tag_length
            )
        case protocol.Unwrap():
            return Statement.unwrap(
                call.label,
                call.wrapped_key,
                call.method,
                call.new_label,
                call.attributes,
                policy=call.policy,
                blocked=call.blocked,
                key_id=call.key_id,
                allowed_operations=call.allowed_operations,
                allowed_algorithms=call.allowed_algorithms,
            )
        case protocol.SignCertificate():
            return Statement.certify(
                call.label,
                call.kind,
                call.payload,
                call.algorithm,
                certificate_authority=call.certificate_authority,
                attach_to=call.attach_to,
            )
        case protocol.Modify():
            return Statement.modify(call.label, call.policy)
        case protocol.Block():
            return Statement.block(call.label)
        case protocol.Unblock():
            return Statement.unblock(call.label)


def _request_id(call: protocol.Call) -> str:
    return call.request_id if isinstance(call, _CALLS) else ""


def _outcome(answer: ReceiptedAnswer) -> tuple[Outcome, bytes]:
    match answer:
        case protocol.Signed():
            return "executed", result_hash_of(answer.signature)
        case protocol.Decrypted():
            return "executed", result_hash_of(answer.data)
        case protocol.Certified():
            return "executed", result_hash_of(answer.data)
        case protocol.Attested():
            return "executed", result_hash_of(answer.xml.encode())
        case protocol.Refused():
            return "refused", refusal_hash_of(ErrorCode[answer.code].number, answer.refusal)
