"""What the HSM gives to whoever may ask: random bytes, its log, dated hashes; and what this server offers.

Source: rest-api.md sections 1.7 and 3.9; docs/formats/rfc3161.md.
"""

from __future__ import annotations

import re
from typing import Final

from keyturn.api.answers import HsmLog, LicenseInfo, RandomBytes, RfcTimestamp
from keyturn.api.endpoints.parts import text
from keyturn.api.fields import payload_bytes
from keyturn.api.http import Call, Route, Services
from keyturn.api.schemas.service import RfcTimestampBody
from keyturn.errors import FormatError

_WHOLE_NUMBER: Final = re.compile(r"-?[0-9]{1,9}")


async def generate_random(services: Services, call: Call, body: None) -> RandomBytes:
    """Give random bytes of the HSM, 1 to 65536 of them."""
    del body
    if not _WHOLE_NUMBER.fullmatch(call.parameter):
        raise FormatError("Field 'length' must be a whole number.", refusal="random.length-form")
    return RandomBytes(text(await services.broker.serving.random(int(call.parameter))))


async def license_info(services: Services, call: Call, body: None) -> LicenseInfo:
    """Tell what this server offers, by the names of the documented product's licence flags. There are no licences."""
    del call, body
    return LicenseInfo(services.broker.serving.license_flags)


async def hsm_log(services: Services, call: Call, body: None) -> HsmLog:
    """Give the newest lines of the HSM's decision log, oldest first, each a JSON object.

    They hold hashes, labels and words, never payloads or keys.
    """
    del call, body
    return HsmLog("".join(f"{line}\n" for line in await services.broker.serving.log_lines()))


async def hsm_log_below(services: Services, call: Call, body: None) -> HsmLog:
    """Give the same lines as `/v1/hsm/log`; what stands behind that path is ignored."""
    return await hsm_log(services, call, body)


async def create_rfc_timestamp(services: Services, call: Call, body: RfcTimestampBody) -> RfcTimestamp:
    """Have the HSM date a payload: a TimeStampResp of RFC 3161 over its hash, DER.

    The payload is the data, which is hashed with `hashAlgorithm`; with `NONE` before that name it is the digest.
    """
    del call
    payload = payload_bytes("payload", body.payload, "UNSPECIFIED")
    return RfcTimestamp(text(await services.broker.serving.date_with_rfc3161(payload, body.hash_algorithm)))


ROUTES: Final = (
    Route("GET", "/v1/generateRandom/{length}", generate_random, None, RandomBytes),
    Route("GET", "/v1/licenseInfo", license_info, None, LicenseInfo),
    Route("GET", "/v1/hsm/log", hsm_log, None, HsmLog),
    Route("GET", "/v1/hsm/log/{sub*}", hsm_log_below, None, HsmLog),
    Route("POST", "/v1/createRfcTimestamp", create_rfc_timestamp, RfcTimestampBody, RfcTimestamp),
)
