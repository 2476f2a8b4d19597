"""`allowedOperations` and `allowedAlgorithms`: what a key may at most be used for, fixed at creation (R9).

Pure checks, at creation and in the door. Empty lists are no limit: as documented.

Source: docs/security/rules.md R9; docs/adr/0076.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.crypto.ciphers import CIPHER_ALGORITHMS
from keyturn.crypto.registry import SIGNATURE_ALGORITHMS
from keyturn.crypto.wrapping import WRAP_METHODS
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keyturn.hsm.records import KeyRecord

OPERATIONS: Final = ("certify", "decrypt", "encrypt", "sign", "unwrap", "wrap")
"""Operations that can be allowed. `certify` signs certificates and requests for them, and nothing else (R17)."""
_ENABLED_BY: Final = {"certify": "sign"}
"""Operations that another attribute enables than the one of their name."""

_SERVES: Final[Mapping[str, tuple[frozenset[str], tuple[str, ...]]]] = {
    **{name: (frozenset({"certify", "sign"}), entry.key_types) for name, entry in SIGNATURE_ALGORITHMS.items()},
    **{name: (frozenset({"decrypt", "encrypt"}), entry.key_types) for name, entry in CIPHER_ALGORITHMS.items()},
    **{name: (frozenset({"unwrap", "wrap"}), (entry.wrapping_key_type,)) for name, entry in WRAP_METHODS.items()},
}
"""For each name the operations that it serves, and the kinds of keys it is for."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a key may at most be used for.

    Args:
        operations: Some of `OPERATIONS`, sorted; empty for no limit.
        algorithms: API names, sorted; empty for no limit.
    """

    operations: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()


def check_limits(
    operations: Sequence[str], algorithms: Sequence[str], *, key_type: str, attributes: Mapping[str, bool]
) -> Limits:
    """Check the limits of a key that is to come into being.

    Args:
        operations: `allowedOperations`, in any order.
        algorithms: `allowedAlgorithms`, in any order.
        key_type: Kind of the key, by its API name.
        attributes: Its attributes, filled in.

    Returns:
        The limits as they are stored.

    Raises:
        KeyturnError: 606 `attribute.unknown-operation`, `attribute.unknown-algorithm`: there is none of that name here;
            `attribute.useless-operation`, `attribute.useless-algorithm`: it could never serve, so that the list would
            leave less than it says, or nothing.
    """
    for name in operations:
        if name not in OPERATIONS:
            raise _refused(
                "allowedOperations", name, f"is no operation; there are {', '.join(OPERATIONS)}", "unknown-operation"
            )
        attribute = _ENABLED_BY.get(name, name)
        if not attributes[attribute]:
            raise _refused(
                "allowedOperations",
                name,
                f"could never be used, since the attribute `{attribute}` is false; take it out, or set the attribute",
                "useless-operation",
            )
    enabled = {_ENABLED_BY.get(name, name) for name in operations or OPERATIONS}
    enabled = {name for name in enabled if attributes[name]}
    for name in algorithms:
        if name not in _SERVES:
            raise _refused(
                "allowedAlgorithms",
                name,
                "is no signature algorithm, cipher or method of wrapping that is available here",
                "unknown-algorithm",
            )
        operations_served, kinds = _SERVES[name]
        if key_type not in kinds or not operations_served & enabled:
            why = (
                f"is for keys of type {' or '.join(kinds)}"
                if key_type not in kinds
                else f"serves to {' or '.join(sorted(operations_served))}, which the key may not"
            )
            raise _refused("allowedAlgorithms", name, f"{why}; take it out", "useless-algorithm")
    return Limits(tuple(sorted(set(operations))), tuple(sorted(set(algorithms))))


def require_allowed(record: KeyRecord, operation: str, algorithm: str) -> None:
    """Make sure that the limits of a key leave room for an act.

    Args:
        record: The key.
        operation: One of `OPERATIONS`.
        algorithm: API name of the signature algorithm, cipher or wrap method.

    Raises:
        KeyturnError: 614 `key.operation-not-allowed`, 607 `key.algorithm-not-allowed`.
    """
    if record.allowed_operations and operation not in record.allowed_operations:
        raise KeyturnError(
            ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
            f"the key {record.label!r} may only {' and '.join(record.allowed_operations)}: its allowedOperations were "
            "fixed at creation",
            refusal="key.operation-not-allowed",
        )
    if record.allowed_algorithms and algorithm not in record.allowed_algorithms:
        raise KeyturnError(
            ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
            f"the key {record.label!r} works only with {', '.join(record.allowed_algorithms)}: its allowedAlgorithms "
            "were fixed at creation",
            refusal="key.algorithm-not-allowed",
        )


def _refused(field: str, name: str, why: str, word: str) -> KeyturnError:
    return KeyturnError(
        ErrorCode.KEY_ATTRIBUTES_INVALID, f"attributes: {field}: {name[:64]!a} {why}", refusal=f"attribute.{word}"
    )
