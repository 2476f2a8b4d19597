"""Writing a backup: one file, sealed like the store it comes from.

The file is a copy of `hsm.db` as of its last commit. It opens with the passphrase of that moment, holds every table,
and its root record holds the head of the decision log. The log itself is not in it: it is evidence that only ever
grows, and is copied by whatever copies log files; `keyturn.hsm.audit.verify` compares it with any head.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from keyturn.hsm.container import Container, sync_path
from keyturn.hsm.records import store_error, translated_os_errors

if TYPE_CHECKING:
    from pathlib import Path


@translated_os_errors()
def write_backup(container: Container, target: Path) -> None:
    """Copy the last commit into a new file, mode 0600. Runs in the commit thread, between two commits.

    Args:
        container: The open store.
        target: The new file; it appears under this name only when it is whole.

    Raises:
        KeyturnError: `store.backup-exists`, `store.backup-target`.
    """
    if target.exists():
        raise store_error(
            "backup-exists", f"There is a file {target.name}. Name a new one; backups are never overwritten."
        )
    if not target.parent.is_dir():
        raise store_error("backup-target", f"There is no directory {target.parent}. Make it first.")
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        container.copy_to(partial)
        partial.rename(target)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    sync_path(target.parent)
