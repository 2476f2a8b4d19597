"""The other sides whose bundles are accepted here: pinned keys in one small file.

Pinning happens once, after two people compared sixteen words (`keyturn transport trust`). Whoever is not in the file is
foreign. The file is public data, but who may write it decides who is believed: it lies in the private data directory.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.transport.files import PRIVATE_FILE, make_private_directory, read_bounded, write_atomically
from keyturn.transport.instance_key import check_public_key, fingerprint, trust_words

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME: Final = "trusted.json"
"""Its place in the data directory."""

MAX_PEERS: Final = 256
"""Most pinned keys; an installation has one other side, seldom a few."""

_MAX_FILE: Final = 1 << 16
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Peer:
    """Another installation.

    Args:
        name: What it is called here; 1 to 64 letters, digits, dots, dashes.
        public: Its raw public instance key, 32 bytes.
    """

    name: str
    public: bytes

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its key, hex."""
        return fingerprint(self.public)

    @property
    def words(self) -> tuple[str, ...]:
        """The sixteen words of its key."""
        return trust_words(self.public)


class _PeerEntry(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    name: str
    public_key: str


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    peers: list[_PeerEntry]


class TrustStore:
    """The pinned keys of one data directory.

    Args:
        path: The file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def peers(self) -> tuple[Peer, ...]:
        """All pinned keys, in the order in which they were pinned.

        Raises:
            FormatError: `trust.unreadable` if the file is not one that this class wrote.
            KeyturnError: `trust.permissions` if others could write it.
        """
        if not self._path.exists():
            return ()
        content = read_bounded(self._path, _MAX_FILE)
        mode = stat.S_IMODE(self._path.stat().st_mode)
        if mode & 0o022:
            raise KeyturnError(
                ErrorCode.CONFIG_NOT_VALID,
                f"Others may write {self._path} (mode {mode:04o}) and so decide who is believed here. "
                f"chmod 600 {self._path}, then compare the words of each key in it with the other side: "
                "keyturn transport trust shows them.",
                refusal="trust.permissions",
            )
        try:
            file = msgspec.json.decode(content, type=_File)
            peers = tuple(Peer(entry.name, bytes.fromhex(entry.public_key)) for entry in file.peers)
        except (ValueError, msgspec.MsgspecError) as error:
            raise self._unreadable() from error
        if file.version != 1 or len({peer.name for peer in peers}) != len(peers):
            raise self._unreadable()
        for peer in peers:
            check_public_key(peer.public)
        return peers

    def keys(self) -> tuple[bytes, ...]:
        """The raw public keys of all peers."""
        return tuple(peer.public for peer in self.peers())

    def pin(self, name: str, public: bytes) -> Peer:
        """Trust a key from now on. Call it only after the words were compared.

        Args:
            name: What the other side is called here.
            public: Its raw public key, 32 bytes.

        Returns:
            The peer; pinning the same key under the same name again changes nothing.

        Raises:
            KeyturnError: `trust.name` for a bad name, `trust.other-key` if the name has another key,
                `trust.known-key` if the key has another name, `instance-key.unusable` for a bad key.
        """
        if not _NAME.fullmatch(name):
            raise FormatError(
                "A name for the other side has 1 to 64 letters, digits, dots, dashes.", refusal="trust.name"
            )
        peer = Peer(name, check_public_key(public))
        known = self.peers()
        for other in known:
            if other == peer:
                return peer
            if other.name == name:
                raise KeyturnError(
                    ErrorCode.SECURITY_NOT_ALLOWED,
                    f"{name} is already trusted with another key ({other.fingerprint[:16]}…). If it really has a new "
                    f"one: keyturn transport trust --forget {name}, then compare the words and pin the new key.",
                    refusal="trust.other-key",
                )
            if other.public == peer.public:
                raise KeyturnError(
                    ErrorCode.SECURITY_NOT_ALLOWED,
                    f"This key is already trusted under the name {other.name}.",
                    refusal="trust.known-key",
                )
        if len(known) >= MAX_PEERS:
            raise KeyturnError(
                ErrorCode.SECURITY_NOT_ALLOWED,
                f"There are {MAX_PEERS} pinned keys already. Forget some first.",
                refusal="trust.too-many",
            )
        self._write((*known, peer))
        return peer

    def forget(self, name: str) -> Peer:
        """Trust a key no longer.

        Raises:
            KeyturnError: `trust.unknown-peer` if nobody has this name.
        """
        peer = self.find(name)
        self._write(tuple(other for other in self.peers() if other != peer))
        return peer

    def find(self, name: str | None) -> Peer:
        """The peer of this name; with None the only one there is.

        Raises:
            KeyturnError: `trust.unknown-peer` if there is none of this name, or not exactly one in all.
        """
        known = self.peers()
        found = [peer for peer in known if name is None or peer.name == name]
        if len(found) == 1:
            return found[0]
        names = ", ".join(peer.name for peer in known) or "nobody"
        message = f"Nobody called {name} is trusted here" if name is not None else "It is not clear for whom this is"
        raise KeyturnError(
            ErrorCode.SECURITY_NOT_ALLOWED,
            f"{message}; trusted: {names}. Pin the other side's key with keyturn transport trust"
            + (", or name it with --to." if name is None else "."),
            refusal="trust.unknown-peer",
        )

    def _write(self, peers: tuple[Peer, ...]) -> None:
        make_private_directory(self._path.parent)
        file = _File(version=1, peers=[_PeerEntry(name=peer.name, public_key=peer.public.hex()) for peer in peers])
        content = msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n"
        write_atomically(self._path, content, mode=PRIVATE_FILE)

    def _unreadable(self) -> FormatError:
        return FormatError(
            f"{self._path} is not a list of pinned keys as keyturn writes it. Put the right file back, or move it away "
            "and pin the other sides again.",
            refusal="trust.unreadable",
        )
