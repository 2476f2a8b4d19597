"""Using keys: sign and decrypt.

Source: rest-api.md sections 3.2 and 3.3; docs/security/rules.md R3, R8, R31.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from keyturn.crypto import ciphers, registry
from keyturn.crypto.keys import SecretKey
from keyturn.crypto.kinds.stateful import StatefulPrivateKey
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.bound import sign_options, statement_for
from keyturn.hsm.context import check_payload
from keyturn.hsm.door import Act, Kind
from keyturn.hsm.slow_signing import SlowSigning, is_slow
from keyturn.hsm.stateful import next_index, use_up

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from keyturn.crypto.keys import PrivateKey
    from keyturn.hsm.context import EngineContext
    from keyturn.hsm.records import KeyRecord
    from keyturn.ska.decision import Decision


HMAC_KEY: Final = "HMACSHA256"
"""The kind of symmetric keys that make MACs."""


class Using:
    """Handles `Sign` and `Decrypt`.

    Args:
        context: What the parts of the engine share.
    """

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._slow_signing = SlowSigning(context, self._open_to_sign, self._finish)

    def sign(self, call: protocol.Sign, digest: bytes) -> protocol.Answer | Awaitable[protocol.Answer]:
        """Sign."""
        record = self._key(call)
        private_key, decision = self._open_to_sign(call, record)
        if isinstance(private_key, SecretKey):
            return self._authenticate(call, digest, record, private_key, decision)
        if is_slow(private_key):
            return self._slow_signing.sign(call, digest, record, private_key, sign_options(call))
        index = next_index(self._context.store, record)
        if index is not None and isinstance(private_key, StatefulPrivateKey):
            private_key = replace(private_key, index=index)
        signature = registry.sign(private_key, call.algorithm, call.payload, call.signature_type, sign_options(call))
        answer = protocol.Signed(signature)
        return self._finish(call, digest, answer, record, decision, index)

    def _authenticate(
        self, call: protocol.Sign, digest: bytes, record: KeyRecord, key: SecretKey, decision: Decision | None
    ) -> protocol.Answer:
        """Make a MAC, which the API calls a signature, too."""
        if key.algorithm != HMAC_KEY:
            raise KeyturnError(
                ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
                f"the key {record.label!r} is symmetric and makes no signatures",
                refusal="key.symmetric",
            )
        mac = registry.sign(key, call.algorithm, call.payload, call.signature_type, sign_options(call))
        return self._finish(call, digest, protocol.Signed(mac), record, decision)

    def _open_to_sign(self, call: protocol.Sign, record: KeyRecord) -> tuple[PrivateKey | SecretKey, Decision | None]:
        act = Act(
            Kind.SIGN,
            call.payload,
            call.algorithm,
            statement_for(call, record),
            sealed_password=call.sealed_password,
            options=sign_options(call),
        )
        return self._context.door.open(record, act, call.approvals)

    def decrypt(self, call: protocol.Decrypt, digest: bytes) -> protocol.Answer:
        """Decrypt."""
        record = self._key(call)
        act = Act(
            Kind.DECRYPT,
            call.payload,
            call.algorithm,
            statement_for(call, record),
            sealed_password=call.sealed_password,
        )
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
        index: int | None = None,
    ) -> protocol.Answer:
        context = self._context
        if call.operation_id:
            with context.store.change() as change:
                change.count_use(record.uuid)
                if index is not None:
                    use_up(change, context.store, record, index)
                answer = context.finish(change, call, digest, answer, record, context.journal.now(), decision)
        elif index is not None:
            with context.store.change() as change:
                change.count_use(record.uuid)
                use_up(change, context.store, record, index)
            answer = context.receipts.answered(call, answer, record)
        else:
            answer = context.receipts.answered(call, answer, record)
            context.store.count_use(record.uuid)
        context.journal.grant(call, record, decision, payload=call.payload)
        return answer
