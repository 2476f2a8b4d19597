"""From a task to what the officer is shown, or to a refusal (rule R11).

The rules, in the order in which they are checked:

1. `approvalToBeSigned` must be a well-formed approval, nothing else, naming a key and, where its operation has one,
   the payload. Bytes of any other kind are never signed.
2. Everything shown as fact is decoded from those bytes.
3. Every other field of the task that speaks of the same thing must agree, or the whole task is refused.
4. What the bytes do not say (metadata, payload type, algorithm, who asked) is shown as a claim of the server.

Pure: no network, no clock, no terminal.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.approver.payload import PayloadView, view_payload
from keyturn.approver.policy_words import Reader, describe_changes, describe_policy, strangers
from keyturn.approver.request_claims import Claim, check_request
from keyturn.approver.stamps import AttestedKey, StampView, check_attested_key, check_stamp
from keyturn.approver.tasks import disagrees
from keyturn.approver.terminal import has_lookalikes, spaced_fingerprint, visible, visible_bytes
from keyturn.errors import FormatError, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.messages import ApprovalToken, decode_approval, looks_like_own_structure
from keyturn.ska.policy import Policy, decode_policy
from keyturn.ska.policy_rules import check_policy, listed_approvers, open_modify, open_unblock
from keyturn.ska.words import APPROVAL_DOMAIN, checksum_words

if TYPE_CHECKING:
    from keyturn.approver.address_book import AddressBook
    from keyturn.approver.tasks import Task


OPERATIONS: Final = {
    Action.USE: "use the key (to sign, decrypt or unwrap; an approval does not say which)",
    Action.BLOCK: "block the key",
    Action.UNBLOCK: "unblock the key",
    Action.MODIFY: "replace the key's policy",
}
MAX_CLAIM: Final = 2_000
"""Characters of a claim that are shown. It is not signed, and a long one would push what is signed off the screen."""
MAX_CLAIM_LINES: Final = 20
TALL: Final = 60
"""Lines of text from which on the beginning of a payload may have left the screen."""
SCREEN_WIDTH: Final = 80

FINALITY: Final = (
    "An approval cannot be recalled. Once sent, only blocking the key or changing its policy stops it from being used, "
    "for as long as the policy's time limit allows (for ever where it has none)."
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
        payload: View of the payload, for a use of the key.
        policy: The new policy, for a modify.
        policy_lines: The new policy in plain words.
        change_lines: What it changes against the attested policy, where that is known.
        stamp: The HSM's timestamp inside the approval.
        attested: The attested key attributes, where the task carried them.
        claims: What the server says and the signature does not cover; escaped.
        warnings: Sentences the officer must read.
    """

    task: Task
    approval: bytes
    token: ApprovalToken
    words: tuple[str, ...]
    label: str
    payload: PayloadView | None
    policy: Policy | None
    policy_lines: tuple[str, ...]
    change_lines: tuple[str, ...]
    stamp: StampView | None
    attested: AttestedKey | None
    claims: tuple[Claim, ...]
    warnings: tuple[str, ...]

    @property
    def task_id(self) -> str:
        """The task's UUID."""
        return self.task.id

    @property
    def operation(self) -> str:
        """The operation in words."""
        return OPERATIONS[self.token.action]


def review_task(
    task: Task, *, own_spki: bytes, address_book: AddressBook, device_certificate: bytes | None = None
) -> Review:
    """Decode a task's approval, hold every other field against it, and say what it means.

    Args:
        task: The task as received, at any detail level.
        own_spki: The officer's own public key, normalised SPKI.
        address_book: The officer's own address book.
        device_certificate: The pinned certificate of the HSM, DER, or None.

    Raises:
        KeyturnError: A `review.…` refusal that names the field that disagrees.
    """
    approval = task.approval
    token = _decode(approval)
    _own_task(task, own_spki)
    _same_payload(task, token)
    policy = _new_policy(token)
    claims = (*check_request(task, token), *_metadata(task))
    attested = check_attested_key(task, token, device_certificate)
    stamp = check_stamp(task, token, attested)
    reader = Reader(address_book, load_approver_key(own_spki).fingerprint)
    before = None if attested is None else attested.attestation.policy
    payload = view_payload(token.payload) if token.action is Action.USE and token.payload is not None else None
    return Review(
        task=task,
        approval=approval,
        token=token,
        words=checksum_words(approval, domain=APPROVAL_DOMAIN),
        label=visible_bytes(token.label),
        payload=payload,
        policy=policy,
        policy_lines=() if policy is None else describe_policy(policy, reader),
        change_lines=() if policy is None or before is None else describe_changes(before, policy, reader),
        stamp=stamp,
        attested=attested,
        claims=tuple(Claim(claim.name, _claimed_text(claim.text)) for claim in dict.fromkeys(claims)),
        warnings=(*_tall(payload), *_warnings(token, policy, attested, reader, own_spki)),
    )


def require_approval(data: bytes) -> ApprovalToken:
    """The gate before every signature: the bytes are a well-formed approval of something named.

    Args:
        data: What would be signed.

    Raises:
        KeyturnError: `review.not-an-approval`, `review.empty-label`, `review.unexpected-payload`.
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
    if token.action in {Action.BLOCK, Action.UNBLOCK} and token.payload is not None:
        raise disagrees(field, "unexpected-payload", "It carries a payload that its operation does not have.")
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


def _same_payload(task: Task, token: ApprovalToken) -> None:
    """The payload beside the approval must be the payload inside it."""
    beside = task.data("payload")
    if beside is not None and beside != (token.payload or b""):
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


def _tall(payload: PayloadView | None) -> list[str]:
    """Point out a payload whose beginning, or end, an officer may overlook."""
    if payload is None:
        return []
    rows = sum(1 + len(line) // SCREEN_WIDTH for line in payload.shown.split("\n"))
    if rows <= TALL:
        return []
    return [f"The payload fills about {rows} lines: scroll up to its beginning, and read all of it before you decide."]


def _metadata_text(metadata: bytes) -> str:
    view = view_payload(metadata)
    return view.shown if view.kind in {"json", "text"} else json.dumps(metadata.hex())


def _warnings(
    token: ApprovalToken, policy: Policy | None, attested: AttestedKey | None, reader: Reader, own_spki: bytes
) -> list[str]:
    """Sentences about what is legal and yet worth a second thought."""
    found = []
    label = visible_bytes(token.label)
    if has_lookalikes(label):
        found.append(
            "The key's label holds letters outside ASCII, which may look like others; compare it letter by letter."
        )
    structure = looks_like_own_structure(token.payload) if token.action is Action.USE and token.payload else None
    if structure is not None:
        found.append(f"The payload is itself a {structure} in keyturn's own format. Ask why anybody needs it signed.")
    if policy is not None:
        found += _policy_warnings(policy, reader, own_spki)
    if attested is None:
        found.append("The task carries no readable key attributes: the key's present policy is not known here.")
        return found
    found += _attested_warnings(attested, token, own_spki)
    return found


def _policy_warnings(policy: Policy, reader: Reader, own_spki: bytes) -> list[str]:
    found = []
    if open_modify(policy):
        found.append(
            "Under the NEW policy, the policy can be replaced again without the approvals that a use needs "
            "(open modify)."
        )
    if open_unblock(policy):
        found.append("Under the NEW policy, a blocked key can be unblocked without the approvals that a use needs.")
    unknown = strangers(policy, reader)
    if unknown:
        shown = ", ".join(spaced_fingerprint(fingerprint) for fingerprint in unknown)
        found.append(f"{len(unknown)} key(s) in the NEW policy are not in your address book: {shown}.")
    if own_spki not in {approver.identity for approver in listed_approvers(policy.use)}:
        found.append("Under the NEW policy you are no longer listed for using the key.")
    return found


def _attested_warnings(attested: AttestedKey, token: ApprovalToken, own_spki: bytes) -> list[str]:
    attestation, found = attested.attestation, []
    says = "" if attested.verified else "The server says, unverified: "
    if attestation.open_modify:
        found.append(
            f"{says}this key's policy can be replaced without approvals (open modify), or by fewer people than a use "
            "needs. Your approval protects little."
        )
    if attestation.open_unblock:
        found.append(f"{says}this key can be unblocked without the approvals that a use needs.")
    if attestation.blocked:
        found.append(f"{says}this key is blocked.")
    listed = () if attestation.policy is None else listed_approvers(attestation.policy.rule(token.action))
    if own_spki not in {approver.identity for approver in listed}:
        found.append(f"{says}you are not listed for this operation; your approval would not count.")
    return found
