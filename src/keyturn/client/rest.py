"""The synchronous client of the REST API: one method per endpoint, decoded JSON in and out.

It knows paths, methods and error bodies and nothing else: no keys, no signing, no policy. A refusal of the server is
raised as `KeyturnError` with the server's own code and message, so that a person reads the same sentence whether they
use this client or `curl`.

Source: rest-api.md sections 2 and 3; decisions 4, 6, 11 to 14 and 17.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final, Literal, Self
from urllib.parse import quote

import httpx
import msgspec

from keyturn.client.reach import trusting, why_unreachable
from keyturn.errors import ErrorCode, FormatError, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

JsonObject = dict[str, Any]

TaskKind = Literal["All", "Sign", "ModifyKey"]
"""The middle part of the task endpoints' names, as in `/v1/filteredSignApprovalTask`."""

MAX_ANSWER: Final = 64 << 20
"""Largest answer read, in bytes: a sheet of several hundred QR images stays well below it."""

_CODES: Final = {code.number: code for code in ErrorCode}
_STATUS_CODES: Final = {401: ErrorCode.SECURITY_NOT_ALLOWED, 403: ErrorCode.SECURITY_NOT_ALLOWED}

_OFFLINE_ENDPOINTS: Final = {
    "signRequest": "/v1/synchronousSign",
    "modifyRequest": "/v1/synchronousModify",
}
"""Which endpoint of the offline side executes which `inputOfflineHsm` body (decisions 13)."""


class RestClient:
    """A connection to one keyturn (or compatible) server.

    Use it as a context manager, or call `close`. Proxy settings of the environment are not followed: what an officer
    approves goes to the address the officer named and nowhere else.

    Args:
        base_url: Scheme, host and port, such as `http://127.0.0.1:8080`; a path prefix is kept.
        timeout: Longest wait for one answer, in seconds.
        ca_file: PEM file with the certificates that may vouch for the server (TLS); the system's if None.
        transport: Replaces the network, for tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float = 30.0,
        ca_file: Path | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        try:
            address = httpx.URL(self.base_url)
            if address.scheme not in {"http", "https"} or not address.host or not 0 < (address.port or 1) < 1 << 16:
                raise httpx.InvalidURL("it must look like http://HOST:PORT")
            verify = True if ca_file is None else trusting(ca_file)
            self._http = httpx.Client(
                base_url=self.base_url, timeout=timeout, verify=verify, transport=transport, trust_env=False
            )
        except httpx.InvalidURL as error:
            raise FormatError(f"Cannot use {base_url!r} as a server's address: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    # --- keys ----------------------------------------------------------------------------------------

    def create_key(
        self,
        label: str,
        algorithm: str,
        *,
        attributes: Mapping[str, bool],
        curve_oid: str | None = None,
        key_size: int | None = None,
        policy: Mapping[str, Any] | None = None,
        key_id: str | None = None,
    ) -> JsonObject:
        """Create a key: `POST /v1/key`.

        Args:
            label: Its name, 1 to 128 bytes of UTF-8.
            algorithm: `RSA`, `EC` or `ED`.
            attributes: Attribute names to booleans; at least `decrypt`, `sign` and `unwrap`.
            curve_oid: Dotted OID, for EC and ED.
            key_size: Bits, for RSA.
            policy: Policy as JSON with `keyStatus` (rest-api.md section 5), None for an ordinary key.
            key_id: PKCS#11 id, if any.

        Returns:
            The attested attributes: `xml`, `json`, `xmlSignature`, `attestationKeyName`.
        """
        body: JsonObject = {"label": label, "algorithm": algorithm, "attributes": dict(attributes), "policy": policy}
        if curve_oid is not None:
            body["curveOid"] = curve_oid
        if key_size is not None:
            body["keySize"] = key_size
        if key_id is not None:
            body["id"] = key_id
        return self._object("POST", "/v1/key", body)

    def list_keys(self) -> list[str]:
        """Labels of all keys (air-gapped: of all registered ones): `GET /v1/key`."""
        answer = self.call("GET", "/v1/key")
        if not isinstance(answer, list):
            raise _unexpected("GET", "/v1/key")
        return [str(label) for label in answer]

    def key_attributes(self, label: str) -> JsonObject:
        """Attested attributes of a key: `POST /v1/key/attributes`."""
        return self._object("POST", "/v1/key/attributes", {"label": label})

    def delete_key(self, label: str) -> None:
        """Delete a key: `POST /v1/key/deleteKey`."""
        self.call("POST", "/v1/key/deleteKey", {"label": label})

    # --- operations ----------------------------------------------------------------------------------

    def sign(self, sign_request: Mapping[str, Any]) -> str:
        """Open a signing request: `POST /v1/sign`.

        Args:
            sign_request: The inner object: `payload` (base64), `signKeyName`, `signatureAlgorithm`, …

        Returns:
            The request's id.
        """
        return self._text("POST", "/v1/sign", {"signRequest": dict(sign_request)}, "signRequestId")

    def modify(self, modify_request: Mapping[str, Any]) -> str:
        """Open a request to replace a key's policy: `POST /v1/modify`.

        Args:
            modify_request: The inner object: `modifyKeyName`, `policy` (four rules, no `keyStatus`), …

        Returns:
            The request's id.
        """
        return self._text("POST", "/v1/modify", {"modifyRequest": dict(modify_request)}, "modifyKeyRequestId")

    def synchronous_sign(self, sign_request: Mapping[str, Any]) -> str:
        """Sign at once: `POST /v1/synchronousSign`.

        Args:
            sign_request: The inner object, with `signedApprovals` where the key has a policy.

        Returns:
            The signature, base64.
        """
        return self._text("POST", "/v1/synchronousSign", {"signRequest": dict(sign_request)}, "signature")

    def synchronous_modify(self, modify_request: Mapping[str, Any]) -> JsonObject:
        """Replace a key's policy at once: `POST /v1/synchronousModify`.

        Args:
            modify_request: The inner object, with `signedApprovals`.

        Returns:
            The attested attributes after the change.
        """
        return self._object("POST", "/v1/synchronousModify", {"modifyRequest": dict(modify_request)})

    def execute_offline_input(self, body: Mapping[str, Any]) -> JsonObject:
        """Execute an `inputOfflineHsm` body on this (offline) server, at the endpoint it is made for.

        Args:
            body: `{"signRequest": …}` or `{"modifyRequest": …}` as `GET /v1/request/{id}` gave it.

        Returns:
            The endpoint's answer.

        Raises:
            FormatError: If the body is for no endpoint this client knows.
        """
        paths = [path for name, path in _OFFLINE_ENDPOINTS.items() if name in body]
        if len(body) != 1 or not paths:
            known = ", ".join(sorted(_OFFLINE_ENDPOINTS))
            raise FormatError(f"inputOfflineHsm must hold exactly one of {known}; it holds {sorted(body)}.")
        return self._object("POST", paths[0], dict(body))

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
            "payload": _b64(payload),
            "signature": _b64(signature),
        }
        answer = self._object("POST", "/v1/verify", {"verifySignatureRequest": inner})
        if not isinstance(answer.get("signatureValid"), bool):
            raise _unexpected("POST", "/v1/verify")
        return bool(answer["signatureValid"])

    # --- approval tasks ------------------------------------------------------------------------------

    def tasks(self, query: Mapping[str, Any], kind: TaskKind = "All") -> list[JsonObject]:
        """Fetch approval tasks: `POST /v1/filtered…ApprovalTask`.

        Args:
            query: `timestamp`, `timestampSignature`, `timestampDigestAlgorithm`, the approver's key or certificate,
                `detailLevel`, … (rest-api.md section 3.7).
            kind: Which tasks.

        Returns:
            The task objects.
        """
        path = f"/v1/filtered{kind}ApprovalTask"
        tasks = self._object("POST", path, dict(query)).get("tasks")
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise _unexpected("POST", path)
        return tasks

    def approve(self, approval: Mapping[str, Any]) -> None:
        """Send a signed approval (or a signed rejection, `REJECTED:` form): `POST /v1/approval`.

        Args:
            approval: `id`, `approvalToBeSigned`, `signature`, `approvalDigestAlgorithm`, `approverPublicKey` or
                `approverCertificate`.
        """
        self.call("POST", "/v1/approval", dict(approval))

    def reject(self, rejection: Mapping[str, Any]) -> None:
        """Give up the approver's own task: `DELETE /v1/task`.

        Args:
            rejection: `id` of the task, `timestamp`, `timestampSignature`, `timestampDigestAlgorithm`, and the
                approver's key or certificate.
        """
        self.call("DELETE", "/v1/task", dict(rejection))

    # --- requests ------------------------------------------------------------------------------------

    def request(self, request_id: str) -> JsonObject:
        """State and result of a request: `GET /v1/request/{id}`."""
        return self._object("GET", f"/v1/request/{_part(request_id)}")

    def cancel_request(self, request_id: str) -> None:
        """Cancel a request: `DELETE /v1/request/{id}`."""
        self.call("DELETE", f"/v1/request/{_part(request_id)}")

    def preflight(self, request_id: str) -> JsonObject:
        """What the offline HSM would say to what was collected so far: `GET /v1/request/{id}/preflight`."""
        return self._object("GET", f"/v1/request/{_part(request_id)}/preflight")

    def qr_codes(
        self,
        request_id: str,
        *,
        form: Literal["ur", "json"] = "ur",
        error_correction: Literal["L", "M", "Q", "H"] | None = None,
        max_version: int | None = None,
        extra: int | None = None,
    ) -> list[bytes]:
        """The offline input of a request as QR images: `GET /v1/request/qrCode/{id}`.

        Args:
            request_id: Id of the request.
            form: `ur` for uniform resources (one or many parts), `json` for the plain text in one symbol.
            error_correction: Level of the symbols; the server's default if None.
            max_version: Largest symbol version, 1 to 40; the server's default if None.
            extra: How many fountain parts to add; the server's default if None.

        Returns:
            PNG files, in order.
        """
        options = {"errorCorrection": error_correction, "maxVersion": max_version, "extra": extra}
        query = {"format": form} | {name: str(value) for name, value in options.items() if value is not None}
        path = f"/v1/request/qrCode/{_part(request_id)}"
        content_type, content = self._exchange("GET", path, None, query)
        if content_type == "image/png":
            return [content]
        answer = _decode("GET", path, content)
        images = answer.get("qrCodes") if isinstance(answer, dict) else None
        if not isinstance(images, list):
            raise _unexpected("GET", path)
        try:
            return [base64.b64decode(image, validate=True) for image in images]
        except (binascii.Error, TypeError) as error:
            raise _unexpected("GET", path) from error

    # --- the air-gapped side -------------------------------------------------------------------------

    def import_offline_result(self, result: Mapping[str, Any]) -> None:
        """Bring back what the offline HSM answered: `PUT /v1/resultFromOfflineHsm`.

        Args:
            result: `{"id", "result"}`, `{"id", "keyAttributes"}` or another form of decisions 14.
        """
        self.call("PUT", "/v1/resultFromOfflineHsm", dict(result))

    def register_offline_key(self, attested: Mapping[str, Any]) -> JsonObject:
        """Teach an air-gapped broker a key of the offline HSM: `POST /v1/offlineKey`.

        Args:
            attested: The body that `key_attributes` returned on the offline side, unchanged.

        Returns:
            What was registered.
        """
        return self._object("POST", "/v1/offlineKey", dict(attested))

    def offline_keys(self) -> list[JsonObject]:
        """The keys an air-gapped broker knows: `GET /v1/offlineKey`."""
        answer = self.call("GET", "/v1/offlineKey")
        if not isinstance(answer, list):
            raise _unexpected("GET", "/v1/offlineKey")
        return answer

    def forget_offline_key(self, label: str) -> None:
        """Make an air-gapped broker forget a key and cancel its open requests: `DELETE /v1/offlineKey/{label}`."""
        self.call("DELETE", f"/v1/offlineKey/{_part(label)}")

    # --- service -------------------------------------------------------------------------------------

    def attestation_chain(self) -> list[str]:
        """Certificates of the device that attests keys, PEM, device certificate first: `GET /v1/attestation`."""
        chain = self._object("GET", "/v1/attestation").get("attestationCertificateChain")
        if not isinstance(chain, list):
            raise _unexpected("GET", "/v1/attestation")
        return [str(certificate) for certificate in chain]

    def version_info(self) -> JsonObject:
        """Who is there: `GET /v1/versionInfo`."""
        return self._object("GET", "/v1/versionInfo")

    def statistics(self) -> str:
        """Figures about the key store, as text: `GET /v1/keystore/statistics`."""
        return self._text("GET", "/v1/keystore/statistics", None, "keyStoreStatistics")

    # --- plumbing ------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: object | None = None) -> Any:
        """Call any endpoint.

        Args:
            method: HTTP method.
            path: Path from `/v1` on, percent-encoded.
            body: What to send as JSON; None sends no body.

        Returns:
            The decoded JSON answer, None if the answer is empty.

        Raises:
            KeyturnError: The server's refusal with its code; `CONNECTIVITY` if it could not be reached;
                `TECHNICAL` if it answered something that is not this API.
        """
        _, content = self._exchange(method, path, body, None)
        return _decode(method, path, content) if content else None

    def _exchange(
        self, method: str, path: str, body: object | None, query: Mapping[str, str] | None
    ) -> tuple[str, bytes]:
        content = None if body is None else msgspec.json.encode(body)
        headers = {"accept": "application/json"}
        if content is not None:
            headers["content-type"] = "application/json"
        try:
            with self._http.stream(method, path, content=content, headers=headers, params=query) as answer:
                received = bytearray()
                for piece in answer.iter_bytes():
                    received += piece
                    if len(received) > MAX_ANSWER:
                        raise KeyturnError(
                            ErrorCode.CONNECTIVITY, f"{method} {path}: the answer is larger than {MAX_ANSWER} bytes."
                        )
                content_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
                status = answer.status_code
        except httpx.HTTPError as error:
            raise KeyturnError(
                ErrorCode.CONNECTIVITY, f"Cannot reach {self.base_url}: {why_unreachable(error, self.base_url)}"
            ) from error
        if status not in {200, 201}:
            raise _refusal(method, path, status, bytes(received))
        return content_type, bytes(received)

    def _object(self, method: str, path: str, body: object | None = None) -> JsonObject:
        answer = self.call(method, path, body)
        if not isinstance(answer, dict):
            raise _unexpected(method, path)
        return answer

    def _text(self, method: str, path: str, body: object | None, name: str) -> str:
        value = self._object(method, path, body).get(name)
        if not isinstance(value, str):
            raise _unexpected(method, path)
        return value


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _part(text: str) -> str:
    return quote(text, safe="")


def _decode(method: str, path: str, content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unexpected(method, path) from error


def _refusal(method: str, path: str, status: int, content: bytes) -> KeyturnError:
    """Turn an error body into the error it stands for; a foreign body into a `TECHNICAL` one that names the status."""
    try:
        body = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body = None
    number = body.get("errorCode") if isinstance(body, dict) else None
    message = body.get("message") if isinstance(body, dict) else None
    refusal = body.get("refusal") if isinstance(body, dict) else None
    if not isinstance(message, str):
        code = _STATUS_CODES.get(status, ErrorCode.TECHNICAL)
        return KeyturnError(code, f"{method} {path}: the server answered {status} without an error body.")
    known = _CODES.get(number) if isinstance(number, int) else None
    if known is None:
        code = _STATUS_CODES.get(status, ErrorCode.TECHNICAL)
        return KeyturnError(code, f"{message} [server's code {number}, HTTP {status}]")
    return KeyturnError(known, message, refusal=refusal if isinstance(refusal, str) else "")


def _unexpected(method: str, path: str) -> KeyturnError:
    return KeyturnError(
        ErrorCode.TECHNICAL, f"{method} {path}: the answer is not what this API promises; is it a keyturn server?"
    )
