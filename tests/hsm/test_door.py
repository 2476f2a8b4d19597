"""The one door (R3): who may open it, and what a protected key does for whom."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import keyturn.hsm
from keyturn.hsm import protocol
from keyturn.ska.actions import Action
from keyturn.ska.messages import ApprovalToken
from keyturn.ska.policy import Policy, Rule, encode_policy
from keyturn_testing.keys import P256, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.raw_line import RawLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keyturn_testing.hsm_process import HsmProcess

ADA = Officer("ada")
ECDSA = "SHA256_WITH_ECDSA"
ROOM = Path(keyturn.hsm.__file__).parent

ALLOWED_USERS = {
    # Who may read a sealed private key of a caller, parse one, make one.
    "open_private_key": {"store.py", "door.py"},
    "private_key_from_stored": {"door.py"},
    "private_key_from_der": set(),
    "load_der_private_key": {"system_keys.py"},
    "load_pem_private_key": set(),
    "private_bytes": {"system_keys.py"},
    "generate": {"worker.py", "making.py"},
    "generate_secret": {"worker.py"},
    "private_key_to_der": {"worker.py"},
    "generate_private_key": {"system_keys.py", "self_test.py"},
    "derive_private_key": {"self_test.py"},
    "from_private_bytes": {"self_test.py"},
    "open_system_key": {"store.py", "system_keys.py"},
}
"""Names that yield private key material, to the modules of this room in which they may stand."""


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.FunctionDef | ast.alias):
            yield node.name


@pytest.mark.rule("R3")
def test_nobody_but_the_door_opens_private_keys() -> None:
    found: dict[str, set[str]] = {name: set() for name in ALLOWED_USERS}
    for file in ROOM.glob("**/*.py"):
        for name in _names(ast.parse(file.read_text())):
            if name in found:
                found[name].add(file.name)
    for name, users in found.items():
        assert users <= ALLOWED_USERS[name], f"{name} is used by {sorted(users - ALLOWED_USERS[name])}"
    assert "door.py" in found["open_private_key"]


@pytest.mark.rule("R3")
def test_within_the_door_the_decision_stands_before_the_key() -> None:
    tree = ast.parse((ROOM / "door.py").read_text())
    opener = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "open")
    lines = {
        node.attr: node.lineno
        for node in ast.walk(opener)
        if isinstance(node, ast.Attribute) and node.attr in {"require", "open_private_key"}
    }
    assert lines["require"] < lines["open_private_key"]


def _sign(label: str, approvals: list[bytes]) -> object:
    return protocol.Sign(operation_id(), label, b"x", ECDSA, "", approvals)


def _sign_digest(label: str, approvals: list[bytes]) -> object:
    return protocol.Sign(operation_id(), label, bytes(32), "NONE_WITH_ECDSA", "RAW", approvals)


def _sign_without_id(label: str, approvals: list[bytes]) -> object:
    return protocol.Sign(b"", label, b"x", ECDSA, "", approvals)


def _decrypt(label: str, approvals: list[bytes]) -> object:
    return protocol.Decrypt(operation_id(), label, b"x", "RSA_PADDING_OAEP_WITH_SHA256", None, None, 0, approvals)


def _unwrap(label: str, approvals: list[bytes]) -> object:
    new = f"{label}-unwrapped"
    return protocol.Unwrap(operation_id(), label, b"x", "RSA_WRAP_OAEP", new, {"decrypt": True}, approvals)


TOUCHING: list[Callable[[str, list[bytes]], object]] = [_sign, _sign_digest, _sign_without_id, _decrypt, _unwrap]
"""Every call of the protocol that touches a caller's private key, as functions of label and approvals."""


@pytest.mark.rule("R3")
@pytest.mark.parametrize("call", TOUCHING)
def test_a_protected_key_does_nothing_without_approvals_or_with_those_for_something_else(
    hsm: HsmProcess, label: str, call: Callable[[str, list[bytes]], object]
) -> None:
    policy = encode_policy(make_policy(quorum(1, ADA)))
    with RawLine(hsm.address) as line:
        made = line.ask(protocol.CreateKey(operation_id(), label, "EC", P256, 0, {"sign": True}, policy, blocked=False))
        assert isinstance(made, protocol.Attested)
        for approvals in ([], [ADA.approve_use(label, b"y")], [ADA.approve_modify(label, policy)], [b"", b"\0" * 99]):
            assert isinstance(line.ask(call(label, approvals)), protocol.Refused)
        assert isinstance(line.ask(_sign(label, [ADA.approve_use(label, b"x")])), protocol.Signed)


@pytest.mark.rule("R3")
def test_every_call_of_the_protocol_was_thought_of() -> None:
    """A call that is added must be put into one of these two sets, and into `TOUCHING` if it uses a private key."""
    without_private_key = {
        *(protocol.GetInfo, protocol.ListKeys, protocol.Lookup, protocol.Attest, protocol.CreateKey),
        *(protocol.DeleteKey, protocol.Modify, protocol.Verify, protocol.Stamp, protocol.GetStatistics),
        *(protocol.Block, protocol.Unblock, protocol.Withdraw),
    }
    touching = {type(call("x", [])) for call in TOUCHING}
    assert without_private_key | touching == set(protocol.Call.__args__)
    assert not without_private_key & touching


def _policy(use: Rule) -> Policy:
    return make_policy(use, modify=Rule.ALWAYS)


@pytest.mark.parametrize(
    ("use", "word"),
    [(Rule.ALWAYS, ""), (quorum(1, ADA), "approvals.missing")],
    ids=["always-fulfilled", "one officer"],
)
def test_an_empty_rule_needs_nobody_and_a_filled_one_does(hsm: HsmProcess, label: str, use: Rule, word: str) -> None:
    with RawLine(hsm.address) as line:
        policy = encode_policy(_policy(use))
        line.ask(protocol.CreateKey(operation_id(), label, "EC", P256, 0, {"sign": True}, policy, blocked=False))
        answer = line.ask(_sign(label, []))
        assert (answer.refusal if isinstance(answer, protocol.Refused) else "") == word


def test_a_blocked_key_refuses_even_with_all_approvals_and_an_open_one_accepts_them(
    hsm: HsmProcess, label: str
) -> None:
    policy = encode_policy(make_policy(quorum(1, ADA)))
    with RawLine(hsm.address) as line:
        for name, blocked in ((label, True), (f"{label}-open", False)):
            line.ask(protocol.CreateKey(operation_id(), name, "EC", P256, 0, {"sign": True}, policy, blocked=blocked))
        refused = line.ask(_sign(label, [ADA.approve_use(label, b"x")]))
        assert refused.refusal == "key.blocked"
        accepted = line.ask(_sign(f"{label}-open", [ADA.approve_use(f"{label}-open", b"x")]))
        assert isinstance(accepted, protocol.Signed)


def test_a_key_that_may_not_sign_refuses_and_one_that_may_signs(hsm: HsmProcess, label: str) -> None:
    with RawLine(hsm.address) as line:
        for name, attribute in ((label, "decrypt"), (f"{label}-sign", "sign")):
            line.ask(protocol.CreateKey(operation_id(), name, "EC", P256, 0, {attribute: True}, b"", blocked=False))
        assert line.ask(_sign(label, [])).refusal == "key.attribute"
        assert isinstance(line.ask(_sign(f"{label}-sign", [])), protocol.Signed)


@pytest.mark.rule("R8")
@pytest.mark.parametrize("size", [31, 33, 20])
def test_a_protected_key_takes_exact_digests_only(hsm: HsmProcess, label: str, size: int) -> None:
    policy = encode_policy(make_policy(quorum(1, ADA)))
    with RawLine(hsm.address) as line:
        line.ask(protocol.CreateKey(operation_id(), label, "EC", P256, 0, {"sign": True}, policy, blocked=False))

        def digest(length: int) -> object:
            payload = bytes(length)
            approvals = [ADA.approve_use(label, payload)]
            return line.ask(protocol.Sign(operation_id(), label, payload, "NONE_WITH_ECDSA", "", approvals))

        refused = digest(size)
        assert isinstance(refused, protocol.Refused)
        assert refused.refusal == "payload.digest-length"
        assert isinstance(digest(32), protocol.Signed)


def test_an_approval_for_use_serves_no_other_rule(hsm: HsmProcess, label: str) -> None:
    """Only `modify` of the two remaining rules has a call yet; block and unblock come with their own."""
    policy = encode_policy(make_policy(quorum(1, ADA)))
    with RawLine(hsm.address) as line:
        line.ask(protocol.CreateKey(operation_id(), label, "EC", P256, 0, {"sign": True}, policy, blocked=False))
        token = ApprovalToken(Action.USE, label.encode(), None, None, policy)
        refused = line.ask(protocol.Modify(operation_id(), label, policy, [ADA.approve(token)]))
        assert refused.bad_approvals == [(0, "approval.wrong-operation")]
        done = line.ask(protocol.Modify(operation_id(), label, policy, [ADA.approve_modify(label, policy)]))
        assert isinstance(done, protocol.Attested)
