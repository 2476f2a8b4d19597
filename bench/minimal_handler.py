"""The minimal handler: what any HTTP signer must at least do, on the server that keyturn uses.

One process, raw ASGI: read the body, parse JSON, decode base64, sign, encode, answer. No policy, no log, no HSM
process. keyturn's synchronous signing is measured against it (`bench/run.py`).
"""

from __future__ import annotations

import base64
import json
import os
from typing import Any

from kinds import KINDS

sign = KINDS[os.environ.get("BENCH_KEY", "P-256")].signer()


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    request = json.loads(body)["signRequest"]
    signature = sign(base64.b64decode(request["payload"]))
    answer = json.dumps({"signature": base64.b64encode(signature).decode()}).encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": answer})
