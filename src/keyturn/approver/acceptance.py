"""A key put before a person who shall accept it: everything its attestation says, and what to be careful about (R20).

Pure: no network, no clock, no terminal.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from keyturn.approver.accepted_keys import AcceptedKey, KeyIdentity, acceptance_of
from keyturn.approver.cautions import server_made_cautions
from keyturn.approver.policy_words import describe_policy, strangers
from keyturn.approver.terminal import spaced_fingerprint, visible
from keyturn.clock import iso
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.key_lint import lint_key
from keyturn.ska.policy_rules import is_protected, listed_approvers
from keyturn.ska.words import TRUST_WORDS, checksum_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.approver.policy_words import Reader
    from keyturn.ska.attestation import KeyAttestation

KEY_DOMAIN: Final = "key"
"""Domain of the words over an operational key's SubjectPublicKeyInfo."""

_ORIGINS: Final = {
    "generated": "generated in this HSM",
    "imported": "IMPORTED: it existed outside before, and copies may",
    "derived": "derived from another key in this HSM",
}


@dataclass(frozen=True, slots=True)
class KeyApprover:
    """Somebody whom a key's policy lists.

    Args:
        fingerprint: SHA-256 of their key, hex.
        name: The name in the person's own address book; None for a stranger.
        rules: The rules that list them: `use`, `block`, `unblock`, `modify`.
    """

    fingerprint: str
    name: str | None
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key as it is put before a person.

    Args:
        key: What is remembered when it is accepted; `accepted` is filled in then.
        facts: Names and values, for people.
        policy: The policy in plain words.
        approvers: Everybody whom it lists, each once.
        cautions: Sentences to read before accepting.
        standing: How the key stands to what was accepted so far, in words.
        words: Sixteen words over the public key; empty for a symmetric key.
    """

    key: AcceptedKey
    facts: tuple[tuple[str, str], ...]
    policy: tuple[str, ...]
    approvers: tuple[KeyApprover, ...]
    cautions: tuple[str, ...]
    standing: str
    words: tuple[str, ...]


def view_key(attestation: KeyAttestation, device: bytes, reader: Reader, *, now: int) -> KeyView:
    """Put a key into words.

    Args:
        attestation: Its attributes, verified under `device`.
        device: The pinned device certificate, DER.
        reader: For whom; the names come from their address book.
        now: Seconds since the epoch, by the person's clock: when it is accepted, if it is.
    """
    identity = KeyIdentity.of_attestation(attestation)
    words: tuple[str, ...] = ()
    if attestation.public_key:
        words = checksum_words(attestation.public_key, domain=KEY_DOMAIN, count=TRUST_WORDS)
    key = AcceptedKey(
        label=attestation.label,
        uuid=identity.uuid,
        fingerprint=identity.fingerprint,
        policy=identity.policy,
        instance=attestation.instance_id,
        device=sha256(device).hexdigest(),
        accepted=now,
    )
    standing = acceptance_of(reader.book.keys, attestation.label, identity)
    policy = attestation.policy
    return KeyView(
        key=key,
        facts=tuple(_facts(attestation, key, words)),
        policy=() if policy is None else describe_policy(policy, reader),
        approvers=tuple(_approvers(attestation, reader)),
        cautions=(
            *((f"This is {standing.words}.",) if standing.alarming else ()),
            *_cautions(attestation),
            *_policy_cautions(attestation, reader),
        ),
        standing=standing.words,
        words=words,
    )


def _facts(attestation: KeyAttestation, key: AcceptedKey, words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    has = attestation.attributes
    yield "Key", visible(attestation.label)
    yield "UUID", f"{attestation.uuid}, generation {attestation.generation} of this name"
    yield "Fingerprint", spaced_fingerprint(key.fingerprint) if key.fingerprint else "none: a symmetric key"
    if words:
        yield "In words", " ".join(words)
    size = f" {attestation.key_size} bits" if attestation.key_size else ""
    curve = f", curve {attestation.curve_oid}" if attestation.curve_oid else ""
    yield "Kind", f"{attestation.algorithm}{size}{curve}"
    yield "Origin", f"{_ORIGINS[attestation.creation]}, {iso(attestation.create_time)}"
    yield "Extractable", _yes(has.get("extractable"))
    yield "Destroyable", _yes(has.get("destroyable"))
    yield (
        "Open modify",
        _yes(attestation.open_modify, "the policy can be replaced without the approvals that use needs"),
    )
    yield "Open unblock", _yes(attestation.open_unblock, "a block can be lifted without the approvals that use needs")
    yield "Bound approvals", _yes(has.get("boundApprovals"))
    yield "Single use", _yes(has.get("singleUse"))
    yield "Allowed operations", _limits(attestation.allowed_operations, "all that its attributes enable")
    yield "Allowed algorithms", _limits(attestation.allowed_algorithms, "all that fit the key")
    enabled = [name for name in ("sign", "decrypt", "unwrap", "derive") if has.get(name)]
    yield "Enabled for", ", ".join(enabled) or "nothing"
    yield "Blocked", _yes(attestation.blocked)
    yield "HSM", f"{attestation.instance_id}, restore epoch {attestation.restore_epoch}"
    if attestation.accepted_rollbacks is not None:
        yield "Accepted rollbacks", str(attestation.accepted_rollbacks)
    yield "Isolation", attestation.isolation
    yield "Weakened by", ", ".join(attestation.switches) or "nothing"
    yield "Attested", iso(attestation.attest_time)


def _cautions(attestation: KeyAttestation) -> Iterator[str]:
    has = attestation.attributes
    if attestation.policy is None:
        yield "The key has no policy: whoever reaches the HSM can use it."
    elif not is_protected(attestation.policy):
        yield "The key's policy needs no approval for its use: whoever reaches the HSM can use it."
    if attestation.open_modify:
        yield "This key's policy can be replaced without approvals: what is shown here may not last."
    if attestation.open_unblock:
        yield "A block of this key can be lifted without the approvals that its use needs."
    if has.get("extractable"):
        yield "The key can be taken out of the HSM."
    if attestation.creation == "imported":
        yield "The key was imported: somebody had it outside the HSM."
    if attestation.policy is not None and not has.get("boundApprovals"):
        yield (
            "Approvals are not bound: a hostile server may choose algorithm and kind of use among those enabled, and "
            "use an approval again within its time."
        )
    for warning in lint_key(
        attestation.policy,
        algorithm=attestation.algorithm,
        attributes=has,
        allowed_operations=attestation.allowed_operations,
        allowed_algorithms=attestation.allowed_algorithms,
    ):
        if warning.word != "lint.unbound":  # Said above, in the words of somebody who can no longer change it.
            yield warning.sentence
    if attestation.generation > 1:
        yield f"{attestation.generation - 1} other key(s) bore this name before in this HSM."
    if attestation.isolation == "none":
        yield "The HSM runs within reach of the server that uses it (isolation none)."
    if attestation.switches:
        yield f"The HSM is weakened by: {', '.join(attestation.switches)}."
    if attestation.accepted_rollbacks:
        yield f"The HSM's store was put back to an older state {attestation.accepted_rollbacks} time(s), and accepted."


def _policy_cautions(attestation: KeyAttestation, reader: Reader) -> Iterator[str]:
    unknown = () if attestation.policy is None else strangers(attestation.policy, reader)
    if unknown:
        yield (
            f"{len(unknown)} of those who may approve are not in your address book. Find out who they are, and add "
            "them (`keyturn approver contacts add`)."
        )
    if attestation.policy is not None:
        yield from server_made_cautions(attestation.policy)


def _approvers(attestation: KeyAttestation, reader: Reader) -> Iterator[KeyApprover]:
    if attestation.policy is None:
        return
    rules: dict[str, list[str]] = {}
    for action in Action:
        for approver in listed_approvers(attestation.policy.rule(action)):
            listed = rules.setdefault(load_approver_key(approver.identity).fingerprint, [])
            if action.name.lower() not in listed:
                listed.append(action.name.lower())
    for fingerprint, governed in rules.items():
        yield KeyApprover(fingerprint, reader.book.name(fingerprint), tuple(governed))


def _yes(value: bool | None, meaning: str = "") -> str:
    return "unknown" if value is None else ("YES" + (f": {meaning}" if meaning else "") if value else "no")


def _limits(names: tuple[str, ...], without: str) -> str:
    return ", ".join(names) if names else f"no limit: {without}"
