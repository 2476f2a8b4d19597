"""Key attributes by their API names: which a caller may set, and what they are when left out.

Broker and HSM both fill in what was left out, and must come to the same: an approval for an unwrap covers the result.

Source: rest-api.md section 4.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_ATTRIBUTES: Final[Mapping[str, bool]] = {
    "decrypt": False,
    "sign": False,
    "unwrap": False,
    "encrypt": False,
    "verify": False,
    "wrap": False,
    "derive": False,
    "bip32": False,
    "slip10": False,
    "extractable": False,
    "modifiable": True,
    "destroyable": False,
    "copyable": False,
    "boundApprovals": False,
    "singleUse": False,
}
"""Attributes a caller may set, with what they are when left out. `sensitive` is one more; see `filled_in`."""


def filled_in(given: Mapping[str, bool]) -> dict[str, bool]:
    """Add the attributes that were left out.

    Args:
        given: As the caller wrote them; unknown names are ignored (rest-api.md section 1.1).

    Returns:
        All of `DEFAULT_ATTRIBUTES`, and `sensitive`: left out, the HSM decides, and what may leave is not called so.
    """
    attributes = {name: given.get(name, default) for name, default in DEFAULT_ATTRIBUTES.items()}
    attributes["sensitive"] = given.get("sensitive", not attributes["extractable"])
    return attributes
