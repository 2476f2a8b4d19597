"""A broker of another user goes for the HSM itself: its files, its sockets, its environment, its memory (R1).

A small process under the broker's user really attempts each. What refuses is the kernel; the same attempt by a process
of the HSM's own user, or on a process of the broker's own, succeeds, so that it is the other user that is refused.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from hostile.conftest import needs_root
from keyturn.hsm import protocol
from keyturn_testing.hostile import TWO_USERS, World
from keyturn_testing.raw_line import RawLine
from keyturn_testing.two_users import (
    BROKER_USER,
    HSM_USER,
    SECRET_IN_ENVIRONMENT,
    HsmOfAnotherUser,
    directory_of,
    try_as,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [needs_root, pytest.mark.rule("R1")]

READ: Final = "import pathlib\npathlib.Path(sys.argv[1]).read_bytes()"
WRITE: Final = "os.close(os.open(sys.argv[1], os.O_WRONLY))"
LIST: Final = "os.listdir(sys.argv[1])"
CONNECT: Final = "import socket\nsocket.socket(socket.AF_UNIX).connect(sys.argv[1])"
REPLACE: Final = "os.rename(sys.argv[1], sys.argv[1] + '.old')"
PROC: Final = "os.close(os.open(f'/proc/{sys.argv[1]}/{sys.argv[2]}', os.O_RDONLY))"
DESCRIPTORS: Final = "os.listdir(f'/proc/{sys.argv[1]}/fd')"
SIGNAL: Final = "os.kill(int(sys.argv[1]), int(sys.argv[2]))"
PTRACE: Final = """import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
pid = ctypes.c_long(int(sys.argv[1]))
if libc.ptrace(ctypes.c_long(16), pid, None, None):
    raise OSError(ctypes.get_errno(), 'ptrace')
os.waitpid(int(sys.argv[1]), 0)
libc.ptrace(ctypes.c_long(17), pid, None, None)"""
READ_MEMORY: Final = """import ctypes
libc = ctypes.CDLL(None, use_errno=True)
class Vector(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('size', ctypes.c_size_t)]
buffer = ctypes.create_string_buffer(8)
ours, theirs = Vector(ctypes.addressof(buffer), 8), Vector(int(sys.argv[2]), 8)
pid, one, none = ctypes.c_long(int(sys.argv[1])), ctypes.c_ulong(1), ctypes.c_ulong(0)
if libc.process_vm_readv(pid, ctypes.byref(ours), one, ctypes.byref(theirs), one, none) < 0:
    raise OSError(ctypes.get_errno(), 'process_vm_readv')"""


@pytest.fixture(scope="module")
def hsm(installation: str) -> Iterator[HsmOfAnotherUser]:
    """An HSM of another user, with a key under a policy in it."""
    directory = directory_of(HSM_USER)
    process = HsmOfAnotherUser(directory, installation)
    with process:
        with process.line() as line:
            World(process, line, "treasury").create()
        yield process
    shutil.rmtree(directory.parent)


def _mark(attack: str, refused: str) -> pytest.MarkDecorator:
    return pytest.mark.attack(
        subject="A broker of another user", attack=attack, refused=refused, rule="R1", profile=TWO_USERS
    )


def _log(hsm: HsmOfAnotherUser) -> Path:
    return next(hsm.directory.glob("decisions*.log"))


FILES: Final[tuple[tuple[str, str, Callable[[HsmOfAnotherUser], Path]], ...]] = (
    ("Read the store", READ, lambda hsm: hsm.directory / "hsm.db"),
    ("Write into the store", WRITE, lambda hsm: hsm.directory / "hsm.db"),
    ("Put another store in its place", REPLACE, lambda hsm: hsm.directory),
    ("List the data directory", LIST, lambda hsm: hsm.directory),
    ("Read the decision log", READ, _log),
    ("Write into the decision log", WRITE, _log),
    ("Read the passphrase file", READ, lambda hsm: hsm.passphrase_file),
    ("Write into the passphrase file", WRITE, lambda hsm: hsm.passphrase_file),
    ("Put a socket of ours in the place of the broker's", REPLACE, lambda hsm: hsm.broker_socket),
    ("Connect to the administration socket", CONNECT, lambda hsm: hsm.admin_socket),
)


@pytest.mark.parametrize(
    ("script", "target"),
    [
        pytest.param(script, target, id=attack.lower().replace(" ", "-"), marks=_mark(attack, "EACCES"))
        for attack, script, target in FILES
    ],
)
def test_the_kernel_closes_the_hsms_files_to_the_brokers_user(
    hsm: HsmOfAnotherUser, installation: str, script: str, target: Callable[[HsmOfAnotherUser], Path]
) -> None:
    path = str(target(hsm))
    assert try_as(installation, BROKER_USER, script, path) == "EACCES"
    if script != REPLACE:
        assert try_as(installation, HSM_USER, script, path) == ""
    with hsm.line() as line:
        world = World(hsm, line, "treasury")
        world.do(world.sign())


ENTRIES: Final = (
    ("Read its environment", PROC, ("environ",)),
    ("Open its memory", PROC, ("mem",)),
    ("Read where its memory lies", PROC, ("maps",)),
    ("List its descriptors", DESCRIPTORS, ()),
    ("Copy its memory with process_vm_readv", READ_MEMORY, ("4096",)),
    ("Trace it with ptrace", PTRACE, ()),
    ("End it with SIGKILL", SIGNAL, ("9",)),
    ("Stop it with SIGSTOP", SIGNAL, ("19",)),
)
BY_MODE: Final = {"environ", "mem", "maps"}


def _word(script: str, words: tuple[str, ...]) -> str:
    return "EACCES" if script == DESCRIPTORS or (script == PROC and words[0] in BY_MODE) else "EPERM"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param(script, words, id=attack.lower().replace(" ", "-"), marks=_mark(attack, _word(script, words)))
        for attack, script, words in ENTRIES
    ],
)
def test_the_kernel_closes_the_hsms_process_to_the_brokers_user(
    hsm: HsmOfAnotherUser, installation: str, script: str, words: tuple[str, ...]
) -> None:
    assert try_as(installation, BROKER_USER, script, str(hsm.pid), *words) == _word(script, words)
    with hsm.line() as line:
        world = World(hsm, line, "treasury")
        world.do(world.sign())
    # The same on a process of the broker's own user. Where it has a page to be read, it says so itself.
    victim = (
        "import ctypes, time\nb = ctypes.create_string_buffer(8)\n"
        "print(ctypes.addressof(b), flush=True)\ntime.sleep(60)"
    )
    own = subprocess.Popen(
        [installation, "-I", "-S", "-c", victim],
        stdout=subprocess.PIPE,
        cwd="/",
        env={},
        user=BROKER_USER,
        group=BROKER_USER,
        extra_groups=[],
    )
    try:
        assert own.stdout is not None
        address = own.stdout.readline().decode().strip()
        given = (address,) if script == READ_MEMORY else words
        assert try_as(installation, BROKER_USER, script, str(own.pid), *given) == ""
    finally:
        own.kill()
        own.wait(10)
        if own.stdout is not None:
            own.stdout.close()


@_mark("Connect to the broker's socket as the HSM's own user, or as root", "peer.not-allowed")
def test_only_the_brokers_user_is_served(hsm: HsmOfAnotherUser) -> None:
    """Whoever could read the HSM's memory is no broker: isolation is what the attestation says it is."""
    with RawLine(hsm.address) as line:
        assert line.closed()
    assert hsm.last_refusal()["refusal"] == "peer.not-allowed"
    with hsm.line() as line:
        info = line.ask(protocol.GetInfo())
        assert info.isolation == "user"


def test_what_was_in_the_environment_at_start_is_not_in_the_store_or_the_log(hsm: HsmOfAnotherUser) -> None:
    for file in hsm.directory.rglob("*"):
        if file.is_file():
            assert SECRET_IN_ENVIRONMENT.encode() not in file.read_bytes()
