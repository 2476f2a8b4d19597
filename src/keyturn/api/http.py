"""What an endpoint gets and gives, free of the server's protocol.

Endpoints are coroutines `(services, call, body) -> answer`. The answer is a struct or plain value that becomes JSON,
or a `Reply` where it is something else (an image, a page).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from urllib.parse import parse_qsl

from keyturn.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from keyturn.api.access.roles import Role
    from keyturn.api.multipart import Form
    from keyturn.broker.service import Broker
    from keyturn.transport.station import Station

BodyT = TypeVar("BodyT")
AnswerT = TypeVar("AnswerT")

MAX_QUERY_FIELDS: Final = 16
MAX_FILE: Final = 16 << 30
"""Largest file that is encrypted or decrypted, in bytes; as much room is needed on the disk while it is worked on."""
BESIDE_FILE: Final = 1 << 20
"""Most bytes of a request beside its file, where nothing else is configured: part heads, JSON, what stands around."""


@dataclass(frozen=True, slots=True)
class Services:
    """What endpoints may use.

    Args:
        broker: The broker.
        station: This side of the gap, which seals what is drawn as QR codes.
        allow_seconds: Whether policies may hold times that are no whole minutes (decisions 19).
        swagger_ui: Whether `/swagger-ui` is served (`swaggerUI.enabled`).
        max_file_size: Largest file taken, in bytes.
        max_request_size: Largest request taken that brings a file, in bytes.
    """

    broker: Broker
    station: Station
    allow_seconds: bool = False
    swagger_ui: bool = True
    max_file_size: int = MAX_FILE
    max_request_size: int = MAX_FILE + BESIDE_FILE


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request, as far as an endpoint may care.

    Args:
        method: `GET`, `POST`, …
        path: Decoded path, doubled slashes made single.
        parameter: The part of the path that the route leaves open, empty for fixed paths.
        query: Query string as received.
        raw_body: Body as received, for endpoints that relay its exact bytes.
        roles: What the sender may do, None for everything; that they may call the endpoint is decided before.
    """

    method: str
    path: str
    parameter: str
    query: bytes
    raw_body: bytes
    roles: frozenset[Role] | None = None

    def options(self, *known: str) -> dict[str, str]:
        """The query's fields.

        Args:
            known: Names that may stand in it.

        Raises:
            FormatError: If it holds an unknown or repeated field, or is not readable.
        """
        try:
            text = self.query.decode("ascii")
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS)
        except ValueError:
            raise FormatError("The query string cannot be read.", refusal="query.malformed") from None
        found = dict(pairs)
        if len(found) != len(pairs):
            raise FormatError("A field of the query string stands more than once.", refusal="query.repeated")
        for name in found:
            if name not in known:
                expected = ", ".join(known) or "none"
                raise FormatError(
                    f"Field '{name[:60]}' is not known in the query string; known: {expected}.",
                    refusal="query.unknown-field",
                )
        return found


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is not JSON.

    Args:
        content: The bytes.
        content_type: Its media type.
        status: HTTP status.
        headers: Further headers.
    """

    content: bytes
    content_type: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer of any size.

    Args:
        size: Its length in bytes, which is announced: a client that gets less knows that something failed.
        pieces: Its bytes.
        content_type: Its media type.
        headers: Further headers.
        release: Called when it has left, or will not.
    """

    size: int
    pieces: AsyncIterator[bytes]
    content_type: str
    headers: Mapping[str, str]
    release: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Route(Generic[BodyT, AnswerT]):
    """One row of the table of endpoints: what the router serves and the OpenAPI document describes.

    Args:
        method: HTTP method.
        path: Path; at most one part in braces, which may stand before a fixed last part.
        handler: The coroutine.
        body: Struct of the request body; None if there is none.
        answer: Type of the JSON answer; None where it is a `Reply`.
        status: HTTP status of success, 200 or 201, never 204 (rest-api.md section 1.1).
        tag: Group in the document.
        query: Names of query fields with their descriptions.
        deprecated: Whether the document marks it so.
        hidden: Whether the document leaves it out.
        media: Media types of a `Reply` or `Stream` with their descriptions.
        form: For a body of `multipart/form-data`, its parts; the endpoint gets an `Upload` and gives a `Stream`.
        unsigned_use: Whether it uses or gives away a private key though its documented body has no place for a request
            signature; refused where requests must be signed (ADR 0121).
    """

    method: str
    path: str
    handler: Callable[[Services, Call, BodyT], Awaitable[AnswerT]]
    body: type[BodyT] | None = None
    answer: Any = None
    status: int = 200
    tag: str = "service"
    query: Mapping[str, str] = field(default_factory=dict)
    deprecated: bool = False
    hidden: bool = False
    media: Mapping[str, str] = field(default_factory=dict)
    form: Form | None = None
    unsigned_use: bool = False


AnyRoute = Route[Any, Any]
