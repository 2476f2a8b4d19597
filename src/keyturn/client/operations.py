"""The endpoints that do something with keys, at once or as requests.

Source: rest-api.md sections 3.3 and 3.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyturn.client.connection import JsonObject, RestConnection, base64_text, unexpected

if TYPE_CHECKING:
    from collections.abc import Mapping


class OperationCalls(RestConnection):
    """Operations with keys.

    With a `requestId` in the inner object of a synchronous call the HSM's receipt stands in the answer, beside what the
    methods for signing and decrypting return; `execute_offline_input` gives the whole answer.
    """

    def sign(self, sign_request: Mapping[str, Any]) -> str:
        """Open a signing request: `POST /v1/sign`.

        Args:
            sign_request: The inner object: `payload` (base64), `signKeyName`, `signatureAlgorithm`, …

        Returns:
            The request's id.
        """
        return self.ask_text("POST", "/v1/sign", {"signRequest": dict(sign_request)}, "signRequestId")

    def modify(self, modify_request: Mapping[str, Any]) -> str:
        """Open a request to replace a key's policy: `POST /v1/modify`.

        Args:
            modify_request: The inner object: `modifyKeyName`, `policy` (four rules, no `keyStatus`), …

        Returns:
            The request's id.
        """
        return self.ask_text("POST", "/v1/modify", {"modifyRequest": dict(modify_request)}, "modifyKeyRequestId")

    def decrypt(self, decrypt_request: Mapping[str, Any]) -> str:
        """Open a request to decrypt: `POST /v1/decrypt`.

        Args:
            decrypt_request: The inner object: `encryptedPayload` (base64), `decryptKeyName`, `cipherAlgorithm`, …

        Returns:
            The request's id.
        """
        return self.ask_text("POST", "/v1/decrypt", {"decryptRequest": dict(decrypt_request)}, "decryptRequestId")

    def unwrap(self, unwrap_request: Mapping[str, Any]) -> str:
        """Open a request to unwrap a key into a new one: `POST /v1/unwrap`.

        Args:
            unwrap_request: The inner object: `wrappedKey` (base64), `label`, `attributes`, `unwrapKeyName`,
                `wrapMethod`, …

        Returns:
            The request's id.
        """
        return self.ask_text("POST", "/v1/unwrap", {"unwrapKeyRequest": dict(unwrap_request)}, "unwrapRequestId")

    def block(self, block_request: Mapping[str, Any]) -> str:
        """Open a request to block a key: `POST /v1/block`.

        Args:
            block_request: The inner object: `blockKeyName`, …

        Returns:
            The request's id.
        """
        return self.ask_text("POST", "/v1/block", {"blockRequest": dict(block_request)}, "blockKeyRequestId")

    def unblock(self, unblock_request: Mapping[str, Any]) -> str:
        """Open a request to unblock a key: `POST /v1/unblock`.

        Args:
            unblock_request: The inner object: `unblockKeyName`, …

        Returns:
            The request's id.
        """
        return self.ask_text("POST", "/v1/unblock", {"unblockRequest": dict(unblock_request)}, "unblockKeyRequestId")

    def synchronous_sign(self, sign_request: Mapping[str, Any]) -> str:
        """Sign at once: `POST /v1/synchronousSign`.

        Args:
            sign_request: The inner object, with `signedApprovals` where the key has a policy.

        Returns:
            The signature, base64.
        """
        return self.ask_text("POST", "/v1/synchronousSign", {"signRequest": dict(sign_request)}, "signature")

    def synchronous_modify(self, modify_request: Mapping[str, Any]) -> JsonObject:
        """Replace a key's policy at once: `POST /v1/synchronousModify`.

        Args:
            modify_request: The inner object, with `signedApprovals`.

        Returns:
            The attested attributes after the change.
        """
        return self.ask("POST", "/v1/synchronousModify", {"modifyRequest": dict(modify_request)})

    def synchronous_decrypt(self, decrypt_request: Mapping[str, Any]) -> str:
        """Decrypt at once: `POST /v1/synchronousDecrypt`.

        Args:
            decrypt_request: The inner object, with `signedApprovals` where the key has a policy.

        Returns:
            The plaintext, base64.
        """
        return self.ask_text("POST", "/v1/synchronousDecrypt", {"decryptRequest": dict(decrypt_request)}, "payload")

    def synchronous_unwrap(self, unwrap_request: Mapping[str, Any]) -> JsonObject:
        """Unwrap a key at once: `POST /v1/synchronousUnwrap`.

        Args:
            unwrap_request: The inner object, with `signedApprovals` where the unwrapping key has a policy.

        Returns:
            The attested attributes of the new key.
        """
        return self.ask("POST", "/v1/synchronousUnwrap", {"unwrapKeyRequest": dict(unwrap_request)})

    def synchronous_block(self, block_request: Mapping[str, Any]) -> JsonObject:
        """Block a key at once: `POST /v1/synchronousBlock`.

        Args:
            block_request: The inner object, with `signedApprovals`.

        Returns:
            The attested attributes after the change.
        """
        return self.ask("POST", "/v1/synchronousBlock", {"blockRequest": dict(block_request)})

    def synchronous_unblock(self, unblock_request: Mapping[str, Any]) -> JsonObject:
        """Unblock a key at once: `POST /v1/synchronousUnblock`.

        Args:
            unblock_request: The inner object, with `signedApprovals`.

        Returns:
            The attested attributes after the change.
        """
        return self.ask("POST", "/v1/synchronousUnblock", {"unblockRequest": dict(unblock_request)})

    def synchronous_timestamp(self, timestamp_request: Mapping[str, Any]) -> JsonObject:
        """Have the HSM sign the present time for an operation: `POST /v1/synchronousTimestamp` (decisions 15).

        Args:
            timestamp_request: The inner object: `keyName`, `operation` (`use`, `block`, `unblock`, `modify`), and
                `payload` (base64, for use) or `policy` (for modify).

        Returns:
            `timestamp`, `timestampSignature`, `timestampSignatureAlgorithm`, `timestampKeyName`.
        """
        return self.ask("POST", "/v1/synchronousTimestamp", {"timestampRequest": dict(timestamp_request)})

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
        answer = self.ask("POST", "/v1/verify", {"verifySignatureRequest": inner})
        if not isinstance(answer.get("signatureValid"), bool):
            raise unexpected("POST", "/v1/verify")
        return bool(answer["signatureValid"])
