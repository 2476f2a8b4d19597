"""`keyturn transport`: what a courier and the people at both ends of the gap do.

    keyturn transport trust                        show our words; --pin KEY after comparing the other side's
    keyturn transport export --url … --request ID  online: a request goes out, as a file or as QR codes
    keyturn transport import FILE… --url …         offline: look, confirm, execute, write the answer
    keyturn transport import FILE… --url …         online: look, confirm, bring the answer back
    keyturn transport show FILE…                   only look

Exit status: 0 done; 1 refused (nothing happened); 2 wrong usage; 3 parts are missing; 4 the server or its HSM refused;
5 the person said no.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keyturn.approver.terminal import visible
from keyturn.cli.examples import examples
from keyturn.cli.officer import OfficerGroup, address_book_option, json_option
from keyturn.cli.officer_view import console
from keyturn.cli.server import connect
from keyturn.cli.transport_execute import bring_in, clock_lines, encode, execute
from keyturn.cli.transport_files import Target, target_options
from keyturn.cli.transport_options import (
    EXIT_DECLINED,
    EXIT_INCOMPLETE,
    ca_option,
    data_dir_option,
    open_reader,
    open_station,
    print_json,
    yes_option,
)
from keyturn.cli.transport_trust import trust_command
from keyturn.cli.transport_view import bundle_json, incomplete_json, show_bundle
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.plain import counted
from keyturn.transport.bundle import KEY, KINDS, REQUEST, Bundle, open_bundle
from keyturn.transport.carrier import collect
from keyturn.transport.contents import RequestContents, read_contents
from keyturn.transport.limits import MAX_BUNDLE
from keyturn.transport.operations import OPERATIONS, WITNESS_FIELD
from keyturn.transport.ur import IncompleteError, SeveralMessagesError, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from keyturn.client import RestClient
    from keyturn.transport.contents import Contents
    from keyturn.transport.station import Station

SOURCES = click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))


@click.group(
    "transport",
    cls=OfficerGroup,
    epilog=examples(
        "keyturn transport trust",
        "keyturn transport export --url http://127.0.0.1:8080 --request 4f0e --qr codes",
        "keyturn transport import codes --url http://127.0.0.1:8080 --out answer.ktb",
    ),
)
def transport() -> None:
    """Carry requests and results across the gap, as files or as QR codes."""


transport.add_command(trust_command)


# --- export ----------------------------------------------------------------------------------------------------------


@transport.command(
    "export",
    short_help="Write a request, a result or a key as a file or QR codes.",
    epilog=examples(
        "keyturn transport export --url http://127.0.0.1:8080 --request 4f0e --out request.ktb",
        "keyturn transport export --url http://127.0.0.1:8080 --key treasury --qr codes",
    ),
)
@click.option("--url", help="The server from which to fetch what goes out.")
@click.option("--request", "request_id", help="Id of the request.")
@click.option(
    "--key", "label", help="Label of a key whose attested attributes go out, for registration on the other side."
)
@click.option("--input", "source", type=click.File("rb"), help="JSON body from a file (- is standard input) instead.")
@click.option("--kind", type=click.Choice(sorted(KINDS)), help="What the body of --input is.")
@click.option("--to", "recipient", help="For which pinned side; may be left out if there is only one.")
@click.option("--anyway", is_flag=True, help="Export although the preflight says that approvals are missing.")
@target_options
@data_dir_option
@ca_option
@json_option
def export(
    url: str | None,
    request_id: str | None,
    label: str | None,
    source: Any,
    kind: str | None,
    recipient: str | None,
    anyway: bool,
    file: Path | None,
    folder: Path | None,
    extra: int,
    max_version: int,
    error_correction: str,
    data_dir: Path,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Seal a request, a result or a key, and write it as a file or as QR codes."""
    target = Target(file, folder, extra, max_version, error_correction)
    if not target.named:
        raise click.UsageError("Where to? Give --out FILE, --qr FOLDER, or both.")
    target.require_free()
    notes: list[str] = []
    if source is not None:
        if url is not None or label is not None or kind is None:
            raise click.UsageError("--input needs --kind, and neither --url nor --key.")
        if (kind == KEY) != (request_id is None):
            raise click.UsageError("--request names the request of the body; a key has none.")
        body = source.read(MAX_BUNDLE + 1)
    elif url is not None and (request_id is None) != (label is None) and kind is None:
        with connect(url, ca_file) as server:
            if request_id is not None:
                kind, body = REQUEST, _fetch_request(server, request_id, notes, anyway=anyway)
            else:
                kind, body = KEY, encode(server.key_attributes(str(label)))
    else:
        raise click.UsageError("What? Give --url with --request or --key, or --input with --kind.")
    station = open_station(data_dir)
    peer = station.trust.find(recipient)
    # What the other side could not read does not leave, and takes no number.
    read_contents(_draft(station, kind, request_id, body))
    sealed = station.seal(kind, request_id, body, to=peer)
    bundle = open_bundle(sealed, [station.key.public], me=peer.public)
    contents = read_contents(bundle)
    written = target.write(sealed, f"{bundle.name} for {peer.name}")
    shown = {**bundle_json(bundle, contents, station), "recipient": peer.name, "written": written, "notes": notes}
    if as_json:
        print_json(shown)
        return
    screen = console()
    show_bundle(bundle, contents, station, open_reader(None), screen)
    _tell(screen.print, written, notes)


def _draft(station: Station, kind: str, request_id: str | None, body: bytes) -> Bundle:
    return Bundle(kind=kind, request_id=request_id, sender=station.key.public, recipient=None, sequence=1, body=body)


def _fetch_request(server: RestClient, request_id: str, notes: list[str], *, anyway: bool) -> bytes:
    """The offline input of a request, unless the journey would be for nothing."""
    answer = server.request(request_id)
    body = answer.get("inputOfflineHsm")
    if isinstance(body, dict):
        body = {**body, **_witness(server, body)}
    if isinstance(body, dict) and "timestampRequest" in body:
        notes.append("It asks for the HSM's time only. The approvers get their tasks when the answer is back.")
        return encode(body)
    if body is None:
        raise KeyturnError(
            ErrorCode.UNSUPPORTED_OPERATION,
            f"Request {request_id} has nothing to carry (status {answer.get('status')}). A request goes out when it "
            "has at least one approval, or needs a timestamp of the HSM first, and is still waiting.",
            refusal="export.nothing-to-carry",
        )
    preflight = server.preflight(request_id)
    if preflight.get("satisfied") is not True:
        reason = preflight.get("reason") or "approvals are missing"
        if not anyway:
            raise KeyturnError(
                ErrorCode.MISSING_APPROVAL,
                f"The offline HSM would refuse this: {reason} Collect what is missing first, or export it --anyway.",
                refusal="export.not-satisfied",
            )
        notes.append(f"The preflight says that the offline HSM will refuse this: {reason}")
    notes.extend(_window(preflight))
    return encode(body)


def _witness(server: RestClient, body: dict[str, Any]) -> dict[str, Any]:
    """Something that the offline HSM signed, to travel with a request: the HSM sees whether its store is older (R6)."""
    for name, operation in OPERATIONS.items():
        label = body[name].get(operation.key) if isinstance(body.get(name), dict) else None
        if isinstance(label, str):
            try:
                return {WITNESS_FIELD: server.hsm_witness(label)}
            except KeyturnError as error:
                # A key that was forgotten meanwhile, or a server of another make: the request goes without.
                if error.code is ErrorCode.CONNECTIVITY:
                    raise
    return {}


def _window(preflight: dict[str, Any]) -> list[str]:
    """When the HSM accepts it, by its own clock: the courier plans with this."""
    opening, closing = preflight.get("opensAt"), preflight.get("closesAt")
    found = []
    if isinstance(opening, str):
        found.append(f"By its clock the HSM accepts this from {opening} on; earlier it must wait in the vault.")
    if isinstance(closing, str):
        found.append(f"By its clock the HSM accepts this until before {closing}.")
    return found


# --- show and import -------------------------------------------------------------------------------------------------


@transport.command(
    "show",
    short_help="Look into what was carried; nothing is executed.",
    epilog=examples("keyturn transport show request.ktb", "keyturn transport show codes"),
)
@SOURCES
@address_book_option
@data_dir_option
@json_option
def show(sources: tuple[Path, ...], address_book_path: Path | None, data_dir: Path, as_json: bool) -> None:
    """Look into bundle files, folders or QR pictures; nothing is executed or noted."""
    station = open_station(data_dir)
    bundle, contents, notes = _open(station, sources, again=True, as_json=as_json)
    if as_json:
        print_json({**bundle_json(bundle, contents, station), "notes": notes})
        return
    screen = console()
    show_bundle(bundle, contents, station, open_reader(address_book_path), screen)
    _tell(screen.print, {}, notes)


@transport.command(
    "import",
    short_help="Take in what the courier brought, after showing it.",
    epilog=examples(
        "keyturn transport import request.ktb --url http://127.0.0.1:8080 --out answer.ktb",
        "keyturn transport import codes --url http://127.0.0.1:8080 --qr answer",
    ),
)
@SOURCES
@click.option("--url", required=True, help="The server of this side: offline it executes, online it takes the answer.")
@target_options
@yes_option
@address_book_option
@data_dir_option
@ca_option
@json_option
def import_command(
    sources: tuple[Path, ...],
    url: str,
    file: Path | None,
    folder: Path | None,
    extra: int,
    max_version: int,
    error_correction: str,
    yes: bool,
    address_book_path: Path | None,
    data_dir: Path,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Take in what the courier brought: show it, ask, do it, and write the answer where there is one.

    SOURCES are bundle files, QR pictures (PNG) in any order, or a folder with them.
    """
    target = Target(file, folder, extra, max_version, error_correction)
    station = open_station(data_dir)
    bundle, contents, notes = _open(station, sources, again=False, as_json=as_json)
    if bundle.kind == REQUEST:
        if not target.named:
            raise click.UsageError("Where shall the answer go? Give --out FILE, --qr FOLDER, or both.")
        target.require_ready()
    screen = console(err=as_json)
    with connect(url, ca_file) as server:
        clock = clock_lines(server) if isinstance(contents, RequestContents) else []
        for line in clock:
            screen.print(line)
        show_bundle(bundle, contents, station, open_reader(address_book_path), screen)
        for note in notes:
            screen.print(f"! {visible(note)}")
        if not yes and not click.confirm("Go on?", err=as_json):
            screen.print("Nothing was done.")
            sys.exit(EXIT_DECLINED)
        if isinstance(contents, RequestContents):
            done = execute(server, station, bundle, contents, target, as_json=as_json)
            done["clock"] = clock
        else:
            done = bring_in(server, bundle, contents, as_json=as_json)
    station.note(bundle)
    if as_json:
        done.pop("sealed", None)
        print_json({**bundle_json(bundle, contents, station), "notes": notes, **done})
        return
    screen.print(done["said"])
    if "sealed" in done:
        answer = open_bundle(done["sealed"], [station.key.public], me=bundle.sender)
        show_bundle(answer, read_contents(answer), station, open_reader(address_book_path), screen)
    _tell(screen.print, done.get("written", {}), [])


def _open(
    station: Station, sources: Sequence[Path], *, again: bool, as_json: bool
) -> tuple[Bundle, Contents, list[str]]:
    """Collect, put together, check and decode; exits with 3 if parts are missing."""
    carried = collect(sources)
    try:
        received = carried.require_one()
    except IncompleteError as error:
        if as_json:
            print_json({"complete": False, "messages": incomplete_json(error.messages), "notes": list(carried.notes)})
        click.echo(f"keyturn: {visible(error.message)} [{error.refusal}]", err=True)
        sys.exit(EXIT_INCOMPLETE)
    except SeveralMessagesError as error:
        raise _named(station, error) from error
    strays = [f"Left aside, parts of another message: {describe(stray)}" for stray in received.strays]
    bundle = station.open(received.content, again=again)
    return bundle, read_contents(bundle), [*carried.notes, *strays]


def _named(station: Station, error: SeveralMessagesError) -> FormatError:
    """The same refusal, with what the complete messages among them are."""
    names = []
    for message in error.messages:
        if message.content is None:
            continue
        try:
            names.append(f"“{message.name}” is {station.open(message.content, again=True).name}.")
        except KeyturnError as problem:
            names.append(f"“{message.name}” is refused: {problem.message}")
    return FormatError(" ".join((error.message, *names)), refusal=error.refusal)


# --- small things ----------------------------------------------------------------------------------------------------


def _tell(write: Callable[[str], object], written: dict[str, Any], notes: Sequence[str]) -> None:
    for note in notes:
        write(f"! {visible(note)}")
    if "file" in written:
        write(f"Written: {written['file']} ({written['bytes']} bytes)")
    if "qr" in written:
        drawn = written["qr"]
        spare = f" and {drawn['spares']} spare" if drawn["spares"] else ""
        codes, pages = counted(drawn["parts"], "code"), counted(drawn["pages"], "page")
        write(f"Drawn: {codes}{spare} in {drawn['folder']}, “{drawn['name']}”; {pages} to print")
