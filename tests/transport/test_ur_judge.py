"""@ngraveio/bc-ur, written by others, judges our UR codec in both directions."""

from __future__ import annotations

import random

import pytest

from keyturn.transport import ur
from keyturn_testing.ur_judge import ask

SIZES = [(31, 11), (259, 30), (1000, 100), (5000, 77)]


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize(("size", "max_fragment"), SIZES)
def test_both_write_the_same_parts(size: int, max_fragment: int) -> None:
    encoder = ur.UREncoder(noise(size), max_fragment)
    ours = [encoder.part(number) for number in range(1, encoder.total + 41)]
    theirs = ask(op="encode", content=noise(size).hex(), maxFragment=max_fragment, first=0, count=len(ours))
    assert theirs["total"] == encoder.total
    assert theirs["parts"] == ours


def test_both_write_the_same_single_part() -> None:
    assert ask(op="single", content="00ff7f")["part"] == ur.encode_single(bytes.fromhex("00ff7f"))


@pytest.mark.parametrize(("size", "max_fragment"), SIZES)
def test_they_read_what_we_write_with_losses_repetitions_and_disorder(size: int, max_fragment: int) -> None:
    encoder = ur.UREncoder(noise(size), max_fragment)
    parts = [encoder.part(number) for number in range(1, 6 * encoder.total + 40) if number % 3]
    shuffled = random.Random(7).sample(parts, len(parts))
    repeated = [part for part in shuffled for _ in range(2)]
    assert ask(op="decode", parts=repeated)["content"] == noise(size).hex()


@pytest.mark.parametrize(("size", "max_fragment"), SIZES)
def test_we_read_what_they_write_with_losses_repetitions_and_disorder(size: int, max_fragment: int) -> None:
    count = 6 * (size // max_fragment + 1) + 40
    parts = ask(op="encode", content=noise(size).hex(), maxFragment=max_fragment, first=0, count=count)["parts"]
    kept = [part for at, part in enumerate(parts) if at % 3]
    shuffled = random.Random(7).sample(kept, len(kept))
    assert ur.decode(part.upper() for part in [*shuffled, *shuffled[:5]]) == noise(size)


def test_neither_believes_an_incomplete_set() -> None:
    encoder = ur.UREncoder(noise(1000), 100)
    parts = [encoder.part(number) for number in range(1, encoder.total)]
    assert ask(op="decode", parts=parts)["content"] is None
    with pytest.raises(ur.IncompleteError):
        ur.decode(parts)
    assert ask(op="decode", parts=[*parts, encoder.part(encoder.total)])["content"] == noise(1000).hex()
