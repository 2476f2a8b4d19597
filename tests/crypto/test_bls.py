"""BLS12-381 keys: py-ecc judges keys and signatures; keys are wrapped, and read only when they are keys."""

from __future__ import annotations

from typing import Any, Final

import pytest

from keyturn.crypto import registry, wrapping
from keyturn.crypto.imported_keys import checked_private_key
from keyturn.crypto.keys import (
    SecretKey,
    generate,
    load_public_key,
    make_spec,
    private_key_from_stored,
    private_key_to_der,
    public_spki,
)
from keyturn.crypto.kinds import raw
from keyturn.crypto.kinds.bls import BlsPrivateKey
from keyturn.errors import FormatError, KeyturnError
from keyturn.ska.bls import BLS_OID, INFINITY, BlsPublicKey
from keyturn_testing.bls_judge import G2Basic
from keyturn_testing.one_bit import accepts, one_bit_less, only_accepts

MESSAGE: Final = b"what the officers approved"


def _key(name: str) -> tuple[Any, Any]:
    private: Any = generate(make_spec(name, "", 0))
    return private, load_public_key(public_spki(private))


def test_bls_agrees_with_py_ecc() -> None:
    private, public = _key("BLS")
    signature = registry.sign(private, "BLS", MESSAGE)
    assert (public.public_bytes, signature) == (G2Basic.SkToPk(private.scalar), G2Basic.Sign(private.scalar, MESSAGE))
    only_accepts(public, "BLS", MESSAGE, signature)
    assert not accepts(public, "BLS", MESSAGE, b"\xc0" + bytes(95))


def test_bls_takes_no_point_off_the_curve_or_outside_the_group_and_no_scalar_out_of_range() -> None:
    _, public = _key("BLS")
    assert BlsPublicKey(public.public_bytes) == public
    off_group = b"\x80" + bytes(46) + b"\x05"  # On the curve, but of another order.
    for bad in (INFINITY, b"", bytes(48), off_group, public.public_bytes[:-1], b"\xff" * 48):
        with pytest.raises(ValueError, match=r"BLS12-381|blst"):
            BlsPublicKey(bad)
    order = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
    assert BlsPrivateKey((order - 1).to_bytes(32, "big")).public_bytes
    for number in (0, order, 2**256 - 1):
        with pytest.raises(FormatError) as refused:
            checked_private_key(raw.pkcs8(BLS_OID, number.to_bytes(32, "big")))
        assert refused.value.refusal == "key.unreadable"


@pytest.mark.parametrize("method", ["AES_WRAP_BLS", "AES_WRAP_PAD_BLS"])
def test_a_bls_key_is_wrapped_and_unwrapped(method: str) -> None:
    private, public = _key("BLS")
    wrapping_key = SecretKey("AES", bytes(range(32)))
    wrapped = wrapping.wrap(wrapping_key, method, private_key_to_der(private))
    unwrapped = wrapping.unwrap(wrapping_key, method, wrapped)
    assert (unwrapped.algorithm, unwrapped.public_key) == ("BLS", public_spki(public))
    assert private_key_from_stored("BLS", unwrapped.private_key) == private
    with pytest.raises(KeyturnError) as refused:
        wrapping.unwrap(wrapping_key, method, one_bit_less(wrapped))
    assert refused.value.refusal == "unwrap.failed"
    other, _ = _key("ML-DSA-44")
    with pytest.raises(KeyturnError) as refused:
        wrapping.wrap(wrapping_key, method, private_key_to_der(other))
    assert refused.value.refusal == "key.wrong-type"
