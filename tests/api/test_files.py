"""Files of any size over REST: encrypted and decrypted as streams, with bounded memory, and whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import socket
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from api.conftest import error_of
from keyturn.client import ServerRefusedError
from keyturn.crypto.encrypted_files import CHUNK, HEADER, TAG
from keyturn.ska.policy import Rule
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import ServeProcess, policy_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from keyturn.client import RestClient

P384: Final = "1.3.132.0.34"
ENCRYPT: Final = "SignedFileEncryptRequestDto"
DECRYPT: Final = "SignedFileDecryptRequestDto"


def create(rest: RestClient, label: str, curve: str = P384, *, derive: bool = True) -> str:
    attributes = {"decrypt": True, "sign": False, "unwrap": False, "derive": derive}
    rest.create_key(label, "EC", curve_oid=curve, attributes=attributes)
    return label


@pytest.fixture
def key(rest: RestClient) -> str:
    return create(rest, f"files-{uuid.uuid4().hex[:8]}")


def encrypt_part(key: str) -> tuple[None, str, str]:
    return None, json.dumps({"fileEncryptRequest": {"encryptKeyName": key}}), "application/json"


def decrypt_part(key: str, **more: Any) -> tuple[None, str, str]:
    return None, json.dumps({"fileDecryptRequest": {"decryptKeyName": key, **more}}), "application/json"


def encrypted(rest: RestClient, key: str, content: bytes) -> bytes:
    target = io.BytesIO()
    assert rest.encrypt_file(key, io.BytesIO(content), target) == len(target.getvalue())
    return target.getvalue()


def decrypted(rest: RestClient, key: str, file: bytes) -> bytes:
    target = io.BytesIO()
    rest.decrypt_file(key, io.BytesIO(file), target)
    return target.getvalue()


def refused(rest: RestClient, key: str, file: bytes) -> ServerRefusedError:
    with pytest.raises(ServerRefusedError) as error:
        decrypted(rest, key, file)
    return error.value


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 3 << 20])
def test_files_come_back_as_they_were(rest: RestClient, key: str, size: int) -> None:
    content = os.urandom(size)
    file = encrypted(rest, key, content)
    assert len(file) == HEADER + size + TAG * max(1, -(-size // CHUNK))
    assert decrypted(rest, key, file) == content


@pytest.mark.parametrize("size", [0, 200_000, 5_000_000])
@pytest.mark.parametrize("file_first", [True, False])
def test_the_parts_come_in_any_order(http: httpx.Client, key: str, file_first: bool, size: int) -> None:
    content = os.urandom(size)
    parts: list[tuple[str, Any]] = [("file", ("päper.pdf", content)), (ENCRYPT, encrypt_part(key))]
    answer = http.post("/v1/fileEncrypt", files=parts if file_first else parts[::-1])
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"p_per.pdf.primus.encrypted\"; filename*=UTF-8''p%C3%A4per.pdf.primus.encrypted"
    )
    parts = [("file", ("päper.pdf.primus.encrypted", answer.content)), (DECRYPT, decrypt_part(key))]
    back = http.post("/v1/synchronousFileDecrypt", files=parts if file_first else parts[::-1])
    assert back.status_code == 200
    assert back.content == content
    assert back.headers["content-disposition"].endswith("''p%C3%A4per.pdf")


def test_names_hold_no_path_and_no_line_end(http: httpx.Client, key: str) -> None:
    for name, shown in (("../../etc/passwd", "passwd"), ("C:\\x\\y.txt", "y.txt"), ('a"b\r\nX-Evil: 1', "a%22b%0D%0A")):
        answer = http.post("/v1/fileEncrypt", files={ENCRYPT: encrypt_part(key), "file": (name, b"x")})
        assert answer.status_code == 200
        assert f'filename="{shown}' in answer.headers["content-disposition"]
        assert "/" not in answer.headers["content-disposition"].split(";")[1]
        assert "x-evil" not in answer.headers


def test_a_file_that_was_changed_moved_or_cut_off_gives_nothing(rest: RestClient, key: str) -> None:
    file = encrypted(rest, key, bytes(3 * CHUNK))
    size = CHUNK + TAG
    flipped = bytearray(file)
    flipped[-1] ^= 1
    second = HEADER + size
    moved = file[:HEADER] + file[second : second + size] + file[HEADER:second] + file[second + size :]
    for wrong in (bytes(flipped), moved, file[:-1], file[:-size], file + b"\0", file[:HEADER]):
        error = refused(rest, key, wrong)
        assert (error.code.number, error.refusal) == (623, "file.damaged")
    for wrong, word in (
        (b"", "no-header"),
        (b"%PDF-1.7\n" * 100, "no-header"),
        (file[:8] + b"\2" + file[9:], "version"),
    ):
        error = refused(rest, key, wrong)
        assert (error.code.number, error.refusal) == (623, f"file.{word}")
    assert decrypted(rest, key, file) == bytes(3 * CHUNK)


def test_another_key_opens_nothing(rest: RestClient, key: str) -> None:
    file = encrypted(rest, key, b"x")
    other = create(rest, f"{key}-other")
    assert (refused(rest, other, file).code.number, refused(rest, other, file).refusal) == (623, "file.other-key")
    assert refused(rest, f"{key}-none", file).code.number == 650
    assert decrypted(rest, key, file) == b"x"


def test_keys_that_files_are_not_encrypted_for(rest: RestClient, key: str) -> None:
    def refusal(label: str) -> tuple[int, str]:
        with pytest.raises(ServerRefusedError) as error:
            encrypted(rest, label, b"x")
        return error.value.code.number, error.value.refusal

    assert refusal(create(rest, f"{key}-p256", "1.2.840.10045.3.1.7")) == (607, "file.wrong-key")
    assert refusal(create(rest, f"{key}-no", derive=False)) == (606, "key.attribute")
    assert refusal(f"{key}-none") == (650, "key.unknown")
    assert encrypted(rest, key, b"x")


@pytest.mark.rule("R4")
def test_r4_no_file_for_a_key_with_a_policy(rest: RestClient, key: str) -> None:
    policy = policy_json(make_policy(quorum(1, Officer("ada")), modify=Rule.ALWAYS), new=True)
    rest.create_key(
        f"{key}-ska",
        "EC",
        curve_oid=P384,
        attributes={"decrypt": False, "sign": True, "unwrap": False},
        policy=policy,
    )
    with pytest.raises(ServerRefusedError) as error:
        encrypted(rest, f"{key}-ska", b"x")
    assert (error.value.code.number, error.value.refusal) == (614, "key.agreement-with-policy")
    file = encrypted(rest, key, b"x")
    assert refused(rest, f"{key}-ska", file).refusal == "key.agreement-with-policy"


def test_forms_that_are_none(http: httpx.Client, key: str) -> None:
    def post(files: Any, path: str = "/v1/fileEncrypt", **more: Any) -> httpx.Response:
        return http.post(path, files=files, **more)

    good, file = encrypt_part(key), ("a", b"x")
    for files, word in (
        ([(ENCRYPT, good)], "upload.missing-part"),
        ([("file", file)], "upload.missing-part"),
        ([("file", file), ("file", file), (ENCRYPT, good)], "upload.repeated-part"),
        ([("file", file), ("other", good), (ENCRYPT, good)], "upload.unknown-part"),
        ([("file", file), (DECRYPT, decrypt_part(key))], "upload.unknown-part"),
        ([("file", file), (ENCRYPT, (None, "{", "application/json"))], "json.malformed"),
        ([("file", file), (ENCRYPT, (None, "{}", "application/json"))], "json.missing-field"),
        ([("file", file), (ENCRYPT, (None, " " * 65537, "application/json"))], "upload.json-too-large"),
        ([("file", ("n" * 9000, b"x")), (ENCRYPT, good)], "upload.malformed"),
    ):
        body = error_of(post(files), 400, 600)
        assert body["refusal"] == word
    assert post([("file", file), (ENCRYPT, good)]).status_code == 200


def test_bodies_that_are_no_form(http: httpx.Client, key: str) -> None:
    for content_type, status, word in (
        ("application/json", 415, "http.content-type"),
        ("multipart/form-data", 400, "upload.boundary"),
        ("multipart/form-data; boundary=" + "x" * 71, 400, "upload.boundary"),
        ("multipart/form-data; boundary=x", 400, "upload.malformed"),
    ):
        answer = http.post("/v1/fileEncrypt", content=b"{}", headers={"content-type": content_type})
        assert error_of(answer, status, 600)["refusal"] == word
    cut = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nabc'
    answer = http.post("/v1/fileEncrypt", content=cut, headers={"content-type": "multipart/form-data; boundary=x"})
    assert error_of(answer, 400, 600)["refusal"] == "upload.incomplete"


@pytest.mark.rule("R30")
def test_r30_a_form_of_a_foreign_page_is_refused(vault: ServeProcess, http: httpx.Client, key: str) -> None:
    """A page can make a browser send forms without asking; unlike with JSON nothing but these headers tells."""
    files: Any = {ENCRYPT: encrypt_part(key), "file": ("a", b"x")}
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        answer = http.post("/v1/fileEncrypt", files=files, headers=headers)
        assert error_of(answer, 403, 400)["refusal"] == "http.origin"
    for headers in ({"origin": vault.url}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {}):
        assert http.post("/v1/fileEncrypt", files=files, headers=headers).status_code == 200


def test_a_client_that_hangs_up_leaves_nothing_behind(vault: ServeProcess, rest: RestClient, key: str) -> None:
    host, port = re.fullmatch(r"http://(.*):(\d+)", vault.url).groups()  # type: ignore[union-attr] # It matches.
    head = (
        f"POST /v1/fileEncrypt HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: multipart/form-data; boundary=x\r\n"
        'content-length: 100000000\r\n\r\n--x\r\ncontent-disposition: form-data; name="file"\r\n\r\n'
    )
    with socket.create_connection((host, int(port))) as line:
        line.sendall(head.encode() + bytes(2 << 20))
    assert decrypted(rest, key, encrypted(rest, key, b"still there")) == b"still there"
    assert [file.name for file in vault.directory.iterdir() if file.name.startswith("spool-")] == []


def _pieces(size: int) -> Iterator[bytes]:
    block = hashlib.sha256(b"a block").digest() * 2048
    for _ in range(size // len(block)):
        yield block


class _Large(io.RawIOBase):
    """A file that is made while it is read."""

    def __init__(self, size: int) -> None:
        self._pieces = _pieces(size)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        del size
        return next(self._pieces, b"")


class _Digest(io.RawIOBase):
    """Takes everything, keeps a hash, and hands it on to a file."""

    def __init__(self, file: Any = None) -> None:
        self.digest = hashlib.sha256()
        self.size = 0
        self._file = file

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self.size += len(data)
        if self._file is not None:
            self._file.write(data)
        return len(data)


def _peak(pid: int) -> int:
    """Most memory a process ever had, in bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", text)[1]) * 1024  # type: ignore[index] # Linux has it.


@pytest.mark.slow
def test_memory_stays_bounded_whatever_the_size(tmp_path: Path) -> None:
    """64 MiB more in the file are not even 24 MiB more in the server."""
    small, large = 8 << 20, 72 << 20
    with ServeProcess(tmp_path / "vault") as vault, vault.client() as rest:
        assert vault.process is not None
        create(rest, "files")
        peaks = []
        for size in (small, large):
            expected = hashlib.sha256()
            for piece in _pieces(size):
                expected.update(piece)
            with (tmp_path / "encrypted").open("w+b") as file:
                assert rest.encrypt_file("files", _Large(size), _Digest(file)) > size  # type: ignore[arg-type]
                file.seek(0)
                back = _Digest()
                assert rest.decrypt_file("files", file, back) == size  # type: ignore[arg-type]
            assert back.digest.digest() == expected.digest()
            peaks.append(_peak(vault.process.pid))
        assert peaks[1] - peaks[0] < 24 << 20, peaks


def test_a_server_that_is_killed_leaves_no_piece_of_a_file(tmp_path: Path) -> None:
    with ServeProcess(tmp_path / "vault") as vault, vault.client() as rest:
        create(rest, "files")
        host, port = re.fullmatch(r"http://(.*):(\d+)", vault.url).groups()  # type: ignore[union-attr] # It matches.
        head = (
            f"POST /v1/fileEncrypt HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: multipart/form-data; boundary=x\r\n"
            'content-length: 100000000\r\n\r\n--x\r\ncontent-disposition: form-data; name="file"\r\n\r\n'
        )
        with socket.create_connection((host, int(port))) as line:
            line.sendall(head.encode() + b"this is secret. " * 200_000)
            assert vault.process is not None
            vault.end(signal.SIGKILL)
        for file in vault.directory.rglob("*"):
            if file.is_file():
                assert b"this is secret. " not in file.read_bytes(), file
