"""Which settings there are, and what their names, kinds and ranges are."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, TypeAlias

PROFILES: Final = ("local", "air-gapped")
DEFAULT_DATA_DIR: Final = Path("keyturn-data")
Size: TypeAlias = int
"""Bytes; written as a number or, as in `10MB`, with a unit of 1024."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of `keyturn serve`.

    Args:
        profile: `local` (broker with an HSM) or `air-gapped` (broker without one).
        data_dir: Where the broker keeps its state.
        host: Address to listen on.
        port: TCP port to listen on; 0 takes any free one.
        max_timestamp_age: Oldest timestamp of a task query that is accepted, in seconds.
        max_timestamp_ahead: How far such a timestamp may lie in the future, in seconds.
        database_url: `postgresql://…` as libpq reads it, or `sqlite:////path`; empty for a file in the data directory.
            May hold a password and is therefore never shown.
        allow_seconds: Whether policies may hold times that are no whole minutes (decisions 19).
        hsm_address: `unix:PATH` or `tcp://HOST:PORT` of the HSM; empty starts one beside the broker (local profile).
        hsm_passphrase_file: Passphrase file of the HSM that is started; None makes the development default.
        hsm_require_protected_modify: That HSM refuses protected keys whose policy fewer people could replace (R10).
        hsm_allow_unlabelled_approvals: That HSM counts approvals without a key label (decisions 29). Weakening.
        hsm_allow_replayed_control_approvals: That HSM lets unblock and modify be replayed (R15). Weakening.
        hsm_allow_weak_keys: That HSM creates RSA 1024 (decisions 28). Weakening.
        hsm_timestamp_key_name: Name of that HSM's integrity key; empty for its default.
        hsm_attestation_key_name: Name of that HSM's attestation key; empty for its default.
        hsm_receipt_key_name: Name of that HSM's receipt key; empty for its default.
        hsm_rfc_timestamp_key_name: Name of that HSM's key for timestamps of RFC 3161; empty for its default.
        hsm_backup_key_name: Label of the key under whose policy that HSM keeps what approver management makes; empty
            for `backup-key` with `approver_management`, for none without it.
        hsm_allow_open_backup_key: That key's policy may be open, and is made so where there is none (R23). Weakening.
        hsm_deleted_key_retention_days: Days that keys deleted there lie sealed before they are erased (R28).
        hsm_clock_tolerance: Seconds that HSM's clock may be behind the highest time it has used.
        hsm_clock_bound: Seconds it may be ahead of that before a person must confirm it.
        hsm_tls_ca: PEM file with the authority that vouches for the HSM (`tcp://` only).
        hsm_tls_certificate: PEM file with the broker's own certificate for the HSM (`tcp://` only).
        hsm_tls_key: PEM file with the key that belongs to it (`tcp://` only).
        attestation_certificates: PEM files with the chains of the offline devices (air-gapped profile).
        swagger_ui: Whether the page that shows the API is served.
        api_keys_enabled: Whether API keys are asked for (rest-api.md section 1.5).
        key_management_keys: API keys of the role key management, each as it is or as `sha256:` and 64 hex digits.
        key_operation_keys: Likewise of the role key operation.
        approver_keys: Likewise of the role approver.
        approver_key_management_keys: Likewise of the role approver key management.
        service_keys: Likewise of the role service.
        jwks_file: JSON file with the public keys that sign bearer tokens; None asks for none.
        jwt_issuer: Whom a bearer token must name as its issuer.
        jwt_audience: Whom it must name as its audience.
        jwt_role_claim: Its claim that holds the roles.
        tls_certificate: PEM file with the server's certificate and what stands between it and its authority.
        tls_key: PEM file with the key that belongs to it.
        tls_minimum_version: `TLSv1.2` or `TLSv1.3`.
        tls_client_authentication: `none`, `want` or `need` a client's certificate.
        tls_client_ca: PEM file with the authorities that vouch for clients.
        approver_management: Whether the HSM makes keys for approvers (R23).
        timestamp_signing_certificates: PEM files with the services that may read the tasks of all approvers.
        request_certificates: PEM files with those who may sign requests; empty asks for no signature.
        max_file_size: Largest file that is encrypted or decrypted, in bytes.
        max_file_request_size: Largest request that brings one, in bytes; 0 for the largest file and a mebibyte.
        max_spooled: Most bytes of all files that wait on disk at once.
    """

    profile: str = "local"
    data_dir: Path = DEFAULT_DATA_DIR
    host: str = "127.0.0.1"
    port: int = 8080
    max_timestamp_age: int = 600
    max_timestamp_ahead: int = 5
    database_url: str = dataclasses.field(default="", repr=False)
    allow_seconds: bool = False
    hsm_address: str = ""
    hsm_passphrase_file: Path | None = None
    hsm_require_protected_modify: bool = False
    hsm_allow_unlabelled_approvals: bool = False
    hsm_allow_replayed_control_approvals: bool = False
    hsm_allow_weak_keys: bool = False
    hsm_timestamp_key_name: str = ""
    hsm_attestation_key_name: str = ""
    hsm_receipt_key_name: str = ""
    hsm_rfc_timestamp_key_name: str = ""
    hsm_backup_key_name: str = ""
    hsm_allow_open_backup_key: bool = False
    hsm_deleted_key_retention_days: int = 30
    hsm_clock_tolerance: int = 2
    hsm_clock_bound: int = 90 * 86_400
    hsm_tls_ca: Path | None = None
    hsm_tls_certificate: Path | None = None
    hsm_tls_key: Path | None = None
    attestation_certificates: tuple[Path, ...] = ()
    swagger_ui: bool = True
    api_keys_enabled: bool = False
    key_management_keys: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    key_operation_keys: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    approver_keys: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    approver_key_management_keys: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    service_keys: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    jwks_file: Path | None = None
    jwt_issuer: str = ""
    jwt_audience: str = ""
    jwt_role_claim: str = "roles"
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_minimum_version: str = "TLSv1.2"
    tls_client_authentication: str = "none"
    tls_client_ca: Path | None = None
    request_certificates: tuple[Path, ...] = ()
    timestamp_signing_certificates: tuple[Path, ...] = ()
    approver_management: bool = False
    max_file_size: Size = 16 << 30
    max_file_request_size: Size = 0
    max_spooled: Size = 64 << 30


NAMES: Final[dict[str, str]] = {
    "profile": "profile",
    "dataDir": "data_dir",
    "server.host": "host",
    "server.port": "port",
    "general.databaseUrl": "database_url",
    "general.maxTimestampDiffApprovalClient": "max_timestamp_age",
    "general.maxFutureTimestampDiffApprovalClient": "max_timestamp_ahead",
    "general.allowSecondsInPolicies": "allow_seconds",
    "hsm.address": "hsm_address",
    "hsm.passphraseFile": "hsm_passphrase_file",
    "hsm.requireProtectedModify": "hsm_require_protected_modify",
    "hsm.allowUnlabelledApprovals": "hsm_allow_unlabelled_approvals",
    "hsm.allowReplayedControlApprovals": "hsm_allow_replayed_control_approvals",
    "hsm.allowWeakKeys": "hsm_allow_weak_keys",
    "hsm.timestampKeyName": "hsm_timestamp_key_name",
    "hsm.attestationKeyName": "hsm_attestation_key_name",
    "hsm.receiptKeyName": "hsm_receipt_key_name",
    "hsm.rfcTimestampKeyName": "hsm_rfc_timestamp_key_name",
    "hsm.backupKeyName": "hsm_backup_key_name",
    "hsm.allowOpenBackupKey": "hsm_allow_open_backup_key",
    "hsm.deletedKeyRetentionDays": "hsm_deleted_key_retention_days",
    "hsm.clockTolerance": "hsm_clock_tolerance",
    "hsm.clockBound": "hsm_clock_bound",
    "hsm.tls.ca": "hsm_tls_ca",
    "hsm.tls.certificate": "hsm_tls_certificate",
    "hsm.tls.key": "hsm_tls_key",
    "offlineHsm.attestationCertificates": "attestation_certificates",
    "swaggerUI.enabled": "swagger_ui",
    "apiAuthentication.enabled": "api_keys_enabled",
    "apiAuthentication.keyManagementToken": "key_management_keys",
    "apiAuthentication.keyOperationToken": "key_operation_keys",
    "apiAuthentication.approverToken": "approver_keys",
    "apiAuthentication.approverKeyManagementToken": "approver_key_management_keys",
    "apiAuthentication.serviceToken": "service_keys",
    "apiAuthentication.jwt.jwksFile": "jwks_file",
    "apiAuthentication.jwt.issuer": "jwt_issuer",
    "apiAuthentication.jwt.audience": "jwt_audience",
    "apiAuthentication.jwt.roleClaim": "jwt_role_claim",
    "tls.certificate": "tls_certificate",
    "tls.key": "tls_key",
    "tls.minimumVersion": "tls_minimum_version",
    "tls.clientAuthentication": "tls_client_authentication",
    "tls.clientCa": "tls_client_ca",
    "general.allowedRequestCertificates": "request_certificates",
    "general.allowedTimestampSigningCertificates": "timestamp_signing_certificates",
    "approverManagement.enabled": "approver_management",
    "files.maxSize": "max_file_size",
    "files.maxRequestSize": "max_file_request_size",
    "files.maxWaiting": "max_spooled",
}
"""Dotted name of every setting, and the field of `Settings` it fills."""

ALIASES: Final = {
    "server.ssl.client-auth": "tls.clientAuthentication",
    "spring.servlet.multipart.max-file-size": "files.maxSize",
    "spring.servlet.multipart.max-request-size": "files.maxRequestSize",
}
"""Other documented names of settings."""

EMBEDDED: Final = (
    "hsm_passphrase_file",
    "hsm_require_protected_modify",
    "hsm_allow_unlabelled_approvals",
    "hsm_allow_replayed_control_approvals",
    "hsm_allow_weak_keys",
    "hsm_timestamp_key_name",
    "hsm_attestation_key_name",
    "hsm_receipt_key_name",
    "hsm_rfc_timestamp_key_name",
    "hsm_backup_key_name",
    "hsm_allow_open_backup_key",
    "hsm_deleted_key_retention_days",
    "hsm_clock_tolerance",
    "hsm_clock_bound",
)
"""Settings that only an HSM started beside the broker takes from here (R1)."""
DEFAULTS: Final = {field.name: field.default for field in fields(Settings)}
KINDS: Final = {field.name: str(field.type) for field in fields(Settings)}
SECRETS: Final = frozenset(field.name for field in fields(Settings) if not field.repr)
"""What is never shown."""
CHOICES: Final = {
    "profile": PROFILES,
    "tls_minimum_version": ("TLSv1.2", "TLSv1.3"),
    "tls_client_authentication": ("none", "want", "need"),
}
RANGES: Final = {
    "port": (0, 65535),
    "max_timestamp_age": (1, 86_400),
    "max_timestamp_ahead": (0, 3_600),
    "hsm_deleted_key_retention_days": (0, 3_660),
    "hsm_clock_tolerance": (0, 3_600),
    "hsm_clock_bound": (60, 10 * 366 * 86_400),
    "max_file_size": (1, 1 << 40),
    "max_file_request_size": (1, 2 << 40),
    "max_spooled": (1, 1 << 50),
}
