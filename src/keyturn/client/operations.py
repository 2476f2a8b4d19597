"""The endpoints that do something with keys, at once or as requests.

Source: rest-api.md sections 3.3 and 3.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyturn.client.connection import JsonObject, RestConnection, base64_text

if TYPE_CHECKING:
    from collections.abc import Mapping


class OperationCalls(RestConnection):
    """Operations with keys.

    Every method takes the inner object of its endpoint's body. A method that is named after the operation alone opens a
    request and returns its id; one with `synchronous_` before it has the operation done at once, with `signedApprovals`
    in the inner object where the key has a policy, and returns what came of it.

    With a `requestId` in the inner object of a synchronous call the HSM's receipt stands in the answer, beside what the
    methods for signing and decrypting return; `execute_offline_input` gives the whole answer.
    """

    def sign(self, sign_request: Mapping[str, Any]) -> str:
        """Open a signing request: `POST /v1/sign`.

        Args:
            sign_request: `payload` (base64), `signKeyName`, `signatureAlgorithm`, …
        """
        return self._ask_for("signRequestId", "/v1/sign", "signRequest", sign_request)

    def modify(self, modify_request: Mapping[str, Any]) -> str:
        """Open a request to replace a key's policy: `POST /v1/modify`.

        Args:
            modify_request: `modifyKeyName`, `policy` (four rules, no `keyStatus`), …
        """
        return self._ask_for("modifyKeyRequestId", "/v1/modify", "modifyRequest", modify_request)

    def decrypt(self, decrypt_request: Mapping[str, Any]) -> str:
        """Open a request to decrypt: `POST /v1/decrypt`.

        Args:
            decrypt_request: `encryptedPayload` (base64), `decryptKeyName`, `cipherAlgorithm`, …
        """
        return self._ask_for("decryptRequestId", "/v1/decrypt", "decryptRequest", decrypt_request)

    def unwrap(self, unwrap_request: Mapping[str, Any]) -> str:
        """Open a request to unwrap a key into a new one: `POST /v1/unwrap`.

        Args:
            unwrap_request: `wrappedKey` (base64), `label`, `attributes`, `unwrapKeyName`, `wrapMethod`, …
        """
        return self._ask_for("unwrapRequestId", "/v1/unwrap", "unwrapKeyRequest", unwrap_request)

    def block(self, block_request: Mapping[str, Any]) -> str:
        """Open a request to block a key: `POST /v1/block`. The inner object names the key: `blockKeyName`."""
        return self._ask_for("blockKeyRequestId", "/v1/block", "blockRequest", block_request)

    def unblock(self, unblock_request: Mapping[str, Any]) -> str:
        """Open a request to unblock a key: `POST /v1/unblock`. The inner object names the key: `unblockKeyName`."""
        return self._ask_for("unblockKeyRequestId", "/v1/unblock", "unblockRequest", unblock_request)

    def synchronous_sign(self, sign_request: Mapping[str, Any]) -> str:
        """Sign at once: `POST /v1/synchronousSign`. Returns the signature, base64."""
        return self._ask_for("signature", "/v1/synchronousSign", "signRequest", sign_request)

    def synchronous_modify(self, modify_request: Mapping[str, Any]) -> JsonObject:
        """Replace a policy at once: `POST /v1/synchronousModify`. Returns the attested attributes after the change."""
        return self._ask("/v1/synchronousModify", "modifyRequest", modify_request)

    def synchronous_decrypt(self, decrypt_request: Mapping[str, Any]) -> str:
        """Decrypt at once: `POST /v1/synchronousDecrypt`. Returns the plaintext, base64."""
        return self._ask_for("payload", "/v1/synchronousDecrypt", "decryptRequest", decrypt_request)

    def synchronous_unwrap(self, unwrap_request: Mapping[str, Any]) -> JsonObject:
        """Unwrap a key at once: `POST /v1/synchronousUnwrap`. Returns the attested attributes of the new key."""
        return self._ask("/v1/synchronousUnwrap", "unwrapKeyRequest", unwrap_request)

    def synchronous_block(self, block_request: Mapping[str, Any]) -> JsonObject:
        """Block a key at once: `POST /v1/synchronousBlock`. Returns the attested attributes after the change."""
        return self._ask("/v1/synchronousBlock", "blockRequest", block_request)

    def synchronous_unblock(self, unblock_request: Mapping[str, Any]) -> JsonObject:
        """Unblock a key at once: `POST /v1/synchronousUnblock`. Returns the attested attributes after the change."""
        return self._ask("/v1/synchronousUnblock", "unblockRequest", unblock_request)

    def synchronous_timestamp(self, timestamp_request: Mapping[str, Any]) -> JsonObject:
        """Have the HSM sign the present time for an operation: `POST /v1/synchronousTimestamp` (decisions 15).

        Args:
            timestamp_request: The inner object: `keyName`, `operation` (`use`, `block`, `unblock`, `modify`), and
                `payload` (base64, for use) or `policy` (for modify).

        Returns:
            `timestamp`, `timestampSignature`, `timestampSignatureAlgorithm`, `timestampKeyName`.
        """
        return self._ask("/v1/synchronousTimestamp", "timestampRequest", timestamp_request)

    def verify(self, label: str, algorithm: str, payload: bytes, signature: bytes) -> bool:
        """Ask whether a signature is valid under a key: `POST /v1/verify`.

        Args:
            label: Name of the key.
            algorithm: API name of the signature algorithm.
            payload: Bytes that were signed.
            signature: The signature; for EC keys DER or raw.
        """
        inner = {
            "signKeyName": label,
            "signatureAlgorithm": algorithm,
            "payload": base64_text(payload),
            "signature": base64_text(signature),
        }
        return self.ask_truth("POST", "/v1/verify", {"verifySignatureRequest": inner}, "signatureValid")

    def _ask(self, path: str, inner: str, request: Mapping[str, Any]) -> JsonObject:
        return self.ask("POST", path, {inner: dict(request)})

    def _ask_for(self, answered: str, path: str, inner: str, request: Mapping[str, Any]) -> str:
        """Ask, and take the text `answered` of the answer."""
        return self.ask_text("POST", path, {inner: dict(request)}, answered)
