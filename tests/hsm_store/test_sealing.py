"""Sealing: what opens, what does not, and what it says then."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import KeyturnError
from keyturn.hsm.records import encode_canonical
from keyturn.hsm.sealing import (
    MAX_PASSPHRASE,
    Domain,
    Header,
    KdfParameters,
    SealingKeys,
    create_header,
    open_header,
    rewrap_header,
)
from keyturn_testing.hsm_store import CHEAP_KDF, PASSPHRASE

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = SealingKeys(bytes(32))


@given(secret=st.binary(max_size=64), associated=st.binary(max_size=64), bit=st.integers(0))
def test_a_sealed_value_opens_and_with_one_bit_changed_does_not(secret: bytes, associated: bytes, bit: int) -> None:
    sealed = KEYS.seal(Domain.KEYS, secret, associated)
    assert KEYS.open(Domain.KEYS, sealed, associated) == secret
    place, mask = divmod(bit % (8 * len(sealed)), 8)
    flipped = sealed[:place] + bytes([sealed[place] ^ 1 << mask]) + sealed[place + 1 :]
    for damaged, beside in ((flipped, associated), (sealed, associated + b"\x00"), (sealed[:-1], associated)):
        with pytest.raises(KeyturnError) as refused:
            KEYS.open(Domain.KEYS, damaged, beside)
        assert refused.value.refusal == "store.seal-broken"


@given(sealed=st.binary(max_size=80))
def test_no_bytes_make_open_raise_anything_else(sealed: bytes) -> None:
    with pytest.raises(KeyturnError):
        KEYS.open(Domain.ROOT, sealed, b"")


def test_a_value_of_one_domain_does_not_open_as_one_of_another() -> None:
    sealed = KEYS.seal(Domain.OPERATIONS, b"secret", b"")
    for domain in Domain:
        if domain is not Domain.OPERATIONS:
            with pytest.raises(KeyturnError, match="wrong place"):
                KEYS.open(domain, sealed, b"")
    assert KEYS.open(Domain.OPERATIONS, sealed, b"") == b"secret"


def test_the_same_secret_sealed_twice_looks_different() -> None:
    one, other = KEYS.seal(Domain.KEYS, b"secret", b""), KEYS.seal(Domain.KEYS, b"secret", b"")
    assert one != other
    assert one[:28] != other[:28]


def test_secrets_do_not_show_and_do_not_travel() -> None:
    assert repr(KEYS) == "<SealingKeys>"
    with pytest.raises(TypeError, match="never leave"):
        pickle.dumps(KEYS)


def test_wrong_passphrase() -> None:
    header, keys = create_header(PASSPHRASE, CHEAP_KDF)
    sealed = keys.seal(Domain.KEYS, b"secret", b"")
    with pytest.raises(KeyturnError) as refused:
        open_header(header, PASSPHRASE + b"!")
    assert refused.value.refusal == "store.wrong-passphrase"
    assert PASSPHRASE.decode() not in refused.value.message
    assert open_header(header, PASSPHRASE).open(Domain.KEYS, sealed, b"") == b"secret"


def test_header_damaged_is_told_from_a_wrong_passphrase() -> None:
    header, _ = create_header(PASSPHRASE, CHEAP_KDF)
    for place in range(0, len(header), 7):
        damaged = header[:place] + bytes([header[place] ^ 1]) + header[place + 1 :]
        with pytest.raises(KeyturnError) as refused:
            open_header(damaged, PASSPHRASE)
        assert refused.value.refusal == "store.header-damaged"
    open_header(header, PASSPHRASE)


def forge(header: bytes, change: Callable[[Header], Header]) -> bytes:
    """A header whose checksum fits although somebody changed it: the checksum is no secret."""
    from keyturn.hsm.sealing import _checksum

    changed = change(msgspec.structs.replace(msgspec.msgpack.decode(header, type=Header), checksum=b""))
    return encode_canonical(msgspec.structs.replace(changed, checksum=_checksum(changed)))


@pytest.mark.parametrize(
    "kdf",
    [
        KdfParameters(memory_kib=1 << 40, iterations=1, lanes=1),
        KdfParameters(memory_kib=8, iterations=1, lanes=1),
        KdfParameters(memory_kib=8192, iterations=10**9, lanes=1),
        KdfParameters(memory_kib=8192, iterations=0, lanes=1),
        KdfParameters(memory_kib=8192, iterations=1, lanes=1000),
    ],
    ids=["memory-bomb", "too-little-memory", "endless", "no-pass", "many-lanes"],
)
def test_bad_kdf_is_refused_before_it_is_run(kdf: KdfParameters) -> None:
    header, _ = create_header(PASSPHRASE, CHEAP_KDF)
    with pytest.raises(KeyturnError) as refused:
        open_header(forge(header, lambda one: msgspec.structs.replace(one, kdf=kdf)), PASSPHRASE)
    assert refused.value.refusal == "store.bad-kdf"
    with pytest.raises(KeyturnError, match="bounds"):
        create_header(PASSPHRASE, kdf)
    open_header(forge(header, lambda one: one), PASSPHRASE)


def test_cheaper_parameters_do_not_open_what_dearer_ones_sealed() -> None:
    header, _ = create_header(PASSPHRASE, KdfParameters(memory_kib=8192, iterations=2, lanes=1))
    with pytest.raises(KeyturnError) as refused:
        open_header(forge(header, lambda one: msgspec.structs.replace(one, kdf=CHEAP_KDF)), PASSPHRASE)
    assert refused.value.refusal == "store.wrong-passphrase"


def test_header_unknown() -> None:
    header, _ = create_header(PASSPHRASE, CHEAP_KDF)
    with pytest.raises(KeyturnError) as refused:
        open_header(forge(header, lambda one: msgspec.structs.replace(one, format=2)), PASSPHRASE)
    assert refused.value.refusal == "store.header-unknown"


@pytest.mark.parametrize("passphrase", [b"", b"x" * (MAX_PASSPHRASE + 1)], ids=["empty", "a-whole-file"])
def test_bad_passphrase(passphrase: bytes) -> None:
    with pytest.raises(KeyturnError) as refused:
        create_header(passphrase, CHEAP_KDF)
    assert refused.value.refusal == "store.bad-passphrase"
    create_header(passphrase[:MAX_PASSPHRASE] or b"x", CHEAP_KDF)


def test_a_new_passphrase_opens_the_same_keys_and_the_old_one_no_longer() -> None:
    header, keys = create_header(PASSPHRASE, CHEAP_KDF)
    sealed = keys.seal(Domain.KEYS, b"secret", b"")
    changed = rewrap_header(header, PASSPHRASE, b"another one", CHEAP_KDF)
    assert open_header(changed, b"another one").open(Domain.KEYS, sealed, b"") == b"secret"
    with pytest.raises(KeyturnError) as refused:
        open_header(changed, PASSPHRASE)
    assert refused.value.refusal == "store.wrong-passphrase"
    with pytest.raises(KeyturnError) as refused:
        rewrap_header(header, b"not it", b"another one", CHEAP_KDF)
    assert refused.value.refusal == "store.wrong-passphrase"


@given(header=st.binary(max_size=200))
def test_no_header_makes_open_raise_anything_else(header: bytes) -> None:
    with pytest.raises(KeyturnError) as refused:
        open_header(header, PASSPHRASE)
    assert refused.value.refusal == "store.header-damaged"


def test_a_machine_without_the_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Starved:
        def __init__(self, **parameters: object) -> None: ...

        def derive(self, passphrase: bytes) -> bytes:
            raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr("keyturn.hsm.sealing.Argon2id", Starved)
        with pytest.raises(KeyturnError, match="8192 KiB") as refused:
            create_header(PASSPHRASE, CHEAP_KDF)
    assert refused.value.refusal == "store.bad-kdf"
    create_header(PASSPHRASE, CHEAP_KDF)
