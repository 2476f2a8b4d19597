"""Takes back what the offline HSM made, and lets it count only after checking it (decisions 14 and 15, R24).

- A signature is checked with the public key the request was opened with, over its payload, in exactly its algorithm
  and form.
- A certificate, or a request for one, must consist of the bytes that were fixed when the request was opened, and of a
  signature over them that is checked the same way (R17).
- A change of a key is checked by the HSM's own attestation: same key, later state, the wanted policy or status.
- Decrypted data, unwrapped keys and refusals cannot be checked so: they count only with the HSM's receipt.
- A receipt that is there is verified, wanted or not, and kept.
- A timestamp is checked against the integrity key in the registered attributes; then the approvers get their tasks.

Whether the broker itself saw enough approvals is not asked. The HSM has decided; a valid signature by that key over
that payload exists whatever the broker thinks of it, and hiding it would help nobody (ADR 0034).
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from keyturn.broker import progress
from keyturn.broker.calls import RequestKind
from keyturn.broker.certificates import require_certified
from keyturn.broker.execution import REPLAYABLE, TRIES
from keyturn.broker.executor import ROLLED_BACK
from keyturn.broker.prediction import last_closing
from keyturn.broker.receipts import checked_receipt, given_receipt
from keyturn.broker.register import (
    parsed,
    policy_bytes,
    record_of,
    registered,
    registered_or_none,
    registration_of,
    replace,
    require_same_key,
)
from keyturn.broker.stamping import Stamping
from keyturn.broker.states import RequestStatus
from keyturn.broker.storage import statements
from keyturn.broker.storage.database import StaleError
from keyturn.broker.storage.rows import OfflineKeyRow
from keyturn.broker.stored_calls import CERTIFICATE_KINDS, sign_options, unwrap_call
from keyturn.clock import iso
from keyturn.crypto.registry import verify
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.receipt_hashes import refusal_hash_of, result_hash_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.broker.locks import RequestLocks
    from keyturn.broker.receipts import GivenReceipt
    from keyturn.broker.register import Register
    from keyturn.broker.storage.database import Database, Transaction
    from keyturn.broker.storage.rows import RequestRow
    from keyturn.clock import Clock
    from keyturn.ska.attestation import KeyAttestation
    from keyturn.ska.receipt import Outcome, Receipt

_OUTCOMES: Final = ("result", "keyAttributes", "refused", "timestampAnswer")
_FIELDS: Final = frozenset({"id", *_OUTCOMES, "receipt", "receiptSignature"})
_BYTES: Final = frozenset({RequestKind.SIGN, *CERTIFICATE_KINDS, RequestKind.DECRYPT})
"""Kinds whose outcome is bytes; that of the others is attested attributes."""
_UNWELL: Final = frozenset(
    {ErrorCode.CONNECTIVITY.number, ErrorCode.HSM_FAILURE.number, ErrorCode.CREATION_INTEGRITY_KEY.number}
)
"""Codes that say nothing about the request: it goes on waiting, unchanged."""
MAX_SIGNATURE: Final = 49_856
"""Longest signature in bytes: that of SLH-DSA-SHA2-256f and SLH-DSA-SHAKE-256f."""
MAX_MESSAGE: Final = 1000
"""Most characters of a refusal's message that are kept; a receipt does not cover it."""


class Results:
    """Imports results. Only in the air-gapped profile.

    Args:
        database: The store.
        register: Registered keys, or None where there is an HSM.
        clock: Where the time comes from.
        locks: One lock per request.
    """

    def __init__(self, database: Database, register: Register | None, clock: Clock, locks: RequestLocks) -> None:
        self._database = database
        self._register = register
        self._clock = clock
        self._locks = locks
        self._stamping = Stamping(database, clock)

    async def take(self, body: Mapping[str, Any]) -> None:
        """Take a result; arguments and errors as `Broker.import_result`."""
        if self._register is None:
            raise KeyturnError(
                ErrorCode.UNSUPPORTED_OPERATION,
                "This broker is connected to its HSM (profile local); results are imported only across an air gap.",
                refusal="profile.local",
            )
        outcome = _outcome_of(body)
        request_id = _text(body, "id")
        async with self._locks.of(request_id):
            for _ in range(TRIES):
                try:
                    await self._take(request_id, outcome, body, self._register)
                except StaleError:
                    # The request followed a change of its key's policy in between; it is looked at again.
                    continue
                return
        raise KeyturnError(
            ErrorCode.TECHNICAL,
            "Too many changes to this request at the same time; nothing was stored. Try again.",
            refusal="request.busy",
        )

    async def _take(self, request_id: str, outcome: str, body: Mapping[str, Any], register: Register) -> None:
        request, _ = await self._database.read(lambda tx: progress.load(tx, request_id))
        if outcome == "timestampAnswer":
            await self._stamping.take(request, body[outcome])
            return
        given = given_receipt(body)
        if outcome == "refused":
            await self._refused(request, _refusal(body[outcome]), given)
            return
        wanted = "result" if request.kind in _BYTES else "keyAttributes"
        if outcome != wanted:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                f"This is a {request.kind} request: its outcome comes as {wanted}.",
                refusal="result.wrong-kind",
            )
        if outcome == "result":
            await self._bytes(request, _bytes(body, "result"), given)
            return
        attributes = body["keyAttributes"]
        if not isinstance(attributes, dict):
            _malformed("keyAttributes")
        if _taken_before(request, _text(attributes, "xml").encode()):
            return
        attested = _attested(attributes, register)
        if request.kind == RequestKind.UNWRAP:
            await self._unwrapped(request, attested, given)
        else:
            await self._changed(request, attested, given)

    async def _bytes(self, request: RequestRow, result: bytes, given: GivenReceipt | None) -> None:
        """Take a signature or a certificate, which a key proves, or decrypted data, which only a receipt does."""
        if _taken_before(request, result):
            return
        if request.kind == RequestKind.DECRYPT:
            given = _required(given, "Decrypted data")
        elif request.kind in CERTIFICATE_KINDS:
            _require_certificate(request, result)
        else:
            _require_signature(request, result)
        receipt = await self._checked(request, given, "executed", result_hash_of(result))
        done = self._done(result, given, receipt)
        await self._database.write(lambda tx: progress.advance(tx, request, **done))

    async def _unwrapped(self, request: RequestRow, attested: _Attested, given: GivenReceipt | None) -> None:
        """Take an unwrapped key: attested by the HSM, with its word that it came of this request."""
        given = _required(given, "An unwrapped key")
        wanted = unwrap_call(request).new_label
        if attested.attestation.label != wanted:
            _wrong(f"it attests the key {attested.attestation.label!r}, not {wanted!r}")
        receipt = await self._checked(request, given, "executed", result_hash_of(attested.row.xml.encode()))
        done = self._done(attested.row.xml.encode(), given, receipt)
        row = attested.row._replace(registered_at=self._clock.now())

        def store(tx: Transaction) -> None:
            progress.advance(tx, request, **done)
            # A label that is registered already is left to people: which of two keys is meant, they must say (R19).
            if registered_or_none(tx, wanted) is None:
                tx.run(statements.INSERT_OFFLINE_KEY, row._asdict())

        await self._database.write(store)

    async def _changed(self, request: RequestRow, attested: _Attested, given: GivenReceipt | None) -> None:
        """Take a new policy, a block or its end: same key, later state, the wanted content."""
        attestation = attested.attestation
        if attestation.uuid != request.key_uuid or attestation.label != request.key_label:
            _wrong("it attests another key than the request was opened for")
        if request.kind == RequestKind.MODIFY and policy_bytes(attestation) != request.payload:
            _wrong("the attested policy is not the one that was asked for")
        if request.kind != RequestKind.MODIFY and attestation.blocked is not (request.kind == RequestKind.BLOCK):
            _wrong(f"the attested key is {'' if attestation.blocked else 'not '}blocked")
        receipt = await self._checked(request, given, "executed", result_hash_of(attested.row.xml.encode()))
        now = self._clock.now()
        done = self._done(attested.row.xml.encode(), given, receipt)
        row = attested.row._replace(registered_at=now)

        def store(tx: Transaction) -> None:
            # What is registered is compared in the unit that replaces it: a newer state may have come meanwhile.
            present = parsed(registered(tx, request.key_label).xml)
            require_same_key(present, attestation)
            later = attestation.state_counter > max(present.state_counter, request.key_counter)
            if not later and receipt is None:
                _wrong(
                    f"its state counter {attestation.state_counter} is not above the registered "
                    f"{present.state_counter}, so that it was attested before the change"
                )
            progress.advance(tx, request, **done)
            if later:
                replace(tx, row, now)
            if receipt is not None:
                # Unblocks and modifies that were stamped before this are void (R15); when it was, the receipt says.
                key = dataclasses.replace(
                    record_of(registered(tx, request.key_label)),
                    last_blocked=receipt.time if request.kind == RequestKind.BLOCK else 0,
                    last_modified=receipt.time if request.kind == RequestKind.MODIFY else 0,
                )
                progress.follow_key(tx, key, now, replayable=REPLAYABLE in attestation.switches)

        await self._database.write(store)

    async def _refused(self, request: RequestRow, refused: _Refusal, given: GivenReceipt | None) -> None:
        """Take a refusal: what time or other approvals can cure goes on waiting, as at a local refusal (R25)."""
        given = _required(given, "A refusal")
        if not RequestStatus(request.status).is_open and request.receipt == given.blob:
            return
        _require_open(request)
        receipt = await self._checked(request, given, "refused", refusal_hash_of(refused.code, refused.word))
        assert receipt is not None  # noqa: S101 - It was required.
        closing = last_closing(request)
        about_approvals = refused.word.startswith(("approval.", "approvals."))
        status = RequestStatus.FAILED
        if about_approvals and closing is not None and receipt.time >= closing:
            # The word `approvals.too-late` is not enough: it depends on which approvals were sent, older ones perhaps,
            # and no receipt says which.
            status = RequestStatus.EXPIRED
        elif about_approvals or refused.code in _UNWELL or refused.word == ROLLED_BACK:
            status = RequestStatus.PENDING
        await self._database.write(
            lambda tx: progress.advance(
                tx,
                request,
                status=status.value,
                failure=f"The offline HSM refused at {iso(receipt.time)}: {refused.message}",
                receipt=given.blob,
                receipt_signature=given.signature,
            )
        )

    async def _checked(
        self, request: RequestRow, given: GivenReceipt | None, outcome: Outcome, result_hash: bytes
    ) -> Receipt | None:
        """Verify a receipt that is there."""
        if given is None:
            return None
        attestation = await self._database.read(lambda tx: registration_of(tx, request))
        return checked_receipt(request, given, attestation, outcome=outcome, result_hash=result_hash)

    def _done(self, result: bytes, given: GivenReceipt | None, receipt: Receipt | None) -> dict[str, Any]:
        """The changes that an outcome makes; its time is the HSM's where the HSM has said it."""
        return {
            "status": RequestStatus.EXECUTED.value,
            "executed_at": int(self._clock.now()) if receipt is None else receipt.time,
            "result": result,
            "failure": None,
            "receipt": None if given is None else given.blob,
            "receipt_signature": None if given is None else given.signature,
        }


@dataclass(frozen=True, slots=True)
class _Attested:
    """Attested attributes whose signature was found valid."""

    attestation: KeyAttestation
    row: OfflineKeyRow


@dataclass(frozen=True, slots=True)
class _Refusal:
    """The error body of a refusal: `errorCode`, `refusal`, `message`."""

    code: int
    word: str
    message: str


def _attested(attributes: Mapping[str, Any], register: Register) -> _Attested:
    xml, signature = _text(attributes, "xml"), _bytes(attributes, "xmlSignature")
    try:
        attestation = register.verified(xml, signature, attributes.get("json"))
    except KeyturnError as error:
        if error.code is ErrorCode.INVALID_CERTIFICATE:
            raise
        _wrong(error.message)
    key_name = _text(attributes, "attestationKeyName", "")
    return _Attested(attestation, OfflineKeyRow(attestation.label, xml, signature, key_name, 0.0))


def _refusal(body: object) -> _Refusal:
    if not isinstance(body, dict):
        _malformed("refused")
    code = body.get("errorCode")
    if not isinstance(code, int) or isinstance(code, bool):
        _malformed("refused.errorCode")
    return _Refusal(code, _text(body, "refusal", ""), _text(body, "message", "")[:MAX_MESSAGE])


def _require_signature(request: RequestRow, signature: bytes) -> None:
    if len(signature) > MAX_SIGNATURE:
        _wrong("it is too long for a signature")
    try:
        verify(
            request.key_public,
            request.algorithm,
            request.payload,
            signature,
            signature_type=request.signature_type,
            options=sign_options(request),
        )
    except KeyturnError as error:
        _wrong(error.message)


def _require_certificate(request: RequestRow, made: bytes) -> None:
    try:
        require_certified(request, made)
    except KeyturnError as error:
        _wrong(error.message)


def _outcome_of(body: Mapping[str, Any]) -> str:
    unknown = sorted(set(body) - _FIELDS)
    if unknown:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED, f"Unknown field {unknown[0][:64]!r} in the result.", refusal="result.form"
        )
    present = [name for name in _OUTCOMES if body.get(name) is not None]
    if len(present) != 1:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            "Give exactly one of result, keyAttributes, refused and timestampAnswer.",
            refusal="result.form",
        )
    return present[0]


def _taken_before(request: RequestRow, result: bytes) -> bool:
    """Whether this very result is stored; refuses any other one once the request is final."""
    status = RequestStatus(request.status)
    if status.is_open:
        return False
    if status is RequestStatus.EXECUTED and request.result == result:
        return True
    if status is RequestStatus.EXECUTED:
        raise KeyturnError(
            ErrorCode.UNSUPPORTED_OPERATION,
            "The request has been executed and has its result; another one is not taken.",
            refusal="result.other",
        )
    raise _closed(status)


def _require_open(request: RequestRow) -> None:
    status = RequestStatus(request.status)
    if not status.is_open:
        raise _closed(status)


def _closed(status: RequestStatus) -> KeyturnError:
    return KeyturnError(
        ErrorCode.UNSUPPORTED_OPERATION,
        f"The request is {status}; that is final, and no result is taken. Open a new request.",
        refusal="request.closed",
    )


def _text(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str):
        _malformed(name)
    return value


def _bytes(body: Mapping[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(_text(body, name), validate=True)
    except (binascii.Error, ValueError):
        _malformed(name)


def _malformed(name: str) -> NoReturn:
    raise KeyturnError(
        ErrorCode.VALIDATION_FAILED,
        f"Field '{name}' is missing or has not the form it must have (text, base64, or the attributes object).",
        refusal="result.form",
    )


def _wrong(why: str) -> NoReturn:
    raise KeyturnError(
        ErrorCode.INVALID_SIGNATURE,
        f"This is not the result of this request: {why}. The request is unchanged.",
        refusal="result.wrong",
    )


def _required(given: GivenReceipt | None, what: str) -> GivenReceipt:
    if given is not None:
        return given
    raise KeyturnError(
        ErrorCode.UNSUPPORTED_OPERATION,
        f"{what} cannot be checked without a receipt signed by the HSM: send receipt and receiptSignature, too. The "
        "offline side gives them where the call carries a requestId, as inputOfflineHsm does. The request stays as it "
        "is; cancel it with DELETE /v1/request/{id} if it is not to be executed.",
        refusal="result.needs-receipt",
    )
