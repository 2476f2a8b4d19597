"""One connection to a server: what is sent, how much is read, and which error a refusal becomes.

A refusal of the server is raised with the server's own code and message, so that a person reads the same sentence
whether they use this client or `curl`.

Source: rest-api.md section 1.4; decisions 14 (receipts for refusals).
"""

from __future__ import annotations

import base64
import ssl
import time
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

import httpx
import msgspec

from keyturn.client.reach import presenting, trusting, trusting_nobody, why_unreachable
from keyturn.errors import ErrorCode, FormatError, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

JsonObject = dict[str, Any]

MAX_ANSWER: Final = 64 << 20
"""Largest answer read, in bytes: a sheet of several hundred QR images stays well below it."""

RETRIES: Final = 2
"""How often a call that only reads is repeated when the connection breaks."""
RETRY_AFTER: Final = 0.2
"""Seconds before the first repetition; each further one waits twice as long."""
READING: Final = frozenset({"/v1/verify", "/v1/key/attributes", "/v1/filteredRequests"})
"""Calls by `POST` that change nothing."""

_CODES: Final = {code.number: code for code in ErrorCode}
_STATUS_CODES: Final = {401: ErrorCode.SECURITY_NOT_ALLOWED, 403: ErrorCode.SECURITY_NOT_ALLOWED}


class ServerRefusedError(KeyturnError):
    """The server refused.

    Args:
        code: Row of the error table.
        message: The server's own.
        refusal: The server's stable word, empty if it gave none.
    """

    body: JsonObject
    """The error body as received. Where the call carried a `requestId` it may hold the HSM's `receipt` and
    `receiptSignature` for the refusal (R24)."""

    def __init__(self, code: ErrorCode, message: str, *, refusal: str = "") -> None:
        super().__init__(code, message, refusal=refusal)
        self.body = {}


class RestConnection:
    """A connection to one server; `RestClient` adds one method per endpoint.

    Args:
        base_url: As in `RestClient`.
        timeout: As in `RestClient`.
        ca_file: As in `RestClient`.
        api_keys: As in `RestClient`.
        token: As in `RestClient`.
        client_certificate: As in `RestClient`.
        transport: As in `RestClient`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float = 30.0,
        ca_file: Path | None = None,
        api_keys: Sequence[str] = (),
        token: str | None = None,
        client_certificate: tuple[Path, Path] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._api_keys = list(api_keys)
        self._authorization = None if token is None else f"Bearer {token}"
        try:
            address = httpx.URL(self.base_url)
            if address.scheme not in {"http", "https"} or not address.host or not 0 < (address.port or 1) < 1 << 16:
                raise httpx.InvalidURL("it must look like http://HOST:PORT")
            verify: bool | ssl.SSLContext = address.scheme == "https" or trusting_nobody()
            if ca_file is not None:
                verify = trusting(ca_file)
            if client_certificate is not None:
                context = ssl.create_default_context() if isinstance(verify, bool) else verify
                verify = presenting(context, *client_certificate)
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

    def call(self, method: str, path: str, body: object | None = None) -> Any:
        """Call any endpoint.

        Args:
            method: HTTP method.
            path: Path from `/v1` on, percent-encoded.
            body: What to send as JSON; None sends no body.

        Returns:
            The decoded JSON answer, None if the answer is empty.

        Raises:
            ServerRefusedError: The server's refusal with its code.
            KeyturnError: `CONNECTIVITY` if it could not be reached;
                `TECHNICAL` if it answered something that is not this API.
        """
        _, content = self.exchange(method, path, body, None)
        return decoded(method, path, content) if content else None

    def exchange(
        self, method: str, path: str, body: object | None, query: Mapping[str, str] | None
    ) -> tuple[str, bytes]:
        """Call an endpoint whose answer need not be JSON.

        Args:
            method: HTTP method.
            path: Path from `/v1` on, percent-encoded.
            body: What to send as JSON; None sends no body.
            query: Fields of the query string.

        Returns:
            Media type and content of the answer.
        """
        content = None if body is None else msgspec.json.encode(body)
        tried = 1
        while True:
            status, content_type, received = self._patiently(method, path, content, query)
            if status in {200, 201}:
                return content_type, received
            refused = refusal_of(method, path, status, received)
            if not self._has_another_key(refused, tried):
                raise refused
            tried += 1

    def _has_another_key(self, refused: KeyturnError, tried: int) -> bool:
        """Take the next API key where the server does not know this one: nothing was done, so that it may be repeated.

        The key is not valid any more, or not yet; the one that is taken stays the first.

        Args:
            refused: What the server said.
            tried: How many keys have been tried for this call.
        """
        if refused.code is not ErrorCode.INVALID_API_KEY or tried >= len(self._api_keys):
            return False
        self._api_keys.append(self._api_keys.pop(0))
        return True

    def _patiently(
        self, method: str, path: str, content: bytes | None, query: Mapping[str, str] | None
    ) -> tuple[int, str, bytes]:
        """Send, and send again what only reads when the connection broke."""
        left = RETRIES if method == "GET" or path in READING else 0
        wait = RETRY_AFTER
        while True:
            try:
                return self._send(method, path, content, query)
            except httpx.HTTPError as error:
                if not left or not isinstance(error, httpx.ReadError | httpx.WriteError):
                    raise KeyturnError(
                        ErrorCode.CONNECTIVITY, f"Cannot reach {self.base_url}: {why_unreachable(error, self.base_url)}"
                    ) from error
            left -= 1
            time.sleep(wait)
            wait *= 2

    def _send(
        self, method: str, path: str, content: bytes | None, query: Mapping[str, str] | None
    ) -> tuple[int, str, bytes]:
        """One request and its answer: status, media type, content."""
        headers = {"accept": "application/json"} | self.proof()
        if content is not None:
            headers["content-type"] = "application/json"
        with self._http.stream(method, path, content=content, headers=headers, params=query) as answer:
            received = bytearray()
            for piece in answer.iter_bytes():
                received += piece
                if len(received) > MAX_ANSWER:
                    raise KeyturnError(
                        ErrorCode.CONNECTIVITY, f"{method} {path}: the answer is larger than {MAX_ANSWER} bytes."
                    )
            content_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            return answer.status_code, content_type, bytes(received)

    def proof(self) -> dict[str, str]:
        """The headers that say who asks."""
        headers = {}
        if self._api_keys:
            headers["x-api-key"] = self._api_keys[0]
        if self._authorization is not None:
            headers["authorization"] = self._authorization
        return headers

    def ask(self, method: str, path: str, body: object | None = None) -> JsonObject:
        """Call an endpoint whose answer is an object."""
        answer = self.call(method, path, body)
        if not isinstance(answer, dict):
            raise unexpected(method, path)
        return answer

    def ask_list(self, method: str, path: str, body: object | None, name: str) -> list[JsonObject]:
        """Call an endpoint whose answer is an object, and take its list of objects `name`."""
        value = self.ask(method, path, body).get(name)
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise unexpected(method, path)
        return value

    def ask_text(self, method: str, path: str, body: object | None, name: str) -> str:
        """Call an endpoint whose answer is an object, and take its text `name`."""
        value = self.ask(method, path, body).get(name)
        if not isinstance(value, str):
            raise unexpected(method, path)
        return value

    def ask_bytes(self, method: str, path: str, body: object | None, name: str) -> bytes:
        """Call an endpoint whose answer is an object, and take its member `name`, base64."""
        try:
            return base64.b64decode(self.ask_text(method, path, body, name), validate=True)
        except ValueError as error:
            raise unexpected(method, path) from error

    def ask_truth(self, method: str, path: str, body: object | None, name: str) -> bool:
        """Call an endpoint whose answer is an object, and take its member `name`, which is true or false."""
        value = self.ask(method, path, body).get(name)
        if not isinstance(value, bool):
            raise unexpected(method, path)
        return value


def base64_text(data: bytes) -> str:
    """Base64 with padding, as everywhere in the API."""
    return base64.b64encode(data).decode("ascii")


def path_part(text: str) -> str:
    """A name or id as one part of a path, whatever it holds."""
    return quote(text, safe="")


def decoded(method: str, path: str, content: bytes) -> Any:
    """The JSON of an answer; our own error where it is none."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unexpected(method, path) from error


def refusal_of(method: str, path: str, status: int, content: bytes) -> KeyturnError:
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
    error = ServerRefusedError(known, message, refusal=refusal if isinstance(refusal, str) else "")
    error.body = body if isinstance(body, dict) else {}
    return error


def unexpected(method: str, path: str) -> KeyturnError:
    """The error for an answer that this API never gives."""
    return KeyturnError(
        ErrorCode.TECHNICAL, f"{method} {path}: the answer is not what this API promises; is it a keyturn server?"
    )
