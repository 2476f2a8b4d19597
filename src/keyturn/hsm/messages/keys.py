"""Messages about keys as such: who there is, what it is like, make and delete."""

from __future__ import annotations

import msgspec

from keyturn.hsm.messages.base import Message


class ListKeys(Message, frozen=True, tag="list"):
    """Ask for all labels. Answer: `Labels`."""


class Labels(Message, frozen=True, tag="labels-are"):
    """Labels of all keys, sorted."""

    labels: list[str]


class Lookup(Message, frozen=True, tag="lookup"):
    """Ask for a key's public side without attestation. Answer: `KeyFacts`.

    Args:
        label: Label of the key.
    """

    label: str


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
        created: Since when it bears its label, seconds since the epoch: made, or brought back after a deletion.
        state_counter: State counter of the store at the key's last change.
        last_blocked: Second since the epoch of the last block, the one at creation included; 0 if there was none.
        last_modified: Second since the epoch of the last modify; 0 if there was none.
        allowed_operations: What it may at most be used for, sorted; empty for no limit (R9).
        allowed_algorithms: With what, sorted; empty for no limit (R9).
        has_password: Whether a password is needed to use it (R27).
        certificate: Certificate that is attached to it, DER; empty for none.
        public_only: Whether there is a public part only.
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
    allowed_operations: list[str] = msgspec.field(default_factory=list)
    allowed_algorithms: list[str] = msgspec.field(default_factory=list)
    has_password: bool = False
    certificate: bytes = b""
    public_only: bool = False


class Attest(Message, frozen=True, tag="attest"):
    """Ask for the attested attributes of a key. Answer: `Attested`. Rate-limited (R31).

    Args:
        label: Label of the key.
        sealed_password: None where the broker reads for itself: what is attested is no secret. On behalf of a caller
            the password that this one gave, sealed, or empty for none; then a key with a password needs it (R27).
    """

    label: str
    sealed_password: bytes | None = None


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
        address_format: `BTC`, `ETH`, `XRP` or `XLM`: what addresses the key has; empty for none.
        sealed_password: The key's password (`keyturn.ska.sealed_password`); empty for none.
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
    allowed_operations: list[str] = msgspec.field(default_factory=list)
    allowed_algorithms: list[str] = msgspec.field(default_factory=list)
    sealed_password: bytes = b""

    address_format: str = ""


class DeleteKey(Message, frozen=True, tag="delete"):
    """Delete a key; it must be destroyable. Answer: `Done`.

    Args:
        operation_id: 16 bytes.
        label: Label of the key.
        sealed_password: The key's password (`keyturn.ska.sealed_password`); empty for none.
    """

    operation_id: bytes
    label: str
    sealed_password: bytes = b""
