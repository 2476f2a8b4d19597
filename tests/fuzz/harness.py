"""What a fuzz target is, and when an input is a finding.

A target reads bytes as one parser of the boundary does and then holds what was read against an invariant. Whatever the
bytes, the parser answers with a value or with a `KeyturnError`, within bounded time; nothing else may leave it.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from keyturn.errors import FormatError, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")

CPU_SECONDS: Final = 2.0
"""Most processor time of one input, in seconds. The dearest honest ones, RSA keys of 8192 bits, take a tenth."""
LONGEST_MESSAGE: Final = 4096
"""Most characters of a refusal's message: what a sender writes must not come back to them by the page."""


class Finding(AssertionError):  # noqa: N818 - It is no error of the program that raises it.
    """An input that breaks an invariant."""


@dataclass(frozen=True, slots=True)
class Target(Generic[T]):
    """One parser and its invariant.

    Args:
        name: Module and parser, such as `structures.approval`; its corpus lies in the folder of that name.
        read: The parser. It may raise `KeyturnError`.
        hold: What must hold of what was read; it gets the input, too, and raises whatever it likes when it does not.
        seeds: Honest inputs, where mutation begins. The parser must take each.
        own_files: Whether the bytes come from the HSM's own disk, so that a refusal may say that the HSM is unwell
            (HTTP 500), which no client's input may.
        refuses_all: Whether no input at all can be taken, because the way ends before that.
    """

    name: str
    read: Callable[[bytes], T]
    hold: Callable[[bytes, T], None]
    seeds: Callable[[], Iterable[bytes]]
    own_files: bool = False
    refuses_all: bool = False


AnyTarget = Target[Any]


def check(target: AnyTarget, data: bytes, *, seconds: float = CPU_SECONDS) -> bool:
    """Give an input to a target.

    Args:
        target: The target.
        data: The input.
        seconds: Most processor time it may take.

    Returns:
        Whether the parser took it.

    Raises:
        Finding: The input breaks an invariant.
    """
    start = time.thread_time()
    try:
        value = target.read(data)
    except KeyturnError as error:
        _check_refusal(target.name, error, own_files=target.own_files)
        taken = False
    except Exception as error:
        raise Finding(f"{target.name}: {type(error).__name__} left the parser: {error}") from error
    else:
        taken = True
        try:
            target.hold(data, value)
        except Exception as error:
            raise Finding(f"{target.name}: the invariant does not hold: {type(error).__name__}: {error}") from error
    spent = time.thread_time() - start
    if spent > seconds:
        raise Finding(f"{target.name}: {len(data)} bytes took {spent:.1f} s")
    return taken


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Let the block end with a `KeyturnError`, if it is one that may be sent."""
    try:
        yield
    except KeyturnError as error:
        _check_refusal("a second look", error, own_files=False)


def _check_refusal(name: str, error: KeyturnError, *, own_files: bool) -> None:
    """A refusal has a word, a message that can be sent and is not endless, and does not blame the server."""
    try:
        error.message.encode()
    except UnicodeEncodeError as problem:
        raise Finding(f"{name}: the message of a refusal cannot be sent: {error.message!a:.200}") from problem
    if not error.message or not error.refusal or len(error.message) > LONGEST_MESSAGE:
        raise Finding(f"{name}: a refusal without word or with a bad message: {error.message!a:.200}")
    if error.code.http_status >= 500 and not own_files:
        raise Finding(f"{name}: bad input is answered as a fault of the server: {error.message!a:.200}")


def require(condition: object, what: str = "") -> None:
    """Raise `Finding` unless something holds; unlike `assert` also when Python leaves those out."""
    if not condition:
        raise Finding(what or "it does not hold")


def same(first: object, second: object) -> None:
    """Require that two values are equal."""
    require(first == second, f"{first!r:.300} is not {second!r:.300}")


def refuse(why: str) -> FormatError:
    """What a target raises for an input that does not reach the parser."""
    return FormatError(why, refusal="fuzz.not-for-this-target")


def pieces(data: bytes) -> tuple[bytes, bytes]:
    """Split off a first piece, whose length stands before it in two bytes; both are as long as the data allows."""
    size = int.from_bytes(data[:2], "big")
    return data[2 : 2 + size], data[2 + size :]


def joined(first: bytes, rest: bytes = b"") -> bytes:
    """What `pieces` splits."""
    return len(first).to_bytes(2, "big") + first + rest
