"""From body bytes to checked structs and back, with the documented messages for what is wrong.

Bodies are read into plain values, checked for depth and repeated names, and read into the endpoint's struct. Every
fault ends in a `FormatError` that names the field; nothing of the parser's own wording travels.

Source: rest-api.md section 1.4 (texts); security rule R10 (no repeated names, no booleans or floats as integers).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from keyturn.errors import ErrorCode, FormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

MAX_DEPTH: Final = 32
"""Deepest nesting of a body; the deepest documented one, a policy in a modify request, has twelve levels."""

_AT: Final = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>.*)`)?$", re.DOTALL)
_MISSING: Final = re.compile(r"^Object missing required field `(?P<name>.*)`$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)
_WRONG_TYPE: Final = re.compile(r"^Expected `(?P<expected>[^`]*)`, got `(?P<got>[^`]*)`$")
_WRONG_VALUE: Final = re.compile(r"^Invalid enum value (?P<value>.*)$", re.DOTALL)
_WRONG_SIZE: Final = re.compile(r"^Expected `(?P<expected>[^`]*)`(?P<bound> .*)$", re.DOTALL)
_SHOWN: Final = 60
"""How many characters of a foreign name or value are repeated in a message."""

_decoders: Final[dict[Any, msgspec.json.Decoder[Any]]] = {}
_encoder: Final = msgspec.json.Encoder()
encode: Final[Callable[[object], bytes]] = _encoder.encode
"""Render structs, dicts and lists as JSON."""


def read_json(body: bytes) -> Any:
    """Parse a JSON body without knowing what it should hold.

    Args:
        body: The body as received.

    Returns:
        Plain values.

    Raises:
        FormatError: If it is no JSON, nested deeper than `MAX_DEPTH`, or an object repeats a name (R10).
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise FormatError("Invalid request. Cannot parse json string", refusal="json.malformed") from None
    members = _count_members(value, MAX_DEPTH)
    # Every member has a colon of its own, and reading keeps one member of those that share a name. So as many colons as
    # members means that no name was repeated; this one count settles most bodies.
    if body.count(b":") != members and (
        # Without escapes every second piece between quotes is outside strings; there a colon is a member.
        b"\\" in body or b"".join(body.split(b'"')[::2]).count(b":") != members
    ):
        json.loads(body, object_pairs_hook=_refuse_repeated)
    return value


def read_body(body: bytes, schema: type[T]) -> T:
    """Parse a JSON body into the struct of an endpoint.

    Args:
        body: The body as received.
        schema: The struct.

    Raises:
        FormatError: With code 600 and the documented text, naming the field by its dotted path.
    """
    read_json(body)
    try:
        value: T = _decoder_of(schema).decode(body)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    return value


def _decoder_of(schema: type[T]) -> msgspec.json.Decoder[T]:
    decoder = _decoders.get(schema)
    if decoder is None:
        decoder = _decoders[schema] = msgspec.json.Decoder(schema)
    return decoder


def request_text(body: bytes, name: str) -> bytes:
    """The request as approvers see it at level 3: the inner object and its signature, their bytes as received.

    Args:
        body: The body as received; it was already parsed without fault.
        name: The inner object's name, such as `signRequest`.

    Returns:
        A JSON object with `name` and, where one was sent, `requestSignature` (rest-api.md section 1.6: a request
        signature covers the text of the inner object, so not a byte of it may change). Only a password is not shown
        (R27): null stands in its place, and then white space around members goes, too.
    """
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    if name in members:
        members[name] = _without_passwords(members[name])
    kept = (b'"%b":%b' % (one.encode(), bytes(members[one])) for one in (name, "requestSignature") if one in members)
    return b"{%b}" % b",".join(kept)


def _without_passwords(inner: msgspec.Raw) -> msgspec.Raw:
    members = msgspec.json.decode(inner, type=dict[str, msgspec.Raw])
    secret = [one for one in members if "password" in one.lower() and bytes(members[one]) != b"null"]
    if not secret:
        return inner
    members |= dict.fromkeys(secret, msgspec.Raw(b"null"))
    return msgspec.Raw(b"{%b}" % b",".join(encode(one) + b":" + bytes(value) for one, value in members.items()))


def _count_members(value: object, depth: int) -> int:
    """How many members all objects in `value` have together; every request passes here, so the types are exact."""
    total = 0
    inside: Iterable[object]
    if type(value) is dict:
        total = len(value)
        inside = value.values()
    elif type(value) is list:
        inside = value
    else:
        return 0
    if depth == 0:
        raise FormatError(f"The JSON is nested deeper than {MAX_DEPTH} levels.", refusal="json.too-deep")
    for one in inside:
        if type(one) is dict or type(one) is list:
            total += _count_members(one, depth - 1)
    return total


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # One pass: counting every name would let one large body hold up everybody for minutes.
    seen: dict[str, Any] = {}
    for name, value in pairs:
        if name in seen:
            raise FormatError(f"Field '{_shown(name)}' stands more than once.", refusal="json.repeated-name")
        seen[name] = value
    return seen


def _explain(text: str) -> FormatError:
    """Turn the parser's message into the documented one."""
    parts = _AT.match(text)
    what = parts["what"] if parts else text
    path = _field(parts["path"] or "$") if parts else ""
    if found := _MISSING.match(what):
        return FormatError(f"Field '{_join(path, found['name'])}' must be given.", refusal="json.missing-field")
    if found := _UNKNOWN.match(what):
        name = _join(path, _shown(found["name"]))
        return FormatError(f"Field '{name}' is not known here.", refusal="json.unknown-field")
    if found := _WRONG_VALUE.match(what):
        return FormatError(f"Value {_shown(found['value'])} is not valid for field {path}.", refusal="json.wrong-value")
    if found := _WRONG_TYPE.match(what):
        expected = found["expected"].replace("`", "")
        where = f"Field '{path}'" if path else "The body"
        return FormatError(
            f"A provided argument is of the wrong type. {where} must be {expected}, not {found['got']}.",
            refusal="json.wrong-type",
        )
    if found := _WRONG_SIZE.match(what):
        if found["bound"] == " of length >= 1":
            return FormatError(f"Field '{path}' must not be empty.", refusal="json.empty-field")
        return FormatError(f"Field '{path}' must be {found['expected']}{found['bound']}.", refusal="json.wrong-value")
    return FormatError(f"Field '{path}' is not valid.", code=ErrorCode.VALIDATION_FAILED, refusal="json.invalid")


def _field(path: str) -> str:
    """`$.signRequest.payload` as `signRequest.payload`; the parser's `[...]` stands for any position."""
    return path.removeprefix("$").removeprefix(".").replace("[...]", "[]")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(text: str) -> str:
    clean = "".join(letter if letter.isprintable() else "?" for letter in text)
    return clean if len(clean) <= _SHOWN else clean[:_SHOWN] + "…"
