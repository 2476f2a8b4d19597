"""The two sockets (R2), and two connections at once (R31)."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from keyturn.hsm import admin, protocol
from keyturn.hsm.framing import encode_frame
from keyturn_testing.hostile import World, require_refused
from keyturn_testing.hsm_process import PASSPHRASE

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn_testing.hsm_process import HsmProcess
    from keyturn_testing.raw_line import RawLine

ADMINISTRATION: Final[tuple[tuple[str, Callable[[str], admin.AdminCall], str], ...]] = (
    ("Ask for the administrator's view", lambda _: admin.GetStatus(), ""),
    ("Unseal", lambda _: admin.Unseal(PASSPHRASE), "hsm.not-sealed"),
    ("Unseal, and accept the loss of the log", lambda _: admin.Unseal(PASSPHRASE, False, True), "hsm.not-sealed"),
    ("Confirm the clock", lambda _: admin.ConfirmClock(time.time()), ""),
    ("Turn the clock back", lambda _: admin.ConfirmClock(time.time(), backwards=True), ""),
    ("Take a backup", admin.MakeBackup, ""),
    ("Change the passphrase", lambda _: admin.ChangePassphrase(PASSPHRASE, PASSPHRASE), ""),
    ("Present evidence of a newer store", lambda _: admin.PresentWitness("receipt", b"", b""), "witness.not-genuine"),
    ("Accept a rolled-back store", lambda _: admin.AcceptRollback(0, 1), "rollback.none"),
    ("Look into the ledger", lambda _: admin.GetLedger(), ""),
    ("Look at deleted keys", lambda _: admin.GetDeleted(), ""),
    ("Restore a deleted key", lambda _: admin.RestoreDeleted("any uuid"), "deleted.unknown"),
    ("Erase a deleted key", lambda _: admin.EraseDeleted("any uuid"), "deleted.unknown"),
    ("Shut down", lambda _: admin.Shutdown(), "not sent"),
)
"""What is sent, and the administration's own word where even it refuses: the HSM is open and its store the newest."""


def _mark(attack: str, refused: str, rule: str) -> pytest.MarkDecorator:
    return pytest.mark.attack(subject="The sockets", attack=attack, refused=refused, rule=rule)


@pytest.mark.rule("R2")
@pytest.mark.parametrize(
    ("make", "own_word"),
    [
        pytest.param(
            make,
            own_word,
            id=attack.lower().replace(" ", "-"),
            marks=_mark(f"{attack}, over the broker's socket", "message.malformed", "R2"),
        )
        for attack, make, own_word in ADMINISTRATION
    ],
)
def test_administration_is_no_part_of_the_brokers_protocol(
    hsm: HsmProcess, label: str, make: Callable[[str], admin.AdminCall], own_word: str
) -> None:
    message = make(str(hsm.directory / f"{label}.ktbackup"))
    with hsm.line() as line:
        require_refused(hsm, line.ask(message), "message.malformed")
        assert isinstance(line.ask(protocol.GetInfo()), protocol.Info)
    if own_word == "not sent":
        return
    with hsm.admin_line() as line:
        line.send(encode_frame(7, message))
        _, answer = line.read_as(admin.AdminAnswer)
        if own_word:
            require_refused(hsm, answer, own_word)
        else:
            assert isinstance(answer, admin.AdminDone | admin.Status | admin.LedgerIs | admin.DeletedAre)


def test_every_message_of_the_administration_stands_in_the_table() -> None:
    assert {type(make("/x")) for _, make, _ in ADMINISTRATION} == set(admin.AdminCall.__args__)


@pytest.mark.rule("R2")
@_mark("The broker's messages over the administration socket", "message.malformed", "R2")
def test_the_brokers_protocol_is_no_part_of_the_administration(hsm: HsmProcess, label: str) -> None:
    with hsm.line() as line, hsm.admin_line() as other:
        world = World(hsm, line, label)
        world.create()
        call = world.sign()
        require_refused(hsm, other.ask(call), "message.malformed")
        assert isinstance(line.ask(call), protocol.Signed)


@pytest.mark.rule("R31")
@_mark("A use that races a block, sent after the block is acknowledged", "key.blocked", "R31")
def test_after_an_acknowledged_block_no_use_succeeds(hsm: HsmProcess, label: str) -> None:
    """One connection signs without pause while another blocks the key."""
    with hsm.line() as control, hsm.line() as using:
        world = World(hsm, control, label)
        world.create()
        approvals = world.sign().approvals
        seen: list[tuple[float, Any]] = []
        enough, blocked = threading.Event(), threading.Event()

        def sign_without_pause() -> None:
            while not (blocked.is_set() and isinstance(seen[-1][1], protocol.Refused)):
                sent = time.monotonic()
                seen.append((sent, using.ask(world.sign(approvals))))
                if len(seen) == 5:
                    enough.set()

        thread = threading.Thread(target=sign_without_pause)
        thread.start()
        assert enough.wait(20)
        world.do(world.block())
        acknowledged = time.monotonic()
        blocked.set()
        thread.join(20)
        assert not thread.is_alive()
        assert isinstance(seen[0][1], protocol.Signed)
        assert all(isinstance(answer, protocol.Refused) for sent, answer in seen if sent > acknowledged)
        require_refused(hsm, seen[-1][1], "key.blocked")
        # In one order for all: once refused, never signed again.
        kinds = [type(answer) for _, answer in seen]
        assert kinds == sorted(kinds, key=lambda kind: kind is protocol.Refused)
        world.do(world.unblock())
        world.do(world.sign(approvals))


@pytest.mark.rule("R31")
@_mark("A result decided before a block that leaves after its acknowledgement", "key.blocked", "R31")
def test_after_an_acknowledged_block_no_earlier_result_leaves(hsm: HsmProcess, label: str) -> None:
    """Hundreds of uses are under way when the block comes. What has not arrived with its answer never does."""
    with hsm.line() as control, hsm.line() as using:
        for number, delay in enumerate((0.0, 0.005, 0.02, 0.04)):
            world = World(hsm, control, f"{label}-{number}")
            world.create()
            approvals = world.sign().approvals
            _race(world, using, approvals, delay)
            require_refused(hsm, using.ask(world.sign(approvals)), "key.blocked")
            world.do(world.unblock())
            world.do(world.sign(approvals))


def _race(world: World, using: RawLine, approvals: list[bytes], delay: float) -> None:
    """Send many uses on one line, after a while a block on the other, and look at what arrived when."""
    frames = [encode_frame(number, world.sign(approvals)) for number in range(120)]
    block = encode_frame(1, world.block())
    before = using.consumed
    using.send(b"".join(frames))
    time.sleep(delay)
    world.line.send(block)
    _, done = world.line.read()
    arrived = before + using.waiting
    assert isinstance(done, protocol.Attested)
    kinds = []
    for _ in frames:
        begins = using.consumed
        _, answer = using.read()
        kinds.append(type(answer))
        assert begins < arrived or isinstance(answer, protocol.Refused), "a result left after the acknowledgement"
    assert kinds == sorted(kinds, key=lambda kind: kind is protocol.Refused)
