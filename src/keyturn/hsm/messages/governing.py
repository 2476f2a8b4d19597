"""Messages about what governs a key: policy, block, withdrawn approvals, signed time."""

from __future__ import annotations

from keyturn.hsm.messages.base import Message


class Modify(Message, frozen=True, tag="modify"):
    """Replace a key's policy. Answer: `Attested`.

    Args:
        operation_id: 16 bytes.
        label: Label of the key.
        policy: The new binary policy blob: outer header, all four rules.
        approvals: Authorization blobs over exactly these policy bytes.
        request_id: The broker's id of the request, for the receipt; empty when nobody asks for one.
        sealed_password: The key's password (`keyturn.ska.sealed_password`); empty for none.
    """

    operation_id: bytes
    label: str
    policy: bytes
    approvals: list[bytes]
    request_id: str = ""
    sealed_password: bytes = b""


class Block(Message, frozen=True, tag="block"):
    """Block a key: from the answer on, no result of any use of it leaves the HSM. Answer: `Attested`.

    Args:
        operation_id: 16 bytes.
        label: Label of the key; it has a policy.
        approvals: Authorization blobs for block, at most `MAX_APPROVALS`.
        request_id: The broker's id of the request, for the receipt; empty when nobody asks for one.
        sealed_password: The key's password (`keyturn.ska.sealed_password`); empty for none.
    """

    operation_id: bytes
    label: str
    approvals: list[bytes]
    request_id: str = ""
    sealed_password: bytes = b""


class Unblock(Message, frozen=True, tag="unblock"):
    """Lift the block of a key. Answer: `Attested`.

    Args:
        operation_id: 16 bytes.
        label: Label of the key; it has a policy and is blocked.
        approvals: Authorization blobs for unblock, at most `MAX_APPROVALS`. On a protected key a statement serves
            once, and one with a timestamp only if that is later than the last block (R15).
        request_id: The broker's id of the request, for the receipt; empty when nobody asks for one.
        sealed_password: The key's password (`keyturn.ska.sealed_password`); empty for none.
    """

    operation_id: bytes
    label: str
    approvals: list[bytes]
    request_id: str = ""
    sealed_password: bytes = b""


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
