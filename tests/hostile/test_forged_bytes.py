"""Bytes that are no approval, or not quite one; and floods of them, in bounded time and memory."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from keyturn.hsm import protocol
from keyturn.hsm.framing import encode_frame
from keyturn.ska import der
from keyturn.ska.messages import encode_approval
from keyturn.ska.policy import Approver, encode_policy
from keyturn.ska.tlv import Element, Tag, encode_blob
from keyturn_testing.hostile import (
    ADA,
    BEN,
    MISSING,
    POLICY,
    Case,
    Line,
    World,
    edited,
    edited_token,
    judge,
    lines,
    require_refused,
    second,
    signed_anew,
)
from keyturn_testing.keys import operation_id
from keyturn_testing.officers import make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn_testing.hsm_process import HsmProcess

STRICT: Final = "decisions 21"
BROKEN: Final = "malformed"
SUBJECT: Final = "Bytes that are no approval"
FLOODS: Final = "Floods"


def _length(change: int) -> Callable[[bytes], bytes]:
    """Change the length that a blob announces."""
    return lambda data: struct.pack("<I", struct.unpack_from("<I", data)[0] + change) + data[4:]


def _inner_length(size: int) -> Callable[[bytes], bytes]:
    """Change the length that the first element announces."""
    return lambda data: data[:6] + struct.pack("<H", size) + data[8:]


def _appended(*elements: Element) -> Callable[[bytes], bytes]:
    """Put elements behind a blob's own, and make its length fit."""
    return lambda data: _whole(data[4:] + encode_blob(elements)[4:])


def _prepended(*elements: Element) -> Callable[[bytes], bytes]:
    return lambda data: _whole(encode_blob(elements)[4:] + data[4:])


def _whole(body: bytes) -> bytes:
    return struct.pack("<I", len(body)) + body


def _padding(data: bytes) -> bytes:
    """Another payload, of nine bytes, and what fills its element up to twelve is not zero."""
    payload = struct.pack("<HH", Tag.USE_PAYLOAD, 9) + b"pay 5 to \0\0\1"
    return data[: -len(payload)] + payload


def _long_form(data: bytes) -> bytes:
    """The first element's length in the form that only larger blobs need."""
    tag, size = struct.unpack_from("<HH", data, 4)
    return _whole(struct.pack("<HHI", tag, 0xFFFF, size) + data[8:])


def _large(size: int) -> Callable[[World, Any], bytes]:
    """An authorization whose approval is an element of `size` bytes, with its length in the short or the long form."""
    length = struct.pack("<H", size) if size < 0xFFFF else struct.pack("<HI", 0xFFFF, size)
    return lambda _w, _t: _whole(struct.pack("<H", Tag.APPROVAL) + length + bytes(size + -size % 4))


def _nested(_: World, token: Any) -> bytes:
    """Blobs within blobs, as many as fit."""
    data = encode_approval(token)
    while len(data) < 60_000:
        data = encode_blob([Element(Tag.APPROVAL, data)])
    return data


def _nested_authorizations(_: World, token: Any) -> bytes:
    data = encode_approval(token)
    for _number in range(150):
        data = BEN.approve(data)
        if len(data) > 60_000:
            break
    return data


def _nested_policy(world: World) -> object:
    inner = encode_policy(POLICY)
    while len(inner) < 60_000:
        inner = encode_blob([Element(Tag.RULE_USE, inner)])
    return world.creation(policy=inner, label=f"{world.label}-nested")


UNKNOWN = Element(0x7777, b"more")
COUNT = Element(0x003C, b"")
TABLE = [
    Line("An authorization of no bytes", edited(lambda _: b""), MISSING, STRICT, BROKEN),
    Line("An authorization of zeros", edited(lambda data: bytes(len(data))), MISSING, STRICT, BROKEN),
    Line("An authorization cut off", edited(lambda data: data[:-4]), MISSING, STRICT, BROKEN),
    Line("An authorization with bytes behind it", edited(lambda data: data + bytes(4)), MISSING, STRICT, BROKEN),
    Line("An authorization with an unknown tag behind", edited(_appended(UNKNOWN)), MISSING, STRICT, BROKEN),
    Line("An authorization with an unknown tag before", edited(_prepended(UNKNOWN)), MISSING, STRICT, BROKEN),
    Line(
        "An authorization with a second signer",
        edited(_appended(Element(Tag.PUBLIC_KEY, ADA.spki))),
        MISSING,
        STRICT,
        BROKEN,
    ),
    Line(
        "An authorization with key and certificate",
        edited(_appended(Element(Tag.CERTIFICATE, ADA.certificate))),
        MISSING,
        STRICT,
        BROKEN,
    ),
    Line("An authorization that announces a byte more", edited(_length(1)), MISSING, STRICT, BROKEN),
    Line("An authorization that announces four bytes less", edited(_length(-4)), MISSING, STRICT, BROKEN),
    Line("An authorization that announces 4 GiB", edited(lambda d: b"\xff" * 4 + d[4:]), MISSING, STRICT, BROKEN),
    Line("An inner length of 0", edited(_inner_length(0)), MISSING, STRICT, BROKEN),
    Line("An inner length of 65 534", edited(_inner_length(0xFFFE)), MISSING, STRICT, BROKEN),
    Line(
        "An inner length of 65 535, the mark of the long form", edited(_inner_length(0xFFFF)), MISSING, STRICT, BROKEN
    ),
    Line("A short length in the long form", edited(_long_form), MISSING, STRICT, BROKEN),
    Line("An element of 65 535 bytes", second(_large(0xFFFF)), MISSING, STRICT, BROKEN),
    Line("An element of 100 000 bytes", second(_large(100_000)), MISSING, STRICT, BROKEN),
    Line("An authorization without its header", edited(lambda data: data[4:]), MISSING, STRICT, BROKEN),
    Line("A signed token cut off", edited_token(lambda data: data[:-4]), MISSING, STRICT, BROKEN),
    Line("A signed token with bytes behind it", signed_anew(lambda data: data + bytes(4)), MISSING, STRICT, BROKEN),
    Line("A signed token with an unknown tag", signed_anew(_appended(UNKNOWN)), MISSING, STRICT, BROKEN),
    Line("A signed token with the phantom tag 0x003C", signed_anew(_prepended(COUNT)), MISSING, STRICT, BROKEN),
    Line(
        "A signed token with a second payload",
        signed_anew(_appended(Element(Tag.USE_PAYLOAD, b"pay 9 to Eve"))),
        MISSING,
        STRICT,
        BROKEN,
    ),
    Line(
        "A signed token with a second label",
        signed_anew(_appended(Element(Tag.NAME, b"other"))),
        MISSING,
        STRICT,
        BROKEN,
    ),
    Line("A signed token filled up with other than zeros", signed_anew(_padding), MISSING, STRICT, BROKEN),
    Line("A signed token that announces a byte more", signed_anew(_length(1)), MISSING, STRICT, BROKEN),
    Line("A signed token without its header", signed_anew(lambda data: data[4:]), MISSING, STRICT, BROKEN),
    Line(
        "A signed token for operation 5",
        signed_anew(lambda data: data.replace(b"\x3b\0\4\0\1", b"\x3b\0\4\0\5")),
        MISSING,
        STRICT,
        BROKEN,
    ),
    Line("Hundreds of blobs within one another", second(_nested), MISSING, STRICT, BROKEN),
    Line("Authorizations of authorizations", second(_nested_authorizations), MISSING, STRICT, BROKEN),
    Line("A policy of hundreds of blobs within one another", _nested_policy, "format.invalid", STRICT),
]


@pytest.mark.rule("decisions 21")
@pytest.mark.parametrize("line", lines(SUBJECT, TABLE))
def test_what_is_not_an_approval_to_the_byte_counts_for_nothing(hsm: HsmProcess, label: str, line: Line) -> None:
    judge(hsm, label, line)


# --- frames ------------------------------------------------------------------------------------------------


def _frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


FRAMES = [
    ("A frame of 4 GiB", b"\xff" * 4, "frame.too-large"),
    ("A frame of one byte more than the limit", (protocol.MAX_FRAME + 1).to_bytes(4, "big"), "frame.too-large"),
    ("An empty frame", _frame(b""), "frame.malformed"),
    ("A frame that is no MessagePack", _frame(b"\xc1"), "frame.malformed"),
    ("A frame with another array in it", _frame(b"\x93\1\2\3"), "frame.malformed"),
    ("A request of HTTP", b"GET / HTTP/1.1\r\n\r\n", "frame.too-large"),
    ("5 000 arrays within one another", _frame(b"\x92\1" + b"\x91" * 5000), "frame.malformed"),
    ("An array that announces 4 billion entries", _frame(b"\xdd\xff\xff\xff\xff"), "frame.malformed"),
    (
        "A string that announces 4 GiB",
        _frame(b"\x92\1\x92\xa6lookup\xdb\xff\xff\xff\xff"),
        "frame.malformed",
    ),
]


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        pytest.param(
            sent,
            word,
            id=attack.lower().replace(" ", "-"),
            marks=pytest.mark.attack(subject="Frames", attack=attack, refused=word, rule="R29"),
        )
        for attack, sent, word in FRAMES
    ],
)
def test_a_broken_frame_closes_its_line_and_no_other(hsm: HsmProcess, label: str, sent: bytes, word: str) -> None:
    with hsm.line() as bad, hsm.line() as good:
        bad.send(sent)
        _, answer = bad.read()
        require_refused(hsm, answer, word)
        assert bad.closed()
        # A frame that is none of these is answered, and the line goes on.
        assert isinstance(good.ask(protocol.GetInfo()), protocol.Info)
        world = World(hsm, good, label)
        world.create()
        world.do(world.sign())


def test_random_bytes_on_many_lines_end_nothing_but_those_lines(hsm: HsmProcess) -> None:
    for size in (1, 3, 4, 5, 64, 5000):
        with hsm.line() as bad:
            bad.send(os.urandom(size))
    with hsm.line() as line:
        assert isinstance(line.ask(protocol.GetInfo()), protocol.Info)


# --- floods ------------------------------------------------------------------------------------------------

PATIENCE: Final = 5.0
"""Seconds that refusing a flood may take on a loaded machine; each takes a fraction of one."""
ROOM: Final = 48 << 10
"""KiB by which the HSM's memory may grow meanwhile: the flood's own frame and what is decoded of it."""


def _resident(pid: int) -> int:
    with Path(f"/proc/{pid}/status").open() as found:
        return next(int(line.split()[1]) for line in found if line.startswith("VmRSS:"))


def _flood(attack: str, word: str, rule: str, flood: Callable[[World], object], of_approval: str = "") -> Any:
    return pytest.param(flood, word, of_approval, **_marked(attack, word, rule, of_approval))


def _marked(attack: str, word: str, rule: str, of_approval: str) -> dict[str, Any]:
    refused = f"{word}, approval.{of_approval}" if of_approval else word
    mark = pytest.mark.attack(subject=FLOODS, attack=attack, refused=refused, rule=rule)
    return {"id": attack.lower().replace(" ", "-"), "marks": mark}


def _many_bad_of_one(world: World) -> object:
    token = world.token()
    bad = [ADA.approve(token, signature=ADA.sign(struct.pack("<I", number))) for number in range(1000)]
    return world.sign(bad)


def _slow_keys(world: World) -> object:
    """A policy of RSA keys of 8192 bits, whose checks would take minutes."""
    listed = [Approver(_rsa_8192(number)) for number in range(40)]
    ada = quorum(1, ADA)
    policy = encode_policy(make_policy(quorum(1, *listed), modify=ada, block=ada, unblock=ada))
    return world.creation(label=f"{world.label}-slow", policy=policy)


def _rsa_8192(number: int) -> bytes:
    modulus = (1 << 8191) + 2 * number + 1
    body = der.encode(der.SEQUENCE, der.encode_unsigned(modulus) + der.encode_unsigned(65537))
    algorithm = der.encode(der.SEQUENCE, der.encode_oid("1.2.840.113549.1.1.1") + der.encode(der.NULL, b""))
    return der.encode(der.SEQUENCE, algorithm + der.encode_bits(body))


@pytest.mark.rule("R29")
@pytest.mark.parametrize(
    ("flood", "word", "of_approval"),
    [
        _flood("100 000 approvals of no bytes", "approvals.too-many", "R29", lambda w: w.sign([b""] * 100_000)),
        _flood("1025 good approvals", "approvals.too-many", "R29", lambda w: w.sign(w.sign().approvals[:1] * 1025)),
        _flood("1000 bad signatures in one officer's name", MISSING, "R29", _many_bad_of_one, "too-many"),
        _flood("A policy whose keys take minutes to check", "policy.too-much-checking", "R29", _slow_keys),
        _flood(
            "A payload of one byte more than 64 KiB",
            "payload.too-large",
            "R29",
            lambda w: Case(w.sign([], bytes(65_537)), w.sign),
        ),
    ],
)
def test_a_flood_is_refused_in_bounded_time_and_memory(
    hsm: HsmProcess, label: str, flood: Callable[[World], object], word: str, of_approval: str
) -> None:
    with hsm.line() as connection:
        world = World(hsm, connection, label)
        world.create()
        made = flood(world)
        before, start = _resident(hsm.pid), time.monotonic()
        answer = connection.ask(made.bad if isinstance(made, Case) else made)
        took, grown = time.monotonic() - start, _resident(hsm.pid) - before
        require_refused(hsm, answer, word, of_approval)
        assert took < PATIENCE
        assert grown < ROOM
        world.do(world.sign())


@pytest.mark.rule("R29")
@pytest.mark.attack(subject=FLOODS, attack="100 000 good approvals in one call", refused="frame.too-large", rule="R29")
def test_a_flood_larger_than_a_frame_is_not_even_read(hsm: HsmProcess, label: str) -> None:
    with hsm.line() as connection, hsm.line() as bad:
        world = World(hsm, connection, label)
        world.create()
        honest = world.sign()
        call = msgspec.structs.replace(honest, operation_id=operation_id(), approvals=honest.approvals[:1] * 100_000)
        frame = encode_frame(1, call)
        assert len(frame) > 20 << 20
        before, start = _resident(hsm.pid), time.monotonic()
        bad.send_until_closed(frame)
        _, answer = bad.read()
        took, grown = time.monotonic() - start, _resident(hsm.pid) - before
        require_refused(hsm, answer, "frame.too-large")
        assert took < PATIENCE
        assert grown < ROOM
        world.do(honest)
