"""Settings of the HSM process: its own flags and its own file, read once at start.

Nothing here comes from the broker: not its file, not its environment (R1). A YAML file given with `--config` takes
the names below in camelCase; flags win over the file. The file must belong to the HSM's user or root and be writable
by nobody else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import msgspec

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.hsm.addresses import Address, TlsFiles, parse_address
from keyturn.hsm.clock_guard import BOUND, TOLERANCE
from keyturn.hsm.sealing import MAX_MEMORY_KIB, MIN_MEMORY_KIB, KdfParameters
from keyturn.hsm.system_keys import (
    DEFAULT_ATTESTATION_NAME,
    DEFAULT_INTEGRITY_NAME,
    DEFAULT_RECEIPT_NAME,
    DEFAULT_RFC_TIMESTAMP_NAME,
    DEFAULT_TRANSPORT_NAME,
)
from keyturn.ska.labels import check_label

_MAX_CONFIG: Final = 64 * 1024
_TEN_YEARS: Final = 10 * 366 * 86_400

Rate = Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]
Uid = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 2)]
KeyName = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class HsmSettings(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """All settings of one HSM process.

    Args:
        data_dir: Directory of the store, the log and (by default) the sockets; made with mode 0700.
        listen: Where the broker's protocol is served, `unix:/path` or `tcp://host:port`; "" means
            `unix:<data_dir>/hsm.sock`.
        admin_socket: Path of the administration socket; "" means `<data_dir>/admin.sock`.
        allow_uids: Users whose processes may use the broker's Unix socket; empty means the HSM's own user.
        passphrase_file: File with the passphrase, mode 0600; "" means: ask on the terminal, or start sealed.
        tls_cert, tls_key, tls_client_ca: PEM files; all three required for TCP.
        require_protected_modify: Refuse protected keys whose policy can be replaced, or that can be unblocked, by
            fewer listed keys than may use them (R10).
        allow_unlabelled_approvals: Count approvals whose token has an empty label (decisions 29). Weakening.
        allow_replayed_control_approvals: Let approvals for unblock and modify of a protected key serve again and again,
            as documented (R15). Weakening.
        allow_weak_keys: Let RSA 1024 be created (decisions 28). Weakening.
        timestamp_key_name: Name of the integrity key.
        attestation_key_name: Name of the attestation key.
        receipt_key_name: Name of the receipt key.
        rfc_timestamp_key_name: Name of the key that makes timestamps of RFC 3161.
        transport_key_name: Name of the key to which passwords are sealed (R27).
        backup_key_name: Label of the key under whose policy what approver management makes is kept; "" for no approver
            management (R23).
        allow_open_backup_key: Let that key's policy be open, and make it with an empty one where there is none.
            Weakening.
        deleted_key_retention_days: Days that a deleted key lies sealed before it is erased (R28); 0 erases at once.
        clock_tolerance: Seconds the system clock may be behind the highest time used; up to an hour.
        clock_bound: Seconds it may be ahead of that before a person must confirm it; at least a minute. The default,
            90 days, is for vaults that sleep; 86400 (24 hours) is advised where the HSM runs day and night.
        stamps_per_second: Timestamps given per second in the long run; ten times as many at once (R31).
        attestations_per_second: Attestations given per second; ten times as many at once (R31).
        random_per_second: Calls for random bytes answered per second; ten times as many at once (R31).
        kdf_memory_kib: Memory of Argon2id when a store is created or its passphrase changed, KiB.
        workers: Most processes for slow operations; 0 means one per processor, at most four.
    """

    data_dir: str
    listen: str = ""
    admin_socket: str = ""
    allow_uids: tuple[Uid, ...] = ()
    passphrase_file: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    require_protected_modify: bool = False
    allow_unlabelled_approvals: bool = False
    allow_replayed_control_approvals: bool = False
    allow_weak_keys: bool = False
    timestamp_key_name: KeyName = DEFAULT_INTEGRITY_NAME
    attestation_key_name: KeyName = DEFAULT_ATTESTATION_NAME
    receipt_key_name: KeyName = DEFAULT_RECEIPT_NAME
    rfc_timestamp_key_name: KeyName = DEFAULT_RFC_TIMESTAMP_NAME
    transport_key_name: KeyName = DEFAULT_TRANSPORT_NAME
    backup_key_name: Annotated[str, msgspec.Meta(max_length=128)] = ""
    allow_open_backup_key: bool = False
    deleted_key_retention_days: Annotated[int, msgspec.Meta(ge=0, le=3660)] = 30
    clock_tolerance: Annotated[float, msgspec.Meta(ge=0, le=3600)] = TOLERANCE
    clock_bound: Annotated[float, msgspec.Meta(ge=60, le=_TEN_YEARS)] = BOUND
    stamps_per_second: Rate = 1000.0
    attestations_per_second: Rate = 200.0
    random_per_second: Rate = 1000.0
    kdf_memory_kib: Annotated[int, msgspec.Meta(ge=MIN_MEMORY_KIB, le=MAX_MEMORY_KIB)] = KdfParameters().memory_kib
    workers: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0

    @property
    def directory(self) -> Path:
        """`data_dir` as a path."""
        return Path(self.data_dir)

    @property
    def address(self) -> Address:
        """Where the broker's protocol is served."""
        return parse_address(self.listen or f"unix:{self.directory / 'hsm.sock'}")

    @property
    def admin_path(self) -> Path:
        """Path of the administration socket."""
        return Path(self.admin_socket) if self.admin_socket else admin_path(self.directory)

    @property
    def uids(self) -> frozenset[int]:
        """Users that may use the broker's Unix socket."""
        return frozenset(self.allow_uids) or frozenset({os.getuid()})

    @property
    def tls(self) -> TlsFiles | None:
        """Files of the HSM's end of mutual TLS, or None where none are named.

        Raises:
            KeyturnError: `tls.required`, when only some of the three are named.
        """
        names = (self.tls_cert, self.tls_key, self.tls_client_ca)
        if not any(names):
            return None
        if not all(names):
            raise KeyturnError(
                ErrorCode.CONFIG_NOT_VALID,
                "mutual TLS needs all three: the HSM's certificate, its key and the CA of the clients",
                refusal="tls.required",
            )
        return TlsFiles(*map(Path, names))

    @property
    def weakening_switches(self) -> tuple[str, ...]:
        """Names of the active switches that weaken what the HSM promises, sorted; attested with every key."""
        switches = {
            "allowOpenBackupKey": self.allow_open_backup_key,
            "allowReplayedControlApprovals": self.allow_replayed_control_approvals,
            "allowUnlabelledApprovals": self.allow_unlabelled_approvals,
            "allowWeakKeys": self.allow_weak_keys,
        }
        return tuple(sorted(name for name, active in switches.items() if active))


def admin_path(directory: Path) -> Path:
    """Where the administration socket of an HSM with this data directory is by default."""
    return directory / "admin.sock"


def load_settings(file: Path | None, flags: dict[str, object]) -> HsmSettings:
    """Put the settings together.

    Args:
        file: The HSM's YAML file, or None.
        flags: Values from the command line by field name; they win.

    Returns:
        The checked settings.

    Raises:
        KeyturnError: `config.invalid` with the name of what is wrong; `config.writable` when others could change
            the file.
    """
    merged: dict[str, object] = {} if file is None else _read(file)
    camel = dict(zip(HsmSettings.__struct_fields__, HsmSettings.__struct_encode_fields__, strict=True))
    merged.update((camel[name], value) for name, value in flags.items())
    if not merged.get("dataDir"):
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            "the HSM needs a directory for its store: give --data-dir",
            refusal="config.invalid",
        )
    try:
        settings = msgspec.convert(merged, HsmSettings)
    except msgspec.ValidationError as error:
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            f"the HSM's settings are not valid: {error}; their names are listed by `keyturn hsm serve --help`",
            refusal="config.invalid",
        ) from None
    address = settings.address
    if address.path is None and settings.tls is None:
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            "the broker's protocol over TCP needs mutual TLS: give --tls-cert, --tls-key and --tls-client-ca",
            refusal="tls.required",
        )
    names = {
        settings.timestamp_key_name,
        settings.attestation_key_name,
        settings.receipt_key_name,
        settings.transport_key_name,
        settings.rfc_timestamp_key_name,
    }
    if len(names) < 5:
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            "timestampKeyName, attestationKeyName, receiptKeyName, transportKeyName and rfcTimestampKeyName must "
            "differ: each system key does one thing",
            refusal="config.invalid",
        )
    _check_backup_key(settings, names)
    return settings


def _check_backup_key(settings: HsmSettings, system_names: set[str]) -> None:
    """The backup key is a key with a label and a policy, and none of the HSM's own."""
    name = settings.backup_key_name
    why = ""
    if not name and settings.allow_open_backup_key:
        why = "allowOpenBackupKey does nothing without a backup key: give backupKeyName (--backup-key-name)"
    elif name in system_names:
        why = f"backupKeyName: {name!r} is the name of one of the HSM's own keys; choose another label"
    elif name:
        try:
            check_label(name)
        except FormatError as error:
            why = f"backupKeyName: {error.message}"
    if why:
        raise KeyturnError(ErrorCode.CONFIG_NOT_VALID, why, refusal="config.invalid")


def _read(file: Path) -> dict[str, object]:
    try:
        status = file.stat()
        text = file.read_bytes()
    except OSError as error:
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID, f"cannot read {file}: {error.strerror}", refusal="config.unreadable"
        ) from None
    if status.st_mode & 0o022 or status.st_uid not in {0, os.getuid()}:
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            f"{file} could be changed by others: it must belong to the HSM's user or root, and be writable by no one "
            f"else (chmod go-w)",
            refusal="config.writable",
        )
    import yaml  # A start without a file reads no YAML.

    try:
        value = yaml.safe_load(text) if len(text) <= _MAX_CONFIG else None
    except yaml.YAMLError as error:
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID, f"{file} is not YAML: {error}", refusal="config.invalid"
        ) from None
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            f"{file} must hold a mapping of setting names to values, at most {_MAX_CONFIG} bytes",
            refusal="config.invalid",
        )
    return value
