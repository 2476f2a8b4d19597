"""The examination of single approvals: which count, and why the others do not.

Every check that costs nothing comes first, so that a signature is verified only for a listed signer whose approval
would count. No signer gets more than four verifications, and so no question costs more than four times the listed
keys (rule R29). A timestamp that is present is always verified, needed or not.

Source: ska-wire-format.md section 8, rules 1 to 5 and 10 to 13; decisions 26, 29; docs/security/rules.md R14, R15,
R18, R26, R29.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from keyturn.errors import FormatError, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.findings import ApprovalFinding, IntegrityKey, Question, Verdict
from keyturn.ska.labels import MAX_LABEL_BYTES
from keyturn.ska.messages import (
    ApprovalToken,
    Authorization,
    Timestamp,
    decode_approval,
    decode_authorization,
    decode_timestamp,
)
from keyturn.ska.reasons import key_words
from keyturn.ska.roll_call import signer_identity
from keyturn.ska.signatures import unwrap_signature, verify
from keyturn.ska.statement import is_statement

if TYPE_CHECKING:
    from keyturn.ska.roll_call import RollCall

ATTEMPTS_PER_SIGNER: Final = 4
"""Signatures of one signer that are verified at most (R29)."""
_LAST: Final = {Action.UNBLOCK: "block", Action.MODIFY: "modify"}
"""What a timestamp for an action must be later than, in words (R15)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something does not count: the stable word and a sentence."""

    refusal: str
    reason: str


@dataclass(frozen=True, slots=True)
class GoodApproval:
    """An approval that holds, apart from the window.

    Args:
        position: Its place in the question's list.
        identity: The signer.
        stamp: Seconds since the epoch in its verified timestamp, or None.
        statement: SHA-256 of the signed approval blob.
    """

    position: int
    identity: bytes
    stamp: int | None
    statement: bytes


@dataclass(frozen=True, slots=True)
class _Statement:
    """The signed content of an approval that fits the question."""

    token: ApprovalToken
    stamp: Timestamp | None
    digest: bytes


class Examination:
    """Examines the approvals of one question, one after the other.

    Args:
        question: The question.
        roll: The roll call of the rule that governs it.
    """

    def __init__(self, question: Question, roll: RollCall) -> None:
        self._question = question
        self._roll = roll
        self._label = question.label.encode(errors="surrogatepass")
        self._attempts: dict[bytes, int] = {}
        self._seen: dict[bytes, set[int | None]] = {}
        # Approvals of one request usually share their statement; it is judged once.
        self._statements: dict[bytes, _Statement | Fault] = {}
        self._stamps: dict[tuple[bytes, bytes], Fault | None] = {}

    def examine(self, position: int, data: bytes) -> GoodApproval | ApprovalFinding:
        """Examine one approval.

        Args:
            position: Its place in the question's list.
            data: The authorization blob.

        Returns:
            The good approval, or the finding that says why it does not count.
        """
        try:
            authorization = decode_authorization(data)
        except FormatError as error:
            return _invalid(position, Fault("approval.malformed", error.message))
        identity = self._roll.identify(authorization)
        if identity is None:
            return ApprovalFinding(position, Verdict.FOREIGN, "approval.unlisted-key", _unlisted(authorization))
        statement = self._statements.get(authorization.approval)
        if statement is None:
            statement = self._statements[authorization.approval] = self._read(authorization.approval)
        if isinstance(statement, Fault):
            return _invalid(position, statement, identity)
        stamp = statement.stamp.seconds if statement.stamp is not None else None
        fault = self._withdrawal(identity, statement.digest, stamp) or self._lacks_timestamp(identity, stamp)
        if fault is not None:
            return _invalid(position, fault, identity)
        # Where one statement has to carry the decision, an approver may serve once under each of them.
        seen = self._seen.setdefault(identity + (statement.digest if self._question.single_use else b""), set())
        if self._adds_nothing(identity, stamp, seen):
            return ApprovalFinding(
                position,
                Verdict.DUPLICATE,
                "approval.duplicate",
                "This approver has already approved; one person counts once.",
                identity,
                stamp,
            )
        attempts = self._attempts[identity] = self._attempts.get(identity, 0) + 1
        if attempts > ATTEMPTS_PER_SIGNER:
            fault = Fault(
                "approval.too-many",
                f"More than {ATTEMPTS_PER_SIGNER} approvals of one approver were sent; send one from each.",
            )
        else:
            fault = self._signature_fault(identity, authorization) or self._stamp_fault(statement)
        if fault is not None:
            return _invalid(position, fault, identity, stamp)
        seen.add(stamp)
        return GoodApproval(position, identity, stamp, statement.digest)

    def _read(self, approval: bytes) -> _Statement | Fault:
        """Check everything that the signed bytes say."""
        question = self._question
        try:
            token = decode_approval(approval)
            stamp = decode_timestamp(token.timestamp) if token.timestamp is not None else None
        except FormatError as error:
            return Fault("approval.malformed", error.message)
        if token.action is not question.action:
            return Fault(
                "approval.wrong-operation",
                f"The approval is for {token.action.name.lower()}, not for {question.action.name.lower()}.",
            )
        if not token.label:
            if not question.allow_unlabelled:
                return Fault(
                    "approval.empty-label",
                    "The approval names no key and would serve for any; have it made again with the key's name.",
                )
        elif token.label != self._label:
            return Fault(
                "approval.wrong-label",
                f"The approval names the key {_shown(token.label.decode(errors='replace'))}, not {question.label!r}.",
            )
        digest = sha256(approval).digest()
        if digest in question.spent:
            return Fault(
                "approval.spent",
                "What this approval says has been done already, and is done once only; have it approved anew with a "
                "timestamp.",
            )
        # Approvals for block and unblock have a payload that means something only for bound keys (R7).
        compares_payload = question.action in (Action.USE, Action.MODIFY) or question.payload is not None
        if (compares_payload and token.payload != question.payload) or (
            # What is approved for a bound key says which key it means; it serves no other one (R7).
            not compares_payload and is_statement(token.payload or b"")
        ):
            return Fault("approval.wrong-payload", "The approval is for other bytes than the ones to be processed.")
        if question.single_use and stamp is None and not is_statement(token.payload or b""):
            return Fault(
                "approval.not-single-use",
                "The key is used once for each thing that is approved, and this approval does not say for which time: "
                "it has no timestamp of the HSM and names no request. Have it made again with a timestamp.",
            )
        if stamp is not None:
            if compares_payload and (
                stamp.action_payload != token.payload or stamp.is_policy != (question.action is Action.MODIFY)
            ):
                return Fault(
                    "approval.timestamp-wrong-payload",
                    "The timestamp in the approval was made for other bytes than the approved ones.",
                )
            fault = self._moment_fault(stamp)
            if fault is not None:
                return fault
        return _Statement(token, stamp, digest)

    def _moment_fault(self, stamp: Timestamp) -> Fault | None:
        question = self._question
        if not any(key.name == stamp.key_name for key in question.integrity_keys):
            return Fault(
                "approval.timestamp-unknown-key",
                f"The timestamp was made with the key {_shown(stamp.key_name)}, which is no integrity key of this HSM.",
            )
        if question.now is not None and stamp.seconds > question.now:
            return Fault("approval.timestamp-future", "The timestamp in the approval lies in the future.")
        if question.not_before is not None and stamp.seconds < question.not_before:
            return Fault(
                "approval.timestamp-before-key",
                "The timestamp is older than the key: the approval was meant for an earlier key of this name.",
            )
        if question.stamps_from is not None and stamp.seconds < question.stamps_from:
            if question.action is Action.USE:
                return Fault(
                    "approval.stale-timestamp",
                    "The timestamp is so old that all approvals of its time had ceased to count for this key; have it "
                    "approved anew with a new timestamp.",
                )
            return Fault(
                "approval.stale-timestamp",
                f"The timestamp is not later than the last {_LAST.get(question.action, 'change')} of the key, or than "
                "the key itself, so that the approval may be an old one; have it approved anew with a new timestamp.",
            )
        return None

    def _withdrawal(self, identity: bytes, statement: bytes, stamp: int | None) -> Fault | None:
        withdrawn, stale_for = self._question.withdrawn, self._question.stale_for
        if not withdrawn and not stale_for:
            return None
        signer = sha256(identity).digest()
        if (signer, statement) in withdrawn:
            return Fault(
                "approval.withdrawn", "The approver has taken this approval back; it counts again in no request."
            )
        if stamp is not None and stamp <= stale_for.get(signer, -1):
            return Fault(
                "approval.stale-timestamp",
                "The timestamp is so old that all approvals of this approver from its time had ceased to count for "
                "this key; have it approved anew with a new timestamp.",
            )
        return None

    def _lacks_timestamp(self, identity: bytes, stamp: int | None) -> Fault | None:
        if stamp is not None:
            return None
        if self._question.not_before is not None:
            return Fault(
                "approval.timestamp-missing",
                "Other keys had this name before, so that approvals need a timestamp of the HSM; this one has none.",
            )
        if all(token.time_bound for token in self._roll.tokens_of[identity]):
            return Fault(
                "approval.timestamp-missing",
                "The policy sets a timelock or timeout, so that approvals need a timestamp of the HSM; this has none.",
            )
        return None

    def _adds_nothing(self, identity: bytes, stamp: int | None, seen: set[int | None]) -> bool:
        """Whether a good approval of this signer already serves wherever this one could."""
        if not seen:
            return False
        if stamp is None or stamp in seen:
            return True
        return not any(token.time_bound for token in self._roll.tokens_of[identity])

    def _signature_fault(self, identity: bytes, authorization: Authorization) -> Fault | None:
        try:
            scheme, bare = unwrap_signature(authorization.signature)
            verify(load_approver_key(identity), scheme, bare, authorization.approval)
        except KeyturnError as error:
            return Fault("approval.malformed" if error.refusal == "format.invalid" else error.refusal, error.message)
        return None

    def _stamp_fault(self, statement: _Statement) -> Fault | None:
        timestamp, signature = statement.token.timestamp, statement.token.timestamp_signature
        if statement.stamp is None or timestamp is None or signature is None:
            return None
        pair = (timestamp, signature)
        if pair not in self._stamps:
            self._stamps[pair] = self._verify_stamp(statement.stamp, timestamp, signature)
        return self._stamps[pair]

    def _verify_stamp(self, stamp: Timestamp, data: bytes, signature: bytes) -> Fault | None:
        keys = [key for key in self._question.integrity_keys if key.name == stamp.key_name]
        serving = [key for key in keys if key.retired_at is None or stamp.seconds <= key.retired_at]
        if not serving:
            return Fault(
                "approval.timestamp-unknown-key",
                f"The integrity key {_shown(stamp.key_name)} was retired before the time that the timestamp gives.",
            )
        faults = [_verify_with(key, data, signature) for key in serving]
        return None if None in faults else faults[0]


def _verify_with(key: IntegrityKey, data: bytes, signature: bytes) -> Fault | None:
    try:
        scheme, bare = unwrap_signature(signature)
        verify(load_approver_key(key.spki), scheme, bare, data)
    except KeyturnError as error:
        if error.refusal == "approval.algorithm-not-allowed":
            return Fault(error.refusal, f"Timestamp: {error.message}")
        return Fault(
            "approval.timestamp-bad-signature",
            f"The timestamp in the approval is not signed by the integrity key {key.name!r}.",
        )
    return None


def _unlisted(authorization: Authorization) -> str:
    identity = signer_identity(authorization)
    if identity is None:
        return "The approval does not carry a key that could approve."
    return f"{key_words(identity).capitalize()} signed this approval, but is not listed in the rule for this action."


def _invalid(position: int, fault: Fault, identity: bytes | None = None, stamp: int | None = None) -> ApprovalFinding:
    return ApprovalFinding(position, Verdict.INVALID, fault.refusal, fault.reason, identity, stamp)


def _shown(name: str) -> str:
    """A name that somebody else chose, which may be as long as a whole approval."""
    return repr(name if len(name) <= MAX_LABEL_BYTES else name[:MAX_LABEL_BYTES] + "…")
