"""Keys with `singleUse`: what was approved is done once, and whoever asks again gets the result of that time (R14)."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keyturn.crypto import registry
from keyturn.hsm import admin, protocol, single_use
from keyturn.hsm.container import Container
from keyturn.hsm.ledger import LedgerKind, last
from keyturn.hsm.ledger_view import look
from keyturn.hsm.merkle import AuthenticatedMap
from keyturn.hsm.migrations import STORE_VERSION
from keyturn.hsm.sealing import open_header
from keyturn.hsm.segments import ENTRY
from keyturn.hsm.state import open_root, seal_root
from keyturn.hsm.store import DATABASE_FILE
from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.messages import ApprovalToken, encode_approval
from keyturn.ska.policy import Rule, TimeUnit, encode_policy
from keyturn.ska.signatures import wrap_signature
from keyturn.ska.unwrap_flags import unwrap_payload_for
from keyturn_testing.hsm_actions import create_rsa, refused, stamp
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.hsm_room import Room
from keyturn_testing.hsm_store import PASSPHRASE
from keyturn_testing.keys import P256, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.raw_line import RawLine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.hsm.client import HsmClient
    from keyturn.ska.policy import Policy

ADA, BEN, EVE, DAN = (Officer(name) for name in ("ada", "ben", "eve", "dan"))
ALL = (ADA, BEN, EVE, DAN)
FOREVER = make_policy(quorum(2, *ALL))
MINUTE = make_policy(quorum(2, *ALL, timeout=60, unit=TimeUnit.SECONDS), modify=quorum(1, *ALL))
HOUR = make_policy(quorum(2, *ALL, timeout=3600, unit=TimeUnit.SECONDS), modify=quorum(1, *ALL))
ECDSA = "SHA256_WITH_ECDSA"
PAYLOAD = b"pay the miller"

pytestmark = pytest.mark.rule("R14")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path / "store")
    made.create("k", MINUTE, singleUse=True)
    made.clock.advance(5)
    yield made
    made.close()


def sign(token: ApprovalToken | bytes, *signers: Officer, **changes: Any) -> protocol.Sign:
    approvals = [officer.approve(token) for officer in signers or (ADA, BEN)]
    call = protocol.Sign(operation_id(), "k", PAYLOAD, ECDSA, "", approvals)
    return msgspec.structs.replace(call, **changes)


def words(answer: protocol.Refused) -> set[str]:
    assert isinstance(answer, protocol.Refused), answer
    return {word for _, word in answer.bad_approvals}


def uses(room: Room, label: str = "k") -> int:
    return parse_attestation(room.ask(protocol.Attest(label)).xml).key_use_count


def modify(room: Room, policy: Policy) -> Any:
    blob = encode_policy(policy)
    return room.ask(protocol.Modify(operation_id(), "k", blob, [ADA.approve(room.stamp("k", Action.MODIFY, blob))]))


# --- once, and its result again --------------------------------------------------------------------------


def test_what_was_approved_is_done_once_and_a_repeat_gets_the_result_of_that_time(room: Room) -> None:
    token = room.stamp("k", Action.USE, PAYLOAD)
    first = room.ask(sign(token))
    assert isinstance(first, protocol.Signed)
    assert room.ask(sign(token)) == first
    # Others who approved the same do not make it another approval.
    assert room.ask(sign(token, EVE, DAN)) == first
    assert uses(room) == 1
    # A new timestamp makes it another one.
    room.clock.advance(1)
    second = room.ask(sign(room.stamp("k", Action.USE, PAYLOAD)))
    assert isinstance(second, protocol.Signed)
    assert second != first
    assert uses(room) == 2


def test_a_key_without_the_attribute_is_used_again_as_documented(room: Room) -> None:
    room.create("plain", MINUTE)
    token = room.stamp("plain", Action.USE, PAYLOAD)
    assert room.ask(sign(token, label="plain")) != room.ask(sign(token, label="plain"))
    assert uses(room, "plain") == 2


def test_the_result_comes_back_after_a_restart_too(room: Room) -> None:
    token = room.stamp("k", Action.USE, PAYLOAD)
    first = room.ask(sign(token))
    room.again()
    assert room.ask(sign(token)) == first
    assert uses(room) == 1


def as_version_4(directory: Path) -> None:
    """Put a store back to the version in which consumed statements stood in the ledger, by their first 17 bits."""
    with closing(Container(directory / DATABASE_FILE)) as container:
        _, header = container.read_header()
        sealing = open_header(header, PASSPHRASE)
        root = open_root(sealing, container.read_root(), STORE_VERSION)
        ledger = AuthenticatedMap("ledger")
        rows = dict(container.read_rows("ledger"))
        for identity, content in container.read_rows("consumed"):
            uuid = identity.partition(b"/")[0]
            for offset in range(0, len(content), ENTRY):
                entry = content[offset : offset + ENTRY]
                rows[uuid + b"/use/" + entry[:2] + bytes([entry[2] & 0x80])] = entry
        ledger.load(rows.items())
        later = ("consumed", "objects")
        maps = {name: map_ for name, map_ in root.maps.items() if name not in later} | {"ledger": ledger.root()}
        with container.transaction() as file:
            for identity, content in rows.items():
                container.insert("ledger", identity, content)
            for table in later:
                file.execute(f"DROP TABLE {table}")
            container.set_version(4)
            container.replace_root(seal_root(sealing, msgspec.structs.replace(root, maps=maps), 4))


def test_what_was_used_up_before_segments_changed_does_not_serve_again(room: Room) -> None:
    tokens = []
    for _ in range(8):  # Of as many statements hardly all stand where they stood.
        room.clock.advance(1)
        tokens.append(room.stamp("k", Action.USE, PAYLOAD))
    calls = [sign(token) for token in tokens]
    first = [room.ask(call) for call in calls]
    room.store.close()
    as_version_4(room.directory)
    room.again()
    assert uses(room) == 8
    for token, result in zip(tokens, first, strict=True):
        assert room.ask(sign(token)) == result
        assert words(room.ask(sign(token, algorithm="SHA512_WITH_ECDSA"))) == {"approval.spent"}
    assert uses(room) == 8
    room.clock.advance(1)
    assert isinstance(room.ask(sign(room.stamp("k", Action.USE, PAYLOAD))), protocol.Signed)
    assert uses(room) == 9


@pytest.mark.parametrize(
    "changes",
    [{"algorithm": "SHA512_WITH_ECDSA"}, {"signature_type": "RAW"}, {"request_id": "another-request"}],
    ids=lambda changes: next(iter(changes)),
)
def test_another_call_under_the_same_approvals_approval_spent(room: Room, changes: dict[str, str]) -> None:
    """What the documented approval leaves open is no way to a second result, either."""
    token = room.stamp("k", Action.USE, PAYLOAD)
    first = room.ask(sign(token))
    refused = room.ask(sign(token, **changes))
    assert (refused.code, refused.refusal, words(refused)) == ("IN_HSM", "approval.spent", {"approval.spent"})
    assert room.ask(sign(token)) == first
    room.clock.advance(1)
    assert isinstance(room.ask(sign(room.stamp("k", Action.USE, PAYLOAD), **changes)), protocol.Signed)


async def test_one_approval_is_a_signature_or_a_decryption_and_not_both(client: HsmClient, label: str) -> None:
    """The kind is not part of the documented approval; single use makes it one act all the same."""
    await create_rsa(client, label, MINUTE, sign=True, decrypt=True, singleUse=True)
    facts = await client.lookup(label)
    secret = load_der_public_key(facts.public_key)
    assert isinstance(secret, RSAPublicKey)
    data = secret.encrypt(b"attack at dawn", OAEP(MGF1(SHA256()), SHA256(), None))
    token = ApprovalToken(Action.USE, label.encode(), *await stamp(client, label, Action.USE, data), data)
    approvals = [ADA.approve(token), BEN.approve(token)]
    oaep = "RSA_PADDING_OAEP_WITH_SHA256"
    first = await client.decrypt(operation_id(), label, data, oaep, approvals=approvals)
    assert first.data == b"attack at dawn"
    assert await client.decrypt(operation_id(), label, data, oaep, approvals=approvals) == first
    refusal = await refused(client.sign(operation_id(), label, data, "SHA256_WITH_RSA", approvals=approvals))
    assert refusal.refusal == "approval.spent"
    token = ApprovalToken(Action.USE, label.encode(), *await stamp(client, label, Action.USE, data), data)
    approvals = [ADA.approve(token), BEN.approve(token)]
    await client.sign(operation_id(), label, data, "SHA256_WITH_RSA", approvals=approvals)


async def test_a_repeated_unwrap_attests_the_key_of_that_time_and_makes_no_second_one(
    client: HsmClient, label: str
) -> None:
    await create_rsa(client, label, MINUTE, unwrap=True, singleUse=True)
    public = load_der_public_key((await client.lookup(label)).public_key)
    assert isinstance(public, RSAPublicKey)
    wrapped = public.encrypt(bytes(32), OAEP(MGF1(SHA1()), SHA1(), None))  # noqa: S303 - The documented default.
    attributes = {"decrypt": True}
    payload = unwrap_payload_for(attributes, wrapped, f"{label}-new")
    token = ApprovalToken(Action.USE, label.encode(), *await stamp(client, label, Action.USE, payload), payload)
    approvals = [ADA.approve(token), BEN.approve(token)]

    async def unwrap() -> protocol.Attested:
        return await client.unwrap(
            operation_id(),
            label,
            wrapped,
            "RSA_WRAP_OAEP",
            f"{label}-new",
            attributes=attributes,
            approvals=approvals,
        )

    first = await unwrap()
    assert await unwrap() == first
    assert (await client.lookup(f"{label}-new")).generation == 1


def test_too_few_approvals_of_a_served_statement_get_nothing(room: Room) -> None:
    token = room.stamp("k", Action.USE, PAYLOAD)
    room.ask(sign(token))
    refused = room.ask(sign(token, ADA))
    assert (refused.refusal, words(refused)) == ("approvals.missing", {"approval.spent"})


def test_a_blocked_key_gives_no_stored_result_out(room: Room) -> None:
    token = room.stamp("k", Action.USE, PAYLOAD)
    first = room.ask(sign(token))
    block = room.stamp("k", Action.BLOCK)
    room.ask(protocol.Block(operation_id(), "k", [ADA.approve(block), BEN.approve(block)]))
    assert room.ask(sign(token)).refusal == "key.blocked"
    room.clock.advance(1)
    lift = room.stamp("k", Action.UNBLOCK)
    room.ask(protocol.Unblock(operation_id(), "k", [ADA.approve(lift), BEN.approve(lift)]))
    assert room.ask(sign(token)) == first


def test_a_refusal_uses_nothing_up(room: Room) -> None:
    token = room.stamp("k", Action.USE, PAYLOAD)
    before = room.store.ledger_size
    assert room.ask(sign(token, ADA)).refusal == "approvals.missing"
    assert isinstance(room.ask(sign(token, algorithm="SHA256_WITH_RSA")), protocol.Refused)
    assert room.store.ledger_size == before
    assert isinstance(room.ask(sign(token)), protocol.Signed)


def test_the_receipt_of_a_repeat_is_the_one_of_the_execution(room: Room) -> None:
    token = room.stamp("k", Action.USE, PAYLOAD)
    first = room.ask(sign(token, request_id="r-1"))
    assert first.receipt
    assert room.ask(sign(token, request_id="r-1")) == first


# --- one statement ---------------------------------------------------------------------------------------


def test_approvals_of_two_statements_approvals_mixed_statements(room: Room) -> None:
    """Split quorum: A and B, C and D would be four approvals for four combinations."""
    one = room.stamp("k", Action.USE, PAYLOAD)
    room.clock.advance(1)
    other = room.stamp("k", Action.USE, PAYLOAD)
    call = sign(one, approvals=[ADA.approve(one), BEN.approve(other)])
    assert room.ask(call).refusal == "approvals.mixed-statements"
    more = [*call.approvals, EVE.approve(one)]
    assert isinstance(room.ask(sign(one, approvals=more)), protocol.Signed)
    # The other statement is not used up by it.
    assert isinstance(room.ask(sign(other)), protocol.Signed)
    assert uses(room) == 2


def test_a_statement_without_a_timestamp_approval_not_single_use(room: Room) -> None:
    room.create("open", FOREVER, singleUse=True)
    bare = ApprovalToken(Action.USE, b"open", None, None, PAYLOAD)
    assert words(room.ask(sign(bare, label="open"))) == {"approval.not-single-use"}
    assert isinstance(room.ask(sign(room.stamp("open", Action.USE, PAYLOAD), label="open")), protocol.Signed)


@pytest.mark.parametrize("single", [True, False])
def test_a_rule_without_approvals_has_nothing_to_use_up_policy_single_use_open(room: Room, single: bool) -> None:
    policy = make_policy(Rule.ALWAYS, modify=quorum(1, ADA), unblock=quorum(1, ADA))
    made = room.ask(
        protocol.CreateKey(
            operation_id(), "free", "EC", P256, 0, {"sign": True, "singleUse": single}, encode_policy(policy), False
        )
    )
    assert isinstance(made, protocol.Refused) == single
    assert not single or made.refusal == "policy.single-use-open"
    # Nor does it become one later.
    assert modify(room, policy).refusal == "policy.single-use-open"
    assert isinstance(modify(room, HOUR), protocol.Attested)


# --- bounded memory --------------------------------------------------------------------------------------


def use_up(room: Room, seconds: int, label: str = "k") -> list[protocol.Sign]:
    """Use the key once a second; the calls."""
    calls = []
    for _ in range(seconds):
        room.clock.advance(1)
        call = sign(room.stamp(label, Action.USE, PAYLOAD), label=label)
        assert isinstance(room.ask(call), protocol.Signed)
        calls.append(call)
    return calls


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """All statements in one segment, so that each use meets all that went before."""
    monkeypatch.setattr(single_use, "segment_of", lambda _: bytes(2))
    monkeypatch.setattr("keyturn.hsm.ledger.segment_of", lambda _: bytes(2))


@pytest.mark.usefixtures("narrow")
def test_what_closed_is_forgotten_and_never_counts_again(room: Room) -> None:
    calls = use_up(room, 5)
    newest = int(room.clock.now())
    key = room.store.key("k")
    assert key is not None
    assert room.store.consumed_count(key.uuid) == 5
    room.clock.advance(61)
    use_up(room, 1)
    assert room.store.consumed_count(key.uuid) == 1
    assert last(room.store, key.uuid, LedgerKind.FORGOTTEN) == newest
    # A longer window opens it for nobody who was forgotten.
    assert isinstance(modify(room, HOUR), protocol.Attested)
    for call in calls:
        again = msgspec.structs.replace(call, operation_id=operation_id())
        assert words(room.ask(again)) == {"approval.stale-timestamp"}
    assert isinstance(room.ask(calls[0]), protocol.Signed)  # Under its operation id the result is still there.


@pytest.mark.usefixtures("narrow")
def test_a_window_made_longer_in_time_keeps_what_was_used_in_memory(room: Room) -> None:
    calls = use_up(room, 3)
    assert isinstance(modify(room, HOUR), protocol.Attested)
    room.clock.advance(61)
    use_up(room, 1)
    for call in calls:
        again = msgspec.structs.replace(call, operation_id=operation_id())
        assert room.ask(again) == room.ask(call)
    assert uses(room) == 4


@pytest.mark.usefixtures("narrow")
def test_a_clock_set_back_brings_nothing_back(room: Room) -> None:
    start = room.clock.now()
    calls = use_up(room, 3)
    unused = sign(room.stamp("k", Action.USE, b"other"), payload=b"other")
    room.clock.advance(63)
    use_up(room, 1)
    room.clock.set(start + 10)
    room.guard.confirm(room.clock.now(), backwards=True)
    room.again()
    for call in calls:
        again = msgspec.structs.replace(call, operation_id=operation_id())
        assert words(room.ask(again)) == {"approval.stale-timestamp"}
    # Its time was over, too, whether it was used or not; the cure is a new timestamp.
    assert words(room.ask(unused)) == {"approval.stale-timestamp"}
    room.clock.advance(1)
    assert isinstance(room.ask(sign(room.stamp("k", Action.USE, PAYLOAD))), protocol.Signed)
    assert uses(room) == 5


@pytest.mark.usefixtures("narrow")
def test_what_is_open_is_not_forgotten_at_the_last_second(room: Room) -> None:
    """60 seconds and the last one (decisions 18): at 60 it counts, at 61 it does not."""
    (call,) = use_up(room, 1)
    room.clock.advance(60)
    assert isinstance(room.ask(msgspec.structs.replace(call, operation_id=operation_id())), protocol.Signed)
    room.clock.advance(1)
    again = msgspec.structs.replace(call, operation_id=operation_id())
    assert room.ask(again).refusal in {"approvals.too-late", "approvals.missing"}
    assert uses(room) == 1


def test_statements_without_an_end_are_kept_until_the_ledger_is_full_ledger_full(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_use, "MAX_CONSUMED", 3)
    room.create("open", make_policy(quorum(2, *ALL), modify=quorum(1, ADA)), singleUse=True)
    calls = use_up(room, 3, "open")
    room.clock.advance(80 * 86_400)
    token = room.stamp("open", Action.USE, PAYLOAD)
    assert room.ask(sign(token, label="open")).refusal == "ledger.full"
    again = msgspec.structs.replace(calls[0], operation_id=operation_id())
    assert room.ask(again) == room.ask(calls[0])
    # The cure that the message names: a timeout, after which all of them are forgotten at once.
    blob = encode_policy(MINUTE)
    room.ask(protocol.Modify(operation_id(), "open", blob, [ADA.approve(room.stamp("open", Action.MODIFY, blob))]))
    room.clock.advance(single_use.SWEEP_PAUSE)
    assert isinstance(room.ask(sign(room.stamp("open", Action.USE, PAYLOAD), label="open")), protocol.Signed)
    key = room.store.key("open")
    assert key is not None
    assert room.store.consumed_count(key.uuid) == 1


def test_a_result_that_is_not_kept_is_not_made_anew_approval_spent(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyturn.hsm.pending.MAX_OPERATIONS", 2)
    calls = use_up(room, 3)
    refused = room.ask(msgspec.structs.replace(calls[0], operation_id=operation_id()))
    assert refused.refusal == "approval.spent"
    assert "not kept any more" in refused.message
    assert room.ask(calls[0]).refusal == "approval.spent"
    assert isinstance(room.ask(msgspec.structs.replace(calls[1], operation_id=operation_id())), protocol.Signed)
    assert uses(room) == 3


def test_the_ledger_goes_with_its_key_and_its_successor_begins_anew(room: Room) -> None:
    room.create("gone", MINUTE, singleUse=True, destroyable=True)
    use_up(room, 2, "gone")
    size = room.store.ledger_size
    key = room.store.key("gone")
    assert key is not None
    room.ask(protocol.DeleteKey(operation_id(), "gone"))
    assert room.store.ledger_size == size  # It lies sealed, and may come back (R28).
    room.engine.deleted_keys.erase(key.uuid)
    assert room.store.ledger_size == size - 2


# --- looking into it -------------------------------------------------------------------------------------


def test_the_administrators_view_goes_through_all_pages(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyturn.hsm.ledger_view.PAGE", 2)
    calls = use_up(room, 5)
    modify(room, HOUR)
    seen: list[admin.LedgerLine] = []
    after = b""
    while not seen or after:
        page = look(room.store, admin.GetLedger("k", after))
        assert page.keys[0].counts == {"modified": 1, "use": 5}
        seen += page.lines
        after = page.next
    statements = {line.statement for line in seen if line.kind == "use"}
    assert len(statements) == 5
    assert {line.operation for line in seen if line.kind == "use"} == {call.operation_id for call in calls}
    assert all(line.kept for line in seen if line.kind == "use")
    assert [line.kind for line in seen if not line.statement] == ["modified"]
    for label in ("a", "b", "c"):
        room.create(label, MINUTE)
    first = look(room.store, admin.GetLedger())
    second = look(room.store, admin.GetLedger(after=first.next))
    assert [key.label for key in first.keys + second.keys] == ["a", "b", "c", "k"]
    assert [key.single_use for key in second.keys] == [False, True]


def keyturn(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "keyturn", *arguments], capture_output=True, text=True, check=False)


def test_keyturn_hsm_ledger_tells_what_was_used(tmp_path: Path) -> None:
    with HsmProcess(tmp_path / "hsm") as hsm, RawLine(hsm.address) as line:
        attributes = {"sign": True, "singleUse": True}
        blob = encode_policy(MINUTE)
        made = line.ask(protocol.CreateKey(operation_id(), "k", "EC", P256, 0, attributes, blob, False))
        assert isinstance(made, protocol.Attested)
        stamped = line.ask(protocol.Stamp("k", 1, PAYLOAD))
        token = ApprovalToken(
            Action.USE, b"k", stamped.timestamp, wrap_signature(stamped.algorithm, stamped.signature), PAYLOAD
        )
        call = sign(token)
        signed = line.ask(call)
        registry.verify(parse_attestation(made.xml).public_key, ECDSA, PAYLOAD, signed.signature)
        where = ("--admin-socket", str(hsm.admin_socket))
        shown = keyturn("hsm", "ledger", *where)
        assert shown.returncode == 0, shown.stderr
        assert "k (single use)" in shown.stdout
        assert "use: 1" in shown.stdout
        lines = keyturn("hsm", "ledger", "--label", "k", *where).stdout
        statement = sha256(encode_approval(token)).hexdigest()
        assert statement[:16] in lines
        assert "result kept" in lines
        (found,) = json.loads(keyturn("hsm", "ledger", "--label", "k", "--json", *where).stdout)["keys"]
        assert (found["singleUse"], found["counts"]) == (True, {"use": 1})
        (use,) = found["lines"]
        assert (use["statement"], use["operation"]) == (statement, call.operation_id.hex())
        assert use["resultKept"]
        unknown = keyturn("hsm", "ledger", "--label", "nobody", *where)
        assert unknown.returncode != 0
        assert "does not exist" in unknown.stderr
