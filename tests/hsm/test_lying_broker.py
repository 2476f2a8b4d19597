"""A broker that lies: the test sits in the broker's place and talks to the real HSM process over its socket.

Each line of `LIES` is one defect in an otherwise good call. For each the same test shows three things: the HSM refuses
with the word in the table, the decision log holds the refusal with that word, and the same call without the defect is
accepted. "We" are the broker: we may send anything, replay anything and mix anything, but we hold no officer's key.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from keyturn.hsm import protocol
from keyturn.hsm.framing import encode_frame
from keyturn.ska import der
from keyturn.ska.actions import Action
from keyturn.ska.messages import (
    ApprovalToken,
    Authorization,
    Timestamp,
    decode_authorization,
    decode_timestamp,
    encode_approval,
    encode_authorization,
    encode_timestamp,
)
from keyturn.ska.policy import Approver, Rule, encode_policy
from keyturn.ska.signatures import wrap_signature
from keyturn_testing.keys import P256, operation_id
from keyturn_testing.officers import Officer, group, make_policy, quorum, token
from keyturn_testing.raw_line import RawLine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn_testing.hsm_process import HsmProcess

ADA, BEN, EVE = Officer("ada", "P-256"), Officer("ben", "RSA"), Officer("eve", "ED")
MALLORY = Officer("mallory", "P-256")
POLICY = make_policy(quorum(2, ADA, BEN, EVE))
TIMED = make_policy(quorum(2, ADA, BEN, timeout=600))
PAYLOAD = b"pay 5 to Ben"
ECDSA = "SHA256_WITH_ECDSA"
MISSING = "approvals.missing"


@dataclass
class World:
    """What a lie can use: a key under a policy, the officers' honest approvals, and the line."""

    line: RawLine
    label: str
    policy: bytes = field(default_factory=lambda: encode_policy(POLICY))
    officers: tuple[Officer, ...] = (ADA, BEN)
    stamped: bool = False

    def create(self) -> None:
        attributes = {"sign": True}
        answer = self.line.ask(
            protocol.CreateKey(operation_id(), self.label, "EC", P256, 0, attributes, self.policy, blocked=False)
        )
        assert isinstance(answer, protocol.Attested), answer

    def token(self, **changes: object) -> ApprovalToken:
        """The token that everybody should have signed, with changes."""
        token = ApprovalToken(Action.USE, self.label.encode(), None, None, PAYLOAD)
        if self.stamped:
            stamp = self.line.ask(protocol.Stamp(self.label, 1, PAYLOAD))
            token = replace(
                token, timestamp=stamp.timestamp, timestamp_signature=wrap_signature(stamp.algorithm, stamp.signature)
            )
        return replace(token, **changes)  # type: ignore[arg-type]  # Each lie names the field it changes.

    def sign(self, approvals: list[bytes] | None = None, payload: bytes = PAYLOAD) -> protocol.Sign:
        """A call to sign; without `approvals` the honest one."""
        if approvals is None:
            token = self.token()
            approvals = [officer.approve(token) for officer in self.officers]
        return protocol.Sign(operation_id(), self.label, payload, ECDSA, "", approvals)

    def modify(self, new: bytes, approvals: list[bytes]) -> protocol.Modify:
        return protocol.Modify(operation_id(), self.label, new, approvals)


Lie = Callable[[World], object]


def _with_token(**changes: object) -> Lie:
    """Both officers signed another token than the one this call needs."""

    def lie(world: World) -> object:
        token = world.token(**changes)
        return world.sign([officer.approve(token) for officer in world.officers])

    return lie


def _second(make: Callable[[World, ApprovalToken], bytes]) -> Lie:
    """Ada's approval is good; the second one is ours."""

    def lie(world: World) -> object:
        token = world.token()
        return world.sign([ADA.approve(token), make(world, token)])

    return lie


def _edited(edit: Callable[[bytes], bytes]) -> Lie:
    """Ben's authorization blob is edited on its way."""
    return _second(lambda _, token: edit(BEN.approve(token)))


def _edited_token(edit: Callable[[bytes], bytes]) -> Lie:
    """The signed bytes inside Ben's authorization are edited, his signature kept."""

    def make(_: World, token: ApprovalToken) -> bytes:
        honest = decode_authorization(BEN.approve(token))
        return encode_authorization(replace(honest, approval=edit(honest.approval)))

    return _second(make)


def _flip(position: int) -> Callable[[bytes], bytes]:
    def flip(data: bytes) -> bytes:
        return data[:position] + bytes([data[position] ^ 1]) + data[position:][1:]

    return flip


def _flip_behind(mark: bytes) -> Callable[[bytes], bytes]:
    """Flip the bit behind `mark` within the data."""
    return lambda data: _flip(data.index(mark) + len(mark) - 1)(data)


def _sha1(officer: Officer, token: ApprovalToken) -> bytes:
    """An approval with SHA-1, made by hand since no tool of ours makes one."""
    data = encode_approval(token)
    if isinstance(officer.key, rsa.RSAPrivateKey):
        oid, bare = "1.2.840.113549.1.1.5", officer.key.sign(data, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303
    else:
        assert isinstance(officer.key, ec.EllipticCurvePrivateKey)
        oid, bare = "1.2.840.10045.4.1", officer.key.sign(data, ec.ECDSA(hashes.SHA1()))  # noqa: S303
    algorithm = der.encode(der.SEQUENCE, der.encode_oid(oid) + der.encode(der.NULL, b""))
    wrapped = der.encode(der.SEQUENCE, algorithm + der.encode_bits(bare))
    return encode_authorization(Authorization(data, wrapped, spki=officer.spki))


def _claiming(officer: Officer, algorithm: str) -> Lie:
    """An officer's good signature under the name of another algorithm."""

    def make(_: World, token: ApprovalToken) -> bytes:
        honest = decode_authorization(officer.approve(token))
        return encode_authorization(replace(honest, signature=wrap_signature(algorithm, officer.sign(honest.approval))))

    return _second(make)


def _impostor(world: World) -> object:
    """Mallory's signature beside Ada's key."""
    token = world.token()
    data = encode_approval(token)
    forged = encode_authorization(Authorization(data, wrap_signature(ECDSA, MALLORY.sign(data)), spki=ADA.spki))
    return world.sign([BEN.approve(token), forged])


def _own_timestamp(world: World) -> object:
    """We sign the time ourselves, under the integrity key's name."""
    honest = world.token()
    assert honest.timestamp is not None
    stamp = decode_timestamp(honest.timestamp)
    blob = encode_timestamp(stamp)
    token = replace(honest, timestamp=blob, timestamp_signature=wrap_signature(ECDSA, MALLORY.sign(blob)))
    return world.sign([officer.approve(token) for officer in world.officers])


def _foreign_timestamp(world: World) -> object:
    """We have an HSM of our own: another key name, another signature."""
    blob = encode_timestamp(Timestamp(1_700_000_000, "our-own-hsm", PAYLOAD))
    token = world.token(timestamp=blob, timestamp_signature=wrap_signature(ECDSA, MALLORY.sign(blob)))
    return world.sign([officer.approve(token) for officer in world.officers])


def _timestamp_of_another_payload(world: World) -> object:
    stamp = world.line.ask(protocol.Stamp(world.label, 1, b"pay 6 to Ben"))
    token = world.token(timestamp=stamp.timestamp, timestamp_signature=wrap_signature(stamp.algorithm, stamp.signature))
    return world.sign([officer.approve(token) for officer in world.officers])


def _moved_timestamp(world: World) -> object:
    """The HSM's own stamp, with the time in it moved; its signature kept."""
    honest = world.token()
    assert honest.timestamp is not None
    moved = encode_timestamp(replace(decode_timestamp(honest.timestamp), seconds=1_700_000_000))
    token = replace(honest, timestamp=moved)
    return world.sign([officer.approve(token) for officer in world.officers])


def _other_label(world: World) -> object:
    """Approvals for another key, which the same officers guard."""
    other = World(world.line, f"{world.label}-b")
    other.create()
    return world.sign(other.sign().approvals)


def _by_key_and_by_certificate(world: World) -> object:
    token = world.token()
    return world.sign([ADA.approve(token), ADA.approve(token, certificate=True)])


def _rejection(world: World, token: ApprovalToken) -> bytes:
    """Ben rejected; we present his signed rejection as an approval (decisions 4)."""
    return BEN.approve(b"REJECTED:" + encode_approval(token))


def _more_than_a_listed_person_can_need(world: World) -> object:
    """Five bad approvals in Ada's name, then her good one: the good one is not looked at any more (R29)."""
    token = world.token()
    bad = [ADA.approve(token, signature=ADA.sign(bytes([number]))) for number in range(5)]
    return world.sign([*bad, ADA.approve(token), BEN.approve(token)])


def _same_operation_other_input(world: World) -> object:
    honest = world.sign()
    assert isinstance(world.line.ask(honest), protocol.Signed)
    return msgspec.structs.replace(world.sign(), operation_id=honest.operation_id, algorithm="SHA384_WITH_ECDSA")


def _system_key(world: World, name: str) -> object:
    return msgspec.structs.replace(world.sign(), label=name)


def _own_structure(world: World, payload: bytes) -> object:
    """The officers are tricked into approving, as data, bytes that mean something to the HSM (R8)."""
    token = world.token(payload=payload)
    return world.sign([officer.approve(token) for officer in world.officers], payload)


def _ours() -> bytes:
    return encode_policy(make_policy(quorum(1, MALLORY)))


def _three_rules() -> bytes:
    whole = encode_policy(POLICY)
    body = whole[4 : whole.rindex(b"\x51\x10")]
    return len(body).to_bytes(4, "little") + body


def _modify_with_use(world: World) -> object:
    """The officers approved a use whose payload is a policy; we present that as a modify."""
    token = world.token(payload=_ours())
    return world.modify(_ours(), [officer.approve(token) for officer in world.officers])


def _modify_to_other(world: World) -> object:
    agreed = encode_policy(make_policy(quorum(2, ADA, BEN)))
    return world.modify(_ours(), [officer.approve_modify(world.label, agreed) for officer in world.officers])


def _modify_to_nobody(world: World) -> object:
    """Even with all approvals: a policy that cannot be enforced does not get in (decisions 20)."""
    impossible = make_policy(quorum(3, ADA, BEN))
    new = encode_policy(impossible)
    return world.modify(new, [officer.approve_modify(world.label, new) for officer in world.officers])


# (what we do, our call, the HSM's word, the word for the approval concerned)
LIES: list[tuple[str, Lie, str, str]] = [
    ("no approvals", lambda w: w.sign([]), MISSING, ""),
    ("one less than the quorum", lambda w: w.sign(w.sign().approvals[:1]), MISSING, ""),
    ("payload swapped", lambda w: w.sign(w.sign().approvals, b"pay 9 to Eve"), MISSING, "wrong-payload"),
    ("payload shortened", lambda w: w.sign(w.sign().approvals, PAYLOAD[:-1]), MISSING, "wrong-payload"),
    ("payload lengthened", lambda w: w.sign(w.sign().approvals, PAYLOAD + b"\0"), MISSING, "wrong-payload"),
    ("a foreigner's approval", _second(lambda _, token: MALLORY.approve(token)), MISSING, "unlisted-key"),
    ("a foreigner's certificate", _second(lambda _, t: MALLORY.approve(t, certificate=True)), MISSING, "unlisted-key"),
    ("a foreigner's signature, an officer's key", _impostor, MISSING, "bad-signature"),
    ("one officer twice, same bytes", lambda w: w.sign(w.sign().approvals[:1] * 2), MISSING, "duplicate"),
    ("one officer twice, signed twice", _second(lambda _, token: ADA.approve(token)), MISSING, "duplicate"),
    ("one officer, by key and by certificate", _by_key_and_by_certificate, MISSING, "duplicate"),
    ("approvals for block", _with_token(action=Action.BLOCK, payload=None), MISSING, "wrong-operation"),
    ("approvals for unblock", _with_token(action=Action.UNBLOCK, payload=None), MISSING, "wrong-operation"),
    (
        "approvals for modify",
        _with_token(action=Action.MODIFY, payload=encode_policy(POLICY)),
        MISSING,
        "wrong-operation",
    ),
    ("approvals for another key", _other_label, MISSING, "wrong-label"),
    ("approvals without a label", _with_token(label=b""), MISSING, "empty-label"),
    ("approvals for a longer label", lambda w: _with_token(label=w.label.encode() + b"x")(w), MISSING, "wrong-label"),
    ("authorization truncated", _edited(lambda data: data[:-4]), MISSING, "malformed"),
    ("authorization with trailing bytes", _edited(lambda data: data + b"\0\0\0\0"), MISSING, "malformed"),
    ("authorization empty", _edited(lambda _: b""), MISSING, "malformed"),
    ("a bit flipped in the payload approved", _edited_token(_flip_behind(b"pay 5")), MISSING, "wrong-payload"),
    (
        "a bit flipped in the label approved",
        lambda w: _edited_token(_flip_behind(w.label.encode()))(w),
        MISSING,
        "wrong-label",
    ),
    ("a bit flipped in the signature", _edited(_flip(-330)), MISSING, "bad-signature"),
    ("token truncated", _edited_token(lambda data: data[:-4]), MISSING, "malformed"),
    ("token with trailing bytes", _edited_token(lambda data: data + b"\0\0\0\0"), MISSING, "malformed"),
    ("SHA-1 with RSA", _second(lambda _, token: _sha1(BEN, token)), MISSING, "algorithm-not-allowed"),
    ("RSA signature called ECDSA", _claiming(BEN, ECDSA), MISSING, "key-mismatch"),
    ("RSA signature called SHA-512", _claiming(BEN, "SHA512_WITH_RSA"), MISSING, "bad-signature"),
    ("Ed25519 signature called RSA", _claiming(EVE, "SHA256_WITH_RSA"), MISSING, "key-mismatch"),
    ("a signed rejection", _second(_rejection), MISSING, "malformed"),
    ("too many approvals of one person", _more_than_a_listed_person_can_need, MISSING, "too-many"),
    ("too many approvals in one call", lambda w: w.sign(w.sign().approvals * 513), "approvals.too-many", ""),
    ("another operation id's input", _same_operation_other_input, "operation.input-differs", ""),
    ("no operation id", lambda w: msgspec.structs.replace(w.sign(), operation_id=b""), "operation.id-missing", ""),
    ("the integrity key as a label", lambda w: _system_key(w, "timestamp-key"), "key.unknown", ""),
    ("the attestation key as a label", lambda w: _system_key(w, "attestation-key"), "key.unknown", ""),
    (
        "an approval token as payload",
        lambda w: _own_structure(w, encode_approval(w.token())),
        "payload.double-meaning",
        "",
    ),
    ("a policy as payload", lambda w: _own_structure(w, encode_policy(POLICY)), "payload.double-meaning", ""),
    ("modify with approvals for use", _modify_with_use, MISSING, "wrong-operation"),
    ("modify to another policy than approved", _modify_to_other, MISSING, "wrong-payload"),
    ("modify with a policy that lists us alone", lambda w: w.modify(_ours(), []), MISSING, ""),
    ("modify with surplus bytes", lambda w: w.modify(_ours() + b"\0\0\0\0", []), "format.invalid", ""),
    ("modify with three rules", lambda w: w.modify(_three_rules(), []), "format.invalid", ""),
    ("modify to a quorum of nobody", _modify_to_nobody, "policy.quorum-above-group", ""),
]

TIMED_LIES: list[tuple[str, Lie, str, str]] = [
    ("no timestamp", _with_token(timestamp=None, timestamp_signature=None), MISSING, "timestamp-missing"),
    ("a timestamp signed by us", _own_timestamp, MISSING, "timestamp-bad-signature"),
    ("a timestamp of our own HSM", _foreign_timestamp, MISSING, "timestamp-unknown-key"),
    ("a timestamp for other bytes", _timestamp_of_another_payload, MISSING, "timestamp-wrong-payload"),
    ("a timestamp with the time moved", _moved_timestamp, MISSING, "timestamp-bad-signature"),
]


@pytest.fixture
def line(hsm: HsmProcess) -> Iterator[RawLine]:
    with RawLine(hsm.address) as connected:
        yield connected


def _refused_then_accepted(hsm: HsmProcess, world: World, lie: Lie, word: str, of_approval: str) -> None:
    call = lie(world)
    answer = world.line.ask(call)
    assert isinstance(answer, protocol.Refused), answer
    assert answer.refusal == word
    words = [found for _, found in answer.bad_approvals]
    assert (f"approval.{of_approval}" in words) if of_approval else not words, words

    logged = hsm.last_refusal()
    assert logged["refusal"] == answer.refusal
    assert all(found in logged["note"] for found in words[:16])

    if isinstance(call, protocol.Modify):
        new = encode_policy(make_policy(quorum(2, ADA, BEN)))
        honest = world.line.ask(world.modify(new, [one.approve_modify(world.label, new) for one in world.officers]))
        assert isinstance(honest, protocol.Attested), honest
    else:
        honest = world.line.ask(world.sign())
        assert isinstance(honest, protocol.Signed), honest


@pytest.mark.rule("R3")
@pytest.mark.parametrize(("what", "lie", "word", "of_approval"), LIES, ids=[lie[0] for lie in LIES])
def test_a_lie_is_refused_logged_and_without_it_the_call_is_accepted(
    hsm: HsmProcess, line: RawLine, label: str, what: str, lie: Lie, word: str, of_approval: str
) -> None:
    world = World(line, label)
    world.create()
    _refused_then_accepted(hsm, world, lie, word, of_approval)


@pytest.mark.rule("R12")
@pytest.mark.parametrize(("what", "lie", "word", "of_approval"), TIMED_LIES, ids=[lie[0] for lie in TIMED_LIES])
def test_a_lie_about_time_is_refused_logged_and_without_it_the_call_is_accepted(
    hsm: HsmProcess, line: RawLine, label: str, what: str, lie: Lie, word: str, of_approval: str
) -> None:
    world = World(line, label, policy=encode_policy(TIMED), stamped=True)
    world.create()
    _refused_then_accepted(hsm, world, lie, word, of_approval)


def test_sha1_of_an_ec_officer_is_refused_and_sha256_of_the_same_officer_accepted(
    hsm: HsmProcess, line: RawLine, label: str
) -> None:
    world = World(line, label, policy=encode_policy(make_policy(quorum(1, ADA))), officers=(ADA,))
    world.create()
    _refused_then_accepted(hsm, world, lambda w: w.sign([_sha1(ADA, w.token())]), MISSING, "algorithm-not-allowed")


def test_two_half_fulfilled_tokens_do_not_add_up(hsm: HsmProcess, line: RawLine, label: str) -> None:
    rule = Rule(tokens=(token(group(2, ADA, BEN)), token(group(2, EVE, MALLORY))))
    world = World(line, label, policy=encode_policy(make_policy(rule)))
    world.create()

    def halves(w: World) -> object:
        token = w.token()
        return w.sign([ADA.approve(token), EVE.approve(token)])

    _refused_then_accepted(hsm, world, halves, MISSING, "")


def test_an_officer_listed_by_certificate_counts_once_by_key_and_certificate(
    hsm: HsmProcess, line: RawLine, label: str
) -> None:
    listed: list[Officer | Approver] = [ADA.as_approver(certificate=True), BEN.as_approver(certificate=True)]
    world = World(line, label, policy=encode_policy(make_policy(quorum(2, *listed))))
    world.create()
    _refused_then_accepted(hsm, world, _by_key_and_by_certificate, MISSING, "duplicate")


def test_an_oversized_frame_closes_that_line_is_logged_and_the_hsm_lives(hsm: HsmProcess, label: str) -> None:
    with RawLine(hsm.address) as bad, RawLine(hsm.address) as good:
        bad.send((protocol.MAX_FRAME + 1).to_bytes(4, "big"))
        _, answer = bad.read()
        assert (answer.refusal, bad.closed()) == ("frame.too-large", True)
        assert hsm.last_refusal()["refusal"] == "frame.too-large"
        # One byte less is a frame like any other: its message is judged, the line lives.
        good.send(encode_frame(7, protocol.Verify(label, b"x" * (protocol.MAX_FRAME - 200), ECDSA, b"")))
        _, answer = good.read()
        assert answer.refusal == "payload.too-large"
        assert isinstance(good.ask(protocol.GetInfo()), protocol.Info)


@pytest.mark.parametrize("body", [b"\xc1", b"", b"\x93\x01\x02\x03", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_malformed_frame_closes_that_line_is_logged_and_the_hsm_lives(hsm: HsmProcess, body: bytes) -> None:
    with RawLine(hsm.address) as bad, RawLine(hsm.address) as good:
        bad.send(len(body).to_bytes(4, "big") + body)
        _, answer = bad.read()
        assert (answer.refusal, bad.closed()) == ("frame.malformed", True)
        assert hsm.last_refusal()["refusal"] == "frame.malformed"
        assert isinstance(good.ask(protocol.GetInfo()), protocol.Info)


def test_random_bytes_on_many_lines_end_nothing_but_those_lines(hsm: HsmProcess, line: RawLine) -> None:
    for size in (1, 3, 4, 5, 64, 5000):
        with RawLine(hsm.address) as bad:
            bad.send(os.urandom(size))
    assert isinstance(line.ask(protocol.GetInfo()), protocol.Info)
