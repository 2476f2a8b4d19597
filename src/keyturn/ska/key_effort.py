"""How much checking one policy may ask for.

The checks of `key_strength` take from a millisecond (EC) to several seconds (a DSA domain of 4096 bits of its own), and
whoever sends a policy chooses the keys. So the effort is added up before any of it is made, and a policy that asks for
too much is refused at once: nobody can keep broker or HSM busy for minutes with one call.

Source: docs/security/rules.md R13, R29 (bounded parsers); decisions 21 (size of a policy).
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric import dsa, rsa

from keyturn.errors import FormatError
from keyturn.ska.approver_keys import identity_of, public_key_of

MAX_EFFORT: Final = 20_000
"""Most that the checks of one policy's keys may cost, in thousandths of a second on an ordinary machine. There is room
for as many RSA keys of 4096 bits as fit into a policy, for 14 of 8192 bits, and for 23 DSA domains of 2048 bits."""

_DSA_ROUNDS: Final = 40
"""What a DSA domain costs, measured against an RSA key of the same size: the primes are tested many times over."""
_OTHER: Final = 3


class KeyEffort:
    """Adds up what checking the keys of one policy costs; what is shared by several keys counts once."""

    def __init__(self) -> None:
        self._spent = 0
        self._seen: set[bytes] = set()
        self._counted: set[object] = set()

    @property
    def spent(self) -> int:
        """What the keys so far cost, in the unit of `MAX_EFFORT`."""
        return self._spent

    def add(self, spki: bytes) -> None:
        """Add one key, before it is checked.

        Args:
            spki: DER SubjectPublicKeyInfo; what is no key costs nothing and is refused by whoever loads it.

        Raises:
            FormatError: `policy.too-much-checking` when this key is one too many; it is every time.
        """
        if spki in self._seen:
            return
        try:
            what, cost = _cost(spki)
        except FormatError:
            return
        if what not in self._counted and self._spent + cost > MAX_EFFORT:
            raise FormatError(
                "The policy is refused: checking its approvers' keys would take too long. List fewer very large RSA "
                "keys, and let DSA keys share their domain parameters, or use EC or Ed25519 keys.",
                refusal="policy.too-much-checking",
            )
        self._seen.add(spki)
        if what not in self._counted:
            self._counted.add(what)
            self._spent += cost


def _cost(spki: bytes) -> tuple[object, int]:
    """What is checked, so that it counts once, and what that costs."""
    key = public_key_of(spki)
    if isinstance(key, rsa.RSAPublicKey):
        return identity_of(spki), _modular_power(key.key_size)
    if isinstance(key, dsa.DSAPublicKey):
        domain = key.parameters().parameter_numbers()
        return (domain.p, domain.q, domain.g), _DSA_ROUNDS * _modular_power(key.key_size)
    return identity_of(spki), _OTHER


def _modular_power(bits: int) -> int:
    # Cubic in the size: 21 for 2048 bits, 170 for 4096, 1365 for 8192.
    return int((bits // 256) ** 3 // 24)
