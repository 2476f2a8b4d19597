"""Seeds, derived keys and addresses.

Source: rest-api.md sections 3.1, 3.2 and 4.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from keyturn.api.answers import KeyAddress, SignedKeyAttributes
from keyturn.api.endpoints.parts import chosen_attributes, chosen_limits, given_attributes, signed_attributes, text
from keyturn.api.fields import from_base64
from keyturn.api.http import Call, Route, Services
from keyturn.api.passwords import sealed_password
from keyturn.api.policies import new_policy
from keyturn.api.schemas.derivation import DeriveKeyBody, ImportSeedBody
from keyturn.api.schemas.keys import KeyLabelBody
from keyturn.broker.deriving import SeedCall
from keyturn.errors import FormatError

if TYPE_CHECKING:
    from keyturn.ska.policy import Policy

_ALGORITHMS: Final = (None, "", "EC", "ED")


def address_format(sent: dict[str, Any] | None) -> str:
    """Read `addressFormat`; which formats there are, the HSM knows.

    Args:
        sent: What was sent; null and an empty object stand for none.

    Returns:
        The name of the format, empty for none.

    Raises:
        FormatError: If `format` is no text.
    """
    name = (sent or {}).get("format")
    if name is None:
        return ""
    if not isinstance(name, str):
        raise FormatError(
            "A provided argument is of the wrong type. Field 'addressFormat.format' must be a text or null.",
            refusal="json.wrong-type",
        )
    return name


async def import_seed(services: Services, call: Call, body: ImportSeedBody) -> SignedKeyAttributes:
    """Import a seed: make the master key of SLIP-0010 (BIP 32 on secp256k1) from which others are derived."""
    del call
    if body.algorithm and body.algorithm not in _ALGORITHMS:
        raise FormatError("Field 'algorithm' must be EC or ED; it follows from curveOid.", refusal="key.algorithm")
    policy: Policy | None = None
    blocked = False
    if body.policy is not None:
        policy, blocked = await new_policy(services, "policy", body.policy)
    return signed_attributes(
        await services.broker.deriving.import_seed(
            SeedCall(
                label=body.label,
                seed=from_base64("seed", body.seed),
                curve_oid=body.curve_oid,
                attributes=chosen_attributes("attributes", body.attributes),
                policy=policy,
                blocked=blocked,
                address_format=address_format(body.address_format),
                **chosen_limits("attributes", body.attributes),
            )
        )
    )


async def derive_key(services: Services, call: Call, body: DeriveKeyBody) -> SignedKeyAttributes:
    """Store a derived key under the name `masterKeyLabel/derivationPath`.

    A child of a key with a policy follows that policy: approvals name `masterKeyLabel/derivationPath`.
    """
    del call
    attributes = given_attributes("attributes", body.attributes or {})
    password = await sealed_password(services, "masterKeyPassword", body.master_key_label, body.master_key_password)
    return signed_attributes(
        await services.broker.deriving.derive_key(body.master_key_label, body.derivation_path, attributes, password)
    )


async def key_address(services: Services, call: Call, body: KeyLabelBody) -> KeyAddress:
    """Give the bytes of a key's blockchain address; only keys with a policy and an addressFormat have one."""
    del call
    password = await sealed_password(services, "password", body.label, body.password)
    return KeyAddress(text(await services.broker.deriving.address(body.label, password)))


async def key_address_by_path(services: Services, call: Call, body: None) -> KeyAddress:
    """Give the bytes of a key's blockchain address; the old form of `POST /v1/key/address`."""
    del body
    return KeyAddress(text(await services.broker.deriving.address(call.parameter)))


ROUTES: Final = (
    Route("POST", "/v1/importedKey", import_seed, ImportSeedBody, SignedKeyAttributes, 201, tag="keys"),
    Route("POST", "/v1/derivedKey", derive_key, DeriveKeyBody, SignedKeyAttributes, 201, tag="keys"),
    Route("POST", "/v1/key/address", key_address, KeyLabelBody, KeyAddress, tag="keys"),
    Route("GET", "/v1/key/{keyName}/address", key_address_by_path, None, KeyAddress, tag="keys", deprecated=True),
)
