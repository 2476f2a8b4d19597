"""Sealed passwords: they open for one HSM and one label, unchanged, and for nothing else (R27)."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.errors import ErrorCode, FormatError
from keyturn.ska.sealed_password import MAX_PASSWORD, open_password, seal_password

pytestmark = pytest.mark.rule("R27")

TRANSPORT = ec.derive_private_key(0x1234567, ec.SECP256R1())
OTHER = ec.derive_private_key(0x7654321, ec.SECP256R1())
EPHEMERAL = ec.derive_private_key(0xABCDEF, ec.SECP256R1())


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def seal(label: str = "treasury", password: str = "hunter2") -> bytes:  # noqa: S107 - It opens nothing.
    return seal_password(spki(TRANSPORT), label, password, EPHEMERAL)


def refusal(label: str, sealed: bytes, key: ec.EllipticCurvePrivateKey = TRANSPORT) -> str:
    with pytest.raises(FormatError, match="password mismatch") as refused:
        open_password(key, spki(key), label, sealed)
    assert refused.value.code is ErrorCode.KEY_PASSWORD_MISMATCH
    return refused.value.refusal


def test_a_password_opens_where_it_was_sealed_to() -> None:
    sealed = seal()
    assert b"hunter2" not in sealed
    assert open_password(TRANSPORT, spki(TRANSPORT), "treasury", sealed) == b"hunter2"
    # Names of derived keys stand for their master.
    assert open_password(TRANSPORT, spki(TRANSPORT), "treasury/44'/0'", sealed) == b"hunter2"
    assert seal("treasury/44'/0'") == sealed
    assert refusal("treasurx", sealed) == "password.seal"
    assert refusal("treasury", sealed, OTHER) == "password.seal"


def test_one_changed_bit_anywhere_is_refused() -> None:
    sealed = seal()
    for position in range(len(sealed)):
        for bit in (0x01, 0x80):
            changed = bytearray(sealed)
            changed[position] ^= bit
            assert refusal("treasury", bytes(changed)) == "password.seal"
    assert refusal("treasury", sealed[:-1]) == "password.seal"
    assert refusal("treasury", sealed + b"\0") == "password.seal"
    assert refusal("treasury", b"") == "password.seal"
    assert open_password(TRANSPORT, spki(TRANSPORT), "treasury", sealed)


def test_the_length_of_a_password_shows_in_steps_only() -> None:
    assert len({len(seal(password="x" * length)) for length in range(1, 63)}) == 1
    assert len(seal(password="x" * 63)) > len(seal(password="x" * 62))


def test_password_length() -> None:
    assert seal(password="x" * MAX_PASSWORD)
    for wrong in ("", "x" * (MAX_PASSWORD + 1)):
        with pytest.raises(FormatError) as refused:
            seal(password=wrong)
        assert refused.value.refusal == "password.length"


def test_password_transport_key() -> None:
    p384 = ec.derive_private_key(5, ec.SECP384R1())
    for wrong in (b"", b"no key", spki(p384)):
        with pytest.raises(FormatError) as refused:
            seal_password(wrong, "treasury", "hunter2", EPHEMERAL)
        assert refused.value.refusal == "password.transport-key"
    assert seal_password(spki(TRANSPORT), "treasury", "hunter2", EPHEMERAL)


@settings(max_examples=50)
@given(st.text(min_size=1, max_size=200), st.text(max_size=40))
def test_every_text_comes_back(password: str, label: str) -> None:
    if len(password.encode(errors="surrogatepass")) <= MAX_PASSWORD:
        sealed = seal(label, password)
        assert open_password(TRANSPORT, spki(TRANSPORT), label, sealed) == password.encode(errors="surrogatepass")


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_hostile_bytes_are_refused_by_name(data: bytes) -> None:
    assert refusal("treasury", data) == "password.seal"
