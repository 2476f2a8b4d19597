"""XMSS of height 10 with n = 32 and w = 16: key generation, signing with a chosen index, verification.

Two parameter sets, which differ in the hash function only: XMSS-SHA2_10_256 of RFC 8391 and XMSS-SHAKE256_10_256 of
NIST SP 800-208, where SHAKE256 gives 32 bytes. No kept library has them, so they are written here, by the algorithms
of the RFC, whose numbers stand at the functions. What differs from its text: the whole tree of 2047 nodes is kept with
the private key, so that signing costs one one-time signature; and the secret keys of the one-time signatures come from
SP 800-208's PRF_keygen, which binds them to their address.

Nothing here knows which indices have served. Whoever signs gives the index and answers for its being used once
(`keyturn.hsm.stateful`).

Source: RFC 8391 sections 2.5 (addresses), 3.1 (WOTS+), 4.1 (XMSS), 5.1 (the hash functions); NIST SP 800-208 sections
5.3 and 6.2 (SHAKE256, PRF_keygen).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

HEIGHT: Final = 10
LEAVES: Final = 1 << HEIGHT
"""Signatures that one key can make."""
N: Final = 32
"""Bytes of a node, a seed and a digest."""
W: Final = 16
CHAINS: Final = 67
"""Chains of a one-time signature: 64 for the digest, 3 for its checksum (RFC 8391 section 3.1.1)."""
PUBLIC_SIZE: Final = 4 + 2 * N
SIGNATURE_SIZE: Final = 4 + N + (CHAINS + HEIGHT) * N
"""2 500 bytes."""
NODES: Final = 2 * LEAVES - 1
PRIVATE_SIZE: Final = 4 + 3 * N + NODES * N

_F, _H, _H_MSG, _PRF, _PRF_KEYGEN = (number.to_bytes(N, "big") for number in range(5))
"""What stands in front of the key, so that the functions are different ones (RFC 8391 section 5.1)."""


def _shake256(data: bytes) -> bytes:
    return hashlib.shake_256(data).digest(N)


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@dataclass(frozen=True, slots=True)
class XmssParameters:
    """A parameter set.

    Args:
        name: The API's name.
        oid: Number in the IANA registry of XMSS signatures; public keys begin with it.
        hash: The hash function, 32 bytes long.
    """

    name: str
    oid: int
    hash: Callable[[bytes], bytes] = field(repr=False)


SHA256: Final = XmssParameters("XMSS-SHA256_10_256", 0x00000001, _sha256)
SHAKE256: Final = XmssParameters("XMSS-SHAKE256_10_256", 0x00000010, _shake256)
PARAMETERS: Final = {one.oid: one for one in (SHA256, SHAKE256)}


@dataclass(frozen=True, slots=True)
class XmssPublicKey:
    """A public key.

    Args:
        parameters: Its parameter set.
        root: Root of the tree.
        seed: Public seed of the bit masks.
    """

    parameters: XmssParameters
    root: bytes
    seed: bytes

    @property
    def algorithm(self) -> str:
        """API name of its kind."""
        return self.parameters.name

    @property
    def public_bytes(self) -> bytes:
        """OID, root and seed (RFC 8391 section 4.1.7)."""
        return self.parameters.oid.to_bytes(4, "big") + self.root + self.seed

    @classmethod
    def from_bytes(cls, data: bytes) -> XmssPublicKey:
        """Read `public_bytes`; raises `ValueError` when it is none of the two parameter sets."""
        parameters = PARAMETERS.get(int.from_bytes(data[:4], "big"))
        if parameters is None or len(data) != PUBLIC_SIZE:
            raise ValueError("not a public key of XMSS-SHA256_10_256 or XMSS-SHAKE256_10_256")
        return cls(parameters, data[4 : 4 + N], data[4 + N :])

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether a signature is valid (algorithm 14, XMSS_verify)."""
        if len(signature) != SIGNATURE_SIZE:
            return False
        index = int.from_bytes(signature[:4], "big")
        if index >= LEAVES:
            return False
        parts = [signature[start : start + N] for start in range(4, SIGNATURE_SIZE, N)]
        random, chains, path = parts[0], parts[1 : 1 + CHAINS], parts[1 + CHAINS :]
        tree = _Tree(self.parameters.hash, self.seed)
        digits = _digits(_message_hash(self.parameters.hash, random, self.root, index, message))
        ends = [
            tree.chain(part, index, number, digit, W - 1 - digit)
            for number, (part, digit) in enumerate(zip(chains, digits, strict=True))
        ]
        # Algorithm 13, XMSS_rootFromSig.
        node = tree.l_tree(index, ends)
        for height, sibling in enumerate(path):
            left, right = (sibling, node) if index >> height & 1 else (node, sibling)
            node = tree.parent(left, right, height, index >> (height + 1))
        return hmac.compare_digest(node, self.root)


@dataclass(frozen=True, slots=True)
class XmssPrivateKey:
    """A private key, without any state: it signs with the index that it is given.

    Args:
        public: Its public key.
        secret: Seed of the one-time keys.
        secret_prf: Key of the randomisers.
        nodes: The tree, leaves first, level by level, root last.
        index: The index that it may sign with, once; None for none.
    """

    public: XmssPublicKey
    secret: bytes = field(repr=False)
    secret_prf: bytes = field(repr=False)
    nodes: bytes = field(repr=False)
    index: int | None = None

    @property
    def algorithm(self) -> str:
        """API name of its kind."""
        return self.public.algorithm

    @property
    def public_bytes(self) -> bytes:
        """The public key's bytes."""
        return self.public.public_bytes

    @classmethod
    def make(cls, parameters: XmssParameters, secret: bytes, secret_prf: bytes, seed: bytes) -> XmssPrivateKey:
        """Make a key from its three seeds of 32 random bytes each (algorithm 10, XMSS_keyGen). Takes seconds."""
        tree = _Tree(parameters.hash, seed)
        level = [tree.leaf(secret, index) for index in range(LEAVES)]
        nodes = bytearray()
        for height in range(HEIGHT):
            nodes += b"".join(level)
            level = [
                tree.parent(level[2 * number], level[2 * number + 1], height, number)
                for number in range(len(level) // 2)
            ]
        nodes += level[0]
        return cls(XmssPublicKey(parameters, level[0], seed), secret, secret_prf, bytes(nodes))

    def private_bytes(self) -> bytes:
        """Everything, for the sealed store and nothing else; the index is no part of it."""
        return self.public.parameters.oid.to_bytes(4, "big") + (
            self.secret + self.secret_prf + self.public.seed + self.nodes
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> XmssPrivateKey:
        """Read `private_bytes`; raises `ValueError` when it is none."""
        parameters = PARAMETERS.get(int.from_bytes(data[:4], "big"))
        if parameters is None or len(data) != PRIVATE_SIZE:
            raise ValueError("not a private key of XMSS-SHA256_10_256 or XMSS-SHAKE256_10_256")
        secret, secret_prf, seed = (data[start : start + N] for start in range(4, 4 + 3 * N, N))
        return cls(XmssPublicKey(parameters, data[-N:], seed), secret, secret_prf, data[4 + 3 * N :])

    def sign(self, message: bytes, index: int) -> bytes:
        """Sign (algorithm 12, XMSS_sign).

        Args:
            message: What is signed.
            index: 0 to 1023; signing two messages with one index gives the key away.

        Returns:
            Index, randomiser, one-time signature and authentication path, 2 500 bytes.
        """
        if not 0 <= index < LEAVES:
            raise ValueError("an XMSS key of height 10 has the indices 0 to 1023")
        function = self.public.parameters.hash
        tree = _Tree(function, self.public.seed)
        random = function(_PRF + self.secret_prf + index.to_bytes(N, "big"))
        digits = _digits(_message_hash(function, random, self.public.root, index, message))
        chains = [
            tree.chain(tree.secret(self.secret, index, number), index, number, 0, digit)
            for number, digit in enumerate(digits)
        ]
        return b"".join([index.to_bytes(4, "big"), random, *chains, *self._path(index)])

    def _path(self, index: int) -> list[bytes]:
        path, start = [], 0
        for height in range(HEIGHT):
            sibling = start + ((index >> height) ^ 1)
            path.append(self.nodes[sibling * N : (sibling + 1) * N])
            start += LEAVES >> height
        return path


def _message_hash(function: Callable[[bytes], bytes], random: bytes, root: bytes, index: int, message: bytes) -> bytes:
    """H_msg with its key of three parts (RFC 8391 sections 4.1.9 and 5.1)."""
    return function(_H_MSG + random + root + index.to_bytes(N, "big") + message)


def _digits(digest: bytes) -> list[int]:
    """The digest and its checksum in base 16 (algorithms 1 and 5)."""
    digits = [half for byte in digest for half in (byte >> 4, byte & 15)]
    checksum = sum(W - 1 - digit for digit in digits) << 4
    return [*digits, checksum >> 12 & 15, checksum >> 8 & 15, checksum >> 4 & 15]


class _Tree:
    """The functions that are bound to one public seed, with the addresses of RFC 8391 section 2.5.

    An address is eight words of 32 bits: layer, tree (two), type, and four that depend on the type; the last says
    whether a key (0) or a bit mask (1, 2) is derived. Layer and tree are 0 here, there is but one tree.

    Args:
        function: The hash function.
        seed: The public seed.
    """

    def __init__(self, function: Callable[[bytes], bytes], seed: bytes) -> None:
        self._function = function
        self._seed = seed
        self._prf = _PRF + seed

    def secret(self, secret: bytes, leaf: int, chain: int) -> bytes:
        """Start of a chain: PRF_keygen of SP 800-208 section 6.2."""
        address = bytes(12) + _words(0, leaf, chain) + bytes(8)
        return self._function(_PRF_KEYGEN + secret + self._seed + address)

    def chain(self, value: bytes, leaf: int, chain: int, start: int, steps: int) -> bytes:
        """Algorithm 2: apply F `steps` times from position `start` on."""
        # A million turns for one key: everything that does not change stands before the loop.
        function, head = self._function, self._prf + bytes(12) + _words(0, leaf, chain)
        number = int.from_bytes(value, "big")
        for position in range(start, start + steps):
            address = head + position.to_bytes(4, "big")
            number ^= int.from_bytes(function(address + b"\0\0\0\1"), "big")
            value = function(_F + function(address + b"\0\0\0\0") + number.to_bytes(N, "big"))
            number = int.from_bytes(value, "big")
        return value

    def leaf(self, secret: bytes, index: int) -> bytes:
        """Algorithms 4 and 9: a one-time public key, compressed."""
        return self.l_tree(
            index, [self.chain(self.secret(secret, index, chain), index, chain, 0, W - 1) for chain in range(CHAINS)]
        )

    def l_tree(self, leaf: int, nodes: list[bytes]) -> bytes:
        """Algorithm 8: an unbalanced tree over the ends of the chains."""
        height = 0
        while len(nodes) > 1:
            head = bytes(12) + _words(1, leaf, height)
            above = [
                self._hash(nodes[2 * number], nodes[2 * number + 1], head + number.to_bytes(4, "big"))
                for number in range(len(nodes) // 2)
            ]
            if len(nodes) % 2:
                above.append(nodes[-1])
            nodes = above
            height += 1
        return nodes[0]

    def parent(self, left: bytes, right: bytes, height: int, number: int) -> bytes:
        """A node of the hash tree from the two below it, which have this height (algorithm 9)."""
        return self._hash(left, right, bytes(12) + _words(2, 0, height, number))

    def _hash(self, left: bytes, right: bytes, address: bytes) -> bytes:
        """Algorithm 7, RAND_HASH."""
        key, first, second = (self._function(self._prf + address + bytes([0, 0, 0, last])) for last in range(3))
        return self._function(_H + key + _xor(left, first) + _xor(right, second))


def _words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in numbers)


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(N, "big")
