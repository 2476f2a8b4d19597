"""Keys: create, list, attributes, delete.

Source: rest-api.md section 3.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.api.answers import Done, SignedKeyAttributes
from keyturn.api.endpoints.derivation import address_format
from keyturn.api.endpoints.parts import chosen_attributes, chosen_limits, key_algorithm, signed_attributes
from keyturn.api.http import Call, Route, Services
from keyturn.api.passwords import sealed_password
from keyturn.api.policies import new_policy
from keyturn.api.schemas.keys import CreateKeyBody, KeyLabelBody
from keyturn.broker.calls import CreateCall

if TYPE_CHECKING:
    from keyturn.ska.policy import Policy


async def create_key(services: Services, call: Call, body: CreateKeyBody) -> SignedKeyAttributes:
    """Create a key.

    With a policy it is a protected key: the HSM uses it only with the approvals that the policy demands. A policy
    cannot be added later. Answers the attested attributes.
    """
    del call
    policy: Policy | None = None
    blocked = False
    if body.policy is not None:
        policy, blocked = await new_policy(services, "policy", body.policy)
    return signed_attributes(
        await services.broker.create_key(
            CreateCall(
                label=body.label,
                algorithm=key_algorithm(body),
                curve_oid=body.curve_oid or "",
                key_size=body.key_size or 0,
                attributes=chosen_attributes("attributes", body.attributes),
                policy=policy,
                blocked=blocked,
                # Clients send an empty id for none, and the Go client cannot read an id that is not null.
                key_id=body.id or None,
                address_format=address_format(body.address_format),
                sealed_password=await sealed_password(services, "password", body.label, body.password),
                **chosen_limits("attributes", body.attributes),
            )
        )
    )


async def list_keys(services: Services, call: Call, body: None) -> list[str]:
    """List the labels of all keys; without an HSM, of all registered offline keys."""
    del call, body
    return await services.broker.list_keys()


async def key_attributes(services: Services, call: Call, body: KeyLabelBody) -> SignedKeyAttributes:
    """Give the attested attributes of a key: what it is, what it may do, and its policy, signed by the device."""
    del call
    password = await sealed_password(services, "password", body.label, body.password)
    return signed_attributes(await services.broker.attested_key(body.label, password))


async def key_attributes_by_path(services: Services, call: Call, body: None) -> SignedKeyAttributes:
    """Give the attested attributes of a key; the old form of `POST /v1/key/attributes`."""
    del body
    return signed_attributes(await services.broker.attested_key(call.parameter))


async def delete_key(services: Services, call: Call, body: KeyLabelBody) -> Done:
    """Delete a key. Its open requests are cancelled and their tasks vanish. The key must be destroyable."""
    del call
    password = await sealed_password(services, "password", body.label, body.password)
    await services.broker.delete_key(body.label, password)
    return Done()


async def delete_key_by_path(services: Services, call: Call, body: None) -> Done:
    """Delete a key; the form without a body, and so for keys without a password."""
    del body
    await services.broker.delete_key(call.parameter)
    return Done()


ROUTES: Final = (
    Route("POST", "/v1/key", create_key, CreateKeyBody, SignedKeyAttributes, 201, tag="keys"),
    Route("GET", "/v1/key", list_keys, None, list[str], tag="keys"),
    Route("POST", "/v1/key/attributes", key_attributes, KeyLabelBody, SignedKeyAttributes, tag="keys"),
    Route(
        "GET",
        "/v1/key/{keyName}/attributes",
        key_attributes_by_path,
        None,
        SignedKeyAttributes,
        tag="keys",
        deprecated=True,
    ),
    Route("POST", "/v1/key/deleteKey", delete_key, KeyLabelBody, Done, tag="keys"),
    Route("DELETE", "/v1/key/{keyName}", delete_key_by_path, None, Done, tag="keys"),
)
