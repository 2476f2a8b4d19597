"""The gate: before a request's body is read, who sent it is asked what they may do.

API keys and bearer tokens are two ways to the same roles; where both are asked for, either will do, and an API key
that is sent is the one that is judged. A client's certificate that TLS demands comes before both. Where certificates
are welcome and not demanded, one opens all roles.

Source: rest-api.md section 1.5; decisions 7; docs/adr/0111.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.api.access.bearer import missing_token
from keyturn.api.access.roles import Role, roles_of, without_token
from keyturn.api.errors import HttpError
from keyturn.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keyturn.api.access.api_keys import ApiKeys
    from keyturn.api.access.bearer import BearerTokens


class Gate:
    """Lets requests in.

    Args:
        paths: Paths of all endpoints, as their table has them.
        api_keys: The known API keys; None if none are asked for.
        bearer: Who verifies bearer tokens; None if none are asked for. One of the two is there.
        certificate_is_enough: Whether a client's certificate opens all roles.
    """

    def __init__(
        self,
        paths: Iterable[str],
        *,
        api_keys: ApiKeys | None,
        bearer: BearerTokens | None,
        certificate_is_enough: bool = False,
    ) -> None:
        self._roles = {path: roles_of(path) for path in paths}
        self._api_keys = api_keys
        self._bearer = bearer
        self._certificate_is_enough = certificate_is_enough

    def check(
        self, path: str, api_key: bytes | None, authorization: bytes | None, *, certificate: bool
    ) -> frozenset[Role] | None:
        """Let a request in, or not.

        Args:
            path: The endpoint's path, as the table has it.
            api_key: The header `X-API-KEY`.
            authorization: The header `Authorization`.
            certificate: Whether the client showed a certificate that its authority vouches for.

        Returns:
            The roles that were shown; None where no role was asked for.

        Raises:
            HttpError: 401 with 416, 631, 406, 617 or 618; 403 with 400 for another role's key.
        """
        needed = self._roles[path]
        if needed is None or (certificate and self._certificate_is_enough):
            return None
        granted = self._granted(path, api_key, authorization)
        if granted is not None and not granted & needed:
            raise HttpError(
                403,
                ErrorCode.SECURITY_NOT_ALLOWED,
                f"This needs the role {_words(needed)}; what was sent opens {_words(granted)}.",
                refusal="access.role",
            )
        return granted

    def _granted(self, path: str, api_key: bytes | None, authorization: bytes | None) -> frozenset[Role] | None:
        """The roles that were shown; None where none is needed."""
        if self._api_keys is not None and api_key is not None:
            return self._api_keys.roles(api_key)
        if self._bearer is not None:
            if without_token(path) and self._api_keys is None:
                return None
            if authorization is not None:
                return self._bearer.roles(authorization)
            if self._api_keys is None:
                raise missing_token()
        raise HttpError(
            401,
            ErrorCode.MISSING_API_KEY,
            "This server asks for an API key: send it in the header X-API-KEY"
            + (", or a bearer token in the header Authorization." if self._bearer is not None else "."),
            refusal="access.api-key-missing",
        )


def _words(roles: frozenset[Role]) -> str:
    return " or ".join(sorted(role.value for role in roles))
