"""Published vectors of ciphers and key wrapping, see `tests/vectors/README.md`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

_ALL: dict[str, list[dict[str, Any]]] = json.loads((Path(__file__).parents[1] / "vectors" / "ciphers.json").read_text())


@dataclass(frozen=True)
class RsaVector:
    """One encryption under an RSA key; `refused` where it must not decrypt."""

    origin: str
    algorithm: str
    key: rsa.RSAPrivateKey
    plaintext: bytes
    seed: bytes
    ciphertext: bytes
    refused: bool


@dataclass(frozen=True)
class AesVector:
    """One encryption under an AES key; `plaintext` None where it must not decrypt."""

    origin: str
    algorithm: str
    key: bytes
    iv: bytes
    aad: bytes
    tag_length: int
    plaintext: bytes | None
    ciphertext: bytes


@dataclass(frozen=True)
class WrapVector:
    """One wrapping; `content` None where it must not unwrap."""

    origin: str
    method: str
    key: bytes
    wrapped: bytes
    content: bytes | None


def rsa_vectors() -> list[RsaVector]:
    """All RSA vectors."""
    found = []
    for entry in _ALL["rsa"]:
        n, e, d, p, q = (int(entry[name], 16) for name in ("n", "e", "d", "p", "q"))
        numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(e, n))
        key = numbers.private_key(unsafe_skip_rsa_key_validation=True)
        name = entry["algorithm"].removeprefix("refused ")
        for example in entry["examples"]:
            plaintext, seed, ciphertext = (
                bytes.fromhex(example.get(part, "")) for part in ("plaintext", "seed", "ciphertext")
            )
            found.append(RsaVector(entry["origin"], name, key, plaintext, seed, ciphertext, name != entry["algorithm"]))
    return found


def aes_vectors() -> list[AesVector]:
    """All AES vectors."""
    return [
        AesVector(
            entry["origin"],
            entry["algorithm"],
            bytes.fromhex(entry["key"]),
            bytes.fromhex(entry["iv"]),
            bytes.fromhex(entry.get("aad", "")),
            entry.get("tag_length", 0),
            None if entry["plaintext"] is None else bytes.fromhex(entry["plaintext"]),
            bytes.fromhex(entry["ciphertext"]),
        )
        for entry in _ALL["aes"]
    ]


def wrap_vectors() -> list[WrapVector]:
    """All vectors of key wrapping."""
    return [
        WrapVector(
            entry["origin"],
            entry["method"],
            bytes.fromhex(entry["key"]),
            bytes.fromhex(entry["wrapped"]),
            None if entry["content"] is None else bytes.fromhex(entry["content"]),
        )
        for entry in _ALL["wrap"]
    ]
