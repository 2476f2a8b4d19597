"""API keys: one or several for each role, each given as it is or by its SHA-256.

A key is long and random, so its bare hash tells nothing. Only hashes are kept in memory and compared, all of them
and each in constant time.

Source: rest-api.md section 1.5 (`X-API-KEY`, 416 and 631).
"""

from __future__ import annotations

import hmac
import re
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from keyturn.api.errors import HttpError
from keyturn.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keyturn.api.access.roles import Role

HASHED: Final = re.compile(r"sha256:([0-9a-fA-F]{64})")
KEY_BYTES: Final = 32


def new_api_key() -> tuple[str, str]:
    """Make an API key.

    Returns:
        The key, for the client, and `sha256:…`, for the settings.
    """
    key = secrets.token_urlsafe(KEY_BYTES)
    return key, f"sha256:{sha256(key.encode()).hexdigest()}"


class ApiKeys:
    """The keys that are known.

    Args:
        keys: Role to its keys, as they are or as `sha256:` and 64 hex digits.
    """

    def __init__(self, keys: Mapping[Role, Sequence[str]]) -> None:
        self._known = [(_hash_of(key), role) for role, of_role in keys.items() for key in of_role]

    def roles(self, key: bytes) -> frozenset[Role]:
        """The roles that a key opens.

        Args:
            key: Value of the header `X-API-KEY`.

        Raises:
            HttpError: 401 with 631 when it is none of the known ones.
        """
        digest = sha256(key).digest()
        granted = [role for known, role in self._known if hmac.compare_digest(known, digest)]
        if not granted:
            raise HttpError(
                401,
                ErrorCode.INVALID_API_KEY,
                "The API key in the header X-API-KEY is none of this server's; take the one that its operator gave "
                "you for this role.",
                refusal="access.api-key",
            )
        return frozenset(granted)


def _hash_of(key: str) -> bytes:
    hashed = HASHED.fullmatch(key)
    return bytes.fromhex(hashed[1]) if hashed else sha256(key.encode()).digest()
