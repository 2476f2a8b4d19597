"""Targets: what arrives on the HSM's sockets, and what lies on its disk."""

from __future__ import annotations

import io
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fuzz.harness import Target, refuse, require, same
from keyturn.hsm import admin, audit, protocol, records, sealing
from keyturn.hsm.framing import FrameDecoder, FrameReader, encode_frame, encode_message

if TYPE_CHECKING:
    from fuzz.harness import AnyTarget
    from keyturn.hsm.audit import LogHead

LIMIT: Final = 1000
"""Largest frame here; small, so that the limit is met often."""

# --- frames and messages ------------------------------------------------------------------------------------


def _frames(data: bytes) -> list[bytes]:
    """Frames out of a stream; the first byte says in what steps it will be fed a second time."""
    if not data:
        raise refuse("It has no step.")
    return FrameReader(LIMIT).feed(data[1:])


def _hold_frames(data: bytes, frames: list[bytes]) -> None:
    written = b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)
    require(data[1:].startswith(written))
    rest = data[1 + len(written) :]
    require(len(rest) < LIMIT + 4)
    reader, step = FrameReader(LIMIT), data[0] + 1
    same([frame for at in range(1, len(data), step) for frame in reader.feed(data[at : at + step])], frames)
    # What is left over is the start of one more frame, which the reader has kept: the end completes it.
    start = rest + bytes(4 - len(rest)) if len(rest) < 4 else rest
    size = int.from_bytes(start[:4], "big")
    if size <= LIMIT:
        end = (start + bytes(size + 4 - len(start)))[len(rest) :]
        same(reader.feed(end), [start[4:] + bytes(size + 4 - len(start))])


def messages(name: str, union: object, *samples: object) -> AnyTarget:
    """The target for the messages of one direction of one protocol."""
    decoder: FrameDecoder[Any] = FrameDecoder(union)

    def hold(_data: bytes, found: tuple[int, Any]) -> None:
        body = encode_frame(*found)[4:]
        same(decoder.decode(body), found)
        same(encode_message(decoder.decode(body)[1]), encode_message(found[1]))

    return Target(name, decoder.decode, hold, lambda: [encode_frame(7, sample)[4:] for sample in samples])


_ID: Final = bytes(16)
_APPROVALS: Final = [b"approval"]
CALLS: Final = (
    protocol.GetInfo(),
    protocol.CreateKey(_ID, "k", "EC", "1.2.840.10045.3.1.7", 0, {"sign": True}, b"policy", False, "1"),
    protocol.Sign(_ID, "k", b"x", "SHA256_WITH_ECDSA", "DER", _APPROVALS, "r"),
    protocol.Decrypt(_ID, "k", b"x", "AES_GCM", b"iv", None, 128, _APPROVALS),
    protocol.Unwrap(_ID, "k", b"w", "AES_WRAP", "n", {"sign": True}, _APPROVALS),
    protocol.Modify(_ID, "k", b"policy", _APPROVALS),
    protocol.Block(_ID, "k", _APPROVALS),
    protocol.Withdraw("k", b"a", "task", b"s", b"spki", None),
    protocol.Stamp("k", 1, b"x"),
)
ANSWERS: Final = (
    protocol.Labels(["a", "b"]),
    protocol.KeyFacts("k", "u", 1, "EC", b"", {"sign": True}, b"", False, 1, 2),
    protocol.Attested("<xml>", b"s", "a"),
    protocol.Signed(b"s"),
    protocol.Stamped(b"t", b"s", "SHA256_WITH_ECDSA", "i"),
    protocol.Verdict(True),
)
STATUS: Final = admin.Status("1", 2, True, False, "user", ["s"], "unix:/x", ["n"], {"dumpable": 0})
ADMIN_CALLS: Final = (
    admin.GetStatus(),
    admin.Unseal(b"p", True),
    admin.ConfirmClock(1.5, True),
    admin.MakeBackup("/x"),
    admin.ChangePassphrase(b"o", b"n"),
)

# --- the disk -----------------------------------------------------------------------------------------------


def _record(data: bytes) -> records.Record:
    if not data:
        raise refuse("A kind is missing.")
    return records.decode_record(KINDS[data[0] % len(KINDS)], data[1:])


def _hold_record(_data: bytes, record: records.Record) -> None:
    same(records.decode_record(type(record), records.encode_record(record)), record)


KINDS: Final = (
    records.KeyRecord,
    records.LabelRecord,
    records.LedgerRecord,
    records.OperationRecord,
    records.SystemKeyRecord,
    records.RootRecord,
)


def _sample(kind: Any) -> Any:
    """A value of a type that stands in records and headers."""
    if isinstance(kind, msgspec.inspect.StructType):
        return [_sample(field.type) for field in kind.fields]
    simple: dict[type, Any] = {
        msgspec.inspect.IntType: 3,
        msgspec.inspect.FloatType: 1.5,
        msgspec.inspect.StrType: "text",
        msgspec.inspect.BytesType: b"bytes",
        msgspec.inspect.BoolType: True,
        msgspec.inspect.NoneType: None,
    }
    if isinstance(kind, msgspec.inspect.UnionType):
        return _sample(kind.types[0])
    if isinstance(kind, msgspec.inspect.DictType):
        return {_sample(kind.key_type): _sample(kind.value_type)}
    if isinstance(kind, msgspec.inspect.ListType | msgspec.inspect.VarTupleType):
        return [_sample(kind.item_type)]
    if isinstance(kind, msgspec.inspect.TupleType):
        return [_sample(item) for item in kind.item_types]
    return simple[type(kind)]


def _records() -> list[bytes]:
    encode = msgspec.msgpack.encode
    return [bytes([at]) + encode(_sample(msgspec.inspect.type_info(kind))) for at, kind in enumerate(KINDS)]


def _log(data: bytes) -> LogHead:
    """A decision log; each line is closed with the hash that it should have, since that takes no secret."""
    content = b""
    for line in data.split(b"\n"):
        digest = sha256(audit._DOMAIN + line + b"}").hexdigest().encode()
        content += line + audit._HASH_KEY + digest + b'"}\n'
    return audit._walk(io.BytesIO(content), 0, None)[0]


def _hold_log(data: bytes, head: LogHead) -> None:
    require(head.sequence >= data.count(b"\n"))
    same(len(head.hash), 32)


def _logs() -> list[bytes]:
    lines: list[bytes] = []
    previous = audit.GENESIS.hex()
    for number in (1, 2):
        line = b'{"seq":%d,"commit":1,"previous":"%s","time":1,"kind":"sign","outcome":"granted"' % (
            number,
            previous.encode(),
        )
        lines.append(line)
        previous = sha256(audit._DOMAIN + line + b"}").hexdigest()
    return [lines[0], b"\n".join(lines)]


def _header(data: bytes) -> object:
    """A store's header with its check sum put right, which takes no secret. No passphrase is tried: that is slow."""
    try:
        header = msgspec.msgpack.decode(data, type=sealing.Header)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        content = data
    else:
        bare = msgspec.structs.replace(header, checksum=b"")
        content = records.encode_canonical(msgspec.structs.replace(bare, checksum=sealing._checksum(bare)))
    return sealing.open_header(content, b"")


def _headers() -> list[bytes]:
    header = sealing.Header(sealing.HEADER_FORMAT, sealing.KdfParameters(), bytes(16), bytes(12), bytes(48))
    return [records.encode_canonical(header)]


TARGETS: Final[tuple[AnyTarget, ...]] = (
    Target(
        "lines.frames",
        _frames,
        _hold_frames,
        lambda: [b"\x02" + encode_frame(1, CALLS[0]) + encode_frame(2, CALLS[2]), b"\x00" + bytes(7)],
    ),
    messages("lines.calls", protocol.Call, *CALLS),
    messages("lines.answers", protocol.Answer, *ANSWERS),
    messages("lines.admin_calls", admin.AdminCall, *ADMIN_CALLS),
    messages("lines.admin_answers", admin.AdminAnswer, STATUS, protocol.Refused("IN_HSM", "word", "m", [(0, "w")])),
    Target("lines.records", _record, _hold_record, _records, own_files=True),
    Target("lines.log", _log, _hold_log, _logs, own_files=True),
    Target("lines.header", _header, lambda _, __: None, _headers, own_files=True, refuses_all=True),
)
