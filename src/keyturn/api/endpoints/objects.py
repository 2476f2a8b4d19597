"""Data objects: values kept under a name in the HSM's sealed store.

Source: rest-api.md section 3.9; decisions 28 (DELETE; PUT writes another value).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.api.answers import DataObject, Done
from keyturn.api.endpoints.parts import text
from keyturn.api.fields import from_base64
from keyturn.api.http import Call, Route, Services
from keyturn.api.schemas.service import DataObjectBody
from keyturn.broker import serving
from keyturn.errors import ErrorCode, FormatError

if TYPE_CHECKING:
    from keyturn.broker.serving import DataObject as KeptObject


async def create_data_object(services: Services, call: Call, body: DataObjectBody) -> DataObject:
    """Keep a data object. Its name must be free; `private`, `modifiable` and `destroyable` are true if absent."""
    del call
    return _answer(await services.broker.serving.put_object(_wanted(body)))


async def replace_data_object(services: Services, call: Call, body: DataObjectBody) -> DataObject:
    """Write another value for a data object that is modifiable. Its attributes can only become stricter."""
    del call
    return _answer(await services.broker.serving.put_object(_wanted(body), replace=True))


async def data_object(services: Services, call: Call, body: None) -> DataObject:
    """Give a data object."""
    del body
    return _answer(await services.broker.serving.object(call.parameter))


async def delete_data_object(services: Services, call: Call, body: None) -> Done:
    """Delete a data object that is destroyable."""
    del body
    await services.broker.serving.delete_object(call.parameter)
    return Done()


def _wanted(body: DataObjectBody) -> KeptObject:
    try:
        value = from_base64("value", body.value)
    except FormatError as error:
        raise FormatError(error.message, code=ErrorCode.DATA_OBJECT_INVALID_VALUE, refusal=error.refusal) from None
    given = body.attributes
    attributes = {} if given is None else {name: getattr(given, name) for name in given.__struct_fields__}
    return serving.DataObject(
        name=body.name,
        value=value,
        attributes={name: value for name, value in attributes.items() if value is not None},
    )


def _answer(found: KeptObject) -> DataObject:
    return DataObject(found.name, text(found.value), dict(found.attributes))


ROUTES: Final = (
    Route("POST", "/v1/dataObject", create_data_object, DataObjectBody, DataObject, 201, tag="data objects"),
    Route("PUT", "/v1/dataObject", replace_data_object, DataObjectBody, DataObject, tag="data objects"),
    Route("GET", "/v1/dataObject/{dataObjectName}", data_object, None, DataObject, tag="data objects"),
    Route("DELETE", "/v1/dataObject/{dataObjectName}", delete_data_object, None, Done, tag="data objects"),
)
