"""What the officers' commands share: options, passphrases, a session with a server, foreign text in errors."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keyturn.approver.address_book import AddressBook, default_path
from keyturn.approver.client import ApproverClient
from keyturn.approver.first_trust import device_certificate
from keyturn.approver.keyfiles import MIN_PASSPHRASE, check_passphrase, key_file_content, read_passphrase_file
from keyturn.approver.keys import ApproverKey
from keyturn.approver.memory import SUFFIX, OfficerMemory
from keyturn.approver.terminal import visible
from keyturn.cli.server import connect
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILE = click.Path(dir_okay=False, path_type=Path)

passphrase_option = click.option(
    "--passphrase-file",
    type=FILE,
    help="File whose content (without its last line break) is the key's passphrase; asked for when left out.",
)
key_option = click.option("--key", "key_path", type=FILE, required=True, help="Your approval key file.")
address_book_option = click.option(
    "--address-book",
    "address_book_path",
    type=FILE,
    help="Your own names for fingerprints (default: keyturn/addressbook.json in your configuration directory).",
)
memory_option = click.option(
    "--memory",
    "memory_path",
    type=FILE,
    help="What your client remembers: what you have seen and approved (default: beside the key file, NAME.memory).",
)
url_option = click.option("--url", required=True, help="The server, such as https://broker.example:8443.")
ca_file_option = click.option("--ca-file", type=FILE, help="PEM certificates that may vouch for the server (TLS).")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that `session` takes.

    Args:
        command: The function behind a command; it receives them as keyword arguments.
    """
    for option in (
        ca_file_option,
        click.option(
            "--device-cert",
            "device_cert_path",
            type=FILE,
            help="The HSM's certificate as pinned by `keyturn trust confirm`; with it, the HSM's word is verified.",
        ),
        address_book_option,
        memory_option,
        passphrase_option,
        key_option,
        url_option,
    ):
        command = option(command)
    return command


class OfficerGroup(click.Group):
    """A group whose refusals are safe to print: a server's words are escaped like everything foreign."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; escape the message of a refusal on its way out.

        Args:
            ctx: The command line's context.
        """
        try:
            return super().invoke(ctx)
        except KeyturnError as error:
            error.message = visible(error.message)
            error.args = (error.message,)
            raise


def open_key(key_path: Path, passphrase_file: Path | None) -> ApproverKey:
    """Open an approval key, asking for its passphrase where no file gives it.

    Args:
        key_path: The key file.
        passphrase_file: File with the passphrase, or None to ask.
    """
    if passphrase_file is not None:
        passphrase = read_passphrase_file(passphrase_file)
    else:
        key_file_content(key_path)  # Nobody types a passphrase for a file that is no key.
        passphrase = _ask(f"Passphrase of {key_path}")
    return ApproverKey.load(key_path, passphrase)


def has_terminal() -> bool:
    """Whether somebody sits there who can be asked for a passphrase without showing it."""
    return sys.stdin.isatty()


def _ask(question: str, *, again: str | bool = False) -> bytes:
    if not has_terminal():
        raise click.UsageError("There is no terminal to ask for the passphrase; give --passphrase-file.")
    answer: str = click.prompt(question, hide_input=True, confirmation_prompt=again, err=True, type=str)
    return answer.encode()


def new_passphrase(passphrase_file: Path | None) -> bytes:
    """A passphrase for a new key file: from a file, or typed twice.

    Args:
        passphrase_file: File with the passphrase, or None to ask.

    Raises:
        KeyturnError: `passphrase.short`, `passphrase.simple`, `passphrase.file`.
    """
    if passphrase_file is not None:
        passphrase = read_passphrase_file(passphrase_file)
    else:
        question = f"New passphrase (at least {MIN_PASSPHRASE} bytes)"
        passphrase = _ask(question, again="The same passphrase again")
    check_passphrase(passphrase)
    return passphrase


def open_address_book(path: Path | None) -> AddressBook:
    """The officer's address book.

    Args:
        path: Its file, or None for the usual place.
    """
    return AddressBook.load(default_path() if path is None else path)


def open_memory(key_path: Path, memory_path: Path | None) -> OfficerMemory:
    """What an officer's client remembers.

    Args:
        key_path: The officer's key file.
        memory_path: Its file, or None for the one beside the key file.
    """
    return OfficerMemory(key_path.with_name(key_path.name + SUFFIX) if memory_path is None else memory_path)


def read_file(path: Path, limit: int) -> bytes:
    """A small file's bytes.

    Args:
        path: The file.
        limit: Most bytes to read.

    Raises:
        KeyturnError: `file.unreadable`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED, f"{path} cannot be read: {error.strerror}.", refusal="file.unreadable"
        ) from None
    if len(content) > limit:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED, f"{path} is larger than {limit} bytes.", refusal="file.unreadable"
        )
    return content


@contextmanager
def session(
    *,
    url: str,
    key_path: Path,
    passphrase_file: Path | None,
    address_book_path: Path | None,
    memory_path: Path | None,
    device_cert_path: Path | None,
    ca_file: Path | None,
) -> Iterator[ApproverClient]:
    """An officer's client at a server, closed at the end.

    Args:
        url: The server's address.
        key_path: The officer's key file.
        passphrase_file: File with its passphrase, or None to ask.
        address_book_path: The officer's address book, or None for the usual one.
        memory_path: The officer's memory, or None for the one beside the key file.
        device_cert_path: The pinned device certificate, or None.
        ca_file: PEM certificates that may vouch for the server, or None for the system's.
    """
    device = None if device_cert_path is None else device_certificate(read_file(device_cert_path, 1 << 18))
    book = open_address_book(address_book_path)
    key = open_key(key_path, passphrase_file)
    with connect(url, ca_file) as server:
        memory = open_memory(key_path, memory_path)
        yield ApproverClient(server, key, book, device_certificate=device, memory=memory, address=server.base_url)
