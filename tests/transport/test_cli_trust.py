"""`keyturn transport trust`, and the wrong ways to call its neighbours."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from keyturn.cli.main import root
from keyturn.errors import KeyturnError
from keyturn_testing.carriers import ALICE, BOB, BODY

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def run(directory: Path, *words: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(root, ["transport", *words, "--data-dir", str(directory)], input=answer)


def refusal(done: Result) -> str:
    assert isinstance(done.exception, KeyturnError), done.output
    return done.exception.refusal


def trusted(directory: Path) -> list[dict[str, Any]]:
    shown = json.loads(run(directory, "trust", "--json").stdout)
    assert isinstance(shown["trusted"], list)
    return shown["trusted"]


def test_the_key_is_shown_with_its_words_and_stays(tmp_path: Path) -> None:
    first = json.loads(run(tmp_path, "trust", "--json").stdout)
    assert len(first["words"]) == 16
    assert first == json.loads(run(tmp_path, "trust", "--json").stdout)
    shown = run(tmp_path, "trust").stdout
    assert first["publicKey"] in shown
    assert " ".join(first["words"][:8]) in shown
    assert "Nobody is trusted" in shown


@pytest.mark.rule("R11")
def test_words_that_differ_pin_nothing(tmp_path: Path) -> None:
    pin = ("trust", "--pin", BOB.public.hex(), "--name", "vault", "--words")
    assert refusal(run(tmp_path, *pin, " ".join(ALICE.words))) == "trust.words-differ"
    assert refusal(run(tmp_path, *pin, " ".join(BOB.words[:8]))) == "first-trust.word-count"
    assert trusted(tmp_path) == []
    assert run(tmp_path, *pin, "-".join(BOB.words)).exit_code == 0
    assert [peer["publicKey"] for peer in trusted(tmp_path)] == [BOB.public.hex()]


def test_a_person_is_asked_and_may_say_no(tmp_path: Path) -> None:
    pin = ("trust", "--pin", base64.b64encode(BOB.public).decode(), "--name", "vault")
    no = run(tmp_path, *pin, answer="n\n")
    assert no.exit_code == 5
    assert " ".join(BOB.words[8:]) in no.output
    assert trusted(tmp_path) == []
    assert run(tmp_path, *pin, answer="y\n").exit_code == 0
    assert len(trusted(tmp_path)) == 1
    assert run(tmp_path, "trust", "--forget", "vault").exit_code == 0
    assert trusted(tmp_path) == []


@pytest.mark.parametrize("key", ["", "zz" * 32, "00" * 32, BOB.public.hex()[:-2], "not base64"])
def test_what_is_no_key_is_not_pinned(tmp_path: Path, key: str) -> None:
    assert refusal(run(tmp_path, "trust", "--pin", key, "--name", "vault", "--yes")) == "instance-key.unusable"
    assert run(tmp_path, "trust", "--pin", BOB.public.hex(), "--name", "vault", "--yes").exit_code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("trust", "--pin", BOB.public.hex()),
        ("trust", "--pin", BOB.public.hex(), "--name", "vault", "--forget", "vault"),
        ("export", "--url", "http://127.0.0.1:9", "--request", "r-1"),
        ("export", "--out", "x.ktb"),
        ("export", "--out", "x.ktb", "--url", "http://127.0.0.1:9"),
        ("export", "--out", "x.ktb", "--url", "http://127.0.0.1:9", "--request", "r-1", "--key", "k"),
        ("export", "--out", "x.ktb", "--input", "-"),
        ("export", "--out", "x.ktb", "--input", "-", "--kind", "request"),
        ("export", "--out", "x.ktb", "--input", "-", "--kind", "key", "--request", "r-1"),
        ("export", "--out", "x.ktb", "--input", "-", "--kind", "wish"),
        ("show",),
        ("import", ".", "--extra", "1"),
    ],
    ids=range(12),
)
def test_wrong_usage_exits_with_two_and_writes_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run(tmp_path / "data", *words, answer="{}")
    assert done.exit_code == 2
    assert not (tmp_path / "data" / "trusted.json").exists()


def test_standard_input_goes_out_and_what_nobody_could_read_does_not(tmp_path: Path) -> None:
    run(tmp_path, "trust", "--pin", BOB.public.hex(), "--name", "vault", "--yes")
    file = tmp_path / "out.ktb"
    words = ("export", "--input", "-", "--kind", "request", "--request", "r-1", "--out", str(file))
    assert refusal(run(tmp_path, *words, answer='{"wish": {}}')) == "contents.unknown"
    assert not file.exists()
    assert run(tmp_path, *words, answer=BODY.decode()).exit_code == 0
    assert file.read_bytes()[0] == 0xD2
