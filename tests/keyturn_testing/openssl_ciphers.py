"""The `openssl` command as an independent judge of ciphers and key wrapping."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEY_WRAP_START: Final = {"wrap": "A6A6A6A6A6A6A6A6", "wrap-pad": "A65959A6"}
"""The initial values of RFC 3394 section 2.2.3.1 and RFC 5649 section 3."""


def rsa_encrypt(spki: bytes, plaintext: bytes, options: Sequence[str]) -> bytes:
    """`openssl pkeyutl -encrypt`; options such as `rsa_padding_mode:oaep`."""
    return _pkeyutl(["-encrypt", "-pubin"], spki, plaintext, options)


def rsa_decrypt(pkcs8: bytes, ciphertext: bytes, options: Sequence[str]) -> bytes:
    """`openssl pkeyutl -decrypt`."""
    return _pkeyutl(["-decrypt"], pkcs8, ciphertext, options)


def _pkeyutl(mode: Sequence[str], key: bytes, data: bytes, options: Sequence[str]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.der"
        path.write_bytes(key)
        arguments = [part for option in options for part in ("-pkeyopt", option)]
        return _run(["pkeyutl", *mode, "-keyform", "DER", "-inkey", str(path), *arguments], data)


def aes(mode: str, key: bytes, iv: bytes, data: bytes, *, decrypt: bool, padded: bool = False) -> bytes:
    """AES; mode such as `cbc`."""
    return block_cipher(f"aes-{8 * len(key)}-{mode}", key, iv, data, decrypt=decrypt, padded=padded)


def block_cipher(name: str, key: bytes, iv: bytes, data: bytes, *, decrypt: bool, padded: bool = False) -> bytes:
    """`openssl enc`; name such as `camellia-256-cbc`."""
    arguments = ["enc", "-d" if decrypt else "-e", f"-{name}", "-K", key.hex()]
    return _run([*arguments, *(["-iv", iv.hex()] if iv else []), *([] if padded else ["-nopad"])], data)


def key_wrap(form: str, key: bytes, data: bytes, *, decrypt: bool) -> bytes:
    """`openssl enc` with the key-wrap ciphers; form `wrap` or `wrap-pad`."""
    cipher = f"-id-aes{8 * len(key)}-{form}"
    return _run(
        ["enc", "-d" if decrypt else "-e", cipher, "-K", key.hex(), "-iv", _KEY_WRAP_START[form]],
        data,
    )


def _run(arguments: Sequence[str], data: bytes) -> bytes:
    return subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=True).stdout
