"""Operation ids: what makes a call happen once (docs/adr/0028)."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.framing import encode_message

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from keyturn.hsm.store import Store

_answers: Final[msgspec.msgpack.Decoder[protocol.Answer]] = msgspec.msgpack.Decoder(protocol.Answer)


class Operations:
    """The operations of one engine: done ones in the store, those under way here.

    Args:
        store: Keeps the results.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._under_way: dict[bytes, tuple[bytes, asyncio.Future[protocol.Answer]]] = {}

    def recall(self, operation_id: bytes, digest: bytes) -> protocol.Answer | Awaitable[protocol.Answer] | None:
        """What a repeated call is answered.

        Args:
            operation_id: Of the call.
            digest: `input_digest` of the call.

        Returns:
            The stored answer, the coming one of the same call under way, or None for a new operation.

        Raises:
            KeyturnError: `operation.id-missing`, `operation.id-size`; `operation.input-differs`: the id belongs to
                another call.
        """
        if len(operation_id) != protocol.OPERATION_ID_SIZE:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                f"an operation id has {protocol.OPERATION_ID_SIZE} bytes, not {len(operation_id)}",
                refusal="operation.id-size" if operation_id else "operation.id-missing",
            )
        under_way = self._under_way.get(operation_id)
        if under_way is not None:
            _require_same(under_way[0], digest)
            return asyncio.shield(under_way[1])
        stored = self._store.operation(operation_id)
        if stored is None:
            return None
        _require_same(stored.input_digest, digest)
        return decode_answer(self._store.operation_result(stored))

    def begin(self, operation_id: bytes, digest: bytes, answer: asyncio.Future[protocol.Answer]) -> None:
        """Note an operation that takes its time; it is forgotten when `answer` is there."""
        self._under_way[operation_id] = (digest, answer)
        answer.add_done_callback(lambda _: self._under_way.pop(operation_id, None))


def input_digest(call: protocol.Call) -> bytes:
    """SHA-256 over the whole canonical call, its kind included."""
    return sha256(b"keyturn/operation-input/1\x00" + encode_message(call)).digest()


def decode_answer(result: bytes) -> protocol.Answer:
    """The answer in a stored result, as it left then."""
    return _answers.decode(result)


def _require_same(known: bytes, digest: bytes) -> None:
    if known != digest:
        raise KeyturnError(
            ErrorCode.IN_HSM,
            "this operation id has already served for another input; a new operation needs a new id",
            refusal="operation.input-differs",
        )
