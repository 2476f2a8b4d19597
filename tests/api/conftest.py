"""One real server with a real HSM process for the tests of this room, and what they have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from keyturn.client.reach import trusting_nobody
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import ServeProcess, b64, create_ec_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.client import RestClient


@pytest.fixture(scope="session")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """A `keyturn serve --profile local` with its HSM, shared: tests use labels of their own."""
    with ServeProcess(tmp_path_factory.mktemp("vault")) as server:
        yield server


@pytest.fixture
def rest(vault: ServeProcess) -> Iterator[RestClient]:
    """A client of the shared server."""
    with vault.client() as client:
        yield client


@pytest.fixture
def http(vault: ServeProcess) -> Iterator[httpx.Client]:
    """A bare HTTP client of the shared server, for what `RestClient` would never send."""
    with httpx.Client(base_url=vault.url, verify=trusting_nobody(), trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def officers() -> tuple[Officer, Officer, Officer]:
    """Three people with three kinds of keys."""
    return Officer("Ada", "P-256"), Officer("Ben", "RSA"), Officer("Eve", "ED")


@pytest.fixture(scope="session")
def plain(vault: ServeProcess) -> str:
    """The label of an ordinary key."""
    with vault.client() as rest:
        create_ec_key(rest, "plain", None)
    return "plain"


@pytest.fixture(scope="session")
def protected(vault: ServeProcess, officers: tuple[Officer, Officer, Officer]) -> str:
    """The label of a key that two of three officers may use."""
    with vault.client() as rest:
        create_ec_key(rest, "protected", make_policy(quorum(2, *officers)))
    return "protected"


def sign_body(key: str, /, **changes: Any) -> dict[str, Any]:
    """The body of a signing request, whole unless a test changes it."""
    inner = {"payload": b64(b"pay"), "signKeyName": key, "signatureAlgorithm": "SHA256_WITH_ECDSA"}
    return {"signRequest": inner | changes}


def error_of(answer: httpx.Response, status: int, code: int | None = None) -> dict[str, Any]:
    """The error body of an answer, after checking that it is the documented one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body: dict[str, Any] = answer.json()
    assert isinstance(body["errorCode"], int)
    assert body["reason"].startswith("res.error.")
    assert body["message"]
    assert set(body) <= {"errorCode", "reason", "message", "refusal"}
    assert "Traceback" not in answer.text
    if code is not None:
        assert body["errorCode"] == code, body
    return body
