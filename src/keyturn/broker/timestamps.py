"""Signed time across the gap: which requests wait for it, how it is asked for, and how an answer is checked.

Where approvals need a timestamp of the HSM and there is no HSM, a request opens without tasks. The courier carries a
request for a timestamp out and the HSM's answer back; only then there is something that approvers could sign.

The HSM will check the timestamp again inside every approval. What is checked here is what would otherwise send
approvers to work, and couriers on their way, for nothing. Pure.

Source: decisions 15 and 18; docs/security/rules.md R12, R14, R15, R18; docs/adr/0066-time-by-courier.md.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final, NoReturn

from keyturn.broker.bound import covered_by_approvals, is_bound
from keyturn.broker.executor import SignedStamp
from keyturn.broker.prediction import governing_rule
from keyturn.clock import iso
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.messages import Timestamp, decode_timestamp, encode_timestamp
from keyturn.ska.policy import decode_policy
from keyturn.ska.policy_json import policy_to_json
from keyturn.ska.policy_rules import required_timestamp
from keyturn.ska.signatures import unwrap_signature, verify, wrap_signature
from keyturn.ska.window import closes_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.broker.executor import KeyRecord
    from keyturn.broker.storage.rows import RequestRow
    from keyturn.ska.attestation import KeyAttestation
    from keyturn.ska.policy import Rule

CLOCK_DIFFERENCE: Final = 3_600
"""Seconds by which the clocks of the two sides may differ: nothing sets a clock that is on no network."""
LARGEST_STAMP_SIGNATURE: Final = 1_024
"""Bytes that the signature of a timestamp yet to come may take: RSA of 8192 bits."""

NEVER_REPLAYED: Final = frozenset({Action.MODIFY, Action.UNBLOCK})
"""Actions whose statements the HSM takes once (R15)."""
_FIELDS: Final = ("timestamp", "timestampSignature", "timestampSignatureAlgorithm", "timestampKeyName")


def why_needed(key: KeyRecord, action: Action, rule: Rule, *, given_out: bool) -> str:
    """Why approvals for an action need a timestamp of the HSM, where there is no HSM to ask for one at once.

    Args:
        key: The key.
        action: What is to be done.
        rule: The rule that governs it.
        given_out: Whether the very bytes that approvers would sign without a timestamp were given out before.

    Returns:
        Half a sentence; empty where none is needed.
    """
    if not any(token.groups for token in rule.tokens):
        return ""
    if required_timestamp(rule):
        return "the key's policy has time limits"
    if key.generation > 1:
        return "other keys had this name before"
    if tells_uses_apart(key, action):
        return "the key is used once for each approval, which needs a time of its own"
    if given_out and action in NEVER_REPLAYED:
        return f"approvals to {action.name.lower()} without a time count once in the key's life, and were asked before"
    return ""


def tells_uses_apart(key: KeyRecord, action: Action) -> bool:
    """Whether approvals need a timestamp because each serves for one use, and nothing else tells the uses apart (R14).

    Approvals for a bound key name their request.
    """
    return action is Action.USE and key.attributes.get("singleUse") is True and not is_bound(key)


def awaits_stamp(request: RequestRow) -> bool:
    """Whether a request waits for its timestamp: it has a policy, but nothing that approvers could sign yet."""
    return bool(request.policy) and not request.statement


def placeholder(payload: bytes, action: Action, key_name_length: int = 128) -> SignedStamp:
    """A timestamp as large as any that may come, for finding out whether approvals with it will fit.

    Args:
        payload: What it is for.
        action: What is to be done.
        key_name_length: Bytes of the integrity key's name.
    """
    stamp = Timestamp(0, "x" * key_name_length, payload or None, is_policy=action is Action.MODIFY)
    return SignedStamp(
        timestamp=encode_timestamp(stamp), signature=bytes(LARGEST_STAMP_SIGNATURE), algorithm="SHA512_WITH_RSA"
    )


def timestamp_request(request: RequestRow) -> dict[str, Any]:
    """The body for `POST /v1/synchronousTimestamp` of the offline side (decisions 15).

    Args:
        request: A request that waits for its timestamp.
    """
    action = Action(request.action)
    inner: dict[str, Any] = {"keyName": request.key_label, "operation": action.name.lower()}
    if action is Action.MODIFY:
        inner["policy"] = policy_to_json(decode_policy(request.payload), blocked=None)
    elif covered := covered_by_approvals(request):
        inner["payload"] = base64.b64encode(covered).decode("ascii")
    return {"timestampRequest": inner}


def checked_answer(request: RequestRow, body: object, attestation: KeyAttestation, *, now: float) -> SignedStamp:
    """Check the answer to a request for a timestamp.

    Args:
        request: The request that waits for it.
        body: The `timestampAnswer` object.
        attestation: The key as it is registered; its integrity key is the one that counts.
        now: This side's clock, seconds since the epoch.

    Returns:
        The timestamp.

    Raises:
        KeyturnError: 600 `timestamp.form`; 403 `timestamp.other-key`, `timestamp.bad-signature`,
            `timestamp.wrong-payload`; 404 `timestamp.before-key`, `timestamp.stale`, `timestamp.off`,
            `timestamp.closed`.
    """
    answer, stamp = read_answer(body)
    if stamp.key_name != attestation.integrity_key_name or answer.key_name != attestation.integrity_key_name:
        _not_ours(
            f"It is signed with the key {stamp.key_name[:64]!a}, but the registered attributes name "
            f"{attestation.integrity_key_name!a} as the HSM's integrity key. If that key has changed, register the "
            "key's attributes again",
            "timestamp.other-key",
        )
    try:
        scheme, bare = unwrap_signature(wrap_signature(answer.algorithm, answer.signature))
        verify(load_approver_key(attestation.integrity_key), scheme, bare, answer.timestamp)
    except KeyturnError:
        _not_ours("It is not signed by the integrity key in the registered attributes", "timestamp.bad-signature")
    action = Action(request.action)
    if (stamp.action_payload or b"") != covered_by_approvals(request) or stamp.is_policy is not (
        action is Action.MODIFY
    ):
        _not_ours("It was made for something else than this request", "timestamp.wrong-payload")
    _require_sane_time(request, stamp.seconds, attestation, now)
    return answer


def read_answer(body: object) -> tuple[SignedStamp, Timestamp]:
    """Read a `timestampAnswer` without judging it.

    Args:
        body: The object.

    Raises:
        KeyturnError: 600 `timestamp.form`.
    """
    if not isinstance(body, dict) or set(body) != set(_FIELDS) or not all(isinstance(v, str) for v in body.values()):
        raise FormatError(
            f"timestampAnswer must have the four texts {', '.join(_FIELDS)}, as the offline POST "
            "/v1/synchronousTimestamp gave them.",
            refusal="timestamp.form",
        )
    answer = SignedStamp(
        timestamp=_decoded(body, "timestamp"),
        signature=_decoded(body, "timestampSignature"),
        algorithm=body["timestampSignatureAlgorithm"],
        key_name=body["timestampKeyName"],
    )
    try:
        return answer, decode_timestamp(answer.timestamp)
    except FormatError as error:
        raise FormatError(f"timestampAnswer: {error.message}", refusal="timestamp.form") from None


def _decoded(body: Mapping[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(body[name], validate=True)
    except (binascii.Error, ValueError):
        raise FormatError(f"timestampAnswer: {name} is not base64.", refusal="timestamp.form") from None


def _require_sane_time(request: RequestRow, seconds: int, attestation: KeyAttestation, now: float) -> None:
    if seconds < attestation.create_time:
        _off("It is older than the key", "timestamp.before-key")
    # When the key was last blocked or got its policy is not attested; it was before it was attested so.
    if Action(request.action) in NEVER_REPLAYED and seconds < attestation.attest_time:
        _off(
            f"It is older than the key's registered attributes ({iso(attestation.attest_time)}), so that the key may "
            "have been changed after it, and the HSM would not count it",
            "timestamp.stale",
        )
    if not request.created_at - CLOCK_DIFFERENCE <= seconds <= now + CLOCK_DIFFERENCE:
        _off(
            f"The HSM's clock said {_shown(seconds)}. That is not between the opening of this request "
            f"({iso(request.created_at)}) and now ({iso(now)}), even if the two clocks differ by "
            f"{CLOCK_DIFFERENCE // 60} minutes; compare the clocks of the two sides",
            "timestamp.off",
        )
    closings = [closes_at(seconds, token) for token in governing_rule(request.policy, request.action).tokens]
    known = [closing for closing in closings if closing is not None]
    if known and len(known) == len(closings) and now >= max(known):
        _off(f"Approvals with it would have counted until {iso(max(known))} only", "timestamp.closed")


def _shown(seconds: int) -> str:
    try:
        return iso(seconds)
    except (ValueError, OverflowError, OSError):
        return f"{seconds} seconds since 1970"


def _not_ours(why: str, refusal: str) -> NoReturn:
    raise KeyturnError(
        ErrorCode.INVALID_SIGNATURE,
        f"This is not the timestamp that the request waits for. {why}. The request is unchanged; carry its request for "
        "a timestamp to the offline side again.",
        refusal=refusal,
    )


def _off(why: str, refusal: str) -> NoReturn:
    raise KeyturnError(
        ErrorCode.TIMESTAMP_OFF,
        f"This timestamp cannot serve. {why}. The request is unchanged; carry its request for a timestamp to the "
        "offline side again.",
        refusal=refusal,
    )
