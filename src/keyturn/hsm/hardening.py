"""What the HSM process gives up before it touches a key.

No core dumps, no ptrace or `/proc/<pid>/mem` by processes of the same user, no new privileges, no inherited
descriptors, an empty environment, and a umask that leaves nothing to others. Workers do the same. This keeps
accidents and neighbours out; it does not keep out root, who can read any memory. Memory is not locked: Python
cannot say where copies of a secret lie, so swap belongs off or encrypted (docs/adr/0026).

Source: prctl(2), setrlimit(2), proc(5); issue "main job", deliver 2.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Collection

KEPT_ENVIRONMENT: Final = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TERM"})
"""What a process needs to find its interpreter, print and render times; everything else is dropped."""

_PR_SET_PDEATHSIG: Final = 1
_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_GET_NO_NEW_PRIVS: Final = 39


@dataclass(frozen=True, slots=True)
class Hardening:
    """What the kernel says about this process, read back and not remembered.

    Args:
        core_limit: Hard limit of RLIMIT_CORE in bytes; 0 means no core dumps, -1 no limit.
        dumpable: Whether others of the same user may trace it or read its memory.
        no_new_privileges: Whether programs it starts can gain privileges no more.
        umask: Bits that new files do not get.
        environment: Names of the environment variables that are left, sorted.
    """

    core_limit: int
    dumpable: bool
    no_new_privileges: bool
    umask: int
    environment: tuple[str, ...]


def _prctl(option: int, argument: int = 0) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.prctl(option, ctypes.c_ulong(argument), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
    if result < 0:
        number = ctypes.get_errno()
        raise KeyturnError(
            ErrorCode.HSM_FAILURE,
            f"the kernel refused prctl({option}): {os.strerror(number)}; the HSM runs on Linux only",
            refusal="hardening.failed",
        )
    return result


def harden_process(*, keep: Collection[int] = ()) -> Hardening:
    """Drop what the HSM does not need; to be called before any secret is read.

    Args:
        keep: Descriptors above 2 that stay open.

    Returns:
        The state as the kernel reports it afterwards.

    Raises:
        KeyturnError: `hardening.failed`, when the kernel refuses.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    os.umask(0o077)
    close_descriptors(keep)
    for name in set(os.environ) - KEPT_ENVIRONMENT:
        del os.environ[name]
    return inspect_process()


def close_descriptors(keep: Collection[int] = ()) -> None:
    """Close every descriptor above 2 but those in `keep`, whether it is open or not."""
    low = 3
    for descriptor in sorted(number for number in set(keep) if number >= low):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def inspect_process() -> Hardening:
    """Read the state of this process back from the kernel."""
    mask = os.umask(0o077)
    os.umask(mask)
    return Hardening(
        core_limit=resource.getrlimit(resource.RLIMIT_CORE)[1],
        dumpable=_prctl(_PR_GET_DUMPABLE) != 0,
        no_new_privileges=_prctl(_PR_GET_NO_NEW_PRIVS) == 1,
        umask=mask,
        environment=tuple(sorted(os.environ)),
    )


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however that ends.

    Args:
        parent: Process id of the parent as it told us; if it is not our parent any more, this process ends at
            once, because it was orphaned before it could ask.

    Raises:
        KeyturnError: `hardening.failed`, when the kernel refuses.
        SystemExit: When the parent is gone already.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(1)
