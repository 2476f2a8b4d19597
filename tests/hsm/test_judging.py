"""Keys of approvers that take long to judge do not stop the HSM (R13, R29)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa

from keyturn.hsm import protocol
from keyturn.ska import approver_keys, der
from keyturn.ska.policy import Approver, Group, Policy, Rule, TimeUnit, Token, encode_policy
from keyturn_testing.hsm_room import Room
from keyturn_testing.keys import operation_id
from keyturn_testing.ska import person

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.rule("R13"), pytest.mark.rule("R29")]

P256 = "1.2.840.10045.3.1.7"


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    made = Room(tmp_path / "store")
    yield made
    await made.workers.close()
    made.close()


@pytest.fixture
def judged_here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The moduli of the DSA keys that are judged in this process, where the loop runs."""
    found: list[int] = []
    monkeypatch.setattr(approver_keys, "check_dsa", lambda p, q, g, y: found.append(p))
    approver_keys.load_approver_key.cache_clear()
    return found


def dsa_key(*, power: int, sound: bool = True) -> bytes:
    """A key in the domain of Grace's; one that is not sound lies outside the group."""
    grace = person("grace").key
    assert isinstance(grace, dsa.DSAPrivateKey)
    domain = grace.parameters().parameter_numbers()
    y = pow(domain.g, power, domain.p)
    numbers = (domain.p, domain.q, domain.g)
    parameters = der.encode(der.SEQUENCE, b"".join(map(der.encode_unsigned, numbers)))
    algorithm = der.encode(der.SEQUENCE, der.encode_oid("1.2.840.10040.4.1") + parameters)
    return der.encode(der.SEQUENCE, algorithm + der.encode_bits(der.encode_unsigned(y if sound else domain.p - y)))


def listing(spki: bytes) -> bytes:
    use = Rule((Token("main", 0, 0, TimeUnit.MINUTES, (Group("officers", 1, (Approver(spki),)),)),))
    return encode_policy(Policy(use, Rule.ALWAYS, Rule.ALWAYS, Rule.ALWAYS))


def creation(label: str, spki: bytes) -> protocol.CreateKey:
    return protocol.CreateKey(operation_id(), label, "EC", P256, 0, {"sign": True}, listing(spki), blocked=False)


async def test_a_policy_that_is_slow_to_check_is_checked_in_a_worker_and_others_are_served_meanwhile(
    room: Room, judged_here: list[int]
) -> None:
    call = creation("vault", dsa_key(power=101))
    making = room.engine.handle(call, "test")
    assert isinstance(making, Awaitable)
    waiting = asyncio.ensure_future(making)
    await asyncio.sleep(0)
    assert room.ask(protocol.ListKeys()) == protocol.Labels([])
    made = await waiting
    assert isinstance(made, protocol.Attested), made
    assert judged_here == []
    # What is known is not asked again: the same call, and another one with the same key, are answered at once.
    assert room.ask(call).xml == made.xml
    assert isinstance(room.ask(creation("other", dsa_key(power=101))), protocol.Attested)


async def test_a_weak_key_is_refused_in_the_words_of_the_place_where_it_stands(
    room: Room, judged_here: list[int]
) -> None:
    weak, sound = creation("vault", dsa_key(power=102, sound=False)), creation("vault", dsa_key(power=102))
    for _ in range(2):
        answer = room.engine.handle(weak, "test")
        refused = await answer if isinstance(answer, Awaitable) else answer
        assert isinstance(refused, protocol.Refused)
        assert refused.refusal == "approver.weak-key"
        assert "ruleUse, token 'main', group 'officers', approver number 1" in refused.message
    answer = room.engine.handle(sound, "test")
    assert isinstance(answer, Awaitable)
    assert isinstance(await answer, protocol.Attested)
    assert judged_here == []


async def test_a_label_that_was_taken_while_the_keys_were_judged_is_refused(room: Room) -> None:
    making = room.engine.handle(creation("vault", dsa_key(power=103)), "test")
    assert isinstance(making, Awaitable)
    waiting = asyncio.ensure_future(making)
    await asyncio.sleep(0)
    quick = protocol.CreateKey(operation_id(), "vault", "EC", P256, 0, {"sign": True}, b"", blocked=False)
    assert isinstance(room.ask(quick), protocol.Attested)
    refused = await waiting
    assert isinstance(refused, protocol.Refused)
    assert refused.refusal == "key.exists"


async def test_cheap_keys_are_judged_at_once(room: Room) -> None:
    assert isinstance(room.ask(creation("vault", person("alice").spki)), protocol.Attested)
