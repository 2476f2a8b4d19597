"""`keyturn transport trust`: this side's key as words, and pinning the other side's."""

from __future__ import annotations

import base64
import binascii
import sys
from typing import TYPE_CHECKING, Any

import click

from keyturn.approver.first_trust import parse_words
from keyturn.cli.examples import examples
from keyturn.cli.officer import json_option
from keyturn.cli.officer_view import console
from keyturn.cli.transport_options import EXIT_DECLINED, data_dir_option, open_station, print_json, yes_option
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.transport.instance_key import check_public_key, trust_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from keyturn.transport.station import Station
    from keyturn.transport.trust import Peer


@click.command(
    "trust",
    short_help="Show this side's key as words, or pin the other side's.",
    epilog=examples(
        "keyturn transport trust",
        "keyturn transport trust --pin 5d1c --name vault",
        "keyturn transport trust --forget vault",
    ),
)
@click.option("--pin", "public", metavar="KEY", help="Public key of the other side (hex or base64), to be pinned.")
@click.option("--name", default=None, help="What the other side is called here.")
@click.option("--words", default=None, help="The sixteen words, as the other side reads them from its own screen.")
@click.option("--forget", metavar="NAME", help="Trust this side no longer.")
@yes_option
@data_dir_option
@json_option
def trust_command(
    public: str | None,
    name: str | None,
    words: str | None,
    forget: str | None,
    yes: bool,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Show this side's key as sixteen words, or pin the other side's after comparing its words."""
    station = open_station(data_dir)
    if forget is not None:
        if public is not None:
            raise click.UsageError("--forget and --pin are two steps.")
        station.trust.forget(forget)
    if public is not None:
        if name is None:
            raise click.UsageError("--pin needs --name: what is the other side called here?")
        _pin(station, name, _public_key(public), words, yes=yes, quiet=as_json)
    peers = station.trust.peers()
    if as_json:
        own = {"publicKey": station.key.public.hex(), "fingerprint": station.key.fingerprint}
        print_json({**own, "words": list(station.key.words), "trusted": [_peer_json(peer) for peer in peers]})
        return
    screen = console()
    screen.print("This side, for the other side to pin:")
    _print_key(screen.print, station.key.public, station.key.words)
    screen.print("Trusted here:" if peers else "Nobody is trusted here yet.")
    for peer in peers:
        screen.print(f"  {peer.name}")
        _print_key(screen.print, peer.public, peer.words)


def _pin(station: Station, name: str, public: bytes, words: str | None, *, yes: bool, quiet: bool) -> None:
    shown = trust_words(check_public_key(public))
    screen = console(err=quiet)
    if words is not None:
        if parse_words(words) != shown:
            raise KeyturnError(
                ErrorCode.INVALID_SIGNATURE,
                "The words differ: this is not the key that the other side has. Nothing was pinned. Fetch the key "
                "again, and find out who changed it on the way.",
                refusal="trust.words-differ",
            )
    elif not yes:
        screen.print(f"The key to pin as {name}:")
        _print_key(screen.print, public, shown)
        if not click.confirm("Does the other side read exactly these words from its own screen?", err=True):
            screen.print("Nothing was pinned.")
            sys.exit(EXIT_DECLINED)
    station.trust.pin(name, public)


def _public_key(text: str) -> bytes:
    try:
        if len(text) == 64:  # Hex digits of 32 bytes.
            return bytes.fromhex(text)
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return check_public_key(b"")


def _print_key(write: Callable[[str], object], public: bytes, words: Sequence[str]) -> None:
    write(f"    key    {public.hex()}")
    write(f"    words  {' '.join(words[:8])}")
    write(f"           {' '.join(words[8:])}")


def _peer_json(peer: Peer) -> dict[str, Any]:
    return {
        "name": peer.name,
        "publicKey": peer.public.hex(),
        "fingerprint": peer.fingerprint,
        "words": list(peer.words),
    }
