"""The kinds of offline input and of results, by the names of their JSON members: one table for all who read them.

Source: decisions 13, 14 and 15; rest-api.md section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keyturn.ska.actions import Action

RESULT_FIELD: Final = "result"
"""Member of a result that is bytes: a signature, or what was decrypted."""
ATTRIBUTES_FIELD: Final = "keyAttributes"
"""Member of a result that is attested attributes."""
TIMESTAMP_FIELD: Final = "timestampAnswer"
"""Member of a result that is the HSM's signed time."""
REFUSED_FIELD: Final = "refused"
"""Member of a result that is the error body of a refusal."""


@dataclass(frozen=True, slots=True)
class Operation:
    """How one kind of offline input is read.

    Args:
        inner: Name of the object in the body.
        key: Name of its field with the key's label.
        action: What the approvals in it must be for; None for a timestamp, whose request says what it is for.
        verb: What the operation does, for people.
        payload: Name of its field with the bytes that are used, empty if there is none.
        algorithm: Name of its field with the algorithm or method, empty if there is none.
        outcome: Member of the result its answer becomes.
        answered: For bytes: member of the endpoint's answer that holds them.
    """

    inner: str
    key: str
    action: Action | None
    verb: str
    payload: str = ""
    algorithm: str = ""
    outcome: str = ATTRIBUTES_FIELD
    answered: str = ""


OPERATIONS: Final = {
    operation.inner: operation
    for operation in (
        Operation(
            inner="signRequest",
            key="signKeyName",
            action=Action.USE,
            verb="sign with the key",
            payload="payload",
            algorithm="signatureAlgorithm",
            outcome=RESULT_FIELD,
            answered="signature",
        ),
        Operation(
            inner="decryptRequest",
            key="decryptKeyName",
            action=Action.USE,
            verb="decrypt with the key",
            payload="encryptedPayload",
            algorithm="cipherAlgorithm",
            outcome=RESULT_FIELD,
            answered="payload",
        ),
        Operation(
            inner="unwrapKeyRequest",
            key="unwrapKeyName",
            action=Action.USE,
            verb="unwrap a new key with the key",
            payload="wrappedKey",
            algorithm="wrapMethod",
        ),
        Operation(
            inner="certificateRequest",
            key="signKeyName",
            action=Action.USE,
            verb="sign a certificate, or a request for one, with the key",
            payload="toBeSigned",
            algorithm="signatureAlgorithm",
            outcome=RESULT_FIELD,
            answered="encoded",
        ),
        Operation("blockRequest", "blockKeyName", Action.BLOCK, "block the key: it acts for nobody"),
        Operation("unblockRequest", "unblockKeyName", Action.UNBLOCK, "unblock the key"),
        Operation("modifyRequest", "modifyKeyName", Action.MODIFY, "replace the key's policy"),
        Operation(
            inner="timestampRequest",
            key="keyName",
            action=None,
            verb="sign the present time; it does nothing with the key",
            payload="payload",
            outcome=TIMESTAMP_FIELD,
        ),
    )
}
"""Every kind of `inputOfflineHsm` this release carries (decisions 13 and 15)."""

WITNESS_FIELD: Final = "hsmWitness"
"""Member beside a request: something that the offline HSM signed, which it is shown before the request (R6)."""

ACTION_WORDS: Final = {"use": Action.USE, "block": Action.BLOCK, "unblock": Action.UNBLOCK, "modify": Action.MODIFY}
"""`operation` of a request for a timestamp, and what it stands for."""

OUTCOMES: Final = (RESULT_FIELD, ATTRIBUTES_FIELD, TIMESTAMP_FIELD, REFUSED_FIELD)
"""Members of a result of which it has exactly one (decisions 14 and 15)."""
RECEIPT_FIELDS: Final = ("receipt", "receiptSignature")
"""Members that the HSM's receipt adds to any of them (R24)."""
