"""Approvers whose keys the HSM makes: codes that work once, for a day and five tries, and the backup key (R23)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from keyturn.errors import KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.approver_state import CODE_LIFETIME, CODE_TRIES
from keyturn.hsm.approvers import KIND, approver
from keyturn.hsm.settings import HsmSettings, load_settings
from keyturn.ska.approver_secrets import BACKUP_PASSWORD, ONE_TIME_CODE, TRANSPORT_PASSWORD
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.policy import EMPTY_POLICY, Rule, encode_policy
from keyturn.ska.server_made import is_server_made
from keyturn_testing.approver_room import BACKUP_KEY, PASSWORD, TRANSPORT, ApproverRoom, opened, prepare, wrong_digits
from keyturn_testing.hsm_room import Room
from keyturn_testing.keys import operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ADA = Officer("ada")
GOVERNED = make_policy(quorum(1, ADA), modify=quorum(1, ADA))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with an open backup key."""
    return asyncio.run(prepare(tmp_path_factory.mktemp("open") / "store", None, onboarded=""))


@pytest_asyncio.fixture
async def room(tmp_path: Path, prepared: Path) -> AsyncIterator[ApproverRoom]:
    """An engine whose backup key may be open."""
    made = ApproverRoom(tmp_path / "store", copy_of=prepared)
    yield made
    await made.workers.close()
    made.close()


@pytest.mark.rule("R23")
async def test_r23_a_file_is_given_once_and_only_under_the_transport_password(room: ApproverRoom) -> None:
    code = await room.make("phone")
    package = room.bring("phone", code)
    file = opened(package)
    assert isinstance(file.key, rsa.RSAPrivateKey)
    assert file.cert is not None
    certificate = file.cert.certificate
    assert certificate.subject.rfc4514_string() == "CN=phone"
    assert file.key.public_key() == certificate.public_key()
    certificate.verify_directly_issued_by(certificate)
    (entry,) = room.ask(protocol.ListApprovers()).entries
    assert entry == ("phone", certificate.public_bytes(Encoding.DER), True)
    assert is_server_made(entry[1])
    assert not is_server_made(ADA.certificate)
    assert b"phone" not in package.payload
    again = room.bring("phone", code)
    assert (again.code, again.refusal) == ("INVALID_ONE_TIME_CODE", "approver.code-none")


@pytest.mark.rule("R23")
async def test_r23_a_code_is_good_for_a_day_and_five_tries_also_across_a_restart(room: ApproverRoom) -> None:
    code = await room.make("phone")
    for left in reversed(range(CODE_TRIES - 1)):
        refused = room.bring("phone", wrong_digits(code))
        assert refused.refusal == "approver.code-wrong"
        assert f"tries left: {left + 1}" in refused.message
    await room.workers.close()
    room.again()
    assert room.bring("phone", wrong_digits(code)).refusal == "approver.code-wrong"
    # Who guesses learns nothing more, and the right one does not count any more either.
    assert room.bring("phone", code).refusal == "approver.code-tries"
    renewed = room.ask(protocol.RenewApproverCode(operation_id(), "phone"))
    room.clock.advance(CODE_LIFETIME)
    assert room.bring("phone", renewed.code).refusal == "approver.code-expired"
    code = room.ask(protocol.RenewApproverCode(operation_id(), "phone")).code
    room.clock.advance(CODE_LIFETIME - 1)
    opened(room.bring("phone", code))


@pytest.mark.rule("R23", "R27")
async def test_r23_r27_of_codes_a_hash_is_kept_and_secrets_serve_where_they_were_sealed_for(
    room: ApproverRoom,
) -> None:
    call = protocol.CreateApprover(operation_id(), "phone", 2048, 30, room.sealed(BACKUP_PASSWORD, "phone", PASSWORD))
    code = (await room.say(call)).code
    kept = approver(room.engine._context, "phone")
    assert kept.code is not None
    assert kept.code.shown == ""
    assert code.encode() not in msgspec.msgpack.encode(kept)
    assert code not in repr(kept) + repr(kept.code) + repr(protocol.ApproverCode(code))
    # A repeated call is answered without it.
    assert (await room.say(call)).code == ""
    await room.make("tablet")
    brought = protocol.OnboardApprover(
        operation_id(),
        "phone",
        room.sealed(ONE_TIME_CODE, "phone", code),
        room.sealed(TRANSPORT_PASSWORD, "phone", TRANSPORT),
    )
    for swapped in (
        msgspec.structs.replace(brought, code=room.sealed(ONE_TIME_CODE, "tablet", code)),
        msgspec.structs.replace(brought, code=room.sealed(BACKUP_PASSWORD, "phone", code)),
        msgspec.structs.replace(brought, transport_password=room.sealed(TRANSPORT_PASSWORD, "tablet", TRANSPORT)),
    ):
        assert room.ask(swapped).refusal == "password.seal"
    package = room.ask(brought)
    opened(package)
    # Repeated, the call gives what it gave; another one with this code gives nothing.
    assert room.ask(brought) == package
    assert room.ask(msgspec.structs.replace(brought, operation_id=operation_id())).refusal == "approver.code-none"


@pytest.mark.rule("R6", "R23")
async def test_r6_r23_a_restored_store_brings_no_used_code_back(room: ApproverRoom, tmp_path: Path) -> None:
    from keyturn_testing.hsm_store import PASSPHRASE

    code = await room.make("phone")
    room.store.backup(tmp_path / "backup.ktb")
    opened(room.bring("phone", code))
    await room.workers.close()
    room.close()
    room.store.restore(tmp_path / "backup.ktb", room.directory, PASSPHRASE, clock=room.clock, overwrite=True)
    room.open()
    assert room.bring("phone", code).refusal == "approver.code-expired"
    opened(room.bring("phone", room.ask(protocol.RenewApproverCode(operation_id(), "phone")).code))


@pytest.mark.rule("R6", "R23")
async def test_r6_r23_a_store_that_was_put_back_gives_no_files(room: ApproverRoom) -> None:
    code = await room.make("phone")
    with room.store.change() as change:
        change.mark_rolled_back(room.store.restore_epoch, room.store.state_counter + 100)
    sealed = room.sealed(BACKUP_PASSWORD, "tablet", PASSWORD)
    for refused in (
        room.bring("phone", code),
        room.ask(protocol.RenewApproverCode(operation_id(), "phone")),
        room.ask(protocol.CreateApprover(operation_id(), "tablet", 2048, 30, sealed)),
    ):
        assert refused.refusal == "store.rolled-back"
    with room.store.change() as change:
        change.accept_rollback()
    # It may have been used in what was lost.
    assert room.bring("phone", code).refusal == "approver.code-expired"
    opened(room.bring("phone", room.ask(protocol.RenewApproverCode(operation_id(), "phone")).code))


@pytest.mark.rule("R23")
async def test_r23_a_deleted_approver_leaves_neither_key_nor_code(room: ApproverRoom) -> None:
    code = await room.make("phone")
    assert isinstance(room.ask(protocol.DeleteApprover(operation_id(), "phone")), protocol.Done)
    assert room.store.object(KIND, "phone") is None
    for call in (
        protocol.DeleteApprover(operation_id(), "phone"),
        protocol.RenewApproverCode(operation_id(), "phone"),
        protocol.GetRestoration("phone", "restore"),
    ):
        refused = room.ask(call)
        assert (refused.code, refused.refusal) == ("APPROVER_NOT_EXISTENT", "approver.unknown")
    fresh = await room.make("phone")
    if fresh != code:
        assert room.bring("phone", code).refusal == "approver.code-wrong"
    opened(room.bring("phone", fresh))


@pytest.mark.rule("R23")
async def test_r23_two_of_a_name_made_at_once_are_one(room: ApproverRoom) -> None:
    sealed = room.sealed(BACKUP_PASSWORD, "phone", PASSWORD)
    first: Any = room.engine.handle(protocol.CreateApprover(operation_id(), "phone", 2048, 30, sealed), "test")
    refused = room.ask(protocol.CreateApprover(operation_id(), "phone", 2048, 30, sealed))
    assert (refused.code, refused.refusal) == ("APPROVER_ALREADY_EXISTING", "approver.exists")
    opened(room.bring("phone", (await first).code))


@pytest.mark.rule("R3", "R23")
async def test_r3_r23_the_backup_key_serves_for_nothing_else(room: ApproverRoom) -> None:
    wrapped = b"\x01" * 384
    attributes = {"decrypt": True}
    for call in (
        protocol.Unwrap(operation_id(), BACKUP_KEY, wrapped, "RSA_WRAP_OAEP", "out", attributes, []),
        protocol.Encrypt(BACKUP_KEY, b"x", "RSA_PADDING_OAEP"),
        protocol.DeleteKey(operation_id(), BACKUP_KEY),
        protocol.ExportKey(BACKUP_KEY),
        protocol.ChangePassword(operation_id(), BACKUP_KEY, b"", b""),
        protocol.CheckPassword(BACKUP_KEY),
        protocol.AttachCertificate(operation_id(), BACKUP_KEY, b""),
    ):
        assert room.ask(call).refusal == "backup-key.reserved", call
    assert isinstance(room.ask(protocol.Attest(BACKUP_KEY)), protocol.Attested)
    assert isinstance(room.ask(protocol.Block(operation_id(), BACKUP_KEY, [])), protocol.Attested)
    # What is wrapped needs its public part only; what is restored, the key.
    opened(room.bring("phone", await room.make("phone")))
    refused = await room.say(room.restoration("phone"))
    assert refused.refusal == "key.blocked"
    assert isinstance(room.ask(protocol.Unblock(operation_id(), BACKUP_KEY, [])), protocol.Attested)
    opened(room.bring("phone", await room.restored(room.restoration("phone"))))


@pytest.mark.rule("R23")
async def test_r23_the_backup_key_is_not_open_unless_that_is_allowed_and_attested(tmp_path: Path) -> None:
    room = ApproverRoom(tmp_path / "store", GOVERNED)
    try:
        sealed = room.sealed(BACKUP_PASSWORD, "phone", PASSWORD)

        def refusal() -> str:
            call = protocol.CreateApprover(operation_id(), "phone", 2048, 30, sealed)
            word: str = room.ask(call).refusal
            return word

        assert refusal() == "backup-key.missing"
        form = protocol.CreateKey(
            operation_id(), BACKUP_KEY, "RSA", "", 3072, {"unwrap": True}, encode_policy(GOVERNED), blocked=False
        )
        for odd in (
            msgspec.structs.replace(form, attributes={"unwrap": True, "decrypt": True}),
            msgspec.structs.replace(form, attributes={"unwrap": True, "destroyable": True}),
            msgspec.structs.replace(form, attributes={"unwrap": True, "singleUse": True}),
            msgspec.structs.replace(form, key_size=2048),
            msgspec.structs.replace(form, policy=b""),
        ):
            assert room.ask(msgspec.structs.replace(odd, operation_id=operation_id())).refusal == "backup-key.form"
        open_modify = encode_policy(make_policy(quorum(1, ADA), modify=Rule.ALWAYS))
        assert isinstance(await room.say(msgspec.structs.replace(form, policy=open_modify)), protocol.Attested)
        assert refusal() == "backup-key.open"
        modify = protocol.Modify(operation_id(), BACKUP_KEY, encode_policy(EMPTY_POLICY), [])
        assert isinstance(room.ask(modify), protocol.Attested)
        assert refusal() == "backup-key.open"
        modify = protocol.Modify(operation_id(), BACKUP_KEY, encode_policy(GOVERNED), [])
        attested = room.ask(modify)
        assert parse_attestation(attested.xml).switches == ()
        opened(room.bring("phone", await room.make("phone")))
        weakened = HsmSettings(data_dir="x", backup_key_name=BACKUP_KEY, allow_open_backup_key=True)
        assert weakened.weakening_switches == ("allowOpenBackupKey",)
    finally:
        await room.workers.close()
        room.close()


@pytest.mark.rule("R23")
async def test_r23_an_hsm_without_a_backup_key_makes_no_keys_for_approvers(tmp_path: Path) -> None:
    room = Room(tmp_path / "store")
    try:
        for call in (
            protocol.CreateApprover(operation_id(), "phone", 2048, 30, b"x"),
            protocol.RenewApproverCode(operation_id(), "phone"),
            protocol.OnboardApprover(operation_id(), "phone", b"x", b"x"),
            protocol.ListApprovers(),
            protocol.DeleteApprover(operation_id(), "phone"),
            protocol.GetRestoration("phone", "restore"),
            protocol.GetRestoredCode("phone", operation_id()),
        ):
            refused = room.ask(call)
            assert (refused.code, refused.refusal) == ("UNSUPPORTED_OPERATION", "approver-management.hsm-off")
    finally:
        room.close()


def test_settings_of_the_backup_key_that_do_nothing_stop_the_start(tmp_path: Path) -> None:
    base: dict[str, object] = {"data_dir": str(tmp_path)}
    for wrong in (
        {"allow_open_backup_key": True},
        {"backup_key_name": "attestation-key"},
        {"backup_key_name": "a/b"},
    ):
        with pytest.raises(KeyturnError) as caught:
            load_settings(None, {**base, **wrong})
        assert caught.value.refusal == "config.invalid"
    both = {"backup_key_name": "backup", "allow_open_backup_key": True}
    assert load_settings(None, {**base, **both}).backup_key_name == "backup"
