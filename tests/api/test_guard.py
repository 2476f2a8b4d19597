"""R30: loopback is not a wall, so the server looks at who addresses it, and how."""

from __future__ import annotations

import pytest

from keyturn.api.errors import HttpError
from keyturn.api.guard import guard_for
from keyturn.config.exposure import is_loopback, require_loopback
from keyturn.errors import KeyturnError

GUARD = guard_for(["127.0.0.1"], 8080)


@pytest.mark.rule("R30")
@pytest.mark.parametrize("host", [b"127.0.0.1:8080", b"localhost:8080", b"LOCALHOST:8080", b"[::1]:8080"])
def test_r30_the_servers_own_names_are_taken(host: bytes) -> None:
    GUARD.check(host, None)


@pytest.mark.rule("R30")
@pytest.mark.parametrize(
    "host", [None, b"", b"evil.example:8080", b"127.0.0.1", b"127.0.0.1:8081", b"localhost.evil.example:8080", b"\xff"]
)
def test_r30_a_foreign_host_is_refused(host: bytes | None) -> None:
    with pytest.raises(HttpError) as caught:
        GUARD.check(host, None)
    assert (caught.value.status, caught.value.code.number) == (403, 400)
    assert caught.value.refusal == "http.host"


@pytest.mark.rule("R30")
@pytest.mark.parametrize(
    "origin",
    [b"null", b"http://evil.example", b"http://localhost", b"https://localhost:8080", b"http://localhost:8081"],
)
def test_r30_a_foreign_page_is_refused_and_the_servers_own_is_not(origin: bytes) -> None:
    GUARD.check(b"localhost:8080", b"http://localhost:8080")
    with pytest.raises(HttpError) as caught:
        GUARD.check(b"localhost:8080", origin)
    assert caught.value.refusal == "http.origin"


def test_on_port_80_the_port_may_be_left_out() -> None:
    guard_for(["127.0.0.1"], 80).check(b"localhost", b"http://localhost")
    with pytest.raises(HttpError):
        GUARD.check(b"localhost", None)


@pytest.mark.rule("R30")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "keyturn.example", ""])  # noqa: S104 - Refused here.
def test_r30_a_public_address_without_authentication_is_refused(host: str) -> None:
    require_loopback("127.0.0.1")
    assert not is_loopback(host)
    with pytest.raises(KeyturnError, match="no authentication is configured") as caught:
        require_loopback(host)
    assert caught.value.refusal == "serve.public-without-authentication"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_has_several_names(host: str) -> None:
    assert is_loopback(host)
