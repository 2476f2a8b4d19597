"""Using keys: sign and decrypt.

Source: rest-api.md sections 3.2 and 3.3; docs/security/rules.md R3, R8, R31.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.crypto import ciphers, registry
from keyturn.crypto.keys import SecretKey
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.bound import statement_for
from keyturn.hsm.context import check_payload
from keyturn.hsm.door import Act, Kind

if TYPE_CHECKING:
    from keyturn.hsm.context import EngineContext
    from keyturn.hsm.records import KeyRecord
    from keyturn.ska.decision import Decision


class Using:
    """Handles `Sign` and `Decrypt`.

    Args:
        context: What the parts of the engine share.
    """

    def __init__(self, context: EngineContext) -> None:
        self._context = context

    def sign(self, call: protocol.Sign, digest: bytes) -> protocol.Answer:
        """Sign."""
        record = self._key(call)
        act = Act(Kind.SIGN, call.payload, call.algorithm, statement_for(call, record))
        private_key, decision = self._context.door.open(record, act, call.approvals)
        if isinstance(private_key, SecretKey):
            raise KeyturnError(
                ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
                f"the key {record.label!r} is symmetric and makes no signatures",
                refusal="key.symmetric",
            )
        answer = protocol.Signed(registry.sign(private_key, call.algorithm, call.payload, call.signature_type))
        return self._finish(call, digest, answer, record, decision)

    def decrypt(self, call: protocol.Decrypt, digest: bytes) -> protocol.Answer:
        """Decrypt."""
        record = self._key(call)
        act = Act(Kind.DECRYPT, call.payload, call.algorithm, statement_for(call, record))
        private_key, decision = self._context.door.open(record, act, call.approvals)
        parameters = ciphers.CipherParameters(call.iv, call.aad, call.tag_length)
        answer = protocol.Decrypted(ciphers.decrypt(private_key, call.algorithm, call.payload, parameters))
        return self._finish(call, digest, answer, record, decision)

    def _key(self, call: protocol.Sign | protocol.Decrypt) -> KeyRecord:
        record = self._context.key(call.label)
        if record.policy and not call.operation_id:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                "a key with a policy is used with an operation id, so that a repeated call is not executed twice",
                refusal="operation.id-missing",
            )
        check_payload(call.payload)
        return record

    def _finish(
        self,
        call: protocol.Sign | protocol.Decrypt,
        digest: bytes,
        answer: protocol.Answer,
        record: KeyRecord,
        decision: Decision | None,
    ) -> protocol.Answer:
        context = self._context
        if call.operation_id:
            with context.store.change() as change:
                change.count_use(record.uuid)
                answer = context.finish(change, call, digest, answer, record, context.journal.now(), decision)
        else:
            answer = context.receipts.answered(call, answer, record)
            context.store.count_use(record.uuid)
        context.journal.grant(call, record, decision, payload=call.payload)
        return answer
