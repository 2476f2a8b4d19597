"""One side of the gap: its instance key, whom it trusts, and its book, together in a data directory.

This is the door of the room for `cli` and `api`:

    station = Station(data_dir, clock)
    sealed = station.seal(REQUEST, request_id, body, to=station.trust.find(None))  # bytes for a file or QR codes
    bundle = station.open(sealed)  # on the other side; refuses or returns
    ...act on it...
    station.note(bundle)  # never again
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from keyturn.transport import book, instance_key, trust
from keyturn.transport.bundle import Bundle, open_bundle, seal_bundle

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.clock import Clock
    from keyturn.transport.trust import Peer


class Station:
    """What one installation needs to give bundles away and take them in.

    Args:
        directory: The data directory. Nothing is created before it is needed.
        clock: For the times noted in the book.
    """

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self.trust = trust.TrustStore(directory / trust.FILE_NAME)
        self._book = book.Book(directory / book.FILE_NAME, clock)

    @cached_property
    def key(self) -> instance_key.InstanceKey:
        """The instance key, made on first use."""
        return instance_key.InstanceKey.load_or_create(self._directory / instance_key.FILE_NAME)

    def seal(self, kind: str, request_id: str | None, body: bytes, *, to: Peer | None, reuse: bool = False) -> bytes:
        """Make a bundle.

        Args:
            kind: One of `bundle.KINDS`.
            request_id: The request it belongs to, None for a key.
            body: JSON text.
            to: Whom it is for; None for whoever trusts this side.
            reuse: Make the same bundle again if one with this content was made before.

        Returns:
            The sealed bytes.
        """
        recipient = None if to is None else to.public
        draft = Bundle(
            kind=kind, request_id=request_id, sender=self.key.public, recipient=recipient, sequence=1, body=body
        )
        seal_bundle(draft, self.key)  # What cannot be sealed takes no number.
        sequence = self._book.next_sequence(
            kind=kind, request_id=request_id, recipient=recipient, body=body, reuse=reuse
        )
        return seal_bundle(
            Bundle(
                kind=kind,
                request_id=request_id,
                sender=self.key.public,
                recipient=recipient,
                sequence=sequence,
                body=body,
            ),
            self.key,
        )

    def open(self, data: bytes, *, again: bool = False) -> Bundle:
        """Open a bundle of a trusted sender, for us, not yet acted upon.

        Args:
            data: The sealed bytes.
            again: Accept one that was acted upon already; for looking at it only.

        Raises:
            KeyturnError: As `bundle.open_bundle`, and `bundle.seen`.
        """
        opened = open_bundle(data, self.trust.keys(), me=self.key.public)
        if not again:
            self._book.require_new(opened)
        return opened

    def note(self, bundle: Bundle) -> None:
        """Remember that `bundle` was acted upon."""
        self._book.note(bundle)

    def peer_name(self, public: bytes) -> str:
        """What the owner of a trusted key is called here, or the head of the key's fingerprint."""
        for peer in self.trust.peers():
            if peer.public == public:
                return peer.name
        return instance_key.fingerprint(public)[:16]
