"""Data objects over REST: the documented shapes, codes and statuses."""

from __future__ import annotations

import base64
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.client import ServerRefusedError
from keyturn_testing.rest_server import b64

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from keyturn.client import RestClient

ALL = {"private": True, "modifiable": True, "destroyable": True}


@pytest.fixture
def name() -> str:
    return f"object {uuid.uuid4().hex[:8]}"


def refused(call: Callable[[], object], code: int) -> str:
    with pytest.raises(ServerRefusedError) as error:
        call()
    assert error.value.code.number == code
    return error.value.refusal


def test_an_object_is_made_read_replaced_and_deleted(rest: RestClient, name: str) -> None:
    made = {"name": name, "value": b64(b"first"), "attributes": ALL}
    assert rest.create_data_object(name, b"first") == made
    assert rest.data_object(name) == made
    replaced = rest.replace_data_object(name, b"second", attributes={"modifiable": False})
    assert replaced == {"name": name, "value": b64(b"second"), "attributes": ALL | {"modifiable": False}}
    assert base64.b64decode(rest.data_object(name)["value"]) == b"second"
    rest.delete_data_object(name)
    assert refused(lambda: rest.data_object(name), 653) == "object.unknown"


def test_the_documented_codes(rest: RestClient, name: str) -> None:
    rest.create_data_object(name, b"x", attributes={"modifiable": False, "destroyable": False})
    assert refused(lambda: rest.create_data_object(name, b"y"), 615) == "object.exists"
    assert refused(lambda: rest.replace_data_object(name, b"y"), 614) == "object.not-modifiable"
    assert refused(lambda: rest.delete_data_object(name), 614) == "object.not-destroyable"
    assert refused(lambda: rest.replace_data_object(f"{name} 2", b"y"), 653) == "object.unknown"
    assert refused(lambda: rest.delete_data_object(f"{name} 2"), 653) == "object.unknown"
    assert refused(lambda: rest.create_data_object("a/b", b"y"), 600) == "object.name-slash"


@pytest.mark.parametrize("value", ["no base64", b64(bytes(65537))])
def test_values_that_are_none(http: httpx.Client, name: str, value: str) -> None:
    answer = http.post("/v1/dataObject", json={"name": name, "value": value})
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 616)
    assert http.post("/v1/dataObject", json={"name": name, "value": b64(bytes(65536))}).status_code == 201


def test_statuses(http: httpx.Client, name: str) -> None:
    body: dict[str, Any] = {"name": name, "value": "eA==", "attributes": None}
    assert http.post("/v1/dataObject", json=body).status_code == 201
    assert http.put("/v1/dataObject", json=body).status_code == 200
    assert http.post("/v1/dataObject", json=body | {"attributes": {"sign": True}}).status_code == 400
    assert http.get(f"/v1//dataObject/{name}").status_code == 200
    deleted = http.delete(f"/v1/dataObject/{name}")
    assert (deleted.status_code, deleted.json()) == (200, {})
    gone = http.get(f"/v1/dataObject/{name}")
    assert (gone.status_code, gone.json()["reason"]) == (404, "res.error.data.object.not.existent")
