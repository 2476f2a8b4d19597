"""What the broker must be told at its start: frozen values, read once elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Profile(StrEnum):
    """How this installation reaches an HSM."""

    LOCAL = "local"
    """Broker and HSM are connected."""
    AIR_GAPPED = "air-gapped"
    """There is no HSM at all: requests are carried to an offline installation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """What the broker must be told, read once.

    Args:
        data_dir: Directory of the broker's database; created with mode 0700 if absent.
        database_url: `postgresql://…` as libpq reads it, `sqlite:////path`, or empty for `broker.db` in `data_dir`. It
            may hold a password and is therefore not shown.
        max_timestamp_age: How old the timestamp of a task query may be, in seconds
            (`general.maxTimestampDiffApprovalClient`).
        max_timestamp_ahead: How far it may lie ahead of the broker's clock, in seconds
            (`general.maxFutureTimestampDiffApprovalClient`; the documented default of 0 refuses honest clocks).
        timestamp_services: SHA-256 of the certificates (DER) of services that may read the tasks of all approvers
            (`general.allowedTimestampSigningCertificates`).
        max_spooled: Most bytes of all files under way that wait on disk at once.
    """

    data_dir: Path
    database_url: str = field(default="", repr=False)
    max_timestamp_age: int = 600
    max_timestamp_ahead: int = 5
    timestamp_services: frozenset[bytes] = frozenset()
    approver_management: bool = False
    max_spooled: int = 64 << 30
