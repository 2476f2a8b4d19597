"""The small part of XML in which key attributes are written, read strictly.

There are elements with attributes, text in the innermost ones, and the five predefined escapes. Everything by which
XML documents surprise their readers is refused before the parser sees it: document types, entities, comments,
processing instructions, CDATA. Sizes and depth are bounded.

Source: docs/security/rules.md R19 (no DTD, entities, comments; 256 KiB; depth 12); XML 1.0 sections 2.2 and 2.4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from xml.parsers.expat import ExpatError, ParserCreate

from keyturn.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
MAX_XML: Final = 256 * 1024
"""Largest document in bytes (R19)."""
MAX_DEPTH: Final = 12
"""Deepest nesting of elements (R19); attested attributes need six: key, policy, rule, token, group, approval."""

_ESCAPES: Final = {
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord('"'): "&quot;",
    ord("'"): "&apos;",
    # Written literally these would be normalised away by the next reader.
    ord("\t"): "&#9;",
    ord("\n"): "&#10;",
    ord("\r"): "&#13;",
}
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Node:
    """An element.

    Args:
        tag: Its name.
        attributes: Its attributes.
        children: The elements in it.
        text: Its text, "" where it has children.
    """

    tag: str
    attributes: Mapping[str, str]
    children: tuple[Node, ...]
    text: str


def escape(text: str) -> str:
    """Write text so that it may stand in an element or attribute.

    Args:
        text: Any text that XML 1.0 can carry.

    Returns:
        The same with escapes; apostrophes too, as the documented samples have them.

    Raises:
        FormatError: `xml.character` when it contains a character that XML 1.0 cannot carry at all.
    """
    forbidden = _NOT_XML.search(text)
    if forbidden is not None:
        raise FormatError(
            f"{text[:64]!a} contains U+{ord(forbidden[0]):04X}, which no XML text can carry; remove it.",
            refusal="xml.character",
        )
    return text.translate(_ESCAPES)


class Writer:
    """Writes a document line by line with tabs, as the documented samples are laid out."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._open: list[str] = []

    def open(self, tag: str, attributes: Mapping[str, str | None] | None = None) -> None:
        """Begin an element that will hold others; attributes that are None are left out."""
        self._lines.append(f"{self._indent()}<{tag}{_attributes(attributes)}>")
        self._open.append(tag)

    def close(self) -> None:
        """End the element begun last."""
        tag = self._open.pop()
        self._lines.append(f"{self._indent()}</{tag}>")

    def leaf(self, tag: str, text: str | None, attributes: Mapping[str, str | None] | None = None) -> None:
        """Write an element that holds text; nothing if `text` is None."""
        if text is not None:
            self._lines.append(f"{self._indent()}<{tag}{_attributes(attributes)}>{escape(text)}</{tag}>")

    def document(self) -> str:
        """The document: header, elements, and the two newlines that end it."""
        return HEADER + "\n".join(self._lines) + "\n\n"

    def _indent(self) -> str:
        return "\t" * len(self._open)


def _attributes(attributes: Mapping[str, str | None] | None) -> str:
    if not attributes:
        return ""
    return "".join(f' {name}="{escape(value)}"' for name, value in attributes.items() if value is not None)


@dataclass(slots=True)
class _Open:
    """An element whose end has not come yet."""

    tag: str
    attributes: dict[str, str]
    children: list[Node] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def finished(self) -> Node:
        text = "".join(self.text)
        if self.children and text.strip():
            raise _invalid(f"{self.tag[:64]!a} holds text beside elements")
        return Node(self.tag, self.attributes, tuple(self.children), "" if self.children else text)


def read_tree(data: bytes) -> Node:
    """Read a document.

    Args:
        data: UTF-8, beginning with exactly `HEADER`, at most `MAX_XML` bytes.

    Returns:
        Its root element.

    Raises:
        FormatError: `xml.size`, `xml.depth`, or `xml.invalid` for everything else that is not allowed.
    """
    if len(data) > MAX_XML:
        raise FormatError(f"The XML has {len(data)} bytes, more than {MAX_XML}.", refusal="xml.size")
    body = data.removeprefix(HEADER.encode())
    if len(body) == len(data):
        raise _invalid("it does not begin with the XML declaration of version 1.0 in UTF-8")
    if b"<!" in body or b"<?" in body:
        raise _invalid("it contains a document type, an entity, a comment, CDATA or a processing instruction")
    outer = _Open("", {})
    stack = [outer]

    def start(tag: str, attributes: dict[str, str]) -> None:
        if len(stack) > MAX_DEPTH:
            raise FormatError(f"The XML is nested deeper than {MAX_DEPTH} elements.", refusal="xml.depth")
        stack.append(_Open(tag, attributes))

    def end(_tag: str) -> None:
        node = stack.pop().finished()
        stack[-1].children.append(node)

    def text(characters: str) -> None:
        stack[-1].text.append(characters)

    parser = ParserCreate("UTF-8")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    try:
        parser.Parse(data, True)
    except ExpatError as error:
        raise _invalid(f"it is not well-formed (line {error.lineno})") from None
    return outer.children[0]


def _invalid(why: str) -> FormatError:
    return FormatError(f"The XML is refused: {why}.", refusal="xml.invalid")


class Children:
    """Takes the children of an element in their one order and refuses every other.

    Args:
        node: The element.
    """

    def __init__(self, node: Node) -> None:
        if node.text.strip():
            raise _invalid(f"{node.tag[:64]!a} holds text where elements belong")
        self._node = node
        self._next = 0

    def next_is(self, tag: str) -> bool:
        """Whether the next child has this name."""
        children = self._node.children
        return self._next < len(children) and children[self._next].tag == tag

    def take(self, tag: str, *attributes: str) -> Node:
        """Take the next child.

        Args:
            tag: The name it must have.
            attributes: Names of the attributes it may have.

        Returns:
            The child.

        Raises:
            FormatError: `xml.invalid` when there is none, it has another name, or another attribute.
        """
        if not self.next_is(tag):
            raise _invalid(f"<{tag}> is missing in {self._node.tag[:64]!a}, or something else stands in its place")
        child = self._node.children[self._next]
        check_attributes(child, *attributes)
        self._next += 1
        return child

    def text(self, tag: str) -> str:
        """Take the next child, which must hold text only, and return that."""
        child = self.take(tag)
        if child.children:
            raise _invalid(f"<{tag}> holds elements where text belongs")
        return child.text

    def text_if(self, tag: str) -> str | None:
        """As `text` when the next child has this name, else None."""
        return self.text(tag) if self.next_is(tag) else None

    def finish(self) -> None:
        """Refuse children that nobody took."""
        if self._next != len(self._node.children):
            unknown = self._node.children[self._next].tag
            raise _invalid(f"{unknown[:64]!a} in {self._node.tag[:64]!a} is unknown, out of order or there twice")


def check_attributes(node: Node, *allowed: str) -> None:
    """Refuse attributes that are not named.

    Args:
        node: The element.
        allowed: Names of the attributes it may have.

    Raises:
        FormatError: `xml.invalid` when it has another one.
    """
    unknown = node.attributes.keys() - set(allowed)
    if unknown:
        raise _invalid(f"{node.tag[:64]!a} has the unknown attribute {min(unknown)[:64]!a}")
