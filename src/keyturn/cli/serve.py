"""`keyturn serve`: the broker with its REST API, and in the default an HSM process beside it.

Source: decisions 3, 25; docs/security/rules.md R1, R30.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import pwd
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from keyturn import __version__
from keyturn.cli.examples import examples
from keyturn.cli.progress import working
from keyturn.config import PROFILES, Settings, load_settings
from keyturn.config.exposure import asks_for, is_loopback, require_loopback
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.plain import system_reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.broker.executor import Executor
    from keyturn.hsm.embedded import EmbeddedHsm

BACKUP_KEY: Final = "backup-key"
"""Label of the embedded HSM's backup key where the settings name none."""
HSM_DIRECTORY: Final = "hsm"
"""Where in the data directory the embedded HSM keeps its store."""

_NO_LOGIN: Final = ("nologin", "false", "sync", "shutdown", "halt")
_FIRST_PERSON: Final = 1000
"""User ids from here on belong to people (login.defs UID_MIN)."""
_LAST_PERSON: Final = 60_000


@click.command(
    epilog=examples(
        "keyturn serve",
        "keyturn serve --port 9000 --data-dir office --hsm unix:/run/keyturn/hsm.sock",
        "keyturn serve --profile air-gapped --attestation-cert pinned.pem",
    )
)
@click.option("--profile", type=click.Choice(PROFILES), help="local: with an HSM; air-gapped: without one.")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Where state is kept.")
@click.option("--host", help="Address to listen on [127.0.0.1].")
@click.option("--port", type=int, help="TCP port to listen on, 0 for any free one [8080].")
@click.option("--config", type=click.Path(path_type=Path), help="YAML file with settings.")
@click.option("--hsm", "hsm_address", help="unix:PATH or tcp://HOST:PORT of the HSM; without it one is started.")
@click.option(
    "--attestation-cert",
    "certificates",
    multiple=True,
    type=click.Path(path_type=Path),
    help="PEM chain of an offline device whose keys may be registered (air-gapped; repeatable).",
)
@click.option("--json", "as_json", is_flag=True, help="When ready, print one line of JSON to standard output.")
def serve(
    *,
    profile: str | None,
    data_dir: Path | None,
    host: str | None,
    port: int | None,
    config: Path | None,
    hsm_address: str | None,
    certificates: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Run the broker and its REST API.

    With profile local and no HSM named, an HSM process is started beside it: convenient, and without isolation.
    Ready when GET /v1/versionInfo answers 200.
    """
    settings = load_settings(
        file=config,
        environment=os.environ,
        flags={
            "profile": profile,
            "dataDir": data_dir,
            "server.host": host,
            "server.port": port,
            "hsm.address": hsm_address,
            "offlineHsm.attestationCertificates": certificates or None,
        },
    )
    # The broker's files are nobody else's business, whatever the shell's umask says.
    os.umask(0o077)
    logging.basicConfig(level=logging.WARNING, format="keyturn: %(levelname)s: %(message)s", stream=sys.stderr)
    # What strangers send is not worth a line of our log each, and its advice about packages does not apply.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, as_json=as_json))


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            f"The data directory {directory} cannot be made: {error.strerror}. Choose another with --data-dir.",
            refusal="config.data-directory",
        ) from None


async def _serve(settings: Settings, *, as_json: bool) -> None:
    from keyturn.api.listening import bind

    if not asks_for(settings):
        require_loopback(settings.host)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        # The port first: whether it is taken is known before anything is created.
        bound = stack.enter_context(contextlib.closing(bind(settings.host, settings.port)))
        port = bound.getsockname()[1]
        _make_directory(settings.data_dir)
        starting = asyncio.create_task(_embedded(settings, stack))
        await asyncio.sleep(0)  # The HSM process begins its own start while the broker's modules load here.

        from keyturn.api.app import Application
        from keyturn.api.http import BESIDE_FILE, Services
        from keyturn.api.server import run
        from keyturn.broker.service import Broker
        from keyturn.broker.settings import BrokerSettings
        from keyturn.cli.access import make_access
        from keyturn.clock import SystemClock
        from keyturn.transport.station import Station

        with working("Starting an HSM beside this server") if not starting.done() else contextlib.nullcontext():
            embedded = await starting
        clock = SystemClock()
        access = make_access(settings, port, clock)
        executor = await _executor(settings, embedded)
        broker = await Broker.open(
            BrokerSettings(
                data_dir=settings.data_dir,
                database_url=settings.database_url,
                max_timestamp_age=settings.max_timestamp_age,
                max_timestamp_ahead=settings.max_timestamp_ahead,
                timestamp_services=access.timestamp_services,
                approver_management=settings.approver_management,
                max_spooled=settings.max_spooled,
            ),
            executor,
            clock,
        )
        stack.push_async_callback(broker.close)
        info = await broker.info()
        services = Services(
            broker=broker,
            station=Station(settings.data_dir, clock),
            allow_seconds=settings.allow_seconds,
            swagger_ui=settings.swagger_ui,
            max_file_size=settings.max_file_size,
            max_request_size=settings.max_file_request_size or settings.max_file_size + BESIDE_FILE,
        )
        app = Application(services, access.guard, access.gate, access.request_signers)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        url = f"{'http' if access.tls is None else 'https'}://{host}:{port}"

        def ready() -> None:
            for line in banner(settings, url, info, () if embedded is None else embedded.notices):
                click.echo(line, err=True)
            if as_json:
                click.echo(json.dumps({"url": url, "pid": os.getpid(), "profile": settings.profile} | info))

        if stop.is_set():
            return  # Told to end while starting: nothing was announced, nothing is.
        watch = None if embedded is None else asyncio.create_task(_watch(embedded, stop))
        await run(app, bound, stop=stop, ready=ready, tls=access.tls)
        if watch is not None:
            if watch.done() and watch.result():
                raise KeyturnError(
                    ErrorCode.HSM_FAILURE,
                    "The HSM process ended by itself, so the server stopped too. Nothing acknowledged is lost: start "
                    "again, and what was under way is taken up.",
                    refusal="hsm.ended",
                )
            watch.cancel()


def embedded_options(settings: Settings) -> list[str]:
    """The words for `keyturn hsm serve` that follow from the broker's settings.

    Args:
        settings: The settings in force.
    """
    flags = {
        "--require-protected-modify": settings.hsm_require_protected_modify,
        "--allow-unlabelled-approvals": settings.hsm_allow_unlabelled_approvals,
        "--allow-replayed-control-approvals": settings.hsm_allow_replayed_control_approvals,
        "--allow-weak-keys": settings.hsm_allow_weak_keys,
        "--allow-open-backup-key": settings.hsm_allow_open_backup_key,
    }
    values = {
        "--timestamp-key-name": settings.hsm_timestamp_key_name,
        "--attestation-key-name": settings.hsm_attestation_key_name,
        "--receipt-key-name": settings.hsm_receipt_key_name,
        "--rfc-timestamp-key-name": settings.hsm_rfc_timestamp_key_name,
        "--backup-key-name": settings.hsm_backup_key_name or (BACKUP_KEY if settings.approver_management else ""),
        "--deleted-key-retention-days": _unless(
            settings.hsm_deleted_key_retention_days, Settings().hsm_deleted_key_retention_days
        ),
        "--clock-tolerance": _unless(settings.hsm_clock_tolerance, Settings().hsm_clock_tolerance),
        "--clock-bound": _unless(settings.hsm_clock_bound, Settings().hsm_clock_bound),
    }
    words = [flag for flag, given in flags.items() if given]
    for flag, value in values.items():
        words += [flag, value] if value else []
    return words


def _unless(value: int, default: int) -> str:
    return "" if value == default else str(value)


async def _embedded(settings: Settings, stack: contextlib.AsyncExitStack) -> EmbeddedHsm | None:
    """Start the HSM beside this server where none is named; it ends with `stack`."""
    if settings.profile != "local" or settings.hsm_address:
        return None
    from keyturn.hsm.embedded import start_embedded

    embedded = await start_embedded(
        settings.data_dir / HSM_DIRECTORY,
        options=embedded_options(settings),
        passphrase_file=settings.hsm_passphrase_file,
    )
    stack.push_async_callback(embedded.stop)
    return embedded


async def _watch(embedded: EmbeddedHsm, stop: asyncio.Event) -> bool:
    """Stop the server when the HSM process beside it ends, and say that it did."""
    await embedded.process.wait()
    ended_by_itself = not stop.is_set()
    stop.set()
    return ended_by_itself


async def _executor(settings: Settings, embedded: EmbeddedHsm | None) -> Executor:
    if settings.profile == "air-gapped":
        from keyturn.broker.airgapped import AirGappedExecutor

        return AirGappedExecutor([_read_text(path) for path in settings.attestation_certificates])
    from keyturn.broker.local import LocalExecutor
    from keyturn.broker.witness import WitnessBook
    from keyturn.hsm.client import HsmClient, TlsFiles

    tls = None
    if settings.hsm_tls_certificate and settings.hsm_tls_key and settings.hsm_tls_ca:
        tls = TlsFiles(certificate=settings.hsm_tls_certificate, key=settings.hsm_tls_key, ca=settings.hsm_tls_ca)
    address = embedded.address if embedded is not None else settings.hsm_address
    witnesses = WitnessBook.open(settings.data_dir)
    return LocalExecutor(await HsmClient.connect(address, tls=tls, witnesses=witnesses), witnesses)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = system_reason(error) if isinstance(error, OSError) else "it is no text in ASCII"
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            f"The attestation certificate {path} cannot be read as PEM: {reason}. It is what GET /v1/attestation of "
            "the offline side gives.",
            refusal="config.attestation-certificate",
        ) from error


def banner(settings: Settings, url: str, info: dict[str, Any], notices: tuple[str, ...]) -> Iterator[str]:
    """What is said at the start, in a few lines: where, what, and what is only good for development.

    Args:
        settings: The settings in force.
        url: Where the server answers.
        info: What `GET /v1/versionInfo` says about the HSM.
        notices: What an HSM started beside the server wants to be shown.
    """
    yield f"keyturn {__version__}, profile {settings.profile}, ready at {url} (description: {url}/swagger-ui)"
    if settings.profile == "local" and not settings.hsm_address:
        yield "  HSM       started beside this server:"
        yield from (f"            {notice}" for notice in notices)
    elif settings.profile == "local":
        yield f"  HSM       {settings.hsm_address}, isolation={info.get('isolation', 'unknown')}"
    else:
        count = len(settings.attestation_certificates)
        yield f"  HSM       none here: requests are carried. Pinned offline devices: {count}" + (
            "." if count else "; none, so no key can be registered (--attestation-cert FILE)."
        )
    if switches := info.get("switches"):
        yield f"  switches  weakened by: {', '.join(switches)}"
    if settings.approver_management:
        yield "  approvers approver management is on: the HSM makes officers' keys, so others than they hold them first"
    if info.get("rolledBack"):
        yield (
            "  WARNING   the HSM's store has been put back to an older state: timestamps and keys with a policy are "
            "refused until its administrator has looked (keyturn hsm status)."
        )
    asked = asks_for(settings)
    yield f"  access    {' and '.join(asked) if asked else f'no authentication, therefore {settings.host} only'}"
    if settings.tls_certificate is None and asked and not is_loopback(settings.host):
        yield "  WARNING   no TLS here: keys and tokens can be read on the way, unless a proxy in front speaks TLS."
    others = () if asked else other_people()
    if others:
        yield (
            f"  WARNING   this machine has other users ({', '.join(others[:5])}); each of them can use this server, "
            "because loopback is open to all users of a machine."
        )


def other_people() -> list[str]:
    """Names of other users of this machine who can log in (R30)."""
    return sorted(
        entry.pw_name
        for entry in pwd.getpwall()
        if _FIRST_PERSON <= entry.pw_uid < _LAST_PERSON
        and entry.pw_uid != os.getuid()
        and Path(entry.pw_shell).name not in _NO_LOGIN
    )
