"""The broker's protocol with the HSM, version 1: its messages and their framing.

A connection carries frames: a big-endian u32 length, then that many bytes of MessagePack. A frame is the
two-element array `[correlation id, message]`; answers carry the id of their request and may come in any
order. The correlation id is an unsigned 32-bit number chosen by the client. Messages are the structs below,
tagged by name, encoded as arrays (fields in the order written here; new fields are appended, with defaults).

There are no workflows, requests or people here, and no administration: unsealing, clock confirmation and the
like exist only on the administration socket (`keyturn.hsm.admin`, rule R2). Whatever is not one of these
messages is refused.

Keys with the attribute `boundApprovals` take approvals over one statement of the whole call (`keyturn.ska.statement`,
R7) where other keys take them over the payload; their calls, and the payloads of `Stamp` for them, need the request id
that stands in it.

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
        algorithm: API name, `RSA`, `EC`, `ED` or `AES`.
        curve_oid: Dotted OID for EC and ED, else "".
        key_size: Bits for RSA and AES, else 0.
        attributes: Attribute names as in the API (`sign`, `destroyable`, …) to booleans.
        policy: Binary policy blob (outer header, four rules); empty for an ordinary key.
        blocked: Whether the key starts blocked.
        key_id: The API's `id` (PKCS#11 id), or None.
        allowed_operations: Some of `sign`, `decrypt`, `unwrap`; empty for all that the attributes enable (R9).
        allowed_algorithms: API names of signature algorithms, ciphers and wrap methods; empty for all (R9).
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
    allowed_operations: list[str] = []
    allowed_algorithms: list[str] = []


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
        request_id: The broker's id of the request, for the receipt; empty when nobody asks for one.
    """

    operation_id: bytes
    label: str
    payload: bytes
    algorithm: str
    signature_type: str
    approvals: list[bytes]
    request_id: str = ""


class Decrypt(Message, frozen=True, tag="decrypt"):
    """Decrypt. Answer: `Decrypted`.

    Args:
        operation_id: 16 bytes, or empty. Required where the key has a policy; where given, the result is stored.
        label: Label of the key.
        payload: The ciphertext, at most 64 KiB; approvals cover exactly these bytes.
        algorithm: API name of the cipher algorithm, such as `RSA_PADDING_OAEP_WITH_SHA256`.
        iv: Initialization vector, None where the algorithm has none.
        aad: Additional authenticated data, None where there are none.
        tag_length: Length of the authentication tag in bits; 0 for the algorithm's own.
        approvals: Authorization blobs, at most `MAX_APPROVALS`.
        request_id: The broker's id of the request, for the receipt; empty when nobody asks for one.
    """

    operation_id: bytes
    label: str
    payload: bytes
    algorithm: str
    iv: bytes | None
    aad: bytes | None
    tag_length: int
    approvals: list[bytes]
    request_id: str = ""


class Unwrap(Message, frozen=True, tag="unwrap"):
    """Unwrap a key and keep it as a new one with the creation `imported`. Answer: `Attested`, of the new key.

    Args:
        operation_id: 16 bytes.
        label: Label of the unwrapping key.
        wrapped_key: The wrapped key.
        method: API name of the wrap method, such as `AES_WRAP_PAD_EC`.
        new_label: Label of the new key; unused so far.
        attributes: Attributes of the new key, as in `CreateKey`.
        approvals: Authorization blobs over the unwrap payload that the HSM builds itself from attributes, wrapped key
            and new label (`keyturn.ska.unwrap_flags`, R16), or over the statement of a bound key; at most
            `MAX_APPROVALS`.
        policy: Binary policy blob of the new key, empty for none. A protected unwrapping key gives one only if it has
            `boundApprovals` (R16).
        blocked: Whether the new key starts blocked.
        key_id: The API's `id` of the new key, or None.
        request_id: The broker's id of the request, for the receipt; empty when nobody asks for one.
        allowed_operations: Of the new key, as in `CreateKey`; a protected key without `boundApprovals` gives none.
        allowed_algorithms: The same.
    """

    operation_id: bytes
    label: str
    wrapped_key: bytes
    method: str
    new_label: str
    attributes: dict[str, bool]
    approvals: list[bytes]
    policy: bytes = b""
    blocked: bool = False
    key_id: str | None = None
    request_id: str = ""
    allowed_operations: list[str] = []
    allowed_algorithms: list[str] = []


class Modify(Message, frozen=True, tag="modify"):
    """Replace a key's policy. Answer: `Attested`.

    Args:
        operation_id: 16 bytes.
        label: Label of the key.
        policy: The new binary policy blob: outer header, all four rules.
        approvals: Authorization blobs over exactly these policy bytes.
        request_id: The broker's id of the request, for the receipt; empty when nobody asks for one.
    """

    operation_id: bytes
    label: str
    policy: bytes
    approvals: list[bytes]
    request_id: str = ""


class Block(Message, frozen=True, tag="block"):
    """Block a key: from the answer on, no result of any use of it leaves the HSM. Answer: `Attested`.

    Args:
        operation_id: 16 bytes.
        label: Label of the key; it has a policy.
        approvals: Authorization blobs for block, at most `MAX_APPROVALS`.
        request_id: The broker's id of the request, for the receipt; empty when nobody asks for one.
    """

    operation_id: bytes
    label: str
    approvals: list[bytes]
    request_id: str = ""


class Unblock(Message, frozen=True, tag="unblock"):
    """Lift the block of a key. Answer: `Attested`.

    Args:
        operation_id: 16 bytes.
        label: Label of the key; it has a policy and is blocked.
        approvals: Authorization blobs for unblock, at most `MAX_APPROVALS`. On a protected key a statement serves
            once, and one with a timestamp only if that is later than the last block (R15).
        request_id: The broker's id of the request, for the receipt; empty when nobody asks for one.
    """

    operation_id: bytes
    label: str
    approvals: list[bytes]
    request_id: str = ""


class Withdraw(Message, frozen=True, tag="withdraw"):
    """Take an approval back (R26): it does not count from now on, whoever presents it. Answer: `Done`.

    The signature covers the ASCII bytes `WITHDRAW:`, the approval, and the task's id in ASCII.

    Args:
        label: Label of the key that the approval is for.
        approval: The statement that was approved: the approval blob as it was signed.
        task_id: Id of the approval task, ASCII, at most 128 characters.
        signature: DER-wrapped signature (ska-wire-format.md section 6).
        spki: The signer's public key, or None if `certificate` is given.
        certificate: The signer's certificate, or None if `spki` is given.
    """

    label: str
    approval: bytes
    task_id: str
    signature: bytes
    spki: bytes | None
    certificate: bytes | None


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
        payload: Use payload (1), the new policy blob (4), empty for 2 and 3; for a key with `boundApprovals` the
            statement (1, 2, 3).
    """

    label: str
    action: int
    payload: bytes


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


class GetStatistics(Message, frozen=True, tag="statistics"):
    """Ask for figures about the store. Answer: `Statistics`."""


Call = (
    GetInfo
    | ListKeys
    | Lookup
    | Attest
    | CreateKey
    | DeleteKey
    | Sign
    | Modify
    | Verify
    | Stamp
    | GetStatistics
    | Decrypt
    | Unwrap
    | Block
    | Unblock
    | Withdraw
    | Witness
)

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
        integrity_keys: All integrity keys that ever were: name, SPKI, and the second of their retirement or None.
        receipt_key: SPKI of the key that signs receipts, DER; empty while sealed.
        clock: The HSM's system clock, seconds since the epoch; 0 while sealed. Not signed: for people to compare.
        clock_mark: The highest time that the HSM has used; 0 while sealed.
        rolled_back: Whether genuine evidence showed that the store is an older one; then nothing is done that a policy
            governs, until the administrator accepts it (R6).
        accepted_rollbacks: How often an administrator accepted that.
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
    integrity_keys: list[tuple[str, bytes, int | None]] = []
    receipt_key: bytes = b""
    clock: float = 0.0
    clock_mark: float = 0.0
    rolled_back: bool = False
    accepted_rollbacks: int = 0


class Labels(Message, frozen=True, tag="labels-are"):
    """Labels of all keys, sorted."""

    labels: list[str]


class KeyFacts(Message, frozen=True, tag="facts-are"):
    """A key's public side, as the HSM holds it now. Not signed: for a broker that predicts, not for trust.

    Args:
        label: Label.
        uuid: UUID text.
        generation: How many keys have borne this label, this one included.
        algorithm: `RSA`, `EC`, `ED`, `AES`.
        public_key: SPKI, DER; empty for AES.
        attributes: Attribute names to booleans.
        policy: Binary policy blob, empty for an ordinary key.
        blocked: Whether it is blocked.
        created: Seconds since the epoch.
        state_counter: State counter of the store at the key's last change.
        last_blocked: Second since the epoch of the last block, the one at creation included; 0 if there was none.
        last_modified: Second since the epoch of the last modify; 0 if there was none.
        allowed_operations: What it may at most be used for, sorted; empty for no limit (R9).
        allowed_algorithms: With what, sorted; empty for no limit (R9).
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
    last_blocked: int = 0
    last_modified: int = 0
    allowed_operations: list[str] = []
    allowed_algorithms: list[str] = []


class Attested(Message, frozen=True, tag="attested"):
    """Attested attributes.

    Args:
        xml: The XML text.
        signature: Bare signature over its UTF-8 bytes.
        attestation_key_name: Name of the key that signed it.
        receipt: Receipt for the request id of the call, empty when it had none.
        receipt_signature: The receipt key's signature over it.
    """

    xml: str
    signature: bytes
    attestation_key_name: str
    receipt: bytes = b""
    receipt_signature: bytes = b""


class Signed(Message, frozen=True, tag="signed"):
    """A signature.

    Args:
        signature: In the form asked for.
        receipt: Receipt for the request id of the call, empty when it had none.
        receipt_signature: The receipt key's signature over it.
    """

    signature: bytes
    receipt: bytes = b""
    receipt_signature: bytes = b""


class Decrypted(Message, frozen=True, tag="decrypted"):
    """Decrypted data.

    Args:
        data: The plaintext.
        receipt: Receipt for the request id of the call, empty when it had none.
        receipt_signature: The receipt key's signature over it.
    """

    data: bytes
    receipt: bytes = b""
    receipt_signature: bytes = b""


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
        receipt: Receipt for the request id of the call, empty when it had none.
        receipt_signature: The receipt key's signature over it.
    """

    code: str
    refusal: str
    message: str
    bad_approvals: list[tuple[int, str]] = []
    receipt: bytes = b""
    receipt_signature: bytes = b""


Answer = Info | Labels | KeyFacts | Attested | Signed | Decrypted | Done | Verdict | Stamped | Statistics | Refused
