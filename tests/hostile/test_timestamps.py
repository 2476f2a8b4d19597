"""Timestamps: forged, borrowed, moved, too early, too late; and a clock that was set back.

The HSM's time stands still here: it has used a time half an hour ahead of the machine's clock, which its settings let
it wait for, so that early and late are exact to the unit. What it signed at another time is signed with its own
integrity key, taken from its store while it was not running: a broker may have kept such timestamps for long.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.clock import SystemClock
from keyturn.hsm import protocol
from keyturn.hsm.store import Store
from keyturn.hsm.system_keys import SystemKeys
from keyturn.ska import der
from keyturn.ska.actions import Action
from keyturn.ska.messages import ApprovalToken, Timestamp, decode_timestamp, encode_timestamp
from keyturn.ska.policy import TimeUnit
from keyturn.ska.signatures import unwrap_signature, wrap_signature
from keyturn_testing.hostile import (
    ADA,
    AGREED,
    BEN,
    ECDSA,
    MALLORY,
    MISSING,
    PAYLOAD,
    TIMED,
    Case,
    Line,
    World,
    judge,
    lines,
    require_refused,
    with_token,
)
from keyturn_testing.hsm_process import PASSPHRASE
from keyturn_testing.officers import make_policy, quorum
from keyturn_testing.two_users import give_back

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keyturn.hsm.system_signers import IntegritySigner
    from keyturn_testing.hostile import Lie
    from keyturn_testing.hsm_process import HsmProcess

AHEAD = 1800.0
PATIENT = ("--clock-tolerance", "3600")


def move_mark(hsm: HsmProcess, seconds: float) -> tuple[int, IntegritySigner]:
    """Stop the HSM and let it have used a time this far from now; that time, and its integrity key."""
    hsm.stop()
    mark = int(time.time() + seconds)
    store = Store.open(hsm.directory, PASSPHRASE, clock=SystemClock())
    with store.change() as change:
        change.turn_clock_back(float(mark))
    integrity = SystemKeys.open(store, now=mark).integrity
    store.close()
    if hsm.user is not None:
        give_back(hsm.directory, hsm.user)
    return mark, integrity


class _Frozen:
    """An HSM whose time stands still at `now`, and its own timestamps of any second."""

    def __init__(self, hsm: HsmProcess) -> None:
        self.hsm = hsm
        self.now, self._integrity = move_mark(hsm, AHEAD)
        self._options = hsm.options
        hsm.options = (*self._options, *PATIENT)
        hsm.start()

    def stamp(self, seconds: int, payload: bytes | None = PAYLOAD, **changes: Any) -> tuple[bytes, bytes]:
        """What the HSM would have signed at that second."""
        made = replace(Timestamp(seconds, self._integrity.name, payload), **changes)
        blob = encode_timestamp(made)
        signed_by = self._integrity if made.key_name == self._integrity.name else None
        assert signed_by is not None
        return blob, wrap_signature(signed_by.algorithm, signed_by.sign_timestamp(blob))


FROZEN: dict[int, _Frozen] = {}
"""The frozen HSM of this module by the process that runs it."""


@pytest.fixture(scope="module", autouse=True)
def frozen(hsm: HsmProcess) -> Iterator[_Frozen]:
    """Let the module's HSM stand still."""
    made = FROZEN[id(hsm)] = _Frozen(hsm)
    yield made
    del FROZEN[id(hsm)]


def _approved(world: World, stamp: tuple[bytes, bytes], payload: bytes = PAYLOAD) -> protocol.Sign:
    token = ApprovalToken(Action.USE, world.label.encode(), *stamp, payload)
    return world.sign(world.approvals(token), payload)


def _at(ago: int, good_ago: int) -> Lie:
    """Approvals with the HSM's timestamp of `ago` seconds before now; those of `good_ago` seconds are good."""

    def lie(world: World) -> object:
        here = FROZEN[id(world.hsm)]
        return Case(
            _approved(world, here.stamp(here.now - ago)), lambda: _approved(world, here.stamp(here.now - good_ago))
        )

    return lie


def _stamp(make: Callable[[World], tuple[bytes, bytes]]) -> Lie:
    return lambda world: _approved(world, make(world))


def _signed_by_us(world: World, name: str | None = None, **changes: Any) -> tuple[bytes, bytes]:
    """We sign the time ourselves, under the integrity key's name if no other is given."""
    stamp = decode_timestamp(world.stamp(Action.USE, PAYLOAD)[0])
    blob = encode_timestamp(replace(stamp, key_name=name or stamp.key_name, **changes))
    return blob, wrap_signature(ECDSA, MALLORY.sign(blob))


def _ordinary_key(world: World, *, named: bool) -> tuple[bytes, bytes]:
    """A key of our own in the same HSM signs the time, which an ordinary key may sign as any bytes."""
    ours = replace(world, label=f"{world.label}-ours")
    world.do(ours.creation(policy=b""))
    integrity = decode_timestamp(world.stamp(Action.USE, PAYLOAD)[0]).key_name
    blob = encode_timestamp(Timestamp(FROZEN[id(world.hsm)].now, integrity if named else ours.label, PAYLOAD))
    signed = world.do(protocol.Sign(b"", ours.label, blob, ECDSA, "", []))
    return blob, wrap_signature(ECDSA, signed.signature)


def _by_attestation(world: World) -> tuple[bytes, bytes]:
    """The attestation's own signature, as that of a timestamp under its name."""
    attested = world.do(protocol.Attest(world.label))
    blob = encode_timestamp(Timestamp(FROZEN[id(world.hsm)].now, attested.attestation_key_name, PAYLOAD))
    return blob, wrap_signature("SHA256_WITH_RSA", attested.signature)


def _attestation_under_integrity_name(world: World) -> tuple[bytes, bytes]:
    """The HSM's timestamp with the attestation key's signature over it: there is none, so over the attested text."""
    attested = world.do(protocol.Attest(world.label))
    return world.stamp(Action.USE, PAYLOAD)[0], wrap_signature("SHA256_WITH_RSA", attested.signature)


def _receipt_key(world: World) -> tuple[bytes, bytes]:
    """The signature of a receipt as that of a timestamp."""
    call = protocol.Sign(world.sign().operation_id, world.label, PAYLOAD, ECDSA, "", world.sign().approvals, "request")
    signed = world.do(call)
    return world.stamp(Action.USE, PAYLOAD)[0], wrap_signature(ECDSA, signed.receipt_signature)


def _edited(**changes: Any) -> Lie:
    """The HSM's own timestamp, edited; its signature kept."""

    def make(world: World) -> tuple[bytes, bytes]:
        blob, signature = world.stamp(Action.USE, PAYLOAD)
        stamp = decode_timestamp(blob)
        edit = {name: value(stamp) if callable(value) else value for name, value in changes.items()}
        return encode_timestamp(replace(stamp, **edit)), signature

    return _stamp(make)


def _other_payload(world: World) -> tuple[bytes, bytes]:
    return world.stamp(Action.USE, b"pay 6 to Ben")


def _of_a_use(world: World) -> object:
    """A timestamp for the use of these bytes, which are a policy, in approvals for a modify to it."""
    stamp = world.stamp(Action.USE, AGREED)
    token = ApprovalToken(Action.MODIFY, world.label.encode(), *stamp, AGREED)
    return world.modify(AGREED, world.approvals(token))


def _of_a_block(world: World) -> tuple[bytes, bytes]:
    return world.stamp(Action.BLOCK, None)


def _downgraded(world: World) -> tuple[bytes, bytes]:
    """The HSM's good signature under the name of a hash that it did not use."""
    blob, signature = world.stamp(Action.USE, PAYLOAD)
    return blob, wrap_signature("SHA224_WITH_ECDSA", unwrap_signature(signature)[1])


def _sha1(world: World) -> tuple[bytes, bytes]:
    blob, signature = world.stamp(Action.USE, PAYLOAD)
    oid = der.encode_oid("1.2.840.10045.4.1") + der.encode(der.NULL, b"")
    bare = unwrap_signature(signature)[1]
    return blob, der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, oid) + der.encode_bits(bare))


def _apart(world: World) -> object:
    """Each of two officers was in time, but never at the same time: the windows do not overlap."""
    here = FROZEN[id(world.hsm)]
    old = ApprovalToken(Action.USE, world.label.encode(), *here.stamp(here.now - 3600), PAYLOAD)
    return world.sign([ADA.approve(old), BEN.approve(world.token())])


SIGNER, BYTES, TIME = "section 8, rule 11", "section 8, rule 12", "decisions 18"
UNKNOWN, FORGED = "timestamp-unknown-key", "timestamp-bad-signature"
EARLY, LATE = "approvals.too-early", "approvals.too-late"
MINUTES = {"policy": make_policy(quorum(2, ADA, BEN, timelock=120, timeout=300))}
SECONDS = {"policy": make_policy(quorum(2, ADA, BEN, timelock=5, timeout=9, unit=TimeUnit.SECONDS))}
OPEN_ENDED = {"policy": make_policy(quorum(2, ADA, BEN, timelock=120))}
WITH_TIMEOUT = {"policy": TIMED, "stamped": True}


def _line(attack: str, lie: Lie, rule: str, of_approval: str) -> Line:
    return Line(attack, lie, MISSING, rule, of_approval, WITH_TIMEOUT)


TABLE = [
    _line(
        "No timestamp where the rule has a timeout",
        with_token(timestamp=None, timestamp_signature=None),
        "section 8, rule 10",
        "timestamp-missing",
    ),
    _line("A timestamp signed by us, under the integrity key's name", _stamp(_signed_by_us), SIGNER, FORGED),
    _line("A timestamp of an HSM of our own", _stamp(lambda w: _signed_by_us(w, "our-own-hsm")), SIGNER, UNKNOWN),
    _line(
        "A timestamp signed by a user's key in the same HSM",
        _stamp(lambda w: _ordinary_key(w, named=False)),
        "R5",
        UNKNOWN,
    ),
    _line(
        "A timestamp signed by a user's key under the integrity key's name",
        _stamp(lambda w: _ordinary_key(w, named=True)),
        "R5",
        FORGED,
    ),
    _line(
        "A timestamp under the attestation key's name, with a signature of that key",
        _stamp(_by_attestation),
        "R5",
        UNKNOWN,
    ),
    _line(
        "The HSM's timestamp with a signature of the attestation key",
        _stamp(_attestation_under_integrity_name),
        "R5",
        FORGED,
    ),
    _line("The HSM's timestamp with a signature of the receipt key", _stamp(_receipt_key), "R5", FORGED),
    _line("A timestamp for another payload", _stamp(_other_payload), BYTES, "timestamp-wrong-payload"),
    _line(
        "A timestamp for a use in approvals for a modify to the same bytes", _of_a_use, BYTES, "timestamp-wrong-payload"
    ),
    _line("A timestamp for a block in approvals for a use", _stamp(_of_a_block), BYTES, "timestamp-wrong-payload"),
    _line("Its seconds edited to an earlier time", _edited(seconds=lambda s: s.seconds - 1), SIGNER, FORGED),
    _line("Its payload edited", _edited(action_payload=b"pay 9 to Eve"), BYTES, "timestamp-wrong-payload"),
    _line(
        "Its seconds edited into the future",
        _edited(seconds=lambda s: s.seconds + 1),
        "section 9.9",
        "timestamp-future",
    ),
    _line("Its seconds edited to the end of time", _edited(seconds=2**64 - 1), "section 9.9", "timestamp-future"),
    _line("Its hash called a weaker one", _stamp(_downgraded), SIGNER, FORGED),
    _line("Its hash called SHA-1", _stamp(_sha1), "decisions 26", "algorithm-not-allowed"),
    _line("Two officers whose timestamps lie too far apart", _apart, TIME, "late"),
    Line("Early by one second of a timelock in minutes", _at(119, 120), EARLY, TIME, "early", MINUTES),
    Line("Late by one second of a timeout in minutes", _at(360, 359), LATE, TIME, "late", MINUTES),
    Line("Early by one second of a timelock in seconds", _at(4, 5), EARLY, TIME, "early", SECONDS),
    Line("Late by one second of a timeout in seconds", _at(10, 9), LATE, TIME, "late", SECONDS),
    Line("Early by one second where nothing ends", _at(119, 10**8), EARLY, TIME, "early", OPEN_ENDED),
    Line(
        "From the future, signed by the HSM itself",
        _at(-1, 0),
        MISSING,
        "section 9.9",
        "timestamp-future",
        {"policy": TIMED},
    ),
]


@pytest.mark.rule("R5")
@pytest.mark.rule("decisions 18")
@pytest.mark.parametrize("line", lines("When it was approved", TABLE))
def test_only_the_hsms_own_time_counts_and_to_the_second(hsm: HsmProcess, label: str, line: Line) -> None:
    judge(hsm, label, line)


@pytest.mark.parametrize(
    ("moved", "word", "cure"),
    [
        pytest.param(
            moved,
            word,
            cure,
            id=word,
            marks=pytest.mark.attack(subject="When it was approved", attack=attack, refused=word, rule="law 4"),
        )
        for attack, moved, word, cure in (
            ("The machine's clock set back by an hour", 3600.0, "clock.behind", PATIENT),
            (
                "The machine's clock set ahead by a hundred days",
                -100 * 86_400.0,
                "clock.ahead",
                ("--clock-bound", "9000000"),
            ),
        )
    ],
)
def test_a_clock_that_cannot_be_believed_opens_nothing(
    hsm: HsmProcess, label: str, frozen: _Frozen, moved: float, word: str, cure: tuple[str, ...]
) -> None:
    """The last of this module: it moves the HSM's time. The machine's clock is not moved, the HSM's memory of it is."""
    options = hsm.options[: -len(PATIENT)]
    with hsm.line() as line:
        World(hsm, line, label, TIMED).create()
    mark, _ = move_mark(hsm, moved)
    for extra, accepted in ((), False), (cure, True):
        hsm.options = (*options, *extra)
        hsm.start()
        with hsm.line() as line:
            world = World(hsm, line, label, TIMED)
            stamp = frozen.stamp(mark if moved > 0 else int(time.time()))
            answer = line.ask(_approved(world, stamp))
            if accepted:
                assert isinstance(answer, protocol.Signed), answer
            else:
                require_refused(hsm, answer, word)
    hsm.options = (*options, *PATIENT)
