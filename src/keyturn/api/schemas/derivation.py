"""Bodies about seeds, derived keys and addresses.

Source: rest-api.md sections 3.1, 3.2 and 4.9.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from keyturn.api.schemas.common import Body, NonEmpty, Password
from keyturn.api.schemas.keys import KeyAttributes  # noqa: TC001 - Read with the fields.
from keyturn.api.schemas.policies import NewPolicy  # noqa: TC001 - Read with the fields.

AddressFormat = Annotated[
    dict[str, Any],
    Meta(
        description="Of a key with a policy: `BTC`, `ETH`, `XRP` (secp256k1), `XRP`, `XLM` (Ed25519).",
        extra_json_schema={"required": ["format"], "properties": {"format": {"type": "string"}}},
    ),
]


class ImportSeedBody(Body, frozen=True, rename="camel"):
    """`POST /v1/importedKey`. `seed` is base64 of 16 to 64 bytes; `algorithm` follows from the curve."""

    label: NonEmpty
    seed: NonEmpty
    curve_oid: NonEmpty
    attributes: KeyAttributes
    algorithm: str | UnsetType | None = UNSET
    address_format: AddressFormat | None = None
    policy: NewPolicy | None = None


class DeriveKeyBody(Body, frozen=True, rename="camel"):
    """`POST /v1/derivedKey`. Attributes that are left out are those of the master."""

    master_key_label: NonEmpty
    derivation_path: str
    master_key_password: Password = None
    attributes: Annotated[dict[str, Any], Meta(description="Unknown names are ignored, whatever they hold.")] | None = (
        None
    )
