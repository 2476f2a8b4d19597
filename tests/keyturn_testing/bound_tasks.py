"""Approval tasks of a key with bound approvals, as an honest broker hands them out.

task = bound_task("sign")
lying = bound_task("sign", change=lambda statement: replace(statement, algorithm="NONE_WITH_ECDSA"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.bound_key import BoundKey
from keyturn.ska.messages import ApprovalToken, encode_approval
from keyturn.ska.policy import encode_policy
from keyturn.ska.signatures import api_signature_algorithm, unwrap_signature
from keyturn.ska.statement import encode_statement
from keyturn_testing.approval_tasks import LABEL, NEW_ATTRIBUTES, NEW_LABEL, WRAPPED_KEY, b64
from keyturn_testing.reviews import CIPHERTEXT, DECRYPTS, EVERY_KIND, HSM, PAYLOAD, POLICY

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.ska.policy import Policy
    from keyturn.ska.statement import Statement

REQUEST_ID = "1c7f3c52-3a5e-4d0a-8f5e-6b1d0c9a7e11"
BOUND_KINDS = ("sign", "decrypt", "unwrap", "block", "unblock")
KEY_UUID = parse_attestation(HSM.attest(POLICY)[0]).uuid
KEY = BoundKey(KEY_UUID, HSM.operational_spki, encode_policy(POLICY))
_ACTIONS = {"block": Action.BLOCK, "unblock": Action.UNBLOCK}


def statement_of(kind: str) -> Statement:
    """What approvals of the honest task of a kind cover."""
    match kind:
        case "sign":
            return KEY.sign(REQUEST_ID, PAYLOAD, "SHA256_WITH_ECDSA", "")
        case "decrypt":
            return KEY.decrypt(REQUEST_ID, CIPHERTEXT, "RSA_PADDING_OAEP")
        case "unwrap":
            return KEY.unwrap(REQUEST_ID, WRAPPED_KEY, "RSA_WRAP_PAD", NEW_LABEL, NEW_ATTRIBUTES)
        case "block":
            return KEY.block(REQUEST_ID)
    return KEY.unblock(REQUEST_ID)


def attributes(kind: str, *, bound: bool = True, policy: Policy = POLICY, **changes: Any) -> dict[str, str]:
    """The attested attributes of the key, as a task carries them."""
    given: dict[str, Any] = {"attributes": {"sign": True, "decrypt": False, "unwrap": False, "extractable": False}}
    if kind in {"decrypt", "unwrap"}:
        given = {"attributes": dict(DECRYPTS["attributes"])}
    if bound:
        given["attributes"]["boundApprovals"] = True
        given |= {"receipt_key": HSM.integrity_spki, "store_counter": 9, "accepted_rollbacks": 0}
    given["blocked"] = kind == "unblock"
    xml, signature = HSM.attest(policy, **given, **changes)
    return {"keyAttributes": xml, "keyAttributesSignature": b64(signature)}


def with_payload(task: dict[str, Any], payload: bytes, action: Action) -> dict[str, Any]:
    """The task with an approval of these bytes, and a timestamp for them."""
    token = HSM.stamp(ApprovalToken(action, LABEL.encode(), None, None, payload))
    scheme, bare = unwrap_signature(token.timestamp_signature or b"")
    return task | {
        "approvalToBeSigned": b64(encode_approval(token)),
        "timestamp": b64(token.timestamp or b""),
        "timestampSignature": b64(bare),
        "timestampSignatureAlgorithm": api_signature_algorithm(scheme),
        "timestampSignatureWithAlgorithm": b64(token.timestamp_signature or b""),
    }


def bound_task(kind: str, *, change: Callable[[Statement], Statement] | None = None, **request: Any) -> dict[str, Any]:
    """A task of a key with bound approvals.

    Args:
        kind: One of `BOUND_KINDS`.
        change: What to do to the statement that is to be signed, and to nothing beside it.
        request: Further members of the request.
    """
    statement = statement_of(kind) if change is None else change(statement_of(kind))
    task = EVERY_KIND[kind](**request) | attributes(kind) | {"requestId": REQUEST_ID}
    if kind == "unwrap":
        task["payload"] = b64(WRAPPED_KEY)
    return with_payload(task, encode_statement(statement), _ACTIONS.get(kind, Action.USE))
