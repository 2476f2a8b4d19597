"""The store from day to day: what changes is seen at once, is durable when it says so, and is there after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import pending
from keyturn.hsm.store import LAZY_USES, Store
from keyturn_testing.hsm_store import (
    CHEAP_KDF,
    PASSPHRASE,
    PRIVATE_KEY,
    add_key,
    create_store,
    input_digest,
    new_key,
    open_store,
    operation_id,
)

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.clock import ManualClock


def test_everything_is_there_after_a_restart(directory: Path, clock: ManualClock) -> None:
    store = create_store(directory, clock)
    instance = store.instance_id
    key = add_key(store, policy=b"a policy")
    with store.change() as change:
        change.put_operation(operation_id(1), input_digest(1), b"signature", time=1_700_000_001)
        change.count_use(key.uuid)
        change.advance_clock(1_700_000_500)
    store.close()

    again = open_store(directory, clock)
    assert again.instance_id == instance
    assert again.restore_epoch == 0
    assert again.key("treasury") == key
    assert again.labels() == ["treasury"]
    assert again.open_private_key(key) == PRIVATE_KEY
    assert again.uses(key.uuid) == 1
    assert again.clock_mark == 1_700_000_500
    operation = again.operation(operation_id(1))
    assert operation is not None
    assert operation.input_digest == input_digest(1)
    assert again.operation_result(operation) == b"signature"
    assert again.operation(operation_id(2)) is None
    again.close()


def test_a_change_is_seen_when_its_block_ends_and_not_before(store: Store) -> None:
    with store.change() as change:
        change.put_key(new_key(), PRIVATE_KEY)
        assert store.key("treasury") is None
    assert store.key("treasury") is not None
    assert store.pending
    store.commit_now()
    assert not store.pending


def test_a_change_that_fails_leaves_nothing(store: Store) -> None:
    def fail_half_way() -> None:
        with store.change() as change:
            change.put_key(new_key(), PRIVATE_KEY)
            change.put_operation(operation_id(1), input_digest(1), b"", time=1)
            _ = 1 // 0

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert store.key("treasury") is None
    assert store.operation(operation_id(1)) is None
    assert store.state_counter == 0
    assert not store.pending
    add_key(store)


def test_change_open_one_at_a_time(store: Store) -> None:
    with store.change() as change:
        change.put_key(new_key(), PRIVATE_KEY)
        with pytest.raises(KeyturnError) as refused:
            store.change()
        assert refused.value.refusal == "store.change-open"
    with store.change():
        pass


@pytest.mark.rule("R6")
def test_r6_the_state_counter_counts_change_sets_that_alter_keys(store: Store) -> None:
    with store.change() as change:
        one = change.put_key(new_key("one"), PRIVATE_KEY)
        other = change.put_key(new_key("other"), PRIVATE_KEY)
    assert store.state_counter == one.changed_at == other.changed_at == 1
    with store.change() as change:
        change.put_operation(operation_id(1), input_digest(1), b"", time=1)
        change.count_use(one.uuid)
    assert store.state_counter == 1
    with store.change() as change:
        changed = change.put_key(replace(one, blocked=True))
    assert store.state_counter == changed.changed_at == 2
    with store.change() as change:
        change.remove_key(other.uuid)
    assert store.state_counter == 3
    assert store.key("one") == changed


@pytest.mark.rule("R4")
def test_the_private_key_is_bound_to_every_public_field(store: Store) -> None:
    key = add_key(store, policy=b"two of three")
    with store.change() as change:
        current = change.put_key(replace(key, policy=b"three of three"))
    assert store.open_private_key(current) == PRIVATE_KEY
    for field, value in {
        "uuid": "another",
        "label": "another",
        "generation": 2,
        "attributes": {"sign": True, "destroyable": True, "extractable": True},
        "policy": b"",
        "blocked": True,
        "changed_at": 1,
        "public_key": b"another",
        "private_key": key.private_key,
    }.items():
        with pytest.raises(KeyturnError) as refused:
            store.open_private_key(replace(current, **{field: value}))
        assert refused.value.refusal == "store.seal-broken", field


def test_no_private_key(store: Store) -> None:
    with store.change() as change:
        public = change.put_key(new_key("public only"))
    with pytest.raises(KeyturnError) as refused:
        store.open_private_key(public)
    assert refused.value.refusal == "store.no-private-key"
    assert store.open_private_key(add_key(store)) == PRIVATE_KEY


@pytest.mark.rule("R18")
def test_r18_a_label_remembers_its_generations_when_its_keys_are_gone(directory: Path, store: Store) -> None:
    assert "treasury" not in store._state.labels
    assert store.next_generation("treasury") == 1
    first = add_key(store, policy=b"a policy")
    with store.change() as change:
        change.remove_key(first.uuid)
    second = add_key(store)
    store.close()

    again = open_store(directory)
    history = again._state.labels["treasury"]  # The root record covers both (R6), whoever asks for them.
    assert (history.generations, history.ever_protected) == (2, True)
    assert second.generation == 2
    assert second.uuid != first.uuid
    with again.change() as change:
        change.remove_key(second.uuid)
        change.put_key(new_key(generation=3), PRIVATE_KEY)
    assert again.next_generation("treasury") == 4
    again.close()


@pytest.mark.rule("R18")
@pytest.mark.parametrize("generation", [0, 1, 3])
def test_r18_wrong_generation(store: Store, generation: int) -> None:
    first = add_key(store)
    with store.change() as change:
        change.remove_key(first.uuid)
    with pytest.raises(KeyturnError) as refused, store.change() as change:
        change.put_key(replace(new_key(generation=2), generation=generation), PRIVATE_KEY)
    assert refused.value.refusal == "store.wrong-generation"
    add_key(store)


def test_a_label_in_use_is_refused_also_within_one_change(store: Store) -> None:
    add_key(store)
    with pytest.raises(KeyturnError) as refused, store.change() as change:
        change.put_key(replace(new_key(), uuid="another"), PRIVATE_KEY)
    assert refused.value.code is ErrorCode.KEY_ALREADY_EXISTING
    with store.change() as change:
        change.put_key(new_key("bank"), PRIVATE_KEY)
        with pytest.raises(KeyturnError) as refused:
            change.put_key(replace(new_key("bank"), uuid="another"), PRIVATE_KEY)
    assert refused.value.code is ErrorCode.KEY_ALREADY_EXISTING
    assert store.labels() == ["bank", "treasury"]


def test_a_record_of_wrong_type_is_refused_before_it_spoils_the_store(directory: Path, store: Store) -> None:
    with pytest.raises(TypeError), store.change() as change:
        change.put_key(replace(new_key(), created=1.5), PRIVATE_KEY)
    add_key(store)
    store.close()
    open_store(directory).close()


def test_identity_changed(store: Store) -> None:
    key = add_key(store)
    with pytest.raises(KeyturnError) as refused, store.change() as change:
        change.put_key(replace(key, public_key=b"another"))
    assert refused.value.refusal == "store.identity-changed"
    with store.change() as change:
        change.put_key(replace(key, attributes={"sign": False}))


def test_removing_a_key_that_is_not_there(store: Store) -> None:
    with pytest.raises(KeyturnError) as refused, store.change() as change:
        change.remove_key("nobody")
    assert refused.value.code is ErrorCode.KEY_NOT_EXISTENT
    key = add_key(store)
    with store.change() as change:
        change.remove_key(key.uuid)
        with pytest.raises(KeyturnError):
            change.remove_key(key.uuid)


def test_operation_exists(store: Store) -> None:
    with store.change() as change:
        change.put_operation(operation_id(1), input_digest(1), b"result", time=1)
    with pytest.raises(KeyturnError) as refused, store.change() as change:
        change.put_operation(operation_id(1), input_digest(2), b"another", time=1)
    assert refused.value.refusal == "store.operation-exists"
    with pytest.raises(KeyturnError) as refused, store.change() as change:
        change.put_operation(operation_id(2)[:15], input_digest(2), b"another", time=1)
    assert refused.value.refusal == "store.bad-operation"
    with store.change() as change:
        change.put_operation(operation_id(2), input_digest(2), b"another", time=1)


def test_the_oldest_operations_go_first_and_no_more_are_kept_than_promised(
    directory: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "MAX_OPERATIONS", 3)
    for number in range(5):
        with store.change() as change:
            change.put_operation(operation_id(number), input_digest(number), b"", time=number)
        if number == 2:
            store.commit_now()
    assert [number for number in range(5) if store.operation(operation_id(number))] == [2, 3, 4]
    assert store.operation_count == 3
    store.close()
    again = open_store(directory)
    assert [number for number in range(5) if again.operation(operation_id(number))] == [2, 3, 4]
    with again.change() as change:
        record = change.put_operation(operation_id(5), input_digest(5), b"", time=5)
    assert record.sequence == 6
    assert again.operation(operation_id(2)) is None
    again.close()


def test_uses_of_ordinary_keys_ride_with_the_next_commit(directory: Path, store: Store, clock: ManualClock) -> None:
    key = add_key(store)

    def use_and_look() -> bool:
        store.count_use(key.uuid)
        return store.pending

    assert not use_and_look()
    assert store.uses(key.uuid) == 1
    looks = [use_and_look() for _ in range(LAZY_USES)]
    assert any(looks)  # So many would be too many to lose.
    store.commit_now()
    assert not use_and_look()
    clock.advance(10)
    assert use_and_look()  # They have waited long enough.
    store.commit_now()
    store.count_use(key.uuid)
    store.close()
    again = open_store(directory)
    assert again.uses(key.uuid) == LAZY_USES + 4
    again.close()


def test_a_deleted_key_takes_its_uses_along(directory: Path, store: Store) -> None:
    key = add_key(store)
    store.count_use(key.uuid)
    store.persist()
    store.commit_now()
    with store.change() as change:
        change.remove_key(key.uuid)
        change.count_use(key.uuid)
    assert store.uses(key.uuid) == 0
    store.close()
    open_store(directory).close()


def test_locked_by_another(directory: Path, store: Store) -> None:
    for attempt in (create_store, open_store):
        with pytest.raises(KeyturnError, match="Stop that HSM") as refused:
            attempt(directory)
        assert refused.value.refusal == "store.locked"
    store.close()
    open_store(directory).close()


def test_exists(directory: Path, store: Store) -> None:
    store.close()
    with pytest.raises(KeyturnError) as refused:
        create_store(directory)
    assert refused.value.refusal == "store.exists"
    create_store(directory.with_name("another")).close()


def test_missing(directory: Path) -> None:
    assert not Store.exists(directory)
    with pytest.raises(KeyturnError) as refused:
        open_store(directory)
    assert refused.value.refusal == "store.missing"
    create_store(directory).close()
    assert Store.exists(directory)
    open_store(directory).close()


def test_unusable_directory(directory: Path) -> None:
    directory.write_text("a file where a directory should be")
    with pytest.raises(KeyturnError, match="owner and permissions") as refused:
        create_store(directory)
    assert refused.value.refusal == "store.unusable"
    directory.unlink()
    create_store(directory).close()
    (directory / "hsm.lock").unlink()
    (directory / "hsm.lock").mkdir()
    with pytest.raises(KeyturnError) as refused:
        open_store(directory)
    assert refused.value.refusal == "store.unusable"
    (directory / "hsm.lock").rmdir()
    open_store(directory).close()


def test_a_creation_that_was_interrupted_is_none(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    (directory / "hsm.db").touch()
    assert not Store.exists(directory)
    with pytest.raises(KeyturnError) as refused:
        open_store(directory)
    assert refused.value.refusal == "store.missing"
    create_store(directory).close()
    open_store(directory).close()


def test_permissions(directory: Path, store: Store) -> None:
    store.close()
    assert directory.stat().st_mode & 0o777 == 0o700
    for file in directory.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file
    directory.chmod(0o750)
    with pytest.raises(KeyturnError, match="chmod 700") as refused:
        open_store(directory)
    assert refused.value.refusal == "store.permissions"
    directory.chmod(0o700)
    open_store(directory).close()


def test_files_are_closed_to_others_whatever_the_umask(directory: Path, store: Store) -> None:
    add_key(store)
    names = {file.name for file in directory.iterdir()}
    assert names == {"hsm.db", "hsm.db-wal", "hsm.db-shm", "hsm.lock", "decisions.log"}
    for file in directory.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file


def test_wrong_passphrase(directory: Path, store: Store, clock: ManualClock) -> None:
    store.close()
    with pytest.raises(KeyturnError) as refused:
        Store.open(directory, b"guess", clock=clock)
    assert refused.value.refusal == "store.wrong-passphrase"
    Store.open(directory, PASSPHRASE, clock=clock).close()


def test_a_changed_passphrase_opens_the_same_store(directory: Path, store: Store, clock: ManualClock) -> None:
    key = add_key(store)
    with pytest.raises(KeyturnError) as refused:
        store.change_passphrase(b"guess", b"new", kdf=CHEAP_KDF)
    assert refused.value.refusal == "store.wrong-passphrase"
    store.change_passphrase(PASSPHRASE, b"new", kdf=CHEAP_KDF)
    store.close()
    with pytest.raises(KeyturnError) as refused:
        Store.open(directory, PASSPHRASE, clock=clock)
    assert refused.value.refusal == "store.wrong-passphrase"
    again = Store.open(directory, b"new", clock=clock)
    assert again.open_private_key(key) == PRIVATE_KEY
    again.close()


def test_secrets_are_not_in_the_files(directory: Path, store: Store) -> None:
    with store.change() as change:
        change.put_key(new_key(), b"PRIVATE-KEY-BYTES")
        change.put_operation(operation_id(1), input_digest(1), b"DECRYPTED-BYTES", time=1)
    store.commit_now()
    for file in directory.iterdir():
        content = file.read_bytes()
        for secret in (b"PRIVATE-KEY-BYTES", b"DECRYPTED-BYTES", PASSPHRASE):
            assert secret not in content, file
    store.close()
