"""The one door (R3): who may open it, and what a protected key does for whom."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

import keyturn.hsm
from keyturn.crypto.certificates import Usages, make_name, make_request
from keyturn.hsm import protocol
from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.messages import ApprovalToken
from keyturn.ska.policy import Policy, Rule, encode_policy
from keyturn.ska.unwrap_flags import unwrap_payload_for
from keyturn_testing.hsm_room import Room
from keyturn_testing.keys import P256, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.raw_line import RawLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keyturn_testing.hsm_process import HsmProcess

ADA = Officer("ada")
ECDSA = "SHA256_WITH_ECDSA"
POLICY = encode_policy(make_policy(quorum(1, ADA)))
ROOM = Path(keyturn.hsm.__file__).parent

ALLOWED_USERS = {
    # Who may read a sealed private key of a caller, parse one, make one.
    "open_private_key": {"store.py", "door.py"},
    # The worker reads what it was handed for one signature that the door allowed (ADR 95).
    "private_key_from_stored": {"door.py", "worker.py"},
    "decode_extended": {"door.py"},
    "split_extended": {"door.py"},
    "master_from_seed": {"making.py", "deriving.py"},
    "encode_extended": {"making.py", "deriving.py"},
    "private_key_from_der": set(),
    "load_der_private_key": {"system_keys.py"},
    "load_pem_private_key": set(),
    "private_bytes": {"system_keys.py"},
    "generate": {"worker.py", "making.py"},
    "generate_secret": {"worker.py"},
    # The two that let a key leave, after the door yielded it as for an export (R4).
    "private_key_to_der": {"transfer.py", "enciphering.py"},
    "private_key_to_stored": {"worker.py", "importing.py"},
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
    # Nor does anything stand in the table that is not needed.
    assert found == ALLOWED_USERS


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


def _sign(label: str, approvals: list[bytes]) -> protocol.Sign:
    return protocol.Sign(operation_id(), label, b"x", ECDSA, "", approvals)


def _sign_digest(label: str, approvals: list[bytes]) -> protocol.Sign:
    return protocol.Sign(operation_id(), label, bytes(32), "NONE_WITH_ECDSA", "RAW", approvals)


CIPHERTEXT = bytes(255) + b"\x02"
"""A number below every modulus: decrypts to something without padding."""
WRAPPED = b"\x01" * 256
"""With the implicit rejection of PKCS#1 it unwraps to a key that nobody knows."""
INSIDE = {"decrypt": True}
PUBLIC_KEYS: dict[str, bytes] = {}
"""Public keys by label, for requests for certificates of them."""


def _decrypt(label: str, approvals: list[bytes]) -> protocol.Decrypt:
    return protocol.Decrypt(operation_id(), label, CIPHERTEXT, "RSA_PADDING_PKCS", None, None, 0, approvals)


def _decrypt_raw(label: str, approvals: list[bytes]) -> protocol.Decrypt:
    return protocol.Decrypt(operation_id(), label, CIPHERTEXT, "RSA_NO_PADDING", None, None, 0, approvals)


def _request_of(label: str) -> bytes:
    spki = PUBLIC_KEYS.get(label) or ADA.spki
    return make_request(make_name({"commonName": "Ada"}), spki, Usages())


def _certify(label: str, approvals: list[bytes]) -> protocol.SignCertificate:
    payload = _request_of(label)
    return protocol.SignCertificate(operation_id(), label, "csr", payload, ECDSA, False, "", approvals)


def _unwrap(label: str, approvals: list[bytes]) -> protocol.Unwrap:
    return protocol.Unwrap(operation_id(), label, WRAPPED, "RSA_WRAP_PAD", f"{label}-in", INSIDE, approvals)


@dataclass(frozen=True)
class Touch:
    """A call that touches a caller's private key.

    Args:
        call: The call, as a function of label and approvals.
        attribute: What the key must be allowed to do.
        payload: What approvals must cover, by label.
        answer: What it gives.
        algorithm: Kind of key.
    """

    call: Callable[[str, list[bytes]], protocol.Call]
    attribute: str
    payload: Callable[[str], bytes]
    answer: type
    algorithm: str = "RSA"

    def create(self, line: RawLine, label: str, *, attribute: str = "", blocked: bool = False) -> None:
        curve, size = (P256, 0) if self.algorithm == "EC" else ("", 2048)
        attributes = {attribute or self.attribute: True}
        made = line.ask(
            protocol.CreateKey(operation_id(), label, self.algorithm, curve, size, attributes, POLICY, blocked=blocked)
        )
        assert isinstance(made, protocol.Attested), made
        PUBLIC_KEYS[label] = parse_attestation(made.xml).public_key


TOUCHING = {
    "sign": Touch(_sign, "sign", lambda _: b"x", protocol.Signed, "EC"),
    "sign a digest": Touch(_sign_digest, "sign", lambda _: bytes(32), protocol.Signed, "EC"),
    "certify": Touch(_certify, "sign", _request_of, protocol.Certified, "EC"),
    "decrypt": Touch(_decrypt, "decrypt", lambda _: CIPHERTEXT, protocol.Decrypted),
    "decrypt raw": Touch(_decrypt_raw, "decrypt", lambda _: CIPHERTEXT, protocol.Decrypted),
    "unwrap": Touch(
        _unwrap, "unwrap", lambda label: unwrap_payload_for(INSIDE, WRAPPED, f"{label}-in"), protocol.Attested
    ),
}
"""Every call of the protocol that touches a caller's private key."""

each_touch = pytest.mark.parametrize("touch", TOUCHING.values(), ids=TOUCHING)


@pytest.mark.rule("R3")
@each_touch
def test_a_protected_key_does_nothing_without_approvals_or_with_those_for_something_else(
    hsm: HsmProcess, label: str, touch: Touch
) -> None:
    with RawLine(hsm.address) as line:
        touch.create(line, label)
        good = ADA.approve_use(label, touch.payload(label))
        for approvals in (
            [],
            [ADA.approve_use(label, touch.payload(label) + b"y")],
            [ADA.approve_use(f"{label}-other", touch.payload(label))],
            [ADA.approve_modify(label, POLICY)],
            [Officer("eve").approve_use(label, touch.payload(label))],
            [b"", b"\0" * 99],
        ):
            refused = line.ask(touch.call(label, approvals))
            assert isinstance(refused, protocol.Refused)
            assert refused.refusal == "approvals.missing"
        assert isinstance(line.ask(touch.call(label, [good])), touch.answer)


@pytest.mark.rule("R3")
@each_touch
def test_a_blocked_key_refuses_every_use_even_with_all_approvals(hsm: HsmProcess, label: str, touch: Touch) -> None:
    with RawLine(hsm.address) as line:
        touch.create(line, label, blocked=True)
        call = touch.call(label, [ADA.approve_use(label, touch.payload(label))])
        assert line.ask(call).refusal == "key.blocked"
        unblock = ADA.approve(ApprovalToken(Action.UNBLOCK, label.encode()))
        assert isinstance(line.ask(protocol.Unblock(operation_id(), label, [unblock])), protocol.Attested)
        # A refusal was no execution: the very same call goes through now.
        assert isinstance(line.ask(call), touch.answer)


@pytest.mark.rule("R3")
@each_touch
def test_a_key_does_only_what_its_attributes_enable(hsm: HsmProcess, label: str, touch: Touch) -> None:
    with RawLine(hsm.address) as line:
        others = {"sign", "decrypt", "unwrap"} - {touch.attribute}
        touch.create(line, label, attribute=min(others))
        approvals = [ADA.approve_use(label, touch.payload(label))]
        assert line.ask(touch.call(label, approvals)).refusal == "key.attribute"


@pytest.mark.rule("R3")
def test_a_key_with_a_policy_is_used_with_an_operation_id_only(hsm: HsmProcess, label: str) -> None:
    with RawLine(hsm.address) as line:
        for name in ("sign", "decrypt"):
            touch, key = TOUCHING[name], f"{label}-{name}"
            touch.create(line, key)
            call = touch.call(key, [ADA.approve_use(key, touch.payload(key))])
            assert isinstance(call, protocol.Sign | protocol.Decrypt)
            without = msgspec.structs.replace(call, operation_id=b"")
            assert line.ask(without).refusal == "operation.id-missing"
            assert isinstance(line.ask(call), touch.answer)


@pytest.mark.rule("R3")
def test_every_call_of_the_protocol_was_thought_of() -> None:
    """A call that is added must be put into one of these two sets, and into `TOUCHING` if it uses a private key."""
    without_private_key = {
        protocol.AttachCertificate,
        *(protocol.GetInfo, protocol.ListKeys, protocol.Lookup, protocol.Attest, protocol.CreateKey),
        *(protocol.DeleteKey, protocol.Modify, protocol.Verify, protocol.Stamp, protocol.GetStatistics),
        *(protocol.Block, protocol.Unblock, protocol.Withdraw, protocol.Witness),
        *(protocol.PutObject, protocol.GetObject, protocol.DeleteObject, protocol.GetRandom, protocol.GetLog),
        *(protocol.DateWithRfc3161, protocol.MakeFileKey),
        # With public parts, or symmetric keys, which have no policy; what has one is never wrapped (R4):
        # tests/hsm/test_enciphering.py.
        *(protocol.Encrypt, protocol.Wrap),
        # Masters and public keys of children; their uses are Sign and the rest: tests/hsm/test_derived_keys*.py.
        *(protocol.ImportSeed, protocol.DeriveKey, protocol.GetAddress),
        # Touches one, and for keys with a policy never gets that far (R4): tests/hsm/test_file_keys.py.
        protocol.OpenFileKey,
        # The same holds for export; the others see no private key: tests/hsm/test_passwords.py, test_importing.py.
        *(protocol.ExportKey, protocol.ImportKey, protocol.CheckPassword, protocol.ChangePassword),
        # Backups are wrapped with a public part; what opens one is an Unwrap: tests/hsm/test_restoring.py.
        *(protocol.CreateApprover, protocol.RenewApproverCode, protocol.OnboardApprover, protocol.ListApprovers),
        *(protocol.DeleteApprover, protocol.GetRestoration, protocol.GetRestoredCode),
    }
    touching = {type(touch.call("x", [])) for touch in TOUCHING.values()}
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


@pytest.mark.parametrize("action", [Action.BLOCK, Action.UNBLOCK, Action.MODIFY])
def test_an_approval_for_use_serves_no_other_rule(hsm: HsmProcess, label: str, action: Action) -> None:

    def call(approvals: list[bytes]) -> protocol.Call:
        if action is Action.MODIFY:
            return protocol.Modify(operation_id(), label, POLICY, approvals)
        kind = protocol.Block if action is Action.BLOCK else protocol.Unblock
        return kind(operation_id(), label, approvals)

    with RawLine(hsm.address) as line:
        line.ask(protocol.CreateKey(operation_id(), label, "EC", P256, 0, {"sign": True}, POLICY, blocked=True))
        use = ADA.approve(ApprovalToken(Action.USE, label.encode(), None, None, POLICY))
        assert line.ask(call([use])).bad_approvals == [(0, "approval.wrong-operation")]
        payload = POLICY if action is Action.MODIFY else None
        right = ADA.approve(ApprovalToken(action, label.encode(), None, None, payload))
        assert isinstance(line.ask(call([right])), protocol.Attested)


@pytest.mark.rule("R8")
async def test_r8_a_protected_dsa_key_of_1024_bits_signs_no_digest_that_it_would_cut(tmp_path: Path) -> None:
    """An approval of one digest would be one of all that begin with the same 160 bits."""
    room = Room(tmp_path / "store", allow_weak_keys=True)

    async def create(label: str, bits: int, policy: bytes) -> None:
        call = protocol.CreateKey(operation_id(), label, "DSA", "", bits, {"sign": True}, policy, blocked=False)
        assert isinstance(await room.engine.handle(call, "test"), protocol.Attested)  # type: ignore[misc]  # Slow.

    def sign(label: str, payload: bytes, algorithm: str) -> str:
        approvals = [ADA.approve_use(label, payload)]
        answer = room.ask(protocol.Sign(operation_id(), label, payload, algorithm, "", approvals))
        return answer.refusal if isinstance(answer, protocol.Refused) else "signed"

    await create("weak", 1024, POLICY)
    await create("ordinary", 1024, b"")
    try:
        assert sign("weak", bytes(32), "NONE_WITH_DSA") == "algorithm.cut-digest"
        assert sign("weak", bytes(20), "NONE_WITH_DSA") == "algorithm.cut-digest"
        assert sign("weak", b"pay", "SHA256_WITH_DSA") == "signed"
        # Whoever needs nobody's approval may have digests cut, as documented.
        assert sign("ordinary", bytes(32), "NONE_WITH_DSA") == "signed"
    finally:
        await room.workers.close()
        room.close()
