"""What a program does that was written for the documented API and has never heard of keyturn."""

from __future__ import annotations

import base64
import itertools
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

P256 = "1.2.840.10045.3.1.7"
SECP256K1 = "1.3.132.0.10"
ED25519 = "1.3.101.112"
SIZES = {"AES": 256, "Camellia": 256, "ChaCha20": 256, "RSA": 2048, "DSA": 2048}
CURVES = {"EC": P256, "ED": ED25519}
USES = ("sign", "decrypt", "unwrap")


def b64(data: bytes) -> str:
    """Base64 as the API writes it."""
    return base64.b64encode(data).decode("ascii")


def unb64(text: str) -> bytes:
    """The bytes of base64 text."""
    return base64.b64decode(text, validate=True)


def row(kind: str, name: str, outcome: str = "works", note: str = "") -> pytest.MarkDecorator:
    """The mark of one row of the table of compatibility."""
    return pytest.mark.compatible(kind=kind, name=name, outcome=outcome, note=note)


def endpoint(name: str, note: str = "") -> pytest.MarkDecorator:
    """The mark of an endpoint that works."""
    return row("endpoint", name, note=note)


def each(kind: str, works: Iterable[Any], refused: Iterable[Any] = ()) -> list[Any]:
    """Parameters of a test with two arguments, name and outcome, one for each row."""
    cases = [(case, "works") for case in works] + [(case, "refused by name") for case in refused]
    return [
        pytest.param(case, outcome == "works", marks=row(kind, str(case), outcome), id=str(case))
        for case, outcome in cases
    ]


class PlainClient:
    """JSON in, JSON out, and a wrong status is a failed test.

    Args:
        url: The server's.
    """

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=60, trust_env=False)
        self._names = itertools.count()
        self._keys: dict[Any, str] = {}

    def __enter__(self) -> PlainClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def call(self, method: str, path: str, body: object | None = None, status: int = 200) -> Any:
        """Call an endpoint; its JSON answer."""
        answer = self.http.request(method, path, json=body) if body is not None else self.http.request(method, path)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def post(self, path: str, body: object, status: int = 200) -> Any:
        """`POST`."""
        return self.call("POST", path, body, status)

    def get(self, path: str) -> Any:
        """`GET`."""
        return self.call("GET", path)

    def refusal(self, path: str, body: object, *names: str, code: int = 600) -> None:
        """A call that is refused with this code, by a message in which all these names stand."""
        answer = self.post(path, body, 400)
        assert answer["errorCode"] == code, answer
        for name in names:
            assert name in answer["message"]

    def label(self) -> str:
        """A name that no key has yet."""
        return f"key-{next(self._names)}"

    def create(
        self,
        algorithm: str,
        *uses: str,
        label: str = "",
        curve: str = "",
        size: int | None = None,
        policy: Mapping[str, Any] | None = None,
        status: int = 201,
        attributes: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Any:
        """Create a key as the Go client does: what does not apply is left out; the answer."""
        named = {use: use in uses for use in USES} | dict.fromkeys(uses, True)
        body: dict[str, Any] = {"label": label or self.label(), "algorithm": algorithm, "policy": policy, **more}
        body["attributes"] = named | {"destroyable": True, "modifiable": True} | dict(attributes or {})
        if size is None:
            size = SIZES.get(algorithm, 0)
        if size:
            body["keySize"] = size
        if curve or algorithm in CURVES:
            body["curveOid"] = curve or CURVES[algorithm]
        return self.post("/v1/key", body, status)

    def key(self, algorithm: str, *uses: str, **more: Any) -> str:
        """The label of a key of this kind, made at the first call with the same arguments."""
        known = (algorithm, uses, repr(sorted(more.items())))
        if known not in self._keys:
            self._keys[known] = str(self.create(algorithm, *uses, **more)["json"]["label"])
        return self._keys[known]

    def sign(self, key: str, algorithm: str, payload: bytes, **more: Any) -> str:
        """A signature, base64."""
        inner = {"payload": b64(payload), "signKeyName": key, "signatureAlgorithm": algorithm, **more}
        return str(self.post("/v1/synchronousSign", {"signRequest": inner})["signature"])

    def verifies(self, key: str, algorithm: str, payload: bytes, signature: str) -> bool:
        """Whether the server finds a signature valid."""
        inner = {
            "signKeyName": key, "signatureAlgorithm": algorithm, "payload": b64(payload), "signature": signature,
        }  # fmt: skip
        return bool(self.post("/v1/verify", {"verifySignatureRequest": inner})["signatureValid"])

    def encrypt(self, key: str, cipher: str, payload: bytes, **more: Any) -> Any:
        """The answer of `/v1/encrypt`."""
        inner = {"payload": b64(payload), "encryptKeyName": key, "cipherAlgorithm": cipher, **more}
        return self.post("/v1/encrypt", {"encryptRequest": inner})

    def decrypt(self, key: str, cipher: str, encrypted: Mapping[str, Any], **more: Any) -> bytes:
        """What an answer of `/v1/encrypt` decrypts to."""
        inner = {
            "encryptedPayload": encrypted["encryptedPayload"],
            "decryptKeyName": key,
            "cipherAlgorithm": cipher,
            "initializationVector": encrypted["initializationVector"],
            **more,
        }
        return unb64(self.post("/v1/synchronousDecrypt", {"decryptRequest": inner})["payload"])
