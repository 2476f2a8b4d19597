"""HSM and broker under two real users of this machine (R1), where root is at hand.

    with HsmOfAnotherUser(directory_of_theirs(), python) as hsm:
        with hsm.line() as line: ...  # connected by a process of the broker's user

The HSM runs with an installation of its own: a virtual environment that its user can read, made for the run. Users are
numbers without names, so that nothing has to be added to the machine.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import keyturn
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.raw_line import RawLine

if TYPE_CHECKING:
    from types import TracebackType

HSM_USER: Final = 64_001
BROKER_USER: Final = 64_002
SECRET_IN_ENVIRONMENT: Final = "a secret that was in the environment at start"

_MESSENGER: Final = """
import socket
channel = socket.socket(fileno=0)
while path := channel.recv(4096):
    line = socket.socket(socket.AF_UNIX)
    try:
        line.connect(path.decode())
    except OSError as error:
        channel.send(str(error.errno).encode())
    else:
        socket.send_fds(channel, [b"0"], [line.fileno()])
    line.close()
"""


def find_installation(folder: Path) -> str | None:
    """Make a virtual environment that other users can run.

    Args:
        folder: Where; others must be able to pass through to it.

    Returns:
        Path of its interpreter; None when this machine has no interpreter, or keyturn's files stand where no other
        user can read them.
    """
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = Path(keyturn.__file__).parent.parent
    for base in (Path(sys.base_prefix) / "bin" / name, Path("/usr/bin") / name, Path("/usr/local/bin") / name):
        if not base.exists() or not _runs(str(base), "import sysconfig"):
            continue
        subprocess.run([base, "-I", "-m", "venv", "--without-pip", folder], check=True)
        paths = {str(packages), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (folder / "lib" / name / "site-packages" / "keyturn.pth").write_text("\n".join(sorted(paths)) + "\n")
        python = str(folder / "bin" / name)
        if _runs(python, "import keyturn.cli.main"):
            return python
    return None


def _runs(python: str, script: str) -> bool:
    words = [python, "-I", "-c", script]
    try:
        done = subprocess.run(words, capture_output=True, check=False, cwd="/", env={}, **_as_user(HSM_USER))
    except PermissionError:
        return False
    return done.returncode == 0


def _as_user(user: int) -> dict[str, Any]:
    return {"user": user, "group": user, "extra_groups": []}


def directory_of(user: int) -> Path:
    """A new directory in which only a directory of `user` lies, closed to others; the latter."""
    outer = Path(tempfile.mkdtemp(prefix="kt-users-"))
    outer.chmod(0o711)
    made = outer / "data"
    made.mkdir(mode=0o700)
    os.chown(made, user, user)
    return made


def give_back(directory: Path, user: int) -> None:
    """Give everything in a directory to `user`, after root has written in it."""
    for path in directory.rglob("*"):
        os.chown(path, user, user)


class Messenger:
    """A process of some user that opens sockets for the test; to whoever listens, they come from that user.

    Args:
        python: Interpreter.
        user: User id.
    """

    def __init__(self, python: str, user: int) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [python, "-I", "-S", "-c", _MESSENGER], stdin=theirs.fileno(), cwd="/", env={}, **_as_user(user)
            )

    def connect(self, path: str) -> socket.socket:
        """Connect to a Unix socket.

        Raises:
            OSError: The kernel said no.
        """
        self._channel.send(path.encode())
        said, descriptors, _, _ = socket.recv_fds(self._channel, 16, 1)
        if not descriptors:
            raise OSError(int(said), os.strerror(int(said)))
        return socket.socket(fileno=descriptors[0])

    def close(self) -> None:
        """Let it go."""
        self._channel.close()
        self._process.wait(10)


class HsmOfAnotherUser(HsmProcess):
    """The HSM process under `HSM_USER`, serving `BROKER_USER`.

    Args:
        directory: Data directory, of the HSM's user.
        python: Interpreter of its installation.
        options: Further words for `keyturn hsm serve`.
    """

    def __init__(self, directory: Path, python: str, *, options: tuple[str, ...] = ()) -> None:
        super().__init__(
            directory,
            options=("--allow-uid", str(BROKER_USER), *options),
            env={"PATH": os.environ["PATH"], "KEYTURN_TEST_SECRET": SECRET_IN_ENVIRONMENT},
            python=python,
            user=HSM_USER,
        )
        self._broker = Messenger(python, BROKER_USER)
        self._administrator = Messenger(python, HSM_USER)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._broker.close()
        self._administrator.close()

    def line(self) -> RawLine:
        """A line that a process of the broker's user has opened."""
        return RawLine("", self._broker.connect(self.address.removeprefix("unix:")))

    def admin_line(self) -> RawLine:
        """A line that a process of the HSM's own user has opened."""
        return RawLine("", self._administrator.connect(str(self.admin_socket)))


def try_as(python: str, user: int, script: str, *words: str) -> str:
    """Let a small process of some user try something.

    Args:
        python: Interpreter.
        user: User id.
        script: What it does; an OSError that it raises is what the kernel answers.
        words: Its arguments.

    Returns:
        Name of the error that stopped it, such as `EACCES`; empty when nothing did.
    """
    body = (
        "import json, sys, errno, os\ntry:\n"
        + "".join(f"    {line}\n" for line in script.splitlines())
        + "    print(json.dumps(''))\n"
        + "except OSError as error:\n    print(json.dumps(errno.errorcode[error.errno]))\n"
    )
    done = subprocess.run(
        [python, "-I", "-S", "-c", body, *words],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env={},
        **_as_user(user),
    )
    return str(json.loads(done.stdout))
