"""Bodies about keys.

Source: rest-api.md sections 3.1 and 4.8; decisions 9.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

from keyturn.api.schemas.common import Body, NonEmpty, Password
from keyturn.api.schemas.policies import NewPolicy  # noqa: TC001 - Read with the fields.

REQUIRED_ATTRIBUTES: Final = ("decrypt", "sign", "unwrap")
KNOWN_ATTRIBUTES: Final = (
    *REQUIRED_ATTRIBUTES,
    "encrypt",
    "verify",
    "wrap",
    "derive",
    "bip32",
    "slip10",
    "extractable",
    "modifiable",
    "destroyable",
    "sensitive",
    "copyable",
    "boundApprovals",
    "singleUse",
)
"""What may be chosen at creation; the rest is answered only, and ignored when sent (decisions 9)."""
MAX_LIMITS: Final = 256
"""Most names in a list that limits a key; there are fewer algorithms."""
_OPERATIONS: Final = ("sign", "certify", "decrypt", "unwrap", "encrypt", "wrap")
_LIMITS_SCHEMA: Final = {
    "allowedOperations": {"type": ["array", "null"], "items": {"type": "string", "enum": list(_OPERATIONS)}},
    "allowedAlgorithms": {"type": ["array", "null"], "items": {"type": "string"}, "maxItems": MAX_LIMITS},
}
"""Lists that limit a key for life (R9); absent, null and empty set no limit."""
_ATTRIBUTES_SCHEMA: Final = {
    "required": list(REQUIRED_ATTRIBUTES),
    "properties": {
        name: {"type": "boolean" if name in REQUIRED_ATTRIBUTES else ["boolean", "null"]} for name in KNOWN_ATTRIBUTES
    }
    | _LIMITS_SCHEMA,
}

KeyAttributes = Annotated[
    dict[str, Any],
    Meta(description="Unknown names are ignored, whatever they hold.", extra_json_schema=_ATTRIBUTES_SCHEMA),
]


class CreateKeyBody(Body, frozen=True, rename="camel"):
    """`POST /v1/key`. `algorithm` or `algorithmOid`, `curveOid` for EC and ED, `keySize` for RSA and AES."""

    label: NonEmpty
    attributes: KeyAttributes
    password: Password = None
    id: str | None = None
    algorithm: str | None = None
    algorithm_oid: str | None = None
    curve_oid: str | None = None
    key_size: Annotated[int, Meta(ge=0, le=1 << 20)] | None = None
    address_format: dict[str, Any] | None = None
    policy: NewPolicy | None = None


class KeyLabelBody(Body, frozen=True, rename="camel"):
    """A key named by its label."""

    label: NonEmpty
    password: Password = None
