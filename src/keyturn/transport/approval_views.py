"""The approvals inside a request, decoded for people: who signed what, and whatever disagrees with the request.

Nothing here authorises: whether approvals are enough is the HSM's decision alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keyturn.errors import FormatError, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import certificate_name, certificate_spki, read_approver_key
from keyturn.ska.bound_request import differing_members, statement_kind
from keyturn.ska.messages import decode_approval, decode_authorization, decode_timestamp
from keyturn.ska.policy import decode_policy, encode_policy
from keyturn.ska.signatures import unwrap_signature, verify
from keyturn.ska.statement import decode_statement, is_statement
from keyturn.ska.words import APPROVAL_DOMAIN, checksum_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.ska.messages import ApprovalToken
    from keyturn.ska.policy import Policy
    from keyturn.ska.statement import Statement


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """One signed approval inside a request.

    Args:
        token: What was signed, None if it cannot be decoded.
        words: Eight words over the signed bytes; the approvers saw the same.
        signer: Fingerprint of the signer's key (hex SHA-256), empty if unknown.
        signer_name: Name in the signer's certificate, empty without one.
        stamp: The HSM's time in it, seconds since the epoch; not verified here.
        statement: What it is bound to (R7), None if it is not bound or cannot be decoded.
        problems: What is wrong with it, in sentences; empty if nothing is.
    """

    token: ApprovalToken | None
    words: tuple[str, ...]
    signer: str
    signer_name: str
    stamp: int | None
    problems: tuple[str, ...]
    statement: Statement | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks, as far as approvals repeat it.

    Args:
        action: What is to be done.
        label: Which key.
        payload: For use: the bytes that approvers sign. For an unwrap that is its own structure, not the wrapped key.
        policy: For modify: the new policy; for an unwrap that of the new key.
        name: The API's name of the request object.
        inner: The request object, as decoded JSON: what a bound approval repeats all of.
    """

    action: Action
    label: str
    payload: bytes | None
    policy: Policy | None
    name: str
    inner: Mapping[str, Any]


def view_approval(data: bytes, asked: Asked) -> ApprovalView:
    """Decode one approval and hold it against the request around it.

    Args:
        data: The authorization blob.
        asked: What the request asks.

    Returns:
        The view; whatever cannot be read stands in its problems.
    """
    try:
        authorization = decode_authorization(data)
    except FormatError as error:
        return unreadable(error.message)
    words = checksum_words(authorization.approval, domain=APPROVAL_DOMAIN)
    problems: list[str] = []
    signer = name = ""
    try:
        if authorization.certificate is not None:
            key = read_approver_key(certificate_spki(authorization.certificate))
            name = certificate_name(authorization.certificate)
        else:
            key = read_approver_key(authorization.spki or b"")
        signer = key.fingerprint
        scheme, bare = unwrap_signature(authorization.signature)
        verify(key, scheme, bare, authorization.approval)
    except KeyturnError as error:
        problems.append(error.message)
    token = stamp = statement = None
    try:
        token = decode_approval(authorization.approval)
        stamp = None if token.timestamp is None else decode_timestamp(token.timestamp).seconds
        statement = statement_of(token.payload) if token.action is not Action.MODIFY else None
        problems.extend(_disagreements(token, statement, asked))
    except KeyturnError as error:
        problems.append(error.message)
    return ApprovalView(token, words, signer, name, stamp, tuple(problems), statement)


def statement_of(payload: bytes | None) -> Statement | None:
    """The statement of a bound approval, None for any other payload.

    Args:
        payload: What an approval or a timestamp covers.

    Raises:
        KeyturnError: As `decode_statement`, when it begins as a statement and is none.
    """
    return decode_statement(payload) if payload is not None and is_statement(payload) else None


def unreadable(problem: str) -> ApprovalView:
    """The view of something that is no approval.

    Args:
        problem: Why, in a sentence.
    """
    return ApprovalView(None, (), "", "", None, (problem,))


def _disagreements(token: ApprovalToken, statement: Statement | None, asked: Asked) -> list[str]:
    """What the signed bytes say differently from the request around them."""
    found: list[str] = []
    if token.action is not asked.action:
        found.append(f"It approves another operation ({token.action.name.lower()}).")
    if token.label != asked.label.encode():
        found.append("It is for another key." if token.label else "It names no key.")
    if statement is not None:
        found.extend(_statement_disagreements(statement, asked))
    elif asked.action is Action.USE and token.payload != asked.payload:
        found.append("It is for another payload.")
    if asked.action is Action.MODIFY and token.action is Action.MODIFY and token.payload is not None:
        try:
            same = decode_policy(token.payload) == asked.policy
        except FormatError:
            same = False
        if not same:
            found.append("It is for another policy.")
    return found


def _statement_disagreements(statement: Statement, asked: Asked) -> list[str]:
    """What a bound approval says differently; the HSM compares it with the call and refuses."""
    found = []
    if statement_kind(asked.name, asked.inner) != statement.kind:
        found.append(f"It is bound to another kind of operation ({statement.kind}).")
    else:
        found.extend(f"It is bound to another {member}." for member in differing_members(statement, asked.inner))
    if asked.inner.get("requestId") != statement.request_id:
        found.append("It is bound to another request.")
    if statement.kind == "unwrap":
        policy = None if asked.policy is None else encode_policy(asked.policy)
        if policy != statement.new_policy or _starts_blocked(asked.inner) is not statement.new_blocked:
            found.append("It is bound to another policy of the new key.")
    return found


def _starts_blocked(inner: Mapping[str, Any]) -> bool:
    policy = inner.get("policy")
    status = policy.get("keyStatus") if isinstance(policy, dict) else None
    return isinstance(status, dict) and bool(status.get("blocked"))
