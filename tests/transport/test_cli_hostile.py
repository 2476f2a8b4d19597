"""What the courier's commands do when the server, the stick or the place for the answer is hostile."""

from __future__ import annotations

import base64
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from keyturn.cli.main import root
from keyturn.cli.transport_options import print_json
from keyturn.errors import KeyturnError
from keyturn.ska.words import checksum_words
from keyturn.transport.bundle import REQUEST
from keyturn.transport.contents import BODY_WORDS_DOMAIN
from keyturn_testing.carriers import REQUEST_ID, sides

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIGNATURE = base64.b64encode(b"a signature").decode()


class Pretender(ThreadingHTTPServer):
    """A server of the offline side that answers whatever it likes, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = b"{}"
        self.asked: list[tuple[str, Any]] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Pretender

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append((self.path, json.loads(body)))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Pretender]:
    with Pretender() as pretender:
        thread = threading.Thread(target=pretender.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield pretender
        pretender.shutdown()
        thread.join()


class Case:
    """A request on a stick, at the offline side, in front of a pretender."""

    def __init__(self, folder: Path, server: Pretender, **inner: Any) -> None:
        self.online, self.offline = sides(folder)
        self.folder, self.server = folder, server
        request = {"signKeyName": "treasury", "payload": "cGF5IDU=", "signatureAlgorithm": "SHA256_WITH_ECDSA"} | inner
        self.body = {"signRequest": request}
        sealed = self.online.seal(
            REQUEST, REQUEST_ID, json.dumps(self.body).encode(), to=self.online.trust.find("vault")
        )
        (folder / "request.ktb").write_bytes(sealed)

    def run(self, *words: object, command: str = "import") -> tuple[int, str, str]:
        """Run it at the offline side."""
        where = ["--data-dir", self.folder / "offline"]
        if command == "import":
            where += ["--url", self.server.url, "--yes"]
        done = CliRunner().invoke(
            root, ["transport", command, *map(str, [self.folder / "request.ktb", *where, *words])]
        )
        if isinstance(done.exception, KeyturnError):
            return 1, done.stdout, f"{done.stderr}{done.exception.message} [{done.exception.refusal}]"
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"signature": "not base64!"},
        {"signature": 5},
        {"signature": {"signature": SIGNATURE}},
        {"signature": None, "xml": "<x/>"},
        {"xml": "<x/>"},
    ],
    ids=str,
)
def test_import_bad_answer_of_a_server_is_not_sealed_and_the_bundle_stays_usable(
    server: Pretender, tmp_path: Path, answer: dict[str, Any]
) -> None:
    case = Case(tmp_path, server)
    server.answer = json.dumps(answer).encode()
    status, _, err = case.run("--out", tmp_path / "back.ktb")
    assert status == 1
    assert "import.bad-answer" in err
    assert not (tmp_path / "back.ktb").exists()
    server.answer = json.dumps({"signature": SIGNATURE}).encode()
    assert case.run("--out", tmp_path / "back.ktb")[0] == 0
    assert (tmp_path / "back.ktb").exists()
    assert server.asked[-1] == ("/v1/synchronousSign", case.body), "what was shown is what was asked"


def test_the_words_of_the_answer_are_shown_where_it_is_made(server: Pretender, tmp_path: Path) -> None:
    """The online side says that the other side showed the same words; so it must have shown them."""
    case = Case(tmp_path, server)
    server.answer = json.dumps({"signature": SIGNATURE}).encode()
    status, out, _ = case.run("--out", tmp_path / "back.ktb")
    assert status == 0
    bundle = case.online.open((tmp_path / "back.ktb").read_bytes())
    words = checksum_words(bundle.body, domain=BODY_WORDS_DOMAIN)
    assert " ".join(words) in out

    (tmp_path / "second").mkdir()
    again = Case(tmp_path / "second", server)
    status, out, _ = again.run("--out", tmp_path / "back.ktb", "--json")
    assert status == 0
    assert json.loads(out)["answerWords"] == list(words)


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--out", "missing/back.ktb"], "export.not-writable"),
        (["--qr", "request.ktb/codes"], "export.not-writable"),
        (["--qr", "codes", "--max-version", "3"], "export.small-symbols"),
        (["--qr", "codes", "--max-version", "9", "--error-correction", "H"], None),
    ],
)
def test_an_answer_that_could_not_be_written_is_not_asked_for(
    server: Pretender, tmp_path: Path, words: list[str], refusal: str | None
) -> None:
    case = Case(tmp_path, server)
    server.answer = json.dumps({"signature": SIGNATURE}).encode()
    status, _, err = case.run(words[0], tmp_path / words[1], *words[2:])
    if refusal is None:
        assert (status, len(server.asked)) == (0, 1)
        return
    assert (status, server.asked) == (1, [])
    assert refusal in err


def test_an_answer_that_cannot_be_written_after_all_is_not_lost(
    server: Pretender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(tmp_path, server)
    server.answer = json.dumps({"signature": SIGNATURE}).encode()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("keyturn.transport.files.tempfile.mkstemp", full)
        # The station's own files exist already, so only the answer meets the full disk.
        status, _, err = case.run("--out", tmp_path / "back.ktb")
    assert status == 1
    assert "file.unwritable" in err
    assert json.dumps({"id": REQUEST_ID, "result": SIGNATURE}) in err
    assert case.run("--out", tmp_path / "back.ktb")[0] == 0


def test_what_decides_over_the_signature_form_is_shown_before_the_question(server: Pretender, tmp_path: Path) -> None:
    case = Case(tmp_path, server, signatureType="RAW", metaData="\x1b[2Jx\n\u202e")
    _, out, _ = case.run(command="show")
    assert "signatureType: RAW" in out
    assert "metaData: <U+001B>[2Jx<U+000A><U+202E>" in out
    _, out, _ = case.run("--json", command="show")
    assert json.loads(out)["request"]["others"] == {"signatureType": "RAW", "metaData": "\x1b[2Jx\n\u202e"}


def test_json_output_cannot_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"label": "a\x1b[2J\x7f\x9b31m\u202eb\u200b\U000e0041\udcff", "name": "Jörg"}
    print_json(value)
    out = capsys.readouterr().out
    assert "Jörg" in out
    assert not set(out) & set("\x1b\x7f\x9b\u202e\u200b\U000e0041\udcff")
    assert json.loads(out) == value


def test_a_file_name_that_is_no_text_does_not_stop_the_import(server: Pretender, tmp_path: Path) -> None:
    case = Case(tmp_path, server)
    (tmp_path / os.fsdecode(b"\xff\x1b[2J.png")).write_bytes(b"junk")
    for words in ((), ("--json",)):
        status, out, err = case.run(tmp_path, *words, command="show")
        assert status == 0, err
        assert "left aside" in out
        assert "\x1b" not in out
