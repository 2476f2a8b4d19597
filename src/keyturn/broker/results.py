"""Takes back what the offline HSM made, and lets it count only after checking it (decisions 14, R24).

A signature is checked with the public key the request was opened with, over its payload, in exactly its algorithm
and form. A change of policy is checked by the HSM's own attestation: same key, later state, the wanted policy.

Whether the broker itself saw enough approvals is not asked. The HSM has decided; a valid signature by that key over
that payload exists whatever the broker thinks of it, and hiding it would help nobody (ADR 0034).
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final, NoReturn

from keyturn.broker import progress
from keyturn.broker.execution import TRIES
from keyturn.broker.model import RequestKind
from keyturn.broker.register import parsed, policy_bytes, registered, replace, require_same_key
from keyturn.broker.states import RequestStatus
from keyturn.broker.storage.database import StaleError
from keyturn.broker.storage.rows import OfflineKeyRow
from keyturn.crypto.registry import verify
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.broker.locks import RequestLocks
    from keyturn.broker.register import Register
    from keyturn.broker.storage.database import Database, Transaction
    from keyturn.broker.storage.rows import RequestRow
    from keyturn.clock import Clock

_OUTCOMES: Final = ("result", "keyAttributes", "refused", "timestampAnswer")
_FIELDS: Final = frozenset({"id", *_OUTCOMES, "receipt", "receiptSignature"})
MAX_SIGNATURE: Final = 1024
"""Most bytes of a signature: an RSA key of 8192 bits makes 1024."""


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
        if outcome == "refused":
            _needs_receipt("A refusal")
        if outcome == "timestampAnswer":
            raise KeyturnError(
                ErrorCode.UNSUPPORTED_OPERATION,
                "Signed time across the gap is not available yet; this request does not wait for a timestamp.",
                refusal="timestamp.across-the-gap",
            )
        if (outcome == "keyAttributes") != (request.kind == RequestKind.MODIFY):
            wanted = "keyAttributes" if request.kind == RequestKind.MODIFY else "result"
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                f"This is a {request.kind} request: its outcome comes as {wanted}.",
                refusal="result.wrong-kind",
            )
        if outcome == "keyAttributes":
            await self._modified(request, body["keyAttributes"], register)
        else:
            await self._signed(request, _bytes(body, "result"))

    async def _signed(self, request: RequestRow, signature: bytes) -> None:
        if _taken_before(request, signature):
            return
        if len(signature) > MAX_SIGNATURE:
            _wrong("it is too long for a signature")
        try:
            verify(
                request.key_public,
                request.algorithm,
                request.payload,
                signature,
                signature_type=request.signature_type,
            )
        except KeyturnError as error:
            _wrong(error.message)
        now = int(self._clock.now())
        await self._database.write(
            lambda tx: progress.advance(
                tx,
                request,
                status=RequestStatus.EXECUTED.value,
                executed_at=now,
                result=signature,
                failure=None,
            )
        )

    async def _modified(self, request: RequestRow, attributes: object, register: Register) -> None:
        if not isinstance(attributes, dict):
            _malformed("keyAttributes")
        xml, signature = _text(attributes, "xml"), _bytes(attributes, "xmlSignature")
        if _taken_before(request, xml.encode()):
            return
        try:
            attestation = register.verified(xml, signature, attributes.get("json"))
        except KeyturnError as error:
            if error.code is ErrorCode.INVALID_CERTIFICATE:
                raise
            _wrong(error.message)
        if attestation.uuid != request.key_uuid or attestation.label != request.key_label:
            _wrong("it attests another key than the request was opened for")
        if policy_bytes(attestation) != request.payload:
            _wrong("the attested policy is not the one that was asked for")
        now = self._clock.now()
        row = OfflineKeyRow(request.key_label, xml, signature, _text(attributes, "attestationKeyName", ""), now)

        def store(tx: Transaction) -> None:
            # What is registered is compared in the unit that replaces it: a newer state may have come meanwhile.
            present = parsed(registered(tx, request.key_label).xml)
            require_same_key(present, attestation)
            if attestation.state_counter <= max(present.state_counter, request.key_counter):
                _wrong(
                    f"its state counter {attestation.state_counter} is not above the registered "
                    f"{present.state_counter}, so that it was attested before the change"
                )
            progress.advance(
                tx,
                request,
                status=RequestStatus.EXECUTED.value,
                executed_at=int(now),
                result=xml.encode(),
                failure=None,
            )
            replace(tx, row, attestation, now)

        await self._database.write(store)


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
            "Give exactly one of result, keyAttributes and refused.",
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
    raise KeyturnError(
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


def _needs_receipt(what: str) -> NoReturn:
    raise KeyturnError(
        ErrorCode.UNSUPPORTED_OPERATION,
        f"{what} cannot be checked without a receipt signed by the HSM, and receipts are not available yet. The "
        "request stays as it is; cancel it with DELETE /v1/request/{id} if it is not to be executed.",
        refusal="result.needs-receipt",
    )
