"""The bytes approvers sign: made when a request is opened, refused when all of it together could not be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.broker.prediction import CALL_ROOM, WITHOUT_PAYLOAD, most_needed_approvals, parsed_policy
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.messages import ApprovalToken, encode_approval
from keyturn.ska.policy_rules import listed_approvers
from keyturn.ska.signatures import wrap_signature
from keyturn.ska.tlv import MAX_BLOB

if TYPE_CHECKING:
    from keyturn.broker.executor import SignedStamp
    from keyturn.ska.actions import Action

SIGNED_APPROVAL_ROOM: Final = 4_096
"""Bytes kept free beside an approval for its signature and the signer's key or certificate: all of it must fit into
one blob. The largest keys and signatures (RSA 8192) take about 1 100 bytes each."""
APPROVAL_FRAME: Final = 128
"""Bytes in an approval beside statement, signature and signer, generously."""


def statement_for(label: str, policy: bytes, action: Action, payload: bytes, stamp: SignedStamp | None) -> bytes:
    """Make the bytes approvers sign; refuse what they could sign but nobody could send afterwards.

    Args:
        label: Label of the key.
        policy: Its policy blob.
        action: What is to be approved.
        payload: What approvals cover: for a bound key the statement; else the payload for use, the new policy for
            modify, empty for block and unblock.
        stamp: The HSM's timestamp, or None where approvals need none.

    Returns:
        The approval blob, the same for every approver.

    Raises:
        KeyturnError: 612 `payload.too-large`.
    """
    token = ApprovalToken(
        action=action,
        label=label.encode(),
        timestamp=None if stamp is None else stamp.timestamp,
        timestamp_signature=None if stamp is None else wrap_signature(stamp.algorithm, stamp.signature),
        payload=None if action in WITHOUT_PAYLOAD and not payload else payload,
    )
    # A timestamp repeats the payload.
    largest = (MAX_BLOB - SIGNED_APPROVAL_ROOM) // (1 if stamp is None else 2)
    try:
        statement = encode_approval(token)
    except FormatError:
        statement = b""
    if statement and len(statement) <= MAX_BLOB - SIGNED_APPROVAL_ROOM:
        _require_room(policy, action, payload, statement)
        return statement
    raise KeyturnError(
        ErrorCode.INVALID_PAYLOAD,
        f"With {len(payload)} bytes it does not fit into a signed approval of 64 KiB; about {largest} do for this "
        "key. Sign a digest with a NONE… algorithm instead, or list fewer approvers in a policy.",
        refusal="payload.too-large",
    )


def _require_room(policy: bytes, action: Action, payload: bytes, statement: bytes) -> None:
    """Refuse what officers could approve, but what with all their approvals would not fit into one call.

    Beside the statement an approval holds the signer's key, or their certificate, and a signature about as long.
    """
    needed = most_needed_approvals(policy, int(action))
    if len(payload) + needed * (len(statement) + SIGNED_APPROVAL_ROOM) <= CALL_ROOM:
        return
    rule = parsed_policy(policy).rule(action)
    signer = max((len(one.certificate or one.spki) + len(one.spki) for one in listed_approvers(rule)), default=0)
    if len(payload) + needed * (len(statement) + signer + APPROVAL_FRAME) <= CALL_ROOM:
        return
    raise KeyturnError(
        ErrorCode.INVALID_PAYLOAD,
        f"This key's rule can need {needed} approvals, each of which repeats the {len(payload)} bytes; together they "
        "do not fit into one call to the HSM. Sign a digest with a NONE… algorithm instead, or list fewer approvers in "
        "a policy.",
        refusal="payload.too-large",
    )
