"""A map with a root hash: what one sealed record needs to vouch for a million others (rule R6).

Keys are spread by SHA-256 over 65 536 buckets, which are the leaves of a tree of fan-out 16 and depth 4. A
change touches one bucket and four nodes of 512 bytes, whatever the size of the map; a fan-out of 256 with two
levels would hash five times as many bytes for the same change. Nodes are hashed only when the root is asked for,
so that all changes of one commit share the work near the top.

The root depends on the content alone, never on the order in which it came: an entry that was added and
removed leaves no trace, and an empty subtree is 32 zero octets. Tags keep bucket, node and root apart
(second-preimage resistance, as in RFC 9162 section 2.1.1).
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_DIGEST: Final = 32
_ENTRY: Final = 2 * _DIGEST
_FAN_OUT: Final = 16
_DEPTH: Final = 4
_BUCKET_TAG: Final = b"\x00"
_NODE_TAG: Final = b"\x01"
_ROOT_TAG: Final = b"\x02keyturn/map/1\x00"
_EMPTY: Final = bytes(_DIGEST)
_EMPTY_NODE: Final = bytes(_DIGEST * _FAN_OUT)


class AuthenticatedMap:
    """Bytes to digests, with a root that covers name, size and every entry.

    Args:
        name: What the map holds; part of the root, so that two tables cannot change places.
    """

    __slots__ = ("_buckets", "_dirty", "_levels", "_name", "_size")

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._size = 0
        # Bucket number to its entries: SHA-256(key) and SHA-256(value), sorted by the first, without separators.
        self._buckets: dict[int, bytes] = {}
        self._levels: tuple[dict[int, bytearray], ...] = tuple({} for _ in range(_DEPTH))
        self._dirty: set[int] = set()

    def __len__(self) -> int:
        return self._size

    def set(self, key: bytes, value: bytes) -> None:
        """Put the digest of `value` under `key`, replacing what was there.

        Args:
            key: Identity of the entry, any length.
            value: Content; only its SHA-256 is kept.
        """
        place = sha256(key).digest()
        number = place[0] << 8 | place[1]
        bucket = self._buckets.get(number, b"")
        offset, found = _find(bucket, place)
        self._buckets[number] = bucket[:offset] + place + sha256(value).digest() + bucket[offset + _ENTRY * found :]
        self._size += not found
        self._dirty.add(number)

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Fill an empty map; as many times `set`, but faster.

        Args:
            rows: Keys, each once, with their values.
        """
        entries = [sha256(key).digest() + sha256(value).digest() for key, value in rows]
        entries.sort()
        self._size = len(entries)
        buckets = self._buckets
        for entry in entries:
            number = entry[0] << 8 | entry[1]
            buckets[number] = buckets.get(number, b"") + entry
        if buckets:
            self._build()

    def remove(self, key: bytes) -> None:
        """Take the entry `key` out.

        Args:
            key: Identity of the entry.

        Raises:
            KeyError: There is no such entry.
        """
        place = sha256(key).digest()
        number = place[0] << 8 | place[1]
        bucket = self._buckets.get(number, b"")
        offset, found = _find(bucket, place)
        if not found:
            raise KeyError(key)
        rest = bucket[:offset] + bucket[offset + _ENTRY :]
        if rest:
            self._buckets[number] = rest
        else:
            del self._buckets[number]
        self._size -= 1
        self._dirty.add(number)

    def root(self) -> bytes:
        """Digest over name, size and all entries.

        Returns:
            32 bytes.
        """
        if self._dirty:
            self._rehash()
        top = self._levels[0].get(0)
        digest = sha256(_NODE_TAG + top).digest() if top is not None else _EMPTY
        return sha256(_ROOT_TAG + self._name + b"\x00" + self._size.to_bytes(8, "big") + digest).digest()

    def _build(self) -> None:
        """Hash everything, level by level: for most of a large map that is three times as fast as `_rehash`."""
        digests = [_EMPTY] * _FAN_OUT**_DEPTH
        for number, bucket in self._buckets.items():
            digests[number] = sha256(_BUCKET_TAG + bucket).digest()
        for level in reversed(self._levels):
            nodes = [b"".join(digests[first : first + _FAN_OUT]) for first in range(0, len(digests), _FAN_OUT)]
            level.update((number, bytearray(node)) for number, node in enumerate(nodes) if node != _EMPTY_NODE)
            digests = [_EMPTY if node == _EMPTY_NODE else sha256(_NODE_TAG + node).digest() for node in nodes]

    def _rehash(self) -> None:
        changed: dict[int, bytes] = {}
        for number in self._dirty:
            bucket = self._buckets.get(number)
            changed[number] = sha256(_BUCKET_TAG + bucket).digest() if bucket is not None else _EMPTY
        self._dirty.clear()
        for level in reversed(self._levels):
            parents: set[int] = set()
            for number, digest in changed.items():
                parent, position = divmod(number, _FAN_OUT)
                node = level.get(parent)
                if node is None:
                    node = level[parent] = bytearray(_EMPTY_NODE)
                node[position * _DIGEST : (position + 1) * _DIGEST] = digest
                parents.add(parent)
            changed = {}
            for parent in parents:
                node = level[parent]
                if node == _EMPTY_NODE:
                    del level[parent]
                    changed[parent] = _EMPTY
                else:
                    changed[parent] = sha256(_NODE_TAG + node).digest()


def _find(bucket: bytes, place: bytes) -> tuple[int, bool]:
    """Where `place` stands in a bucket, or would stand, and whether it is there."""
    for offset in range(0, len(bucket), _ENTRY):
        here = bucket[offset : offset + _DIGEST]
        if here >= place:
            return offset, here == place
    return len(bucket), False
