"""The ASGI application: read, find, check, call, answer. Nothing else happens between the server and an endpoint.

There is no middleware; every step is a line below. Order: address and origin (R30), route, role, content type, body
(with its cap enforced while it arrives), struct, endpoint, answer.

Source: rest-api.md section 1; security rule R30; law 5; ADR 0035.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from keyturn.api.codec import encode, read_body
from keyturn.api.connection import CLIENT_CERTIFICATE
from keyturn.api.endpoints import ROUTES
from keyturn.api.errors import HttpError, render, status_of, unexpected
from keyturn.api.http import Call, Reply, Services, Stream
from keyturn.api.router import Router
from keyturn.api.schemas.common import SignableBody
from keyturn.api.uploads import Arriving, require_fitting, require_own_page, send_stream, upload_of
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from keyturn.api.access.gate import Gate
    from keyturn.api.access.request_signers import RequestSigners
    from keyturn.api.guard import HostGuard, SameOriginGuard
    from keyturn.api.http import AnyRoute

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

MAX_BODY: Final = 2 << 20
"""Largest body in bytes: 64 KiB of payload in base64, and a dozen approvals that each repeat it."""

_JSON: Final = (b"content-type", b"application/json")
_NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")
_NO_STORE: Final = (b"cache-control", b"no-store")


class Application:
    """The REST API as an ASGI application.

    Args:
        services: What endpoints may use.
        guard: Under which names the server may be addressed; None where the layer in front has checked that.
        gate: Who lets requests in; None where everybody may who reaches the server.
        request_signers: Those of whom one must have signed a request that can be signed; None if nobody need.
    """

    def __init__(
        self,
        services: Services,
        guard: HostGuard | SameOriginGuard | None,
        gate: Gate | None = None,
        request_signers: RequestSigners | None = None,
    ) -> None:
        self._services = services
        self._guard = guard
        self._gate = gate
        self._request_signers = request_signers
        self._router = Router(ROUTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; other protocols are not spoken."""
        if scope["type"] != "http":
            raise RuntimeError(f"keyturn speaks HTTP only, not {scope['type']}")
        try:
            status, content, headers = await self._answer(scope, receive)
        except KeyturnError as error:
            status, content, headers = _refusal(error)
        except ConnectionAbortedError:
            return
        except Exception as error:
            what = f"{scope['method']} {scope['path']!r}"
            status, content, headers = _refusal(unexpected(error, what))
        size = content.size if isinstance(content, Stream) else len(content)
        headers.append((b"content-length", b"%d" % size))
        head = {"type": "http.response.start", "status": status, "headers": headers}
        if isinstance(content, Stream):
            await send_stream(content, head, send, f"{scope['method']} {scope['path']!r}")
            return
        await send(head)
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes | Stream, list[tuple[bytes, bytes]]]:
        host = origin = content_type = length = api_key = authorization = None
        for name, value in scope["headers"]:
            if name == b"host":
                # Two of them are one too many (RFC 9112, 3.2): an empty name is never ours.
                host = value if host is None else b""
            elif name == b"content-type":
                content_type = value
            elif name == b"content-length":
                length = value
            elif name == b"origin":
                origin = value if origin is None else b""
            elif name == b"x-api-key":
                # As with the host: which of two would count?
                api_key = value if api_key is None else b""
            elif name == b"authorization":
                authorization = value if authorization is None else b""
        if self._guard is not None:
            self._guard.check(host, origin)
        method: str = scope["method"]
        path: str = scope["path"]
        # HEAD is GET whose body the server does not send.
        route, parameter = self._router.find("GET" if method == "HEAD" else method, path)
        roles = None
        if self._gate is not None:
            certificate = scope.get("state", {}).get(CLIENT_CERTIFICATE, False)
            roles = self._gate.check(route.path, api_key, authorization, certificate=certificate)
        if route.unsigned_use and self._request_signers is not None:
            self._request_signers.refuse_unsigned_use(route.path)
        raw = body = None
        if route.body is not None:
            _require_json(content_type)
            raw = await _read(receive, length)
            body = read_body(raw, route.body)
            if self._request_signers is not None and isinstance(body, SignableBody):
                self._request_signers.check(raw, body.request_signature)
        call = Call(method, path, parameter, scope["query_string"], raw or b"", roles)
        if route.form is not None:
            return await self._answer_upload(route, call, scope, receive, content_type, length)
        answer = await route.handler(self._services, call, body)
        if isinstance(answer, Reply):
            return answer.status, answer.content, _headers_of(answer)
        return route.status, encode(answer), [_JSON, _NO_STORE, _NO_SNIFFING]

    async def _answer_upload(
        self,
        route: AnyRoute,
        call: Call,
        scope: Scope,
        receive: Receive,
        content_type: bytes | None,
        length: bytes | None,
    ) -> tuple[int, bytes | Stream, list[tuple[bytes, bytes]]]:
        """Answer a request with a file, whose body is read by the endpoint as it arrives."""
        require_own_page(scope["headers"])
        arriving = Arriving(receive)
        upload = upload_of(arriving, content_type, self._services, self._check_signature)
        try:
            require_fitting(length, self._services.max_request_size)
            stream: Stream = await route.handler(self._services, call, upload)
        except KeyturnError as error:
            # A client that is still sending would not see an answer: the rest is read first, within reason.
            whole = await arriving.drain()
            status, content, headers = _refusal(error)
            return status, content, headers if whole else [*headers, (b"connection", b"close")]
        return route.status, stream, _headers_of(stream)

    def _check_signature(self, raw: bytes, body: SignableBody) -> None:
        if self._request_signers is not None:
            self._request_signers.check(raw, body.request_signature)


def _headers_of(reply: Reply | Stream) -> list[tuple[bytes, bytes]]:
    headers = [(b"content-type", reply.content_type.encode()), _NO_SNIFFING]
    if "cache-control" not in reply.headers:
        headers.append(_NO_STORE)
    return headers + _encoded(reply.headers)


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _refusal(error: KeyturnError) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    headers = [_JSON, _NO_STORE, _NO_SNIFFING]
    if isinstance(error, HttpError):
        headers += _encoded(error.headers)
        if error.close:
            headers.append((b"connection", b"close"))
    return status_of(error), render(error), headers


def _require_json(content_type: bytes | None) -> None:
    """Refuse bodies that do not say they are JSON: a foreign page can send those without asking (R30)."""
    if content_type == b"application/json":
        return
    if content_type is not None and content_type.partition(b";")[0].strip().lower() == b"application/json":
        return
    shown = "missing" if content_type is None else f"'{content_type[:80].decode('ascii', 'replace')}'"
    raise HttpError(
        415,
        ErrorCode.VALIDATION_FAILED,
        f"The Content-Type header is {shown}; this endpoint takes application/json.",
        refusal="http.content-type",
        close=True,
    )


async def _read(receive: Receive, length: bytes | None) -> bytes:
    """Read the body, but never more than `MAX_BODY` bytes of it, whatever its announced length."""
    # Leading zeros are legal, and so many digits as `int` refuses to read can be sent.
    if length is not None and (not length.isdigit() or int(length.lstrip(b"0")[:20] or b"0") > MAX_BODY):
        raise _too_large()
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ConnectionAbortedError
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > MAX_BODY:
            raise _too_large()
        return body
    received = bytearray(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionAbortedError
        received += message.get("body", b"")
        if len(received) > MAX_BODY:
            raise _too_large()
    return bytes(received)


def _too_large() -> HttpError:
    return HttpError(
        413,
        ErrorCode.INVALID_PAYLOAD,
        f"The body is larger than {MAX_BODY} bytes. A payload may have 65536 bytes (64 KiB); hash larger data first.",
        refusal="http.body-too-large",
        close=True,
    )
