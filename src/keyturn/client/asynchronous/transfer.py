# Made by scripts/async_client.py of keyturn/client/transfer.py: change that, then `make client`.
"""The endpoints by which key material comes in or leaves, and those about passwords and attestations of keys.

Source: rest-api.md section 3.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyturn.client.asynchronous.connection import AsyncRestConnection
from keyturn.client.connection import JsonObject, base64_text, unexpected
from keyturn.client.keys import labelled

if TYPE_CHECKING:
    from collections.abc import Mapping


class AsyncTransferCalls(AsyncRestConnection):
    """Passwords, export, import, attestation packages."""

    async def change_password(self, label: str, password: str | None, new_password: str | None) -> None:
        """Change a key's password: `POST /v1/key/changePassword`. None stands for no password, on either side."""
        body = labelled(label, password)
        if new_password:
            body["newPassword"] = list(new_password)
        await self.call("POST", "/v1/key/changePassword", body)

    async def export_key(self, label: str, password: str | None = None) -> JsonObject:
        """Key material in the clear: `POST /v1/key/export/plain`.

        Returns:
            `privateKey` (PKCS#8), `publicKey` (SPKI) and `secretKey`, base64 or None.
        """
        return await self.ask("POST", "/v1/key/export/plain", labelled(label, password))

    async def import_key(
        self,
        label: str,
        algorithm: str | None = None,
        *,
        private_key: bytes = b"",
        public_key: bytes = b"",
        secret_key: bytes = b"",
        certificate: bytes = b"",
        attributes: Mapping[str, bool | None] | None = None,
        policy: Mapping[str, Any] | None = None,
        password: str | None = None,
    ) -> JsonObject:
        """Take in what was made elsewhere: `POST /v1/key/import/plain`.

        Args:
            label: Its name.
            algorithm: API name of the kind of key.
            private_key: PKCS#8, DER.
            public_key: SPKI, DER.
            secret_key: Bytes of a symmetric key.
            certificate: X.509, DER.
            attributes: Attribute names to booleans; needed with a private or secret key.
            policy: Policy as JSON with `keyStatus`, None for an ordinary key.
            password: Password without which the key is not used from then on.

        Returns:
            The attested attributes.
        """
        material = {
            "privateKey": private_key,
            "publicKey": public_key,
            "secretKey": secret_key,
            "certificate": certificate,
        }
        body: JsonObject = labelled(label, password) | {name: base64_text(one) for name, one in material.items() if one}
        if algorithm is not None:
            body["algorithm"] = algorithm
        if attributes is not None:
            body["attributes"] = dict(attributes)
        if policy is not None:
            body["policy"] = policy
        return await self.ask("POST", "/v1/key/import/plain", body)

    async def key_attestation(self, label: str, password: str | None = None) -> bytes:
        """A key's attestation as a package, a zip file: `POST /v1/key/keyAttestation`."""
        path = "/v1/key/keyAttestation"
        media, content = await self.exchange("POST", path, labelled(label, password), None)
        if media != "application/zip":
            raise unexpected("POST", path)
        return content
