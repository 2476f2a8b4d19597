"""Errors as the API shows them: the one place where an exception becomes an answer.

Source: rest-api.md section 1.4; law 5.
"""

from __future__ import annotations

import base64
import logging
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from keyturn.api.answers import ErrorBody
from keyturn.api.codec import encode
from keyturn.broker.executor import ExecutionRefusedError
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Mapping

log: Final = logging.getLogger("keyturn.api")


class HttpError(KeyturnError):
    """A refusal by the HTTP layer itself, with a status that the error table does not have.

    Args:
        status: HTTP status.
        code: Row of the error table for the body.
        message: What was wrong and what to do.
        refusal: Stable word.
        headers: Headers that the status demands, such as `allow`.
        close: Whether the connection must not be used again (its body was not read).
    """

    def __init__(
        self,
        status: int,
        code: ErrorCode,
        message: str,
        *,
        refusal: str,
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(code, message, refusal=refusal)
        self.status = status
        self.headers = dict(headers or {})
        self.close = close


def render(error: KeyturnError) -> bytes:
    """The documented error body of `error`, as JSON."""
    body = ErrorBody(error.code.number, error.code.reason, error.message, error.refusal)
    if isinstance(error, ExecutionRefusedError) and error.receipt:
        receipt, signature = (
            base64.b64encode(data).decode("ascii") for data in (error.receipt, error.receipt_signature)
        )
        body = msgspec.structs.replace(body, receipt=receipt, receipt_signature=signature)
    return encode(body)


def status_of(error: KeyturnError) -> int:
    """The HTTP status under which `error` is answered."""
    return error.status if isinstance(error, HttpError) else error.code.http_status


def unexpected(error: Exception, what: str) -> KeyturnError:
    """Log a fault of ours with a reference, and make the answer that carries the reference and nothing else.

    Args:
        error: What happened.
        what: Method and path, for the log.
    """
    reference = secrets.token_hex(4)
    log.error("reference %s: %s failed", reference, what, exc_info=error)
    return KeyturnError(
        ErrorCode.TECHNICAL,
        f"Something went wrong inside the server. Its log has the details under reference {reference}.",
    )
