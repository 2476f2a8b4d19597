"""What the documented format lets a broker choose, and what bound approvals and single use take from it (R7, R14).

Every officer here signed in good faith, in a program that shows nothing. Each attack is tried on a key as documented,
on one with `boundApprovals` and on one with `singleUse`. "succeeds" means that it does: the documented format allows
it. Where it fails on all three, the format or another rule never let it through.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keyturn.hsm import protocol
from keyturn.ska.messages import decode_authorization, encode_authorization
from keyturn.ska.policy import encode_policy
from keyturn.ska.signatures import unwrap_signature, wrap_signature
from keyturn.ska.unwrap_flags import unwrap_payload_for
from keyturn_testing.hostile import ADA, BEN, ECDSA, EVE, ONE_USER, PAYLOAD
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.keys import operation_id
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.one_meaning import (
    STORED,
    SUCCEEDS,
    Attack,
    Key,
    Play,
    again,
    attacks,
    judge_keys,
    new_request,
    on_another,
    with_approvals,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

DAN: Final = Officer("dan", "P-256")
FOUR: Final = {"policy": make_policy(quorum(2, ADA, BEN, EVE, DAN))}
LAX: Final = make_policy(quorum(1, ADA, BEN), modify=quorum(2, ADA, BEN))
STRICT: Final = make_policy(quorum(2, ADA, BEN))
CIPHER: Final = "RSA_PADDING_OAEP_WITH_SHA256"
METHOD: Final = "RSA_WRAP_OAEP"
NEW_ATTRIBUTES: Final = {"decrypt": True, "sensitive": True}
RSA_KEY: Final = {"algorithm": "RSA", "curve_oid": "", "key_size": 2048}
P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
OTHERS: list[HsmProcess] = []
"""The other HSM, while there is one."""


@pytest.fixture(scope="module")
def lax(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HsmProcess]:
    """Another HSM, with the switch that lets approvals for unblock and modify serve again, as documented."""
    options = ("--allow-replayed-control-approvals",)
    with HsmProcess(tmp_path_factory.mktemp("lax") / "data", options=options) as process:
        OTHERS.append(process)
        yield process
        OTHERS.remove(process)


def _signed(answer: Any) -> bool:
    return isinstance(answer, protocol.Signed)


# --- what is done -----------------------------------------------------------------------------------------


def _swapped(payload: bytes, approved: str, executed: str) -> Any:
    """The officers approved a signature with one algorithm; we ask for another."""

    def play(key: Key) -> Play:
        call = key.approved(key.asked(payload, approved))
        return Play(
            again(call, algorithm=executed), lambda: call, lambda got: key.verifies(executed, payload, got.signature)
        )

    return play


def _public(key: Key) -> rsa.RSAPublicKey:
    public = load_der_public_key(key.facts.public_key)
    assert isinstance(public, rsa.RSAPublicKey)
    return public


def _decrypt_as_signature(key: Key) -> Play:
    """The officers approved the decryption of what they could not read: a promise of ours, which we have signed."""
    letter = b"We owe Mallory 1 000 000.".ljust(256)
    asked = protocol.Decrypt(operation_id(), key.label, letter, CIPHER, None, None, 0, [], new_request())
    signature = again(key.asked(letter, "SHA256_WITH_RSA"), request_id=asked.request_id)
    bad = with_approvals(signature, key.approved(asked).approvals)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    honest = again(asked, payload=_public(key).encrypt(b"the vault's combination", oaep))
    return Play(bad, lambda: key.approved(honest), lambda got: key.verifies("SHA256_WITH_RSA", letter, got.signature))


def _sign_as_unwrap(key: Key) -> Play:
    """The officers approved a signature over bytes that they could not read; these bytes order an unwrap."""
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - As the method is defined.
    wrapped, label = _public(key).encrypt(os.urandom(32), oaep), f"{key.label}-new"
    order = unwrap_payload_for(NEW_ATTRIBUTES, wrapped, label)
    shown = key.approved(key.asked(order, "SHA256_WITH_RSA"))
    unwrap = protocol.Unwrap(
        operation_id(), key.label, wrapped, METHOD, label, NEW_ATTRIBUTES, [], request_id=shown.request_id
    )
    bad = with_approvals(unwrap, shown.approvals)
    return Play(bad, lambda: key.approved(unwrap), lambda got: isinstance(got, protocol.Attested))


# --- with which key ---------------------------------------------------------------------------------------


def _other_key(key: Key) -> Play:
    """The officers approved a test: for a key of the same name, officers and policy in another HSM."""
    (other,) = OTHERS
    with other.line() as line:
        there = on_another(key, other, line)
        call = there.approved(there.asked())
    return Play(again(call), lambda: key.approved(key.asked()), _signed)


def _re_created(key: Key) -> Play:
    """The officers approved for a key that was deleted; its name has passed to another."""
    call = key.approved(key.asked())
    key.do(protocol.DeleteKey(operation_id(), key.label))
    key.create()
    return Play(again(call), lambda: key.approved(key.asked(), stamped=True), _signed)


def _replaced(key: Key) -> Play:
    """We replaced the key that the officers had looked at; they approve now, with a timestamp of now, for that one."""
    asked = key.asked()
    meant = key.covered(asked)
    key.do(protocol.DeleteKey(operation_id(), key.label))
    key.create()
    # The only timestamp to be had is for the new key; where approvals name no key, that makes no difference.
    fresh = key.agreed(asked, stamped=True)
    bad = with_approvals(asked, key.approvals(replace(fresh, payload=meant)))
    return Play(bad, lambda: with_approvals(asked, key.approvals(fresh)), _signed)


# --- how often, and for which request ----------------------------------------------------------------------


def _twice(key: Key, second: Any = None) -> Play:
    """What was approved once is asked for twice, the second time with other operation id, or other approvals."""
    call = key.approved(key.asked())
    first = key.do(call)
    bad = again(call) if second is None else second(call)
    return Play(bad, lambda: key.approved(key.asked()), lambda got: got.signature != first.signature, first)


def _for_another_request(key: Key) -> Play:
    """The same approvals for a second request, which nobody was shown."""
    return _twice(key, lambda call: again(call, request_id=new_request()))


def _split_quorum(key: Key) -> Play:
    """Four officers approved one request that needs two: A and B for one execution, C and D for another."""
    asked = key.asked()
    token = key.agreed(asked)
    first = key.do(with_approvals(asked, key.approvals(token, (ADA, BEN))))
    bad = again(with_approvals(asked, key.approvals(token, (EVE, DAN))))
    return Play(bad, lambda: key.approved(key.asked()), lambda got: got.signature != first.signature, first)


def _of_two_requests(key: Key) -> Play:
    """Ada approved one request, Ben another for the same bytes; neither has the approvals that it needs."""
    one, other = key.asked(), key.asked()
    by_ada, by_ben = key.approvals(key.agreed(one), (ADA,)), key.approvals(key.agreed(other), (BEN,))
    return Play(with_approvals(one, by_ada + by_ben), lambda: key.approved(one), _signed)


def _twin(authorization: bytes) -> bytes:
    """The same approval with the signature (r, n-s), which is as valid."""
    honest = decode_authorization(authorization)
    r, s = utils.decode_dss_signature(unwrap_signature(honest.signature)[1])
    twin = wrap_signature(ECDSA, utils.encode_dss_signature(r, P256_ORDER - s))
    return encode_authorization(replace(honest, signature=twin))


def _twins_again(key: Key) -> Play:
    """The second time all signatures are other bytes."""
    call = key.approved(key.asked(), (ADA, DAN))
    first = key.do(call)
    bad = again(call, approvals=[_twin(each) for each in call.approvals])
    return Play(bad, lambda: key.approved(key.asked()), lambda got: got.signature != first.signature, first)


def _twin_as_a_person(key: Key) -> Play:
    """One officer, counted twice."""
    call = key.approved(key.asked(), (ADA,))
    bad = again(call, approvals=[*call.approvals, _twin(call.approvals[0])])
    return Play(bad, lambda: key.approved(key.asked()), _signed)


# --- what lifts a protection ------------------------------------------------------------------------------


def _replayed_unblock(key: Key) -> Play:
    """The officers unblocked the key, and blocked it later; we lift that block with their old approvals."""
    call = key.approved(protocol.Unblock(operation_id(), key.label, [], new_request()))
    key.do(call)
    key.do(key.approved(protocol.Block(operation_id(), key.label, [], new_request())))
    anew = protocol.Unblock(operation_id(), key.label, [], new_request())
    return Play(again(call), lambda: key.approved(anew, stamped=True), lambda _: not key.facts.blocked)


def _replayed_modify(key: Key) -> Play:
    """The officers tried a laxer policy, and took it back; we bring it back with their old approvals."""
    call = key.approved(protocol.Modify(operation_id(), key.label, encode_policy(LAX), [], new_request()))
    key.do(call)
    key.do(key.approved(protocol.Modify(operation_id(), key.label, encode_policy(STRICT), [], new_request())))
    anew = protocol.Modify(operation_id(), key.label, encode_policy(LAX), [], new_request())
    return Play(again(call), lambda: key.approved(anew, stamped=True), lambda _: key.facts.policy == encode_policy(LAX))


OTHER_BYTES = "approvals.missing, approval.wrong-payload"
SPENT = "approvals.missing, approval.spent"
TWICE = "approvals.missing, approval.duplicate"
CIPHER_KEY = {"material": RSA_KEY, "attributes": {"decrypt": True}}
WRAP_KEY = {"material": RSA_KEY, "attributes": {"unwrap": True}}
BLOCKED = {"blocked": True}
TABLE = [
    Attack(
        "Algorithm swap: executed with SHA-512 where SHA-256 was asked for",
        _swapped(PAYLOAD, ECDSA, "SHA512_WITH_ECDSA"),
        "R7",
        (SUCCEEDS, OTHER_BYTES, SUCCEEDS),
    ),
    Attack(
        "Pre-hash swap: a message of 32 bytes signed as if it were a digest",
        _swapped(bytes(range(32)), ECDSA, "NONE_WITH_ECDSA"),
        "R7",
        (SUCCEEDS, OTHER_BYTES, SUCCEEDS),
    ),
    Attack(
        "Pre-hash swap: a digest signed as if it were a message",
        _swapped(bytes(range(32)), "NONE_WITH_ECDSA", ECDSA),
        "R7",
        (SUCCEEDS, OTHER_BYTES, SUCCEEDS),
    ),
    Attack(
        "Decrypt as signature: approvals to decrypt a letter sign it",
        _decrypt_as_signature,
        "R7",
        (SUCCEEDS, OTHER_BYTES, SUCCEEDS),
        CIPHER_KEY,
    ),
    Attack(
        "Sign as unwrap: approvals to sign bytes that order an unwrap let a key in",
        _sign_as_unwrap,
        "R7, R16",
        (SUCCEEDS, OTHER_BYTES, SUCCEEDS),
        WRAP_KEY,
    ),
    Attack(
        "Approvals for a key of another HSM under the same label",
        _other_key,
        "R7, R18",
        (SUCCEEDS, OTHER_BYTES, "approvals.missing, approval.timestamp-bad-signature"),
    ),
    Attack(
        "Approvals for a deleted key, for the one re-created under its label",
        _re_created,
        "R18",
        (
            "approvals.missing, approval.timestamp-missing",
            OTHER_BYTES,
            "approvals.missing, approval.timestamp-before-key",
        ),
        {"attributes": {"destroyable": True}},
    ),
    Attack(
        "A key replaced under its label, before officers approve for the one that they know",
        _replaced,
        "R7, R18",
        (SUCCEEDS, OTHER_BYTES, SUCCEEDS),
        {"attributes": {"destroyable": True}},
    ),
    Attack("The same call, executed a second time", _twice, "R14", (SUCCEEDS, SUCCEEDS, STORED)),
    Attack(
        "The same approvals for a second request",
        _for_another_request,
        "R7, R14",
        (SUCCEEDS, OTHER_BYTES, "approval.spent"),
    ),
    Attack(
        "Split quorum: two executions, by A and B and by C and D, of what four approved once",
        _split_quorum,
        "R14",
        (SUCCEEDS, SUCCEEDS, STORED),
        FOUR,
    ),
    Attack(
        "Split quorum: one approval of each of two requests for the same bytes",
        _of_two_requests,
        "R7, R14",
        (SUCCEEDS, OTHER_BYTES, "approvals.mixed-statements, approval.other-statement"),
    ),
    Attack(
        "Malleated twins (r, n-s) of all signatures for a second execution",
        _twins_again,
        "R14",
        (SUCCEEDS, SUCCEEDS, STORED),
        FOUR,
    ),
    Attack("The malleated twin as a second person", _twin_as_a_person, "decisions 20", (TWICE, TWICE, TWICE)),
    Attack("An unblock replayed", _replayed_unblock, "R15", (SPENT, SPENT, SPENT), BLOCKED),
    Attack("A modify replayed", _replayed_modify, "R15", (SPENT, SPENT, SPENT)),
]
SWITCHED = [
    Attack(
        "An unblock replayed, where `allowReplayedControlApprovals` is set",
        _replayed_unblock,
        "R15",
        (SUCCEEDS, SPENT, SPENT),
        BLOCKED,
    ),
    Attack(
        "A modify replayed, where `allowReplayedControlApprovals` is set",
        _replayed_modify,
        "R15",
        (SUCCEEDS, SPENT, SPENT),
    ),
]


@pytest.mark.rule("R7")
@pytest.mark.rule("R14")
@pytest.mark.rule("R15")
@pytest.mark.rule("R18")
@pytest.mark.usefixtures("lax")
@pytest.mark.parametrize("attack", attacks(TABLE))
def test_attacks_on_each_kind_of_key(hsm: HsmProcess, label: str, attack: Attack) -> None:
    judge_keys(hsm, label, attack)


@pytest.mark.rule("R15")
@pytest.mark.parametrize("attack", attacks(SWITCHED, profile=ONE_USER))
def test_the_switch_for_replays_reaches_documented_keys_only(lax: HsmProcess, label: str, attack: Attack) -> None:
    judge_keys(lax, label, attack)
