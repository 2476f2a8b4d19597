"""`keyturn hsm`: the HSM process and its administration."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click
import msgspec

from keyturn.cli.examples import examples
from keyturn.cli.hsm_admin import DIRECTORY, FILE, admin_options, json_option, socket_of, tell, with_admin
from keyturn.cli.hsm_deleted import deleted
from keyturn.cli.hsm_ledger import ledger
from keyturn.cli.hsm_rollback import rollback, rollback_lines, witness
from keyturn.clock import SystemClock, iso
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import admin
from keyturn.hsm.audit import verify as verify_log
from keyturn.hsm.passphrase import read_passphrase_file
from keyturn.hsm.settings import load_settings
from keyturn.hsm.store import LOG_FILE, Store
from keyturn.plain import counted

_passphrase_option = click.option(
    "--passphrase-file", type=FILE, help="Read the passphrase from this file (mode 0600) and do not ask."
)


def _passphrase(file: Path | None, prompt: str, *, confirm: bool = False) -> bytes:
    if file is not None:
        return read_passphrase_file(file)
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask for the passphrase: give --passphrase-file")
    word: str = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
    return word.encode()


@click.group(
    epilog=examples(
        "keyturn hsm serve --data-dir /var/lib/keyturn-hsm", "keyturn hsm status --data-dir /var/lib/keyturn-hsm"
    )
)
def hsm() -> None:
    """The HSM process: the only place where keys are used."""


hsm.add_command(witness)
hsm.add_command(rollback)
hsm.add_command(ledger)
hsm.add_command(deleted)


@hsm.command(
    epilog=examples(
        "keyturn hsm serve --data-dir /var/lib/keyturn-hsm",
        "keyturn hsm serve --data-dir /var/lib/keyturn-hsm --passphrase-file /etc/keyturn/passphrase --json",
        "keyturn hsm serve --data-dir /var/lib/keyturn-hsm --sealed",
    )
)
@click.option("--config", type=FILE, help="The HSM's own settings, YAML; flags win.")
@click.option("--data-dir", type=DIRECTORY, help="Directory of the sealed store.")
@click.option("--listen", help="Where brokers connect: unix:/path (default in the data directory) or tcp://host:port.")
@click.option("--admin-socket", help="Administration socket (default in the data directory).")
@click.option(
    "--allow-uid", "allow_uids", type=int, multiple=True, help="User whose processes may connect; default: this one."
)
@click.option("--passphrase-file", help="File with the passphrase, mode 0600; without it you are asked.")
@click.option("--sealed", is_flag=True, help="Start sealed and do not ask; see `keyturn hsm unseal`.")
@click.option("--tls-cert", help="Certificate chain of the HSM, PEM (TCP).")
@click.option("--tls-key", help="Its private key, PEM (TCP).")
@click.option("--tls-client-ca", help="CA of the brokers' certificates, PEM (TCP).")
@click.option(
    "--require-protected-modify/--no-require-protected-modify",
    default=None,
    help="Refuse protected keys whose policy fewer people could replace than use.",
)
@click.option(
    "--allow-unlabelled-approvals/--no-allow-unlabelled-approvals",
    default=None,
    help="Weakens: count approvals that name no key.",
)
@click.option(
    "--allow-replayed-control-approvals/--no-allow-replayed-control-approvals",
    default=None,
    help="Weakens: let approvals for unblock and modify serve again and again.",
)
@click.option("--allow-weak-keys/--no-allow-weak-keys", default=None, help="Weakens: let RSA 1024 be created.")
@click.option("--timestamp-key-name", help="Name of the integrity key.")
@click.option("--attestation-key-name", help="Name of the attestation key.")
@click.option("--receipt-key-name", help="Name of the receipt key.")
@click.option("--rfc-timestamp-key-name", help="Name of the key for timestamps of RFC 3161.")
@click.option("--transport-key-name", help="Name of the key to which passwords of keys are sealed.")
@click.option(
    "--backup-key-name",
    help="Label of the key under whose policy approver management keeps what it makes; without it there is none.",
)
@click.option(
    "--allow-open-backup-key/--no-allow-open-backup-key",
    default=None,
    help="Weakens: let that key's policy be open, and make it so where there is none.",
)
@click.option(
    "--deleted-key-retention-days", type=int, help="Days that deleted keys lie sealed; default 30, 0 erases at once."
)
@click.option("--clock-tolerance", type=float, help="Seconds the clock may be behind the highest time used; default 2.")
@click.option(
    "--clock-bound",
    type=float,
    help="Seconds the clock may be ahead of it; default 7776000 (90 days), advised where it runs all day: 86400.",
)
@click.option("--stamps-per-second", type=float, help="Rate limit of timestamps.")
@click.option("--attestations-per-second", type=float, help="Rate limit of attestations.")
@click.option("--random-per-second", type=float, help="Rate limit of calls for random bytes.")
@click.option("--kdf-memory", "kdf_memory_kib", type=int, help="Memory of Argon2id for a new passphrase, KiB, >= 8192.")
@click.option("--workers", type=int, help="Most processes for slow operations; 0: one per processor, at most four.")
@click.option("--embedded", type=int, default=0, hidden=True, help="Process id of the broker that starts it.")
@click.option("--json", "as_json", is_flag=True, help="Say that it is ready as one line of JSON.")
def serve(config: Path | None, *, sealed: bool, embedded: int, as_json: bool, **flags: object) -> None:
    """Be the HSM process until SIGTERM."""
    from keyturn.hsm.process import run_hsm

    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    if isinstance(given.get("data_dir"), Path):
        given["data_dir"] = str(given["data_dir"])
    sys.exit(run_hsm(load_settings(config, given), embedded=embedded, sealed=sealed, as_json=as_json))


@hsm.command(epilog=examples("keyturn hsm status --data-dir /var/lib/keyturn-hsm"))
@admin_options
@json_option
def status(data_dir: Path | None, admin_socket: Path | None, *, as_json: bool) -> None:
    """Say how the HSM is."""
    found: admin.Status = with_admin(socket_of(data_dir, admin_socket), admin.AdminClient.status)
    if as_json:
        click.echo(json.dumps(msgspec.structs.asdict(found), indent=2))
        return
    click.echo(f"keyturn HSM {found.version}, process {found.pid}, {'sealed' if found.sealed else 'open'}")
    click.echo(f"  serves brokers at {found.address}, isolation={found.isolation}")
    click.echo(f"  weakening switches: {', '.join(found.switches) or 'none'}")
    if not found.sealed:
        click.echo(
            f"  instance {found.instance_id}, restore epoch {found.restore_epoch}, counter {found.state_counter}"
        )
        for line in rollback_lines(found):
            click.echo(f"  {line}")
        click.echo(f"  {counted(found.keys, 'key')}")
        click.echo(f"  clock {found.clock}: {iso(found.clock_reading)}, highest time used {iso(found.clock_mark)}")
        if found.clock != "good":
            click.echo("  time-bound work is refused: set the clock right, or `keyturn hsm clock confirm`")
    elif not found.has_store:
        click.echo("  there is no store yet: `keyturn hsm unseal --create`")
    for notice in found.notices:
        click.echo(f"  note: {notice}")


@hsm.command(
    epilog=examples(
        "keyturn hsm unseal --data-dir /var/lib/keyturn-hsm",
        "keyturn hsm unseal --data-dir /var/lib/keyturn-hsm --create --passphrase-file first-passphrase",
    )
)
@admin_options
@_passphrase_option
@click.option("--create", is_flag=True, help="Make the store; there is none yet.")
@click.option("--accept-log-loss", is_flag=True, help="Go on without the whole decision log; counted for ever.")
@json_option
def unseal(
    data_dir: Path | None,
    admin_socket: Path | None,
    passphrase_file: Path | None,
    *,
    create: bool,
    accept_log_loss: bool,
    as_json: bool,
) -> None:
    """Give a sealed HSM its passphrase."""
    path = socket_of(data_dir, admin_socket)
    message = admin.Unseal(_passphrase(passphrase_file, "Passphrase", confirm=create), create, accept_log_loss)
    with_admin(path, lambda client: client.call(message, admin.AdminDone))
    done = {"done": "unseal", "adminSocket": str(path), "created": create, "acceptedLogLoss": accept_log_loss}
    tell("unsealed", done, as_json=as_json)


@hsm.command(
    short_help="Write a backup of the running HSM's store to a new file.",
    epilog=examples("keyturn hsm backup /media/stick/today.ktbackup --data-dir /var/lib/keyturn-hsm"),
)
@click.argument("target", type=FILE)
@admin_options
@json_option
def backup(target: Path, data_dir: Path | None, admin_socket: Path | None, *, as_json: bool) -> None:
    """Write a backup of the running HSM's store to TARGET, a new file."""
    message = admin.MakeBackup(str(target.absolute()))
    with_admin(socket_of(data_dir, admin_socket), lambda client: client.call(message, admin.AdminDone))
    done = {"done": "backup", "file": message.target}
    tell(f"backup written to {target}; it opens with today's passphrase", done, as_json=as_json)


@hsm.command(epilog=examples("keyturn hsm restore /media/stick/today.ktbackup --data-dir /var/lib/keyturn-hsm"))
@click.argument("source", type=click.Path(dir_okay=False, exists=True, path_type=Path))
@click.option("--data-dir", type=DIRECTORY, required=True, help="Where the store shall live; no HSM may run on it.")
@_passphrase_option
@click.option("--overwrite", is_flag=True, help="Replace the store there; it is kept in replaced-<n>.")
@click.option("--epoch-above", type=click.IntRange(min=0), default=0, help="Highest restore epoch seen elsewhere.")
@json_option
def restore(
    source: Path,
    data_dir: Path,
    passphrase_file: Path | None,
    *,
    overwrite: bool,
    epoch_above: int,
    as_json: bool,
) -> None:
    """Make a store from the backup SOURCE, with a new restore epoch."""
    Store.restore(
        source,
        data_dir,
        _passphrase(passphrase_file, "Passphrase of the backup"),
        clock=SystemClock(),
        overwrite=overwrite,
        epoch_above=epoch_above,
    )
    done = {"done": "restore", "file": str(source.absolute()), "dataDir": str(data_dir.absolute())}
    tell(f"restored to {data_dir}; what happened after the backup is not in it", done, as_json=as_json)


@hsm.command(epilog=examples("keyturn hsm passphrase --data-dir /var/lib/keyturn-hsm"))
@admin_options
@click.option("--old-file", type=FILE, help="File with the passphrase so far.")
@click.option("--new-file", type=FILE, help="File with the new passphrase.")
@json_option
def passphrase(
    data_dir: Path | None, admin_socket: Path | None, old_file: Path | None, new_file: Path | None, *, as_json: bool
) -> None:
    """Change the passphrase; older backups keep the old one."""
    path = socket_of(data_dir, admin_socket)
    message = admin.ChangePassphrase(
        _passphrase(old_file, "Passphrase so far"), _passphrase(new_file, "New passphrase", confirm=True)
    )
    with_admin(path, lambda client: client.call(message, admin.AdminDone))
    tell("the passphrase is changed", {"done": "passphrase", "adminSocket": str(path)}, as_json=as_json)


@hsm.command(epilog=examples("keyturn hsm stop --data-dir /var/lib/keyturn-hsm"))
@admin_options
@json_option
def stop(data_dir: Path | None, admin_socket: Path | None, *, as_json: bool) -> None:
    """End the HSM process in good order."""
    path = socket_of(data_dir, admin_socket)
    with_admin(path, lambda client: client.call(admin.Shutdown(), admin.AdminDone))
    tell("the HSM ends", {"done": "stop", "adminSocket": str(path)}, as_json=as_json)


@hsm.group(epilog=examples("keyturn hsm clock confirm --data-dir /var/lib/keyturn-hsm"))
def clock() -> None:
    """The HSM's clock."""


@clock.command(
    epilog=examples(
        "keyturn hsm clock confirm --data-dir /var/lib/keyturn-hsm",
        "keyturn hsm clock confirm --data-dir /var/lib/keyturn-hsm --backwards",
    )
)
@admin_options
@click.option("--backwards", is_flag=True, help="Put the mark back: the time used before was wrong.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def confirm(data_dir: Path | None, admin_socket: Path | None, *, backwards: bool, yes: bool, as_json: bool) -> None:
    """Confirm that the system's clock is right, after looking at it."""

    async def act(client: admin.AdminClient) -> admin.Status:
        found = await client.status()
        if found.sealed:
            raise KeyturnError(ErrorCode.HSM_FAILURE, "the HSM is sealed: unseal it first", refusal="hsm.sealed")
        # What the person looks at; with --json, standard output holds the object only.
        click.echo(
            f"clock {iso(found.clock_reading)} ({found.clock}), highest time used {iso(found.clock_mark)}", err=as_json
        )
        if not yes:
            click.confirm("Is the clock right?", abort=True, err=as_json)
        await client.call(admin.ConfirmClock(found.clock_reading, backwards), admin.AdminDone)
        return found

    found: admin.Status = with_admin(socket_of(data_dir, admin_socket), act)
    done = {
        "done": "clock confirm",
        "confirmed": iso(found.clock_reading),
        "highestUsedBefore": iso(found.clock_mark),
        "backwards": backwards,
    }
    tell("confirmed", done, as_json=as_json)


@hsm.group(epilog=examples("keyturn hsm log verify --data-dir /var/lib/keyturn-hsm"))
def log() -> None:
    """The decision log."""


@log.command(
    "verify",
    short_help="Check the chain of a decision log; needs no HSM.",
    epilog=examples(
        "keyturn hsm log verify --data-dir /var/lib/keyturn-hsm", "keyturn hsm log verify decisions.log --json"
    ),
)
@click.argument("file", type=FILE, required=False)
@click.option("--data-dir", type=DIRECTORY, help="The HSM's data directory, instead of FILE.")
@json_option
def verify_command(file: Path | None, data_dir: Path | None, *, as_json: bool) -> None:
    """Walk a decision log and check its chain; needs no HSM and no passphrase."""
    if (file is None) == (data_dir is None):
        raise click.UsageError("name either a file or --data-dir")
    path = file if file is not None else Path(str(data_dir)) / LOG_FILE
    if not path.is_file():
        raise KeyturnError(ErrorCode.CONFIG_NOT_VALID, f"there is no decision log {path}", refusal="log.missing")
    head = asdict(verify_log(path))
    head["hash"] = head["hash"].hex()
    if as_json:
        click.echo(json.dumps(head))
    else:
        click.echo(f"the chain holds up to line {head['sequence']}, hash {head['hash']}")
