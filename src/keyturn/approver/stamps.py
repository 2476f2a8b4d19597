"""The HSM's word inside a task: its timestamp (level 4) and the attested key attributes (level 5).

With a pinned device certificate both are verified, without one they are shown as unverified.

Source: ska-wire-format.md sections 4 to 6, rest-api.md section 3.7; docs/security/rules.md R11, R12.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.approver.tasks import disagrees
from keyturn.errors import KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.attestation import parse_attestation, verify_attestation
from keyturn.ska.messages import decode_timestamp
from keyturn.ska.signatures import api_signature_algorithm, unwrap_signature, verify

if TYPE_CHECKING:
    from keyturn.approver.tasks import Task
    from keyturn.ska.attestation import KeyAttestation
    from keyturn.ska.messages import ApprovalToken

LAST_SECOND: Final = 253_402_300_799
"""The end of the year 9999, the last that ISO 8601 texts here can name; seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class StampView:
    """The HSM's timestamp inside an approval.

    Args:
        seconds: Seconds since the epoch, as the HSM is said to have stamped.
        key_name: Name of the integrity key that is said to have signed.
        verified: True when the signature verified under an integrity key attested by the pinned device.
        note: Why it is not verified; empty when it is.
    """

    seconds: int
    key_name: str
    verified: bool
    note: str


@dataclass(frozen=True, slots=True)
class AttestedKey:
    """What the HSM said about the key.

    Args:
        attestation: The attributes.
        verified: True when the signature verified under the pinned device certificate.
    """

    attestation: KeyAttestation
    verified: bool


def check_attested_key(task: Task, token: ApprovalToken, device_certificate: bytes | None) -> AttestedKey | None:
    """Read the attested attributes of the key the approval names.

    Args:
        task: The task as received.
        token: The approval decoded from the bytes to be signed.
        device_certificate: The pinned certificate of the HSM, DER; None when first trust has not taken place.

    Returns:
        The attributes; None when the task carries none, or none that can be read without a pin.

    Raises:
        KeyturnError: `review.key-attributes` when they do not verify under the pin, or are about another key.
    """
    xml, signature = task.text("keyAttributes"), task.data("keyAttributesSignature")
    if xml is None:
        return None
    if device_certificate is None:
        try:
            attested = AttestedKey(parse_attestation(xml), verified=False)
        except KeyturnError:
            return None
    else:
        try:
            attested = AttestedKey(verify_attestation(xml, signature or b"", device_certificate), verified=True)
        except KeyturnError as error:
            raise disagrees("keyAttributes", "key-attributes", f"{error.message}") from None
    if attested.attestation.label.encode() != token.label:
        raise disagrees("keyAttributes", "key-attributes", "It is about another key than the one in the approval.")
    return attested


def check_stamp(task: Task, token: ApprovalToken, attested: AttestedKey | None) -> StampView | None:
    """Hold the timestamp fields against the approval, and its signature against the attested integrity key.

    Args:
        task: The task as received.
        token: The approval decoded from the bytes to be signed.
        attested: The key's attributes, if known.

    Returns:
        The timestamp, None when the approval has none.

    Raises:
        KeyturnError: `review.timestamp`, `review.timestamp-payload`, `review.timestamp-signature`, naming the field.
    """
    _same_fields(task, token)
    if token.timestamp is None:
        return None
    try:
        stamp = decode_timestamp(token.timestamp)
    except KeyturnError as error:
        raise disagrees(
            "approvalToBeSigned", "timestamp", f"The timestamp inside it is malformed: {error.message}"
        ) from None
    if stamp.seconds > LAST_SECOND:
        raise disagrees(
            "approvalToBeSigned", "timestamp", "The timestamp inside it names no year that a clock can show."
        )
    if (token.payload is not None or token.action in {Action.USE, Action.MODIFY}) and (
        stamp.action_payload != token.payload or stamp.is_policy is not (token.action is Action.MODIFY)
    ):
        raise disagrees(
            "approvalToBeSigned", "timestamp-payload", "The HSM's timestamp inside it was made for something else."
        )
    note = _why_unverified(token, stamp.key_name, attested)
    return StampView(stamp.seconds, stamp.key_name, not note, note)


def _why_unverified(token: ApprovalToken, key_name: str, attested: AttestedKey | None) -> str:
    """Verify the stamp's signature; the reason when that is not possible, empty when it verified."""
    if attested is None or not attested.verified:
        return (
            "The HSM's signature on this time is not verified: no device certificate is pinned here, or the task "
            "carries no key attributes."
        )
    attestation = attested.attestation
    if attestation.integrity_key_name != key_name:
        return "It names another integrity key than the HSM's present one, so its signature cannot be verified here."
    if token.timestamp is None or token.timestamp_signature is None:
        return "It carries no signature."
    try:
        scheme, bare = unwrap_signature(token.timestamp_signature)
        verify(load_approver_key(attestation.integrity_key), scheme, bare, token.timestamp)
    except KeyturnError as error:
        raise disagrees(
            "approvalToBeSigned",
            "timestamp-signature",
            f"The timestamp inside it was not signed by the HSM's integrity key: {error.message}",
        ) from None
    return ""


def _same_fields(task: Task, token: ApprovalToken) -> None:
    """Compare the level 4 fields with the copies inside the approval (ska-wire-format.md section 4, notes)."""
    timestamp, signature = task.data("timestamp"), task.data("timestampSignature")
    algorithm, wrapped = task.text("timestampSignatureAlgorithm"), task.data("timestampSignatureWithAlgorithm")
    if timestamp is not None and timestamp != token.timestamp:
        raise disagrees("timestamp", "timestamp", "It is not the timestamp in the approval.")
    if wrapped is not None and wrapped != token.timestamp_signature:
        raise disagrees("timestampSignatureWithAlgorithm", "timestamp", "It is not the signature in the approval.")
    if signature is None and algorithm is None:
        return
    if token.timestamp_signature is None:
        raise disagrees("timestampSignature", "timestamp", "The approval has no timestamp.")
    try:
        scheme, bare = unwrap_signature(token.timestamp_signature)
    except KeyturnError as error:
        raise disagrees(
            "approvalToBeSigned", "timestamp", f"The timestamp's signature inside it is malformed: {error.message}"
        ) from None
    if signature is not None and signature != bare:
        raise disagrees("timestampSignature", "timestamp", "It is not the signature in the approval.")
    if algorithm is not None and algorithm != api_signature_algorithm(scheme):
        raise disagrees("timestampSignatureAlgorithm", "timestamp", "It is not the algorithm in the approval.")
