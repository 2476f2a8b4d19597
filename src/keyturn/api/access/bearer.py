"""Bearer tokens: JSON Web Tokens of one issuer, for one audience, with an end, and with the roles they open.

The public keys come from a file (JWKS); nothing is fetched. A token is verified with the algorithm of the key that
its `kid` names, never with one that it chooses itself. What was verified is remembered until the token ends.

Source: RFC 7519, RFC 7517, RFC 8725; rest-api.md section 1.5 (406, 617, 618).
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from keyturn.api.access.roles import Role
from keyturn.api.errors import HttpError
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.plain import system_reason

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from keyturn.clock import Clock

MAX_TOKEN: Final = 16 << 10
"""Longest token in bytes."""
MAX_REMEMBERED: Final = 1024
"""Verified tokens that are remembered."""
LEAST_RSA_BITS: Final = 2048
_WORDS: Final = {role.value: role for role in Role}


class BearerTokens:
    """Verifies tokens.

    Args:
        keys: Key id (`kid`) to key and the algorithm it verifies with.
        issuer: What `iss` must be.
        audience: What `aud` must be or contain.
        role_claim: Claim with the roles: a text, separated by spaces, or a list of texts.
        clock: The time.
    """

    def __init__(
        self, keys: Mapping[str, tuple[Any, str]], *, issuer: str, audience: str, role_claim: str, clock: Clock
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._role_claim = role_claim
        self._clock = clock
        self._verified: dict[bytes, tuple[float, frozenset[Role]]] = {}

    def roles(self, header: bytes) -> frozenset[Role]:
        """The roles that a token opens.

        Args:
            header: Value of the header `Authorization`.

        Raises:
            HttpError: 401 with 406 when it is no bearer token, 617 when the token does not count, 618 when it names
                no role.
        """
        scheme, _, token = header.partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            raise missing_token()
        now = self._clock.now()
        digest = sha256(token).digest()
        end, roles = self._verified.get(digest, (0.0, frozenset()))
        if now < end:
            return roles
        claims = self._verify(token.strip(), now)
        roles = self._roles(claims)
        if len(self._verified) >= MAX_REMEMBERED:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = (float(claims["exp"]), roles)
        return roles

    def _verify(self, token: bytes, now: float) -> dict[str, Any]:
        if len(token) > MAX_TOKEN:
            raise _invalid(f"it is longer than {MAX_TOKEN} bytes")
        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
            found = self._keys.get(kid) if isinstance(kid, str) else None
            if found is None:
                raise _invalid("its `kid` names no key of this server's JWKS file")
            key, algorithm = found
            # The times are compared here, with the one clock of this server.
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=self._issuer,
                audience=self._audience,
                options={
                    "require": ["exp", "iss", "aud"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.PyJWTError as error:
            raise _invalid(str(error)[:120]) from None
        end, start = claims["exp"], claims.get("nbf", 0)
        if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in (end, start)):
            raise _invalid("`exp` or `nbf` is no number")
        if not start <= now < end:
            raise _invalid("it has ended or does not count yet; compare `exp` and `nbf` with the server's clock")
        return claims

    def _roles(self, claims: Mapping[str, Any]) -> frozenset[Role]:
        value = claims.get(self._role_claim)
        words = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
        roles = frozenset(_WORDS[word] for word in words if isinstance(word, str) and word in _WORDS)
        if not roles:
            raise HttpError(
                401,
                ErrorCode.INSUFFICIENT_LOGIN_INFORMATION,
                f"The bearer token names no role in `{self._role_claim}`; roles are {', '.join(_WORDS)}.",
                refusal="access.token-roles",
            )
        return roles


def missing_token() -> HttpError:
    """The refusal of a request that should carry a bearer token and does not."""
    return HttpError(
        401,
        ErrorCode.MISSING_ACCESS_TOKEN,
        "This server asks for a bearer token: send the header `Authorization: Bearer …`.",
        refusal="access.token-missing",
        headers={"www-authenticate": "Bearer"},
    )


def _invalid(why: str) -> HttpError:
    return HttpError(
        401,
        ErrorCode.INVALID_ACCESS_TOKEN,
        f"The bearer token does not count: {why}.",
        refusal="access.token",
        headers={"www-authenticate": 'Bearer error="invalid_token"'},
    )


def load_jwks(file: Path) -> dict[str, tuple[Any, str]]:
    """Read the public keys of a token's issuer.

    Args:
        file: JSON Web Key Set (RFC 7517): RSA of 2 048 bits or more (RS256), P-256 (ES256), Ed25519 (EdDSA); every key
            with a `kid`.

    Returns:
        Key id to key and algorithm.

    Raises:
        KeyturnError: 301 `config.jwks`, naming file and key.
    """
    try:
        entries = json.loads(file.read_bytes())["keys"]
        keys: dict[str, tuple[Any, str]] = {}
        for entry in entries:
            kid = entry["kid"]
            key = jwt.PyJWK(entry, _algorithm_word(entry)).key
            algorithm = _algorithm_of(key)
            if not isinstance(kid, str) or not algorithm or kid in keys:
                raise _jwks(file, f"the key {str(kid)[:60]!r} is of no kind that is taken, or its `kid` is not unique")
            if entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm:
                raise _jwks(file, f"the key {kid[:60]!r} is for another use or algorithm than {algorithm}")
            keys[kid] = (key, algorithm)
    except OSError as error:
        raise _jwks(file, system_reason(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise _jwks(file, f"it is no set of public keys ({type(error).__name__})") from None
    if not keys:
        raise _jwks(file, "it holds no key")
    return keys


def _algorithm_word(entry: Mapping[str, Any]) -> str:
    if "d" in entry or entry["kty"] == "oct":
        raise ValueError("a private or shared key")
    return {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}[entry["kty"]]


def _algorithm_of(key: object) -> str:
    if isinstance(key, RSAPublicKey) and key.key_size >= LEAST_RSA_BITS:
        return "RS256"
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256"
    return "EdDSA" if isinstance(key, Ed25519PublicKey) else ""


def _jwks(file: Path, why: str) -> KeyturnError:
    return KeyturnError(
        ErrorCode.CONFIG_NOT_VALID,
        f"apiAuthentication.jwt.jwksFile: {file}: {why}. It takes public keys: RSA of 2048 bits or more, P-256, "
        "Ed25519, each with a kid.",
        refusal="config.jwks",
    )
