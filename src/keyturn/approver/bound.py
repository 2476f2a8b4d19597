"""Bound approvals: the statement inside the bytes to be signed, decoded and held against everything beside it.

With a statement, what a server otherwise only claims (algorithm, form, kind of use, which key, which request) is part
of what is signed. So it is shown as fact, and whatever disagrees with it is a refusal.

Source: docs/security/rules.md R7, R11; docs/formats/statements.md.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from keyturn.approver.tasks import disagrees
from keyturn.errors import KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.policy import decode_policy, encode_policy
from keyturn.ska.policy_rules import check_policy
from keyturn.ska.statement import decode_statement, is_statement

if TYPE_CHECKING:
    from keyturn.approver.stamps import AttestedKey
    from keyturn.approver.tasks import Task
    from keyturn.ska.messages import ApprovalToken
    from keyturn.ska.statement import Statement

ATTRIBUTE: Final = "boundApprovals"
"""The attested attribute of keys whose approvals cover statements."""
_ACTION_OF: Final = {
    "sign": Action.USE,
    "csr": Action.USE,
    "issue": Action.USE,
    "selfsign": Action.USE,
    "decrypt": Action.USE,
    "unwrap": Action.USE,
    "block": Action.BLOCK,
    "unblock": Action.UNBLOCK,
}
_FIELD: Final = "approvalToBeSigned"


def statement_in(token: ApprovalToken) -> Statement | None:
    """The statement in an approval.

    Args:
        token: The approval decoded from the bytes to be signed.

    Returns:
        The statement, None when the approval carries none and need not.

    Raises:
        KeyturnError: `review.statement` when what begins as one is none, or is about another operation than the
            approval; `review.unexpected-payload` for any other payload of a block or unblock.
    """
    payload = token.payload
    if payload is None or token.action is Action.MODIFY:
        return None
    if not is_statement(payload):
        if token.action is not Action.USE:
            raise disagrees(_FIELD, "unexpected-payload", "It carries a payload that its operation does not have.")
        return None
    try:
        statement = decode_statement(payload)
        if statement.new_policy is not None:
            check_policy(decode_policy(statement.new_policy), blocked=statement.new_blocked is True)
    except KeyturnError as error:
        raise disagrees(
            _FIELD, "statement", f"It begins as the statement of a bound approval, but is none: {error.message}"
        ) from None
    if _ACTION_OF[statement.kind] is not token.action:
        raise disagrees(
            _FIELD,
            "statement",
            f"The statement in it is to {statement.kind}, but the approval around it is for {token.action.name}.",
        )
    return statement


def check_statement(task: Task, statement: Statement | None) -> None:
    """Refuse a statement for another request than the one that the task is for.

    Args:
        task: The task as received, and for which request it was asked.
        statement: The statement, if there is one.

    Raises:
        KeyturnError: `review.request-id`.
    """
    if statement is None:
        return
    for request_id, said in (
        (task.asked_for, "the one that you asked for"),
        (task.text("requestId"), "the one in the task"),
    ):
        if request_id is not None and request_id.lower() != statement.request_id:
            raise disagrees("requestId", "request-id", f"The approval is for another request than {said}.")


def check_bound_key(statement: Statement | None, token: ApprovalToken, attested: AttestedKey | None) -> None:
    """Hold the key and the policy in a statement against the attested attributes.

    Args:
        statement: The statement, if there is one.
        token: The approval.
        attested: The key's attributes, if known.

    Raises:
        KeyturnError: `review.key-attributes` when the statement is about another key or policy;
            `review.not-bound` when one of the two speaks of bound approvals and the other does not.
    """
    if attested is None:
        return
    attestation = attested.attestation
    bound = attestation.attributes.get(ATTRIBUTE) is True
    if statement is None:
        if bound and token.action is not Action.MODIFY:
            raise disagrees(
                _FIELD,
                "not-bound",
                "The key takes bound approvals only, but these bytes do not say which algorithm, which key and which "
                "request they are for.",
            )
        return
    if not bound:
        raise disagrees(
            _FIELD, "not-bound", "It carries the statement of a bound approval, which this key does not take."
        )
    policy = b"" if attestation.policy is None else encode_policy(attestation.policy)
    for same, what in (
        (statement.key_uuid == attestation.uuid, "uuid of the key"),
        (statement.spki_hash == sha256(attestation.public_key).digest(), "public key"),
        (statement.policy_hash == sha256(policy).digest(), "policy in force"),
    ):
        if not same:
            raise disagrees(
                "keyAttributes", "key-attributes", f"The {what} is another one than the statement to be signed names."
            )


def payload_beside(token: ApprovalToken, statement: Statement | None) -> bytes:
    """What a task's `payload` must be: the bytes that the key processes, not the statement about them.

    Args:
        token: The approval.
        statement: The statement, if there is one.
    """
    return (token.payload or b"") if statement is None else statement.data
