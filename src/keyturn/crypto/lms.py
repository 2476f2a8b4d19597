"""HSS with one level of LMS: LMS_SHA256_M32_H5 over LMOTS_SHA256_N32_W1, 32 signatures of 8 688 bytes.

The one-time signatures and verification are those of `pyhsslms`. What it does not do is done here: the tree's nodes are
kept with the private key, so that it is not computed anew for every signature; the caller gives the index, because
the state belongs into the HSM's store (`keyturn.hsm.stateful`); and a signature has exactly its length.

Source: RFC 8554 sections 4 (LM-OTS), 5 (LMS), 6 (HSS); decisions 32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

# The library has no type hints.
import pyhsslms  # type: ignore[import-untyped]

HEIGHT: Final = 5
LEAVES: Final = 1 << HEIGHT
"""Signatures that one key can make."""
N: Final = 32
IDENTIFIER: Final = 16
"""Bytes of `I`, which tells one key from another."""
PUBLIC_SIZE: Final = 4 + 4 + 4 + IDENTIFIER + N
SIGNATURE_SIZE: Final = 4 + 4 + (4 + N + 265 * N) + 4 + HEIGHT * N
"""8 688 bytes: levels, index, the one-time signature of 265 chains, the tree's type, the path."""
NODES: Final = 2 * LEAVES - 1
PRIVATE_SIZE: Final = N + IDENTIFIER + NODES * N

_LEVELS: Final = (1).to_bytes(4, "big")
_NO_KEYS_BELOW: Final = bytes(4)
_TREE: Final[bytes] = pyhsslms.lms_sha256_m32_h5
_ONE_TIME: Final[bytes] = pyhsslms.lmots_sha256_n32_w1


@dataclass(frozen=True, slots=True)
class LmsPublicKey:
    """A public key.

    Args:
        identifier: `I`.
        root: Root of the tree.
    """

    identifier: bytes
    root: bytes

    @property
    def algorithm(self) -> str:
        """API name of its kind."""
        return "LMS"

    @property
    def public_bytes(self) -> bytes:
        """As HSS public key: number of levels, types, identifier, root (RFC 8554 section 6.1)."""
        return _LEVELS + _TREE + _ONE_TIME + self.identifier + self.root

    @classmethod
    def from_bytes(cls, data: bytes) -> LmsPublicKey:
        """Read `public_bytes`; raises `ValueError` when it has other levels, types or another length."""
        head = _LEVELS + _TREE + _ONE_TIME
        if len(data) != PUBLIC_SIZE or not data.startswith(head):
            raise ValueError("not an HSS public key of one level with LMS_SHA256_M32_H5 and LMOTS_SHA256_N32_W1")
        return cls(data[len(head) : -N], data[-N:])

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether a signature is valid (RFC 8554 section 6.3)."""
        if len(signature) != SIGNATURE_SIZE or not signature.startswith(_NO_KEYS_BELOW):
            return False
        signature = signature[len(_NO_KEYS_BELOW) :]
        types = signature[4:8], signature[-HEIGHT * N - 4 : -HEIGHT * N]
        # The library takes the index behind the last one and types of other lengths.
        if int.from_bytes(signature[:4], "big") >= LEAVES or types != (_ONE_TIME, _TREE):
            return False
        key = pyhsslms.LmsPublicKey(self.identifier, self.root, _TREE, _ONE_TIME)
        return bool(key.verify(message, signature))


@dataclass(frozen=True, slots=True)
class LmsPrivateKey:
    """A private key, without any state: it signs with the index that it is given.

    Args:
        public: Its public key.
        seed: Seed of the one-time keys.
        nodes: The tree, node 1 (the root) first.
        index: The index that it may sign with, once; None for none.
    """

    public: LmsPublicKey
    seed: bytes = field(repr=False)
    nodes: bytes = field(repr=False)
    index: int | None = None

    @property
    def algorithm(self) -> str:
        """API name of its kind."""
        return "LMS"

    @property
    def public_bytes(self) -> bytes:
        """The public key's bytes."""
        return self.public.public_bytes

    @classmethod
    def make(cls, seed: bytes, identifier: bytes) -> LmsPrivateKey:
        """Make a key from 32 and 16 random bytes; takes a twentieth of a second."""
        made = pyhsslms.LmsPrivateKey(lms_type=_TREE, lmots_type=_ONE_TIME, SEED=seed, I=identifier)
        nodes: dict[int, bytes] = made._nodes  # noqa: SLF001 - There is no other way to keep the tree.
        return cls(LmsPublicKey(identifier, nodes[1]), seed, b"".join(nodes[number + 1] for number in range(NODES)))

    def private_bytes(self) -> bytes:
        """Everything, for the sealed store and nothing else; the index is no part of it."""
        return self.seed + self.public.identifier + self.nodes

    @classmethod
    def from_bytes(cls, data: bytes) -> LmsPrivateKey:
        """Read `private_bytes`; raises `ValueError` when it is none."""
        if len(data) != PRIVATE_SIZE:
            raise ValueError("not a private key of LMS")
        seed, identifier, nodes = data[:N], data[N : N + IDENTIFIER], data[N + IDENTIFIER :]
        return cls(LmsPublicKey(identifier, nodes[:N]), seed, nodes)

    def sign(self, message: bytes, index: int) -> bytes:
        """Sign (RFC 8554 sections 4.5, 5.4.1 and 6.2).

        Args:
            message: What is signed.
            index: 0 to 31; signing two messages with one index gives the key away.

        Returns:
            The signature, 8 688 bytes.
        """
        if not 0 <= index < LEAVES:
            raise ValueError("an LMS key of height 5 has the indices 0 to 31")
        leaf = index.to_bytes(4, "big")
        one_time: Any = pyhsslms.LmotsPrivateKey(self.public.identifier, leaf, self.seed, _ONE_TIME)
        path, node = [], LEAVES + index
        while node > 1:
            path.append(self.nodes[((node ^ 1) - 1) * N : (node ^ 1) * N])
            node //= 2
        return b"".join([_NO_KEYS_BELOW, leaf, one_time.sign(message), _TREE, *path])
