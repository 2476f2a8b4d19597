"""Approval tasks as a server hands them out: foreign JSON, taken apart with care and believed in nothing.

Source: rest-api.md section 3.7.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from keyturn.approver.terminal import visible
from keyturn.errors import ErrorCode, FormatError, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_FIELD: Final = 1 << 20
"""Longest text field in characters; the largest honest one is a request with a 64 KiB payload."""
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def disagrees(field: str, word: str, message: str) -> KeyturnError:
    """The refusal to sign because a field of the task does not fit the bytes to be signed.

    Args:
        field: The field's name in the task, as it is told to the person.
        word: The part of the refusal word after `review.`.
        message: What is wrong, as a sentence; may quote foreign text.
    """
    return KeyturnError(
        ErrorCode.VALIDATION_FAILED,
        f"The task's field `{field}` is refused: {visible(message)} Do not approve; tell whoever runs the server, and "
        "your fellow approvers by another road.",
        refusal=f"review.{word}",
    )


@dataclass(frozen=True, slots=True)
class Task:
    """One approval task as received.

    Args:
        id: The task's UUID.
        fields: Every field as received; nothing of it is to be believed.
        asked_for: Id of the request whose tasks were asked for; None when it was not said which.
    """

    id: str
    fields: Mapping[str, Any]
    asked_for: str | None = None

    def text(self, name: str) -> str | None:
        """A text field, or None when it is absent or null.

        Args:
            name: The field.

        Raises:
            KeyturnError: `review.malformed-field` when it is no text or too long.
        """
        value = self.fields.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > MAX_FIELD:
            raise disagrees(name, "malformed-field", "It is not a text of acceptable length.")
        return value

    def data(self, name: str) -> bytes | None:
        """A base64 field as bytes, or None when it is absent or null.

        Args:
            name: The field.

        Raises:
            KeyturnError: `review.malformed-field` when it is no base64.
        """
        text = self.text(name)
        if text is None:
            return None
        decoded = decode_base64(text)
        if decoded is None:
            raise disagrees(name, "malformed-field", "It is not base64.")
        return decoded

    @property
    def approval(self) -> bytes:
        """The decoded `approvalToBeSigned`, whatever it is.

        Raises:
            KeyturnError: `review.not-an-approval` when it is absent or no base64.
        """
        text = self.text("approvalToBeSigned")
        decoded = None if text is None else decode_base64(text)
        if not decoded:
            raise disagrees("approvalToBeSigned", "not-an-approval", "It is missing, empty or not base64.")
        return decoded


def parse_task(value: object, *, asked_for: str | None = None) -> Task:
    """Take one task object of an answer.

    Args:
        value: Decoded JSON.
        asked_for: Id of the request whose tasks were asked for, or None.

    Raises:
        FormatError: `task.malformed` when it has no id of the form of a UUID. Rejections carry the id as ASCII, so its
            form is fixed here.
    """
    if not isinstance(value, dict) or not isinstance(value.get("id"), str) or not _UUID.fullmatch(value["id"]):
        raise FormatError("The server handed out a task without a UUID as its `id`.", refusal="task.malformed")
    return Task(value["id"], value, asked_for)


def decode_base64(text: str) -> bytes | None:
    """Strict base64 (standard alphabet, padded, canonical), or None.

    Args:
        text: What should be base64.
    """
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    # Stray bits behind the last byte would let two texts stand for the same bytes.
    return decoded if base64.b64encode(decoded).decode("ascii") == text else None
