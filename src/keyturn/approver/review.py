"""From a task to what the officer is shown, or to a refusal (rule R11).

The rules, in the order in which they are checked:

1. `approvalToBeSigned` must be a well-formed approval, nothing else, naming a key and, where its operation has one,
   the payload. Bytes of any other kind are never signed. A payload that begins as the statement of a bound approval
   must be one, for this request, this key and its present policy.
2. Everything shown as fact is decoded from those bytes.
3. Every other field of the task that speaks of the same thing must agree, or the whole task is refused.
4. What the bytes do not say (metadata, payload type, algorithm, who asked) is shown as a claim of the server.

Pure: no network, no clock, no terminal, no memory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.approver.accepted_keys import acceptance_of_task
from keyturn.approver.bound import check_bound_key, check_statement, payload_beside, statement_in
from keyturn.approver.cautions import (
    attested_cautions,
    label_cautions,
    policy_cautions,
    tall_payload,
    time_cautions,
    use_cautions,
)
from keyturn.approver.certificate_view import certificate_to_be_signed, made_cautions
from keyturn.approver.meaning import UnwrapView, meaning_lines, operation_words, view_unwrap, view_use
from keyturn.approver.payload import PayloadView, view_payload
from keyturn.approver.policy_words import Reader, describe_changes, describe_policy
from keyturn.approver.request_claims import Claim, check_request
from keyturn.approver.stamps import AttestedKey, StampView, check_attested_key, check_stamp
from keyturn.approver.tasks import disagrees
from keyturn.approver.terminal import visible, visible_bytes
from keyturn.approver.windows import Window, windows_of
from keyturn.errors import FormatError, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.certificate_words import describe_certificate
from keyturn.ska.messages import ApprovalToken, decode_approval
from keyturn.ska.policy import Policy, decode_policy
from keyturn.ska.policy_rules import check_policy
from keyturn.ska.statement import describe_statement
from keyturn.ska.words import APPROVAL_DOMAIN, checksum_words

if TYPE_CHECKING:
    from keyturn.approver.accepted_keys import Acceptance
    from keyturn.approver.address_book import AddressBook
    from keyturn.approver.tasks import Task
    from keyturn.ska.statement import Statement


MAX_CLAIM: Final = 2_000
"""Characters of a claim that are shown. It is not signed, and a long one would push what is signed off the screen."""
MAX_CLAIM_LINES: Final = 20
MAX_CLAIM_NAME: Final = 80
"""Characters of a claim's name; a request's own members can be called anything."""
FINALITY: Final = (
    "An approval cannot be recalled, except by withdrawing it (`keyturn approver withdraw`), by blocking the key or by "
    "changing its policy, and only before it is used. A withdrawal goes through the server, which could hold it back. "
    "What is not stopped counts for as long as the policy's time limit allows (for ever where it has none)."
)
"""What is said before approving (R26)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """Everything an officer is shown about one task, and the exact bytes an approval would sign.

    Args:
        task: The task as received; kept for the answer, not for showing.
        approval: The bytes to be signed, checked to be a well-formed approval.
        token: These bytes, decoded.
        words: Eight checksum words over `approval`, to compare with other sides.
        label: The key's label, escaped for showing.
        operation: The operation in words, as far as the bytes and the HSM's verified word say it.
        kind: The kind of request by the server's word (`sign`, `decrypt`, …), or empty; for a use it is a claim, unless
            there is a statement.
        statement: What the approval is bound to (R7); None for a key whose approvals are not bound.
        bound: The statement in words and values; empty without one.
        certificate: What the signature would make, in words and values, where the payload is what a certificate or a
            request for one signs; empty otherwise.
        payload: View of the payload, for a use of the key that is no unwrap.
        unwrap: The new key, for an unwrap.
        meaning: What would happen, in plain words; empty where payload or policy say it all.
        policy: The new policy, for a modify.
        policy_lines: The new policy in plain words.
        change_lines: What it changes against the attested policy, where that is known.
        stamp: The HSM's timestamp inside the approval.
        windows: When the approval counts, for each way of the attested policy; empty without timestamp or policy.
        now: Seconds since the epoch at which it was reviewed.
        attested: The attested key attributes, where the task carried them.
        acceptance: How the key stands to the keys that the officer has accepted (R20).
        claims: What the server says and the signature does not cover; escaped.
        warnings: Sentences the officer must read.
    """

    task: Task
    approval: bytes
    token: ApprovalToken
    words: tuple[str, ...]
    label: str
    operation: str
    kind: str
    statement: Statement | None
    bound: tuple[tuple[str, str], ...]
    certificate: tuple[tuple[str, str], ...]
    payload: PayloadView | None
    unwrap: UnwrapView | None
    meaning: tuple[str, ...]
    policy: Policy | None
    policy_lines: tuple[str, ...]
    change_lines: tuple[str, ...]
    stamp: StampView | None
    windows: tuple[Window, ...]
    now: int
    attested: AttestedKey | None
    acceptance: Acceptance
    claims: tuple[Claim, ...]
    warnings: tuple[str, ...]

    @property
    def task_id(self) -> str:
        """The task's UUID."""
        return self.task.id


def review_task(
    task: Task, *, own_spki: bytes, address_book: AddressBook, now: int, device_certificate: bytes | None = None
) -> Review:
    """Decode a task's approval, hold every other field against it, and say what it means.

    Args:
        task: The task as received, at any detail level.
        own_spki: The officer's own public key, normalised SPKI.
        address_book: The officer's own address book.
        now: Seconds since the epoch, by the officer's clock.
        device_certificate: The pinned certificate of the HSM, DER, or None.

    Raises:
        KeyturnError: A `review.…` refusal that names the field that disagrees.
    """
    approval = task.approval
    token = _decode(approval)
    statement = statement_in(token)
    _own_task(task, own_spki)
    check_statement(task, statement)
    _same_payload(task, payload_beside(token, statement))
    policy = _new_policy(token)
    said = check_request(task, token, statement)
    attested = check_attested_key(task, token, device_certificate)
    check_bound_key(statement, token, attested)
    stamp = check_stamp(task, token, attested)
    reader = Reader(address_book, load_approver_key(own_spki).fingerprint)
    before = None if attested is None else attested.attestation.policy
    windows = () if before is None or stamp is None else windows_of(before.rule(token.action), stamp.seconds, own_spki)
    unwrap = view_unwrap(token, statement)
    acceptance = acceptance_of_task(
        address_book.keys, token.label.decode("utf-8", errors="replace"), attested, statement
    )
    payload = view_use(token, said.kind, attested, statement) if unwrap is None else None
    told = None if payload is None else certificate_to_be_signed(token, statement)
    return Review(
        task=task,
        approval=approval,
        token=token,
        words=checksum_words(approval, domain=APPROVAL_DOMAIN),
        label=visible_bytes(token.label),
        operation=operation_words(token, unwrap, attested, statement),
        kind=said.kind if statement is None else statement.kind,
        statement=statement,
        bound=() if statement is None else describe_statement(statement),
        certificate=() if told is None else describe_certificate(told),
        payload=payload,
        unwrap=unwrap,
        meaning=meaning_lines(token, unwrap, attested, reader, statement),
        policy=policy,
        policy_lines=() if policy is None else describe_policy(policy, reader),
        change_lines=() if policy is None or before is None else describe_changes(before, policy, reader),
        stamp=stamp,
        windows=windows,
        now=now,
        attested=attested,
        acceptance=acceptance,
        claims=tuple(
            Claim(visible(claim.name[:MAX_CLAIM_NAME]), _claimed_text(claim.text))
            for claim in dict.fromkeys((*said.claims, *_metadata(task)))
        ),
        warnings=(
            *tall_payload(payload),
            *label_cautions(token),
            *((f"The key is {acceptance.words}.",) if acceptance.alarming else ()),
            *made_cautions(told, said.kind, statement),
            *use_cautions(token, said.kind, unwrap, attested, statement),
            *(() if policy is None else policy_cautions(policy, reader, own_spki, said.onboarded)),
            *attested_cautions(attested, token, own_spki),
            *time_cautions(token, stamp, windows, attested, now),
        ),
    )


def require_approval(data: bytes) -> ApprovalToken:
    """The gate before every signature: the bytes are a well-formed approval of something named.

    Args:
        data: What would be signed.

    Raises:
        KeyturnError: `review.not-an-approval`, `review.empty-label`, `review.unexpected-payload`, `review.statement`.
    """
    return _decode(data)


def _decode(approval: bytes) -> ApprovalToken:
    field = "approvalToBeSigned"
    try:
        token = decode_approval(approval)
    except FormatError as error:
        raise disagrees(field, "not-an-approval", f"It is not a well-formed approval ({error.message})") from None
    if not token.label:
        raise disagrees(field, "empty-label", "It names no key and would serve for any key that lists you.")
    statement_in(token)
    return token


def _own_task(task: Task, own_spki: bytes) -> None:
    """The task must be for this officer's key."""
    named = task.data("approverPublicKey")
    if named is None:
        return
    try:
        identity = load_approver_key(named).identity
    except KeyturnError:
        identity = b""
    if identity != own_spki:
        raise disagrees("approverPublicKey", "approver-public-key", "It is not your key.")


def _same_payload(task: Task, inside: bytes) -> None:
    """The payload beside the approval must be the payload inside it."""
    beside = task.data("payload")
    if beside is not None and beside != inside:
        raise disagrees("payload", "payload", "It is not the payload in the approval.")


def _new_policy(token: ApprovalToken) -> Policy | None:
    """The policy a modify would put in force, in the one form the HSM accepts (decisions 21)."""
    if token.action is not Action.MODIFY or token.payload is None:
        return None
    try:
        policy = decode_policy(token.payload)
        check_policy(policy)
    except KeyturnError as error:
        raise disagrees(
            "approvalToBeSigned", "policy", f"The policy inside it would not be accepted ({error.message})"
        ) from None
    return policy


def _metadata(task: Task) -> list[Claim]:
    """Metadata and payload type: free words of whoever made the request."""
    claims = []
    metadata = task.data("metaData")
    if metadata:
        claims.append(Claim("metadata", _metadata_text(metadata)))
    payload_type = task.text("payloadType")
    if payload_type is not None and payload_type != "UNSPECIFIED":
        claims.append(Claim("payload type", payload_type))
    return claims


def _claimed_text(text: str) -> str:
    """A claim as it is shown: escaped, and no longer than a claim deserves."""
    shown = "\n".join(text[:MAX_CLAIM].split("\n")[:MAX_CLAIM_LINES])
    rest = len(text) - len(shown)
    return visible(shown, lines=True) + (
        f"\n… and {rest} characters more, not shown: a claim is not signed" if rest else ""
    )


def _metadata_text(metadata: bytes) -> str:
    view = view_payload(metadata)
    return view.shown if view.kind in {"json", "text"} else json.dumps(metadata.hex())
