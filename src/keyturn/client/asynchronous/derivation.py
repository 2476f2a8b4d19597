# Made by scripts/async_client.py of keyturn/client/derivation.py: change that, then `make client`.
"""The endpoints about seeds, derived keys and addresses.

Source: rest-api.md sections 3.1, 3.2 and 4.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyturn.client.asynchronous.connection import AsyncRestConnection
from keyturn.client.connection import JsonObject, base64_text
from keyturn.client.keys import labelled

if TYPE_CHECKING:
    from collections.abc import Mapping


class AsyncDerivationCalls(AsyncRestConnection):
    """Seeds, derived keys and addresses. A derived key is named `master/44'/0'/0'` in every other call."""

    async def import_seed(
        self,
        label: str,
        seed: bytes,
        curve_oid: str,
        *,
        attributes: Mapping[str, bool],
        address_format: str | None = None,
        policy: Mapping[str, Any] | None = None,
    ) -> JsonObject:
        """Make a master key of a seed: `POST /v1/importedKey`.

        Args:
            label: Its name.
            seed: 16 to 64 bytes.
            curve_oid: Dotted OID of secp256k1, P-256 or Ed25519.
            attributes: Attribute names to booleans; `derive` and `slip10` for a key that is to have children.
            address_format: `BTC`, `ETH`, `XRP` or `XLM`, for a key with a policy.
            policy: Policy as JSON, None for an ordinary key.

        Returns:
            The attested attributes, as `create_key`.
        """
        body: JsonObject = {
            "label": label,
            "seed": base64_text(seed),
            "curveOid": curve_oid,
            "attributes": dict(attributes),
            "policy": policy,
        }
        if address_format is not None:
            body["addressFormat"] = {"format": address_format}
        return await self.ask("POST", "/v1/importedKey", body)

    async def derive_key(
        self,
        master: str,
        path: str,
        *,
        attributes: Mapping[str, bool] | None = None,
        master_password: str | None = None,
    ) -> JsonObject:
        """Store a derived key: `POST /v1/derivedKey`.

        Args:
            master: Label of the master key.
            path: Such as `44'/0'/0'`, without `m/`.
            attributes: Those that differ from the master's.
            master_password: The master's password, if it has one.

        Returns:
            The attested attributes; the key's name is `master/path`.
        """
        body: JsonObject = {"masterKeyLabel": master, "derivationPath": path}
        if attributes is not None:
            body["attributes"] = dict(attributes)
        if master_password is not None:
            body["masterKeyPassword"] = list(master_password)
        return await self.ask("POST", "/v1/derivedKey", body)

    async def key_address(self, label: str, *, password: str | None = None) -> bytes:
        """The bytes of a key's blockchain address: `POST /v1/key/address`.

        Args:
            label: Label of the key, or the name of a derived one.
            password: Its password, if it has one.
        """
        return await self.ask_bytes("POST", "/v1/key/address", labelled(label, password), "address")
