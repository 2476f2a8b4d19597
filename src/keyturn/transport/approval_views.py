"""The approvals inside a request, decoded for people: who signed what, and whatever disagrees with the request.

Nothing here authorises: whether approvals are enough is the HSM's decision alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keyturn.errors import FormatError, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import certificate_name, load_approver_certificate, load_approver_key
from keyturn.ska.messages import decode_approval, decode_authorization, decode_timestamp
from keyturn.ska.policy import decode_policy
from keyturn.ska.signatures import unwrap_signature, verify
from keyturn.ska.words import APPROVAL_DOMAIN, checksum_words

if TYPE_CHECKING:
    from keyturn.ska.messages import ApprovalToken
    from keyturn.ska.policy import Policy


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """One signed approval inside a request.

    Args:
        token: What was signed, None if it cannot be decoded.
        words: Eight words over the signed bytes; the approvers saw the same.
        signer: Fingerprint of the signer's key (hex SHA-256), empty if unknown.
        signer_name: Name in the signer's certificate, empty without one.
        stamp: The HSM's time in it, seconds since the epoch; not verified here.
        problems: What is wrong with it, in sentences; empty if nothing is.
    """

    token: ApprovalToken | None
    words: tuple[str, ...]
    signer: str
    signer_name: str
    stamp: int | None
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks, as far as approvals repeat it.

    Args:
        action: What is to be done.
        label: Which key.
        payload: For use: the bytes that approvers sign. For an unwrap that is its own structure, not the wrapped key.
        policy: For modify: the new policy.
    """

    action: Action
    label: str
    payload: bytes | None
    policy: Policy | None


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
            key = load_approver_certificate(authorization.certificate)
            name = certificate_name(authorization.certificate)
        else:
            key = load_approver_key(authorization.spki or b"")
        signer = key.fingerprint
        scheme, bare = unwrap_signature(authorization.signature)
        verify(key, scheme, bare, authorization.approval)
    except KeyturnError as error:
        problems.append(error.message)
    token = stamp = None
    try:
        token = decode_approval(authorization.approval)
        stamp = None if token.timestamp is None else decode_timestamp(token.timestamp).seconds
        problems.extend(_disagreements(token, asked))
    except FormatError as error:
        problems.append(error.message)
    return ApprovalView(token, words, signer, name, stamp, tuple(problems))


def unreadable(problem: str) -> ApprovalView:
    """The view of something that is no approval.

    Args:
        problem: Why, in a sentence.
    """
    return ApprovalView(None, (), "", "", None, (problem,))


def _disagreements(token: ApprovalToken, asked: Asked) -> list[str]:
    """What the signed bytes say differently from the request around them."""
    found = []
    if token.action is not asked.action:
        found.append(f"It approves another operation ({token.action.name.lower()}).")
    if token.label != asked.label.encode():
        found.append("It is for another key." if token.label else "It names no key.")
    if asked.action is Action.USE and token.payload != asked.payload:
        found.append("It is for another payload.")
    if asked.action is Action.MODIFY and token.action is Action.MODIFY and token.payload is not None:
        try:
            same = decode_policy(token.payload) == asked.policy
        except FormatError:
            same = False
        if not same:
            found.append("It is for another policy.")
    return found
