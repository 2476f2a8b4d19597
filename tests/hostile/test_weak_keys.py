"""Keys that may not enter a policy: with some of them anybody could sign, with others one person would be two (R13)."""

from __future__ import annotations

import secrets
from functools import cache
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.ska import der
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.bls import BLS_OID, GENERATOR
from keyturn.ska.policy import Approver, encode_policy
from keyturn_testing.hostile import ADA, BEN, EVE, Line, World, judge, lines
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn_testing.hsm_process import HsmProcess

RSA_OID, PSS_OID = "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10"
ED25519_OID, EC_OID, P256_OID, P192_OID = (
    "1.3.101.112",
    "1.2.840.10045.2.1",
    "1.2.840.10045.3.1.7",
    "1.2.840.10045.3.1.1",
)
ED25519_PRIME = 2**255 - 19


def _spki(oid: str, bits: bytes, parameters: bytes = b"") -> bytes:
    algorithm = der.encode(der.SEQUENCE, der.encode_oid(oid) + parameters)
    return der.encode(der.SEQUENCE, algorithm + der.encode_bits(bits))


def _rsa(n: int, e: int = 65537, oid: str = RSA_OID) -> bytes:
    numbers = der.encode(der.SEQUENCE, der.encode_unsigned(n) + der.encode_unsigned(e))
    return _spki(oid, numbers, b"" if oid == PSS_OID else der.encode(der.NULL, b""))


@cache
def _good_rsa() -> rsa.RSAPrivateNumbers:
    return rsa.generate_private_key(65537, 2048).private_numbers()


def _of_1024_bits() -> bytes:
    return _rsa(rsa.generate_private_key(65537, 1024).public_key().public_numbers().n)  # noqa: S505 - Weak on purpose.


def _with_small_factor() -> bytes:
    return _rsa(3 * (secrets.randbits(2046) | 1 << 2046 | 1))


def _square() -> bytes:
    p = max(_good_rsa().p, _good_rsa().q)
    return _rsa(p * p if (p * p).bit_length() == 2048 else p**3)


def _ed25519(y: int) -> bytes:
    return _spki(ED25519_OID, y.to_bytes(32, "little"))


def _ed448() -> bytes:
    key = ed448.Ed448PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _ec(curve: str, bits: bytes) -> bytes:
    return _spki(EC_OID, bits, der.encode_oid(curve))


def _dsa_1024() -> bytes:
    key = dsa.generate_private_key(1024).public_key()  # noqa: S505 - Weak on purpose.
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _compressed(officer: Officer) -> bytes:
    assert isinstance(officer.key, ec.EllipticCurvePrivateKey)
    bits = officer.key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return _ec(P256_OID, bits)


def _as_pss(officer: Officer) -> bytes:
    assert isinstance(officer.key, rsa.RSAPrivateKey)
    return _rsa(officer.key.public_key().public_numbers().n, oid=PSS_OID)


def _listing(*made: Callable[[], bytes] | Approver) -> Callable[[World], object]:
    """We ask for a key whose policy lists Ada, and these."""

    def lie(world: World) -> object:
        others = [one if isinstance(one, Approver) else Approver(one()) for one in made]
        return world.creation(label=f"{world.label}-weak", policy=encode_policy(make_policy(quorum(1, ADA, *others))))

    return lie


def _by_modify(world: World) -> object:
    """All officers are talked into a policy with a key of small order."""
    new = encode_policy(make_policy(quorum(1, ADA, Approver(_ed25519(1)))))
    return world.modify(new, world.approvals(world.token(Action.MODIFY, new)))


WEAK, MALFORMED = "approver.weak-key", "approver.malformed-key"
TABLE = [
    Line("RSA of 1024 bits", _listing(_of_1024_bits), WEAK, "R13"),
    Line("RSA with a small prime factor", _listing(_with_small_factor), WEAK, "R13"),
    Line("RSA whose modulus is a power of a prime", _listing(_square), WEAK, "R13"),
    Line("RSA with exponent 1", _listing(lambda: _rsa(_good_rsa().public_numbers.n, 1)), WEAK, "R13"),
    Line("RSA with an even exponent", _listing(lambda: _rsa(_good_rsa().public_numbers.n, 65536)), WEAK, "R13"),
    Line("Ed25519 point of order 1", _listing(lambda: _ed25519(1)), WEAK, "R13"),
    Line("Ed25519 point of order 2", _listing(lambda: _ed25519(ED25519_PRIME - 1)), WEAK, "R13"),
    Line("Ed25519 point of order 4", _listing(lambda: _ed25519(0)), WEAK, "R13"),
    Line("Ed25519 key that is not canonical", _listing(lambda: _ed25519(ED25519_PRIME + 3)), WEAK, "R13"),
    Line("EC point beside its curve", _listing(lambda: _ec(P256_OID, b"\x04" + b"\1" * 64)), MALFORMED, "R13"),
    Line("EC point at infinity", _listing(lambda: _ec(P256_OID, b"\0")), MALFORMED, "R13"),
    Line(
        "EC key on a curve of 192 bits",
        _listing(lambda: _ec(P192_OID, b"\x04" + b"\1" * 48)),
        "approver.unsupported-key",
        "R13",
    ),
    Line("Ed448, which no approval is verified with", _listing(_ed448), "approver.unsupported-key", "R13"),
    Line("DSA of 1024 bits", _listing(_dsa_1024), WEAK, "R13"),
    Line("BLS point at infinity", _listing(lambda: _spki(BLS_OID, b"\xc0" + bytes(47))), MALFORMED, "R13"),
    # On the curve, for 5^3 + 4 has a root, and of another order.
    Line(
        "BLS point outside its group", _listing(lambda: _spki(BLS_OID, b"\x80" + bytes(46) + b"\5")), MALFORMED, "R13"
    ),
    Line(
        "One officer listed twice, once by a compressed point",
        _listing(lambda: _compressed(ADA)),
        "policy.duplicate-approver",
        "R13",
    ),
    Line(
        "One officer listed twice, once under the identifier of RSA-PSS",
        _listing(BEN.as_approver(), lambda: _as_pss(BEN)),
        "policy.duplicate-approver",
        "R13",
    ),
    Line(
        "One officer listed by key and by certificate",
        _listing(EVE.as_approver(), EVE.as_approver(certificate=True)),
        "policy.duplicate-approver",
        "decisions 20",
    ),
    Line("A weak key by a modify to which all officers agreed", _by_modify, WEAK, "R13"),
]


@pytest.mark.rule("R13")
@pytest.mark.parametrize("line", lines("Keys that may not be listed", TABLE))
def test_no_key_enters_a_policy_for_which_others_than_its_holder_can_sign(
    hsm: HsmProcess, label: str, line: Line
) -> None:
    judge(hsm, label, line)


def test_the_keys_above_are_weak_for_the_reason_in_their_names_alone() -> None:
    """The same encodings with sound numbers are keys that may approve."""
    good = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    bls = _spki(BLS_OID, GENERATOR)
    for spki in (_rsa(_good_rsa().public_numbers.n), _ed25519(int.from_bytes(good, "little")), _compressed(ADA), bls):
        load_approver_key(spki)
