"""The broker's protocol with the HSM, version 1: its messages and their framing.

A connection carries frames: a big-endian u32 length, then that many bytes of MessagePack. A frame is the
two-element array `[correlation id, message]`; answers carry the id of their request and may come in any
order. The correlation id is an unsigned 32-bit number chosen by the client. Messages are the structs below,
tagged by name, encoded as arrays (fields in the order written here; new fields are appended, with defaults).

There are no workflows, requests or people here, and no administration: unsealing, clock confirmation and the
like exist only on the administration socket (`keyturn.hsm.admin`, rule R2). Whatever is not one of these
messages is refused.

`operation_id` (16 bytes, opaque) makes a call idempotent: the HSM stores id, digest of the whole input and
result in the commit that carries the effect, before it answers. Same id and input: the stored result. Same
id, other input: refused with `operation.input-differs`.
"""

from __future__ import annotations

from typing import Final

import msgspec

PROTOCOL_VERSION: Final = 1
MAX_FRAME: Final = 1 << 20
"""Largest frame in bytes: 64 KiB of payload, its policy or approvals, and room for a few hundred signers."""
MAX_APPROVALS: Final = 1024
"""Most approvals in one call; far above four times the signers a 64 KiB policy can list usefully."""
OPERATION_ID_SIZE: Final = 16


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True, forbid_unknown_fields=True):
    """Base of all messages."""


# --- calls -------------------------------------------------------------------------------------------


class GetInfo(Message, frozen=True, tag="info"):
    """Ask who is there. Answer: `Info`. Works while sealed."""


class ListKeys(Message, frozen=True, tag="list"):
    """Ask for all labels. Answer: `Labels`."""


class Lookup(Message, frozen=True, tag="lookup"):
    """Ask for a key's public side without attestation. Answer: `KeyFacts`.

    Args:
        label: Label of the key.
    """

    label: str


class Attest(Message, frozen=True, tag="attest"):
    """Ask for the attested attributes of a key. Answer: `Attested`. Rate-limited (R31).

    Args:
        label: Label of the key.
    """

    label: str


class CreateKey(Message, frozen=True, tag="create"):
    """Create a key. Answer: `Attested`.

    Args:
        operation_id: 16 bytes.
        label: Label; unused so far.
        algorithm: API name, `RSA`, `EC` or `ED`.
        curve_oid: Dotted OID for EC and ED, else "".
        key_size: Bits for RSA, else 0.
        attributes: Attribute names as in the API (`sign`, `destroyable`, …) to booleans.
        policy: Binary policy blob (outer header, four rules); empty for an ordinary key.
        blocked: Whether the key starts blocked.
        key_id: The API's `id` (PKCS#11 id), or None.
    """

    operation_id: bytes
    label: str
    algorithm: str
    curve_oid: str
    key_size: int
    attributes: dict[str, bool]
    policy: bytes
    blocked: bool
    key_id: str | None = None


class DeleteKey(Message, frozen=True, tag="delete"):
    """Delete a key; it must be destroyable. Answer: `Done`.

    Args:
        operation_id: 16 bytes.
        label: Label of the key.
    """

    operation_id: bytes
    label: str


class Sign(Message, frozen=True, tag="sign"):
    """Sign. Answer: `Signed`.

    Args:
        operation_id: 16 bytes, or empty. Required where the key has a policy; where given, the result is stored.
        label: Label of the key.
        payload: Bytes to be signed (or their digest, for `NONE…` algorithms); at most 64 KiB.
        algorithm: API name of the signature algorithm.
        signature_type: `DER` or `RAW`; empty means the algorithm's own form.
        approvals: Authorization blobs (ska-wire-format.md section 4), at most `MAX_APPROVALS`.
    """

    operation_id: bytes
    label: str
    payload: bytes
    algorithm: str
    signature_type: str
    approvals: list[bytes]


class Modify(Message, frozen=True, tag="modify"):
    """Replace a key's policy. Answer: `Attested`.

    Args:
        operation_id: 16 bytes.
        label: Label of the key.
        policy: The new binary policy blob: outer header, all four rules.
        approvals: Authorization blobs over exactly these policy bytes.
    """

    operation_id: bytes
    label: str
    policy: bytes
    approvals: list[bytes]


class Verify(Message, frozen=True, tag="verify"):
    """Verify a signature with a key's public part. Answer: `Verdict`.

    Args:
        label: Label of the key.
        payload: Bytes that were signed.
        algorithm: API name of the signature algorithm.
        signature: Signature bytes; for EC keys DER or raw r||s.
    """

    label: str
    payload: bytes
    algorithm: str
    signature: bytes


class Stamp(Message, frozen=True, tag="stamp"):
    """Ask for a signed timestamp for an operation with a key. Answer: `Stamped`. Rate-limited (R12, R31).

    Args:
        label: Label of the key the timestamp is for; it must exist and have a policy.
        action: Operation code (1 use, 2 block, 3 unblock, 4 modify).
        payload: Use payload (1), the new policy blob (4), empty for 2 and 3.
    """

    label: str
    action: int
    payload: bytes


class GetStatistics(Message, frozen=True, tag="statistics"):
    """Ask for figures about the store. Answer: `Statistics`."""


Call = GetInfo | ListKeys | Lookup | Attest | CreateKey | DeleteKey | Sign | Modify | Verify | Stamp | GetStatistics

# --- answers -----------------------------------------------------------------------------------------


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


class Labels(Message, frozen=True, tag="labels-are"):
    """Labels of all keys, sorted."""

    labels: list[str]


class KeyFacts(Message, frozen=True, tag="facts-are"):
    """A key's public side, as the HSM holds it now. Not signed: for a broker that predicts, not for trust.

    Args:
        label: Label.
        uuid: UUID text.
        generation: How many keys have borne this label, this one included.
        algorithm: `RSA`, `EC`, `ED`.
        public_key: SPKI, DER.
        attributes: Attribute names to booleans.
        policy: Binary policy blob, empty for an ordinary key.
        blocked: Whether it is blocked.
        created: Seconds since the epoch.
        state_counter: State counter of the store at the key's last change.
    """

    label: str
    uuid: str
    generation: int
    algorithm: str
    public_key: bytes
    attributes: dict[str, bool]
    policy: bytes
    blocked: bool
    created: int
    state_counter: int


class Attested(Message, frozen=True, tag="attested"):
    """Attested attributes: the XML text, the bare signature over its UTF-8 bytes, the attestation key's name."""

    xml: str
    signature: bytes
    attestation_key_name: str


class Signed(Message, frozen=True, tag="signed"):
    """A signature in the form asked for."""

    signature: bytes


class Done(Message, frozen=True, tag="done"):
    """It is done, durably."""


class Verdict(Message, frozen=True, tag="verdict"):
    """Whether the signature is valid."""

    valid: bool


class Stamped(Message, frozen=True, tag="stamped"):
    """A signed timestamp.

    Args:
        timestamp: Timestamp blob, with header (ska-wire-format.md section 4).
        signature: Bare signature over the whole blob.
        algorithm: API name of the signature algorithm, such as `SHA256_WITH_ECDSA`.
        key_name: Name of the integrity key.
    """

    timestamp: bytes
    signature: bytes
    algorithm: str
    key_name: str


class Statistics(Message, frozen=True, tag="statistics-are"):
    """Figures about the store: name to whole number."""

    figures: dict[str, int]


class Refused(Message, frozen=True, tag="refused"):
    """The call was refused or failed; nothing changed.

    Args:
        code: Name of a member of `keyturn.errors.ErrorCode`.
        refusal: Stable word of the check, such as `approvals.missing`.
        message: What was wrong, for a person.
        bad_approvals: Positions (from 0) in the call's `approvals` that did not count, with the word why.
    """

    code: str
    refusal: str
    message: str
    bad_approvals: list[tuple[int, str]] = []


Answer = Info | Labels | KeyFacts | Attested | Signed | Done | Verdict | Stamped | Statistics | Refused
