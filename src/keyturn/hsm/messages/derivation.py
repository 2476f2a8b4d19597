"""Messages about seeds, derived keys and addresses."""

from __future__ import annotations

import msgspec

from keyturn.hsm.messages.base import Message


class ImportSeed(Message, frozen=True, tag="import-seed"):
    """Make a master key of a seed. Answer: `Attested`.

    Args:
        operation_id: 16 bytes.
        label: Label; unused so far.
        seed: 16 to 64 bytes; they never appear in its `repr`.
        curve_oid: Dotted OID of a curve for which there is derivation.
        attributes: As in `CreateKey`.
        policy: Binary policy blob, empty for an ordinary key.
        blocked: Whether the key starts blocked.
        address_format: `BTC`, `ETH`, `XRP` or `XLM`; empty for none.
        allowed_operations: As in `CreateKey`.
        allowed_algorithms: As in `CreateKey`.
    """

    operation_id: bytes
    label: str
    seed: bytes
    curve_oid: str
    attributes: dict[str, bool]
    policy: bytes
    blocked: bool
    address_format: str = ""
    allowed_operations: list[str] = msgspec.field(default_factory=list)
    allowed_algorithms: list[str] = msgspec.field(default_factory=list)

    def __repr__(self) -> str:
        return f"ImportSeed({self.label!r}, …)"


class DeriveKey(Message, frozen=True, tag="derive-child"):
    """Store a derived key, under the name `label/path`. Answer: `Attested`, of the derived key.

    Args:
        operation_id: 16 bytes.
        label: Name of the master key: a label, or itself the name of a derived key.
        path: Derivation path, such as `44'/0'/0'`.
        attributes: Those that are to differ from the master's; none that widens (R21).
        sealed_password: The master's password; empty for none.
    """

    operation_id: bytes
    label: str
    path: str
    attributes: dict[str, bool]
    sealed_password: bytes = b""


class GetAddress(Message, frozen=True, tag="address"):
    """Ask for the address of a key with a policy. Answer: `Address`.

    Args:
        label: Label of the key, or name of a derived key.
        sealed_password: The key's password; empty for none.
    """

    label: str
    sealed_password: bytes = b""


class Address(Message, frozen=True, tag="address-is"):
    """The address of a key.

    Args:
        address: Its bytes (`keyturn.crypto.addresses`).
        address_format: `BTC`, `ETH`, `XRP` or `XLM`.
    """

    address: bytes
    address_format: str
