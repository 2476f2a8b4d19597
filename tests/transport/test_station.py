"""Instance key, pinned other sides, and the book of carried bundles (law 1, decisions 16, R29)."""

from __future__ import annotations

import json
import pickle
import sqlite3
import stat
from typing import TYPE_CHECKING

import pytest

from keyturn.clock import ManualClock
from keyturn.errors import FormatError, KeyturnError
from keyturn.ska.words import BYTEWORDS
from keyturn.transport.bundle import REQUEST
from keyturn.transport.instance_key import InstanceKey, check_public_key, trust_words
from keyturn.transport.station import Station
from keyturn.transport.trust import TrustStore
from keyturn_testing.carriers import ALICE, BOB, BODY, known_key, sides

if TYPE_CHECKING:
    from pathlib import Path


def refusal_of(error: pytest.ExceptionInfo[KeyturnError]) -> str:
    return error.value.refusal


# --- instance key ---------------------------------------------------------------------------------------------------


def test_the_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "data" / "instance-key.pem"
    first = InstanceKey.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert InstanceKey.load_or_create(path).public == first.public
    assert [entry.name for entry in path.parent.iterdir()] == ["instance-key.pem"]


def test_instance_key_permissions(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    InstanceKey.load_or_create(path)
    for mode in (0o640, 0o604, 0o660):
        path.chmod(mode)
        with pytest.raises(KeyturnError, match="chmod 600") as refused:
            InstanceKey.load_or_create(path)
        assert refusal_of(refused) == "instance-key.permissions"
    path.chmod(0o600)
    assert len(InstanceKey.load_or_create(path).public) == 32


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_instance_key_unreadable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyturnError) as refused:
        InstanceKey.load_or_create(path)
    assert refusal_of(refused) == "instance-key.unreadable"
    path.unlink()
    assert len(InstanceKey.load_or_create(path).public) == 32


def test_law_1_the_key_shows_itself_nowhere(tmp_path: Path) -> None:
    key = InstanceKey.load_or_create(tmp_path / "key.pem")
    assert repr(key) == f"InstanceKey(fingerprint={key.fingerprint[:16]}…)"
    with pytest.raises(TypeError):
        pickle.dumps(key)


@pytest.mark.rule("R11")
def test_trust_words_are_sixteen_and_change_with_one_bit() -> None:
    words = ALICE.words
    assert len(words) == 16
    assert set(words) <= set(BYTEWORDS)
    changed = bytes([ALICE.public[0] ^ 1]) + ALICE.public[1:]
    assert trust_words(changed) != words == trust_words(ALICE.public)


@pytest.mark.parametrize(
    "public",
    [
        b"",
        bytes(31),
        bytes(33),
        bytes(32),
        b"\x01" + bytes(31),
        b"\xec" + b"\xff" * 30 + b"\x7f",
        b"\xee" + b"\xff" * 30 + b"\x7f",
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    ],
    ids=["empty", "short", "long", "order-4", "neutral", "order-2", "not-canonical", "order-8", "order-8b", "order-8c"],
)
def test_instance_key_unusable(public: bytes) -> None:
    assert check_public_key(BOB.public) == BOB.public
    with pytest.raises(KeyturnError) as refused:
        check_public_key(public)
    assert refusal_of(refused) == "instance-key.unusable"


# --- trust ----------------------------------------------------------------------------------------------------------


def test_a_pinned_key_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "data" / "trusted.json"
    store = TrustStore(path)
    assert store.peers() == ()
    peer = store.pin("vault", BOB.public)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert store.pin("vault", BOB.public) == peer
    assert TrustStore(path).peers() == (peer,) == (store.find("vault"),) == (store.find(None),)
    assert peer.words == BOB.words
    assert store.forget("vault") == peer
    assert store.peers() == ()


def test_trust_other_key(tmp_path: Path) -> None:
    store = TrustStore(tmp_path / "trusted.json")
    store.pin("vault", BOB.public)
    with pytest.raises(KeyturnError, match="--forget vault") as refused:
        store.pin("vault", ALICE.public)
    assert refusal_of(refused) == "trust.other-key"
    assert store.keys() == (BOB.public,)
    store.forget("vault")
    store.pin("vault", ALICE.public)
    assert store.keys() == (ALICE.public,)


def test_trust_known_key_and_trust_name(tmp_path: Path) -> None:
    store = TrustStore(tmp_path / "trusted.json")
    store.pin("vault", BOB.public)
    with pytest.raises(KeyturnError) as refused:
        store.pin("cellar", BOB.public)
    assert refusal_of(refused) == "trust.known-key"
    for name in ("", "a b", "-x", "a" * 65, "ä"):
        with pytest.raises(FormatError) as refused:
            store.pin(name, ALICE.public)
        assert refusal_of(refused) == "trust.name"
    store.pin("cellar", ALICE.public)


def test_trust_unknown_peer(tmp_path: Path) -> None:
    store = TrustStore(tmp_path / "trusted.json")
    with pytest.raises(KeyturnError) as refused:
        store.find(None)
    assert refusal_of(refused) == "trust.unknown-peer"
    store.pin("vault", BOB.public)
    assert store.find(None).name == "vault"
    store.pin("cellar", ALICE.public)
    for name in (None, "attic"):
        with pytest.raises(KeyturnError, match="vault, cellar"):
            store.find(name)
    with pytest.raises(KeyturnError):
        store.forget("attic")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-10],
        lambda text: text.replace('"version": 1', '"version": 2'),
        lambda text: text.replace('"peers"', '"friends"'),
        lambda text: text.replace(BOB.public.hex(), "zz"),
        lambda text: text.replace(BOB.public.hex(), "00" * 32),
        lambda text: json.dumps({**json.loads(text), "peers": json.loads(text)["peers"] * 2}),
    ],
    ids=["cut", "version", "unknown-field", "not-hex", "weak-key", "twice"],
)
def test_trust_unreadable(tmp_path: Path, change: object) -> None:
    path = tmp_path / "trusted.json"
    store = TrustStore(path)
    store.pin("vault", BOB.public)
    good = path.read_text()
    assert callable(change)
    path.write_text(change(good))
    with pytest.raises(KeyturnError) as refused:
        store.peers()
    assert refusal_of(refused) in {"trust.unreadable", "instance-key.unusable"}
    path.write_text(good)
    assert store.keys() == (BOB.public,)


# --- the book and the two sides -------------------------------------------------------------------------------------


def test_one_bundle_crosses_the_gap_once(tmp_path: Path) -> None:
    online, offline = sides(tmp_path)
    sealed = online.seal(REQUEST, "r-1", BODY, to=online.trust.find("vault"))
    bundle = offline.open(sealed)
    assert (bundle.kind, bundle.request_id, bundle.body, bundle.sequence) == (REQUEST, "r-1", BODY, 1)
    assert offline.open(sealed) == bundle, "looking twice is no acting"
    offline.note(bundle)
    with pytest.raises(KeyturnError, match="already imported") as refused:
        offline.open(sealed)
    assert refusal_of(refused) == "bundle.seen"
    assert offline.open(sealed, again=True) == bundle


@pytest.mark.rule("R29")
def test_r29_a_seen_sequence_is_refused_whatever_the_bundle_holds(tmp_path: Path) -> None:
    online, offline = sides(tmp_path)
    vault = online.trust.find("vault")
    offline.note(offline.open(online.seal(REQUEST, "r-1", BODY, to=vault)))
    # Somebody puts an older copy of the online side's data directory back: its numbers begin anew.
    (tmp_path / "online" / "carried.sqlite3").unlink()
    again = online.seal(REQUEST, "r-2", BODY, to=vault)
    with pytest.raises(KeyturnError) as refused:
        offline.open(again)
    assert refusal_of(refused) == "bundle.seen"
    assert offline.open(online.seal(REQUEST, "r-2", BODY, to=vault)).sequence == 2


def test_bundles_may_come_in_any_order_and_from_several_sides(tmp_path: Path) -> None:
    online, offline = sides(tmp_path)
    second = Station(tmp_path / "second", ManualClock())
    offline.trust.pin("branch", second.key.public)
    vault = online.trust.find("vault")
    first, later = (online.seal(REQUEST, name, BODY, to=vault) for name in ("r-1", "r-2"))
    other = second.seal(REQUEST, "r-3", BODY, to=vault)
    for sealed in (later, first, other):
        offline.note(offline.open(sealed))
    for sealed in (later, first, other):
        with pytest.raises(KeyturnError):
            offline.open(sealed)


def test_the_book_survives_a_restart(tmp_path: Path) -> None:
    online, offline = sides(tmp_path)
    sealed = online.seal(REQUEST, "r-1", BODY, to=online.trust.find("vault"))
    offline.note(offline.open(sealed))
    with pytest.raises(KeyturnError):
        Station(tmp_path / "offline", ManualClock()).open(sealed)
    with pytest.raises(KeyturnError) as refused:
        offline.note(offline.open(sealed, again=True))
    assert refusal_of(refused) == "bundle.seen"
    assert stat.S_IMODE((tmp_path / "offline" / "carried.sqlite3").stat().st_mode) == 0o600


def test_the_same_page_again_is_the_same_bundle_and_an_export_is_a_new_one(tmp_path: Path) -> None:
    online, _ = sides(tmp_path)
    vault = online.trust.find("vault")
    shown = online.seal(REQUEST, "r-1", BODY, to=vault, reuse=True)
    assert online.seal(REQUEST, "r-1", BODY, to=vault, reuse=True) == shown
    assert online.seal(REQUEST, "r-1", BODY + b" ", to=vault, reuse=True) != shown
    assert online.seal(REQUEST, "r-1", BODY, to=vault) != shown


def test_what_cannot_be_sealed_takes_no_number(tmp_path: Path) -> None:
    online, _ = sides(tmp_path)
    with pytest.raises(FormatError):
        online.seal("wish", "r-1", BODY, to=None)
    sealed = online.seal(REQUEST, "r-1", BODY, to=None)
    assert sides_open(online, sealed) == 1


def sides_open(online: Station, sealed: bytes) -> int:
    from keyturn.transport.bundle import open_bundle

    return open_bundle(sealed, [online.key.public], me=b"").sequence


def test_book_unusable(tmp_path: Path) -> None:
    online, offline = sides(tmp_path)
    sealed = online.seal(REQUEST, "r-1", BODY, to=online.trust.find("vault"))
    offline.open(sealed)
    path = tmp_path / "offline" / "carried.sqlite3"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(KeyturnError) as refused:
        offline.open(sealed)
    assert refusal_of(refused) == "book.unusable"
    path.write_bytes(b"nonsense" * 200)
    with pytest.raises(KeyturnError) as refused:
        offline.open(sealed)
    assert refusal_of(refused) == "book.unusable"
    path.unlink()
    assert offline.open(sealed).request_id == "r-1"


def test_a_foreign_bundle_is_refused_before_the_book_is_asked(tmp_path: Path) -> None:
    online, _ = sides(tmp_path)
    stranger = Station(tmp_path / "stranger", ManualClock())
    sealed = stranger.seal(REQUEST, "r-1", BODY, to=None)
    with pytest.raises(KeyturnError) as refused:
        online.open(sealed)
    assert refusal_of(refused) == "bundle.foreign"
    online.trust.pin("stranger", stranger.key.public)
    assert online.open(sealed).request_id == "r-1"
    assert online.peer_name(stranger.key.public) == "stranger"
    assert online.peer_name(known_key("x").public) == known_key("x").fingerprint[:16]


def test_trust_permissions(tmp_path: Path) -> None:
    """Who may write the list of pinned keys decides whose bundles are believed."""
    online, offline = sides(tmp_path)
    path = tmp_path / "offline" / "trusted.json"
    sealed = online.seal(REQUEST, "r1", BODY, to=online.trust.find("vault"))
    for mode in (0o620, 0o602, 0o666):
        path.chmod(mode)
        with pytest.raises(KeyturnError, match="chmod 600") as refused:
            offline.open(sealed)
        assert refusal_of(refused) == "trust.permissions"
    path.chmod(0o600)
    assert offline.open(sealed).body == BODY
