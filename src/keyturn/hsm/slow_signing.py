"""Signatures that take so long that a worker makes them (SLH-DSA: up to two seconds).

The parent decides before it hands the key to a worker, and again, in the turn in which the effect is applied, before
the signature leaves. Whatever happened meanwhile (a block, a new policy, an approval withdrawn or used up, a store that
turns out to be an older one) counts, as if the signature had taken no time (R31). A signature that may not leave is
dropped where it was made.

Source: docs/security/rules.md R3, R14, R31; docs/adr/0095.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from keyturn.crypto.keys import kind_of
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.authority import StatementServedError
from keyturn.hsm.derived_keys import identity_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keyturn.crypto.keys import PrivateKey
    from keyturn.crypto.schemes import SignOptions
    from keyturn.hsm.context import EngineContext
    from keyturn.hsm.records import KeyRecord
    from keyturn.ska.decision import Decision


def is_slow(key: PrivateKey) -> bool:
    """Whether a worker signs with a key of this kind."""
    return kind_of(key).slow_signing


CallT = TypeVar("CallT", protocol.Sign, protocol.SignCertificate)


class SlowSigning(Generic[CallT]):
    """Brings a signature through a worker.

    Args:
        context: What the parts of the engine share.
        decide: Opens the door for a call with a key, as it is now; the key is dropped.
        finish: Applies the effect: call, digest, answer, key, decision.
    """

    def __init__(
        self,
        context: EngineContext,
        decide: Callable[[CallT, KeyRecord], tuple[object, Decision | None]],
        finish: Callable[[CallT, bytes, protocol.Signed, KeyRecord, Decision | None], protocol.Answer],
    ) -> None:
        self._context = context
        self._decide: Callable[[CallT, KeyRecord], tuple[object, Decision | None]] = decide
        self._finish: Callable[[CallT, bytes, protocol.Signed, KeyRecord, Decision | None], protocol.Answer] = finish

    def sign(
        self, call: CallT, digest: bytes, record: KeyRecord, key: PrivateKey, options: SignOptions
    ) -> Awaitable[protocol.Answer]:
        """Sign; the door was opened for this call in this turn.

        Args:
            call: The call.
            digest: `input_digest` of the call, empty where it has no operation id.
            record: The key.
            key: The private key.
            options: Parameters beside the payload.

        Returns:
            The coming answer; it never raises.
        """
        task = asyncio.get_running_loop().create_task(self._make(call, digest, record.uuid, key, options))
        if call.operation_id:
            self._context.operations.begin(call.operation_id, digest, task)
        return asyncio.shield(task)

    async def _make(
        self, call: CallT, digest: bytes, uuid: str, key: PrivateKey, options: SignOptions
    ) -> protocol.Answer:
        context = self._context
        try:
            form = getattr(call, "signature_type", "")
            signature = await context.workers.sign(key, call.algorithm, call.payload, form, options)
            # From here to the end nothing waits.
            context.rollback.require_current(call)
            record = context.key(call.label)
            if record.uuid != uuid:
                raise KeyturnError(
                    ErrorCode.KEY_NOT_EXISTENT,
                    f"the key {call.label!r} was deleted while it signed",
                    refusal="key.unknown",
                )
            _, decision = self._decide(call, record)
            return self._finish(call, digest, protocol.Signed(signature), record, decision)
        except StatementServedError as served:
            return self._repeated(call, served)
        except Exception as error:
            return self._refused(call, error)

    def _repeated(self, call: CallT, served: StatementServedError) -> protocol.Answer:
        """The same statement was brought twice at once; the other call was the first to end."""
        context = self._context
        try:
            answer = context.single_use.recall(call, context.key(call.label), served)
        except KeyturnError as error:
            return self._refused(call, error)
        context.journal.repeat(call)
        return answer

    def _refused(self, call: CallT, error: Exception) -> protocol.Answer:
        context = self._context
        refused = context.journal.refuse(call, error, "")
        try:
            return context.receipts.answered(call, refused, identity_of(context.store, call.label))
        except KeyturnError:
            # No receipt where the store takes nothing any more; the refusal stands.
            return refused
