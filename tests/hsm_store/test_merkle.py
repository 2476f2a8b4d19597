"""The map behind the root record: its root is a function of its content and of nothing else."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.hsm.merkle import AuthenticatedMap

# Few keys, so that entries are replaced and removed often; long runs, so that buckets are shared.
CHANGES = st.lists(st.tuples(st.integers(0, 40).map(lambda n: b"key %d" % n), st.none() | st.binary(max_size=4)))


def naive_root(name: bytes, content: dict[bytes, bytes]) -> bytes:
    """The same tree written down a second time, from scratch and recursively."""
    entries = sorted((sha256(key).digest(), sha256(value).digest()) for key, value in content.items())

    def digest(inside: list[tuple[bytes, bytes]], depth: int) -> bytes:
        if not inside:
            return bytes(32)
        if depth == 4:
            return sha256(b"\x00" + b"".join(key + value for key, value in inside)).digest()
        children = [[entry for entry in inside if entry[0].hex()[depth] == digit] for digit in "0123456789abcdef"]
        return sha256(b"\x01" + b"".join(digest(child, depth + 1) for child in children)).digest()

    return sha256(
        b"\x02keyturn/map/1\x00" + name + b"\x00" + len(entries).to_bytes(8, "big") + digest(entries, 0)
    ).digest()


@pytest.mark.rule("R6")
@given(changes=CHANGES, looks=st.sets(st.integers(0, 40), max_size=3))
def test_r6_the_root_is_that_of_a_naive_recomputation(
    changes: list[tuple[bytes, bytes | None]], looks: set[int]
) -> None:
    tree, content = AuthenticatedMap("keys"), dict[bytes, bytes]()
    for step, (key, value) in enumerate(changes):
        if value is not None:
            tree.set(key, value)
            content[key] = value
        elif key in content:
            tree.remove(key)
            del content[key]
        else:
            with pytest.raises(KeyError):
                tree.remove(key)
        if step in looks:  # Asking in between changes nothing.
            assert tree.root() == naive_root(b"keys", content)
    assert tree.root() == naive_root(b"keys", content)
    assert len(tree) == len(content)


@pytest.mark.rule("R6")
@given(content=st.dictionaries(st.binary(max_size=8), st.binary(max_size=8)), key=st.binary(max_size=8))
def test_r6_what_is_loaded_at_once_is_what_was_set_one_by_one(content: dict[bytes, bytes], key: bytes) -> None:
    tree, loaded = AuthenticatedMap("keys"), AuthenticatedMap("keys")
    for one, value in content.items():
        tree.set(one, value)
    loaded.load(content.items())
    assert loaded.root() == tree.root() == naive_root(b"keys", content)
    assert len(loaded) == len(tree)
    for map_ in (tree, loaded):
        map_.set(key, b"later")
    assert loaded.root() == tree.root() == naive_root(b"keys", content | {key: b"later"})
    for map_ in (tree, loaded):
        map_.remove(key)
    assert loaded.root() == tree.root()


def test_r6_many_entries_share_buckets_and_still_agree() -> None:
    content = {b"%d" % number: b"value %d" % number for number in range(3000)}
    # Keys that fall into one bucket, found by trying: the sorted place inside a bucket matters, too.
    target = sha256(b"0").digest()[:2]
    number = 0
    crowded = 0
    while crowded < 3:
        number += 1
        if sha256(b"crowd %d" % number).digest()[:2] == target:
            content[b"crowd %d" % number] = b"here"
            crowded += 1
    tree = AuthenticatedMap("keys")
    for key in reversed(content):
        tree.set(key, content[key])
    assert tree.root() == naive_root(b"keys", content)
    loaded = AuthenticatedMap("keys")
    loaded.load(content.items())
    assert loaded.root() == tree.root()
    tree.remove(b"0")
    assert tree.root() != naive_root(b"keys", content)
    del content[b"0"]
    assert tree.root() == naive_root(b"keys", content)


@given(content=st.dictionaries(st.binary(max_size=8), st.binary(max_size=8), min_size=1), bit=st.integers(0))
def test_r6_one_bit_of_any_entry_changes_the_root(content: dict[bytes, bytes], bit: int) -> None:
    tree = AuthenticatedMap("keys")
    for key, value in content.items():
        tree.set(key, value)
    before = tree.root()
    key = sorted(content)[bit % len(content)]
    tree.set(key, content[key] + b"\x01")
    assert tree.root() != before
    tree.set(key, content[key])
    assert tree.root() == before


def test_r6_two_tables_cannot_change_places() -> None:
    keys, labels = AuthenticatedMap("keys"), AuthenticatedMap("labels")
    assert keys.root() != labels.root()
    keys.set(b"a", b"b")
    labels.set(b"a", b"b")
    assert keys.root() != labels.root()
