"""Make a key, sign with it, verify, and delete it.

python docs/examples/sign_and_verify.py http://127.0.0.1:8080
"""

import base64
import sys

from keyturn.client import RestClient

with RestClient(sys.argv[1]) as client:
    client.create_key(
        "example",
        "EC",
        curve_oid="1.2.840.10045.3.1.7",
        attributes={"sign": True, "decrypt": False, "unwrap": False, "destroyable": True},
    )
    signature = client.synchronous_sign(
        {
            "payload": base64.b64encode(b"invoice").decode(),
            "signKeyName": "example",
            "signatureAlgorithm": "SHA256_WITH_ECDSA",
        }
    )
    valid = client.verify("example", "SHA256_WITH_ECDSA", b"invoice", base64.b64decode(signature))
    sys.stdout.write(f"valid: {valid}\n")
    client.delete_key("example")
