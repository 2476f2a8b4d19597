"""Options and small helpers that the courier's commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import click

from keyturn.approver.address_book import AddressBook, default_path
from keyturn.approver.policy_words import Reader
from keyturn.approver.terminal import visible
from keyturn.clock import SystemClock
from keyturn.config import DEFAULT_DATA_DIR
from keyturn.transport.station import Station

EXIT_INCOMPLETE: Final = 3
"""Parts of a message are missing."""
EXIT_REFUSED_THERE: Final = 4
"""The server, or the HSM behind it, refused."""
EXIT_DECLINED: Final = 5
"""The person said no."""

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DATA_DIR,
    show_default=True,
    envvar="KEYTURN_DATADIR",
    help="Data directory of this side: instance key, pinned keys, and which bundles were imported.",
)
ca_option = click.option(
    "--ca-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="PEM certificates that may vouch for the server (TLS).",
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask; for scripts.")


def open_station(data_dir: Path) -> Station:
    """This side of the gap.

    Args:
        data_dir: Its data directory.
    """
    return Station(data_dir, SystemClock())


def open_reader(path: Path | None) -> Reader:
    """For whom policies and approvers are put into words.

    Args:
        path: The person's address book, or None for the usual place.
    """
    return Reader(AddressBook.load(default_path() if path is None else path))


def print_json(value: object) -> None:
    """Print a value as JSON on standard output; what could move a cursor or reorder text stands as a JSON escape.

    Args:
        value: What `json.dumps` takes.
    """
    text = json.dumps(value, ensure_ascii=False, indent=2)
    # The line ends are ours; everything else that a terminal could obey stands inside a string.
    click.echo("".join(one if one == "\n" or visible(one) == one else json.dumps(one)[1:-1] for one in text))
