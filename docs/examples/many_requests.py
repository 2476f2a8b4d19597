"""Open requests for many signatures at once, and read what became of them.

    python docs/examples/many_requests.py http://127.0.0.1:8080 KEY [API-KEY …]

Of several API keys the first is used as long as the server knows it, then the next: keys can be replaced meanwhile.
"""

import asyncio
import base64
import sys

from keyturn.client import AsyncRestClient


async def main(url: str, key: str, *api_keys: str) -> None:
    """Sign twenty invoices."""
    async with AsyncRestClient(url, api_keys=api_keys) as client:
        requests = [
            client.sign(
                {
                    "payload": base64.b64encode(f"invoice {number}".encode()).decode(),
                    "signKeyName": key,
                    "signatureAlgorithm": "SHA256_WITH_ECDSA",
                }
            )
            for number in range(20)
        ]
        for request in await asyncio.gather(*requests):
            status = (await client.request(request))["status"]
            sys.stdout.write(f"{request} {status}\n")


asyncio.run(main(*sys.argv[1:]))
