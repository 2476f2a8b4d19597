"""Paths find their endpoint, or an error body."""

from __future__ import annotations

import pytest

from keyturn.api.endpoints import ROUTES
from keyturn.api.errors import HttpError
from keyturn.api.router import Router

ROUTER = Router(ROUTES)


@pytest.mark.parametrize(
    ("method", "path", "template", "parameter"),
    [
        ("POST", "/v1/key", "/v1/key", ""),
        ("POST", "/v1//sign", "/v1/sign", ""),
        ("GET", "//v1///keystore//statistics", "/v1/keystore/statistics", ""),
        ("POST", "/v1/key/attributes", "/v1/key/attributes", ""),
        ("GET", "/v1/key/my key/attributes", "/v1/key/{keyName}/attributes", "my key"),
        ("GET", "/v1/key/master/44'/0'/attributes", "/v1/key/{keyName}/attributes", "master/44'/0'"),
        ("DELETE", "/v1/key/my key", "/v1/key/{keyName}", "my key"),
        # Labels that are names of endpoints as well.
        ("DELETE", "/v1/key/attributes", "/v1/key/{keyName}", "attributes"),
        ("DELETE", "/v1/key//deleteKey", "/v1/key/{keyName}", "deleteKey"),
        ("GET", "/v1/request/abc", "/v1/request/{id}", "abc"),
        ("GET", "/v1/request/abc/preflight", "/v1/request/{id}/preflight", "abc"),
        ("GET", "/v1/request/qrCode/abc", "/v1/request/qrCode/{id}", "abc"),
        ("DELETE", "/v1/offlineKey/a", "/v1/offlineKey/{label}", "a"),
    ],
)
def test_a_path_finds_its_endpoint(method: str, path: str, template: str, parameter: str) -> None:
    route, found = ROUTER.find(method, path)
    assert (route.path, found) == (template, parameter)


@pytest.mark.parametrize(
    "path",
    ["/v1", "/v1/", "/v2/key", "/v1/key/", "/v1/keys", "/v1/request/a/b", "/v1/request/", "", "/v1/key/" + "x" * 9000],
)
def test_an_unknown_path_is_404_with_a_body(path: str) -> None:
    ROUTER.find("GET", "/v1/key")
    with pytest.raises(HttpError) as caught:
        ROUTER.find("GET", path)
    assert caught.value.status == 404
    assert caught.value.refusal == "http.path"


def test_a_wrong_method_is_405_and_says_which_are_right() -> None:
    ROUTER.find("PATCH", "/v1/task")
    with pytest.raises(HttpError) as caught:
        ROUTER.find("PUT", "/v1//task")
    assert caught.value.status == 405
    assert caught.value.headers == {"allow": "DELETE, PATCH"}
    with pytest.raises(HttpError) as caught:
        ROUTER.find("PUT", "/v1/key/attributes")
    assert caught.value.headers == {"allow": "DELETE, POST"}


def test_success_is_200_or_201_never_204() -> None:
    created = {route.path for route in ROUTES if route.status == 201}
    requests = {"/v1/sign", "/v1/decrypt", "/v1/unwrap", "/v1/block", "/v1/unblock", "/v1/modify"}
    certificates = {f"/v1/certificate/{what}" for what in ("request", "sign", "selfsign")}
    keys = {"/v1/key", "/v1/key/import/plain", "/v1/importedKey", "/v1/derivedKey", "/v1/synchronousUnwrap"}
    assert requests | certificates | keys <= created
    others = {"/v1/offlineKey", "/v1/approverDirectory", "/v1/dataObject", "/v1/decapsulate"}
    assert created - requests - certificates - keys <= others
    assert {route.status for route in ROUTES} == {200, 201}
