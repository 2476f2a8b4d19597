"""Messages about the HSM itself, and the answers that many calls share."""

from __future__ import annotations

import msgspec

from keyturn.hsm.messages.base import Message


class GetInfo(Message, frozen=True, tag="info"):
    """Ask who is there. Answer: `Info`. Works while sealed."""


class Info(Message, frozen=True, tag="info-is"):
    """Who is there.

    Args:
        protocol: `PROTOCOL_VERSION` of the HSM.
        version: keyturn version of the HSM.
        sealed: True while no passphrase has been given; then only `GetInfo` is answered.
        instance_id: UUID text of this HSM's store, empty while sealed.
        restore_epoch: How often the store was restored from a backup.
        isolation: `none` (the broker's user could reach the HSM's files), `user` or `machine` (R1).
        switches: Names of active weakening switches, sorted.
        device_chain: PEM certificates, device certificate first; empty while sealed.
        integrity_key_name: Name of the current integrity key.
        integrity_key: Its SPKI, DER.
        integrity_keys: All integrity keys that ever were: name, SPKI, and the second of their retirement or None.
        receipt_key: SPKI of the key that signs receipts, DER; empty while sealed.
        clock: The HSM's system clock, seconds since the epoch; 0 while sealed. Not signed: for people to compare.
        clock_mark: The highest time that the HSM has used; 0 while sealed.
        rolled_back: Whether genuine evidence showed that the store is an older one; then nothing is done that a policy
            governs, until the administrator accepts it (R6).
        accepted_rollbacks: How often an administrator accepted that.
        transport_key: SPKI of the key to which passwords are sealed, DER; empty while sealed (R27).
        rfc_timestamp_certificate: Certificate of the key that makes timestamps of RFC 3161, DER; empty while sealed.
    """

    protocol: int
    version: str
    sealed: bool
    instance_id: str
    restore_epoch: int
    isolation: str
    switches: list[str]
    device_chain: list[str]
    integrity_key_name: str
    integrity_key: bytes
    integrity_keys: list[tuple[str, bytes, int | None]] = msgspec.field(default_factory=list)
    receipt_key: bytes = b""
    clock: float = 0.0
    clock_mark: float = 0.0
    rolled_back: bool = False
    accepted_rollbacks: int = 0
    transport_key: bytes = b""
    rfc_timestamp_certificate: bytes = b""


class GetStatistics(Message, frozen=True, tag="statistics"):
    """Ask for figures about the store. Answer: `Statistics`."""


class Statistics(Message, frozen=True, tag="statistics-are"):
    """Figures about the store: name to whole number."""

    figures: dict[str, int]


class Witness(Message, frozen=True, tag="witness"):
    """Show the HSM something that it signed itself, so that it can tell whether its store is older (R6).

    Answer: `Done`, whether it is or not; `GetInfo` says. Refused is what this HSM did not sign.

    Args:
        kind: `attestation` or `receipt`.
        evidence: The XML text in UTF-8, or the receipt.
        signature: Bare signature over it, as the HSM gave it.
    """

    kind: str
    evidence: bytes
    signature: bytes


class Done(Message, frozen=True, tag="done"):
    """It is done, durably."""


class Refused(Message, frozen=True, tag="refused"):
    """The call was refused or failed; nothing changed.

    Args:
        code: Name of a member of `keyturn.errors.ErrorCode`.
        refusal: Stable word of the check, such as `approvals.missing`.
        message: What was wrong, for a person.
        bad_approvals: Positions (from 0) in the call's `approvals` that did not count, with the word why.
        receipt: Receipt for the request id of the call, empty when it had none.
        receipt_signature: The receipt key's signature over it.
    """

    code: str
    refusal: str
    message: str
    bad_approvals: list[tuple[int, str]] = msgspec.field(default_factory=list)
    receipt: bytes = b""
    receipt_signature: bytes = b""
