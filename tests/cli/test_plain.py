"""Counts and the system's errors in words."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import pytest

from keyturn.plain import counted, system_reason


def test_one_is_not_many() -> None:
    assert [counted(number, "key") for number in (0, 1, 2)] == ["0 keys", "1 key", "2 keys"]
    assert counted(1, "code was", "codes were") == "1 code was"
    assert counted(3, "code was", "codes were") == "3 codes were"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "nothing listens there"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 111] …"), "nothing listens there"),
        (OSError("Multiple exceptions"), "it cannot be reached"),
        (socket.gaierror(-2, "Name or service not known"), "no machine is known by that name"),
        (TimeoutError(), "nobody answered in time"),
        (OSError(errno.EIO, "Input/output error"), "input/output error"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)"), "speaks no TLS"),
    ],
)
def test_the_systems_errors_are_words(error: OSError, said: str) -> None:
    assert said in system_reason(error)


def test_no_number_of_the_system_gives_a_constants_name() -> None:
    for number in errno.errorcode:
        said = system_reason(OSError(number, os.strerror(number)))
        assert said
        assert "Errno" not in said
