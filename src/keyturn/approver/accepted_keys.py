"""Keys that a person has accepted, and what that says about a key that is shown later (R20).

A label is not an identity (R18): whoever runs the server can make another key under it, or put another policy on the
same key. So a person accepts a key once, by its attestation under a certificate pinned out of band, and their client
holds every key that it shows against what was accepted: its identity, its public key, its policy.

Pure: no files, no clock.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from keyturn.clock import iso
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.key_names import SEPARATOR
from keyturn.ska.policy import encode_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.approver.stamps import AttestedKey
    from keyturn.ska.attestation import KeyAttestation
    from keyturn.ska.statement import Statement

_HEX: Final = frozenset("0123456789abcdef")
_DIGEST_DIGITS: Final = 64


@dataclass(frozen=True, slots=True)
class KeyIdentity:
    """What makes a key the one that was accepted.

    Args:
        uuid: UUID text, lower case.
        fingerprint: SHA-256 of its SubjectPublicKeyInfo, hex; empty for a symmetric key.
        policy: SHA-256 of its policy's binary form, hex; empty for an ordinary key.
    """

    uuid: str
    fingerprint: str
    policy: str

    @classmethod
    def of_attestation(cls, attestation: KeyAttestation) -> KeyIdentity:
        """The identity that attested attributes state."""
        blob = b"" if attestation.policy is None else encode_policy(attestation.policy)
        return cls(attestation.uuid, _digest(attestation.public_key), _digest(blob))

    @classmethod
    def of_statement(cls, statement: Statement) -> KeyIdentity:
        """The identity that a bound approval is for; the HSM refuses it for every other key (R7)."""
        return cls(statement.key_uuid, statement.spki_hash.hex(), statement.policy_hash.hex())


@dataclass(frozen=True, slots=True)
class AcceptedKey:
    """A key as it was accepted.

    Args:
        label: Its label then.
        uuid: UUID text, lower case.
        fingerprint: As in `KeyIdentity`.
        policy: As in `KeyIdentity`.
        instance: UUID text of its HSM's store.
        device: SHA-256 of the device certificate under which it was verified, hex.
        accepted: Seconds since the epoch, by the person's clock.
    """

    label: str
    uuid: str
    fingerprint: str
    policy: str
    instance: str
    device: str
    accepted: int

    @property
    def place(self) -> str:
        """Where it stands among accepted keys."""
        return place_of(self.uuid, self.label)

    @property
    def identity(self) -> KeyIdentity:
        """What makes a key this one."""
        return KeyIdentity(self.uuid, self.fingerprint, self.policy)


class Standing(StrEnum):
    """How a key that is shown stands to what was accepted."""

    ACCEPTED = "accepted"
    CHANGED = "changed"
    """The same key, under another policy than the accepted one."""
    OTHER_KEY = "other-key"
    """Another key bears the label of an accepted one, or an accepted identity has another public key."""
    NOT_ACCEPTED = "not-accepted"
    UNPROVEN = "unproven"
    """Nothing verified says which key it is."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What is said about a key on a screen.

    Args:
        standing: How it stands.
        words: A sentence for people.
    """

    standing: Standing
    words: str

    @property
    def alarming(self) -> bool:
        """Whether a person must stop here: this is not what was accepted."""
        return self.standing in {Standing.CHANGED, Standing.OTHER_KEY}


def place_of(uuid: str, label: str) -> str:
    """Where a key stands among accepted keys: under its UUID; a derived key has its master's, and a path (R21).

    Args:
        uuid: Its UUID.
        label: Its label, or its name `master/path`.
    """
    _, stroke, path = label.partition(SEPARATOR)
    return f"{uuid}{stroke}{path}"


def acceptance_of(keys: Mapping[str, AcceptedKey], label: str, shown: KeyIdentity | None) -> Acceptance:
    """Hold a key against what was accepted.

    Args:
        keys: Accepted keys by place.
        label: The label under which it is shown.
        shown: Its identity, verified or bound by what is signed; None when only the label is known.
    """
    namesakes = [key for key in keys.values() if key.label == label]
    if shown is None:
        if namesakes:
            return Acceptance(
                Standing.UNPROVEN,
                "a key of this name was accepted; whether this is that key, nothing verified here says "
                "(--device-cert lets the HSM's word be verified)",
            )
        return Acceptance(Standing.NOT_ACCEPTED, "NOT ACCEPTED: no key of this name was (`keyturn key accept`)")
    known = keys.get(place_of(shown.uuid, label))
    if known is None:
        if namesakes:
            return Acceptance(
                Standing.OTHER_KEY,
                f"ANOTHER KEY than the one that you accepted under this name on {iso(namesakes[0].accepted)}",
            )
        return Acceptance(Standing.NOT_ACCEPTED, "NOT ACCEPTED: look at it with `keyturn key accept`")
    when = iso(known.accepted)
    if known.fingerprint != shown.fingerprint:
        return Acceptance(Standing.OTHER_KEY, f"ANOTHER PUBLIC KEY than the one that you accepted on {when}")
    if known.policy != shown.policy:
        return Acceptance(Standing.CHANGED, f"CHANGED since you accepted it on {when}: another policy is in force")
    if known.label != label:
        return Acceptance(Standing.OTHER_KEY, f"ANOTHER NAME than {known.label!r}, under which you accepted it")
    return Acceptance(Standing.ACCEPTED, f"accepted by you on {when}, and unchanged")


def acceptance_of_task(
    keys: Mapping[str, AcceptedKey], label: str, attested: AttestedKey | None, statement: Statement | None
) -> Acceptance:
    """Hold the key of an approval task against what was accepted.

    Args:
        keys: Accepted keys by UUID.
        label: The label in the approval.
        attested: Attested attributes that came with the task.
        statement: What the approval is bound to; None for a key whose approvals are not bound.
    """
    if statement is not None:
        return acceptance_of(keys, label, KeyIdentity.of_statement(statement))
    if attested is not None and attested.verified:
        return acceptance_of(keys, label, KeyIdentity.of_attestation(attested.attestation))
    return acceptance_of(keys, label, None)


def keys_to_json(keys: Mapping[str, AcceptedKey]) -> list[dict[str, Any]]:
    """Accepted keys as the book's file holds them.

    Args:
        keys: Accepted keys by UUID.
    """
    return [asdict(key) for key in keys.values()]


def keys_from_json(document: object) -> dict[str, AcceptedKey]:
    """Read accepted keys from the book's file.

    Args:
        document: The member `keys`; None where there is none.

    Returns:
        Accepted keys by UUID.

    Raises:
        KeyturnError: `address-book.unreadable`.
    """
    found: dict[str, AcceptedKey] = {}
    entries: list[Any] = document if isinstance(document, list) else [] if document is None else [None]
    for entry in entries:
        try:
            key = AcceptedKey(**entry)
            texts = (key.label, key.uuid, key.fingerprint, key.policy, key.instance, key.device)
            whole = all(isinstance(text, str) for text in texts) and type(key.accepted) is int
            if not whole or not all(_is_digest(text) for text in (key.fingerprint, key.policy, key.device)):
                raise TypeError
            iso(key.accepted)
        except (TypeError, ValueError, OverflowError, OSError):
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                "The address book is damaged: an accepted key in it cannot be read. Repair it or move it away.",
                refusal="address-book.unreadable",
            ) from None
        if key.place in found:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                f"The address book is damaged: the accepted key {key.uuid!a} stands twice.",
                refusal="address-book.unreadable",
            )
        found[key.place] = key
    return found


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest() if data else ""


def _is_digest(text: str) -> bool:
    return not text or (len(text) == _DIGEST_DIGITS and set(text) <= _HEX)
